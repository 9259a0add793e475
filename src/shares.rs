//! What each source has for itself of what all of them share, so that none of them leaves nothing to another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::alert::SourceName;

/// One share for each source that has asked for it. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Shares<T>(Arc<Mutex<BTreeMap<SourceName, T>>>);

impl<T> Default for Shares<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Shares<T> {
    /// The share of this source, made when it is first asked for.
    pub(crate) fn of(&self, source: &SourceName, make: impl FnOnce() -> T) -> T {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(source) {
            return share.clone();
        }
        let share = make();
        shares.insert(source.clone(), share.clone());
        share
    }
}
