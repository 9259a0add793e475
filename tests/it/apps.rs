//! Groups that are told through an app: tokens, refusals, and a fallback from a custom bot.

use dingest::dingtalk::simulator::fault::{Fault, Injection};
use dingest::dingtalk::simulator::{Simulator, SimulatorSettings};
use serde_json::json;

use crate::alerts::firing;
use crate::chat::{gist, heard, strict};
use crate::daemon::{Daemon, Home};
use crate::eventually;

/// A stand-in with a bot `ops`, an app `alerts`, and a group that the app's bot is in.
async fn chat() -> Simulator {
    strict(SimulatorSettings {
        bots: vec!["ops@group:token-ops".parse().expect("a bot's description")],
        apps: vec!["alerts:ding1:app-s3cret".parse().expect("an app's description")],
        groups: vec!["alerts@everybody:cidA==".parse().expect("a group's description")],
        ..SimulatorSettings::default()
    })
    .await
}

/// The receiver `everybody` is that group; the receiver `ops` is the bot and falls back on it.
fn home(chat: &Simulator, receiver: &str) -> Home {
    Home::with(
        chat,
        &format!(
            "apps:
  - {{ name: alerts, app_key: ding1, app_secret: app-s3cret, base_url: '{}' }}
bots:
  - {{ name: ops, access_token: token-ops }}
receivers:
  - {{ name: ops, bots: [ops], fallback: everybody }}
  - {{ name: everybody, group: {{ app: alerts, conversation: cidA== }} }}
route: {{ receiver: {receiver}, group_by: [alertname], group_wait: 20ms, group_interval: 20ms }}
",
            chat.url()
        ),
    )
}

fn code(http_status: u16, code: &str) -> Fault {
    Fault::Code {
        http_status,
        code: code.to_owned(),
        message: None,
    }
}

#[tokio::test]
async fn a_group_is_told_through_an_app_with_one_token_for_all_its_messages() {
    let chat = chat().await;
    let home = home(&chat, "everybody");
    let daemon = Daemon::start(&home).await;
    for node in ["node-1", "node-2"] {
        daemon.post(&[firing(node)]).await;
        daemon.everything_is_told().await;
    }
    let shown = chat.messages();
    assert_eq!(shown.len(), 2, "{}", gist(&chat.ledger()));
    for (call, node) in shown.iter().zip(["node-1", "node-2"]) {
        assert_eq!((call.bot.as_str(), call.group.as_str()), ("alerts", "everybody"));
        assert!(call.content.text.contains(node), "{}", call.content.text);
    }
    assert_eq!(chat.stats().apps[0].token_calls, 1);
    let endpoint = &daemon.receiver("everybody/group").await["endpoints"][0];
    assert_eq!(
        (&endpoint["name"], &endpoint["kind"], &endpoint["used_this_month"]),
        (&json!("group/everybody"), &json!("group"), &json!(2))
    );
    let metrics = daemon.text("/metrics").await;
    for sample in [
        "dingest_messages_total{endpoint=\"group/everybody\",outcome=\"delivered\"} 2",
        "dingest_quota_used_this_month{quota=\"api\"} 2",
        "dingest_quota_used_this_month{quota=\"webhook\"} 0",
    ] {
        assert!(
            metrics.lines().any(|line| line == sample),
            "{sample} is missing in\n{metrics}"
        );
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_fetched_anew_and_the_message_is_told_once() {
    for status in [400, 401, 403] {
        let chat = chat().await;
        let home = home(&chat, "everybody");
        let daemon = Daemon::start(&home).await;
        chat.inject(Injection::next(code(status, "InvalidAuthentication")));
        daemon.post(&[firing("node-1")]).await;
        daemon.everything_is_told().await;
        assert_eq!(chat.messages().len(), 1, "{}", gist(&chat.ledger()));
        assert_eq!((chat.ledger().len(), chat.stats().apps[0].token_calls), (2, 2));
        let digests = daemon.api("/api/v1/digests").await;
        assert_eq!(digests["digests"][0]["messages"][0]["attempts"], 1);
    }
}

#[tokio::test]
async fn an_app_that_stays_refused_is_left_alone_and_the_api_says_why() {
    for (fault, reason) in [
        (code(400, "InvalidAuthentication"), "refused_token"),
        (
            code(403, "Forbidden.AccessDenied.AccessTokenPermissionDenied"),
            "refused_permission",
        ),
        (code(400, "group.disbanded"), "refused_target"),
        (code(403, "Forbidden.AccessDenied.ApiCountLimitForOrg"), "quota"),
        (code(400, "send.too.fast"), "limited"),
        (Fault::Html, "blocked"),
    ] {
        let chat = chat().await;
        let home = home(&chat, "everybody");
        let daemon = Daemon::start(&home).await;
        chat.inject(Injection::times(0, fault));
        daemon.post(&[firing("node-1")]).await;
        eventually(reason, async || {
            let receiver = daemon.receiver("everybody/group").await;
            (receiver["waits_for"] == "pause" && receiver["endpoints"][0]["reason"] == reason).then_some(())
        })
        .await;
        assert_eq!(chat.messages(), []);
    }
}

#[tokio::test]
async fn a_bot_that_is_refused_is_told_for_through_the_group_of_an_app() {
    let chat = chat().await;
    let home = home(&chat, "ops");
    let daemon = Daemon::start(&home).await;
    chat.inject(Injection {
        bot: Some("ops".to_owned()),
        ..Injection::times(
            0,
            Fault::Errcode {
                errcode: 300_005,
                errmsg: None,
                sub_code: None,
            },
        )
    });
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    let shown = chat.messages();
    assert_eq!((shown.len(), shown[0].bot.as_str()), (1, "alerts"));
    let text = shown[0].content.text.replace('\\', "");
    assert!(
        text.contains("node-1") && text.contains("everybody: ops is paused (refused token)"),
        "{text}"
    );
}

#[tokio::test]
async fn what_may_have_arrived_is_sent_again_once_and_then_told_as_it_is() {
    let chat = chat().await;
    let home = home(&chat, "everybody");
    let daemon = Daemon::start(&home).await;
    chat.inject(Injection::times(2, Fault::AcceptDrop));
    daemon.post(&[firing("node-1")]).await;
    let calls = heard(&chat, "the message, its repetition and a new digest", |calls| {
        calls.len() >= 3
    })
    .await;
    daemon.everything_is_told().await;
    assert_eq!(calls[0].body_sha256, calls[1].body_sha256);
    let digests = daemon.api("/api/v1/digests").await;
    let told: Vec<_> = (digests["digests"].as_array().expect("a list").iter())
        .map(|digest| (&digest["outcome"], &digest["messages"][0]["attempts"]))
        .collect();
    assert_eq!(
        told,
        [(&json!("delivered"), &json!(1)), (&json!("unknown"), &json!(2))]
    );
    assert!(calls.iter().all(|call| call.content.text.contains("node-1")));
    assert_eq!(chat.ledger().len(), 3, "{}", gist(&chat.ledger()));
}

#[tokio::test]
async fn the_command_line_sends_to_a_group_and_says_what_came_of_it() {
    let chat = chat().await;
    let home = home(&chat, "everybody");
    let send = || {
        let mut command = home.command("send");
        command.arg("everybody");
        tokio::task::spawn_blocking(move || command.output().expect("the program runs"))
    };
    let output = send().await.expect("a task");
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "group/everybody: delivered ok\n"
    );
    chat.inject(Injection::next(code(400, "invalid.openConversationId")));
    let output = send().await.expect("a task");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("group/everybody: refused_target "), "{said}");
}
