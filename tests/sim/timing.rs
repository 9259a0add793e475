//! What may have held a change up: who had trouble, and until when.

use std::collections::BTreeMap;

use dingest::engine::Outcome;
use dingest::engine::outcome::Refused;

use crate::ways::folds_repeats;

/// How long a receiver may wait after a failure: the longest backoff, and its jitter.
const BACKOFF: u64 = 6 * 60_000 + 5_000;
/// The same for what is urgent, and for what may have arrived.
const BACKOFF_URGENT: u64 = 13_000;

/// For how long what was sent counts.
const MINUTE: u64 = 60_000;
/// Longer than any script.
const GONE: u64 = 10 * 365 * 86_400_000;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Timing {
    /// When each firing message was acknowledged, by its number.
    acknowledged: BTreeMap<(String, u64), u64>,
    all_until: u64,
    /// Until when DingTalk refuses our address.
    blocked_until: u64,
    /// Of each receiver, for what is urgent and for the rest.
    receivers: BTreeMap<String, (u64, u64)>,
    /// The bot through which each receiver was last told what may have arrived, and until when that was open.
    doubts: BTreeMap<String, (String, u64)>,
    /// Of each bot: until when it may be silent.
    bots: BTreeMap<String, u64>,
    disk_is_slow: bool,
    network_is_slow: bool,
    /// When there was last a new plan, or a new process.
    pub(crate) planned_at: u64,
}

impl Timing {
    pub(crate) fn acknowledged(&mut self, alert: &str, seq: u64, now: u64) {
        self.acknowledged.insert((alert.to_owned(), seq), now);
    }

    /// The configuration was loaded: whoever was not there is looked for again.
    pub(crate) fn replanned(&mut self, now: u64) {
        self.trouble_for_all(now);
        for until in self.bots.values_mut().filter(|until| **until > now + GONE / 2) {
            *until = now;
        }
    }

    pub(crate) fn trouble_for_all(&mut self, now: u64) {
        self.all_until = self.all_until.max(now);
        self.planned_at = now;
    }

    /// A new process.
    pub(crate) fn restarted(&mut self, now: u64, clock_was_set: bool) {
        self.trouble_for_all(now + 1000);
        self.put_back(now, clock_was_set);
    }

    /// Pauses are read from disk: they are kept there by the wall clock, which may have been set meanwhile, but for an
    /// hour at most. What was sent at a time that is still to come counts as just sent.
    pub(crate) fn put_back(&mut self, now: u64, clock_was_set: bool) {
        if clock_was_set {
            self.all_until = self.all_until.max(now + MINUTE);
        }
        if self.blocked_until > now {
            self.all_until = self.all_until.max(now + 60 * 60_000);
        }
        for until in self.bots.values_mut().filter(|until| **until > now) {
            *until = (*until).max(now + 60 * 60_000);
        }
    }

    pub(crate) fn slow_disk(&mut self, slow: bool, now: u64) {
        // A commit that began while it was slow ends later.
        self.all_until = self
            .all_until
            .max(now + if self.disk_is_slow { 10_000 } else { 0 });
        self.disk_is_slow = slow;
    }

    pub(crate) fn slow_network(&mut self, slow: bool, now: u64) {
        self.all_until = self
            .all_until
            .max(now + if self.network_is_slow { 20_000 } else { 0 });
        self.network_is_slow = slow;
    }

    /// A picture was tried: who is shown it could be told nothing meanwhile, and waits for nothing else.
    pub(crate) fn picture(&mut self, receiver: &str, reached: &[String], outcome: Outcome, now: u64) {
        self.silences(reached, outcome, now);
        let until = self.receivers.entry(receiver.to_owned()).or_default();
        *until = (until.0.max(now), until.1.max(now));
    }

    /// Until now something that never came was waited for, by calls through these endpoints.
    pub(crate) fn waited(&mut self, endpoints: &[String], now: u64) {
        for endpoint in endpoints {
            let until = self.bots.entry(endpoint.clone()).or_default();
            *until = (*until).max(now);
        }
    }

    /// `reached` are the endpoints that an answer may silence.
    fn silences(&mut self, reached: &[String], outcome: Outcome, now: u64) {
        let silent = match outcome {
            Outcome::Limited(span) | Outcome::Throttled(span) => span.0,
            // Until the configuration is loaded again.
            Outcome::Refused(Refused::Person) => GONE,
            Outcome::Quota | Outcome::Refused(_) => 60 * 60_000,
            Outcome::Blocked(span) => {
                self.blocked_until = self.blocked_until.max(now + span.0);
                self.all_until = self.all_until.max(self.blocked_until);
                0
            }
            Outcome::Delivered
            | Outcome::Retry
            | Outcome::Rejected(_)
            | Outcome::Outdated
            | Outcome::Unknown => 0,
        };
        for endpoint in reached {
            let until = self.bots.entry(endpoint.clone()).or_default();
            *until = (*until).max(now + silent);
        }
    }

    /// `reached` are the endpoints that an answer may silence.
    pub(crate) fn outcome(
        &mut self,
        receiver: &str,
        bot: &str,
        reached: &[String],
        outcome: Outcome,
        took: u64,
        now: u64,
    ) {
        self.silences(reached, outcome, now);
        if outcome == Outcome::Unknown {
            let open = (bot.to_owned(), u64::MAX);
            self.doubts.insert(receiver.to_owned(), open);
        } else if let Some((_, until)) = self.doubts.get_mut(receiver) {
            *until = now.min(*until);
        }
        let (urgent, other) = match outcome {
            Outcome::Delivered if took < 1000 => return,
            // What an app sent is not repeated for ever: then its changes wait like those of any other failure.
            Outcome::Unknown if folds_repeats(bot) => (now + BACKOFF_URGENT, now + BACKOFF_URGENT),
            Outcome::Retry | Outcome::Rejected(_) | Outcome::Outdated | Outcome::Unknown => {
                (now + BACKOFF_URGENT, now + BACKOFF)
            }
            // Another bot takes over at once, if there is one.
            Outcome::Delivered
            | Outcome::Limited(_)
            | Outcome::Throttled(_)
            | Outcome::Blocked(_)
            | Outcome::Quota
            | Outcome::Refused(_) => (now, now),
        };
        let until = self.receivers.entry(receiver.to_owned()).or_default();
        *until = (until.0.max(urgent), until.1.max(other));
    }

    /// Whether a bot may have had to be silent at a moment, or since.
    pub(crate) fn may_be_silent(&self, bot: &str, since: u64) -> bool {
        self.bots.get(bot).is_some_and(|until| since <= *until) || since <= self.all_until
    }

    /// The bot through which what may have arrived was to go out again before a receiver is told of an alert, if so.
    pub(crate) fn held_by(&self, receiver: &str, alert: &str, seq: u64) -> Option<&String> {
        let acknowledged = self.acknowledged.get(&(alert.to_owned(), seq))?;
        let (bot, until) = self.doubts.get(receiver)?;
        (until >= acknowledged).then_some(bot)
    }

    /// Since when nothing has been in the way of telling a receiver of an alert; `None` while something is, or may
    /// have been.
    pub(crate) fn due_since(
        &self,
        alert: &str,
        seq: u64,
        receiver: &str,
        bots: &[String],
        urgent: bool,
    ) -> Option<u64> {
        let acknowledged = *self.acknowledged.get(&(alert.to_owned(), seq))?;
        Some(acknowledged.max(self.free_since(receiver, bots, urgent)?))
    }

    /// Whether nothing that concerns everybody has been in the way since then.
    pub(crate) fn nothing_for_all_since(&self, since: u64) -> bool {
        !self.network_is_slow && self.all_until <= since
    }

    /// Since when nothing has been in the way of telling a receiver anything; `None` while something is, or may have
    /// been.
    pub(crate) fn free_since(&self, receiver: &str, bots: &[String], urgent: bool) -> Option<u64> {
        let (urgent_until, other_until) = self.receivers.get(receiver).copied().unwrap_or_default();
        let until = if urgent { urgent_until } else { other_until };
        if self.disk_is_slow || self.network_is_slow {
            return None;
        }
        let silent = |bot: &String| self.bots.get(bot).copied().unwrap_or_default();
        let bots_until = bots.iter().map(silent).min().unwrap_or_default();
        Some(self.all_until.max(until).max(bots_until))
    }
}
