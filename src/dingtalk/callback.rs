//! What DingTalk posts when somebody writes to an app's bot: who wrote, where, what, and where an answer may go.
//!
//! The signature covers the time and nothing of the body: whoever sees one request can send another body under its
//! head for an hour. So [`Heard`] remembers messages and heads for longer than that, and what is from before it began
//! to remember is not believed. The address for the answer stands in the body, too; [`Session`] takes it only when it
//! leads to DingTalk.
//!
//! Nothing here knows commands, configuration or connections; time comes in with every call.

use std::collections::{BTreeSet, VecDeque};

use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::alert::{Span, Timestamp};
use crate::dingtalk::sign;
use crate::secret::Secret;

/// How far the time in a head may be from ours, either way.
const SKEW_MAX: Span = Span::hours(1);
/// How long messages and heads are remembered: until no head of that time is believed any more.
const REMEMBERED: Span = Span(2 * SKEW_MAX.0 + Span::minutes(5).0);
/// Messages that are remembered; of more, the oldest are forgotten, and no head as old as theirs is believed any more.
const REMEMBERED_MAX: usize = 10_000;
/// Most bytes of an id; of those that are remembered it also keeps the memory bounded.
const ID_BYTES_MAX: usize = 256;
/// The hosts answers may be posted to.
const HOSTS: [&str; 2] = ["oapi.dingtalk.com", "oapi.dingtalk.io"];

/// Why a request is not DingTalk's, as far as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// One of the headers is missing, or no time.
    #[error("a message of DingTalk's has the headers `timestamp`, in milliseconds, and `sign`")]
    Incomplete,
    /// The time is too far from ours.
    #[error("`timestamp` is more than an hour from this machine's clock; one of the two is wrong")]
    Stale,
    /// It is from before what is remembered, so it may have been answered.
    #[error(
        "`timestamp` is from before what dingest remembers, so this may have been answered already; ask again"
    )]
    Forgotten,
    /// It was made with another secret.
    #[error("`sign` is not made with the secret of this app")]
    WrongSign,
}

/// The head of a request that is DingTalk's.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// When it was made.
    at: Timestamp,
    signature: &'a str,
}

/// Checks the head of a request against an app's secret. What came before `since` is not remembered.
pub fn verify<'a>(
    secret: &Secret,
    timestamp: Option<&str>,
    signature: Option<&'a str>,
    since: Timestamp,
    now: Timestamp,
) -> Result<Head<'a>, Forged> {
    let (Some(text), Some(signature)) = (timestamp, signature) else {
        return Err(Forged::Incomplete);
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let at = text.parse().ok().filter(|_| digits).map(Timestamp);
    let at = at.ok_or(Forged::Incomplete)?;
    if now.since(at) > SKEW_MAX || at.since(now) > SKEW_MAX {
        return Err(Forged::Stale);
    }
    let expected = sign::sign(secret, at);
    if !bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
        return Err(Forged::WrongSign);
    }
    if at < since {
        return Err(Forged::Forgotten);
    }
    Ok(Head { at, signature })
}

/// Where an answer to one message can be posted for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whoever has it can write to the chat.
    pub url: Secret,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Session {
    /// The session of an address that is DingTalk's, or below `base_url`, the operator's own name for DingTalk.
    fn of(url: &str, expires_at: Timestamp, base_url: &str) -> Option<Self> {
        let parsed = reqwest::Url::parse(url).ok()?;
        let plain = parsed.username().is_empty() && parsed.password().is_none();
        let of_dingtalk = parsed.scheme() == "https"
            && parsed.port().is_none()
            && parsed.host_str().is_some_and(|host| HOSTS.contains(&host));
        let configured = reqwest::Url::parse(base_url).is_ok_and(|base| base.origin() == parsed.origin());
        (plain && (of_dingtalk || configured)).then(|| Self {
            url: Secret::new(url),
            expires_at,
        })
    }
}

/// Something somebody wrote to an app's bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id (`msgId`).
    pub id: String,
    /// The chat; of a group it is the `openConversationId`.
    pub conversation: String,
    /// Whether that is a group.
    pub in_group: bool,
    /// The person's `userId`; strangers to the organisation have none.
    pub person: Option<String>,
    /// The text without the bot's name. Empty when it is a picture, a file, or no text at all.
    pub text: String,
    /// Where an answer can go.
    pub session: Option<Session>,
}

impl Message {
    /// Reads the body; `base_url` is where the configuration finds DingTalk. The error says what is missing.
    pub fn read(body: &[u8], base_url: &str) -> Result<Self, String> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
        let text = |name: &str| {
            body.get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let id = |name: &str| match text(name) {
            Some(long) if long.len() > ID_BYTES_MAX => {
                Err(format!("`{name}` is longer than {ID_BYTES_MAX} bytes"))
            }
            id => Ok(id.map(str::to_owned)),
        };
        let needed = |name: &str| id(name)?.ok_or_else(|| format!("the body has no text `{name}`"));
        let expires_at = body.get("sessionWebhookExpiredTime").and_then(Value::as_i64);
        let session = text("sessionWebhook").zip(expires_at);
        Ok(Self {
            id: needed("msgId")?,
            conversation: needed("conversationId")?,
            in_group: text("conversationType") == Some("2"),
            person: id("senderStaffId")?,
            text: said(&body).trim().to_owned(),
            session: session.and_then(|(url, at)| Session::of(url, Timestamp(at), base_url)),
        })
    }
}

/// The words of a message; some clients send the text as an object, others as a string.
fn said(body: &Value) -> &str {
    let of_text = body.get("text").and_then(|text| text.get("content"));
    let content = of_text.or_else(|| body.get("content"));
    content.and_then(Value::as_str).unwrap_or_default()
}

/// What becomes of a message by what was heard before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It is new.
    New,
    /// It was taken already.
    Again,
    /// Its head was another message's.
    Replayed,
    /// Its head is as old as one that was forgotten, and may be that.
    Forgotten,
}

/// The messages and heads of the last hours.
#[derive(Debug, Default)]
pub struct Heard {
    /// By app and id.
    messages: BTreeSet<Key>,
    /// By app and signature.
    heads: BTreeSet<Key>,
    /// The same in the order in which they came.
    order: VecDeque<Remembered>,
    /// The newest head that was forgotten because there were too many.
    forgotten: Option<Timestamp>,
}

/// A message and its head.
#[derive(Debug)]
struct Remembered {
    heard_at: Timestamp,
    message: Key,
    head: Key,
    /// When the head was made.
    made_at: Timestamp,
}

/// An app and a text of its own.
type Key = (String, String);

impl Heard {
    /// Takes in a message of an app that came under this head.
    pub fn hear(&mut self, app: &str, message: &str, head: Head<'_>, now: Timestamp) -> Hearing {
        self.forget(now);
        let key = |text: &str| (app.to_owned(), text.to_owned());
        let (message, made_at, head) = (key(message), head.at, key(head.signature));
        let (is_known, head_is_known) = (self.messages.contains(&message), self.heads.contains(&head));
        if is_known && head_is_known {
            return Hearing::Again;
        }
        if head_is_known {
            return Hearing::Replayed;
        }
        if !is_known && self.forgotten >= Some(made_at) {
            return Hearing::Forgotten;
        }
        // DingTalk makes a request again under another head, and that one could be used by others, too.
        self.messages.insert(message.clone());
        self.heads.insert(head.clone());
        self.order.push_back(Remembered {
            heard_at: now,
            message,
            head,
            made_at,
        });
        if is_known { Hearing::Again } else { Hearing::New }
    }

    /// Makes room for one more, and forgets what is no longer believed.
    fn forget(&mut self, now: Timestamp) {
        while let Some(first) = self.order.front() {
            let too_many = self.order.len() >= REMEMBERED_MAX;
            let is_believed = now.since(first.heard_at) <= REMEMBERED;
            if is_believed && !too_many {
                break;
            }
            if is_believed {
                self.forgotten = self.forgotten.max(Some(first.made_at));
            }
            if let Some(first) = self.order.pop_front() {
                self.messages.remove(&first.message);
                self.heads.remove(&first.head);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_780_000_000_000);
    const BASE: &str = "https://oapi.dingtalk.com";

    fn secret() -> Secret {
        Secret::new("client-secret")
    }

    fn head(signature: &str, at: Timestamp) -> Head<'_> {
        Head { at, signature }
    }

    fn signed(at: Timestamp) -> (String, String) {
        (at.0.to_string(), sign::sign(&secret(), at))
    }

    #[test]
    fn only_who_has_the_secret_and_the_time_is_believed() {
        fn check<'a>(
            time: Option<&str>,
            signature: Option<&'a str>,
            now: Timestamp,
        ) -> Result<&'a str, Forged> {
            let since = Timestamp(NOW.0 - 60_000);
            verify(&secret(), time, signature, since, now).map(|head| head.signature)
        }
        let (time, signature) = signed(NOW);
        assert_eq!(check(Some(&time), Some(&signature), NOW), Ok(signature.as_str()));
        for away in [Span::minutes(59), Span::hours(1)] {
            assert_eq!(
                check(Some(&time), Some(&signature), NOW.plus(away)),
                Ok(signature.as_str())
            );
        }
        let late = NOW.plus(Span(Span::hours(1).0 + 1));
        assert_eq!(check(Some(&time), Some(&signature), late), Err(Forged::Stale));
        let (ahead, of_ahead) = signed(late);
        assert_eq!(check(Some(&ahead), Some(&of_ahead), NOW), Err(Forged::Stale));
        assert_eq!(check(Some(&time), Some(&of_ahead), NOW), Err(Forged::WrongSign));
        assert_eq!(check(Some(&time), Some(""), NOW), Err(Forged::WrongSign));
        let (time_before, before) = signed(Timestamp(NOW.0 - 60_001));
        assert_eq!(
            check(Some(&time_before), Some(&before), NOW),
            Err(Forged::Forgotten)
        );
        for odd in [
            "",
            "now",
            "-1",
            "+1780000000000",
            "1780000000000.0",
            "99999999999999999999",
        ] {
            assert_eq!(
                check(Some(odd), Some(&signature), NOW),
                Err(Forged::Incomplete),
                "{odd}"
            );
        }
        assert_eq!(check(None, Some(&signature), NOW), Err(Forged::Incomplete));
        assert_eq!(check(Some(&time), None, NOW), Err(Forged::Incomplete));
    }

    fn body() -> Value {
        json!({
            "msgId": "msg1",
            "conversationId": "cidABC==",
            "conversationType": "2",
            "senderStaffId": "zhangsan",
            "msgtype": "text",
            "text": {"content": " firing team=web "},
            "sessionWebhook": "https://oapi.dingtalk.com/robot/sendBySession?session=abc",
            "sessionWebhookExpiredTime": 1_780_005_400_000_i64,
        })
    }

    fn read(body: &Value) -> Result<Message, String> {
        Message::read(body.to_string().as_bytes(), BASE)
    }

    #[test]
    fn a_message_is_read_however_its_text_is_written() {
        let message = read(&body()).unwrap();
        assert_eq!(message.text, "firing team=web");
        assert_eq!(
            (message.person.as_deref(), message.in_group),
            (Some("zhangsan"), true)
        );
        let session = message.session.unwrap();
        assert_eq!(session.expires_at, Timestamp(1_780_005_400_000));
        let mut other = body();
        other.as_object_mut().unwrap().remove("text");
        other["content"] = json!(" status");
        other["conversationType"] = json!("1");
        other.as_object_mut().unwrap().remove("senderStaffId");
        let message = read(&other).unwrap();
        assert_eq!(
            (message.text.as_str(), message.in_group, message.person),
            ("status", false, None)
        );
        other["content"] = json!({"downloadCode": "x"});
        assert_eq!(read(&other).unwrap().text, "");
        for missing in ["msgId", "conversationId"] {
            let mut body = body();
            body.as_object_mut().unwrap().remove(missing);
            assert!(read(&body).unwrap_err().contains(missing));
        }
        for long in ["msgId", "conversationId", "senderStaffId"] {
            let mut body = body();
            body[long] = json!("x".repeat(ID_BYTES_MAX));
            assert!(read(&body).is_ok());
            body[long] = json!("x".repeat(ID_BYTES_MAX + 1));
            assert!(read(&body).unwrap_err().contains(long));
        }
        assert!(Message::read(b"{", BASE).unwrap_err().contains("no JSON"));
    }

    #[test]
    fn an_answer_goes_to_dingtalk_and_nowhere_else() {
        let session = |url: &str, base: &str| Session::of(url, NOW, base).is_some();
        let path = "/robot/sendBySession?session=abc";
        assert!(session(&format!("https://oapi.dingtalk.com{path}"), BASE));
        assert!(session(&format!("https://oapi.dingtalk.io{path}"), BASE));
        assert!(session(
            &format!("http://127.0.0.1:9000{path}"),
            "http://127.0.0.1:9000"
        ));
        for url in [
            "http://oapi.dingtalk.com",
            "https://oapi.dingtalk.com:8443",
            "https://oapi.dingtalk.com.example.com",
            "https://user@oapi.dingtalk.com",
            "https://oapi.dingtalk.com@example.com",
            "http://127.0.0.1:9000",
            "http://169.254.169.254",
            "file:///etc/passwd",
        ] {
            assert!(!session(&format!("{url}{path}"), BASE), "{url}");
        }
        assert!(!session(
            &format!("http://127.0.0.1:9001{path}"),
            "http://127.0.0.1:9000"
        ));
    }

    #[test]
    fn a_message_is_heard_once_and_a_head_serves_one_message() {
        let mut heard = Heard::default();
        let mut hear = |app, message, signature, now| heard.hear(app, message, head(signature, now), now);
        assert_eq!(hear("app", "m1", "s1", NOW), Hearing::New);
        assert_eq!(hear("app", "m1", "s1", NOW), Hearing::Again);
        assert_eq!(hear("app", "m1", "s2", NOW), Hearing::Again);
        assert_eq!(hear("app", "m2", "s1", NOW), Hearing::Replayed);
        assert_eq!(
            hear("app", "m2", "s2", NOW),
            Hearing::Replayed,
            "the head of a repeat"
        );
        assert_eq!(hear("other", "m1", "s1", NOW), Hearing::New);
        let later = NOW.plus(Span(REMEMBERED.0 + 1));
        assert_eq!(hear("app", "m1", "s1", later), Hearing::New);
    }

    #[test]
    fn no_head_as_old_as_one_that_had_to_be_forgotten_is_taken() {
        let mut heard = Heard::default();
        let max = i64::try_from(REMEMBERED_MAX).unwrap();
        let at = |number: i64| Timestamp(NOW.0 + number);
        for number in 0..2 * max {
            let (message, signature) = (format!("m{number}"), format!("s{number}"));
            let hearing = heard.hear("app", &message, head(&signature, at(number)), at(number));
            assert_eq!(hearing, Hearing::New);
        }
        assert!(heard.messages.len() <= REMEMBERED_MAX && heard.heads.len() <= REMEMBERED_MAX);
        let now = at(2 * max);
        let mut hear =
            |message, signature, made_at| heard.hear("app", message, head(signature, made_at), now);
        assert_eq!(hear("new", "s0", at(0)), Hearing::Forgotten);
        assert_eq!(hear("new", "s10000", at(max)), Hearing::Forgotten);
        assert_eq!(hear("new", "s10001", at(max + 1)), Hearing::Replayed);
        assert_eq!(hear("m19999", "other", at(0)), Hearing::Again);
        assert_eq!(hear("new", "late", at(max + 2)), Hearing::New);
    }
}
