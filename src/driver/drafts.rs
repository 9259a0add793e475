//! Drafts that wait to be rendered: urgent ones first, and only a few at once.
//!
//! Hundreds of receivers may be due at the same moment, each with thousands of changes. Rendered all at once they
//! would leave no core to whoever takes alerts in.

use std::collections::VecDeque;

use crate::digest::Draft;

/// The queue. It knows nothing of what a draft says.
#[derive(Debug)]
pub(super) struct Drafts {
    urgent: VecDeque<Draft>,
    others: VecDeque<Draft>,
    /// How many are being rendered, and how many may be; an urgent one more.
    rendering: usize,
    rendering_max: usize,
}

impl Drafts {
    /// Half of the cores render.
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Self::with(cores / 2)
    }

    fn with(rendering_max: usize) -> Self {
        Self {
            urgent: VecDeque::new(),
            others: VecDeque::new(),
            rendering: 0,
            rendering_max: rendering_max.max(1),
        }
    }

    pub(super) fn add(&mut self, draft: Draft) {
        if draft.urgent {
            self.urgent.push_back(draft);
        } else {
            self.others.push_back(draft);
        }
    }

    /// The next draft to render at this moment. Each is answered by [`Drafts::rendered`].
    pub(super) fn next(&mut self) -> Option<Draft> {
        let urgent = if self.rendering <= self.rendering_max {
            self.urgent.pop_front()
        } else {
            None
        };
        let next = match urgent {
            None if self.rendering < self.rendering_max => self.others.pop_front(),
            urgent => urgent,
        };
        self.rendering += usize::from(next.is_some());
        next
    }

    pub(super) fn rendered(&mut self) {
        self.rendering = self.rendering.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{DigestId, Timestamp};
    use crate::digest::{Detail, Fit};

    fn draft(id: u64, urgent: bool) -> Draft {
        Draft {
            id: DigestId(id),
            uuid_prefix: String::new(),
            receiver: "ops".into(),
            others: Vec::new(),
            endpoint: None,
            composed_at: Timestamp(0),
            urgent,
            entries: Vec::new(),
            firing: [0; 3],
            notices: Vec::new(),
            fit: Fit {
                messages_max: 1,
                message_bytes_max: 1,
                detail_max: Detail::Full,
            },
        }
    }

    fn next(drafts: &mut Drafts) -> Option<u64> {
        drafts.next().map(|draft| draft.id.0)
    }

    #[test]
    fn urgent_drafts_go_first_and_have_a_place_of_their_own() {
        let mut drafts = Drafts::with(1);
        drafts.add(draft(1, false));
        drafts.add(draft(2, false));
        assert_eq!(next(&mut drafts), Some(1));
        assert_eq!(next(&mut drafts), None, "one at a time");
        drafts.add(draft(3, true));
        drafts.add(draft(4, true));
        assert_eq!(next(&mut drafts), Some(3), "beside the other");
        assert_eq!(next(&mut drafts), None);
        drafts.rendered();
        assert_eq!(next(&mut drafts), Some(4), "before the one that waits longer");
        drafts.rendered();
        drafts.rendered();
        assert_eq!(next(&mut drafts), Some(2));
        assert_eq!(next(&mut drafts), None);
    }
}
