//! A configuration in virtual time: which messages each chat would get, and when.
//!
//! Plan, steering, engine and renderer are those of the daemon. What is around them is at its best: a commit is done
//! as soon as it is asked for, DingTalk takes every message at once, and nothing has gone wrong before. Nothing is
//! ever read back, so what is committed is kept nowhere. The daemon has been running for a while when a rehearsal
//! begins, so that alerts expire when they would.
//!
//! **Invariant:** equal posts at equal times give equal messages, byte for byte. No clock is read, nothing is sent.

pub mod cases;
pub mod replay;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::alert::{DigestId, Now, ReceiverName, SourceName, Span, Tick, Timestamp};
use crate::digest::compose::{Outline, Settings, View};
use crate::digest::{Detail, Digest, Draft, Rendered};
use crate::driver::steering::{Action, Steering};
use crate::engine::limits::RESTART_GRACE;
use crate::engine::view::{AlertQuery, Explained};
use crate::engine::{Answer, Outcome, Send};
use crate::plan::matcher::Matcher;
use crate::plan::{Plan, Source, SourceKind};
use crate::render::Prepared;
use crate::source::{self, Problem, Refusal};
use crate::store::Saved;

/// How far the clock runs until a few alerts have been told: the longest `group_wait` or mute interval anybody would
/// set.
pub const LOOK_AHEAD: Span = Span::days(7);

/// What a sender posts.
#[derive(Clone, Copy, Debug)]
pub struct Post<'a> {
    /// The source it is posted to.
    pub source: &'a str,
    /// In which form the body is.
    pub form: Form,
    /// Its content type, where it matters.
    pub content_type: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// That of the source it is posted to.
    OfSource,
    /// Alertmanager's, whatever the type of the source: for alerts that no sender has written.
    Alertmanager,
}

/// What was taken of a post.
#[derive(Clone, Debug)]
pub struct Taken {
    /// How many alerts.
    pub alerts: usize,
    /// What was wrong with others.
    pub problems: Vec<Problem>,
}

/// Why nothing of a post was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// The configuration has no such source.
    #[error("there is no source `{named}`; there are `{known}`")]
    NoSuchSource {
        /// What was named.
        named: String,
        /// The names there are.
        known: String,
    },
    /// Nothing in the body can be used.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A digest that was composed and rendered, perhaps for several people.
#[derive(Debug)]
pub struct Composed {
    /// What it tells.
    pub draft: Draft,
    /// As which messages.
    pub rendered: Rendered,
}

impl Composed {
    /// What a template would see if it had room for the whole of it.
    pub fn digest(&self, plan: &Plan) -> Digest {
        let settings = Settings {
            timezone: plan.timezone.clone(),
            external_url: plan.server.external_url.clone(),
        };
        let entries = self.draft.entries.len();
        let view = View {
            range: 0..entries,
            listed: entries,
            ..View::whole(Detail::Full, entries)
        };
        Outline::new(&self.draft).digest(&view, &settings)
    }
}

/// A message that somebody would have got.
#[derive(Clone, Debug)]
pub struct Message {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub receiver: ReceiverName,
    /// The digest it is a part of.
    pub composed: Arc<Composed>,
    /// Which part, counted from 0.
    part: usize,
}

impl Message {
    /// As it was rendered.
    pub fn rendered(&self) -> &crate::digest::Message {
        &self.composed.rendered.messages[self.part]
    }

    /// Title.
    pub fn title(&self) -> &str {
        &self.rendered().title
    }

    /// Text.
    pub fn text(&self) -> &str {
        &self.rendered().text
    }

    /// By which routes its alerts came to the receiver, each as its sources and matchers; the root has neither.
    pub fn routes(&self, plan: &Plan) -> Vec<String> {
        let mut routes: Vec<String> = Vec::new();
        for entry in &self.composed.draft.entries {
            let taken = plan.routes.matching(&entry.source, &entry.labels).into_iter();
            let taken = taken.map(|id| plan.routes.get(id));
            let here = taken
                .filter(|route| self.receiver.is_of(route.receiver.as_str()))
                .map(|route| written_route(&route.sources, &route.matchers));
            // Of two routes to one receiver the first counts.
            routes.extend(here.take(1));
        }
        routes.sort();
        routes.dedup();
        routes
    }
}

/// A route as its sources, in whichever order they are configured, and its matchers.
fn written_route(sources: &[SourceName], matchers: &[Matcher]) -> String {
    let sources: BTreeSet<&str> = sources.iter().map(SourceName::as_str).collect();
    let sources = sources.into_iter().collect::<Vec<_>>().join(", ");
    let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    let matchers = matchers.join(", ");
    match (sources.is_empty(), matchers.is_empty()) {
        (true, _) => format!("{{{matchers}}}"),
        (false, true) => format!("{{sources: {sources}}}"),
        (false, false) => format!("{{sources: {sources}; {matchers}}}"),
    }
}

/// A daemon that is played. See the module's head.
#[derive(Debug)]
pub struct Rehearsal {
    prepared: Prepared,
    steering: Steering,
    begun: Now,
    now: Now,
    composed: BTreeMap<DigestId, (ReceiverName, Arc<Composed>)>,
    messages: Vec<Message>,
}

impl Rehearsal {
    /// Nothing is known; the clock shows `time`.
    pub fn new(prepared: Prepared, time: Timestamp) -> Self {
        let begun = Now {
            tick: Tick(0),
            time: Timestamp(time.0.saturating_sub_unsigned(RESTART_GRACE.0)),
        };
        let plan = Arc::clone(&prepared.plan);
        let mut rehearsal = Self {
            steering: Steering::new(plan, Saved::default(), begun),
            prepared,
            begun,
            now: begun,
            composed: BTreeMap::new(),
            messages: Vec::new(),
        };
        rehearsal.settle();
        rehearsal.advance(time);
        rehearsal
    }

    /// Lets time pass until the clock shows `time`.
    pub fn advance(&mut self, time: Timestamp) {
        let until = self.begun.tick_of(time);
        while self.wake_before(until) {}
        self.set_clock(until);
    }

    /// Lets time pass until everything has been told, or for so long, and says how many changes still wait then.
    pub fn rest(&mut self, most: Span) -> u64 {
        let until = self.now.tick.plus(most);
        while self.waiting() > 0 && self.wake_before(until) {}
        self.waiting()
    }

    fn waiting(&self) -> u64 {
        self.steering.engine().counts().changes
    }

    /// Somebody posts.
    pub fn post(&mut self, post: Post<'_>) -> Result<Taken, Untaken> {
        let plan = Arc::clone(&self.prepared.plan);
        let source = plan.sources.get(post.source).ok_or_else(|| {
            let known: Vec<&str> = plan.sources.keys().map(SourceName::as_str).collect();
            Untaken::NoSuchSource {
                named: post.source.to_owned(),
                known: known.join("`, `"),
            }
        })?;
        let as_alertmanager = || Source {
            kind: SourceKind::Alertmanager,
            ..source.clone()
        };
        let source = match post.form {
            Form::OfSource => source,
            Form::Alertmanager => &as_alertmanager(),
        };
        let decoded = source::decode(source, post.content_type, post.body, self.now.time)?;
        let taken = Taken {
            alerts: decoded.alerts.len(),
            problems: decoded.problems,
        };
        self.steering
            .accept(source.name.clone(), decoded.alerts, self.now);
        self.settle();
        Ok(taken)
    }

    /// Why what was and was not said of the alerts so far, of so many at most.
    pub fn explain(&self, limit: usize) -> Explained {
        let query = AlertQuery {
            limit,
            ..AlertQuery::default()
        };
        self.steering.engine().explain(&query)
    }

    /// The messages so far, in the order in which they were sent.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The same, when it is over.
    pub fn into_messages(self) -> Vec<Message> {
        self.messages
    }

    fn set_clock(&mut self, tick: Tick) {
        let tick = tick.max(self.now.tick);
        self.now = Now {
            tick,
            time: self.begun.time_at(tick),
        };
    }

    /// Lets happen what only time brings about next, if that is not after `until`.
    fn wake_before(&mut self, until: Tick) -> bool {
        let Some(deadline) = self.steering.deadline().filter(|at| *at <= until) else {
            return false;
        };
        self.set_clock(deadline);
        self.steering.wake(self.now);
        self.settle();
        true
    }

    /// Does what the steering wants done.
    fn settle(&mut self) {
        while let Some(action) = self.steering.poll() {
            match action {
                Action::Commit(_) => self.steering.committed(),
                Action::Render(draft) => self.render(*draft),
                Action::Send(sends) => self.send(&sends),
                // No commit fails, so nothing is read back; no message has a receipt, so none is taken back or asked
                // about; and nobody waits for an answer.
                Action::Load | Action::Run { .. } | Action::Answer { .. } | Action::Report(_) => {}
            }
        }
    }

    fn render(&mut self, draft: Draft) {
        let rendered = self.prepared.renderer.render(&draft);
        let digest = draft.id;
        let readers = std::iter::once((digest, draft.receiver.clone()));
        let readers: Vec<_> = readers.chain(draft.others.iter().cloned()).collect();
        let composed = Arc::new(Composed {
            draft,
            rendered: rendered.clone(),
        });
        for (digest, receiver) in readers {
            self.composed.insert(digest, (receiver, Arc::clone(&composed)));
        }
        self.steering.rendered(digest, rendered, self.now);
    }

    fn send(&mut self, sends: &[Send]) {
        let mut answers = Vec::new();
        for send in sends {
            let part = usize::from(send.message.part).saturating_sub(1);
            if let Some((receiver, composed)) = self.composed.get(&send.message.digest) {
                self.messages.push(Message {
                    at: self.now.time,
                    receiver: receiver.clone(),
                    composed: Arc::clone(composed),
                    part,
                });
                if part + 1 == composed.rendered.messages.len() {
                    self.composed.remove(&send.message.digest);
                }
            }
            answers.push((send.message, Answer::new(Outcome::Delivered, "")));
        }
        self.steering.sent(answers, self.now);
    }
}

#[cfg(test)]
mod tests;
