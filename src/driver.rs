//! The one loop: inputs into the engine, its changes into the store, its effects into the world — in this order.
//!
//! One task owns the engine. It waits for whatever happens next, lets the engine decide, and keeps every effect
//! behind a gate until the rows it depends on are on disk; whatever arrives while one commit runs goes
//! into the next. Drafts are composed and rendered, and messages sent, by tasks of their own that come back as
//! inputs.
//!
//! **Invariants:** no webhook is answered 2xx and no message is sent before its commit. When the store fails,
//! the engine is put back to what is durable: from then on nothing new is taken, what is durable is still told,
//! and what is told is kept in memory and written as soon as the store is back (`Mode::Degraded`). The driver
//! decides nothing about alerts.

mod gate;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::alert::{Alert, DigestId, MessageId, ReceiverName, RequestId, SourceName};
use crate::clock::Clock;
use crate::digest::{Draft, Rendered};
use crate::dingtalk::client::Client;
use crate::driver::gate::Gate;
use crate::driver::writer::Writer;
use crate::engine::outcome::Refused;
use crate::engine::view::{AlertList, AlertQuery, BotView, Counts, ReceiverView};
use crate::engine::{Answer, Effect, Engine, Event, Input, Outcome, Send, Verdict};
use crate::plan::Plan;
use crate::render::Renderer;
use crate::store::{Changes, RefusedBody, Saved, Store, StoreError, Told};
use crate::telemetry::Metrics;

/// Why an alert could not be taken responsibility for; all of them mean "try again later".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Unavailable {
    /// The inbox is full.
    #[error("too many requests are waiting to be stored; try again shortly")]
    InboxFull,
    /// The store cannot write.
    #[error("the store cannot write at the moment; try again later")]
    StoreFailed,
    /// We are shutting down.
    #[error("shutting down; try again in a moment")]
    ShuttingDown,
}

/// The way for everybody else to reach the one task that owns the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::Sender<Ask>);

/// What is asked of the driver. A reply that is dropped unsent means that the driver is gone.
#[derive(Debug)]
pub enum Ask {
    /// Take alerts over; answered once they are durable.
    Accept {
        /// The source they were posted to.
        source: SourceName,
        /// In the order of the body.
        alerts: Vec<Alert>,
        /// What became of them.
        reply: oneshot::Sender<Result<BTreeMap<Verdict, u32>, Unavailable>>,
    },
    /// List alerts.
    Alerts {
        /// Which.
        query: AlertQuery,
        /// The list.
        reply: oneshot::Sender<AlertList>,
    },
    /// List digests of the history, newest first.
    Digests {
        /// Of this receiver, or of all.
        receiver: Option<ReceiverName>,
        /// At most so many.
        limit: usize,
        /// The list.
        reply: oneshot::Sender<Result<Vec<Told>, Unavailable>>,
    },
    /// Say how everything is.
    Health {
        /// The snapshot.
        reply: oneshot::Sender<Health>,
    },
    /// Keep a refused body to be looked at.
    KeepRefused(RefusedBody),
}

/// What has been going on, for `/api/v1/status`, `/readyz` and metrics.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether the store takes writes.
    pub store_writable: bool,
    /// Numbers of the engine.
    pub counts: Counts,
    /// Every receiver.
    pub receivers: Vec<ReceiverView>,
    /// Every bot, also those no receiver uses.
    pub bots: Vec<BotView>,
}

impl Handle {
    /// A handle on the driver that reads the other end. The channel's capacity bounds what may wait.
    pub fn new(inbox: mpsc::Sender<Ask>) -> Self {
        Self(inbox)
    }

    /// Hands alerts over and returns once they are durable, with what became of each.
    pub async fn accept(
        &self,
        source: SourceName,
        alerts: Vec<Alert>,
    ) -> Result<BTreeMap<Verdict, u32>, Unavailable> {
        self.ask(|reply| Ask::Accept {
            source,
            alerts,
            reply,
        })
        .await?
    }

    /// Keeps a refused body (best effort: dropped when the inbox is full).
    pub fn keep_refused(&self, body: RefusedBody) {
        // Nothing is owed to a body that was refused.
        let _best_effort = self.0.try_send(Ask::KeepRefused(body));
    }

    /// The alerts that match.
    pub async fn alerts(&self, query: AlertQuery) -> Result<AlertList, Unavailable> {
        self.ask(|reply| Ask::Alerts { query, reply }).await
    }

    /// The newest digests first.
    pub async fn digests(
        &self,
        receiver: Option<ReceiverName>,
        limit: usize,
    ) -> Result<Vec<Told>, Unavailable> {
        self.ask(|reply| Ask::Digests {
            receiver,
            limit,
            reply,
        })
        .await?
    }

    /// How everything is.
    pub async fn health(&self) -> Result<Health, Unavailable> {
        self.ask(|reply| Ask::Health { reply }).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(ask(reply)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Unavailable::InboxFull,
            mpsc::error::TrySendError::Closed(_) => Unavailable::ShuttingDown,
        })?;
        answer.await.map_err(|_| Unavailable::ShuttingDown)
    }
}

/// Requests that may wait for their commit; while there are more, the inbox is left to fill up.
const REQUESTS_WAITING_MAX: usize = 10_000;
/// Requests taken from the inbox in one go, before anything else is looked at.
const REQUESTS_AT_ONCE_MAX: usize = 64;
/// How long to wait before a store that failed is tried again.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// How often old history is forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// How long messages on their way may take to end when we shut down.
const DRAIN_MAX: Duration = Duration::from_secs(15);

/// A plan and the renderer made for it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// For the engine.
    pub plan: Arc<Plan>,
    /// For digests.
    pub renderer: Arc<Renderer>,
}

/// The owner of the engine. See the module's head.
#[derive(Debug)]
pub struct Driver {
    engine: Engine,
    prepared: Prepared,
    writer: Writer,
    gate: Gate<Effect>,
    mode: Mode,
    client: Client,
    metrics: Arc<Metrics>,
    clock: Clock,
    waiting: BTreeMap<RequestId, Waiting>,
    next_request: RequestId,
    /// Messages whose answer is awaited. After the engine was put back it may ask for one of them again.
    on_their_way: BTreeSet<MessageId>,
    tasks: JoinSet<Ended>,
    draining: bool,
}

/// A webhook that waits for its answer.
#[derive(Debug)]
struct Waiting(oneshot::Sender<Result<BTreeMap<Verdict, u32>, Unavailable>>);

/// Whether the store takes writes.
#[derive(Debug)]
enum Mode {
    /// It does. A commit may be running.
    Durable(Option<oneshot::Receiver<writer::Committed>>),
    /// It does not.
    Degraded {
        /// What it has to catch up with.
        backlog: Box<Changes>,
        /// The next try.
        retry_at: Instant,
        /// The running try.
        running: Option<oneshot::Receiver<writer::Committed>>,
    },
}

/// How a task ended.
#[derive(Debug)]
enum Ended {
    Rendered {
        digest: DigestId,
        rendered: Rendered,
    },
    Sent {
        send: Send,
        answer: Answer,
        took: Duration,
    },
}

/// Everything the loop waits for.
#[derive(Debug)]
enum Happened {
    Asked(Ask),
    InboxClosed,
    Committed(writer::Committed),
    Ended(Ended),
    Plan(Prepared),
    Deadline,
    StoreRetry,
    Prune,
    Stop,
    DrainedTooLong,
}

impl Driver {
    /// Loads what the store has and takes it over. The store moves to a thread of its own.
    pub fn start(
        mut store: Box<dyn Store>,
        prepared: Prepared,
        client: Client,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let clock = Clock::start();
        let saved = store.load()?;
        let engine = Engine::new(Arc::clone(&prepared.plan), saved, clock.now());
        Ok(Self {
            engine,
            prepared,
            writer: Writer::spawn(store),
            gate: Gate::default(),
            mode: Mode::Durable(None),
            client,
            metrics,
            clock,
            waiting: BTreeMap::new(),
            next_request: RequestId(0),
            on_their_way: BTreeSet::new(),
            tasks: JoinSet::new(),
            draining: false,
        })
    }

    /// Runs until `stop` and everything that follows from it is done.
    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Ask>,
        mut plans: mpsc::Receiver<Prepared>,
        stop: CancellationToken,
    ) {
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        let mut drain_ends: Option<Instant> = None;
        let mut inbox_open = true;
        self.settle();
        while inbox_open || !self.is_drained() {
            let take_requests = inbox_open && self.waiting.len() < REQUESTS_WAITING_MAX;
            let (deadline, store_retry_at) = (self.deadline(), store_retry_at(&self.mode));
            let happened = tokio::select! {
                biased;
                committed = running_commit(&mut self.mode) => Happened::Committed(committed),
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(ended) => Happened::Ended(ended),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                Some(prepared) = plans.recv(), if !self.draining => Happened::Plan(prepared),
                () = stop.cancelled(), if drain_ends.is_none() => Happened::Stop,
                () = sleep_until(drain_ends) => Happened::DrainedTooLong,
                () = sleep_until(deadline) => Happened::Deadline,
                () = sleep_until(store_retry_at) => Happened::StoreRetry,
                ask = inbox.recv(), if take_requests => ask.map_or(Happened::InboxClosed, Happened::Asked),
                _ = prune.tick() => Happened::Prune,
            };
            match happened {
                Happened::Stop => {
                    // Nobody can ask any more; what is in the inbox is still answered.
                    inbox.close();
                    self.draining = true;
                    drain_ends = Some(Instant::now() + DRAIN_MAX);
                    self.input(Input::Drain);
                }
                Happened::InboxClosed => inbox_open = false,
                Happened::DrainedTooLong => {
                    tracing::warn!(
                        messages = self.on_their_way.len(),
                        "shutting down with messages on their way; they are sent again at the next start"
                    );
                    break;
                }
                Happened::Asked(ask) => {
                    self.asked(ask);
                    for _ in 1..REQUESTS_AT_ONCE_MAX {
                        let Ok(ask) = inbox.try_recv() else { break };
                        self.asked(ask);
                    }
                }
                Happened::Committed(committed) => self.committed(committed).await,
                Happened::Ended(ended) => self.ended(ended),
                Happened::Plan(prepared) => {
                    self.prepared = prepared.clone();
                    self.input(Input::Plan(prepared.plan));
                }
                Happened::Deadline => self.wake(),
                Happened::StoreRetry => self.retry_store(),
                Happened::Prune => {
                    let history = self.prepared.plan.store.history;
                    let now = self.clock.now().time;
                    self.writer
                        .prune(crate::alert::Timestamp(now.0.saturating_sub_unsigned(history.0)));
                }
            }
            self.settle();
        }
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            waiting.answer(Err(Unavailable::ShuttingDown));
        }
    }

    fn is_drained(&self) -> bool {
        let durable = matches!(self.mode, Mode::Durable(None)) && !self.engine.has_changes();
        let given_up = matches!(self.mode, Mode::Degraded { .. });
        self.draining && (durable || given_up) && self.on_their_way.is_empty() && self.tasks.is_empty()
    }

    fn deadline(&self) -> Option<Instant> {
        self.engine
            .deadline()
            .map(|(tick, _)| self.clock.instant_of(tick))
    }

    /// The engine's deadline has come.
    fn wake(&mut self) {
        if let Some((_, reason)) = self.engine.deadline() {
            tracing::trace!(reason = reason.as_str(), "deadline");
        }
        self.input(Input::Timer);
    }

    fn input(&mut self, input: Input) {
        self.engine.handle(input, self.clock.now());
    }

    /// Lets everything happen that the engine wants and the store allows, and starts the next commit.
    fn settle(&mut self) {
        while let Some(effect) = self.engine.poll() {
            let depends = matches!(effect, Effect::Reply { .. } | Effect::Send(_));
            let durable = matches!(self.mode, Mode::Durable(_));
            let dirty = self.engine.has_changes();
            if !(depends && durable) {
                self.perform(effect);
            } else if let Some(effect) = self.gate.pass(effect, dirty) {
                self.perform(effect);
            }
        }
        match &mut self.mode {
            Mode::Durable(running) if running.is_none() && self.engine.has_changes() => {
                self.gate.commit_begins();
                *running = Some(self.writer.commit(self.engine.changes()));
            }
            Mode::Durable(_) => {}
            Mode::Degraded { backlog, .. } => backlog.merge(self.engine.changes()),
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Reply { request, tally } => {
                if let Some(waiting) = self.waiting.remove(&request) {
                    waiting.answer(Ok(tally));
                }
            }
            Effect::Digest(draft) => self.render(*draft),
            Effect::Send(send) => self.send(send),
            Effect::Event(event) => report(&self.metrics, event),
        }
    }

    fn render(&mut self, draft: Draft) {
        let renderer = Arc::clone(&self.prepared.renderer);
        self.tasks.spawn_blocking(move || Ended::Rendered {
            digest: draft.id,
            rendered: renderer.render(&draft),
        });
    }

    fn send(&mut self, send: Send) {
        if !self.on_their_way.insert(send.message) {
            return;
        }
        let plan = Arc::clone(&self.prepared.plan);
        let client = self.client.clone();
        let now = self.clock.now().time;
        self.tasks.spawn(async move {
            let begun = Instant::now();
            let answer = match &send.bot {
                None => print(Arc::clone(&send.body)).await,
                Some(name) => match plan.bots.get(name) {
                    Some(bot) => {
                        client
                            .send(&plan.dingtalk, bot, Arc::clone(&send.body), now)
                            .await
                    }
                    None => Answer {
                        outcome: Outcome::Refused(Refused::Other),
                        errcode: None,
                        detail: format!("bot `{name}` is not configured any more"),
                    },
                },
            };
            Ended::Sent {
                send,
                answer,
                took: begun.elapsed(),
            }
        });
    }

    fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Rendered { digest, rendered } => self.input(Input::Rendered { digest, rendered }),
            Ended::Sent { send, answer, took } => {
                self.on_their_way.remove(&send.message);
                self.metrics.message(send.bot.as_ref(), answer.outcome, took);
                self.input(Input::Outcome {
                    message: send.message,
                    answer,
                });
            }
        }
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Accept {
                source,
                alerts,
                reply,
            } => {
                let waiting = Waiting(reply);
                if matches!(self.mode, Mode::Degraded { .. }) {
                    return waiting.answer(Err(Unavailable::StoreFailed));
                }
                let request = self.next_request;
                self.next_request = RequestId(request.0 + 1);
                self.waiting.insert(request, waiting);
                self.input(Input::Alerts {
                    request,
                    source,
                    alerts,
                });
            }
            Ask::Alerts { query, reply } => {
                self.input(Input::Timer);
                // Somebody who asked and went away is owed nothing.
                let _gone = reply.send(self.engine.alerts(&query));
            }
            Ask::Digests {
                receiver,
                limit,
                reply,
            } => self.writer.digests(receiver, limit, reply),
            Ask::Health { reply } => {
                self.input(Input::Timer);
                let _gone = reply.send(self.health());
            }
            Ask::KeepRefused(body) => self.writer.keep_refused(body),
        }
    }

    /// A commit has ended.
    async fn committed(&mut self, committed: writer::Committed) {
        let writer::Committed {
            changes,
            rows,
            result,
        } = committed;
        match (result, &mut self.mode) {
            (Ok(took), Mode::Durable(running)) => {
                *running = None;
                self.metrics.committed(rows, took);
                for effect in self.gate.commit_succeeded() {
                    self.perform(effect);
                }
            }
            (Ok(took), Mode::Degraded { backlog, running, .. }) => {
                *running = None;
                self.metrics.committed(rows, took);
                if backlog.is_empty() {
                    tracing::info!("the store takes writes again");
                    self.mode = Mode::Durable(None);
                } else {
                    // What was told while this one ran is nowhere else: it must not be put back with the engine.
                    *running = Some(self.writer.commit(std::mem::take(backlog.as_mut())));
                }
            }
            (Err(error), Mode::Durable(_)) => self.degrade(&error, changes).await,
            (
                Err(error),
                Mode::Degraded {
                    backlog,
                    running,
                    retry_at,
                },
            ) => {
                *running = None;
                *retry_at = Instant::now() + STORE_RETRY;
                let newer = std::mem::replace(backlog.as_mut(), changes);
                backlog.merge(newer);
                self.metrics.commit_failed();
                tracing::debug!(%error, "the store still takes no writes");
            }
        }
    }

    /// The store failed: whoever waits is told to come back, and the engine goes back to what is durable.
    async fn degrade(&mut self, error: &StoreError, lost: Changes) {
        self.metrics.commit_failed();
        tracing::error!(%error, "the store takes no writes; webhooks are refused until it does");
        let held = self.gate.commit_failed();
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            waiting.answer(Err(Unavailable::StoreFailed));
        }
        let loaded = self.writer.load().await;
        let backlog = if loaded.is_ok() { Changes::default() } else { lost };
        self.mode = Mode::Degraded {
            backlog: Box::new(backlog),
            retry_at: Instant::now() + STORE_RETRY,
            running: None,
        };
        match loaded {
            Ok(saved) => self.put_back(saved),
            Err(error) => {
                tracing::error!(%error, "the store cannot be read either; going on from memory");
                // What cannot be read back cannot be put back: it is told from memory, as long as there is one,
                // and written once that is possible.
                for effect in held {
                    self.perform(effect);
                }
            }
        }
    }

    fn put_back(&mut self, mut saved: Saved) {
        // Renderings and answers under way still come in; their numbers must not mean something else by then.
        let (alert, digest) = self.engine.next_numbers();
        saved.next_alert = saved.next_alert.max(alert);
        saved.next_digest = saved.next_digest.max(digest);
        self.engine = Engine::new(Arc::clone(&self.prepared.plan), saved, self.clock.now());
        if self.draining {
            self.input(Input::Drain);
        }
    }

    fn retry_store(&mut self) {
        if let Mode::Degraded { backlog, running, .. } = &mut self.mode {
            *running = Some(self.writer.commit(std::mem::take(backlog.as_mut())));
        }
    }

    fn health(&self) -> Health {
        Health {
            store_writable: matches!(self.mode, Mode::Durable(_)),
            counts: self.engine.counts(),
            receivers: self.engine.receivers(),
            bots: self.engine.bots(),
        }
    }
}

impl Waiting {
    fn answer(self, answer: Result<BTreeMap<Verdict, u32>, Unavailable>) {
        // A sender that hung up will post again; what it posted is kept all the same.
        let _gone = self.0.send(answer);
    }
}

/// Waits for the running commit; for ever when there is none.
async fn running_commit(mode: &mut Mode) -> writer::Committed {
    let (Mode::Durable(running) | Mode::Degraded { running, .. }) = mode;
    match running {
        Some(running) => running.await.expect(writer::THREAD_LIVES),
        None => std::future::pending().await,
    }
}

fn store_retry_at(mode: &Mode) -> Option<Instant> {
    match mode {
        Mode::Degraded {
            retry_at,
            running: None,
            ..
        } => Some(*retry_at),
        Mode::Degraded { .. } | Mode::Durable(_) => None,
    }
}

/// Sleeps until `at`; for ever when there is no such time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Prints a digest: the console's way of sending.
async fn print(body: Arc<[u8]>) -> Answer {
    use std::io::Write as _;
    let printed = tokio::task::spawn_blocking(move || {
        let mut out = std::io::stdout().lock();
        out.write_all(&body)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
    })
    .await;
    let (outcome, detail) = match printed {
        Ok(Ok(())) => (Outcome::Delivered, String::new()),
        Ok(Err(error)) => (Outcome::Retry, format!("cannot print: {error}")),
        Err(error) => (Outcome::Retry, format!("cannot print: {error}")),
    };
    Answer {
        outcome,
        errcode: None,
        detail,
    }
}

/// Tells log and metrics of an event.
fn report(metrics: &Metrics, event: Event) {
    match event {
        Event::Composed {
            digest,
            receiver,
            changes,
            detail,
            messages,
            template_error,
        } => {
            metrics.digest(&receiver, detail);
            tracing::info!(%digest, %receiver, changes, detail = detail.as_str(), messages, "digest composed");
            if let Some(error) = template_error {
                metrics.template_failed(&receiver);
                tracing::error!(%digest, %receiver, error, "template failed; the built-in one was used");
            }
        }
        Event::Answered {
            message,
            receiver,
            bot,
            answer,
        } => {
            let (digest, part) = (message.digest, message.part);
            let bot = bot.as_ref().map_or("console", |bot| bot.as_str());
            let (outcome, detail) = (answer.outcome.as_str(), answer.detail);
            if answer.outcome == Outcome::Delivered {
                tracing::info!(%digest, part, %receiver, bot, "message delivered");
            } else {
                let errcode = answer.errcode;
                tracing::warn!(%digest, part, %receiver, bot, outcome, errcode, detail, "message not delivered");
            }
        }
        Event::Paused {
            bot,
            reason,
            span,
            detail,
        } => {
            tracing::warn!(%bot, reason, seconds = span.0 / 1000, detail, "bot paused");
        }
        Event::QuotaNear { used, quota } => {
            tracing::warn!(
                used,
                quota,
                "most of the month's quota is used; what is not urgent is stretched"
            );
        }
    }
}

#[cfg(test)]
mod tests;
