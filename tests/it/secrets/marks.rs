//! Marked secrets, and the search for them in every form in which one could come out.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use regex::bytes::Regex;
use sha2::{Digest as _, Sha256};

/// The token of the bot, given in a file.
pub(super) const TOKEN: &str = "t0kenMarked5ecretOfOps";
/// Its signing secret, given in the environment.
pub(super) const SECRET: &str = "SECmarked5ecretOfOpsInTheEnvironment";
/// The bearer token of a source, given in the configuration; it must be escaped in most places.
pub(super) const BEARER: &str = r#"bearer/marked+5ecret="1""#;
/// The password of a source, given in a file.
pub(super) const PASSWORD: &str = "pa55word:märked & 5ecret";
/// The key of a source, given in the configuration.
pub(super) const HMAC: &str = "hmac-marked-5ecret-key";
/// The key of the app.
pub(super) const APP_KEY: &str = "ding-key-of-alerts";
/// Its secret, given in a file.
pub(super) const APP_SECRET: &str = "appMarked5ecretOfAlerts";
/// What a sender presents that is not right.
pub(super) const WRONG: &str = "wrong-marked-5ecret/try";

/// What the demonstration gives its bots.
const DEMO: [&str; 4] = [
    "demo-token-ops",
    "SECdemo-secret-ops",
    "demo-token-db",
    "SECdemo-secret-db",
];

/// The access token that the stand-in gives the app.
pub(super) fn app_token() -> String {
    hexadecimal(&Sha256::digest(format!("{APP_KEY}\n{APP_SECRET}\n1")))
}

/// Every secret there is, by name.
fn all() -> Vec<(&'static str, String)> {
    let given = GIVEN.iter().map(|(name, text)| (*name, (*text).to_owned()));
    given.chain([("the app's access token", app_token())]).collect()
}

/// Those that are given.
const GIVEN: [(&str, &str); 11] = [
    ("the token of the bot", TOKEN),
    ("the secret of the bot", SECRET),
    ("the secret of the app", APP_SECRET),
    ("the bearer token", BEARER),
    ("the password", PASSWORD),
    ("the key of the signatures", HMAC),
    ("a wrong credential", WRONG),
    ("a token of the demonstration", DEMO[0]),
    ("a secret of the demonstration", DEMO[1]),
    ("a token of the demonstration", DEMO[2]),
    ("a secret of the demonstration", DEMO[3]),
];

/// A text in every form in which it could come out, by name.
pub(super) fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let percent = |plain: fn(&u8) -> bool, upper: bool| -> Vec<u8> {
        text.bytes()
            .flat_map(|byte| match byte {
                byte if plain(&byte) => vec![byte],
                byte if upper => format!("%{byte:02X}").into_bytes(),
                byte => format!("%{byte:02x}").into_bytes(),
            })
            .collect()
    };
    let alphanumeric = |byte: &u8| byte.is_ascii_alphanumeric();
    let unreserved = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let in_path = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(byte);
    let json = serde_json::Value::from(text).to_string();
    let mut forms = vec![
        ("as it is", text.as_bytes().to_vec()),
        ("in JSON", json[1..json.len() - 1].into()),
        ("in `Debug`", text.escape_debug().to_string().into()),
        ("in ASCII", text.escape_default().to_string().into()),
        ("in percent codes", percent(alphanumeric, true)),
        ("in lower-case percent codes", percent(alphanumeric, false)),
        ("in percent codes throughout", percent(|_| false, true)),
        (
            "in lower-case percent codes throughout",
            percent(|_| false, false),
        ),
        ("in a query", percent(unreserved, true)),
        ("in a path", percent(in_path, true)),
        ("in hexadecimal digits", hexadecimal(text.as_bytes()).into_bytes()),
        (
            "in UTF-16",
            text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        (
            "as a list of numbers",
            format!("{:?}", text.as_bytes()).trim_matches(['[', ']']).into(),
        ),
    ];
    for (name, before) in [
        ("in base64", ""),
        ("in base64, one on", "\0"),
        ("in base64, two on", "\0\0"),
    ] {
        let shifted = format!("{before}{text}");
        // Characters that also carry bits of the neighbours are not the secret's own.
        let own = (before.len() * 8).div_ceil(6)..shifted.len() * 8 / 6;
        forms.push((name, BASE64_STANDARD.encode(&shifted)[own.clone()].into()));
        forms.push((name, BASE64_URL_SAFE.encode(&shifted)[own].into()));
    }
    forms
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digit = |digit: u8| char::from_digit(digit.into(), 16);
    digits.filter_map(digit).collect()
}

/// All forms of all secrets in one search; groups say which was found.
static SEARCH: LazyLock<(Regex, Vec<String>)> = LazyLock::new(|| {
    let (mut patterns, mut names) = (Vec::new(), Vec::new());
    for (secret, text) in all() {
        for (form, bytes) in forms(&text) {
            let escape = |pattern, byte| format!(r"{pattern}\x{byte:02x}");
            let pattern = bytes.iter().fold(String::new(), escape);
            patterns.push(format!("({pattern})"));
            names.push(format!("{secret} {form}"));
        }
    }
    // What signs a request is worth as much as a secret for an hour.
    for (name, pattern) in [
        ("a signed address", "[?&]sign=[0-9A-Za-z%+/]"),
        ("the address of a bot", "access_token=[0-9A-Za-z%]"),
        ("the address of a session", "sendBySession[?][a-z]+=[0-9A-Za-z%]"),
    ] {
        patterns.push(format!("({pattern})"));
        names.push(name.to_owned());
    }
    let search = Regex::new(&format!("(?-u){}", patterns.join("|"))).expect("a pattern");
    (search, names)
});

/// The first secret in some bytes, named, with its form and surroundings.
pub(super) fn found(bytes: &[u8]) -> Option<String> {
    let (search, names) = &*SEARCH;
    let groups = search.captures(bytes)?;
    let (name, found) = names
        .iter()
        .zip(groups.iter().skip(1))
        .find_map(|(name, group)| Some((name, group?)))?;
    let around = found.start().saturating_sub(120)..(found.end() + 120).min(bytes.len());
    Some(format!("{name}: …{}…", String::from_utf8_lossy(&bytes[around])))
}

#[test]
fn the_search_finds_every_secret_in_every_form() {
    for (secret, text) in all() {
        for (form, bytes) in forms(&text) {
            assert!(
                bytes.len() >= 12,
                "{secret} {form} is too short to be told from chance"
            );
            let planted = [b"\x00\xffsome text ".as_slice(), &bytes, b" and more\n"].concat();
            assert!(found(&planted).is_some(), "{secret} {form} is not found");
        }
        for before in ["", "a", "ab", "abc"] {
            let code = BASE64_STANDARD.encode(format!("{before}{text}!"));
            assert!(
                found(code.as_bytes()).is_some(),
                "{secret} in {code} is not found"
            );
        }
    }
    assert!(found(b"GET /robot/send?access_token=abc").is_some());
    assert!(found(b"/robot/send?access_token=***&timestamp=1&sign=abc").is_some());
    for harmless in [
        "access_token=***",
        "/robot/send?access_token=\u{2026}",
        "timestamp=1&sign=***",
        "nothing at all",
    ] {
        assert_eq!(found(harmless.as_bytes()), None);
    }
}
