//! The ways in: what senders post, decoded into alerts and problems.
//!
//! [`decode`] is pure: a body, a source and the time of arrival in, alerts and problems out. It knows nothing of
//! HTTP beyond the content type, of routing or of what came before. One wire format each in the modules below.
//!
//! **Invariant:** one unusable element never hides a usable one; only a body in which nothing is usable is refused.
//!
//! **Invariant:** what a sender only repeats decodes to the same alert. Whatever differs between two tellings of
//! one fact (the address of an Alertmanager, a dashboard's time range) stays out of it, except `values`.

mod alertmanager;
mod body;
mod grafana;
pub mod json;
mod looks;
mod prometheus;
mod time;
mod wire;
mod word;

use std::fmt::{self, Write as _};

use jiff::tz::TimeZone;

use crate::alert::{Alert, Labels, Span, Timestamp};
use crate::plan::{Source, SourceKind};
use crate::source::time::Reading;
use crate::source::wire::{Pairs, Place};

/// How many problems of one body are kept in words; the others are counted.
pub const PROBLEMS_MAX: usize = 1000;

/// How many bytes of a sender's text a problem quotes.
const QUOTE_BYTES_MAX: usize = 120;

/// Bytes of an alert's labels, names and values together. An alert with more is left out: by its labels it is told
/// apart, so they cannot be shortened.
pub const LABELS_BYTES_MAX: usize = 64 * 1024;

/// Bytes of an alert's annotations, of its links and of its values. Longer ones are shortened: a digest shows a few
/// thousand characters.
pub const TEXTS_BYTES_MAX: usize = 64 * 1024;

/// Bytes that are left of each text where they must be shortened.
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// Bytes that the two lengths of a pair take at most in a set of such a size.
const PAIR_BYTES_MAX: usize = 16;

/// A start or end further ahead of our clock than this is not believed: no zone is this far away.
const FUTURE_MAX: Span = Span::days(1);

/// What a body held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The usable alerts in the order of the body.
    pub alerts: Vec<Alert>,
    /// What was wrong with the others, or odd about these; at most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// Problems for which there was no place in `problems`.
    pub problems_more: usize,
    /// Elements left out because of a problem, those without a place in `problems` included.
    pub unusable: usize,
    /// Elements that are neither firing nor resolved, or events a mapping passes over.
    pub ignored: u32,
    /// Alerts the sender says it cut off (`truncatedAlerts`).
    pub truncated: u64,
    /// Evaluations of the mapping's expressions that ended at a limit.
    pub stopped: u32,
}

impl Decoded {
    /// Notes something odd about an element that is used all the same.
    fn note(&mut self, index: Option<usize>, text: impl Into<String>) {
        self.add(index, false, text.into());
    }

    /// Notes something about the body as a whole, before whatever there is to say about its elements.
    fn note_whole(&mut self, text: String) {
        let problem = Problem {
            index: None,
            fatal: false,
            text,
        };
        self.problems.insert(0, problem);
        if self.problems.len() > PROBLEMS_MAX {
            self.problems.pop();
            self.problems_more += 1;
        }
    }

    /// The annotations of an element, with a note when they are no object.
    fn annotations(
        &mut self,
        index: usize,
        found: Place<Pairs<'_>>,
        links: &mut Vec<(&'static str, String)>,
    ) -> Labels {
        match found {
            Place::Of(pairs) => annotations(pairs.list, links),
            Place::Absent => Labels::default(),
            Place::Other(kind) => {
                self.note(Some(index), format!("the annotations are {kind}, not an object"));
                Labels::default()
            }
        }
    }

    /// Notes why an element is left out.
    fn leave_out(&mut self, index: Option<usize>, text: impl Into<String>) {
        self.unusable += 1;
        self.add(index, true, text.into());
    }

    fn add(&mut self, index: Option<usize>, fatal: bool, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { index, fatal, text });
        } else {
            self.problems_more += 1;
        }
    }

    /// The whole, unless nothing in it can be used.
    fn unless_useless(self) -> Result<Self, Refusal> {
        if self.unusable == 0 || !self.alerts.is_empty() || self.ignored > 0 {
            return Ok(self);
        }
        let first = self.problems.into_iter().find(|problem| problem.fatal);
        let first = first.map(|problem| problem.text).unwrap_or_default();
        let count = self.unusable;
        Err(match self.stopped {
            0 => Refusal::NothingUsable { count, first },
            stopped => Refusal::MappingLimit { stopped, first },
        })
    }
}

/// Something wrong in a body that was used all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which element, counted from 0; `None` for the body as a whole.
    pub index: Option<usize>,
    /// Was the element left out because of it?
    pub fatal: bool,
    /// What is wrong, as a sentence for the sender's operator.
    pub text: String,
}

/// Why nothing in a body could be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not JSON (nor a form that holds some).
    #[error("{0}")]
    NotJson(String),
    /// JSON, but not of this source's form.
    #[error("{0}")]
    WrongShape(String),
    /// No element was usable.
    #[error("none of the {count} alerts could be used; the first problem: {first}")]
    NothingUsable {
        /// How many elements there were.
        count: usize,
        /// The first problem.
        first: String,
    },
    /// No element was usable, and expressions of the mapping were stopped at a limit.
    #[error(
        "none of the alerts could be used, and {stopped} evaluations of the mapping were stopped at a limit; \
         the first problem: {first}"
    )]
    MappingLimit {
        /// How many evaluations.
        stopped: u32,
        /// The first problem.
        first: String,
    },
    /// A character set or coding we do not read.
    #[error("{0}")]
    Unsupported(String),
}

/// Decodes one body, already inflated, that arrived at `now`.
pub fn decode(
    source: &Source,
    content_type: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> Result<Decoded, Refusal> {
    let text = body::text(content_type, body)?;
    let arrival = Arrival {
        source: source.name.as_str(),
        zone: &source.timezone,
        now,
    };
    let mut decoded = match &source.kind {
        SourceKind::Alertmanager => alertmanager::decode(&text, arrival),
        SourceKind::Grafana => grafana::decode(&text, arrival),
        SourceKind::Prometheus => prometheus::decode(&text, arrival),
        SourceKind::Json(mapping) => json::decode(mapping, &text, arrival),
    }?;
    if decoded.alerts.iter().all(is_of_use) {
        return Ok(decoded);
    }
    let alerts = std::mem::take(&mut decoded.alerts);
    for alert in alerts {
        let shortened = shortened(alert, &mut decoded);
        decoded.alerts.extend(shortened);
    }
    decoded.unless_useless()
}

/// Whether an alert can be kept as it is.
fn is_of_use(alert: &Alert) -> bool {
    let texts = [&alert.annotations, &alert.links, &alert.values];
    let identity = alert.identity.as_deref().unwrap_or_default();
    alert.labels.as_encoded().len() + identity.len() <= LABELS_BYTES_MAX
        && texts.iter().all(|it| it.as_encoded().len() <= TEXTS_BYTES_MAX)
}

/// The same in bounded room, or `None` and a reason.
fn shortened(mut alert: Alert, decoded: &mut Decoded) -> Option<Alert> {
    let name = quote(alert.labels.get("alertname").unwrap_or("without a name"));
    let identity = alert.identity.as_deref().unwrap_or_default();
    let bytes = alert.labels.as_encoded().len() + identity.len();
    if bytes > LABELS_BYTES_MAX {
        let problem = format!(
            "the labels of the alert `{name}` have {bytes} bytes; an alert with more than {LABELS_BYTES_MAX} is not taken"
        );
        decoded.leave_out(None, problem);
        return None;
    }
    for (what, texts) in [
        ("annotations", &mut alert.annotations),
        ("links", &mut alert.links),
        ("values", &mut alert.values),
    ] {
        let bytes = texts.as_encoded().len();
        if bytes > TEXTS_BYTES_MAX {
            *texts = shorter(texts);
            decoded.note(
                None,
                format!(
                    "the {what} of the alert `{name}` have {bytes} bytes; they are shortened to {TEXTS_BYTES_MAX}"
                ),
            );
        }
    }
    Some(alert)
}

/// As much of a text as is left of it, in whole characters.
fn beginning(text: &str) -> &str {
    let ends = (0..=TEXT_BYTES_MAX).rev();
    ends.into_iter()
        .find_map(|end| text.get(..end))
        .unwrap_or_default()
}

/// As many texts as there is room for, each of them cut; one whose name alone is that long is left out.
fn shorter(texts: &Labels) -> Labels {
    let mut room = TEXTS_BYTES_MAX;
    let cut = texts.iter().filter_map(|(name, value)| {
        let value = match value.len() {
            0..=TEXT_BYTES_MAX => value.to_owned(),
            _ => beginning(value).to_owned() + "…",
        };
        room = room.checked_sub(name.len() + value.len() + PAIR_BYTES_MAX)?;
        Some((name, value))
    });
    Labels::from_pairs(cut.collect::<Vec<_>>())
}

/// When and where a body arrived.
#[derive(Clone, Copy, Debug)]
struct Arrival<'a> {
    /// Name of the source, for an alert that has none.
    source: &'a str,
    /// Zone of times that name none.
    zone: &'a TimeZone,
    /// Our clock.
    now: Timestamp,
}

impl Arrival<'_> {
    /// When something began or ended; `None`, which stands for the arrival, when that is not set, unreadable or far
    /// ahead.
    fn past(
        self,
        reading: Reading,
        what: &str,
        written: &str,
        index: usize,
        decoded: &mut Decoded,
    ) -> Option<Timestamp> {
        let time = moment(reading, what, written, index, decoded)?;
        if time.since(self.now) > FUTURE_MAX {
            decoded.note(
                Some(index),
                format!(
                    "the {what} `{}` lies in the future; the time of arrival is used",
                    quote(written)
                ),
            );
            return None;
        }
        Some(time)
    }
}

/// The moment a reading holds; an unreadable one is noted and is none.
fn moment(
    reading: Reading,
    what: &str,
    written: &str,
    index: usize,
    decoded: &mut Decoded,
) -> Option<Timestamp> {
    match reading {
        Reading::Unset => None,
        Reading::At(time) => Some(time),
        Reading::Unreadable => {
            decoded.note(
                Some(index),
                format!(
                    "the {what} `{}` is not a time that can be read; it is taken as not set",
                    quote(written)
                ),
            );
            None
        }
    }
}

/// Labels from pairs; a label with an empty value is no label, as in Prometheus.
fn labels<N: AsRef<str>, V: AsRef<str>>(pairs: Vec<(N, V)>) -> Labels {
    let any_empty = pairs.iter().any(|(_, value)| value.as_ref().is_empty());
    let labels = Labels::from_pairs(pairs);
    if any_empty {
        // Only after the last of repeated names is known: it may be the empty one.
        labels.iter().filter(|(_, value)| !value.is_empty()).collect()
    } else {
        labels
    }
}

/// Annotations and the links among them. An address under `runbook_url` or `runbook` is a link and no longer an
/// annotation. Names like `__this__` are Grafana's own and change with every evaluation: they are dropped.
fn annotations<N: AsRef<str>, V: AsRef<str>>(
    mut pairs: Vec<(N, V)>,
    links: &mut Vec<(&'static str, String)>,
) -> Labels {
    pairs.retain(|(name, _)| !is_private(name.as_ref()));
    for name in ["runbook_url", "runbook"] {
        let found = pairs.iter().rposition(|(found, _)| found.as_ref() == name);
        let address = found
            .and_then(|at| pairs.get(at))
            .and_then(|(_, value)| web_address(value.as_ref()));
        if let Some(address) = address {
            links.push(("runbook", address.to_owned()));
            pairs.retain(|(found, _)| found.as_ref() != name);
            break;
        }
    }
    labels(pairs)
}

fn is_private(name: &str) -> bool {
    name.len() > 4 && name.starts_with("__") && name.ends_with("__")
}

/// The text as an address people can open: `http` or `https` and nothing that would end a link early.
fn web_address(text: &str) -> Option<&str> {
    let text = text.trim();
    let (scheme, rest) = text.split_once(':')?;
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let rest = rest
        .strip_prefix("//")
        .filter(|rest| is_web && !rest.is_empty())?;
    // Nearly every address is plain ASCII, and all its bytes together are quicker to look at than one by one.
    let is_plain = rest
        .bytes()
        .fold(true, |plain, byte| plain & byte.is_ascii_graphic());
    let is_whole = is_plain || !rest.contains(|c: char| c.is_whitespace() || c.is_control());
    is_whole.then_some(text)
}

/// A sender's text for a problem: shortened, control characters escaped.
fn quote(text: impl fmt::Display) -> String {
    /// Stops whoever writes more than there is room for.
    struct Short(String);
    impl fmt::Write for Short {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for c in text.chars() {
                if self.0.len() >= QUOTE_BYTES_MAX {
                    return Err(fmt::Error);
                }
                if c.is_control() {
                    self.0.extend(c.escape_debug());
                } else {
                    self.0.push(c);
                }
            }
            Ok(())
        }
    }
    let mut short = Short(String::new());
    if write!(short, "{text}").is_err() {
        short.0.push('…');
    }
    short.0
}

#[cfg(test)]
mod tests;
