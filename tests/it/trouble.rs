//! DingTalk in trouble: down, refusing in every way it knows, answering nonsense, silent.
//!
//! After each the API says what the receiver waits for and why, and nothing is lost.

use dingest::dingtalk::simulator::Simulator;
use dingest::dingtalk::simulator::fault::{Fault, Injection};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::alerts::{alert, firing};
use crate::chat::{bots, chat, chat_on, gist, heard, names, told};
use crate::daemon::{Daemon, Home, configuration};
use crate::eventually;

/// What becomes of an alert after the trouble is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It is told by itself, in a message of its own making.
    Told,
    /// The same message is sent again under the same `msgUuid`.
    Resent,
    /// It is told when the configuration is loaded again: an operator had to act.
    ToldAfterReload,
    /// It waits for the end of a pause that is too long for a test, also after a restart.
    Waits,
}

struct Case {
    name: &'static str,
    fault: Fault,
    /// What the receiver waits for.
    waits_for: &'static str,
    /// Why its bot is silent.
    reason: Option<&'static str>,
    then: Then,
}

const fn case(
    name: &'static str,
    fault: Fault,
    waits_for: &'static str,
    reason: Option<&'static str>,
    then: Then,
) -> Case {
    Case {
        name,
        fault,
        waits_for,
        reason,
        then,
    }
}

fn errcode(errcode: i64) -> Fault {
    Fault::Errcode {
        errcode,
        errmsg: None,
        sub_code: None,
    }
}

fn security(errmsg: &str) -> Fault {
    Fault::Errcode {
        errcode: 310_000,
        errmsg: Some(errmsg.to_owned()),
        sub_code: None,
    }
}

fn one_bot() -> String {
    format!(
        "{}receivers:
  - {{ name: ops, bots: [ops] }}
route: {{ receiver: ops, group_by: [alertname], group_wait: 20ms, group_interval: 20ms }}
",
        bots(&["ops"])
    )
}

#[tokio::test]
async fn whatever_dingtalk_answers_the_api_says_what_is_waited_for_and_nothing_is_lost() {
    use Then::{Resent, Told, ToldAfterReload, Waits};
    let paused = |reason| ("pause", Some(reason));
    let refused = |name, fault, reason| case(name, fault, "pause", Some(reason), ToldAfterReload);
    let silent = |name, fault, reason| {
        let (waits_for, reason) = paused(reason);
        case(name, fault, waits_for, reason, Waits)
    };
    let again = |name, fault| case(name, fault, "backoff", None, Told);
    let doubtful = |name, fault| case(name, fault, "backoff", None, Resent);
    let cases = [
        again("busy", errcode(-1)),
        again("an internal error", errcode(500_100)),
        again("a code nobody knows", errcode(987_654)),
        silent("too many messages", errcode(130_101), "limited"),
        silent("too many requests", Fault::HttpStatus(429), "limited"),
        silent("a limit with the members of a block", Fault::Mixed, "limited"),
        silent("the page of a block", Fault::Html, "blocked"),
        silent("the JSON of a block", Fault::Punish, "blocked"),
        refused("no quota left", errcode(90_030), "quota"),
        refused("an unknown token", errcode(300_005), "refused_token"),
        refused("a stopped bot", errcode(400_102), "refused_token"),
        refused(
            "a missing keyword",
            security("keywords not in content"),
            "refused_keyword",
        ),
        refused(
            "a wrong signature",
            security("sign not match"),
            "refused_signature",
        ),
        refused("an old signature", security("invalid timestamp"), "refused_clock"),
        refused(
            "a foreign address",
            security("ip 192.0.2.1 not in whitelist"),
            "refused_address",
        ),
        refused(
            "another security rule",
            security("something new"),
            "refused_other",
        ),
        refused(
            "a redirect",
            Fault::RedirectTo("http://127.0.0.1:9/robot/send".to_owned()),
            "refused_other",
        ),
        refused("no such path", Fault::HttpStatus(404), "refused_other"),
        doubtful("an error of the server", Fault::HttpStatus(500)),
        doubtful("a gateway's error", Fault::HttpStatus(502)),
        doubtful("an empty answer", Fault::Empty),
        doubtful("half an answer", Fault::Cut),
        doubtful("a closed connection", Fault::Drop),
        doubtful("a closed connection after it was accepted", Fault::AcceptDrop),
        doubtful("no answer", Fault::Hang(600_000)),
        doubtful("no answer after it was accepted", Fault::AcceptHang(600_000)),
    ];
    join_all(cases.into_iter().map(check)).await;
}

async fn check(case: Case) {
    let name = case.name;
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &one_bot());
    let daemon = Daemon::start(&home).await;
    chat.inject(Injection::times(0, case.fault.clone()));
    daemon.post(&[firing("node-1")]).await;
    waits(&daemon, &case).await;
    let waiting = daemon.alert().await;
    assert_eq!(waiting["receivers"][0]["told"], json!(null), "{name}");
    assert_eq!(waiting["receivers"][0]["change"], "new", "{name}");

    chat.clear_faults();
    let tried = chat.ledger();
    match case.then {
        Then::Told | Then::Resent => {}
        Then::ToldAfterReload => reload(&daemon).await,
        Then::Waits => {
            daemon.kill();
            let daemon = Daemon::start(&home).await;
            waits(&daemon, &case).await;
            assert_eq!(chat.ledger().len(), 1, "{name}: {}", gist(&chat.ledger()));
            assert_eq!(daemon.alert().await["receivers"][0]["change"], "new", "{name}");
            return;
        }
    }
    daemon.everything_is_told().await;
    assert_eq!(
        told(&chat, "node-"),
        ["node-1"],
        "{name}: {}",
        gist(&chat.ledger())
    );
    assert_eq!(
        daemon.alert().await["receivers"][0]["told"]["status"],
        "firing",
        "{name}"
    );
    let ledger = chat.ledger();
    let (first, last) = (&tried[0], ledger.last().expect("a call"));
    let same = (&first.msg_uuid, &first.body_sha256) == (&last.msg_uuid, &last.body_sha256);
    assert_eq!(same, case.then == Then::Resent, "{name}: {}", gist(&ledger));
}

/// Waits until the API says that the receiver waits for what the case names, and why.
async fn waits(daemon: &Daemon, case: &Case) {
    let what = format!(
        "after {}: waits for {} {:?}",
        case.name, case.waits_for, case.reason
    );
    eventually(&what, async || {
        let receiver = daemon.receiver("ops").await;
        let bot = &receiver["endpoints"][0];
        let so = receiver["waits_for"] == case.waits_for
            && bot["reason"] == json!(case.reason)
            && receiver["changes"] == 1
            && receiver["due_at"].is_string()
            && bot["paused_until"].is_string() == case.reason.is_some();
        so.then_some(())
    })
    .await;
}

async fn reload(daemon: &Daemon) {
    let asked = daemon.http().post(daemon.url("/-/reload")).send().await;
    assert_eq!(asked.expect("an answer").status().as_u16(), 200);
}

#[tokio::test]
async fn while_dingtalk_is_down_alerts_wait_and_are_told_when_it_is_back() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &one_bot());
    let address: std::net::SocketAddr = chat
        .url()
        .strip_prefix("http://")
        .and_then(|address| address.parse().ok())
        .expect("an address");
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    heard(&chat, "the first alert is told", |calls| calls.len() == 1).await;
    daemon.everything_is_told().await;

    chat.shutdown().await;
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(address).expect("the port is free again");
    daemon.post(&[firing("node-2"), firing("node-3")]).await;
    eventually("the receiver waits for the next try", async || {
        let receiver = daemon.receiver("ops").await;
        (receiver["waits_for"] == "backoff" && receiver["changes"] == 2).then_some(())
    })
    .await;
    let digests = daemon.api("/api/v1/digests?limit=1").await;
    assert_eq!(digests["digests"][0]["outcome"], "retry", "{digests}");

    let chat = chat_on(&["ops"], socket.listen(64).expect("it listens"));
    daemon.everything_is_told().await;
    assert_eq!(
        told(&chat, "node-"),
        ["node-2", "node-3"],
        "{}",
        gist(&chat.ledger())
    );
    assert_eq!(chat.ledger().len(), 1, "one digest tells what waited");
}

#[tokio::test]
async fn another_bot_of_the_group_takes_over_at_once() {
    let chat = chat(&["ops-1", "ops-2"]).await;
    let rest = format!(
        "{}receivers:
  - {{ name: ops, bots: [ops-1, ops-2] }}
route: {{ receiver: ops, group_wait: 20ms, group_interval: 20ms }}
",
        bots(&["ops-1", "ops-2"])
    );
    for (fault, reason) in [
        (errcode(130_101), "limited"),
        (errcode(90_030), "quota"),
        (errcode(300_005), "refused_token"),
    ] {
        let home = Home::with(&chat, &rest);
        let daemon = Daemon::start(&home).await;
        chat.clear();
        chat.inject(Injection {
            bot: Some("ops-1".to_owned()),
            ..Injection::times(0, fault)
        });
        daemon.post(&[firing("node-1")]).await;
        daemon.everything_is_told().await;
        let carriers: Vec<_> = chat
            .ledger()
            .into_iter()
            .map(|call| (call.bot, call.shown))
            .collect();
        assert_eq!(
            carriers,
            [("ops-1".to_owned(), false), ("ops-2".to_owned(), true)],
            "{reason}"
        );
        let receiver = daemon.receiver("ops").await;
        assert_eq!(receiver["endpoints"][0]["reason"], reason);
        assert_eq!(receiver["endpoints"][1]["reason"], json!(null));
        assert_eq!(receiver["waits_for"], json!(null));
        chat.clear_faults();
    }
}

#[tokio::test]
async fn a_receiver_whose_bots_are_all_refused_is_told_through_its_fallback_which_says_so() {
    let chat = chat(&["ops", "lobby"]).await;
    let rest = format!(
        "{}receivers:
  - {{ name: ops, bots: [ops], fallback: lobby }}
  - {{ name: lobby, bots: [lobby] }}
route:
  receiver: ops
  group_wait: 20ms
  group_interval: 20ms
  routes:
    - {{ matchers: ['severity=\"critical\"'], urgent: true }}
",
        bots(&["ops", "lobby"])
    );
    let ops = |fault| Injection {
        bot: Some("ops".to_owned()),
        ..Injection::times(0, fault)
    };
    for (fault, reason) in [
        (errcode(300_005), "refused_token"),
        (security("sign not match"), "refused_signature"),
        (errcode(90_030), "quota"),
    ] {
        let home = Home::with(&chat, &rest);
        let daemon = Daemon::start(&home).await;
        chat.clear();
        chat.inject(ops(fault));
        daemon.post(&[firing("node-1")]).await;
        daemon.everything_is_told().await;
        let shown = chat.messages();
        assert_eq!(shown.len(), 1, "{reason}: {}", gist(&chat.ledger()));
        assert_eq!(shown[0].bot, "lobby", "{reason}");
        let text = &shown[0].content.text;
        let said = format!(": ops is paused ({})", reason.replace('_', " "));
        assert!(text.contains("node-1") && text.contains(&said), "{text}");
        chat.clear_faults();
    }

    // A pause that passes by itself: only what is urgent goes through the fallback.
    let home = Home::with(&chat, &rest);
    let daemon = Daemon::start(&home).await;
    chat.clear();
    chat.inject(ops(errcode(130_101)));
    daemon.post(&[firing("node-1")]).await;
    eventually("it waits for the pause", async || {
        (daemon.receiver("ops").await["waits_for"] == "pause").then_some(())
    })
    .await;
    assert_eq!(chat.messages(), []);
    daemon
        .post(&[alert("CoreSwitchDown", "core-1", "critical")])
        .await;
    daemon.everything_is_told().await;
    let text = &chat.messages()[0].content.text;
    assert!(
        text.contains("core-1") && text.contains("node-1"),
        "whatever waits goes along: {text}"
    );
}

#[tokio::test]
async fn what_dingtalk_refuses_for_its_content_is_told_in_numbers() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &one_bot());
    let daemon = Daemon::start(&home).await;
    chat.inject(Injection::next(errcode(430_102)));
    daemon.post(&[firing("node-1"), firing("node-2")]).await;
    daemon.everything_is_told().await;
    let shown = chat.messages();
    assert_eq!(shown.len(), 1, "{}", gist(&chat.ledger()));
    let text = &shown[0].content.text;
    assert!(
        names(text, "node-").is_empty() && !text.contains("NodeDown"),
        "{text}"
    );
    assert!(text.contains("2 new") && text.contains("430102"), "{text}");

    // The next digest is a whole one again.
    daemon.post(&[firing("node-3")]).await;
    daemon.everything_is_told().await;
    assert_eq!(told(&chat, "node-"), ["node-3"]);
}

#[tokio::test]
async fn what_dingtalk_refuses_for_its_size_is_told_in_less() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &one_bot());
    let daemon = Daemon::start(&home).await;
    chat.inject(Injection::next(errcode(460_101)));
    let alerts: Vec<Value> = (0..300)
        .map(|number| firing(&format!("node-{number:03}")))
        .collect();
    daemon.post(&alerts).await;
    daemon.everything_is_told().await;
    let ledger = chat.ledger();
    let shown = chat.messages();
    let largest = shown.iter().map(|call| call.body_bytes).max();
    assert!(
        largest.is_some_and(|bytes| bytes <= 9_000 && bytes < ledger[0].body_bytes),
        "{largest:?}; {}",
        gist(&ledger)
    );
    assert!(
        shown[0].content.text.contains("300 new"),
        "{}",
        shown[0].content.text
    );
}

#[tokio::test]
async fn an_answer_that_is_slow_or_oddly_written_is_an_answer_all_the_same() {
    let chat: Simulator = chat(&["ops"]).await;
    let home = Home::with(&chat, &one_bot());
    let daemon = Daemon::start(&home).await;
    for (node, fault) in [("node-1", Fault::Slow(300)), ("node-2", Fault::StringErrcode)] {
        chat.inject(Injection::next(fault));
        daemon.post(&[firing(node)]).await;
        daemon.everything_is_told().await;
    }
    assert_eq!(chat.ledger().len(), 2, "{}", gist(&chat.ledger()));
    assert_eq!(told(&chat, "node-"), ["node-1", "node-2"]);
}

#[tokio::test]
async fn a_wrong_secret_is_noticed_and_put_right_by_a_reload() {
    let chat = chat(&["ops"]).await;
    let home = Home::new();
    let right = configuration(chat.url(), &one_bot());
    home.configure(&right.replace("SECops", "SECwrong"));
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    eventually("the bot is refused", async || {
        let receiver = daemon.receiver("ops").await;
        (receiver["endpoints"][0]["reason"] == "refused_signature").then_some(())
    })
    .await;
    home.configure(&right);
    daemon.everything_is_told().await;
    assert_eq!(told(&chat, "node-"), ["node-1"]);
}
