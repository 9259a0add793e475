//! Strangers at the port: whatever they send or do not send, they get an answer or are shut out within a limit, a
//! well-behaved sender is served meanwhile, and afterwards all is given back.
//!
//! They come from addresses of their own in 127.0.0.0/8, as they would from a network, and speak bytes.

mod bodies;
mod labels;
mod shapes;
mod slow;
mod templates;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::alerts::firing;
use crate::chat::bots;
use crate::daemon::{Daemon, Poster};
use crate::{PATIENCE, eventually};

/// How soon a well-behaved sender is answered, whatever strangers do.
const ANSWERED_MAX: Duration = Duration::from_secs(1);
/// Its pause between two webhooks.
const PAUSE: Duration = Duration::from_millis(20);
/// It posts as many at least.
const POSTS_MIN: usize = 5;
/// File descriptors that may be open afterwards beside those before: the sender's own connections.
const DESCRIPTORS_MORE_MAX: usize = 8;

/// What all daemons of these tests have in common: one receiver that has time.
fn rest() -> String {
    format!(
        "{}receivers:\n  - {{ name: ops, bots: [ops] }}\nroute: {{ receiver: ops, group_wait: 1h }}\n",
        bots(&["ops"])
    )
}

/// A connection from one of this machine's own addresses.
async fn stranger(daemon: &Daemon, last: u8) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0)))?;
    socket.connect(daemon.address()).await
}

/// Sends bytes as a stranger, closes its side, and returns all that comes back until the daemon closes.
async fn exchange(daemon: &Daemon, bytes: &[u8]) -> String {
    let stream = stranger(daemon, 2).await.expect("a connection");
    let (mut answers, mut asking) = stream.into_split();
    let bytes = bytes.to_vec();
    // The daemon may have closed before it has seen everything.
    let asking = tokio::spawn(async move {
        if asking.write_all(&bytes).await.is_ok() {
            let _gone = asking.shutdown().await;
        }
        asking
    });
    let text = everything(&mut answers).await;
    drop(asking.await);
    text
}

/// All that comes until the other side closes, which it must.
async fn everything(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    // A reset after the answer is as good as a close.
    let _reset = timeout(PATIENCE, stream.read_to_end(&mut text))
        .await
        .expect("the daemon closes");
    String::from_utf8_lossy(&text).into_owned()
}

/// The statuses of the answers in what came back.
fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|answer| answer.get(..3)?.parse().ok())
        .collect()
}

/// A well-behaved sender that posts one new alert after the other.
struct Neighbour {
    stop: Arc<AtomicBool>,
    posting: JoinHandle<Vec<Duration>>,
}

impl Neighbour {
    fn begin(daemon: &Daemon) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let posting = tokio::spawn(post(daemon.poster(), Arc::clone(&stop)));
        Self { stop, posting }
    }

    /// All of its webhooks were taken, and soon.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let took = self.posting.await.expect("every webhook is taken");
        let slowest = took.iter().max().copied().unwrap_or_default();
        assert!(
            slowest <= ANSWERED_MAX,
            "a well-behaved sender waited {slowest:?}"
        );
    }
}

async fn post(poster: Poster, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) || took.len() < POSTS_MIN {
        let asked = Instant::now();
        let status = poster.post(&[firing(&format!("well-{}", took.len()))]).await;
        assert_eq!(status, Some(200), "after {} others", took.len());
        took.push(asked.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    took
}

/// What the daemon's process holds.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    descriptors: usize,
    resident_mib: usize,
}

impl Footprint {
    fn of(daemon: &Daemon) -> Self {
        let pid = daemon.pid();
        Self {
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))
                .expect("its descriptors")
                .count(),
            resident_mib: memory_mib(daemon, "VmRSS:"),
        }
    }

    /// Waits until the daemon holds hardly more than this. The allocator keeps some of what it got.
    async fn is_restored(self, daemon: &Daemon, more_mib: usize) {
        let mut last = self;
        let restored = timeout(
            PATIENCE,
            eventually("what was taken is given back", async || {
                last = Self::of(daemon);
                let descriptors = last.descriptors <= self.descriptors + DESCRIPTORS_MORE_MAX;
                let memory = last.resident_mib <= self.resident_mib + more_mib;
                (descriptors && memory).then_some(())
            }),
        );
        assert!(restored.await.is_ok(), "before {self:?}, after {last:?}");
    }
}

/// A line of the process's status, in MiB.
fn memory_mib(daemon: &Daemon, line: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("its status");
    let kib = status.lines().find_map(|it| {
        it.strip_prefix(line)?
            .trim()
            .strip_suffix(" kB")?
            .parse::<usize>()
            .ok()
    });
    kib.expect("memory in kB") / 1024
}
