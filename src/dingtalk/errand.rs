//! The calls about messages that an app has sent: taking them back, and who has read them.
//!
//! What is asked and what is answered, without a network: [`call`] writes an [`Errand`] down, [`wanted`] says what a
//! success holds, and [`finding`] reads it. Groups and people have paths of their own, and the three paths of people
//! are not spelled alike.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::apicode::{member, not_taken_back};
use super::{GROUP_READ_PATH, GROUP_RECALL_PATH, PEOPLE_READ_PATH, PEOPLE_RECALL_PATH};
use crate::alert::{EndpointName, Receipt, Timestamp};
use crate::engine::{Answer, Errand, Finding, Outcome, ReadBy, Reader, Task};
use crate::plan::{App, Way};

/// Most readers of one answer.
const READERS_PER_PAGE_MAX: u32 = 200;

/// A call of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its path, with its query.
    pub path: Cow<'static, str>,
    /// What is posted; `None` is a `GET`.
    pub body: Option<Vec<u8>>,
}

/// The app and the call of an errand about messages that were sent that way; nobody can ask a custom bot.
pub fn call<'a>(way: &'a Way, task: &Task) -> Option<(&'a App, Call)> {
    let post = |path, body: Value| Call {
        path: Cow::Borrowed(path),
        body: Some(body.to_string().into_bytes()),
    };
    let keys = |receipts: &[Receipt]| -> Vec<String> {
        receipts
            .iter()
            .map(|receipt| receipt.as_str().to_owned())
            .collect()
    };
    Some(match (way, task) {
        (Way::Bot(_) | Way::WorkNotice(_), Task::Recall(_) | Task::Read { .. }) => return None,
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
            (&person.app, Call { path, body: None })
        }
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
/// each endpoint, where that is a person.
pub fn finding(
    errand: &Errand,
    answer: &Answer,
    body: &[u8],
    users: &BTreeMap<EndpointName, String>,
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
    if answer.outcome == Outcome::Delivered && !is_named {
        return Answer::new(Outcome::Unknown, "nothing was said about this message");
    }
    answer.clone()
}

/// Who has read a message: of a group its list, of people those who are said to have.
fn readers(
    errand: &Errand,
    object: &Map<String, Value>,
    users: &BTreeMap<EndpointName, String>,
) -> Vec<Reader> {
    let list = |name| {
        member(object, name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let in_group = list("readUserIds").filter_map(|id| {
        Some(Reader {
            endpoint: errand.through.first()?.clone(),
            user: id.as_str()?.to_owned(),
            at: None,
        })
    });
    let read: BTreeMap<&str, Option<Timestamp>> = list("messageReadInfoList").filter_map(reading).collect();
    let people = users.iter().filter_map(|(endpoint, user)| {
        Some(Reader {
            at: *read.get(user.as_str())?,
            endpoint: endpoint.clone(),
            user: user.clone(),
        })
    });
    in_group.chain(people).collect()
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
