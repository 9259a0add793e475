//! The conversation that asks: what people write to an app's bot, as the stand-in posts it, and what they are answered.

use dingest::alert::Timestamp;
use dingest::dingtalk::sign;
use dingest::dingtalk::simulator::fault::{Fault, Injection};
use dingest::dingtalk::simulator::questions::Saying;
use dingest::dingtalk::simulator::rules::Call;
use dingest::dingtalk::simulator::{SimulatedCallback, Simulator, SimulatorSettings};
use dingest::secret::Secret;
use serde_json::{Value, json};

use crate::alerts::{alert, firing};
use crate::chat::{heard, strict};
use crate::daemon::{Daemon, Home};
use crate::eventually;

/// A stand-in with an app whose bot is in two groups and writes to people.
async fn chat() -> Simulator {
    let group = |text: &str| text.parse().expect("a group's description");
    let person = |text: &str| text.parse().expect("a person's description");
    strict(SimulatorSettings {
        apps: vec!["oncall:ding1:app-s3cret".parse().expect("an app's description")],
        groups: vec![group("oncall@everybody:cidA=="), group("oncall@others:cidB==")],
        people: vec![
            person("Wang:wang:13800001234"),
            person("Li Si:lisi"),
            person("Zhang San:zhangsan"),
        ],
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
    chat.call_back(SimulatedCallback {
        app: "oncall".to_owned(),
        url: daemon.url(PATH),
    });
    (home, daemon)
}

/// Where DingTalk posts what is written to the app's bot.
const PATH: &str = "/v1/apps/oncall/messages";

/// A message that did not come by way of the stand-in.
fn message(id: &str, text: &str) -> Value {
    json!({
        "msgId": id,
        "conversationId": "cidA==",
        "conversationType": "2",
        "senderStaffId": "lisi",
        "msgtype": "text",
        "text": {"content": format!(" {text} ")},
    })
}

/// Posts a message under a head made with this secret, so much away from this moment.
async fn post(daemon: &Daemon, body: &Value, secret: &str, away: i64) -> u16 {
    let at = Timestamp(jiff::Timestamp::now().as_millisecond() + away);
    let request = daemon.http().post(daemon.url(PATH));
    let request = request
        .header("timestamp", at.0.to_string())
        .header("sign", sign::sign(&Secret::new(secret), at));
    let response = request.body(body.to_string()).send().await;
    response.expect("an answer").status().as_u16()
}

/// What the app said after a message, as soon as there is so much of it.
async fn said_after(chat: &Simulator, number: u64, count: usize) -> Vec<Call> {
    let is_said = |call: &&Call| call.number > number && call.shown && call.said_by.is_none();
    let calls = heard(chat, "what is said", |calls| {
        calls.iter().filter(is_said).count() >= count
    })
    .await;
    calls.iter().filter(is_said).cloned().collect()
}

/// What somebody in a group is answered there.
async fn asked(chat: &Simulator, person: &str, group: &str, text: &str) -> String {
    let number = chat
        .say(&Saying::new(person, Some(group), text))
        .expect("it is posted");
    let said = said_after(chat, number, 1).await;
    assert_eq!((said[0].group.as_str(), &said[0].query_key), (group, &None));
    said[0].content.text.clone()
}

async fn answer(chat: &Simulator, text: &str) -> String {
    asked(chat, "lisi", "everybody", text).await
}

#[tokio::test]
async fn who_may_ask_is_answered_in_the_session() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    daemon.post(&[firing("node-1"), firing("node-2")]).await;
    let asks = async |text: &str| answer(&chat, text).await;
    assert!(asks("帮助").await.contains("why"));
    let status = asks("status").await;
    assert!(
        status.contains("2 ") && status.contains("everybody/group"),
        "{status}"
    );
    let list = asks("firing node=node-1").await;
    assert!(list.contains("node-1") && !list.contains("node-2"), "{list}");
    let why = asks("why node=node-2").await;
    assert!(
        why.contains("everybody/group") && why.contains("alertmanager"),
        "{why}"
    );
    let nothing = asks("reboot @all").await;
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
    let number = chat.say(&Saying::new("lisi", Some("everybody"), "digest now"));
    daemon.everything_is_told().await;
    let told = said_after(&chat, number.expect("it is posted"), 2).await;
    let digest = told
        .iter()
        .find(|call| call.query_key.is_some())
        .expect("a digest through the app");
    assert!(digest.content.text.contains("node-1"), "{}", digest.content.text);
}

#[tokio::test]
async fn digest_now_says_what_must_wait_all_the_same() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    daemon.post(&[alert("Quiet", "node-1", "warning")]).await;
    let said = answer(&chat, "digest now").await;
    assert!(said.contains("1 change must wait, muted"), "{said}");
    assert!(!said.contains("told now") && !said.contains("nothing"), "{said}");
}

#[tokio::test]
async fn a_person_is_known_in_their_own_chat_however_they_are_configured() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    daemon.post(&[alert("Personal", "node-1", "warning")]).await;
    let status = answer(&chat, "status").await;
    assert!(
        status.contains("wang/direct/mobile:…1234") && !status.contains("1380000"),
        "{status}"
    );
    let number = chat.say(&Saying::new("wang", None, "digest now"));
    let told = said_after(&chat, number.expect("it is posted"), 2).await;
    assert_eq!(chat.chat("wang").len(), 2, "both in the own chat");
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
    let list = answer(&chat, "firing").await;
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
    let refusal = asked(&chat, "lisi", "others", "status").await;
    assert!(
        refusal.contains("lisi") && refusal.contains("cidB=="),
        "{refusal}"
    );
    let messages = chat.messages().len();
    let mut body = message("m1", "status");
    body["conversationId"] = json!("cidB==");
    assert_eq!(post(&daemon, &body, "app-s3cret", 0).await, 200);
    let sample = "dingest_questions_total{app=\"oncall\",outcome=\"refused_person\"} 1";
    eventually("the answer is given up", async || {
        daemon.text("/metrics").await.contains(sample).then_some(())
    })
    .await;
    assert_eq!(chat.messages().len(), messages);
}

#[tokio::test]
async fn without_a_session_the_answer_goes_through_the_app() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    let through_the_app = async |number: u64| {
        let said = said_after(&chat, number, 1).await;
        assert_eq!(said[0].group, "everybody");
        assert!(said[0].query_key.is_some() && said[0].content.text.contains("why"));
    };
    // Another's address, and one that has ended.
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
        let mut body = message(id, "help");
        body["sessionWebhook"] = json!(address);
        body["sessionWebhookExpiredTime"] = json!(expires);
        let before = chat.ledger().len() as u64;
        assert_eq!(post(&daemon, &body, "app-s3cret", 0).await, 200);
        through_the_app(before).await;
    }
    // One of which DingTalk says so.
    chat.inject(Injection {
        path: Some("/robot/sendBySession".to_owned()),
        ..Injection::next(Fault::Errcode {
            errcode: 300_001,
            errmsg: Some("session 不存在".to_owned()),
            sub_code: None,
        })
    });
    let number = chat.say(&Saying::new("lisi", Some("everybody"), "help"));
    through_the_app(number.expect("it is posted")).await;
}

#[tokio::test]
async fn a_message_that_is_posted_again_is_answered_once() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    let saying = Saying {
        times: 3,
        ..Saying::new("lisi", Some("everybody"), "help")
    };
    let number = chat.say(&saying).expect("it is posted");
    let samples = ["outcome=\"repeated\"} 2", "outcome=\"delivered\"} 1"];
    eventually("all are counted", async || {
        let metrics = daemon.text("/metrics").await;
        (samples.iter().all(|sample| metrics.contains(sample))).then_some(())
    })
    .await;
    assert_eq!(said_after(&chat, number, 1).await.len(), 1);
}

#[tokio::test]
async fn an_answer_under_way_arrives_although_the_daemon_is_stopped() {
    let chat = chat().await;
    let (_home, daemon) = daemon(&chat).await;
    chat.inject(Injection {
        path: Some("/v1.0/oauth2/accessToken".to_owned()),
        ..Injection::next(Fault::Slow(1_000))
    });
    assert_eq!(post(&daemon, &message("m1", "help"), "app-s3cret", 0).await, 200);
    daemon.signal("TERM");
    let (status, log) = daemon.ended().await;
    assert!(status.success(), "{log:?}");
    assert_eq!(chat.messages().len(), 1, "{log:?}");
}

#[tokio::test]
async fn forgers_are_not_answered_and_a_head_serves_one_message() {
    let chat = chat().await;
    let (home, daemon) = daemon(&chat).await;
    let body = message("m1", "status");
    // Another secret, an old head, no head, another app.
    assert_eq!(post(&daemon, &body, "wrong", 0).await, 403);
    assert_eq!(post(&daemon, &body, "app-s3cret", -3_700_000).await, 403);
    for (path, status) in [(PATH, 403), ("/v1/apps/other/messages", 404)] {
        let bare = daemon.http().post(daemon.url(path)).body(body.to_string());
        assert_eq!(bare.send().await.expect("an answer").status(), status);
    }
    let at = Timestamp(jiff::Timestamp::now().as_millisecond());
    let signature = sign::sign(&Secret::new("app-s3cret"), at);
    let with_this_head = async |daemon: &Daemon, path: &str, id: &str| {
        let request = daemon.http().post(daemon.url(path));
        let request = request.header("timestamp", at.0).header("sign", &signature);
        let response = request.body(message(id, "status").to_string()).send().await;
        response.expect("an answer").status().as_u16()
    };
    for (id, status) in [("m1", 200), ("m1", 200), ("m2", 403)] {
        assert_eq!(with_this_head(&daemon, PATH, id).await, status, "{id}");
    }
    heard(&chat, "one answer", |calls| calls.len() == 1).await;
    // Nor of an app that has another name by now, nor after a crash.
    let before = std::fs::read_to_string(home.config()).expect("a configuration");
    home.configure(&before.replace("oncall", "duty"));
    let reloaded = daemon.http().post(daemon.url("/-/reload")).send().await;
    assert!(reloaded.expect("an answer").status().is_success());
    assert_eq!(with_this_head(&daemon, "/v1/apps/duty/messages", "m2").await, 403);
    home.configure(&before);
    daemon.kill();
    let daemon = Daemon::start(&home).await;
    for id in ["m1", "m2"] {
        assert_eq!(with_this_head(&daemon, PATH, id).await, 403, "{id}");
    }
    assert_eq!(
        post(&daemon, &message("m3", "status"), "app-s3cret", 0).await,
        200
    );
    heard(&chat, "another answer", |calls| calls.len() == 2).await;
}

#[tokio::test]
async fn who_is_listed_may_ask_anywhere() {
    let chat = chat().await;
    let (_home, _daemon) = daemon(&chat).await;
    let help = asked(&chat, "zhangsan", "others", "help").await;
    assert!(help.contains("why"), "{help}");
}

#[tokio::test]
async fn an_answer_the_budget_has_no_place_for_is_dropped_and_counted() {
    let chat = chat().await;
    let (home, daemon) = daemon(&chat).await;
    let text = std::fs::read_to_string(home.config()).expect("a configuration");
    home.configure(&text.replace("monthly_quota: 0", "monthly_quota: 0, monthly_api_quota: 1"));
    let reloaded = daemon.http().post(daemon.url("/-/reload")).send().await;
    assert!(reloaded.expect("an answer").status().is_success());
    // Without a session.
    for (id, outcome) in [("m1", "delivered"), ("m2", "over_budget")] {
        assert_eq!(post(&daemon, &message(id, "help"), "app-s3cret", 0).await, 200);
        let sample = format!("dingest_questions_total{{app=\"oncall\",outcome=\"{outcome}\"}} 1");
        eventually("what became of it", async || {
            daemon.text("/metrics").await.contains(&sample).then_some(())
        })
        .await;
    }
    assert_eq!(chat.messages().len(), 1);
    let metrics = daemon.text("/metrics").await;
    assert!(
        metrics.contains("dingest_quota_used_this_month{quota=\"api\"} 1"),
        "{metrics}"
    );
    // In its session an answer costs nothing.
    assert!(answer(&chat, "help").await.contains("why"));
}
