//! Waiting for what must come, however busy the machine is.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: far longer than on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How often something that brings no event is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// Waits until `look` finds something, and returns it; `what` is said when it never does.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
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
