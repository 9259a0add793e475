//! What the older calls of an app have in common: the token in the query, and an `errcode` in every answer.
//!
//! Order of the checks: path, method, content type, token, rate, fault. A token of either generation is good for both.

use serde_json::{Map, Value, json};

use crate::alert::Now;
use crate::dingtalk::simulator::apps::{ApiError, Apps, NoToken};
use crate::dingtalk::simulator::rules::{Reply, Request, is_json};

/// An error, which comes with HTTP 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Errcode {
    /// A code and its text.
    Code(i64, String),
    /// A code that comes wrapped in an 88.
    Token(&'static str, &'static str),
}

/// What is answered: members beside `errcode`.
pub(super) type Answer = Result<Value, Errcode>;

impl Errcode {
    pub(super) fn missing(member: &str) -> Self {
        Self::Code(40035, format!("缺少参数 {member}"))
    }

    pub(super) fn invalid(member: &str) -> Self {
        Self::Code(40035, format!("不合法的参数 {member}"))
    }
}

impl ApiError for Errcode {
    fn too_fast() -> Self {
        Self::Code(
            90018,
            "您的服务器调用钉钉开放平台当前接口的所有请求都被暂时禁用了".to_owned(),
        )
    }

    fn reply(answer: Answer) -> Reply {
        let mut body = match answer {
            Ok(members) => {
                let mut body = json!({"errcode": 0, "errmsg": "ok"});
                if let (Some(body), Value::Object(members)) = (body.as_object_mut(), members) {
                    body.extend(members);
                }
                body
            }
            Err(Self::Code(errcode, errmsg)) => json!({"errcode": errcode, "errmsg": errmsg}),
            Err(Self::Token(sub_code, sub_msg)) => json!({
                "errcode": 88,
                "sub_code": sub_code,
                "sub_msg": sub_msg,
                "errmsg": format!("ding talk error[subcode={sub_code},submsg={sub_msg}]"),
            }),
        };
        body["request_id"] = "5f3c9a2e7d1b".into();
        Reply::json(200, &body)
    }
}

/// The call for a token.
pub(super) fn token(apps: &mut Apps, request: &Request<'_>, now: Now) -> Answer {
    if request.method != "GET" {
        return Err(Errcode::Code(22, "Invalid method".to_owned()));
    }
    let query = request.parameters();
    let member = |name: &str| {
        let text = query.get(name).filter(|text| !text.is_empty());
        text.ok_or_else(|| Errcode::missing(name))
    };
    let (key, secret) = (member("appkey")?, member("appsecret")?);
    let token = apps.issue(key, secret, now).map_err(|error| match error {
        NoToken::TooFast => Errcode::too_fast(),
        NoToken::WrongSecret => Errcode::Code(40096, "不合法的appKey或appSecret".to_owned()),
    })?;
    Ok(json!({"access_token": token.text.expose(), "expires_in": token.life.0 / 1000}))
}

/// The key of the app whose token a request shows.
pub(super) fn admit(apps: &Apps, request: &Request<'_>, now: Now) -> Result<String, Errcode> {
    if request.method != "POST" {
        return Err(Errcode::Code(22, "Invalid method".to_owned()));
    }
    if !is_json(request) {
        return Err(Errcode::Code(43004, "无效的HTTP HEADER Content-Type".to_owned()));
    }
    let query = request.parameters();
    let token = query.get("access_token").filter(|token| !token.is_empty());
    let token = token.ok_or(Errcode::Token("41001", "缺少access_token参数"))?;
    let holder = apps.holder(token, now);
    holder.ok_or(Errcode::Token("40014", "不合法的access_token"))
}

/// The members of the body.
pub(super) fn object(request: &Request<'_>) -> Result<Map<String, Value>, Errcode> {
    serde_json::from_slice(request.body).map_err(|_| Errcode::missing("json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dingtalk::simulator::caller::Caller;
    use crate::dingtalk::{BY_MOBILE_PATH, OLDER_TOKEN_PATH};

    #[test]
    fn a_token_is_the_same_for_both_generations() {
        let mut caller = Caller::new();
        let token = caller.token("ding1");
        let answer = caller.say(
            "GET",
            OLDER_TOKEN_PATH,
            "appkey=ding1&appsecret=s",
            None,
            &Value::Null,
        );
        assert_eq!(answer["access_token"], token);
        assert_eq!(
            (&answer["errcode"], &answer["expires_in"]),
            (&json!(0), &json!(7200))
        );
        for (method, query, errcode) in [
            ("GET", "appkey=ding1&appsecret=guess", 40096),
            ("GET", "appkey=ding9&appsecret=s", 40096),
            ("GET", "appkey=ding1", 40035),
            ("POST", "appkey=ding1&appsecret=s", 22),
        ] {
            assert_eq!(
                caller.say(method, OLDER_TOKEN_PATH, query, None, &Value::Null)["errcode"],
                errcode
            );
        }
    }

    #[test]
    fn a_token_that_is_not_good_is_refused_in_a_wrapper() {
        let mut caller = Caller::new();
        let token = caller.token("ding1");
        let good = format!("access_token={token}");
        let asked = json!({"mobile": "13800000000"});
        let mut ask =
            |method: &str, query: &str| caller.say(method, BY_MOBILE_PATH, query, Some(&token), &asked);
        for (query, sub_code) in [
            ("", "41001"),
            ("access_token=", "41001"),
            ("access_token=guess", "40014"),
        ] {
            let answer = ask("POST", query);
            assert_eq!(
                (&answer["errcode"], &answer["sub_code"]),
                (&json!(88), &json!(sub_code))
            );
        }
        assert_eq!(ask("GET", &good)["errcode"], 22);
        for number in 1..=21 {
            assert_eq!(
                ask("POST", &good)["errcode"],
                if number == 21 { 90018 } else { 0 }
            );
        }
        caller.ms = 2 * 60 * 60 * 1000;
        assert_eq!(
            caller.say("POST", BY_MOBILE_PATH, &good, None, &asked)["sub_code"],
            "40014"
        );
    }
}
