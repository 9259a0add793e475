//! A stand-in for DingTalk's webhook and the APIs of its apps, for tests, demonstrations and trying out templates.
//!
//! It is stricter than the original wherever that is not documented, so that what passes here passes there:
//! signatures, clock, keyword, size, 20 calls a minute with a penalty, `msgUuid` folding; for apps the life of a token,
//! members of groups, size, 20 calls a second. Faults are made to order. Everything that arrives is in a bounded
//! ledger, and the chats of groups and people are shown as a web page, where one can write to the bots of apps as well.
//!
//! - [`rules`] decides: a plain value, told the time, without any I/O
//! - [`apps`] knows the apps and their tokens, `robot` what their bots say, [`people`] to whom, `receipts` who has
//!   read it and what was recalled
//! - `oapi` is what the older calls have in common, `directory` looks people up, `notices` are work notices
//! - [`content`] reads the five message types
//! - [`fault`] says what can be made to go wrong
//! - [`questions`] is what people write to the bots of apps, `postman` posts it as DingTalk does
//! - `http` carries requests to it and answers, or what is left of them, back
//!
//! | path | what |
//! |---|---|
//! | `POST /robot/send` | the webhook |
//! | `POST /v1.0/oauth2/accessToken` | an app's access token |
//! | `POST /v1.0/robot/groupMessages/send` | an app's message to a group |
//! | `POST /v1.0/robot/oToMessages/batchSend` | an app's message to people |
//! | `GET /v1.0/robot/oToMessages/readStatus` | who has read a message to people |
//! | `POST /v1.0/robot/groupMessages/query` | who has read a message to a group |
//! | `POST /v1.0/robot/otoMessages/batchRecall` | takes messages to people back |
//! | `POST /v1.0/robot/groupMessages/recall` | takes messages to a group back |
//! | `GET /gettoken` | an app's access token, as it was asked for before |
//! | `POST /topapi/v2/user/getbymobile`, `POST /topapi/user/getbyunionid` | look people up |
//! | `POST /topapi/message/corpconversation/asyncsend_v2` | an app's work notice |
//! | `POST /topapi/message/corpconversation/getsendprogress`, `…/getsendresult` | what became of it |
//! | `POST /topapi/message/corpconversation/recall` | takes it back |
//! | `GET /` | the chats; `/#GROUP` opens that of a group, `/#@USER_ID` that of a person |
//! | `GET`, `DELETE /_sim/messages` | every message, with `?after=NUMBER` the later ones; empties the chats |
//! | `POST /robot/sendBySession` | the answer to somebody who wrote to an app's bot |
//! | `POST /_sim/say` | `{"person": "USER_ID", "group": "NAME", "text": "…"}` writes to an app's bot; without `group` in the own chat, with `"session_ms": 500` in a session that ends soon |
//! | `POST /_sim/read` | `{"person": "USER_ID"}` reads the own chat, with `"group": "NAME"` that of a group |
//! | `GET /_sim/stats` | the numbers of each bot and app: most calls in a window, penalties, … |
//! | `POST`, `GET`, `DELETE /_sim/faults` | orders an [`Injection`] or a list of them; those to come; none any more |
//!
//! Opening the chat of a person on the page reads it, too. An answer of `/_sim/messages` says how many `marks` there
//! were; with `&marks=NUMBER` it holds as well what was read or recalled since.
//!
//! Tokens and secrets are compared and never shown; a bot that was not configured goes by the last four
//! characters of its token.

pub mod apps;
#[cfg(test)]
mod caller;
pub mod content;
mod directory;
pub mod fault;
mod http;
pub(crate) mod notices;
mod oapi;
pub mod people;
mod postman;
pub mod questions;
mod receipts;
mod robot;
pub mod rules;

use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alert::{Now, Tick, Timestamp};
use crate::clock;
use crate::dingtalk::simulator::fault::Injection;
use crate::dingtalk::simulator::people::Fate;
use crate::dingtalk::simulator::postman::Answered;
use crate::dingtalk::simulator::questions::{Posting, Saying};
use crate::dingtalk::simulator::rules::{Call, Reaction, Request, Rules, Stats};
use crate::secret::Secret;

/// How the stand-in behaves.
#[derive(Clone, Debug)]
pub struct SimulatorSettings {
    /// The bots it knows.
    pub bots: Vec<SimulatedBot>,
    /// The apps it knows.
    pub apps: Vec<SimulatedApp>,
    /// The groups that bots of apps are in.
    pub groups: Vec<SimulatedGroup>,
    /// The people of the organisation.
    pub people: Vec<SimulatedPerson>,
    /// The departments of the organisation besides the root, which holds everybody.
    pub departments: Vec<SimulatedDepartment>,
    /// Where what people write to the bots of apps is posted.
    pub callbacks: Vec<SimulatedCallback>,
    /// Is every other token taken for an unsigned bot of a group of its own, every other key for an app, every other
    /// conversation for a group all apps are in, and every other `userId` for somebody's?
    pub accept_any_token: bool,
    /// How many times faster than the clock the rate window and the penalty pass: at 60 the ten minutes are
    /// ten seconds. Signatures live for an hour of the clock all the same.
    pub time_scale: NonZeroU32,
    /// The words of its refusals.
    pub wording: Wording,
}

/// A bot of the stand-in, written `NAME[@GROUP]:TOKEN[:SECRET[:KEYWORD]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedBot {
    /// Shown as the sender.
    pub name: String,
    /// The group chat it speaks in; bots may share one.
    pub group: String,
    /// Its `access_token`.
    pub access_token: Secret,
    /// Demands signatures when present.
    pub secret: Option<Secret>,
    /// Demands this word in every message when present.
    pub keyword: Option<String>,
}

/// DingTalk worded its refusals differently over the years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Wording {
    /// `sign not match`, as documented.
    English,
    /// `description:…;solution:…`, since 2023.
    #[default]
    Chinese,
    /// `错误描述:…;解决方案:…`, since 2026.
    Recent,
}

/// Stands in for DingTalk on this machine: enforces its rules, shows the chats of groups and people as a web page.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulatorArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8070")]
    pub listen: std::net::SocketAddr,
    /// A bot, may be repeated; without any bot or app, all are accepted
    #[arg(long = "bot", value_name = "NAME[@GROUP]:TOKEN[:SECRET[:KEYWORD]]")]
    pub bots: Vec<SimulatedBot>,
    /// An app, may be repeated
    #[arg(long = "app", value_name = "NAME:KEY:SECRET[:ROBOT_CODE[:AGENT_ID]]")]
    pub apps: Vec<SimulatedApp>,
    /// A group the bot of an app is in, may be repeated
    #[arg(long = "group", value_name = "APP@GROUP:CONVERSATION")]
    pub groups: Vec<SimulatedGroup>,
    /// A person that apps can write to, may be repeated
    #[arg(long = "person", value_name = "NAME:USER_ID[:MOBILE[:UNION_ID]]")]
    pub people: Vec<SimulatedPerson>,
    /// A department besides the root, which holds everybody, may be repeated
    #[arg(long = "department", value_name = "ID:USER_ID[,USER_ID]…")]
    pub departments: Vec<SimulatedDepartment>,
    /// Where what people write to the bot of an app is posted, may be repeated
    #[arg(long = "callback", value_name = "APP=URL")]
    pub callbacks: Vec<SimulatedCallback>,
    /// Accept other tokens, apps, conversations and people besides the named ones
    #[arg(long)]
    pub accept_any_token: bool,
    /// How many times faster the rate window and the penalty pass
    #[arg(long, value_name = "TIMES", default_value = "1")]
    pub time_scale: NonZeroU32,
    /// Which generation of DingTalk's refusal texts to use
    #[arg(long, value_enum, default_value_t)]
    pub wording: Wording,
}

impl SimulatorArgs {
    /// The settings these arguments ask for.
    pub fn settings(self) -> SimulatorSettings {
        SimulatorSettings {
            accept_any_token: self.accept_any_token || self.bots.is_empty() && self.apps.is_empty(),
            bots: self.bots,
            apps: self.apps,
            groups: self.groups,
            people: self.people,
            departments: self.departments,
            callbacks: self.callbacks,
            time_scale: self.time_scale,
            wording: self.wording,
        }
    }
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            bots: Vec::new(),
            apps: Vec::new(),
            groups: Vec::new(),
            people: Vec::new(),
            departments: Vec::new(),
            callbacks: Vec::new(),
            accept_any_token: true,
            time_scale: NonZeroU32::MIN,
            wording: Wording::default(),
        }
    }
}

/// A bot that is not written as it should be. The text is not repeated: it holds a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bot is written `NAME[@GROUP]:TOKEN[:SECRET[:KEYWORD]]`, with a name and a token at least")]
pub struct SimulatedBotError;

impl FromStr for SimulatedBot {
    type Err = SimulatedBotError;

    fn from_str(text: &str) -> Result<Self, SimulatedBotError> {
        let mut fields = text.splitn(4, ':');
        let mut field = || fields.next().filter(|field| !field.is_empty());
        let name = field().ok_or(SimulatedBotError)?;
        let access_token = field().map(Secret::new).ok_or(SimulatedBotError)?;
        let (name, group) = name.split_once('@').unwrap_or((name, name));
        if name.is_empty() || group.is_empty() {
            return Err(SimulatedBotError);
        }
        Ok(Self {
            name: name.to_owned(),
            group: group.to_owned(),
            access_token,
            secret: field().map(Secret::new),
            keyword: field().map(str::to_owned),
        })
    }
}

/// An app of the stand-in, written `NAME:KEY:SECRET[:ROBOT_CODE[:AGENT_ID]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedApp {
    /// Shown as the sender.
    pub name: String,
    /// Its `appKey`.
    pub key: String,
    /// Its `appSecret`.
    pub secret: Secret,
    /// Its `robotCode`.
    pub robot_code: String,
    /// Its `agent_id`, without which it sends no work notices.
    pub agent_id: Option<u64>,
}

/// An app that is not written as it should be. The text is not repeated: it holds a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an app is written `NAME:KEY:SECRET[:ROBOT_CODE[:AGENT_ID]]`, with a number for the last")]
pub struct SimulatedAppError;

impl FromStr for SimulatedApp {
    type Err = SimulatedAppError;

    fn from_str(text: &str) -> Result<Self, SimulatedAppError> {
        let mut fields = text.split(':');
        let mut field = || fields.next().filter(|field| !field.is_empty()).map(str::to_owned);
        let name = field().ok_or(SimulatedAppError)?;
        let key = field().ok_or(SimulatedAppError)?;
        let app = Self {
            name,
            secret: field().map(Secret::new).ok_or(SimulatedAppError)?,
            robot_code: field().unwrap_or_else(|| key.clone()),
            agent_id: field()
                .map(|id| id.parse())
                .transpose()
                .map_err(|_| SimulatedAppError)?,
            key,
        };
        fields.next().map_or(Ok(app), |_| Err(SimulatedAppError))
    }
}

/// A group that the bot of an app is in, written `APP@GROUP:CONVERSATION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedGroup {
    /// The app's name.
    pub app: String,
    /// The group's name.
    pub group: String,
    /// Its `openConversationId`.
    pub conversation: String,
}

/// A group that is not written as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a group is written `APP@GROUP:CONVERSATION`")]
pub struct SimulatedGroupError;

impl FromStr for SimulatedGroup {
    type Err = SimulatedGroupError;

    fn from_str(text: &str) -> Result<Self, SimulatedGroupError> {
        let (app, rest) = text.split_once('@').ok_or(SimulatedGroupError)?;
        let (group, conversation) = rest.split_once(':').ok_or(SimulatedGroupError)?;
        if [app, group, conversation].iter().any(|field| field.is_empty()) {
            return Err(SimulatedGroupError);
        }
        Ok(Self {
            app: app.to_owned(),
            group: group.to_owned(),
            conversation: conversation.to_owned(),
        })
    }
}

/// A person of the stand-in's organisation, written `NAME:USER_ID[:MOBILE[:UNION_ID]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedPerson {
    /// Shown above the chat.
    pub name: String,
    /// The `userId`, which calls name.
    pub user_id: String,
    /// The mobile number.
    pub mobile: Option<String>,
    /// The `unionId`.
    pub union_id: Option<String>,
}

/// A person that is not written as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a person is written `NAME:USER_ID[:MOBILE[:UNION_ID]]`, with a name and a user id at least")]
pub struct SimulatedPersonError;

impl FromStr for SimulatedPerson {
    type Err = SimulatedPersonError;

    fn from_str(text: &str) -> Result<Self, SimulatedPersonError> {
        let mut fields = text.split(':');
        let mut field = || fields.next().filter(|field| !field.is_empty()).map(str::to_owned);
        let person = Self {
            name: field().ok_or(SimulatedPersonError)?,
            user_id: field().ok_or(SimulatedPersonError)?,
            mobile: field(),
            union_id: field(),
        };
        fields.next().map_or(Ok(person), |_| Err(SimulatedPersonError))
    }
}

/// A department of the stand-in's organisation, written `ID:USER_ID[,USER_ID]…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedDepartment {
    /// Its number, which calls name.
    pub id: u64,
    /// The `userId`s of who is in it, or below it.
    pub people: Vec<String>,
}

/// A department that is not written as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a department is written `ID:USER_ID[,USER_ID]…`, with a number above 1 and somebody in it")]
pub struct SimulatedDepartmentError;

impl FromStr for SimulatedDepartment {
    type Err = SimulatedDepartmentError;

    fn from_str(text: &str) -> Result<Self, SimulatedDepartmentError> {
        let (id, people) = text.split_once(':').ok_or(SimulatedDepartmentError)?;
        let id = id.parse().ok().filter(|id| *id > 1);
        let people: Vec<String> = people.split(',').map(str::to_owned).collect();
        match id {
            Some(id) if people.iter().all(|user| !user.is_empty()) => Ok(Self { id, people }),
            Some(_) | None => Err(SimulatedDepartmentError),
        }
    }
}

/// Where what is written to the bot of an app is posted, written `APP=URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedCallback {
    /// The app's name.
    pub app: String,
    /// The address, of plain HTTP: a daemon on this machine.
    pub url: String,
}

/// A callback that is not written as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a callback is written `APP=URL`, with a URL that begins with `http://`")]
pub struct SimulatedCallbackError;

impl FromStr for SimulatedCallback {
    type Err = SimulatedCallbackError;

    fn from_str(text: &str) -> Result<Self, SimulatedCallbackError> {
        let (app, url) = text.split_once('=').ok_or(SimulatedCallbackError)?;
        if app.is_empty() || !url.starts_with("http://") {
            return Err(SimulatedCallbackError);
        }
        Ok(Self {
            app: app.to_owned(),
            url: url.to_owned(),
        })
    }
}

/// A running stand-in; it ends when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    desk: Arc<Desk>,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

/// The rules and their clocks, shared by connections and handle. The lock is held for one decision at a time.
#[derive(Debug)]
pub(crate) struct Desk {
    rules: Mutex<Rules>,
    /// Of the stand-in itself.
    url: String,
    started: std::time::Instant,
    started_at: Timestamp,
    changed: watch::Sender<()>,
}

impl Desk {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, request: &Request<'_>) -> Reaction {
        let reaction = self.rules().receive(request, self.now());
        self.changed.send_replace(());
        reaction
    }

    /// Changes when numbers of calls begin anew or calls are gone, so that a page can tell.
    fn epoch(&self, rules: &Rules) -> String {
        format!("{}-{}", self.started_at.0, rules.epoch())
    }

    /// Somebody writes to the bot of an app; the number it has in the ledger.
    fn say(self: &Arc<Self>, saying: &Saying) -> Result<u64, String> {
        let posting = self.rules().say(saying, &self.url, clock::now())?;
        let number = posting.number;
        self.changed.send_replace(());
        tokio::spawn(postman::carry(Arc::clone(self), posting));
        Ok(number)
    }

    /// What came of posting it; says whether it was heard.
    fn called_back(&self, posting: &Posting, answered: &Answered) -> bool {
        let is_heard = self.rules().called_back(posting, answered, self.now());
        self.changed.send_replace(());
        is_heard
    }

    fn now(&self) -> Now {
        let tick = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now {
            tick: Tick(tick),
            time: clock::now(),
        }
    }
}

impl Simulator {
    /// Serves on `listener` until shut down. Must be called inside a runtime.
    pub fn start(settings: SimulatorSettings, listener: TcpListener) -> std::io::Result<Self> {
        let desk = Arc::new(Desk {
            rules: Mutex::new(Rules::new(settings)),
            url: format!("http://{}", listener.local_addr()?),
            started: std::time::Instant::now(),
            started_at: clock::now(),
            changed: watch::Sender::new(()),
        });
        let stop = CancellationToken::new();
        let server = tokio::spawn(http::serve(Arc::clone(&desk), listener, stop.clone()));
        Ok(Self {
            desk,
            stop,
            server: Some(server),
        })
    }

    /// The base URL: for `dingtalk.base_url`, and for the page.
    pub fn url(&self) -> &str {
        &self.desk.url
    }

    /// Every call there was, oldest first.
    pub fn ledger(&self) -> Vec<Call> {
        self.desk.rules().calls(0).cloned().collect()
    }

    /// What the chats show of what bots and apps said, oldest first.
    pub fn messages(&self) -> Vec<Call> {
        self.desk
            .rules()
            .calls(0)
            .filter(|call| call.shown && !call.recalled && call.said_by.is_none())
            .cloned()
            .collect()
    }

    /// What the chat of a person shows of what apps said, oldest first.
    pub fn chat(&self, user_id: &str) -> Vec<Call> {
        let is_told = |call: &&Call| {
            let mut people = call.people.iter();
            !call.recalled
                && call.said_by.is_none()
                && people.any(|person| person.user_id == user_id && person.fate == Fate::Told)
        };
        self.desk.rules().calls(0).filter(is_told).cloned().collect()
    }

    /// Lets what is written to the bot of an app be posted to an address.
    pub fn call_back(&self, callback: SimulatedCallback) {
        self.desk.rules().call_back(callback);
    }

    /// Somebody writes to the bot of an app; answers the number of this in the ledger. To be called inside a runtime.
    pub fn say(&self, saying: &Saying) -> Result<u64, String> {
        self.desk.say(saying)
    }

    /// Lets a person read everything apps have said in a group, or in the own chats; says how much was new.
    pub fn read(&self, user_id: &str, group: Option<&str>) -> usize {
        self.desk.rules().read(user_id, group, clock::now())
    }

    /// Each bot's numbers.
    pub fn stats(&self) -> Stats {
        self.desk.rules().stats(self.desk.now())
    }

    /// Makes something go wrong.
    pub fn inject(&self, injection: Injection) {
        self.desk.rules().inject(injection);
    }

    /// Lets nothing go wrong any more.
    pub fn clear_faults(&self) {
        self.desk.rules().clear_faults();
    }

    /// Empties the groups and the ledger. Rate windows, penalties and known `msgUuid`s stay.
    pub fn clear(&self) {
        self.desk.rules().clear();
    }

    /// Waits until the ledger satisfies `enough`, and returns it.
    pub async fn wait_for(&self, enough: impl Fn(&[Call]) -> bool) -> Vec<Call> {
        let mut changed = self.desk.changed.subscribe();
        loop {
            let ledger = self.ledger();
            // The sender lives as long as `self`, so waiting cannot fail.
            if enough(&ledger) || changed.changed().await.is_err() {
                return ledger;
            }
        }
    }

    /// Waits for messages of bots and apps that come into a chat after the call of this number, oldest first.
    pub async fn arrivals(&self, after: u64) -> Vec<Call> {
        let mut changed = self.desk.changed.subscribe();
        loop {
            let is_news = |call: &&Call| call.shown && call.said_by.is_none();
            let calls: Vec<Call> = (self.desk.rules().calls(after).filter(is_news).cloned()).collect();
            // The sender lives as long as `self`, so waiting cannot fail.
            if !calls.is_empty() || changed.changed().await.is_err() {
                return calls;
            }
        }
    }

    /// Stops serving, closes every connection and gives the port back.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take()
            && let Err(error) = server.await
        {
            tracing::error!(%error, "the simulated DingTalk ended abnormally");
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_bot_is_written_in_one_word() {
        let read = |text: &str| text.parse::<SimulatedBot>();
        let full = read("ops@on call:tok:SEC:告警: x").unwrap();
        assert_eq!((full.name.as_str(), full.group.as_str()), ("ops", "on call"));
        assert_eq!(full.secret, Some(Secret::new("SEC")));
        assert_eq!(full.keyword.as_deref(), Some("告警: x"));
        let short = read("ops:tok::告警").unwrap();
        assert_eq!((short.group.as_str(), short.secret), ("ops", None));
        assert_eq!(short.keyword.as_deref(), Some("告警"));
        for wrong in ["", "ops", "ops:", ":tok", "@group:tok", "ops@:tok"] {
            assert_eq!(read(wrong), Err(SimulatedBotError), "{wrong}");
        }
    }

    #[test]
    fn an_app_and_its_group_are_written_in_one_word_each() {
        let read = |text: &str| text.parse::<SimulatedApp>();
        let app = read("ops:ding1:s3cret").unwrap();
        assert_eq!((app.name.as_str(), app.robot_code.as_str()), ("ops", "ding1"));
        assert_eq!(read("ops:ding1:s3cret:robot").unwrap().robot_code, "robot");
        let app = read("ops:ding1:s3cret::123").unwrap();
        assert_eq!((app.robot_code.as_str(), app.agent_id), ("ding1", Some(123)));
        for wrong in ["", "ops", "ops:ding1", "ops::s", "ops:k:s:r:x", "ops:k:s:r:1:2"] {
            assert_eq!(read(wrong), Err(SimulatedAppError), "{wrong}");
        }
        let group = "ops@on call:cid1==".parse::<SimulatedGroup>().unwrap();
        assert_eq!(
            (group.group.as_str(), group.conversation.as_str()),
            ("on call", "cid1==")
        );
        for wrong in ["", "ops:cid", "@g:cid", "ops@:cid", "ops@g:"] {
            assert_eq!(
                wrong.parse::<SimulatedGroup>(),
                Err(SimulatedGroupError),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_person_is_written_in_one_word() {
        let read = |text: &str| text.parse::<SimulatedPerson>();
        let full = read("王芳:u1:13800000000:un1").unwrap();
        assert_eq!((full.name.as_str(), full.user_id.as_str()), ("王芳", "u1"));
        assert_eq!(full.mobile.as_deref(), Some("13800000000"));
        assert_eq!(full.union_id.as_deref(), Some("un1"));
        let short = read("Ann:u2::un2").unwrap();
        assert_eq!((short.mobile, short.union_id.as_deref()), (None, Some("un2")));
        for wrong in ["", "Ann", "Ann:", ":u1", "Ann:u1:1:2:3"] {
            assert_eq!(read(wrong), Err(SimulatedPersonError), "{wrong}");
        }
    }

    #[test]
    fn a_callback_is_written_in_one_word() {
        let read = |text: &str| text.parse::<SimulatedCallback>();
        let callback = read("ops=http://127.0.0.1:9470/v1/apps/ops/messages?a=b").unwrap();
        assert_eq!(callback.app, "ops");
        assert_eq!(callback.url, "http://127.0.0.1:9470/v1/apps/ops/messages?a=b");
        for wrong in ["", "ops", "=http://x", "ops=", "ops=https://x", "ops=x"] {
            assert_eq!(read(wrong), Err(SimulatedCallbackError), "{wrong}");
        }
    }

    async fn started() -> (Simulator, reqwest::Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = Simulator::start(SimulatorSettings::default(), listener).unwrap();
        drop(rustls::crypto::ring::default_provider().install_default());
        (simulator, reqwest::Client::builder().no_proxy().build().unwrap())
    }

    async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            serde_json::from_slice(&response.bytes().await.unwrap()).unwrap(),
        )
    }

    #[tokio::test]
    async fn people_order_faults_and_read_the_ledger_over_http() {
        let (simulator, http) = started().await;
        let at = |path: &str| format!("{}{path}", simulator.url());
        let order = |body: &'static str| http.post(at("/_sim/faults")).body(body);
        let (status, problem) = read(order(r#"{"fault":"nonsense"}"#)).await;
        assert_eq!(status, 400);
        assert!(
            problem["error"].as_str().unwrap().contains("accept_drop"),
            "the choices are named: {problem}"
        );
        let (_, pending) = read(order(
            r#"[{"fault":"html"},{"fault":{"errcode":{"errcode":130101}},"times":0}]"#,
        ))
        .await;
        assert_eq!(pending["faults"].as_array().unwrap().len(), 2);
        let (_, pending) = read(http.delete(at("/_sim/faults"))).await;
        assert_eq!(pending, json!({"faults": []}));
        assert_eq!(read(http.get(at("/_sim/faults"))).await.1, pending);

        let hello = || {
            http.post(at("/robot/send?access_token=0000abcd"))
                .header("content-type", "application/json")
                .body(r#"{"msgtype":"text","text":{"content":"hello"}}"#)
        };
        assert_eq!(read(hello()).await, (200, json!({"errcode": 0, "errmsg": "ok"})));
        read(hello()).await;
        let (_, ledger) = read(http.get(at("/_sim/messages?after=1"))).await;
        assert_eq!(ledger["messages"].as_array().unwrap().len(), 1);
        assert_eq!(ledger["messages"][0]["group"], "abcd");
        assert_eq!(
            read(http.get(at("/_sim/stats"))).await.1["bots"][0]["messages"],
            2
        );

        // A custom bot's messages cannot be asked about, so nobody is seen to read them.
        let (_, read_now) = read(
            http.post(at("/_sim/read"))
                .body(r#"{"person":"u1","group":"abcd"}"#),
        )
        .await;
        assert_eq!(read_now, json!({"read": 0}));
        let (status, _) = read(http.post(at("/_sim/read")).body(r#"{"group":"abcd"}"#)).await;
        assert_eq!(status, 400);

        let epoch = ledger["epoch"].clone();
        read(http.delete(at("/_sim/messages"))).await;
        let (_, ledger) = read(http.get(at("/_sim/messages"))).await;
        assert_eq!(ledger["messages"], json!([]));
        assert_ne!(ledger["epoch"], epoch);
        simulator.shutdown().await;
    }

    #[tokio::test]
    async fn what_nobody_hears_is_tried_three_times_and_the_page_says_so() {
        let (simulator, http) = started().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let callback = |app: &str| SimulatedCallback {
            app: app.to_owned(),
            url: url.clone(),
        };
        let say = || http.post(format!("{}/_sim/say", simulator.url()));
        let hello = r#"{"person":"u1","text":"hello"}"#;
        assert_eq!(read(say().body(hello)).await.0, 400, "no app has a callback");
        simulator.call_back(callback("ing1"));
        // An app that shows its token is known.
        read(
            http.post(format!("{}/v1.0/oauth2/accessToken", simulator.url()))
                .header("content-type", "application/json")
                .body(r#"{"appKey":"ding1","appSecret":"s"}"#),
        )
        .await;
        let server = tokio::spawn(async move {
            let mut heads = Vec::new();
            for _ in 0..3 {
                let (stream, _) = listener.accept().await.unwrap();
                heads.push(refuse(stream).await);
            }
            heads
        });
        assert_eq!(read(say().body(hello)).await, (200, json!({"number": 1})));
        let heads = server.await.unwrap();
        let signed: std::collections::BTreeSet<&str> = (heads.iter())
            .flat_map(|head| head.lines().filter(|line| line.starts_with("sign: ")))
            .collect();
        assert_eq!(signed.len(), 3, "each has a head of its own: {heads:?}");
        let told = simulator.wait_for(|calls| calls[0].http_status == 503).await;
        assert_eq!(told[0].errmsg, "busy");
        assert_eq!((told[0].said_by.as_deref(), told[0].shown), (Some("u1"), true));
        assert_eq!(simulator.messages(), [], "it is not the app that said it");
    }

    /// Reads a request and answers that there is no time; its head.
    async fn refuse(mut stream: tokio::net::TcpStream) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbusy";
        stream.write_all(busy).await.unwrap();
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn the_page_may_run_its_own_script_and_nothing_else() {
        let (simulator, http) = started().await;
        let response = http.get(simulator.url()).send().await.unwrap();
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned();
        let page = response.text().await.unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-"),
            "{policy}"
        );
        assert_eq!(page.matches("<script").count(), 1);
        assert!(
            !policy.contains("unsafe")
                && !page.contains("innerHTML")
                && !page.contains(" src=")
                && !page.contains(" style=")
        );
    }

    #[tokio::test]
    async fn a_test_can_wait_for_a_message_instead_of_sleeping() {
        let (simulator, http) = started().await;
        let url = format!("{}/robot/send?access_token=t", simulator.url());
        let sender = tokio::spawn(http.post(url).body("{}").send());
        let ledger = simulator.wait_for(|calls| !calls.is_empty()).await;
        assert_eq!(ledger[0].errcode, Some(43004));
        sender.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn shutting_down_gives_the_port_back() {
        let (simulator, _) = started().await;
        let address = simulator.url().replace("http://", "");
        simulator.shutdown().await;
        TcpListener::bind(address).await.unwrap();
    }
}
