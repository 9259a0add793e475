//! Runs errands: the calls about messages that were delivered.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Client, Response};
use crate::alert::EndpointName;
use crate::dingtalk::{apicode, errand, oapicode};
use crate::engine::{Answer, Errand, Finding, Outcome, Task};
use crate::plan::{Endpoint, Plan};

impl Client {
    /// Runs an errand by one call, and says what came of it.
    pub async fn run(&self, plan: &Plan, errand: &Errand) -> Finding {
        let through = errand.through.first().and_then(|name| plan.endpoints.get(name));
        let Some((app, call)) = through.and_then(|endpoint| errand::call(&endpoint.way, &errand.task)) else {
            let name = errand.through.first().cloned();
            let answer = Answer::no_such_endpoint(&name.unwrap_or_else(|| EndpointName::from("")));
            return errand::finding(errand, &answer, &[], None);
        };
        let users = match errand.task {
            Task::Recall(_) => None,
            Task::Read { .. } => self.users(plan, &errand.through).await,
        };
        let users = users.as_ref();
        if call.is_older {
            let body = Arc::from(call.body.unwrap_or_default());
            let read = |response: &Response| response.success();
            let read = self.post_older(app, &call.path, body, read).await;
            let (answer, body) = read.unwrap_or_else(|failure| (failure, Vec::new()));
            return errand::finding(errand, &answer, &body, users);
        }
        let wanted = errand::wanted(&errand.task);
        let read = |status, kind: Option<&str>, body: &[u8]| apicode::classify(status, kind, body, wanted);
        let posted = self
            .call_as(app, &call.path, call.body.map(Arc::from), read)
            .await;
        errand::finding(errand, &posted.reading.answer, &posted.body, users)
    }

    /// Who is reached through each endpoint, when these are people.
    async fn users(&self, plan: &Plan, through: &[EndpointName]) -> Option<BTreeMap<EndpointName, String>> {
        let mut users = None;
        for name in through {
            let Some(person) = plan.endpoints.get(name).and_then(Endpoint::person) else {
                continue;
            };
            let users = users.get_or_insert_with(BTreeMap::new);
            // They were known when the message was sent, and may be gone.
            if let Ok(user) = self.user_of(person).await {
                users.insert(name.clone(), user);
            }
        }
        users
    }
}

impl Response {
    /// A success of the older API with what it holds, or what it means that it is none.
    fn success(&self) -> Result<(Answer, Vec<u8>), Answer> {
        let answer = self.read(oapicode::classify);
        if answer.outcome == Outcome::Delivered {
            Ok((answer, self.body.clone()))
        } else {
            Err(answer)
        }
    }
}
