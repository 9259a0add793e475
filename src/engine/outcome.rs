//! What can come of sending a message, by what is to be done about it.
//!
//! The classes are those of the protocol's handling table. Which of DingTalk's many answers falls into which
//! class is the business of `dingtalk::errcode` and `apicode`; what a class means for budget, pauses and what was
//! told is the engine's.

use crate::alert::{EndpointName, Receipt, Span, Timestamp};

/// The answer to one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its class.
    pub outcome: Outcome,
    /// DingTalk's code, when it gave one.
    pub errcode: Option<i64>,
    /// One line for the operator, free of credentials.
    pub detail: String,
    /// What the message can be asked about by, when it was delivered through an app. Equal messages that went by one
    /// call have one.
    pub receipt: Option<Receipt>,
    /// How many calls it took that count against the month, when these are not as many as usual.
    pub calls: Option<u64>,
    /// Whether DingTalk lists nobody who got it, although it was delivered as far as anybody can tell.
    pub reached_nobody: bool,
}

impl Answer {
    /// An answer without a code of DingTalk's.
    pub fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            errcode: None,
            detail: detail.into(),
            receipt: None,
            calls: None,
            reached_nobody: false,
        }
    }

    /// What is answered for an endpoint that is not in the plan any more.
    pub fn no_such_endpoint(name: &EndpointName) -> Self {
        let detail = format!("endpoint `{name}` is not configured any more");
        Self::new(Outcome::Refused(Refused::Other), detail)
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
    /// It was written by an earlier configuration, for another app or audience: it was not sent, and never will be.
    Outdated,
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
    /// What was asked about a message that is not there, or too old.
    Gone,
}

impl Outcome {
    /// Whether what was sent has arrived, or may have.
    pub const fn may_have_arrived(self) -> bool {
        matches!(self, Self::Delivered | Self::Unknown)
    }

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
            Self::Rejected(Rejected::Gone) => "rejected_gone",
            Self::Outdated => "outdated",
            Self::Unknown => "unknown",
        }
    }
}

/// What became of a delivered message that was kept to be taken back or asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It was taken back.
    Recalled,
    /// DingTalk does not take it back.
    Refused,
    /// It was tried to take it back as often as that is tried.
    GivenUp,
    /// It became too old before it could be taken back.
    TooOld,
    /// There was no room for it among those that are kept.
    Overflow,
}

impl Fate {
    /// The stable name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recalled => "recalled",
            Self::Refused => "refused",
            Self::GivenUp => "given_up",
            Self::TooOld => "too_old",
            Self::Overflow => "overflow",
        }
    }
}

/// What an errand has found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// What came of taking back each message. [`Outcome::Delivered`] is taken back.
    Recalled(Vec<(Receipt, Answer)>),
    /// Who has read a message.
    Read(ReadBy),
}

/// Who has read a message, as far as one call says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBy {
    /// What came of the call.
    pub answer: Answer,
    /// Those who have.
    pub readers: Vec<Reader>,
    /// Where the list goes on, when this is not all of it.
    pub next: Option<String>,
}

/// Somebody who has read a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Through which endpoint it came.
    pub endpoint: EndpointName,
    /// The reader's `userId`.
    pub user: String,
    /// When, if that was said.
    pub at: Option<Timestamp>,
}
