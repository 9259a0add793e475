//! What an endpoint may still send: its sliding window, its pauses, its month.
//!
//! A message occupies its place in the window from the moment it is planned until a window's length after it was
//! *answered*, so that no delay on the way can put more into one of DingTalk's windows than into one of ours.
//! Endpoints of one app have one rate between them: their places are counted together.

use std::collections::VecDeque;

use super::Outcome;
use super::limits::{BUDGET_WINDOW, CALL_MAX, QUOTA_STRETCH_PERCENT, RESTORED_PAUSE_MAX, URGENT_RESERVE};
use super::outcome::Refused;
use crate::alert::{Now, Span, Tick, Timestamp};
use crate::plan::Rate;
use crate::store::EndpointRow;

/// One endpoint's budget.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// When the calls of its window were answered.
    answered: VecDeque<Tick>,
    /// Messages planned or on their way.
    open: u32,
    /// What passes by itself, and what waits for an operator: lifting the one must not end the other.
    pause: Option<Pause>,
    refusal: Option<Pause>,
    month: Month,
    used: u64,
    counted_at: Option<Tick>,
}

/// Why and until when an endpoint is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    /// `None` is until the configuration is loaded again.
    pub(super) until: Option<Tick>,
    pub(super) reason: PauseReason,
}

impl Pause {
    /// Whether it is in force at `now`.
    fn lasts(self, now: Tick) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// Why an endpoint is silent; also a metric label, an API value and a notice in digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PauseReason {
    /// Too many messages.
    Limited,
    /// Too many messages for its target.
    Throttled,
    /// The egress address is blocked.
    Blocked,
    /// The quota is used up.
    Quota,
    /// Everybody has had as many notices as a day allows. No answer says so, and no store keeps it: the budget does.
    Day,
    /// An operator must act.
    Refused(Refused),
}

impl PauseReason {
    /// The stable name.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Limited => "limited",
            Self::Throttled => "throttled",
            Self::Blocked => "blocked",
            Self::Quota => "quota",
            Self::Day => "daily_limit",
            Self::Refused(what) => Outcome::Refused(what).as_str(),
        }
    }

    /// The reason of that name, as the store kept it.
    fn named(name: &str) -> Self {
        [Self::Limited, Self::Throttled, Self::Blocked, Self::Quota]
            .into_iter()
            .chain(Refused::ALL.map(Self::Refused))
            .find(|reason| reason.as_str() == name)
            .unwrap_or(Self::Refused(Refused::Other))
    }

    /// Whom it silences besides the endpoint that was answered.
    pub(super) const fn reaches(self) -> Reach {
        match self {
            Self::Blocked => Reach::Everybody,
            Self::Throttled
            | Self::Day
            | Self::Refused(Refused::Target | Refused::Person | Refused::Keyword | Refused::Other) => {
                Reach::Endpoint
            }
            Self::Limited | Self::Quota | Self::Refused(_) => Reach::App,
        }
    }

    /// Whether it will not pass by itself soon, so that everything goes to the fallback and not only the urgent.
    pub(super) const fn needs_operator(self) -> bool {
        matches!(self, Self::Quota | Self::Refused(_))
    }
}

/// How far a pause reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// To nobody else.
    Endpoint,
    /// To every endpoint of the same app.
    App,
    /// To all there are.
    Everybody,
}

/// A calendar month, counted as `year * 12 + month`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Month(i32);

impl Month {
    /// The month `time` lies in, in the plan's zone, and when it ends.
    pub(super) fn of(time: Timestamp, zone: &jiff::tz::TimeZone) -> (Self, Timestamp) {
        let zoned = jiff::Timestamp::from_millisecond(time.0)
            .unwrap_or_default()
            .to_zoned(zone.clone());
        let month = Self(i32::from(zoned.year()) * 12 + i32::from(zoned.month()));
        let end = zoned
            .date()
            .last_of_month()
            .tomorrow()
            .ok()
            .and_then(|first| first.to_zoned(zone.clone()).ok())
            .map_or(time, |first| Timestamp(first.timestamp().as_millisecond()));
        (month, end)
    }
}

impl Budget {
    /// The budget as the store had it.
    pub(super) fn restored(row: &EndpointRow, now: Now) -> Self {
        // A clock that was set back must not free places: what lies far ahead counts as just answered.
        let age = |at: &Timestamp| now.time.since(*at);
        let tick_of = |age: Span| Tick(now.tick.0.saturating_sub(age.0));
        let fresh = row.sent.iter().filter(|at| age(at) < BUDGET_WINDOW);
        let ahead = |at: &Timestamp| Some(at.since(now.time)).filter(|ahead| *ahead <= CALL_MAX);
        let answered = fresh.map(|at| tick_of(age(at)).plus(ahead(at).unwrap_or_default()));
        let mut answered: Vec<Tick> = answered.collect();
        answered.sort_unstable();
        let pause = row
            .pause
            .as_ref()
            .map(|(until, reason)| {
                let reason = PauseReason::named(reason);
                // It may have been saved by a clock that was far ahead.
                let left = until.map(|until| until.since(now.time).min(RESTORED_PAUSE_MAX));
                let until = left.map(|left| now.tick.plus(left));
                Pause { until, reason }
            })
            .filter(|pause| pause.lasts(now.tick));
        let mut budget = Self {
            answered: answered.into(),
            month: Month(row.month),
            used: row.used,
            counted_at: row.counted_at.as_ref().map(age).map(tick_of),
            ..Self::default()
        };
        if let Some(pause) = pause {
            budget.pause(pause, now.tick);
        }
        budget
    }

    /// Whether a row was written by a clock that was ahead of this one: what it says then counts from this moment, and
    /// would count from the next start again.
    pub(super) fn is_of_a_clock_ahead(row: &EndpointRow, now: Now) -> bool {
        let pause_ends_at = row.pause.as_ref().and_then(|(until, _)| *until);
        let is_ahead = |at: &Timestamp, by: Span| at.since(now.time) > by;
        row.sent.iter().any(|at| is_ahead(at, CALL_MAX))
            || row.counted_at.is_some_and(|at| is_ahead(&at, Span(0)))
            || pause_ends_at.is_some_and(|at| is_ahead(&at, RESTORED_PAUSE_MAX))
    }

    /// The budget as the store is to have it: what is planned or on its way counts from when it may arrive at last.
    pub(super) fn row(&self, now: Now) -> EndpointRow {
        let time_of = |tick: Tick| {
            let past = Timestamp(now.time.0.saturating_sub_unsigned(now.tick.since(tick).0));
            past.plus(tick.since(now.tick))
        };
        let answered = self.answered.iter().map(|tick| time_of(*tick));
        // Should the process end before the answer, nobody can tell when they did.
        let open = std::iter::repeat_n(now.time.plus(CALL_MAX), self.open as usize);
        EndpointRow {
            sent: answered.chain(open).collect(),
            pause: self.paused(now.tick).map(|pause| {
                let until = (pause.until).map(|until| now.time.plus(until.since(now.tick)));
                (until, pause.reason.as_str().to_owned())
            }),
            month: self.month.0,
            used: self.used,
            counted_at: self.counted_at.map(time_of),
        }
    }

    /// When the messages that still have their places were answered.
    fn fresh(&self, window: Span, now: Tick) -> impl Iterator<Item = Tick> {
        (self.answered.iter().copied()).filter(move |at| now.since(*at) < window)
    }

    /// Plans `messages` of them.
    pub(super) fn open(&mut self, messages: u32) {
        self.open = self.open.saturating_add(messages);
    }

    /// Gives planned places back.
    pub(super) fn close(&mut self, messages: u32) {
        self.open = self.open.saturating_sub(messages);
    }

    /// A call was answered: it takes a place for a window's length from here.
    pub(super) fn answered(&mut self, window: Span, now: Tick) {
        self.answered.push_back(now);
        while self.answered.front().is_some_and(|at| now.since(*at) >= window) {
            self.answered.pop_front();
        }
    }

    /// Counts the calls of a message against the month.
    pub(super) fn count(&mut self, month: Month, calls: u64, now: Tick) {
        self.counted_at = Some(now);
        if self.month != month {
            self.month = month;
            self.used = 0;
        }
        self.used = self.used.saturating_add(calls);
    }

    /// Calls counted in `month`.
    pub(super) fn used(&self, month: Month) -> u64 {
        if self.month == month { self.used } else { 0 }
    }

    /// When calls were last counted.
    pub(super) fn counted_at(&self) -> Option<Tick> {
        self.counted_at
    }

    /// Silences the endpoint; a longer pause is never shortened, and one that waits for an operator hides no other.
    pub(super) fn pause(&mut self, pause: Pause, now: Tick) {
        let own = if pause.reason.needs_operator() {
            &mut self.refusal
        } else {
            &mut self.pause
        };
        let outlasted = |own: Pause| pause.until.is_some_and(|until| own.lasts(until));
        if !own.filter(|own| own.lasts(now)).is_some_and(outlasted) {
            *own = Some(pause);
        }
    }

    /// The pause in force; of two the longer.
    pub(super) fn paused(&self, now: Tick) -> Option<Pause> {
        let longest = |pause: &Pause| (pause.until.is_none(), pause.until);
        self.pauses(now).max_by_key(longest)
    }

    /// The pauses in force.
    pub(super) fn pauses(&self, now: Tick) -> impl Iterator<Item = Pause> {
        let both = [self.pause, self.refusal].into_iter().flatten();
        both.filter(move |pause| pause.lasts(now))
    }

    /// Lifts a pause that waited for an operator, as the configuration has changed: whether there was one.
    pub(super) fn lift_refusal(&mut self) -> bool {
        self.refusal.take().is_some()
    }
}

/// Messages that endpoints with one rate between them may send at this moment.
pub(super) fn left(sharing: &[&Budget], rate: Rate, urgent: bool, now: Tick) -> u32 {
    let taken = sharing.iter().fold(0, |taken: u32, budget| {
        let fresh = u32::try_from(budget.fresh(rate.window, now).count()).unwrap_or(u32::MAX);
        taken.saturating_add(budget.open).saturating_add(fresh)
    });
    allowed(rate.messages, urgent).saturating_sub(taken)
}

/// Whether nothing is [`left`], whatever becomes of what is on its way.
pub(super) fn is_used_up(sharing: &[&Budget], rate: Rate, urgent: bool, now: Tick) -> bool {
    let fresh = sharing.iter().flat_map(|budget| budget.fresh(rate.window, now));
    fresh.count() >= allowed(rate.messages, urgent) as usize
}

/// When [`left`] will be at least one, as far as known: `None` while only answers can free a place.
pub(super) fn room_at(sharing: &[&Budget], rate: Rate, urgent: bool, now: Tick) -> Option<Tick> {
    let open = sharing
        .iter()
        .fold(0, |open: u32, budget| open.saturating_add(budget.open));
    let allowed = allowed(rate.messages, urgent).saturating_sub(open) as usize;
    if allowed == 0 {
        return None;
    }
    let mut fresh: Vec<Tick> = sharing
        .iter()
        .flat_map(|budget| budget.fresh(rate.window, now))
        .collect();
    fresh.sort_unstable();
    match fresh.len().checked_sub(allowed) {
        None => Some(now),
        Some(surplus) => fresh.get(surplus).map(|at| at.plus(rate.window)),
    }
}

/// How many messages a window allows: all of `most` for the urgent, the unreserved part for others.
fn allowed(most: u32, urgent: bool) -> u32 {
    if urgent {
        most
    } else {
        most.saturating_sub(URGENT_RESERVE).max(1).min(most)
    }
}

/// The pace of messages that are not urgent once most of the month's quota is used: the least time from one to
/// the next so that what is left lasts until the month ends. `None` is no restriction.
pub(super) fn pace(used: u64, quota: u64, left_of_month: Span) -> Option<Span> {
    if used.saturating_mul(100) < quota.saturating_mul(QUOTA_STRETCH_PERCENT) {
        return None;
    }
    match quota.saturating_sub(used) {
        0 => Some(left_of_month),
        left => Some(Span(left_of_month.0 / left)),
    }
}
