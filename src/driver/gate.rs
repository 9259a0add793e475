//! "Nothing leaves before it is durable", as a data structure.
//!
//! Rows are gathered into numbered batches and committed one batch at a time. An item that came about together
//! with rows waits for the batch those rows are in; an item without rows of its own (the answer to a pure repeat)
//! waits for whatever was not yet durable when it came about, and passes at once when there was nothing.

use std::collections::VecDeque;

/// Holds items back until what they depend on is committed.
#[derive(Debug)]
pub(super) struct Gate<T> {
    /// The number of the batch that is being gathered.
    gathering: u64,
    /// The number of the newest batch that is durable.
    durable: u64,
    /// Each with the number of the batch it waits for, ascending.
    held: VecDeque<(u64, T)>,
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Self {
            gathering: 1,
            durable: 0,
            held: VecDeque::new(),
        }
    }
}

impl<T> Gate<T> {
    /// Gives the item back if it may pass at once; otherwise keeps it. `dirty` says whether there are rows in the
    /// batch that is being gathered.
    pub(super) fn pass(&mut self, item: T, dirty: bool) -> Option<T> {
        let needs = if dirty { self.gathering } else { self.gathering - 1 };
        if needs <= self.durable {
            return Some(item);
        }
        self.held.push_back((needs, item));
        None
    }

    /// The gathered batch is being committed; rows from here on belong to the next.
    pub(super) fn commit_begins(&mut self) {
        debug_assert_eq!(self.durable + 1, self.gathering, "one commit at a time");
        self.gathering += 1;
    }

    /// The batch is durable: what waited for it, in order.
    pub(super) fn commit_succeeded(&mut self) -> Vec<T> {
        self.durable = self.gathering - 1;
        let passing = self.held.partition_point(|(needs, _)| *needs <= self.durable);
        self.held.drain(..passing).map(|(_, item)| item).collect()
    }

    /// The batch is lost and nothing is being gathered: everything that waited, in order.
    pub(super) fn commit_failed(&mut self) -> Vec<T> {
        self.durable = self.gathering - 1;
        self.held.drain(..).map(|(_, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_with_rows_waits_for_the_commit_of_its_own_batch() {
        let mut gate = Gate::default();
        assert_eq!(gate.pass("a", true), None);
        gate.commit_begins();
        assert_eq!(gate.pass("b", true), None);
        assert_eq!(gate.commit_succeeded(), ["a"]);
        gate.commit_begins();
        assert_eq!(gate.commit_succeeded(), ["b"]);
    }

    #[test]
    fn an_item_without_rows_waits_for_what_is_not_durable_yet_and_for_nothing_else() {
        let mut gate = Gate::default();
        assert_eq!(gate.pass("idle", false), Some("idle"));
        assert_eq!(gate.pass("rows", true), None);
        gate.commit_begins();
        assert_eq!(gate.pass("repeat", false), None);
        assert_eq!(gate.commit_succeeded(), ["rows", "repeat"]);
        assert_eq!(gate.pass("idle again", false), Some("idle again"));
    }

    #[test]
    fn a_failed_commit_gives_everything_back_and_the_next_one_counts_anew() {
        let mut gate = Gate::default();
        assert_eq!(gate.pass("lost", true), None);
        gate.commit_begins();
        assert_eq!(gate.pass("gathered", true), None);
        assert_eq!(gate.commit_failed(), ["lost", "gathered"]);
        assert_eq!(gate.pass("next", true), None);
        gate.commit_begins();
        assert_eq!(gate.commit_succeeded(), ["next"]);
    }
}
