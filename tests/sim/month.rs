//! What a month's quota has been used for, counted apart from the product.

use std::collections::BTreeMap;

use dingest::alert::Timestamp;

/// From this share of the quota on, in percent, it is made to last.
const STRETCHED_FROM: u64 = 80;
/// The end of March, and of April, in milliseconds since the epoch: scripts begin in March.
const ENDS: [i64; 2] = [1_775_001_600_000, 1_777_593_600_000];

/// When a message was counted.
#[derive(Clone, Copy, Debug)]
struct Counted {
    at: u64,
    /// How far the clock was from the true time.
    ahead: i64,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Month {
    ends_at: i64,
    /// Messages that count and are known to: on disk, in the commit that runs, and in memory.
    durable: u64,
    committing: u64,
    open: u64,
    /// Messages that count in each month, by its end, whether the product still knows or not: a clock that is set may
    /// come back to one.
    all: BTreeMap<i64, u64>,
    /// When one was last counted, as far as the product knows, and as far as is on disk.
    last: Option<Counted>,
    last_committing: Option<Counted>,
    last_durable: Option<Counted>,
}

/// How far a clock is from the true time, but for what is the same at all times.
fn ahead(time: Timestamp, now: u64) -> i64 {
    time.0 - i64::try_from(now).unwrap_or(i64::MAX)
}

impl Month {
    fn end_of(time: Timestamp) -> i64 {
        let end = ENDS.into_iter().find(|end| time.0 < *end);
        end.expect("scripts end before May")
    }

    /// A message has, or may have, arrived.
    pub(crate) fn counted(&mut self, time: Timestamp, now: u64) {
        let ends_at = Self::end_of(time);
        if ends_at != self.ends_at {
            *self = Self {
                ends_at,
                all: std::mem::take(&mut self.all),
                ..Self::default()
            };
        }
        self.open += 1;
        *self.all.entry(ends_at).or_default() += 1;
        self.last = Some(Counted {
            at: now,
            ahead: ahead(time, now),
        });
    }

    pub(crate) fn commit_begins(&mut self) {
        self.committing += std::mem::take(&mut self.open);
        self.last_committing = self.last;
    }

    pub(crate) fn committed(&mut self) {
        self.durable += std::mem::take(&mut self.committing);
        self.last_durable = self.last_committing;
    }

    /// The process ended, or was put back to what is on disk.
    pub(crate) fn forgotten(&mut self) {
        (self.committing, self.open) = (0, 0);
        self.last = self.last_durable;
        self.last_committing = self.last;
    }

    /// What is on disk was read: it says by the clock when a message was last counted, which is worth nothing when
    /// the clock was set since.
    pub(crate) fn read(&mut self, time: Timestamp, now: u64) {
        self.last = self.last.filter(|last| last.ahead == ahead(time, now));
        self.last_committing = self.last;
    }

    /// When the last message was counted, if that is known, and how long the next one must wait after it, in
    /// milliseconds, when it must.
    pub(crate) fn pace(&self, quota: u64, time: Timestamp) -> Option<(u64, u64)> {
        let ends_at = Self::end_of(time);
        let used = self.durable + self.committing + self.open;
        if quota == 0 || ends_at != self.ends_at || used * 100 < quota * STRETCHED_FROM {
            return None;
        }
        let left = u64::try_from(ends_at - time.0).unwrap_or(0);
        Some((self.last?.at, left / quota.saturating_sub(used).max(1)))
    }

    /// Whether changes that are not urgent may be made to wait.
    pub(crate) fn may_be_stretched(&self, quota: u64) -> bool {
        quota > 0 && self.all.values().any(|all| all * 100 >= quota * STRETCHED_FROM)
    }
}
