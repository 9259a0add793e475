//! Every type of message, from the configuration to the group.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dingest::dingtalk::simulator::Simulator;
use dingest::dingtalk::simulator::fault::Fault;
use dingest::dingtalk::simulator::rules::Call;
use serde_json::Value;

use crate::alerts::{alert, firing, resolved, webhook};
use crate::chat::{GROUP_SEND, PEOPLE_SEND, bots, chat, gist, heard, on, organisation, strict, to};
use crate::daemon::{Daemon, Home};
use crate::eventually;

/// The types in the configuration, what DingTalk calls them, and what else they need.
const TYPES: [(&str, &str, &str); 5] = [
    ("markdown", "markdown", "mention: { all: true, on: always }"),
    ("text", "text", "mention: { all: true, on: always }"),
    ("link", "link", ""),
    ("action_card", "actionCard", "mention: { all: true, on: always }"),
    (
        "feed_card",
        "feedCard",
        "picture: 'https://static.example.com/a.png'",
    ),
];

fn names() -> [&'static str; 5] {
    TYPES.map(|(name, ..)| name)
}

/// A receiver and a bot for each type; everybody is told everything.
fn home(chat: &Simulator) -> Home {
    let mut text = format!(
        "server: {{ listen: 127.0.0.1:0, external_url: 'https://alerts.example.com' }}
locale: en
timezone: UTC
dingtalk: {{ base_url: '{}' }}
{}receivers:\n",
        chat.url(),
        bots(&names())
    );
    let mut line = |line: String| writeln!(text, "{line}").expect("texts take everything");
    for (name, _, needs) in TYPES {
        line(format!(
            "  - {{ name: {name}, bots: [{name}], message: {name}, {needs} }}"
        ));
    }
    line("route:\n  receiver: text\n  group_wait: 100ms\n  routes:".to_owned());
    for (name, ..) in TYPES {
        line(format!(
            "    - {{ receiver: {name}, matchers: ['node=~\".+\"'], continue: true }}"
        ));
    }
    let home = Home::new();
    home.configure(&text);
    home
}

/// What the group was shown, by bot.
fn shown(calls: &[Call]) -> BTreeMap<&str, &Call> {
    assert!(calls.iter().all(|call| call.shown), "{}", gist(calls));
    calls.iter().map(|call| (call.bot.as_str(), call)).collect()
}

fn titles(call: &Call) -> Vec<&str> {
    call.content
        .links
        .iter()
        .map(|link| link.title.as_str())
        .collect()
}

#[tokio::test]
async fn one_alert_is_told_in_every_type_of_message() {
    let chat = chat(&names()).await;
    let home = home(&chat);
    let daemon = Daemon::start(&home).await;
    let mut disk = alert("DiskFull", "node-1", "critical");
    disk["annotations"]["runbook_url"] = "https://runbooks.example.com/disk".into();
    daemon.post(&[disk]).await;
    let calls = heard(&chat, "everybody is told", |calls| calls.len() == TYPES.len()).await;
    daemon.everything_is_told().await;
    let shown = shown(&calls);
    for (name, msgtype, needs) in TYPES {
        let content = &shown[name].content;
        assert_eq!(content.msgtype, msgtype);
        let said = format!(
            "{}\n{}\n{}",
            content.title,
            content.text,
            titles(shown[name]).join("\n")
        );
        assert!(said.contains("node-1 does not answer"), "{name}: {said}");
        assert_eq!(content.mentions_all, needs.starts_with("mention"), "{name}");
    }
    let buttons = titles(shown["action_card"]);
    assert_eq!(buttons.first(), Some(&"Runbook"), "{buttons:?}");
    assert_eq!(buttons.last(), Some(&"All alerts"), "{buttons:?}");
    let pictures = shown["feed_card"].content.links.iter();
    assert!(
        pictures
            .map(|link| link.picture.as_deref())
            .all(|it| it == Some("https://static.example.com/a.png"))
    );
}

#[tokio::test]
async fn a_test_message_and_a_preview_are_of_the_receivers_type() {
    let chat = chat(&names()).await;
    let home = home(&chat);
    for (name, msgtype, _) in TYPES {
        let mut sending = home.command("send");
        sending.arg(name);
        let sent = tokio::task::spawn_blocking(move || sending.output());
        let sent = sent.await.expect("a task").expect("it runs");
        assert!(sent.status.success(), "{name}: {sent:?}");
        let calls = chat.ledger();
        let last = calls.last().expect("a message");
        assert_eq!(
            (last.content.msgtype.as_str(), last.shown),
            (msgtype, true),
            "{}",
            gist(&calls)
        );
    }
    let body = home.path("body.json");
    std::fs::write(
        &body,
        webhook(&[alert("DiskFull", "node-1", "critical")]).to_string(),
    )
    .expect("a body");
    let mut render = home.command("render");
    render.arg(&body);
    let shown = tokio::task::spawn_blocking(move || render.output());
    let shown = shown.await.expect("a task").expect("it runs");
    let text = String::from_utf8(shown.stdout).expect("UTF-8");
    assert_eq!(text.matches("--- to ").count(), TYPES.len(), "{text}");
    let pressed = "[All alerts] https://alerts.example.com/alerts?receiver=action%5Fcard\n";
    assert!(text.contains(pressed), "{text}");
    assert!(
        text.contains(", picture https://static.example.com/a.png\n"),
        "{text}"
    );
}

const PANEL: &str = "https://grafana.example.com/render/disk.png?from=1&to=2";

/// A group and two people who are shown pictures.
fn home_with_pictures(chat: &Simulator) -> Home {
    Home::with(
        chat,
        &format!(
            "apps:
  - {{ name: alerts, app_key: ding1, app_secret: app-s3cret, base_url: '{}' }}
receivers:
  - name: ops
    group: {{ app: alerts, conversation: cidA== }}
    direct: {{ app: alerts, users: [ann, wang] }}
    message: image
    recall: resolved
route: {{ receiver: ops, group_by: [alertname], group_wait: 20ms, group_interval: 20ms }}
",
            chat.url()
        ),
    )
}

/// An alert as Grafana sends it to an Alertmanager's webhook, with a screenshot of its panel.
fn pictured(node: &str) -> Value {
    let mut alert = firing(node);
    alert["imageURL"] = PANEL.into();
    alert
}

/// The types of what was shown, in order: to the group, and to people.
fn types(calls: &[Call]) -> [Vec<&str>; 2] {
    [false, true].map(|to_people| {
        let shown = calls
            .iter()
            .filter(|call| call.shown && call.group.is_empty() == to_people);
        shown.map(|call| call.content.msgtype.as_str()).collect()
    })
}

#[tokio::test]
async fn a_picture_follows_the_digest_and_goes_with_it() {
    let chat = strict(organisation()).await;
    let home = home_with_pictures(&chat);
    let daemon = Daemon::start(&home).await;
    let alert = pictured("node-1");
    daemon.post(std::slice::from_ref(&alert)).await;
    let calls = heard(&chat, "all are shown the picture", |calls| calls.len() == 4).await;
    assert_eq!(
        types(&calls),
        [["markdown", "image"], ["markdown", "image"]],
        "{}",
        gist(&calls)
    );
    for call in calls.iter().filter(|call| call.content.msgtype == "image") {
        assert_eq!(call.content.links[0].picture.as_deref(), Some(PANEL));
        assert!(!call.group.is_empty() || to(call) == ["ann", "wang"], "{call:?}");
    }
    daemon.post(&[resolved(&alert)]).await;
    eventually("digest and picture are taken back", async || {
        let recalled: Vec<bool> = chat.ledger().iter().map(|call| call.recalled).collect();
        (recalled == [true, true, true, true, false, false]).then_some(())
    })
    .await;
    let end = chat.ledger().split_off(4);
    assert_eq!(types(&end), [["markdown"], ["markdown"]], "{}", gist(&end));
}

#[tokio::test]
async fn a_picture_that_dingtalk_does_not_take_is_left_out_and_nothing_is_told_again() {
    let chat = strict(organisation()).await;
    let home = home_with_pictures(&chat);
    let daemon = Daemon::start(&home).await;
    for path in [GROUP_SEND, PEOPLE_SEND] {
        let refusal = Fault::Code {
            http_status: 400,
            code: "contain.notAllowed.picture".to_owned(),
            message: None,
        };
        for fault in [Fault::Slow(0), refusal] {
            chat.inject(on(path, fault));
        }
    }
    daemon.post(&[pictured("node-1")]).await;
    heard(&chat, "two digests and two pictures were tried", |calls| {
        calls.len() == 4
    })
    .await;
    daemon.post(&[pictured("node-2")]).await;
    let calls = heard(&chat, "the next is told", |calls| calls.len() == 8).await;
    let shown = ["markdown", "markdown", "image"];
    assert_eq!(types(&calls), [shown, shown], "{}", gist(&calls));
    assert!(
        !calls.iter().any(|call| call.content.text.contains("refused")),
        "{}",
        gist(&calls)
    );
    eventually("every digest is delivered", async || {
        let digests = daemon.api("/api/v1/digests").await;
        let digests = digests["digests"].as_array().expect("digests").clone();
        let delivered = digests.iter().filter(|it| it["outcome"] == "delivered");
        (delivered.count() == 6).then_some(())
    })
    .await;
    daemon.everything_is_told().await;
}
