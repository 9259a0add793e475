//! A hundred thousand alerts at once, and one bot that may say twenty things a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dingest::dingtalk::simulator::Simulator;
use dingest::dingtalk::simulator::rules::CALLS_PER_WINDOW_MAX;
use serde_json::Value;

use crate::alerts::alert;
use crate::chat::{bots, chat, gist, heard, names};
use crate::daemon::{Daemon, Home, Poster};

const WEBHOOKS: usize = 1000;
const ALERTS_PER_WEBHOOK: usize = 100;
const POSTERS: usize = 8;
/// How soon the critical alert must be in the group after its webhook was answered.
const URGENT_MILLIS_MAX: i64 = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_storm_every_alert_is_counted_and_a_critical_one_is_told_within_five_seconds() {
    weather_a_storm("2s").await;
}

/// With no pause between digests the bot's minute is used up and the rest waits for the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "waits for DingTalk's minute to pass"]
async fn a_storm_that_uses_up_the_minute_brings_no_penalty_either() {
    weather_a_storm("100ms").await;
}

async fn weather_a_storm(group_interval: &str) {
    let chat = chat(&["ops"]).await;
    let rest = format!(
        "{}receivers:
  - {{ name: ops, bots: [ops] }}
route:
  receiver: ops
  group_by: [alertname]
  group_wait: 200ms
  group_interval: {group_interval}
  routes:
    - {{ matchers: ['severity=\"critical\"'], urgent: true }}
",
        bots(&["ops"])
    );
    let home = Home::with(&chat, &rest);
    let daemon = Daemon::start(&home).await;

    let next = Arc::new(AtomicUsize::new(0));
    let posters: Vec<_> = (0..POSTERS)
        .map(|_| tokio::spawn(post_storm(daemon.poster(), Arc::clone(&next))))
        .collect();
    while next.load(Ordering::Relaxed) < WEBHOOKS / 2 {
        tokio::task::yield_now().await;
    }
    daemon
        .post(&[alert("CoreSwitchDown", "core-1", "critical")])
        .await;
    let answered_at = jiff::Timestamp::now().as_millisecond();
    let ledger = heard(&chat, "the critical alert is told", |calls| {
        calls
            .iter()
            .any(|call| !names(&call.content.text, "core-1").is_empty())
    })
    .await;
    let critical = ledger
        .iter()
        .find(|call| !names(&call.content.text, "core-1").is_empty())
        .expect("it was heard");
    assert!(
        critical.shown && critical.at - answered_at <= URGENT_MILLIS_MAX,
        "the critical alert came {} ms after its answer; {}",
        critical.at - answered_at,
        gist(&ledger)
    );
    for poster in posters {
        poster.await.expect("every webhook is answered 200");
    }
    daemon.everything_is_told().await;
    judge(&daemon, &chat).await;
}

/// Posts the webhooks whose turn it is until all are posted. A busy daemon is asked again, as an Alertmanager does.
async fn post_storm(poster: Poster, next: Arc<AtomicUsize>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= WEBHOOKS {
            return;
        }
        let alerts: Vec<Value> = (0..ALERTS_PER_WEBHOOK)
            .map(|index| {
                let node = format!("node-{:06}", number * ALERTS_PER_WEBHOOK + index);
                alert("NodeDown", &node, "warning")
            })
            .collect();
        assert_eq!(poster.post(&alerts).await, Some(200));
    }
}

async fn judge(daemon: &Daemon, chat: &Simulator) {
    let posted = (WEBHOOKS * ALERTS_PER_WEBHOOK + 1) as u64;
    let alerts = daemon.api("/api/v1/alerts?limit=0").await;
    assert_eq!(alerts["total"], posted);
    let digests = daemon.api("/api/v1/digests?limit=10000").await;
    let digests = digests["digests"].as_array().expect("a list of digests");
    for digest in digests {
        assert_eq!(digest["outcome"], "delivered", "{digest}");
    }
    let counted: u64 = digests
        .iter()
        .filter_map(|digest| digest["counts"]["new"].as_u64())
        .sum();
    assert_eq!(
        counted, posted,
        "every alert is counted as new in exactly one digest"
    );
    let said: u64 = digests.iter().map(headline_number).sum();
    assert_eq!(said, posted, "and the texts say so");

    let stats = chat.stats();
    let bot = &stats.bots[0];
    assert_eq!(bot.penalties, 0);
    assert!(bot.calls_per_window_max <= CALLS_PER_WINDOW_MAX, "{bot:?}");
    assert!(chat.ledger().iter().all(|call| call.errcode == Some(0)));
}

/// The number of new alerts in the first line people read.
fn headline_number(digest: &Value) -> u64 {
    let text = digest["messages"][0]["text"].as_str().unwrap_or_default();
    let before = text.split(" new").next().unwrap_or_default();
    let number = before.rsplit(' ').next().unwrap_or_default().replace(',', "");
    number
        .parse()
        .unwrap_or_else(|_| panic!("no number of new alerts in {text}"))
}
