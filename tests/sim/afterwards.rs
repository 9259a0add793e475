//! What is done about messages after they were delivered, judged by what is on disk and by what the chats show.

use std::collections::{BTreeMap, BTreeSet};

use dingest::alert::{EndpointName, MessageId, Receipt, Timestamp};
use dingest::digest::Change;
use dingest::engine::outcome::ReadBy;
use dingest::engine::{Answer, Errand, Finding, Outcome, Task};
use dingest::store::{ReceiptRow, State};

use crate::invariant::{Invariant, Violation, violation};
use crate::judge::{Judge, Telling};
use crate::model::{Truth, concerned};
use crate::store::MemoryStore;
use crate::ways::{person_behind, told_through, user_of};

/// How often it is tried to take a message back.
const RECALL_TRIES_MAX: u64 = 10;
/// Calls that ask who has read a message: five times, five pages each.
const READ_CALLS_MAX: u64 = 25;
/// Within this many milliseconds what an errand was decided by may have become another.
pub(crate) const DECIDED_WITHIN: u64 = 60_000;

/// What the judge remembers of it.
#[derive(Debug, Default)]
pub(crate) struct Afterwards {
    /// The tellings of each call, as far as it was answered.
    calls: BTreeMap<Receipt, BTreeSet<usize>>,
    /// How often each was to be taken back, and asked about.
    recalls: BTreeMap<Receipt, u64>,
    reads: BTreeMap<Receipt, u64>,
    /// The errands whose answer the process waits for, and when each left.
    awaited: BTreeMap<u64, (Errand, u64)>,
    /// What was taken back, and through which endpoints each message is known to have been read.
    taken_back: BTreeSet<Receipt>,
    known_readers: BTreeSet<(Receipt, EndpointName)>,
    /// Who has read everything: when, and in the group of which receiver, or in the own chats.
    reads_of_people: Vec<(u64, String, Option<String>)>,
    /// What this process has counted as read.
    counted: BTreeSet<usize>,
    /// How often everything could begin anew: starts, and loads of a configuration.
    beginnings: u64,
    /// When the last of them was.
    begun_at: u64,
}

impl Afterwards {
    /// The process ended, or was put back.
    pub(crate) fn forgotten(&mut self) {
        self.awaited.clear();
        self.counted.clear();
    }

    /// Whether a telling was taken back, as far as that is known.
    pub(crate) fn was_taken_back(&self, telling: usize) -> bool {
        let is_of = |receipt: &Receipt| self.calls.get(receipt).is_some_and(|of| of.contains(&telling));
        self.taken_back.iter().any(is_of)
    }

    /// Whether a person has read everything in the group of a receiver, or in the own chats, since then.
    pub(crate) fn has_read(&self, user: &str, group: Option<&str>, since: u64) -> bool {
        let mut reads = self.reads_of_people.iter();
        reads.any(|(at, person, receiver)| *at >= since && person == user && receiver.as_deref() == group)
    }

    /// The same of anybody.
    pub(crate) fn somebody_has_read(&self, group: Option<&str>, since: u64) -> bool {
        let mut reads = self.reads_of_people.iter();
        reads.any(|(at, _, receiver)| *at >= since && receiver.as_deref() == group)
    }

    /// Counts a telling as read; says whether that is the first time.
    pub(crate) fn count_as_read(&mut self, telling: usize) -> bool {
        self.counted.insert(telling)
    }

    /// A start, or a load of a configuration.
    pub(crate) fn begins(&mut self, now: u64) {
        self.beginnings += 1;
        self.begun_at = now;
    }

    /// A message was answered.
    pub(crate) fn delivered(&mut self, telling: usize, answer: &Answer) {
        if let Some(receipt) = &answer.receipt {
            self.calls.entry(receipt.clone()).or_default().insert(telling);
        }
    }
}

impl Judge<'_> {
    /// An errand leaves.
    pub(crate) fn errand(
        &mut self,
        no: u64,
        errand: &Errand,
        store: &MemoryStore,
        writable: bool,
        now: u64,
        time: Timestamp,
    ) -> Result<(), Violation> {
        self.check_errand_room(errand, now)?;
        self.check_errand_pace(time, now)?;
        if self
            .blocked
            .is_some_and(|blocked| now > blocked.at + DECIDED_WITHIN && now < blocked.until)
        {
            let what = format!("{errand:?} leaves while our address is blocked");
            return Err(violation(Invariant::BlockKept, now, what));
        }
        self.afterwards.awaited.insert(no, (errand.clone(), now));
        let beginnings = self.afterwards.beginnings;
        match &errand.task {
            Task::Recall(receipts) => {
                for receipt in receipts {
                    let tries = self.afterwards.recalls.entry(receipt.clone()).or_default();
                    *tries += 1;
                    bounded(receipt, *tries, RECALL_TRIES_MAX * beginnings, now)?;
                    self.check_recall(receipt, store, writable, now, time)?;
                }
            }
            Task::Read { receipt, .. } => {
                let asked = self.afterwards.reads.entry(receipt.clone()).or_default();
                *asked += 1;
                bounded(receipt, *asked, READ_CALLS_MAX + beginnings, now)?;
                let asked = self.afterwards.calls.get(receipt).into_iter().flatten();
                let pictures = asked.map(|telling| &self.tellings[*telling]);
                if let Some(picture) = pictures.clone().find(|telling| telling.is_picture) {
                    let what = format!("it is asked who has seen the picture {:?}", picture.message);
                    return Err(violation(Invariant::PictureFollows, now, what));
                }
            }
        }
        Ok(())
    }

    /// An errand came back.
    pub(crate) fn ran(
        &mut self,
        no: u64,
        finding: &Finding,
        now: u64,
        time: Timestamp,
    ) -> Result<(), Violation> {
        let arrived = match finding {
            Finding::Recalled(answers) => answers
                .iter()
                .any(|(_, answer)| answer.outcome.may_have_arrived()),
            Finding::Read(read_by) => read_by.answer.outcome.may_have_arrived(),
        };
        let Some((errand, left_at)) = self.afterwards.awaited.remove(&no) else {
            return Ok(());
        };
        if arrived {
            self.api_month.counted(time, now);
        }
        match finding {
            Finding::Recalled(answers) => {
                let delivered = answers
                    .iter()
                    .filter(|(_, answer)| answer.outcome == Outcome::Delivered);
                let receipts = delivered.map(|(receipt, _)| receipt.clone());
                self.afterwards.taken_back.extend(receipts);
            }
            Finding::Read(read_by) => {
                if let Task::Read { receipt, .. } = &errand.task {
                    let endpoints = read_by.readers.iter().map(|reader| reader.endpoint.clone());
                    let known = endpoints.map(|endpoint| (receipt.clone(), endpoint));
                    self.afterwards.known_readers.extend(known);
                }
            }
        }
        match finding {
            Finding::Read(read_by) if read_by.answer.outcome == Outcome::Delivered => {
                self.check_readers(&errand, read_by, left_at, now)
            }
            Finding::Read(_) | Finding::Recalled(_) => Ok(()),
        }
    }

    /// The calls by which a receiver was told of an alert.
    fn told_by(&self, receiver: &str, alert: &str) -> impl Iterator<Item = &Receipt> {
        let key = (receiver.to_owned(), alert.to_owned());
        let tellings = self.chats.get(&key).map_or(&[][..], Vec::as_slice);
        let calls = self.afterwards.calls.iter();
        calls.filter_map(move |(receipt, of)| {
            tellings
                .iter()
                .any(|telling| of.contains(telling))
                .then_some(receipt)
        })
    }

    /// Whether what a receiver was told of an alert is taken back, as a script says it must be.
    pub(crate) fn has_been_recalled(&self, receiver: &str, alert: &str, now: u64) -> Result<(), Violation> {
        let mut told_by = self.told_by(receiver, alert);
        if told_by.any(|receipt| self.afterwards.taken_back.contains(receipt)) {
            return Ok(());
        }
        let what = format!("what {receiver} was told of {alert} is not taken back");
        Err(violation(Invariant::RecalledInTime, now, what))
    }

    /// Whether it is known that a receiver has read of an alert, as a script says it must be.
    pub(crate) fn is_known_as_read(&self, receiver: &str, alert: &str, now: u64) -> Result<(), Violation> {
        let is_known = |receipt: &Receipt| {
            let mut known = self.afterwards.known_readers.iter();
            known.any(|(of, endpoint)| of == receipt && told_through(endpoint.as_str()) == receiver)
        };
        let mut told_by = self.told_by(receiver, alert);
        if told_by.any(is_known) {
            return Ok(());
        }
        let what = format!("nobody knows that {receiver} has read of {alert}");
        Err(violation(Invariant::AskedWhoHasRead, now, what))
    }

    /// Somebody reads everything in a group, or in the own chats.
    pub(crate) fn reads(&mut self, person: &str, receiver: Option<&str>, now: u64) {
        let receiver = receiver.map(str::to_owned);
        self.afterwards
            .reads_of_people
            .push((now, person.to_owned(), receiver));
    }

    /// Whoever is said to have read a message has, and whoever had before that was asked is said to.
    fn check_readers(
        &self,
        errand: &Errand,
        read_by: &ReadBy,
        left_at: u64,
        now: u64,
    ) -> Result<(), Violation> {
        let Task::Read { receipt, page } = &errand.task else {
            return Ok(());
        };
        let told = self.afterwards.calls.get(receipt).into_iter().flatten();
        let told: Vec<&Telling> = told.map(|telling| &self.tellings[*telling]).collect();
        let of = |endpoint: &str| {
            let receiver = told_through(endpoint);
            told.iter().find(move |telling| telling.receiver == receiver)
        };
        let has_read = |user: &str, endpoint: &str, from: u64, until: u64| {
            let group = endpoint.strip_prefix("group/");
            let mut reads = self.afterwards.reads_of_people.iter();
            reads.any(|(at, person, receiver)| {
                (from..=until).contains(at) && person == user && receiver.as_deref() == group
            })
        };
        for reader in &read_by.readers {
            let endpoint = reader.endpoint.as_str();
            let is_addressed = user_of(endpoint).is_none_or(|user| person_behind(user) == reader.user);
            let begin = of(endpoint).map_or(0, |telling| telling.composed_at);
            if !is_addressed || !has_read(&reader.user, endpoint, begin, now) {
                let what = format!("{reader:?} has not read {}", receipt.as_str());
                return Err(violation(Invariant::ReadersAreRight, now, what));
            }
        }
        // Of several pages each names some, and what was taken back is read no more.
        let is_whole = page.is_none() && read_by.next.is_none();
        if !is_whole || self.afterwards.recalls.contains_key(receipt) {
            return Ok(());
        }
        for endpoint in &errand.through {
            let is_named = read_by.readers.iter().any(|reader| reader.endpoint == *endpoint);
            let Some(shown) = of(endpoint.as_str()).and_then(|telling| telling.shown) else {
                continue;
            };
            let missing = match (
                user_of(endpoint.as_str()),
                endpoint.as_str().strip_prefix("group/"),
            ) {
                (Some(user), _) => {
                    let user = person_behind(user);
                    let has_read = has_read(&user, endpoint.as_str(), shown, left_at);
                    (has_read && !is_named).then_some(user)
                }
                (None, Some(_)) => {
                    let people = self
                        .afterwards
                        .reads_of_people
                        .iter()
                        .map(|(_, person, _)| person);
                    let is_missing = |person: &&String| {
                        let named = read_by.readers.iter().any(|reader| reader.user == **person);
                        !named && has_read(person, endpoint.as_str(), shown, left_at)
                    };
                    people.into_iter().find(is_missing).cloned()
                }
                // Of departments a notice may not have reached everybody.
                (None, None) => None,
            };
            if let Some(user) = missing {
                let what = format!("{user} has read {}, and is not named", receipt.as_str());
                return Err(violation(Invariant::ReadersAreRight, now, what));
            }
        }
        Ok(())
    }

    /// It waits while somebody has something to say, and takes no place that is reserved.
    fn check_errand_room(&mut self, errand: &Errand, now: u64) -> Result<(), Violation> {
        let app = errand.app.as_str();
        let text = &self.setting().text;
        let through = errand.through.first().map_or("", |name| name.as_str());
        let sender = text.sender_of(through);
        let (most, window) = text.rate_of(&sender);
        // What is asked about a notice to everybody is none itself.
        let sent = if text.is_for_everybody(through) {
            0
        } else {
            self.sends.entry(sender.clone()).or_default().push(now);
            self.sent_within(&sender, window, now) - 1
        };
        let others = self
            .afterwards
            .awaited
            .values()
            .filter(|(other, _)| other.app == errand.app);
        let others = others.count() as u64;
        if sent < Self::unreserved(most) && others <= 1 || now <= self.excused_until || !self.plan_is_old(now)
        {
            return Ok(());
        }
        let what =
            format!("{app} has sent {sent} of {most}, {others} errands are out, and there goes {errand:?}");
        Err(violation(Invariant::ReserveKept, now, what))
    }

    /// There are none while the month is made to last.
    fn check_errand_pace(&self, time: Timestamp, now: u64) -> Result<(), Violation> {
        let pace = self.api_month.pace(self.setting().text.api_quota, time);
        // What was counted just now may have come after it was decided: then it waited for its commit only.
        let decided_before = |at: u64| now - at < DECIDED_WITHIN;
        if pace.is_none_or(|(counted_at, _)| decided_before(counted_at)) {
            return Ok(());
        }
        let what = "an errand leaves while the month is made to last";
        Err(violation(Invariant::QuotaLasts, now, what))
    }

    /// Whether a message is to be taken back from everybody who got it.
    fn check_recall(
        &self,
        receipt: &Receipt,
        store: &MemoryStore,
        writable: bool,
        now: u64,
        time: Timestamp,
    ) -> Result<(), Violation> {
        let kept: Vec<(&MessageId, &ReceiptRow)> = store
            .receipts
            .iter()
            .filter(|(_, row)| row.receipt == *receipt)
            .collect();
        for telling in self.afterwards.calls.get(receipt).into_iter().flatten() {
            let telling = &self.tellings[*telling];
            // A picture goes when its digest does.
            let text = self.text_of(telling);
            let row = kept.iter().find(|(message, _)| **message == telling.message);
            let mut recalls = self.recalls_of(telling, now).peekable();
            let nobody_asked = recalls.peek().is_none();
            let why_not = |recall| match recall {
                "superseded" => self.is_not_superseded(text),
                _ => self
                    .is_not_over(text, store, now, time)
                    .or_else(|| self.is_not_over_on_disk(text, store, now).filter(|_| writable)),
            };
            // One of them is reason enough.
            let why_nots: Option<Vec<&str>> = recalls.map(why_not).collect();
            let why_not = if nobody_asked {
                Some("nobody asked for that")
            } else if writable && row.is_none() && self.asks_for_recall(telling) {
                // A plan that does not ask for that any more has let it go, but not what was decided before.
                Some("it is not on disk")
            } else {
                why_nots.and_then(|why_nots| why_nots.first().copied())
            };
            if let Some(why_not) = why_not {
                let (message, receiver) = (telling.message, &telling.receiver);
                let what = format!("{message:?} is taken back from {receiver}: {why_not}");
                return Err(violation(Invariant::RecallIsDue, now, what));
            }
        }
        Ok(())
    }

    /// When messages of a receiver are taken back, by the plan in force and by that by which an errand that leaves now
    /// may have been decided.
    fn recalls_of(&self, telling: &Telling, now: u64) -> impl Iterator<Item = &str> {
        let lately = now - self.afterwards.begun_at < DECIDED_WITHIN;
        let plans = self.plans.iter().rev().take(if lately { 2 } else { 1 });
        plans.filter_map(|(_, plan)| plan.text.words_of(&telling.receiver)?.get("recall"))
    }

    /// Whether the plan in force takes messages of a receiver back.
    fn asks_for_recall(&self, telling: &Telling) -> bool {
        let text = &self.setting().text;
        let words = text.words_of(&telling.receiver);
        text.knows(&telling.receiver) && words.is_some_and(|words| words.get("recall").is_some())
    }

    fn is_not_superseded(&self, telling: &Telling) -> Option<&'static str> {
        let newer = |other: &&Telling| other.receiver == telling.receiver && other.seq > telling.seq;
        let found = self
            .tellings
            .iter()
            .filter(newer)
            .any(|newer| newer.shown.is_some());
        (!found).then_some("there is nothing newer in the chat")
    }

    fn is_not_over(
        &self,
        telling: &Telling,
        store: &MemoryStore,
        now: u64,
        time: Timestamp,
    ) -> Option<&'static str> {
        let announces = |change: Change| match change {
            Change::New | Change::Again | Change::Reminder | Change::Flapping => true,
            Change::Resolved | Change::Passed | Change::Expired => false,
        };
        if !telling.covers.iter().all(|(_, _, change)| announces(*change)) {
            return Some("it tells an end");
        }
        // What was over for so long that it was forgotten is over, even if it fires by another number now.
        let known = (telling.covers.iter()).filter(|(_, no, _)| store.alerts.contains_key(no));
        let fires = known.map(|(alert, ..)| alert).any(|alert| {
            let told = self.story(alert, time);
            told.truth == Truth::Firing && told.open_until <= time.0 && !self.began_lately(alert, now)
        });
        fires.then_some("some of it fires")
    }

    /// Whether it was said to fire only after an errand that leaves now may have been decided.
    fn began_lately(&self, alert: &str, now: u64) -> bool {
        let since = i64::try_from(now.saturating_sub(DECIDED_WITHIN)).unwrap_or(i64::MAX);
        let heard = self.effective(alert);
        heard.iter().any(|heard| heard.fires && heard.true_at > since)
    }

    /// What is on disk must say so already: that it is over, and that this was told, or is not told.
    fn is_not_over_on_disk(&self, telling: &Telling, store: &MemoryStore, now: u64) -> Option<&'static str> {
        let text = &self.setting().text;
        for (name, no, _) in &telling.covers {
            let Some(alert) = store.alerts.get(no) else {
                continue;
            };
            if alert.state != State::Resolved || alert.doubted {
                if self.began_lately(name, now) {
                    continue;
                }
                return Some("by what is on disk some of it fires");
            }
            let told = store.told.get(&(telling.receiver.as_str().into(), *no));
            let labels = self.effective(name).last().map(|heard| heard.labels.clone());
            let routes = concerned(text, &labels.unwrap_or_default());
            let route = routes.iter().find(|(receiver, _)| *receiver == telling.receiver);
            // Of who is no longer concerned the root decides.
            let route = route.map_or(0, |(_, route)| *route);
            let is_silent = (text.routes.get(route)).is_some_and(|(_, words)| words.has("silent"));
            if told.is_some_and(|told| told.said.owes_an_end()) && !is_silent {
                return Some("by what is on disk it was not told that some of it is over");
            }
        }
        None
    }
}

fn bounded(receipt: &Receipt, calls: u64, most: u64, now: u64) -> Result<(), Violation> {
    if calls <= most {
        return Ok(());
    }
    let what = format!("{} is asked about for the {calls}. time", receipt.as_str());
    Err(violation(Invariant::AfterwardsBounded, now, what))
}
