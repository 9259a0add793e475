//! What can come of sending a message, by what is to be done about it.
//!
//! The classes are those of the protocol's handling table. Which of DingTalk's many answers falls into which
//! class is the business of `dingtalk::errcode` and `apicode`; what a class means for budget, pauses and what was
//! told is the engine's.

use crate::alert::{EndpointName, Span};

/// The answer to one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its class.
    pub outcome: Outcome,
    /// DingTalk's code, when it gave one.
    pub errcode: Option<i64>,
    /// One line for the operator, free of credentials.
    pub detail: String,
}

impl Answer {
    /// What is answered for an endpoint that is not in the plan any more.
    pub fn no_such_endpoint(name: &EndpointName) -> Self {
        Self {
            outcome: Outcome::Refused(Refused::Other),
            errcode: None,
            detail: format!("endpoint `{name}` is not configured any more"),
        }
    }
}

/// The class of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Accepted.
    Delivered,
    /// Certainly not delivered, and worth another try soon (busy, connection refused, name not found).
    Retry,
    /// The endpoint is too fast: it must be silent for this long.
    Limited(Span),
    /// The target takes no more for the moment: nobody else is concerned.
    Throttled(Span),
    /// The egress address is blocked: every endpoint must be silent for this long.
    Blocked(Span),
    /// The quota of calls is used up.
    Quota,
    /// The sender or its target is refused: an operator must act.
    Refused(Refused),
    /// The message is refused for what it says, or for its size.
    Rejected(Rejected),
    /// It may or may not have been delivered (time-out, connection lost, 5xx).
    Unknown,
}

/// What about an endpoint is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// The token or the app's secret is unknown, the bot gone or stopped, its group dissolved.
    Token,
    /// The app lacks a permission.
    Permission,
    /// The group is unknown to the app or has not let its bot in, or a person may not be written to.
    Target,
    /// There is no such person. Asking again would not change that.
    Person,
    /// The signature does not match, or is missing.
    Signature,
    /// The timestamp is more than an hour off: the clock, or a stale URL.
    Clock,
    /// The message lacks the endpoint's keyword.
    Keyword,
    /// The caller's address is not on the endpoint's list.
    Address,
    /// Anything else an operator must look at.
    Other,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Token,
        Self::Permission,
        Self::Target,
        Self::Person,
        Self::Signature,
        Self::Clock,
        Self::Keyword,
        Self::Address,
        Self::Other,
    ];
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejected {
    /// Too many bytes.
    Size,
    /// Its content.
    Content,
    /// Malformed: a bug of ours.
    Malformed,
}

impl Outcome {
    /// The stable name in metrics, logs and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Limited(_) => "limited",
            Self::Throttled(_) => "throttled",
            Self::Blocked(_) => "blocked",
            Self::Quota => "quota",
            Self::Refused(Refused::Token) => "refused_token",
            Self::Refused(Refused::Permission) => "refused_permission",
            Self::Refused(Refused::Target) => "refused_target",
            Self::Refused(Refused::Person) => "refused_person",
            Self::Refused(Refused::Signature) => "refused_signature",
            Self::Refused(Refused::Clock) => "refused_clock",
            Self::Refused(Refused::Keyword) => "refused_keyword",
            Self::Refused(Refused::Address) => "refused_address",
            Self::Refused(Refused::Other) => "refused_other",
            Self::Rejected(Rejected::Size) => "rejected_size",
            Self::Rejected(Rejected::Content) => "rejected_content",
            Self::Rejected(Rejected::Malformed) => "rejected_malformed",
            Self::Unknown => "unknown",
        }
    }
}
