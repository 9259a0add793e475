//! A configuration that changes while webhooks pour in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::alerts::firing;
use crate::chat::{bots, chat, gist, told};
use crate::daemon::{Daemon, Home, Poster, configuration};
use crate::eventually;

const RELOADS: usize = 50;
const POSTERS: usize = 3;
/// Who asks for a reload, in turns.
const WAYS: [&str; 3] = ["because the file changed", "by a signal", "over HTTP"];
/// In what time the usual reload takes effect.
const USUAL: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_reloads_under_load_fail_no_request_and_tell_nothing_twice() {
    let names = ["ops-1", "ops-2", "ops-3", "ops-4"];
    let chat = chat(&names).await;
    let plan = |witness: &str| {
        let rest = format!(
            "{}receivers:
  - {{ name: ops, bots: [{}], max_messages: 10 }}
  - {{ name: {witness}, bots: [ops-1] }}
route: {{ receiver: ops, group_by: [alertname], group_wait: 100ms, group_interval: 1s }}
",
            bots(&names),
            names.join(", ")
        );
        configuration(chat.url(), &rest)
    };
    // The last line names a receiver that is not there.
    let broken = plan("witness").replace("receiver: ops,", "receiver: nobody,");
    let line = broken.lines().count();
    let home = Home::new();
    home.configure(&plan("witness-1"));
    let daemon = Daemon::start(&home).await;

    let go_on = Arc::new(AtomicBool::new(true));
    let posters: Vec<_> = (0..POSTERS)
        .map(|number| tokio::spawn(post_while(daemon.poster(), number, Arc::clone(&go_on))))
        .collect();
    let mut took = WAYS.map(|_| Vec::new());
    let mut in_force = "witness-1";
    for number in 0..RELOADS {
        let next = ["witness-2", "broken", "witness-1", "broken"][number % 4];
        let begun = Instant::now();
        if next == "broken" {
            home.configure(&broken);
            ask(&daemon, number).await;
            is_reported(&daemon, line).await;
        } else {
            home.configure(&plan(next));
            ask(&daemon, number).await;
            is_in_force(&daemon, next).await;
            in_force = next;
        }
        took[number % WAYS.len()].push(begun.elapsed());
        assert!(has_receiver(&daemon, in_force).await, "the running plan stays");
    }
    go_on.store(false, Ordering::Relaxed);
    let mut posted = BTreeSet::new();
    for poster in posters {
        posted.extend(poster.await.expect("every webhook is answered 200"));
    }
    daemon.everything_is_told().await;
    let told = told(&chat, "node-");
    let told_once: BTreeSet<String> = told.iter().cloned().collect();
    assert_eq!(
        told.len(),
        told_once.len(),
        "told twice; {}",
        gist(&chat.ledger())
    );
    assert_eq!(told_once, posted, "{}", gist(&chat.ledger()));
    for (way, took) in WAYS.iter().zip(&mut took) {
        took.sort();
        let usual = took[took.len() / 2];
        assert!(usual <= USUAL, "a reload {way} usually took {usual:?}");
    }
}

/// Asks for the reload in one of the [`WAYS`].
async fn ask(daemon: &Daemon, number: usize) {
    match number % WAYS.len() {
        0 => {}
        1 => daemon.signal("HUP"),
        _ => {
            let asked = daemon.http().post(daemon.url("/-/reload")).send().await;
            let status = asked.expect("an answer").status().as_u16();
            assert!(status == 200 || status == 422, "{status}");
        }
    }
}

/// Waits until the mistake in this line is reported, with file, line and column.
async fn is_reported(daemon: &Daemon, line: usize) {
    let error = eventually("the broken file is reported", async || {
        daemon.api("/api/v1/status").await["plan"]["error"]
            .as_str()
            .map(str::to_owned)
    })
    .await;
    let place = format!("dingest.yaml:{line}:");
    let column = error.split(&place).nth(1).unwrap_or_default();
    assert!(
        column.starts_with(|c: char| c.is_ascii_digit()) && error.contains("nobody"),
        "{error}"
    );
    assert_eq!(successful(daemon).await, 0);
}

/// Waits until the plan with this receiver is in force.
async fn is_in_force(daemon: &Daemon, witness: &str) {
    eventually("the new file is in force", async || {
        let status = daemon.api("/api/v1/status").await;
        (status["plan"]["error"].is_null() && has_receiver(daemon, witness).await).then_some(())
    })
    .await;
    assert_eq!(successful(daemon).await, 1);
}

/// Posts new alerts, with breaks, and returns their nodes.
async fn post_while(poster: Poster, number: usize, go_on: Arc<AtomicBool>) -> Vec<String> {
    let mut taken = Vec::new();
    while go_on.load(Ordering::Relaxed) {
        let node = format!("node-{number}-{:04}", taken.len());
        assert_eq!(poster.post(&[firing(&node)]).await, Some(200));
        taken.push(node.clone());
        // A repeat is no news under any plan.
        assert_eq!(poster.post(&[firing(&node)]).await, Some(200));
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    taken
}

async fn has_receiver(daemon: &Daemon, name: &str) -> bool {
    let list = daemon.api("/api/v1/receivers").await;
    let receivers = list["receivers"].as_array();
    receivers.is_some_and(|receivers| receivers.iter().any(|receiver: &Value| receiver["name"] == name))
}

/// The metric that says whether the last reload succeeded.
async fn successful(daemon: &Daemon) -> u8 {
    let metrics = daemon.text("/metrics").await;
    metrics
        .lines()
        .find_map(|line| line.strip_prefix("dingest_config_last_reload_successful "))
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no such metric in {metrics}"))
}
