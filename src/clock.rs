//! The clocks of the process: the one place where they are read.
//!
//! Who decides anything takes the time as an argument; who asks here is at the edge.

use std::time::Instant;

use crate::alert::{Now, Span, Tick, Timestamp};

/// What the wall clock shows.
pub(crate) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// What the monotonic clock shows when the process starts: far from zero, so that what was saved by an earlier
/// process (when a receiver was last served, a bot's last minute) has its place before it.
const BEGINNING: Tick = Tick(Span::days(365).0);

/// Where the monotonic clock of this process began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now {
            tick: BEGINNING.plus(Span(elapsed)),
            time: now(),
        }
    }

    /// When the monotonic clock will show `tick`: never earlier, so that a timer set for it finds it due.
    pub(crate) fn instant_of(&self, tick: Tick) -> Instant {
        self.started + tick.since(BEGINNING).as_duration()
    }
}
