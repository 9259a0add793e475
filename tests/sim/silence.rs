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
/// Longer than any script: until the configuration is loaded again.
const ALWAYS: u64 = 10 * 365 * 24 * HOUR;

/// By endpoint: since which step the process knows, and until when. A load of a configuration and a start end it here.
#[derive(Debug, Default)]
pub(crate) struct Silences(BTreeMap<String, (u64, u64)>);

impl Silences {
    /// What was to be waited for may be over.
    pub(crate) fn end(&mut self) {
        self.0.clear();
    }
}

/// For how long, and whether everything of the app must be silent.
fn silence_after(outcome: Outcome) -> Option<(u64, bool)> {
    Some(match outcome {
        Outcome::Limited(span) => (span.0, true),
        Outcome::Throttled(span) => (span.0, false),
        Outcome::Quota => (HOUR, true),
        Outcome::Refused(Refused::Person) => (ALWAYS, false),
        Outcome::Refused(Refused::Target | Refused::Keyword | Refused::Other) => (HOUR, false),
        Outcome::Refused(Refused::Clock) => (MINUTE, true),
        Outcome::Refused(Refused::Token | Refused::Permission | Refused::Signature | Refused::Address) => {
            (HOUR, true)
        }
        // A block has a promise of its own.
        Outcome::Blocked(_)
        | Outcome::Delivered
        | Outcome::Retry
        | Outcome::Rejected(_)
        | Outcome::Outdated
        | Outcome::Unknown => return None,
    })
}

impl Judge<'_> {
    /// An endpoint was answered.
    pub(crate) fn falls_silent(&mut self, endpoint: &str, outcome: Outcome, now: u64) {
        let Some((span, with_app)) = silence_after(outcome) else {
            return;
        };
        let text = &self.setting().text;
        let app = text.app_of(endpoint).filter(|_| with_app);
        let mut silent = app.map_or(Vec::new(), |app| text.endpoints_of_app(app));
        silent.push(endpoint.to_owned());
        for endpoint in silent {
            let (since, until) = self.silences.0.entry(endpoint).or_insert((self.seq, 0));
            if *until <= now {
                *since = self.seq;
            }
            *until = (*until).max(now + span);
        }
    }

    /// What was composed since does not leave through somebody who must be silent.
    pub(crate) fn check_silence(&self, telling: usize, endpoint: &str, now: u64) -> Result<(), Violation> {
        let telling = &self.tellings[telling];
        match self.silences.0.get(endpoint) {
            Some((since, until)) if telling.seq > *since && now < *until => {
                let what = format!(
                    "{:?} leaves through {endpoint}, which must be silent for {} ms",
                    telling.message,
                    until - now
                );
                Err(violation(Invariant::SilenceKept, now, what))
            }
            Some(_) | None => Ok(()),
        }
    }
}
