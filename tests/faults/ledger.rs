//! What is written down while things go wrong: by the producer every answer it got, by the campaign what it did.
//!
//! The third ledger is the stand-in's own, [`Call`] by [`Call`].

use std::collections::BTreeMap;

use dingest::dingtalk::simulator::rules::Call;

/// Milliseconds since the epoch by a clock nobody tampers with.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What the producer knows of one alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Posted {
    /// Whom its route leads to.
    pub(crate) receiver: &'static str,
    /// How often it has begun, as far as that was ever posted.
    pub(crate) begun: u32,
    /// Whether a 2xx confirmed that it fires.
    pub(crate) promised: bool,
    /// Whether a 2xx confirmed that its last episode is over.
    pub(crate) over: bool,
    /// How often it was said to fire, by a source that names no times, in a request that was given up. The daemon may
    /// take such a request in after its successors, and nothing in it says that it is older.
    pub(crate) stray_begins: u32,
}

impl Posted {
    /// Of how many episodes the chat may be told.
    pub(crate) fn begins_max(&self) -> u32 {
        self.begun + self.stray_begins
    }
}

/// The producer's ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Postings {
    /// By the name of the node.
    pub(crate) alerts: BTreeMap<String, Posted>,
    /// Answers by status; 0 is no answer at all.
    pub(crate) answers: BTreeMap<u16, u64>,
}

impl Postings {
    /// Alerts a 2xx was answered for.
    pub(crate) fn acknowledged(&self) -> usize {
        self.alerts.values().filter(|alert| alert.promised).count()
    }
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Period {
    pub(crate) fn has(self, at: i64) -> bool {
        self.from <= at && at <= self.to
    }
}

/// What was done to the daemon, as far as it excuses anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Circumstances {
    /// When an answer of DingTalk's may not have reached the daemon, or not have been kept.
    pub(crate) doubts: Vec<Period>,
    /// From when on the disk refused what was told, until the process that remembered it ended; or the database was
    /// lost and replaced by an empty one.
    pub(crate) forgotten: Vec<Period>,
    /// Since when there is a history.
    pub(crate) history_from: i64,
    /// The database was destroyed, and the daemon said so.
    pub(crate) declared_lost: bool,
}

impl Circumstances {
    pub(crate) fn doubtful(&self, at: i64) -> bool {
        self.doubts.iter().any(|period| period.has(at))
    }

    pub(crate) fn excused(&self, at: i64) -> bool {
        self.forgotten.iter().any(|period| period.has(at))
    }
}

/// A message as the read API tells of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reported {
    pub(crate) text: String,
    pub(crate) delivered: bool,
}

/// Everything a judge gets to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) postings: Postings,
    pub(crate) calls: Vec<Call>,
    pub(crate) reported: Vec<Reported>,
    pub(crate) circumstances: Circumstances,
    /// The daemon's log, line by line.
    pub(crate) log: Vec<String>,
}
