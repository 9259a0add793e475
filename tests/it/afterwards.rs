//! What becomes of the messages of apps after they were delivered: announcements are taken back, and it is asked who
//! has read.

use dingest::dingtalk::simulator::Simulator;
use dingest::dingtalk::simulator::fault::{Fault, Injection};
use dingest::dingtalk::simulator::rules::Call;
use serde_json::{Value, json};

use crate::alerts::{firing, resolved};
use crate::chat::{asked, gist, organisation, strict};
use crate::daemon::{Daemon, Home};
use crate::eventually;

/// The calls that take messages back.
const RECALL_PATHS: [&str; 3] = [
    "/v1.0/robot/otoMessages/batchRecall",
    "/v1.0/robot/groupMessages/recall",
    "/topapi/message/corpconversation/recall",
];

/// A stand-in with an app `alerts`, a group that its bot is in, and two people.
async fn chat() -> Simulator {
    strict(organisation()).await
}

const GROUP: &str = "group: { app: alerts, conversation: cidA== }";
const PEOPLE: &str = "direct: { app: alerts, users: ['mobile:13800000000', ann] }";

/// The receiver `ops` is told this way, and asks for this afterwards.
fn home(chat: &Simulator, way: &str, afterwards: &str) -> Home {
    Home::with(
        chat,
        &format!(
            "apps:
  - {{ name: alerts, app_key: ding1, app_secret: app-s3cret, agent_id: 7, base_url: '{}' }}
receivers:
  - {{ name: ops, {way}, {afterwards} }}
route: {{ receiver: ops, group_by: [alertname], group_wait: 20ms, group_interval: 20ms }}
",
            chat.url()
        ),
    )
}

/// Which of the calls that said something, in order, were taken back.
fn recalled(chat: &Simulator) -> Vec<bool> {
    chat.ledger()
        .iter()
        .filter(|call| call.shown)
        .map(|call| call.recalled)
        .collect()
}

async fn until_recalled(chat: &Simulator, expected: &[bool]) {
    eventually("messages are taken back", async || {
        (recalled(chat) == expected).then_some(())
    })
    .await;
}

/// How often it was tried to take something back.
fn recall_calls(chat: &Simulator) -> u64 {
    RECALL_PATHS.iter().map(|path| asked(chat, path)).sum()
}

/// The messages of the history, the newest first.
async fn messages(daemon: &Daemon) -> Vec<Value> {
    let digests = daemon.api("/api/v1/digests").await;
    let digests = digests["digests"].as_array().cloned().unwrap_or_default();
    digests
        .iter()
        .map(|digest| digest["messages"][0].clone())
        .collect()
}

#[tokio::test]
async fn an_announcement_is_taken_back_when_it_is_over_and_the_word_of_that_stays() {
    for way in [GROUP, PEOPLE] {
        let chat = chat().await;
        let home = home(&chat, way, "recall: resolved");
        let daemon = Daemon::start(&home).await;
        let alert = firing("node-1");
        daemon.post(std::slice::from_ref(&alert)).await;
        daemon.everything_is_told().await;
        assert_eq!(recalled(&chat), [false], "{}", gist(&chat.ledger()));
        daemon.post(&[resolved(&alert)]).await;
        until_recalled(&chat, &[true, false]).await;
        eventually("the history knows", async || {
            let messages = messages(&daemon).await;
            let times: Vec<bool> = messages
                .iter()
                .map(|message| message["recalled_at"].is_string())
                .collect();
            let (over, begun) = times.split_at(times.len() / 2);
            (over.iter().all(|known| !known) && begun.iter().all(|known| *known)).then_some(())
        })
        .await;
        assert_eq!(recall_calls(&chat), 1);
        let (receiver, messages) = if way == GROUP {
            ("ops/group", 1)
        } else {
            ("ops/direct", 2)
        };
        let sample =
            format!("dingest_recalls_total{{receiver=\"{receiver}\",outcome=\"recalled\"}} {messages}");
        daemon.shows(&sample).await;
        daemon
            .shows("dingest_quota_used_this_month{quota=\"api\"} 3")
            .await;
    }
}

#[tokio::test]
async fn only_the_newest_digest_stays_in_a_group_where_it_supersedes_the_others() {
    let chat = chat().await;
    let home = home(&chat, GROUP, "recall: superseded");
    let daemon = Daemon::start(&home).await;
    let mut expected = Vec::new();
    for node in ["node-1", "node-2", "node-3"] {
        daemon.post(&[firing(node)]).await;
        daemon.everything_is_told().await;
        expected.insert(0, true);
        *expected.last_mut().expect("it has just grown") = false;
        until_recalled(&chat, &expected).await;
    }
}

#[tokio::test]
async fn what_two_people_were_sent_stays_as_long_as_one_of_them_is_owed_the_end() {
    let chat = chat().await;
    let home = home(&chat, PEOPLE, "recall: resolved");
    let daemon = Daemon::start(&home).await;
    let alert = firing("node-1");
    daemon.post(std::slice::from_ref(&alert)).await;
    daemon.everything_is_told().await;
    chat.inject(Injection::next(Fault::InvalidStaff(vec!["ann".to_owned()])));
    daemon.post(&[resolved(&alert)]).await;
    eventually("one of them is told", async || {
        let ann = daemon.receiver("ops/direct/ann").await;
        (chat.chat("wang").len() == 2 && ann["waits_for"] == "pause").then_some(())
    })
    .await;
    assert_eq!((recalled(&chat), recall_calls(&chat)), (vec![false, false], 0));
    // Somebody has looked at it.
    let reloaded = daemon.http().post(daemon.url("/-/reload")).send().await;
    assert!(reloaded.expect("an answer").status().is_success());
    until_recalled(&chat, &[true, false, false]).await;
    assert_eq!(recall_calls(&chat), 1);
}

#[tokio::test]
async fn a_daemon_that_was_killed_in_between_takes_back_what_it_had_announced() {
    let chat = chat().await;
    let home = home(&chat, GROUP, "recall: resolved");
    let daemon = Daemon::start(&home).await;
    let alert = firing("node-1");
    daemon.post(std::slice::from_ref(&alert)).await;
    daemon.everything_is_told().await;
    daemon.kill();
    let daemon = Daemon::start(&home).await;
    daemon.post(&[resolved(&alert)]).await;
    until_recalled(&chat, &[true, false]).await;
}

#[tokio::test]
async fn a_recall_that_fails_is_tried_again_or_given_up_and_disturbs_nothing() {
    let code = |http_status, code: &str| Fault::Code {
        http_status,
        code: code.to_owned(),
        message: None,
    };
    for (fault, is_recalled, outcome) in [
        (code(429, "system.busy"), true, "recalled"),
        (Fault::Drop, true, "recalled"),
        (code(400, "robot.processQueryKey.expired"), false, "refused"),
    ] {
        let chat = chat().await;
        let home = home(&chat, GROUP, "recall: resolved");
        let daemon = Daemon::start(&home).await;
        let alert = firing("node-1");
        daemon.post(std::slice::from_ref(&alert)).await;
        daemon.everything_is_told().await;
        chat.inject(Injection {
            path: Some(RECALL_PATHS[1].to_owned()),
            ..Injection::next(fault)
        });
        daemon.post(&[resolved(&alert), firing("node-2")]).await;
        daemon.everything_is_told().await;
        let sample = format!("dingest_recalls_total{{receiver=\"ops/group\",outcome=\"{outcome}\"}} 1");
        daemon.shows(&sample).await;
        assert_eq!(recalled(&chat), [is_recalled, false]);
        assert_eq!(
            daemon.receiver("ops/group").await["endpoints"][0]["reason"],
            Value::Null
        );
    }
}

#[tokio::test]
async fn notices_are_taken_back_and_asked_about_as_well() {
    let chat = chat().await;
    let way = "work_notice: { app: alerts, users: ['mobile:13800000000', ann] }";
    let home = home(&chat, way, "recall: resolved, read_status: true");
    let daemon = Daemon::start(&home).await;
    let alert = firing("node-1");
    daemon.post(std::slice::from_ref(&alert)).await;
    daemon.everything_is_told().await;
    daemon.signal("TERM");
    daemon.ended().await;
    assert_eq!(chat.read("wang", None), 1);
    age(&home, 30 * 60_000 - 1500);
    let daemon = Daemon::start(&home).await;
    eventually("it is known who has read", async || {
        let by = |message: &Value| message["read"]["by"].as_array().map(Vec::len);
        let known: Vec<_> = messages(&daemon).await.iter().map(by).collect();
        (known == [Some(1), Some(0)] || known == [Some(0), Some(1)]).then_some(())
    })
    .await;
    daemon
        .shows("dingest_messages_unread{receiver=\"ops/work_notice\"} 1")
        .await;
    daemon.post(&[resolved(&alert)]).await;
    until_recalled(&chat, &[true, false]).await;
    daemon
        .shows("dingest_recalls_total{receiver=\"ops/work_notice\",outcome=\"recalled\"} 2")
        .await;
}

/// Makes everything that was delivered look so many milliseconds older to the next process.
fn age(home: &Home, millis: i64) {
    let store =
        rusqlite::Connection::open(home.path("dingest.db")).expect("the store of a daemon that has ended");
    let aged = store.execute("UPDATE receipt SET sent_at = sent_at - ?1", [millis]);
    assert!(aged.expect("a table of what was delivered") > 0);
}

#[tokio::test]
async fn who_has_read_is_shown_in_the_history_and_counted_in_metrics() {
    let chat = chat().await;
    let both = format!("{GROUP}, {PEOPLE}");
    let home = home(&chat, &both, "read_status: true");
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    assert_eq!(messages(&daemon).await[0]["read"], Value::Null);
    assert_eq!(daemon.receiver("ops/group").await["unread"], json!(1));
    daemon.signal("TERM");
    daemon.ended().await;
    assert_eq!(chat.read("wang", None), 1);
    assert_eq!(chat.read("ann", Some("everybody")), 1);
    // A moment before it is asked after half an hour.
    age(&home, 30 * 60_000 - 1500);
    let daemon = Daemon::start(&home).await;
    let read_by = |message: &Value| -> Vec<String> {
        let by = message["read"]["by"].as_array().cloned().unwrap_or_default();
        by.iter()
            .map(|reader| reader["user"].as_str().unwrap_or("").to_owned())
            .collect()
    };
    let read = eventually("it is known who has read", async || {
        let messages = messages(&daemon).await;
        let all_asked = messages
            .iter()
            .all(|message| message["read"]["asked_at"].is_string());
        all_asked.then_some(messages)
    })
    .await;
    let by_endpoint: Vec<(&str, Vec<String>)> = read
        .iter()
        .map(|message| (message["endpoint"].as_str().unwrap_or(""), read_by(message)))
        .collect();
    for expected in [
        ("group/ops", vec!["ann".to_owned()]),
        ("direct/ops/mobile:13800000000", vec!["wang".to_owned()]),
        ("direct/ops/ann", vec![]),
    ] {
        assert!(by_endpoint.contains(&expected), "{by_endpoint:?}");
    }
    let at = |call: &Call| call.read_by.len();
    assert_eq!(chat.messages().iter().map(at).sum::<usize>(), 2);
    daemon
        .shows("dingest_messages_unread{receiver=\"ops/direct\"} 1")
        .await;
    daemon
        .shows("dingest_messages_unread{receiver=\"ops/group\"} 0")
        .await;
    daemon
        .shows("dingest_message_read_age_seconds_count{receiver=\"ops/direct\"} 1")
        .await;
    daemon
        .shows("dingest_errands_total{task=\"read_status\",outcome=\"delivered\"} 2")
        .await;
    let metrics = daemon.text("/metrics").await;
    assert!(
        !metrics.contains("wang") && !metrics.contains("ann\""),
        "{metrics}"
    );
}
