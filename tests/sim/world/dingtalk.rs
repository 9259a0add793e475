//! DingTalk, and the way there: the product's own client runs here, and its requests arrive after a while at the rules
//! of the stand-in; the answer comes back, or does not.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dingest::alert::{MessageId, Now, Tick};
use dingest::dingtalk::client::{Response, TOTAL_TIMEOUT};
use dingest::dingtalk::notice::{self, Reply as NoticeReply};
use dingest::dingtalk::simulator::rules::{Manner, Reaction, Request};
use dingest::driver;
use dingest::engine::{Answer, Errand, Finding, Outcome, Send};
use dingest::store::Changes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Event, World, hex};
use crate::invariant::{Invariant, Violation, violation};
use crate::judge::CONSOLE;
use crate::noise::noise;
use crate::outside::{Exchange, Reply, Wish};
use crate::script::{Disk, Network};
use crate::ways::{is_notice, is_person, person_behind, user_of};

/// Where DingTalk is.
const ADDRESSES: [&str; 2] = ["https://api.dingtalk.com/", "https://oapi.dingtalk.com/"];
/// How long it takes until it is known that there is no network.
const NO_NETWORK: u64 = 3;
/// How far a clock may be off until DingTalk takes no signature of it.
const CLOCK_OFF_MAX: u64 = 3_500_000;
/// What DingTalk says of a token that it does not take, and with which statuses.
const TOKEN_CODES: [&str; 3] = [
    "InvalidAuthentication",
    "invalidParameter.token.invalid",
    "token.notExisted",
];
const OLDER_TOKEN_CODES: [i64; 7] = [33, 40001, 40014, 40089, 40096, 41001, 42001];
const TOKEN_STATUSES: [u16; 3] = [400, 401, 403];
/// How often the same is asked for when it is refused for its token: once more, with another.
const TOKENS_REFUSED_MAX: u32 = 2;

/// What came of messages, each with its endpoint.
pub(super) type Answers = Vec<(MessageId, String, Answer)>;

/// What a task of the process is about.
#[derive(Debug)]
pub(super) struct About {
    no: u64,
    /// The messages it sends, each with its endpoint: several only to people.
    messages: Vec<(MessageId, String)>,
    errand: Option<(u64, Errand)>,
    /// What it answers, in the judge's ledger.
    taking: Option<usize>,
    /// Whose name it speaks in, unless it is a bot.
    app: String,
    begun_at: u64,
    /// Calls that count against the month.
    calls: Cell<u64>,
    /// How often in a row each call was refused for its token, by what it asks.
    refused: RefCell<BTreeMap<String, u32>>,
}

/// How a task ends.
#[derive(Debug)]
pub(super) enum Done {
    Sent(Vec<Answer>),
    Ran(Finding),
    Answered,
    /// No answers are under way any more, or it was waited for them long enough.
    Finished,
}

/// What the process does beside deciding.
pub(super) struct Task {
    about: Rc<About>,
    future: Pin<Box<dyn Future<Output = Done>>>,
}

impl About {
    fn messages(messages: Vec<(MessageId, String)>, app: String) -> Self {
        Self {
            messages,
            ..Self::of(app)
        }
    }

    fn errand(no: u64, errand: &Errand) -> Self {
        Self {
            errand: Some((no, errand.clone())),
            ..Self::of(errand.app.to_string())
        }
    }

    pub(super) fn answer(taking: usize, app: &str) -> Self {
        Self {
            taking: Some(taking),
            ..Self::of(app.to_owned())
        }
    }

    /// It asks DingTalk for nothing.
    pub(super) fn nothing() -> Self {
        Self::of(String::new())
    }

    fn of(app: String) -> Self {
        Self {
            no: 0,
            messages: Vec::new(),
            errand: None,
            taking: None,
            app,
            begun_at: 0,
            calls: Cell::new(0),
            refused: RefCell::default(),
        }
    }
}

impl Task {
    /// What it answers, if it does.
    pub(super) fn taking(&self) -> Option<usize> {
        self.about.taking
    }
}

/// What a request is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Message,
    /// The answer to a question.
    Answer,
    Progress,
    Outcome,
    Errand,
    Token,
    LookUp,
}

impl Purpose {
    fn of(path: &str, about: &About) -> Self {
        const NOTICE: &str = "/topapi/message/corpconversation/";
        match path.strip_prefix(NOTICE).unwrap_or(path) {
            "/robot/sendBySession"
            | "/v1.0/robot/groupMessages/send"
            | "/v1.0/robot/oToMessages/batchSend"
                if about.taking.is_some() =>
            {
                Self::Answer
            }
            "/robot/send"
            | "/v1.0/robot/groupMessages/send"
            | "/v1.0/robot/oToMessages/batchSend"
            | "asyncsend_v2" => Self::Message,
            "/v1.0/oauth2/accessToken" => Self::Token,
            "/topapi/v2/user/getbymobile" | "/topapi/user/getbyunionid" => Self::LookUp,
            "getsendprogress" => Self::Progress,
            "getsendresult" if about.errand.is_none() => Self::Outcome,
            _ if about.errand.is_some() => Self::Errand,
            _ => panic!("nobody knows what `{path}` is there for"),
        }
    }

    /// Whether it counts against the month as one of a message's calls, unless it is refused for its token.
    const fn is_counted(self) -> bool {
        matches!(self, Self::Message | Self::Progress | Self::Outcome)
    }
}

/// A request on its way to DingTalk.
pub(super) struct Flying {
    about: Rc<About>,
    exchange: Exchange,
    sent_at: u64,
    /// Was the clock it was signed by off by more than DingTalk takes?
    clock_was_off: bool,
    back: u64,
}

/// The answer to a request, on its way back.
pub(super) struct Returning {
    about: Rc<About>,
    purpose: Purpose,
    /// What was asked, without its token.
    asked: String,
    sent_at: u64,
    reply: Reply,
    result: Result<Response, Answer>,
}

impl World<'_> {
    // ---- what the process does --------------------------------------------------------------------------------

    pub(super) fn send(&mut self, sends: Vec<Send>) -> Result<(), Violation> {
        let (Some(process), Some(first)) = (&self.process, sends.first()) else {
            return Ok(());
        };
        self.summary.messages += 1;
        let writable = process.steering.is_writable();
        let plan = Arc::clone(&process.setting.plan);
        let client = process.client.clone();
        self.judge.calling(&sends, &self.store, writable, self.now)?;
        let ids: Vec<MessageId> = sends.iter().map(|send| send.message).collect();
        let hash = hex(&Sha256::digest(&first.body));
        self.say(&format!("send {ids:?} {hash}"));
        if first.endpoint.is_none() {
            return self.print_message(&sends);
        }
        let messages: Vec<(MessageId, String)> = sends
            .iter()
            .map(|send| (send.message, endpoint_of(send)))
            .collect();
        let through = messages.first().map_or("", |(_, endpoint)| endpoint.as_str());
        let app = self.judge.setting().text.app_of(through);
        let (app, time) = (app.unwrap_or_default().to_owned(), self.clocks().time);
        let future = async move { Done::Sent(driver::attempt(&client, &plan, &sends, time).await) };
        self.begin_task(About::messages(messages, app), Box::pin(future));
        Ok(())
    }

    /// A console takes everything at once.
    fn print_message(&mut self, sends: &[Send]) -> Result<(), Violation> {
        for send in sends {
            self.judge.printed(send, self.now)?;
        }
        let delivered = || Answer::new(Outcome::Delivered, "");
        let answers = sends
            .iter()
            .map(|send| (send.message, CONSOLE.to_owned(), delivered()));
        let answers = answers.collect();
        let life = self.lives;
        let took = 1;
        self.after(
            took,
            Event::Answered {
                life,
                answers,
                took,
                calls: 1,
            },
        );
        Ok(())
    }

    /// An errand is run.
    pub(super) fn run_errand(&mut self, no: u64, errand: Errand) -> Result<(), Violation> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        let writable = process.steering.is_writable();
        let (plan, client) = (Arc::clone(&process.setting.plan), process.client.clone());
        let time = self.clocks().time;
        self.judge
            .errand(no, &errand, &self.store, writable, self.now, time)?;
        self.say(&format!("errand {no} {errand:?}"));
        self.summary.errands += 1;
        let about = About::errand(no, &errand);
        let future = async move { Done::Ran(client.run(&plan, &errand).await) };
        self.begin_task(about, Box::pin(future));
        Ok(())
    }

    pub(super) fn begin_task(&mut self, about: About, future: Pin<Box<dyn Future<Output = Done>>>) {
        self.tasks_begun += 1;
        let about = About {
            no: self.tasks_begun,
            begun_at: self.now,
            ..about
        };
        let about = Rc::new(about);
        if let Some(process) = &mut self.process {
            process.tasks.insert(about.no, Task { about, future });
            process.is_stirred = true;
        }
    }

    /// Lets the tasks of the process go on as far as they can.
    pub(super) fn drive(&mut self) -> Result<(), Violation> {
        let time = self.clocks().time;
        loop {
            let Some(process) = self.process.as_mut().filter(|process| process.is_stirred) else {
                return Ok(());
            };
            process.is_stirred = false;
            process.outside.set_time(time);
            let mut context = Context::from_waker(Waker::noop());
            let (mut ended, mut asks) = (Vec::new(), Vec::new());
            for (no, task) in &mut process.tasks {
                process.outside.enter(*no);
                if let Poll::Ready(done) = task.future.as_mut().poll(&mut context) {
                    ended.push((Rc::clone(&task.about), done));
                }
                if let Some(taking) = task.about.taking {
                    while let Ok(ask) = process.inbox.try_recv() {
                        asks.push((taking, ask));
                    }
                }
            }
            for (about, _) in &ended {
                process.tasks.remove(&about.no);
            }
            // Who waits for what another has asked for can go on.
            let wishes = process.outside.take();
            process.is_stirred = !ended.is_empty() || !asks.is_empty() || !wishes.is_empty();
            for (about, done) in ended {
                self.task_ended(&about, done)?;
            }
            for wish in wishes {
                match wish {
                    Wish::Exchange(exchange) => self.leaves(exchange)?,
                    Wish::Pause(span, over) => {
                        self.after(millis(span), Event::PauseEnds(over));
                    }
                }
            }
            for (taking, ask) in asks {
                self.serve(taking, ask)?;
            }
        }
    }

    fn task_ended(&mut self, about: &About, done: Done) -> Result<(), Violation> {
        self.judge.task_ended(about.no);
        // Time may be up for a notice.
        let is_notice = about.messages.iter().any(|(_, endpoint)| is_notice(endpoint));
        if !is_notice
            && about
                .refused
                .borrow()
                .values()
                .any(|count| *count < TOKENS_REFUSED_MAX)
        {
            let what = format!("{about:?} is given up with the first token that is refused");
            return Err(violation(Invariant::TokenKept, self.now, what));
        }
        let life = self.lives;
        let event = match (done, &about.errand) {
            (Done::Sent(answers), _) => {
                let answers = about.messages.iter().cloned().zip(answers);
                Event::Answered {
                    life,
                    answers: answers
                        .map(|((message, endpoint), answer)| (message, endpoint, answer))
                        .collect(),
                    took: self.now - about.begun_at,
                    calls: about.calls.get().max(1),
                }
            }
            (Done::Ran(finding), Some((no, _))) => Event::Ran {
                life,
                no: *no,
                finding,
            },
            (Done::Finished, _) => {
                if let Some(process) = &mut self.process {
                    process.has_answered = true;
                }
                return self.stopped();
            }
            (Done::Ran(_) | Done::Answered, _) => return Ok(()),
        };
        self.after(0, event);
        Ok(())
    }

    /// Keeps what the client has learnt of people, if the disk takes it.
    pub(super) fn keep_people(&mut self) {
        let Some(process) = &self.process else { return };
        let people = process.client.take_news();
        if people.is_empty() {
            return;
        }
        if self.disk != Disk::Well {
            return self.judge.people_are_lost();
        }
        self.store.apply(&Changes {
            people,
            ..Changes::default()
        });
        self.judge.people_are_kept();
    }

    // ---- on the way -------------------------------------------------------------------------------------------

    /// Most milliseconds of one way.
    fn way_max(&self) -> u64 {
        match self.network {
            Network::Slow(most) => most.clamp(1, 9_000),
            Network::Well | Network::Down => 150,
        }
    }

    fn leaves(&mut self, exchange: Exchange) -> Result<(), Violation> {
        let task = (self.process.as_ref()).and_then(|process| process.tasks.get(&exchange.task));
        let Some(about) = task.map(|task| Rc::clone(&task.about)) else {
            return Ok(());
        };
        self.exchanges += 1;
        if !ADDRESSES.iter().any(|address| exchange.url.starts_with(address)) {
            let what = format!("{about:?} calls `{}`, which is not DingTalk's", exchange.url);
            return Err(violation(Invariant::NobodyElse, self.now, what));
        }
        let (path, _) = place_of(&exchange.url);
        let purpose = Purpose::of(path, &about);
        if purpose.is_counted() {
            about.calls.set(about.calls.get() + 1);
        }
        let was_refused = about
            .refused
            .borrow()
            .contains_key(&asked_by(path, exchange.body.as_deref()));
        if was_refused {
            self.judge.asks_with_another_token(&about.app, path, self.now)?;
        }
        match purpose {
            Purpose::Token => self.judge.asks_for_token(&about.app, about.no, self.now)?,
            Purpose::LookUp => {
                let known_by = known_by(exchange.body.as_deref());
                self.judge.looks_up(&about.app, &known_by, about.no, self.now)?;
            }
            Purpose::Answer if path.starts_with("/v1.0/") => {
                let time = self.clocks().time;
                self.judge
                    .answer_leaves(&about.app, about.taking, self.now, time)?;
            }
            Purpose::Answer => {
                if let Some(taking) = about.taking {
                    let time = self.clocks().time;
                    self.judge.answer_leaves_in_session(taking, self.now, time)?;
                }
            }
            Purpose::Message | Purpose::Progress | Purpose::Outcome | Purpose::Errand => {}
        }
        let flying = Flying {
            about,
            exchange,
            sent_at: self.now,
            clock_was_off: self.ahead.unsigned_abs() > CLOCK_OFF_MAX,
            back: 0,
        };
        if self.network == Network::Down {
            let failed = Answer::new(Outcome::Retry, "cannot connect to DingTalk");
            self.returns(flying, Err(failed), self.now + NO_NETWORK);
            return Ok(());
        }
        let most = self.way_max();
        let way = |direction: u64| 1 + noise(&[self.script.noise, self.exchanges, direction]) % most;
        let there = way(1);
        let flying = Flying {
            back: way(2),
            ..flying
        };
        self.after(there, Event::Arrives(Box::new(flying)));
        Ok(())
    }

    /// A request reaches DingTalk; who sent it may be gone by now.
    pub(super) fn arrives(&mut self, flying: Flying) -> Result<(), Violation> {
        let reaction = self.receive(&flying.exchange);
        let call = self.dingtalk.calls(0).last().cloned();
        self.dingtalk.clear();
        let about = Rc::clone(&flying.about);
        let (path, _) = place_of(&flying.exchange.url);
        let purpose = Purpose::of(path, &about);
        match (purpose, call) {
            (Purpose::Message, Some(call)) => {
                self.say(&format!(
                    "arrived at {} {:?} {:?} {:?} {}",
                    call.bot, call.errcode, call.code, call.people, call.shown
                ));
                let body = flying.exchange.body.as_deref();
                let messages = named_in(body, &about.messages);
                let (off, to_everybody) = (flying.clock_was_off, is_to_everybody(body));
                self.judge
                    .arrived(&call, &messages, off, to_everybody, self.now)?;
            }
            (Purpose::Answer, Some(call)) => {
                self.say(&format!(
                    "answer {:?} {:?}: {}",
                    call.errcode, call.code, call.content.text
                ));
                if let Some(taking) = about.taking {
                    let time = self.true_time();
                    self.judge.answer_arrived(taking, &call, self.now, time)?;
                }
            }
            (Purpose::Errand, _) => {
                let status = reaction.reply.http_status;
                let no = about.errand.as_ref().map_or(0, |(no, _)| *no);
                self.say(&format!("errand {no} arrived {status} {}", reaction.reply.body));
                let is_older = !path.starts_with("/v1.0/");
                self.judge.errand_arrived(&about.app, is_older, self.now)?;
            }
            (Purpose::Message | Purpose::Answer | Purpose::Progress | Purpose::Outcome, _) => {}
            (Purpose::Token | Purpose::LookUp, _) => {
                if purpose == Purpose::LookUp {
                    self.judge.look_up_arrived(&about.app, path, self.now)?;
                }
                self.say(&format!("{purpose:?} arrived {}", reaction.reply.http_status));
            }
        }
        let timeout = flying.sent_at + millis(TOTAL_TIMEOUT);
        let (result, at) = match time_of(&reaction, self.now + flying.back) {
            (true, at) if at <= timeout => (Ok(response(reaction)), at),
            (false, at) if at <= timeout => (Err(unknown("the connection was lost")), at),
            _ => (Err(unknown("no answer in time")), timeout),
        };
        let at = at.max(self.now);
        self.returns(flying, result, at);
        Ok(())
    }

    fn returns(&mut self, flying: Flying, result: Result<Response, Answer>, at: u64) {
        let Flying {
            about,
            exchange,
            sent_at,
            ..
        } = flying;
        let (path, _) = place_of(&exchange.url);
        let returning = Returning {
            purpose: Purpose::of(path, &about),
            asked: asked_by(path, exchange.body.as_deref()),
            about,
            sent_at,
            reply: exchange.reply,
            result,
        };
        self.at(at, Event::Returns(Box::new(returning)));
    }

    /// An answer is there, if somebody still waits for it.
    pub(super) fn returned(&mut self, returning: Returning) -> Result<(), Violation> {
        let Returning {
            about,
            purpose,
            asked,
            sent_at,
            reply,
            result,
        } = returning;
        if reply.is_closed() {
            return Ok(());
        }
        match purpose {
            Purpose::Token => {
                let came = self.judge.token_came(&about.app, result.as_ref().ok(), self.now);
                if !came {
                    // What was refused for its token is not made again without one.
                    about.refused.borrow_mut().clear();
                }
            }
            Purpose::LookUp => {
                let known_by = known_by(asked.split_once(' ').map(|(_, body)| body.as_bytes()));
                self.judge
                    .was_looked_up(&about.app, &known_by, result.as_ref().ok(), self.now);
            }
            Purpose::Outcome => self.note_unlisted(&about, &result)?,
            Purpose::Message | Purpose::Answer | Purpose::Progress | Purpose::Errand => {}
        }
        let was_refused = purpose != Purpose::Token && is_refused_for_its_token(&asked, &result);
        if purpose.is_counted() && was_refused {
            about.calls.set(about.calls.get() - 1);
        }
        self.token_was_refused(&about, asked, sent_at, was_refused)?;
        // Somebody waits for it.
        let _gone = reply.send(result);
        self.stir();
        Ok(())
    }

    /// Whoever waited for something can go on.
    pub(super) fn stir(&mut self) {
        if let Some(process) = &mut self.process {
            process.is_stirred = true;
        }
    }

    /// A call that was refused for its token is made once more.
    fn token_was_refused(
        &mut self,
        about: &About,
        asked: String,
        sent_at: u64,
        was_refused: bool,
    ) -> Result<(), Violation> {
        let mut refused = about.refused.borrow_mut();
        if !was_refused {
            refused.remove(&asked);
            return Ok(());
        }
        self.judge.token_was_refused(&about.app, sent_at);
        let count = refused.entry(asked).or_default();
        *count += 1;
        if *count > TOKENS_REFUSED_MAX {
            let what = format!("{about:?} is tried again and again with tokens that are refused");
            return Err(violation(Invariant::TokenKept, self.now, what));
        }
        Ok(())
    }

    /// DingTalk does not say who got a notice, so many they are.
    fn note_unlisted(&mut self, about: &About, result: &Result<Response, Answer>) -> Result<(), Violation> {
        let is_to_many = about.messages.iter().all(|(_, endpoint)| !is_person(endpoint));
        let Ok(response) = result else { return Ok(()) };
        match notice::lists(notice_reply(response)) {
            Err(answer) if is_to_many && notice::are_too_many(&answer) => {
                self.judge.unlisted(&about.messages, about.begun_at)
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    // ---- at DingTalk's ----------------------------------------------------------------------------------------

    fn receive(&mut self, exchange: &Exchange) -> Reaction {
        let now = Now {
            tick: Tick(self.now),
            time: self.true_time(),
        };
        let (path, query) = place_of(&exchange.url);
        let request = Request {
            method: if exchange.body.is_some() { "POST" } else { "GET" },
            path,
            query,
            content_type: Some("application/json; charset=utf-8"),
            token: exchange.token.as_deref(),
            body: exchange.body.as_deref().unwrap_or_default(),
        };
        let reaction = self.dingtalk.receive(&request, now);
        self.refused_by_any_status(reaction)
    }

    /// DingTalk refuses a token with one status or another; the stand-in has one of its own, and what a fault says.
    fn refused_by_any_status(&self, mut reaction: Reaction) -> Reaction {
        let body = json_of(Some(reaction.reply.body.as_bytes()));
        if !body["code"]
            .as_str()
            .is_some_and(|code| TOKEN_CODES.contains(&code))
        {
            return reaction;
        }
        let is_ordered = (self.dingtalk.calls(0).last()).is_some_and(|call| call.fault.is_some());
        if !is_ordered {
            let of = noise(&[self.script.noise, self.exchanges, 5]) % TOKEN_STATUSES.len() as u64;
            reaction.reply.http_status = TOKEN_STATUSES[usize::try_from(of).unwrap_or_default()];
        }
        reaction
    }
}

fn endpoint_of(send: &Send) -> String {
    let name = send.endpoint.as_ref();
    name.map_or_else(|| CONSOLE.to_owned(), ToString::to_string)
}

/// What a request asks, without its token.
fn asked_by(path: &str, body: Option<&[u8]>) -> String {
    format!("{path} {}", String::from_utf8_lossy(body.unwrap_or_default()))
}

/// Path and query of an address.
fn place_of(url: &str) -> (&str, &str) {
    let below_host = url.split_once("://").and_then(|(_, rest)| {
        let slash = rest.find('/')?;
        rest.get(slash..)
    });
    let below_host = below_host.unwrap_or(url);
    below_host.split_once('?').unwrap_or((below_host, ""))
}

/// The messages that a call carries, of those that its task sends: the client may make several calls of it.
fn named_in(body: Option<&[u8]>, messages: &[(MessageId, String)]) -> Vec<(MessageId, String)> {
    let body = json_of(body);
    let of_list = body["userIds"].as_array().map(|users| {
        let users = users.iter().filter_map(Value::as_str);
        users.map(str::to_owned).collect::<Vec<String>>()
    });
    let of_text = body["userid_list"].as_str();
    let of_text = of_text.map(|users| users.split(',').map(str::to_owned).collect());
    let Some(users) = of_list.or(of_text) else {
        return messages.to_vec();
    };
    let is_named =
        |endpoint: &str| user_of(endpoint).is_some_and(|user| users.contains(&person_behind(user)));
    let named = messages.iter().filter(|(_, endpoint)| is_named(endpoint));
    named.cloned().collect()
}

/// Whether it is a notice to everybody.
fn is_to_everybody(body: Option<&[u8]>) -> bool {
    json_of(body)["to_all_user"] == true
}

/// Who is looked up.
fn known_by(body: Option<&[u8]>) -> String {
    let body = json_of(body);
    let mobile = body["mobile"].as_str().map(|number| format!("mobile:{number}"));
    let union_id = body["unionid"].as_str().map(|id| format!("unionid:{id}"));
    mobile.or(union_id).unwrap_or_default()
}

fn json_of(body: Option<&[u8]>) -> Value {
    body.and_then(|body| serde_json::from_slice(body).ok())
        .unwrap_or_default()
}

/// Whether a call was refused for its token, read apart from the product: the code decides, and a status of 401 when
/// the newer API says nothing else.
fn is_refused_for_its_token(asked: &str, result: &Result<Response, Answer>) -> bool {
    let Ok(response) = result else { return false };
    let body = json_of(Some(&response.body));
    if asked.starts_with("/v1.0/") {
        let code = body["code"].as_str();
        response.status == 401 || code.is_some_and(|code| TOKEN_CODES.contains(&code))
    } else {
        let number = |code: &Value| code.as_i64().or_else(|| code.as_str()?.parse().ok());
        let wrapped = number(&body["sub_code"]).filter(|_| body["errcode"] == 88);
        let errcode = wrapped.or_else(|| number(&body["errcode"]));
        !asked.starts_with("/robot/") && errcode.is_some_and(|code| OLDER_TOKEN_CODES.contains(&code))
    }
}

fn notice_reply(response: &Response) -> NoticeReply<'_> {
    NoticeReply {
        http_status: response.status,
        content_type: response.content_type.as_deref(),
        body: &response.body,
    }
}

fn response(reaction: Reaction) -> Response {
    Response {
        status: reaction.reply.http_status,
        content_type: Some(reaction.reply.content_type.to_owned()),
        location: reaction.reply.location,
        body: reaction.reply.body.into_bytes(),
    }
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX / 2)
}

/// Whether there is an answer, and when it is there, or its lack is noticed.
fn time_of(reaction: &Reaction, back: u64) -> (bool, u64) {
    match reaction.manner {
        Manner::After(span) => (true, back + millis(span)),
        Manner::CloseAfter(span) => (false, back + millis(span)),
        Manner::Cut => (false, back),
    }
}

fn unknown(detail: &str) -> Answer {
    Answer::new(Outcome::Unknown, detail)
}
