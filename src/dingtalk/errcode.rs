//! What the answers of webhooks mean: one table of error codes, and the reading of every shape of answer that holds
//! one, also for the older API of apps.
//!
//! HTTP 200 says nothing; a message was accepted exactly when the body's `errcode` is 0. Where an answer could
//! mean either, it is read as *not* accepted or as [`Outcome::Unknown`], never as accepted. The wording of an
//! answer decides nothing except between the variants of 310000, whose one code stands for five faults.
//! Nothing here knows of bots, budgets or retries.

use serde_json::{Map, Value};

use crate::alert::Span;
use crate::engine::outcome::{Refused, Rejected};
use crate::engine::{Answer, Outcome};

/// How well a code is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// In DingTalk's own documentation.
    Documented,
    /// In public reports of real traffic.
    Seen,
    /// Claimed by one third party.
    Claimed,
    /// By no source at all; listed so that it is met with care.
    Unverified,
}

/// One code, or a run of codes that mean the same.
#[derive(Clone, Copy, Debug)]
pub struct Errcode {
    /// The code, or the first of the run.
    pub first: i64,
    /// The last of the run; equal to `first` for a single code.
    pub last: i64,
    /// What is to be done about it.
    pub outcome: Outcome,
    /// How well it is known.
    pub evidence: Evidence,
    /// What happened.
    pub meaning: &'static str,
    /// What the operator does; empty when there is nothing to do.
    pub advice: &'static str,
}

/// The penalty for more than 20 messages in a minute.
pub const PENALTY: Span = Span::minutes(10);
/// The block of an egress address that made more than 10,000 calls in 20 seconds.
pub const ADDRESS_BLOCK: Span = Span::minutes(5);
/// After a limit on calls per second.
pub(super) const QPS_PAUSE: Span = Span::seconds(1);
/// After a throttle of the gateway whose length is not documented.
pub(super) const GATEWAY_PAUSE: Span = Span::minutes(1);

/// Most characters of DingTalk's own wording in a detail.
const WORDING_CHARS_MAX: usize = 300;

pub(super) const TOKEN: Outcome = Outcome::Refused(Refused::Token);
pub(super) const ELSEWHERE: Outcome = Outcome::Refused(Refused::Other);
pub(super) const MALFORMED: Outcome = Outcome::Rejected(Rejected::Malformed);
pub(super) const CONTENT: Outcome = Outcome::Rejected(Rejected::Content);
pub(super) const GONE: Outcome = Outcome::Rejected(Rejected::Gone);
pub(super) const SIZE: Outcome = Outcome::Rejected(Rejected::Size);

const NEW_WEBHOOK: &str = "put the webhook URL of a living bot of the group into the configuration";
pub(super) const CHECK_BASE_URL: &str = "check `base_url` and any proxy in between";
pub(super) const REPORT_BUG: &str = "please report it as a bug of dingest";
const SLOWER: &str = "another program may be using the same bot; otherwise lower `per_minute`";
const MORE_QUOTA: &str = "raise the organisation's or the bot's allowance, or wait for the next month";
pub(super) const EDIT_TEXT: &str = "look at the alert's texts and links, or at the template";
pub(super) const SMALLER: &str = "lower the template's size";

pub(super) const fn code(
    code: i64,
    outcome: Outcome,
    evidence: Evidence,
    meaning: &'static str,
    advice: &'static str,
) -> Errcode {
    run(code, code, outcome, evidence, meaning, advice)
}

pub(super) const fn run(
    first: i64,
    last: i64,
    outcome: Outcome,
    evidence: Evidence,
    meaning: &'static str,
    advice: &'static str,
) -> Errcode {
    Errcode {
        first,
        last,
        outcome,
        evidence,
        meaning,
        advice,
    }
}

/// Every code that is known to reach a webhook, or that a careful reader should be ready for. In ascending order.
///
/// 88 and 310000 stand here with their general meaning; a sub code or the wording narrows them down.
#[rustfmt::skip] // A row per line.
pub const TABLE: &[Errcode] = {
    use Evidence::{Claimed, Documented, Seen, Unverified};
    use Outcome::{Delivered, Limited, Quota, Retry};
    &[
        code(-1, Retry, Documented, "DingTalk is busy", ""),
        code(0, Delivered, Documented, "accepted", ""),
        code(15, Retry, Documented, "a call inside DingTalk timed out", ""),
        code(22, ELSEWHERE, Seen, "the path or method is not known there", CHECK_BASE_URL),
        code(88, ELSEWHERE, Documented, "the authentication failed", NEW_WEBHOOK),
        code(404, ELSEWHERE, Documented, "the path is not known there", CHECK_BASE_URL),
        code(40014, TOKEN, Documented, "the token is not valid", NEW_WEBHOOK),
        code(40033, MALFORMED, Documented, "the body holds illegal characters", REPORT_BUG),
        code(40035, MALFORMED, Documented, "the body or the token is missing", REPORT_BUG),
        code(43002, MALFORMED, Documented, "the request did not arrive as a POST", CHECK_BASE_URL),
        code(43004, MALFORMED, Documented, "the content type did not arrive as JSON", CHECK_BASE_URL),
        code(43005, MALFORMED, Documented, "the content type did not arrive as JSON", CHECK_BASE_URL),
        code(60020, Outcome::Refused(Refused::Address), Documented, "our address is not on the application's list", "add the address to its list"),
        code(90001, Limited(GATEWAY_PAUSE), Documented, "calls are disabled for a while", ""),
        code(90002, Limited(QPS_PAUSE), Documented, "this API is at its limit for everybody", ""),
        run(90003, 90014, Limited(GATEWAY_PAUSE), Documented, "calls are disabled for a while", ""),
        code(90018, Limited(QPS_PAUSE), Documented, "too many calls in a second", ""),
        code(90020, Quota, Documented, "the organisation's API calls of this month are used up", MORE_QUOTA),
        code(90030, Quota, Seen, "the webhook messages of this month are used up", MORE_QUOTA),
        code(101_002, SIZE, Seen, "the message is too long", SMALLER),
        code(130_101, Limited(PENALTY), Seen, "the bot sent more than 20 messages in a minute", SLOWER),
        code(130_103, Limited(PENALTY), Unverified, "the bot sends too fast", SLOWER),
        code(300_001, TOKEN, Seen, "the token is not known", NEW_WEBHOOK),
        code(300_005, TOKEN, Seen, "the token is not known", NEW_WEBHOOK),
        code(302_033, Limited(PENALTY), Claimed, "the bot sends too fast", SLOWER),
        code(310_000, ELSEWHERE, Documented, "the bot's security settings are not met", "compare them with the configuration"),
        code(400_013, TOKEN, Documented, "the group was dissolved", NEW_WEBHOOK),
        code(400_101, TOKEN, Documented, "the token is not known", NEW_WEBHOOK),
        code(400_102, TOKEN, Documented, "the bot is stopped", "enable it in the group's settings, or have an administrator do so"),
        code(400_105, MALFORMED, Documented, "the message type is not known there", REPORT_BUG),
        code(400_106, TOKEN, Documented, "the bot is no longer in the group", NEW_WEBHOOK),
        code(410_100, Limited(PENALTY), Documented, "the bot sends too fast", SLOWER),
        code(430_101, CONTENT, Documented, "it holds a link DingTalk calls unsafe", EDIT_TEXT),
        code(430_102, CONTENT, Documented, "it holds text DingTalk calls inappropriate", EDIT_TEXT),
        code(430_103, CONTENT, Documented, "it holds a picture DingTalk calls inappropriate", EDIT_TEXT),
        code(430_104, CONTENT, Documented, "it holds something DingTalk calls inappropriate", EDIT_TEXT),
        code(450_101, Limited(PENALTY), Claimed, "the bot sends too fast", SLOWER),
        code(460_101, SIZE, Seen, "the message is over 20000 bytes", SMALLER),
        code(500_100, Retry, Seen, "DingTalk had an internal error", ""),
        code(660_026, Limited(PENALTY), Seen, "the bot sent more than 20 messages in a minute", SLOWER),
    ]
};

/// The variants of 310000 by words of their text. The order matters: the expired signature's text also holds
/// the word for signature.
const SECURITY: &[(&[&str], Errcode)] = &[
    (
        &["keywords", "关键词"],
        code(
            310_000,
            Outcome::Refused(Refused::Keyword),
            Evidence::Documented,
            "the message lacks the bot's keyword",
            "set the bot's `keyword` as in its security settings",
        ),
    ),
    (
        &["timestamp", "过期"],
        code(
            310_000,
            Outcome::Refused(Refused::Clock),
            Evidence::Documented,
            "the signature's time is over an hour off",
            "set this machine's clock right",
        ),
    ),
    (
        &["sign", "签名"],
        code(
            310_000,
            Outcome::Refused(Refused::Signature),
            Evidence::Documented,
            "the signature does not match",
            "copy the bot's secret anew, with its `SEC`",
        ),
    ),
    (
        &["whitelist", "白名单"],
        code(
            310_000,
            Outcome::Refused(Refused::Address),
            Evidence::Documented,
            "our address is not on the bot's list",
            "add the address named in DingTalk's text to the bot's security settings",
        ),
    ),
    (
        &["token is not exist"],
        code(
            310_000,
            TOKEN,
            Evidence::Claimed,
            "the token is not known",
            NEW_WEBHOOK,
        ),
    ),
];

/// What is known of a code.
pub fn lookup(errcode: i64) -> Option<&'static Errcode> {
    TABLE
        .iter()
        .find(|row| row.first <= errcode && errcode <= row.last)
}

/// One of the interfaces whose answers hold an `errcode`.
#[derive(Debug)]
pub(super) struct Interface {
    /// What is known of a code in an answer.
    pub(super) meaning: fn(i64, &Map<String, Value>) -> Option<Errcode>,
    /// How long too many requests silence whoever made them.
    pub(super) pause: Span,
}

/// Reads one answer of a webhook, whatever its shape.
///
/// `body` may be cut at the end: what does not parse is judged by status and first bytes alone.
pub fn classify(http_status: u16, content_type: Option<&str>, body: &[u8]) -> Answer {
    const WEBHOOKS: Interface = Interface {
        meaning: |errcode, object| match errcode {
            310_000 => security(&wording(object)),
            _ => narrowed(errcode, object, lookup),
        },
        pause: PENALTY,
    };
    read(&WEBHOOKS, http_status, content_type, body)
}

/// Reads one answer, whatever its shape.
pub(super) fn read(
    interface: &Interface,
    http_status: u16,
    content_type: Option<&str>,
    body: &[u8],
) -> Answer {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let object = json.as_ref().and_then(Value::as_object);
    if let Some(answer) = object.and_then(|object| by_errcode(interface, http_status, object)) {
        return answer;
    }
    if object.is_some_and(is_punishment) {
        return punished();
    }
    let otherwise = if object.is_some() {
        "JSON without `errcode`"
    } else {
        "a body that is not JSON"
    };
    by_status(
        http_status,
        Shape::of(content_type, body, otherwise),
        interface.pause,
    )
}

/// The answer of an object with an `errcode` that is a number, or a text of one.
fn by_errcode(interface: &Interface, http_status: u16, object: &Map<String, Value>) -> Option<Answer> {
    let errcode = object.get("errcode").and_then(integer)?;
    let wording = wording(object);
    let row = (interface.meaning)(errcode, object);
    let outcome = row.map_or(by_class(http_status, interface.pause), |row| row.outcome);
    // The body and something else in the answer contradict each other: whether it was delivered is open.
    let doubtful = match outcome {
        Outcome::Delivered => !(200..300).contains(&http_status) || is_punishment(object),
        Outcome::Retry => http_status >= 500,
        Outcome::Limited(_)
        | Outcome::Throttled(_)
        | Outcome::Blocked(_)
        | Outcome::Quota
        | Outcome::Refused(_)
        | Outcome::Rejected(_)
        | Outcome::Outdated
        | Outcome::Unknown => false,
    };
    if doubtful {
        let detail = format!("HTTP {http_status} with errcode {errcode}: {wording}");
        return Some(answer(Outcome::Unknown, Some(errcode), detail));
    }
    if outcome == Outcome::Delivered {
        return Some(answer(outcome, Some(errcode), "ok"));
    }
    let meaning = row.map_or("a code that is not known to us", |row| row.meaning);
    let (quoted, advised) = (quoted(&wording), advised(row.map_or("", |row| row.advice)));
    let detail = format!("errcode {errcode}: {meaning}{quoted}{advised}");
    Some(answer(outcome, Some(errcode), detail))
}

/// What DingTalk says besides the code.
fn wording(object: &Map<String, Value>) -> String {
    one_line(object.get("errmsg").and_then(Value::as_str).unwrap_or_default())
}

/// What a code means that nobody knows.
pub(super) const fn by_class(http_status: u16, pause: Span) -> Outcome {
    match http_status {
        401 => TOKEN,
        403 => Outcome::Refused(Refused::Permission),
        429 => Outcome::Limited(pause),
        _ => Outcome::Retry,
    }
}

/// What is known of a code; 88 wraps another one, and an empty one is a time-out of the authentication itself.
pub(super) fn narrowed(
    errcode: i64,
    object: &Map<String, Value>,
    lookup: fn(i64) -> Option<&'static Errcode>,
) -> Option<Errcode> {
    if errcode != 88 {
        return lookup(errcode).copied();
    }
    let sub_code = sub_code(object);
    match sub_code.parse().ok().and_then(lookup) {
        _ if sub_code.is_empty() || sub_code.starts_with("isp.") => Some(Errcode {
            outcome: Outcome::Retry,
            meaning: "DingTalk's authentication timed out",
            advice: "",
            ..*lookup(88)?
        }),
        Some(row) if row.outcome != Outcome::Delivered => Some(*row),
        Some(_) | None => lookup(88).copied(),
    }
}

/// The sub code of an 88, from its member or from the text that carries it.
fn sub_code(object: &Map<String, Value>) -> String {
    let member = ["sub_code", "subcode", "subCode"]
        .iter()
        .find_map(|name| object.get(*name));
    match member {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(_) | None => object
            .get("errmsg")
            .and_then(Value::as_str)
            .and_then(|text| text.split_once("subcode="))
            .and_then(|(_, rest)| rest.split([',', ']']).next())
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}

fn security(wording: &str) -> Option<Errcode> {
    let wording = wording.to_lowercase();
    SECURITY
        .iter()
        .find(|(words, _)| words.iter().any(|word| wording.contains(word)))
        .map(|(_, row)| *row)
        .or_else(|| lookup(310_000).copied())
}

/// What a body looks like that says nothing by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    is_html: bool,
    pub(super) name: &'static str,
}

impl Shape {
    /// The shape of a body; `otherwise` is what one is called that is neither empty nor a page.
    pub(super) fn of(content_type: Option<&str>, body: &[u8], otherwise: &'static str) -> Self {
        let is_html = is_html(content_type, body);
        let name = match (body, is_html) {
            ([], _) => "an empty body",
            (_, true) => "an HTML page",
            (_, false) => otherwise,
        };
        Self { is_html, name }
    }
}

/// The answer when the body says nothing by itself. `pause` is how long too many requests silence whoever made them.
pub(super) fn by_status(http_status: u16, shape: Shape, pause: Span) -> Answer {
    let (outcome, why) = match http_status {
        // DingTalk's firewall answers with pages like these when an address made too many calls.
        200..=299 | 403 | 405 | 418 if shape.is_html => (
            Outcome::Blocked(ADDRESS_BLOCK),
            "probably the block of an egress address, or a proxy in between",
        ),
        429 => (Outcome::Limited(pause), "too many requests"),
        300..=399 => (
            ELSEWHERE,
            "redirects are not followed; check `base_url` and any proxy in between",
        ),
        408 | 500.. => (Outcome::Unknown, "it may or may not have been delivered"),
        400..=499 => (ELSEWHERE, CHECK_BASE_URL),
        _ => (
            Outcome::Unknown,
            "not an answer of DingTalk's; it may or may not have been delivered",
        ),
    };
    answer(
        outcome,
        None,
        format!("HTTP {http_status} with {}: {why}", shape.name),
    )
}

/// The answer to whoever is behind a blocked egress address.
pub(super) fn punished() -> Answer {
    answer(
        Outcome::Blocked(ADDRESS_BLOCK),
        None,
        "DingTalk blocks this machine's egress address for too many calls; a shared address may be to blame",
    )
}

/// DingTalk's own wording as a detail shows it.
pub(super) fn quoted(wording: &str) -> String {
    match wording {
        "" => String::new(),
        wording => format!(" (`{wording}`)"),
    }
}

/// Advice as a detail shows it.
pub(super) fn advised(advice: &str) -> String {
    match advice {
        "" => String::new(),
        advice => format!("; {advice}"),
    }
}

/// The shape of the block of an egress address.
pub(super) fn is_punishment(object: &Map<String, Value>) -> bool {
    object.contains_key("punish") || object.get("status").and_then(integer) == Some(1111)
}

fn is_html(content_type: Option<&str>, body: &[u8]) -> bool {
    let named = content_type.is_some_and(|name| name.to_ascii_lowercase().contains("html"));
    let body = body
        .strip_prefix("\u{feff}".as_bytes())
        .unwrap_or(body)
        .trim_ascii_start();
    body.starts_with(b"<") || (named && !body.is_empty())
}

pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The text as one line without control characters, cut where it is too long for a log.
pub(super) fn one_line(text: &str) -> String {
    let mut words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    let mut line = words.next().unwrap_or_default().to_owned();
    for word in words {
        line.push(' ');
        line.push_str(word);
    }
    match line.char_indices().nth(WORDING_CHARS_MAX) {
        Some((end, _)) => {
            line.truncate(end);
            line + "…"
        }
        None => line,
    }
}

pub(super) fn answer(outcome: Outcome, errcode: Option<i64>, detail: impl Into<String>) -> Answer {
    Answer {
        errcode,
        ..Answer::new(outcome, detail)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITED: &str = "limited for 600 s";
    const BLOCKED: &str = "blocked for 300 s";

    pub(in crate::dingtalk) fn shown(outcome: Outcome) -> String {
        let pause = match outcome {
            Outcome::Limited(span) | Outcome::Throttled(span) | Outcome::Blocked(span) => {
                format!(" for {} s", span.0 / 1000)
            }
            Outcome::Delivered
            | Outcome::Retry
            | Outcome::Quota
            | Outcome::Refused(_)
            | Outcome::Rejected(_)
            | Outcome::Outdated
            | Outcome::Unknown => String::new(),
        };
        format!("{}{pause}", outcome.as_str())
    }

    #[track_caller]
    fn check(http_status: u16, body: &str, expected: &str) {
        let kind = body.starts_with('<').then_some("text/html; charset=utf-8");
        let answer = classify(http_status, kind, body.as_bytes());
        assert_eq!(shown(answer.outcome), expected, "{body}: {}", answer.detail);
    }

    #[track_caller]
    fn check_codes(expected: &str, codes: &[(i64, &str)]) {
        for (errcode, errmsg) in codes {
            check(
                200,
                &format!(r#"{{"errcode":{errcode},"errmsg":"{errmsg}"}}"#),
                expected,
            );
            check(
                200,
                &format!(r#"{{"errmsg":"{errmsg}","errcode":"{errcode}"}}"#),
                expected,
            );
        }
    }

    #[test]
    fn only_errcode_zero_is_delivered() {
        check_codes("delivered", &[(0, "ok")]);
        check(200, r#"{"errcode":null}"#, "unknown");
        check(200, r#"{"errcode":false,"errmsg":"ok"}"#, "unknown");
        check(200, r#"{"errcode":"","errmsg":"ok"}"#, "unknown");
        check(200, r#"{"errmsg":"ok"}"#, "unknown");
        check(200, r#"[{"errcode":0}]"#, "unknown");
    }

    #[test]
    fn a_busy_server_is_tried_again() {
        check_codes(
            "retry",
            &[
                (-1, "系统繁忙"),
                (15, ""),
                (500_100, "description:系统异常，请稍后再试;"),
            ],
        );
        check(
            200,
            r#"{"errcode":15,"sub_code":"isp.top-remote-connection-timeout"}"#,
            "retry",
        );
    }

    #[test]
    fn every_word_for_too_fast_silences_the_bot_for_ten_minutes() {
        check_codes(
            LIMITED,
            &[
                (130_101, "send too fast, exceed 20 times per minute"),
                (410_100, "发送速度太快而限流"),
                (660_026, "sending too many messages per minute"),
                (302_033, "send too fast"),
                (450_101, ""),
                (130_103, ""),
            ],
        );
    }

    #[test]
    fn limits_of_the_gateway_pause_for_as_long_as_they_last() {
        check_codes("limited for 1 s", &[(90002, ""), (90018, "")]);
        check_codes(
            "limited for 60 s",
            &[(90001, ""), (90003, ""), (90006, ""), (90014, "")],
        );
    }

    #[test]
    fn a_used_up_quota_is_told_apart_from_a_speed_limit() {
        check_codes("quota", &[(90020, ""), (90030, "webhook over limit")]);
    }

    #[test]
    fn a_dead_token_has_many_codes() {
        check_codes(
            "refused_token",
            &[
                (300_005, "token is not exist"),
                (300_001, "token is not exist"),
                (
                    300_001,
                    "description: robot 不存在；solution:请确认 token 是否正确；",
                ),
                (400_013, "群已被解散"),
                (400_101, "access_token不存在"),
                (400_102, "机器人已停用"),
                (400_102, "bot is stopped"),
                (400_106, "机器人不存在"),
                (40014, "不合法的access_token"),
            ],
        );
    }

    #[test]
    fn the_five_faults_behind_310000_are_told_apart_by_every_wording() {
        let codes =
            |wordings: &[&'static str]| wordings.iter().map(|text| (310_000, *text)).collect::<Vec<_>>();
        check_codes(
            "refused_keyword",
            &codes(&[
                "keywords not in content",
                "keywords not in content, more: [https://ding-doc.dingtalk.com/doc#/serverapi2/qf2nxq]",
                "description:关键词不匹配;solution:请联系群管理员查看此机器人的关键词，并在发送的信息中包含此关键词;",
                "错误描述:关键词不匹配;解决方案:请联系群管理员查看此机器人的关键词",
            ]),
        );
        check_codes(
            "refused_clock",
            &codes(&[
                "invalid timestamp",
                "description:机器人发送签名过期;solution:签名生成时间和发送时间请保持在 timestampms 以内;",
            ]),
        );
        check_codes(
            "refused_signature",
            &codes(&[
                "sign not match",
                "description:机器人发送签名不匹配;solution:请确认签名和生成签名的时间戳必须都放在调用的网址中",
                "错误描述:机器人发送签名不匹配;解决方案:…",
            ]),
        );
        check_codes(
            "refused_address",
            &codes(&["ip 203.0.113.7 not in whitelist", "IP 不在白名单"]),
        );
        check_codes("refused_token", &codes(&["token is not exist"]));
        check_codes("refused_other", &codes(&["", "安全设置不满足"]));
    }

    #[test]
    fn what_a_message_says_is_told_apart_from_how_long_it_is() {
        check_codes(
            "rejected_size",
            &[
                (460_101, "message too long, exceed 20000 bytes"),
                (
                    460_101,
                    "description: body 大小不合法;solution:请保持大小在 20000bytes 以内;",
                ),
                (101_002, "message is too long"),
            ],
        );
        check_codes(
            "rejected_content",
            &[
                (430_101, "含有不安全的外链"),
                (430_102, ""),
                (430_103, ""),
                (430_104, ""),
            ],
        );
    }

    #[test]
    fn a_malformed_request_is_our_bug() {
        check_codes(
            "rejected_malformed",
            &[
                (40033, ""),
                (40035, "缺少参数 json"),
                (43002, "需要POST请求"),
                (43004, ""),
                (43005, ""),
                (400_105, "unsupported msgtype"),
            ],
        );
    }

    #[test]
    fn an_unknown_path_is_the_fault_of_the_base_url_and_of_no_message() {
        check_codes(
            "refused_other",
            &[(404, "请求的URI地址不存在"), (22, "Invalid method")],
        );
    }

    #[test]
    fn eighty_eight_is_what_its_sub_code_says() {
        check(
            200,
            r#"{"errcode":88,"errmsg":"鉴权异常","sub_code":"40014","sub_msg":"x"}"#,
            "refused_token",
        );
        check(
            200,
            r#"{"errcode":88,"errmsg":"鉴权异常","sub_code":""}"#,
            "retry",
        );
        check(200, r#"{"errcode":88,"errmsg":"鉴权异常"}"#, "retry");
        check(
            200,
            r#"{"errcode":88,"errmsg":"ding talk error[subcode=90018,submsg=qps]"}"#,
            "limited for 1 s",
        );
        check(200, r#"{"errcode":"88","sub_code":60020}"#, "refused_address");
        check(
            200,
            r#"{"errcode":88,"sub_code":"isp.top-remote-connection-timeout"}"#,
            "retry",
        );
        check(200, r#"{"errcode":88,"sub_code":"0"}"#, "refused_other");
        check(200, r#"{"errcode":88,"sub_code":"77777"}"#, "refused_other");
    }

    #[test]
    fn a_code_nobody_knows_is_a_failure_worth_another_try() {
        check_codes("retry", &[(999_999, "什么"), (i64::MAX, ""), (1, "")]);
    }

    #[test]
    fn the_block_of_an_address_silences_every_bot_for_five_minutes() {
        check(
            200,
            r#"{"status":1111,"wait":5,"source":"x5","punish":"deny","uuid":"b1"}"#,
            BLOCKED,
        );
        check(200, "<!DOCTYPE html><html><body>denied</body></html>", BLOCKED);
        check(403, "\u{feff}\n <html>", BLOCKED);
        check(
            200,
            r#"{"errcode":130101,"errmsg":"send too fast","status":1111,"punish":"deny"}"#,
            LIMITED,
        );
        check(200, r#"{"errcode":0,"errmsg":"ok","punish":"deny"}"#, "unknown");
        assert_eq!(
            shown(classify(200, Some("text/html"), b"denied").outcome),
            BLOCKED
        );
    }

    #[test]
    fn an_answer_that_may_hide_a_delivery_is_unknown() {
        check(500, "", "unknown");
        check(502, "<html>bad gateway</html>", "unknown");
        check(503, r#"{"errcode":-1,"errmsg":"系统繁忙"}"#, "unknown");
        check(500, r#"{"errcode":0,"errmsg":"ok"}"#, "unknown");
        check(200, "", "unknown");
        check(200, "ok", "unknown");
        check(200, r#"{"errcode":0,"errm"#, "unknown");
        check(200, &"[".repeat(100_000), "unknown");
    }

    #[test]
    fn a_refusal_counts_whatever_status_it_comes_with() {
        check(
            400,
            r#"{"errcode":310000,"errmsg":"sign not match"}"#,
            "refused_signature",
        );
        check(
            500,
            r#"{"errcode":300005,"errmsg":"token is not exist"}"#,
            "refused_token",
        );
        check(404, "<html>nginx</html>", "refused_other");
        check(302, "", "refused_other");
        check(429, "", LIMITED);
    }

    #[test]
    fn an_operator_reads_what_happened_what_dingtalk_said_and_what_to_do() {
        let detail = |status, body: &str| classify(status, None, body.as_bytes()).detail;
        insta::assert_snapshot!(
            [
                detail(
                    200,
                    r#"{"errcode":310000,"errmsg":"description:关键词不匹配;\nsolution:请联系群管理员;"}"#
                ),
                detail(
                    200,
                    r#"{"errcode":660026,"errmsg":"sending too many messages per minute"}"#
                ),
                detail(200, r#"{"errcode":-1,"errmsg":""}"#),
                detail(200, r#"{"errcode":123,"errmsg":"a\u0007b\u001b[31m"}"#),
                detail(302, ""),
                detail(200, "<html>"),
                detail(502, "Bad Gateway"),
            ]
            .join("\n")
        );
    }

    #[test]
    fn the_table_is_ascending_and_only_zero_delivers() {
        assert!(TABLE.iter().all(|row| row.first <= row.last));
        assert!(TABLE.windows(2).all(|pair| pair[0].last < pair[1].first));
        for row in TABLE {
            assert_eq!(row.outcome == Outcome::Delivered, row.first == 0, "{row:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_whatsoever_gives_a_long_or_many_lined_detail(
            status in 100_u16..600, kind in proptest::option::of(".{0,20}"), text in "\\PC{0,600}|[\\x00-\\x7f]{0,40}"
        ) {
            for body in [text.clone(), serde_json::json!({"errcode": 7, "errmsg": text}).to_string()] {
                let answer = classify(status, kind.as_deref(), body.as_bytes());
                prop_assert!(answer.detail.chars().count() < WORDING_CHARS_MAX + 200);
                prop_assert!(!answer.detail.contains(char::is_control));
                prop_assert_ne!(answer.outcome, Outcome::Delivered);
            }
        }
    }
}
