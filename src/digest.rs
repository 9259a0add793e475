//! What one receiver is told at one moment.
//!
//! The engine makes a [`Draft`]: the changes, each with cheap handles on what it is about. `compose` turns it
//! into a [`Digest`], the plain value a template sees: sections, counts, common and differing labels. Composing
//! is pure and runs beside the engine, so a large digest never delays intake.
//!
//! **Invariant:** every entry of a draft is counted in the digest, listed or not.

pub(crate) mod compose;
pub(crate) mod naming;
pub mod value;

use std::sync::Arc;

use crate::alert::{
    AlertNo, DigestId, EndpointName, Fingerprint, Labels, ReceiverName, Severity, SourceName, Status,
    Timestamp,
};
use crate::plan::GroupBy;

pub(crate) use naming::shorten;
pub use value::Digest;

/// How the truth differs from what the receiver was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Fires and was never told.
    New,
    /// Fires again, or still after flapping, and was last told as over.
    Again,
    /// Was told as firing and is over.
    Resolved,
    /// Fired and resolved between two digests.
    Passed,
    /// Comes and goes too often to be told each time.
    Flapping,
    /// Was told as firing and its sender stopped repeating it.
    Expired,
    /// Still fires, and it is time to say so.
    Reminder,
}

impl Change {
    /// All changes, in the order in which a digest tells them.
    pub const ALL: [Self; 7] = [
        Self::New,
        Self::Again,
        Self::Flapping,
        Self::Resolved,
        Self::Expired,
        Self::Passed,
        Self::Reminder,
    ];

    /// The name in templates and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Again => "again",
            Self::Resolved => "resolved",
            Self::Passed => "passed",
            Self::Flapping => "flapping",
            Self::Expired => "expired",
            Self::Reminder => "reminder",
        }
    }
}

/// How much a digest says about each alert, richest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detail {
    /// Each alert with its annotations and links.
    Full,
    /// A line each.
    Compact,
    /// Counts per section, the top values of the labels that differ, a few examples.
    Rollup,
    /// Numbers only, no text of any alert: after DingTalk refused the content.
    Stub,
}

impl Detail {
    /// The name in templates, API, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Compact => "compact",
            Self::Rollup => "rollup",
            Self::Stub => "stub",
        }
    }
}

/// What the engine hands out to be composed and rendered.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The digest's number.
    pub id: DigestId,
    /// Start of every `msgUuid` of this digest; the part's number is appended.
    pub uuid_prefix: String,
    /// Who is told.
    pub receiver: ReceiverName,
    /// Who reads the same messages, each by a digest of their own.
    pub others: Vec<(DigestId, ReceiverName)>,
    /// The endpoint it goes through; `None` prints it.
    pub endpoint: Option<EndpointName>,
    /// When it was composed.
    pub composed_at: Timestamp,
    /// Whether an urgent change is in it.
    pub urgent: bool,
    /// The changes, in no particular order.
    pub entries: Vec<Entry>,
    /// Alerts of this receiver that fire at this moment, by severity: critical, warning, info.
    pub firing: [u64; 3],
    /// What there is to say about ourselves.
    pub notices: Vec<Notice>,
    /// What it must fit into.
    pub fit: Fit,
}

/// The frame a digest must fit into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Most messages: the receiver's `max_messages`, or what the endpoint's budget has left.
    pub messages_max: u8,
    /// Most bytes of one serialised request.
    pub message_bytes_max: usize,
    /// The richest level allowed; poorer after DingTalk refused a richer one.
    pub detail_max: Detail,
}

/// One change of one alert.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which alert.
    pub alert: AlertNo,
    /// What changed.
    pub change: Change,
    /// Whether its route is urgent.
    pub urgent: bool,
    /// How bad it is.
    pub severity: Severity,
    /// What makes its section.
    pub group_by: GroupBy,
    /// Where it came from.
    pub source: SourceName,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Firing or resolved.
    pub status: Status,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
    /// Links by kind.
    pub links: Labels,
    /// Measured values.
    pub values: Labels,
    /// Begin of the episode.
    pub starts_at: Timestamp,
    /// End of the episode, when over.
    pub ends_at: Option<Timestamp>,
    /// How many episodes since the receiver was last told (at least 1); for flapping, in the last hour.
    pub episodes: u32,
}

/// Something to say about ourselves in a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Sent through another receiver because `endpoint` is paused.
    Fallback {
        /// The receiver whose endpoint carries it.
        through: ReceiverName,
        /// An endpoint of the receiver that could not.
        endpoint: EndpointName,
        /// Why: the name of the pause's reason.
        reason: &'static str,
        /// Until when; `None` is until the configuration changes.
        until: Option<Timestamp>,
    },
    /// DingTalk refused the content of the digest before.
    ContentRefused {
        /// DingTalk's code.
        errcode: Option<i64>,
    },
}

/// A part of a digest, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the phone shows.
    pub title: String,
    /// What the chat shows (the source text, before serialisation).
    pub text: String,
    /// The exact bytes of the request's body (for the console: what is printed).
    pub body: Arc<[u8]>,
    /// The alerts this part tells or counts; none when it only shows what another has told.
    pub covers: Vec<AlertNo>,
}

/// A rendered digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The level that fitted.
    pub detail: Detail,
    /// One or a few messages; together their `covers` are all entries of the draft.
    pub messages: Vec<Message>,
    /// Why the receiver's template could not be used, when it could not.
    pub template_error: Option<String>,
}
