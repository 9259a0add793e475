//! The store's own thread: it blocks on the disk so that nobody else has to.
//!
//! Commands are worked off in the order in which they were given. There is at most one commit of the engine's among
//! them; reads
//! are bounded by [`READS_WAITING_MAX`].

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Keeping, Unavailable};
use crate::alert::{SourceName, Timestamp};
use crate::store::{Changes, DigestQuery, RefusedBody, Saved, Store, StoreError, Told};

/// Reads that may wait for the thread; one more is refused.
const READS_WAITING_MAX: usize = 64;

type DigestsReply = oneshot::Sender<Result<Vec<Told>, Unavailable>>;
type RefusedReply = oneshot::Sender<Result<Vec<RefusedBody>, Unavailable>>;

/// The way to the store's thread. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    commands: mpsc::Sender<Command>,
    reads: Arc<Semaphore>,
    /// Comes to an end when the store is closed.
    closed: oneshot::Receiver<()>,
}

/// How long a store may take to close. What is committed is on disk without that.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// A commit that has ended.
#[derive(Debug)]
pub(super) struct Committed {
    /// What was to be committed, given back when it was not.
    pub(super) changes: Changes,
    /// How many rows there were.
    pub(super) rows: u64,
    /// How long it took.
    pub(super) result: Result<Duration, StoreError>,
}

/// The thread ends before the driver only by a panic: a bug after which a new process, from what is durable, is
/// the only way back.
pub(super) fn died() -> ! {
    panic!("the store's thread died by a panic of its own")
}

enum Command {
    Commit(Changes, oneshot::Sender<Committed>),
    Load(oneshot::Sender<Result<Saved, StoreError>>),
    Digests(DigestQuery, DigestsReply, OwnedSemaphorePermit),
    Refused(Option<SourceName>, usize, RefusedReply, OwnedSemaphorePermit),
    KeepRefused(RefusedBody, Keeping),
    Keep(Changes),
    Prune(Timestamp),
}

impl Writer {
    /// Moves the store to a thread.
    pub(super) fn spawn(mut store: Box<dyn Store>) -> Self {
        let (commands, inbox) = mpsc::channel();
        let (closing, closed) = oneshot::channel();
        let work = move || {
            for command in inbox {
                obey(store.as_mut(), command);
            }
            drop(store);
            // Nobody may be waiting.
            let _unheard = closing.send(());
        };
        let thread = std::thread::Builder::new().name("store".to_owned());
        drop(thread.spawn(work).expect("the system grants a thread"));
        Self {
            commands,
            reads: Arc::new(Semaphore::new(READS_WAITING_MAX)),
            closed,
        }
    }

    /// Lets the thread finish and close its store, so that the file on disk is whole without its log.
    pub(super) async fn close(self) {
        drop(self.commands);
        if tokio::time::timeout(CLOSE_MAX, self.closed).await.is_err() {
            tracing::warn!("the store does not close; what is committed is on disk all the same");
        }
    }

    /// Returns when the thread is gone, so that this is noticed also when there is nothing to write.
    pub(super) async fn gone(&mut self) {
        let _closed = (&mut self.closed).await;
    }

    pub(super) fn commit(&self, changes: Changes) -> oneshot::Receiver<Committed> {
        let (reply, committed) = oneshot::channel();
        self.give(Command::Commit(changes, reply));
        committed
    }

    /// Everything an engine starts from, as it is on disk.
    pub(super) async fn load(&self) -> Result<Saved, StoreError> {
        let (reply, saved) = oneshot::channel();
        self.give(Command::Load(reply));
        saved.await.unwrap_or_else(|_| died())
    }

    pub(super) fn digests(&self, query: DigestQuery, reply: DigestsReply) {
        match Arc::clone(&self.reads).try_acquire_owned() {
            Ok(permit) => self.give(Command::Digests(query, reply, permit)),
            Err(_) => drop(reply.send(Err(Unavailable::InboxFull))),
        }
    }

    pub(super) fn refused(&self, source: Option<SourceName>, limit: usize, reply: RefusedReply) {
        match Arc::clone(&self.reads).try_acquire_owned() {
            Ok(permit) => self.give(Command::Refused(source, limit, reply, permit)),
            Err(_) => drop(reply.send(Err(Unavailable::InboxFull))),
        }
    }

    pub(super) fn keep_refused(&self, body: RefusedBody, keeping: Keeping) {
        self.give(Command::KeepRefused(body, keeping));
    }

    /// Commits what nothing waits for, and nobody misses if it is lost.
    pub(super) fn keep(&self, changes: Changes) {
        self.give(Command::Keep(changes));
    }

    pub(super) fn prune(&self, before: Timestamp) {
        self.give(Command::Prune(before));
    }

    fn give(&self, command: Command) {
        // A thread that is gone drops the command's reply, which its asker notices.
        let _gone = self.commands.send(command);
    }
}

fn obey(store: &mut dyn Store, command: Command) {
    match command {
        Command::Commit(changes, reply) => {
            let begun = Instant::now();
            let rows = changes.rows();
            let result = store.commit(&changes).map(|()| begun.elapsed());
            drop(reply.send(Committed {
                changes,
                rows,
                result,
            }));
        }
        Command::Load(reply) => drop(reply.send(store.load())),
        Command::Digests(query, reply, _permit) => {
            let found = store.digests(&query);
            drop(reply.send(found.map_err(|error| unreadable(&error))));
        }
        Command::Refused(source, limit, reply, _permit) => {
            let found = store.refused(source.as_ref(), limit);
            drop(reply.send(found.map_err(|error| unreadable(&error))));
        }
        Command::KeepRefused(body, keeping) => match store.keep_refused(&body) {
            Ok(()) => keeping.kept(),
            Err(error) => tracing::warn!(%error, source = %body.source, "a refused body could not be kept"),
        },
        Command::Keep(changes) => {
            if let Err(error) = store.commit(&changes) {
                tracing::warn!(%error, "who people are could not be kept; they are looked up again after a start");
            }
        }
        Command::Prune(before) => {
            if let Err(error) = store.prune(before) {
                tracing::warn!(%error, "old history could not be forgotten");
            }
        }
    }
}

fn unreadable(error: &StoreError) -> Unavailable {
    tracing::error!(%error, "the history cannot be read");
    Unavailable::StoreFailed
}
