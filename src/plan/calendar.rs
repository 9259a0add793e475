//! Time intervals of routes, as Alertmanager defines them.

use crate::alert::Timestamp;

/// One recurring stretch of time.
#[derive(Clone, Debug)]
pub struct TimeInterval {}

impl TimeInterval {
    /// Whether `time` lies inside.
    pub fn contains(&self, _time: Timestamp) -> bool {
        false
    }
}
