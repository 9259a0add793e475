//! The real program against the stand-in for DingTalk: what the whole promises, seen from outside.
//!
//! Each test runs the built binary as a child process on a port of its own choosing, posts to its webhooks and
//! reads its API; the stand-in runs in the test, and its ledger is the truth about what arrived. Tests wait for
//! events under [`PATIENCE`] and never for time to pass.

mod alerts;
mod chat;
mod crash;
mod daemon;
mod disk;
mod everyday;
mod fairness;
mod refusals;
mod reload;
mod secrets;
mod storm;
mod trouble;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: far longer than on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often something that brings no event is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// Waits until `look` finds something, and returns it; `what` is said when it never does.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain for this: {what}"
        );
        tokio::time::sleep(GLANCE).await;
    }
}
