//! The configuration as a user writes it: one type per mapping, one field per key.
//!
//! The doc comments are the descriptions that editors show, and the meanings in `docs/configuration.md`. A last
//! sentence `Default: …` is a default. Nothing here is resolved or checked against anything else; `compile` does
//! that.
#![expect(
    clippy::doc_markdown,
    reason = "these comments are also the schema's descriptions, which are plain text"
)]

use serde_json::{Map, Value as Json, json};

use super::read::{At, Keys, Number, Read, SecretText, Size, Word, choice, mapping};
use super::report::Findings;
use super::yaml::Node;
use crate::alert::Span;

choice! {
    /// Wire formats of sources.
    SourceType {
        "alertmanager" => Alertmanager,
        "grafana" => Grafana,
        "prometheus" => Prometheus,
        "json" => Json,
    }
    /// Languages of the built-in templates.
    LocaleTag {
        "zh-CN" => Chinese,
        "en" => English,
    }
    /// In which digests phones ring.
    MentionWhen {
        "urgent" => Urgent,
        "firing" => Firing,
        "always" => Always,
    }
    /// Types of messages.
    MessageType {
        "markdown" => Markdown,
        "text" => Text,
        "link" => Link,
        "action_card" => ActionCard,
        "feed_card" => FeedCard,
        "oa" => Oa,
        "image" => Image,
    }
    /// When messages are taken back.
    RecallWhen {
        "resolved" => Resolved,
        "superseded" => Superseded,
    }
    /// Answers when we cannot take responsibility.
    BusyStatus {
        "503" => ServiceUnavailable,
        "429" => TooManyRequests,
    }
}

/// `console: {}`: nothing to set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console;

impl Read for Console {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        Keys::of(node, "`console`", &[], findings).map(|_| Self)
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        json!({"type": ["object", "null"], "additionalProperties": false})
    }
}

mapping! {
    /// The configuration of dingest: one YAML file.
    "the configuration" Root {
        /// How dingest is reached.
        [optional] server: Server,
        /// Where state is kept.
        [optional] store: Store,
        /// Keep what comes in, without credentials, for `dingest replay`. Absent: it is not kept.
        [optional] record: Record,
        /// Language of the built-in templates. Default: `zh-CN`.
        [optional] locale: LocaleTag,
        /// Zone of the times people read, of the quota's month, and of time intervals without a `location`.
        /// Default: `Asia/Shanghai`; for `en` the machine's.
        [optional] timezone: String,
        /// Template files (`*.hbs`) or patterns; a file overrides the built-in template of the same name.
        [optional] templates: Vec<At<String>>,
        /// The ways in. Absent: `alertmanager`, `grafana`, `prometheus` and `json`, one of each type, for this
        /// machine only.
        [optional] sources: Vec<Source>,
        /// DingTalk itself.
        [optional] dingtalk: DingTalk,
        /// Custom bots of group chats.
        [optional] bots: Vec<Bot>,
        /// Apps of the organisation, whose bots can be in group chats and write to people.
        [optional] apps: Vec<App>,
        /// Who is told. Absent: one named `terminal` that prints digests.
        [optional] receivers: Vec<Receiver>,
        /// The root of the routing tree. Absent: everything goes to the only receiver.
        [optional] route: Route,
        /// Named sets of times for `mute_time_intervals` and `active_time_intervals`.
        [optional] time_intervals: Vec<NamedIntervals>,
        /// Files or patterns with more `sources`, `bots`, `apps`, `receivers` and `time_intervals`, and `routes`
        /// that are appended under the root.
        [optional] include: Vec<At<String>>,
    }

    /// An included file.
    "an included file" Included {
        /// More ways in.
        [optional] sources: Vec<Source>,
        /// More bots.
        [optional] bots: Vec<Bot>,
        /// More apps.
        [optional] apps: Vec<App>,
        /// More receivers.
        [optional] receivers: Vec<Receiver>,
        /// Routes appended under the root.
        [optional] routes: Vec<Route>,
        /// More sets of time intervals.
        [optional] time_intervals: Vec<NamedIntervals>,
    }

    /// How dingest is reached.
    "`server`" Server {
        /// Address and port to listen on, or `unix:/path/to/socket`; a socket from systemd goes first. Takes effect
        /// at the next start. Default: `127.0.0.1:8060`.
        [optional] listen: String,
        /// Address under which people reach dingest, such as `https://alerts.example.com`; digests link to it.
        /// Absent: no links.
        [optional] external_url: String,
        /// Most bytes of a request body, inflated; at most 256MiB. Default: `8MiB`.
        [optional] body_limit: Size,
        /// Open to other machines: sources without `auth`, the page of alerts, the read API and the reload.
        /// Default: `false`.
        [optional] allow_unauthenticated: bool,
    }

    /// Where state is kept.
    "`store`" Store {
        /// The database file, relative to the state directory (`--state-dir`). Takes effect at the next start.
        /// Default: `dingest.db`.
        [optional] path: String,
        /// How long digests can be looked up. Default: `30d`.
        [optional] history: Span,
    }

    /// Keep what comes in, without credentials, for `dingest replay`.
    "`record`" Record {
        /// The file, relative to the state directory; what is older is in the same with `.1` at its end. Default:
        /// `recording.jsonl`.
        [optional] path: String,
        /// Most bytes of both files together, 1MiB or more; then the oldest goes. Default: `64MiB`.
        [optional] max_size: Size,
    }

    /// A way in.
    "a source" Source {
        /// Its name: the last part of its path, `/v1/hooks/NAME`.
        [required] name: String,
        /// What it is sent.
        [required] r#type: SourceType,
        /// What a sender must show. Absent: only senders on this machine are let in.
        [optional] auth: Auth,
        /// How to read the bodies, for type `json`. Absent: the usual field names of a flat object are understood.
        [optional] mapping: Mapping,
        /// An alert that was not repeated for so long is told as expired; longer than the sender's repeat interval.
        /// Default: `15d`.
        [optional] expire_after: Span,
        /// The answer when alerts cannot be taken; `429` for senders that try again on nothing else. Default:
        /// `503`.
        [optional] busy_status: BusyStatus,
        /// How to read times without an offset. Default: the configuration's `timezone`.
        [optional] timezone: String,
    }

    /// What a sender must show: one of `bearer_token`, `basic` and `hmac_secret`.
    "`auth`" Auth {
        /// Token of an `Authorization: Bearer` header, or the last part of the path.
        [secret] bearer_token: SecretText,
        /// User name and password.
        [optional] basic: Basic,
        /// The secret of Grafana's HMAC signature.
        [secret] hmac_secret: SecretText,
        /// The header with the signature. Default: `X-Grafana-Alerting-Signature`.
        [optional] header: String,
        /// The header with the time that is signed too, when Grafana is told to send one; signatures more than 5
        /// minutes off are refused.
        [optional] timestamp_header: String,
    }

    /// User name and password.
    "`basic`" Basic {
        /// The user name.
        [required] username: String,
        /// The password.
        [required_secret] password: SecretText,
    }

    /// jq expressions that read any JSON. What they may do is limited: 8,000,000 steps and 64 MiB for a value,
    /// 32,000,000 steps and 256 MiB for a body.
    "`mapping`" Mapping {
        /// The alerts in a body, one or a stream of them, such as `.events[]`; the other expressions are run on
        /// each. Default: the body, or its elements.
        [optional] alerts: String,
        /// What stays the same between firing and recovery, such as `.id`. Default: all labels.
        [optional] identity: String,
        /// "firing" or "resolved", such as `if .ok then "resolved" else "firing" end`; null passes the event over.
        [optional] status: String,
        /// An object of labels, such as `{alertname: .name}`.
        [optional] labels: String,
        /// An object of annotations, such as `{summary: .text}`.
        [optional] annotations: String,
        /// When it began, such as `.clock | tonumber`: seconds since 1970, or RFC 3339.
        [optional] starts_at: String,
        /// When it ended, likewise.
        [optional] ends_at: String,
        /// Where to look further, such as `.url`.
        [optional] link: String,
    }

    /// DingTalk itself.
    "`dingtalk`" DingTalk {
        /// Where the webhook API is; `https://oapi.dingtalk.io` outside China, plain http only to this machine.
        /// Default: `https://oapi.dingtalk.com`.
        [optional] base_url: String,
        /// Messages through custom bots that a month allows the organisation; 0 is no limit. Default: `3000`.
        [optional] monthly_quota: Number<0, 1_000_000_000>,
        /// Calls that a month allows the organisation's apps; 0 is no limit. Default: `5000`.
        [optional] monthly_api_quota: Number<0, 1_000_000_000>,
    }

    /// A custom bot of a group chat. One of `access_token` and `url` is required.
    "a bot" Bot {
        /// Its name.
        [required] name: String,
        /// The token in its webhook URL.
        [secret] access_token: SecretText,
        /// Its webhook URL as copied, instead of `access_token`; its host counts, not `base_url` of `dingtalk`.
        [secret] url: SecretText,
        /// Its signing secret, `SEC…`. Absent: unsigned.
        [secret] secret: SecretText,
        /// A word that DingTalk demands in every message of this bot; dingest makes sure of it.
        [optional] keyword: String,
        /// Most messages in any 60 seconds. Default: `18`.
        [optional] per_minute: Number<1, 20>,
    }

    /// An app of the organisation, from DingTalk's developer console, with the permission `qyapi_robot_sendmsg`.
    /// Its bot must be in the groups, and visible to the people.
    "an app" App {
        /// Its name.
        [required] name: String,
        /// Its AppKey (Client ID).
        [required_secret] app_key: SecretText,
        /// Its AppSecret (Client Secret).
        [required_secret] app_secret: SecretText,
        /// The code of its bot. Default: the AppKey.
        [optional] robot_code: String,
        /// Where the API is; `https://api.dingtalk.io` outside China, plain http only to this machine. Default:
        /// `https://api.dingtalk.com`.
        [optional] base_url: String,
        /// Most calls of one API in any second; DingTalk allows 20 unless more was bought. Default: `18`.
        [optional] per_second: Number<1, 60>,
        /// Its AgentId. Needed for work notices.
        [optional] agent_id: Number<1, 9_007_199_254_740_991>,
        /// Who may ask its bot. Default: nobody.
        [optional] ask: Askers,
    }

    /// Who may ask the bot of an app.
    "`ask`" Askers {
        /// User ids of people, who may ask anywhere.
        [optional] people: Vec<At<Word>>,
        /// Groups by `openConversationId`, where everybody may ask.
        [optional] groups: Vec<At<Word>>,
    }

    /// A group chat that the bot of an app is in.
    "`group`" Group {
        /// The app.
        [required] app: String,
        /// The group's `openConversationId`, `cid…`.
        [required] conversation: String,
    }

    /// People whom the bot of an app writes to, each in a chat of their own.
    "`direct`" Direct {
        /// The app.
        [required] app: String,
        /// User ids of people in the organisation, or `mobile:13800000000` or `unionid:…`, which are looked up.
        [required] users: Vec<At<Word>>,
    }

    /// Whom an app tells by work notices: at least one of `users`, `departments` and `everybody`.
    "`work_notice`" WorkNotice {
        /// The app; it needs an `agent_id`.
        [required] app: String,
        /// User ids of people in the organisation, or `mobile:13800000000` or `unionid:…`, which are looked up.
        [optional] users: Vec<At<Word>>,
        /// Numbers of departments, 20 at most; the people of those below them are told, too.
        [optional] departments: Vec<At<Number<1, 9_007_199_254_740_991>>>,
        /// Everybody, in place of `departments`; three notices a day. Default: `false`.
        [optional] everybody: bool,
    }

    /// Somebody who is told. One or several of `bots`, `group`, `direct` and `work_notice` are required, or
    /// `console`.
    "a receiver" Receiver {
        /// Its name, without `/`.
        [required] name: String,
        /// Bots of one group; any of them may be used.
        [optional] bots: Vec<At<String>>,
        /// A group that the bot of an app is in.
        [optional] group: Group,
        /// People whom the bot of an app writes to.
        [optional] direct: Direct,
        /// People, departments or everybody, whom an app tells by work notices.
        [optional] work_notice: WorkNotice,
        /// Print digests instead.
        [optional] console: Console,
        /// Name of its template. Default: `digest`.
        [optional] template: String,
        /// Type of its messages. `link`, `action_card`, `feed_card` and `oa` need `external_url`; `link`,
        /// `feed_card` and `oa` cannot mention; an app has no `feed_card`; only work notices have `oa`; only `group`
        /// and `direct` have `image`, which is markdown and then the picture of what fires. Default: `markdown`.
        [optional] message: MessageType,
        /// Web address or media id of the picture in a `link` or `feed_card`. A `feed_card` needs one, and so does
        /// the `link` of a work notice.
        [optional] picture: String,
        /// Whose phones ring. Needs `bots`: an app cannot mention.
        [optional] mention: Mention,
        /// Most messages one digest may take. Default: `3`.
        [optional] max_messages: Number<1, 10>,
        /// When messages are taken back, within the 24 hours DingTalk allows. `resolved`: announcements, once all
        /// they announce is over and that was told; `superseded`: all but the newest digest. Needs an app's way.
        /// Default: never.
        [optional] recall: RecallWhen,
        /// Ask who has read its messages, a few times within 24 hours. Needs an app's way. Default: `false`.
        [optional] read_status: bool,
        /// Receiver that is told while this one can be told in none of its ways until an operator acts; for urgent
        /// changes, in any pause, and once everybody has had a day's notices.
        [optional] fallback: String,
    }

    /// Whose phones ring.
    "`mention`" Mention {
        /// Mobile numbers, in quotes.
        [optional] mobiles: Vec<At<Word>>,
        /// User ids of the organisation, in quotes when they are numbers.
        [optional] user_ids: Vec<At<Word>>,
        /// Everybody in the group. Default: `false`.
        [optional] all: bool,
        /// In which digests: `urgent` in those with urgent changes, `firing` when something newly fires, or
        /// `always`. Default: `urgent`.
        [optional] on: MentionWhen,
    }

    /// A node of the routing tree, as in Alertmanager. Below the root, what is not set is inherited where the table
    /// says so.
    "a route" Route {
        /// Who is told. Inherited. Default: the only receiver.
        [optional] receiver: String,
        /// Alerts of these sources only. Not on the root.
        [optional] sources: Vec<At<String>>,
        /// Conditions in Alertmanager's syntax, such as `severity="critical"`; all must hold. Not on the root.
        [optional] matchers: Vec<At<String>>,
        /// Go on with the next sibling after a match. Default: `false`.
        [optional] r#continue: bool,
        /// Labels that make a section of a digest; `['...']` is all of them. Inherited. Default: `[alertname]`.
        [optional] group_by: Vec<At<String>>,
        /// How long the first change waits for company. Inherited. Default: `10s`.
        [optional] group_wait: Span,
        /// Least time between two digests to the receiver. Inherited. Default: `1m`.
        [optional] group_interval: Span,
        /// When an alert that still fires is told again. Inherited. Default: `4h`.
        [optional] repeat_interval: Span,
        /// Does not wait, ignores `group_interval`, may use the reserved part of the budget. Inherited. Default:
        /// `false`.
        [optional] urgent: bool,
        /// Tell what is over. Inherited. Default: `true`.
        [optional] send_resolved: bool,
        /// Times at which nothing is told; it is told afterwards, if it is still a change. Not on the root.
        [optional] mute_time_intervals: Vec<At<String>>,
        /// The only times at which something is told. Not on the root.
        [optional] active_time_intervals: Vec<At<String>>,
        /// Nodes below; the first that matches wins unless it says `continue`.
        [optional] routes: Vec<Route>,
    }

    /// A named set of time intervals.
    "a set of time intervals" NamedIntervals {
        /// Its name.
        [required] name: String,
        /// The intervals; a time in any of them is in the set.
        [required] time_intervals: Vec<Interval>,
    }

    /// A recurring stretch of time: every list that is given must fit.
    "a time interval" Interval {
        /// Times of the day.
        [optional] times: Vec<Times>,
        /// Days of the week, such as `monday:friday`.
        [optional] weekdays: Vec<At<String>>,
        /// Days of the month, such as `1:5`, or `-3:-1`, counted from its end.
        [optional] days_of_month: Vec<At<Word>>,
        /// Months by name or number, such as `may:august`.
        [optional] months: Vec<At<Word>>,
        /// Years, such as `2026:2028`.
        [optional] years: Vec<At<Word>>,
        /// The zone it is meant in. Default: the configuration's `timezone`.
        [optional] location: String,
    }

    /// From a time of day until before another; past midnight when that is not later.
    "a range of times" Times {
        /// Its begin, such as `22:00`.
        [required] start_time: String,
        /// Its end, such as `07:00` (the next morning) or `24:00`.
        [required] end_time: String,
    }
}
