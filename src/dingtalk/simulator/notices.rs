//! Work notices: what an app tells people in its own name, how far that is, what became of it, and recall.
//!
//! Order of the checks, after those of [`oapi`](super::oapi): JSON, agent, receivers, size, message type, members. Who
//! has had the same within a day, or too many notices, gets nothing, and the call succeeds all the same. Messages
//! of pictures, voices and files are not played.

pub(crate) mod content;

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::alert::{Now, Span, Tick};
use crate::dingtalk::simulator::SimulatorSettings;
use crate::dingtalk::simulator::apps::Apps;
use crate::dingtalk::simulator::content::Content;
use crate::dingtalk::simulator::fault::Fault;
use crate::dingtalk::simulator::oapi::{Answer, Errcode, object};
use crate::dingtalk::simulator::people::{Fate, People, Recipient, with_fate};
use crate::dingtalk::simulator::rules::{LEDGER_CALLS_MAX, Request, Window, hex};

/// Most bytes of a message.
const MESSAGE_BYTES_MAX: usize = 2048;
/// Most `userId`s of a call.
const USERS_MAX: usize = 100;
/// Most departments of a call.
const DEPARTMENTS_MAX: usize = 20;
/// Most notices to everybody in a day.
const TO_EVERYBODY_MAX: usize = 3;
/// Most notices to a person in a day.
const TO_PERSON_MAX: usize = 500;
/// Most people an app reaches in a minute.
const REACHED_MAX: usize = 5000;
/// Most people whose result can be asked for; for more the call times out.
const RESULT_PEOPLE_MAX: usize = 100;
/// How long a notice can be asked about and recalled, and content counts as had.
const DAY: Span = Span::hours(24);
/// How long it takes until a notice has gone out.
const UNDER_WAY: Span = Span(200);
/// Tasks are numbered from here, beyond what 32 bits hold.
const FIRST_TASK: u64 = 300_000_000_000;

/// Why a person gets nothing.
mod held_back {
    /// The app reaches too many people in this minute.
    pub(super) const MINUTE: u32 = 143_103;
    /// The person has had too many notices on this day.
    pub(super) const DAY: u32 = 143_105;
    /// The person has had the same on this day.
    pub(super) const SAME: u32 = 143_106;
}

/// A notice that could be read.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) people: Vec<Recipient>,
    pub(super) content: Content,
    to_everybody: bool,
    unknown_departments: Vec<String>,
    /// Of the message, by which equal ones are known.
    sha256: String,
}

/// A notice that was sent.
struct Sent {
    /// The key of the app.
    app: String,
    people: Vec<Recipient>,
    unknown_departments: Vec<String>,
    at: Tick,
    recalled: bool,
    read_by: Vec<String>,
}

/// Who sends a notice, and with which call of the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    /// The app's key.
    pub(super) app: &'a str,
    pub(super) number: u64,
}

/// A call about a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoticeCall {
    /// `getsendprogress`.
    Progress,
    /// `getsendresult`.
    Outcome,
    /// `recall`.
    Recall,
}

/// What an app or a person has had.
#[derive(Default)]
struct Had {
    /// When, and the hash of what.
    notices: VecDeque<(Tick, String)>,
}

/// All notices of a day.
pub(super) struct Notices {
    /// By the number of the call in the ledger.
    sent: BTreeMap<u64, Sent>,
    /// By `userId`.
    had: BTreeMap<String, Had>,
    /// People an app has reached, by its key.
    reached: BTreeMap<String, Window>,
    /// Notices of an app to everybody, by its key.
    to_everybody: BTreeMap<String, Window>,
    time_scale: u64,
}

impl Notice {
    /// Reads a call of `asyncsend_v2`.
    pub(super) fn read(
        apps: &Apps,
        people: &People,
        app: &str,
        request: &Request<'_>,
    ) -> Result<Self, Errcode> {
        let body = object(request)?;
        let agent = body.get("agent_id").and_then(Value::as_u64);
        let agent = agent.ok_or_else(|| Errcode::missing("agent_id"))?;
        if !apps.is_agent(app, agent) {
            return Err(Errcode::Code(40056, "不合法的agentId".to_owned()));
        }
        let users = ids(&body, "userid_list", USERS_MAX)?;
        let departments = ids(&body, "dept_id_list", DEPARTMENTS_MAX)?;
        let to_everybody = match body.get("to_all_user") {
            None | Some(Value::Null) => false,
            Some(flag) => flag.as_bool().ok_or_else(|| Errcode::invalid("to_all_user"))?,
        };
        if !to_everybody && users.is_empty() && departments.is_empty() {
            return Err(Errcode::missing("userid_list"));
        }
        let message = body.get("msg").and_then(Value::as_object);
        let message = message.ok_or_else(|| Errcode::missing("msg"))?;
        // A map of JSON values always serialises.
        let bytes = serde_json::to_vec(message).unwrap_or_default();
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Errcode::Code(45002, "消息内容长度超过限制".to_owned()));
        }
        let content = content::read(message, users.len())?;
        let (mut told, mut unknown_departments) = (users, Vec::new());
        let mut tell = |ids: Vec<String>| {
            for id in ids {
                if !told.contains(&id) {
                    told.push(id);
                }
            }
        };
        if to_everybody {
            tell(people.ids().collect());
        }
        for department in departments {
            match people.of_department(&department) {
                Some(ids) => tell(ids),
                None => unknown_departments.push(department),
            }
        }
        Ok(Self {
            people: told.iter().map(|id| people.recipient(id)).collect(),
            content,
            to_everybody,
            unknown_departments,
            sha256: hex(&Sha256::digest(bytes)),
        })
    }

    /// Whether anybody sees it.
    pub(super) fn is_shown(&self) -> bool {
        self.people.iter().any(|person| person.fate == Fate::Told)
    }
}

impl Notices {
    pub(super) fn new(settings: &SimulatorSettings) -> Self {
        Self {
            sent: BTreeMap::new(),
            had: BTreeMap::new(),
            reached: BTreeMap::new(),
            to_everybody: BTreeMap::new(),
            time_scale: u64::from(settings.time_scale.get()),
        }
    }

    fn scaled(&self, span: Span) -> Span {
        Span(span.0 / self.time_scale)
    }

    /// Sends a notice, entered in the ledger under this number, and answers with its task.
    pub(super) fn send(
        &mut self,
        notice: &mut Notice,
        Sender { app, number }: Sender<'_>,
        people: &People,
        fault: Option<&Fault>,
        now: Tick,
    ) -> Answer {
        people.tell(&mut notice.people, fault);
        if !notice.people.is_empty() && notice.people.iter().all(|person| person.fate == Fate::Unknown) {
            return Err(Errcode::Code(33012, "无效的USERID".to_owned()));
        }
        if notice.to_everybody {
            let day = self.scaled(DAY);
            let calls = self.to_everybody.entry(app.to_owned()).or_default();
            if calls.within(now, day) >= TO_EVERYBODY_MAX {
                return Err(Errcode::Code(41045, "全员消息超过每日限制".to_owned()));
            }
            calls.arrive(now, day);
        }
        for person in &mut notice.people {
            match person.fate {
                Fate::FlowControlled => person.code = Some(held_back::DAY),
                Fate::Told => {
                    person.code = self.hold_back(&person.user_id, app, &notice.sha256, now);
                    if person.code.is_some() {
                        person.fate = Fate::FlowControlled;
                    }
                }
                Fate::Unknown | Fate::Refused => {}
            }
        }
        if self.sent.len() >= LEDGER_CALLS_MAX {
            self.sent.pop_first();
        }
        let sent = Sent {
            app: app.to_owned(),
            people: notice.people.clone(),
            unknown_departments: notice.unknown_departments.clone(),
            at: now,
            recalled: false,
            read_by: Vec::new(),
        };
        self.sent.insert(number, sent);
        Ok(json!({"task_id": FIRST_TASK + number}))
    }

    /// Counts a notice to a person, unless there is a reason to hold it back.
    fn hold_back(&mut self, person: &str, app: &str, sha256: &str, now: Tick) -> Option<u32> {
        let (day, minute) = (self.scaled(DAY), self.scaled(Span::minutes(1)));
        let had = self.had.entry(person.to_owned()).or_default();
        while had.notices.front().is_some_and(|(at, _)| now.since(*at) >= day) {
            had.notices.pop_front();
        }
        if had.notices.iter().any(|(_, other)| other == sha256) {
            return Some(held_back::SAME);
        }
        if had.notices.len() >= TO_PERSON_MAX {
            return Some(held_back::DAY);
        }
        if self
            .reached
            .entry(app.to_owned())
            .or_default()
            .arrive(now, minute)
            > REACHED_MAX
        {
            return Some(held_back::MINUTE);
        }
        had.notices.push_back((now, sha256.to_owned()));
        None
    }

    /// A person opens the own chat. The numbers of the calls whose notices were unread.
    pub(super) fn opened_by(&mut self, person: &str) -> Vec<u64> {
        let mut news = Vec::new();
        for (number, sent) in self.sent.iter_mut().filter(|(_, sent)| !sent.recalled) {
            let is_told = |other: &Recipient| other.user_id == person && other.fate == Fate::Told;
            let is_read = sent.read_by.iter().any(|other| other == person);
            if !is_read && sent.people.iter().any(is_told) {
                sent.read_by.push(person.to_owned());
                news.push(*number);
            }
        }
        news
    }

    /// Answers an app, and says which calls' notices are gone.
    pub(super) fn answer(
        &mut self,
        asks: NoticeCall,
        apps: &Apps,
        app: &str,
        request: &Request<'_>,
        now: Now,
    ) -> Result<(Value, Vec<u64>), Errcode> {
        let asked = object(request)?;
        let (day, under_way) = (self.scaled(DAY), self.scaled(UNDER_WAY));
        let member = match asks {
            NoticeCall::Progress | NoticeCall::Outcome => "task_id",
            NoticeCall::Recall => "msg_task_id",
        };
        let number = |member: &str| asked.get(member).and_then(Value::as_u64);
        let agent = number("agent_id").filter(|agent| apps.is_agent(app, *agent));
        let call = number(member).and_then(|task| task.checked_sub(FIRST_TASK));
        let sent = call.and_then(|call| self.sent.get_mut(&call));
        let sent = sent.filter(|sent| sent.app == app && now.tick.since(sent.at) <= day);
        let (Some(_), Some(sent)) = (agent, sent) else {
            return Err(match asks {
                NoticeCall::Progress | NoticeCall::Outcome => Errcode::invalid("agent_id 或 task_id"),
                NoticeCall::Recall => Errcode::Code(400_002, "无效的参数 agent_id 或 msg_task_id".to_owned()),
            });
        };
        let is_done = now.tick.since(sent.at) >= under_way;
        match asks {
            NoticeCall::Progress => Ok((progress(is_done), Vec::new())),
            NoticeCall::Outcome => Ok((sent.outcome(is_done)?, Vec::new())),
            NoticeCall::Recall => {
                let is_news = !std::mem::replace(&mut sent.recalled, true);
                Ok((json!({}), call.filter(|_| is_news).into_iter().collect()))
            }
        }
    }
}

fn progress(is_done: bool) -> Value {
    let (percent, status) = if is_done { (100, 2) } else { (0, 1) };
    json!({"progress": {"progress_in_percent": percent, "status": status}})
}

impl Sent {
    fn outcome(&self, is_done: bool) -> Answer {
        if self.people.len() > RESULT_PEOPLE_MAX {
            let text = "isp.top-remote-connection-timeout";
            return Err(Errcode::Code(15, text.to_owned()));
        }
        let people: &[Recipient] = if is_done { &self.people } else { &[] };
        let told = with_fate(people, Fate::Told);
        let is_read = |id: &&str| self.read_by.iter().any(|other| other == id);
        let (read, unread): (Vec<&str>, Vec<&str>) = told.into_iter().partition(is_read);
        let held_back = people.iter().filter_map(|person| {
            let code = person.code?.to_string();
            Some(json!({"code": code, "count": 1, "userid": person.user_id}))
        });
        Ok(json!({"send_result": {
            "invalid_user_id_list": with_fate(people, Fate::Unknown),
            "forbidden_user_id_list": with_fate(people, Fate::FlowControlled),
            "failed_user_id_list": [],
            "read_user_id_list": read,
            "unread_user_id_list": unread,
            "invalid_dept_id_list": self.unknown_departments,
            "forbidden_list": held_back.collect::<Vec<_>>(),
        }}))
    }
}

/// A list of ids, which is a text with commas.
fn ids(body: &Map<String, Value>, member: &str, most: usize) -> Result<Vec<String>, Errcode> {
    let text = match body.get(member) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => return Ok(Vec::new()),
        Some(list) => list.as_str().ok_or_else(|| Errcode::invalid(member))?,
    };
    let mut ids: Vec<String> = text.split(',').map(str::to_owned).collect();
    let is_wrong = |id: &String| id.is_empty() || id.contains(char::is_whitespace);
    if ids.len() > most || ids.iter().any(is_wrong) {
        return Err(Errcode::invalid(member));
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dingtalk::simulator::caller::Caller;
    use crate::dingtalk::simulator::fault::Injection;
    use crate::dingtalk::simulator::rules::Call;
    use crate::dingtalk::{NOTICE_OUTCOME_PATH, NOTICE_PROGRESS_PATH, NOTICE_RECALL_PATH, NOTICE_SEND_PATH};

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    fn notice(people: &str, content: &str) -> Value {
        json!({
            "agent_id": 7, "userid_list": people, "to_all_user": false,
            "msg": {"msgtype": "text", "text": {"content": content}},
        })
    }

    fn send(caller: &mut Caller, body: &Value) -> Value {
        // Never too many in a second.
        caller.ms += 1000;
        caller.post_older("ding1", NOTICE_SEND_PATH, body)
    }

    fn outcome(caller: &mut Caller, task: &Value) -> Value {
        let asked = json!({"agent_id": 7, "task_id": task});
        caller.post_older("ding1", NOTICE_OUTCOME_PATH, &asked)["send_result"].clone()
    }

    fn last(caller: &Caller) -> &Call {
        caller.rules.calls(0).last().unwrap()
    }

    fn fates(caller: &Caller) -> Vec<(&str, Fate, Option<u32>)> {
        let people = last(caller).people.iter();
        people
            .map(|person| (person.user_id.as_str(), person.fate, person.code))
            .collect()
    }

    #[test]
    fn a_notice_is_on_its_way_and_then_with_those_who_exist() {
        let mut caller = Caller::new();
        let answer = send(&mut caller, &notice("u1,u404,u2", "node-1"));
        assert_eq!((&answer["errcode"], &answer["errmsg"]), (&json!(0), &json!("ok")));
        let task = &answer["task_id"];
        let progress = |caller: &mut Caller| {
            let asked = json!({"agent_id": 7, "task_id": task});
            caller.post_older("ding1", NOTICE_PROGRESS_PATH, &asked)["progress"].clone()
        };
        assert_eq!(
            progress(&mut caller),
            json!({"progress_in_percent": 0, "status": 1})
        );
        assert_eq!(outcome(&mut caller, task)["unread_user_id_list"], json!([]));
        caller.ms += 200;
        assert_eq!(
            progress(&mut caller),
            json!({"progress_in_percent": 100, "status": 2})
        );
        let at = caller.now().time;
        assert_eq!(caller.rules.read("u2", None, at), 1);
        assert_eq!(caller.rules.read("u2", None, at), 0);
        assert_eq!(
            outcome(&mut caller, task),
            json!({
                "invalid_user_id_list": ["u404"], "forbidden_user_id_list": [], "failed_user_id_list": [],
                "read_user_id_list": ["u2"], "unread_user_id_list": ["u1"], "invalid_dept_id_list": [],
                "forbidden_list": [],
            })
        );
        let call = last(&caller);
        assert_eq!(
            (call.notice, call.shown, call.content.text.as_str()),
            (true, true, "node-1")
        );
        assert_eq!(call.read_by, ["u2"]);
    }

    #[test]
    fn the_same_again_within_a_day_is_accepted_and_lost() {
        let mut caller = Caller::new();
        send(&mut caller, &notice("u1", "node-1"));
        let answer = send(&mut caller, &notice("u1,u2", "node-1"));
        assert_eq!(answer["errcode"], 0);
        assert_eq!(
            fates(&caller),
            [
                ("u1", Fate::FlowControlled, Some(143_106)),
                ("u2", Fate::Told, None)
            ]
        );
        caller.ms += 1000;
        let outcome = outcome(&mut caller, &answer["task_id"]);
        assert_eq!(outcome["forbidden_user_id_list"], json!(["u1"]));
        assert_eq!(
            outcome["forbidden_list"],
            json!([{"code": "143106", "count": 1, "userid": "u1"}])
        );
        send(&mut caller, &notice("u1", "node-1 again"));
        assert!(last(&caller).shown);
        send(&mut caller, &notice("u1", "node-1"));
        assert!(!last(&caller).shown);
        caller.ms += DAY_MS;
        send(&mut caller, &notice("u1", "node-1"));
        assert!(last(&caller).shown);
    }

    #[test]
    fn a_person_has_five_hundred_notices_a_day() {
        let mut caller = Caller::new();
        for number in 1..=501 {
            send(&mut caller, &notice("u1", &format!("node-{number}")));
            assert_eq!(last(&caller).shown, number <= 500);
        }
        assert_eq!(fates(&caller), [("u1", Fate::FlowControlled, Some(143_105))]);
    }

    #[test]
    fn an_app_reaches_five_thousand_people_a_minute() {
        let mut caller = Caller::new();
        let id = |call: u32, number: u32| format!("u{}", call * 100 + number);
        let people = |call| {
            (0..100)
                .map(|number| id(call, number))
                .collect::<Vec<_>>()
                .join(",")
        };
        caller.rules = crate::dingtalk::simulator::rules::Rules::new(SimulatorSettings {
            apps: vec!["ops:ding1:s::7".parse().unwrap()],
            ..SimulatorSettings::default()
        });
        for call in 0..50 {
            send(&mut caller, &notice(&people(call), "node-1"));
        }
        assert!(last(&caller).shown);
        send(&mut caller, &notice("u9999", "node-1"));
        assert_eq!(fates(&caller), [("u9999", Fate::FlowControlled, Some(143_103))]);
    }

    #[test]
    fn a_department_is_who_is_in_it_and_each_is_told_once() {
        let mut caller = Caller::new();
        caller.rules = crate::dingtalk::simulator::rules::Rules::new(SimulatorSettings {
            apps: vec!["ops:ding1:s::7".parse().unwrap()],
            people: ["ann:u1", "bob:u2", "eve:u3"]
                .map(|person| person.parse().unwrap())
                .into(),
            departments: ["7:u1", "8:u1,u2"]
                .map(|department| department.parse().unwrap())
                .into(),
            accept_any_token: false,
            ..SimulatorSettings::default()
        });
        for (departments, told) in [
            ("7", &["u1"][..]),
            ("8,7", &["u1", "u2"]),
            ("1", &["u1", "u2", "u3"]),
        ] {
            let mut body = notice("", departments);
            body["dept_id_list"] = json!(departments);
            assert_eq!(send(&mut caller, &body)["errcode"], 0);
            let expected: Vec<_> = told.iter().map(|user| (*user, Fate::Told, None)).collect();
            assert_eq!(fates(&caller), expected, "{departments}");
        }
        for wrong in ["7", "7:", "7:u1,,u2", "seven:u1", "1:u1"] {
            assert!(
                wrong
                    .parse::<crate::dingtalk::simulator::SimulatedDepartment>()
                    .is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn everybody_is_told_three_times_a_day() {
        let mut caller = Caller::new();
        let to_everybody = |number: u32| {
            let mut body = notice("", &format!("node-{number}"));
            body["to_all_user"] = json!(true);
            body
        };
        for number in 0..3 {
            assert_eq!(send(&mut caller, &to_everybody(number))["errcode"], 0);
            assert_eq!(
                fates(&caller),
                [("u1", Fate::Told, None), ("u2", Fate::Told, None)]
            );
        }
        assert_eq!(send(&mut caller, &to_everybody(3))["errcode"], 41045);
        // The root department is everybody, too; another does not exist.
        let mut body = notice("u1", "node-1 is back");
        body["dept_id_list"] = json!("1,77");
        let task = send(&mut caller, &body)["task_id"].clone();
        assert_eq!(
            fates(&caller),
            [("u1", Fate::Told, None), ("u2", Fate::Told, None)]
        );
        assert_eq!(outcome(&mut caller, &task)["invalid_dept_id_list"], json!(["77"]));
    }

    #[test]
    fn faults_hold_a_notice_back_from_some() {
        let mut caller = Caller::new();
        caller
            .rules
            .inject(Injection::next(Fault::FlowControlledStaff(vec!["u2".to_owned()])));
        assert_eq!(send(&mut caller, &notice("u1,u2", "node-1"))["errcode"], 0);
        assert_eq!(
            fates(&caller),
            [
                ("u1", Fate::Told, None),
                ("u2", Fate::FlowControlled, Some(143_105))
            ]
        );
        // Who was held back has not had it.
        send(&mut caller, &notice("u2", "node-1"));
        assert!(last(&caller).shown);
    }

    #[test]
    fn what_is_recalled_is_gone_and_nobody_else_may_recall_it() {
        let mut caller = Caller::new();
        let task = send(&mut caller, &notice("u1", "node-1"))["task_id"].clone();
        let mut recall = |app: &str, agent: u64, member: &str| {
            let asked = json!({"agent_id": agent, member: task});
            caller.post_older(app, NOTICE_RECALL_PATH, &asked)["errcode"].clone()
        };
        assert_eq!(recall("ding2", 8, "msg_task_id"), 400_002);
        assert_eq!(recall("ding1", 8, "msg_task_id"), 400_002);
        assert_eq!(recall("ding1", 7, "task_id"), 400_002);
        assert_eq!(recall("ding1", 7, "msg_task_id"), 0);
        assert!(last(&caller).recalled);
        caller.ms += DAY_MS + 1;
        let asked = json!({"agent_id": 7, "task_id": task});
        assert_eq!(
            caller.post_older("ding1", NOTICE_PROGRESS_PATH, &asked)["errcode"],
            40035
        );
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), errcode: i64) {
        let mut caller = Caller::new();
        let mut body = notice("u1,u2", "node-1");
        change(&mut body);
        assert_eq!(send(&mut caller, &body)["errcode"], errcode, "{body}");
        assert_eq!(last(&caller).shown, errcode == 0);
    }

    #[test]
    fn what_the_api_refuses_is_refused_with_its_code() {
        let set = |name: &'static str, value: Value| move |body: &mut Value| body[name] = value;
        let many = vec!["u1"; 101].join(",");
        check(set("agent_id", Value::Null), 40035);
        check(set("agent_id", json!(8)), 40056);
        check(set("userid_list", json!("")), 40035);
        check(set("userid_list", json!(["u1"])), 40035);
        check(set("userid_list", json!("u1, u2")), 40035);
        check(set("userid_list", json!(many)), 40035);
        check(set("userid_list", json!("u404,u405")), 33012);
        check(set("to_all_user", json!("true")), 40035);
        check(set("dept_id_list", Value::Null), 0);
        check(set("msg", Value::Null), 40035);
        let says = |msgtype: &str, inner: Value| set("msg", json!({"msgtype": msgtype, msgtype: inner}));
        check(says("actionCard", json!({})), 40008);
        check(says("text", json!({"content": ""})), 40035);
        let frame = json!({"msgtype": "text", "text": {"content": ""}})
            .to_string()
            .len();
        check(says("text", json!({"content": "x".repeat(2048 - frame)})), 0);
        check(says("text", json!({"content": "x".repeat(2049 - frame)})), 45002);
        check(says("markdown", json!({"text": "x"})), 40035);
        check(
            says(
                "link",
                json!({"title": "t", "text": "x", "messageUrl": "https://a"}),
            ),
            40035,
        );
        let card = |title: &str| json!({"markdown": "x", "single_title": title, "single_url": "https://a"});
        check(says("action_card", card(&"长".repeat(20))), 0);
        check(says("action_card", card(&"长".repeat(21))), 40035);
        check(says("action_card", json!({"markdown": "x"})), 40035);
        let oa =
            json!({"message_url": "https://a", "head": {"bgcolor": "0xFF0000", "text": "h"}, "body": {}});
        check(says("oa", oa), 40035);
    }

    #[test]
    fn every_type_of_message_is_read() {
        for (msgtype, inner, text, links) in [
            ("text", json!({"content": "x"}), "x", 0),
            ("markdown", json!({"title": "t", "text": "x"}), "x", 0),
            (
                "link",
                json!({"title": "t", "text": "x", "messageUrl": "https://a", "picUrl": "@lADO"}),
                "x",
                1,
            ),
            (
                "action_card",
                json!({"title": "t", "markdown": "x", "btn_orientation": "1", "btn_json_list": [
                    {"title": "a", "action_url": "https://a"}, {"title": "b", "action_url": "https://b"},
                ]}),
                "x",
                2,
            ),
            (
                "oa",
                json!({
                    "message_url": "https://a", "head": {"bgcolor": "FFBB0000", "text": "h"},
                    "body": {"title": "t", "form": [{"key": "host:", "value": "node-1"}, {"key": "alone", "value": ""}], "content": "x"},
                    "status_bar": {"status_value": "firing", "status_bg": "0xFFFF0000"},
                }),
                "host: node-1\nalone\nx",
                1,
            ),
        ] {
            let mut caller = Caller::new();
            let mut body = notice("u1", "");
            body["msg"] = json!({"msgtype": msgtype, msgtype: inner});
            assert_eq!(send(&mut caller, &body)["errcode"], 0, "{body}");
            let content = &last(&caller).content;
            assert_eq!(
                (
                    content.msgtype.as_str(),
                    content.text.as_str(),
                    content.links.len()
                ),
                (msgtype, text, links)
            );
        }
    }
}
