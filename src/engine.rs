//! The brain: what is true, what each receiver was told, and therefore what to say next.
//!
//! A plain value. [`Engine::handle`] takes what happened, [`Engine::poll`] hands out what to do until there is
//! nothing left, [`Engine::changes`] hands out the rows that must be committed before those effects may happen,
//! and [`Engine::deadline`] says when to come back with [`Input::Timer`] and why. Time comes in with every call.
//!
//! **Invariants:** a digest is the difference between truth and told, never a queue; a failed send changes
//! nothing; equal inputs give equal effects, byte for byte. The engine knows no socket, no file, no runtime, no
//! clock and no wire format, and cannot fail.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod afterwards;
pub mod answering;
mod budget;
mod delivery;
mod desk;
mod joining;
pub mod limits;
mod models;
pub mod outcome;
mod query;
mod told;
mod truth;
pub mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::alert::{
    Alert, AlertNo, AppName, DigestId, EndpointName, Labels, MessageId, Now, Receipt, ReceiverName,
    RequestId, Severity, SourceName, Span, Tick, Timestamp,
};
use crate::digest::{Change, Detail, Draft, Rendered};
use crate::engine::afterwards::Afterwards;
use crate::engine::budget::Budget;
use crate::engine::desk::{Agenda, Desk};
use crate::engine::truth::{Ageing, Concern, Concerns, Heard, Record, Truth};
use crate::plan::{Api, App, Plan, Quota, RouteId, SharedRate, Source, SourceKind};
use crate::store::{AlertRow, Changes, InFlightRow, Said, Saved, State, ToldRow};

pub use outcome::{Answer, Fate, Finding, Outcome, ReadBy, Reader};

/// Everything that can happen to the engine.
#[derive(Debug)]
pub enum Input {
    /// A body came in and was decoded.
    Alerts {
        /// Answered by [`Effect::Reply`].
        request: RequestId,
        /// The source it was posted to.
        source: SourceName,
        /// Its alerts in the order of the body.
        alerts: Vec<Alert>,
    },
    /// A draft was composed and rendered.
    Rendered {
        /// Which.
        digest: DigestId,
        /// Into what.
        rendered: Rendered,
    },
    /// A message was tried, or several that are equal by one call: what came of each.
    Outcome(Vec<(MessageId, Answer)>),
    /// An errand was run: what it has found out.
    Errand(Errand, Finding),
    /// The configuration changed.
    Plan(Arc<Plan>),
    /// An answer to who asks is about to be sent in the name of an app.
    AnswerBegins(AppName),
    /// It was sent: what came of it.
    AnswerEnds(AppName, Answer),
    /// Somebody wants to hear now what these receivers were to be told after a wait.
    Hasten(Vec<ReceiverName>),
    /// The deadline has come.
    Timer,
    /// Compose no more; what is in flight may still end.
    Drain,
}

/// Everything the engine wants done.
#[derive(Debug)]
pub enum Effect {
    /// Answer a webhook: it is durable.
    Reply {
        /// Which request.
        request: RequestId,
        /// What became of its alerts.
        tally: BTreeMap<Verdict, u32>,
    },
    /// Compose and render, then come back with [`Input::Rendered`].
    Digest(Box<Draft>),
    /// Send, then come back with [`Input::Outcome`].
    Send(Send),
    /// Run it, then come back with [`Input::Errand`].
    Errand(Errand),
    /// Tell the log and the metrics.
    Event(Event),
}

/// A call about messages that an app has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// The app.
    pub app: AppName,
    /// The endpoints they were sent through, one at least: of one group, or of people.
    pub through: Vec<EndpointName>,
    /// What is to be done.
    pub task: Task,
}

/// What is to be done about messages that were delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Take these back.
    Recall(Vec<Receipt>),
    /// Learn who has read this.
    Read {
        /// Which.
        receipt: Receipt,
        /// Where the list of readers goes on, after its first part.
        page: Option<String>,
    },
}

impl Task {
    /// The stable name in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Recall(_) => "recall",
            Self::Read { .. } => "read_status",
        }
    }
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Its id.
    pub message: MessageId,
    /// Through which endpoint; `None` prints it.
    pub endpoint: Option<EndpointName>,
    /// The exact bytes.
    pub body: Arc<[u8]>,
}

/// What an incoming alert meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Never seen before, or forgotten since.
    New,
    /// A new episode of a known alert.
    Again,
    /// The end of the episode.
    Resolved,
    /// Known, with other labels or annotations.
    Updated,
    /// Nothing that was not known.
    Repeat,
    /// An end of an older episode.
    Late,
    /// Firing, about an episode whose end has just come in: a straggler, or the end was wrong. It is believed unless
    /// the end is said again within [`limits::LATE_MAX`].
    Doubted,
    /// An end of an alert we never knew, without an episode of its own or long past.
    Stale,
    /// There is no room for another alert.
    OverLimit,
}

impl Verdict {
    /// The stable name in metrics, logs and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Again => "again",
            Self::Resolved => "resolved",
            Self::Updated => "updated",
            Self::Repeat => "repeat",
            Self::Late => "late",
            Self::Doubted => "doubted",
            Self::Stale => "stale",
            Self::OverLimit => "over_limit",
        }
    }
}

/// Something an operator may want to read about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A digest was composed and is about to be sent.
    Composed {
        /// Which.
        digest: DigestId,
        /// To whom.
        receiver: ReceiverName,
        /// How many changes it tells.
        changes: usize,
        /// At which level.
        detail: Detail,
        /// In how many messages.
        messages: usize,
        /// Why its template could not be used, when it could not.
        template_error: Option<String>,
    },
    /// A message ended, one way or another.
    Answered {
        /// Which.
        message: MessageId,
        /// To whom.
        receiver: ReceiverName,
        /// Through which endpoint; `None` is the console.
        endpoint: Option<EndpointName>,
        /// What came of it.
        answer: Answer,
    },
    /// A message was delivered.
    Told {
        /// To whom.
        receiver: ReceiverName,
        /// Whether there was an urgent change in it.
        urgent: bool,
        /// How long the oldest change in it had waited.
        waited: Span,
    },
    /// A message was read for the first time, as far as known.
    Read {
        /// Which.
        message: MessageId,
        /// By whom it was to be read.
        receiver: ReceiverName,
        /// How long after it was delivered.
        age: Span,
    },
    /// What becomes of a message that was kept to be taken back or asked about.
    LetGo {
        /// Which.
        message: MessageId,
        /// To whom it went.
        receiver: ReceiverName,
        /// What.
        fate: Fate,
        /// DingTalk's words.
        detail: String,
    },
    /// An endpoint must be silent.
    Paused {
        /// Which.
        endpoint: EndpointName,
        /// Why.
        reason: &'static str,
        /// For how long; `None` is until the configuration is loaded again.
        span: Option<Span>,
        /// DingTalk's words.
        detail: String,
    },
    /// Most of a month's quota is used.
    QuotaNear {
        /// Which.
        quota: Quota,
        /// Messages sent this month.
        used: u64,
        /// Messages the month allows.
        allowed: u64,
    },
}

/// Why the engine wants to be called at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// An alert expires, becomes calm, or is to be forgotten.
    Ageing,
    /// A reminder may be due.
    Reminder,
    /// A receiver is due, or a message is to be tried again.
    Receiver,
    /// Something is to be done about a message that was delivered.
    Afterwards,
}

impl Reason {
    /// The stable name in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ageing => "ageing",
            Self::Reminder => "reminder",
            Self::Receiver => "receiver",
            Self::Afterwards => "afterwards",
        }
    }
}

/// What must be written, by key.
#[derive(Debug, Default)]
struct Dirty {
    alerts: BTreeSet<AlertNo>,
    told: BTreeSet<(ReceiverName, AlertNo)>,
    endpoints: BTreeSet<EndpointName>,
    /// Rows that are written as they stand and not read back from the engine's state.
    rows: Changes,
}

/// The brain. See the module's head.
#[derive(Debug)]
pub struct Engine {
    plan: Arc<Plan>,
    run: String,
    next_alert: AlertNo,
    next_digest: DigestId,
    truth: Truth,
    desks: BTreeMap<ReceiverName, Desk>,
    /// Whom each digest under way is for.
    under_way: BTreeMap<DigestId, ReceiverName>,
    budgets: BTreeMap<EndpointName, Budget>,
    /// The budgets that have one rate between them.
    sharing: BTreeMap<SharedRate, BTreeSet<EndpointName>>,
    /// When alerts are to be looked at because of their age.
    ageing: BTreeMap<Tick, Vec<AlertNo>>,
    /// When told alerts are to be looked at for a reminder.
    reminders: BTreeMap<Tick, BTreeMap<ReceiverName, BTreeSet<AlertNo>>>,
    agenda: Agenda,
    afterwards: Afterwards,
    /// Receivers whose situation may have changed during this call.
    touched: BTreeSet<ReceiverName>,
    effects: VecDeque<Effect>,
    dirty: Dirty,
    concerns: Concerns,
    firing: u64,
    draining: bool,
    /// Until when nothing expires and nothing is forgotten that was not heard since: a while after a start, and after
    /// the clock was set, so that its sender has the chance to repeat it.
    patient_until: Timestamp,
    /// Of which quotas most is used, and that was said.
    quota_warned: BTreeSet<Quota>,
    /// State of the generator of jitter.
    random: u64,
    now: Now,
}

/// The alerts of a store, as an engine holds them: with whom they concern by a plan.
#[derive(Debug)]
pub struct Restored {
    plan: Arc<Plan>,
    truth: Truth,
    concerns: Concerns,
}

impl Restored {
    /// None yet.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            truth: Truth::default(),
            concerns: Concerns::default(),
        }
    }

    /// By which it is told whom they concern.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Takes over an alert.
    pub fn take(&mut self, no: AlertNo, row: AlertRow) {
        let labels = row.words.labels();
        let concerns = self.concerns.of(&self.plan, row.words.source(), &labels);
        self.truth.restore(no, row, &labels, concerns);
    }

    /// To be called after the last alert.
    pub fn index(&mut self) {
        self.truth.index();
    }
}

impl Engine {
    /// An engine that goes on where `saved` left off.
    pub fn new(plan: Arc<Plan>, mut saved: Saved, now: Now) -> Self {
        let mut restored = Restored::new(plan);
        for (no, row) in std::mem::take(&mut saved.alerts) {
            restored.take(no, row);
        }
        restored.index();
        Self::resume(restored, saved, now)
    }

    /// The same, when the alerts have been taken over already.
    pub fn resume(restored: Restored, saved: Saved, now: Now) -> Self {
        let mut engine = Self {
            plan: restored.plan,
            random: saved.next_digest.0 ^ 0x9e37_79b9_7f4a_7c15,
            run: saved.run,
            next_alert: saved.next_alert,
            next_digest: saved.next_digest,
            truth: restored.truth,
            desks: BTreeMap::new(),
            under_way: BTreeMap::new(),
            budgets: BTreeMap::new(),
            sharing: BTreeMap::new(),
            ageing: BTreeMap::new(),
            reminders: BTreeMap::new(),
            agenda: Agenda::default(),
            afterwards: Afterwards::default(),
            touched: BTreeSet::new(),
            effects: VecDeque::new(),
            dirty: Dirty::default(),
            concerns: restored.concerns,
            firing: 0,
            draining: false,
            patient_until: now.time.plus(limits::RESTART_GRACE),
            quota_warned: BTreeSet::new(),
            now,
        };
        for (endpoint, row) in saved.endpoints {
            if Budget::is_of_a_clock_ahead(&row, now) {
                engine.dirty.endpoints.insert(endpoint.clone());
            }
            engine.budgets.insert(endpoint, Budget::restored(&row, now));
        }
        engine.restore_told(saved.told);
        for (receiver, at) in saved.served {
            let age = now.time.since(at);
            engine.desk(&receiver).served = now.tick.0.checked_sub(age.0).map(Tick);
        }
        for (no, record) in engine.truth.iter_mut() {
            record.trust_clock(now.time);
            let at = turn(now, no, record.ages_at(engine.patient_until));
            record.filed_at = at;
            engine.ageing.entry(at).or_default().push(no);
        }
        engine.restore_in_flight(saved.in_flight);
        engine.set_up_desks();
        engine.restore_receipts(saved.receipts);
        engine.count_all();
        engine.compare_all(&BTreeMap::new());
        // What became due in the meantime is true before anybody is told a number.
        engine.pass_time();
        engine.look_around();
        engine.follow_up();
        engine
    }

    /// What receivers were told, in the order in which a store has it.
    fn restore_told(&mut self, told: Vec<(ReceiverName, AlertNo, ToldRow)>) {
        let mut told = told.into_iter().peekable();
        while let Some((receiver, ..)) = told.peek() {
            let receiver = receiver.clone();
            let of_receiver = std::iter::from_fn(|| told.next_if(|(name, ..)| *name == receiver));
            let rows = of_receiver.map(|(receiver, alert, mut row)| {
                if row.at > self.now.time {
                    row.at = self.now.time;
                    // Otherwise the next process would take the wrong time for a right one once it has passed.
                    self.dirty.told.insert((receiver, alert));
                }
                (alert, row)
            });
            // Built at once: they come in the order of their keys.
            let rows: BTreeMap<_, _> = rows.collect();
            self.desk(&receiver).told.extend(rows);
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Now) {
        let before = std::mem::replace(&mut self.now, now);
        if was_set(before, now) {
            self.trust_clock(before.time_at(now.tick));
        }
        match input {
            Input::Alerts {
                request,
                source,
                alerts,
            } => self.accept(request, &source, alerts),
            Input::Rendered { digest, rendered } => self.rendered(digest, &rendered),
            Input::Outcome(answers) => self.answered(&answers),
            Input::Errand(errand, finding) => self.came_back(&errand, finding),
            Input::Plan(plan) => {
                self.plan = plan;
                let budgets = self.budgets.iter_mut();
                let lifted = budgets.filter_map(|(name, budget)| budget.lift_refusal().then_some(name));
                for name in lifted.cloned().collect::<Vec<_>>() {
                    self.silence_like_others(&name);
                }
                self.dirty.endpoints.extend(self.budgets.keys().cloned());
                self.enact_plan();
            }
            Input::AnswerBegins(app) => self.answer_begins(&app),
            Input::AnswerEnds(app, answer) => self.answer_ends(&app, &answer),
            Input::Hasten(receivers) => self.hasten(receivers),
            Input::Timer => {}
            Input::Drain => self.draining = true,
        }
        self.pass_time();
        self.look_around();
        self.follow_up();
    }

    /// What to do next; `None` when there is nothing left.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The rows that must be committed before the effects polled so far may happen.
    pub fn changes(&mut self) -> Changes {
        let dirty = std::mem::take(&mut self.dirty);
        let mut changes = dirty.rows;
        changes.models = self.truth.models().changes();
        let rows = dirty
            .alerts
            .into_iter()
            .map(|no| (no, self.truth.get(no).map(Record::row)));
        changes.alerts = rows.collect();
        for (receiver, alert) in dirty.told {
            let row = self
                .desks
                .get(&receiver)
                .and_then(|desk| desk.told.get(&alert))
                .copied();
            changes.told.insert((receiver, alert), row);
        }
        for endpoint in dirty.endpoints {
            if let Some(budget) = self.budgets.get(&endpoint) {
                changes.endpoints.insert(endpoint, budget.row(self.now));
            }
        }
        changes
    }

    /// Whether [`Engine::changes`] would have anything.
    pub fn has_changes(&self) -> bool {
        self.rows_changed() > 0
    }

    /// How many rows [`Engine::changes`] would have.
    pub fn rows_changed(&self) -> usize {
        let rows = usize::try_from(self.dirty.rows.rows()).unwrap_or(usize::MAX);
        let keyed = self.dirty.alerts.len() + self.dirty.told.len() + self.dirty.endpoints.len();
        rows.saturating_add(keyed + self.truth.models_changed())
    }

    /// When to come back with [`Input::Timer`], and why.
    pub fn deadline(&self) -> Option<(Tick, Reason)> {
        let ageing = self.ageing.first_key_value().map(|(at, _)| (*at, Reason::Ageing));
        let reminder = self
            .reminders
            .first_key_value()
            .map(|(at, _)| (*at, Reason::Reminder));
        let receiver = self.agenda.first().map(|at| (at, Reason::Receiver));
        let afterwards = self.afterwards.deadline(self.draining);
        let afterwards = afterwards.map(|at| (at, Reason::Afterwards));
        [ageing, reminder, receiver, afterwards]
            .into_iter()
            .flatten()
            .min()
    }

    /// The numbers the next alert and the next digest will have.
    pub fn next_numbers(&self) -> (AlertNo, DigestId) {
        (self.next_alert, self.next_digest)
    }

    /// The desk of a receiver, set up at its first use.
    fn desk(&mut self, receiver: &ReceiverName) -> &mut Desk {
        self.desks.entry(receiver.clone()).or_default()
    }

    fn accept(&mut self, request: RequestId, source: &SourceName, alerts: Vec<Alert>) {
        let expire_after = expire_after(&self.plan, source);
        let mut tally = BTreeMap::new();
        for alert in alerts {
            let verdict = match self.truth.find(source, alert.fingerprint) {
                Some(no) => self.hear(no, alert, expire_after),
                None => self.meet(source, alert, expire_after),
            };
            *tally.entry(verdict).or_insert(0) += 1;
        }
        self.effects.push_back(Effect::Reply { request, tally });
    }

    /// A message about a known alert.
    fn hear(&mut self, no: AlertNo, alert: Alert, expire_after: Span) -> Verdict {
        let Some((record, models)) = self.truth.learning(no) else {
            return Verdict::Stale;
        };
        let before = (record.fires(), record.severity);
        let Heard {
            verdict,
            write,
            relabelled,
        } = record.hear(alert, expire_after, self.now.time, models);
        if write {
            self.dirty.alerts.insert(no);
        }
        if matches!(verdict, Verdict::Repeat | Verdict::Late) {
            return verdict;
        }
        self.recount(no, before);
        if let Some(labels) = relabelled {
            self.route(no, &labels);
        }
        if verdict != Verdict::Updated {
            self.watch_age(no);
        }
        self.reconsider(no);
        verdict
    }

    /// A message about an alert nobody knew.
    fn meet(&mut self, source: &SourceName, alert: Alert, expire_after: Span) -> Verdict {
        if self.truth.len() >= limits::ALERTS_HELD_MAX {
            return Verdict::OverLimit;
        }
        let models = self.truth.models();
        let (record, labels, verdict) =
            match Record::first(source, alert, expire_after, self.now.time, models) {
                Ok(first) => first,
                Err(verdict) => return verdict,
            };
        let no = self.next_alert;
        self.next_alert = AlertNo(no.0 + 1);
        self.firing += u64::from(record.fires());
        self.truth.insert(no, record);
        self.route(no, &labels);
        self.dirty.alerts.insert(no);
        self.watch_age(no);
        self.reconsider(no);
        verdict
    }

    /// Sets whom an alert concerns, from its labels and the plan. Who was told that it fires and is no longer
    /// concerned still hears of its end.
    fn route(&mut self, no: AlertNo, labels: &Labels) {
        let Some(record) = self.truth.get(no) else { return };
        let before = Arc::clone(&record.concerns);
        let (fires, severity) = (record.fires(), record.severity);
        let mut concerns = self.concerns.of(&self.plan, record.words.source(), labels);
        let former: Vec<Concern> = before
            .iter()
            .filter(|old| !concerns.iter().any(|concern| concern.receiver == old.receiver))
            .filter(|old| self.owes_an_end(&old.receiver, no))
            .map(|old| Concern {
                receiver: old.receiver.clone(),
                route: RouteId(0),
                former: true,
            })
            .collect();
        if !former.is_empty() {
            concerns = concerns.iter().cloned().chain(former).collect();
        }
        if fires {
            self.count_concerns(&before, severity, false);
            self.count_concerns(&concerns, severity, true);
        }
        for old in before.iter() {
            if !concerns.iter().any(|concern| concern.receiver == old.receiver) {
                self.desk(&old.receiver).settle(no);
                self.touched.insert(old.receiver.clone());
            }
        }
        if let Some(record) = self.truth.get_mut(no) {
            record.concerns = concerns;
        }
    }

    /// Whether a receiver was told that an alert fires and not yet that it is over.
    fn owes_an_end(&self, receiver: &ReceiverName, no: AlertNo) -> bool {
        self.plan.receivers.contains_key(receiver)
            && self
                .desks
                .get(receiver)
                .and_then(|desk| desk.told.get(&no))
                .is_some_and(|told| told.said.owes_an_end())
    }

    /// Keeps the numbers of firing alerts right after a record changed.
    fn recount(&mut self, no: AlertNo, (was_firing, old_severity): (bool, Severity)) {
        let Some(record) = self.truth.get(no) else { return };
        let (fires, severity, concerns) = (record.fires(), record.severity, Arc::clone(&record.concerns));
        if was_firing {
            self.firing -= 1;
            self.count_concerns(&concerns, old_severity, false);
        }
        if fires {
            self.firing += 1;
            self.count_concerns(&concerns, severity, true);
        }
    }

    fn count_concerns(&mut self, concerns: &[Concern], severity: Severity, up: bool) {
        for concern in concerns.iter().filter(|concern| !concern.former) {
            match self.desks.get_mut(&concern.receiver) {
                Some(desk) => desk.count_firing(severity, up),
                None => self.desk(&concern.receiver).count_firing(severity, up),
            }
        }
    }

    /// Compares truth with told for everybody an alert concerns, and notes what is to be said.
    fn reconsider(&mut self, no: AlertNo) {
        let Some(record) = self.truth.get(no) else { return };
        for concern in Arc::clone(&record.concerns).iter() {
            self.reconsider_for(no, concern, self.now.tick);
        }
    }

    fn reconsider_for(&mut self, no: AlertNo, concern: &Concern, since: Tick) {
        let change = self.change_for(no, concern);
        let desk = match self.desks.get_mut(&concern.receiver) {
            Some(desk) => desk,
            None => self.desk(&concern.receiver),
        };
        // What is under way is compared again when its outcome is known.
        if desk.is_under_way(no) {
            self.note_news(no, concern);
            return;
        }
        match change {
            Some(_) => desk.wait(no, concern.route, since),
            None => desk.settle(no),
        }
        if !self.touched.contains(&concern.receiver) {
            self.touched.insert(concern.receiver.clone());
        }
    }

    /// What a receiver is to be told about an alert, if anything.
    fn change_for(&self, no: AlertNo, concern: &Concern) -> Option<Change> {
        let record = self.truth.get(no)?;
        let told = self
            .desks
            .get(&concern.receiver)
            .and_then(|desk| desk.told.get(&no));
        let change = told::difference(record, told, self.plan.routes.get(concern.route), self.now.time)?;
        // Who is no longer concerned hears of the end of what was told, and of nothing that came after it.
        let closes = matches!(change, Change::Resolved | Change::Expired)
            && told.is_some_and(|told| told.said.owes_an_end());
        (!concern.former || closes).then_some(change)
    }

    /// Files an alert under the time at which its age will matter. Whole seconds keep the files few. An alert
    /// that is filed earlier already stays there: it will be filed again from there.
    fn watch_age(&mut self, no: AlertNo) {
        let Some(record) = self.truth.get_mut(no) else {
            return;
        };
        let at = turn(self.now, no, record.ages_at(self.patient_until));
        let now = self.now.tick;
        if record.filed_at > now && record.filed_at <= at {
            return;
        }
        record.filed_at = at;
        self.ageing.entry(at).or_default().push(no);
    }

    /// The wall clock, which was to show `expected`, was set: what was written by the old one is made right, and timers
    /// that stand for a time of the wall clock are set anew.
    fn trust_clock(&mut self, expected: Timestamp) {
        let now = self.now.time;
        self.patient_until = now.plus(limits::RESTART_GRACE);
        for no in self.truth.numbers() {
            if let Some(record) = self.truth.get_mut(no) {
                let followed = record.follow_clock(expected, now);
                record.trust_clock(now);
                if followed {
                    self.dirty.alerts.insert(no);
                }
            }
            self.watch_age(no);
        }
        for (receiver, desk) in &mut self.desks {
            for (no, told) in desk.told.iter_mut().filter(|(_, told)| told.at > now) {
                told.at = now;
                self.dirty.told.insert((receiver.clone(), *no));
            }
        }
        self.reminders.clear();
        self.file_reminders();
        // What the next process finds must fit the clock it will see.
        self.dirty.endpoints.extend(self.budgets.keys().cloned());
        self.touched.extend(self.desks.keys().cloned());
    }

    /// Lets everything happen that only time brings about.
    fn pass_time(&mut self) {
        while let Some(entry) = self
            .ageing
            .first_entry()
            .filter(|entry| *entry.key() <= self.now.tick)
        {
            let (at, numbers) = entry.remove_entry();
            for no in numbers {
                self.age(no, at);
            }
        }
        while let Some(entry) = self
            .reminders
            .first_entry()
            .filter(|entry| *entry.key() <= self.now.tick)
        {
            for (receiver, numbers) in entry.remove() {
                self.remind(&receiver, numbers);
            }
        }
        self.touched.extend(self.agenda.due(self.now.tick));
    }

    fn age(&mut self, no: AlertNo, filed_at: Tick) {
        let now = self.now.time;
        let Some(record) = self.truth.get_mut(no) else {
            return;
        };
        if record.filed_at != filed_at {
            return;
        }
        record.filed_at = Tick(0);
        let before = (record.fires(), record.severity);
        let believed_for = believed_for(&self.plan, record.words.source());
        match record.age(believed_for, self.patient_until, now) {
            Ageing::Later => self.watch_age(no),
            Ageing::Expired | Ageing::Calm | Ageing::Believed => {
                self.dirty.alerts.insert(no);
                self.recount(no, before);
                self.watch_age(no);
                self.reconsider(no);
            }
            Ageing::Forget => self.forget(no),
        }
    }

    /// Drops an alert that is over, unless somebody has still to be told about it.
    fn forget(&mut self, no: AlertNo) {
        let Some(record) = self.truth.get(no) else { return };
        let mut concerns = record.concerns.iter();
        let owed = concerns.any(|concern| {
            let (receiver, change) = (&concern.receiver, self.change_for(no, concern));
            // What was announced is closed, however long that takes.
            change.is_some() && (self.owes_an_end(receiver, no) || !self.is_out_of_reach(receiver))
        });
        // Whoever is being told of it, also by an older plan, is to hear of its end.
        if owed || self.desks.values().any(|desk| desk.is_under_way(no)) {
            let later = self.now.tick.plus(limits::LATE_MAX);
            self.ageing.entry(later).or_default().push(no);
            if let Some(record) = self.truth.get_mut(no) {
                record.filed_at = later;
            }
            return;
        }
        if record.state == State::Expired {
            for concern in Arc::clone(&record.concerns).iter() {
                self.stays_announced(no, &concern.receiver);
            }
        }
        self.truth.remove(no);
        self.dirty.alerts.insert(no);
        for (receiver, desk) in &mut self.desks {
            desk.settle(no);
            if desk.told.remove(&no).is_some() {
                self.dirty.told.insert((receiver.clone(), no));
            }
        }
    }

    /// Whether a receiver will not be told anything until the configuration is loaded again, not even by way of its
    /// fallback.
    fn is_out_of_reach(&self, name: &ReceiverName) -> bool {
        self.plan.receivers.get(name).is_some_and(|receiver| {
            self.is_gone(receiver) && !(receiver.fallback.is_some() && self.speaks_for_all(receiver, false))
        })
    }

    /// Looks at told alerts whose reminder may be due.
    fn remind(&mut self, receiver: &ReceiverName, numbers: BTreeSet<AlertNo>) {
        for no in numbers {
            self.compare(no, receiver, self.now.tick);
            if let Some(told_at) = self.reminded_early(no, receiver) {
                self.watch_reminder(receiver, no, told_at);
            }
        }
    }

    /// When a receiver was told of an alert whose reminder is not due yet after all: the wall clock was set back,
    /// its route has another interval by now, or it was told again since.
    fn reminded_early(&self, no: AlertNo, receiver: &ReceiverName) -> Option<Timestamp> {
        let told = self.desks.get(receiver)?.told.get(&no)?;
        let record = self.truth.get(no)?;
        let concern = record.concern(receiver)?;
        let early = record.fires() && told.said == Said::Firing && !concern.former;
        (early && self.change_for(no, concern).is_none()).then_some(told.at)
    }

    /// Files an alert that a receiver was told at `told_at` to be firing under the time of its reminder.
    fn watch_reminder(&mut self, receiver: &ReceiverName, no: AlertNo, told_at: Timestamp) {
        let Some(concern) = self.truth.get(no).and_then(|record| record.concern(receiver)) else {
            return;
        };
        let at = told_at.plus(self.plan.routes.get(concern.route).repeat_interval);
        let at = turn(self.now, no, at);
        self.reminders
            .entry(at)
            .or_default()
            .entry(receiver.clone())
            .or_default()
            .insert(no);
    }

    /// Recomputes everything that follows from the plan; truth, told, windows and budgets stay.
    fn enact_plan(&mut self) {
        self.set_up_desks();
        self.review_receipts();
        self.concerns = Concerns::default();
        self.reminders.clear();
        let waited = self.clear_desks();
        for (_, record) in self.truth.iter_mut() {
            record.concerns = (self.concerns).of(&self.plan, record.words.source(), &record.words.labels());
        }
        self.count_all();
        self.compare_all(&waited);
    }

    /// A desk for each receiver, a budget for each endpoint.
    fn set_up_desks(&mut self) {
        let plan = Arc::clone(&self.plan);
        for receiver in plan.receivers.keys() {
            self.desk(receiver);
        }
        self.sharing.clear();
        for (name, endpoint) in &plan.endpoints {
            let counted_as = endpoint.counted_as();
            self.set_up_budget(name);
            self.budgets.entry(counted_as.clone()).or_default();
            if let Some(rate) = endpoint.shared_rate() {
                self.sharing.entry(rate).or_default().insert(counted_as);
            }
        }
        for app in plan.apps.values().filter(|app| app.ask.is_some()) {
            let name = App::answers_name(&app.name);
            self.set_up_budget(&name);
            let rate = (app.name.clone(), Api::Robot);
            self.sharing.entry(rate).or_default().insert(name);
        }
    }

    /// A budget under this name, if there is none.
    fn set_up_budget(&mut self, name: &EndpointName) {
        if !self.budgets.contains_key(name) {
            self.budgets.insert(name.clone(), Budget::default());
            self.silence_like_others(name);
        }
    }

    /// What silences the app that is counted under this name, or everybody, silences it, too.
    fn silence_like_others(&mut self, name: &EndpointName) {
        let pause = self.pause_of_app(self.plan.app_of(name));
        if let (Some(pause), Some(budget)) = (pause, self.budgets.get_mut(name)) {
            budget.pause(pause, self.now.tick);
            self.dirty.endpoints.insert(name.clone());
        }
    }

    /// Compares truth with told for everybody; `waited` says since when changes wait that did so before.
    fn compare_all(&mut self, waited: &BTreeMap<ReceiverName, BTreeMap<AlertNo, Tick>>) {
        self.find_former();
        for no in self.truth.numbers() {
            let Some(record) = self.truth.get(no) else {
                continue;
            };
            for concern in Arc::clone(&record.concerns).iter() {
                let since = waited
                    .get(&concern.receiver)
                    .and_then(|waits| waits.get(&no))
                    .copied();
                self.reconsider_for(no, concern, since.unwrap_or(self.now.tick));
            }
        }
        self.file_reminders();
        self.touched.extend(self.desks.keys().cloned());
    }

    /// Lets what waits for company, or for the time since the last digest, be told now.
    fn hasten(&mut self, receivers: Vec<ReceiverName>) {
        for name in receivers {
            if let Some(desk) = self.desks.get_mut(&name).filter(|desk| desk.oldest().is_some()) {
                desk.hastened = Some(self.now.tick);
                self.touched.insert(name);
            }
        }
    }

    /// Empties every desk of what follows from the old plan; answers since when each change has waited.
    fn clear_desks(&mut self) -> BTreeMap<ReceiverName, BTreeMap<AlertNo, Tick>> {
        let clear = |(receiver, desk): (&ReceiverName, &mut Desk)| {
            desk.firing = [0; 3];
            let lanes = std::mem::take(&mut desk.lanes);
            (
                receiver.clone(),
                lanes.into_values().flat_map(|mut lane| lane.take()).collect(),
            )
        };
        self.desks.iter_mut().map(clear).collect()
    }

    /// Counts anew what fires.
    fn count_all(&mut self) {
        self.firing = 0;
        let truth = std::mem::take(&mut self.truth);
        for (_, record) in truth.iter().filter(|(_, record)| record.fires()) {
            self.firing += 1;
            self.count_concerns(&record.concerns, record.severity, true);
        }
        self.truth = truth;
    }

    /// Finds who was told that an alert fires and is no longer concerned.
    fn find_former(&mut self) {
        for (receiver, desk) in &self.desks {
            if !self.plan.receivers.contains_key(receiver) {
                continue;
            }
            let owing = desk.told.iter().filter(|(_, told)| told.said.owes_an_end());
            for (no, _) in owing {
                if let Some(record) = self.truth.get_mut(*no) {
                    record.concern_as_former(receiver);
                }
            }
        }
    }

    /// Files every alert that was told as firing under the time of its reminder.
    fn file_reminders(&mut self) {
        let desks = std::mem::take(&mut self.desks);
        for (receiver, desk) in &desks {
            for (no, told) in desk.told.iter().filter(|(_, told)| told.said == Said::Firing) {
                self.watch_reminder(receiver, *no, told.at);
            }
        }
        self.desks = desks;
    }

    /// The next number of a small generator, for jitter only.
    fn random(&mut self) -> u64 {
        // xorshift64*
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Writes a row of a message in flight as it stands.
    fn save_in_flight(&mut self, message: MessageId, row: Option<InFlightRow>) {
        self.dirty.rows.in_flight.insert(message, row);
    }
}

/// Whether the wall clock was set between the two, and did not just go on.
fn was_set(before: Now, now: Now) -> bool {
    now.time.0.abs_diff(before.time_at(now.tick).0) > limits::CLOCK_SET_MIN.0
}

/// When to look at an alert about which something happens at `time`: then, or at its next turn before. Every alert
/// has its turn once in [`limits::LOOK_AGAIN`], so that filings of one alert meet, and not all alerts at the same
/// time, so that nothing waits for a million of them. What is past is not put off to the next second: a digest
/// composed until then would be wrong.
fn turn(now: Now, no: AlertNo, time: Timestamp) -> Tick {
    if time <= now.time {
        return now.tick;
    }
    let width = limits::LOOK_AGAIN.0;
    let phase = no.0.wrapping_mul(1000) % width;
    let earliest = now.tick.0.saturating_add(width);
    let turn = earliest + (phase + width - earliest % width) % width;
    whole_second(now.tick_of(time)).min(Tick(turn))
}

/// The next whole second, so that timers are few however many alerts there are.
fn whole_second(tick: Tick) -> Tick {
    Tick(tick.0.div_ceil(1000) * 1000)
}

/// How long an alert of this source may go unrepeated.
fn expire_after(plan: &Plan, source: &SourceName) -> Span {
    plan.sources
        .get(source)
        .map_or(limits::UNCONFIGURED_EXPIRE_AFTER, |source| source.expire_after)
}

/// How long a doubted alert of this source is believed to fire without another word. A Prometheus says with every
/// message until when to believe it, and repeats it within minutes.
fn believed_for(plan: &Plan, source: &SourceName) -> Span {
    let leases = |source: &Source| matches!(source.kind, SourceKind::Prometheus);
    if plan.sources.get(source).is_some_and(leases) {
        limits::LEASE
    } else {
        expire_after(plan, source)
    }
}

#[cfg(test)]
mod tests;
