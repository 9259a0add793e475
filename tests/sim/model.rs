//! What is true and who is to know it, thought out anew from a ledger each time: no state, no cleverness.
//!
//! Where the product's answer depends on moments the ledger does not hold (an expiry just now, an alert that was
//! forgotten in between) the model says that it does not know, and nobody is blamed.

use dingest::alert::Timestamp;

use crate::plan::{children, matcher};
use crate::script::PlanText;

/// How long after an end a firing message about the same episode is doubted, and how long an alert that is over is
/// remembered.
const DOUBT: i64 = 2 * 60_000;
const REMEMBERED: i64 = 3_600_000;

/// One saying about one alert as the daemon heard it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// In the order of everything that happened.
    pub(crate) seq: u64,
    /// What the daemon's wall clock showed.
    pub(crate) at: i64,
    /// What a clock showed that nobody sets.
    pub(crate) true_at: i64,
    pub(crate) fires: bool,
    pub(crate) start: Option<i64>,
    pub(crate) end: Option<i64>,
    pub(crate) lease: Option<i64>,
    pub(crate) labels: Vec<(String, String)>,
    /// Was it answered 2xx?
    pub(crate) acknowledged: bool,
    /// The request it came with.
    pub(crate) request: usize,
}

/// What is true about one alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// Nobody ever heard of it.
    Nothing,
    Firing,
    Over,
    /// It is just about to expire, or has just expired.
    Open,
}

/// What the ledger says about one alert.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) truth: Truth,
    /// The last saying that certainly began an episode, if it was acknowledged.
    pub(crate) begun: Option<u64>,
    pub(crate) labels: Vec<(String, String)>,
    /// Since when the labels are these.
    pub(crate) labelled: u64,
}

/// Reads the ledger of one alert: everything that took effect, in order.
pub(crate) fn story(heard: &[&Heard], expire_after: i64, now: Timestamp) -> Story {
    let mut reader = Reader {
        story: Story {
            truth: Truth::Nothing,
            begun: None,
            labels: Vec::new(),
            labelled: 0,
        },
        start: 0,
        ended: 0,
        ended_at: 0,
        ended_truly: 0,
        expires: 0,
        doubted: None,
        open: false,
    };
    let drift = (expire_after / 8).max(REMEMBERED);
    for heard in heard {
        let soon = heard.at - reader.ended_at <= DOUBT;
        reader.open |= reader.ended_at > 0 && soon != (heard.true_at - reader.ended_truly <= DOUBT);
        if reader.story.truth == Truth::Firing && heard.at > reader.expires - drift {
            // It may have expired before this came in: then what follows is the next episode.
            reader.story.begun = None;
        }
        if heard.fires {
            reader.fires(heard, heard.lease.unwrap_or(heard.at + expire_after), soon);
        } else {
            reader.ends(heard, soon);
        }
    }
    let Reader {
        mut story,
        expires,
        open,
        ..
    } = reader;
    if open {
        story.truth = Truth::Open;
    }
    if story.truth == Truth::Firing {
        // What a repeat moved is written now and then only, and looked at every hour.
        if now.0 > expires + 2 * REMEMBERED {
            story.truth = Truth::Over;
        } else if now.0 > expires - drift {
            story.truth = Truth::Open;
        }
    }
    story
}

/// The certain begin of an episode, if there was one.
#[derive(Clone, Copy)]
struct Before(Option<u64>);

/// Where the reading of a ledger stands.
struct Reader {
    story: Story,
    start: i64,
    ended: i64,
    /// When the end came in, by the daemon's clock and by the true one.
    ended_at: i64,
    ended_truly: i64,
    expires: i64,
    /// The begin before this one, while this one is doubted.
    doubted: Option<Before>,
    /// Do clocks that were set leave open what was within two minutes?
    open: bool,
}

impl Reader {
    fn fires(&mut self, heard: &Heard, lease: i64, soon: bool) {
        let begun = heard.acknowledged.then_some(heard.seq);
        // What is doubted is not learnt from.
        let same = heard.start.is_some_and(|begin| begin <= self.ended);
        if !(soon && same && (self.story.truth == Truth::Over || self.doubted.is_some())) {
            self.learns(heard);
        }
        match self.story.truth {
            Truth::Nothing => self.begins(heard, begun, lease),
            Truth::Firing | Truth::Open => {
                let later = heard.start.is_none_or(|begin| begin > self.ended);
                if self.doubted.is_some() && soon && later {
                    // Not the doubted episode, but the next.
                    self.begins(heard, begun, lease);
                }
                self.expires = self.expires.max(lease);
            }
            Truth::Over => {
                if same && soon {
                    let before = self.story.begun;
                    let start = self.start;
                    self.begins(heard, begun, lease);
                    (self.start, self.doubted) = (start, Some(Before(before)));
                } else {
                    self.begins(heard, begun, lease);
                }
            }
        }
    }

    fn begins(&mut self, heard: &Heard, begun: Option<u64>, lease: i64) {
        self.story.truth = Truth::Firing;
        self.story.begun = begun;
        self.start = heard.start.unwrap_or(heard.at);
        self.expires = lease;
        self.doubted = None;
    }

    fn ends(&mut self, heard: &Heard, soon: bool) {
        let begun = heard.acknowledged.then_some(heard.seq);
        let end = heard.end.unwrap_or(heard.at);
        match self.story.truth {
            Truth::Nothing => {
                if heard.start.is_some() && heard.at - end <= REMEMBERED {
                    self.story.begun = begun;
                    self.start = heard.start.unwrap_or(end);
                    self.is_over(heard, end);
                }
            }
            Truth::Firing | Truth::Open => {
                let older = heard.start.is_some_and(|begin| begin < self.start) && end < self.start;
                if self.doubted.is_none() && older {
                    return;
                }
                if let Some(Before(before)) = self.doubted.filter(|_| soon) {
                    self.story.begun = before;
                }
                self.is_over(heard, end);
            }
            Truth::Over if heard.at - self.ended_at >= REMEMBERED => {
                // It was forgotten, or just not yet.
                self.story.begun = None;
                self.is_over(heard, end);
            }
            Truth::Over => {
                self.learns(heard);
                if heard.start.is_some_and(|begin| begin > self.ended) {
                    self.story.begun = begun;
                    self.is_over(heard, end);
                }
            }
        }
    }

    fn learns(&mut self, heard: &Heard) {
        if self.story.labels != heard.labels {
            self.story.labels.clone_from(&heard.labels);
            self.story.labelled = heard.seq;
        }
    }

    fn is_over(&mut self, heard: &Heard, end: i64) {
        self.learns(heard);
        self.story.truth = Truth::Over;
        (self.ended, self.ended_at, self.ended_truly) = (end, heard.at, heard.true_at);
        self.doubted = None;
    }
}

/// Who is told about these labels, and by which route: the tree, depth first.
pub(crate) fn concerned(plan: &PlanText, labels: &[(String, String)]) -> Vec<(String, usize)> {
    let mut routes = Vec::new();
    descend(plan, 0, labels, &mut routes);
    let mut concerned: Vec<(String, usize)> = Vec::new();
    for route in routes {
        let receiver = plan.routes[route].1.get("receiver").unwrap_or_default();
        if !concerned.iter().any(|(name, _)| name == receiver) {
            concerned.push((receiver.to_owned(), route));
        }
    }
    concerned
}

fn descend(plan: &PlanText, index: usize, labels: &[(String, String)], found: &mut Vec<usize>) {
    let before = found.len();
    for child in children(plan, index) {
        let words = &plan.routes[child].1;
        let matches = matcher(words).is_none_or(|(name, value)| {
            let known = labels.iter().find(|(label, _)| label == name);
            known.map_or("", |(_, value)| value.as_str()) == value
        });
        if matches {
            descend(plan, child, labels, found);
            if !words.has("continue") {
                break;
            }
        }
    }
    if found.len() == before {
        found.push(index);
    }
}
