//! Work notices: told is what DingTalk says it passed on, whatever it accepted; and nobody gets one twice.

use dingest::dingtalk::simulator::fault::{Fault, Injection};
use dingest::dingtalk::simulator::rules::Call;
use dingest::dingtalk::simulator::{Simulator, SimulatorSettings};
use serde_json::{Value, json};

use crate::alerts::{alert, firing, resolved};
use crate::chat::{asked, gist, heard, on, organisation, strict, to};
use crate::daemon::{Daemon, Home};
use crate::eventually;

const SEND: &str = "/topapi/message/corpconversation/asyncsend_v2";
const PROGRESS: &str = "/topapi/message/corpconversation/getsendprogress";
const RESULT: &str = "/topapi/message/corpconversation/getsendresult";

/// A stand-in with an app `alerts`, whose agent is 7, and two people.
async fn chat() -> Simulator {
    strict(organisation()).await
}

/// The receiver `ops` is told by work notices as `ways` say.
fn home(chat: &Simulator, ways: &str) -> Home {
    Home::with(
        chat,
        &format!(
            "apps:
  - {{ name: alerts, app_key: ding1, app_secret: app-s3cret, agent_id: 7, base_url: '{}' }}
receivers:
  - {{ name: ops, work_notice: {{ app: alerts, {ways} }} }}
route: {{ receiver: ops, group_by: [alertname], group_wait: 20ms, group_interval: 20ms }}
",
            chat.url()
        ),
    )
}

const PEOPLE: &str = "users: [wang, ann]";

#[tokio::test]
async fn people_who_read_the_same_are_told_by_one_notice_and_nobody_is_named_in_metrics() {
    let chat = chat().await;
    let home = home(&chat, "users: ['mobile:13800000000', ann]");
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    let ledger = chat.ledger();
    let calls: Vec<&Call> = ledger.iter().filter(|call| call.notice).collect();
    assert_eq!(
        (calls.len(), to(calls[0])),
        (1, vec!["ann", "wang"]),
        "{}",
        gist(&ledger)
    );
    for user in ["wang", "ann"] {
        assert!(chat.chat(user)[0].content.text.contains("node-1"));
    }
    assert_eq!(
        (asked(&chat, SEND), asked(&chat, PROGRESS), asked(&chat, RESULT)),
        (1, 1, 1)
    );
    let metrics = daemon.text("/metrics").await;
    for sample in [
        "dingest_messages_total{endpoint=\"work_notice/ops\",outcome=\"delivered\"} 2",
        "dingest_quota_used_this_month{quota=\"api\"} 3",
    ] {
        let found = metrics.lines().any(|line| line == sample);
        assert!(found, "{sample} is missing in\n{metrics}");
    }
    assert!(
        !metrics.contains("ann") && !metrics.contains("1380000"),
        "{metrics}"
    );
}

/// A code that the older API answers with.
fn errcode(errcode: i64, sub_code: Option<&str>) -> Fault {
    Fault::Errcode {
        errcode,
        errmsg: None,
        sub_code: sub_code.map(str::to_owned),
    }
}

/// The calls that sent a notice.
fn notices(chat: &Simulator) -> Vec<Call> {
    let mut calls = chat.ledger();
    calls.retain(|call| call.notice);
    calls
}

#[tokio::test]
async fn a_call_that_is_refused_for_one_of_several_people_is_made_for_fewer() {
    let chat = chat().await;
    let home = home(&chat, "users: [wang, ann]");
    let daemon = Daemon::start(&home).await;
    chat.inject(on(SEND, errcode(50002, None)));
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    let calls = notices(&chat);
    let whom: Vec<_> = calls.iter().map(to).collect();
    assert_eq!(whom, [vec!["ann", "wang"], vec!["ann"], vec!["wang"]]);
}

#[tokio::test]
async fn the_same_again_is_told_in_other_words_and_what_may_have_arrived_in_the_same() {
    let chat = chat().await;
    let home = home(&chat, PEOPLE);
    let daemon = Daemon::start(&home).await;
    // Its answer is lost, so it is sent again: DingTalk drops the second, and says so.
    chat.inject(on(SEND, Fault::AcceptDrop));
    let alert = firing("node-1");
    daemon.post(std::slice::from_ref(&alert)).await;
    daemon.everything_is_told().await;
    let calls = notices(&chat);
    assert_eq!(calls.len(), 2, "{}", gist(&chat.ledger()));
    assert_eq!(calls[0].body_sha256, calls[1].body_sha256);
    for user in ["wang", "ann"] {
        assert_eq!(chat.chat(user).len(), 1);
    }
    let digests = daemon.api("/api/v1/digests?receiver=ops/work_notice/ann").await;
    let message = &digests["digests"][0]["messages"][0];
    assert_eq!(
        (&message["attempts"], &message["errcode"]),
        (&json!(2), &json!(143_106))
    );
    for number in 2..4 {
        daemon.post(&[firing("node-1")]).await;
        daemon.post(&[resolved(&alert)]).await;
        daemon.everything_is_told().await;
        assert_eq!(chat.chat("ann").len(), number, "{}", gist(&chat.ledger()));
    }
}

#[tokio::test]
async fn whom_dingtalk_holds_a_notice_back_from_is_told_later_and_alone() {
    let chat = chat().await;
    let home = home(&chat, PEOPLE);
    let daemon = Daemon::start(&home).await;
    chat.inject(on(SEND, Fault::FlowControlledStaff(vec!["ann".to_owned()])));
    daemon.post(&[firing("node-1")]).await;
    let ann = eventually("a pause", async || {
        let ann = daemon.receiver("ops/work_notice/ann").await;
        (ann["endpoints"][0]["reason"] == "throttled").then_some(ann)
    })
    .await;
    assert_eq!((&ann["changes"], &ann["waits_for"]), (&json!(1), &json!("pause")));
    assert_eq!((chat.chat("ann").len(), chat.chat("wang").len()), (0, 1));
    assert_eq!(
        daemon.endpoint("ops/work_notice/wang").await["reason"],
        Value::Null
    );
    daemon.post(&[firing("node-2")]).await;
    eventually("the other is told", async || {
        (chat.chat("wang").len() == 2).then_some(())
    })
    .await;
    assert_eq!(to(&notices(&chat)[1]), ["wang"]);
}

#[tokio::test]
async fn questions_that_are_not_answered_are_asked_again_and_the_notice_is_sent_once() {
    let chat = chat().await;
    let home = home(&chat, PEOPLE);
    let daemon = Daemon::start(&home).await;
    chat.inject(on(PROGRESS, Fault::Drop));
    chat.inject(on(RESULT, errcode(-1, None)));
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    assert_eq!(
        (asked(&chat, SEND), asked(&chat, PROGRESS), asked(&chat, RESULT)),
        (1, 2, 2)
    );
    let metrics = daemon.text("/metrics").await;
    let sample = "dingest_quota_used_this_month{quota=\"api\"} 5";
    assert!(metrics.lines().any(|line| line == sample), "{metrics}");
    assert_eq!((chat.chat("ann").len(), chat.chat("wang").len()), (1, 1));
}

#[tokio::test]
async fn a_notice_whose_fate_is_not_said_in_time_is_sent_again_and_nobody_reads_it_twice() {
    let chat = chat().await;
    let home = home(&chat, PEOPLE);
    let daemon = Daemon::start(&home).await;
    chat.inject(Injection {
        times: 0,
        ..on(PROGRESS, errcode(-1, None))
    });
    daemon.post(&[firing("node-1")]).await;
    heard(&chat, "another try", |calls| calls.len() == 2).await;
    chat.clear_faults();
    daemon.everything_is_told().await;
    assert_eq!((asked(&chat, SEND), asked(&chat, RESULT)), (2, 1));
    assert_eq!((chat.chat("ann").len(), chat.chat("wang").len()), (1, 1));
}

#[tokio::test]
async fn a_token_that_has_ended_is_renewed_for_each_of_the_three_calls() {
    let chat = chat().await;
    let home = home(&chat, PEOPLE);
    let daemon = Daemon::start(&home).await;
    for path in [SEND, PROGRESS, RESULT] {
        chat.inject(on(path, errcode(88, Some("42001"))));
    }
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    assert_eq!(chat.chat("ann").len(), 1);
    assert_eq!(chat.stats().apps[0].token_calls, 4);
}

#[tokio::test]
async fn departments_are_told_together_and_those_nobody_knows_are_logged() {
    let chat = chat().await;
    let home = home(&chat, "departments: [1, 42]");
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    assert_eq!((chat.chat("ann").len(), chat.chat("wang").len()), (1, 1));
    let event = eventually("a warning", async || {
        daemon.event("message delivered, but not to all")
    })
    .await;
    let detail = event["detail"].as_str().expect("a text");
    assert!(detail.contains("no department `42`"), "{detail}");
    assert_eq!(event["endpoint"], "work_notice/ops");
    let told = daemon.alert().await["receivers"][0].clone();
    assert_eq!(
        (&told["name"], &told["told"]["status"]),
        (&json!("ops/work_notice"), &json!("firing"))
    );
}

#[tokio::test]
async fn a_notice_that_reached_nobody_is_counted() {
    let chat = strict(SimulatorSettings {
        people: Vec::new(),
        ..organisation()
    })
    .await;
    let home = home(&chat, "departments: [1]");
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    let sample = "dingest_messages_to_nobody_total{endpoint=\"work_notice/ops\"} 1";
    daemon.shows(sample).await;
}

#[tokio::test]
async fn departments_nobody_knows_are_left_alone_until_somebody_looks() {
    let chat = chat().await;
    let home = home(&chat, "departments: [42]");
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    eventually("a pause", async || {
        let departments = daemon.endpoint("ops/work_notice").await;
        (departments["reason"] == "refused_target").then_some(())
    })
    .await;
}

#[tokio::test]
async fn everybody_is_told_three_times_a_day_and_only_once_of_what_can_wait() {
    let chat = chat().await;
    let rest = format!(
        "apps:
  - {{ name: alerts, app_key: ding1, app_secret: app-s3cret, agent_id: 7, base_url: '{}' }}
receivers:
  - {{ name: ops, work_notice: {{ app: alerts, everybody: true }} }}
route:
  receiver: ops
  group_by: [alertname]
  group_wait: 20ms
  group_interval: 20ms
  routes: [{{ matchers: [severity=critical], urgent: true }}]
",
        chat.url()
    );
    let home = Home::with(&chat, &rest);
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    let waits = async || {
        let ops = daemon.receiver("ops/work_notice").await;
        (ops["waits_for"] == "day").then_some(ops["endpoints"][0]["budget_left"].clone())
    };
    daemon.post(&[firing("node-2")]).await;
    assert_eq!(eventually("it waits", waits).await, 2);
    for node in ["node-3", "node-4"] {
        daemon.post(&[alert("Down", node, "critical")]).await;
        daemon.everything_is_told().await;
    }
    daemon.post(&[alert("Down", "node-5", "critical")]).await;
    assert_eq!(eventually("it waits", waits).await, 0);
    assert_eq!(chat.chat("ann").len(), 3, "{}", gist(&chat.ledger()));
    // Three it has had, whoever asks.
    daemon.kill();
    let daemon = Daemon::start(&home).await;
    assert_eq!(daemon.endpoint("ops/work_notice").await["budget_left"], 0);
}

#[tokio::test]
async fn killed_before_it_knows_who_got_it_it_asks_again_and_nobody_reads_it_twice() {
    let chat = chat().await;
    let home = home(&chat, PEOPLE);
    let daemon = Daemon::start(&home).await;
    chat.inject(on(PROGRESS, Fault::Hang(600_000)));
    daemon.post(&[firing("node-1")]).await;
    heard(&chat, "a notice", |calls| calls.iter().any(|call| call.notice)).await;
    daemon.kill();
    chat.clear_faults();
    let daemon = Daemon::start(&home).await;
    daemon.everything_is_told().await;
    let calls = notices(&chat);
    assert_eq!(calls.len(), 2, "{}", gist(&chat.ledger()));
    assert_eq!(calls[0].body_sha256, calls[1].body_sha256);
    for user in ["wang", "ann"] {
        assert_eq!(chat.chat(user).len(), 1);
    }
}

#[tokio::test]
async fn the_command_line_sends_a_notice_to_each_and_says_what_came_of_it() {
    let chat = chat().await;
    let home = home(&chat, "users: [wang, gone], departments: [1]");
    let output = {
        let mut command = home.command("send");
        command.arg("ops");
        tokio::task::spawn_blocking(move || command.output().expect("the program runs"))
    };
    let output = output.await.expect("a task");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert_eq!(lines[0], "work_notice/ops: delivered ok");
    assert!(
        lines[1].starts_with("work_notice/ops/gone: refused_person "),
        "{said}"
    );
    assert_eq!(lines[2], "work_notice/ops/wang: delivered ok");
}
