//! The two clocks of the process, read together.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::alert::{Now, Span, Tick, Timestamp};

/// What the monotonic clock shows when the process starts: far from zero, so that what was saved by an earlier
/// process (when a receiver was last served, a bot's last minute) has its place before it.
const BEGINNING: Tick = Tick(Span::days(365).0);

/// Where the monotonic clock of this process began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Now {
        let milliseconds =
            |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            tick: BEGINNING.plus(Span(milliseconds(self.started.elapsed()))),
            time: Timestamp(i64::try_from(milliseconds(time)).unwrap_or(i64::MAX)),
        }
    }

    /// When the monotonic clock will show `tick`: never earlier, so that a timer set for it finds it due.
    pub(super) fn instant_of(&self, tick: Tick) -> Instant {
        self.started + tick.since(BEGINNING).as_duration()
    }
}
