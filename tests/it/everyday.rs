//! What happens every day: an alert comes, is repeated and goes; two senders say the same; the daemon is stopped.

use std::time::Duration;

use dingest::dingtalk::simulator::fault::{Fault, Injection};
use serde_json::json;

use crate::alerts::{alert, firing, resolved, webhook};
use crate::chat::{bots, chat, gist, heard, told};
use crate::daemon::{Daemon, Home};
use crate::eventually;

/// One group and short windows.
fn one_group(group_wait: &str) -> String {
    format!(
        "{}receivers:
  - {{ name: ops, bots: [ops] }}
route: {{ receiver: ops, group_by: [alertname], group_wait: {group_wait}, group_interval: 100ms }}
",
        bots(&["ops"])
    )
}

#[tokio::test]
async fn an_alert_its_repeat_and_its_end_are_two_messages() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &one_group("300ms"));
    let daemon = Daemon::start(&home).await;

    let disk = alert("DiskFull", "node-1", "critical");
    daemon.post(std::slice::from_ref(&disk)).await;
    let waiting = daemon.alert().await;
    assert_eq!(waiting["status"], "firing");
    let receiver = &waiting["receivers"][0];
    assert_eq!(receiver["told"], json!(null));
    assert_eq!(receiver["change"], "new");
    assert_eq!(receiver["waits_for"], "group_wait");
    assert_eq!(daemon.receiver("ops").await["waits_for"], "group_wait");

    let calls = heard(&chat, "the alert is told", |calls| calls.len() == 1).await;
    let message = &calls[0].content;
    assert_eq!((calls[0].errcode, calls[0].shown), (Some(0), true));
    assert_eq!(message.msgtype, "markdown");
    assert_eq!(message.title, "🔴 1 new · DiskFull · node-1");
    let text = &message.text;
    assert!(text.starts_with("### 🔴 1 new"), "{text}");
    assert!(
        text.contains("**DiskFull**") && text.contains("node-1 does not answer"),
        "{text}"
    );

    daemon.everything_is_told().await;
    daemon.post(std::slice::from_ref(&disk)).await;
    let known = daemon.alert().await;
    assert_eq!(known["receivers"][0]["told"]["status"], "firing");
    assert_eq!(known["receivers"][0]["change"], json!(null));

    daemon.post(&[resolved(&disk)]).await;
    let calls = heard(&chat, "its end is told", |calls| calls.len() == 2).await;
    let message = &calls[1].content;
    assert_eq!((calls[1].errcode, calls[1].shown), (Some(0), true));
    assert!(message.title.starts_with('✅'), "{}", message.title);
    let text = &message.text;
    assert!(text.contains("node-1") && !text.contains("🔴"), "{text}");

    daemon.everything_is_told().await;
    let over = daemon.alert().await;
    assert_eq!(over["status"], "resolved");
    assert_eq!(over["receivers"][0]["told"]["status"], "resolved");
    assert_eq!(chat.ledger().len(), 2, "{}", gist(&chat.ledger()));
    let metrics = daemon.text("/metrics").await;
    assert!(metrics.contains("dingest_messages_total"), "{metrics}");
}

#[tokio::test]
async fn what_a_pair_of_alertmanagers_says_twice_is_told_once() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &one_group("300ms"));
    let daemon = Daemon::start(&home).await;

    let alerts = ["node-1", "node-2", "node-3"].map(firing);
    let first = webhook(&alerts);
    let mut second = webhook(&alerts);
    second["externalURL"] = json!("http://alertmanager-2.example.com");
    let (one, two) = (daemon.poster(), daemon.poster());
    let (one, two) = tokio::join!(
        one.post_body(first.to_string()),
        two.post_body(second.to_string())
    );
    assert_eq!((one, two), (Some(200), Some(200)));
    heard(&chat, "they are told", |calls| !calls.is_empty()).await;
    daemon.everything_is_told().await;

    // The same body twice at the same moment, as a sender does that gave up too early.
    let end = webhook(&alerts.each_ref().map(resolved)).to_string();
    let (one, two) = (daemon.poster(), daemon.poster());
    let (one, two) = tokio::join!(one.post_body(end.clone()), two.post_body(end));
    assert_eq!((one, two), (Some(200), Some(200)));
    heard(&chat, "their end is told", |calls| calls.len() > 1).await;
    daemon.everything_is_told().await;
    assert_eq!(chat.ledger().len(), 2, "{}", gist(&chat.ledger()));
}

#[tokio::test]
async fn asked_to_stop_it_ends_what_is_under_way_and_goes_on_where_it_was() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &one_group("50ms"));
    let daemon = Daemon::start(&home).await;

    chat.inject(Injection::next(Fault::Slow(1500)));
    daemon.post(&[firing("node-1")]).await;
    heard(&chat, "a message is under way", |calls| calls.len() == 1).await;
    // Durable, and for the next start: while a message is under way no other is composed.
    daemon.post(&[firing("node-2")]).await;
    daemon.signal("TERM");
    let (status, log) = daemon.ended().await;
    assert_eq!(status.code(), Some(0), "{log:#?}");
    assert!(
        log.iter().any(|line| line.contains("message delivered")),
        "{log:#?}"
    );
    assert!(
        log.last().is_some_and(|line| line.contains("stopped")),
        "{log:#?}"
    );
    assert_eq!(told(&chat, "node-"), ["node-1"]);

    let daemon = Daemon::start(&home).await;
    daemon.everything_is_told().await;
    assert_eq!(
        told(&chat, "node-"),
        ["node-1", "node-2"],
        "{}",
        gist(&chat.ledger())
    );
}

#[tokio::test]
async fn asked_to_stop_while_nothing_is_under_way_it_stops_at_once() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &one_group("1h"));
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    let begun = std::time::Instant::now();
    daemon.signal("INT");
    let (status, log) = daemon.ended().await;
    assert_eq!(status.code(), Some(0), "{log:#?}");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "it waited for something that does not come: {log:#?}"
    );

    let daemon = Daemon::start(&home).await;
    eventually("the alert is known after the start", async || {
        let alert = daemon.alert().await;
        (alert["receivers"][0]["waits_for"] == "group_wait").then_some(())
    })
    .await;
    assert_eq!(chat.ledger(), []);
}
