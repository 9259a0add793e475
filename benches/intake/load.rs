//! The sender: keep-alive connections that post prepared requests one after the other, as fast as they are
//! answered, all from one thread.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Connections at once.
pub(crate) const CONNECTIONS: usize = 64;

/// How a round went.
pub(crate) struct Load {
    elapsed: Duration,
    /// From the first byte sent to the last received of each request, shortest first.
    times: Vec<Duration>,
}

impl Load {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The time within which this share of the requests was answered.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    pub(crate) fn answered_within(&self, share: f64) -> Duration {
        let place = self.times.len() as f64 * share;
        self.times.get(place as usize).copied().unwrap_or_default()
    }
}

/// Posts all requests. Any answer but a 2xx is an error.
pub(crate) fn run(to: SocketAddr, requests: &[Vec<u8>]) -> io::Result<Load> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let streams = try_join_all((0..CONNECTIONS).map(|_| TcpStream::connect(to))).await?;
        let next = Cell::new(0);
        let begun = Instant::now();
        let times = try_join_all(streams.into_iter().map(|stream| post(stream, requests, &next))).await?;
        let elapsed = begun.elapsed();
        let mut times = times.concat();
        times.sort_unstable();
        Ok(Load { elapsed, times })
    })
}

/// Posts whatever is next until nothing is left.
async fn post(mut stream: TcpStream, requests: &[Vec<u8>], next: &Cell<usize>) -> io::Result<Vec<Duration>> {
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
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
        times.push(begun.elapsed());
        if !answer.starts_with(b"HTTP/1.1 2") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer)));
        }
    }
    Ok(times)
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
