//! The ways in: what senders post, decoded into alerts and problems.
//!
//! [`decode`] is pure: a body, a source and the time of arrival in, alerts and problems out. It knows nothing of
//! HTTP beyond the content type, of routing or of what came before. One wire format each in the modules below.
//!
//! **Invariant:** one unusable element never hides a usable one; only a body in which nothing is usable is refused.

pub mod json;

use crate::alert::{Alert, Timestamp};
use crate::plan::Source;

/// What a body held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The usable alerts in the order of the body.
    pub alerts: Vec<Alert>,
    /// What was wrong with the others, or odd about these.
    pub problems: Vec<Problem>,
    /// Elements that are neither firing nor resolved, or events a mapping passes over.
    pub ignored: u32,
    /// Alerts the sender says it cut off (`truncatedAlerts`).
    pub truncated: u64,
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
    /// A character set or coding we do not read.
    #[error("{0}")]
    Unsupported(String),
}

/// Decodes one body, already inflated.
pub fn decode(
    _source: &Source,
    _content_type: Option<&str>,
    _body: &[u8],
    _now: Timestamp,
) -> Result<Decoded, Refusal> {
    Err(Refusal::NotJson(String::new()))
}
