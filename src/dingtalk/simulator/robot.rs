//! What the bot of an app says to groups and to people.
//!
//! Order of the checks, after those of [`apps`](super::apps): fault, JSON, bot, group or people, message type, size,
//! members. Decides only; the ledger and the faults are the rules'.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::dingtalk::simulator::SimulatorSettings;
use crate::dingtalk::simulator::apps::{Apps, Owner, Refusal, object, wrong};
use crate::dingtalk::simulator::content::{Content, Malformed};
use crate::dingtalk::simulator::fault::Fault;
use crate::dingtalk::simulator::people::{Fate, People, Recipient, with_fate};
use crate::dingtalk::simulator::rules::{Request, last_four};
use crate::dingtalk::{GROUP_PARAM_BYTES_MAX, PEOPLE_PER_CALL_MAX};

/// Whom a call tells something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// `groupMessages/send`.
    Group,
    /// `oToMessages/batchSend`.
    People,
}

/// A call that could be read.
#[derive(Debug)]
pub(super) struct Message {
    /// Whom it is for.
    pub(super) audience: Audience,
    /// The group's `openConversationId`, for a group.
    pub(super) conversation: String,
    /// The group's name, for a group.
    pub(super) group: String,
    /// The people, for people.
    pub(super) people: Vec<Recipient>,
    /// What is said.
    pub(super) content: Content,
}

/// What an app's bot is in.
struct Group {
    name: String,
    /// By app name.
    apps: Vec<String>,
}

/// Everybody who can be told something.
pub(super) struct Robots {
    /// By conversation.
    groups: BTreeMap<String, Group>,
    accept_any: bool,
}

impl Robots {
    pub(super) fn new(settings: &SimulatorSettings) -> Self {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for written in &settings.groups {
            let group = groups
                .entry(written.conversation.clone())
                .or_insert_with(|| Group {
                    name: written.group.clone(),
                    apps: Vec::new(),
                });
            group.apps.push(written.app.clone());
        }
        Self {
            groups,
            accept_any: settings.accept_any_token,
        }
    }

    /// Whom a call of the app tells what.
    pub(super) fn read(
        &self,
        audience: Audience,
        apps: &Apps,
        people: &People,
        key: &str,
        request: &Request<'_>,
    ) -> Result<Message, Refusal> {
        let body = object(request)?;
        check_robot(audience, apps, key, member(&body, "robotCode"))?;
        let (conversation, group, people) = match audience {
            Audience::Group => {
                let conversation = member(&body, "openConversationId")
                    .ok_or_else(|| wrong("miss.openConversationId", "openConversationId is missing"))?;
                let group = self.group(&apps.name(key), conversation)?;
                (conversation.to_owned(), group, Vec::new())
            }
            Audience::People => (String::new(), String::new(), recipients(people, &body)?),
        };
        Ok(Message {
            audience,
            conversation,
            group,
            people,
            content: content(&body)?,
        })
    }

    /// The groups the app's bot is in: the name and the `openConversationId` of each.
    pub(super) fn groups_of(&self, app: &str) -> impl Iterator<Item = (&str, &str)> {
        let is_in = move |group: &Group| group.apps.iter().any(|name| name == app);
        (self.groups.iter())
            .filter(move |(_, group)| is_in(group))
            .map(|(conversation, group)| (group.name.as_str(), conversation.as_str()))
    }

    /// The name of a group the app's bot is in.
    fn group(&self, app: &str, conversation: &str) -> Result<String, Refusal> {
        match self.groups.get(conversation) {
            Some(group) if group.apps.iter().any(|name| name == app) => Ok(group.name.clone()),
            Some(_) => Err(wrong("resource.not.found", "the robot is not in the group")),
            None if self.accept_any && conversation.starts_with("cid") => Ok(last_four(conversation)),
            None => Err(wrong(
                "invalid.openConversationId",
                "openConversationId is invalid",
            )),
        }
    }
}

impl Message {
    /// Tells them, and says what is answered.
    pub(super) fn tell(&mut self, people: &People, fault: Option<&Fault>, query_key: &str) -> Value {
        match self.audience {
            Audience::Group => json!({"processQueryKey": query_key}),
            Audience::People => {
                people.tell(&mut self.people, fault);
                json!({
                    "processQueryKey": query_key,
                    "invalidStaffIdList": with_fate(&self.people, Fate::Unknown),
                    "flowControlledStaffIdList": with_fate(&self.people, Fate::FlowControlled),
                })
            }
        }
    }

    /// Whether anybody sees it.
    pub(super) fn is_shown(&self) -> bool {
        match self.audience {
            Audience::Group => true,
            Audience::People => self.people.iter().any(|person| person.fate == Fate::Told),
        }
    }
}

/// The people of a call. What the original does with a person who is named twice is not documented.
fn recipients(people: &People, body: &Map<String, Value>) -> Result<Vec<Recipient>, Refusal> {
    let ids = body.get("userIds").and_then(Value::as_array);
    let ids = ids.filter(|ids| !ids.is_empty());
    let ids = ids.ok_or_else(|| wrong("invalidParameter.userIds.empty", "userIds is empty"))?;
    if ids.len() > PEOPLE_PER_CALL_MAX {
        return Err(wrong("invalidParameter.userIds.overMax", "userIds are too many"));
    }
    let ids: Option<Vec<&str>> = ids
        .iter()
        .map(|id| id.as_str().filter(|id| !id.is_empty()))
        .collect();
    let ids = ids.ok_or_else(|| wrong("invalidParameter.userId.empty", "a userId is empty"))?;
    if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
        return Err(wrong("illegal.receivers", "a userId is there twice"));
    }
    Ok(ids.into_iter().map(|id| people.recipient(id)).collect())
}

/// A member that is a text and not empty.
pub(super) fn member<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let text = body.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty())
}

/// Whether the bot is the calling app's own. The two calls have different words for it.
fn check_robot(audience: Audience, apps: &Apps, key: &str, robot_code: Option<&str>) -> Result<(), Refusal> {
    let Some(robot_code) = robot_code else {
        let code = match audience {
            Audience::Group => "invalidParameter.robotCode.missing",
            Audience::People => "invalidParameter.robotCode.empty",
        };
        return Err(wrong(code, "robotCode is missing"));
    };
    match (apps.owner(key, robot_code), audience) {
        (Owner::Caller, _) => Ok(()),
        (Owner::Another, Audience::Group) => Err(wrong(
            "invalidParameter.robotCode.auth",
            "robotCode belongs to another app",
        )),
        (Owner::Another, Audience::People) => Err(wrong(
            "invalidParameter.robotCode.invalid",
            "robotCode belongs to another app",
        )),
        (Owner::Nobody, _) => Err(wrong("invalidParameter.robotCode.notExsit", "robot 不存在")),
    }
}

/// What `msgKey` and `msgParam` say. No figure is known for the size of a message to people; that for groups is taken.
fn content(body: &Map<String, Value>) -> Result<Content, Refusal> {
    let kind = member(body, "msgKey");
    let kind = kind.ok_or_else(|| wrong("invalidParameter.msgKey.empty", "msgKey is empty"))?;
    let param = body.get("msgParam").and_then(Value::as_str).unwrap_or_default();
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
    if kind == "sampleImageMsg" {
        return Content::picture(&param).map_err(|malformed| missing(&malformed));
    }
    let as_webhook = as_webhook(kind, param)
        .ok_or_else(|| wrong("invalidParameter.msgKey.invalid", "msgKey is not known"))?;
    Content::read(&as_webhook).map_err(|malformed| missing(&malformed))
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
    use crate::alert::{Now, Span, Tick, Timestamp};
    use crate::dingtalk::simulator::fault::{Fault, Injection};
    use crate::dingtalk::simulator::rules::{Reaction, Rules};
    use crate::dingtalk::{GROUP_SEND_PATH, PEOPLE_SEND_PATH, TOKEN_PATH, apicode, message};
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
            people: vec!["Ann:u1".parse().unwrap(), "Bao:u2".parse().unwrap()],
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
        assert_eq!(status, 200);
        let key = answer["processQueryKey"].as_str().unwrap();
        // No key makes a repetition known as one.
        post(&mut rules, GROUP_SEND_PATH, Some(&token), &hello("### hi"), at(2));
        let shown: Vec<_> = rules.calls(0).filter(|call| call.shown).collect();
        assert_eq!(shown.len(), 2);
        assert_eq!(
            (shown[0].bot.as_str(), shown[0].group.as_str()),
            ("ops", "on call")
        );
        assert_eq!(shown[0].query_key.as_deref(), Some(key));
        assert_ne!(shown[1].query_key.as_deref(), Some(key));
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

    fn to_people(ids: &[&str]) -> Value {
        json!({
            "robotCode": "ding1", "userIds": ids, "msgKey": "sampleText", "msgParam": r#"{"content":"hi"}"#,
        })
    }

    fn fates(rules: &Rules) -> Vec<(String, Fate)> {
        let call = rules.calls(0).last().unwrap();
        let fate = |person: &Recipient| (person.name.clone(), person.fate);
        call.people.iter().map(fate).collect()
    }

    #[test]
    fn a_message_to_people_is_in_the_chat_of_each_and_names_those_who_are_unknown() {
        let mut rules = rules();
        let token = token(&mut rules, at(0));
        let mut send = |ids: &[&str]| {
            let body = to_people(ids).to_string();
            post(&mut rules, PEOPLE_SEND_PATH, Some(&token), body.as_bytes(), at(1))
        };
        let (status, answer) = send(&["u1", "u404", "u2"]);
        assert_eq!(status, 200);
        assert_eq!(answer["invalidStaffIdList"], json!(["u404"]));
        assert_eq!(answer["flowControlledStaffIdList"], json!([]));
        assert!(answer["processQueryKey"].is_string());
        // A call that reaches nobody succeeds all the same.
        let (status, answer) = send(&["u404"]);
        assert_eq!((status, &answer["invalidStaffIdList"]), (200, &json!(["u404"])));
        let calls: Vec<_> = rules.calls(0).collect();
        assert_eq!((calls[0].shown, calls[1].shown), (true, false));
        assert_eq!(
            (calls[0].group.as_str(), calls[0].content.text.as_str()),
            ("", "hi")
        );
        let told = |name: &str, fate| (name.to_owned(), fate);
        assert_eq!(
            (calls[0].people.iter())
                .map(|person| told(&person.name, person.fate))
                .collect::<Vec<_>>(),
            [
                told("Ann", Fate::Told),
                told("u404", Fate::Unknown),
                told("Bao", Fate::Told)
            ]
        );
        assert_eq!(rules.stats(at(1)).apps[0].messages, 1);
    }

    #[test]
    fn faults_take_some_people_out_of_a_call_and_leave_the_others_in() {
        use Fate::{FlowControlled, Told, Unknown};

        let mut rules = rules();
        let token = token(&mut rules, at(0));
        let named = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        rules.inject(Injection::next(Fault::FlowControlledStaff(named(&["u2"]))));
        rules.inject(Injection::next(Fault::InvalidStaff(named(&["u1"]))));
        rules.inject(Injection::next(Fault::FlowControlledStaff(Vec::new())));
        // A message to a group is none of their business.
        post(&mut rules, GROUP_SEND_PATH, Some(&token), &hello("hi"), at(1));
        let mut send = || {
            let body = to_people(&["u1", "u2"]).to_string();
            let (_, answer) = post(&mut rules, PEOPLE_SEND_PATH, Some(&token), body.as_bytes(), at(1));
            let lists = (
                answer["invalidStaffIdList"].clone(),
                answer["flowControlledStaffIdList"].clone(),
            );
            (
                lists,
                fates(&rules)
                    .into_iter()
                    .map(|(_, fate)| fate)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(send(), ((json!([]), json!(["u2"])), vec![Told, FlowControlled]));
        assert_eq!(send(), ((json!(["u1"]), json!([])), vec![Unknown, Told]));
        assert_eq!(
            send(),
            ((json!([]), json!(["u1", "u2"])), vec![FlowControlled; 2])
        );
        assert_eq!(send(), ((json!([]), json!([])), vec![Told; 2]));
    }

    #[test]
    fn a_call_for_people_is_refused_for_all_of_them() {
        let many: Vec<String> = (0..=20).map(|number| format!("u{number}")).collect();
        for (name, value, code) in [
            ("robotCode", json!(""), "invalidParameter.robotCode.empty"),
            ("robotCode", json!("ding2"), "invalidParameter.robotCode.invalid"),
            ("robotCode", json!("ding9"), "invalidParameter.robotCode.notExsit"),
            ("userIds", json!([]), "invalidParameter.userIds.empty"),
            ("userIds", json!("u1"), "invalidParameter.userIds.empty"),
            ("userIds", json!(many), "invalidParameter.userIds.overMax"),
            ("userIds", json!(["u1", ""]), "invalidParameter.userId.empty"),
            ("userIds", json!(["u1", 2]), "invalidParameter.userId.empty"),
            ("userIds", json!(["u1", "u1"]), "illegal.receivers"),
            ("msgKey", Value::Null, "invalidParameter.msgKey.empty"),
            ("msgParam", json!("{}"), "miss.param.contentOfText"),
        ] {
            let mut rules = rules();
            let token = token(&mut rules, at(0));
            let mut body = to_people(&["u1", "u2"]);
            body[name] = value;
            let body = body.to_string();
            let (status, answer) = post(&mut rules, PEOPLE_SEND_PATH, Some(&token), body.as_bytes(), at(1));
            assert_eq!((status, &answer["code"]), (400, &json!(code)), "{body}");
            apicode::lookup(code).expect("a code the client knows");
            assert!(fates(&rules).iter().all(|(_, fate)| *fate == Fate::Refused));
        }
        let mut rules = rules();
        let token = token(&mut rules, at(0));
        let body = to_people(&["u1", "u2"]).to_string();
        rules.inject(Injection::next(Fault::Punish));
        post(&mut rules, PEOPLE_SEND_PATH, Some(&token), body.as_bytes(), at(1));
        let refused = |name: &str| (name.to_owned(), Fate::Refused);
        assert_eq!(fates(&rules), [refused("Ann"), refused("Bao")]);
    }

    #[test]
    fn where_any_token_is_taken_anybody_is_known() {
        let mut rules = Rules::new(SimulatorSettings::default());
        let token = token(&mut rules, at(0));
        let body = to_people(&["whoever"]).to_string();
        let (_, answer) = post(&mut rules, PEOPLE_SEND_PATH, Some(&token), body.as_bytes(), at(1));
        assert_eq!(answer["invalidStaffIdList"], json!([]));
        assert_eq!(fates(&rules), [("whoever".to_owned(), Fate::Told)]);
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
        // Each API has a limit of its own.
        let body = to_people(&["u1"]).to_string();
        let mut write = || post(&mut rules, PEOPLE_SEND_PATH, Some(&token), body.as_bytes(), at(1)).0;
        for number in 1..=21 {
            assert_eq!(write(), if number == 21 { 403 } else { 200 });
        }
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
            ("sampleImageMsg", json!({"photoURL": "https://a/b.png"}), 1),
            ("sampleImageMsg", json!({"photoURL": "@lAD"}), 1),
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
    fn a_picture_is_an_address_or_a_media_id_and_nothing_else() {
        let mut rules = rules();
        let token = token(&mut rules, at(0));
        for (param, code) in [
            (json!({}), "miss.param.photoTophotoUrl"),
            (json!({"photoURL": ""}), "miss.param.photoTophotoUrl"),
            (json!({"photoURL": "a.png"}), "invalidParameter.param.invalid"),
            (
                json!({"photoURL": "javascript:alert(1)"}),
                "invalidParameter.param.invalid",
            ),
            (
                json!({"photoURL": "https://a/b c.png"}),
                "invalidParameter.param.invalid",
            ),
            (
                json!({"photoURL": "https://a/b.png", "text": "t"}),
                "invalidParameter.param.invalid",
            ),
            (
                json!({"photoUrl": "https://a/b.png"}),
                "invalidParameter.param.invalid",
            ),
        ] {
            let body = json!({
                "robotCode": "ding1", "openConversationId": "cid1", "msgKey": "sampleImageMsg",
                "msgParam": param.to_string(),
            });
            let body = body.to_string();
            let (_, answer) = post(&mut rules, GROUP_SEND_PATH, Some(&token), body.as_bytes(), at(1));
            assert_eq!(answer["code"], code, "{param}");
        }
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
