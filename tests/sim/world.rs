//! The world around the product: virtual clocks, a disk, a network, DingTalk, senders, and a process that is
//! started, killed and stopped. What decides inside the process is the product's own code, and so is what sends
//! ([`dingtalk`]).

mod dingtalk;
mod questions;

use std::collections::BTreeMap;
use std::sync::Arc;

use dingest::alert::{Alert, DigestId, Fingerprint, Labels, Now, RequestId, Span, Status, Tick, Timestamp};
use dingest::ask::Answerer;
use dingest::digest::Rendered;
use dingest::dingtalk::client::{Client, Outside};
use dingest::dingtalk::simulator::fault::Injection;
use dingest::dingtalk::simulator::rules::Rules;
use dingest::driver::steering::{Action, Report, Steering};
use dingest::driver::{Ask, Handle};
use dingest::engine::outcome::Refused;
use dingest::engine::{Event as Told, Finding, Outcome};
use dingest::render::Prepared;
use dingest::store::{Changes, Saved, StoreError};
use dingest::telemetry::Metrics;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot, watch};

use crate::asking::AT_ONCE;
use crate::invariant::{Invariant, Violation, violation};
use crate::judge::Judge;
use crate::noise::noise;
use crate::outside::Virtual;
use crate::plan::{Setting, simulated};
use crate::questions::Questioner;
use crate::script::{Disk, Expected, Network, Saying, Script, Step};
use crate::shapes;
use crate::store::MemoryStore;
use crate::world::dingtalk::{Answers, Flying, Returning, Task};
use crate::world::questions::{Asking, Head};

/// 2026-03-01 00:00:00 UTC.
const EPOCH: i64 = 1_772_323_200_000;
/// What a process's monotonic clock shows when it starts.
const BEGINNING: Tick = Tick(Span::days(365).0);
/// How long nothing may have happened before everybody must have heard: longer than any pause and any drift.
pub(crate) const REST: u64 = 4 * 3_600_000;
/// How long after the last step that must be so at last: longer than anything fires that nobody repeats.
const END_MAX: u64 = 20 * 86_400_000;
/// How long a sender waits before it sends again what was not answered 2xx.
const POST_AGAIN: u64 = 10_000;
/// How many rows the disk takes in a millisecond, besides what a commit takes anyway.
const ROWS_A_MS: u64 = 20;
/// Inputs at one moment that no healthy process needs.
const INPUTS_AT_ONCE_MAX: u32 = 50_000;
/// What the answerer may ask before it is answered.
const ASKS_MAX: usize = 64;
/// How much later than its own limit an orderly end may be noticed.
const STOP_SLACK: u64 = 100;

/// What a simulation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// A hash of everything that left the product, in order.
    pub(crate) transcript: String,
    pub(crate) events: u64,
    pub(crate) posts: u64,
    pub(crate) messages: u64,
    pub(crate) errands: u64,
    pub(crate) lives: u64,
    pub(crate) checks: u64,
    /// Milliseconds of virtual time.
    pub(crate) span: u64,
}

enum Event {
    Step(usize),
    Start,
    Post(usize),
    Committed {
        life: u64,
    },
    Loaded {
        life: u64,
    },
    Rendered {
        life: u64,
        digest: DigestId,
        rendered: Rendered,
    },
    Arrives(Box<Flying>),
    Returns(Box<Returning>),
    /// DingTalk posts what somebody has written to an app's bot.
    Asks(Box<Asking>),
    ShouldBeAnswered {
        life: u64,
        taking: usize,
    },
    PauseEnds(oneshot::Sender<()>),
    Ran {
        life: u64,
        no: u64,
        finding: Finding,
    },
    /// Who asked to be told at once has been.
    Heeds {
        life: u64,
        asked: usize,
    },
    Answered {
        life: u64,
        answers: Answers,
        took: u64,
        /// That count against the month.
        calls: u64,
    },
    End,
}

/// A running daemon.
struct Process<'a> {
    life: u64,
    started_at: u64,
    steering: Steering,
    setting: &'a Setting,
    client: Client,
    /// What the client stands on.
    outside: Arc<Virtual>,
    tasks: BTreeMap<u64, Task>,
    answerer: Arc<Answerer>,
    /// What it answers by.
    prepared: watch::Sender<Prepared>,
    /// What the answerer asks.
    inbox: mpsc::Receiver<Ask>,
    /// Can one of them go on?
    is_stirred: bool,
    commit: Option<Changes>,
    /// Until when it reads the store and listens to nobody.
    reading_until: Option<u64>,
    /// Since when it is stopping, and how long it stays down.
    stopping: Option<(u64, u64)>,
    /// Has it waited, at its end, for the answers under way?
    has_answered: bool,
    asked: BTreeMap<RequestId, usize>,
}

impl Process<'_> {
    /// Whether what decides has come to its end; answers may be under way still.
    fn has_decided(&self) -> bool {
        self.stopping.is_some() && (self.steering.is_drained() || self.steering.has_given_up())
    }
}

struct Posting {
    sayings: Vec<Saying>,
    once: bool,
}

/// See the module's head.
pub(crate) struct World<'a> {
    script: &'a Script,
    settings: &'a BTreeMap<String, Setting>,
    now: u64,
    ahead: i64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    process: Option<Process<'a>>,
    lives: u64,
    /// How often the disk was read.
    readings: u64,
    setting: &'a Setting,
    store: MemoryStore,
    disk: Disk,
    disk_slow: u64,
    network: Network,
    dingtalk: Rules,
    postings: Vec<Posting>,
    tasks_begun: u64,
    /// Requests to DingTalk.
    exchanges: u64,
    /// Of each app, head and body of the last request to its bot that the process took.
    heads: BTreeMap<String, (Head, String)>,
    judge: Judge<'a>,
    transcript: Sha256,
    disturbed_at: u64,
    /// Was a person found not to be there, and has nobody looked into it since?
    missed: bool,
    inputs_at_once: (u64, u32),
    ended: bool,
    summary: Summary,
    trace: bool,
}

impl<'a> World<'a> {
    /// Runs a script to its end.
    pub(crate) fn run(
        script: &'a Script,
        settings: &'a BTreeMap<String, Setting>,
    ) -> Result<Summary, Violation> {
        let Some(setting) = settings.get("p0").or_else(|| settings.values().next()) else {
            return Ok(Summary::nothing());
        };
        let mut world = World {
            script,
            settings,
            now: 0,
            ahead: 0,
            queue: BTreeMap::new(),
            queued: 0,
            process: None,
            lives: 0,
            readings: 0,
            setting,
            store: MemoryStore::default(),
            disk: Disk::Well,
            disk_slow: 0,
            network: Network::Well,
            dingtalk: Rules::new(simulated(script)),
            postings: Vec::new(),
            tasks_begun: 0,
            exchanges: 0,
            heads: BTreeMap::new(),
            judge: Judge::new(script, setting),
            transcript: Sha256::new(),
            disturbed_at: 0,
            missed: false,
            inputs_at_once: (0, 0),
            ended: false,
            summary: Summary::nothing(),
            trace: std::env::var_os("SIM_TRACE").is_some(),
        };
        world.begin();
        while !world.ended {
            world.advance()?;
        }
        world.summary.span = world.now;
        world.summary.lives = world.lives;
        world.summary.transcript = hex(&world.transcript.finalize());
        Ok(world.summary)
    }

    fn begin(&mut self) {
        self.at(0, Event::Start);
        let mut last = 0;
        for (index, (at, _)) in self.script.steps.iter().enumerate() {
            self.at(*at, Event::Step(index));
            last = *at;
        }
        self.at(last + 2000, Event::End);
    }

    fn at(&mut self, at: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((at, self.queued), event);
    }

    fn after(&mut self, span: u64, event: Event) {
        self.at(self.now + span, event);
    }

    /// What DingTalk's clock, the true one, shows.
    fn true_time(&self) -> Timestamp {
        self.time_of(i64::try_from(self.now).expect("scripts last days"))
    }

    /// The true time of a moment of the script.
    fn time_of(&self, at: i64) -> Timestamp {
        Timestamp(EPOCH + i64::try_from(self.script.begin).expect("a month is short") + at)
    }

    /// What the daemon's clocks show.
    fn clocks(&self) -> Now {
        let started_at = self.process.as_ref().map_or(0, |process| process.started_at);
        Now {
            tick: BEGINNING.plus(Span(self.now - started_at)),
            time: Timestamp(self.true_time().0 + self.ahead),
        }
    }

    fn say(&mut self, line: &str) {
        if self.trace {
            self.print(line);
        }
        self.transcript.update(self.now.to_le_bytes());
        self.transcript.update(line.as_bytes());
        self.transcript.update(b"\n");
    }

    #[expect(clippy::print_stderr, reason = "asked for by SIM_TRACE")]
    fn print(&self, line: &str) {
        eprintln!("{}.{:03}s {line}", self.now / 1000, self.now % 1000);
    }

    /// Whatever happens next.
    fn advance(&mut self) -> Result<(), Violation> {
        let next = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wake = self
            .process
            .as_ref()
            .filter(|process| process.reading_until.is_none() && !process.has_decided())
            .and_then(|process| {
                let tick = process.steering.deadline()?;
                Some(process.started_at + tick.since(BEGINNING).0)
            });
        self.summary.events += 1;
        if let Some(wake) = wake.filter(|wake| next.is_none_or(|next| *wake < next)) {
            self.now = self.now.max(wake);
            self.input(Steering::wake)?;
            return self.drive();
        }
        let Some(((at, _), event)) = self.queue.pop_first() else {
            self.ended = true;
            return Ok(());
        };
        self.now = self.now.max(at);
        // A process that reads its store listens to nobody meanwhile.
        let until = self.process.as_ref().and_then(|process| process.reading_until);
        let inside = matches!(
            event,
            Event::Committed { .. }
                | Event::Rendered { .. }
                | Event::Answered { .. }
                | Event::Ran { .. }
                | Event::Post(_)
        );
        if let Some(until) = until.filter(|_| inside) {
            self.at(until.max(self.now), event);
            return Ok(());
        }
        self.happen(event)?;
        self.drive()
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Step(index) => {
                let step = self.script.steps[index].1.clone();
                self.step(step)
            }
            Event::Start => self.start(),
            Event::Post(posting) => self.post(posting),
            Event::Committed { life } if self.lives_still(life) => self.committed(),
            Event::Loaded { life } if self.lives_still(life) => self.loaded(),
            Event::Rendered {
                life,
                digest,
                rendered,
            } if self.lives_still(life) => {
                self.input(|steering, now| steering.rendered(digest, rendered, now))
            }
            Event::Answered {
                life,
                answers,
                took,
                calls,
            } if self.lives_still(life) => self.answered(answers, took, calls),
            Event::Ran { life, no, finding } if self.lives_still(life) => self.ran(no, finding),
            Event::Arrives(flying) => self.arrives(*flying),
            Event::Asks(asking) => self.callback_arrives(*asking),
            Event::ShouldBeAnswered { life, taking } if self.lives_still(life) => {
                let (is_well, time) = (self.is_well(), self.true_time());
                self.judge.should_be_answered(taking, is_well, self.now, time)
            }
            Event::Returns(returning) => self.returned(*returning),
            Event::PauseEnds(over) => {
                // Somebody may wait for it.
                let _gone = over.send(());
                self.stir();
                Ok(())
            }
            Event::Heeds { life, asked } if self.lives_still(life) => self.judge.heeds(asked, self.now),
            Event::End => self.end(),
            Event::Committed { .. }
            | Event::Loaded { .. }
            | Event::Rendered { .. }
            | Event::Answered { .. }
            | Event::Heeds { .. }
            | Event::ShouldBeAnswered { .. }
            | Event::Ran { .. } => Ok(()),
        }
    }

    fn answered(&mut self, answers: Answers, took: u64, calls: u64) -> Result<(), Violation> {
        for (message, _, answer) in &answers {
            self.say(&format!("answered {message:?} {}", answer.outcome.as_str()));
            if answer.outcome != Outcome::Delivered {
                self.disturbed_at = self.now;
            }
            self.missed |= answer.outcome == Outcome::Refused(Refused::Person);
        }
        let clocks = self.clocks();
        self.judge.called(&answers, took, calls, self.now, clocks.time);
        self.keep_people();
        let answers = answers.into_iter().map(|(message, _, answer)| (message, answer));
        self.input(|steering, now| steering.sent(answers.collect(), now))
    }

    /// Whether nothing is in the way of what is said to DingTalk.
    fn is_well(&self) -> bool {
        self.network == Network::Well && self.dingtalk.faults().is_empty() && self.ahead == 0
    }

    fn lives_still(&self, life: u64) -> bool {
        let lives = |process: &Process<'_>| process.life == life && !process.has_decided();
        self.process.as_ref().is_some_and(lives)
    }

    // ---- the process ------------------------------------------------------------------------------------------

    fn start(&mut self) -> Result<(), Violation> {
        self.disturbed_at = self.now;
        if self.process.is_some() {
            return Ok(());
        }
        if self.disk == Disk::Unreadable {
            self.after(1000, Event::Start);
            return Ok(());
        }
        self.lives += 1;
        self.say("start");
        let now = Now {
            tick: BEGINNING,
            time: Timestamp(self.true_time().0 + self.ahead),
        };
        self.store.check_models();
        let time = self.clocks().time;
        (self.judge).started(&self.store, self.setting, self.now, time);
        let mut saved = self.load();
        let outside = Arc::new(Virtual::default());
        let client = Client::over(Arc::clone(&outside) as Arc<dyn Outside>);
        client.recall(std::mem::take(&mut saved.people));
        outside.set_time(time);
        let (prepared, current) = watch::channel(self.setting.prepared());
        let (asks, inbox) = mpsc::channel(ASKS_MAX);
        let metrics = Arc::new(Metrics::new());
        let answerer = Answerer::new(current, Handle::new(asks), client.clone(), metrics);
        self.process = Some(Process {
            life: self.lives,
            started_at: self.now,
            steering: Steering::new(Arc::clone(&self.setting.plan), saved, now),
            setting: self.setting,
            client,
            outside,
            tasks: BTreeMap::new(),
            answerer,
            prepared,
            inbox,
            is_stirred: false,
            commit: None,
            reading_until: None,
            stopping: None,
            has_answered: false,
            asked: BTreeMap::new(),
        });
        self.settle()
    }

    /// Tells the process that something happened, and does what it wants done.
    fn input(&mut self, input: impl FnOnce(&mut Steering, Now)) -> Result<(), Violation> {
        let now = self.clocks();
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        self.inputs_at_once = match self.inputs_at_once {
            (at, count) if at == self.now => (at, count + 1),
            _ => (self.now, 1),
        };
        if self.inputs_at_once.1 > INPUTS_AT_ONCE_MAX {
            return Err(violation(
                Invariant::ComesToRest,
                self.now,
                "it is woken over and over at one moment",
            ));
        }
        self.judge.step();
        input(&mut process.steering, now);
        self.settle()
    }

    fn settle(&mut self) -> Result<(), Violation> {
        while let Some(action) = self.process.as_mut().and_then(|process| process.steering.poll()) {
            self.perform(action)?;
        }
        if let Some(process) = &self.process {
            self.judge.look(process.steering.engine(), self.now)?;
        }
        self.stopped()
    }

    fn perform(&mut self, action: Action) -> Result<(), Violation> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        match action {
            Action::Commit(changes) => {
                let life = process.life;
                let rows = changes.rows();
                let took =
                    1 + noise(&[self.script.noise, self.queued]) % 4 + rows / ROWS_A_MS + self.disk_slow;
                self.judge.commit_begins();
                process.commit = Some(changes);
                self.after(took, Event::Committed { life });
                self.say(&format!("commit {rows}"));
            }
            Action::Load => {
                let life = process.life;
                process.reading_until = Some(self.now + 20);
                self.after(20, Event::Loaded { life });
            }
            Action::Render(draft) => {
                let rendered = process.setting.renderer.render(&draft);
                let life = process.life;
                let clocks = self.clocks();
                self.judge.composed(&draft, &rendered, self.now, clocks.time)?;
                let took = 1 + noise(&[self.script.noise, draft.id.0, self.now]) % 20;
                let digest = draft.id;
                let others: Vec<&str> = draft.others.iter().map(|(_, name)| name.as_str()).collect();
                self.say(&format!(
                    "digest {digest} to {} {} of {} in {}",
                    draft.receiver,
                    others.join(" "),
                    draft.entries.len(),
                    rendered.messages.len()
                ));
                self.after(
                    took,
                    Event::Rendered {
                        life,
                        digest,
                        rendered,
                    },
                );
            }
            Action::Send(sends) => self.send(sends)?,
            Action::Run { no, errand } => self.run_errand(no, errand)?,
            Action::Answer { request, accepted } => {
                let posting = process.asked.remove(&request);
                let life = process.life;
                self.judge.answered(life, request, &accepted, self.now)?;
                self.say(&format!("answer {accepted:?}"));
                if let (Some(posting), Err(_)) = (posting, &accepted) {
                    self.post_again(posting);
                }
            }
            Action::Report(report) => self.report(&report)?,
        }
        Ok(())
    }

    fn report(&mut self, report: &Report) -> Result<(), Violation> {
        match report {
            Report::Event(Told::Read { message, .. }) => {
                return self.judge.read_is_counted(*message, self.now);
            }
            Report::Event(_) => {}
            Report::StoreFailed(_)
            | Report::StoreUnreadable(_)
            | Report::StoreStillFails(_)
            | Report::StoreIsBack
            | Report::DrainedTooLong(_) => {
                self.disturbed_at = self.now;
                self.judge.trouble_for_all(self.now);
                self.say(&format!("{report:?}"));
            }
        }
        Ok(())
    }

    fn committed(&mut self) -> Result<(), Violation> {
        let Some(changes) = self.process.as_mut().and_then(|process| process.commit.take()) else {
            return Ok(());
        };
        if self.disk == Disk::Well {
            self.store.apply(&changes);
            self.judge.applied(&changes);
            return self.input(|steering, _| steering.committed());
        }
        self.disturbed_at = self.now;
        self.input(|steering, now| steering.commit_failed(full(), changes, now))
    }

    /// What the disk has; every reading has a name of its own, as the real one's.
    fn load(&mut self) -> Saved {
        self.readings += 1;
        Saved {
            run: format!("r{}", self.readings),
            ..self.store.saved()
        }
    }

    fn loaded(&mut self) -> Result<(), Violation> {
        if let Some(process) = &mut self.process {
            process.reading_until = None;
        }
        let loaded = if self.disk == Disk::Unreadable {
            Err(full())
        } else {
            self.store.check_models();
            let time = self.clocks().time;
            self.judge.put_back(&self.store, self.now, time);
            Ok(self.load())
        };
        self.input(|steering, now| steering.loaded(loaded, now))
    }

    /// The process is gone from one moment to the next.
    fn kill(&mut self, applied: bool, down: u64) {
        let Some(process) = self.process.take() else {
            return;
        };
        self.say("killed");
        if let Some(changes) = process.commit.filter(|_| applied && self.disk == Disk::Well) {
            self.store.apply(&changes);
            self.judge.applied(&changes);
        }
        self.judge.died(process.steering.is_writable(), self.now);
        for posting in process.asked.into_values() {
            self.post_again(posting);
        }
        self.after(down, Event::Start);
    }

    fn stop(&mut self, down: u64) -> Result<(), Violation> {
        let now = self.now;
        if let Some(process) = self.process.as_mut().filter(|process| process.stopping.is_none()) {
            process.stopping = Some((now, down));
            // Nobody can ask any more; what was asked before has been answered by now.
            process.inbox.close();
            self.judge.trouble_for_all(now);
            self.judge.stops();
            self.finish_answers();
            return self.input(Steering::drain);
        }
        Ok(())
    }

    /// An orderly end that has come to its end, or should have.
    fn stopped(&mut self) -> Result<(), Violation> {
        let Some((process, (since, down))) = self
            .process
            .as_ref()
            .and_then(|process| Some((process, process.stopping?)))
        else {
            return Ok(());
        };
        if !process.has_decided() || !process.has_answered {
            let span = self.now - since;
            let limit = dingest::driver::steering::DRAIN_MAX.0 + STOP_SLACK;
            if span > limit {
                return Err(violation(
                    Invariant::DrainEnds,
                    self.now,
                    format!("it has been ending for {span} ms"),
                ));
            }
            return Ok(());
        }
        self.check_answers_have_ended(process, since)?;
        self.say("stopped");
        let Some(process) = self.process.take() else {
            return Ok(());
        };
        self.judge.died(process.steering.is_writable(), self.now);
        if !process.asked.is_empty() && process.steering.is_drained() && process.steering.is_writable() {
            return Err(violation(
                Invariant::DrainEnds,
                self.now,
                "it ended without an answer to a request",
            ));
        }
        for posting in process.asked.into_values() {
            self.post_again(posting);
        }
        if down == u64::MAX {
            self.ended = true;
        } else {
            self.after(down, Event::Start);
        }
        Ok(())
    }

    // ---- senders ----------------------------------------------------------------------------------------------

    fn post_again(&mut self, posting: usize) {
        if !self.postings[posting].once {
            self.after(POST_AGAIN, Event::Post(posting));
        }
    }

    fn post(&mut self, posting: usize) -> Result<(), Violation> {
        self.disturbed_at = self.now;
        let open = self
            .process
            .as_ref()
            .is_some_and(|process| process.stopping.is_none() && process.steering.takes_requests());
        if !open {
            self.post_again(posting);
            return Ok(());
        }
        let sayings = self.postings[posting].sayings.clone();
        let Some(first) = sayings
            .first()
            .and_then(|saying| self.script.alerts.get(&saying.alert))
        else {
            return Ok(());
        };
        let source = first.source.clone();
        let alerts: Vec<(Saying, Alert)> = sayings
            .into_iter()
            .filter(|saying| {
                let known = self.script.alerts.get(&saying.alert);
                known.is_some_and(|alert| alert.source == source)
            })
            .map(|saying| {
                let alert = self.alert(&saying);
                (saying, alert)
            })
            .collect();
        self.summary.posts += 1;
        self.say("post");
        let clocks = self.clocks();
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let request = {
            let writable = process.steering.is_writable();
            self.judge.step();
            let decoded = alerts.iter().map(|(_, alert)| alert.clone()).collect();
            let request = process.steering.accept(source.as_str().into(), decoded, clocks);
            if writable {
                self.judge
                    .heard(process.life, request, &alerts, self.now, clocks.time);
            }
            request
        };
        process.asked.insert(request, posting);
        self.settle()
    }

    fn alert(&self, saying: &Saying) -> Alert {
        let text = &self.script.alerts[&saying.alert];
        let labels = labels(&saying.alert, &text.labels, &saying.labels);
        let identity = format!("{}/{}", text.source, saying.alert);
        let time = |at: i64| self.time_of(at);
        Alert {
            fingerprint: Fingerprint::of_identity(&identity),
            identity: Some(identity.into()),
            status: if saying.fires {
                Status::Firing
            } else {
                Status::Resolved
            },
            labels: Labels::from_pairs(labels),
            annotations: Labels::from_pairs([("summary", format!("{} is not well", saying.alert))]),
            links: shapes::links(&saying.alert, text),
            values: Labels::default(),
            starts_at: saying.start.map(time),
            ends_at: saying.end.map(time),
            expires_at: saying.lease.map(time),
        }
    }

    fn ran(&mut self, no: u64, finding: Finding) -> Result<(), Violation> {
        self.say(&format!("errand {no} found {finding:?}"));
        let clocks = self.clocks();
        self.judge.ran(no, &finding, self.now, clocks.time)?;
        self.input(|steering, now| steering.ran(no, finding, now))
    }

    // ---- what happens -----------------------------------------------------------------------------------------

    fn step(&mut self, step: Step) -> Result<(), Violation> {
        if !matches!(
            step,
            Step::Check
                | Step::Read { .. }
                | Step::Hasten(_)
                | Step::Ask { .. }
                | Step::Forge { .. }
                | Step::Expect(_)
        ) {
            self.disturbed_at = self.now;
        }
        match step {
            Step::Post { sayings, once } => {
                self.postings.push(Posting { sayings, once });
                self.after(0, Event::Post(self.postings.len() - 1));
            }
            Step::Plan(name) => return self.replan(&name),
            Step::Clock(ahead) => self.set_clock(ahead),
            Step::Kill { applied, down } => self.kill(applied, down),
            Step::Stop { down } => return self.stop(down),
            Step::Disk(disk) => self.disk = disk,
            Step::DiskSlow(slow) => {
                self.disk_slow = slow;
                self.judge.slow_disk(slow > 100, self.now);
            }
            Step::Fault(bot, fault, times) => self.dingtalk.inject(Injection {
                bot,
                ..Injection::times(times, fault)
            }),
            Step::Network(network) => {
                self.network = network;
                self.judge.slow_network(network != Network::Well, self.now);
            }
            Step::Heal => return self.heal(),
            Step::Check => return self.check(),
            Step::Read { person, receiver } => {
                let group = receiver.as_deref();
                self.judge.reads(&person, group, self.now);
                let time = self.true_time();
                self.dingtalk.read(&person, group, time);
            }
            Step::Hasten(receivers) => return self.hasten(&receivers),
            Step::Ask {
                person,
                app,
                receiver,
                text,
                times,
                session,
            } => {
                let who = Questioner {
                    person,
                    app,
                    receiver,
                    text,
                    session,
                };
                self.ask(&who, times);
            }
            Step::Forge { app, text, head } => return self.forge(&app, head, &text),
            Step::Expect(expected) => return self.expect(&expected),
        }
        Ok(())
    }

    /// Whether something has come about.
    fn expect(&self, expected: &Expected) -> Result<(), Violation> {
        let (judge, now) = (&self.judge, self.now);
        match expected {
            Expected::Told { receiver, alert } => judge.has_been_told(receiver, alert, now),
            Expected::Recalled { receiver, alert } => judge.has_been_recalled(receiver, alert, now),
            Expected::IsRead { receiver, alert } => judge.is_known_as_read(receiver, alert, now),
            Expected::Answered(person) => judge.has_been_answered(person, now),
        }
    }

    /// Somebody writes `digest now` where these are told.
    fn hasten(&mut self, receivers: &[String]) -> Result<(), Violation> {
        let Some(process) = self
            .process
            .as_ref()
            .filter(|process| process.stopping.is_none() && process.reading_until.is_none())
        else {
            return Ok(());
        };
        let members = receivers
            .iter()
            .flat_map(|name| process.setting.text.members(name));
        let members: Vec<String> = members.collect();
        self.hastens(&members);
        let members = members.iter().map(|name| name.as_str().into()).collect();
        self.input(|steering, now| {
            steering.hasten(members, now);
        })
    }

    /// These are to be told now.
    fn hastens(&mut self, members: &[String]) {
        let (life, time) = (self.lives, self.clocks().time);
        let asked = self.judge.asks(members, self.now, time);
        self.say(&format!("hasten {}", members.join(" ")));
        self.after(AT_ONCE, Event::Heeds { life, asked });
    }

    fn replan(&mut self, name: &str) -> Result<(), Violation> {
        let Some(setting) = self.settings.get(name) else {
            return Ok(());
        };
        self.setting = setting;
        let now = self.now;
        let Some(process) = self.process.as_mut().filter(|process| process.stopping.is_none()) else {
            return Ok(());
        };
        process.setting = setting;
        process.prepared.send_replace(setting.prepared());
        self.judge.replanned(setting, now);
        self.input(|steering, now| steering.replan(Arc::clone(&setting.plan), now))
    }

    fn set_clock(&mut self, ahead: i64) {
        let before = self.clocks().time;
        self.ahead = ahead;
        let shown = self.clocks().time;
        self.judge.clock_is_set(ahead, before.0, shown.0, self.now);
        if before != shown {
            // The process remembers heads by its clock.
            self.heads.clear();
        }
    }

    fn heal(&mut self) -> Result<(), Violation> {
        self.network = Network::Well;
        self.disk = Disk::Well;
        self.disk_slow = 0;
        self.set_clock(0);
        self.dingtalk.clear_faults();
        self.judge.slow_disk(false, self.now);
        self.judge.slow_network(false, self.now);
        self.look_into_who_is_missed()
    }

    /// Somebody reads that a person was not there, and loads the configuration again.
    fn look_into_who_is_missed(&mut self) -> Result<(), Violation> {
        let setting = self.setting;
        let runs = (self.process.as_ref()).is_some_and(|process| process.stopping.is_none());
        if !self.missed || !runs {
            return Ok(());
        }
        self.missed = false;
        self.judge.replanned(setting, self.now);
        self.input(|steering, now| steering.replan(Arc::clone(&setting.plan), now))
    }

    /// Has everybody heard of everything? Asked only when nothing has happened for a while.
    fn check(&mut self) -> Result<(), Violation> {
        let settled = self.is_well() && self.disk == Disk::Well && !self.missed;
        let rested = settled && self.now >= self.disturbed_at + REST;
        if !rested || self.process.is_none() {
            return Ok(());
        }
        self.input(Steering::wake)?;
        let clocks = self.clocks();
        let Some(process) = &self.process else {
            return Ok(());
        };
        self.summary.checks += 1;
        let is_written = process.commit.is_none();
        self.judge
            .rested(&process.steering, &self.store, is_written, clocks, self.now)
    }

    /// The script is over: everything works again, everybody hears, the process ends.
    fn end(&mut self) -> Result<(), Violation> {
        if self.now > self.script.steps.last().map_or(0, |(at, _)| *at) + END_MAX {
            let what = format!(
                "something failed {} ms ago, and goes on failing",
                self.now - self.disturbed_at
            );
            return Err(violation(Invariant::ComesToRest, self.now, what));
        }
        if self.now < self.disturbed_at + REST || self.ahead != 0 || self.disk != Disk::Well || self.missed {
            if !self.is_well() || self.disk != Disk::Well || self.disk_slow > 0 || self.missed {
                self.heal()?;
                self.disturbed_at = self.now;
            }
            let again = (self.disturbed_at + REST).max(self.now + 1000);
            self.at(again, Event::End);
            return Ok(());
        }
        self.check()?;
        self.stop(u64::MAX)?;
        if self.process.is_none() {
            self.ended = true;
        }
        Ok(())
    }
}

impl Summary {
    fn nothing() -> Self {
        Self {
            transcript: String::new(),
            events: 0,
            posts: 0,
            messages: 0,
            errands: 0,
            lives: 0,
            checks: 0,
            span: 0,
        }
    }
}

/// The labels of an alert, some of them said otherwise.
pub(crate) fn labels(
    name: &str,
    usual: &[(String, String)],
    said: &[(String, String)],
) -> Vec<(String, String)> {
    let mut labels: BTreeMap<String, String> = usual.iter().chain(said).cloned().collect();
    labels.insert("alertname".to_owned(), name.to_owned());
    labels.into_iter().collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("texts take everything");
        text
    })
}

fn full() -> StoreError {
    StoreError::Full {
        path: "sim".to_owned(),
    }
}
