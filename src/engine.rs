//! The brain: what is true, what each receiver was told, and therefore what to say next.
//!
//! A plain value. [`Engine::handle`] takes what happened, [`Engine::poll`] hands out what to do until there is
//! nothing left, [`Engine::changes`] hands out the rows that must be committed before those effects may happen,
//! and [`Engine::deadline`] says when to come back with [`Input::Timer`] and why.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod limits;
pub mod outcome;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::{Alert, BotName, DigestId, MessageId, RequestId, SourceName};
use crate::digest::{Draft, Rendered};
use crate::plan::Plan;

pub use outcome::{Answer, Outcome};

/// Everything that can happen to the engine.
#[derive(Debug)]
pub enum Input {
    /// A body came in and was decoded.
    Alerts {
        /// Answered by [`Effect::Reply`].
        request: RequestId,
        /// The source it was posted to.
        source: SourceName,
        /// Its alerts in the order of the body.
        alerts: Vec<Alert>,
    },
    /// A draft was composed and rendered.
    Rendered {
        /// Which.
        digest: DigestId,
        /// Into what.
        rendered: Rendered,
    },
    /// A message was tried.
    Outcome {
        /// Which.
        message: MessageId,
        /// What came of it.
        answer: Answer,
    },
    /// The configuration changed.
    Plan(Arc<Plan>),
    /// The deadline has come.
    Timer,
    /// Stop composing; what is in flight may still end.
    Drain,
}

/// Everything the engine wants done.
#[derive(Debug)]
pub enum Effect {
    /// Answer a webhook: it is durable.
    Reply {
        /// Which request.
        request: RequestId,
        /// What became of its alerts.
        tally: BTreeMap<Verdict, u32>,
    },
    /// Compose and render, then come back with [`Input::Rendered`].
    Digest(Box<Draft>),
    /// Send, then come back with [`Input::Outcome`].
    Send(Send),
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Its id.
    pub message: MessageId,
    /// Through which bot; `None` prints it.
    pub bot: Option<BotName>,
    /// The exact bytes.
    pub body: Arc<[u8]>,
}

/// What an incoming alert meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Never seen before, or forgotten since.
    New,
    /// A new episode of a known alert.
    Again,
    /// The end of the episode.
    Resolved,
    /// Known, with other labels, annotations or links.
    Updated,
    /// Nothing that was not known.
    Repeat,
    /// About an older episode, or its end came already.
    Late,
    /// An end long past of an alert we never knew.
    Stale,
    /// There is no room for another active alert.
    OverLimit,
}
