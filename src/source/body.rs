//! From the bytes of a request to JSON text, whatever the content type says.
//!
//! Most senders post JSON, some under another name (`text/plain`, none at all, the form type that `curl -d`
//! sets); cloud monitors post a form, Uptime Kuma a multipart form. A form becomes an object of texts. Nothing
//! here knows what the JSON is about.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::source::{Refusal, quote};

/// Levels of the deepest JSON that is read; the limit of its readers.
const LEVELS_MAX: usize = 128;

/// The body as JSON text: as it came, or made from a form. Whether it is JSON at all, its reader finds out.
pub(super) fn text<'a>(content_type: Option<&str>, body: &'a [u8]) -> Result<Cow<'a, str>, Refusal> {
    let content_type = content_type.unwrap_or("");
    check_charset(content_type, body)?;
    let text = utf8(body)?;
    if text.trim().is_empty() {
        return Err(Refusal::NotJson("the body is empty".to_owned()));
    }
    if text.trim_start().starts_with(['{', '[']) {
        return Ok(Cow::Borrowed(text));
    }
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let fields = form_urlencoded::parse(text.trim().as_bytes());
        object_of(fields.map(|(name, value)| (name.into_owned(), value.into_owned()))).map(Cow::Owned)
    } else if media_type.eq_ignore_ascii_case("multipart/form-data") {
        multipart(content_type, text).map(Cow::Owned)
    } else {
        Ok(Cow::Borrowed(text))
    }
}

/// Why `text` is not JSON, for the sender's operator: what `serde_json` says.
pub(super) fn broken(text: &str) -> Refusal {
    match serde_json::from_str::<IgnoredAny>(text) {
        Err(error) => not_json(text, &error),
        Ok(_) => Refusal::NotJson("the body is not JSON that can be read".to_owned()),
    }
}

/// Why `text` is not JSON, for the sender's operator: what `error` says, where, and what stands there.
pub(super) fn not_json(text: &str, error: &serde_json::Error) -> Refusal {
    let hint = match text.trim_start().chars().next() {
        Some('<') => "; it looks like XML or HTML".to_owned(),
        Some(_) if error.is_eof() => "; it ends too early".to_owned(),
        Some(_) | None => format!(", near `{}`", quote(near(text, error))),
    };
    Refusal::NotJson(format!("the body is not JSON that can be read: {error}{hint}"))
}

/// Some characters of `text` around the place of `error`.
fn near<'a>(text: &'a str, error: &serde_json::Error) -> &'a str {
    const BYTES_AROUND: usize = 24;
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or("");
    // Columns count bytes, and may point behind the end of the line.
    let boundary = |mut at: usize| {
        while !line.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(error.column().saturating_sub(BYTES_AROUND).min(line.len()));
    let end = boundary((error.column() + BYTES_AROUND).min(line.len()));
    line.get(start..end).unwrap_or("")
}

fn check_charset(content_type: &str, body: &[u8]) -> Result<(), Refusal> {
    match parameter(content_type, "charset") {
        Some(charset)
            if !charset.eq_ignore_ascii_case("utf-8")
                && !charset.eq_ignore_ascii_case("utf8")
                // Nearly every character set agrees with UTF-8 on these.
                && (!body.is_ascii() || charset.to_ascii_lowercase().starts_with("utf")) =>
        {
            Err(Refusal::Unsupported(format!(
                "the character set `{}` is not supported; send UTF-8",
                charset.escape_debug()
            )))
        }
        Some(_) | None => Ok(()),
    }
}

fn utf8(body: &[u8]) -> Result<&str, Refusal> {
    if body.starts_with(&[0x1f, 0x8b]) {
        return Err(Refusal::NotJson(
            "the body is compressed; say so with `Content-Encoding: gzip`".to_owned(),
        ));
    }
    if body.starts_with(&[0xff, 0xfe]) || body.starts_with(&[0xfe, 0xff]) || body.get(1) == Some(&0) {
        return Err(Refusal::NotJson(
            "the body looks like UTF-16; send UTF-8".to_owned(),
        ));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Refusal::NotJson(match error.error_len() {
            Some(_) => format!("the body is not UTF-8: byte {at} (counted from 0) begins no character"),
            None => format!("the body ends inside the character that begins at byte {at}"),
        })
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// A parameter of a header value: `parameter("a/b; charset=\"x\"", "charset")` is `x`.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().trim_matches('"'))
}

/// JSON text of an object of texts; of a repeated name the last value stays.
fn object_of(fields: impl Iterator<Item = (String, String)>) -> Result<String, Refusal> {
    let mut object = Map::new();
    for (name, value) in fields {
        if is_too_deep(&value) {
            return Err(Refusal::NotJson(format!(
                "the field `{}` of the form is nested more than {LEVELS_MAX} levels deep",
                quote(&name)
            )));
        }
        object.insert(name, value.into());
    }
    Ok(Value::Object(object).to_string())
}

/// Whether a field of a form, which may hold JSON, is nested deeper than any JSON is read here. Brackets inside
/// its texts are counted too: nobody writes that many of them.
fn is_too_deep(text: &str) -> bool {
    let mut levels = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => levels += 1,
            b']' | b'}' => levels = levels.saturating_sub(1),
            _ => {}
        }
        levels > LEVELS_MAX
    })
}

/// The fields of a multipart form (RFC 7578). Texts only: the charset and encoding of a part are not looked at.
fn multipart(content_type: &str, text: &str) -> Result<String, Refusal> {
    let refusal = |why: &str| Refusal::NotJson(format!("the multipart form cannot be read: {why}"));
    let boundary = parameter(content_type, "boundary")
        .filter(|boundary| !boundary.is_empty())
        .ok_or_else(|| refusal("the content type names no `boundary`"))?;
    let mut delimiter = format!("--{boundary}");
    if !text.contains(&delimiter) {
        // Hand-made senders announce the boundary with its dashes.
        boundary.clone_into(&mut delimiter);
    }
    let mut fields = Vec::new();
    // What stands before the first delimiter is a preamble; `--` after the last one ends the form.
    for part in text.split(&delimiter).skip(1) {
        if part.starts_with("--") {
            return object_of(fields.into_iter());
        }
        let (head, value) = part
            .split_once("\r\n\r\n")
            .or_else(|| part.split_once("\n\n"))
            .ok_or_else(|| refusal("a part has no empty line between its head and its value"))?;
        let name = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(header, _)| header.trim().eq_ignore_ascii_case("content-disposition"))
            .and_then(|(_, disposition)| parameter(disposition, "name"))
            .ok_or_else(|| refusal("a part has no name"))?;
        let value = value.strip_suffix("\r\n").or_else(|| value.strip_suffix('\n'));
        let value = value.ok_or_else(|| refusal("a part does not end with its line"))?;
        fields.push((name.to_owned(), value.to_owned()));
    }
    Err(refusal("its last boundary is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: Option<&str>, body: &[u8], expected: &str) {
        let text = match text(content_type, body) {
            Ok(text) => text.into_owned(),
            Err(refusal) => format!("refused: {refusal}"),
        };
        assert_eq!(text, expected, "{content_type:?}");
    }

    #[test]
    fn json_is_taken_whatever_the_content_type_says() {
        for content_type in [
            None,
            Some(""),
            Some("text/plain; charset=UTF-8"),
            Some("application/json;charset=utf8"),
            Some("application/x-www-form-urlencoded"),
            Some("application/json; charset=ISO-8859-1"),
        ] {
            check(content_type, br#" {"a": 1}"#, r#" {"a": 1}"#);
        }
        check(None, b"\xef\xbb\xbf[1]", "[1]");
    }

    #[test]
    fn a_form_becomes_an_object_of_texts() {
        check(
            Some("application/x-www-form-urlencoded; charset=UTF-8"),
            "name=%E7%A3%81%E7%9B%98+a%26b&level=WARN&level=CRITICAL&empty=".as_bytes(),
            r#"{"empty":"","level":"CRITICAL","name":"磁盘 a&b"}"#,
        );
    }

    #[test]
    fn a_field_nested_deeper_than_json_is_read_is_refused() {
        let form = |levels: usize| format!("note=%5Bdb-1%5D&data={}", "%5B%7B".repeat(levels / 2));
        let form_type = Some("application/x-www-form-urlencoded");
        assert!(text(form_type, form(128).as_bytes()).is_ok());
        check(
            form_type,
            form(130).as_bytes(),
            "refused: the field `data` of the form is nested more than 128 levels deep",
        );
    }

    #[test]
    fn a_multipart_form_becomes_an_object_of_texts() {
        for line_end in ["\r\n", "\n"] {
            let body = [
                "--limit-7",
                "Content-Disposition: form-data; name=\"data\"",
                "Content-Type: application/json",
                "",
                "{\"a\": \"--limit\"}",
                "",
                "--limit-7",
                "content-disposition: form-data; name=note",
                "",
                "",
                "--limit-7--",
                "",
            ]
            .join(line_end);
            check(
                Some("multipart/form-data; boundary=\"limit-7\""),
                body.as_bytes(),
                &serde_json::json!({"data": format!("{{\"a\": \"--limit\"}}{line_end}"), "note": ""})
                    .to_string(),
            );
        }
    }

    #[test]
    fn what_cannot_become_json_is_refused_with_its_reason() {
        for (content_type, body, expected) in [
            (None, &b""[..], "refused: the body is empty"),
            (None, b"\xef\xbb\xbf ", "refused: the body is empty"),
            (
                Some("application/json; charset=GBK"),
                b"{\"a\": \"\xb4\xc5\"}",
                "refused: the character set `GBK` is not supported; send UTF-8",
            ),
            (
                None,
                b"{\"a\": \"\xb4\xc5\"}",
                "refused: the body is not UTF-8: byte 7 (counted from 0) begins no character",
            ),
            (
                None,
                b"{\"a\": \"\xe7\xa3",
                "refused: the body ends inside the character that begins at byte 7",
            ),
            (None, b"{\0}\0", "refused: the body looks like UTF-16; send UTF-8"),
            (
                None,
                b"\x1f\x8b\x08",
                "refused: the body is compressed; say so with `Content-Encoding: gzip`",
            ),
            (
                Some("multipart/form-data"),
                b"--x",
                "refused: the multipart form cannot be read: the content type names no `boundary`",
            ),
            (
                Some("multipart/form-data; boundary=x"),
                b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n",
                "refused: the multipart form cannot be read: its last boundary is missing",
            ),
        ] {
            check(content_type, body, expected);
        }
    }
}
