//! Credentials go nowhere but to their peer.

use std::path::PathBuf;

use dingest::dingtalk::simulator::fault::{Fault, Injection};

use crate::alerts::{firing, webhook};
use crate::chat::{chat, heard};
use crate::daemon::{Daemon, Home, configuration};
use crate::eventually;

/// Every secret of the configuration, and a wrong one that is tried.
const SECRETS: [&str; 6] = [
    "token-ops",
    "SECops",
    "bearer-5ecret",
    "basic-5ecret",
    "hmac-5ecret",
    "wrong-5ecret",
];

const REST: &str = "sources:
  - { name: alertmanager, type: alertmanager }
  - { name: bearer, type: json, auth: { bearer_token: bearer-5ecret } }
  - { name: basic, type: prometheus, auth: { basic: { username: me, password: basic-5ecret } } }
  - { name: signed, type: grafana, auth: { hmac_secret: hmac-5ecret } }
bots:
  - { name: ops, access_token: token-ops, secret: SECops }
receivers:
  - { name: ops, bots: [ops] }
route: { receiver: ops, group_wait: 20ms, group_interval: 20ms }
";

#[tokio::test]
async fn no_secret_is_logged_shown_or_kept() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, REST);
    let mut command = home.command("run");
    command.args(["--log-format", "json", "--log", "trace"]);
    let daemon = Daemon::spawn(command).await;

    // Everything that makes a log line about DingTalk or a sender.
    knock(&daemon).await;
    chat.inject(Injection::next(Fault::Drop));
    chat.inject(Injection::next(Fault::HttpStatus(502)));
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    let redirect = format!("{}/?access_token=token-ops", chat.url());
    chat.inject(Injection::next(Fault::RedirectTo(redirect)));
    let before = chat.ledger().len();
    daemon.post(&[firing("node-2")]).await;
    heard(&chat, "the redirected call", |calls| calls.len() > before).await;
    eventually("the bot is refused", async || {
        (daemon.receiver("ops").await["bots"][0]["reason"] == "refused_other").then_some(())
    })
    .await;
    // A configuration with a mistake in the line of a secret, and one that lifts the pause.
    home.configure(
        &configuration(chat.url(), REST).replace("secret: SECops", "secret: SECops, secrte: SECops"),
    );
    assert_eq!(reload(&daemon).await, 422);
    let status = daemon.api("/api/v1/status").await;
    home.configure(&configuration("http://127.0.0.1:9", REST));
    assert_eq!(reload(&daemon).await, 200);
    eventually("nobody answers any more", async || {
        (daemon.receiver("ops").await["waits_for"] == "backoff").then_some(())
    })
    .await;

    let mut shown = vec![("a report in the status", status.to_string())];
    for path in [
        "/api/v1/alerts",
        "/api/v1/digests",
        "/api/v1/receivers",
        "/api/v1/status",
        "/metrics",
        "/readyz",
        "/healthz",
    ] {
        shown.push((path, daemon.text(path).await));
    }
    for call in chat.ledger() {
        shown.push(("a message", call.content.text + &call.content.title));
    }
    daemon.signal("TERM");
    let (_, log) = daemon.ended().await;
    assert!(
        log.iter().any(|line| line.contains("TRACE"))
            && log.iter().any(|line| line.contains("cannot connect")),
        "the log tells everything"
    );
    for line in log {
        shown.push(("the log", line));
    }
    let files = state(&home);
    assert!(!files.is_empty(), "the store is there");
    for secret in SECRETS {
        for (place, text) in &shown {
            assert!(!text.contains(secret), "`{secret}` in {place}: {text}");
        }
        for (file, bytes) in &files {
            let kept = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!kept, "`{secret}` is in {}", file.display());
        }
    }
}

/// The files of the store.
fn state(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(home.path("")).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("dingest.db"))
        .map(|path| {
            let bytes = std::fs::read(&path).expect("a file");
            (path, bytes)
        })
        .collect()
}

/// Tries every door with right and wrong credentials.
async fn knock(daemon: &Daemon) {
    let body = webhook(&[firing("node-0")]).to_string();
    let post = |path: &str| daemon.http().post(daemon.url(path)).body(body.clone());
    let status =
        async |request: reqwest::RequestBuilder| request.send().await.expect("an answer").status().as_u16();
    assert_eq!(status(post("/v1/hooks/bearer")).await, 401);
    assert_eq!(status(post("/v1/hooks/bearer/wrong-5ecret")).await, 401);
    assert_eq!(status(post("/v1/hooks/bearer/bearer-5ecret")).await, 200);
    assert_eq!(
        status(post("/v1/hooks/bearer").bearer_auth("bearer-5ecret")).await,
        200
    );
    assert_eq!(
        status(post("/v1/hooks/basic").basic_auth("me", Some("wrong-5ecret"))).await,
        401
    );
    assert_eq!(
        status(post("/v1/hooks/basic").basic_auth("me", Some("basic-5ecret"))).await,
        400,
        "let in, and not of its type"
    );
    assert_eq!(status(post("/v1/hooks/signed")).await, 401);
    assert_eq!(status(post("/v1/hooks/nobody/bearer-5ecret")).await, 404);
}

async fn reload(daemon: &Daemon) -> u16 {
    let asked = daemon.http().post(daemon.url("/-/reload")).send().await;
    asked.expect("an answer").status().as_u16()
}
