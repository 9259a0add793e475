//! Watches everything that goes in and out of the product, keeps its own ledger, and says which promise was broken.
//!
//! What was told is judged by what the chats show; what should have been told, by the [`model`].

use std::collections::{BTreeMap, BTreeSet};

use dingest::alert::{Alert, AlertNo, Fingerprint, Labels, MessageId, Now, RequestId, Severity, Timestamp};
use dingest::digest::{Change, Detail, Draft, Rendered};
use dingest::dingtalk::simulator::apps;
use dingest::dingtalk::simulator::people::Fate as PersonFate;
use dingest::dingtalk::simulator::rules::{CALLS_PER_WINDOW_MAX, Call};
use dingest::driver::steering::{Accepted, Steering};
use dingest::engine::outcome::Refused;
use dingest::engine::{Answer, Engine, Outcome, Send, Verdict};
use dingest::store::Changes;

use crate::afterwards::Afterwards;
use crate::asking::Asked;
use crate::day::Day;
use crate::invariant::{Invariant, Violation, violation};
use crate::learnt::Learnt;
use crate::model::{Heard, Story, Truth, concerned, story};
use crate::month::Month;
use crate::numbers;
use crate::plan::Setting;
use crate::questions::Questions;
use crate::rest;
use crate::script::{Saying, Script, Words};
use crate::shapes;
use crate::silence::Silences;
use crate::store::MemoryStore;
use crate::timing::Timing;
use crate::ways::{
    APP_WINDOW, EVERYBODY_MAX, configured, folds_repeats, is_notice, is_person, notice_timeout, notices_of,
    person_behind, told_through, user_of,
};
use crate::world::labels;

/// DingTalk's minute.
const MINUTE: u64 = 60_000;
/// Messages of a bot's minute that only urgent changes may use.
const RESERVE: u64 = 3;

/// Most bytes that a notice has around what is measured.
const NOTICE_FRAME: usize = 64;

/// DingTalk's answers to a token that has ended.
const NO_TOKEN: &str = "InvalidAuthentication";
const NO_TOKEN_OLDER: i64 = 88;

/// DingTalk's answer to one notice too many to everybody.
const TOO_MANY_TO_EVERYBODY: i64 = 41045;

/// How long after the last word about an alert it is certain what is to be told of it: what flaps is calm by then.
const SETTLED_AFTER: i64 = 20 * 60_000;

/// How often an app may say the same thing again when nobody knows whether it arrived.
const UNFOLDED_ATTEMPTS_MAX: u32 = 2;

/// How many steps there are from one look at what is held to the next, which counts everything.
const LOOK_EVERY: u64 = 64;

/// What stands for the bot of a message that is printed.
pub(crate) const CONSOLE: &str = "console";

/// With more alerts than this nobody counts which of them fire.
pub(crate) const COUNTED_MAX: usize = 80;

/// What became of a request that the engine took in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// In memory only.
    Open,
    Durable,
    /// The process died, or was put back to what is durable.
    Lost,
}

#[derive(Debug)]
struct Taken {
    life: u64,
    id: RequestId,
    fate: Fate,
    alerts: Vec<String>,
}

/// A message that was rendered, and what the world has seen of it.
#[derive(Debug)]
pub(crate) struct Telling {
    pub(crate) receiver: String,
    pub(crate) message: MessageId,
    pub(crate) seq: u64,
    pub(crate) composed_at: u64,
    /// What the daemon's wall clock showed when it was composed.
    pub(crate) composed_time: i64,
    urgent: bool,
    pub(crate) is_picture: bool,
    pub(crate) covers: Vec<(String, AlertNo, Change)>,
    /// When the chat showed it.
    pub(crate) shown: Option<u64>,
    /// When the daemon knew, by its wall clock, and has not forgotten since.
    pub(crate) known: Option<i64>,
    /// Is that on disk?
    durable: bool,
}

/// A message that may have arrived.
#[derive(Debug)]
pub(crate) struct Doubt {
    uuid: String,
    bot: Option<String>,
    /// When it was last sent, or found on disk.
    at: u64,
    /// How often it was sent.
    attempts: u32,
    /// Has an answer left that open?
    open: bool,
}

/// DingTalk blocks our address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocked {
    /// Since which step, and when, the process knows.
    pub(crate) since: u64,
    pub(crate) at: u64,
    pub(crate) until: u64,
}

/// See the module's head.
pub(crate) struct Judge<'a> {
    pub(crate) script: &'a Script,
    pub(crate) seq: u64,
    pub(crate) life: u64,
    taken: Vec<Taken>,
    by_request: BTreeMap<(u64, RequestId), usize>,
    committing: Vec<usize>,
    pub(crate) heard: BTreeMap<String, Vec<Heard>>,
    names: BTreeMap<Fingerprint, String>,
    pub(crate) tellings: Vec<Telling>,
    by_uuid: BTreeMap<String, usize>,
    /// The telling each number stands for at this moment: numbers may be given twice, `msgUuid`s not.
    pub(crate) by_message: BTreeMap<MessageId, usize>,
    /// What the chats show of each alert to each receiver.
    pub(crate) chats: BTreeMap<(String, String), Vec<usize>>,
    /// Messages that may have arrived, by receiver.
    pub(crate) doubts: BTreeMap<String, Doubt>,
    /// The plans in force, from when on.
    pub(crate) plans: Vec<(u64, &'a Setting)>,
    /// People who were not there, and up to which step; to this day, as long as nobody has looked into it.
    gone: BTreeMap<String, Option<u64>>,
    /// By bot or app, which has a name of its own for its notices.
    arrivals: BTreeMap<String, Vec<u64>>,
    pub(crate) sends: BTreeMap<String, Vec<u64>>,
    /// Until when a bot's minute is not counted: what was sent while the disk could not be written was forgotten.
    pub(crate) excused_until: u64,
    pub(crate) timing: Timing,
    pub(crate) afterwards: Afterwards,
    pub(crate) asked: Vec<Asked>,
    pub(crate) learnt: Learnt,
    pub(crate) questions: Questions,
    /// Pictures that this process has sent.
    pub(crate) pictures: BTreeSet<String>,
    /// Receivers of whose last digests DingTalk refused what they said, or how much.
    pub(crate) refused: BTreeSet<String>,
    looks: u64,
    /// Was the daemon's clock ever far ahead, or set at all?
    pub(crate) clock_was_ahead: bool,
    pub(crate) clock_was_set: bool,
    /// When it was last set.
    pub(crate) clock_set_at: Option<u64>,
    /// Of messages through bots, and of calls of apps.
    pub(crate) month: Month,
    pub(crate) api_month: Month,
    /// Of notices to everybody.
    day: Day,
    pub(crate) blocked: Option<Blocked>,
    pub(crate) silences: Silences,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(script: &'a Script, setting: &'a Setting) -> Self {
        Self {
            script,
            seq: 0,
            life: 0,
            taken: Vec::new(),
            by_request: BTreeMap::new(),
            committing: Vec::new(),
            heard: BTreeMap::new(),
            names: BTreeMap::new(),
            tellings: Vec::new(),
            by_uuid: BTreeMap::new(),
            by_message: BTreeMap::new(),
            chats: BTreeMap::new(),
            doubts: BTreeMap::new(),
            plans: vec![(0, setting)],
            gone: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            sends: BTreeMap::new(),
            excused_until: 0,
            timing: Timing::default(),
            afterwards: Afterwards::default(),
            asked: Vec::new(),
            learnt: Learnt::default(),
            questions: Questions::default(),
            pictures: BTreeSet::new(),
            refused: BTreeSet::new(),
            looks: 0,
            clock_was_ahead: false,
            clock_was_set: false,
            clock_set_at: None,
            month: Month::default(),
            api_month: Month::default(),
            day: Day::default(),
            blocked: None,
            silences: Silences::default(),
        }
    }

    /// Something happens; what happens later has a higher number.
    pub(crate) fn step(&mut self) {
        self.seq += 1;
    }

    pub(crate) fn setting(&self) -> &'a Setting {
        self.plans.last().expect("there is always a plan").1
    }

    // ---- the process ------------------------------------------------------------------------------------------

    pub(crate) fn started(&mut self, store: &MemoryStore, setting: &'a Setting, now: u64, time: Timestamp) {
        self.step();
        self.life += 1;
        self.month.read(time, now);
        self.api_month.read(time, now);
        self.afterwards.begins(now);
        self.plan(setting);
        self.doubt_what_is_in_flight(store, now);
        self.timing.restarted(now, self.clock_was_set);
    }

    pub(crate) fn replanned(&mut self, setting: &'a Setting, now: u64) {
        self.step();
        self.plan(setting);
        self.silences.replanned();
        self.afterwards.begins(now);
        for until in self.gone.values_mut() {
            until.get_or_insert(self.seq);
        }
        self.timing.replanned(now);
    }

    fn plan(&mut self, setting: &'a Setting) {
        self.plans.push((self.seq, setting));
    }

    /// The process ended, one way or another: what was in memory is gone.
    pub(crate) fn died(&mut self, writable: bool, now: u64) {
        self.step();
        self.learnt.forgotten();
        self.forget(writable, now);
    }

    /// The engine was put back to what is durable.
    pub(crate) fn put_back(&mut self, store: &MemoryStore, now: u64, time: Timestamp) {
        self.forget(true, now);
        self.month.read(time, now);
        self.api_month.read(time, now);
        self.timing.put_back(now, self.clock_was_set);
        self.doubt_what_is_in_flight(store, now);
        // What is on its way at this moment counts as tried again, for its answer may never come.
        for doubt in self.doubts.values_mut() {
            doubt.attempts += 1;
        }
    }

    fn forget(&mut self, writable: bool, now: u64) {
        self.day.died(now);
        self.pictures.clear();
        self.blocked = None;
        self.silences.forgotten(self.clock_was_set);
        if !writable {
            self.excused_until = now + MINUTE + 15_000;
            self.day.excuse(now);
        }
        for taken in self.taken.iter_mut().filter(|taken| taken.fate == Fate::Open) {
            taken.fate = Fate::Lost;
        }
        self.committing.clear();
        self.afterwards.forgotten();
        self.month.forgotten();
        self.api_month.forgotten();
        for telling in self.tellings.iter_mut().filter(|telling| !telling.durable) {
            telling.known = None;
        }
    }

    fn doubt_what_is_in_flight(&mut self, store: &MemoryStore, now: u64) {
        self.doubts.clear();
        for (message, row) in &store.in_flight {
            let uuid = uuid_of(*message, &row.body);
            if let Some(telling) = self.by_uuid.get(&uuid) {
                self.by_message.insert(*message, *telling);
            }
            let is_picture = row.covers.is_empty();
            if row.attempts > 0 && !is_picture {
                let endpoint = row.endpoint.as_ref().map_or("", |name| name.as_str());
                // It may have been written by a plan before.
                let mut plans = self.plans.iter().rev().map(|(_, setting)| &setting.text);
                let for_everybody = plans.find(|text| text.is_for_everybody(endpoint));
                if let Some(app) = for_everybody.and_then(|text| text.app_of(endpoint)) {
                    self.day.found(app, *message, now);
                }
                let doubt = Doubt {
                    uuid,
                    bot: row.endpoint.as_ref().map(ToString::to_string),
                    at: now,
                    attempts: row.attempts,
                    open: true,
                };
                self.doubts.insert(row.receiver.to_string(), doubt);
            }
        }
    }

    pub(crate) fn trouble_for_all(&mut self, now: u64) {
        self.timing.trouble_for_all(now);
    }

    pub(crate) fn slow_disk(&mut self, slow: bool, now: u64) {
        self.timing.slow_disk(slow, now);
    }

    /// The wall clock, which showed `before`, shows `shown` from here on. Nothing can have been told or heard later.
    pub(crate) fn clock_is_set(&mut self, ahead: i64, before: i64, shown: i64, now: u64) {
        if before != shown {
            self.clock_set_at = Some(now);
            self.learnt.grown_old();
        }
        self.clock_was_ahead |= ahead > 0;
        self.clock_was_set |= ahead != 0;
        for heard in self.heard.values_mut().flatten() {
            heard.trusted_at = shown.min(heard.trusted_at);
            heard.shown = before.max(heard.shown);
        }
        for known in self
            .tellings
            .iter_mut()
            .filter_map(|telling| telling.known.as_mut())
        {
            *known = shown.min(*known);
        }
    }

    pub(crate) fn slow_network(&mut self, slow: bool, now: u64) {
        self.timing.slow_network(slow, now);
    }

    // ---- alerts -----------------------------------------------------------------------------------------------

    pub(crate) fn heard(
        &mut self,
        life: u64,
        id: RequestId,
        alerts: &[(Saying, Alert)],
        now: u64,
        time: Timestamp,
    ) {
        let request = self.taken.len();
        for (saying, alert) in alerts {
            let usual = &self.script.alerts[&saying.alert].labels;
            self.names.insert(alert.fingerprint, saying.alert.clone());
            let heard = Heard {
                seq: self.seq,
                at: time.0,
                trusted_at: time.0,
                shown: time.0,
                true_at: i64::try_from(now).unwrap_or(i64::MAX),
                fires: saying.fires,
                start: alert.starts_at.map(|at| at.0),
                end: alert.ends_at.map(|at| at.0),
                lease: alert.expires_at.map(|at| at.0),
                labels: labels(&saying.alert, usual, &saying.labels),
                acknowledged: false,
                request,
            };
            self.heard.entry(saying.alert.clone()).or_default().push(heard);
        }
        self.taken.push(Taken {
            life,
            id,
            fate: Fate::Open,
            alerts: alerts.iter().map(|(saying, _)| saying.alert.clone()).collect(),
        });
        self.by_request.insert((life, id), request);
    }

    pub(crate) fn commit_begins(&mut self) {
        let open = |(index, taken): (usize, &Taken)| (taken.fate == Fate::Open).then_some(index);
        self.committing = self.taken.iter().enumerate().filter_map(open).collect();
        self.month.commit_begins();
        self.api_month.commit_begins();
        self.silences.commit_begins();
    }

    pub(crate) fn applied(&mut self, changes: &Changes) {
        self.month.committed();
        self.api_month.committed();
        self.silences.committed();
        for index in std::mem::take(&mut self.committing) {
            let taken = &mut self.taken[index];
            if taken.fate == Fate::Open {
                taken.fate = Fate::Durable;
            }
        }
        for (message, row) in &changes.in_flight {
            if let (None, Some(telling)) = (row, self.by_message.get(message)) {
                let telling = &mut self.tellings[*telling];
                telling.durable |= telling.known.is_some();
            }
        }
    }

    pub(crate) fn answered(
        &mut self,
        life: u64,
        id: RequestId,
        accepted: &Accepted,
        now: u64,
    ) -> Result<(), Violation> {
        let (Ok(tally), Some(index)) = (accepted, self.by_request.get(&(life, id)).copied()) else {
            return Ok(());
        };
        let changed = tally.keys().any(|verdict| match verdict {
            Verdict::New | Verdict::Again | Verdict::Resolved | Verdict::Updated | Verdict::Doubted => true,
            Verdict::Repeat | Verdict::Late | Verdict::Stale | Verdict::OverLimit => false,
        });
        let about: BTreeSet<&String> = self.taken[index].alerts.iter().collect();
        let open = (self.taken[..=index].iter().enumerate()).find(|(earlier, taken)| {
            taken.fate == Fate::Open
                && (*earlier == index && changed
                    || *earlier < index && taken.alerts.iter().any(|alert| about.contains(alert)))
        });
        if let Some((_, taken)) = open {
            let what = format!(
                "{id:?} was answered {tally:?} while {:?} is not on disk",
                taken.id
            );
            return Err(violation(Invariant::AnswerAfterCommit, now, what));
        }
        if self.taken[index].fate == Fate::Lost {
            let what = format!("{id:?} was answered {tally:?}, and is lost");
            return Err(violation(Invariant::AnswerAfterCommit, now, what));
        }
        self.taken[index].fate = Fate::Durable;
        debug_assert_eq!(self.taken[index].life, life);
        for alert in self.taken[index].alerts.clone() {
            let heard = self.heard.get_mut(&alert).into_iter().flatten();
            for heard in heard.filter(|heard| heard.request == index) {
                heard.acknowledged = true;
                if heard.fires {
                    self.timing.acknowledged(&alert, heard.seq, now);
                }
            }
        }
        Ok(())
    }

    /// What took effect of what was heard about an alert.
    pub(crate) fn effective(&self, alert: &str) -> Vec<&Heard> {
        let heard = self.heard.get(alert).into_iter().flatten();
        heard
            .filter(|heard| self.taken[heard.request].fate != Fate::Lost)
            .collect()
    }

    /// Whether an end of an alert that a message may have told was refused, and was lost with the process: its sender
    /// is to repeat it.
    pub(crate) fn lost_an_end(&self, alert: &str, told: u64) -> bool {
        let heard = self.heard.get(alert).into_iter().flatten();
        heard
            .take_while(|heard| heard.seq < told)
            .any(|heard| !heard.fires && self.taken[heard.request].fate == Fate::Lost)
    }

    pub(crate) fn expire_after(&self, alert: &str) -> i64 {
        let source = &self.script.alerts[alert].source;
        let seconds = self.script.sources.get(source).copied().unwrap_or(15 * 86_400);
        i64::try_from(seconds * 1000).unwrap_or(i64::MAX)
    }

    pub(crate) fn story(&self, alert: &str, now: Timestamp) -> Story {
        story(&self.effective(alert), self.expire_after(alert), now)
    }

    // ---- messages ---------------------------------------------------------------------------------------------

    pub(crate) fn composed(
        &mut self,
        draft: &Draft,
        rendered: &Rendered,
        now: u64,
        time: Timestamp,
    ) -> Result<(), Violation> {
        self.step();
        let entries: BTreeMap<AlertNo, (String, Change)> = draft
            .entries
            .iter()
            .filter_map(|entry| {
                Some((
                    entry.alert,
                    (self.names.get(&entry.fingerprint)?.clone(), entry.change),
                ))
            })
            .collect();
        self.check_reserve(draft, rendered, now)?;
        self.check_pace(draft, rendered, now, time)?;
        self.check_text(draft, rendered, &entries, now)?;
        self.check_picture(draft, rendered, &entries, now)?;
        self.check_numbers(draft, rendered, now, time)?;
        let first = (draft.id, draft.receiver.clone());
        for (digest, receiver) in std::iter::once(&first).chain(&draft.others) {
            for (part, message) in (1..).zip(&rendered.messages) {
                let id = MessageId {
                    digest: *digest,
                    part,
                };
                let covers = message.covers.iter().filter_map(|no| {
                    let (name, change) = entries.get(no)?;
                    Some((name.clone(), *no, *change))
                });
                let telling = Telling {
                    receiver: receiver.to_string(),
                    message: id,
                    seq: self.seq,
                    composed_at: now,
                    composed_time: time.0,
                    urgent: draft.urgent,
                    is_picture: shapes::is_picture(message),
                    covers: covers.collect(),
                    shown: None,
                    known: None,
                    durable: false,
                };
                self.rendered(telling, &message.body, now)?;
            }
        }
        Ok(())
    }

    fn rendered(&mut self, telling: Telling, body: &[u8], now: u64) -> Result<(), Violation> {
        let id = telling.message;
        let uuid = uuid_of(id, body);
        let known = self.by_uuid.insert(uuid.clone(), self.tellings.len());
        if known.is_some() && msg_uuid(body).is_some() {
            let what = format!("{id:?} has the msgUuid `{uuid}` of an earlier message");
            return Err(violation(Invariant::UuidIsNew, now, what));
        }
        self.by_message.insert(id, self.tellings.len());
        self.tellings.push(telling);
        Ok(())
    }

    /// The messages together cover every change once, fit, and name it when there is room for names.
    fn check_text(
        &self,
        draft: &Draft,
        rendered: &Rendered,
        entries: &BTreeMap<AlertNo, (String, Change)>,
        now: u64,
    ) -> Result<(), Violation> {
        let covered: Vec<AlertNo> = rendered
            .messages
            .iter()
            .flat_map(|message| message.covers.clone())
            .collect();
        let once: BTreeSet<AlertNo> = covered.iter().copied().collect();
        if once.len() != covered.len() || !once.iter().eq(entries.keys()) {
            let what = format!(
                "digest {} covers {covered:?} and not {:?}",
                draft.id,
                entries.keys()
            );
            return Err(violation(Invariant::TextTellsAll, now, what));
        }
        if rendered.template_error.is_some() || rendered.messages.len() > usize::from(draft.fit.messages_max)
        {
            let what = format!("digest {}: {:?}", draft.id, rendered.template_error);
            return Err(violation(Invariant::TextTellsAll, now, what));
        }
        for message in &rendered.messages {
            let notice = draft.endpoint.as_ref().is_some_and(|it| is_notice(it.as_str()));
            let around = if notice { NOTICE_FRAME } else { 0 };
            if message.body.len() > draft.fit.message_bytes_max + around {
                let what = format!(
                    "a message of digest {} has {} bytes",
                    draft.id,
                    message.body.len()
                );
                return Err(violation(Invariant::Acceptable, now, what));
            }
        }
        let names_all = matches!(rendered.detail, Detail::Full | Detail::Compact) && entries.len() <= 3;
        let text = rendered
            .messages
            .iter()
            .map(|message| shapes::said(&message.body))
            .collect::<String>();
        // What says a line of each section names all that begins to fire, and of other sections the first.
        let is_brief = self.setting().text.is_brief(draft.receiver.as_str());
        let has_a_name = |change: Change| {
            let same = entries.values().filter(|(_, other)| *other == change);
            !is_brief || matches!(change, Change::New | Change::Again) || same.count() == 1
        };
        let missing = entries
            .values()
            .find(|(name, change)| names_all && has_a_name(*change) && !text.contains(name.as_str()));
        match missing {
            None => Ok(()),
            Some((name, _)) => {
                let what = format!("digest {} does not name `{name}`:\n{text}", draft.id);
                Err(violation(Invariant::TextTellsAll, now, what))
            }
        }
    }

    /// The numbers a digest shows are those of its draft, and the draft's are those of the ledger.
    fn check_numbers(
        &self,
        draft: &Draft,
        rendered: &Rendered,
        now: u64,
        time: Timestamp,
    ) -> Result<(), Violation> {
        let text = &self.setting().text;
        let receiver = draft.receiver.as_str();
        let words = text.words_of(receiver);
        if words.and_then(|words| words.get("template")) != Some("numbers") {
            return Ok(());
        }
        numbers::check(draft, rendered).map_err(|what| {
            violation(
                Invariant::NumbersAreTrue,
                now,
                format!("digest {}: {what}", draft.id),
            )
        })?;
        // What expires when, and what is doubted until when, the ledger says only of clocks that nobody sets.
        if self.clock_was_set || self.heard.len() > COUNTED_MAX {
            return Ok(());
        }
        let (mut certain, mut possible) = ([0; 3], [0; 3]);
        for alert in self.heard.keys() {
            let story = self.story(alert, time);
            let concerned = concerned(text, &story.labels);
            if !concerned.iter().any(|(name, _)| name == receiver) {
                continue;
            }
            let severity = Severity::of(&Labels::from_pairs(story.labels.clone())) as usize;
            let fires = story.truth == Truth::Firing && story.open_until <= time.0;
            certain[severity] += u64::from(fires);
            let open = story.truth == Truth::Open || story.open_until > time.0;
            possible[severity] += u64::from(fires || open);
        }
        let true_of = |index: usize| (certain[index]..=possible[index]).contains(&draft.firing[index]);
        if (0..3).all(true_of) {
            return Ok(());
        }
        let what = format!(
            "digest {} counts {:?} that fire, and there are {certain:?}, or {possible:?}",
            draft.id, draft.firing
        );
        Err(violation(Invariant::NumbersAreTrue, now, what))
    }

    /// A call is made, with one message or with several.
    pub(crate) fn calling(
        &mut self,
        sends: &[Send],
        store: &MemoryStore,
        writable: bool,
        now: u64,
    ) -> Result<(), Violation> {
        for send in sends {
            self.sending(send, store, writable, now)?;
        }
        let text = &self.setting().text;
        let endpoint = |send: &Send| Some(send.endpoint.as_ref()?.to_string());
        let Some(first) = sends.first().and_then(endpoint) else {
            return Ok(());
        };
        let app = text.app_of(&first);
        let fits = |send: &Send| {
            let same_call =
                |it: String| is_person(&it) && is_notice(&it) == is_notice(&first) && text.app_of(&it) == app;
            endpoint(send).is_some_and(same_call) && send.body == sends[0].body
        };
        let most = if is_notice(&first) { 100 } else { 20 };
        if sends.len() > 1 && (sends.len() > most || !sends.iter().all(fits)) {
            let what = format!("{sends:?} cannot go in one call");
            return Err(violation(Invariant::Acceptable, now, what));
        }
        if let Some(app) = app.filter(|_| text.is_for_everybody(&first)) {
            self.day.sent(app, sends[0].message, now);
        }
        let sender = text.sender_of(&first);
        self.sends.entry(sender).or_default().push(now);
        Ok(())
    }

    fn sending(
        &mut self,
        send: &Send,
        store: &MemoryStore,
        writable: bool,
        now: u64,
    ) -> Result<(), Violation> {
        let on_disk = store.in_flight.get(&send.message);
        if writable && on_disk.is_none_or(|row| row.body != send.body) {
            let what = format!("{:?} is sent before its bytes are on disk", send.message);
            return Err(violation(Invariant::SendAfterCommit, now, what));
        }
        let uuid = uuid_of(send.message, &send.body);
        let Some(index) = self.by_uuid.get(&uuid).copied() else {
            let what = format!("{:?} was never rendered", send.message);
            return Err(violation(Invariant::DoubtKeepsItsMessage, now, what));
        };
        let bot = send.endpoint.as_ref().map(ToString::to_string);
        let endpoint = bot.as_deref().unwrap_or_default();
        if self.tellings[index].is_picture {
            self.check_silence(index, endpoint, now)?;
            return self.picture_leaves(index, &uuid, now);
        }
        let receiver = self.tellings[index].receiver.clone();
        // What was composed before may be on its way.
        let is_blocked = |blocked: Blocked| {
            bot.is_some() && now < blocked.until && self.tellings[index].seq > blocked.since
        };
        if self.blocked.is_some_and(is_blocked) {
            let what = format!("{:?} is sent while our address is blocked", send.message);
            return Err(violation(Invariant::BlockKept, now, what));
        }
        self.check_silence(index, endpoint, now)?;
        if let Some(doubt) = self.doubts.get(&receiver).filter(|doubt| doubt.uuid != uuid) {
            // Another bot takes over from one that has had to be silent since.
            let other = doubt.bot.as_ref().filter(|other| bot.as_ref() != Some(other));
            let urgent = self.tellings[index].urgent;
            let taken_over = other.is_some_and(|other| {
                // Or from an app that has told everybody what it may in a day.
                self.timing.may_be_silent(other, doubt.at) || self.day_may_be_full(other, urgent, 0, now)
            });
            // DingTalk does not fold what an app says twice: what is said after that is what is true then.
            let unfolded = doubt.bot.as_ref().is_some_and(|bot| !folds_repeats(bot));
            if !(taken_over || unfolded && doubt.attempts >= UNFOLDED_ATTEMPTS_MAX) {
                let what = format!(
                    "`{}` to {receiver} may have arrived, and `{uuid}` is sent instead",
                    doubt.uuid
                );
                return Err(violation(Invariant::DoubtKeepsItsMessage, now, what));
            }
            self.doubts.remove(&receiver);
        }
        let doubt = self.doubts.entry(receiver).or_insert(Doubt {
            uuid,
            bot,
            at: now,
            attempts: 0,
            open: false,
        });
        doubt.at = now;
        doubt.attempts += 1;
        Ok(())
    }

    /// When most of the month's quota is used, digests that are not urgent are one message each, and so far apart that
    /// what is left lasts until the month ends.
    fn check_pace(
        &self,
        draft: &Draft,
        rendered: &Rendered,
        now: u64,
        time: Timestamp,
    ) -> Result<(), Violation> {
        let text = &self.setting().text;
        // What counts is whose digest it is, whoever carries it.
        let (month, quota) = if draft.receiver.as_str().contains('/') {
            (&self.api_month, text.api_quota)
        } else {
            (&self.month, text.quota)
        };
        let Some((since, pace)) = month.pace(quota, time).filter(|_| !draft.urgent) else {
            return Ok(());
        };
        if now >= since + pace && rendered.messages.len() == 1 {
            return Ok(());
        }
        let what = format!(
            "digest {} of {} messages comes {} ms after the last message, and not {pace}",
            draft.id,
            rendered.messages.len(),
            now - since
        );
        Err(violation(Invariant::QuotaLasts, now, what))
    }

    /// A digest that is not urgent leaves places of its bot's minute to those that are, and one that is leaves all but
    /// one of them to the next.
    fn check_reserve(&self, draft: &Draft, rendered: &Rendered, now: u64) -> Result<(), Violation> {
        let Some(bot) = &draft.endpoint else {
            return Ok(());
        };
        let text = &self.setting().text;
        let sender = text.sender_of(bot.as_str());
        let (most, window) = text.rate_of(&sender);
        let sent = match text.app_of(bot.as_str()) {
            // Only what may have arrived counts, and by a clock that nobody sets.
            Some(app) if text.is_for_everybody(bot.as_str()) => {
                let is_known = !self.clock_was_set && !self.day.is_excused(now);
                if is_known { self.day.used(app, now) } else { 0 }
            }
            _ => self.sent_within(&sender, window, now),
        };
        let left = Self::unreserved(most).saturating_sub(sent);
        let may = if draft.urgent { left.max(1) } else { left };
        let takes = if draft.urgent {
            rendered.messages.len() as u64
        } else {
            1
        };
        if takes <= may || now <= self.excused_until || !self.plan_is_old(now) {
            return Ok(());
        }
        let (urgent, digest) = (draft.urgent, draft.id);
        let what =
            format!("{sender} has sent {sent} of {most}; of digest {digest} are {takes}, urgent: {urgent}");
        Err(violation(Invariant::ReserveKept, now, what))
    }

    /// Of what a sender may send, the part that is not for the urgent alone.
    pub(crate) fn unreserved(most: u64) -> u64 {
        most.saturating_sub(RESERVE).max(1)
    }

    /// Calls of a bot or app in the span that ends now.
    pub(crate) fn sent_within(&self, sender: &str, span: u64, now: u64) -> u64 {
        let sends = self.sends.get(sender).map_or(&[][..], Vec::as_slice);
        sends.iter().rev().take_while(|at| now - **at < span).count() as u64
    }

    /// Whether what a bot may do has been the same for a while.
    pub(crate) fn plan_is_old(&self, now: u64) -> bool {
        self.timing.planned_at + 2 * MINUTE < now
    }

    /// A call with these messages has arrived, each through its endpoint.
    pub(crate) fn arrived(
        &mut self,
        call: &Call,
        messages: &[(MessageId, String)],
        clock_was_off: bool,
        to_everybody: bool,
        now: u64,
    ) -> Result<(), Violation> {
        let Some((message, endpoint)) = messages.first() else {
            return self.check_whom(call, messages, now);
        };
        if to_everybody {
            let refused = call.fault.is_none() && call.errcode == Some(TOO_MANY_TO_EVERYBODY);
            self.check_day(call, now)?;
            if refused {
                return Ok(());
            }
        }
        let is_app = endpoint.contains('/');
        // Each kind of call of an app has a limit of its own; we keep one for all.
        let (most, window) = if is_app {
            (apps::CALLS_PER_WINDOW_MAX, APP_WINDOW)
        } else {
            (CALLS_PER_WINDOW_MAX, MINUTE)
        };
        let sender = if is_notice(endpoint) {
            notices_of(&call.bot)
        } else {
            call.bot.clone()
        };
        self.count_arrival(&sender, most, window, now)?;
        if is_app {
            return self.arrived_from_an_app(call, messages, now);
        }
        if call.same_bytes == Some(false) {
            let what = format!("{message:?} came again with other bytes");
            return Err(violation(Invariant::DoubtKeepsItsMessage, now, what));
        }
        let penalty = call.errcode == Some(660_026);
        if call.fault.is_none() && call.errcode != Some(0) && !clock_was_off && !penalty {
            let what = format!("{message:?} is answered {:?} {}", call.errcode, call.errmsg);
            return Err(violation(Invariant::Acceptable, now, what));
        }
        let telling = call
            .msg_uuid
            .as_ref()
            .and_then(|uuid| self.by_uuid.get(uuid))
            .copied();
        match telling {
            Some(telling) if call.shown => self.shown(telling, now),
            Some(_) | None => Ok(()),
        }
    }

    /// A notice to everybody has arrived; one of those that DingTalk takes, and one that it takes no more.
    fn check_day(&mut self, call: &Call, now: u64) -> Result<(), Violation> {
        let is_taken = call.errcode == Some(0);
        let is_refused = call.errcode == Some(TOO_MANY_TO_EVERYBODY) && call.fault.is_none();
        if !is_taken && !is_refused {
            return Ok(());
        }
        let count = self.day.arrived(&call.bot, is_taken, now);
        let Some(count) = count.filter(|count| *count > EVERYBODY_MAX && !self.clock_was_set) else {
            return Ok(());
        };
        let what = format!("{} tells everybody for the {count}. time in a day", call.bot);
        Err(violation(Invariant::DayKept, now, what))
    }

    /// Whether a receiver that is everybody may have to wait for a day to pass before it hears what is true of an
    /// alert: there may have been no place, and nothing was told since that would have told it.
    pub(crate) fn may_wait_for_a_day(
        &self,
        receiver: &str,
        alert: &str,
        story: &Story,
        urgent: bool,
        now: u64,
    ) -> bool {
        let Some(app) = self.setting().text.everybody_by(receiver) else {
            return false;
        };
        if self.clock_was_set || self.day.is_excused(now) {
            return true;
        }
        let heard_at = self.effective(alert).last().map_or(0, |last| last.at);
        let news_at = story.expired_by.unwrap_or(heard_at);
        let is_since = |telling: &Telling| {
            let settled = telling.composed_time > news_at + SETTLED_AFTER;
            settled && telling.receiver == receiver && telling.known.is_some()
        };
        let allowed = if urgent { EVERYBODY_MAX } else { 1 };
        !self.tellings.iter().any(is_since) && self.day.may_be_used(app, now) >= allowed
    }

    pub(crate) fn count_arrival(
        &mut self,
        sender: &str,
        most: usize,
        window: u64,
        now: u64,
    ) -> Result<(), Violation> {
        let arrivals = self.arrivals.entry(sender.to_owned()).or_default();
        arrivals.push(now);
        let in_window = arrivals.iter().rev().take_while(|at| now - **at < window).count();
        if in_window > most && now > self.excused_until {
            let what = format!("{sender} was used {in_window} times in {window} ms");
            return Err(violation(Invariant::MinuteKept, now, what));
        }
        Ok(())
    }

    /// An errand of an app has arrived.
    pub(crate) fn errand_arrived(&mut self, app: &str, is_older: bool, now: u64) -> Result<(), Violation> {
        let sender = if is_older { notices_of(app) } else { app.to_owned() };
        self.count_arrival(&sender, apps::CALLS_PER_WINDOW_MAX, APP_WINDOW, now)
    }

    fn arrived_from_an_app(
        &mut self,
        call: &Call,
        messages: &[(MessageId, String)],
        now: u64,
    ) -> Result<(), Violation> {
        let refused = call.code.is_some() || call.errcode.is_some_and(|code| code != 0);
        // What is on its way may be of a plan before.
        let mut plans = self.plans.iter().rev().map(|(_, setting)| &setting.text);
        let app = messages
            .first()
            .and_then(|(_, endpoint)| plans.find_map(|text| text.app_of(endpoint)));
        let is_excused = app.is_some_and(|app| self.is_of_another_token(call, app));
        if call.fault.is_none() && refused && !is_excused {
            let what = format!(
                "{messages:?} is answered {:?} {:?} {}",
                call.code, call.errcode, call.errmsg
            );
            return Err(violation(Invariant::Acceptable, now, what));
        }
        self.check_whom(call, messages, now)?;
        for (message, endpoint) in messages.iter().filter(|_| call.shown) {
            let user = user_of(endpoint).map(person_behind);
            // A group, and departments, are reached when the message is shown at all.
            let mut of_user = call
                .people
                .iter()
                .filter(|person| Some(&person.user_id) == user.as_ref());
            let reached = user.is_none() || of_user.any(|person| person.fate == PersonFate::Told);
            if let Some(telling) = self.by_message.get(message).copied().filter(|_| reached) {
                self.shown(telling, now)?;
            }
        }
        Ok(())
    }

    /// Whether a call of an app was refused for a token that counts as good by a clock that may have been set. Whose a
    /// token was that has ended, the call does not say.
    pub(crate) fn is_of_another_token(&self, call: &Call, app: &str) -> bool {
        is_about_a_token(call) && self.token_is_of_another_time(app)
    }

    /// Whoever gets a message is one of those it is for.
    fn check_whom(&self, call: &Call, messages: &[(MessageId, String)], now: u64) -> Result<(), Violation> {
        let users = messages
            .iter()
            .map(|(_, endpoint)| user_of(endpoint).map(person_behind));
        let is_right = match users.collect::<Option<BTreeSet<String>>>() {
            Some(users) => call.people.iter().all(|person| users.contains(&person.user_id)),
            None => messages
                .iter()
                .all(|(_, endpoint)| match endpoint.strip_prefix("group/") {
                    Some(receiver) => call.group.is_empty() || call.group == receiver,
                    None => self.is_for_departments(call, endpoint),
                }),
        };
        if is_right {
            return Ok(());
        }
        let what = format!("{messages:?} reaches {:?} {:?}", call.group, call.people);
        Err(violation(Invariant::NobodyElse, now, what))
    }

    /// Whether those whom a notice reaches are all the people of its departments: of those that the plan names, or
    /// named a moment ago. The root is the whole organisation.
    fn is_for_departments(&self, call: &Call, endpoint: &str) -> bool {
        let mut plans = self.plans.iter().rev().take(3);
        plans.any(|(_, setting)| {
            let Some(ids) = setting.text.departments_behind(endpoint) else {
                return setting.text.app_of(endpoint).is_some();
            };
            let people = ids.iter().filter_map(|id| self.script.departments.get(id));
            let people: BTreeSet<&String> = people.flatten().collect();
            let reached: BTreeSet<&String> = call.people.iter().map(|person| &person.user_id).collect();
            // Who is in a department that only a plan names, the script does not say.
            people.is_empty() || reached.is_subset(&people) && (!call.shown || reached == people)
        })
    }

    /// DingTalk does not say who got a notice, so many they are: it counts as told, also if it was held back from all
    /// of them.
    pub(crate) fn unlisted(
        &mut self,
        messages: &[(MessageId, String)],
        sent_at: u64,
    ) -> Result<(), Violation> {
        for (message, _) in messages {
            let telling = self.by_message.get(message).copied();
            if let Some(telling) = telling.filter(|telling| self.tellings[*telling].shown.is_none()) {
                self.shown(telling, sent_at)?;
            }
        }
        Ok(())
    }

    /// A message is printed.
    pub(crate) fn printed(&mut self, send: &Send, now: u64) -> Result<(), Violation> {
        match self.by_uuid.get(&uuid_of(send.message, &send.body)).copied() {
            // Printed again, because the process ended before it knew: the same message to whoever reads it.
            Some(telling) if self.tellings[telling].shown.is_some() => Ok(()),
            Some(telling) => self.shown(telling, now),
            None => Ok(()),
        }
    }

    /// A message appears in the chat.
    fn shown(&mut self, index: usize, now: u64) -> Result<(), Violation> {
        self.tellings[index].shown = Some(now);
        let telling = &self.tellings[index];
        let receiver = telling.receiver.clone();
        for (alert, _, change) in telling.covers.clone() {
            let key = (receiver.clone(), alert.clone());
            let before = self.chats.get(&key).cloned().unwrap_or_default();
            let known = before
                .iter()
                .rev()
                .find(|earlier| self.tellings[**earlier].known.is_some());
            if let Some(earlier) = known.copied() {
                self.check_news(earlier, index, &alert, change, now)?;
            }
            if before.is_empty() && change == Change::New {
                self.check_delay(index, &alert, now)?;
            }
            self.chats.entry(key).or_default().push(index);
        }
        Ok(())
    }

    /// Whether the chat of a receiver shows an alert by now, as a script says it must.
    pub(crate) fn has_been_told(&self, receiver: &str, alert: &str, now: u64) -> Result<(), Violation> {
        if self.chats.contains_key(&(receiver.to_owned(), alert.to_owned())) {
            return Ok(());
        }
        let what = format!("{receiver} has not been told of {alert}");
        Err(violation(Invariant::UrgentInTime, now, what))
    }

    /// Whether anything has happened that is worth telling a second time.
    fn check_news(
        &self,
        earlier: usize,
        later: usize,
        alert: &str,
        change: Change,
        now: u64,
    ) -> Result<(), Violation> {
        let (before, after) = (&self.tellings[earlier], &self.tellings[later]);
        let said = before.covers.iter().find(|(name, _, _)| name == alert);
        let Some((_, _, said)) = said else { return Ok(()) };
        let heard = self.heard.get(alert).map_or(&[][..], Vec::as_slice);
        let known_by_then = |heard: &&Heard| heard.seq < before.seq;
        let since = |heard: &&Heard| heard.seq > before.seq && heard.seq < after.seq;
        let ended = heard.iter().filter(since).any(|heard| !heard.fires);
        let began = heard.iter().filter(since).any(|heard| heard.fires);
        let heard_ends = || heard.iter().filter(known_by_then).filter(|heard| !heard.fires);
        let last_end = heard_ends().next_back();
        // The last end may have been lost with the process, and is not the last that the daemon knows then.
        let kept_end = heard.iter().filter(known_by_then).rev().find(|heard| {
            let lost = self.taken[heard.request].fate == Fate::Lost;
            !heard.fires && !lost
        });
        let began_after_end = began
            || heard.iter().filter(known_by_then).any(|heard| {
                let after = |end: &Heard| heard.seq > end.seq;
                heard.fires && (last_end.is_some_and(after) || kept_end.is_some_and(after))
            });
        // An episode that was over before it came in, or one of an alert that was forgotten.
        let ended_another = heard.iter().filter(since).any(|heard| {
            let later = |end: &Heard| heard.start > end.end || heard.at - end.at >= 3_600_000;
            // An end of an older episode than the last does not take its place.
            let mut ends = heard_ends();
            !heard.fires && (last_end.is_none() || ends.any(later))
        });
        let expired = heard
            .iter()
            .filter(|heard| heard.fires && heard.seq < after.seq)
            .any(|heard| {
                let expire_after = self.expire_after(alert);
                let (earliest, _) = heard.expires(expire_after);
                earliest - (expire_after / 8).max(3_600_000) <= after.composed_time.max(heard.shown)
            });
        let fires_by_it = |change: Change| matches!(change, Change::New | Change::Again | Change::Reminder);
        let calm = before.composed_at + 14 * MINUTE <= now;
        let news = match (*said, change) {
            (Change::Flapping, Change::Flapping) => calm,
            (Change::Flapping, _) | (_, Change::Flapping) => true,
            (_, Change::Reminder) => {
                let repeat = self.repeat_interval(&after.receiver);
                fires_by_it(*said)
                    && before
                        .known
                        .is_none_or(|known| after.composed_time >= known + repeat - 1000)
            }
            (
                Change::New | Change::Again | Change::Reminder,
                Change::New | Change::Again | Change::Resolved,
            ) => ended || expired,
            (Change::New | Change::Again | Change::Reminder, Change::Passed) => ended && calm,
            (Change::New | Change::Again | Change::Reminder, Change::Expired) => expired,
            (Change::Resolved | Change::Passed | Change::Expired, Change::Passed) => {
                began_after_end || expired && ended || ended_another || self.clock_was_ahead && ended
            }
            (Change::Resolved | Change::Passed | Change::Expired, _) => began_after_end || expired && ended,
        };
        if news {
            return Ok(());
        }
        let what = format!(
            "{} is told of {alert} as {} by {:?} and as {} by {:?} without news",
            after.receiver,
            said.as_str(),
            before.message,
            change.as_str(),
            after.message
        );
        Err(violation(Invariant::NothingTwice, now, what))
    }

    /// The shortest interval of reminders to a receiver, in milliseconds.
    fn repeat_interval(&self, receiver: &str) -> i64 {
        let routes = self
            .plans
            .iter()
            .rev()
            .take(2)
            .flat_map(|(_, setting)| &setting.text.routes);
        let repeats = routes
            .filter(|(name, words)| name == "root" || words.get("receiver") == Some(configured(receiver)))
            .map(|(_, words)| words.number("repeat").unwrap_or(14_400));
        i64::try_from(repeats.min().unwrap_or(0) * 1000).unwrap_or(i64::MAX)
    }

    /// Whether a receiver had to wait for its first word of an alert for longer than anything explains.
    fn check_delay(&self, index: usize, alert: &str, now: u64) -> Result<(), Violation> {
        let telling = &self.tellings[index];
        let text = &self.setting().text;
        let concerns = |heard: &&Heard| {
            let concerned = concerned(text, &heard.labels);
            concerned.iter().any(|(name, _)| *name == telling.receiver)
        };
        // The first word since it concerns this receiver.
        let heard = self.heard.get(alert).map_or(&[][..], Vec::as_slice);
        let told = heard.partition_point(|heard| heard.seq < telling.seq);
        let Some(heard) = heard[..told].iter().rev().take_while(concerns).last() else {
            return Ok(());
        };
        // Pauses are kept by the wall clock.
        if self.clock_was_ahead || self.plans.last().is_some_and(|(seq, _)| *seq > heard.seq) {
            return Ok(());
        }
        let routes = concerned(text, &heard.labels);
        let Some((_, route)) = routes.iter().find(|(name, _)| *name == telling.receiver) else {
            return Ok(());
        };
        let words = &text.routes[*route].1;
        let held_by = self.timing.held_by(&telling.receiver, alert, heard.seq);
        // For a place among the day's notices to everybody nobody waits who can be told otherwise.
        let is_held =
            |bot: &String| !text.is_for_everybody(bot) && self.is_half_used(bot, words.has("urgent"), 1, now);
        if held_by.is_some_and(is_held) {
            return Ok(());
        }
        let Some(bots) = self.free_bots(&telling.receiver, words, 1, now) else {
            return Ok(());
        };
        let Some(since) =
            self.timing
                .due_since(alert, heard.seq, &telling.receiver, &bots, words.has("urgent"))
        else {
            return Ok(());
        };
        let waits = words.number("wait").unwrap_or(10) + words.number("interval").unwrap_or(60);
        let (invariant, bound) = if words.has("urgent") {
            (Invariant::UrgentInTime, 5_000)
        } else {
            (Invariant::ToldInTime, waits * 1000 + 10_000)
        };
        if now <= since + bound {
            return Ok(());
        }
        let what = format!("{} waited {} ms for {alert}", telling.receiver, now - since);
        Err(violation(invariant, now, what))
    }

    /// What a receiver can be told through at this moment by a route, as far as mutes, quota and rates go; `None` when
    /// that is nothing. So many calls have been made for that already.
    pub(crate) fn free_bots(
        &self,
        receiver: &str,
        route: &Words,
        calls: u64,
        now: u64,
    ) -> Option<Vec<String>> {
        let text = &self.setting().text;
        let urgent = route.has("urgent");
        let mut bots = text.endpoints_of(receiver);
        bots.retain(|bot| !self.is_half_used(bot, urgent, calls, now));
        let quota = if receiver.contains('/') {
            text.api_quota
        } else {
            text.quota
        };
        let paced = quota > 0 && !urgent;
        let prints = text.words_of(receiver).is_some_and(|words| words.has("console"));
        let free = route.get("mute").is_none() && !paced && (prints || !bots.is_empty());
        free.then_some(bots)
    }

    /// Whether an endpoint has lately used so much of its rate that there may have been no place.
    fn is_half_used(&self, endpoint: &str, urgent: bool, calls: u64, now: u64) -> bool {
        let text = &self.setting().text;
        if text.is_for_everybody(endpoint) {
            return self.day_may_be_full(endpoint, urgent, calls, now);
        }
        let sender = text.sender_of(endpoint);
        let (most, window) = text.rate_of(&sender);
        let most = if urgent {
            most
        } else {
            most.saturating_sub(RESERVE)
        };
        // A notice keeps its place until it is known who got it.
        let span = if is_notice(endpoint) {
            notice_timeout(endpoint) + 2 * window
        } else {
            3 * window
        };
        self.sent_within(&sender, span, now) * 2 > most
    }

    /// Whether an endpoint is for everybody, and its app may have no place left in the day.
    fn day_may_be_full(&self, endpoint: &str, urgent: bool, calls: u64, now: u64) -> bool {
        let text = &self.setting().text;
        let Some(app) = text.app_of(endpoint).filter(|_| text.is_for_everybody(endpoint)) else {
            return false;
        };
        let allowed = if urgent { EVERYBODY_MAX } else { 1 };
        let is_known = !self.clock_was_set && !self.day.is_excused(now);
        !is_known || self.day.may_be_used(app, now) >= allowed + calls
    }

    /// Whether a message is on its way for the first time.
    pub(crate) fn is_on_its_way(&self, telling: &Telling) -> bool {
        let doubt = self.doubts.get(&telling.receiver);
        doubt.is_some_and(|doubt| {
            let known = self.by_uuid.get(&doubt.uuid).map(|index| &self.tellings[*index]);
            let is_it = known.is_some_and(|it| it.message == telling.message && it.seq == telling.seq);
            is_it && !doubt.open && doubt.attempts == 1
        })
    }

    /// A call was answered, or is known to have failed; it counts once against its month.
    pub(crate) fn called(
        &mut self,
        answers: &[(MessageId, String, Answer)],
        took: u64,
        calls: u64,
        now: u64,
        time: Timestamp,
    ) {
        let known = |message: &MessageId| self.by_message.contains_key(message);
        let counted = answers.iter().find(|(message, _, answer)| {
            known(message) && matches!(answer.outcome, Outcome::Delivered | Outcome::Unknown)
        });
        if let Some((_, endpoint, _)) = counted.filter(|(_, endpoint, _)| endpoint != CONSOLE) {
            let month = if endpoint.contains('/') {
                &mut self.api_month
            } else {
                &mut self.month
            };
            for _ in 0..calls {
                month.counted(time, now);
            }
        }
        for (message, endpoint, answer) in answers {
            self.learn_of_block(answer, now);
            // More than one call is made for what DingTalk has taken.
            let was_taken = answer.calls.is_some_and(|calls| calls > 1);
            self.day
                .answered(*message, was_taken || answer.outcome.may_have_arrived(), now);
            self.outcome(*message, endpoint, answer, took, now, time);
        }
    }

    fn outcome(
        &mut self,
        message: MessageId,
        bot: &str,
        answer: &Answer,
        took: u64,
        now: u64,
        time: Timestamp,
    ) {
        let Some(index) = self.by_message.get(&message).copied() else {
            return;
        };
        let receiver = self.tellings[index].receiver.clone();
        if answer.outcome == Outcome::Refused(Refused::Person) {
            self.gone.insert(told_through(bot), None);
            if let (Some(app), Some(user)) = (self.setting().text.app_of(bot), user_of(bot)) {
                let (app, user) = (app.to_owned(), user.to_owned());
                self.forget_person(&app, &user);
            }
        }
        self.falls_silent(bot, answer.outcome, now);
        let reached = self.reached(bot, answer.outcome);
        if self.tellings[index].is_picture {
            self.timing.picture(&receiver, &reached, answer.outcome, now);
            if answer.outcome == Outcome::Delivered {
                self.afterwards.delivered(index, answer);
                self.tellings[index].known = Some(time.0);
            }
            return;
        }
        self.timing
            .outcome(&receiver, bot, &reached, answer.outcome, took, now);
        let doubtful = self.doubts.get(&receiver).is_some_and(|doubt| doubt.open);
        self.note_refusal(index, answer.outcome);
        match answer.outcome {
            Outcome::Delivered => {
                self.afterwards.delivered(index, answer);
                self.doubts.remove(&receiver);
                self.tellings[index].known = Some(time.0);
            }
            Outcome::Refused(_) | Outcome::Rejected(_) | Outcome::Outdated => {
                drop(self.doubts.remove(&receiver));
            }
            Outcome::Unknown => {
                if let Some(doubt) = self.doubts.get_mut(&receiver) {
                    doubt.open = true;
                }
            }
            Outcome::Retry
            | Outcome::Limited(_)
            | Outcome::Throttled(_)
            | Outcome::Blocked(_)
            | Outcome::Quota => {
                if !doubtful {
                    self.doubts.remove(&receiver);
                }
            }
        }
    }

    /// Whether a person was not there at some time since a step.
    pub(crate) fn was_gone(&self, receiver: &str, since: u64) -> bool {
        let gone = self.gone.get(receiver);
        gone.is_some_and(|until| until.is_none_or(|until| until >= since))
    }

    /// What an answer may silence: the endpoint, or all of its app.
    fn reached(&self, endpoint: &str, outcome: Outcome) -> Vec<String> {
        let text = &self.setting().text;
        let own = matches!(
            outcome,
            Outcome::Throttled(_) | Outcome::Refused(Refused::Person | Refused::Target)
        );
        match text.app_of(endpoint).filter(|_| !own) {
            Some(app) => self.reached_of_app(app),
            None => vec![endpoint.to_owned()],
        }
    }

    // ---- at any time, and at rest -----------------------------------------------------------------------------

    /// A look at what is held.
    pub(crate) fn look(&mut self, engine: &Engine, now: u64) -> Result<(), Violation> {
        self.looks += 1;
        if !self.looks.is_multiple_of(LOOK_EVERY) {
            return Ok(());
        }
        let held = engine.held();
        let most = self.script.alerts.len() as u64;
        // Who was told by the plan before may still be told.
        let plans = self.plans.iter().rev().take(2);
        let receivers: usize = plans.map(|(_, setting)| setting.text.everybody().len()).sum();
        let pairs = most * receivers.max(1) as u64;
        if held.alerts > most || held.effects > 0 || held.waiting > 8 * pairs {
            let what = format!("of {most} alerts it holds {held:?}");
            return Err(violation(Invariant::MemoryBounded, now, what));
        }
        Ok(())
    }

    /// Nothing has happened for a while: everybody must have heard.
    pub(crate) fn rested(
        &self,
        steering: &Steering,
        store: &MemoryStore,
        is_written: bool,
        clocks: Now,
        now: u64,
    ) -> Result<(), Violation> {
        rest::everybody_has_heard(self, clocks.time, now)?;
        rest::little_is_held(steering.engine(), now)?;
        self.check_readers_shown(steering.engine(), store, is_written, now)?;
        rest::a_restart_changes_nothing(self, steering.engine(), store, clocks, now)
    }
}

/// What a message is known by: its `msgUuid`; what is printed, and what apps say, has none, and is known by its number
/// and what it says.
fn uuid_of(message: MessageId, body: &[u8]) -> String {
    msg_uuid(body).unwrap_or_else(|| format!("{message:?} {}", String::from_utf8_lossy(body)))
}

fn msg_uuid(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    json.get("msgUuid")?.as_str().map(str::to_owned)
}

fn is_about_a_token(call: &Call) -> bool {
    call.code.as_deref() == Some(NO_TOKEN) || call.errcode == Some(NO_TOKEN_OLDER)
}
