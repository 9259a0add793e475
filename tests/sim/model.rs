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
    /// The same, made right by every clock that was set back since: nothing was heard later than now.
    pub(crate) trusted_at: i64,
    /// The latest that the daemon's clock has shown since, as of its last setting: then it may have expired.
    pub(crate) shown: i64,
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

impl Heard {
    /// When what fires by this word alone expires: at the earliest, if the product has made its own times right, and
    /// at the latest.
    pub(crate) fn expires(&self, expire_after: i64) -> (i64, i64) {
        let latest = self.lease.unwrap_or(self.at + expire_after);
        (latest - (self.at - self.trusted_at), latest)
    }
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
    /// Until when it is open whether the last word is believed.
    pub(crate) open_until: i64,
    /// By when it has expired, if it is over because nobody said so.
    pub(crate) expired_by: Option<i64>,
}

/// Reads the ledger of one alert: everything that took effect, in order.
pub(crate) fn story(heard: &[&Heard], expire_after: i64, now: Timestamp) -> Story {
    let mut reader = Reader {
        story: Story {
            truth: Truth::Nothing,
            begun: None,
            labels: Vec::new(),
            labelled: 0,
            open_until: 0,
            expired_by: None,
        },
        start: (0, 0),
        ended: 0,
        ended_at: 0,
        ended_truly: 0,
        expires: (0, 0),
        doubted: None,
        open: false,
    };
    let drift = (expire_after / 8).max(REMEMBERED);
    let mut shown = i64::MIN;
    for heard in heard {
        let soon = heard.at - reader.ended_at <= DOUBT;
        // It is believed within two seconds of then.
        reader.open |= reader.doubted.is_some() && !soon && heard.at - reader.ended_at <= DOUBT + 2000;
        reader.open |= reader.ended_at > 0 && soon != (heard.true_at - reader.ended_truly <= DOUBT);
        if !soon {
            // What was doubted is believed by now.
            reader.doubted = None;
        }
        if reader.story.truth == Truth::Firing && heard.at.max(shown) > reader.expires.0 - drift {
            // It may have expired before this came in: then what follows is the next episode.
            reader.story.begun = None;
            if heard.fires {
                reader.start.1 = reader.start.1.max(heard.start.unwrap_or(heard.at));
            }
        }
        if heard.fires {
            reader.fires(heard, heard.expires(expire_after), soon);
        } else {
            reader.ends(heard, soon);
        }
        shown = shown.max(heard.shown);
    }
    let Reader {
        mut story,
        expires,
        open,
        doubted,
        ended_at,
        ..
    } = reader;
    if doubted.is_some() {
        story.open_until = ended_at + DOUBT + 2000;
    }
    if open {
        story.truth = Truth::Open;
    }
    if story.truth == Truth::Firing {
        // What a repeat moved is written now and then only, and looked at every hour.
        let (earliest, latest) = expires;
        if now.0 > latest + 2 * REMEMBERED {
            story.truth = Truth::Over;
            story.expired_by = Some(latest + 2 * REMEMBERED);
        } else if now.0.max(shown) > earliest - drift {
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
    /// When the episode began: at the earliest, and at the latest.
    start: (i64, i64),
    ended: i64,
    /// When the end came in, by the daemon's clock and by the true one.
    ended_at: i64,
    ended_truly: i64,
    /// At the earliest, and at the latest.
    expires: (i64, i64),
    /// The begin before this one, while this one is doubted.
    doubted: Option<Before>,
    /// Do clocks that were set leave open what was within two minutes?
    open: bool,
}

impl Reader {
    fn fires(&mut self, heard: &Heard, expires: (i64, i64), soon: bool) {
        let begun = heard.acknowledged.then_some(heard.seq);
        // What is doubted is not learnt from.
        let same = heard.start.is_some_and(|begin| begin <= self.ended);
        if !(soon && same && (self.story.truth == Truth::Over || self.doubted.is_some())) {
            self.learns(heard);
        }
        match self.story.truth {
            Truth::Nothing => self.begins(heard, begun, expires),
            Truth::Firing | Truth::Open => {
                let later = heard.start.is_none_or(|begin| begin > self.ended);
                if self.doubted.is_some() && soon && later {
                    // Not the doubted episode, but the next.
                    self.begins(heard, begun, expires);
                }
                self.expires = (self.expires.0.max(expires.0), self.expires.1.max(expires.1));
            }
            Truth::Over => {
                if same && soon {
                    let before = self.story.begun;
                    let start = self.start;
                    self.begins(heard, begun, expires);
                    (self.start, self.doubted) = (start, Some(Before(before)));
                } else {
                    self.begins(heard, begun, expires);
                }
            }
        }
    }

    fn begins(&mut self, heard: &Heard, begun: Option<u64>, expires: (i64, i64)) {
        self.story.truth = Truth::Firing;
        self.story.begun = begun;
        self.start = at_once(heard.start.unwrap_or(heard.at));
        self.expires = expires;
        self.doubted = None;
    }

    fn ends(&mut self, heard: &Heard, soon: bool) {
        let begun = heard.acknowledged.then_some(heard.seq);
        let end = heard.end.unwrap_or(heard.at);
        match self.story.truth {
            Truth::Nothing => {
                if heard.start.is_some() && heard.at - end <= REMEMBERED {
                    self.story.begun = begun;
                    self.start = at_once(heard.start.unwrap_or(end));
                    self.becomes_over(heard, end);
                }
            }
            Truth::Firing | Truth::Open => {
                let older = |start: i64| heard.start.is_some_and(|begin| begin < start) && end < start;
                if self.doubted.is_none() {
                    self.open |= older(self.start.0) != older(self.start.1);
                    if older(self.start.0) {
                        return;
                    }
                }
                match self.doubted.filter(|_| soon) {
                    Some(_) if heard.start.is_some_and(|begin| begin > self.ended) => {
                        self.story.begun = begun;
                        self.becomes_over(heard, end);
                    }
                    // The end is said again: it is over since it was.
                    Some(Before(before)) => {
                        self.learns(heard);
                        self.story.begun = before;
                        self.story.truth = Truth::Over;
                        self.doubted = None;
                    }
                    None => self.becomes_over(heard, end),
                }
            }
            Truth::Over if heard.at - self.ended_at >= REMEMBERED => {
                // It was forgotten, or just not yet: then this may be a repeat of an end that is known.
                self.story.begun = None;
                let said = heard.start.unwrap_or(self.start.1);
                let known = if said > self.ended { said } else { self.start.0 };
                self.start = (known.min(said), known.max(said));
                self.becomes_over(heard, end);
            }
            Truth::Over => {
                self.learns(heard);
                if heard.start.is_some_and(|begin| begin > self.ended) {
                    self.story.begun = begun;
                    self.becomes_over(heard, end);
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

    fn becomes_over(&mut self, heard: &Heard, end: i64) {
        self.learns(heard);
        self.story.truth = Truth::Over;
        (self.ended, self.ended_at, self.ended_truly) = (end, heard.at, heard.true_at);
        self.doubted = None;
    }
}

/// A moment that is certain.
fn at_once(at: i64) -> (i64, i64) {
    (at, at)
}

/// Who is told about these labels, and by which route: the tree, depth first.
pub(crate) fn concerned(plan: &PlanText, labels: &[(String, String)]) -> Vec<(String, usize)> {
    let mut routes = Vec::new();
    descend(plan, 0, labels, &mut routes);
    let mut concerned: Vec<(String, usize)> = Vec::new();
    for route in routes {
        for receiver in plan.members(plan.routes[route].1.get("receiver").unwrap_or_default()) {
            if !concerned.iter().any(|(name, _)| *name == receiver) {
                concerned.push((receiver, route));
            }
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
