//! The sender: keep-alive connections that post prepared requests one after the other, as fast as they are
//! answered or no faster than told, all from one thread.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Connections at once.
pub(crate) const CONNECTIONS: usize = 64;

/// How a round went.
pub(crate) struct Load {
    /// When it began, by both clocks.
    begun: Instant,
    begun_at: SystemTime,
    elapsed: Duration,
    /// Of each request, the shortest first: from the first byte sent to the last received, and when it began.
    answers: Vec<(Duration, Instant)>,
}

impl Load {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn per_second(&self) -> f64 {
        self.answers.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The time within which this share of the requests was answered.
    pub(crate) fn answered_within(&self, share: f64) -> Duration {
        within(share, &self.answers)
    }

    /// The same of the requests that were under way between two moments of the wall clock, and how many they were.
    pub(crate) fn answered_within_between(
        &self,
        share: f64,
        from: SystemTime,
        until: SystemTime,
    ) -> (Duration, usize) {
        let moment = |at: SystemTime| self.begun + at.duration_since(self.begun_at).unwrap_or_default();
        let (from, until) = (moment(from), moment(until));
        let under_way: Vec<_> = self
            .answers
            .iter()
            .filter(|(took, begun)| *begun + *took >= from && *begun <= until)
            .copied()
            .collect();
        (within(share, &under_way), under_way.len())
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a list"
)]
fn within(share: f64, answers: &[(Duration, Instant)]) -> Duration {
    let place = answers.len() as f64 * share;
    answers
        .get(place as usize)
        .map(|(took, _)| *took)
        .unwrap_or_default()
}

/// Posts all requests as fast as they are answered. Any answer but a 2xx is an error.
pub(crate) fn run(to: SocketAddr, requests: &[Vec<u8>]) -> io::Result<Load> {
    run_paced(to, requests, Duration::ZERO)
}

/// The same, with a pause after each answer.
pub(crate) fn run_paced(to: SocketAddr, requests: &[Vec<u8>], pause: Duration) -> io::Result<Load> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let streams = try_join_all((0..CONNECTIONS).map(|_| TcpStream::connect(to))).await?;
        let next = Cell::new(0);
        let (begun, begun_at) = (Instant::now(), SystemTime::now());
        let answers = try_join_all(
            streams
                .into_iter()
                .map(|stream| post(stream, requests, &next, pause)),
        )
        .await?;
        let elapsed = begun.elapsed();
        let mut answers = answers.concat();
        answers.sort_unstable();
        Ok(Load {
            begun,
            begun_at,
            elapsed,
            answers,
        })
    })
}

/// Posts whatever is next until nothing is left.
async fn post(
    mut stream: TcpStream,
    requests: &[Vec<u8>],
    next: &Cell<usize>,
    pause: Duration,
) -> io::Result<Vec<(Duration, Instant)>> {
    stream.set_nodelay(true)?;
    let mut answers = Vec::new();
    let mut answer = Vec::with_capacity(4096);
    while let Some(request) = requests.get(next.replace(next.get() + 1)) {
        let begun = Instant::now();
        stream.write_all(request).await?;
        answer.clear();
        while !is_whole(&answer) {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        answers.push((begun.elapsed(), begun));
        if !answer.starts_with(b"HTTP/1.1 2") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer)));
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(answers)
}

/// Whether an answer has as many bytes as its head says.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) = answer.split_at(end + 4);
    let length = String::from_utf8_lossy(head)
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.parse().ok());
    body.len() >= length.unwrap_or(0)
}
