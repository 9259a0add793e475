//! The real program under real faults: the process, its disk, its clock and its network go wrong while senders post.
//!
//! Senders keep a ledger of every 2xx, the stand-in for DingTalk keeps one of every message, and a judge compares
//! them: everything acknowledged is told, nothing is told twice, everything announced is closed, no bot is too fast,
//! and the API says what the chat saw. `docs/faults.md` says how to repeat the long campaign and what it gave.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "results, and why a fault is not possible on this machine, are for people"
)]

mod campaign;
mod cases;
mod dice;
mod door;
mod fault;
mod ground;
mod judge;
mod keeper;
mod ledger;
mod producer;
mod world;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: far longer than on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often something that brings no event is looked at.
const GLANCE: Duration = Duration::from_millis(50);

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
