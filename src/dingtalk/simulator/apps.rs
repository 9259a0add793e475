//! The stand-in's apps: their tokens, the groups their bots are in, and what they may send there.
//!
//! Order of the checks: path, method, content type, token, rate, fault, JSON, bot, group, message type, size, members.
//! Decides only; the ledger and the faults are the rules'.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::alert::{Now, Span, Tick};
use crate::dingtalk::GROUP_PARAM_BYTES_MAX;
use crate::dingtalk::simulator::content::{Content, Malformed};
use crate::dingtalk::simulator::rules::{Reply, Request, Window, hex, is_json, last_four};
use crate::dingtalk::simulator::{SimulatedApp, SimulatorSettings};
use crate::secret::Secret;

/// Most calls of one API by an app in a window.
pub const CALLS_PER_WINDOW_MAX: usize = 20;
/// The window that slides over an app's calls.
const WINDOW: Span = Span::seconds(1);
/// How long a token lives.
const TOKEN_LIFE: Span = Span::hours(2);

/// The numbers of one app since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppStats {
    /// Its name.
    pub app: String,
    /// Tokens handed out, each asking counted.
    pub token_calls: u64,
    /// Calls that send.
    pub calls: u64,
    /// Those shown in a group.
    pub messages: u64,
    /// Most calls that send in any window, refused ones included.
    pub calls_per_window_max: usize,
}

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    http_status: u16,
    code: String,
    message: String,
}

impl Refusal {
    pub(super) fn new(http_status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            http_status,
            code: code.into(),
            message: message.into(),
        }
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(
            404,
            "InvalidAction.NotFound",
            "Specified api is not found, please check your url and method.",
        )
    }

    pub(super) fn reply(&self) -> Reply {
        let body = json!({
            "requestid": "5F3C9A2E-7D1B-4C60-8F0E-000000000000",
            "code": self.code,
            "message": self.message,
        });
        Reply::json(self.http_status, &body)
    }
}

/// What a client got wrong in its request.
fn wrong(code: impl Into<String>, message: &str) -> Refusal {
    Refusal::new(400, code, message)
}

struct AppState {
    app: SimulatedApp,
    token: Option<Token>,
    tokens_made: u64,
    token_calls: Window,
    calls: Window,
    messages: u64,
}

struct Token {
    text: Secret,
    ends_at: Tick,
}

/// What an app's bot is in.
struct Group {
    name: String,
    /// By app name; `None` is all of them.
    apps: Option<Vec<String>>,
}

/// All apps and their groups.
pub(super) struct Apps {
    /// By key.
    known: BTreeMap<String, AppState>,
    /// By conversation.
    groups: BTreeMap<String, Group>,
    accept_any: bool,
    time_scale: u64,
}

impl Apps {
    pub(super) fn new(settings: &SimulatorSettings) -> Self {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for written in &settings.groups {
            let group = groups
                .entry(written.conversation.clone())
                .or_insert_with(|| Group {
                    name: written.group.clone(),
                    apps: Some(Vec::new()),
                });
            if let Some(apps) = &mut group.apps {
                apps.push(written.app.clone());
            }
        }
        let mut all = Self {
            known: BTreeMap::new(),
            groups,
            accept_any: settings.accept_any_token,
            time_scale: u64::from(settings.time_scale.get()),
        };
        for app in &settings.apps {
            all.add(app.clone());
        }
        all
    }

    fn add(&mut self, app: SimulatedApp) {
        let state = AppState {
            token: None,
            tokens_made: 0,
            token_calls: Window::default(),
            calls: Window::default(),
            messages: 0,
            app,
        };
        self.known.insert(state.app.key.clone(), state);
    }

    fn scaled(&self, span: Span) -> Span {
        Span(span.0 / self.time_scale)
    }

    /// The call for a token: within the life of one it is answered again, and lives anew.
    pub(super) fn token(&mut self, request: &Request<'_>, now: Now) -> Result<Value, Refusal> {
        let asked = object(request)?;
        let member = |name: &str| {
            let text = asked
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty());
            text.ok_or_else(|| {
                wrong(
                    format!("Missing{name}"),
                    &format!("{name} is mandatory for this action."),
                )
            })
        };
        let (key, secret) = (member("appKey")?, member("appSecret")?);
        if self.accept_any && !self.known.contains_key(key) {
            self.add(SimulatedApp {
                name: last_four(key),
                key: key.to_owned(),
                secret: Secret::new(secret),
                robot_code: key.to_owned(),
            });
        }
        let (life, window) = (self.scaled(TOKEN_LIFE), self.scaled(WINDOW));
        let refused = || wrong("invalidClientIdOrSecret", "无效的clientId或者clientSecret");
        let state = self.known.get_mut(key).ok_or_else(refused)?;
        if state.token_calls.arrive(now.tick, window) > CALLS_PER_WINDOW_MAX {
            return Err(too_fast());
        }
        if state.app.secret.expose() != secret {
            return Err(refused());
        }
        let text = match &state.token {
            Some(token) if now.tick < token.ends_at => token.text.clone(),
            Some(_) | None => {
                state.tokens_made += 1;
                let made = format!("{key}\n{secret}\n{}", state.tokens_made);
                Secret::new(hex(&Sha256::digest(made)))
            }
        };
        let answer = json!({"accessToken": text.expose(), "expireIn": life.0 / 1000});
        state.token = Some(Token {
            text,
            ends_at: now.tick.plus(life),
        });
        Ok(answer)
    }

    /// The key of the app whose token a request shows.
    pub(super) fn admit(&self, request: &Request<'_>, now: Now) -> Result<String, Refusal> {
        if request.method != "POST" {
            return Err(Refusal::no_such_path());
        }
        if !is_json(request) {
            return Err(Refusal::new(
                415,
                "UnsupportedMediaType",
                "the body is not application/json",
            ));
        }
        let shown = request.token.filter(|token| !token.is_empty());
        let shown = shown.ok_or_else(|| {
            wrong(
                "AuthenticationFailed.MissingParameter",
                "Request header 'x-acs-dingtalk-access-token' is required.",
            )
        })?;
        let has_it = |state: &&AppState| {
            let token = state.token.as_ref();
            token.is_some_and(|token| token.text.expose() == shown && now.tick < token.ends_at)
        };
        let state = self.known.values().find(has_it);
        let state = state.ok_or_else(|| wrong("InvalidAuthentication", "不合法的access_token"))?;
        Ok(state.app.key.clone())
    }

    /// Counts a call and refuses it when there are too many.
    pub(super) fn hurry(&mut self, key: &str, now: Now) -> Result<(), Refusal> {
        let window = self.scaled(WINDOW);
        let calls = (self.known.get_mut(key)).map_or(0, |state| state.calls.arrive(now.tick, window));
        if calls > CALLS_PER_WINDOW_MAX {
            return Err(too_fast());
        }
        Ok(())
    }

    pub(super) fn name(&self, key: &str) -> String {
        self.known
            .get(key)
            .map_or_else(String::new, |state| state.app.name.clone())
    }

    /// A message was shown.
    pub(super) fn sent(&mut self, key: &str) {
        if let Some(state) = self.known.get_mut(key) {
            state.messages += 1;
        }
    }

    /// The group a message goes to, and what it says there.
    pub(super) fn read(&self, key: &str, request: &Request<'_>) -> Result<(String, Content), Refusal> {
        let message = object(request)?;
        let member = |name: &str| {
            message
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let Some(robot_code) = member("robotCode") else {
            return Err(wrong(
                "invalidParameter.robotCode.missing",
                "robotCode is missing",
            ));
        };
        if let Some(owner) = self
            .known
            .values()
            .find(|state| state.app.robot_code == robot_code)
        {
            if owner.app.key != key {
                return Err(wrong(
                    "invalidParameter.robotCode.auth",
                    "robotCode belongs to another app",
                ));
            }
        } else {
            return Err(wrong("invalidParameter.robotCode.notExsit", "robot 不存在"));
        }
        let Some(conversation) = member("openConversationId") else {
            return Err(wrong("miss.openConversationId", "openConversationId is missing"));
        };
        let group = self.group(key, conversation)?;
        let Some(kind) = member("msgKey") else {
            return Err(wrong("invalidParameter.msgKey.empty", "msgKey is empty"));
        };
        let param = message
            .get("msgParam")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if param.len() > GROUP_PARAM_BYTES_MAX {
            return Err(wrong("invalidParameter.msgParam.tooLong", "msgParam is too long"));
        }
        let not_json = || {
            wrong(
                "invalidParameter.msgParam.invalid",
                "msgParam is not a JSON object of texts",
            )
        };
        let param: Map<String, Value> = serde_json::from_str(param).map_err(|_| not_json())?;
        if !param.values().all(Value::is_string) {
            return Err(not_json());
        }
        let as_webhook = as_webhook(kind, param)
            .ok_or_else(|| wrong("invalidParameter.msgKey.invalid", "msgKey is not known"))?;
        let content = Content::read(&as_webhook).map_err(|malformed| missing(&malformed))?;
        Ok((group, content))
    }

    /// The name of a group the app's bot is in.
    fn group(&self, key: &str, conversation: &str) -> Result<String, Refusal> {
        match self.groups.get(conversation) {
            Some(group) if (group.apps.as_ref()).is_none_or(|apps| apps.contains(&self.name(key))) => {
                Ok(group.name.clone())
            }
            Some(_) => Err(wrong("resource.not.found", "the robot is not in the group")),
            None if self.accept_any && conversation.starts_with("cid") => Ok(last_four(conversation)),
            None => Err(wrong(
                "invalid.openConversationId",
                "openConversationId is invalid",
            )),
        }
    }

    /// The numbers of the apps.
    pub(super) fn stats(&self) -> Vec<AppStats> {
        let mut apps: Vec<_> = self
            .known
            .values()
            .map(|state| AppStats {
                app: state.app.name.clone(),
                token_calls: state.token_calls.total,
                calls: state.calls.total,
                messages: state.messages,
                calls_per_window_max: state.calls.most,
            })
            .collect();
        apps.sort_by(|a, b| a.app.cmp(&b.app));
        apps
    }
}

fn too_fast() -> Refusal {
    Refusal::new(
        403,
        "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi",
        "应用调用该接口的QPS超过限制",
    )
}

fn object(request: &Request<'_>) -> Result<Map<String, Value>, Refusal> {
    if request.method != "POST" {
        return Err(Refusal::no_such_path());
    }
    serde_json::from_slice(request.body)
        .map_err(|_| wrong("invalidParameter.param.invalid", "the body is not a JSON object"))
}

/// The message as a custom bot would write it.
fn as_webhook(kind: &str, mut param: Map<String, Value>) -> Option<Map<String, Value>> {
    let msgtype = match kind {
        "sampleText" => "text",
        "sampleMarkdown" => "markdown",
        "sampleLink" => "link",
        "sampleActionCard" => "actionCard",
        "sampleActionCard2" | "sampleActionCard3" | "sampleActionCard4" | "sampleActionCard5" => {
            let buttons = kind.chars().last()?.to_digit(10)?;
            let mut button = |number| button(&mut param, "actionTitle", "actionURL", number);
            let buttons: Vec<Value> = (1..=buttons).map(&mut button).collect();
            param.insert("btns".to_owned(), buttons.into());
            "actionCard"
        }
        "sampleActionCard6" => {
            let mut button = |number| button(&mut param, "buttonTitle", "buttonUrl", number);
            let buttons: Vec<Value> = (1..=2).map(&mut button).collect();
            param.insert("btns".to_owned(), buttons.into());
            "actionCard"
        }
        _ => return None,
    };
    let mut message = Map::new();
    message.insert("msgtype".to_owned(), msgtype.into());
    message.insert(msgtype.to_owned(), Value::Object(param));
    Some(message)
}

/// Takes the members of one button.
fn button(param: &mut Map<String, Value>, title: &str, url: &str, number: u32) -> Value {
    json!({
        "title": param.remove(&format!("{title}{number}")),
        "actionURL": param.remove(&format!("{url}{number}")),
    })
}

/// `markdown.title` is `miss.param.markdownTotitle`, with the spelling of each type.
fn missing(malformed: &Malformed) -> Refusal {
    let member = match malformed {
        Malformed::Missing(member) | Malformed::Type(member) => member,
        Malformed::Invalid(member) => {
            return wrong(
                "invalidParameter.param.invalid",
                &format!("{member} is not one of msgKey, or wrong"),
            );
        }
        Malformed::NotJson => return wrong("invalidParameter.msgParam.invalid", "msgParam is not JSON"),
    };
    let code = match member.split_once('.') {
        Some((parent @ ("text" | "link"), member)) => {
            let parent = if parent == "text" { "Text" } else { "Link" };
            format!("miss.param.{member}Of{parent}")
        }
        Some(("btns", member)) => format!("miss.param.actionCardTobtnsTo{}", member.replace("URL", "Url")),
        Some((parent, member)) => format!("miss.param.{parent}To{}", member.replace("URL", "Url")),
        None => format!("miss.param.{member}"),
    };
    wrong(code, &format!("{member} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Timestamp;
    use crate::dingtalk::simulator::fault::{Fault, Injection};
    use crate::dingtalk::simulator::rules::{Reaction, Rules};
    use crate::dingtalk::{GROUP_SEND_PATH, TOKEN_PATH, apicode, message};
    use message::Content as Says;

    const CREDENTIALS: &str = r#"{"appKey":"ding1","appSecret":"s3cret"}"#;

    fn rules() -> Rules {
        Rules::new(SimulatorSettings {
            apps: vec![
                "ops:ding1:s3cret".parse().unwrap(),
                "other:ding2:s3cret2".parse().unwrap(),
            ],
            groups: vec![
                "ops@on call:cid1".parse().unwrap(),
                "other@elsewhere:cid2".parse().unwrap(),
            ],
            accept_any_token: false,
            ..SimulatorSettings::default()
        })
    }

    fn at(seconds: u64) -> Now {
        Now {
            tick: Tick(seconds * 1000),
            time: Timestamp(1_790_000_000_000).plus(Span::seconds(seconds)),
        }
    }

    fn post(rules: &mut Rules, path: &str, token: Option<&str>, body: &[u8], now: Now) -> (u16, Value) {
        let request = Request {
            method: "POST",
            path,
            query: "",
            content_type: Some("application/json; charset=utf-8"),
            token,
            body,
        };
        let Reaction { reply, .. } = rules.receive(&request, now);
        (reply.http_status, serde_json::from_str(&reply.body).unwrap())
    }

    fn token(rules: &mut Rules, now: Now) -> String {
        let (status, answer) = post(rules, TOKEN_PATH, None, CREDENTIALS.as_bytes(), now);
        assert_eq!((status, &answer["expireIn"]), (200, &json!(7200)));
        answer["accessToken"].as_str().unwrap().to_owned()
    }

    fn hello(text: &str) -> Vec<u8> {
        message::group(&Says::Markdown { title: "title", text }, "ding1", "cid1").0
    }

    #[test]
    fn a_token_lives_two_hours_and_is_renewed_by_asking_again() {
        let mut rules = rules();
        let first = token(&mut rules, at(0));
        assert_eq!(token(&mut rules, at(7000)), first);
        let sent = |rules: &mut Rules, now| post(rules, GROUP_SEND_PATH, Some(&first), &hello("hi"), now);
        assert_eq!(sent(&mut rules, at(14_199)).0, 200);
        let (status, answer) = sent(&mut rules, at(14_200));
        assert_eq!((status, &answer["code"]), (400, &json!("InvalidAuthentication")));
        assert_ne!(token(&mut rules, at(14_200)), first);
        let wrong = br#"{"appKey":"ding1","appSecret":"guess"}"#;
        let (status, answer) = post(&mut rules, TOKEN_PATH, None, wrong, at(14_201));
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!("invalidClientIdOrSecret"))
        );
    }

    #[test]
    fn a_message_of_an_app_is_shown_in_its_group() {
        let mut rules = rules();
        let token = token(&mut rules, at(0));
        let (status, answer) = post(&mut rules, GROUP_SEND_PATH, Some(&token), &hello("### hi"), at(1));
        assert_eq!((status, answer), (200, json!({"processQueryKey": "q1"})));
        // No key makes a repetition known as one.
        post(&mut rules, GROUP_SEND_PATH, Some(&token), &hello("### hi"), at(2));
        let shown: Vec<_> = rules.calls(0).filter(|call| call.shown).collect();
        assert_eq!(shown.len(), 2);
        assert_eq!(
            (shown[0].bot.as_str(), shown[0].group.as_str()),
            ("ops", "on call")
        );
        assert_eq!(
            (shown[0].content.msgtype.as_str(), shown[0].content.text.as_str()),
            ("markdown", "### hi")
        );
        assert!(!format!("{shown:?}{rules:?}").contains(&token));
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), expected: &str) {
        let mut rules = rules();
        let token = token(&mut rules, at(0));
        let mut body: Value = serde_json::from_slice(&hello("hi")).unwrap();
        change(&mut body);
        let body = body.to_string();
        let (status, answer) = post(&mut rules, GROUP_SEND_PATH, Some(&token), body.as_bytes(), at(1));
        assert_eq!(answer["code"], expected, "{body}");
        assert_eq!(rules.calls(0).filter(|call| call.shown).count(), 0);
        let known = apicode::lookup(expected).expect("a code the client knows");
        assert!(status >= 400, "{known:?}");
    }

    #[test]
    fn what_the_api_refuses_is_refused_with_its_code() {
        let set = |name: &'static str, value: Value| move |body: &mut Value| body[name] = value;
        check(set("robotCode", json!("")), "invalidParameter.robotCode.missing");
        check(
            set("robotCode", json!("ding9")),
            "invalidParameter.robotCode.notExsit",
        );
        check(
            set("robotCode", json!("ding2")),
            "invalidParameter.robotCode.auth",
        );
        check(set("openConversationId", Value::Null), "miss.openConversationId");
        check(
            set("openConversationId", json!("cid9")),
            "invalid.openConversationId",
        );
        check(set("openConversationId", json!("cid2")), "resource.not.found");
        check(set("msgKey", json!("")), "invalidParameter.msgKey.empty");
        check(
            set("msgKey", json!("markdown")),
            "invalidParameter.msgKey.invalid",
        );
        check(
            set("msgParam", json!({"title": "t", "text": "x"})),
            "invalidParameter.msgParam.invalid",
        );
        check(
            set("msgParam", json!(r#"{"title":"t","text":7}"#)),
            "invalidParameter.msgParam.invalid",
        );
        check(
            set("msgParam", json!(r#"{"text":"x"}"#)),
            "miss.param.markdownTotitle",
        );
        let long = json!({"title": "t", "text": "长".repeat(5000)}).to_string();
        check(set("msgParam", json!(long)), "invalidParameter.msgParam.tooLong");
    }

    #[test]
    fn a_call_without_a_token_or_with_anothers_is_refused() {
        let mut rules = rules();
        for (token, code) in [
            (None, "AuthenticationFailed.MissingParameter"),
            (Some("guess"), "InvalidAuthentication"),
        ] {
            let (status, answer) = post(&mut rules, GROUP_SEND_PATH, token, &hello("hi"), at(1));
            assert_eq!((status, &answer["code"]), (400, &json!(code)));
        }
    }

    #[test]
    fn the_twenty_first_call_of_a_second_is_refused_and_the_next_second_is_free() {
        let mut rules = rules();
        let token = token(&mut rules, at(0));
        let mut sent = |now| post(&mut rules, GROUP_SEND_PATH, Some(&token), &hello("hi"), now).0;
        for number in 1..=21 {
            assert_eq!(sent(at(1)), if number == 21 { 403 } else { 200 });
        }
        assert_eq!(sent(at(2)), 200);
        let stats = rules.stats(at(2));
        assert_eq!(
            (stats.apps[0].messages, stats.apps[0].calls_per_window_max),
            (21, 21)
        );
    }

    #[test]
    fn every_type_of_message_is_read() {
        let mut rules = rules();
        let token = token(&mut rules, at(0));
        let numbered = |count: usize| {
            let mut param = json!({"title": "t", "text": "x"});
            for number in 1..=count {
                param[format!("actionTitle{number}")] = json!("open");
                param[format!("actionURL{number}")] = json!("https://a.example.com/");
            }
            param
        };
        for (number, (kind, param, links)) in [
            ("sampleText", json!({"content": "x"}), 0),
            ("sampleLink", json!({"title": "t", "text": "x", "messageUrl": "https://a", "picUrl": "https://b"}), 1),
            ("sampleActionCard", json!({"title": "t", "text": "x", "singleTitle": "a", "singleURL": "https://a"}), 1),
            ("sampleActionCard2", numbered(2), 2),
            ("sampleActionCard5", numbered(5), 5),
            (
                "sampleActionCard6",
                json!({"title": "t", "text": "x", "buttonTitle1": "a", "buttonUrl1": "https://b", "buttonTitle2": "c", "buttonUrl2": "https://d"}),
                2,
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let body = json!({
                "robotCode": "ding1", "openConversationId": "cid1", "msgKey": kind, "msgParam": param.to_string(),
            });
            let body = body.to_string();
            let (status, answer) = post(&mut rules, GROUP_SEND_PATH, Some(&token), body.as_bytes(), at(1));
            assert_eq!(status, 200, "{kind}: {answer}");
            let call = rules.calls(number as u64).next().unwrap();
            assert_eq!(call.content.links.len(), links, "{kind}");
        }
        let poor = json!({
            "robotCode": "ding1", "openConversationId": "cid1", "msgKey": "sampleActionCard3", "msgParam": numbered(2).to_string(),
        });
        let (_, answer) = post(
            &mut rules,
            GROUP_SEND_PATH,
            Some(&token),
            poor.to_string().as_bytes(),
            at(1),
        );
        assert_eq!(answer["code"], "miss.param.actionCardTobtnsTotitle");
    }

    #[test]
    fn a_fault_answers_with_any_code() {
        let mut rules = rules();
        let token = token(&mut rules, at(0));
        rules.inject(Injection::next(Fault::Code {
            http_status: 403,
            code: "send.forbidden".to_owned(),
            message: None,
        }));
        let (status, answer) = post(&mut rules, GROUP_SEND_PATH, Some(&token), &hello("hi"), at(1));
        assert_eq!((status, &answer["code"]), (403, &json!("send.forbidden")));
        let call = rules.calls(0).next().unwrap();
        assert_eq!(
            (call.code.as_deref(), call.fault),
            (Some("send.forbidden"), Some("code"))
        );
    }
}
