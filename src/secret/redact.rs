//! Blanks credentials in what strangers wrote, before it is kept.
//!
//! Two kinds are known: our own secrets, in every form in which a body may carry them, and what stands where
//! credentials usually stand (after a field named like one, after `Bearer`, before the host of an address). The
//! second is a guess about other people's secrets: it may blank too much, and cannot find what bears no name.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use regex::bytes::Regex;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::secret::Secret;

/// What stands for a credential.
const BLANK: &[u8] = b"***";

/// Bodies with credentials by their usual places; the group before the credential is kept.
static USUAL_PLACES: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    [
        // A header's value.
        r"(?i-u)(\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}",
        // A field, in JSON or a form: the name, and a text in quotes or up to the next separator.
        r#"(?is-u)([\w.-]*(?:token|secret|passw|authori[sz]ation|credential|cookie|api[_-]?key|private[_-]?key)[\w.-]*\\?["']?\s*[:=]\s*)(?:\\"[^"\\]*(?:\\")?|"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s"',;&{}\[\]\\]+)"#,
        // An address with a user.
        r#"(?-u)(://)[^\s/@"'<>]+@"#,
    ]
    .map(|pattern| Regex::new(pattern).expect("a pattern that a test has compiled"))
});

/// `text` with our own `secrets`, and what looks like anybody's, blanked.
pub fn redact<'s>(text: &[u8], secrets: impl Iterator<Item = &'s Secret>) -> Vec<u8> {
    Redactor::new(secrets).text(text)
}

/// Blanks credentials in many texts.
#[derive(Debug)]
pub struct Redactor(Ours);

/// How our own secrets are found.
#[derive(Debug)]
enum Ours {
    /// There are none.
    None,
    By(Regex),
    /// There are so many that no automaton holds them all: then nothing is shown.
    TooMany,
}

impl Redactor {
    /// Knows these secrets of ours.
    pub fn new<'s>(secrets: impl Iterator<Item = &'s Secret>) -> Self {
        let mut forms: Vec<String> = secrets
            .flat_map(|secret| forms(secret.expose()))
            .map(|form| escaped(&form))
            .collect();
        // Of two that begin at one place the longer one counts.
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self(if forms.is_empty() {
            Ours::None
        } else {
            Regex::new(&format!("(?-u){}", forms.join("|"))).map_or(Ours::TooMany, Ours::By)
        })
    }

    /// A text with credentials blanked.
    pub fn text(&self, text: &[u8]) -> Vec<u8> {
        let mut text = match &self.0 {
            Ours::None => text.to_vec(),
            Ours::By(ours) => ours.replace_all(text, BLANK).into_owned(),
            Ours::TooMany => return BLANK.to_vec(),
        };
        for place in USUAL_PLACES.iter() {
            text = place.replace_all(&text, b"${1}***".as_slice()).into_owned();
        }
        text
    }

    /// A body with credentials blanked, which is JSON if it was.
    pub fn body(&self, body: &[u8]) -> Vec<u8> {
        let blanked = self.text(body);
        let is_json = |text: &[u8]| serde_json::from_slice::<IgnoredAny>(text).is_ok();
        if blanked == body || is_json(&blanked) {
            return blanked;
        }
        match serde_json::from_slice(body) {
            Ok(value) => self.json(value).to_string().into_bytes(),
            Err(_) => blanked,
        }
    }

    /// The same value by value, so that what is around them stays.
    fn json(&self, value: Value) -> Value {
        match value {
            Value::Null | Value::Bool(_) => value,
            Value::Number(ref number) => {
                let written = number.to_string();
                let blanked = self.word(&written);
                if blanked == written { value } else { blanked.into() }
            }
            Value::String(text) => self.word(&text).into(),
            Value::Array(items) => items.into_iter().map(|item| self.json(item)).collect(),
            Value::Object(entries) => {
                let blanked = entries.into_iter().map(|(name, value)| {
                    let hides = !(value.is_object() || value.is_array()) && names_credential(&name);
                    let value = if hides { "***".into() } else { self.json(value) };
                    (self.word(&name), value)
                });
                blanked.collect()
            }
        }
    }

    fn word(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.text(text.as_bytes())).into_owned()
    }
}

/// Whether a field of this name holds a credential.
fn names_credential(name: &str) -> bool {
    USUAL_PLACES
        .iter()
        .any(|place| place.is_match(format!("{name}=x").as_bytes()))
}

/// A secret as it is, in UTF-16, in JSON, in an address and a form, and in base64 at any place of a longer text.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let json = serde_json::Value::from(secret).to_string();
    let json = json.get(1..json.len() - 1).unwrap_or_default();
    let mut forms = vec![
        secret.as_bytes().to_vec(),
        secret.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        secret.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        json.into(),
        ascii(json).into(),
        ascii(json).replace('/', "\\/").into(),
        utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string().into(),
        form_urlencoded::byte_serialize(secret.as_bytes())
            .collect::<String>()
            .into(),
    ];
    for before in 0..3 {
        let shifted = [&b"\0\0"[..before], secret.as_bytes()].concat();
        let code = BASE64_STANDARD.encode(&shifted);
        // Characters that also carry bits of what stands before or behind say nothing of the secret alone.
        let from = (before * 8).div_ceil(6);
        let code = code.get(from..shifted.len() * 8 / 6).unwrap_or_default();
        if code.len() >= 6 {
            forms.push(code.into());
            forms.push(code.replace('+', "-").replace('/', "_").into());
        }
    }
    forms.retain(|form| !form.is_empty());
    forms
}

/// JSON as writers write it that trust nobody with anything but ASCII.
fn ascii(json: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a text does not fail.
                let _written = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

/// Bytes as a pattern; percent codes in either case.
fn escaped(form: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut pattern = String::new();
    for (at, byte) in form.iter().enumerate() {
        let in_code = form
            .get(at.saturating_sub(2)..at)
            .is_some_and(|it| it.contains(&b'%'));
        if in_code && byte.is_ascii_alphabetic() {
            pattern.extend([
                '[',
                char::from(byte.to_ascii_uppercase()),
                char::from(byte.to_ascii_lowercase()),
                ']',
            ]);
        } else if byte.is_ascii_alphanumeric() {
            pattern.push(char::from(*byte));
        } else {
            // Writing to a text does not fail.
            let _written = write!(pattern, r"\x{byte:02x}");
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let ours = [Secret::new("SEC/ab+c\"d"), Secret::new("t0ken-of-ops")];
        let redacted = redact(text.as_bytes(), ours.iter());
        assert_eq!(String::from_utf8_lossy(&redacted), expected, "{text}");
    }

    #[test]
    fn our_own_secrets_are_blanked_in_every_form() {
        check(r#"a SEC/ab+c"d b"#, "a *** b");
        check(r#"{"x":"SEC/ab+c\"d!"}"#, r#"{"x":"***!"}"#);
        check("x=SEC%2Fab%2Bc%22d;SEC%2fab%2bc%22d", "x=***;***");
        check("x%3Dt0ken%2Dof%2Dops", "x%3D***");
        for before in ["", "a", "ab", "abc"] {
            let code = BASE64_STANDARD.encode(format!("{before}t0ken-of-ops!"));
            let redacted = redact(code.as_bytes(), [Secret::new("t0ken-of-ops")].iter());
            let left = String::from_utf8(redacted).unwrap();
            assert!(left.contains("***") && left.len() <= 3 + 8, "{left}");
        }
        let wide: Vec<u8> = "t0ken-of-ops".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(redact(&wide, [Secret::new("t0ken-of-ops")].iter()), BLANK);
    }

    #[test]
    fn what_stands_where_credentials_stand_is_blanked() {
        check(r#"{"password":"a\"b","n":1}"#, r#"{"password":***,"n":1}"#);
        check(
            r#"{"apiKey": 12, "db_passwd" : "x y", "n":1}"#,
            r#"{"apiKey": ***, "db_passwd" : ***, "n":1}"#,
        );
        check("user=me&access_token=abc&n=1", "user=me&access_token=***&n=1");
        check(
            "Authorization: Bearer abcdef.ghi\nn: 1",
            "Authorization: *** ***\nn: 1",
        );
        check(
            "see https://me:pw@db.example.com/x",
            "see https://***db.example.com/x",
        );
        check(r#"{"text":"Basic bWU6cHc="}"#, r#"{"text":"Basic ***"}"#);
        check(
            r#"{"body":"{\"token\":\"abc\",\"n\":1}"}"#,
            r#"{"body":"{\"token\":***,\"n\":1}"}"#,
        );
    }

    #[test]
    fn a_body_that_was_json_is_json_afterwards_and_holds_no_credential() {
        let redactor = Redactor::new([Secret::new("t0ken-of-ops")].iter());
        for (body, expected) in [
            (r#"{"password":"a\"b","n":1}"#, r#"{"n":1,"password":"***"}"#),
            (
                r#"{"apiKey": 12, "secret": null}"#,
                r#"{"apiKey":"***","secret":"***"}"#,
            ),
            (
                r#"{"alerts":[{"labels":{"a":"bad token:","b":"t0ken-of-ops"}}]}"#,
                r#"{"alerts":[{"labels":{"a":"bad token:","b":"***"}}]}"#,
            ),
            (
                r#"{"t0ken-of-ops": "Bearer abcdefgh", "token": "x"}"#,
                r#"{"***":"Bearer ***","token":"***"}"#,
            ),
            (
                r#"{"a": "see https://me:pw@x/", "n": 1.50}"#,
                r#"{"a": "see https://***x/", "n": 1.50}"#,
            ),
            ("token=abc&n=1", "token=***&n=1"),
            (r#"{"token": "abc""#, r#"{"token": ***"#),
        ] {
            let blanked = redactor.body(body.as_bytes());
            assert_eq!(String::from_utf8_lossy(&blanked), expected, "{body}");
        }
    }

    #[test]
    fn an_alert_without_credentials_stays_as_it_is() {
        let text = r#"{"alertname":"DiskFull","summary":"91 % of /data: tokens per second"}"#;
        check(text, text);
    }
}
