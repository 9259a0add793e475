//! The one loop: inputs into the engine, its changes into the store, its effects into the world — in this order.
//!
//! One task owns the engine. It waits for whatever happens next, tells the [`steering`], and performs what that
//! says: commits, renderings, messages, answers. Drafts are composed and rendered, and messages sent, by tasks of
//! their own that come back as inputs; the disk has a thread of its own (`writer`).
//!
//! **Invariants:** no webhook is answered 2xx and no message is sent before its commit. When the store fails,
//! the engine is put back to what is durable: from then on nothing new is taken, what is durable is still told,
//! and what is told is kept in memory and written as soon as the store is back. Nothing is decided here.

mod drafts;
mod gate;
pub mod question;
mod restore;
pub mod steering;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::alert::{Alert, AppName, DigestId, MessageId, ReceiverName, RequestId, SourceName, Timestamp};
use crate::clock::Clock;
use crate::digest::Rendered;
use crate::dingtalk::client::{Client, NOTICE_TIMEOUT, TOTAL_TIMEOUT};
use crate::driver::drafts::Drafts;
use crate::driver::question::Question;
use crate::driver::restore::restore;
use crate::driver::steering::{Accepted, Action, Report, Steering};
use crate::driver::writer::{Committed, Writer};
use crate::engine::answering::NoAnswer;
use crate::engine::limits;
use crate::engine::view::{AlertList, AlertQuery, Counts, EndpointView, Explained, ReceiverView};
use crate::engine::{Answer, Errand, Event, Fate, Finding, Outcome, Send, Verdict};
use crate::plan::{Endpoint, Plan};
use crate::render::Prepared;
use crate::shares::Shares;
use crate::store::{Changes, DigestQuery, RefusedBody, Store, StoreError, Told};
use crate::telemetry::Metrics;

/// Why an alert could not be taken responsibility for; all of them mean "try again later".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Unavailable {
    /// The inbox is full.
    #[error("too many requests are waiting to be stored; try again shortly")]
    InboxFull,
    /// The source has as much in the inbox as one source may have.
    #[error("too many requests of this source are waiting to be stored; try again shortly")]
    SourceBusy,
    /// The store cannot write.
    #[error("the store cannot write at the moment; try again later")]
    StoreFailed,
    /// We are shutting down.
    #[error("shutting down; try again in a moment")]
    ShuttingDown,
}

/// The way for everybody else to reach the one task that owns the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    inbox: mpsc::Sender<Ask>,
    /// What each source may have in the inbox.
    shares: Shares<Arc<Semaphore>>,
    refused: Arc<Semaphore>,
    lists: Arc<Semaphore>,
}

/// What is asked of the driver. A reply that is dropped unsent means that the driver is gone.
#[derive(Debug)]
pub enum Ask {
    /// Take alerts over; answered once they are durable.
    Accept {
        /// The source they were posted to.
        source: SourceName,
        /// In the order of the body.
        alerts: Vec<Alert>,
        /// Its place in the source's share of the inbox, given up once it is taken out.
        turn: OwnedSemaphorePermit,
        /// What became of them.
        reply: oneshot::Sender<Accepted>,
    },
    /// List digests of the history, newest first.
    Digests {
        /// Which.
        query: DigestQuery,
        /// The list.
        reply: oneshot::Sender<Result<Vec<Told>, Unavailable>>,
    },
    /// What is answered from memory.
    Question(Question),
    /// Keep a refused body to be looked at.
    KeepRefused(RefusedBody, Keeping),
    /// List refused bodies, newest first.
    Refused {
        /// Of this source, or of all.
        source: Option<SourceName>,
        /// At most so many.
        limit: usize,
        /// The list.
        reply: oneshot::Sender<Result<Vec<RefusedBody>, Unavailable>>,
    },
}

impl Ask {
    /// How many alerts have to be judged for it.
    fn alerts(&self) -> usize {
        match self {
            Self::Accept { alerts, .. } => alerts.len(),
            Self::Question(_) | Self::Digests { .. } | Self::KeepRefused(..) | Self::Refused { .. } => 0,
        }
    }
}

/// What has been going on, for `/api/v1/status`, `/readyz` and metrics.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether the store takes writes.
    pub store_writable: bool,
    /// Numbers of the engine.
    pub counts: Counts,
    /// Every receiver.
    pub receivers: Vec<ReceiverView>,
    /// Every endpoint, also those no receiver uses.
    pub endpoints: Vec<EndpointView>,
}

impl Handle {
    /// A handle on the driver that reads the other end. The channel's capacity bounds what may wait.
    pub fn new(inbox: mpsc::Sender<Ask>) -> Self {
        Self {
            inbox,
            shares: Shares::default(),
            refused: Arc::new(Semaphore::new(REFUSED_WAITING_MAX)),
            lists: Arc::new(Semaphore::new(LISTS_WAITING_MAX)),
        }
    }

    /// Hands alerts over and returns once they are durable, with what became of each.
    pub async fn accept(
        &self,
        source: SourceName,
        alerts: Vec<Alert>,
    ) -> Result<BTreeMap<Verdict, u32>, Unavailable> {
        if alerts.len() <= PIECE_ALERTS_MAX {
            return self.accept_piece(source, alerts).await;
        }
        // Others are let in between, and what came of the first pieces stays whatever happens to the others.
        let mut tally = BTreeMap::new();
        let mut rest = alerts.into_iter();
        while rest.len() > 0 {
            let piece = rest.by_ref().take(PIECE_ALERTS_MAX).collect();
            for (verdict, count) in self.accept_piece(source.clone(), piece).await? {
                *tally.entry(verdict).or_default() += count;
            }
        }
        Ok(tally)
    }

    async fn accept_piece(
        &self,
        source: SourceName,
        alerts: Vec<Alert>,
    ) -> Result<BTreeMap<Verdict, u32>, Unavailable> {
        let turn = self.turn(&source)?;
        self.ask(|reply| Ask::Accept {
            source,
            alerts,
            turn,
            reply,
        })
        .await?
    }

    /// A place in the inbox. One source may have half of them, so that none leaves no place to others.
    fn turn(&self, source: &SourceName) -> Result<OwnedSemaphorePermit, Unavailable> {
        let half = (self.inbox.max_capacity() / 2).max(1);
        let share = self.shares.of(source, || Arc::new(Semaphore::new(half)));
        share.try_acquire_owned().map_err(|_| Unavailable::SourceBusy)
    }

    /// Keeps a refused body, made only when there is time for it: nothing is owed to it, so under load it is
    /// dropped, and counted.
    pub fn keep_refused(
        &self,
        source: &SourceName,
        metrics: &Arc<Metrics>,
        body: impl FnOnce() -> RefusedBody,
    ) {
        let mut keeping = Keeping {
            source: source.clone(),
            metrics: Arc::clone(metrics),
            turn: None,
            kept: false,
        };
        keeping.turn = Arc::clone(&self.refused).try_acquire_owned().ok();
        if keeping.turn.is_some() {
            // What comes back undelivered counts itself.
            drop(self.inbox.try_send(Ask::KeepRefused(body(), keeping)));
        }
    }

    /// The newest refused bodies first.
    pub async fn refused(
        &self,
        source: Option<SourceName>,
        limit: usize,
    ) -> Result<Vec<RefusedBody>, Unavailable> {
        self.ask(|reply| Ask::Refused { source, limit, reply }).await?
    }

    /// The alerts that match. Whoever asks too waits for this answer first.
    pub async fn alerts(&self, query: AlertQuery) -> Result<AlertList, Unavailable> {
        let _turn = self.lists.acquire().await;
        self.question(|reply| Question::Alerts { query, reply }).await
    }

    /// The alerts that match, with why what was and was not said of them.
    pub async fn explain(&self, query: AlertQuery) -> Result<Explained, Unavailable> {
        let _turn = self.lists.acquire().await;
        self.question(|reply| Question::Explain { query, reply }).await
    }

    /// The newest digests first.
    pub async fn digests(&self, query: DigestQuery) -> Result<Vec<Told>, Unavailable> {
        self.ask(|reply| Ask::Digests { query, reply }).await?
    }

    /// Lets changes of these receivers be told now; answers how many there are.
    pub async fn hasten(&self, receivers: Vec<ReceiverName>) -> Result<u64, Unavailable> {
        self.question(|reply| Question::Hasten { receivers, reply }).await
    }

    /// Takes a place for an answer in the name of an app; [`Handle::end_answer`] is next when there is one.
    pub async fn begin_answer(&self, app: AppName) -> Result<Result<(), NoAnswer>, Unavailable> {
        self.question(|reply| Question::BeginAnswer { app, reply }).await
    }

    /// Says what came of it.
    pub async fn end_answer(&self, app: AppName, answer: Answer) {
        // A driver that is gone counts nothing any more.
        let _gone = self
            .inbox
            .send(Ask::Question(Question::EndAnswer(app, answer)))
            .await;
    }

    /// How everything is.
    pub async fn health(&self) -> Result<Health, Unavailable> {
        self.question(|reply| Question::Health { reply }).await
    }

    async fn question<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, Unavailable> {
        self.ask(|reply| Ask::Question(question(reply))).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.inbox.try_send(ask(reply)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Unavailable::InboxFull,
            mpsc::error::TrySendError::Closed(_) => Unavailable::ShuttingDown,
        })?;
        answer.await.map_err(|_| Unavailable::ShuttingDown)
    }
}

/// A refused body on its way to the store: it is counted as dropped unless it gets there.
#[derive(Debug)]
pub struct Keeping {
    source: SourceName,
    metrics: Arc<Metrics>,
    /// One of [`REFUSED_WAITING_MAX`].
    turn: Option<OwnedSemaphorePermit>,
    kept: bool,
}

impl Keeping {
    /// It is in the store.
    pub(crate) fn kept(mut self) {
        self.kept = true;
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if !self.kept {
            self.metrics.refused_body_dropped(&self.source);
        }
    }
}

/// Lists of alerts that may be asked for at once. Each is a walk over all alerts that webhooks wait behind.
const LISTS_WAITING_MAX: usize = 1;
/// Refused bodies that may wait to be kept. Each is a commit of its own that alerts wait behind.
const REFUSED_WAITING_MAX: usize = 4;
/// Alerts that are handed over in one go: while they are judged, everybody else waits.
const PIECE_ALERTS_MAX: usize = 5_000;
/// Requests taken from the inbox in one go, before anything else is looked at; and no further ones once they had as
/// many alerts as a piece.
const REQUESTS_AT_ONCE_MAX: usize = 64;
const _: () = assert!(PIECE_ALERTS_MAX < steering::ROWS_WAITING_MAX);
const _: () = assert!(
    NOTICE_TIMEOUT.as_millis() < steering::DRAIN_MAX.0 as u128
        && TOTAL_TIMEOUT.as_millis() < steering::DRAIN_MAX.0 as u128,
    "whatever is on its way has time to end"
);
const _: () = assert!(
    2 * TOTAL_TIMEOUT.as_millis() <= limits::CALL_MAX.0 as u128,
    "a call that may still arrive has its place after a start"
);
/// How often old history is forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// Performs what the steering says. See the module's head.
#[derive(Debug)]
pub struct Driver {
    steering: Steering,
    prepared: Prepared,
    writer: Writer,
    /// The commit that is running.
    commit: Option<oneshot::Receiver<Committed>>,
    drafts: Drafts,
    client: Client,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Where requests are answered.
    replies: BTreeMap<RequestId, oneshot::Sender<Accepted>>,
    tasks: JoinSet<Ended>,
}

/// How a task ended.
#[derive(Debug)]
enum Ended {
    Rendered {
        digest: DigestId,
        rendered: Rendered,
    },
    Sent {
        answers: Vec<(Send, Answer)>,
        took: Duration,
    },
    Ran {
        no: u64,
        finding: Finding,
    },
}

/// Everything the loop waits for.
#[derive(Debug)]
enum Happened {
    Asked(Ask),
    InboxClosed,
    Committed(Box<Committed>),
    Ended(Ended),
    Plan(Prepared),
    Deadline,
    Prune,
    Stop,
}

impl Driver {
    /// Loads what the store has and takes it over. The store moves to a thread of its own.
    pub fn start(
        mut store: Box<dyn Store>,
        prepared: Prepared,
        client: Client,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let clock = Clock::start();
        let (restored, mut saved) = restore(store.as_mut(), &prepared.plan)?;
        client.recall(std::mem::take(&mut saved.people));
        Ok(Self {
            steering: Steering::resume(restored, saved, clock.now()),
            prepared,
            writer: Writer::spawn(store),
            commit: None,
            drafts: Drafts::new(),
            client,
            metrics,
            clock,
            replies: BTreeMap::new(),
            tasks: JoinSet::new(),
        })
    }

    /// Runs until `stop` and everything that follows from it is done.
    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Ask>,
        mut plans: watch::Receiver<Prepared>,
        stop: CancellationToken,
    ) {
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        let mut inbox_open = true;
        self.perform_all().await;
        while (inbox_open || !self.steering.is_drained()) && !self.steering.has_given_up() {
            let take_requests = inbox_open && self.steering.takes_requests();
            let draining = self.steering.is_draining();
            let deadline = self.steering.deadline().map(|tick| self.clock.instant_of(tick));
            let happened = tokio::select! {
                biased;
                committed = running(&mut self.commit) => Happened::Committed(Box::new(committed)),
                () = self.writer.gone() => writer::died(),
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(ended) => Happened::Ended(ended),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                Ok(()) = plans.changed(), if !draining => {
                    Happened::Plan(plans.borrow_and_update().clone())
                }
                () = stop.cancelled(), if !draining => Happened::Stop,
                () = sleep_until(deadline) => Happened::Deadline,
                ask = inbox.recv(), if take_requests => ask.map_or(Happened::InboxClosed, Happened::Asked),
                _ = prune.tick() => Happened::Prune,
            };
            match happened {
                Happened::Stop => {
                    // Nobody can ask any more; what is in the inbox is still answered.
                    inbox.close();
                    self.steering.drain(self.clock.now());
                }
                Happened::InboxClosed => inbox_open = false,
                Happened::Asked(ask) => self.asked(ask),
                Happened::Committed(committed) => self.committed(*committed),
                Happened::Ended(ended) => self.ended(ended),
                Happened::Plan(prepared) => {
                    let plan = Arc::clone(&prepared.plan);
                    self.prepared = prepared;
                    self.steering.replan(plan, self.clock.now());
                }
                Happened::Deadline => self.wake(),
                Happened::Prune => {
                    self.keep_people();
                    let history = self.prepared.plan.store.history;
                    let now = self.clock.now().time;
                    self.writer
                        .prune(Timestamp(now.0.saturating_sub_unsigned(history.0)));
                }
            }
            self.take_waiting(&mut inbox);
            self.perform_all().await;
        }
        for reply in std::mem::take(&mut self.replies).into_values() {
            answer(reply, Err(Unavailable::ShuttingDown));
        }
        self.keep_people();
        self.writer.close().await;
    }

    fn wake(&mut self) {
        if let Some((_, reason)) = self.steering.engine().deadline() {
            tracing::trace!(reason = reason.as_str(), "deadline");
        }
        self.steering.wake(self.clock.now());
    }

    /// Takes in what waits in the inbox, a bounded number of requests at once, so that they share the next commit.
    fn take_waiting(&mut self, inbox: &mut mpsc::Receiver<Ask>) {
        let mut alerts = 0;
        for _ in 0..REQUESTS_AT_ONCE_MAX {
            if alerts >= PIECE_ALERTS_MAX || !self.steering.takes_requests() {
                break;
            }
            let Ok(ask) = inbox.try_recv() else { break };
            alerts += ask.alerts();
            self.asked(ask);
        }
    }

    /// Does what the steering wants done.
    async fn perform_all(&mut self) {
        while let Some(action) = self.steering.poll() {
            self.perform(action).await;
        }
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Commit(changes) => self.commit = Some(self.writer.commit(changes)),
            Action::Load => {
                let loaded = self.writer.load().await;
                self.steering.loaded(loaded, self.clock.now());
            }
            Action::Render(draft) => {
                self.drafts.add(*draft);
                self.render();
            }
            Action::Send(sends) => self.send(sends),
            Action::Run { no, errand } => self.run_errand(no, errand),
            Action::Answer { request, accepted } => {
                if let Some(reply) = self.replies.remove(&request) {
                    answer(reply, accepted);
                }
            }
            Action::Report(report) => tell(&self.metrics, report),
        }
    }

    /// Renders as many drafts as may be rendered at once, urgent ones first.
    fn render(&mut self) {
        while let Some(draft) = self.drafts.next() {
            let renderer = Arc::clone(&self.prepared.renderer);
            self.tasks.spawn_blocking(move || Ended::Rendered {
                digest: draft.id,
                rendered: renderer.render(&draft),
            });
        }
    }

    fn send(&mut self, sends: Vec<Send>) {
        let plan = Arc::clone(&self.prepared.plan);
        let client = self.client.clone();
        let now = self.clock.now().time;
        self.tasks.spawn(async move {
            let begun = Instant::now();
            let answers = attempt(&client, &plan, &sends, now).await;
            Ended::Sent {
                answers: sends.into_iter().zip(answers).collect(),
                took: begun.elapsed(),
            }
        });
    }

    fn run_errand(&mut self, no: u64, errand: Errand) {
        let plan = Arc::clone(&self.prepared.plan);
        let client = self.client.clone();
        let metrics = Arc::clone(&self.metrics);
        self.tasks.spawn(async move {
            let finding = client.run(&plan, &errand).await;
            metrics.errand(errand.task.as_str(), &finding);
            Ended::Ran { no, finding }
        });
    }

    fn ended(&mut self, ended: Ended) {
        let now = self.clock.now();
        match ended {
            Ended::Rendered { digest, rendered } => {
                self.drafts.rendered();
                self.render();
                self.steering.rendered(digest, rendered, now);
            }
            Ended::Sent { answers, took } => {
                for (send, answer) in &answers {
                    self.metrics.message(send.endpoint.as_ref(), answer.outcome, took);
                }
                self.keep_people();
                let answers = answers.into_iter().map(|(send, answer)| (send.message, answer));
                self.steering.sent(answers.collect(), now);
            }
            Ended::Ran { no, finding } => self.steering.ran(no, finding, now),
        }
    }

    /// Keeps what the client has learnt of people.
    fn keep_people(&self) {
        let people = self.client.take_news();
        if !people.is_empty() {
            self.writer.keep(Changes {
                people,
                ..Changes::default()
            });
        }
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Accept {
                source,
                alerts,
                turn,
                reply,
            } => {
                drop(turn);
                let request = self.steering.accept(source, alerts, self.clock.now());
                self.replies.insert(request, reply);
            }
            Ask::Question(question) => question.put(&mut self.steering, self.clock.now()),
            Ask::Digests { query, reply } => self.writer.digests(query, reply),
            Ask::KeepRefused(body, keeping) => self.writer.keep_refused(body, keeping),
            Ask::Refused { source, limit, reply } => self.writer.refused(source, limit, reply),
        }
    }

    fn committed(&mut self, committed: Committed) {
        let Committed {
            changes,
            rows,
            result,
        } = committed;
        self.commit = None;
        match result {
            Ok(took) => {
                self.metrics.committed(rows, took);
                self.steering.committed();
            }
            Err(error) => {
                self.metrics.commit_failed();
                self.steering.commit_failed(error, changes, self.clock.now());
            }
        }
    }
}

fn answer(reply: oneshot::Sender<Accepted>, accepted: Accepted) {
    // A sender that hung up will post again; what it posted is kept all the same.
    let _gone = reply.send(accepted);
}

/// Waits for the running commit; for ever when there is none.
async fn running(commit: &mut Option<oneshot::Receiver<Committed>>) -> Committed {
    match commit {
        Some(commit) => commit.await.unwrap_or_else(|_| writer::died()),
        None => std::future::pending().await,
    }
}

/// Sleeps until `at`; for ever when there is no such time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Sends one message, or several equal ones to people by one call, and says what came of each.
pub async fn attempt(client: &Client, plan: &Plan, sends: &[Send], now: Timestamp) -> Vec<Answer> {
    let endpoint = |send: &Send| plan.endpoints.get(send.endpoint.as_ref()?);
    let together: Vec<&Endpoint> = sends.iter().filter_map(endpoint).collect();
    if let ([first, _, ..], true) = (sends, together.len() == sends.len()) {
        return client.send_together(&together, &first.body).await;
    }
    let mut answers = Vec::new();
    for send in sends {
        answers.push(match (&send.endpoint, endpoint(send)) {
            (None, _) => print(Arc::clone(&send.body)).await,
            (Some(_), Some(endpoint)) => {
                let body = Arc::clone(&send.body);
                client.send(&plan.dingtalk, endpoint, body, now).await
            }
            (Some(name), None) => Answer::no_such_endpoint(name),
        });
    }
    answers
}

/// Prints a digest: the console's way of sending.
async fn print(body: Arc<[u8]>) -> Answer {
    use std::io::Write as _;
    let printed = tokio::task::spawn_blocking(move || {
        let mut out = std::io::stdout().lock();
        out.write_all(&body)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
    })
    .await;
    let (outcome, detail) = match printed {
        Ok(Ok(())) => (Outcome::Delivered, String::new()),
        Ok(Err(error)) => (Outcome::Retry, format!("cannot print: {error}")),
        Err(error) => (Outcome::Retry, format!("cannot print: {error}")),
    };
    Answer::new(outcome, detail)
}

/// Tells log and metrics.
fn tell(metrics: &Metrics, report: Report) {
    match report {
        Report::Event(event) => tell_event(metrics, event),
        Report::StoreFailed(error) => {
            tracing::error!(%error, "the store takes no writes; webhooks are refused until it does");
        }
        Report::StoreUnreadable(error) => {
            tracing::error!(%error, "the store cannot be read either; going on from memory");
        }
        Report::StoreStillFails(error) => tracing::debug!(%error, "the store still takes no writes"),
        Report::StoreIsBack => tracing::info!("the store takes writes again"),
        Report::DrainedTooLong(messages) => tracing::warn!(
            messages,
            "shutting down with messages on their way; they are sent again at the next start"
        ),
    }
}

fn tell_event(metrics: &Metrics, event: Event) {
    match event {
        Event::Composed {
            digest,
            receiver,
            changes,
            detail,
            messages,
            template_error,
        } => {
            metrics.digest(&receiver, detail);
            tracing::info!(%digest, %receiver, changes, detail = detail.as_str(), messages, "digest composed");
            if let Some(error) = template_error {
                metrics.template_failed(&receiver);
                tracing::error!(%digest, %receiver, error, "template failed; the built-in one was used");
            }
        }
        Event::Answered {
            message,
            receiver,
            endpoint,
            answer,
        } => {
            if let Some(endpoint) = endpoint.as_ref().filter(|_| answer.reached_nobody) {
                metrics.reached_nobody(endpoint);
            }
            let endpoint = endpoint.as_ref().map_or("console", |endpoint| endpoint.as_str());
            tell_answer(message, &receiver, endpoint, answer);
        }
        Event::Told {
            receiver,
            urgent,
            waited,
        } => metrics.told(&receiver, urgent, waited),
        Event::Read {
            message,
            receiver,
            age,
        } => {
            metrics.read(&receiver, age);
            let (digest, part) = (message.digest, message.part);
            tracing::info!(%digest, part, %receiver, seconds = age.0 / 1000, "message read");
        }
        Event::LetGo {
            message,
            receiver,
            fate,
            detail,
        } => tell_fate(metrics, message, &receiver, fate, &detail),
        Event::Paused {
            endpoint,
            reason,
            span,
            detail,
        } => {
            let seconds = span.map(|span| span.0 / 1000);
            tracing::warn!(%endpoint, reason, seconds, detail, "endpoint paused");
        }
        Event::QuotaNear { quota, used, allowed } => {
            let quota = quota.as_str();
            tracing::warn!(
                quota,
                used,
                allowed,
                "most of the month's quota is used; what is not urgent is stretched"
            );
        }
    }
}

fn tell_answer(message: MessageId, receiver: &ReceiverName, endpoint: &str, answer: Answer) {
    let (digest, part) = (message.digest, message.part);
    let (outcome, errcode, detail) = (answer.outcome, answer.errcode, answer.detail);
    if outcome == Outcome::Delivered && matches!(detail.as_str(), "" | "ok") {
        tracing::info!(%digest, part, %receiver, endpoint, "message delivered");
    } else if outcome == Outcome::Delivered {
        tracing::warn!(%digest, part, %receiver, endpoint, detail, "message delivered, but not to all");
    } else {
        let outcome = outcome.as_str();
        tracing::warn!(%digest, part, %receiver, endpoint, outcome, errcode, detail, "message not delivered");
    }
}

fn tell_fate(metrics: &Metrics, message: MessageId, receiver: &ReceiverName, fate: Fate, detail: &str) {
    metrics.let_go(receiver, fate);
    let (digest, part, why) = (message.digest, message.part, fate.as_str());
    if fate == Fate::Recalled {
        tracing::info!(%digest, part, %receiver, "message taken back");
    } else {
        tracing::warn!(%digest, part, %receiver, why, detail, "message stays, and is not asked about any more");
    }
}

#[cfg(test)]
mod tests;
