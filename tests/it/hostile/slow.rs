//! Those who take their time, say nothing, leave without a word, or do not listen.

use futures_util::future::join_all;
use serde_json::Value;

use super::*;
use crate::chat::chat;
use crate::daemon::Home;

/// Slow clients, if the system lets a process have so many files.
const CLIENTS_MAX: usize = 3_000;
/// Fewer would not be what this is about.
const CLIENTS_MIN: usize = 800;
/// Between two of them.
const ARRIVAL: Duration = Duration::from_millis(2);
/// Between two bytes of those that send some: less than the 10 seconds after which a body is given up.
const BEAT: Duration = Duration::from_secs(2);
/// No connection may last longer than the 30 seconds for a body, and one to notice.
const LASTS_MAX: Duration = Duration::from_secs(34);
/// Memory that may be kept after thousands of connections.
const MORE_MIB_MAX: usize = 48;

const HALF_HEAD: &[u8] = b"POST /v1/hooks/alertmanager HTTP/1.1\r\nHost: x\r\nX-Slow: ";
const HALF_BODY: &[u8] =
    b"POST /v1/hooks/alertmanager HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{\"alerts\":";

/// What a slow client does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slow {
    Silent,
    HalfHead,
    DripsHead,
    HalfBody,
    DripsBody,
}

impl Slow {
    const ALL: [Self; 5] = [
        Self::Silent,
        Self::HalfHead,
        Self::DripsHead,
        Self::HalfBody,
        Self::DripsBody,
    ];

    fn begins(self) -> &'static [u8] {
        match self {
            Self::Silent => b"",
            Self::HalfHead | Self::DripsHead => HALF_HEAD,
            Self::HalfBody | Self::DripsBody => HALF_BODY,
        }
    }

    /// Stays as long as it may, and returns what it was told.
    async fn stay(self, daemon: &Daemon) -> String {
        let Ok(stream) = stranger(daemon, 2).await else {
            return String::new();
        };
        let (mut answers, mut asking) = stream.into_split();
        let drips = tokio::spawn(async move {
            let mut begun = asking.write_all(self.begins()).await;
            if matches!(self, Self::DripsHead | Self::DripsBody) {
                while begun.is_ok() {
                    tokio::time::sleep(BEAT).await;
                    begun = asking.write_all(b" ").await;
                }
            }
            asking
        });
        let mut text = Vec::new();
        // A reset is as good as a close.
        let shut_out = timeout(LASTS_MAX, answers.read_to_end(&mut text)).await;
        drips.abort();
        assert!(shut_out.is_ok(), "{self:?} was not shut out in {LASTS_MAX:?}");
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// As many as this process may have connections.
fn clients() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open_files = limits
        .lines()
        .find_map(|line| {
            line.strip_prefix("Max open files")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(1024);
    let clients = CLIENTS_MAX.min(open_files * 4 / 5);
    assert!(
        clients >= CLIENTS_MIN,
        "raise the limit of open files: `ulimit -n 4096`"
    );
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_slow_clients_are_shut_out_in_time_and_delay_nobody() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &rest());
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("first")]).await;
    let before = Footprint::of(&daemon);
    let neighbour = Neighbour::begin(&daemon);
    let stays = (0..clients()).map(|number| {
        let slow = Slow::ALL[number % Slow::ALL.len()];
        let daemon = &daemon;
        async move {
            // One after the other: the system forgets connections of a crowd at the door.
            tokio::time::sleep(ARRIVAL * u32::try_from(number).expect("a few thousand")).await;
            (slow, slow.stay(daemon).await)
        }
    });
    let told = join_all(stays).await;
    neighbour.end().await;
    let mut reasons = std::collections::BTreeMap::<&str, usize>::new();
    for (slow, text) in &told {
        let reason = if text.is_empty() {
            "closed"
        } else if text.contains("\"slow_body\"") && text.starts_with("HTTP/1.1 408 ") {
            "slow_body"
        } else if text.contains("\"address_busy\"") && text.starts_with("HTTP/1.1 503 ") {
            "address_busy"
        } else if text.starts_with("HTTP/1.1 408 ") && *slow != Slow::Silent {
            "slow_head"
        } else {
            panic!("{slow:?}: {text}")
        };
        *reasons.entry(reason).or_default() += 1;
    }
    assert!(
        reasons.contains_key("slow_body") && reasons.contains_key("closed"),
        "{reasons:?}"
    );
    let metrics = daemon.text("/metrics").await;
    for reason in ["gave_way", "address_busy"] {
        let line = format!("dingest_http_connections_cut_total{{reason=\"{reason}\"}}");
        assert!(metrics.contains(&line), "{metrics}");
    }
    before.is_restored(&daemon, MORE_MIB_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_in_the_middle_takes_nothing_along() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &rest());
    let daemon = Daemon::start(&home).await;
    daemon.post(&[firing("first")]).await;
    let before = Footprint::of(&daemon);
    let neighbour = Neighbour::begin(&daemon);
    for beginning in [b"".as_slice(), HALF_HEAD, HALF_BODY] {
        for _ in 0..200 {
            let mut leaver = stranger(&daemon, 2).await.expect("a connection");
            leaver.write_all(beginning).await.expect("a beginning");
            leaver.set_zero_linger().expect("a socket");
            // Resets the connection.
            drop(leaver);
        }
        for _ in 0..50 {
            let mut leaver = stranger(&daemon, 2).await.expect("a connection");
            leaver.write_all(beginning).await.expect("a beginning");
            leaver.shutdown().await.expect("its side is closed");
            let told = everything(&mut leaver).await;
            if beginning == HALF_BODY {
                assert!(
                    told.starts_with("HTTP/1.1 400 ") && told.contains("broken_body"),
                    "{told}"
                );
            } else {
                assert!(told.is_empty() || told.starts_with("HTTP/1.1 400 "), "{told}");
            }
        }
    }
    neighbour.end().await;
    let list = daemon.api("/api/v1/alerts?filter=alertname!%3DNodeDown").await;
    assert_eq!(list["total"], Value::from(0), "{list}");
    before.is_restored(&daemon, MORE_MIB_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_without_end_and_does_not_listen_is_cut_off() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &rest());
    let daemon = Daemon::start(&home).await;
    let before = Footprint::of(&daemon);
    let neighbour = Neighbour::begin(&daemon);
    let deaf = (0..50).map(|_| async {
        let mut stream = stranger(&daemon, 2).await.expect("a connection");
        let asked = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
        let cut = timeout(PATIENCE, async {
            while stream.write_all(asked.as_bytes()).await.is_ok() {}
        });
        assert!(cut.await.is_ok(), "a client that does not listen is cut off");
    });
    join_all(deaf).await;
    neighbour.end().await;
    let metrics = daemon.text("/metrics").await;
    assert!(
        metrics.contains("dingest_http_connections_cut_total{reason=\"slow_reader\"}"),
        "{metrics}"
    );
    before.is_restored(&daemon, MORE_MIB_MAX).await;
}
