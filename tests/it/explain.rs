//! Why an alert was told to whom it was, asked of the real daemon: by the API and by `dingest explain`.

use dingest::dingtalk::simulator::Simulator;
use serde_json::{Value, json};

use crate::alerts::{alert, resolved, webhook};
use crate::chat::{bots, chat, heard};
use crate::daemon::{Daemon, Home};
use crate::eventually;

const ROUTES: &str = "receivers:
  - { name: ops, bots: [ops] }
  - { name: gone, bots: [gone] }
route:
  receiver: ops
  group_wait: 100ms
  group_interval: 100ms
  routes:
    - { matchers: ['severity=critical'], receiver: gone, continue: true }
    - { matchers: ['severity=info'], receiver: gone }
    - { receiver: ops }
";

const QUESTION: &str = "/api/v1/explain?filter=alertname%3DDiskFull";

/// An alert that one receiver was told, and its end, and the other was not, for DingTalk knows no bot `gone`.
async fn after_an_alert() -> (Simulator, Home, Daemon, Value) {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &format!("{}{ROUTES}", bots(&["ops", "gone"])));
    let daemon = Daemon::start(&home).await;
    let disk = alert("DiskFull", "node-1", "critical");
    daemon.post(std::slice::from_ref(&disk)).await;
    heard(&chat, "the alert is told, and is not", |calls| {
        calls.iter().any(|call| call.shown) && calls.iter().any(|call| !call.shown)
    })
    .await;
    daemon.post(&[resolved(&disk)]).await;
    let explained = eventually("its end is told", async || {
        let explained = daemon.api(QUESTION).await;
        let messages = explained["alerts"][0]["receivers"][1]["messages"].clone();
        let ended = |message: &Value| message["outcome"] == "delivered";
        let all = messages.as_array()?;
        (all.len() == 2 && all.iter().all(ended)).then_some(explained)
    })
    .await;
    (chat, home, daemon, explained)
}

/// A member of each element of a list.
fn each<'a>(list: &'a Value, member: &str) -> Vec<&'a str> {
    let list = list.as_array().expect("a list");
    list.iter().filter_map(|it| it[member].as_str()).collect()
}

#[tokio::test]
async fn the_way_of_an_alert_is_known_with_dingtalks_answers() {
    let (_chat, _home, _daemon, explained) = after_an_alert().await;
    let way = &explained["alerts"][0];
    assert_eq!(
        (&explained["total"], &way["status"]),
        (&json!(1), &json!("resolved"))
    );
    assert_eq!(each(&way["occurrences"], "what"), ["resolved"]);
    assert_eq!(
        each(&way["routes"], "passage"),
        ["delegated", "taken", "mismatch", "taken"]
    );
    let (gone, ops) = (&way["receivers"][0], &way["receivers"][1]);
    assert_eq!((&gone["told"], &gone["change"]), (&json!(null), &json!("passed")));
    assert_eq!(
        (&gone["waits_for"], &gone["endpoints"][0]["reason"]),
        (&json!("pause"), &json!("refused_token"))
    );
    let message = &gone["messages"][0];
    assert_eq!(message["outcome"], "refused_token", "{gone}");
    assert!(
        message["answer"]
            .as_str()
            .is_some_and(|words| words.contains("token is not exist")),
        "{gone}"
    );
    assert_eq!(
        (&ops["told"], &ops["quiet"]),
        (&json!("resolved"), &json!("knows"))
    );
    assert_eq!(
        each(&ops["messages"], "status"),
        ["resolved", "firing"],
        "newest first"
    );
}

#[tokio::test]
async fn it_is_known_after_a_restart() {
    let (_chat, home, daemon, before) = after_an_alert().await;
    daemon.signal("TERM");
    let _ended = daemon.ended().await;
    let daemon = Daemon::start(&home).await;
    let after = daemon.api(QUESTION).await;
    let (before, after) = (&before["alerts"][0], &after["alerts"][0]);
    for member in ["occurrences", "routes", "first_seen", "starts_at", "ends_at"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    let messages = |way: &Value| way["receivers"][1]["messages"].clone();
    assert_eq!(messages(after), messages(before));
}

#[tokio::test]
async fn the_command_line_puts_it_into_words() {
    let (_chat, home, daemon, explained) = after_an_alert().await;
    let fingerprint = explained["alerts"][0]["fingerprint"].as_str().expect("a text");
    let text = asked(&home, &daemon, fingerprint).await;
    for part in [
        "DiskFull: resolved",
        "- 2: severity=\"info\" -> gone: no, severity is \"critical\"",
        "token is not exist",
        "is over",
        "that it is resolved, which is true",
        "+ 1: severity=\"critical\" -> gone (continue): taken",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[tokio::test]
async fn who_was_told_before_the_routes_were_mended_is_still_known() {
    let (_chat, home, daemon, _before) = after_an_alert().await;
    let mended = ROUTES.replace("{ receiver: ops }\n", "{ receiver: gone }\n");
    let text = std::fs::read_to_string(home.config()).expect("a configuration");
    home.configure(&text.replace(ROUTES, &mended));
    let explained = eventually("the routes are mended", async || {
        let explained = daemon.api(QUESTION).await;
        let receivers = explained["alerts"][0]["receivers"].clone();
        (receivers[1]["quiet"] == "former").then_some(receivers)
    })
    .await;
    assert_eq!(each(&explained, "name"), ["gone", "ops"]);
    let ops = &explained[1];
    assert_eq!((&ops["route"], &ops["told"]), (&json!(null), &json!("resolved")));
    assert_eq!(each(&ops["messages"], "status"), ["resolved", "firing"]);
}

#[tokio::test]
async fn a_body_is_explained_without_a_daemon() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &format!("{}{ROUTES}", bots(&["ops", "gone"])));
    let run = async |alerts: &[Value], more: &[&str]| {
        std::fs::write(home.path("body.json"), webhook(alerts).to_string()).expect("a file");
        let mut command = home.command("explain");
        command.arg("--body").arg(home.path("body.json")).args(more);
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.expect("a task").expect("it runs")
    };
    let disk = alert("DiskFull", "node-1", "info");
    let output = run(std::slice::from_ref(&disk), &[]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("+ 2: severity=\"info\" -> gone: taken"),
        "{output:?}"
    );

    // What cannot be used is said beside the JSON and not in it.
    let output = run(&[json!({"status": "firing"}), disk.clone()], &["--json"]).await;
    let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    assert_eq!(explained["total"], 1);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("problem: "),
        "{output:?}"
    );

    let mut end = resolved(&disk);
    end["startsAt"] = json!("2020-01-01T00:00:00Z");
    end["endsAt"] = json!("2020-01-01T01:00:00Z");
    let output = run(&[end], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("none of it would be kept"),
        "{output:?}"
    );
}

/// What `dingest explain` prints.
async fn asked(home: &Home, daemon: &Daemon, which: &str) -> String {
    let mut command = home.command("explain");
    command.args([which, "--url", &daemon.url("")]);
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.expect("a task").expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
