//! What the answers of the app API mean: one table of its codes, and the reading of every other shape of answer.
//!
//! A call succeeded exactly when its status is 2xx and its answer holds what was asked for. An error is an object
//! with a `code` of dotted words; the code decides, not the status: an expired token comes as 400, 401 or 403. A code
//! that is not in the table is judged by how it begins, then by the status. Nothing here knows of tokens, budgets or
//! retries.

use serde_json::{Map, Value};

use super::errcode::{
    CHECK_BASE_URL, CONTENT, EDIT_TEXT, ELSEWHERE, Evidence, GATEWAY_PAUSE, GONE, MALFORMED, PENALTY,
    QPS_PAUSE, REPORT_BUG, SIZE, SMALLER, Shape, TOKEN, advised, answer, by_class, by_status, is_punishment,
    one_line, punished, quoted,
};
use crate::alert::{Receipt, Span};
use crate::engine::outcome::Refused;
use crate::engine::{Answer, Outcome};

/// One code.
#[derive(Clone, Copy, Debug)]
pub struct ApiCode {
    /// The code, as DingTalk spells it.
    pub code: &'static str,
    /// What is to be done about it.
    pub outcome: Outcome,
    /// How well it is known.
    pub evidence: Evidence,
    /// What happened.
    pub meaning: &'static str,
    /// What the operator does; empty when there is nothing to do.
    pub advice: &'static str,
}

/// What was read from one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What it means.
    pub answer: Answer,
    /// Whether it was the access token that was refused: a fresh one may be taken.
    pub token_refused: bool,
    /// Whether it was one of several people that was refused: the others may be told by another call.
    pub person_refused: bool,
}

impl Reading {
    /// An answer that leaves nothing to be tried.
    pub const fn of(answer: Answer) -> Self {
        Self {
            answer,
            token_refused: false,
            person_refused: false,
        }
    }
}

pub(super) const PERMISSION: Outcome = Outcome::Refused(Refused::Permission);
pub(super) const TARGET: Outcome = Outcome::Refused(Refused::Target);
pub(super) const PERSON: Outcome = Outcome::Refused(Refused::Person);
pub(super) const ADDRESS: Outcome = Outcome::Refused(Refused::Address);

pub(super) const CHECK_APP: &str = "compare `app_key` and `app_secret` with the app's page";
const CHECK_ROBOT: &str = "compare `robot_code` with the page of the app's bot, and publish the app";
const CHECK_GROUP: &str =
    "compare `conversation` with the group's `openConversationId`, and add the app's bot to the group";
pub(super) const CHECK_PERSON: &str = "compare it with the organisation's address book";
const CHECK_BOT: &str = "look at the app's bot in the developer console";
const CHECK_SECURITY: &str = "compare the bot's security settings with the configuration";
const GRANT: &str = "grant the app `qyapi_robot_sendmsg` in the developer console";
pub(super) const SLOWER: &str = "another program may be using the same app; otherwise lower `per_second`";
pub(super) const MORE_QUOTA: &str =
    "raise the organisation's allowance of API calls, or wait for the next month";

const fn code(
    code: &'static str,
    outcome: Outcome,
    evidence: Evidence,
    meaning: &'static str,
    advice: &'static str,
) -> ApiCode {
    ApiCode {
        code,
        outcome,
        evidence,
        meaning,
        advice,
    }
}

/// Every code that the token call, the gateway, and the calls that send, ask who has read and take back are known to
/// answer, class by class.
#[rustfmt::skip] // A row per line.
pub const TABLE: &[ApiCode] = {
    use Evidence::{Documented, Seen};
    use Outcome::{Limited, Quota, Retry, Unknown};
    &[
        // Worth another try.
        code("system.busy", Retry, Documented, "DingTalk is busy", ""),
        code("systemBusy", Retry, Documented, "DingTalk is busy", ""),
        code("system.error", Retry, Documented, "DingTalk had an internal error", ""),
        code("systemError", Retry, Documented, "DingTalk had an internal error", ""),
        code("send.ding.exception", Retry, Documented, "DingTalk could not pass it on", ""),
        code("unknown.send.result", Unknown, Documented, "DingTalk does not know itself; it may or may not have been delivered", ""),
        // Too fast.
        code("Forbidden.AccessDenied.QpsLimitForApi", Limited(QPS_PAUSE), Documented, "this API is at its limit for everybody", ""),
        code("Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", Limited(QPS_PAUSE), Documented, "the app made too many calls in a second", SLOWER),
        code("Forbidden.AccessDenied.QpmLimitForAppkeyAndApi", Limited(GATEWAY_PAUSE), Documented, "the app made too many calls in a minute", SLOWER),
        code("send.too.fast", Limited(GATEWAY_PAUSE), Documented, "the bot sends too fast", SLOWER),
        code("send.byToken.tooFast", Limited(PENALTY), Documented, "the bot sends too fast", SLOWER),
        code("too.many.group", Limited(PENALTY), Documented, "the bot sends to too many groups", SLOWER),
        code("too.many.people", Limited(PENALTY), Documented, "the bot sends to too many people", SLOWER),
        code("Forbidden.AccessDenied.ApiCountLimitForOrg", Quota, Documented, "the organisation's API calls of this month are used up", MORE_QUOTA),
        // Whoever sends is refused.
        code("InvalidAuthentication", TOKEN, Seen, "the access token is not valid", CHECK_APP),
        code("invalidClientIdOrSecret", TOKEN, Documented, "the app's key or secret is wrong", CHECK_APP),
        code("invalidParameter.token.invalid", TOKEN, Documented, "the access token is not authorised", CHECK_APP),
        code("token.notExisted", TOKEN, Documented, "the access token is not known", CHECK_APP),
        code("Forbidden.AccessDenied.AccessTokenPermissionDenied", PERMISSION, Documented, "the app lacks a permission", GRANT),
        code("unauthorized", PERMISSION, Documented, "the app is not authorised", GRANT),
        code("auth.error", PERMISSION, Documented, "the app has no right to do this", GRANT),
        code("Forbidden.AccessDenied.IpNotInWhiteList", ADDRESS, Documented, "our address is not on the app's list", "add the address to the app's list"),
        code("ip.not.match", ADDRESS, Documented, "our address is not on the bot's list", "add the address to the bot's security settings"),
        code("sign.not.match", Outcome::Refused(Refused::Signature), Documented, "the signature does not match", CHECK_SECURITY),
        code("keywords.not.match", Outcome::Refused(Refused::Keyword), Documented, "the message lacks the bot's keyword", CHECK_SECURITY),
        code("invalidParameter.robotCode.empty", ELSEWHERE, Documented, "the bot's code is missing", CHECK_ROBOT),
        code("invalidParameter.robotCode.missing", ELSEWHERE, Documented, "the bot's code is missing", CHECK_ROBOT),
        code("invalidParameter.robotCode.invalid", ELSEWHERE, Documented, "the bot's code is wrong", CHECK_ROBOT),
        code("invalidParameter.robotCode.notExsit", ELSEWHERE, Documented, "the bot's code is not known", CHECK_ROBOT),
        code("invalidParameter.robotCode.auth", ELSEWHERE, Documented, "the bot does not belong to the app", CHECK_ROBOT),
        code("invalidParameter.robotCode.coolApp", TARGET, Documented, "the group's cool app is another one", CHECK_GROUP),
        code("invalidParameter.robotCode", ELSEWHERE, Documented, "the bot's code is wrong", CHECK_ROBOT),
        code("not.allowed.robotCode", ELSEWHERE, Documented, "the bot does not belong to the app", CHECK_ROBOT),
        code("miss.chatbotId", ELSEWHERE, Documented, "the app has no bot", CHECK_ROBOT),
        code("template.not.existed", ELSEWHERE, Documented, "the bot's template is not known", CHECK_BOT),
        code("template.stopped", ELSEWHERE, Documented, "the bot's template is disabled", CHECK_BOT),
        code("bot.stopped", ELSEWHERE, Documented, "the bot is disabled", CHECK_BOT),
        code("sendMessage.model.notMatch", ELSEWHERE, Documented, "there is no matching message model", CHECK_BOT),
        // The target is refused.
        code("send.forbidden", TARGET, Documented, "the bot may not send there", CHECK_GROUP),
        code("bot.forbidden.sendMessage", TARGET, Documented, "the bot is muted there", CHECK_GROUP),
        code("chatbotId.notAllow.sendOTO", TARGET, Documented, "the bot may not write to people", CHECK_BOT),
        code("robot.oto.notExist", TARGET, Documented, "the bot has no chat with this person", CHECK_BOT),
        code("session.notExisted", TARGET, Documented, "the conversation is not known", CHECK_GROUP),
        code("session.expired", TARGET, Documented, "the conversation has expired", CHECK_GROUP),
        code("staffId.notExisted", PERSON, Documented, "the person is not known", CHECK_PERSON),
        code("miss.openConversationId", TARGET, Documented, "the group's id is missing", CHECK_GROUP),
        code("invalid.openConversationId", TARGET, Documented, "the group's id is wrong", CHECK_GROUP),
        code("group.disbanded", TARGET, Documented, "the group was dissolved", CHECK_GROUP),
        code("conversation.org.notMatch", TARGET, Documented, "the group is of another organisation", CHECK_GROUP),
        code("resource.not.found", TARGET, Documented, "the bot is gone from the group", CHECK_GROUP),
        code("resource.unavailable", TARGET, Documented, "the bot is stopped, or not installed in the group", CHECK_GROUP),
        code("only.groupAdmin.canAtAll", TARGET, Documented, "only the group's owner may mention everybody", CHECK_GROUP),
        code("illegal.receivers", TARGET, Documented, "the list of people is wrong", CHECK_PERSON),
        code("illegal.excludes", TARGET, Documented, "the list of people left out is wrong", CHECK_PERSON),
        // What the message says.
        code("invalidParameter.msgParam.tooLong", SIZE, Documented, "the message is too long", SMALLER),
        code("contain.unsafe.url", CONTENT, Documented, "it holds a link DingTalk calls unsafe", EDIT_TEXT),
        code("contain.notAllowed.text", CONTENT, Documented, "it holds text DingTalk calls inappropriate", EDIT_TEXT),
        code("contain.notAllowed.picture", CONTENT, Documented, "it holds a picture DingTalk calls inappropriate", EDIT_TEXT),
        code("contain.notAllowed.content", CONTENT, Documented, "it holds something DingTalk calls inappropriate", EDIT_TEXT),
        // What no program without a bug sends; `miss.param.…` and `invalid.param.…` are read by how they begin.
        code("AuthenticationFailed.MissingParameter", MALFORMED, Seen, "the access token did not arrive", CHECK_BASE_URL),
        code("invalidParameter.msgKey.empty", MALFORMED, Documented, "the message's type is missing", REPORT_BUG),
        code("invalidParameter.msgKey.invalid", MALFORMED, Documented, "the message's type is not known", REPORT_BUG),
        code("invalidParameter.msgParam.invalid", MALFORMED, Documented, "the message is not JSON", REPORT_BUG),
        code("invalidParameter.msgBody.invalid", MALFORMED, Documented, "the message is not JSON", REPORT_BUG),
        code("invalidParameter.param.invalid", MALFORMED, Documented, "a parameter is wrong", REPORT_BUG),
        code("invalidParameter.msg.unsupport", MALFORMED, Documented, "the message's type is not supported", REPORT_BUG),
        code("invalidParameter.userIds.empty", MALFORMED, Documented, "the list of people is empty", REPORT_BUG),
        code("invalidParameter.userIds.overMax", MALFORMED, Documented, "the list of people is too long", REPORT_BUG),
        code("invalidParameter.userId.empty", MALFORMED, Documented, "a person's id is missing", REPORT_BUG),
        code("receivers.exceed", MALFORMED, Documented, "the list of people is too long", REPORT_BUG),
        code("invalidParameter.processQueryKey.missing", MALFORMED, Documented, "the message's key is missing", REPORT_BUG),
        code("invalidParameter.processQueryKeys.overMax", MALFORMED, Documented, "the list of messages is too long", REPORT_BUG),
        code("invalidParameter.cursor.invalid", MALFORMED, Documented, "the place in the list of readers is wrong", REPORT_BUG),
        code("invalidParameter.pageSize.invalid", MALFORMED, Documented, "the length of the list of readers is wrong", REPORT_BUG),
        // What is asked about a message that was sent.
        code("invalid.processQueryKey", GONE, Documented, "the message's key is not known", ""),
        code("robot.processQueryKey.expired", GONE, Documented, "the message is too old to be taken back", ""),
        code("notRevoke.all.messages", GONE, Documented, "none of the messages can be taken back", ""),
        // This is also said of a message that is too new.
        code("processQueryKey.expireTime", GONE, Documented, "the message is too old, or too new, to be asked about", ""),
        code("openConversationId.notExisted", GONE, Documented, "the message is not in this group", ""),
        code("conversation.org.dismatch", GONE, Documented, "the message is not in this organisation", ""),
    ]
};

/// Codes of families, and what a code nobody has seen yet most likely means. The first that fits counts.
#[rustfmt::skip] // A row per line.
const FAMILIES: &[ApiCode] = {
    use Evidence::{Claimed, Documented};
    &[
        code("miss.param.", MALFORMED, Documented, "a member of the message is missing", REPORT_BUG),
        code("invalid.param.", MALFORMED, Documented, "a member of the message is wrong", REPORT_BUG),
        code("contain.", CONTENT, Claimed, "it holds something DingTalk does not take", EDIT_TEXT),
        code("invalidParameter.robotCode", ELSEWHERE, Claimed, "the bot's code is wrong", CHECK_ROBOT),
        code("invalidParameter.token", TOKEN, Claimed, "the access token is wrong", CHECK_APP),
        code("invalidParameter.", MALFORMED, Claimed, "a parameter is wrong", REPORT_BUG),
        code("Forbidden.AccessDenied.Qps", Outcome::Limited(QPS_PAUSE), Claimed, "too many calls in a second", SLOWER),
        code("Forbidden.AccessDenied.Qpm", Outcome::Limited(GATEWAY_PAUSE), Claimed, "too many calls in a minute", SLOWER),
        code("Forbidden.", PERMISSION, Claimed, "the app may not do this", GRANT),
        code("AuthenticationFailed", TOKEN, Claimed, "the app could not show who it is", CHECK_APP),
        code("system", Outcome::Retry, Claimed, "DingTalk had an internal error", ""),
    ]
};

/// The codes that a fresh access token may cure.
const TOKEN_CODES: [&str; 3] = [
    "InvalidAuthentication",
    "invalidParameter.token.invalid",
    "token.notExisted",
];

/// The codes that refuse a whole call for one of the people in it.
const PERSON_CODES: [&str; 3] = ["staffId.notExisted", "robot.oto.notExist", "illegal.receivers"];

/// How long a person is left alone whom DingTalk says it would not pass so much on to.
pub(super) const THROTTLE_PAUSE: Span = GATEWAY_PAUSE;

/// What is known of a code, by itself or by its family.
pub fn lookup(code: &str) -> Option<&'static ApiCode> {
    TABLE
        .iter()
        .find(|row| row.code == code)
        .or_else(|| FAMILIES.iter().find(|row| code.starts_with(row.code)))
}

/// Reads one answer, whatever its shape. `wanted` is the member that a success holds.
///
/// `body` may be cut at the end: what does not parse is judged by status and first bytes alone.
pub fn classify(http_status: u16, content_type: Option<&str>, body: &[u8], wanted: &str) -> Reading {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let object = json.as_ref().and_then(Value::as_object);
    if object.is_some_and(is_punishment) {
        return Reading::of(punished());
    }
    if let Some((object, code)) = object.and_then(|object| Some((object, text(object, "code")?))) {
        return by_code(http_status, object, code);
    }
    let succeeded = (200..300).contains(&http_status)
        && object.is_some_and(|object| object.get(wanted).is_some_and(|value| !value.is_null()));
    if succeeded {
        return Reading::of(answer(Outcome::Delivered, None, "ok"));
    }
    let shape = Shape::of(content_type, body, "a body that is no answer of the API");
    if http_status == 401 {
        return Reading {
            token_refused: true,
            ..Reading::of(answer(
                TOKEN,
                None,
                format!("HTTP 401 with {}: {CHECK_APP}", shape.name),
            ))
        };
    }
    Reading::of(by_status(http_status, shape, GATEWAY_PAUSE))
}

/// The member by which a sent message is known.
const RECEIPT: &str = "processQueryKey";
/// Most bytes of it; the known ones have some fifty.
const RECEIPT_BYTES_MAX: usize = 256;

/// Reads the answer to a call that sends.
pub fn sent(http_status: u16, content_type: Option<&str>, body: &[u8]) -> Reading {
    let mut reading = classify(http_status, content_type, body, RECEIPT);
    if reading.answer.outcome == Outcome::Delivered {
        let object: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
        let key = object.as_ref().and_then(|object| object.get(RECEIPT)?.as_str());
        let key = key.filter(|key| (1..=RECEIPT_BYTES_MAX).contains(&key.len()));
        reading.answer.receipt = key.map(Receipt::from);
    }
    reading
}

/// Reads why one of several messages was not taken back: a code, or a text.
pub fn not_taken_back(reason: &str) -> Answer {
    let row = lookup(reason);
    let meaning = row.map_or("", |row| row.meaning);
    let detail = format!("not taken back: {meaning}{}", quoted(&one_line(reason)));
    answer(row.map_or(GONE, |row| row.outcome), None, detail)
}

/// What comes of a message that was written by an earlier configuration, for another bot or group: it is not sent, and
/// what it tells is told by the next one.
pub fn written_for_another() -> Answer {
    let detail = "it was written for another bot or group than is configured by now, and was not sent";
    answer(Outcome::Outdated, None, detail)
}

/// What the answer to a call means for each of the people it was for: a success names those who got nothing.
pub fn for_each(answer: &Answer, body: &[u8], users: &[&str]) -> Vec<Answer> {
    let lists: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    let named = |list, user: &str| {
        let list = lists.as_ref().and_then(|lists| member(lists, list)?.as_array());
        list.is_some_and(|ids| ids.iter().any(|id| id.as_str() == Some(user)))
    };
    let of = |user: &&str| {
        // An error has no lists, whatever it echoes.
        if !matches!(answer.outcome, Outcome::Delivered | Outcome::Unknown) {
            return answer.clone();
        }
        let (outcome, detail) = if named("invalidStaffIdList", user) {
            return no_such_person(user);
        } else if named("flowControlledStaffIdList", user) {
            let detail = format!("DingTalk passes no more on to `{user}` for the moment");
            (Outcome::Throttled(THROTTLE_PAUSE), detail)
        } else {
            return answer.clone();
        };
        self::answer(outcome, None, detail)
    };
    users.iter().map(of).collect()
}

/// What comes of a message to somebody whom DingTalk says it does not know.
pub(super) fn no_such_person(user: &str) -> Answer {
    let detail = format!("DingTalk knows no person `{user}` in the app's organisation; {CHECK_PERSON}");
    answer(PERSON, None, detail)
}

fn by_code(http_status: u16, object: &Map<String, Value>, code: &str) -> Reading {
    let row = lookup(code);
    let token_refused = http_status == 401 || TOKEN_CODES.contains(&code);
    let outcome = match row.map(|row| row.outcome) {
        // An internal error may have come after the delivery.
        Some(Outcome::Retry) | None if http_status >= 500 => Outcome::Unknown,
        Some(outcome) => outcome,
        None => by_class(http_status, GATEWAY_PAUSE),
    };
    let meaning = row.map_or("a code that is not known to us", |row| row.meaning);
    let quoted = quoted(&one_line(text(object, "message").unwrap_or_default()));
    let missing = match one_line(&scopes(object)).as_str() {
        "" => String::new(),
        scopes => format!("; it lacks `{scopes}`"),
    };
    let advised = advised(row.map_or("", |row| row.advice));
    let code = one_line(code);
    let detail = format!("HTTP {http_status}, `{code}`: {meaning}{quoted}{missing}{advised}");
    Reading {
        answer: answer(outcome, None, detail),
        token_refused,
        person_refused: PERSON_CODES.contains(&code.as_str()),
    }
}

/// A member that is a text, whatever the case of its name: DingTalk's own samples disagree.
fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    member(object, name)?.as_str()
}

pub(super) fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let named = |(key, value): (&'a String, &'a Value)| key.eq_ignore_ascii_case(name).then_some(value);
    object.iter().find_map(named)
}

/// The permissions that a refusal says are missing.
fn scopes(object: &Map<String, Value>) -> String {
    member(object, "AccessDeniedDetail")
        .and_then(Value::as_object)
        .and_then(|detail| member(detail, "requiredScopes")?.as_array())
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::dingtalk::errcode::tests::shown;

    fn read(http_status: u16, body: &str) -> Reading {
        let kind = body.starts_with('<').then_some("text/html");
        sent(http_status, kind, body.as_bytes())
    }

    #[track_caller]
    fn check(http_status: u16, body: &str, expected: &str) {
        let reading = read(http_status, body);
        let shown = shown(reading.answer.outcome);
        assert_eq!(shown, expected, "{body}: {}", reading.answer.detail);
    }

    #[track_caller]
    fn check_codes(http_status: u16, expected: &str, codes: &[&str]) {
        for code in codes {
            check(
                http_status,
                &format!(r#"{{"requestid":"r","code":"{code}","message":"m"}}"#),
                expected,
            );
        }
    }

    #[test]
    fn only_what_was_asked_for_is_a_success() {
        check(200, r#"{"processQueryKey":"k1"}"#, "delivered");
        check(200, r#"{"processQueryKey":null}"#, "unknown");
        check(200, r#"{"success":true}"#, "unknown");
        check(200, "", "unknown");
        check(200, r#"{"processQueryKey":"k"#, "unknown");
        check(400, r#"{"processQueryKey":"k1"}"#, "refused_other");
        check(200, r#"{"processQueryKey":"k1","code":"system.busy"}"#, "retry");
    }

    #[test]
    fn a_busy_server_is_tried_again_and_a_broken_one_leaves_the_outcome_open() {
        check_codes(429, "retry", &["system.busy", "systemBusy"]);
        check_codes(
            500,
            "unknown",
            &[
                "system.busy",
                "system.error",
                "systemError",
                "send.ding.exception",
                "what.is.this",
            ],
        );
        check_codes(400, "unknown", &["unknown.send.result"]);
        for status in [408, 500, 502, 503, 504] {
            check(status, "", "unknown");
            check(status, "<html>", "unknown");
        }
    }

    #[test]
    fn each_limit_pauses_for_as_long_as_it_lasts() {
        check_codes(
            403,
            "limited for 1 s",
            &[
                "Forbidden.AccessDenied.QpsLimitForApi",
                "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi",
            ],
        );
        check_codes(
            403,
            "limited for 60 s",
            &["Forbidden.AccessDenied.QpmLimitForAppkeyAndApi"],
        );
        check_codes(400, "limited for 60 s", &["send.too.fast"]);
        check_codes(
            400,
            "limited for 600 s",
            &["send.byToken.tooFast", "too.many.group", "too.many.people"],
        );
        check(429, "", "limited for 60 s");
    }

    #[test]
    fn a_used_up_quota_is_told_apart_from_a_speed_limit() {
        check_codes(403, "quota", &["Forbidden.AccessDenied.ApiCountLimitForOrg"]);
        check_codes(400, "quota", &["Forbidden.AccessDenied.ApiCountLimitForOrg"]);
    }

    #[test]
    fn a_token_is_refused_with_any_status_and_may_be_renewed() {
        for status in [400, 401, 403] {
            for code in TOKEN_CODES {
                let reading = read(status, &format!(r#"{{"code":"{code}"}}"#));
                assert_eq!(reading.answer.outcome, TOKEN);
                assert!(reading.token_refused);
            }
        }
        assert!(read(401, "").token_refused);
        check(401, r#"{"code":"never.seen"}"#, "refused_token");
        let secret = read(400, r#"{"code":"invalidClientIdOrSecret"}"#);
        assert_eq!((secret.answer.outcome, secret.token_refused), (TOKEN, false));
    }

    #[test]
    fn permissions_addresses_and_security_settings_are_the_operators() {
        check_codes(
            403,
            "refused_permission",
            &[
                "Forbidden.AccessDenied.AccessTokenPermissionDenied",
                "unauthorized",
                "auth.error",
            ],
        );
        check_codes(
            403,
            "refused_address",
            &["Forbidden.AccessDenied.IpNotInWhiteList", "ip.not.match"],
        );
        check_codes(400, "refused_signature", &["sign.not.match"]);
        check_codes(400, "refused_keyword", &["keywords.not.match"]);
        check_codes(
            400,
            "refused_other",
            &[
                "invalidParameter.robotCode.empty",
                "invalidParameter.robotCode.missing",
                "invalidParameter.robotCode.invalid",
                "invalidParameter.robotCode.notExsit",
                "invalidParameter.robotCode.auth",
                "invalidParameter.robotCode",
                "not.allowed.robotCode",
                "miss.chatbotId",
                "template.not.existed",
                "template.stopped",
                "bot.stopped",
                "sendMessage.model.notMatch",
            ],
        );
    }

    #[test]
    fn a_target_that_is_gone_is_told_apart_from_an_app_that_is_refused() {
        check_codes(
            400,
            "refused_target",
            &[
                "invalidParameter.robotCode.coolApp",
                "send.forbidden",
                "bot.forbidden.sendMessage",
                "chatbotId.notAllow.sendOTO",
                "robot.oto.notExist",
                "session.notExisted",
                "session.expired",
                "miss.openConversationId",
                "invalid.openConversationId",
                "group.disbanded",
                "conversation.org.notMatch",
                "resource.not.found",
                "resource.unavailable",
                "only.groupAdmin.canAtAll",
                "illegal.receivers",
                "illegal.excludes",
            ],
        );
    }

    #[test]
    fn a_call_that_is_refused_for_one_person_may_be_made_again_for_the_others() {
        check_codes(400, "refused_person", &["staffId.notExisted"]);
        for code in PERSON_CODES {
            assert!(lookup(code).is_some() && read(400, &format!(r#"{{"code":"{code}"}}"#)).person_refused);
        }
        assert!(!read(400, r#"{"code":"chatbotId.notAllow.sendOTO"}"#).person_refused);
    }

    #[test]
    fn a_success_is_one_for_those_whom_no_list_names() {
        let each = |status, body: &str| -> Vec<String> {
            let answers = for_each(&read(status, body).answer, body.as_bytes(), &["a", "b", "c"]);
            answers.into_iter().map(|answer| shown(answer.outcome)).collect()
        };
        let some =
            r#"{"processQueryKey":"k","invalidStaffIdList":["b","x"],"flowControlledStaffIdList":["c"]}"#;
        assert_eq!(
            each(200, some),
            ["delivered", "refused_person", "throttled for 60 s"]
        );
        let all = r#"{"processQueryKey":"k","invalidStaffIdList":[],"flowControlledStaffIdList":null}"#;
        assert_eq!(each(200, all), ["delivered"; 3]);
        // Without a key nobody can tell of those that are not named.
        let none = r#"{"InvalidStaffIdList":["a","b"]}"#;
        assert_eq!(each(200, none), ["refused_person", "refused_person", "unknown"]);
        let refused = r#"{"code":"unauthorized","invalidStaffIdList":["a"]}"#;
        assert_eq!(each(403, refused), ["refused_permission"; 3]);
    }

    #[test]
    fn what_a_message_says_is_told_apart_from_how_long_it_is_and_from_a_bug() {
        check_codes(400, "rejected_size", &["invalidParameter.msgParam.tooLong"]);
        check_codes(
            400,
            "rejected_content",
            &[
                "contain.unsafe.url",
                "contain.notAllowed.text",
                "contain.notAllowed.picture",
                "contain.notAllowed.content",
            ],
        );
        check_codes(
            400,
            "rejected_malformed",
            &[
                "AuthenticationFailed.MissingParameter",
                "invalidParameter.msgKey.empty",
                "invalidParameter.msgKey.invalid",
                "invalidParameter.msgParam.invalid",
                "invalidParameter.msgBody.invalid",
                "invalidParameter.param.invalid",
                "invalidParameter.msg.unsupport",
                "invalidParameter.userIds.empty",
                "invalidParameter.userIds.overMax",
                "invalidParameter.userId.empty",
                "receivers.exceed",
                "invalidParameter.processQueryKey.missing",
                "invalidParameter.processQueryKeys.overMax",
                "invalidParameter.cursor.invalid",
                "invalidParameter.pageSize.invalid",
                "miss.param.text",
                "miss.param.markdownTotitle",
                "miss.param.actionCardTobtnsToactionUrl",
                "invalid.param.actionCardTobtnOrientation",
            ],
        );
    }

    #[test]
    fn a_message_that_is_gone_is_told_apart_from_a_bug() {
        check_codes(
            400,
            "rejected_gone",
            &[
                "invalid.processQueryKey",
                "robot.processQueryKey.expired",
                "notRevoke.all.messages",
                "processQueryKey.expireTime",
                "openConversationId.notExisted",
                "conversation.org.dismatch",
            ],
        );
    }

    #[test]
    fn why_a_message_was_not_taken_back_is_a_code_or_a_text() {
        for (reason, expected) in [
            ("robot.processQueryKey.expired", "rejected_gone"),
            ("system.error", "retry"),
            ("the message was recalled before", "rejected_gone"),
            ("", "rejected_gone"),
        ] {
            assert_eq!(shown(not_taken_back(reason).outcome), expected, "{reason}");
        }
    }

    #[test]
    fn only_a_message_that_was_delivered_has_a_receipt() {
        let receipt = |status, body: &str| read(status, body).answer.receipt;
        assert_eq!(receipt(200, r#"{"processQueryKey":"k1"}"#), Some("k1".into()));
        assert_eq!(receipt(400, r#"{"processQueryKey":"k1"}"#), None);
        assert_eq!(receipt(200, r#"{"processQueryKey":1}"#), None);
        assert_eq!(receipt(200, r#"{"processQueryKey":""}"#), None);
        let long = format!(r#"{{"processQueryKey":"{}"}}"#, "k".repeat(257));
        assert_eq!(receipt(200, &long), None);
    }

    #[test]
    fn a_code_nobody_knows_is_judged_by_how_it_begins_then_by_its_status() {
        check_codes(400, "rejected_content", &["contain.something.new"]);
        check_codes(400, "refused_other", &["invalidParameter.robotCode.new"]);
        check_codes(
            400,
            "refused_token",
            &["invalidParameter.token.new", "AuthenticationFailed.New"],
        );
        check_codes(400, "rejected_malformed", &["invalidParameter.new"]);
        check_codes(403, "limited for 1 s", &["Forbidden.AccessDenied.QpsLimitForNew"]);
        check_codes(
            403,
            "limited for 60 s",
            &["Forbidden.AccessDenied.QpmLimitForNew"],
        );
        check_codes(400, "refused_permission", &["Forbidden.New"]);
        check_codes(400, "retry", &["systemNew", "never.seen"]);
        check_codes(403, "refused_permission", &["never.seen"]);
        check_codes(429, "limited for 60 s", &["never.seen"]);
        check_codes(503, "unknown", &["never.seen"]);
        check_codes(404, "retry", &["never.seen"]);
        check(404, "<html>nginx</html>", "refused_other");
        check(302, "", "refused_other");
    }

    #[test]
    fn the_block_of_an_address_silences_everybody() {
        check(
            200,
            r#"{"status":1111,"wait":5,"punish":"deny"}"#,
            "blocked for 300 s",
        );
        check(403, "<html>denied</html>", "blocked for 300 s");
    }

    #[test]
    fn an_operator_reads_what_happened_what_dingtalk_said_and_what_to_do() {
        let detail = |status, body: &str| read(status, body).answer.detail;
        insta::assert_snapshot!(
            [
                detail(
                    403,
                    r#"{"Code":"Forbidden.AccessDenied.AccessTokenPermissionDenied","Message":"没有调用该接口的权限","AccessDeniedDetail":{"requiredScopes":["qyapi_robot_sendmsg"]}}"#
                ),
                detail(400, r#"{"code":"invalid.openConversationId","message":"a\nb"}"#),
                detail(400, r#"{"code":"never.seen","message":""}"#),
                detail(502, "Bad Gateway"),
                detail(200, "<html>"),
            ]
            .join("\n")
        );
    }

    #[test]
    fn no_code_stands_in_the_table_twice_and_none_delivers() {
        let codes: BTreeSet<_> = TABLE.iter().map(|row| row.code).collect();
        assert_eq!(codes.len(), TABLE.len());
        for row in TABLE.iter().chain(FAMILIES) {
            assert_ne!(row.outcome, Outcome::Delivered, "{row:?}");
        }
        assert!(TOKEN_CODES.iter().all(|code| codes.contains(code)));
    }

    proptest! {
        #[test]
        fn no_answer_whatsoever_gives_a_long_or_many_lined_detail(
            status in 100_u16..600, text in "\\PC{0,600}|[\\x00-\\x7f]{0,40}"
        ) {
            for body in [
                text.clone(),
                serde_json::json!({"code": text, "message": text}).to_string(),
            ] {
                let detail = read(status, &body).answer.detail;
                prop_assert!(detail.chars().count() < 1000);
                prop_assert!(!detail.contains(char::is_control));
            }
        }
    }
}
