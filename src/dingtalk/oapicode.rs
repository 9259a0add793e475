//! What the answers of the older API of apps mean: the table of its codes, for work notices, what became of them, and
//! look-ups. How an answer is read is [`errcode`]'s.
//!
//! A code that is not in the table is judged by its range, then by the status. Codes that stand in a list of those who
//! got nothing are in the same table. Nothing here knows of tokens, budgets or retries.

use super::apicode::{ADDRESS, CHECK_APP, CHECK_PERSON, MORE_QUOTA, PERMISSION, PERSON, SLOWER, TARGET};
use super::errcode::{
    self, CHECK_BASE_URL, CONTENT, EDIT_TEXT, ELSEWHERE, Errcode, Evidence, GATEWAY_PAUSE, Interface,
    MALFORMED, QPS_PAUSE, REPORT_BUG, SIZE, SMALLER, TOKEN, code, run,
};
use crate::alert::Span;
use crate::engine::{Answer, Outcome};

/// How long somebody is left alone whom DingTalk passes no more on to on the same day: it is tried again all the same,
/// for nobody knows when that day ends.
const DAY_PAUSE: Span = Span::hours(1);
/// A call inside DingTalk timed out.
pub(super) const TIMED_OUT: i64 = 15;

const CHECK_AGENT: &str = "compare `agent_id` with the app's page";
const CHECK_DEPARTMENT: &str = "compare `departments` with the organisation's address book";
const CHECK_VISIBLE: &str = "widen whom the app is visible to in the developer console";
const GRANT: &str = "grant the app the permission that is named, in the developer console";

/// Every code that the calls of work notices, look-ups and the older call for a token are known to answer. In ascending
/// order.
#[rustfmt::skip] // A row per line.
pub const TABLE: &[Errcode] = {
    use Evidence::{Claimed, Documented, Seen};
    use Outcome::{Delivered, Limited, Quota, Retry, Throttled, Unknown};
    &[
        code(-1, Retry, Documented, "DingTalk is busy", ""),
        code(0, Delivered, Documented, "accepted", ""),
        code(TIMED_OUT, Unknown, Documented, "a call inside DingTalk timed out; it may or may not have been carried out", ""),
        code(22, ELSEWHERE, Seen, "the path or method is not known there", CHECK_BASE_URL),
        code(33, TOKEN, Claimed, "the access token has ended", CHECK_APP),
        code(88, ELSEWHERE, Documented, "the authentication failed", CHECK_APP),
        code(404, ELSEWHERE, Documented, "the path is not known there", CHECK_BASE_URL),
        code(500, Unknown, Documented, "DingTalk had an internal error; it may or may not have been carried out", ""),
        code(33012, PERSON, Documented, "the person is not known", CHECK_PERSON),
        code(34014, MALFORMED, Documented, "a member of the message is wrong", REPORT_BUG),
        code(34016, SIZE, Documented, "a member of the message is too long", SMALLER),
        code(40001, TOKEN, Documented, "the access token is not valid", CHECK_APP),
        code(40003, PERSON, Documented, "the person is not known", CHECK_PERSON),
        code(40008, MALFORMED, Documented, "the message's type is not known", REPORT_BUG),
        code(40014, TOKEN, Documented, "the access token is not valid", CHECK_APP),
        code(40031, PERSON, Documented, "the list of people is wrong", CHECK_PERSON),
        code(40033, MALFORMED, Documented, "the body holds illegal characters", REPORT_BUG),
        code(40035, MALFORMED, Documented, "a parameter is missing or wrong", REPORT_BUG),
        code(40038, MALFORMED, Documented, "the request has a wrong form", REPORT_BUG),
        code(40048, CONTENT, Documented, "it holds a link DingTalk calls unsafe", EDIT_TEXT),
        code(40056, ELSEWHERE, Documented, "the app's `agent_id` is wrong", CHECK_AGENT),
        code(40089, TOKEN, Documented, "the app's key or secret is wrong", CHECK_APP),
        code(40096, TOKEN, Seen, "the app's key or secret is wrong", CHECK_APP),
        code(40104, PERSON, Documented, "it is no mobile number", CHECK_PERSON),
        code(41001, TOKEN, Documented, "the access token did not arrive", CHECK_APP),
        code(41011, MALFORMED, Documented, "a parameter is missing", REPORT_BUG),
        code(41028, TARGET, Documented, "the app may not write to everybody", "list `users` or `departments`"),
        code(41029, TARGET, Documented, "the app may not write to them", CHECK_VISIBLE),
        code(41044, TARGET, Documented, "too many people for one notice", "name smaller `departments`"),
        code(41045, Throttled(DAY_PAUSE), Documented, "everybody has had three notices on this day", ""),
        run(41046, 41048, Throttled(GATEWAY_PAUSE), Documented, "too many people were told in a minute", ""),
        code(41049, CONTENT, Documented, "it holds words DingTalk does not pass on", EDIT_TEXT),
        code(41101, SIZE, Documented, "the message is too long", SMALLER),
        code(42001, TOKEN, Documented, "the access token has ended", CHECK_APP),
        code(43002, MALFORMED, Documented, "the request did not arrive as a POST", CHECK_BASE_URL),
        run(43004, 43005, MALFORMED, Documented, "the content type did not arrive as JSON", CHECK_BASE_URL),
        code(43009, MALFORMED, Documented, "the message did not arrive", REPORT_BUG),
        run(45002, 45006, SIZE, Documented, "the message, or a member of it, is too long", SMALLER),
        code(45009, Limited(GATEWAY_PAUSE), Documented, "too many calls", SLOWER),
        code(46004, PERSON, Documented, "the person is not known", CHECK_PERSON),
        code(47001, MALFORMED, Documented, "the body is not JSON", REPORT_BUG),
        code(50002, TARGET, Documented, "the app is not visible to the person", CHECK_VISIBLE),
        code(50003, ELSEWHERE, Documented, "the app is disabled", "enable it in the developer console"),
        code(50004, TARGET, Documented, "the app is not visible to the department", CHECK_VISIBLE),
        code(50005, ELSEWHERE, Documented, "the organisation is disabled", "ask its administrator"),
        code(60011, PERMISSION, Documented, "the app lacks the permission for it", GRANT),
        code(60020, ADDRESS, Documented, "our address is not on the app's list", "add the address to the app's list"),
        code(60022, CONTENT, Documented, "it holds words DingTalk does not pass on", EDIT_TEXT),
        code(60121, PERSON, Documented, "the person is not known", CHECK_PERSON),
        run(70003, 70004, ELSEWHERE, Documented, "the app's `agent_id` is wrong", CHECK_AGENT),
        code(81002, TARGET, Documented, "the person takes no messages of the app", ""),
        code(90001, Limited(GATEWAY_PAUSE), Documented, "calls are disabled for a while", ""),
        code(90002, Limited(QPS_PAUSE), Documented, "this API is at its limit for everybody", ""),
        run(90003, 90014, Limited(GATEWAY_PAUSE), Documented, "calls are disabled for a while", ""),
        code(90018, Limited(QPS_PAUSE), Documented, "the app made too many calls in a second", SLOWER),
        code(90020, Quota, Documented, "the organisation's API calls of this month are used up", MORE_QUOTA),
        run(143_103, 143_104, Throttled(GATEWAY_PAUSE), Documented, "too many people were told in a minute", ""),
        code(143_105, Throttled(DAY_PAUSE), Documented, "the person has had too many notices on this day", ""),
        code(143_106, Delivered, Documented, "the same was passed on before", ""),
        run(143_203, 143_204, Throttled(GATEWAY_PAUSE), Documented, "too many people were told in a minute", ""),
        code(143_205, Throttled(DAY_PAUSE), Documented, "the person has had too many notices on this day", ""),
        code(143_206, Delivered, Documented, "the same was passed on before", ""),
        code(400_002, MALFORMED, Documented, "a parameter is wrong", REPORT_BUG),
        code(1_430_000, TARGET, Documented, "there is nobody to tell", CHECK_DEPARTMENT),
        code(1_430_002, CONTENT, Documented, "it holds something DingTalk does not pass on", EDIT_TEXT),
        run(1_430_003, 1_430_004, TARGET, Documented, "DingTalk protects whom it is for", CHECK_VISIBLE),
    ]
};

/// What a code nobody has seen yet most likely means. In ascending order.
#[rustfmt::skip] // A row per line.
const RANGES: &[Errcode] = {
    use Evidence::Claimed;
    use Outcome::{Limited, Throttled};
    &[
        run(40_000, 41_999, MALFORMED, Claimed, "a parameter is wrong", REPORT_BUG),
        run(43_000, 43_999, MALFORMED, Claimed, "the request has a wrong form", REPORT_BUG),
        run(45_000, 45_999, Limited(GATEWAY_PAUSE), Claimed, "too much or too fast", SLOWER),
        run(47_000, 47_999, MALFORMED, Claimed, "the body has a wrong form", REPORT_BUG),
        run(50_000, 50_999, TARGET, Claimed, "the app may not reach them", CHECK_VISIBLE),
        run(60_000, 60_999, PERMISSION, Claimed, "the app may not do this", GRANT),
        run(90_000, 90_999, Limited(GATEWAY_PAUSE), Claimed, "calls are disabled for a while", SLOWER),
        run(143_100, 143_299, Throttled(GATEWAY_PAUSE), Claimed, "DingTalk holds it back", ""),
        run(1_430_000, 1_430_099, CONTENT, Claimed, "DingTalk does not pass it on", EDIT_TEXT),
    ]
};

/// The codes that refuse a whole call for one of the people in it, though the person is known.
const PERSON_CODES: [i64; 2] = [50002, 81002];

/// What is known of a code, by itself or by its range.
pub fn lookup(errcode: i64) -> Option<&'static Errcode> {
    let fits = |row: &&Errcode| row.first <= errcode && errcode <= row.last;
    TABLE.iter().find(fits).or_else(|| RANGES.iter().find(fits))
}

/// Reads one answer, whatever its shape.
///
/// `body` may be cut at the end: what does not parse is judged by status and first bytes alone.
pub fn classify(http_status: u16, content_type: Option<&str>, body: &[u8]) -> Answer {
    const OLDER: Interface = Interface {
        meaning: |errcode, object| errcode::narrowed(errcode, object, lookup),
        pause: GATEWAY_PAUSE,
    };
    errcode::read(&OLDER, http_status, content_type, body)
}

/// Whether it was one of several people that was refused: the others may be told by another call.
pub(super) fn is_of_a_person(answer: &Answer) -> bool {
    answer.outcome == PERSON || answer.errcode.is_some_and(|code| PERSON_CODES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dingtalk::errcode::tests::shown;

    #[track_caller]
    fn check(http_status: u16, body: &str, expected: &str) {
        let answer = classify(http_status, Some("application/json"), body.as_bytes());
        assert_eq!(shown(answer.outcome), expected, "{body}: {}", answer.detail);
    }

    /// As a number, as a text, and wrapped.
    #[track_caller]
    fn check_codes(expected: &str, codes: &[i64]) {
        for code in codes {
            check(200, &format!(r#"{{"errcode":{code},"errmsg":"m"}}"#), expected);
            check(200, &format!(r#"{{"errcode":"{code}","errmsg":"m"}}"#), expected);
            check(200, &format!(r#"{{"errcode":88,"sub_code":"{code}"}}"#), expected);
        }
    }

    #[test]
    fn a_busy_server_is_tried_again_and_a_call_that_timed_out_may_have_been_carried_out() {
        check_codes("retry", &[-1]);
        check_codes("unknown", &[15, 500]);
        for (body, expected) in [
            (r#"{"errcode":88,"sub_code":""}"#, "retry"),
            (
                r#"{"errcode":88,"sub_code":"isp.top-remote-connection-timeout"}"#,
                "retry",
            ),
            (
                r#"{"errcode":15,"sub_code":"isp.top-remote-connection-timeout"}"#,
                "unknown",
            ),
        ] {
            check(200, body, expected);
        }
        for status in [500, 502, 504] {
            check(status, "", "unknown");
            check(status, r#"{"errcode":-1}"#, "unknown");
        }
    }

    #[test]
    fn a_token_and_the_secret_it_is_given_for_are_the_apps() {
        check_codes("refused_token", &[33, 40001, 40014, 40089, 40096, 41001, 42001]);
    }

    #[test]
    fn a_person_who_is_refused_may_be_one_of_several() {
        check_codes("refused_person", &[33012, 40003, 40031, 40104, 46004, 60121]);
        let read = |code| classify(200, None, format!(r#"{{"errcode":{code}}}"#).as_bytes());
        for code in [33012, 60121, 50002, 81002] {
            assert!(is_of_a_person(&read(code)), "{code}");
        }
        for code in [0, 15, 50004, 41029, 60011] {
            assert!(!is_of_a_person(&read(code)), "{code}");
        }
    }

    #[test]
    fn whom_the_app_may_not_reach_is_told_apart_from_an_app_that_is_refused() {
        check_codes(
            "refused_target",
            &[
                41028, 41029, 41044, 50002, 50004, 81002, 1_430_000, 1_430_003, 1_430_004,
            ],
        );
        check_codes("refused_permission", &[60011]);
        check_codes("refused_address", &[60020]);
        check_codes("refused_other", &[22, 404, 40056, 50003, 50005, 70003, 70004]);
    }

    #[test]
    fn what_a_message_says_is_told_apart_from_how_long_it_is_and_from_a_bug() {
        check_codes("rejected_content", &[40048, 41049, 60022, 1_430_002]);
        check_codes("rejected_size", &[34016, 41101, 45002, 45003, 45006]);
        check_codes(
            "rejected_malformed",
            &[
                34014, 40008, 40033, 40035, 40038, 41011, 43002, 43004, 43005, 43009, 47001, 400_002,
            ],
        );
    }

    #[test]
    fn too_fast_is_too_many_calls_of_the_app_or_too_much_for_those_who_are_told() {
        check_codes("limited for 1 s", &[90002, 90018]);
        check_codes("limited for 60 s", &[45009, 90001, 90003, 90014]);
        check_codes(
            "throttled for 60 s",
            &[41046, 41047, 41048, 143_103, 143_104, 143_203, 143_204],
        );
        check_codes("throttled for 3600 s", &[41045, 143_105, 143_205]);
        check_codes("quota", &[90020]);
    }

    #[test]
    fn the_same_again_was_delivered_before() {
        check(200, r#"{"errcode":143106}"#, "delivered");
        check(200, r#"{"errcode":143206}"#, "delivered");
        check(200, r#"{"errcode":0,"errmsg":"ok"}"#, "delivered");
        check(500, r#"{"errcode":0,"errmsg":"ok"}"#, "unknown");
        check(200, r#"{"errcode":88,"sub_code":"0"}"#, "refused_other");
    }

    #[test]
    fn a_code_nobody_knows_is_judged_by_its_range_and_then_by_the_status() {
        for (code, expected) in [
            (40_999, "rejected_malformed"),
            (43_999, "rejected_malformed"),
            (45_999, "limited for 60 s"),
            (47_999, "rejected_malformed"),
            (50_999, "refused_target"),
            (60_999, "refused_permission"),
            (90_999, "limited for 60 s"),
            (143_199, "throttled for 60 s"),
            (1_430_099, "rejected_content"),
            (999_999, "retry"),
        ] {
            check(200, &format!(r#"{{"errcode":{code}}}"#), expected);
        }
        for (status, expected) in [
            (401, "refused_token"),
            (403, "refused_permission"),
            (429, "limited for 60 s"),
            (400, "retry"),
            (500, "unknown"),
        ] {
            check(status, r#"{"errcode":999999}"#, expected);
        }
        check(429, "", "limited for 60 s");
        check(200, "<html>", "blocked for 300 s");
        check(200, r#"{"status":1111,"punish":"deny"}"#, "blocked for 300 s");
    }

    #[test]
    fn the_tables_are_ascending() {
        for rows in [TABLE, RANGES] {
            assert!(rows.iter().all(|row| row.first <= row.last));
            assert!(rows.windows(2).all(|pair| pair[0].last < pair[1].first));
        }
    }
}
