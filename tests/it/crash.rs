//! Killed without a warning, again and again: what was answered 2xx is told, and nothing is told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use dingest::dingtalk::simulator::Simulator;
use dingest::dingtalk::simulator::fault::{Fault, Injection};
use dingest::dingtalk::simulator::rules::Call;

use crate::alerts::firing;
use crate::chat::{bots, chat, gist, heard, told};
use crate::daemon::{Daemon, Home, Poster};
use crate::eventually;

const KILLS: usize = 20;
const POSTERS: usize = 4;
/// Longer than the test: the daemon does not live to see the end of it.
const HANGS_MILLIS: u64 = 600_000;

/// The nodes whose alerts were answered 200.
type Promised = Arc<Mutex<BTreeSet<String>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_twenty_times_it_tells_all_it_promised_and_nothing_twice() {
    // Enough bots that the minute is never used up.
    let names = ["ops-1", "ops-2", "ops-3", "ops-4", "ops-5", "ops-6"];
    let chat = chat(&names).await;
    let rest = format!(
        "{}receivers:
  - {{ name: ops, bots: [{}], max_messages: 10 }}
route: {{ receiver: ops, group_by: [alertname], group_wait: 20ms, group_interval: 20ms }}
",
        bots(&names),
        names.join(", ")
    );
    let home = Home::with(&chat, &rest);
    let promised = Promised::default();
    for round in 0..KILLS {
        let daemon = Daemon::start(&home).await;
        if round % 2 == 0 {
            in_the_middle_of_intake(&daemon, &promised, round).await;
        } else {
            let fault = if round % 4 == 1 {
                Fault::AcceptHang
            } else {
                Fault::Hang
            };
            in_the_middle_of_a_send(&daemon, &chat, &promised, fault(HANGS_MILLIS), round).await;
        }
        daemon.kill();
        chat.clear_faults();
    }
    let daemon = Daemon::start(&home).await;
    daemon.everything_is_told().await;
    judge(&chat, &lock(&promised).clone());
}

/// Whoever read its log has ended (a pipe, a log shipper), or the log's disk is full: no reason to end as well.
#[tokio::test]
async fn a_log_that_nobody_reads_any_more_disturbs_nobody() {
    let chat = chat(&["ops"]).await;
    let rest = format!(
        "{}receivers: [{{ name: ops, bots: [ops] }}]
route: {{ receiver: ops, group_wait: 20ms, group_interval: 20ms }}
",
        bots(&["ops"])
    );
    let home = Home::with(&chat, &rest);
    let daemon = Daemon::start(&home).await;
    daemon.hang_up();
    daemon.post(&[firing("node-1")]).await;
    eventually("nobody reads its log", async || daemon.is_unheard().then_some(())).await;
    daemon.post(&[firing("node-2")]).await;
    eventually("both are told", async || {
        (told(&chat, "node-").len() == 2).then_some(())
    })
    .await;
    daemon.signal("TERM");
    let (status, _) = daemon.ended().await;
    assert!(status.success(), "{status}");
}

/// As behind `| head`.
#[tokio::test]
async fn an_answer_that_nobody_reads_is_no_failure() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &bots(&["ops"]));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut check = home.command("check");
    check.stdout(writer);
    let ended = tokio::task::spawn_blocking(move || check.output()).await;
    let ended = ended.expect("a task").expect("the program runs");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

/// Returns while several senders are posting, after some of them were answered.
async fn in_the_middle_of_intake(daemon: &Daemon, promised: &Promised, round: usize) {
    let before = lock(promised).len();
    for number in 0..POSTERS {
        let prefix = format!("node-{round}-{number}");
        tokio::spawn(post_until_refused(daemon.poster(), prefix, Arc::clone(promised)));
    }
    eventually("some alerts are taken", async || {
        (lock(promised).len() >= before + 3 + round).then_some(())
    })
    .await;
}

/// Posts a new alert after the other until there is no answer.
async fn post_until_refused(poster: Poster, prefix: String, promised: Promised) {
    for number in 0.. {
        let node = format!("{prefix}-{number}");
        if poster.post(&[firing(&node)]).await != Some(200) {
            return;
        }
        lock(&promised).insert(node);
    }
}

/// Returns while a message is on its way to which no answer comes.
async fn in_the_middle_of_a_send(
    daemon: &Daemon,
    chat: &Simulator,
    promised: &Promised,
    fault: Fault,
    round: usize,
) {
    let before = chat.ledger().len();
    chat.inject(Injection::next(fault));
    let node = format!("node-{round}");
    daemon.post(&[firing(&node)]).await;
    lock(promised).insert(node);
    heard(chat, "a message hangs", |calls| {
        calls.iter().skip(before).any(|call| call.fault.is_some())
    })
    .await;
}

fn judge(chat: &Simulator, promised: &BTreeSet<String>) {
    let ledger = chat.ledger();
    let told = told(chat, "node-");
    let told_once: BTreeSet<String> = told.iter().cloned().collect();
    let lost: Vec<_> = promised.difference(&told_once).collect();
    assert!(
        lost.is_empty(),
        "answered 200 and never told: {lost:?}; {}",
        gist(&ledger)
    );
    assert_eq!(told.len(), told_once.len(), "told twice; {}", gist(&ledger));

    let mut by_uuid: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in &ledger {
        let uuid = call.msg_uuid.as_deref().expect("every message has a msgUuid");
        by_uuid.entry(uuid).or_default().push(call);
    }
    for calls in by_uuid.values() {
        assert!(
            calls.iter().all(|call| call.body_sha256 == calls[0].body_sha256),
            "other bytes under one msgUuid; {}",
            gist(&ledger)
        );
        assert_eq!(
            calls.iter().filter(|call| call.shown).count(),
            1,
            "shown other than once; {}",
            gist(&ledger)
        );
        let settled = calls.last().expect("a call");
        assert_eq!(
            (settled.errcode, settled.fault),
            (Some(0), None),
            "a message without a known outcome was not sent again; {}",
            gist(&ledger)
        );
    }
    let hung = |name| ledger.iter().filter(|call| call.fault == Some(name)).count();
    assert_eq!((hung("accept_hang"), hung("hang")), (KILLS / 4, KILLS / 4));
    let folded = ledger.iter().filter(|call| call.same_bytes == Some(true)).count();
    assert!(
        folded >= KILLS / 4,
        "what was accepted without an answer came again; {}",
        gist(&ledger)
    );
    assert!(
        chat.stats().bots.iter().all(|bot| bot.penalties == 0),
        "{:?}",
        chat.stats()
    );
}

fn lock(promised: &Promised) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
    promised.lock().unwrap_or_else(PoisonError::into_inner)
}
