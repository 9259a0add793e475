//! What can be asked of the engine: snapshots for the read API and for metrics.
//!
//! Plain values without wire format; `http::api` gives them their JSON names.

use std::sync::Arc;

use crate::alert::occurrence::Occurrence;
use crate::alert::{
    AlertNo, DigestId, EndpointName, Fingerprint, Labels, ReceiverName, SourceName, Span, Timestamp,
};
use crate::digest::Change;
use crate::plan::matcher::Matcher;
use crate::plan::{Quota, RouteId};
use crate::store::{Said, State};

/// Which alerts are asked for; every condition must hold.
#[derive(Clone, Debug, Default)]
pub struct AlertQuery {
    /// Of this source.
    pub source: Option<SourceName>,
    /// In this state.
    pub state: Option<State>,
    /// Routed to this receiver.
    pub receiver: Option<ReceiverName>,
    /// With labels that match.
    pub matchers: Vec<Matcher>,
    /// With this fingerprint; of each source there may be one.
    pub fingerprint: Option<Fingerprint>,
    /// In this order.
    pub order: Order,
    /// Without so many of the first.
    pub skip: usize,
    /// At most so many.
    pub limit: usize,
}

/// Which alerts are listed first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Those that came in first.
    #[default]
    Arrival,
    /// The worst; among equals those that came in first.
    Severity,
}

/// The answer to an [`AlertQuery`].
#[derive(Clone, Debug, Default)]
pub struct AlertList {
    /// How many match, listed or not.
    pub total: u64,
    /// The same by severity, worst first.
    pub by_severity: [u64; 3],
    /// Those that are listed.
    pub alerts: Vec<AlertView>,
}

/// One alert: what is true and who was told what.
#[derive(Clone, Debug)]
pub struct AlertView {
    /// Its source.
    pub source: SourceName,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its identity in words, when a mapping names one.
    pub identity: Option<Arc<str>>,
    /// What is true.
    pub state: State,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
    /// Addresses by kind.
    pub links: Labels,
    /// Begin of the episode.
    pub starts_at: Timestamp,
    /// Its end, when over.
    pub ends_at: Option<Timestamp>,
    /// When it first came in.
    pub first_seen: Timestamp,
    /// When it last came in.
    pub last_seen: Timestamp,
    /// How many times it began to fire.
    pub episodes: u32,
    /// Whom it concerns.
    pub receivers: Vec<AlertReceiverView>,
}

/// One alert as one receiver knows it.
#[derive(Clone, Debug)]
pub struct AlertReceiverView {
    /// The receiver.
    pub name: ReceiverName,
    /// What it was last told.
    pub told: Option<(Said, Timestamp, DigestId)>,
    /// What it is to be told.
    pub change: Option<Change>,
    /// Why it has not been told yet.
    pub waits_for: Option<WaitsFor>,
}

/// The answer to an [`AlertQuery`] of somebody who wants to know why.
#[derive(Clone, Debug)]
pub struct Explained {
    /// How many match, explained or not.
    pub total: u64,
    /// The first of them.
    pub alerts: Vec<Explanation>,
}

/// One alert, and why what was and was not said of it. What each receiver was told is in the history, by its number.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Its number.
    pub no: AlertNo,
    /// What is true and who was told what.
    pub alert: AlertView,
    /// When it expires unless it is repeated, while it fires.
    pub expires_at: Option<Timestamp>,
    /// Until when it is open whether it fires after all.
    pub doubted_until: Option<Timestamp>,
    /// Whether it comes and goes too often.
    pub flapping: bool,
    /// What happened to it after it first came in, oldest first: the last of it.
    pub occurrences: Vec<Occurrence>,
    /// Its way through the routing tree, by the configuration in force.
    pub routes: Vec<RouteView>,
    /// More about each of `alert.receivers`, in their order.
    pub receivers: Vec<Standing>,
}

/// A node of the routing tree that was looked at on an alert's way.
#[derive(Clone, Debug)]
pub struct RouteView {
    /// Its number, in the order of the configuration; the root is 0.
    pub id: RouteId,
    /// How far below the root.
    pub depth: usize,
    /// Whom it tells.
    pub receiver: ReceiverName,
    /// The sources it is for; empty is all.
    pub sources: Vec<SourceName>,
    /// Its matchers in words.
    pub matchers: Vec<String>,
    /// Whether it leaves the alert to its next sibling as well.
    pub continue_matching: bool,
    /// What it did with the alert: the name of a [`crate::plan::trace::Passage`].
    pub passage: &'static str,
    /// The matcher that does not match.
    pub mismatch: Option<String>,
    /// The node before it that leaves nothing to it.
    pub shadowed_by: Option<RouteId>,
    /// Whether it tells nothing at this time of the week.
    pub muted: bool,
}

/// How a receiver stands to an alert.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The route that leads to it; none does any more to whom only its end is owed.
    pub route: Option<RouteId>,
    /// Why there is nothing to tell it, when there is not.
    pub quiet: Option<Quiet>,
    /// When it will be told what it is to be told, as far as known.
    pub due_at: Option<Timestamp>,
    /// When it is told again that the alert fires, if it goes on like this.
    pub reminder_at: Option<Timestamp>,
    /// What it is told through.
    pub endpoints: Vec<EndpointView>,
}

/// Why there is nothing to tell a receiver about an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quiet {
    /// It knows what is true.
    Knows,
    /// Its route tells no ends.
    NoEnds,
    /// No route leads to it any more: of what it was told only the end is still owed.
    Former,
}

impl Quiet {
    /// The stable name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Knows => "knows",
            Self::NoEnds => "no_ends",
            Self::Former => "former",
        }
    }
}

/// Why a change has not been told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitsFor {
    /// For company: `group_wait`.
    GroupWait,
    /// For the least time between two digests: `group_interval`.
    GroupInterval,
    /// For the answer to the message under way.
    Answer,
    /// For the next try after a failure.
    Backoff,
    /// For room in the endpoint's window.
    Minute,
    /// For room in a window of a day: notices to everybody.
    Day,
    /// For a pause of every endpoint to end; the receiver's endpoints say why.
    Pause,
    /// For the monthly quota's pace.
    Quota,
    /// For a mute interval to end or an active one to begin.
    Muted,
    /// For nothing: it is being composed.
    Composing,
    /// For the process to be started again: it is shutting down.
    Shutdown,
}

impl WaitsFor {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::GroupWait,
        Self::GroupInterval,
        Self::Answer,
        Self::Backoff,
        Self::Minute,
        Self::Day,
        Self::Pause,
        Self::Quota,
        Self::Muted,
        Self::Composing,
        Self::Shutdown,
    ];

    /// For room in a window of this length.
    pub(super) fn room_in(window: Span) -> Self {
        if window > Span::minutes(1) {
            Self::Day
        } else {
            Self::Minute
        }
    }

    /// The stable name in API and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GroupWait => "group_wait",
            Self::GroupInterval => "group_interval",
            Self::Answer => "answer",
            Self::Backoff => "backoff",
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Pause => "pause",
            Self::Quota => "quota",
            Self::Muted => "muted",
            Self::Composing => "composing",
            Self::Shutdown => "shutdown",
        }
    }
}

/// One receiver: what it is owed and when.
#[derive(Clone, Debug)]
pub struct ReceiverView {
    /// The receiver.
    pub name: ReceiverName,
    /// How many changes it has not been told.
    pub changes: u64,
    /// When the oldest of them came about.
    pub oldest_change_at: Option<Timestamp>,
    /// When it will be told, as far as known.
    pub due_at: Option<Timestamp>,
    /// Why not yet.
    pub waits_for: Option<WaitsFor>,
    /// When it was last sent a digest.
    pub last_digest_at: Option<Timestamp>,
    /// How many messages of the last day nobody is known to have read, when it asks for that.
    pub unread: Option<u64>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint's budget.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// The endpoint.
    pub name: EndpointName,
    /// How it sends: `bot`, `group`, `direct` or `work_notice`.
    pub kind: &'static str,
    /// Messages it may send at this moment.
    pub budget_left: u32,
    /// Until when it is paused; `None` with a reason is until the configuration is loaded again.
    pub paused_until: Option<Timestamp>,
    /// Why: the name of the outcome that paused it.
    pub reason: Option<&'static str>,
    /// Messages sent this month.
    pub used_this_month: u64,
}

/// Numbers of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Alerts that fire.
    pub firing: u64,
    /// Alerts that are over and not forgotten yet, expired ones included.
    pub resolved: u64,
    /// Changes not told yet, over all receivers.
    pub changes: u64,
    /// Messages sent this month, by what they count against.
    pub used_this_month: [(Quota, u64); 2],
}

/// How much is held in memory, in pieces. All of it follows from the alerts that are alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Alerts, over or not.
    pub alerts: u64,
    /// What receivers were told, over all of them.
    pub told: u64,
    /// Changes that wait, over all receivers.
    pub waiting: u64,
    /// Alerts filed under the time of their next ageing.
    pub ages: u64,
    /// Alerts filed under the time of their reminders.
    pub reminders: u64,
    /// Delivered messages that may be taken back or asked about, over all receivers.
    pub receipts: u64,
    /// Effects not polled yet.
    pub effects: u64,
}
