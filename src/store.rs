//! What survives: the rows of truth and its models, of told, in-flight messages, receipts and budgets, of people who
//! were looked up, and the small [`Store`] trait.
//!
//! The rows are what the engine changes and loads; a store moves them to disk and back and decides nothing.
//! All rows of one [`Changes`] are committed together or not at all.

pub mod sqlite;

pub(crate) use sqlite::check_blob;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::occurrence::Occurrences;
use crate::alert::words::{Model, Words};
use crate::alert::{
    AlertNo, DigestId, EndpointName, Fingerprint, MessageId, ModelNo, Receipt, ReceiverName, SourceName,
    Timestamp,
};

/// Truth: what is known about one alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRow {
    /// Its source and what it says; their model is saved.
    pub words: Words,
    /// Its fingerprint inside the source.
    pub fingerprint: Fingerprint,
    /// `firing`, `resolved` or `expired`.
    pub state: State,
    /// Begin of the current or last episode.
    pub starts_at: Timestamp,
    /// Its end, when over.
    pub ends_at: Option<Timestamp>,
    /// When it first came in.
    pub first_seen: Timestamp,
    /// When it last came in, as of the last write: a pure repeat does not write.
    pub last_seen: Timestamp,
    /// When it expires unless repeated, as of the last write.
    pub expires_at: Timestamp,
    /// How many times it has begun to fire.
    pub episodes: u32,
    /// When its latest episodes began, oldest first, for telling flapping.
    pub recent: Vec<Timestamp>,
    /// Whether it counts as flapping.
    pub flapping: bool,
    /// Whether it is over and a firing message about the same episode came in right after its end.
    pub doubted: bool,
    /// What happened to it lately, as of the last write.
    pub occurrences: Occurrences,
}

/// Where the truth about an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its sender says it fires.
    Firing,
    /// Its sender said it is over.
    Resolved,
    /// Its sender stopped saying anything.
    Expired,
}

impl State {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Firing, Self::Resolved, Self::Expired];

    /// The name in API and store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Expired => "expired",
        }
    }
}

/// What a receiver was last told about an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldRow {
    /// As what.
    pub said: Said,
    /// How many episodes the alert had had by then.
    pub episodes: u32,
    /// When.
    pub at: Timestamp,
    /// In which digest.
    pub digest: DigestId,
}

/// As what an alert was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Said {
    /// Firing.
    Firing,
    /// Over: resolved or passed.
    Resolved,
    /// Coming and going.
    Flapping,
    /// Expired without a word.
    Expired,
}

impl Said {
    /// All that can be said.
    pub const ALL: [Self; 4] = [Self::Firing, Self::Resolved, Self::Flapping, Self::Expired];

    /// The name in API and store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Flapping => "flapping",
            Self::Expired => "expired",
        }
    }

    /// Whether whoever heard it is owed word of the end.
    pub const fn owes_an_end(self) -> bool {
        matches!(self, Self::Firing | Self::Flapping)
    }
}

/// An alert, as what it is told, and how many episodes it has had by then.
pub type Cover = (AlertNo, Said, u32);

/// A message that is to be sent, or whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlightRow {
    /// Who is told.
    pub receiver: ReceiverName,
    /// Through which endpoint; `None` is the console.
    pub endpoint: Option<EndpointName>,
    /// How many parts the digest has.
    pub parts: u8,
    /// Whether an urgent change is in it.
    pub urgent: bool,
    /// The exact bytes of the request, `msgUuid` included.
    pub body: Arc<[u8]>,
    /// What is told when it is delivered; nothing by a picture of what was told.
    pub covers: Vec<Cover>,
    /// How often it has been tried.
    pub attempts: u32,
}

/// A delivered message that may be taken back or asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptRow {
    /// Who was told.
    pub receiver: ReceiverName,
    /// Through which endpoint.
    pub endpoint: EndpointName,
    /// What DingTalk calls it.
    pub receipt: Receipt,
    /// How many messages, kept or not, DingTalk calls the same: they went by one call.
    pub shared: u32,
    /// When it was delivered.
    pub sent_at: Timestamp,
    /// Whether its digest was complete with it.
    pub last: bool,
    /// Whether it told anything; a picture of what was told did not.
    pub tells: bool,
    /// The alerts it announced, when it is to be taken back once they are over.
    pub announced: Vec<AlertNo>,
    /// Whether it is known to have been read.
    pub read: bool,
}

/// The state of an endpoint's budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointRow {
    /// When its messages of the last minute were answered.
    pub sent: Vec<Timestamp>,
    /// Until when it is paused, if that is known, and the stable name of why.
    pub pause: Option<(Option<Timestamp>, String)>,
    /// The month `used` counts, as `year * 12 + month`.
    pub month: i32,
    /// Messages sent in that month.
    pub used: u64,
    /// When the last of them was counted.
    pub counted_at: Option<Timestamp>,
}

/// Somebody as the configuration names them: by a mobile number or a `unionId`, to an app.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersonKey {
    /// Scheme and host of the app's API.
    pub base_url: String,
    /// The app's key.
    pub app: String,
    /// What the configuration says.
    pub known_by: String,
}

/// Who that was when it was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonRow {
    /// The `userId`.
    pub user: String,
    /// When.
    pub at: Timestamp,
}

/// A digest in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestRow {
    /// Who was told.
    pub receiver: ReceiverName,
    /// When it was composed.
    pub composed_at: Timestamp,
    /// Level of detail.
    pub detail: String,
    /// Changes told, by name of the change.
    pub counts: BTreeMap<String, u64>,
    /// `pending`, `delivered`, or the name of the outcome that ended it.
    pub outcome: String,
}

/// A message of a digest in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Through which endpoint; `None` is the console.
    pub endpoint: Option<EndpointName>,
    /// When it was last tried.
    pub sent_at: Option<Timestamp>,
    /// How often it was tried.
    pub attempts: u32,
    /// The name of what came of the last try.
    pub outcome: Option<String>,
    /// DingTalk's code in its last answer, if it gave one.
    pub errcode: Option<i64>,
    /// The last answer in words, DingTalk's where it had any.
    pub answer: Option<String>,
    /// What it tells.
    pub covers: Vec<Cover>,
    /// Title.
    pub title: String,
    /// Text.
    pub text: String,
}

/// What one more attempt changes of a message in the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptRow {
    /// When it was tried.
    pub sent_at: Option<Timestamp>,
    /// How often it has been tried.
    pub attempts: u32,
    /// The name of what came of it.
    pub outcome: Option<String>,
    /// DingTalk's code in its last answer, if it gave one.
    pub errcode: Option<i64>,
    /// What came of it, in DingTalk's words where it had any.
    pub answer: Option<String>,
}

/// What has become known of a message of the history after it was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaterRow {
    /// When it was taken back.
    pub recalled_at: Option<Timestamp>,
    /// When it was last asked who has read it.
    pub asked_at: Option<Timestamp>,
    /// Who has, by `userId`, and when, or when that was first known.
    pub read_by: BTreeMap<String, Timestamp>,
}

impl LaterRow {
    /// Takes over what is newer. Who has read it once has read it then.
    pub fn merge(&mut self, newer: Self) {
        self.recalled_at = newer.recalled_at.or(self.recalled_at);
        self.asked_at = newer.asked_at.or(self.asked_at);
        for (user, at) in newer.read_by {
            self.read_by.entry(user).or_insert(at);
        }
    }
}

/// Rows to commit together. `None` deletes; a later row of the same key replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// By what alerts are described. One that is deleted describes no alert that is left.
    pub models: BTreeMap<ModelNo, Option<Arc<Model>>>,
    /// Truth.
    pub alerts: BTreeMap<AlertNo, Option<AlertRow>>,
    /// Told.
    pub told: BTreeMap<(ReceiverName, AlertNo), Option<ToldRow>>,
    /// In flight.
    pub in_flight: BTreeMap<MessageId, Option<InFlightRow>>,
    /// Delivered messages of which something is to become.
    pub receipts: BTreeMap<MessageId, Option<ReceiptRow>>,
    /// Budgets.
    pub endpoints: BTreeMap<EndpointName, EndpointRow>,
    /// When each receiver was last sent a digest.
    pub served: BTreeMap<ReceiverName, Timestamp>,
    /// People who were looked up.
    pub people: BTreeMap<PersonKey, Option<PersonRow>>,
    /// History.
    pub digests: BTreeMap<DigestId, DigestRow>,
    /// History.
    pub messages: BTreeMap<MessageId, MessageRow>,
    /// History: attempts at messages that are kept already.
    pub attempts: BTreeMap<MessageId, AttemptRow>,
    /// History: how digests ended.
    pub outcomes: BTreeMap<DigestId, String>,
    /// History: what became of messages later. Of what is not in the history (any more) nothing is kept.
    pub later: BTreeMap<MessageId, LaterRow>,
}

impl Changes {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// How many rows there are to commit.
    pub fn rows(&self) -> u64 {
        let rows = self.models.len()
            + self.alerts.len()
            + self.told.len()
            + self.in_flight.len()
            + self.receipts.len()
            + self.endpoints.len()
            + self.served.len()
            + self.people.len()
            + self.digests.len()
            + self.messages.len()
            + self.attempts.len()
            + self.outcomes.len()
            + self.later.len();
        rows as u64
    }

    /// Takes over newer changes, row by row.
    pub fn merge(&mut self, newer: Self) {
        self.models.extend(newer.models);
        self.alerts.extend(newer.alerts);
        self.told.extend(newer.told);
        self.in_flight.extend(newer.in_flight);
        self.receipts.extend(newer.receipts);
        self.endpoints.extend(newer.endpoints);
        self.served.extend(newer.served);
        self.people.extend(newer.people);
        self.digests.extend(newer.digests);
        self.messages.extend(newer.messages);
        self.attempts.extend(newer.attempts);
        self.outcomes.extend(newer.outcomes);
        for (message, row) in newer.later {
            self.later.entry(message).or_default().merge(row);
        }
    }
}

/// Everything an engine starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// A random text made anew whenever this is read, so that what goes on from here has its `msgUuid`s to itself:
    /// the next numbers may have been given before, by who could not write that down.
    pub run: String,
    /// The first number no alert has had.
    pub next_alert: AlertNo,
    /// The first number no digest has had.
    pub next_digest: DigestId,
    /// Truth.
    pub alerts: Vec<(AlertNo, AlertRow)>,
    /// Told.
    pub told: Vec<(ReceiverName, AlertNo, ToldRow)>,
    /// In flight, in the order of their ids.
    pub in_flight: Vec<(MessageId, InFlightRow)>,
    /// Delivered messages of which something is to become, in the order of their ids.
    pub receipts: Vec<(MessageId, ReceiptRow)>,
    /// Budgets.
    pub endpoints: Vec<(EndpointName, EndpointRow)>,
    /// When each receiver was last served.
    pub served: Vec<(ReceiverName, Timestamp)>,
    /// People who were looked up, which is nothing to the engine.
    pub people: Vec<(PersonKey, PersonRow)>,
}

/// Which digests of the history are asked for; every condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DigestQuery {
    /// To this configured receiver, in whichever way.
    pub receiver: Option<ReceiverName>,
    /// That tell of one of these alerts, if any are named. Only the newest [`SEARCHED_MESSAGES_MAX`] messages are
    /// searched.
    pub alerts: Vec<AlertNo>,
    /// At most so many.
    pub limit: usize,
}

/// How many messages of the history are searched for an alert.
pub const SEARCHED_MESSAGES_MAX: usize = 20_000;

/// A digest of the history with its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The digest's number.
    pub id: DigestId,
    /// The digest.
    pub digest: DigestRow,
    /// Its messages in order, with their parts.
    pub messages: Vec<(u8, MessageRow)>,
    /// What became of them later, by part, as far as anything did.
    pub later: BTreeMap<u8, LaterRow>,
}

/// A body that was refused, kept to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedBody {
    /// The source it was posted to.
    pub source: SourceName,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// Its first bytes.
    pub body: Vec<u8>,
}

/// Durable storage. Calls block; the driver makes them from the store's own thread.
pub trait Store: Send + 'static {
    /// Everything the engine starts from.
    fn load(&mut self) -> Result<Saved, StoreError>;
    /// The alerts of [`Store::load`], one by one in the order of their numbers, as they are read: a million of them
    /// need not be held twice.
    fn load_alerts(&mut self, take: &mut dyn FnMut(AlertNo, AlertRow)) -> Result<(), StoreError> {
        for (no, row) in self.load()?.alerts {
            take(no, row);
        }
        Ok(())
    }
    /// All else of [`Store::load`].
    fn load_others(&mut self) -> Result<Saved, StoreError> {
        let alerts = Vec::new();
        Ok(Saved {
            alerts,
            ..self.load()?
        })
    }
    /// Commits all rows or none; they are on disk when this returns. Without rows it tries whether the disk can be
    /// written. After an error none of them is, and the same call may be made again later.
    fn commit(&mut self, changes: &Changes) -> Result<(), StoreError>;
    /// The digests that are asked for, the newest first.
    fn digests(&mut self, query: &DigestQuery) -> Result<Vec<Told>, StoreError>;
    /// Keeps a refused body; of each source only the newest [`REFUSED_KEPT_MAX`] stay.
    fn keep_refused(&mut self, body: &RefusedBody) -> Result<(), StoreError>;
    /// The refused bodies, newest first, at most `limit`, of one source or of all.
    fn refused(&mut self, source: Option<&SourceName>, limit: usize) -> Result<Vec<RefusedBody>, StoreError>;
    /// Forgets people looked up and history composed before `before`, the oldest first and a bounded number of digests
    /// at a time, so that commits never wait for long: to be called every minute or so.
    fn prune(&mut self, before: Timestamp) -> Result<(), StoreError>;
}

/// How many refused bodies are kept for each source.
pub const REFUSED_KEPT_MAX: usize = 20;
/// How many bytes of a refused body are kept.
pub const REFUSED_BODY_BYTES_MAX: usize = 16 * 1024;

/// Why the store could not do what it was asked, by what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file.
    #[error("`{path}` is in use by another dingest; stop that one, or give this one another `store.path`")]
    InUse {
        /// The file.
        path: String,
    },
    /// The file was written by a newer version.
    #[error(
        "`{path}` has schema {found}, this version knows up to {known}; run the dingest that wrote it, or a newer one"
    )]
    NewerSchema {
        /// The file.
        path: String,
        /// Its schema.
        found: i64,
        /// The newest we know.
        known: i64,
    },
    /// The file is not, or no longer, a database.
    #[error("`{path}` is damaged ({detail}); move it aside to start empty, or restore it from a backup")]
    Damaged {
        /// The file.
        path: String,
        /// What SQLite said.
        detail: String,
    },
    /// No space left.
    #[error("no space left for `{path}`; free some, writing is tried again every second")]
    Full {
        /// The file.
        path: String,
    },
    /// The file or its directory cannot be written.
    #[error("`{path}` cannot be written ({detail}); check its owner, its mode and the mount")]
    ReadOnly {
        /// The file.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// Anything else.
    #[error("`{path}`: {detail}")]
    Other {
        /// The file.
        path: String,
        /// What was said.
        detail: String,
    },
}
