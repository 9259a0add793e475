//! A million labels, a million alerts, labels of a megabyte: answered, within bounded time and memory.

use std::fmt::Write as _;

use serde_json::Value;

use super::*;
use crate::chat::chat;
use crate::daemon::{Home, configuration};

const MILLION: usize = 1_000_000;
const MEGABYTE: usize = 1 << 20;
/// Time for the answer to the largest of them, in an unoptimised build.
const ANSWERED_AT_LAST_MAX: Duration = Duration::from_secs(20);
const PEAK_MIB_MAX: usize = 1_500;
const MORE_MIB_MAX: usize = 300;

/// An alert with these labels.
fn alert_of(labels: &str) -> String {
    format!(r#"{{"alerts":[{{"status":"firing","labels":{{{labels}}},"startsAt":"2026-04-01T08:00:00Z"}}]}}"#)
}

/// A list of this many, as JSON writes one.
fn list(of: usize, mut item: impl FnMut(&mut String, usize)) -> String {
    let mut text = String::new();
    for number in 0..of {
        if number > 0 {
            text.push(',');
        }
        item(&mut text, number);
    }
    text
}

/// A body, where it is posted, and the answers it may get: a status with a reason, or without one.
struct Large {
    name: &'static str,
    path: &'static str,
    body: String,
    answers: &'static [(u16, Option<&'static str>)],
}

const AM: &str = "/v1/hooks/alertmanager";
const TAKEN: &[(u16, Option<&str>)] = &[(200, None)];
const UNUSABLE: &[(u16, Option<&str>)] = &[(400, Some("nothing_usable"))];

fn large() -> Vec<Large> {
    let pairs = list(MILLION, |text, number| {
        write!(text, r#""l{number}":"v""#).expect("memory");
    });
    let same = list(MILLION, |text, number| {
        write!(text, r#""same":"{number}""#).expect("memory");
    });
    let alerts = list(MILLION, |text, number| {
        write!(text, r#"{{"labels":{{"n":"{number}"}}}}"#).expect("memory");
    });
    let megabyte = "m".repeat(MEGABYTE);
    let said = |annotations: &str| {
        alert_of(r#""alertname":"Talkative""#).replace(
            r#""startsAt""#,
            &format!(r#""annotations":{{{annotations}}},"startsAt""#),
        )
    };
    let case = |name, body, answers| Large {
        name,
        path: AM,
        body,
        answers,
    };
    vec![
        case("a million labels", alert_of(&pairs), UNUSABLE),
        case("a label a million times", alert_of(&same), TAKEN),
        case(
            "a value of a megabyte",
            alert_of(&format!(r#""a":"{megabyte}""#)),
            UNUSABLE,
        ),
        case(
            "a name of a megabyte",
            alert_of(&format!(r#""{megabyte}":"a""#)),
            UNUSABLE,
        ),
        case(
            "an annotation of a megabyte",
            said(&format!(r#""summary":"{megabyte}""#)),
            TAKEN,
        ),
        case("a million annotations", said(&pairs), TAKEN),
        Large {
            path: "/api/v2/alerts",
            // In an unoptimised build there may be no time for all of them.
            answers: &[(200, None), (503, Some("slow_store"))],
            ..case("a million alerts", format!("[{alerts}]"), TAKEN)
        },
        case(
            "more than the limit",
            format!("[{alerts},{alerts}]"),
            &[(413, Some("too_large"))],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millions_of_labels_and_alerts_are_answered_within_bounds() {
    let chat = chat(&["ops"]).await;
    let home = Home::new();
    let sources = "sources:
  - { name: alertmanager, type: alertmanager }
  - { name: prometheus, type: prometheus }
";
    let text = configuration(chat.url(), &format!("{sources}{}", rest()));
    home.configure(&text.replace("127.0.0.1:0 }", "127.0.0.1:0, body_limit: 32MiB }"));
    let daemon = Daemon::start(&home).await;
    let before = Footprint::of(&daemon);
    let neighbour = Neighbour::begin(&daemon);
    for Large {
        name,
        path,
        body,
        answers,
    } in large()
    {
        let asked = Instant::now();
        let answer = daemon.http().post(daemon.url(path)).body(body).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        let status = answer.status().as_u16();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.expect("an answer")).expect("JSON");
        let took = asked.elapsed();
        assert!(
            answers.contains(&(status, answer["reason"].as_str())),
            "{name}: {status} {answer}"
        );
        assert!(took <= ANSWERED_AT_LAST_MAX, "{name} took {took:?}");
    }
    neighbour.end().await;
    let peak = memory_mib(&daemon, "VmHWM:");
    assert!(peak <= PEAK_MIB_MAX, "the daemon held {peak} MiB");
    before.is_restored(&daemon, MORE_MIB_MAX).await;
}
