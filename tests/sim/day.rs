//! What apps have told everybody in a day, counted apart from the product.

use std::collections::BTreeMap;

use dingest::alert::MessageId;

use crate::ways::DAY;

/// How much later than by this count the product may find that there is a place: it counts from when it knows who got
/// a notice, and after a crash from when it wrote down that there is one.
const SLACK: u64 = 5 * 60_000;

/// A notice that may have arrived.
#[derive(Debug)]
struct Notice {
    message: MessageId,
    /// When, at the latest.
    at: u64,
    /// Is its answer still awaited?
    open: bool,
    /// Did it leave?
    certain: bool,
}

/// See the module's head. By app.
#[derive(Debug, Default)]
pub(crate) struct Day {
    arrivals: BTreeMap<String, Vec<u64>>,
    notices: BTreeMap<String, Vec<Notice>>,
    /// Until when nothing is said of how many there may be.
    excused_until: u64,
}

impl Day {
    /// A notice leaves.
    pub(crate) fn sent(&mut self, app: &str, message: MessageId, now: u64) {
        self.notices.entry(app.to_owned()).or_default().push(Notice {
            message,
            at: now,
            open: true,
            certain: true,
        });
    }

    /// It is known what became of one.
    pub(crate) fn answered(&mut self, message: MessageId, may_have_arrived: bool, now: u64) {
        for notices in self.notices.values_mut() {
            for notice in notices.iter_mut().filter(|it| it.open && it.message == message) {
                notice.at = now;
            }
            notices.retain(|it| may_have_arrived || !it.open || it.message != message);
            for notice in notices.iter_mut().filter(|it| it.message == message) {
                notice.open = false;
            }
        }
    }

    /// The process ended, and nobody learns what became of what was under way.
    pub(crate) fn died(&mut self, now: u64) {
        for notice in self.notices.values_mut().flatten().filter(|it| it.open) {
            (notice.at, notice.open) = (now, false);
        }
    }

    /// A notice is found on disk: it takes a place whether it left or not.
    pub(crate) fn found(&mut self, app: &str, message: MessageId, now: u64) {
        self.notices.entry(app.to_owned()).or_default().push(Notice {
            message,
            at: now,
            open: false,
            certain: false,
        });
    }

    /// The count begins anew: what the process knew of it was not on disk.
    pub(crate) fn excuse(&mut self, now: u64) {
        self.excused_until = self.excused_until.max(now + DAY + SLACK);
    }

    /// A notice has arrived, and was taken or was one too many: how many that makes in a day, unless that is excused.
    pub(crate) fn arrived(&mut self, app: &str, is_taken: bool, now: u64) -> Option<u64> {
        let arrivals = self.arrivals.entry(app.to_owned()).or_default();
        let within = arrivals.iter().filter(|at| now - **at < DAY - SLACK);
        let count = within.count() as u64 + 1;
        if is_taken {
            arrivals.push(now);
        }
        (now > self.excused_until).then_some(count)
    }

    /// Notices that have, or may have, a place at this moment.
    pub(crate) fn may_be_used(&self, app: &str, now: u64) -> u64 {
        self.count(app, |notice| notice.open || now < notice.at + DAY + SLACK)
    }

    /// Notices that certainly have one.
    pub(crate) fn used(&self, app: &str, now: u64) -> u64 {
        self.count(app, |notice| {
            notice.certain && (notice.open || now < notice.at + DAY - SLACK)
        })
    }

    fn count(&self, app: &str, counts: impl Fn(&&Notice) -> bool) -> u64 {
        let notices = self.notices.get(app).into_iter().flatten();
        notices.filter(counts).count() as u64
    }

    /// Whether all that can be said is that there may be no place.
    pub(crate) fn is_excused(&self, now: u64) -> bool {
        now <= self.excused_until
    }
}
