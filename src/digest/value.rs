//! What a template sees.
//!
//! Plain data, made to be serialised: the names of its fields are a public interface. Texts are as their
//! senders wrote them, shortened where a limit says so, and not escaped; times are RFC 3339 in the configured
//! zone, spans are whole seconds. Nothing here knows markdown or a language.

use std::collections::BTreeMap;

use serde::Serialize;

/// One digest, or one part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Digest {
    /// The digest's number.
    pub id: u64,
    /// Who is told.
    pub receiver: String,
    /// When it was composed.
    pub composed_at: String,
    /// Whether an urgent change is in it.
    pub urgent: bool,
    /// `full`, `compact`, `rollup` or `stub`.
    pub detail: &'static str,
    /// Which message of the digest this is, counted from 1.
    pub part: usize,
    /// How many messages the digest has.
    pub parts: usize,
    /// Where all alerts of the receiver can be looked up.
    pub url: Option<String>,
    /// Numbers of the whole digest, whatever the part.
    pub counts: Counts,
    /// Alerts that begin to fire in this digest (new, again, flapping), by severity.
    pub begun: BySeverity,
    /// Alerts of the receiver that fire at this moment, by severity.
    pub firing: BySeverity,
    /// The severity of the worst alert that begins to fire, of the worst that goes on firing in a reminder.
    pub severity: &'static str,
    /// The state of the first section: what the digest is mainly about.
    pub state: &'static str,
    /// The names of what changed, worst first; the renderer takes names away until the title fits.
    pub what: Vec<String>,
    /// How many names are not in `what`.
    pub what_more: usize,
    /// Where, when everything happened in one place; the renderer drops it when the title is too long.
    pub place: Option<String>,
    /// The alert that began first among those that begin to fire.
    pub first: Option<First>,
    /// How many sections the whole digest has.
    pub groups: usize,
    /// The `group_by` values that all its sections share.
    pub labels: BTreeMap<String, String>,
    /// What all its alerts share.
    pub common: Common,
    /// The sections of this part.
    pub sections: Vec<Section>,
    /// What is in the digest but in none of its parts' sections.
    pub rest: Rest,
    /// The labels in which alerts differ, with their most frequent values (rollup).
    pub top: Vec<Top>,
    /// What there is to say about ourselves.
    pub notices: Vec<NoticeValue>,
    /// The longest span among the reminders, in seconds.
    pub longest: Option<u64>,
}

/// How many alerts, by change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Fire for the first time.
    pub new: u64,
    /// Fire again.
    pub again: u64,
    /// Are over.
    pub resolved: u64,
    /// Still fire, and it is time to say so.
    pub reminder: u64,
    /// Fired and resolved between two digests.
    pub passed: u64,
    /// Come and go.
    pub flapping: u64,
    /// Are no longer repeated by their sender.
    pub expired: u64,
    /// Fire at this moment, told here or before (in a section: of the section).
    pub firing: u64,
    /// Are in this digest (in a section: in the section).
    pub told: u64,
}

/// How many alerts, by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BySeverity {
    /// Critical.
    pub critical: u64,
    /// Warning.
    pub warning: u64,
    /// Everything else.
    pub info: u64,
    /// All together.
    pub total: u64,
    /// How many of the three are not zero.
    pub kinds: u64,
}

/// The likely first alert of a storm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct First {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: Vec<String>,
    /// Since when it fires.
    pub starts_at: String,
    /// Its graph, when it has one.
    pub url: Option<String>,
}

/// Sections that are counted only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rest {
    /// How many sections.
    pub sections: u64,
    /// With how many alerts.
    pub alerts: u64,
    /// How many of those begin to fire.
    pub firing: u64,
}

/// The alerts of one state that share the `group_by` values of their route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Section {
    /// `firing`, `flapping`, `resolved`, `expired`, `passed` or `reminder`.
    pub state: &'static str,
    /// Is it the first section of its state in this part?
    pub opens: bool,
    /// Did a part before hold alerts of it?
    pub continued: bool,
    /// What its head says first.
    pub name: String,
    /// What else its head says: values that tell where.
    pub place: Vec<String>,
    /// The `group_by` values.
    pub labels: BTreeMap<String, String>,
    /// What all its alerts share.
    pub common: Common,
    /// The summary all its alerts share, when there are several.
    pub summary: Option<String>,
    /// Numbers of the whole section, whatever the part.
    pub counts: Counts,
    /// Whether a route of it is urgent.
    pub urgent: bool,
    /// The worst severity.
    pub severity: &'static str,
    /// Begin of its oldest alert.
    pub starts_at: String,
    /// How many of its alerts are not listed in this digest.
    pub more: u64,
    /// Its alerts in this part.
    pub alerts: Vec<Alert>,
    /// The same alerts, those that say the same folded into one line.
    pub lines: Vec<Line>,
    /// Links that all its alerts share, when there are several lines.
    pub links: Links,
    /// The labels in which its alerts differ, with their most frequent values (rollup).
    pub top: Vec<Top>,
}

/// What all alerts of a section, or of the digest, share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Common {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// `new`, `again`, `resolved`, `reminder`, `passed`, `flapping` or `expired`.
    pub change: &'static str,
    /// `firing` or `resolved`.
    pub status: &'static str,
    /// `critical`, `warning` or `info`.
    pub severity: &'static str,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The labels its section does not share.
    pub differing: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Begin of the episode.
    pub starts_at: String,
    /// End of the episode, when over.
    pub ends_at: Option<String>,
    /// Seconds it has lasted or did last.
    pub duration: u64,
    /// Episodes since the receiver was last told; for flapping, in the last hour.
    pub episodes: u32,
    /// The source it came from.
    pub source: String,
    /// The hash of its labels.
    pub fingerprint: String,
    /// Links by kind.
    pub links: Links,
    /// Measured values by name.
    pub values: BTreeMap<String, String>,
}

/// Where to look further; web addresses only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Links {
    /// The rule's graph at its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// The dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
    /// The panel of the dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panel: Option<String>,
    /// Where to silence it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// A picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// One line of a section: an alert, or several that say the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The change of its alerts.
    pub change: &'static str,
    /// The severity of its alerts.
    pub severity: &'static str,
    /// Do its alerts fire at this moment?
    pub firing: bool,
    /// How many alerts.
    pub count: u64,
    /// What tells them from the others; at most a handful.
    pub names: Vec<String>,
    /// How many alerts are not named.
    pub more: u64,
    /// The summary, unless the section's head says it; for one alert without a summary, its values.
    pub text: Option<String>,
    /// What the annotation says beyond the summary (full).
    pub description: Option<String>,
    /// Begin of the oldest.
    pub starts_at: String,
    /// Seconds of each when they are few, else the shortest and the longest.
    pub durations: Vec<u64>,
    /// Are `durations` the two ends of a range?
    pub range: bool,
    /// Most episodes of one of them.
    pub episodes: u32,
    /// Links that the section does not share, of its first alert.
    pub links: Links,
}

/// A label in which alerts differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Top {
    /// The label.
    pub label: String,
    /// Its most frequent values.
    pub values: Vec<TopValue>,
    /// How many other values it has.
    pub others: u64,
    /// How many alerts have one of the other values.
    pub others_count: u64,
}

/// One value of a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopValue {
    /// The value.
    pub value: String,
    /// How many alerts have it.
    pub count: u64,
}

/// Something to say about ourselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NoticeValue {
    /// Sent through another receiver.
    Fallback {
        /// The receiver whose endpoint carries it.
        through: String,
        /// An endpoint that could not.
        endpoint: String,
        /// Why.
        reason: &'static str,
        /// Until when; absent when nobody knows.
        until: Option<String>,
    },
    /// DingTalk refused the content before.
    ContentRefused {
        /// DingTalk's code.
        errcode: Option<i64>,
    },
    /// The receiver's template could not be used.
    TemplateFailed {
        /// Which.
        template: String,
        /// Why.
        error: String,
    },
}
