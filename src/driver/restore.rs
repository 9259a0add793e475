//! From what the store has to what an engine goes on from.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use crate::engine::Restored;
use crate::plan::Plan;
use crate::store::{Saved, Store, StoreError};

/// Alerts that change threads together.
const BATCH: usize = 512;
/// Batches read ahead of the engine.
const BATCHES_AHEAD: usize = 8;

/// Takes over what the store has. Alerts are read on a thread of their own: on two cores a million of them are there in
/// half the time, and only a few are in memory in both forms.
pub(super) fn restore(store: &mut dyn Store, plan: &Arc<Plan>) -> Result<(Restored, Saved), StoreError> {
    let (batches, read) = sync_channel(BATCHES_AHEAD);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut batch = Vec::with_capacity(BATCH);
            store.load_alerts(&mut |no, row| {
                batch.push((no, row));
                if batch.len() == BATCH {
                    // Whoever takes them over lives as long as we do, unless it panics.
                    let _taken = batches.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
                }
            })?;
            let _taken = batches.send(batch);
            // Alerts are indexed while the rest is read.
            drop(batches);
            store.load_others()
        });
        let mut restored = Restored::new(Arc::clone(plan));
        // Owned here: should we panic, the reader does not wait for us, and the panic is seen.
        for (no, row) in read.into_iter().flatten() {
            restored.take(no, row);
        }
        restored.index();
        let saved = reader
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((restored, saved))
    })
}
