//! The conversation that asks: somebody writes to an app's bot, and is answered.
//!
//! [`Answerer::check`] and [`Answerer::take`] decide at once whether a message is DingTalk's and new; whether who asks
//! may, and what the answer is, comes afterwards, in a task of its own. The answer goes to the message's session, and
//! through the app when there is none or it has ended. Nothing here changes what anybody is told, but for `digest now`,
//! which lets a receiver's changes go before their time.
//!
//! It does not know HTTP and asks the engine through the driver alone; words come from the templates.

mod command;
mod reply;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::alert::Timestamp;
use crate::ask::command::Command;
use crate::ask::reply::Reply;
use crate::dingtalk::callback::{self, Forged, Heard, Hearing, Message};
use crate::dingtalk::client::TOTAL_TIMEOUT;
use crate::dingtalk::message::{At, Content};
use crate::dingtalk::{Client, GROUP_PARAM_BYTES_MAX, message};
use crate::driver::{Handle, Unavailable};
use crate::engine::answering::NoAnswer;
use crate::engine::outcome::Refused;
use crate::engine::{Answer, Outcome};
use crate::plan::{App, Endpoint, Group, Person, Plan, Way};
use crate::render::{Prepared, Renderer};
use crate::telemetry::Metrics;

/// Answers that may be made at one time; one more message is turned away, to be asked again.
const ANSWERS_MAX: u32 = 8;

/// How often a place in the budget of an app is asked for while it is busy, and the pause between: as long as who asks
/// does not look elsewhere.
const PLACE_TRIES_MAX: u32 = 12;
const PLACE_PAUSE: Duration = Duration::from_millis(250);

/// Answers questions. Cheap to share.
#[derive(Debug)]
pub struct Answerer {
    prepared: watch::Receiver<Prepared>,
    driver: Handle,
    client: Client,
    metrics: Arc<Metrics>,
    heard: Mutex<Heard>,
    /// Heads from before this are not believed: nobody remembers them. By a clock that was ahead at the start it lies
    /// ahead, too, until the clock is right.
    hears_since: AtomicI64,
    places: Arc<Semaphore>,
}

/// The head of a request, which is DingTalk's.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a>(callback::Head<'a>);

/// Why a message is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is not DingTalk's.
    #[error(transparent)]
    Forged(#[from] Forged),
    /// Its head came with another message before.
    #[error("`timestamp` and `sign` are those of another message")]
    Replayed,
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// Too much is asked at one time.
    #[error("other questions are being answered; ask again in a moment")]
    Busy,
}

impl Answerer {
    /// Answers from what the driver knows, in the words of the newest configuration.
    pub fn new(
        prepared: watch::Receiver<Prepared>,
        driver: Handle,
        client: Client,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let hears_since = AtomicI64::new(client.outside().now().0);
        Arc::new(Self {
            prepared,
            driver,
            client,
            metrics,
            heard: Mutex::default(),
            hears_since,
            places: Arc::new(Semaphore::new(ANSWERS_MAX as usize)),
        })
    }

    /// Whether the head of a request is DingTalk's, before its body is read.
    pub fn check<'a>(
        &self,
        app: &App,
        timestamp: Option<&str>,
        signature: Option<&'a str>,
    ) -> Result<Signed<'a>, NotTaken> {
        let now = self.now();
        let since = Timestamp(self.hears_since.fetch_min(now.0, Ordering::Relaxed).min(now.0));
        let checked = callback::verify(&app.secret, timestamp, signature, since, now);
        if checked.is_err() {
            self.metrics.question(&app.name, "forged");
        }
        Ok(Signed(checked?))
    }

    /// Takes a message to the bot of `app`. What comes back answers it, and is the caller's to run; nothing comes back
    /// for a message that was taken before.
    pub fn take(
        self: &Arc<Self>,
        app: &Arc<App>,
        signed: Signed<'_>,
        body: &[u8],
    ) -> Result<Option<BoxFuture<'static, ()>>, NotTaken> {
        let taken = self.judge(app, signed, body, self.now());
        let outcome = match &taken {
            Ok(Some(_)) => "taken",
            Ok(None) => "repeated",
            Err(NotTaken::Forged(_) | NotTaken::Replayed) => "forged",
            Err(NotTaken::Unreadable(_)) => "unreadable",
            Err(NotTaken::Busy) => "busy",
        };
        self.metrics.question(&app.name, outcome);
        let Some((message, place)) = taken? else {
            return Ok(None);
        };
        let (answerer, app) = (Arc::clone(self), Arc::clone(app));
        Ok(Some(Box::pin(async move {
            answerer.answer(&app, &message).await;
            drop(place);
        })))
    }

    fn now(&self) -> Timestamp {
        self.client.outside().now()
    }

    /// Waits for the answers under way when no more messages are taken: as long as one call may take.
    pub async fn finish(&self) {
        let all = self.places.acquire_many(ANSWERS_MAX);
        tokio::select! {
            biased;
            _all = all => {}
            () = self.client.outside().pause(TOTAL_TIMEOUT) => {
                tracing::warn!("questions are left without an answer");
            }
        }
    }

    /// A message that is new, with its place among those that are answered.
    fn judge(
        &self,
        app: &App,
        signed: Signed<'_>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<(Message, OwnedSemaphorePermit)>, NotTaken> {
        let base_url = self.prepared.borrow().plan.dingtalk.base_url.clone();
        let message = Message::read(body, &base_url).map_err(NotTaken::Unreadable)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| NotTaken::Busy)?;
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.hear(&app.key, &message.id, signed.0, now) {
            Hearing::New => Ok(Some((message, place))),
            Hearing::Again => Ok(None),
            Hearing::Replayed => Err(NotTaken::Replayed),
            Hearing::Forgotten => Err(Forged::Forgotten.into()),
        }
    }

    async fn answer(&self, app: &Arc<App>, message: &Message) {
        let Prepared { plan, renderer } = self.prepared.borrow().clone();
        let sent = if may_ask(app, message) {
            let reply = match Command::parse(&message.text) {
                Ok(command) => {
                    let facts = reply::Facts {
                        plan: &plan,
                        driver: &self.driver,
                        client: &self.client,
                    };
                    facts.reply(command, app, message).await
                }
                Err(why) => Reply::not_understood(why, &plan, self.now()),
            };
            self.send(app, message, &plan, &words(&renderer, reply)).await
        } else {
            // In the name of the app it would count against a quota, and anybody could use that up.
            let text = words(&renderer, Reply::not_allowed(message, &plan, self.now()));
            let answer = self.send_to_session(message, &text).await;
            answer.map_or_else(
                || Sent {
                    outcome: Outcome::Refused(Refused::Person).as_str(),
                    detail: "who may not ask is answered in the session only, and there is none".to_owned(),
                },
                Sent::from,
            )
        };
        let Sent { outcome, detail } = sent;
        self.metrics.question(&app.name, outcome);
        if outcome != Outcome::Delivered.as_str() {
            let app = app.name.as_str();
            tracing::warn!(app, outcome, detail, "a question could not be answered");
        }
    }

    /// To the session, or else to the chat it came from in the name of the app.
    async fn send(&self, app: &Arc<App>, asked: &Message, plan: &Plan, text: &str) -> Sent {
        let in_session = self.send_to_session(asked, text).await;
        // Whatever may have arrived is not said twice.
        let arrived = |answer: &Answer| answer.outcome.may_have_arrived();
        if let Some(answer) = in_session.filter(arrived) {
            return answer.into();
        }
        let way = match &asked.person {
            _ if asked.in_group => Way::Group(Group {
                app: Arc::clone(app),
                conversation: asked.conversation.clone(),
            }),
            Some(person) => Way::Direct(Person {
                app: Arc::clone(app),
                user: person.clone(),
            }),
            None => return Answer::no_such_endpoint(&"a stranger's chat".into()).into(),
        };
        let (body, _) = match &way {
            Way::Group(group) => message::group(&content(text), &app.robot_code, &group.conversation),
            Way::Direct(_) | Way::Bot(_) | Way::WorkNotice(_) => {
                message::direct(&content(text), &app.robot_code)
            }
        };
        let endpoint = Endpoint {
            name: App::answers_name(&app.name),
            way,
        };
        let counted = match self.place(app).await {
            Ok(()) => true,
            // At a stop nobody counts any more, and what was asked before is answered.
            Err(Denied::Unavailable) => false,
            Err(Denied::OverBudget(why)) => {
                return Sent {
                    outcome: "over_budget",
                    detail: why.to_string(),
                };
            }
        };
        let answer = self
            .client
            .send(&plan.dingtalk, &endpoint, body.into(), self.now())
            .await;
        if counted {
            self.driver.end_answer(app.name.clone(), answer.clone()).await;
        }
        answer.into()
    }

    /// A place for a call in the name of an app: at once, or within a few moments.
    async fn place(&self, app: &App) -> Result<(), Denied> {
        let mut tries = 1..PLACE_TRIES_MAX;
        loop {
            let why = match self.driver.begin_answer(app.name.clone()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => why,
                Err(Unavailable::ShuttingDown) => return Err(Denied::Unavailable),
                Err(Unavailable::InboxFull | Unavailable::SourceBusy | Unavailable::StoreFailed) => {
                    NoAnswer::Busy
                }
            };
            if why != NoAnswer::Busy || tries.next().is_none() {
                return Err(Denied::OverBudget(why));
            }
            self.client.outside().pause(PLACE_PAUSE).await;
        }
    }

    /// To the session, if there is one that has not ended.
    async fn send_to_session(&self, asked: &Message, text: &str) -> Option<Answer> {
        let session = asked.session.as_ref();
        let session = session.filter(|session| self.now() < session.expires_at)?;
        let body = message::webhook(&content(text), &At::default(), &asked.id);
        Some(self.client.reply(&session.url, body.into()).await)
    }
}

/// What became of an answer.
struct Sent {
    /// The stable name in metrics and log.
    outcome: &'static str,
    detail: String,
}

impl From<Answer> for Sent {
    fn from(answer: Answer) -> Self {
        Self {
            outcome: answer.outcome.as_str(),
            detail: answer.detail,
        }
    }
}

/// Why there is no place for a call.
enum Denied {
    OverBudget(NoAnswer),
    Unavailable,
}

/// The words of a reply, which names fewer alerts if it would not fit one message otherwise, whichever way it goes.
fn words(renderer: &Renderer, mut reply: Reply) -> String {
    loop {
        let text = renderer.answer(&reply);
        // What fits the message of an app fits that of a session.
        let (_, bytes) = message::direct(&content(&text), "");
        if bytes <= GROUP_PARAM_BYTES_MAX || !reply.name_fewer() {
            return text;
        }
    }
}

const fn content(text: &str) -> Content<'_> {
    Content::Markdown {
        title: "dingest",
        text,
    }
}

/// Whether the configuration lets somebody ask: everybody in a group that is listed, and whoever is listed anywhere.
fn may_ask(app: &App, message: &Message) -> bool {
    let Some(ask) = &app.ask else { return false };
    let in_group = message.in_group && ask.groups.contains(&message.conversation);
    in_group || (message.person.as_ref()).is_some_and(|person| ask.people.contains(person))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::mpsc;

    use super::*;
    use crate::dingtalk::client::{ClientError, Outside, Request, Response};
    use crate::dingtalk::sign;

    /// A clock that is set, and no network.
    #[derive(Debug)]
    struct Elsewhere(AtomicI64);

    impl Outside for Elsewhere {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }

        fn pause(&self, _span: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }

        fn check<'a>(&'a self, _url: &'a str) -> BoxFuture<'a, Result<(), ClientError>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn exchange<'a>(&'a self, _request: Request<'a>) -> BoxFuture<'a, Result<Response, Answer>> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn a_clock_that_was_hours_ahead_at_the_start_keeps_nobody_from_asking_once_it_is_right() {
        const RIGHT: i64 = 1_790_000_000_000;
        let outside = Arc::new(Elsewhere(AtomicI64::new(RIGHT + 8 * 3_600_000)));
        let client = Client::over(Arc::clone(&outside) as Arc<dyn Outside>);
        let plan = Arc::new(Plan::builtin(Path::new("")));
        let renderer = Arc::new(Renderer::new(&plan).unwrap());
        let (_plans, prepared) = watch::channel(Prepared { plan, renderer });
        let (inbox, _asks) = mpsc::channel(1);
        let answerer = Answerer::new(prepared, Handle::new(inbox), client, Arc::new(Metrics::new()));
        let app = App::of_tests("key", "s3cret", "http://127.0.0.1:1");
        let check = |made_at: i64| {
            let signature = sign::sign(&app.secret, Timestamp(made_at));
            let checked = answerer.check(&app, Some(&made_at.to_string()), Some(&signature));
            checked.map(drop)
        };
        assert_eq!(check(RIGHT), Err(Forged::Stale.into()));
        outside.0.store(RIGHT, Ordering::Relaxed);
        assert_eq!(
            check(RIGHT - 1),
            Err(Forged::Forgotten.into()),
            "nobody knows whether that was taken before the start"
        );
        outside.0.store(RIGHT + 2000, Ordering::Relaxed);
        assert_eq!(check(RIGHT + 1000), Ok(()));
        assert_eq!(check(RIGHT - 1), Err(Forged::Forgotten.into()));
    }
}
