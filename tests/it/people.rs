//! Receivers of several kinds, and people whom an app writes to: one call for those who read the same, and what comes
//! of it when it does not reach all of them.

use dingest::dingtalk::simulator::fault::{Fault, Injection};
use dingest::dingtalk::simulator::rules::Call;
use dingest::dingtalk::simulator::{Simulator, SimulatorSettings};
use serde_json::{Value, json};

use crate::alerts::firing;
use crate::chat::{PEOPLE_SEND, gist, heard, on, organisation, strict, to};
use crate::daemon::{Daemon, Home};
use crate::eventually;

/// A stand-in with a bot `ops`, an app `alerts`, a group that the app's bot is in, and two people.
async fn chat() -> Simulator {
    strict(SimulatorSettings {
        bots: vec!["ops@group:token-ops".parse().expect("a bot's description")],
        ..organisation()
    })
    .await
}

/// The receiver `ops` is told as `ways` say, by default in all of them.
fn home(chat: &Simulator, ways: &str) -> Home {
    Home::with(
        chat,
        &format!(
            "apps:
  - {{ name: alerts, app_key: ding1, app_secret: app-s3cret, agent_id: 7, base_url: '{}' }}
bots:
  - {{ name: ops, access_token: token-ops }}
receivers:
  - {{ name: ops, {ways} }}
  - {{ name: unused, direct: {{ app: alerts, users: [ann] }} }}
route: {{ receiver: ops, group_by: [alertname], group_wait: 20ms, group_interval: 20ms }}
",
            chat.url()
        ),
    )
}

const EVERYTHING: &str = "bots: [ops], group: { app: alerts, conversation: cidA== }, \
                          direct: { app: alerts, users: [wang, ann] }";
const PEOPLE: &str = "direct: { app: alerts, users: [wang, ann] }";

/// The calls that wrote to people.
fn calls(chat: &Simulator) -> Vec<Call> {
    let mut calls = chat.ledger();
    calls.retain(|call| !call.people.is_empty());
    calls
}

fn to_people(fault: Fault) -> Injection {
    on(PEOPLE_SEND, fault)
}

#[tokio::test]
async fn a_receiver_of_several_kinds_is_told_in_all_of_them_and_people_by_one_call() {
    let chat = chat().await;
    let home = home(&chat, EVERYTHING);
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    assert_eq!(chat.messages().len(), 3, "{}", gist(&chat.ledger()));
    assert!(
        chat.messages()
            .iter()
            .all(|call| call.content.text.contains("node-1"))
    );
    let calls = calls(&chat);
    assert_eq!((calls.len(), to(&calls[0])), (1, vec!["ann", "wang"]));
    for user in ["wang", "ann"] {
        assert_eq!(chat.chat(user).len(), 1);
    }
    let alert = daemon.alert().await;
    let names: Vec<_> = (alert["receivers"].as_array().expect("a list").iter())
        .map(|receiver| (&receiver["name"], &receiver["told"]["status"]))
        .collect();
    let names: Vec<_> = names
        .iter()
        .map(|(name, told)| (name.as_str().unwrap_or(""), *told))
        .collect();
    let told = &json!("firing");
    assert_eq!(
        names,
        [
            ("ops", told),
            ("ops/group", told),
            ("ops/direct/ann", told),
            ("ops/direct/wang", told)
        ]
    );
    for (query, count) in [("ops", 4), ("ops/direct", 2), ("ops/direct/ann", 1), ("op", 0)] {
        let path = format!("/api/v1/digests?receiver={query}");
        let digests = daemon.api(&path).await;
        assert_eq!(
            digests["digests"].as_array().map(Vec::len),
            Some(count),
            "{query}"
        );
        let path = format!("/api/v1/alerts?receiver={query}");
        assert_eq!(daemon.api(&path).await["total"], u64::from(count > 0), "{query}");
    }
    let metrics = daemon.text("/metrics").await;
    for sample in [
        "dingest_messages_total{endpoint=\"direct/ops\",outcome=\"delivered\"} 2",
        "dingest_endpoint_used_this_month{endpoint=\"direct/ops\"} 1",
        "dingest_quota_used_this_month{quota=\"api\"} 2",
    ] {
        let found = metrics.lines().any(|line| line == sample);
        assert!(found, "{sample} is missing in\n{metrics}");
    }
    assert!(!metrics.contains("ann"), "{metrics}");
}

#[tokio::test]
async fn a_person_whom_nobody_knows_is_told_to_the_operator_once_and_the_others_are_told_everything() {
    for way in ["direct", "work_notice"] {
        let chat = chat().await;
        let home = home(
            &chat,
            &format!("{way}: {{ app: alerts, users: [wang, gone, ann] }}"),
        );
        let daemon = Daemon::start(&home).await;
        for node in ["node-1", "node-2"] {
            daemon.post(&[firing(node)]).await;
            eventually("the others are told", async || {
                let told = |user| {
                    chat.chat(user)
                        .iter()
                        .any(|call| call.content.text.contains(node))
                };
                let known = daemon.receiver(&format!("ops/{way}/ann")).await["changes"] == 0;
                (told("ann") && told("wang") && known).then_some(())
            })
            .await;
        }
        let whom: Vec<_> = calls(&chat).iter().map(|call| to(call).join(" ")).collect();
        assert_eq!(whom, ["ann gone wang", "ann wang"]);
        let gone = daemon.endpoint(&format!("ops/{way}/gone")).await;
        assert_eq!(
            (
                &gone["kind"],
                &gone["reason"],
                &gone["paused_until"],
                &gone["budget_left"]
            ),
            (&json!(way), &json!("refused_person"), &Value::Null, &json!(0))
        );
        let name = format!("{way}/ops/gone");
        let warned = |log: &[String]| {
            let of_gone = |line: &&String| line.contains("endpoint paused") && line.contains(&name);
            log.iter().filter(of_gone).count()
        };
        assert_eq!(warned(&daemon.log()), 1);
        let sample = format!("dingest_endpoint_paused{{endpoint=\"{way}/ops\",reason=\"refused_person\"}} 1");
        daemon.shows(&sample).await;
        // Somebody has looked at it.
        let reloaded = daemon.http().post(daemon.url("/-/reload")).send().await;
        assert!(reloaded.expect("an answer").status().is_success());
        heard(&chat, "another try", |calls| {
            calls.last().map(to) == Some(vec!["gone"])
        })
        .await;
        eventually("another warning", async || {
            (warned(&daemon.log()) == 2).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn who_is_written_to_too_often_is_left_alone_for_a_while_and_nobody_else_is() {
    let chat = chat().await;
    let home = home(&chat, EVERYTHING);
    let daemon = Daemon::start(&home).await;
    chat.inject(to_people(Fault::FlowControlledStaff(vec!["ann".to_owned()])));
    daemon.post(&[firing("node-1")]).await;
    eventually("a pause", async || {
        let ann = daemon.endpoint("ops/direct/ann").await;
        (ann["reason"] == "throttled" && ann["paused_until"].is_string()).then_some(())
    })
    .await;
    daemon.post(&[firing("node-2")]).await;
    eventually("the others are told", async || {
        let told = |call: &Call| call.content.text.contains("node-2");
        let in_groups = chat.messages().iter().filter(|call| told(call)).count();
        (in_groups == 3 && chat.chat("wang").iter().any(told)).then_some(())
    })
    .await;
    assert_eq!(chat.chat("ann"), []);
    assert_eq!(chat.chat("wang").len(), 2);
    assert_eq!(daemon.endpoint("ops/direct/wang").await["reason"], Value::Null);
    assert_eq!(
        daemon.receiver("ops/group").await["endpoints"][0]["reason"],
        Value::Null
    );
    let ann = daemon.receiver("ops/direct/ann").await;
    assert_eq!((&ann["changes"], &ann["waits_for"]), (&json!(2), &json!("pause")));
}

#[tokio::test]
async fn a_call_that_is_refused_for_one_of_several_people_is_made_for_fewer() {
    let chat = chat().await;
    let home = home(&chat, "direct: { app: alerts, users: [wang, ann, gone] }");
    let daemon = Daemon::start(&home).await;
    chat.inject(to_people(Fault::Code {
        http_status: 400,
        code: "staffId.notExisted".to_owned(),
        message: None,
    }));
    daemon.post(&[firing("node-1")]).await;
    eventually("everybody's answer", async || {
        let gone = daemon.endpoint("ops/direct/gone").await;
        (gone["reason"] == "refused_person").then_some(())
    })
    .await;
    let calls = calls(&chat);
    let whom: Vec<_> = calls.iter().map(to).collect();
    assert_eq!(
        whom,
        [vec!["ann", "gone", "wang"], vec!["ann"], vec!["gone", "wang"]]
    );
    assert_eq!((chat.chat("ann").len(), chat.chat("wang").len()), (1, 1));
    daemon
        .shows("dingest_quota_used_this_month{quota=\"api\"} 3")
        .await;
}

#[tokio::test]
async fn what_may_have_arrived_is_sent_to_people_again_once() {
    let chat = chat().await;
    let home = home(&chat, PEOPLE);
    let daemon = Daemon::start(&home).await;
    chat.inject(to_people(Fault::AcceptDrop));
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    for user in ["wang", "ann"] {
        let shown = chat.chat(user);
        assert_eq!(shown.len(), 2, "{}", gist(&chat.ledger()));
        assert_eq!(shown[0].content, shown[1].content);
    }
}

#[tokio::test]
async fn the_command_line_writes_to_each_and_says_what_came_of_it() {
    let chat = chat().await;
    let home = home(&chat, "bots: [ops], direct: { app: alerts, users: [wang, gone] }");
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
    assert_eq!(lines[0], "ops: delivered ok");
    assert!(lines[1].starts_with("direct/ops/gone: refused_person "), "{said}");
    assert_eq!(lines[2], "direct/ops/wang: delivered ok");
    assert_eq!(chat.chat("wang").len(), 1);
}

/// The path of the look-up by number.
const BY_MOBILE: &str = "/topapi/v2/user/getbymobile";

#[tokio::test]
async fn people_can_be_named_by_what_is_known_of_them_and_are_looked_up_once() {
    let chat = chat().await;
    let home = home(
        &chat,
        "direct: { app: alerts, users: ['mobile:13800000000', 'mobile:13900000000', ann] }",
    );
    let daemon = Daemon::start(&home).await;
    for (node, number) in [("node-1", 1), ("node-2", 2)] {
        daemon.post(&[firing(node)]).await;
        heard(&chat, "a call for those who exist", |calls| calls.len() >= number).await;
    }
    eventually("what became of both", async || {
        (chat.chat("wang").len() == 2 && chat.chat("ann").len() == 2).then_some(())
    })
    .await;
    for call in calls(&chat) {
        assert_eq!(to(&call), ["ann", "wang"]);
    }
    let nobody = daemon.endpoint("ops/direct/mobile:13900000000").await;
    assert_eq!(nobody["reason"], "refused_person");
    let told = daemon.endpoint("ops/direct/mobile:13800000000").await;
    assert_eq!(told["reason"], Value::Null);
    // One for each of the two numbers.
    assert_eq!(chat.stats().apps[0].calls[BY_MOBILE], 2);
}

#[tokio::test]
async fn a_look_up_that_fails_is_tried_again_and_nobody_misses_anything() {
    let chat = chat().await;
    let home = home(&chat, "direct: { app: alerts, users: ['unionid:un-wang', ann] }");
    let daemon = Daemon::start(&home).await;
    let look_up = |fault| Injection {
        path: Some("/topapi/user/getbyunionid".to_owned()),
        ..Injection::next(fault)
    };
    let errcode = |errcode, sub_code: Option<&str>| Fault::Errcode {
        errcode,
        errmsg: None,
        sub_code: sub_code.map(str::to_owned),
    };
    // The token is renewed at once; a busy server and a lost connection take a moment.
    for fault in [errcode(88, Some("40014")), errcode(-1, None), Fault::Drop] {
        chat.inject(look_up(fault));
    }
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    assert_eq!((chat.chat("wang").len(), chat.chat("ann").len()), (1, 1));
    assert_eq!(chat.stats().apps[0].token_calls, 2);
}

#[tokio::test]
async fn who_was_looked_up_is_known_after_a_crash_although_nobody_can_be_looked_up() {
    let chat = chat().await;
    let home = home(&chat, "direct: { app: alerts, users: ['mobile:13800000000'] }");
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    daemon.kill();
    chat.inject(Injection {
        path: Some(BY_MOBILE.to_owned()),
        ..Injection::times(0, Fault::HttpStatus(502))
    });
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-2")]).await;
    daemon.everything_is_told().await;
    assert_eq!(chat.chat("wang").len(), 2);
    assert_eq!(chat.stats().apps[0].calls[BY_MOBILE], 1);
}

#[tokio::test]
async fn of_a_mobile_number_others_read_the_end() {
    let chat = chat().await;
    let ways = "direct: { app: alerts, users: ['mobile:13912345678'] }, fallback: unused";
    let home = home(&chat, ways);
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    let told = heard(&chat, "the fallback", |calls| !calls.is_empty()).await;
    assert_eq!(to(&told[0]), ["ann"]);
    for text in [&told[0].content.text, &daemon.text("/alerts").await] {
        assert!(
            text.contains("mobile:…5678") && !text.contains("13912345678"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn who_is_refused_is_looked_up_again_after_a_start() {
    let chat = chat().await;
    let home = home(&chat, "direct: { app: alerts, users: ['mobile:13800000000'] }");
    let daemon = Daemon::start(&home).await;
    chat.inject(to_people(Fault::InvalidStaff(Vec::new())));
    daemon.post(&[firing("node-1")]).await;
    eventually("a refusal", async || {
        let person = daemon.endpoint("ops/direct/mobile:13800000000").await;
        (person["reason"] == "refused_person").then_some(())
    })
    .await;
    daemon.kill();
    let daemon = Daemon::start(&home).await;
    let reloaded = daemon.http().post(daemon.url("/-/reload")).send().await;
    assert!(reloaded.expect("an answer").status().is_success());
    daemon.everything_is_told().await;
    assert_eq!(chat.chat("wang").len(), 1);
    assert_eq!(chat.stats().apps[0].calls[BY_MOBILE], 2);
}
