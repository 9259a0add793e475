//! What becomes of the messages of apps afterwards: who has read them, and which were recalled.
//!
//! Both can be asked for 24 hours. Decides only; what the chats show of it is the rules'.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::alert::{Now, Span, Tick, Timestamp};
use crate::dingtalk::simulator::SimulatorSettings;
use crate::dingtalk::simulator::apps::{Apps, Owner, Refusal, object, wrong};
use crate::dingtalk::simulator::people::{Fate, Recipient};
use crate::dingtalk::simulator::robot::{Audience, Message, member};
use crate::dingtalk::simulator::rules::{LEDGER_CALLS_MAX, Request};

/// How long a message can be asked about and recalled.
const LIFE: Span = Span::hours(24);
/// Most messages of one recall.
const RECALLED_PER_CALL_MAX: usize = 20;
/// Most readers of one answer.
const READERS_PER_PAGE_MAX: usize = 200;

/// A message that was sent.
struct Sent {
    /// Of the call in the ledger.
    number: u64,
    /// The key of the app that sent it.
    app: String,
    place: Place,
    at: Tick,
    recalled: bool,
    /// When each of its readers has read it.
    read: BTreeMap<String, Timestamp>,
}

/// Where it is.
enum Place {
    Group { conversation: String, name: String },
    People(Vec<Recipient>),
}

/// A call about messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageCall {
    /// `readStatus` and `query`.
    Read(Audience),
    /// `batchRecall` and `recall`.
    Recall(Audience),
}

/// All messages that can be asked about.
pub(super) struct Receipts {
    /// By `processQueryKey`.
    sent: BTreeMap<String, Sent>,
    /// The keys by age.
    in_order: VecDeque<String>,
    life: Span,
}

/// The `processQueryKey` of a call. It says nothing, and has to be escaped in a query, like the original's.
pub(super) fn query_key(number: u64) -> String {
    STANDARD.encode(&Sha256::digest(number.to_string())[..16])
}

impl Receipts {
    pub(super) fn new(settings: &SimulatorSettings) -> Self {
        Self {
            sent: BTreeMap::new(),
            in_order: VecDeque::new(),
            life: Span(LIFE.0 / u64::from(settings.time_scale.get())),
        }
    }

    /// A message is in the chats.
    pub(super) fn record(&mut self, number: u64, app: &str, message: &Message, now: Tick) {
        let is_told = |person: &&Recipient| person.fate == Fate::Told;
        let sent = Sent {
            number,
            app: app.to_owned(),
            place: match message.audience {
                Audience::Group => Place::Group {
                    conversation: message.conversation.clone(),
                    name: message.group.clone(),
                },
                Audience::People => Place::People(message.people.iter().filter(is_told).cloned().collect()),
            },
            at: now,
            recalled: false,
            read: BTreeMap::new(),
        };
        if self.in_order.len() >= LEDGER_CALLS_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.sent.remove(&oldest);
        }
        self.in_order.push_back(query_key(number));
        self.sent.insert(query_key(number), sent);
    }

    /// A person opens a group, or the own chats, and reads everything there. The numbers of what was unread.
    pub(super) fn opened_by(&mut self, person: &str, group: Option<&str>, now: Timestamp) -> Vec<u64> {
        let mut news = Vec::new();
        for sent in self.sent.values_mut().filter(|sent| !sent.recalled) {
            let is_there = match (&sent.place, group) {
                (Place::Group { name, .. }, Some(group)) => name == group,
                (Place::People(people), None) => people.iter().any(|other| other.user_id == person),
                (Place::Group { .. }, None) | (Place::People(_), Some(_)) => false,
            };
            if is_there && !sent.read.contains_key(person) {
                sent.read.insert(person.to_owned(), now);
                news.push(sent.number);
            }
        }
        news
    }

    /// Answers an app, and says which calls' messages are gone.
    pub(super) fn answer(
        &mut self,
        asks: MessageCall,
        apps: &Apps,
        app: &str,
        request: &Request<'_>,
        now: Now,
    ) -> Result<(Value, Vec<u64>), Refusal> {
        let nothing_gone = |answer| (answer, Vec::new());
        match asks {
            MessageCall::Read(Audience::People) => {
                self.read_by_people(apps, app, request, now).map(nothing_gone)
            }
            MessageCall::Read(Audience::Group) => {
                self.read_in_group(apps, app, request, now).map(nothing_gone)
            }
            MessageCall::Recall(audience) => self.recall(audience, apps, app, request, now),
        }
    }

    /// The message of a key, when the app may ask about it.
    fn known(&self, key: Option<&str>, app: &str, now: Now) -> Result<&Sent, Refusal> {
        let missing = || {
            wrong(
                "invalidParameter.processQueryKey.missing",
                "processQueryKey is missing",
            )
        };
        let sent = self.sent.get(key.ok_or_else(missing)?);
        let sent = sent.filter(|sent| sent.app == app);
        let sent = sent.ok_or_else(|| wrong("invalid.processQueryKey", "processQueryKey is invalid"))?;
        if now.tick.since(sent.at) > self.life {
            return Err(wrong("processQueryKey.expireTime", "processQueryKey has expired"));
        }
        Ok(sent)
    }

    /// `GET oToMessages/readStatus`.
    fn read_by_people(
        &self,
        apps: &Apps,
        app: &str,
        request: &Request<'_>,
        now: Now,
    ) -> Result<Value, Refusal> {
        let asked = request.parameters();
        let member = |name: &str| {
            asked
                .get(name)
                .map(String::as_str)
                .filter(|text| !text.is_empty())
        };
        match member("robotCode").map(|code| apps.owner(app, code)) {
            Some(Owner::Caller) => {}
            Some(Owner::Another | Owner::Nobody) => {
                return Err(wrong(
                    "invalidParameter.robotCode.invalid",
                    "robotCode is invalid",
                ));
            }
            None => return Err(wrong("invalidParameter.robotCode.empty", "robotCode is missing")),
        }
        let sent = self.known(member("processQueryKey"), app, now)?;
        let Place::People(people) = &sent.place else {
            return Err(wrong("invalid.processQueryKey", "the message went to a group"));
        };
        let about = |person: &Recipient| {
            let read = sent.read.get(&person.user_id);
            json!({
                "userId": person.user_id,
                "name": person.name,
                "readStatus": if read.is_some() { "READ" } else { "UNREAD" },
                "readTimestamp": read.map_or(0, |time| time.0),
            })
        };
        Ok(json!({
            "sendStatus": sent.status(),
            "messageReadInfoList": people.iter().map(about).collect::<Vec<_>>(),
        }))
    }

    /// `POST groupMessages/query`.
    fn read_in_group(
        &self,
        apps: &Apps,
        app: &str,
        request: &Request<'_>,
        now: Now,
    ) -> Result<Value, Refusal> {
        let asked = object(request)?;
        let sent = self.known(member(&asked, "processQueryKey"), app, now)?;
        let Place::Group { conversation, .. } = &sent.place else {
            return Err(wrong("invalid.processQueryKey", "the message went to people"));
        };
        if member(&asked, "robotCode").is_some_and(|code| apps.owner(app, code) != Owner::Caller) {
            return Err(wrong(
                "invalidParameter.robotCode.auth",
                "robotCode belongs to another app",
            ));
        }
        if member(&asked, "openConversationId").is_some_and(|other| other != conversation) {
            return Err(wrong(
                "openConversationId.notExisted",
                "the message is not in this group",
            ));
        }
        let (from, most) = page(&asked)?;
        let readers: Vec<_> = sent.read.keys().skip(from).take(most).collect();
        let end = from + readers.len();
        let mut answer = json!({
            "sendStatus": sent.status(),
            "readUserIds": readers,
            "hasMore": end < sent.read.len(),
        });
        if end < sent.read.len() {
            answer["nextToken"] = end.to_string().into();
        }
        Ok(answer)
    }

    /// `POST otoMessages/batchRecall` and `groupMessages/recall`. What the original says of a message that was recalled
    /// before is not documented.
    fn recall(
        &mut self,
        audience: Audience,
        apps: &Apps,
        app: &str,
        request: &Request<'_>,
        now: Now,
    ) -> Result<(Value, Vec<u64>), Refusal> {
        let asked = object(request)?;
        match member(&asked, "robotCode").map(|code| apps.owner(app, code)) {
            Some(Owner::Caller) => {}
            Some(Owner::Another) => {
                return Err(wrong("not.allowed.robotCode", "robotCode belongs to another app"));
            }
            Some(Owner::Nobody) | None => {
                return Err(wrong("invalidParameter.robotCode", "robotCode is invalid"));
            }
        }
        let conversation = member(&asked, "openConversationId");
        if audience == Audience::Group && conversation.is_none() {
            return Err(wrong("miss.openConversationId", "openConversationId is missing"));
        }
        let keys = asked.get("processQueryKeys").and_then(Value::as_array);
        let keys: Option<Vec<&str>> = keys.and_then(|keys| keys.iter().map(Value::as_str).collect());
        let keys = keys.filter(|keys| !keys.is_empty());
        let keys = keys.ok_or_else(|| wrong("invalid.processQueryKey", "processQueryKeys is empty"))?;
        if keys.len() > RECALLED_PER_CALL_MAX {
            return Err(wrong(
                "invalidParameter.processQueryKeys.overMax",
                "processQueryKeys are too many",
            ));
        }
        let (mut recalled, mut failed, mut gone) = (Vec::new(), Map::new(), Vec::new());
        for key in keys {
            match self.take_back(key, app, audience, conversation, now) {
                Ok(number) => {
                    recalled.push(key);
                    gone.push(number);
                }
                Err(reason) => drop(failed.insert(key.to_owned(), reason.into())),
            }
        }
        Ok((json!({"successResult": recalled, "failedResult": failed}), gone))
    }

    /// The number of the call whose message is gone, or why it is not.
    fn take_back(
        &mut self,
        key: &str,
        app: &str,
        audience: Audience,
        conversation: Option<&str>,
        now: Now,
    ) -> Result<u64, &'static str> {
        let life = self.life;
        let sent = self.sent.get_mut(key).filter(|sent| sent.app == app);
        let sent = sent.ok_or("invalid.processQueryKey")?;
        let is_here = match &sent.place {
            Place::Group {
                conversation: own, ..
            } => conversation == Some(own),
            Place::People(_) => audience == Audience::People,
        };
        if !is_here {
            return Err("invalid.processQueryKey");
        }
        if now.tick.since(sent.at) > life {
            return Err("robot.processQueryKey.expired");
        }
        if std::mem::replace(&mut sent.recalled, true) {
            return Err("the message was recalled before");
        }
        Ok(sent.number)
    }
}

impl Sent {
    const fn status(&self) -> &'static str {
        if self.recalled { "RECALLED" } else { "SUCCESS" }
    }
}

/// Where an answer begins, and how many it holds at most.
fn page(asked: &Map<String, Value>) -> Result<(usize, usize), Refusal> {
    let from = match asked.get("nextToken") {
        None | Some(Value::Null) => Some(0),
        Some(token) => token.as_str().and_then(|token| token.parse().ok()),
    };
    let from = from.ok_or_else(|| wrong("invalidParameter.cursor.invalid", "nextToken is invalid"))?;
    let most = match asked.get("maxResults") {
        None | Some(Value::Null) => Some(READERS_PER_PAGE_MAX),
        Some(most) => most.as_u64().and_then(|most| usize::try_from(most).ok()),
    };
    let most = most.filter(|most| (1..=READERS_PER_PAGE_MAX).contains(most));
    let most = most.ok_or_else(|| wrong("invalidParameter.pageSize.invalid", "maxResults is invalid"))?;
    Ok((from, most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dingtalk::simulator::caller::Caller;
    use crate::dingtalk::{
        GROUP_READ_PATH, GROUP_RECALL_PATH, GROUP_SEND_PATH, PEOPLE_READ_PATH, PEOPLE_RECALL_PATH,
        PEOPLE_SEND_PATH,
    };

    const DAY: u64 = 24 * 60 * 60 * 1000;

    /// Says something to Ann, Bao and nobody, and answers with its key.
    fn tell_people(caller: &mut Caller) -> String {
        let body = json!({
            "robotCode": "ding1", "userIds": ["u1", "u2", "u404"], "msgKey": "sampleText",
            "msgParam": r#"{"content":"hi"}"#,
        });
        let answer = caller.post("ding1", PEOPLE_SEND_PATH, &body);
        answer["processQueryKey"].as_str().unwrap().to_owned()
    }

    fn tell_group(caller: &mut Caller) -> String {
        let body = json!({
            "robotCode": "ding1", "openConversationId": "cid1", "msgKey": "sampleText",
            "msgParam": r#"{"content":"hi"}"#,
        });
        let answer = caller.post("ding1", GROUP_SEND_PATH, &body);
        answer["processQueryKey"].as_str().unwrap().to_owned()
    }

    fn read_by_people(caller: &mut Caller, app: &str, key: &str) -> Value {
        let key: String = form_urlencoded::byte_serialize(key.as_bytes()).collect();
        let query = format!("robotCode={app}&processQueryKey={key}");
        caller.get(app, PEOPLE_READ_PATH, &query)
    }

    fn recall(caller: &mut Caller, keys: &[&str]) -> Value {
        let body = json!({"robotCode": "ding1", "processQueryKeys": keys});
        caller.post("ding1", PEOPLE_RECALL_PATH, &body)
    }

    #[test]
    fn who_of_the_people_has_read_is_told_for_a_day() {
        let mut caller = Caller::new();
        let key = tell_people(&mut caller);
        let at = caller.now().time;
        assert_eq!(caller.rules.read("u2", None, at), 1);
        assert_eq!(caller.rules.read("u2", None, at), 0);
        caller.ms = DAY;
        assert_eq!(
            read_by_people(&mut caller, "ding1", &key),
            json!({"sendStatus": "SUCCESS", "messageReadInfoList": [
                {"userId": "u1", "name": "Ann", "readStatus": "UNREAD", "readTimestamp": 0},
                {"userId": "u2", "name": "Bao", "readStatus": "READ", "readTimestamp": at.0},
            ]})
        );
        caller.ms += 1000;
        assert_eq!(
            read_by_people(&mut caller, "ding1", &key)["code"],
            "processQueryKey.expireTime"
        );
        assert_eq!(
            read_by_people(&mut caller, "ding1", "nonsense")["code"],
            "invalid.processQueryKey"
        );
        assert_eq!(
            read_by_people(&mut caller, "ding2", &key)["code"],
            "invalid.processQueryKey"
        );
        for (query, code) in [
            ("processQueryKey=k", "invalidParameter.robotCode.empty"),
            (
                "robotCode=ding2&processQueryKey=k",
                "invalidParameter.robotCode.invalid",
            ),
            ("robotCode=ding1", "invalidParameter.processQueryKey.missing"),
        ] {
            assert_eq!(caller.get("ding1", PEOPLE_READ_PATH, query)["code"], code);
        }
        let call = caller.rules.calls(0).next().unwrap();
        assert_eq!(call.read_by, ["u2"]);
    }

    #[test]
    fn a_key_that_is_not_escaped_in_a_query_is_not_found() {
        let mut caller = Caller::new();
        let query = loop {
            let key = tell_people(&mut caller);
            if key.contains('+') {
                break format!("robotCode=ding1&processQueryKey={key}");
            }
            caller.ms += 1000;
        };
        assert_eq!(
            caller.get("ding1", PEOPLE_READ_PATH, &query)["code"],
            "invalid.processQueryKey"
        );
    }

    #[test]
    fn the_readers_in_a_group_come_page_by_page() {
        let mut caller = Caller::new();
        let key = tell_group(&mut caller);
        let at = caller.now().time;
        for person in ["u1", "u2", "u3"] {
            assert_eq!(caller.rules.read(person, None, at), 0);
            assert_eq!(caller.rules.read(person, Some("on call"), at), 1);
        }
        let mut ask = |more: Value| {
            let mut body =
                json!({"processQueryKey": key, "openConversationId": "cid1", "robotCode": "ding1"});
            body.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            caller.post("ding1", GROUP_READ_PATH, &body)
        };
        let first = ask(json!({"maxResults": 2}));
        assert_eq!(
            first,
            json!({"sendStatus": "SUCCESS", "readUserIds": ["u1", "u2"], "hasMore": true, "nextToken": "2"})
        );
        let second = ask(json!({"maxResults": 2, "nextToken": first["nextToken"]}));
        assert_eq!(
            second,
            json!({"sendStatus": "SUCCESS", "readUserIds": ["u3"], "hasMore": false})
        );
        assert_eq!(ask(json!({}))["readUserIds"], json!(["u1", "u2", "u3"]));
        for (more, code) in [
            (json!({"maxResults": 201}), "invalidParameter.pageSize.invalid"),
            (json!({"maxResults": 0}), "invalidParameter.pageSize.invalid"),
            (json!({"nextToken": "x"}), "invalidParameter.cursor.invalid"),
            (
                json!({"openConversationId": "cid2"}),
                "openConversationId.notExisted",
            ),
            (json!({"robotCode": "ding2"}), "invalidParameter.robotCode.auth"),
            (
                json!({"processQueryKey": ""}),
                "invalidParameter.processQueryKey.missing",
            ),
            (json!({"processQueryKey": "k"}), "invalid.processQueryKey"),
        ] {
            assert_eq!(ask(more)["code"], code);
        }
    }

    #[test]
    fn what_is_recalled_is_gone_and_a_recall_can_fail_in_part() {
        let mut caller = Caller::new();
        let old = tell_people(&mut caller);
        caller.ms = DAY + 1;
        let (key, group) = (tell_people(&mut caller), tell_group(&mut caller));
        assert_eq!(
            recall(&mut caller, &[&key, &old, &group, "k"]),
            json!({"successResult": [key], "failedResult": {
                &old: "robot.processQueryKey.expired", &group: "invalid.processQueryKey", "k": "invalid.processQueryKey",
            }})
        );
        assert_eq!(
            read_by_people(&mut caller, "ding1", &key)["sendStatus"],
            "RECALLED"
        );
        assert_eq!(recall(&mut caller, &[&key])["successResult"], json!([]));
        let in_group = json!({
            "robotCode": "ding1", "openConversationId": "cid1", "processQueryKeys": [group],
        });
        assert_eq!(
            caller.post("ding1", GROUP_RECALL_PATH, &in_group)["successResult"],
            json!([group])
        );
        let recalled: Vec<_> = caller.rules.calls(0).map(|call| call.recalled).collect();
        assert_eq!(recalled, [false, true, true]);
        // Nobody can read what is gone.
        let at = caller.now().time;
        assert_eq!(caller.rules.read("u1", None, at), 1);
        assert_eq!(caller.rules.calls(0).next().unwrap().read_by, ["u1"]);
        let numbers = |up_to, after| {
            let marked = caller.rules.marked(up_to, after);
            marked.map(|call| call.number).collect::<Vec<_>>()
        };
        assert_eq!(
            (numbers(3, 0), numbers(3, 2), numbers(1, 0)),
            (vec![1, 2, 3], vec![1], vec![1])
        );
    }

    #[test]
    fn what_the_api_refuses_to_recall_is_refused_with_its_code() {
        let mut caller = Caller::new();
        let many = vec!["k"; 21];
        for (path, body, code) in [
            (
                PEOPLE_RECALL_PATH,
                json!({"processQueryKeys": ["k"]}),
                "invalidParameter.robotCode",
            ),
            (
                PEOPLE_RECALL_PATH,
                json!({"robotCode": "ding2", "processQueryKeys": ["k"]}),
                "not.allowed.robotCode",
            ),
            (
                PEOPLE_RECALL_PATH,
                json!({"robotCode": "ding1"}),
                "invalid.processQueryKey",
            ),
            (
                PEOPLE_RECALL_PATH,
                json!({"robotCode": "ding1", "processQueryKeys": many}),
                "invalidParameter.processQueryKeys.overMax",
            ),
            (
                GROUP_RECALL_PATH,
                json!({"robotCode": "ding1", "processQueryKeys": ["k"]}),
                "miss.openConversationId",
            ),
        ] {
            assert_eq!(caller.post("ding1", path, &body)["code"], code);
        }
        assert_eq!(caller.rules.calls(0).count(), 0);
    }
}
