//! Who must be silent after an answer, and for how long: by the class of what DingTalk said.

use std::collections::BTreeMap;

use dingest::engine::Outcome;
use dingest::engine::outcome::Refused;

use crate::invariant::{Invariant, Violation, violation};
use crate::judge::Judge;

/// Until an operator has looked, and until there may be a quota again.
const HOUR: u64 = 60 * 60_000;
/// Until a clock may be right again.
const MINUTE: u64 = 60_000;
/// Until the configuration is loaded again: longer than any script.
const ALWAYS: u64 = 10 * 365 * 24 * HOUR;

/// Whom an answer silences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The endpoint that was answered.
    Endpoint,
    /// Everything of its app.
    App,
    /// All there are.
    Everybody,
}

/// Whether a start knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    No,
    /// A commit has it that may still fail.
    Begun,
    Yes,
}

/// Somebody who must be silent.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// The step since which the process knows.
    since: u64,
    until: u64,
    /// Whether it is over when the configuration is loaded.
    needs_operator: bool,
    written: Written,
}

/// Who must be silent, by endpoint: for a while, and until the configuration is loaded.
#[derive(Debug, Default)]
pub(crate) struct Silences(BTreeMap<(String, bool), Silence>);

impl Silences {
    /// The configuration was loaded: what waited for an operator has one.
    pub(crate) fn replanned(&mut self) {
        self.0.retain(|_, silence| !silence.needs_operator);
    }

    /// The memory of a process is gone; what was written by a clock that was set is worth nothing.
    pub(crate) fn forgotten(&mut self, clock_was_set: bool) {
        self.0
            .retain(|_, silence| silence.written == Written::Yes && !clock_was_set);
    }

    pub(crate) fn commit_begins(&mut self) {
        for silence in self.0.values_mut().filter(|it| it.written == Written::No) {
            silence.written = Written::Begun;
        }
    }

    pub(crate) fn committed(&mut self) {
        for silence in self.0.values_mut().filter(|it| it.written == Written::Begun) {
            silence.written = Written::Yes;
        }
    }

    /// A longer silence is never shortened.
    fn begin(&mut self, endpoint: String, begun: Silence, now: u64) {
        let key = (endpoint, begun.needs_operator);
        match self.0.get_mut(&key) {
            Some(own) if own.until > begun.until => {}
            Some(own) if own.until > now => {
                *own = Silence {
                    since: own.since,
                    ..begun
                }
            }
            Some(_) | None => drop(self.0.insert(key, begun)),
        }
    }
}

/// For how long, and who.
fn silence_after(outcome: Outcome) -> Option<(u64, Reach)> {
    Some(match outcome {
        Outcome::Limited(span) => (span.0, Reach::App),
        Outcome::Throttled(span) => (span.0, Reach::Endpoint),
        Outcome::Blocked(span) => (span.0, Reach::Everybody),
        Outcome::Quota => (HOUR, Reach::App),
        Outcome::Refused(Refused::Person) => (ALWAYS, Reach::Endpoint),
        Outcome::Refused(Refused::Target | Refused::Keyword | Refused::Other) => (HOUR, Reach::Endpoint),
        Outcome::Refused(Refused::Clock) => (MINUTE, Reach::App),
        Outcome::Refused(Refused::Token | Refused::Permission | Refused::Signature | Refused::Address) => {
            (HOUR, Reach::App)
        }
        Outcome::Delivered | Outcome::Retry | Outcome::Rejected(_) | Outcome::Outdated | Outcome::Unknown => {
            return None;
        }
    })
}

impl Judge<'_> {
    /// An endpoint was answered.
    pub(crate) fn falls_silent(&mut self, endpoint: &str, outcome: Outcome, now: u64) {
        let Some((span, reach)) = silence_after(outcome) else {
            return;
        };
        let text = &self.setting().text;
        let mut silent = match (reach, text.app_of(endpoint)) {
            (Reach::App, Some(app)) => text.endpoints_of_app(app),
            (Reach::Endpoint, _) | (Reach::App, None) => Vec::new(),
            (Reach::Everybody, _) => {
                let everybody = text.everybody();
                let endpoints = everybody.iter().flat_map(|receiver| text.endpoints_of(receiver));
                endpoints.collect()
            }
        };
        silent.push(endpoint.to_owned());
        let begun = Silence {
            since: self.seq,
            until: now + span,
            needs_operator: matches!(outcome, Outcome::Quota | Outcome::Refused(_)),
            written: Written::No,
        };
        for endpoint in silent {
            self.silences.begin(endpoint, begun, now);
        }
    }

    /// What was composed since does not leave through somebody who must be silent.
    pub(crate) fn check_silence(&self, telling: usize, endpoint: &str, now: u64) -> Result<(), Violation> {
        let telling = &self.tellings[telling];
        let in_force = [false, true].map(|kind| self.silences.0.get(&(endpoint.to_owned(), kind)));
        let holds = |silence: &&Silence| telling.seq > silence.since && now < silence.until;
        let Some(silence) = in_force.into_iter().flatten().find(holds) else {
            return Ok(());
        };
        let what = format!("{:?} leaves through {endpoint}: {silence:?}", telling.message);
        Err(violation(Invariant::SilenceKept, now, what))
    }
}
