//! The two clocks of the process, read together.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::alert::{Now, Span, Tick, Timestamp};

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
            tick: Tick(milliseconds(self.started.elapsed())),
            time: Timestamp(i64::try_from(milliseconds(time)).unwrap_or(i64::MAX)),
        }
    }

    /// When the monotonic clock will show `tick`: never earlier, so that a timer set for it finds it due.
    pub(super) fn instant_of(&self, tick: Tick) -> Instant {
        self.started + Span(tick.0).as_duration()
    }
}
