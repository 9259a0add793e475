//! What a daemon records, played again; and cases of a configuration, as a team's CI runs them.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::alerts::{alert, firing, resolved};
use crate::chat::{bots, chat};
use crate::daemon::{Daemon, Home, configuration};

const ROUTES: &str = "receivers:
  - { name: ops, bots: [ops] }
  - { name: db, bots: [db] }
route:
  receiver: ops
  group_wait: 200ms
  group_interval: 200ms
  routes:
    - { matchers: ['alertname=\"SlowQueries\"'], receiver: db }
";
const SOURCES: &str = "sources:
  - { name: alertmanager, type: alertmanager }
  - { name: cloud, type: json, auth: { bearer_token: t0ken-of-cloud } }
record: { path: came-in.jsonl, max_size: 1MiB }
";

/// Runs the program with these arguments in a home.
fn run(home: &Home, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dingest"));
    let directory = home.config();
    command.current_dir(directory.parent().expect("a home is a directory"));
    command
        .args(arguments)
        .env_remove("DINGEST_CONFIG")
        .env_remove("DINGEST_LOG");
    command.output().expect("the program runs")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("words")
}

/// The lines of a replay that are messages, without their times: receiver and title.
fn messages(output: &Output) -> Vec<(String, String)> {
    let text = said(output);
    let lines = text.lines().filter_map(|line| {
        let (_time, message) = line.split_once("  ")?;
        let (receiver, title) = message.split_once("  ")?;
        Some((receiver.to_owned(), title.to_owned()))
    });
    lines.collect()
}

/// Posts through each way in, and waits after each until everybody has heard.
async fn an_incident(daemon: &Daemon) {
    let mut disk = alert("DiskFull", "node-1", "critical");
    disk["annotations"]["db_password"] = json!("hunter2");
    let slow = alert("SlowQueries", "node-2", "warning");
    let posts: [&[Value]; 4] = [
        &[firing("node-3"), disk.clone()],
        std::slice::from_ref(&slow),
        &[slow.clone(), firing("node-4")],
        &[resolved(&disk), resolved(&slow)],
    ];
    for alerts in posts {
        daemon.post(alerts).await;
        daemon.everything_is_told().await;
    }
    let backup = r#"{"title": "Backup", "severity": "critical", "message": "exit code 2"}"#;
    let by_url = daemon.poster_to("cloud/t0ken-of-cloud");
    assert_eq!(by_url.post_body(backup.to_owned()).await, Some(200));
    daemon.everything_is_told().await;
    // What is refused told nobody anything and is kept elsewhere.
    assert_eq!(by_url.post_body("not JSON".to_owned()).await, Some(400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_replays_to_the_messages_that_were_sent() {
    let chat = chat(&["ops", "db"]).await;
    let rest = format!("{SOURCES}{}{ROUTES}", bots(&["ops", "db"]));
    let home = Home::with(&chat, &rest);
    let daemon = Daemon::start(&home).await;
    an_incident(&daemon).await;
    daemon.signal("TERM");
    let (status, _) = daemon.ended().await;
    assert!(status.success());

    let recording = std::fs::read_to_string(home.path("came-in.jsonl")).expect("a recording");
    assert_eq!(recording.lines().count(), 5, "{recording}");
    for secret in ["hunter2", "t0ken-of-cloud", "token-ops", "SECops"] {
        assert!(
            !recording.contains(secret),
            "`{secret}` is in the recording:\n{recording}"
        );
    }

    // The secrets of the configuration are not needed for that.
    let nowhere = rest.replace("access_token: token-", "access_token_file: nowhere/");
    let candidate = configuration(chat.url(), &nowhere);
    std::fs::write(home.path("candidate.yaml"), &candidate).expect("a file is written");
    let replayed = run(&home, &["replay", "came-in.jsonl", "--config", "candidate.yaml"]);
    assert!(replayed.status.success(), "{replayed:?}");
    let sent: Vec<(String, String)> = chat
        .messages()
        .iter()
        .map(|call| (call.bot.clone(), call.content.title.clone()))
        .collect();
    assert!(sent.len() >= 6, "{sent:?}");
    assert_eq!(
        of_receiver(&messages(&replayed), "ops"),
        of_receiver(&sent, "ops")
    );
    assert_eq!(of_receiver(&messages(&replayed), "db"), of_receiver(&sent, "db"));
    assert!(
        said(&replayed).contains("5 bodies, 8 alerts → "),
        "{}",
        said(&replayed)
    );
    assert_eq!(
        run(&home, &["replay", "came-in.jsonl", "--config", "candidate.yaml"]),
        replayed
    );

    compare(&home, &candidate);
}

/// Another route takes an alert from one receiver to another.
fn compare(home: &Home, candidate: &str) {
    let other = candidate.replace("SlowQueries", "DiskFull");
    std::fs::write(home.path("other.yaml"), other).expect("a file is written");
    let against = |config: &str| {
        let arguments = [
            "replay",
            "came-in.jsonl",
            "--config",
            config,
            "--against",
            "candidate.yaml",
            "--full",
        ];
        run(home, &arguments)
    };
    let same = against("candidate.yaml");
    assert_eq!(same.status.code(), Some(0), "{}", said(&same));
    assert!(
        said(&same).contains("every alert is told to the same receivers"),
        "{}",
        said(&same)
    );
    let differs = against("other.yaml");
    assert_eq!(differs.status.code(), Some(1));
    for line in [
        "1 alert moves from db to ops: SlowQueries",
        "1 alert moves from ops to db: DiskFull",
        "    - 🔴 node-1 does not answer",
    ] {
        assert!(
            said(&differs).lines().any(|it| it.starts_with(line)),
            "{line}:\n{}",
            said(&differs)
        );
    }
    let unusable = against("nowhere.yaml");
    assert_eq!(unusable.status.code(), Some(78));
}

fn of_receiver(messages: &[(String, String)], name: &str) -> Vec<String> {
    let of = messages.iter().filter(|(receiver, _)| receiver == name);
    of.map(|(_, title)| title.clone()).collect()
}

#[test]
fn the_exit_status_says_whether_the_cases_pass() {
    let home = Home::new();
    let bots = "bots: [{ name: ops, access_token_file: nowhere }, { name: db, access_token_env: NOWHERE }]\n";
    home.configure(&configuration("http://127.0.0.1:1", &format!("{bots}{ROUTES}")));
    let write = |name: &str, receiver: &str| {
        let cases = format!(
            "config: dingest.yaml
cases:
  - name: the database team hears of it
    posts: [{{ source: alertmanager, labels: {{ alertname: SlowQueries }} }}]
    messages: [{{ receiver: {receiver}, at: 200ms }}]
"
        );
        std::fs::write(home.path(name), cases).expect("a file is written");
    };
    write("good.yaml", "db");
    write("bad.yaml", "ops");
    write("broken.yaml", "dba");
    let good = run(&home, &["test", "good.yaml"]);
    assert_eq!(
        (good.status.code(), said(&good).as_str()),
        (Some(0), "1 passed, 0 failed\n")
    );
    let bad = run(&home, &["test", "good.yaml", "bad.yaml"]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        said(&bad).contains("bad.yaml:3: the database team hears of it\n  not sent  at 200ms to `ops`"),
        "{}",
        said(&bad)
    );
    let broken = run(&home, &["test", "broken.yaml", "good.yaml"]);
    assert_eq!(broken.status.code(), Some(78));
    assert_eq!(said(&broken), "1 passed, 0 failed, 1 file could not be read\n");
    let complaint = String::from_utf8_lossy(&broken.stderr);
    assert!(
        complaint.contains("broken.yaml:5:28") && complaint.contains("did you mean `db`?"),
        "{complaint}"
    );
}
