//! People who write to the bots of apps, and somebody who only says that it is DingTalk: what they write reaches the
//! product's own answerer, which asks the engine and answers through the client.

use std::sync::Arc;

use dingest::alert::{Now, Tick, Timestamp};
use dingest::ask::NotTaken;
use dingest::dingtalk::client::TOTAL_TIMEOUT;
use dingest::dingtalk::sign;
use dingest::dingtalk::simulator::questions::{Posting, Saying};
use dingest::driver::Ask;
use dingest::driver::question::Question;
use dingest::secret::Secret;
use futures_util::future::BoxFuture;

use super::dingtalk::{About, Done, Task, millis};
use super::{Event, Process, World};
use crate::asking::AT_ONCE;
use crate::invariant::{Invariant, Violation, violation};
use crate::noise::noise;
use crate::plan::secret_of;
use crate::questions::Questioner;
use crate::script::{Forged, Network, Session};

/// Where sessions are, as DingTalk says.
const SESSIONS: &str = "https://oapi.dingtalk.com";
/// Where they are not, though it looks like it.
const ELSEWHERE: [&str; 6] = [
    "https://oapi.dingtalk.com.example.net",
    "https://example.net/oapi.dingtalk.com",
    "https://oapi.dingtalk.com@example.net",
    "http://oapi.dingtalk.com",
    "https://oapi.dingtalk.com:8443",
    "https://me@oapi.dingtalk.com",
];
/// Requests for one message as long as none is answered, and before the next of them.
const ATTEMPTS_MAX: u32 = 3;
const PAUSE: u64 = 1000;
/// How long the head of a request is good, in milliseconds.
const SIGNED_FOR: i64 = 3_600_000;
/// Of a hundred answers to a request, so many are lost: DingTalk makes it again.
const LOST_PERCENT: u64 = 10;

/// A message to an app's bot, on its way to the process.
#[derive(Clone)]
pub(super) struct Asking {
    /// The question, in the judge's ledger.
    question: usize,
    app: String,
    posting: Posting,
    attempt: u32,
    /// How often it is posted besides.
    more: u64,
}

/// The head of a request.
#[derive(Clone)]
pub(super) struct Head {
    timestamp: String,
    sign: String,
}

impl Head {
    /// Made with a secret for a moment.
    fn made(secret: &Secret, at: Timestamp) -> Self {
        Self {
            timestamp: at.0.to_string(),
            sign: sign::sign(secret, at),
        }
    }
}

impl World<'_> {
    /// Somebody writes to an app's bot.
    pub(super) fn ask(&mut self, who: &Questioner, times: u64) {
        let (session_ms, sessions) = match who.session {
            Session::Lasts(span) => (Some(span), SESSIONS),
            Session::Elsewhere => (None, ELSEWHERE[self.judge.questions_posed() % ELSEWHERE.len()]),
        };
        let saying = Saying {
            app: Some(who.app.clone()),
            session_ms,
            ..Saying::new(&who.person, who.receiver.as_deref(), &who.text)
        };
        let time = self.true_time();
        // Whoever is not there cannot write.
        let Ok(posting) = self.dingtalk.say(&saying, sessions, time) else {
            return;
        };
        self.dingtalk.clear();
        self.say(&format!("{who:?} asks"));
        let question = self.judge.question_posed(who, time);
        let asking = Asking {
            question,
            app: who.app.clone(),
            posting,
            attempt: 1,
            more: times.saturating_sub(1),
        };
        let there = 1 + self.noise_of(&asking, 3) % 150;
        self.after(there, Event::Asks(Box::new(asking)));
    }

    fn noise_of(&self, asking: &Asking, of: u64) -> u64 {
        let (question, attempt) = (asking.question as u64, u64::from(asking.attempt));
        noise(&[self.script.noise, question, attempt, asking.more, of])
    }

    /// A request of DingTalk's is there, if anybody hears it.
    pub(super) fn callback_arrives(&mut self, mut asking: Asking) -> Result<(), Violation> {
        let at = self.true_time();
        let at = self.dingtalk.sign_at(at);
        let head = Head::made(&asking.posting.secret, at);
        let body = asking.posting.body.clone();
        let taken = self.hears(&asking.app, &head, body.as_bytes(), Some(asking.question))?;
        if taken == Some(Ok(())) {
            self.heads.insert(asking.app.clone(), (head, body));
        }
        let is_lost = self.noise_of(&asking, 4) % 100 < LOST_PERCENT;
        let answered = match taken {
            _ if self.network == Network::Down || is_lost => Err("no answer".to_owned()),
            Some(Ok(())) => Ok((200, br#"{"msgtype":"empty"}"#.to_vec())),
            Some(Err(why)) => Ok((403, why.to_string().into_bytes())),
            None => Err("nobody is there".to_owned()),
        };
        let now = Now {
            tick: Tick(self.now),
            time: self.true_time(),
        };
        if self.dingtalk.called_back(&asking.posting, &answered, now) {
            if asking.more == 0 {
                return Ok(());
            }
            asking.more -= 1;
            asking.attempt = 0;
        }
        asking.attempt += 1;
        if asking.attempt <= ATTEMPTS_MAX {
            self.after(PAUSE, Event::Asks(Box::new(asking)));
        }
        Ok(())
    }

    /// Somebody who is not DingTalk posts a question under a head that was seen, or made up.
    pub(super) fn forge(&mut self, app: &str, forged: Forged, text: &str) -> Result<(), Violation> {
        let Some((seen, body)) = self.heads.get(app).cloned() else {
            return Ok(());
        };
        let time = self.true_time();
        let head = match forged {
            Forged::Seen => seen,
            Forged::Unsigned => Head::made(&Secret::new("a guess"), time),
            // By a clock that is behind it would be none.
            Forged::Stale if self.ahead != 0 => return Ok(()),
            Forged::Stale => Head::made(&Secret::new(secret_of(app)), Timestamp(time.0 - 2 * SIGNED_FOR)),
        };
        let mut body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        body["msgId"] = format!("forged {}", self.now).into();
        body["text"] = serde_json::json!({ "content": text });
        self.say(&format!("{app} is told by somebody who is not DingTalk: {text}"));
        self.hears(app, &head, body.to_string().as_bytes(), None)
            .map(drop)
    }

    /// What the process says to a request, if it is there; what is left to do is a task of its own.
    fn hears(
        &mut self,
        app: &str,
        head: &Head,
        body: &[u8],
        question: Option<usize>,
    ) -> Result<Option<Result<(), NotTaken>>, Violation> {
        let time = self.clocks().time;
        let listens = |process: &&Process<'_>| process.stopping.is_none() && self.network != Network::Down;
        let Some(process) = self.process.as_ref().filter(listens) else {
            return Ok(None);
        };
        let app = process.setting.plan.apps.get(app).filter(|app| app.ask.is_some());
        let Some(app) = app.map(Arc::clone) else {
            return Ok(None);
        };
        process.outside.set_time(time);
        let answerer = Arc::clone(&process.answerer);
        let taken = answerer
            .check(&app, Some(&head.timestamp), Some(&head.sign))
            .and_then(|signed| answerer.take(&app, signed, body));
        Ok(Some(match taken {
            Ok(answer) => {
                if let Some(answer) = answer {
                    self.takes(app.name.as_str(), question, answer)?;
                }
                Ok(())
            }
            Err(why) => {
                self.say(&format!("question {question:?} is not taken: {why}"));
                Err(why)
            }
        }))
    }

    fn takes(
        &mut self,
        app: &str,
        question: Option<usize>,
        answer: BoxFuture<'static, ()>,
    ) -> Result<(), Violation> {
        let is_well = self.is_well();
        let taking = self.judge.question_taken(app, question, is_well, self.now)?;
        self.say(&format!("question {question:?} is taken"));
        let future = Box::pin(async move {
            answer.await;
            Done::Answered
        });
        self.begin_task(About::answer(taking, app), future);
        let life = self.lives;
        self.after(AT_ONCE, Event::ShouldBeAnswered { life, taking });
        Ok(())
    }

    /// The process, which is about to end, waits for the answers under way.
    pub(super) fn finish_answers(&mut self) {
        let Some(process) = &self.process else { return };
        let answerer = Arc::clone(&process.answerer);
        let future = Box::pin(async move {
            answerer.finish().await;
            Done::Finished
        });
        self.begin_task(About::nothing(), future);
    }

    /// An end waits for answers as long as a call may take.
    pub(super) fn check_answers_have_ended(
        &self,
        process: &Process<'_>,
        since: u64,
    ) -> Result<(), Violation> {
        let waited = self.now - since;
        let mut under_way = process.tasks.values().filter_map(Task::taking);
        match under_way.next() {
            Some(taking) if waited < millis(TOTAL_TIMEOUT) => {
                let what = format!("it ends after {waited} ms with question {taking} unanswered");
                Err(violation(Invariant::DrainEnds, self.now, what))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Answers what the answer to a question asks the driver.
    pub(super) fn serve(&mut self, taking: usize, ask: Ask) -> Result<(), Violation> {
        let Ask::Question(question) = ask else {
            panic!("an answerer asks {ask:?}");
        };
        let time = self.clocks().time;
        self.judge.engine_is_asked(taking, self.now)?;
        match &question {
            Question::Hasten { receivers, .. } => {
                let members: Vec<String> = receivers.iter().map(ToString::to_string).collect();
                self.judge.hastened(taking, &members, self.now)?;
                self.hastens(&members);
            }
            Question::EndAnswer(app, answer) => {
                self.judge.answer_came(app.as_str(), answer, self.now, time);
            }
            Question::Alerts { .. } | Question::Health { .. } => self.judge.looked_at(taking, time),
            Question::Explain { .. } | Question::BeginAnswer { .. } => {}
        }
        self.input(|steering, now| question.put(steering, now))
    }
}
