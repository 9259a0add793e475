//! What the stand-in accepts, refuses and remembers: a plain value that is told the time.
//!
//! Order of the checks: method, token, rate, fault, content type, size, JSON, security settings, message type
//! and members, `msgUuid`. Every call of a known bot counts towards its minute, whatever became of it; the
//! twenty-first in a window begins the penalty, and calls during the penalty do not prolong it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::alert::{Now, Span, Tick, Timestamp};
use crate::dingtalk::simulator::apps::{ApiError, AppStats, Apps, Refusal};
use crate::dingtalk::simulator::content::{Content, Malformed};
use crate::dingtalk::simulator::directory::{By, look_up};
use crate::dingtalk::simulator::fault::{Fault, Faults, Injection};
use crate::dingtalk::simulator::notices::{self, Notice, NoticeCall, Notices};
use crate::dingtalk::simulator::oapi::{self, Errcode};
use crate::dingtalk::simulator::people::{People, Recipient};
use crate::dingtalk::simulator::postman::Answered;
use crate::dingtalk::simulator::questions::{Listener, Place, Posting, Questions, Saying, Session, said};
use crate::dingtalk::simulator::receipts::{MessageCall, Receipts, query_key};
use crate::dingtalk::simulator::robot::{Audience, Robots};
use crate::dingtalk::simulator::{SimulatedBot, SimulatedCallback, SimulatorSettings, Wording};
use crate::dingtalk::{
    BODY_BYTES_MAX, BY_MOBILE_PATH, BY_UNION_ID_PATH, GROUP_READ_PATH, GROUP_RECALL_PATH, GROUP_SEND_PATH,
    NOTICE_OUTCOME_PATH, NOTICE_PROGRESS_PATH, NOTICE_RECALL_PATH, NOTICE_SEND_PATH, OLDER_TOKEN_PATH,
    PEOPLE_READ_PATH, PEOPLE_RECALL_PATH, PEOPLE_SEND_PATH, SEND_PATH, SESSION_PATH, TOKEN_PATH, errcode,
    sign,
};
use crate::secret::Secret;

/// Most calls of a bot in a window.
pub const CALLS_PER_WINDOW_MAX: usize = 20;
/// The window that slides over a bot's calls.
const WINDOW: Span = Span::minutes(1);
/// How far a signature's time may be off.
const CLOCK_SKEW_MAX: Span = Span::hours(1);
/// Most calls the ledger holds, and most `msgUuid`s known per bot; the oldest go first.
pub const LEDGER_CALLS_MAX: usize = 10_000;

/// One request to the webhook or to the API of apps.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `POST`, one hopes.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: &'a str,
    /// The content type, when there is one.
    pub content_type: Option<&'a str>,
    /// The header with an app's access token.
    pub token: Option<&'a str>,
    /// All of the body.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A `POST` of JSON.
    pub(super) const fn post(path: &'a str, body: &'a [u8]) -> Self {
        Self {
            method: "POST",
            path,
            query: "",
            content_type: Some("application/json"),
            token: None,
            body,
        }
    }

    /// The parameters of its query.
    pub(super) fn parameters(&self) -> BTreeMap<String, String> {
        form_urlencoded::parse(self.query.as_bytes())
            .into_owned()
            .collect()
    }
}

/// What the caller gets to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// The answer.
    pub reply: Reply,
    /// How it is brought.
    pub manner: Manner,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub http_status: u16,
    /// Its content type.
    pub content_type: &'static str,
    /// Where a redirect points.
    pub location: Option<String>,
    /// Its body.
    pub body: String,
}

/// How an answer is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Whole, after a while.
    After(Duration),
    /// The connection is closed after a while, without an answer.
    CloseAfter(Duration),
    /// The connection breaks in the middle of it.
    Cut,
}

/// An application answer: HTTP 200 with a code.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Code(i64, String);

/// One call in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Counted from 1, never reused.
    pub number: u64,
    /// When it came, in milliseconds since the epoch.
    pub at: i64,
    /// The name of the bot or app; empty when the token is not known.
    pub bot: String,
    /// The group's name; empty when the token is not known, and for people.
    pub group: String,
    /// Who wrote it to the bot, when it is no call to the stand-in but a message that was posted to the bot's app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said_by: Option<String>,
    /// The people it is for, and what became of it for each of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<Recipient>,
    /// What it says, as far as it could be read.
    #[serde(flatten)]
    pub content: Content,
    /// Its idempotency key.
    #[serde(rename = "msgUuid")]
    pub msg_uuid: Option<String>,
    /// The body's SHA-256, in hexadecimal digits.
    pub body_sha256: String,
    /// The body's length.
    pub body_bytes: usize,
    /// The earlier call with the same `msgUuid` that was accepted.
    pub duplicate_of: Option<u64>,
    /// Whether the duplicate had the same bytes as that call.
    pub same_bytes: Option<bool>,
    /// Accepted for the first time, hence in the group, or in the chat of somebody.
    pub shown: bool,
    /// The `processQueryKey` answered, if any.
    #[serde(rename = "processQueryKey", skip_serializing_if = "Option::is_none")]
    pub query_key: Option<String>,
    /// A work notice.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub notice: bool,
    /// Who has read it since.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_by: Vec<String>,
    /// Taken back since, hence shown no longer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recalled: bool,
    /// When it was marked last, counted over all marks; 0 is never.
    #[serde(skip)]
    pub marked: u64,
    /// What went wrong to order.
    pub fault: Option<&'static str>,
    /// The status answered.
    pub http_status: u16,
    /// The number answered, if any.
    pub errcode: Option<i64>,
    /// The word the API of apps answered, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The text answered.
    pub errmsg: String,
}

/// The numbers of every bot and app that was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// One by one, in the order of their names.
    pub bots: Vec<BotStats>,
    /// The apps, in the order of their names.
    pub apps: Vec<AppStats>,
    /// Calls the ledger has forgotten.
    pub calls_forgotten: u64,
}

/// The numbers of one bot since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BotStats {
    /// Its name.
    pub bot: String,
    /// Its group.
    pub group: String,
    /// All calls.
    pub calls: u64,
    /// Those shown in the group.
    pub messages: u64,
    /// Most calls in any window, refused ones included.
    pub calls_per_window_max: usize,
    /// Most shown messages in any window.
    pub messages_per_window_max: usize,
    /// Penalties imposed.
    pub penalties: u64,
    /// How much of a penalty is left, in milliseconds of the clock.
    pub penalty_left_ms: u64,
}

/// Arrivals inside a sliding window.
#[derive(Debug, Default)]
pub(super) struct Window {
    arrivals: VecDeque<Tick>,
    pub(super) total: u64,
    pub(super) most: usize,
}

impl Window {
    /// Counts one more and says how many there are in the window that ends with it.
    pub(super) fn arrive(&mut self, now: Tick, length: Span) -> usize {
        let count = self.within(now, length) + 1;
        self.arrivals.push_back(now);
        self.total += 1;
        self.most = self.most.max(count);
        count
    }

    /// How many there are in the window that ends now.
    pub(super) fn within(&mut self, now: Tick, length: Span) -> usize {
        let is_over = |tick: &Tick| now.since(*tick) >= length;
        while self.arrivals.front().is_some_and(is_over) {
            self.arrivals.pop_front();
        }
        self.arrivals.len()
    }
}

struct BotState {
    bot: SimulatedBot,
    calls: Window,
    messages: Window,
    silent_until: Tick,
    penalties: u64,
    /// Accepted calls by `msgUuid`: number and hash.
    accepted: BTreeMap<String, (u64, String)>,
    /// The same `msgUuid`s by age.
    accepted_in_order: VecDeque<String>,
}

impl BotState {
    fn new(bot: SimulatedBot) -> Self {
        Self {
            bot,
            calls: Window::default(),
            messages: Window::default(),
            silent_until: Tick(0),
            penalties: 0,
            accepted: BTreeMap::new(),
            accepted_in_order: VecDeque::new(),
        }
    }

    /// Counts a call and refuses it when there are too many.
    fn hurry(&mut self, now: Tick, time_scale: u64) -> Result<(), Code> {
        let scaled = |span: Span| Span(span.0 / time_scale);
        let calls = self.calls.arrive(now, scaled(WINDOW));
        if now < self.silent_until {
            return Err(too_fast());
        }
        if calls > CALLS_PER_WINDOW_MAX {
            self.silent_until = now.plus(scaled(errcode::PENALTY));
            self.penalties += 1;
            return Err(too_fast());
        }
        Ok(())
    }

    fn remember(&mut self, uuid: String, number: u64, hash: String) {
        if self.accepted_in_order.len() >= LEDGER_CALLS_MAX
            && let Some(oldest) = self.accepted_in_order.pop_front()
        {
            self.accepted.remove(&oldest);
        }
        self.accepted_in_order.push_back(uuid.clone());
        self.accepted.insert(uuid, (number, hash));
    }
}

/// The whole state of the stand-in.
pub struct Rules {
    /// By token.
    bots: BTreeMap<String, BotState>,
    apps: Apps,
    people: People,
    robots: Robots,
    notices: Notices,
    receipts: Receipts,
    questions: Questions,
    accept_any_token: bool,
    time_scale: u64,
    wording: Wording,
    faults: Faults,
    calls: VecDeque<Call>,
    calls_total: u64,
    calls_forgotten: u64,
    /// How often calls in the ledger were marked as read or recalled.
    marks: u64,
    /// Changes whenever the ledger is emptied, so that a page can tell.
    epoch: u64,
}

impl fmt::Debug for Rules {
    /// Without the tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("calls_total", &self.calls_total)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Rules {
    /// Nothing has happened yet.
    pub fn new(settings: SimulatorSettings) -> Self {
        Self {
            apps: Apps::new(&settings),
            people: People::new(&settings),
            robots: Robots::new(&settings),
            notices: Notices::new(&settings),
            receipts: Receipts::new(&settings),
            questions: Questions::new(&settings),
            bots: settings
                .bots
                .into_iter()
                .map(|bot| (bot.access_token.expose().to_owned(), BotState::new(bot)))
                .collect(),
            accept_any_token: settings.accept_any_token,
            time_scale: u64::from(settings.time_scale.get()),
            wording: settings.wording,
            faults: Faults::default(),
            calls: VecDeque::new(),
            calls_total: 0,
            calls_forgotten: 0,
            marks: 0,
            epoch: 0,
        }
    }

    /// Decides about one call and enters it in the ledger.
    pub fn receive(&mut self, request: &Request<'_>, now: Now) -> Reaction {
        match request.path {
            SEND_PATH => self.receive_webhook(request, now),
            TOKEN_PATH => Refusal::reply(self.apps.token(request, now)).whole(),
            OLDER_TOKEN_PATH => Errcode::reply(oapi::token(&mut self.apps, request, now)).whole(),
            SESSION_PATH => self.receive_in_session(request, now),
            GROUP_SEND_PATH => self.receive_robot_message(request, now, Audience::Group),
            PEOPLE_SEND_PATH => self.receive_robot_message(request, now, Audience::People),
            NOTICE_SEND_PATH => self.receive_notice(request, now),
            GROUP_READ_PATH => self.about_message(request, now, MessageCall::Read(Audience::Group)),
            PEOPLE_READ_PATH => self.about_message(request, now, MessageCall::Read(Audience::People)),
            GROUP_RECALL_PATH => self.about_message(request, now, MessageCall::Recall(Audience::Group)),
            PEOPLE_RECALL_PATH => self.about_message(request, now, MessageCall::Recall(Audience::People)),
            NOTICE_PROGRESS_PATH => self.about_notice(request, now, NoticeCall::Progress),
            NOTICE_OUTCOME_PATH => self.about_notice(request, now, NoticeCall::Outcome),
            NOTICE_RECALL_PATH => self.about_notice(request, now, NoticeCall::Recall),
            BY_MOBILE_PATH => self.about_person(request, now, By::Mobile),
            BY_UNION_ID_PATH => self.about_person(request, now, By::UnionId),
            _ if request.path.starts_with("/v1.0/") => Refusal::reply(Err(Refusal::no_such_path())).whole(),
            _ => code(&Code(404, "请求的URI地址不存在".to_owned())).whole(),
        }
    }

    /// Counts a call of an app, and says what is to go wrong with it and whether the app calls too often.
    fn count(&mut self, key: &str, request: &Request<'_>, now: Now) -> (Option<Fault>, bool) {
        let fault = self.faults.take(&self.apps.name(key), request.path);
        (fault, self.apps.hurries(key, request.path, now))
    }

    /// A call of an app whose bot says something.
    fn receive_robot_message(&mut self, request: &Request<'_>, now: Now, audience: Audience) -> Reaction {
        let mut call = self.enter(request, now.time);
        let key = match self.apps.admit("POST", request, now) {
            Ok(key) => key,
            Err(refusal) => return self.close(call, Refusal::reply(Err(refusal)).whole()),
        };
        let (fault, hurries) = self.count(&key, request, now);
        call.bot = self.apps.name(&key);
        call.fault = fault.as_ref().map(Fault::as_str);
        // What it says is worth showing whatever becomes of it.
        let mut read = self
            .robots
            .read(audience, &self.apps, &self.people, &key, request);
        let answer = match &mut read {
            _ if hurries => Err(Refusal::too_fast()),
            Ok(message) if fault.as_ref().is_none_or(Fault::follows_rules) => {
                let query_key = query_key(call.number);
                let answer = message.tell(&self.people, fault.as_ref(), &query_key);
                call.shown = message.is_shown();
                call.query_key = Some(query_key);
                self.receipts.record(call.number, &key, message, now.tick);
                Ok(answer)
            }
            Ok(_) => Ok(json!({})),
            Err(refusal) => Err(refusal.clone()),
        };
        if call.shown {
            self.apps.sent(&key);
        }
        if let Ok(message) = read {
            (call.group, call.people, call.content) = (message.group, message.people, message.content);
        }
        self.close(call, answered(fault, Refusal::reply(answer)))
    }

    /// A call of an app that sends a work notice.
    fn receive_notice(&mut self, request: &Request<'_>, now: Now) -> Reaction {
        let mut call = self.enter(request, now.time);
        call.notice = true;
        let key = match oapi::admit(&self.apps, request, now) {
            Ok(key) => key,
            Err(errcode) => return self.close(call, Errcode::reply(Err(errcode)).whole()),
        };
        let (fault, hurries) = self.count(&key, request, now);
        call.bot = self.apps.name(&key);
        call.fault = fault.as_ref().map(Fault::as_str);
        // What it says is worth showing whatever becomes of it.
        let mut read = Notice::read(&self.apps, &self.people, &key, request);
        let answer = match &mut read {
            _ if hurries => Err(Errcode::too_fast()),
            Ok(notice) if fault.as_ref().is_none_or(Fault::follows_rules) => {
                let sender = notices::Sender {
                    app: &key,
                    number: call.number,
                };
                let answer = self
                    .notices
                    .send(notice, sender, &self.people, fault.as_ref(), now.tick);
                call.shown = answer.is_ok() && notice.is_shown();
                answer
            }
            Ok(_) => Ok(json!({})),
            Err(errcode) => Err(errcode.clone()),
        };
        if call.shown {
            self.apps.sent(&key);
        }
        if let Ok(notice) = read {
            (call.people, call.content) = (notice.people, notice.content);
        }
        self.close(call, answered(fault, Errcode::reply(answer)))
    }

    /// A call of an app that asks about its messages, or takes them back.
    fn about_message(&mut self, request: &Request<'_>, now: Now, asks: MessageCall) -> Reaction {
        let method = match asks {
            MessageCall::Read(Audience::People) => "GET",
            MessageCall::Read(Audience::Group) | MessageCall::Recall(_) => "POST",
        };
        let admitted = self.apps.admit(method, request, now);
        self.answer(request, now, admitted, |rules, key| {
            rules.receipts.answer(asks, &rules.apps, key, request, now)
        })
    }

    /// A call of an app about a work notice.
    fn about_notice(&mut self, request: &Request<'_>, now: Now, asks: NoticeCall) -> Reaction {
        let admitted = oapi::admit(&self.apps, request, now);
        self.answer(request, now, admitted, |rules, key| {
            rules.notices.answer(asks, &rules.apps, key, request, now)
        })
    }

    /// A call of an app that looks somebody up.
    fn about_person(&mut self, request: &Request<'_>, now: Now, by: By) -> Reaction {
        let admitted = oapi::admit(&self.apps, request, now);
        self.answer(request, now, admitted, |rules, _| {
            Ok((look_up(by, &rules.people, request)?, Vec::new()))
        })
    }

    /// Answers a call of an app that is counted and not in the ledger, and marks the messages that are gone by it.
    fn answer<E: ApiError>(
        &mut self,
        request: &Request<'_>,
        now: Now,
        admitted: Result<String, E>,
        answer: impl FnOnce(&mut Self, &str) -> Result<(Value, Vec<u64>), E>,
    ) -> Reaction {
        let key = match admitted {
            Ok(key) => key,
            Err(error) => return E::reply(Err(error)).whole(),
        };
        let (fault, hurries) = self.count(&key, request, now);
        let answer = if hurries {
            Err(E::too_fast())
        } else if fault.as_ref().is_none_or(Fault::follows_rules) {
            answer(self, &key)
        } else {
            Ok((json!({}), Vec::new()))
        };
        let answer = answer.map(|(answer, gone)| {
            self.mark(&gone, |call| call.recalled = true);
            answer
        });
        answered(fault, E::reply(answer))
    }

    /// A person reads everything apps have said in a group, or in the own chats; says how much was new.
    pub fn read(&mut self, person: &str, group: Option<&str>, now: Timestamp) -> usize {
        let mut news = self.receipts.opened_by(person, group, now);
        if group.is_none() {
            news.extend(self.notices.opened_by(person));
        }
        self.mark(&news, |call| call.read_by.push(person.to_owned()));
        news.len()
    }

    /// Marks calls in the ledger.
    fn mark(&mut self, numbers: &[u64], how: impl Fn(&mut Call)) {
        for call in self
            .calls
            .iter_mut()
            .filter(|call| numbers.contains(&call.number))
        {
            self.marks += 1;
            call.marked = self.marks;
            how(call);
        }
    }

    /// A call of a custom bot.
    fn receive_webhook(&mut self, request: &Request<'_>, now: Now) -> Reaction {
        let mut call = self.enter(request, now.time);
        let query = request.parameters();
        let token = match self.admit(request, &query) {
            Ok(token) => token,
            Err(refusal) => return self.close(call, code(&refusal).whole()),
        };
        let time_scale = self.time_scale;
        let (mut decision, fault) = {
            let Some(state) = self.bots.get_mut(&token) else {
                unreachable!("only tokens of known bots are admitted");
            };
            call.bot.clone_from(&state.bot.name);
            call.group.clone_from(&state.bot.group);
            let fault = self.faults.take(&call.bot, request.path);
            (state.hurry(now.tick, time_scale), fault)
        };
        call.fault = fault.as_ref().map(Fault::as_str);
        // What it says is worth showing whatever becomes of it.
        let message =
            serde_json::from_slice::<Map<String, Value>>(request.body).map_err(|_| Malformed::NotJson);
        let content = message.as_ref().map_err(Clone::clone).and_then(Content::read);
        if let Ok(content) = &content {
            call.content = content.clone();
        }
        call.msg_uuid = message
            .ok()
            .and_then(|message| Some(message.get("msgUuid")?.as_str()?.to_owned()));
        if fault.as_ref().is_none_or(Fault::follows_rules) {
            decision = decision
                .and_then(|()| check_envelope(request))
                .and_then(|()| self.check_security(&token, &query, content.as_ref().ok(), now.time))
                .and_then(|()| content.map(drop).map_err(malformed));
            if decision.is_ok() {
                self.accept(&token, &mut call, now.tick);
            }
        }
        let answer = decision.err().unwrap_or_else(|| Code(0, "ok".to_owned()));
        self.close(call, answered(fault, code(&answer)))
    }

    /// Lets what is written to the bot of an app be posted to an address.
    pub(super) fn call_back(&mut self, callback: SimulatedCallback) {
        self.questions.call_back(callback);
    }

    /// The apps that hear what is written to their bots, and where.
    pub(super) fn listening(&self) -> Vec<Listener> {
        let listening = self.questions.listening().map(|app| Listener {
            app: app.clone(),
            groups: (self.robots.groups_of(app))
                .map(|(name, _)| name.to_owned())
                .collect(),
        });
        listening.collect()
    }

    /// Everybody who was named, to be shown.
    pub(super) fn people(&self) -> Vec<Recipient> {
        let ids = self.people.ids();
        ids.map(|id| self.people.recipient(&id)).collect()
    }

    /// Somebody writes to the bot of an app: it is shown, and to be posted. The error says what is in the way.
    pub fn say(&mut self, saying: &Saying, own_url: &str, now: Timestamp) -> Result<Posting, String> {
        let person = self.people.person(&saying.person);
        let person = person.ok_or_else(|| format!("`{}` is nobody's userId", saying.person))?;
        let mut listening = self.listening().into_iter();
        let is_meant = |listener: &Listener| {
            let named = saying.app.as_ref().is_none_or(|app| *app == listener.app);
            named && (saying.group.as_ref()).is_none_or(|group| listener.groups.contains(group))
        };
        let listener = listening.find(is_meant);
        let app = listener.and_then(|listener| self.apps.named(&listener.app));
        let app = app
            .cloned()
            .ok_or("no app that has a callback would hear it there")?;
        let is_there = |(name, _): &(&str, &str)| saying.group.as_deref() == Some(name);
        let group = self.robots.groups_of(&app.name).find(is_there);
        let place = group.map_or(Place::Own, |(name, conversation)| Place::Group {
            name: name.to_owned(),
            conversation: conversation.to_owned(),
        });
        let number = self.calls_total + 1;
        let to = (&app, &person, place);
        let posting = self.questions.post(number, saying, to, own_url, now);
        let posting = posting.ok_or("the app has no callback")?;
        let mut call = self.enter(&Request::post("", posting.body.as_bytes()), now);
        if let Some(session) = self.questions.session(&posting.session, now) {
            self.place(&mut call, &session.clone());
        }
        call.said_by = Some(person.name);
        "text".clone_into(&mut call.content.msgtype);
        call.content.text.clone_from(&saying.text);
        call.shown = true;
        self.keep(call);
        Ok(posting)
    }

    /// Puts an entry of the ledger into the chat of a session.
    fn place(&self, call: &mut Call, session: &Session) {
        call.bot.clone_from(&session.app);
        match &session.place {
            Place::Group { name, .. } => call.group.clone_from(name),
            Place::Own => {
                call.people = vec![self.people.recipient(&session.person)];
                self.people.tell(&mut call.people, None);
            }
        }
    }

    /// The moment for which the head of a request is signed.
    pub fn sign_at(&mut self, now: Timestamp) -> Timestamp {
        self.questions.sign_at(now)
    }

    /// A message was posted; says whether it was answered as it should be. A message in the answer is shown.
    pub fn called_back(&mut self, posting: &Posting, answered: &Answered, now: Now) -> bool {
        let heard = match answered {
            Ok((200, body)) => said(body).map_err(str::to_owned),
            Ok((_, body)) => Err(String::from_utf8_lossy(body).into_owned()),
            Err(problem) => Err(problem.clone()),
        };
        self.mark(&[posting.number], |call| {
            call.http_status = answered.as_ref().map_or(0, |(http_status, _)| *http_status);
            call.errmsg = heard.as_ref().err().cloned().unwrap_or_default();
        });
        if let Ok(Some(reply)) = &heard {
            let reply = reply.to_string();
            let request = Request {
                query: &format!("session={}", posting.session),
                ..Request::post(SESSION_PATH, reply.as_bytes())
            };
            self.receive(&request, now);
        }
        heard.is_ok()
    }

    /// An answer to somebody who wrote. What such calls cost is not known, so nothing is counted.
    fn receive_in_session(&mut self, request: &Request<'_>, now: Now) -> Reaction {
        let mut call = self.enter(request, now.time);
        let query = request.parameters();
        let session = query.get("session");
        let session = session.and_then(|key| self.questions.session(key, now.time).cloned());
        let Some(session) = session.filter(|_| request.method == "POST") else {
            let ended = Code(300_001, "session 不存在".to_owned());
            return self.close(call, code(&ended).whole());
        };
        self.place(&mut call, &session);
        let fault = self.faults.take(&call.bot, request.path);
        call.fault = fault.as_ref().map(Fault::as_str);
        let message = check_envelope(request).and_then(|()| {
            let message = serde_json::from_slice::<Map<String, Value>>(request.body);
            let message = message.map_err(|_| Malformed::NotJson);
            message
                .and_then(|message| Content::read(&message))
                .map_err(malformed)
        });
        let follows_rules = fault.as_ref().is_none_or(Fault::follows_rules);
        call.shown = message.is_ok() && follows_rules;
        let answer = match message {
            Ok(content) => {
                call.content = content;
                Code(0, "ok".to_owned())
            }
            Err(refusal) => refusal,
        };
        self.close(call, answered(fault, code(&answer)))
    }

    /// Begins an entry of the ledger.
    fn enter(&mut self, request: &Request<'_>, time: Timestamp) -> Call {
        self.calls_total += 1;
        Call {
            number: self.calls_total,
            at: time.0,
            bot: String::new(),
            group: String::new(),
            said_by: None,
            people: Vec::new(),
            content: Content::default(),
            msg_uuid: None,
            body_sha256: hex(&Sha256::digest(request.body)),
            body_bytes: request.body.len(),
            duplicate_of: None,
            same_bytes: None,
            shown: false,
            query_key: None,
            notice: false,
            read_by: Vec::new(),
            recalled: false,
            marked: 0,
            fault: None,
            http_status: 0,
            errcode: None,
            code: None,
            errmsg: String::new(),
        }
    }

    /// Ends an entry of the ledger with what is answered.
    fn close(&mut self, mut call: Call, reaction: Reaction) -> Reaction {
        let body: Value = serde_json::from_str(&reaction.reply.body).unwrap_or_default();
        call.http_status = reaction.reply.http_status;
        let errcode = &body["errcode"];
        call.errcode = errcode.as_i64().or_else(|| errcode.as_str()?.parse().ok());
        call.code = body["code"].as_str().map(str::to_owned);
        let text = body["errmsg"].as_str().or_else(|| body["message"].as_str());
        text.unwrap_or_default().clone_into(&mut call.errmsg);
        self.keep(call);
        reaction
    }

    fn keep(&mut self, call: Call) {
        if self.calls.len() >= LEDGER_CALLS_MAX {
            self.calls.pop_front();
            self.calls_forgotten += 1;
        }
        self.calls.push_back(call);
    }

    /// The token of a bot that is known, or becomes so.
    fn admit(&mut self, request: &Request<'_>, query: &BTreeMap<String, String>) -> Result<String, Code> {
        if request.method != "POST" {
            return Err(Code(43002, "需要POST请求".to_owned()));
        }
        let token = query.get("access_token").filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| missing("access_token"))?;
        if !self.bots.contains_key(token) {
            if !self.accept_any_token {
                return Err(Code(300_005, "token is not exist".to_owned()));
            }
            let name = last_four(token);
            let bot = SimulatedBot {
                group: name.clone(),
                name,
                access_token: Secret::new(token.as_str()),
                secret: None,
                keyword: None,
            };
            self.bots.insert(token.clone(), BotState::new(bot));
        }
        Ok(token.clone())
    }

    fn check_security(
        &self,
        token: &str,
        query: &BTreeMap<String, String>,
        content: Option<&Content>,
        now: Timestamp,
    ) -> Result<(), Code> {
        let bot = self.bots.get(token).map(|state| &state.bot);
        if let Some(secret) = bot.and_then(|bot| bot.secret.as_ref()) {
            let (Some(timestamp), Some(signature)) = (query.get("timestamp"), query.get("sign")) else {
                return Err(self.refuse(Security::Signature));
            };
            let timestamp = timestamp.parse().map(Timestamp);
            let timestamp = timestamp.map_err(|_| self.refuse(Security::Clock))?;
            if now.0.abs_diff(timestamp.0) > CLOCK_SKEW_MAX.0 {
                return Err(self.refuse(Security::Clock));
            }
            if *signature != sign::sign(secret, timestamp) {
                return Err(self.refuse(Security::Signature));
            }
        }
        match (bot.and_then(|bot| bot.keyword.as_ref()), content) {
            (Some(keyword), Some(content)) if !content.contains(keyword) => {
                Err(self.refuse(Security::Keyword))
            }
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    fn refuse(&self, security: Security) -> Code {
        Code(310_000, security.text(self.wording).to_owned())
    }

    /// Shows the message, or folds it into an earlier one.
    fn accept(&mut self, token: &str, call: &mut Call, now: Tick) {
        let Some(state) = self.bots.get_mut(token) else {
            return;
        };
        if let Some(uuid) = &call.msg_uuid {
            if let Some((number, hash)) = state.accepted.get(uuid) {
                call.duplicate_of = Some(*number);
                call.same_bytes = Some(*hash == call.body_sha256);
                return;
            }
            state.remember(uuid.clone(), call.number, call.body_sha256.clone());
        }
        call.shown = true;
        state.messages.arrive(now, Span(WINDOW.0 / self.time_scale));
    }

    /// The ledger after the call of this number, oldest first.
    pub fn calls(&self, after: u64) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.number > after)
    }

    /// Those up to the call of this number that were marked after this mark.
    pub fn marked(&self, up_to: u64, after: u64) -> impl Iterator<Item = &Call> {
        let is_news = move |call: &&Call| call.number <= up_to && call.marked > after;
        self.calls.iter().filter(is_news)
    }

    /// How often calls were marked as read or recalled.
    pub const fn marks(&self) -> u64 {
        self.marks
    }

    /// Changes whenever the ledger is emptied.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The numbers of the bots.
    pub fn stats(&self, now: Now) -> Stats {
        let mut bots: Vec<_> = self
            .bots
            .values()
            .map(|state| BotStats {
                bot: state.bot.name.clone(),
                group: state.bot.group.clone(),
                calls: state.calls.total,
                messages: state.messages.total,
                calls_per_window_max: state.calls.most,
                messages_per_window_max: state.messages.most,
                penalties: state.penalties,
                penalty_left_ms: state.silent_until.since(now.tick).0,
            })
            .collect();
        bots.sort_by(|a, b| a.bot.cmp(&b.bot));
        Stats {
            bots,
            apps: self.apps.stats(),
            calls_forgotten: self.calls_forgotten,
        }
    }

    /// Makes something go wrong.
    pub fn inject(&mut self, injection: Injection) {
        self.faults.push(injection);
    }

    /// The faults still to come.
    pub fn faults(&self) -> &[Injection] {
        self.faults.pending()
    }

    /// Lets nothing go wrong any more.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Empties the ledger.
    pub fn clear(&mut self) {
        self.calls.clear();
        self.epoch += 1;
    }
}

/// The security settings of a bot.
#[derive(Clone, Copy, Debug)]
enum Security {
    Keyword,
    Clock,
    Signature,
}

impl Security {
    const fn text(self, wording: Wording) -> &'static str {
        match (self, wording) {
            (Self::Keyword, Wording::English) => "keywords not in content",
            (Self::Keyword, Wording::Chinese) => {
                "description:关键词不匹配;solution:请联系群管理员查看此机器人的关键词，并在发送的信息中包含此关键词;"
            }
            (Self::Keyword, Wording::Recent) => {
                "错误描述:关键词不匹配;解决方案:请联系群管理员查看此机器人的关键词，并在发送的信息中包含此关键词;"
            }
            (Self::Clock, Wording::English) => "invalid timestamp",
            (Self::Clock, Wording::Chinese) => {
                "description:机器人发送签名过期;solution:签名生成时间和发送时间请保持在 timestampms 以内;"
            }
            (Self::Clock, Wording::Recent) => {
                "错误描述:机器人发送签名过期;解决方案:签名生成时间和发送时间请保持在 timestampms 以内;"
            }
            (Self::Signature, Wording::English) => "sign not match",
            (Self::Signature, Wording::Chinese) => {
                "description:机器人发送签名不匹配;solution:请确认签名和生成签名的时间戳必须都放在调用的网址中，请确认机器人的密钥加密和填写正确;"
            }
            (Self::Signature, Wording::Recent) => {
                "错误描述:机器人发送签名不匹配;解决方案:请确认签名和生成签名的时间戳必须都放在调用的网址中，请确认机器人的密钥加密和填写正确;"
            }
        }
    }
}

/// Whether a request says that its body is JSON in UTF-8.
pub(super) fn is_json(request: &Request<'_>) -> bool {
    let content_type = request.content_type.unwrap_or_default().to_ascii_lowercase();
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next() == Some("application/json");
    essence && parts.all(|part| !part.starts_with("charset=") || part.trim_matches('"').ends_with("utf-8"))
}

/// Content type, presence and size.
fn check_envelope(request: &Request<'_>) -> Result<(), Code> {
    if !is_json(request) {
        return Err(Code(43004, "无效的HTTP HEADER Content-Type".to_owned()));
    }
    if request.body.is_empty() {
        return Err(missing("json"));
    }
    if request.body.len() > BODY_BYTES_MAX {
        let text = "description: body 大小不合法;solution:请保持大小在 20000bytes 以内;";
        return Err(Code(460_101, text.to_owned()));
    }
    Ok(())
}

fn malformed(malformed: Malformed) -> Code {
    match malformed {
        Malformed::NotJson => missing("json"),
        Malformed::Missing(member) => missing(&member),
        Malformed::Invalid(member) => Code(40035, format!("不合法的参数 {member}")),
        Malformed::Type(name) => Code(
            400_105,
            format!("错误描述: 不支持类型 msgType:{name};解决方案:请使用支持的类型;"),
        ),
    }
}

fn missing(name: &str) -> Code {
    Code(40035, format!("缺少参数 {name}"))
}

fn too_fast() -> Code {
    Code(660_026, "sending too many messages per minute".to_owned())
}

fn code(Code(errcode, errmsg): &Code) -> Reply {
    Reply::json(200, &json!({"errcode": errcode, "errmsg": errmsg}))
}

impl Reply {
    /// JSON with a status.
    pub fn json(http_status: u16, value: &Value) -> Self {
        Self {
            http_status,
            content_type: "application/json",
            location: None,
            body: value.to_string(),
        }
    }

    fn html(http_status: u16, words: &str) -> Self {
        Self {
            http_status,
            content_type: "text/html; charset=utf-8",
            location: None,
            body: format!(
                "<!DOCTYPE html>\n<html><head><title>{words}</title></head><body>{words}</body></html>\n"
            ),
        }
    }

    fn whole(self) -> Reaction {
        self.brought(Manner::After(Duration::ZERO))
    }

    const fn brought(self, manner: Manner) -> Reaction {
        Reaction { reply: self, manner }
    }
}

/// An answer, or what a fault makes of it.
fn answered(fault: Option<Fault>, answer: Reply) -> Reaction {
    match fault {
        Some(fault) => spoil(fault, answer),
        None => answer.whole(),
    }
}

/// What a fault makes of an answer.
fn spoil(fault: Fault, answer: Reply) -> Reaction {
    let punishment = json!({
        "status": 1111, "wait": 5, "source": "x5", "punish": "deny", "uuid": "5f3c9a2e7d1b4c60",
    });
    let nothing = Reply {
        body: String::new(),
        ..answer.clone()
    };
    match fault {
        Fault::Errcode {
            errcode,
            errmsg,
            sub_code,
        } => {
            let known = || {
                errcode::lookup(errcode)
                    .map_or("injected", |row| row.meaning)
                    .to_owned()
            };
            let mut body = json!({"errcode": errcode, "errmsg": errmsg.unwrap_or_else(known)});
            if let Some(sub_code) = sub_code {
                body["sub_code"] = sub_code.into();
            }
            Reply::json(200, &body).whole()
        }
        Fault::Html => Reply::html(200, "亲，访问被拒绝").whole(),
        Fault::Punish => Reply::json(200, &punishment).whole(),
        Fault::Mixed => {
            let mut body = punishment;
            body["errcode"] = 130_101.into();
            body["errmsg"] = "send too fast, exceed 20 times per minute".into();
            Reply::json(200, &body).whole()
        }
        Fault::HttpStatus(status) => Reply::html(status, &format!("HTTP {status}")).whole(),
        Fault::RedirectTo(location) => Reply {
            http_status: 302,
            location: Some(location),
            ..nothing
        }
        .whole(),
        Fault::Empty => nothing.whole(),
        Fault::Hang(ms) | Fault::AcceptHang(ms) => {
            nothing.brought(Manner::CloseAfter(Duration::from_millis(ms)))
        }
        Fault::Drop | Fault::AcceptDrop => nothing.brought(Manner::CloseAfter(Duration::ZERO)),
        Fault::InvalidStaff(_) | Fault::FlowControlledStaff(_) => answer.whole(),
        Fault::Slow(ms) => answer.brought(Manner::After(Duration::from_millis(ms))),
        Fault::Cut => answer.brought(Manner::Cut),
        Fault::StringErrcode => {
            let mut body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            body["errcode"] = body["errcode"].to_string().into();
            Reply::json(200, &body).whole()
        }
        Fault::Code {
            http_status,
            code,
            message,
        } => {
            let refusal = Refusal::new(http_status, code, message.unwrap_or_default());
            Refusal::reply(Err(refusal)).whole()
        }
    }
}

pub(super) fn last_four(token: &str) -> String {
    let skip = token.chars().count().saturating_sub(4);
    token.chars().skip(skip).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::engine::Outcome;
    use crate::engine::outcome::Refused;

    const SECRET: &str = "SECabc";
    const HELLO: &str = r#"{"msgtype":"text","text":{"content":"hello"}}"#;
    const TOO_FAST: Option<i64> = Some(660_026);
    const OK: Option<i64> = Some(0);

    fn now(ms: u64) -> Now {
        Now {
            tick: Tick(ms),
            time: Timestamp(1_790_000_000_000).plus(Span(ms)),
        }
    }

    fn rules(bots: &[&str]) -> Rules {
        Rules::new(SimulatorSettings {
            bots: bots.iter().map(|bot| bot.parse().unwrap()).collect(),
            accept_any_token: false,
            ..SimulatorSettings::default()
        })
    }

    fn post<'a>(query: &'a str, body: &'a str) -> Request<'a> {
        Request {
            method: "POST",
            path: SEND_PATH,
            query,
            content_type: Some("application/json"),
            token: None,
            body: body.as_bytes(),
        }
    }

    /// What is answered to a call of bot `t` at a time.
    fn call(rules: &mut Rules, ms: u64, body: &str) -> Option<i64> {
        rules.receive(&post("access_token=t", body), now(ms));
        rules.calls(0).last().unwrap().errcode
    }

    #[track_caller]
    fn check(request: &Request<'_>, errcode: i64, errmsg: &str) {
        let mut rules = rules(&["ops:t"]);
        rules.receive(request, now(0));
        let call = rules.calls(0).last().unwrap();
        assert_eq!((call.errcode, call.errmsg.as_str()), (Some(errcode), errmsg));
        assert_eq!(call.shown, errcode == 0);
    }

    #[test]
    fn a_request_is_refused_for_its_first_fault() {
        let good = post("access_token=t", HELLO);
        check(&good, 0, "ok");
        check(
            &Request {
                content_type: Some("Application/JSON; charset=\"UTF-8\""),
                ..good
            },
            0,
            "ok",
        );
        check(
            &Request {
                method: "GET",
                ..good
            },
            43002,
            "需要POST请求",
        );
        check(&post("", HELLO), 40035, "缺少参数 access_token");
        check(&post("access_token=", HELLO), 40035, "缺少参数 access_token");
        check(&post("access_token=T", HELLO), 300_005, "token is not exist");
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/json; charset=gbk"),
        ] {
            check(
                &Request { content_type, ..good },
                43004,
                "无效的HTTP HEADER Content-Type",
            );
        }
        check(&post("access_token=t", ""), 40035, "缺少参数 json");
        check(&post("access_token=t", "null"), 40035, "缺少参数 json");
        check(
            &post("access_token=t", r#"{"msgtype":"text"}"#),
            40035,
            "缺少参数 text",
        );
        check(
            &post("access_token=t", r#"{"msgtype":"image"}"#),
            400_105,
            "错误描述: 不支持类型 msgType:image;解决方案:请使用支持的类型;",
        );
    }

    #[test]
    fn another_path_is_unknown_and_not_entered() {
        let mut rules = rules(&["ops:t"]);
        let reaction = rules.receive(
            &Request {
                path: "/robot/sendx",
                ..post("access_token=t", HELLO)
            },
            now(0),
        );
        assert_eq!(
            reaction.reply.body,
            r#"{"errcode":404,"errmsg":"请求的URI地址不存在"}"#
        );
        assert_eq!(rules.calls(0).count(), 0);
    }

    #[test]
    fn a_body_of_twenty_thousand_bytes_passes_and_not_one_more() {
        let body = |bytes: usize| {
            let frame = r#"{"msgtype":"text","text":{"content":""}}"#.len();
            format!(
                r#"{{"msgtype":"text","text":{{"content":"{}"}}}}"#,
                "x".repeat(bytes - frame)
            )
        };
        check(&post("access_token=t", &body(20_000)), 0, "ok");
        check(
            &post("access_token=t", &body(20_001)),
            460_101,
            "description: body 大小不合法;solution:请保持大小在 20000bytes 以内;",
        );
    }

    #[test]
    fn the_twenty_first_call_of_a_sliding_minute_begins_ten_minutes_of_silence() {
        let mut rules = rules(&["ops:t"]);
        let first: Vec<_> = (0..20).map(|n| call(&mut rules, n * 3_000, HELLO)).collect();
        assert_eq!(first, [OK; 20]);
        // At 60.000 s the call of 0 s has left the window, at 62.999 s that of 3 s has not.
        assert_eq!(call(&mut rules, 60_000, HELLO), OK);
        assert_eq!(call(&mut rules, 62_999, HELLO), TOO_FAST);
        assert_eq!(call(&mut rules, 662_998, HELLO), TOO_FAST);
        assert_eq!(call(&mut rules, 662_999, HELLO), OK);
        let stats = rules.stats(now(700_000));
        let ops = &stats.bots[0];
        assert_eq!(
            (
                ops.penalties,
                ops.calls_per_window_max,
                ops.messages_per_window_max
            ),
            (1, 21, 20)
        );
        assert_eq!((ops.calls, ops.messages, ops.penalty_left_ms), (24, 22, 0));
    }

    #[test]
    fn refused_calls_count_towards_the_minute_and_another_bot_has_its_own() {
        let mut rules = rules(&["ops@g:t", "ops-2@g:u"]);
        for _ in 0..20 {
            assert_eq!(call(&mut rules, 0, "{}"), Some(40035));
        }
        assert_eq!(call(&mut rules, 1, HELLO), TOO_FAST);
        rules.receive(&post("access_token=u", HELLO), now(1));
        assert_eq!(rules.calls(0).last().unwrap().errcode, OK);
    }

    #[test]
    fn at_sixty_times_the_speed_the_minute_is_a_second_and_the_penalty_ten() {
        let mut rules = Rules::new(SimulatorSettings {
            time_scale: NonZeroU32::new(60).unwrap(),
            ..SimulatorSettings::default()
        });
        for _ in 0..20 {
            assert_eq!(call(&mut rules, 0, HELLO), OK);
        }
        assert_eq!(call(&mut rules, 999, HELLO), TOO_FAST);
        assert_eq!(rules.stats(now(999)).bots[0].penalty_left_ms, 10_000);
        assert_eq!(call(&mut rules, 10_999, HELLO), OK);
    }

    /// What a bot with a secret and a keyword answers, as our own client would understand it.
    #[track_caller]
    fn check_security(timestamp: &str, signature: &str, body: &str, expected: Outcome) {
        for wording in [Wording::English, Wording::Chinese, Wording::Recent] {
            let mut rules = Rules {
                wording,
                ..rules(&["ops:t:SECabc:告警"])
            };
            let query = format!("access_token=t{timestamp}{signature}");
            let reply = rules.receive(&post(&query, body), now(0)).reply;
            let answer =
                errcode::classify(reply.http_status, Some(reply.content_type), reply.body.as_bytes());
            assert_eq!(answer.outcome, expected, "{}", reply.body);
        }
    }

    #[test]
    fn a_signature_must_match_and_be_of_this_hour() {
        const HOUR: i64 = 3_600_000;
        let good = r#"{"msgtype":"markdown","markdown":{"title":"t","text":"告警"}}"#;
        let start = now(0).time.0;
        let signed = |timestamp: i64| {
            let sign = sign::sign(&Secret::new(SECRET), Timestamp(timestamp));
            (
                format!("&timestamp={timestamp}"),
                format!("&sign={}", sign::percent_encoded(&sign)),
            )
        };
        for offset in [0, HOUR, -HOUR] {
            let (timestamp, sign) = signed(start + offset);
            check_security(&timestamp, &sign, good, Outcome::Delivered);
        }
        for timestamp in [start + HOUR + 1, start - HOUR - 1, start / 1000] {
            let (timestamp, sign) = signed(timestamp);
            check_security(&timestamp, &sign, good, Outcome::Refused(Refused::Clock));
        }
        let (timestamp, sign) = signed(start);
        check_security("&timestamp=soon", &sign, good, Outcome::Refused(Refused::Clock));
        for sign in [
            "",
            "&sign=",
            "&sign=AAAA",
            &sign.replace('%', "%25"),
            &sign.to_lowercase(),
        ] {
            check_security(&timestamp, sign, good, Outcome::Refused(Refused::Signature));
        }
        check_security("", &sign, good, Outcome::Refused(Refused::Signature));
        check_security(&timestamp, &sign, HELLO, Outcome::Refused(Refused::Keyword));
    }

    #[test]
    fn a_uuid_that_was_accepted_is_shown_once_and_its_bytes_are_compared() {
        let mut rules = rules(&["ops:t"]);
        let message =
            |words: &str| format!(r#"{{"msgtype":"text","text":{{"content":"{words}"}},"msgUuid":"u"}}"#);
        assert_eq!(
            call(&mut rules, 0, r#"{"msgtype":"text","msgUuid":"u"}"#),
            Some(40035)
        );
        for words in ["one", "one", "two"] {
            assert_eq!(call(&mut rules, 0, &message(words)), OK);
        }
        let seen: Vec<_> = rules
            .calls(0)
            .map(|call| (call.shown, call.duplicate_of, call.same_bytes))
            .collect();
        assert_eq!(
            seen,
            [
                (false, None, None),
                (true, None, None),
                (false, Some(2), Some(true)),
                (false, Some(2), Some(false)),
            ]
        );
    }

    #[test]
    fn a_fault_takes_the_place_of_the_rules_or_only_of_their_answer() {
        let mut rules = rules(&["ops:t"]);
        rules.inject(Injection::next(Fault::Errcode {
            errcode: 130_101,
            errmsg: None,
            sub_code: None,
        }));
        rules.inject(Injection::next(Fault::AcceptHang(5)));
        assert_eq!(call(&mut rules, 0, HELLO), Some(130_101));
        let reaction = rules.receive(&post("access_token=t", HELLO), now(0));
        assert_eq!(reaction.manner, Manner::CloseAfter(Duration::from_millis(5)));
        assert_eq!(call(&mut rules, 0, HELLO), OK);
        let shown: Vec<_> = rules.calls(0).map(|call| (call.shown, call.fault)).collect();
        assert_eq!(
            shown,
            [
                (false, Some("errcode")),
                (true, Some("accept_hang")),
                (true, None)
            ]
        );
        assert_eq!(rules.faults(), []);
    }

    #[test]
    fn the_ledger_forgets_the_oldest_and_says_how_many() {
        let mut rules = rules(&["ops:t"]);
        for _ in 0..LEDGER_CALLS_MAX + 3 {
            call(&mut rules, 0, "{}");
        }
        assert_eq!(rules.calls(0).next().unwrap().number, 4);
        assert_eq!(rules.calls(10_001).count(), 2);
        assert_eq!(rules.stats(now(0)).calls_forgotten, 3);
        rules.clear();
        assert_eq!((rules.calls(0).count(), rules.epoch()), (0, 1));
    }

    #[test]
    fn ledger_and_numbers_are_readable_and_hold_no_credential() {
        let mut rules = rules(&["ops@on call:token-of-ops:SECabc"]);
        rules.accept_any_token = true;
        let body = r#"{"msgtype":"actionCard","actionCard":{"title":"a","text":"b @u1","singleTitle":"open","singleURL":"https://x"},"at":{"atUserIds":["u1"]},"msgUuid":"m-1"}"#;
        rules.receive(&post("access_token=some-other-token-abcd", body), now(0));
        rules.receive(&post("access_token=token-of-ops", HELLO), now(1));
        let calls: Vec<_> = rules.calls(0).collect();
        let shown =
            serde_json::to_string_pretty(&json!({"messages": calls, "stats": rules.stats(now(1))})).unwrap();
        for credential in ["token-of-ops", "other-token", SECRET] {
            assert!(!shown.contains(credential) && !format!("{rules:?}").contains(credential));
        }
        insta::assert_snapshot!(shown);
    }
}
