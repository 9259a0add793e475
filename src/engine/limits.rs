//! Every limit and fixed span of the engine, in one place, with the relations that must hold between them.
//!
//! What a user sets per route, endpoint or source is in the plan; what stands here holds for everybody.

use crate::alert::Span;

/// Alerts held at one time, over or not. One more is answered with [`super::Verdict::OverLimit`] and not taken.
pub const ALERTS_HELD_MAX: usize = 4_000_000;

/// How long an alert that is over is remembered, so that late and repeated ends of it are known as such.
/// Prometheus repeats an end for 15 minutes (`resolvedRetention` in its `rules/alerting.go`).
pub const OVER_KEPT: Span = Span::hours(1);

/// How long after an end a firing message about the same episode is doubted: it may be a straggler (peers of an
/// Alertmanager cluster send some 15 s apart each, and repeat the end soon), or the end was wrong (a sender that was
/// cut off for a while comes back with the same `startsAt`). After that, believe the firing.
pub const LATE_MAX: Span = Span::minutes(2);

/// How long an alert of a Prometheus is taken to fire when its own lease is not known: a lease is four times the
/// interval of repeats, which is a minute at most by default.
pub const LEASE: Span = Span::minutes(4);

/// How long an alert may go unrepeated whose source is no longer configured.
pub const UNCONFIGURED_EXPIRE_AFTER: Span = Span::days(15);

/// After a restart, and after the clock was set, no alert expires or is forgotten for this long: its sender gets the
/// chance to repeat it.
pub const RESTART_GRACE: Span = Span::minutes(5);

/// A repeat that moves an expiry by less than this is not written ([`expiry_drift_max`]).
pub const EXPIRY_DRIFT_MIN: Span = Span::hours(1);

/// More episodes than this within [`FLAPPING_WINDOW`] are flapping.
pub const FLAPPING_EPISODES_MAX: usize = 5;

/// The stretch in which episodes are counted for flapping.
pub const FLAPPING_WINDOW: Span = Span::hours(1);

/// A flapping alert that neither came nor went for this long is calm.
pub const FLAPPING_CALM: Span = Span::minutes(15);

/// Budget: the longest of the sliding windows DingTalk counts in, that of notices to everybody.
pub const BUDGET_WINDOW: Span = Span::days(1);

/// Messages of an endpoint's window that only urgent changes may use (of what its rate allows, never all of it).
pub const URGENT_RESERVE: u32 = 3;

/// How long an endpoint with a refused token, signature, keyword or address is left alone.
pub const REFUSED_PAUSE: Span = Span::hours(1);

/// How long an endpoint is left alone after DingTalk refused our clock: nobody tells us when that is right again.
pub const CLOCK_PAUSE: Span = Span::minutes(1);

/// A wall clock that moved this much more or less than time has passed was set.
pub const CLOCK_SET_MIN: Span = Span::minutes(1);

/// How long an endpoint whose quota is used up is left alone before it is tried again.
pub const QUOTA_PAUSE: Span = Span::hours(1);

/// How long after its row is given to the store a call may arrive: as long as an attempt lasts, and as long again for
/// the commit it waits for.
pub const CALL_MAX: Span = Span::seconds(20);

/// No endpoint is silent for longer than this after a restart, whatever its saved pause says.
pub const RESTORED_PAUSE_MAX: Span = Span::hours(1);

/// From this share of the monthly quota on (in percent) changes that are not urgent are stretched.
pub const QUOTA_STRETCH_PERCENT: u64 = 80;

/// First wait after a failed send; doubles with every further failure.
pub const BACKOFF_FIRST: Span = Span::seconds(1);

/// Longest wait after a failed send.
pub const BACKOFF_MAX: Span = Span::minutes(5);

/// Longest wait after a failed send while something urgent waits, and between two tries of a message that may have
/// arrived: nothing else can be told before it.
pub const BACKOFF_URGENT_MAX: Span = Span::seconds(10);

/// Bytes of one serialised request: DingTalk takes 20,000, we stay a tenth below.
pub const MESSAGE_BYTES_MAX: usize = 18_000;

/// The smallest frame a digest is squeezed into after DingTalk refused its size.
pub const MESSAGE_BYTES_MIN: usize = 2_000;

/// No alert is filed for its ageing or its reminder further ahead than twice this: it is looked at and filed again.
/// So what is left of filings that no longer matter is little, and a clock that was set is noticed.
pub const LOOK_AGAIN: Span = Span::minutes(30);

/// How often muted routes are looked at.
pub const MUTE_CHECK: Span = Span::minutes(1);

/// Alerts of one answer to a query.
pub const QUERY_ALERTS_MAX: usize = 10_000;

/// Bytes of the texts in one answer to a query; the alert that reaches it is the last. More than a hundred of the
/// largest alerts have, so that a page of a hundred is never cut.
pub const QUERY_BYTES_MAX: usize = 64 << 20;

/// How often a message is tried that may have arrived, where DingTalk does not fold repetitions. After that its
/// changes are a difference like any other, and the next digest tells what is true then.
pub const UNFOLDED_ATTEMPTS_MAX: u32 = 2;

/// How long a delivered message is kept to be taken back or asked about. DingTalk answers for 24 hours.
pub const RECEIPT_LIFE: Span = Span::minutes(24 * 60 - 15);

/// How long after its delivery it is asked who has read a message: soon, so that somebody who is not reached is known,
/// and rarely, since each is a call. The last is the final word.
pub const ASKED_AFTER: [Span; 5] = [
    Span::minutes(5),
    Span::minutes(30),
    Span::hours(2),
    Span::hours(8),
    Span::minutes(23 * 60 + 30),
];

/// Parts of a list of readers that are asked for at one time; each is a call, and has up to 200.
pub const READER_PAGES_MAX: u32 = 5;

/// How often it is tried to take a message back.
pub const RECALL_TRIES_MAX: u32 = 10;

/// How long what is asked afterwards waits at most before it is seen whether it may be asked.
pub const ERRAND_LOOK_AGAIN: Span = Span::minutes(1);

/// Messages of one receiver that are kept to be taken back or asked about: one every seven minutes. For one more the
/// oldest gives way.
pub const RECEIPTS_PER_RECEIVER_MAX: usize = 200;

/// The same over all receivers.
pub const RECEIPTS_MAX: usize = 20_000;

/// Alerts that all these messages announce, over all of them: some 8 MB.
pub const ANNOUNCED_MAX: usize = 1_000_000;

const _: () = assert!(RECEIPT_LIFE.0 < Span::hours(24).0 && RECEIPTS_PER_RECEIVER_MAX < RECEIPTS_MAX);
const _: () = assert!(ASKED_AFTER[0].0 < ASKED_AFTER[1].0 && ASKED_AFTER[4].0 < RECEIPT_LIFE.0);

const _: () = assert!(
    LATE_MAX.0 < OVER_KEPT.0,
    "a late message must find the alert it is about"
);
const _: () = assert!(FLAPPING_CALM.0 < FLAPPING_WINDOW.0);
const _: () = assert!(
    FLAPPING_CALM.0 < OVER_KEPT.0,
    "calm must be noticed before the alert is forgotten"
);
const _: () = assert!(REFUSED_PAUSE.0 <= RESTORED_PAUSE_MAX.0 && QUOTA_PAUSE.0 <= RESTORED_PAUSE_MAX.0);
const _: () = assert!(BACKOFF_FIRST.0 < BACKOFF_URGENT_MAX.0 && BACKOFF_URGENT_MAX.0 < BACKOFF_MAX.0);
const _: () = assert!(MESSAGE_BYTES_MIN < MESSAGE_BYTES_MAX);

/// How far an expiry may move before it is written again: an eighth of what the source allows.
pub fn expiry_drift_max(expire_after: Span) -> Span {
    Span((expire_after.0 / 8).max(EXPIRY_DRIFT_MIN.0))
}

/// The wait after `failures` failures in a row, before jitter.
pub fn backoff(failures: u32) -> Span {
    Span((BACKOFF_FIRST.0 << failures.saturating_sub(1).min(20)).min(BACKOFF_MAX.0))
}
