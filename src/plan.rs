//! The compiled configuration: what the rest of the program works from.
//!
//! A [`Plan`] is immutable and valid. Names are resolved, expressions compiled, secrets read, inherited
//! settings filled in; whoever holds one has nothing left to check. `config` is the only maker of plans from
//! files. A plan knows nothing of YAML, of files being watched, or of what has happened so far.

pub mod calendar;
pub mod matcher;
pub mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU8;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::alert::{AppName, EndpointName, IntervalName, Labels, ReceiverName, SourceName, Span, Timestamp};
use crate::plan::calendar::TimeInterval;
use crate::plan::matcher::Matcher;
use crate::secret::Secret;
use crate::source::json::Mapping;

/// Everything one configuration says.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How we are reached.
    pub server: Server,
    /// Where state is kept.
    pub store: Store,
    /// Where what comes in is kept to be replayed; `None` is nowhere.
    pub record: Option<Record>,
    /// Language of the built-in templates.
    pub locale: Locale,
    /// Zone of the times people read, of the quota's month, and of intervals without a `location`.
    pub timezone: jiff::tz::TimeZone,
    /// Templates from files by name (the file's name without `.hbs`), overriding built-in ones.
    pub templates: BTreeMap<String, String>,
    /// The ways in.
    pub sources: BTreeMap<SourceName, Source>,
    /// DingTalk itself.
    pub dingtalk: DingTalk,
    /// The apps of the organisation.
    pub apps: BTreeMap<AppName, Arc<App>>,
    /// What messages are sent through: custom bots, apps in their groups, and apps to people.
    pub endpoints: BTreeMap<EndpointName, Endpoint>,
    /// Who is told: one for each kind of way that a configured receiver lists, and one for each person.
    pub receivers: BTreeMap<ReceiverName, Receiver>,
    /// The routing tree.
    pub routes: Routes,
    /// Named sets of time intervals.
    pub intervals: BTreeMap<IntervalName, Vec<TimeInterval>>,
}

/// `server:`.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where we listen.
    pub listen: Listen,
    /// Base of links to us, without a trailing slash.
    pub external_url: Option<String>,
    /// Most bytes of a request body, inflated.
    pub body_limit_bytes: usize,
    /// May sources without authentication be used from other machines?
    pub allow_unauthenticated: bool,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `127.0.0.1:8060`.
    Tcp(std::net::SocketAddr),
    /// `unix:/run/dingest/http.sock`.
    Unix(PathBuf),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `store:`.
#[derive(Clone, Debug)]
pub struct Store {
    /// The database file.
    pub path: PathBuf,
    /// How long digests are kept to be looked up.
    pub history: Span,
}

/// `record:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The file that is being written.
    pub path: PathBuf,
    /// Most bytes of it and the older one together.
    pub bytes_max: u64,
}

impl Record {
    /// Most bytes of one file.
    pub const fn file_bytes_max(&self) -> u64 {
        self.bytes_max / 2
    }

    /// What was written before the file, which goes when that is full.
    pub fn older(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".1");
        name.into()
    }
}

/// `locale:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locale {
    /// `zh-CN`, the default.
    Chinese,
    /// `en`.
    English,
}

impl Locale {
    /// The tag as configured and as part of built-in template names.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Chinese => "zh-CN",
            Self::English => "en",
        }
    }
}

/// `sources:`, one way in.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, part of its path and of every alert's identity.
    pub name: SourceName,
    /// Its wire format.
    pub kind: SourceKind,
    /// What a sender must show.
    pub auth: Auth,
    /// How long an alert may go unrepeated before it is told as expired.
    pub expire_after: Span,
    /// Answered when we cannot take responsibility: 503, or 429 for senders that retry on nothing else.
    pub busy_status: u16,
    /// How to read times without an offset.
    pub timezone: jiff::tz::TimeZone,
}

/// The wire format of a source.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// Alertmanager's webhook and its neighbours.
    Alertmanager,
    /// Grafana's webhook, unified or legacy.
    Grafana,
    /// `POST /api/v2/alerts`, as Prometheus and rulers post to an Alertmanager.
    Prometheus,
    /// Any JSON, read by jq expressions.
    Json(Arc<Mapping>),
}

/// What a sender must show before its body is read.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Nothing; only loopback peers are let in unless `server.allow_unauthenticated` is set.
    None,
    /// `Authorization: Bearer …`, or the token as the last segment of the path.
    Bearer(Secret),
    /// `Authorization: Basic …`.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// Grafana's signature over the body.
    GrafanaHmac {
        /// Shared secret.
        secret: Secret,
        /// Header with the signature in lower-case hexadecimal digits.
        header: String,
        /// Header with Unix seconds that are signed too, when Grafana is configured to send one.
        timestamp_header: Option<String>,
    },
}

/// `dingtalk:`.
#[derive(Clone, Debug)]
pub struct DingTalk {
    /// Scheme and host of the webhook API, without a trailing slash.
    pub base_url: String,
    /// Webhook messages a calendar month allows; `None` is no limit.
    pub monthly_quota: Option<u64>,
    /// API calls a calendar month allows; `None` is no limit.
    pub monthly_api_quota: Option<u64>,
}

/// What a message is sent through. Each has its own pauses; what it may send, and what counts against which month,
/// follows from its way.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its name: that of the bot, `group/RECEIVER`, `direct/RECEIVER/PERSON`, `work_notice/RECEIVER/PERSON`, or
    /// `work_notice/RECEIVER` for departments or everybody.
    pub name: EndpointName,
    /// How it sends.
    pub way: Way,
}

/// How an endpoint sends.
#[derive(Clone, Debug)]
pub enum Way {
    /// Through the webhook of a custom bot.
    Bot(Bot),
    /// Through an app's bot, into one group.
    Group(Group),
    /// Through an app's bot, to one person.
    Direct(Person),
    /// As a work notice of an app.
    WorkNotice(WorkNotice),
}

impl Way {
    /// The stable name in the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Bot(_) => "bot",
            Self::Group(_) => "group",
            Self::Direct(_) => "direct",
            Self::WorkNotice(_) => "work_notice",
        }
    }

    /// The app that sends.
    fn app(&self) -> Option<&Arc<App>> {
        match self {
            Self::Bot(_) => None,
            Self::Group(Group { app, .. }) | Self::Direct(Person { app, .. }) => Some(app),
            Self::WorkNotice(notice) => Some(notice.app()),
        }
    }
}

/// Messages of an endpoint in a sliding stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At most so many.
    pub messages: u32,
    /// In a stretch as long as this.
    pub window: Span,
}

/// What an app may do only so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// Messages of its bot.
    Robot,
    /// Work notices, whose calls take seconds to be answered: nobody else is to wait for them.
    WorkNotice,
    /// Work notices to everybody.
    ToEverybody,
}

/// An app, and what it may do only so often: its endpoints for that have one [`Rate`] between them.
pub type SharedRate = (AppName, Api);

/// What a message counts against in its calendar month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quota {
    /// `monthly_quota`.
    Webhook,
    /// `monthly_api_quota`.
    Api,
}

impl Quota {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Webhook, Self::Api];

    /// What the messages of an endpoint of this name count against, configured or not.
    pub fn of(endpoint: &EndpointName) -> Self {
        if [
            Group::PREFIX,
            Person::PREFIX,
            WorkNotice::PREFIX,
            App::ANSWERS_PREFIX,
            App::EVERYBODY_PREFIX,
        ]
        .iter()
        .any(|prefix| endpoint.as_str().starts_with(prefix))
        {
            Self::Api
        } else {
            Self::Webhook
        }
    }

    /// The stable name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Api => "api",
        }
    }
}

impl DingTalk {
    /// Messages a calendar month allows; `None` is no limit.
    pub const fn quota(&self, quota: Quota) -> Option<u64> {
        match quota {
            Quota::Webhook => self.monthly_quota,
            Quota::Api => self.monthly_api_quota,
        }
    }
}

impl Endpoint {
    /// How fast it may send, together with those it shares its rate with.
    pub fn rate(&self) -> Rate {
        match &self.way {
            Way::Bot(bot) => Rate {
                messages: bot.per_minute,
                window: Span::minutes(1),
            },
            Way::WorkNotice(WorkNotice {
                to: Audience::Everybody(_),
                ..
            }) => Rate {
                messages: WorkNotice::TO_EVERYBODY_MAX,
                window: Span::days(1),
            },
            Way::Group(Group { app, .. }) | Way::Direct(Person { app, .. }) => app.rate(),
            Way::WorkNotice(notice) => notice.app().rate(),
        }
    }

    /// Whose [`Rate`] it sends at, when it is not its own.
    pub fn shared_rate(&self) -> Option<SharedRate> {
        let api = match &self.way {
            Way::Bot(_) => return None,
            Way::Group(_) | Way::Direct(_) => Api::Robot,
            Way::WorkNotice(WorkNotice {
                to: Audience::Everybody(_),
                ..
            }) => Api::ToEverybody,
            Way::WorkNotice(_) => Api::WorkNotice,
        };
        Some((self.app()?.clone(), api))
    }

    /// Whether what it sends are notices to everybody. Of the day's few each that was taken is one: what is asked
    /// about them is none.
    pub const fn is_to_everybody(&self) -> bool {
        matches!(
            &self.way,
            Way::WorkNotice(WorkNotice {
                to: Audience::Everybody(_),
                ..
            })
        )
    }

    /// Under which name its places are counted: its own, or, of notices to everybody, the app's, for whichever receiver
    /// they are.
    pub fn counted_as(&self) -> EndpointName {
        match &self.way {
            Way::WorkNotice(WorkNotice {
                to: Audience::Everybody(app),
                ..
            }) => App::everybody_name(&app.name),
            Way::Bot(_) | Way::Group(_) | Way::Direct(_) | Way::WorkNotice(_) => self.name.clone(),
        }
    }

    /// The app that sends. Its endpoints are refused together when it is the app that is refused.
    pub fn app(&self) -> Option<&AppName> {
        self.way.app().map(|app| &app.name)
    }

    /// The person it reaches, when it is one: equal messages to several may go by one call.
    pub const fn person(&self) -> Option<&Person> {
        match &self.way {
            Way::Direct(person)
            | Way::WorkNotice(WorkNotice {
                to: Audience::Person(person),
                ..
            }) => Some(person),
            Way::Bot(_) | Way::Group(_) | Way::WorkNotice(_) => None,
        }
    }

    /// Whether its messages can be taken back and asked about.
    pub const fn can_be_asked(&self) -> bool {
        match self.way {
            Way::Bot(_) => false,
            Way::Group(_) | Way::Direct(_) | Way::WorkNotice(_) => true,
        }
    }

    /// Most calls whose messages can be taken back by one.
    pub const fn recalled_per_call_max(&self) -> usize {
        match self.way {
            Way::Bot(_) => 0,
            Way::Group(_) | Way::Direct(_) => 20,
            Way::WorkNotice(_) => 1,
        }
    }

    /// Whether equal messages through both can go by one call.
    pub fn shares_calls_with(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.way) == std::mem::discriminant(&other.way)
            && self.person().is_some()
            && other.person().is_some()
            && self.app() == other.app()
    }

    /// Most endpoints whose equal messages can go by one call.
    pub const fn per_call_max(&self) -> usize {
        match &self.way {
            Way::Direct(_) => Person::PER_CALL_MAX,
            Way::WorkNotice(WorkNotice {
                to: Audience::Person(_),
                ..
            }) => WorkNotice::PER_CALL_MAX,
            Way::Bot(_) | Way::Group(_) | Way::WorkNotice(_) => 1,
        }
    }

    /// Whether a message that is sent twice with the same bytes is shown once: DingTalk knows it by its `msgUuid`, or
    /// drops a notice that says what another of the same day has said.
    pub const fn folds_repeats(&self) -> bool {
        match self.way {
            Way::Bot(_) | Way::WorkNotice(_) => true,
            Way::Group(_) | Way::Direct(_) => false,
        }
    }

    /// Whether DingTalk drops a message that says what another has said, so that each must say something of its own.
    pub const fn drops_equals(&self) -> bool {
        match self.way {
            Way::WorkNotice(_) => true,
            Way::Bot(_) | Way::Group(_) | Way::Direct(_) => false,
        }
    }

    /// Calls against the month that a message takes.
    pub const fn calls_per_message(&self) -> u64 {
        match self.way {
            Way::WorkNotice(_) => WorkNotice::CALLS,
            Way::Bot(_) | Way::Group(_) | Way::Direct(_) => 1,
        }
    }

    /// Most bytes of a message as DingTalk measures it, a tenth below what it takes.
    pub const fn message_bytes_max(&self) -> usize {
        match self.way {
            Way::Bot(_) => 18_000,
            // For people there is no figure; the bot is the same.
            Way::Group(_) | Way::Direct(_) => 13_500,
            Way::WorkNotice(_) => 1_850,
        }
    }

    /// Whether a message can make phones ring.
    pub const fn mentions(&self) -> bool {
        match self.way {
            Way::Bot(_) => true,
            Way::Group(_) | Way::Direct(_) | Way::WorkNotice(_) => false,
        }
    }

    /// The custom bot it is, if it is one.
    pub fn bot(&self) -> Option<&Bot> {
        match &self.way {
            Way::Bot(bot) => Some(bot),
            Way::Group(_) | Way::Direct(_) | Way::WorkNotice(_) => None,
        }
    }

    /// A word DingTalk demands in every message.
    pub fn keyword(&self) -> Option<&str> {
        self.bot()?
            .keyword
            .as_deref()
            .filter(|keyword| !keyword.is_empty())
    }

    /// Scheme and host it is reached at, without a trailing slash.
    pub fn base_url<'a>(&'a self, dingtalk: &'a DingTalk) -> &'a str {
        match &self.way {
            Way::Bot(bot) => bot.base_url.as_deref().unwrap_or(&dingtalk.base_url),
            Way::Group(Group { app, .. }) | Way::Direct(Person { app, .. }) => &app.base_url,
            Way::WorkNotice(notice) => notice.app().older_base_url(),
        }
    }

    /// Every secret it uses.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let (first, second) = match &self.way {
            Way::Bot(bot) => (&bot.access_token, bot.secret.as_ref()),
            Way::Group(Group { app, .. }) | Way::Direct(Person { app, .. }) => (&app.secret, None),
            Way::WorkNotice(notice) => (&notice.app().secret, None),
        };
        std::iter::once(first).chain(second)
    }
}

impl From<Bot> for Endpoint {
    fn from(bot: Bot) -> Self {
        Self {
            name: bot.name.clone(),
            way: Way::Bot(bot),
        }
    }
}

/// `apps:`, one app of the organisation.
#[derive(Clone, Debug)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// Its key (Client ID).
    pub key: String,
    /// Its secret (Client Secret).
    pub secret: Secret,
    /// The code of its bot.
    pub robot_code: String,
    /// Scheme and host of the API, without a trailing slash.
    pub base_url: String,
    /// Most calls of one API in any second.
    pub per_second: u32,
    /// Its number in the organisation, without which it sends no work notices.
    pub agent_id: Option<u64>,
    /// Who may ask its bot; `None` is nobody, and it is not listened to.
    pub ask: Option<Askers>,
}

/// `ask:` of an app: who may ask its bot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Askers {
    /// People by `userId`, wherever they ask.
    pub people: BTreeSet<String>,
    /// Groups by `openConversationId`, whoever asks there.
    pub groups: BTreeSet<String>,
}

impl App {
    /// An app of tests, with the key and the bot `key`.
    #[cfg(test)]
    pub(crate) fn of_tests(key: &str, secret: &str, base_url: &str) -> Self {
        Self {
            name: "ops".into(),
            key: key.to_owned(),
            secret: Secret::new(secret),
            robot_code: key.to_owned(),
            base_url: base_url.to_owned(),
            per_second: 18,
            agent_id: Some(7),
            ask: None,
        }
    }

    /// How the names begin under which answers to who asks are counted, and those of no endpoint.
    const ANSWERS_PREFIX: &str = "ask/";

    /// The name under which the answers of an app to who asks its bot are counted.
    pub fn answers_name(app: &AppName) -> EndpointName {
        EndpointName::from(format!("{}{app}", Self::ANSWERS_PREFIX))
    }

    /// How the names begin under which notices to everybody are counted, and those of no endpoint.
    const EVERYBODY_PREFIX: &str = "everybody/";

    /// The name under which the notices of an app to everybody are counted: the day is the app's, also when the
    /// receivers they are for come and go.
    fn everybody_name(app: &AppName) -> EndpointName {
        EndpointName::from(format!("{}{app}", Self::EVERYBODY_PREFIX))
    }

    /// How fast it may call one API.
    pub const fn rate(&self) -> Rate {
        Rate {
            messages: self.per_second,
            window: Span::seconds(1),
        }
    }

    /// Scheme and host of the older API: DingTalk has a host of its own for it, a stand-in has one for both.
    pub fn older_base_url(&self) -> &str {
        match self.base_url.as_str() {
            "https://api.dingtalk.com" => "https://oapi.dingtalk.com",
            "https://api.dingtalk.io" => "https://oapi.dingtalk.io",
            both => both,
        }
    }
}

/// `group:` of a receiver: a group chat that an app's bot is in.
#[derive(Clone, Debug)]
pub struct Group {
    /// The app.
    pub app: Arc<App>,
    /// The group's `openConversationId`.
    pub conversation: String,
}

impl Group {
    /// How the names of these endpoints begin, and those of no bot.
    pub const PREFIX: &'static str = "group/";

    /// The name of the endpoint of a configured receiver's group.
    pub fn endpoint_name(configured: &str) -> EndpointName {
        EndpointName::from(format!("{}{configured}", Self::PREFIX))
    }

    /// The name of the receiver that is this group.
    pub fn receiver_name(configured: &str) -> ReceiverName {
        ReceiverName::from(format!("{configured}/group"))
    }
}

/// One of `direct:` of a receiver: a person whom an app's bot writes to.
#[derive(Clone, Debug)]
pub struct Person {
    /// The app.
    pub app: Arc<App>,
    /// As it is configured: the person's `userId` in the organisation, or what stands for it behind a prefix.
    pub user: String,
}

/// By what a person is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy<'a> {
    /// The `userId`.
    User(&'a str),
    /// `mobile:`, a mobile number.
    Mobile(&'a str),
    /// `unionid:`, a `unionId`.
    UnionId(&'a str),
}

impl<'a> KnownBy<'a> {
    /// Reads what is configured. A `userId` holds no colon.
    pub fn read(user: &'a str) -> Self {
        match user.split_once(':') {
            Some(("mobile", number)) => Self::Mobile(number),
            Some(("unionid", id)) => Self::UnionId(id),
            Some(_) | None => Self::User(user),
        }
    }
}

impl Person {
    /// How the names of these endpoints begin, and those of no bot.
    pub const PREFIX: &'static str = "direct/";

    /// Most people who can be sent the same message by one call.
    pub const PER_CALL_MAX: usize = 20;

    /// The name of the endpoint of a person of a configured receiver.
    pub fn endpoint_name(configured: &str, user: &str) -> EndpointName {
        EndpointName::from(format!("{}{configured}/{user}", Self::PREFIX))
    }

    /// The name of the receiver that is this person.
    pub fn receiver_name(configured: &str, user: &str) -> ReceiverName {
        ReceiverName::from(format!("{configured}/{}{user}", Self::PREFIX))
    }
}

/// One of those whom `work_notice:` of a receiver names: an app tells them in its own name, in the chat where all the
/// organisation's notices are.
#[derive(Clone, Debug)]
pub struct WorkNotice {
    /// The app's number in the organisation.
    pub agent_id: u64,
    /// Whom it tells.
    pub to: Audience,
}

/// Whom a work notice is for.
#[derive(Clone, Debug)]
pub enum Audience {
    /// A person.
    Person(Person),
    /// Everybody in these departments, and in those below them, as far as the app is visible to them.
    Departments(Arc<App>, BTreeSet<u64>),
    /// Everybody whom the app is visible to.
    Everybody(Arc<App>),
}

impl Audience {
    /// Whether it is more than a person.
    pub const fn is_many(&self) -> bool {
        match self {
            Self::Person(_) => false,
            Self::Departments(..) | Self::Everybody(_) => true,
        }
    }
}

impl WorkNotice {
    /// How the names of these endpoints begin, and those of no bot.
    pub const PREFIX: &'static str = "work_notice/";

    /// Most people who can be told the same by one call.
    pub const PER_CALL_MAX: usize = 100;

    /// Most departments that can be told by one call.
    pub const DEPARTMENTS_MAX: usize = 20;

    /// Most notices of an app to everybody in any 24 hours.
    pub const TO_EVERYBODY_MAX: u32 = 3;

    /// Calls it usually takes: one that sends, one that asks how far that is, and one what came of it.
    pub const CALLS: u64 = 3;

    /// The app that tells.
    pub const fn app(&self) -> &Arc<App> {
        match &self.to {
            Audience::Person(Person { app, .. })
            | Audience::Departments(app, _)
            | Audience::Everybody(app) => app,
        }
    }

    /// The name of the endpoint for a person of a configured receiver, or else for its departments or everybody.
    pub fn endpoint_name(configured: &str, user: Option<&str>) -> EndpointName {
        let person = user.map_or(String::new(), |user| format!("/{user}"));
        EndpointName::from(format!("{}{configured}{person}", Self::PREFIX))
    }

    /// The name of the receiver that is this person, or else its departments or everybody.
    pub fn receiver_name(configured: &str, user: Option<&str>) -> ReceiverName {
        let person = user.map_or(String::new(), |user| format!("/{user}"));
        ReceiverName::from(format!("{configured}/work_notice{person}"))
    }
}

impl Receiver {
    /// The endpoints its own digests go through; none for the console.
    pub fn endpoints(&self) -> &[EndpointName] {
        match &self.channel {
            Channel::Endpoints(endpoints) => endpoints,
            Channel::Console => &[],
        }
    }

    /// The quota whose pace its digests keep.
    pub fn quota(&self) -> Quota {
        self.endpoints().first().map_or(Quota::Webhook, Quota::of)
    }
}

/// `bots:`, one custom bot of one group.
#[derive(Clone, Debug)]
pub struct Bot {
    /// Its name.
    pub name: EndpointName,
    /// The `access_token` of its webhook URL.
    pub access_token: Secret,
    /// Signing secret; `None` sends unsigned.
    pub secret: Option<Secret>,
    /// Host of a pasted webhook URL, instead of `dingtalk.base_url`.
    pub base_url: Option<String>,
    /// A word DingTalk demands in every message of this bot.
    pub keyword: Option<String>,
    /// Most messages in any 60 seconds.
    pub per_minute: u32,
}

/// One of `receivers:`, somebody who is told. What is configured once is one of these for each kind of way it lists,
/// and one for each person: each has heard what it has heard, whatever became of the others.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its name.
    pub name: ReceiverName,
    /// The way to it.
    pub channel: Channel,
    /// Name of its template.
    pub template: String,
    /// The type of its messages.
    pub message: MessageKind,
    /// Address or media id of the picture in a `link` or `feed_card`.
    pub picture: Option<String>,
    /// Whose phones ring.
    pub mention: Mention,
    /// Most messages one digest may take.
    pub max_messages: NonZeroU8,
    /// What is done about its messages after they were delivered; nothing when it is not told through an app.
    pub afterwards: Afterwards,
    /// The configured receiver that is told instead while every endpoint of every kind is refused.
    pub fallback: Option<ReceiverName>,
}

/// What is done about messages after they were delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Afterwards {
    /// `recall:`, when they are taken back; `None` is never.
    pub recall: Option<Recall>,
    /// `read_status:`, whether it is asked who has read them.
    pub read_status: bool,
}

impl Afterwards {
    /// Whether anything is.
    pub const fn is_any(self) -> bool {
        self.recall.is_some() || self.read_status
    }
}

/// `recall:`, when a message is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    /// `resolved`: an announcement, when all that it announced is over and that was told.
    Resolved,
    /// `superseded`: every message, when a later digest was delivered.
    Superseded,
}

/// The way to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Endpoints of one group, interchangeable.
    Endpoints(Vec<EndpointName>),
    /// Standard output.
    Console,
}

/// `message:`, the type of a receiver's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// `markdown`, the default.
    Markdown,
    /// `text`: the digest without marks.
    Text,
    /// `link`: a box that opens one address; needs `external_url`.
    Link,
    /// `action_card`: markdown with buttons; needs `external_url`.
    ActionCard,
    /// `feed_card`: an entry for each section; needs `external_url` and a picture.
    FeedCard,
    /// `oa`: a form with a line for each section, that opens one address; for work notices, and needs `external_url`.
    Oa,
    /// `image`: markdown, and after it the picture of what fires; for the bots of apps.
    Image,
}

impl MessageKind {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Markdown => "markdown",
            Self::Text => "text",
            Self::Link => "link",
            Self::ActionCard => "action_card",
            Self::FeedCard => "feed_card",
            Self::Oa => "oa",
            Self::Image => "image",
        }
    }

    /// Whether it opens an address: there must be one for every digest.
    pub const fn opens_an_address(self) -> bool {
        match self {
            Self::Link | Self::ActionCard | Self::FeedCard | Self::Oa => true,
            Self::Markdown | Self::Text | Self::Image => false,
        }
    }

    /// Whether it can show a picture of the receiver's.
    pub const fn shows_a_picture(self) -> bool {
        match self {
            Self::Link | Self::FeedCard => true,
            Self::Markdown | Self::Text | Self::ActionCard | Self::Oa | Self::Image => false,
        }
    }

    /// Whether DingTalk lets it mention people.
    pub const fn mentions(self) -> bool {
        match self {
            Self::Markdown | Self::Text | Self::ActionCard | Self::Image => true,
            Self::Link | Self::FeedCard | Self::Oa => false,
        }
    }
}

/// `mention:`, whose phones ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mention {
    /// Mobile numbers.
    pub mobiles: Vec<String>,
    /// User ids of the organisation.
    pub user_ids: Vec<String>,
    /// Everybody in the group.
    pub all: bool,
    /// In which digests.
    pub on: MentionOn,
}

/// `mention.on:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MentionOn {
    /// Only digests with an urgent change (`urgent`).
    #[default]
    Urgent,
    /// Digests in which something fires that did not (`firing`).
    Firing,
    /// Every digest (`always`).
    Always,
}

/// The place of a route in [`Routes`]; the root is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RouteId(pub u32);

/// The routing tree, flat, parents before children.
#[derive(Clone, Debug)]
pub struct Routes(Vec<Route>);

/// One node of the routing tree with every inherited setting filled in.
#[derive(Clone, Debug)]
pub struct Route {
    /// The configured receiver that is told.
    pub receiver: ReceiverName,
    /// Alerts of these sources only; empty is all.
    pub sources: Vec<SourceName>,
    /// All must match; the root has none.
    pub matchers: Vec<Matcher>,
    /// Go on with the next sibling after a match.
    pub continue_matching: bool,
    /// Which labels make a section.
    pub group_by: GroupBy,
    /// How long the first change waits for company.
    pub group_wait: Span,
    /// Least time between two digests to the receiver.
    pub group_interval: Span,
    /// When a firing alert is told again.
    pub repeat_interval: Span,
    /// Does not wait, ignores `group_interval`, may use the reserved budget.
    pub urgent: bool,
    /// Are resolves told?
    pub send_resolved: bool,
    /// Times at which nothing is told.
    pub mute: Vec<IntervalName>,
    /// The only times at which something is told; empty is always.
    pub active: Vec<IntervalName>,
    /// Nodes below, in order.
    pub children: Vec<RouteId>,
}

/// `group_by:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The named labels, in the order in which a section's head shows them.
    Labels(Arc<[Arc<str>]>),
    /// `['...']`: every alert is its own section.
    All,
}

impl Locale {
    /// The zone people of this language are taken to live in when the configuration names none: the machine's
    /// for English, and UTC when that is unknown.
    pub fn default_timezone(self) -> jiff::tz::TimeZone {
        use jiff::tz::TimeZone;
        let zone = match self {
            Self::Chinese => TimeZone::get("Asia/Shanghai"),
            Self::English => TimeZone::try_system(),
        };
        zone.unwrap_or(TimeZone::UTC)
    }
}

impl Server {
    /// Loopback, port 8060, bodies of at most 8 MiB.
    pub fn builtin() -> Self {
        Self {
            listen: Listen::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 8060))),
            external_url: None,
            body_limit_bytes: 8 << 20,
            allow_unauthenticated: false,
        }
    }
}

impl Listen {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl Source {
    /// A source with every setting at its default: no authentication, alerts expire after 15 days.
    pub fn builtin(name: SourceName, kind: SourceKind, timezone: jiff::tz::TimeZone) -> Self {
        Self {
            name,
            kind,
            auth: Auth::None,
            expire_after: Span::days(15),
            busy_status: 503,
            timezone,
        }
    }
}

impl Receiver {
    /// Name of the built-in template.
    pub const TEMPLATE: &'static str = "digest";

    /// A receiver with every setting but its way at its default.
    pub fn builtin(name: ReceiverName, channel: Channel) -> Self {
        Self {
            name,
            channel,
            template: Self::TEMPLATE.to_owned(),
            message: MessageKind::Markdown,
            picture: None,
            mention: Mention::default(),
            max_messages: const { NonZeroU8::new(3).expect("three is not zero") },
            afterwards: Afterwards::default(),
            fallback: None,
        }
    }
}

impl Route {
    /// Whether an alert passes it.
    fn matches(&self, source: &SourceName, labels: &Labels) -> bool {
        self.is_for(source) && self.mismatch(labels).is_none()
    }

    /// Whether alerts of a source may pass.
    fn is_for(&self, source: &SourceName) -> bool {
        self.sources.is_empty() || self.sources.contains(source)
    }

    /// The first of its matchers that labels do not satisfy.
    fn mismatch(&self, labels: &Labels) -> Option<&Matcher> {
        self.matchers.iter().find(|matcher| !matcher.matches(labels))
    }

    /// A root with every setting at its default: everything goes to `receiver`, sections by `alertname`.
    pub fn root(receiver: ReceiverName) -> Self {
        Self {
            receiver,
            sources: Vec::new(),
            matchers: Vec::new(),
            continue_matching: false,
            group_by: GroupBy::Labels(Arc::from([Arc::from("alertname")])),
            group_wait: Span::seconds(10),
            group_interval: Span::minutes(1),
            repeat_interval: Span::hours(4),
            urgent: false,
            send_resolved: true,
            mute: Vec::new(),
            active: Vec::new(),
            children: Vec::new(),
        }
    }
}

impl Routes {
    /// Takes the nodes of a tree, parents before children, the root first.
    ///
    /// # Panics
    /// When there is no root, or a child does not come after its parent: only a bug in the compiler of plans
    /// can make such a list.
    pub fn new(nodes: Vec<Route>) -> Self {
        assert!(!nodes.is_empty(), "a routing tree has a root");
        for (index, node) in nodes.iter().enumerate() {
            for child in &node.children {
                let child = child.0 as usize;
                assert!(
                    child > index && child < nodes.len(),
                    "children come after their parents"
                );
            }
        }
        Self(nodes)
    }

    /// One node.
    pub fn get(&self, id: RouteId) -> &Route {
        &self.0[id.0 as usize]
    }

    /// All nodes, the root first.
    pub fn iter(&self) -> impl Iterator<Item = (RouteId, &Route)> {
        (0..).map(RouteId).zip(&self.0)
    }

    /// The nodes an alert ends in: depth first, the first match of siblings wins unless it says `continue`.
    pub fn matching(&self, source: &SourceName, labels: &Labels) -> Vec<RouteId> {
        let mut found = Vec::new();
        self.descend(RouteId(0), source, labels, &mut found);
        found
    }

    fn descend(&self, id: RouteId, source: &SourceName, labels: &Labels, found: &mut Vec<RouteId>) {
        let before = found.len();
        for child in &self.get(id).children {
            let route = self.get(*child);
            if route.matches(source, labels) {
                self.descend(*child, source, labels, found);
                if !route.continue_matching {
                    break;
                }
            }
        }
        if found.len() == before {
            found.push(id);
        }
    }
}

impl Plan {
    /// The app that what is counted under this name goes through: messages of an endpoint, or answers.
    pub fn app_of(&self, name: &EndpointName) -> Option<&AppName> {
        let answers = || {
            let app = name.as_str().strip_prefix(App::ANSWERS_PREFIX)?;
            self.apps.get(app).map(|app| &app.name)
        };
        (self.endpoints.get(name).and_then(Endpoint::app)).or_else(answers)
    }

    /// Every secret there is.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let of_sources = self.sources.values().filter_map(|source| match &source.auth {
            Auth::None => None,
            Auth::Bearer(secret)
            | Auth::Basic { password: secret, .. }
            | Auth::GrafanaHmac { secret, .. } => Some(secret),
        });
        let of_apps = self.apps.values().map(|app| &app.secret);
        let of_endpoints = self.endpoints.values().flat_map(Endpoint::secrets);
        of_sources.chain(of_apps).chain(of_endpoints)
    }

    /// All that a configured receiver stands for: groups before people.
    pub fn members<'a>(&'a self, configured: &'a str) -> impl Iterator<Item = &'a Receiver> {
        let of = move |people: bool| {
            self.receivers
                .range::<str, _>((Bound::Included(configured), Bound::Unbounded))
                .take_while(move |(name, _)| name.as_str().starts_with(configured))
                .filter(move |(name, _)| name.is_of(configured) && name.is_person() == people)
                .map(|(_, receiver)| receiver)
        };
        of(false).chain(of(true))
    }

    /// What a start without configuration uses, and what each section of a configuration is when it is absent:
    /// one source of each type, named after it, and one receiver `terminal` that prints.
    pub fn builtin(state_dir: &Path) -> Self {
        let locale = Locale::Chinese;
        let timezone = locale.default_timezone();
        let terminal = ReceiverName::from("terminal");
        Self {
            server: Server::builtin(),
            store: Store {
                path: state_dir.join("dingest.db"),
                history: Span::days(30),
            },
            record: None,
            locale,
            templates: BTreeMap::new(),
            sources: Self::builtin_sources(&timezone),
            timezone,
            dingtalk: DingTalk {
                base_url: "https://oapi.dingtalk.com".to_owned(),
                monthly_quota: Some(3000),
                monthly_api_quota: Some(5000),
            },
            apps: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            receivers: BTreeMap::from([(
                terminal.clone(),
                Receiver::builtin(terminal.clone(), Channel::Console),
            )]),
            routes: Routes::new(vec![Route::root(terminal)]),
            intervals: BTreeMap::new(),
        }
    }

    /// One source of each type, named after it.
    pub fn builtin_sources(timezone: &jiff::tz::TimeZone) -> BTreeMap<SourceName, Source> {
        [
            ("alertmanager", SourceKind::Alertmanager),
            ("grafana", SourceKind::Grafana),
            ("prometheus", SourceKind::Prometheus),
            ("json", SourceKind::Json(Arc::new(Mapping::default_mapping()))),
        ]
        .map(|(name, kind)| {
            let name = SourceName::from(name);
            (name.clone(), Source::builtin(name, kind, timezone.clone()))
        })
        .into()
    }

    /// Whether a route may speak at `time`: inside its active intervals, if it has any, and outside its muted.
    pub fn speaks(&self, route: &Route, time: Timestamp) -> bool {
        let inside = |names: &[IntervalName]| {
            names
                .iter()
                .filter_map(|name| self.intervals.get(name))
                .flatten()
                .any(|i| i.contains(time))
        };
        (route.active.is_empty() || inside(&route.active)) && !inside(&route.mute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dingtalk_has_a_host_of_its_own_for_the_older_api_and_a_stand_in_has_not() {
        for (newer, older) in [
            ("https://api.dingtalk.com", "https://oapi.dingtalk.com"),
            ("https://api.dingtalk.io", "https://oapi.dingtalk.io"),
            ("http://127.0.0.1:8070", "http://127.0.0.1:8070"),
        ] {
            assert_eq!(App::of_tests("key", "s", newer).older_base_url(), older);
        }
    }
}
