//! Somebody who calls the rules as an app does, for their tests: with fresh tokens, at the time it says.

use serde_json::{Value, json};

use crate::alert::{Now, Span, Tick, Timestamp};
use crate::dingtalk::TOKEN_PATH;
use crate::dingtalk::simulator::SimulatorSettings;
use crate::dingtalk::simulator::rules::{Reaction, Request, Rules};

/// The apps `ding1` (agent 7) and `ding2` (agent 8), a group `cid1` of the first, Ann and Bao.
pub(super) struct Caller {
    pub(super) rules: Rules,
    /// Since the start.
    pub(super) ms: u64,
}

impl Caller {
    pub(super) fn new() -> Self {
        let rules = Rules::new(SimulatorSettings {
            apps: vec![
                "ops:ding1:s::7".parse().unwrap(),
                "other:ding2:s::8".parse().unwrap(),
            ],
            groups: vec!["ops@on call:cid1".parse().unwrap()],
            people: vec![
                "Ann:u1:13800000000:un1".parse().unwrap(),
                "Bao:u2:13900000000".parse().unwrap(),
            ],
            accept_any_token: false,
            ..SimulatorSettings::default()
        });
        Self { rules, ms: 0 }
    }

    pub(super) fn now(&self) -> Now {
        Now {
            tick: Tick(self.ms),
            time: Timestamp(1_790_000_000_000).plus(Span(self.ms)),
        }
    }

    pub(super) fn token(&mut self, app: &str) -> String {
        let asked = json!({"appKey": app, "appSecret": "s"});
        let answer = self.say("POST", TOKEN_PATH, "", None, &asked);
        answer["accessToken"].as_str().unwrap().to_owned()
    }

    /// Posts with a token in the header.
    pub(super) fn post(&mut self, app: &str, path: &str, body: &Value) -> Value {
        let token = self.token(app);
        self.say("POST", path, "", Some(&token), body)
    }

    /// Gets with a token in the header.
    pub(super) fn get(&mut self, app: &str, path: &str, query: &str) -> Value {
        let token = self.token(app);
        self.say("GET", path, query, Some(&token), &Value::Null)
    }

    /// Posts with a token in the query.
    pub(super) fn post_older(&mut self, app: &str, path: &str, body: &Value) -> Value {
        let query = format!("access_token={}", self.token(app));
        self.say("POST", path, &query, None, body)
    }

    pub(super) fn say(
        &mut self,
        method: &str,
        path: &str,
        query: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Value {
        let body = body.to_string();
        let request = Request {
            method,
            path,
            query,
            content_type: Some("application/json"),
            token,
            body: body.as_bytes(),
        };
        let now = self.now();
        let Reaction { reply, .. } = self.rules.receive(&request, now);
        serde_json::from_str(&reply.body).unwrap()
    }
}
