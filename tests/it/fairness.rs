//! One noisy source, one whose mapping takes long, one bot that hangs and one enormous digest do not delay somebody
//! else's urgent alert.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dingest::dingtalk::simulator::fault::{Fault, Injection};
use futures_util::future::join_all;
use serde_json::Value;

use crate::alerts::{alert, webhook};
use crate::chat::{bots, chat, gist, heard, names};
use crate::daemon::{Daemon, Home, Poster};

/// Connections of the noisy source; each posts a hundred new alerts again and again.
const NOISY_POSTERS: usize = 64;
const ALERTS_PER_WEBHOOK: usize = 100;
/// Connections of the source whose mapping takes long.
const LABORIOUS_POSTERS: usize = 16;
/// Changes of the digest that is composed meanwhile.
const BIG: usize = 10_000;
/// Urgent alerts that are posted one after the other.
const URGENT: usize = 5;
/// How soon an urgent alert's webhook must be answered, and how soon after that it must be in the chat.
const ANSWERED_MAX: Duration = Duration::from_secs(5);
const TOLD_MAX: Duration = Duration::from_secs(5);

const REST: &str = "sources:
  - { name: noisy, type: alertmanager }
  - { name: alertmanager, type: alertmanager }
  - name: laborious
    type: json
    mapping:
      labels: '{alertname: \"Noise\", n: (last(range(.n)) | tostring)}'
receivers:
  - { name: noise, bots: [noise] }
  - { name: hang, bots: [hang] }
  - { name: big, bots: [big] }
  - { name: duty, bots: [duty] }
route:
  receiver: noise
  group_by: [alertname]
  group_wait: 500ms
  group_interval: 2s
  routes:
    - { matchers: ['alertname=\"Hang\"'], receiver: hang, urgent: true }
    - { matchers: ['alertname=\"Big\"'], receiver: big, group_interval: 500ms }
    - { matchers: ['alertname=\"Duty\"'], receiver: duty, urgent: true }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_delays_nobody_elses_urgent_alert() {
    let all = ["noise", "hang", "big", "duty"];
    let chat = chat(&all).await;
    chat.inject(Injection {
        bot: Some("hang".to_owned()),
        ..Injection::times(0, Fault::Hang(60_000))
    });
    let home = Home::with(&chat, &format!("{}{REST}", bots(&all)));
    let daemon = Daemon::start(&home).await;
    daemon.post(&[alert("Hang", "hang-1", "critical")]).await;

    let noise = Noise::begin(&daemon, NOISY_POSTERS, "noisy", |number| {
        webhook(&alerts_of("Noise", "noise", number)).to_string()
    });
    // Half of these are stopped at a limit of the mapping's, long after they began.
    let labour = Noise::begin(&daemon, LABORIOUS_POSTERS, "laborious", |number| {
        format!(
            r#"{{"n":{}}}"#,
            if number % 2 == 0 { 100_000 } else { 1_000_000_000 }
        )
    });
    let big = daemon.poster();
    let chunks = (0..BIG / ALERTS_PER_WEBHOOK).map(|chunk| {
        let big = big.clone();
        async move { big.post(&alerts_of("Big", "big", chunk)).await }
    });
    for status in join_all(chunks).await {
        assert_eq!(status, Some(200));
    }
    for number in 0..URGENT {
        let name = format!("duty-{number}");
        let posted = Instant::now();
        daemon.post(&[alert("Duty", &name, "critical")]).await;
        let answered = posted.elapsed();
        assert!(answered <= ANSWERED_MAX, "{name} was answered after {answered:?}");
        let ledger = heard(&chat, "the urgent alert is told", |calls| {
            calls
                .iter()
                .any(|call| !names(&call.content.text, &name).is_empty())
        })
        .await;
        let told = posted.elapsed().saturating_sub(answered);
        assert!(
            told <= TOLD_MAX,
            "{name} was told after {told:?}; {}",
            gist(&ledger)
        );
    }
    let (answered, refused) = noise.end().await;
    assert!(
        answered > NOISY_POSTERS,
        "there was noise: {answered} answered, {refused} refused"
    );
    let (answered, refused) = labour.end().await;
    assert!(
        answered > 0 && refused > 0,
        "there was labour: {answered} answered, {refused} stopped or sent away"
    );
}

/// What a source posts that never stops.
struct Noise {
    stop: Arc<AtomicBool>,
    posters: Vec<tokio::task::JoinHandle<(usize, usize)>>,
}

impl Noise {
    fn begin(daemon: &Daemon, posters: usize, source: &str, body: fn(usize) -> String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicUsize::new(0));
        let posters = (0..posters)
            .map(|_| {
                let poster = daemon.poster_to(source);
                tokio::spawn(post_noise(poster, body, Arc::clone(&next), Arc::clone(&stop)))
            })
            .collect();
        Self { stop, posters }
    }

    /// How many webhooks were taken, and how many not.
    async fn end(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let mut sums = (0, 0);
        for poster in self.posters {
            let (answered, refused) = poster.await.expect("a poster");
            sums = (sums.0 + answered, sums.1 + refused);
        }
        sums
    }
}

async fn post_noise(
    poster: Poster,
    body: fn(usize) -> String,
    next: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> (usize, usize) {
    let (mut answered, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let body = body(next.fetch_add(1, Ordering::Relaxed));
        match poster.post_body(body).await {
            Some(200) => answered += 1,
            _ => refused += 1,
        }
    }
    (answered, refused)
}

fn alerts_of(name: &str, node: &str, chunk: usize) -> Vec<Value> {
    (0..ALERTS_PER_WEBHOOK)
        .map(|index| {
            let node = format!("{node}-{:07}", chunk * ALERTS_PER_WEBHOOK + index);
            alert(name, &node, "warning")
        })
        .collect()
}
