//! The calls about messages that an app has sent: taking them back, and who has read them.
//!
//! What is asked and what is answered, without a network: [`call`] writes an [`Errand`] down, [`wanted`] says what a
//! success holds, and [`finding`] reads it. Groups and people have paths of their own, and the three paths of people
//! are not spelled alike.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::apicode::{member, not_taken_back};
use super::notice;
use super::{
    GROUP_READ_PATH, GROUP_RECALL_PATH, NOTICE_OUTCOME_PATH, NOTICE_RECALL_PATH, PEOPLE_READ_PATH,
    PEOPLE_RECALL_PATH,
};
use crate::alert::{EndpointName, Receipt, Timestamp};
use crate::engine::{Answer, Errand, Finding, Outcome, ReadBy, Reader, Task};
use crate::plan::{App, Way};

/// Most readers of one answer.
const READERS_PER_PAGE_MAX: u32 = 200;

/// A call of the API, or of the older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its path, with its query.
    pub path: Cow<'static, str>,
    /// What is posted; `None` is a `GET`.
    pub body: Option<Vec<u8>>,
    /// Whether it is one of the older API.
    pub is_older: bool,
}

/// The app and the call of an errand about messages that were sent that way; nobody can ask a custom bot.
pub fn call<'a>(way: &'a Way, task: &Task) -> Option<(&'a App, Call)> {
    let post = |path, body: Value| Call {
        path: Cow::Borrowed(path),
        body: Some(body.to_string().into_bytes()),
        is_older: false,
    };
    let keys = |receipts: &[Receipt]| -> Vec<String> {
        receipts
            .iter()
            .map(|receipt| receipt.as_str().to_owned())
            .collect()
    };
    Some(match (way, task) {
        (Way::Bot(_), Task::Recall(_) | Task::Read { .. }) => return None,
        (Way::WorkNotice(notice), task) => (notice.app().as_ref(), about_notice(task)?),
        (Way::Group(group), Task::Recall(receipts)) => {
            let body = json!({
                "openConversationId": group.conversation,
                "robotCode": group.app.robot_code,
                "processQueryKeys": keys(receipts),
            });
            (&group.app, post(GROUP_RECALL_PATH, body))
        }
        (Way::Direct(person), Task::Recall(receipts)) => {
            let body = json!({"robotCode": person.app.robot_code, "processQueryKeys": keys(receipts)});
            (&person.app, post(PEOPLE_RECALL_PATH, body))
        }
        (Way::Group(group), Task::Read { receipt, page }) => {
            let mut body = json!({
                "openConversationId": group.conversation,
                "robotCode": group.app.robot_code,
                "processQueryKey": receipt.as_str(),
                "maxResults": READERS_PER_PAGE_MAX,
            });
            if let Some(page) = page {
                body["nextToken"] = page.as_str().into();
            }
            (&group.app, post(GROUP_READ_PATH, body))
        }
        (Way::Direct(person), Task::Read { receipt, .. }) => {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("robotCode", &person.app.robot_code)
                .append_pair("processQueryKey", receipt.as_str())
                .finish();
            let path = Cow::Owned(format!("{PEOPLE_READ_PATH}?{query}"));
            let call = Call {
                path,
                body: None,
                is_older: false,
            };
            (&person.app, call)
        }
    })
}

/// A call about a work notice, of which the older API takes one at a time.
fn about_notice(task: &Task) -> Option<Call> {
    let (path, member, receipt) = match task {
        Task::Recall(receipts) => (NOTICE_RECALL_PATH, "msg_task_id", receipts.first()?),
        Task::Read { receipt, .. } => (NOTICE_OUTCOME_PATH, "task_id", receipt),
    };
    let (agent_id, task) = notice::numbers(receipt)?;
    let body = json!({"agent_id": agent_id, member: task});
    Some(Call {
        path: Cow::Borrowed(path),
        body: Some(body.to_string().into_bytes()),
        is_older: true,
    })
}

/// The member that the answer to a task holds when the call succeeded.
pub const fn wanted(task: &Task) -> &'static str {
    match task {
        Task::Recall(_) => "successResult",
        Task::Read { .. } => "sendStatus",
    }
}

/// What an errand has found out, from what the call came to and what was answered. `users` is who is reached through
/// each endpoint, as far as that is known, when these are people.
pub fn finding(
    errand: &Errand,
    answer: &Answer,
    body: &[u8],
    users: Option<&BTreeMap<EndpointName, String>>,
) -> Finding {
    let object: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    match &errand.task {
        Task::Recall(receipts) => {
            let of = |receipt: &Receipt| (receipt.clone(), taken_back(receipt, answer, &object));
            Finding::Recalled(receipts.iter().map(of).collect())
        }
        Task::Read { .. } => Finding::Read(ReadBy {
            readers: if answer.outcome == Outcome::Delivered {
                readers(errand, &object, users)
            } else {
                Vec::new()
            },
            next: next(&object),
            answer: answer.clone(),
        }),
    }
}

/// What became of one of several messages that were to be taken back.
fn taken_back(receipt: &Receipt, answer: &Answer, object: &Map<String, Value>) -> Answer {
    let reason = member(object, "failedResult").and_then(|failed| failed.get(receipt.as_str()));
    if let Some(reason) = reason {
        return not_taken_back(reason.as_str().unwrap_or_default());
    }
    let succeeded = member(object, "successResult").and_then(Value::as_array);
    let named = |key: &Value| key.as_str() == Some(receipt.as_str());
    let is_named = succeeded.is_some_and(|keys| keys.iter().any(named));
    // The older API takes back one at a time, and names none.
    if answer.outcome == Outcome::Delivered && answer.errcode.is_none() && !is_named {
        return Answer::new(Outcome::Unknown, "nothing was said about this message");
    }
    answer.clone()
}

/// Who has read a message: of those whom it was for, or everybody who is listed when it was for no one in particular.
fn readers(
    errand: &Errand,
    object: &Map<String, Value>,
    users: Option<&BTreeMap<EndpointName, String>>,
) -> Vec<Reader> {
    let list = |name| {
        member(object, name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let of_notice = member(object, "send_result").and_then(|result| result["read_user_id_list"].as_array());
    let ids = list("readUserIds").chain(of_notice.into_iter().flatten());
    let ids: BTreeMap<&str, Option<Timestamp>> = ids.filter_map(|id| Some((id.as_str()?, None))).collect();
    let Some(users) = users else {
        let Some(endpoint) = errand.through.first() else {
            return Vec::new();
        };
        let reader = |user: &&str| Reader {
            endpoint: endpoint.clone(),
            user: (*user).to_owned(),
            at: None,
        };
        return ids.keys().map(reader).collect();
    };
    let infos = list("messageReadInfoList").filter_map(reading);
    let read: BTreeMap<&str, Option<Timestamp>> =
        ids.iter().map(|(id, at)| (*id, *at)).chain(infos).collect();
    let people = users.iter().filter_map(|(endpoint, user)| {
        Some(Reader {
            at: *read.get(user.as_str())?,
            endpoint: endpoint.clone(),
            user: user.clone(),
        })
    });
    people.collect()
}

/// A person who has read a message, and when, if that is said.
fn reading(info: &Value) -> Option<(&str, Option<Timestamp>)> {
    let is_read = info.get("readStatus")?.as_str()?.eq_ignore_ascii_case("read");
    let at = info.get("readTimestamp").and_then(Value::as_i64);
    let at = at.filter(|at| *at > 0).map(Timestamp);
    is_read.then_some((info.get("userId")?.as_str()?, at))
}

/// Where the list goes on.
fn next(object: &Map<String, Value>) -> Option<String> {
    let more = member(object, "hasMore")?.as_bool()?;
    let next = member(object, "nextToken")?.as_str()?;
    more.then(|| next.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has read a notice that went to these people by one call, as far as it is known who they are.
    fn read(users: Option<&[(&str, &str)]>) -> Vec<(String, String)> {
        let errand = Errand {
            app: "alerts".into(),
            through: vec![
                "work_notice/ops/mobile:1".into(),
                "work_notice/ops/mobile:2".into(),
            ],
            task: Task::Read {
                receipt: Receipt::from("7/1".to_owned()),
                page: None,
            },
        };
        let users: Option<BTreeMap<EndpointName, String>> = users.map(|users| {
            let user = |(endpoint, user): &(&str, &str)| (EndpointName::from(*endpoint), (*user).to_owned());
            users.iter().map(user).collect()
        });
        let answer = Answer::new(Outcome::Delivered, "");
        let body = json!({"errcode": 0, "send_result": {"read_user_id_list": ["bob"]}}).to_string();
        match finding(&errand, &answer, body.as_bytes(), users.as_ref()) {
            Finding::Read(by) => (by.readers.into_iter())
                .map(|reader| (reader.endpoint.to_string(), reader.user))
                .collect(),
            Finding::Recalled(_) => Vec::new(),
        }
    }

    #[test]
    fn what_one_person_has_read_nobody_else_has_though_it_is_not_known_who_they_are() {
        let (ann, bob) = ("work_notice/ops/mobile:1", "work_notice/ops/mobile:2");
        let by = |endpoint: &str| vec![(endpoint.to_owned(), "bob".to_owned())];
        assert_eq!(read(Some(&[(ann, "ann"), (bob, "bob")])), by(bob));
        assert_eq!(read(Some(&[(ann, "ann")])), []);
        assert_eq!(read(Some(&[])), []);
        assert_eq!(
            read(None),
            by(ann),
            "a department's readers are whoever is listed"
        );
    }
}
