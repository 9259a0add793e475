//! A store in trouble: somebody else has it, it is damaged, it is newer, it is full.

use std::process::{Command, Output};

use dingest::dingtalk::simulator::Simulator;
use dingest::dingtalk::simulator::fault::{Fault, Injection};

use crate::alerts::firing;
use crate::chat::{bots, chat, gist, heard, told};
use crate::daemon::{Daemon, Home};
use crate::eventually;

fn home(chat: &Simulator) -> Home {
    let rest = format!(
        "{}receivers:
  - {{ name: ops, bots: [ops] }}
route: {{ receiver: ops, group_by: [alertname], group_wait: 20ms, group_interval: 20ms }}
",
        bots(&["ops"])
    );
    Home::with(chat, &rest)
}

/// The start was refused with a sentence that holds these words.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let sentence = said.lines().last().unwrap_or_default();
    assert!(sentence.starts_with("dingest: `"), "{said}");
    for word in words {
        assert!(sentence.contains(word), "{word} in {said}");
    }
}

#[tokio::test]
async fn a_second_daemon_on_the_same_file_is_refused_and_the_first_is_not_disturbed() {
    let chat = chat(&["ops"]).await;
    let home = home(&chat);
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-1")]).await;
    refused(
        &home.output("run").await,
        &["dingest.db", "in use by another dingest", "store.path"],
    );
    daemon.post(&[firing("node-2")]).await;
    daemon.everything_is_told().await;
    let mut told = told(&chat, "node-");
    told.sort();
    assert_eq!(told, ["node-1", "node-2"]);
    daemon.kill();
    // The lock went with its owner.
    Daemon::start(&home).await;
}

/// The backup of a running daemon in docs/operations.md: what is copied is what a power cut would have left.
#[tokio::test]
async fn file_and_log_copied_while_the_process_is_held_still_are_a_backup() {
    let chat = chat(&["ops"]).await;
    let (here, there) = (home(&chat), home(&chat));
    let daemon = Daemon::start(&here).await;
    for node in 0..50 {
        daemon.post(&[firing(&format!("node-{node}"))]).await;
    }
    daemon.signal("STOP");
    let stat = format!("/proc/{}/stat", daemon.pid());
    eventually("it is held still", async || {
        let stat = std::fs::read_to_string(&stat).expect("a process");
        stat.contains(") T ").then_some(())
    })
    .await;
    for file in ["dingest.db", "dingest.db-wal"] {
        std::fs::copy(here.path(file), there.path(file)).expect("it is copied");
    }
    daemon.signal("CONT");
    daemon.post(&[firing("node-50")]).await;
    let held = async |daemon: &Daemon| daemon.api("/api/v1/status").await["alerts"]["firing"].clone();
    assert_eq!(held(&daemon).await, 51);
    let restored = Daemon::start(&there).await;
    assert_eq!(held(&restored).await, 50);
    restored.everything_is_told().await;
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let chat = chat(&["ops"]).await;
    let home = home(&chat);
    let noise: Vec<u8> = (0..20_000_u32)
        .map(|number| number.to_le_bytes()[0] ^ 0x5a)
        .collect();
    std::fs::write(home.path("dingest.db"), &noise).expect("a file");
    refused(
        &home.output("run").await,
        &["is damaged", "restore it from a backup"],
    );
    assert_eq!(std::fs::read(home.path("dingest.db")).expect("a file"), noise);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let chat = chat(&["ops"]).await;
    let home = home(&chat);
    let daemon = Daemon::start(&home).await;
    daemon.signal("TERM");
    daemon.ended().await;
    let path = home.path("dingest.db");
    rusqlite::Connection::open(&path)
        .and_then(|newer| newer.pragma_update(None, "user_version", 9999))
        .expect("the schema's number is raised");
    let before = std::fs::read(&path).expect("a file");
    refused(&home.output("run").await, &["has schema 9999", "newer"]);
    assert_eq!(std::fs::read(&path).expect("a file"), before);
}

/// The process may write files up to the size they have, and no further: a full disk to all appearances.
fn fill_the_disk(daemon: &Daemon) {
    limit_file_size(daemon, "1");
}

fn free_the_disk(daemon: &Daemon) {
    limit_file_size(daemon, "unlimited");
}

fn limit_file_size(daemon: &Daemon, limit: &str) {
    let limited = Command::new("prlimit")
        .args([
            &format!("--pid={}", daemon.pid()),
            &format!("--fsize={limit}:unlimited"),
        ])
        .status()
        .expect("`prlimit` of util-linux");
    assert!(limited.success());
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_promised_and_what_was_promised_is_told() {
    let chat = chat(&["ops"]).await;
    let home = home(&chat);
    // A write beyond the limit shall fail and not end the process.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" run \"$@\" --log-format json"]);
    command.arg(env!("CARGO_BIN_EXE_dingest"));
    home.furnish(&mut command);
    let daemon = Daemon::spawn(command).await;

    chat.inject(Injection::times(
        0,
        Fault::Errcode {
            errcode: -1,
            errmsg: None,
            sub_code: None,
        },
    ));
    daemon.post(&[firing("node-1")]).await;
    heard(&chat, "the first try", |calls| !calls.is_empty()).await;
    fill_the_disk(&daemon);
    eventually("webhooks are refused", async || {
        match daemon.try_post(&[firing("node-2")]).await {
            Some(503) => Some(()),
            // What was written before the disk was full.
            Some(200) => None,
            other => panic!("{other:?}"),
        }
    })
    .await;
    let ready = daemon.http().get(daemon.url("/readyz")).send().await;
    assert_eq!(ready.expect("an answer").status().as_u16(), 503);
    assert_eq!(daemon.api("/api/v1/status").await["store"]["writable"], false);

    chat.clear_faults();
    heard(&chat, "what was durable is told", |calls| {
        calls.iter().any(|call| call.shown)
    })
    .await;
    daemon.everything_is_told().await;
    assert_eq!(daemon.try_post(&[firing("node-3")]).await, Some(503));

    free_the_disk(&daemon);
    eventually("webhooks are taken again", async || {
        match daemon.try_post(&[firing("node-3")]).await {
            Some(200) => Some(()),
            Some(503) => None,
            other => panic!("{other:?}"),
        }
    })
    .await;
    daemon.everything_is_told().await;
    let told_before = told(&chat, "node-");
    assert_eq!(told_before.iter().filter(|node| *node == "node-1").count(), 1);
    assert_eq!(told_before.iter().filter(|node| *node == "node-3").count(), 1);

    // What was told while nothing could be written is known after a crash.
    daemon.kill();
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("node-4")]).await;
    daemon.everything_is_told().await;
    let told = told(&chat, "node-");
    assert_eq!(told.len(), told_before.len() + 1, "{}", gist(&chat.ledger()));
}
