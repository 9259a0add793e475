//! The conversation that asks: messages to an app's bot, as DingTalk posts them, and their answers.

use std::num::NonZeroU32;

use dingest::alert::Timestamp;
use dingest::dingtalk::sign;
use dingest::dingtalk::simulator::{Simulator, SimulatorSettings};
use dingest::secret::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::alerts::firing;
use crate::chat::heard;
use crate::daemon::{Daemon, Home};
use crate::eventually;

/// A stand-in with a bot, which is what a session of its group is, and an app whose bot is in another group.
async fn chat() -> Simulator {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let settings = SimulatorSettings {
        bots: vec![
            "session@asked:token-session"
                .parse()
                .expect("a bot's description"),
        ],
        apps: vec!["oncall:ding1:app-s3cret".parse().expect("an app's description")],
        groups: vec!["oncall@everybody:cidA==".parse().expect("a group's description")],
        accept_any_token: false,
        time_scale: NonZeroU32::MIN,
        ..SimulatorSettings::default()
    };
    Simulator::start(settings, listener).expect("the stand-in starts")
}

async fn daemon(chat: &Simulator) -> (Home, Daemon) {
    let home = Home::with(
        chat,
        &format!(
            "apps:
  - name: oncall
    app_key: ding1
    app_secret: app-s3cret
    base_url: '{}'
    ask: {{ people: [zhangsan], groups: [cidA==] }}
receivers:
  - {{ name: everybody, group: {{ app: oncall, conversation: cidA== }} }}
route: {{ receiver: everybody, group_by: [alertname], group_wait: 1h, group_interval: 1h }}
",
            chat.url()
        ),
    );
    let daemon = Daemon::start(&home).await;
    (home, daemon)
}

fn message(chat: &Simulator, id: &str, text: &str) -> Value {
    json!({
        "msgId": id,
        "conversationId": "cidA==",
        "conversationType": "2",
        "senderStaffId": "lisi",
        "senderNick": "Li Si",
        "msgtype": "text",
        "text": {"content": format!(" {text} ")},
        "sessionWebhook": format!("{}/robot/send?access_token=token-session", chat.url()),
        "sessionWebhookExpiredTime": 4_000_000_000_000_i64,
    })
}

/// Posts a message under a head made with this secret at this moment, and a little later for each more.
async fn post(daemon: &Daemon, body: &Value, secret: &str, later: i64) -> (u16, Value) {
    let at = Timestamp(jiff::Timestamp::now().as_millisecond() + later);
    post_under(daemon, body, at, &sign::sign(&Secret::new(secret), at)).await
}

async fn post_under(daemon: &Daemon, body: &Value, at: Timestamp, signature: &str) -> (u16, Value) {
    let request = daemon.http().post(daemon.url("/v1/apps/oncall/messages"));
    let request = request
        .header("timestamp", at.0.to_string())
        .header("sign", signature);
    let response = request.body(body.to_string()).send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).expect("JSON"))
}

/// What a question is answered in its session.
async fn answer(chat: &Simulator, daemon: &Daemon, id: &str, text: &str) -> String {
    let before = chat.messages().len();
    // Heads of one millisecond are equal, and each serves one message.
    let later = id.trim_start_matches('m').parse().expect("a number");
    let posted = post(daemon, &message(chat, id, text), "app-s3cret", later).await;
    assert_eq!(posted, (200, json!({"msgtype": "empty"})));
    let told = heard(chat, "the answer", |calls| {
        calls.iter().filter(|call| call.shown).count() > before
    })
    .await;
    let last = told.iter().rfind(|call| call.shown).expect("an answer");
    assert_eq!(last.group, "asked");
    last.content.text.clone()
}

#[tokio::test]
async fn who_may_ask_is_answered_in_the_session() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    daemon.post(&[firing("node-1"), firing("node-2")]).await;
    let asks = async |id: &str, text: &str| answer(&chat, &daemon, id, text).await;
    assert!(asks("m1", "帮助").await.contains("why"));
    let status = asks("m2", "status").await;
    assert!(
        status.contains("2 ") && status.contains("everybody/group"),
        "{status}"
    );
    let list = asks("m3", "firing node=node-1").await;
    assert!(list.contains("node-1") && !list.contains("node-2"), "{list}");
    let why = asks("m4", "why node=node-2").await;
    assert!(
        why.contains("everybody/group") && why.contains("alertmanager"),
        "{why}"
    );
    let nothing = asks("m5", "reboot @all").await;
    assert!(
        nothing.contains("reboot") && !nothing.contains("@all"),
        "{nothing}"
    );
    let sample = "dingest_questions_total{app=\"oncall\",outcome=\"delivered\"} 5";
    eventually("all answers are counted", async || {
        daemon.text("/metrics").await.contains(sample).then_some(())
    })
    .await;
}

#[tokio::test]
async fn digest_now_tells_the_chat_what_was_to_wait() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    daemon.post(&[firing("node-1")]).await;
    let body = message(&chat, "m1", "digest now");
    assert_eq!(post(&daemon, &body, "app-s3cret", 0).await.0, 200);
    daemon.everything_is_told().await;
    let told = heard(&chat, "answer and digest", |calls| calls.len() == 2).await;
    let groups: Vec<&str> = told.iter().map(|call| call.group.as_str()).collect();
    assert!(
        groups.contains(&"asked") && groups.contains(&"everybody"),
        "{groups:?}"
    );
    let digest = told
        .iter()
        .find(|call| call.group == "everybody")
        .expect("a digest");
    assert!(digest.content.text.contains("node-1"), "{}", digest.content.text);
}

#[tokio::test]
async fn without_a_session_the_answer_goes_through_the_app() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    for (id, address, expires) in [
        (
            "m1",
            "http://169.254.169.254/robot/send?access_token=x",
            4_000_000_000_000_i64,
        ),
        (
            "m2",
            "https://oapi.dingtalk.com/robot/sendBySession?session=x",
            1_000,
        ),
    ] {
        let mut body = message(&chat, id, "help");
        body["sessionWebhook"] = json!(address);
        body["sessionWebhookExpiredTime"] = json!(expires);
        let before = chat.messages().len();
        assert_eq!(post(&daemon, &body, "app-s3cret", 0).await.0, 200);
        let told = heard(&chat, "the answer", |_| chat.messages().len() > before).await;
        assert_eq!(told.last().expect("a message").group, "everybody");
    }
}

#[tokio::test]
async fn strangers_forgers_and_repeaters_are_not_answered_as_friends() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    let body = message(&chat, "m1", "status");
    // Another secret, an old head, no head, another app.
    assert_eq!(post(&daemon, &body, "wrong", 0).await.0, 403);
    assert_eq!(post(&daemon, &body, "app-s3cret", -3_700_000).await.0, 403);
    let bare = daemon.http().post(daemon.url("/v1/apps/oncall/messages"));
    assert_eq!(
        bare.body(body.to_string())
            .send()
            .await
            .expect("an answer")
            .status(),
        403
    );
    let other = daemon.http().post(daemon.url("/v1/apps/other/messages"));
    assert_eq!(
        other
            .body(body.to_string())
            .send()
            .await
            .expect("an answer")
            .status(),
        404
    );
    assert_eq!(chat.messages().len(), 0);
    // The same message again is folded; its head serves no other.
    let at = Timestamp(jiff::Timestamp::now().as_millisecond());
    let signature = sign::sign(&Secret::new("app-s3cret"), at);
    for _ in 0..2 {
        assert_eq!(post_under(&daemon, &body, at, &signature).await.0, 200);
    }
    let another = message(&chat, "m2", "status");
    let (status, refusal) = post_under(&daemon, &another, at, &signature).await;
    assert_eq!((status, &refusal["reason"]), (403, &json!("not_of_dingtalk")));
    // Somebody in another group, who is not listed, learns only how to be.
    let mut stranger = message(&chat, "m3", "firing");
    stranger["conversationId"] = json!("cidB==");
    assert_eq!(post(&daemon, &stranger, "app-s3cret", 1).await.0, 200);
    let told = heard(&chat, "both answers", |calls| calls.len() == 2).await;
    let refusals = told.iter().filter(|call| call.content.text.contains("lisi"));
    assert_eq!(refusals.count(), 1, "{told:?}");
    // Who is listed may ask anywhere.
    let mut friend = message(&chat, "m4", "help");
    friend["conversationId"] = json!("cidB==");
    friend["senderStaffId"] = json!("zhangsan");
    assert_eq!(post(&daemon, &friend, "app-s3cret", 2).await.0, 200);
    let told = heard(&chat, "the third answer", |calls| calls.len() == 3).await;
    assert!(told[2].content.text.contains("why"), "{}", told[2].content.text);
}
