//! What cannot be used: bodies and configurations get a reason, and change nothing.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::alerts::{firing, webhook};
use crate::chat::{bots, chat};
use crate::daemon::{Daemon, Home, configuration};

/// The types of sources, each by the path of its webhook.
const AM: &str = "/v1/hooks/alertmanager";
const JSON: &str = "/v1/hooks/json";
const V2: &str = "/api/v2/alerts";

/// A body that cannot be used.
struct Bad {
    name: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    /// The classes of answer it may get.
    status: &'static [u16],
}

fn bad(name: &'static str, path: &'static str, body: impl Into<Vec<u8>>) -> Bad {
    Bad {
        name,
        path,
        headers: &[("content-type", "application/json")],
        body: body.into(),
        status: &[400],
    }
}

const GZIP: &[(&str, &str)] = &[("content-type", "application/json"), ("content-encoding", "gzip")];

fn bodies() -> Vec<Bad> {
    let mut bodies = not_json();
    bodies.extend(of_another_shape());
    bodies.extend(hostile());
    bodies
}

fn not_json() -> Vec<Bad> {
    let whole = webhook(&[firing("node-1")]).to_string();
    let half = whole.as_bytes()[..whole.len() / 2].to_vec();
    let utf16: Vec<u8> = "\u{feff}{\"title\":\"x\"}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    vec![
        bad("a body that broke off", AM, half),
        bad("a character that broke off", JSON, &b"{\"title\":\"\xe7\xa3"[..]),
        bad("nothing", AM, ""),
        bad("white space", AM, " \r\n\t"),
        bad(
            "a page of a proxy",
            JSON,
            "<html><body>502 Bad Gateway</body></html>",
        ),
        bad("nothing behind a byte order mark", JSON, "\u{feff}"),
        bad("UTF-16", JSON, utf16),
        bad("NaN", JSON, r#"{"title":"x","value":NaN}"#),
        bad("Infinity", JSON, r#"{"title":"x","value":-Infinity}"#),
        bad("a comma too many", JSON, r#"{"title":"x",}"#),
        bad("single quotes", JSON, "{'title': 'x'}"),
        bad("bare keys", JSON, "{title: \"x\"}"),
        bad("a comment", JSON, "{\"title\":\"x\" /* why */}"),
        bad("words behind the document", JSON, "{\"title\":\"x\"} and more"),
        bad("two documents", JSON, r#"{"title":"x"}{"title":"y"}"#),
        bad(
            "a document per line",
            JSON,
            "{\"title\":\"x\"}\n{\"title\":\"y\"}\n",
        ),
        bad("half a surrogate pair", JSON, r#"{"title":"\ud83d"}"#),
        bad("a raw line end in a text", JSON, "{\"title\":\"x\ny\"}"),
        bad("quotes in a text", JSON, r#"{"title":"the "big" one"}"#),
        bad("a path of Windows", JSON, r#"{"title":"C:\Users\x"}"#),
        bad("an escape of another language", JSON, r#"{"title":"\x41"}"#),
        bad("a raw NUL", JSON, "{\"title\":\"x\0\"}"),
        bad("a leading zero", JSON, r#"{"title":"x","value":007}"#),
        bad(
            "a form that is said to be JSON",
            JSON,
            "title=x&severity=critical",
        ),
        Bad {
            headers: &[("content-type", "application/xml")],
            status: &[400, 415],
            ..bad("XML", JSON, "<alert><title>x</title></alert>")
        },
        Bad {
            headers: &[("content-type", "application/json; charset=GBK")],
            status: &[400, 415],
            ..bad("another encoding", JSON, &b"{\"title\":\"\xb4\xc5\xc5\xcc\"}"[..])
        },
    ]
}

fn of_another_shape() -> Vec<Bad> {
    vec![
        bad("a text", JSON, r#""alert""#),
        bad("a number", JSON, "42"),
        bad("null", JSON, "null"),
        bad("a boolean", JSON, "true"),
        bad("arrays in an array", JSON, "[[1,2],[3]]"),
        bad("numbers in an array", JSON, "[1,2,3]"),
        bad(
            "an object for the list of alerts",
            AM,
            r#"{"version":"4","alerts":{"labels":{}}}"#,
        ),
        bad(
            "a text for the list of alerts",
            AM,
            r#"{"version":"4","alerts":"none"}"#,
        ),
        bad(
            "a list for labels",
            AM,
            r#"{"version":"4","alerts":[{"status":"firing","labels":["node-1"]}]}"#,
        ),
        bad(
            "a number for a label",
            V2,
            r#"[{"labels":{"alertname":"x","shard":7}}]"#,
        ),
        bad("an object for a list", V2, r#"{"labels":{"alertname":"x"}}"#),
        bad(
            "an alert without labels",
            V2,
            r#"[{"annotations":{"summary":"x"}}]"#,
        ),
        bad("null for an alert", V2, "[null]"),
    ]
}

fn hostile() -> Vec<Bad> {
    let nested = |levels: usize, open: &str, close: &str| {
        format!("{{\"title\":{}1{}}}", open.repeat(levels), close.repeat(levels))
    };
    let whole = webhook(&[firing("node-1")]).to_string();
    vec![
        bad("200 levels", JSON, nested(200, "[", "]")),
        bad("100,000 levels", JSON, nested(100_000, "[", "]")),
        bad("50,000 objects", AM, nested(50_000, "{\"a\":", "}")),
        bad("brackets that never close", V2, "[".repeat(1_000_000)),
        Bad {
            headers: &[("content-type", "application/x-www-form-urlencoded")],
            ..bad(
                "100,000 levels in a form",
                JSON,
                format!("payload={}", "%5B".repeat(100_000)),
            )
        },
        bad("gzip that does not say so", AM, gzip(whole.as_bytes())),
        Bad {
            headers: GZIP,
            ..bad("no gzip at all", AM, whole)
        },
        Bad {
            headers: GZIP,
            status: &[413],
            ..bad(
                "a little gzip that becomes much",
                JSON,
                gzip(&vec![b' '; 64 << 20]),
            )
        },
        Bad {
            status: &[413],
            ..bad("more than the limit", JSON, vec![b' '; (1 << 20) + 1])
        },
    ]
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn a_body_that_cannot_be_used_gets_a_reason_and_changes_nothing() {
    let chat = chat(&["ops"]).await;
    let rest = format!(
        "{}receivers:
  - {{ name: ops, bots: [ops] }}
route: {{ receiver: ops, group_wait: 1h }}
",
        bots(&["ops"])
    );
    let home = Home::new();
    let text = configuration(chat.url(), &rest).replace("127.0.0.1:0 }", "127.0.0.1:0, body_limit: 1MiB }");
    home.configure(&text);
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    let before = daemon.api("/api/v1/alerts").await;
    for Bad {
        name,
        path,
        headers,
        body,
        status,
    } in bodies()
    {
        let mut request = daemon.http().post(daemon.url(path)).body(body);
        for (header, value) in headers {
            request = request.header(*header, *value);
        }
        let answer = request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let got = answer.status().as_u16();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.expect("a whole answer"))
            .unwrap_or_else(|error| panic!("{name}: the answer is no JSON: {error}"));
        assert!(status.contains(&got), "{name}: {got} {answer}");
        assert!(
            answer["error"].as_str().is_some_and(|error| error.len() > 10) && answer["reason"].is_string(),
            "{name}: {answer}"
        );
    }
    assert_eq!(
        daemon.api("/api/v1/alerts").await,
        before,
        "nothing of it was taken"
    );
    daemon.post(&[firing("node-2")]).await;
    assert_eq!(daemon.api("/api/v1/alerts").await["total"], 2);
    assert_eq!(chat.ledger(), []);
    let metrics = daemon.text("/metrics").await;
    assert!(
        metrics.contains("dingest_webhook_refusals_total{") && metrics.contains("not_json"),
        "what was refused is counted: {metrics}"
    );
}

#[tokio::test]
async fn of_a_body_that_is_partly_readable_the_readable_part_is_taken() {
    let chat = chat(&["ops"]).await;
    let rest = format!("{}receivers:\n  - {{ name: ops, bots: [ops] }}\n", bots(&["ops"]));
    let home = Home::with(&chat, &rest);
    let daemon = Daemon::start(&home).await;
    let mut broken = firing("node-2");
    broken["labels"] = Value::from(7);
    let body = webhook(&[firing("node-1"), broken, firing("node-3")]);
    let answer = daemon
        .http()
        .post(daemon.url(AM))
        .body(body.to_string())
        .send()
        .await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    let answer: Value = serde_json::from_slice(&answer.bytes().await.expect("a whole answer")).expect("JSON");
    assert_eq!(
        (&answer["accepted"], &answer["refused"]),
        (&Value::from(2), &Value::from(1))
    );
    assert_eq!(answer["problems"][0]["index"], 1, "{answer}");
    assert_eq!(daemon.api("/api/v1/alerts").await["total"], 2);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_explained_and_nothing_is_started() {
    let good = configuration("http://127.0.0.1:9", &bots(&["ops"]))
        + "receivers:\n  - { name: ops, bots: [ops] }\nroute: { receiver: ops }\n";
    let cases = [
        (
            "a broken document",
            good.replace("route: {", "route: [{"),
            "dingest.yaml:",
        ),
        ("a key nobody knows", good.replace("route:", "rout:"), "rout"),
        (
            "a receiver that is not there",
            good.replace("receiver: ops", "receiver: opps"),
            "opps",
        ),
        (
            "a bot that is not there",
            good.replace("bots: [ops]", "bots: [opps]"),
            "opps",
        ),
        (
            "a secret file that is not there",
            good.replace("access_token: token-ops", "access_token_file: no-such-file"),
            "no-such-file",
        ),
        (
            "a matcher that is none",
            good.replace(
                "{ receiver: ops }",
                "{ receiver: ops, routes: [{ matchers: ['a=~\"(\"'] }] }",
            ),
            "matcher",
        ),
        (
            "a duration that is none",
            good.replace("{ receiver: ops }", "{ receiver: ops, group_wait: soon }"),
            "soon",
        ),
    ];
    for (name, text, word) in cases {
        let home = Home::new();
        home.configure(&text);
        for subcommand in ["check", "run"] {
            let output = home.output(subcommand).await;
            let report = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{subcommand}, {name}: {report}");
            assert!(
                report.contains(word) && report.contains("dingest.yaml:"),
                "{subcommand}, {name}: {report}"
            );
            assert!(output.stdout.is_empty(), "{subcommand}, {name}");
        }
        assert!(!home.path("dingest.db").exists(), "{name}: nothing was started");
    }
    let home = Home::new();
    home.configure(&good);
    let output = home.output("check").await;
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
