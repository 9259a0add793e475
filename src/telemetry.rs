//! What operators see of us: metrics for Prometheus and logs for people and journals.
//!
//! [`Metrics`] is the one place where a metric has its name; other parts call its methods and know no labels.
//! Counters live here, gauges are read from a snapshot of the engine when somebody scrapes. There is no global
//! registry and no decision is taken from a metric.
//!
//! **Invariant:** labels hold configured names and names of our own enums, never text that a sender chose, so
//! no sender can make series without end.

mod log;
mod metrics;
mod process;

#[cfg(test)]
pub(crate) use log::subscriber;
pub use log::{LogError, LogFormat, init};
pub use metrics::{Cut, Metrics, Snapshot};
pub(crate) use process::open_files_max;
