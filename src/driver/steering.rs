//! What the driver decides, as a plain value: what must be durable before what may happen, and what becomes of
//! everybody who waits when the store fails.
//!
//! Each call says what happened and when. [`Steering::poll`] hands out what to do until there is nothing left, and
//! [`Steering::deadline`] says when to call [`Steering::wake`]. Whoever performs the actions (the driver, or the
//! simulator) answers each [`Action::Commit`], [`Action::Load`], [`Action::Render`], [`Action::Send`] and
//! [`Action::Run`] by the call of that name, and calls nothing else between a `Load` and its answer.
//!
//! **Invariants:** a webhook's answer, a message and an errand wait for the rows they came about with; there is at
//! most one commit at a time. It knows no runtime, no files and no clock, and decides nothing about alerts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Unavailable;
use super::gate::Gate;
use crate::alert::{
    Alert, AppName, DigestId, MessageId, Now, ReceiverName, RequestId, SourceName, Span, Tick,
};
use crate::digest::{Draft, Rendered};
use crate::engine::answering::NoAnswer;
use crate::engine::{Answer, Effect, Engine, Errand, Event, Finding, Input, Restored, Send, Verdict};
use crate::plan::Plan;
use crate::store::{Changes, Saved, StoreError};

/// Requests that may wait for their commit; while there are more, no further ones are taken.
pub const REQUESTS_WAITING_MAX: usize = 10_000;
/// Rows that may wait for the running commit; while there are more, no further requests are taken. So the next
/// commit stays short, and an urgent alert does not wait behind everything that came before it.
pub const ROWS_WAITING_MAX: usize = 20_000;
/// How long to wait before a store that failed is tried again.
pub const STORE_RETRY: Span = Span::seconds(1);
/// How long messages on their way may take to end when we shut down.
pub const DRAIN_MAX: Span = Span::seconds(15);

/// What became of the alerts of a request.
pub type Accepted = Result<BTreeMap<Verdict, u32>, Unavailable>;

/// Something to be done.
#[derive(Debug)]
pub enum Action {
    /// Commit these rows, then call [`Steering::committed`] or [`Steering::commit_failed`].
    Commit(Changes),
    /// Read what is durable, then call [`Steering::loaded`] before anything else.
    Load,
    /// Compose and render, then call [`Steering::rendered`].
    Render(Box<Draft>),
    /// Send, by one call when there are several of them, then call [`Steering::sent`]. Several are equal messages to
    /// people of one app; there is always one at least.
    Send(Vec<Send>),
    /// Run an errand, then call [`Steering::ran`].
    Run {
        /// Its number.
        no: u64,
        /// What is to be done.
        errand: Errand,
    },
    /// Answer a request.
    Answer {
        /// Which.
        request: RequestId,
        /// What became of it.
        accepted: Accepted,
    },
    /// Tell the log and the metrics.
    Report(Report),
}

/// Something an operator may want to read about.
#[derive(Debug)]
pub enum Report {
    /// About alerts, digests and endpoints.
    Event(Event),
    /// The store has stopped taking writes.
    StoreFailed(StoreError),
    /// The store cannot even be read; what is known is in memory.
    StoreUnreadable(StoreError),
    /// The store was tried again in vain.
    StoreStillFails(StoreError),
    /// The store takes writes again.
    StoreIsBack,
    /// Shutting down took too long; this many messages are on their way.
    DrainedTooLong(usize),
}

/// The owner of the engine. See the module's head.
#[derive(Debug)]
pub struct Steering {
    engine: Engine,
    plan: Arc<Plan>,
    gate: Gate<Action>,
    mode: Mode,
    /// Requests that were not answered yet.
    waiting: BTreeSet<RequestId>,
    next_request: RequestId,
    /// Messages whose answer is awaited. After the engine was put back it may ask for one of them again.
    on_their_way: BTreeSet<MessageId>,
    /// Errands that are being run, by their numbers, and the next number. What comes of one that an engine sent out
    /// before it was put back is nobody's business any more.
    errands: BTreeMap<u64, Errand>,
    next_errand: u64,
    /// Drafts that are being rendered.
    rendering: usize,
    drain: Drain,
    actions: VecDeque<Action>,
}

/// Whether the store takes writes.
#[derive(Debug)]
enum Mode {
    /// It does.
    Durable {
        /// Is a commit running?
        committing: bool,
    },
    /// A commit has just failed; what is durable is being read.
    Reading {
        /// What was to be committed.
        lost: Box<Changes>,
        /// What waited for it.
        held: Vec<Action>,
    },
    /// It does not.
    Degraded {
        /// What it has to catch up with.
        backlog: Box<Changes>,
        /// The next try.
        retry_at: Tick,
        /// Is a try running?
        committing: bool,
    },
}

/// Whether we are shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    Until(Tick),
    /// It took too long.
    GivenUp,
}

impl Steering {
    /// Takes over what the store has.
    pub fn new(plan: Arc<Plan>, saved: Saved, now: Now) -> Self {
        Self::of(Engine::new(Arc::clone(&plan), saved, now), plan)
    }

    /// Takes over what the store has, when the alerts have been taken over already.
    pub fn resume(restored: Restored, saved: Saved, now: Now) -> Self {
        let plan = Arc::clone(restored.plan());
        Self::of(Engine::resume(restored, saved, now), plan)
    }

    fn of(engine: Engine, plan: Arc<Plan>) -> Self {
        Self {
            engine,
            plan,
            gate: Gate::default(),
            mode: Mode::Durable { committing: false },
            waiting: BTreeSet::new(),
            next_request: RequestId(0),
            on_their_way: BTreeSet::new(),
            errands: BTreeMap::new(),
            next_errand: 0,
            rendering: 0,
            drain: Drain::No,
            actions: VecDeque::new(),
        }
    }

    /// Alerts were posted: answered by [`Action::Answer`] with the number given here.
    pub fn accept(&mut self, source: SourceName, alerts: Vec<Alert>, now: Now) -> RequestId {
        let request = self.next_request;
        self.next_request = RequestId(request.0 + 1);
        if self.is_writable() {
            self.waiting.insert(request);
            let input = Input::Alerts {
                request,
                source,
                alerts,
            };
            self.engine.handle(input, now);
        } else {
            let accepted = Err(Unavailable::StoreFailed);
            self.actions.push_back(Action::Answer { request, accepted });
        }
        request
    }

    /// The commit is on disk.
    pub fn committed(&mut self) {
        match &mut self.mode {
            Mode::Durable { committing } => {
                *committing = false;
                for action in self.gate.commit_succeeded() {
                    self.perform(action);
                }
            }
            Mode::Degraded {
                backlog, committing, ..
            } => {
                // What was told while it ran is nowhere else: it must not be put back with the engine.
                backlog.merge(self.engine.changes());
                if backlog.is_empty() {
                    self.mode = Mode::Durable { committing: false };
                    self.report(Report::StoreIsBack);
                } else {
                    *committing = true;
                    self.actions
                        .push_back(Action::Commit(std::mem::take(backlog.as_mut())));
                }
            }
            Mode::Reading { .. } => debug_assert!(false, "nothing is committed while the store is read"),
        }
    }

    /// The commit failed and gives back what it was to write.
    pub fn commit_failed(&mut self, error: StoreError, lost: Changes, now: Now) {
        self.take_effects();
        match &mut self.mode {
            Mode::Durable { .. } => {
                self.mode = Mode::Reading {
                    lost: Box::new(lost),
                    held: self.gate.commit_failed(),
                };
                self.report(Report::StoreFailed(error));
                for request in std::mem::take(&mut self.waiting) {
                    let accepted = Err(Unavailable::StoreFailed);
                    self.actions.push_back(Action::Answer { request, accepted });
                }
                self.actions.push_back(Action::Load);
            }
            Mode::Degraded {
                backlog,
                retry_at,
                committing,
            } => {
                *committing = false;
                *retry_at = now.tick.plus(STORE_RETRY);
                let newer = std::mem::replace(backlog.as_mut(), lost);
                backlog.merge(newer);
                self.report(Report::StoreStillFails(error));
            }
            Mode::Reading { .. } => debug_assert!(false, "nothing is committed while the store is read"),
        }
    }

    /// What is durable, after a commit failed: the engine is put back to it. What cannot be read back is told from
    /// memory, as long as there is one, and written once that is possible.
    pub fn loaded(&mut self, loaded: Result<Saved, StoreError>, now: Now) {
        let degraded = Mode::Degraded {
            backlog: Box::default(),
            retry_at: now.tick.plus(STORE_RETRY),
            committing: false,
        };
        let Mode::Reading { lost, held } = std::mem::replace(&mut self.mode, degraded) else {
            debug_assert!(false, "nobody asked to read the store");
            return;
        };
        match loaded {
            Ok(saved) => self.put_back(saved, now),
            Err(error) => {
                if let Mode::Degraded { backlog, .. } = &mut self.mode {
                    *backlog = lost;
                }
                self.report(Report::StoreUnreadable(error));
                for action in held {
                    self.perform(action);
                }
            }
        }
    }

    fn put_back(&mut self, mut saved: Saved, now: Now) {
        // Renderings and answers under way still come in; their numbers must not mean something else by then.
        let (alert, digest) = self.engine.next_numbers();
        saved.next_alert = saved.next_alert.max(alert);
        saved.next_digest = saved.next_digest.max(digest);
        self.engine = Engine::new(Arc::clone(&self.plan), saved, now);
        self.errands.clear();
        if self.drain != Drain::No {
            self.engine.handle(Input::Drain, now);
        }
    }

    /// A draft was composed and rendered.
    pub fn rendered(&mut self, digest: DigestId, rendered: Rendered, now: Now) {
        self.rendering = self.rendering.saturating_sub(1);
        self.engine.handle(Input::Rendered { digest, rendered }, now);
    }

    /// What was to be sent by one call was tried.
    pub fn sent(&mut self, answers: Vec<(MessageId, Answer)>, now: Now) {
        for (message, _) in &answers {
            self.on_their_way.remove(message);
        }
        self.engine.handle(Input::Outcome(answers), now);
    }

    /// An errand was run.
    pub fn ran(&mut self, no: u64, finding: Finding, now: Now) {
        if let Some(errand) = self.errands.remove(&no) {
            self.engine.handle(Input::Errand(errand, finding), now);
        }
    }

    /// The configuration changed.
    pub fn replan(&mut self, plan: Arc<Plan>, now: Now) {
        self.plan = Arc::clone(&plan);
        self.engine.handle(Input::Plan(plan), now);
    }

    /// Lets changes of these receivers be told now; says how many there are.
    pub fn hasten(&mut self, receivers: Vec<ReceiverName>, now: Now) -> u64 {
        self.engine.handle(Input::Timer, now);
        let changes = receivers.iter().map(|name| self.engine.changes_for(name)).sum();
        self.engine.handle(Input::Hasten(receivers), now);
        changes
    }

    /// An answer to who asks is about to be sent in the name of an app, unless there is something against it.
    pub fn begin_answer(&mut self, app: &AppName, now: Now) -> Result<(), NoAnswer> {
        self.engine.handle(Input::Timer, now);
        self.engine.may_answer(app)?;
        self.engine.handle(Input::AnswerBegins(app.clone()), now);
        Ok(())
    }

    /// It was sent: what came of it.
    pub fn end_answer(&mut self, app: AppName, answer: Answer, now: Now) {
        self.engine.handle(Input::AnswerEnds(app, answer), now);
    }

    /// The deadline has come, or somebody asks and wants to know how it is at this moment.
    pub fn wake(&mut self, now: Now) {
        self.engine.handle(Input::Timer, now);
        if matches!(self.drain, Drain::Until(end) if end <= now.tick) {
            self.drain = Drain::GivenUp;
            self.report(Report::DrainedTooLong(self.on_their_way.len()));
        }
        if let Mode::Degraded {
            backlog,
            retry_at,
            committing,
        } = &mut self.mode
            && !*committing
            && *retry_at <= now.tick
        {
            *committing = true;
            self.actions
                .push_back(Action::Commit(std::mem::take(backlog.as_mut())));
        }
    }

    /// Composes no more; what is on its way may still end.
    pub fn drain(&mut self, now: Now) {
        if self.drain == Drain::No {
            self.drain = Drain::Until(now.tick.plus(DRAIN_MAX));
            self.engine.handle(Input::Drain, now);
        }
    }

    /// What to do next; `None` when there is nothing left. A commit comes first: what may happen already happens while
    /// the disk is at work.
    pub fn poll(&mut self) -> Option<Action> {
        self.take_effects();
        self.next_commit().or_else(|| match self.actions.pop_front()? {
            Action::Send(sends) => Some(Action::Send(self.with_others(sends))),
            action @ (Action::Commit(_)
            | Action::Load
            | Action::Render(_)
            | Action::Run { .. }
            | Action::Answer { .. }
            | Action::Report(_)) => Some(action),
        })
    }

    /// Adds to a message to a person those to others that the same call can carry.
    fn with_others(&mut self, mut sends: Vec<Send>) -> Vec<Send> {
        let endpoint = |send: &Send| self.plan.endpoints.get(send.endpoint.as_ref()?);
        let Some(first) = sends.first().cloned() else {
            return sends;
        };
        let Some(carrier) = endpoint(&first) else {
            return sends;
        };
        let fits = |send: &Send| {
            let shares = endpoint(send).is_some_and(|other| carrier.shares_calls_with(other));
            shares && send.body == first.body
        };
        self.actions.retain_mut(|action| {
            let Action::Send(others) = action else { return true };
            if sends.len() + others.len() > carrier.per_call_max() || !others.iter().all(fits) {
                return true;
            }
            sends.append(others);
            false
        });
        sends
    }

    fn take_effects(&mut self) {
        while let Some(effect) = self.engine.poll() {
            self.pass(effect);
        }
    }

    /// Lets an effect happen, at once or once its rows are durable.
    fn pass(&mut self, effect: Effect) {
        let action = match effect {
            Effect::Digest(draft) => return self.perform(Action::Render(draft)),
            Effect::Event(event) => return self.report(Report::Event(event)),
            Effect::Send(send) => Action::Send(vec![send]),
            Effect::Errand(errand) => self.number(errand),
            Effect::Reply { request, tally } => Action::Answer {
                request,
                accepted: Ok(tally),
            },
        };
        let passing = match self.mode {
            Mode::Durable { .. } => self.gate.pass(action, self.engine.has_changes()),
            Mode::Reading { .. } | Mode::Degraded { .. } => Some(action),
        };
        if let Some(action) = passing {
            self.perform(action);
        }
    }

    /// Gives an errand its number.
    fn number(&mut self, errand: Errand) -> Action {
        let no = self.next_errand;
        self.next_errand += 1;
        self.errands.insert(no, errand.clone());
        Action::Run { no, errand }
    }

    /// Hands an action out, unless nobody waits for it any more.
    fn perform(&mut self, action: Action) {
        let wanted = match &action {
            Action::Answer { request, .. } => self.waiting.remove(request),
            Action::Send(sends) => {
                let new = |send: &Send| self.on_their_way.insert(send.message);
                sends.iter().all(new)
            }
            Action::Render(_) => {
                self.rendering += 1;
                true
            }
            Action::Commit(_) | Action::Load | Action::Run { .. } | Action::Report(_) => true,
        };
        if wanted {
            self.actions.push_back(action);
        }
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }

    /// The engine has nothing more to say: what it has changed is committed, or kept for when that is possible.
    fn next_commit(&mut self) -> Option<Action> {
        match &mut self.mode {
            Mode::Durable { committing } if !*committing && self.engine.has_changes() => {
                *committing = true;
                self.gate.commit_begins();
                Some(Action::Commit(self.engine.changes()))
            }
            Mode::Durable { .. } | Mode::Reading { .. } => None,
            Mode::Degraded { backlog, .. } => {
                backlog.merge(self.engine.changes());
                None
            }
        }
    }

    /// When to call [`Steering::wake`].
    pub fn deadline(&self) -> Option<Tick> {
        let engine = self.engine.deadline().map(|(at, _)| at);
        let retry = match &self.mode {
            Mode::Degraded {
                retry_at,
                committing: false,
                ..
            } => Some(*retry_at),
            Mode::Durable { .. } | Mode::Reading { .. } | Mode::Degraded { .. } => None,
        };
        let drained = match self.drain {
            Drain::Until(end) => Some(end),
            Drain::No | Drain::GivenUp => None,
        };
        [engine, retry, drained].into_iter().flatten().min()
    }

    /// Whether another request may be handed to [`Steering::accept`].
    pub fn takes_requests(&self) -> bool {
        self.waiting.len() < REQUESTS_WAITING_MAX && self.engine.rows_changed() < ROWS_WAITING_MAX
    }

    /// Whether the store takes writes, as far as known.
    pub fn is_writable(&self) -> bool {
        matches!(self.mode, Mode::Durable { .. })
    }

    /// Whether [`Steering::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.drain != Drain::No
    }

    /// Whether shutting down took too long: whatever is left is left.
    pub fn has_given_up(&self) -> bool {
        self.drain == Drain::GivenUp
    }

    /// Whether nothing is left to be waited for. A store that fails is not waited for.
    pub fn is_drained(&self) -> bool {
        let settled = match self.mode {
            Mode::Durable { committing } => !committing && !self.engine.has_changes(),
            Mode::Reading { .. } => false,
            Mode::Degraded { .. } => true,
        };
        self.is_draining() && settled && self.on_their_way.is_empty() && self.rendering == 0
    }

    /// The engine, to be asked.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

#[cfg(test)]
mod tests;
