//! The conversation that asks: messages to an app's bot, as DingTalk posts them, and their answers.

use dingest::alert::Timestamp;
use dingest::dingtalk::sign;
use dingest::dingtalk::simulator::fault::{Fault, Injection};
use dingest::dingtalk::simulator::{Simulator, SimulatorSettings};
use dingest::secret::Secret;
use serde_json::{Value, json};

use crate::alerts::{alert, firing};
use crate::chat::{heard, strict};
use crate::daemon::{Daemon, Home};
use crate::eventually;

/// A stand-in with a bot, which is what a session of its group is, and an app whose bot is in another group and writes
/// to a person.
async fn chat() -> Simulator {
    strict(SimulatorSettings {
        bots: vec![
            "session@asked:token-session"
                .parse()
                .expect("a bot's description"),
        ],
        apps: vec!["oncall:ding1:app-s3cret".parse().expect("an app's description")],
        groups: vec!["oncall@everybody:cidA==".parse().expect("a group's description")],
        people: vec!["Wang:wang:13800001234".parse().expect("a person's description")],
        ..SimulatorSettings::default()
    })
    .await
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
    ask: {{ people: [zhangsan, wang], groups: [cidA==] }}
receivers:
  - {{ name: everybody, group: {{ app: oncall, conversation: cidA== }} }}
  - {{ name: wang, direct: {{ app: oncall, users: ['mobile:13800001234'] }} }}
route:
  receiver: everybody
  group_by: [alertname]
  group_wait: 1h
  group_interval: 1h
  routes:
    - {{ matchers: [alertname=Quiet], mute_time_intervals: [always] }}
    - {{ matchers: [alertname=Personal], receiver: wang }}
time_intervals:
  - {{ name: always, time_intervals: [{{ times: [{{ start_time: '00:00', end_time: '24:00' }}] }}] }}
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
async fn digest_now_says_what_must_wait_all_the_same() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    daemon.post(&[alert("Quiet", "node-1", "warning")]).await;
    let said = answer(&chat, &daemon, "m1", "digest now").await;
    assert!(said.contains("1 change must wait, muted"), "{said}");
    assert!(!said.contains("told now") && !said.contains("nothing"), "{said}");
}

#[tokio::test]
async fn a_person_is_known_in_their_own_chat_however_they_are_configured() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    daemon.post(&[alert("Personal", "node-1", "warning")]).await;
    let status = answer(&chat, &daemon, "m1", "status").await;
    assert!(
        status.contains("wang/direct/mobile:…1234") && !status.contains("1380000"),
        "{status}"
    );
    let mut body = message(&chat, "m2", "digest now");
    body["conversationType"] = json!("1");
    body["conversationId"] = json!("cidOfTwo");
    body["senderStaffId"] = json!("wang");
    assert_eq!(post(&daemon, &body, "app-s3cret", 2).await.0, 200);
    let told = heard(&chat, "answer and digest", |calls| {
        calls.iter().filter(|call| call.shown).count() == 3
    })
    .await;
    let texts: Vec<&str> = told.iter().map(|call| call.content.text.as_str()).collect();
    assert!(
        texts.iter().any(|text| text.contains("1 change is told now")),
        "{texts:?}"
    );
    assert!(texts.iter().any(|text| text.contains("node-1")), "{texts:?}");
}

#[tokio::test]
async fn an_answer_fits_one_message_whatever_alerts_say() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    let alerts: Vec<Value> = (0..25)
        .map(|number| {
            let mut alert = alert(&"🔥".repeat(200), &format!("node-{number}"), "critical");
            alert["labels"]["pod"] = json!("@all".repeat(50));
            alert["labels"]["zone"] = json!("[x](http://evil.example)".repeat(10));
            alert["annotations"]["summary"] = json!("\"*_".repeat(100));
            alert
        })
        .collect();
    daemon.post(&alerts).await;
    let list = answer(&chat, &daemon, "m1", "firing").await;
    let named = list.matches("🔴").count();
    assert!(
        named > 1 && list.contains(&format!("and {} more", 25 - named)),
        "{list}"
    );
    assert!(!list.contains("@all") && !list.contains("]("), "{list}");
}

#[tokio::test]
async fn a_stranger_is_answered_in_the_session_or_not_at_all() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    let mut body = message(&chat, "m1", "status");
    body["conversationId"] = json!("cidB==");
    body["sessionWebhookExpiredTime"] = json!(1_000);
    assert_eq!(post(&daemon, &body, "app-s3cret", 0).await.0, 200);
    let sample = "dingest_questions_total{app=\"oncall\",outcome=\"refused_person\"} 1";
    eventually("the answer is given up", async || {
        daemon.text("/metrics").await.contains(sample).then_some(())
    })
    .await;
    assert_eq!(chat.ledger().len(), 0);
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
async fn an_answer_under_way_arrives_although_the_daemon_is_stopped() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    chat.inject(Injection {
        path: Some("/v1.0/oauth2/accessToken".to_owned()),
        ..Injection::next(Fault::Slow(1_000))
    });
    let mut body = message(&chat, "m1", "help");
    body["sessionWebhookExpiredTime"] = json!(1_000);
    assert_eq!(post(&daemon, &body, "app-s3cret", 0).await.0, 200);
    daemon.signal("TERM");
    let (status, log) = daemon.ended().await;
    assert!(status.success(), "{log:?}");
    assert_eq!(chat.messages().len(), 1, "{log:?}");
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
