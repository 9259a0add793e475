//! Answers: JSON, and every way of saying no with its status, its stable name and a sentence.
//!
//! Statuses are chosen for the sender's retrier: 5xx when it shall come again, 4xx only when nothing in the
//! request can ever be used. No answer repeats a credential or redirects.

use bytes::Bytes;
use serde::Serialize;
use warp::http::StatusCode;
use warp::http::header::{
    ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use warp::reply::Response;

use crate::driver::Unavailable;
use crate::http::limits::RETRY_AFTER_SECONDS;
use crate::source::Refusal;

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("there is nothing at this path; webhooks are posted to `/v1/hooks/` and the name of a source")]
    NoSuchPath,
    #[error("there is no source `{0}`; the configuration's `sources` name them")]
    NoSuchSource(String),
    #[error("there is no app of that name that may be asked; `apps` with `ask` are")]
    NoSuchApp,
    #[error("{0}")]
    NotOfDingTalk(String),
    #[error("{0}")]
    BadQuestion(String),
    #[error("other questions are being answered; ask again in a moment")]
    AnswersBusy,
    #[error("{0}")]
    NoSourceFor(String),
    #[error("this path takes {allow} only")]
    Method { allow: &'static str },
    #[error("{problem}")]
    Unauthorized {
        problem: &'static str,
        challenge: &'static str,
    },
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("the body has more than {limit_bytes} bytes; `server.body_limit` says how many it may have")]
    TooLarge { limit_bytes: usize },
    #[error("the body did not arrive in time")]
    SlowBody,
    #[error("the body broke off")]
    BrokenBody,
    #[error("a body in the coding `{0}` is not read; send it plain or as gzip")]
    Coding(String),
    #[error("the body is not the gzip it is said to be ({0})")]
    BadGzip(String),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{why}")]
    Unavailable { why: Unavailable, status: u16 },
    #[error("the alerts were not stored in time; try again shortly")]
    SlowStore { status: u16 },
    #[error("other bodies use all the memory there is for bodies; try again shortly, or send smaller ones")]
    BodiesFull { status: u16 },
    #[error(
        "this source has as much under way as one source may have; try again shortly, or send less at once"
    )]
    SourceBusy { status: u16 },
    #[error(
        "your address has as many connections open as one address may have; close some, or try again shortly"
    )]
    AddressBusy,
    #[error("there was no answer in time; try again shortly")]
    SlowAnswer,
    #[error(
        "there is no room for {alerts} of the alerts; the others are stored, try again when some are over"
    )]
    NoRoom { alerts: u32, status: u16 },
    #[error("{0}")]
    BadQuery(String),
    #[error("{0}")]
    BadPlan(String),
    #[error("something went wrong in here, and the log says what; the request may be tried again")]
    Panicked,
}

impl Fault {
    /// The stable name in metrics, logs and answers.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::NoSuchPath => "no_such_path",
            Self::NoSuchSource(_) => "no_such_source",
            Self::NoSuchApp => "no_such_app",
            Self::NotOfDingTalk(_) => "not_of_dingtalk",
            Self::BadQuestion(_) => "bad_question",
            Self::AnswersBusy => "answers_busy",
            Self::NoSourceFor(_) => "no_source_for_path",
            Self::Method { .. } => "method",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::TooLarge { .. } => "too_large",
            Self::SlowBody => "slow_body",
            Self::BrokenBody => "broken_body",
            Self::Coding(_) => "content_coding",
            Self::BadGzip(_) => "bad_gzip",
            Self::Refused(Refusal::NotJson(_)) => "not_json",
            Self::Refused(Refusal::WrongShape(_)) => "wrong_shape",
            Self::Refused(Refusal::NothingUsable { .. }) => "nothing_usable",
            Self::Refused(Refusal::MappingLimit { .. }) => "mapping_limit",
            Self::Refused(Refusal::Unsupported(_)) => "unsupported",
            Self::Unavailable {
                why: Unavailable::InboxFull,
                ..
            } => "inbox_full",
            Self::Unavailable {
                why: Unavailable::StoreFailed,
                ..
            } => "store_failed",
            Self::Unavailable {
                why: Unavailable::ShuttingDown,
                ..
            } => "shutting_down",
            Self::SlowStore { .. } => "slow_store",
            Self::BodiesFull { .. } => "bodies_full",
            Self::SourceBusy { .. }
            | Self::Unavailable {
                why: Unavailable::SourceBusy,
                ..
            } => "source_busy",
            Self::AddressBusy => "address_busy",
            Self::SlowAnswer => "slow_answer",
            Self::NoRoom { .. } => "no_room",
            Self::BadQuery(_) => "bad_query",
            Self::BadPlan(_) => "bad_configuration",
            Self::Panicked => "panicked",
        }
    }

    /// The status it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath | Self::NoSuchSource(_) | Self::NoSuchApp | Self::NoSourceFor(_) => {
                StatusCode::NOT_FOUND
            }
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::NotOfDingTalk(_) => StatusCode::FORBIDDEN,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Coding(_) | Self::Refused(Refusal::Unsupported(_)) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BrokenBody
            | Self::BadQuestion(_)
            | Self::BadGzip(_)
            | Self::BadQuery(_)
            | Self::Refused(
                Refusal::NotJson(_)
                | Refusal::WrongShape(_)
                | Refusal::NothingUsable { .. }
                | Refusal::MappingLimit { .. },
            ) => StatusCode::BAD_REQUEST,
            Self::Unavailable { status, .. }
            | Self::SlowStore { status }
            | Self::BodiesFull { status }
            | Self::SourceBusy { status }
            | Self::NoRoom { status, .. } => {
                StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::AddressBusy | Self::AnswersBusy | Self::SlowAnswer => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadPlan(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer.
    pub(crate) fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
            reason: &'static str,
        }
        let mut response = json(
            self.status(),
            &Body {
                error: &self.to_string(),
                reason: self.reason(),
            },
        );
        let headers = response.headers_mut();
        match self {
            Self::Method { allow } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::Unauthorized { challenge, .. } => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Self::Coding(_) => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            }
            Self::Unavailable { .. }
            | Self::SlowStore { .. }
            | Self::BodiesFull { .. }
            | Self::SourceBusy { .. }
            | Self::AddressBusy
            | Self::AnswersBusy
            | Self::SlowAnswer
            | Self::NoRoom { .. } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            // What is left of the body makes the connection useless for another request.
            Self::TooLarge { .. } | Self::SlowBody | Self::BrokenBody => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::NoSuchPath
            | Self::NoSuchSource(_)
            | Self::NoSuchApp
            | Self::NoSourceFor(_)
            | Self::NotOfDingTalk(_)
            | Self::BadQuestion(_)
            | Self::Forbidden(_)
            | Self::BadGzip(_)
            | Self::Refused(_)
            | Self::BadQuery(_)
            | Self::BadPlan(_)
            | Self::Panicked => {}
        }
        response
    }
}

/// A JSON answer, with a final newline for people at a terminal.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            body(status, "application/json", text.into())
        }
        Err(error) => {
            tracing::error!(%error, "answer not serialised");
            body(
                StatusCode::INTERNAL_SERVER_ERROR,
                "application/json",
                Bytes::from_static(b"{}\n"),
            )
        }
    }
}

/// An answer of any type.
pub(crate) fn body(status: StatusCode, content_type: &'static str, bytes: Bytes) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
