//! What DingTalk says of a work notice: that it has taken it, how far it is, and what became of it.
//!
//! That it was taken says nothing: who has had the same, or too much, gets nothing, and the call succeeds all the same.
//! Only the lists at the end say who got it. How codes are judged is [`oapicode`]'s; who asks, and when, the client's.

use serde_json::{Map, Value};

use super::apicode::{CHECK_PERSON, TARGET, THROTTLE_PAUSE, no_such_person};
use super::errcode::{answer, integer};
use super::oapicode;
use crate::alert::Receipt;
use crate::engine::{Answer, Outcome};

/// An answer, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Its status.
    pub http_status: u16,
    /// Its content type.
    pub content_type: Option<&'a str>,
    /// Its body.
    pub body: &'a [u8],
}

/// What became of a notice that has gone out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Those who got it.
    told: Vec<String>,
    /// People whom nobody knows.
    invalid: Vec<String>,
    /// Departments that nobody knows.
    invalid_departments: Vec<String>,
    /// Those from whom it was held back, with a code if one is said; somebody whose name is not said has an empty one.
    held_back: Vec<(String, Option<i64>)>,
    /// Those whom it could not be passed on to.
    failed: Vec<String>,
    /// Whether they are more than DingTalk lists, so that nobody is here.
    are_too_many: bool,
}

impl Reply<'_> {
    /// What an answer of a success holds, or else what it means for the message.
    fn read<T>(self, what: &str, find: impl FnOnce(&Value) -> Option<T>) -> Result<T, Answer> {
        let answer = oapicode::classify(self.http_status, self.content_type, self.body);
        if answer.errcode != Some(0) || answer.outcome != Outcome::Delivered {
            return Err(answer);
        }
        let json: Value = serde_json::from_slice(self.body).unwrap_or_default();
        find(&json).ok_or_else(|| Answer {
            errcode: Some(0),
            ..Answer::new(Outcome::Unknown, format!("the answer names no `{what}`"))
        })
    }
}

/// The number of a notice that was taken.
pub fn task(reply: Reply<'_>) -> Result<i64, Answer> {
    reply.read("task_id", |json| integer(&json["task_id"]))
}

/// What a notice can be asked about by: its number alone says nothing without that of its app.
pub fn receipt(agent_id: u64, task: i64) -> Receipt {
    Receipt::from(format!("{agent_id}/{task}"))
}

/// With what the notice can be asked about by, when it is this one that arrived and not one that said the same before.
pub fn with_receipt(answer: Answer, agent_id: u64, task: i64) -> Answer {
    let arrived = answer.outcome == Outcome::Delivered && answer.errcode == Some(0);
    Answer {
        receipt: arrived.then(|| receipt(agent_id, task)),
        ..answer
    }
}

/// The numbers of a notice and of its app in a receipt.
pub fn numbers(receipt: &Receipt) -> Option<(u64, i64)> {
    let (agent_id, task) = receipt.as_str().split_once('/')?;
    Some((agent_id.parse().ok()?, task.parse().ok()?))
}

/// Whether a notice has gone out.
pub fn is_done(reply: Reply<'_>) -> Result<bool, Answer> {
    const DONE: i64 = 2;
    reply.read("progress", |json| {
        Some(integer(&json["progress"]["status"])? == DONE)
    })
}

/// What became of a notice that has gone out.
pub fn lists(reply: Reply<'_>) -> Result<Lists, Answer> {
    reply.read("send_result", |json| {
        json["send_result"].as_object().map(Lists::of)
    })
}

/// Whether it is not said because they are more than DingTalk lists: it times out over them.
pub fn are_too_many(answer: &Answer) -> bool {
    answer.errcode == Some(oapicode::TIMED_OUT)
}

impl Lists {
    /// What is known when there are more people than DingTalk lists.
    pub fn of_too_many() -> Self {
        Self {
            are_too_many: true,
            ..Self::default()
        }
    }

    fn of(object: &Map<String, Value>) -> Self {
        let texts = |name: &str| {
            let list = object.get(name).and_then(Value::as_array);
            let list = list.into_iter().flatten();
            list.filter_map(text).collect::<Vec<String>>()
        };
        let mut told = texts("read_user_id_list");
        told.extend(texts("unread_user_id_list"));
        let mut held_back = Vec::new();
        let forbidden = object.get("forbidden_list").and_then(Value::as_array);
        for entry in forbidden.into_iter().flatten() {
            let code = entry.get("code").and_then(integer);
            let users = entry.get("userid").and_then(text).unwrap_or_default();
            let named = users.split(',').map(str::trim).filter(|user| !user.is_empty());
            let before = held_back.len();
            held_back.extend(named.map(|user| (user.to_owned(), code)));
            if held_back.len() == before {
                held_back.push((String::new(), code));
            }
        }
        for user in texts("forbidden_user_id_list") {
            if held_back.iter().all(|(other, _)| *other != user) {
                held_back.push((user, None));
            }
        }
        Self {
            told,
            invalid: texts("invalid_user_id_list"),
            invalid_departments: texts("invalid_dept_id_list"),
            held_back,
            failed: texts("failed_user_id_list"),
            are_too_many: false,
        }
    }

    /// Whether something is said of each of these people.
    pub fn mention_all(&self, users: &[&str]) -> bool {
        users.iter().all(|user| self.find(user).is_some())
    }

    /// What became of it for each of these people.
    pub fn for_each(&self, users: &[&str]) -> Vec<Answer> {
        users.iter().map(|user| self.for_one(user)).collect()
    }

    /// Who was told so and is in no list is no user id as DingTalk spells it, most likely. To ask for the same again
    /// would not change that, however often.
    fn for_one(&self, user: &str) -> Answer {
        self.find(user).unwrap_or_else(|| {
            let detail = format!(
                "DingTalk says nothing of `{user}` among those whom it has passed the notice on to; {CHECK_PERSON}"
            );
            answer(TARGET, Some(0), detail)
        })
    }

    fn find(&self, user: &str) -> Option<Answer> {
        let is_meant = |other: &String| other.eq_ignore_ascii_case(user);
        let among = |list: &[String]| list.iter().any(is_meant);
        let held_back = self.held_back.iter().find(|(other, _)| is_meant(other));
        Some(if among(&self.invalid) {
            no_such_person(user)
        } else if let Some((_, code)) = held_back {
            self::held_back(user, *code)
        } else if among(&self.failed) {
            let detail = format!("DingTalk could not pass it on to `{user}`");
            answer(Outcome::Retry, None, detail)
        } else if among(&self.told) {
            answer(Outcome::Delivered, Some(0), "ok")
        } else {
            return None;
        })
    }

    /// What became of it when it was for departments or everybody: it was delivered if anybody got it, or nothing is
    /// said of anybody. Then there most likely is nobody, which the operator is to know; sending it again tells nobody,
    /// either.
    pub fn for_all(&self) -> Answer {
        let held_back = self
            .held_back
            .first()
            .map(|(user, code)| self::held_back(user, *code));
        let missed = self.missed();
        let reached = !self.told.is_empty()
            || missed.is_empty()
            || self
                .held_back
                .iter()
                .any(|(_, code)| outcome_of(*code) == Outcome::Delivered);
        if reached {
            let detail = if self.lists_nobody() {
                "DingTalk lists nobody whom it was passed on to; see who may see the app, and who is in the \
                 departments"
                    .to_owned()
            } else if missed.is_empty() {
                "ok".to_owned()
            } else {
                missed
            };
            return Answer {
                reached_nobody: self.lists_nobody(),
                ..answer(Outcome::Delivered, Some(0), detail)
            };
        }
        match held_back {
            Some(held_back) => held_back,
            None if self.failed.is_empty() => answer(TARGET, Some(0), missed),
            None => answer(Outcome::Retry, Some(0), missed),
        }
    }

    fn lists_nobody(&self) -> bool {
        !self.are_too_many && *self == Self::default()
    }

    /// Who got nothing, in one line.
    fn missed(&self) -> String {
        let departments = self.invalid_departments.join("`, `");
        let lost = self
            .held_back
            .iter()
            .filter(|(_, code)| outcome_of(*code) != Outcome::Delivered);
        let lost = lost.count() + self.failed.len() + self.invalid.len();
        let departments = (!departments.is_empty()).then(|| {
            format!("DingTalk knows no department `{departments}`; compare it with the address book")
        });
        let people = match lost {
            0 => None,
            1 => Some("1 person did not get it".to_owned()),
            lost => Some(format!("{lost} people did not get it")),
        };
        departments
            .into_iter()
            .chain(people)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// What it means that DingTalk held a notice back.
fn outcome_of(code: Option<i64>) -> Outcome {
    let row = code.and_then(oapicode::lookup);
    row.map_or(Outcome::Throttled(THROTTLE_PAUSE), |row| row.outcome)
}

fn held_back(user: &str, code: Option<i64>) -> Answer {
    let outcome = outcome_of(code);
    if outcome == Outcome::Delivered {
        return answer(outcome, code, "ok");
    }
    let meaning = code
        .and_then(oapicode::lookup)
        .map_or("no reason is given", |row| row.meaning);
    let code_shown = code.map_or(String::new(), |code| format!(" (code {code})"));
    let whom = if user.is_empty() {
        "somebody".to_owned()
    } else {
        format!("`{user}`")
    };
    answer(
        outcome,
        code,
        format!("DingTalk held it back from {whom}{code_shown}: {meaning}"),
    )
}

/// An id, which may be a number.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dingtalk::errcode::tests::shown;

    fn reply(body: &[u8]) -> Reply<'_> {
        Reply {
            http_status: 200,
            content_type: Some("application/json"),
            body,
        }
    }

    fn shown_of<T>(read: Result<T, Answer>) -> Result<T, String> {
        read.map_err(|answer| shown(answer.outcome))
    }

    #[test]
    fn a_notice_was_taken_when_it_has_a_number() {
        let read = |body: Value| shown_of(task(reply(body.to_string().as_bytes())));
        assert_eq!(
            read(json!({"errcode": 0, "task_id": 300_000_000_001_i64})),
            Ok(300_000_000_001)
        );
        assert_eq!(read(json!({"errcode": "0", "task_id": "7"})), Ok(7));
        for (body, outcome) in [
            (json!({"errcode": 0}), "unknown"),
            (json!({"errcode": 0, "task_id": 7, "punish": "deny"}), "unknown"),
            (json!({"task_id": 7}), "unknown"),
            (json!({"errcode": 143_106, "task_id": 7}), "delivered"),
            (json!({"errcode": 45_002, "task_id": 7}), "rejected_size"),
        ] {
            assert_eq!(read(body.clone()), Err(outcome.to_owned()), "{body}");
        }
    }

    #[test]
    fn a_notice_has_gone_out_when_that_is_said() {
        let read = |progress: Value| {
            let body = json!({"errcode": 0, "progress": progress}).to_string();
            shown_of(is_done(reply(body.as_bytes())))
        };
        for (status, done) in [
            (json!(0), false),
            (json!(1), false),
            (json!(2), true),
            (json!("2"), true),
        ] {
            assert_eq!(
                read(json!({"progress_in_percent": 100, "status": status})),
                Ok(done)
            );
        }
        assert_eq!(
            read(json!({"progress_in_percent": 100})),
            Err("unknown".to_owned())
        );
        assert_eq!(
            shown_of(is_done(reply(br#"{"errcode":-1}"#))),
            Err("retry".to_owned())
        );
    }

    fn told(result: &Value) -> Lists {
        let body = json!({"errcode": 0, "send_result": result}).to_string();
        lists(reply(body.as_bytes())).expect("lists")
    }

    #[test]
    fn each_person_got_it_or_did_not() {
        let lists = told(&json!({
            "read_user_id_list": ["read"], "unread_user_id_list": ["unread", 7, "both"], "failed_user_id_list": ["failed"],
            "invalid_user_id_list": ["invalid"], "forbidden_user_id_list": ["nobody-says-why", "minute"],
            "forbidden_list": [
                {"code": "143103", "count": 1, "userid": "minute"}, {"code": 143_105, "count": 1, "userid": "day"},
                {"code": "143106", "count": 2, "userid": "same,same-too"}, {"code": "1430002", "userid": "content"},
                {"code": "143199", "userid": "new"}, {"code": "143103", "userid": "both"},
            ],
            "invalid_dept_id_list": null,
        }));
        for (user, expected) in [
            ("read", "delivered"),
            ("unread", "delivered"),
            ("7", "delivered"),
            ("failed", "retry"),
            ("invalid", "refused_person"),
            ("minute", "throttled for 60 s"),
            ("day", "throttled for 3600 s"),
            ("same", "delivered"),
            ("same-too", "delivered"),
            ("content", "rejected_content"),
            ("new", "throttled for 60 s"),
            ("nobody-says-why", "throttled for 60 s"),
            ("both", "throttled for 60 s"),
            ("READ", "delivered"),
            ("unmentioned", "refused_target"),
        ] {
            let answer = lists.for_each(&[user]).remove(0);
            assert_eq!(shown(answer.outcome), expected, "{user}: {}", answer.detail);
        }
        assert_eq!(
            lists.for_each(&["day"])[0].detail,
            "DingTalk held it back from `day` (code 143105): the person has had too many notices on this day"
        );
    }

    #[test]
    fn departments_got_it_when_anybody_did_or_nothing_bad_is_said() {
        for (result, expected, detail) in [
            (
                json!({}),
                "delivered",
                "DingTalk lists nobody whom it was passed on to; see who may see the app, and who is in the \
                 departments",
            ),
            (json!({"unread_user_id_list": ["a"]}), "delivered", "ok"),
            (
                json!({"unread_user_id_list": ["a"], "invalid_dept_id_list": [42, "7"], "failed_user_id_list": ["b"],
                    "forbidden_list": [{"code": "143105", "userid": "c"}, {"code": "143106", "userid": "d"}]}),
                "delivered",
                "DingTalk knows no department `42`, `7`; compare it with the address book; 2 people did not get it",
            ),
            (
                json!({"invalid_dept_id_list": [42]}),
                "refused_target",
                "DingTalk knows no department `42`; compare it with the address book",
            ),
            (
                json!({"forbidden_list": [{"code": "143103", "userid": "c"}]}),
                "throttled for 60 s",
                "DingTalk held it back from `c` (code 143103): too many people were told in a minute",
            ),
            (
                json!({"forbidden_list": [{"code": "143103", "userid": "c,"}, {"code": "143103", "userid": "d"}],
                    "unread_user_id_list": ["a"]}),
                "delivered",
                "2 people did not get it",
            ),
            (
                json!({"forbidden_list": [{"code": "143103", "count": 1}]}),
                "throttled for 60 s",
                "DingTalk held it back from somebody (code 143103): too many people were told in a minute",
            ),
            (
                json!({"forbidden_list": [{"code": "143106", "userid": "c"}]}),
                "delivered",
                "ok",
            ),
            (
                json!({"failed_user_id_list": ["b"]}),
                "retry",
                "1 person did not get it",
            ),
        ] {
            let answer = told(&result).for_all();
            assert_eq!(
                answer.reached_nobody,
                answer.detail.starts_with("DingTalk lists nobody"),
                "{result}"
            );
            assert_eq!(
                (shown(answer.outcome).as_str(), answer.detail.as_str()),
                (expected, detail),
                "{result}"
            );
        }
    }

    #[test]
    fn more_people_than_are_listed_are_no_failure() {
        assert_eq!(Lists::of_too_many().for_all().detail, "ok");
        let read = |body: &[u8]| lists(reply(body)).expect_err("no lists");
        assert!(are_too_many(&read(br#"{"errcode":15,"errmsg":"timeout"}"#)));
        for body in [&br#"{"errcode":0}"#[..], br#"{"errcode":-1}"#] {
            assert!(!are_too_many(&read(body)));
        }
    }
}
