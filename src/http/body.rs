//! Bodies: read up to a limit in bytes and in time, inflated up to the same limit.
//!
//! **Invariant:** never more than the limit is held, whatever length a request declares or a gzip unfolds to.

use std::io::Read as _;
use std::time::Duration;

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use crate::http::limits::{BODY_RESERVE_BYTES_MAX, LINGER_BYTES_MAX, LINGER_MILLIS_MAX, Limits};
use crate::http::reply::Fault;

/// A body on its way in.
#[derive(Debug)]
pub(crate) struct Body<S> {
    stream: S,
    /// Whether its sender may be in the middle of writing it.
    open: bool,
}

impl<S, B, E> Body<S>
where
    S: Stream<Item = Result<B, E>> + Send + Unpin + 'static,
    B: Buf,
{
    /// Nothing is read yet. A sender that `expects` to be told to go on has not begun to write.
    pub(crate) fn new(stream: S, expects: bool) -> Self {
        Self {
            stream,
            open: !expects,
        }
    }

    /// Reads it whole; so many bytes are declared, if any are.
    pub(crate) async fn read(
        &mut self,
        declared: Option<usize>,
        limit_bytes: usize,
        limits: &Limits,
    ) -> Result<Bytes, Fault> {
        self.open = true;
        let end = Instant::now() + Duration::from_millis(limits.body_read_millis_max);
        let idle = Duration::from_millis(limits.body_idle_millis_max);
        let mut whole = Pieces::expecting(declared.unwrap_or(0));
        loop {
            match timeout_at(end.min(Instant::now() + idle), self.stream.next()).await {
                Ok(Some(Ok(mut piece))) => {
                    if whole.len() + piece.remaining() > limit_bytes {
                        return Err(Fault::TooLarge { limit_bytes });
                    }
                    whole.push(piece.copy_to_bytes(piece.remaining()));
                }
                Ok(None) => {
                    self.open = false;
                    return Ok(whole.join());
                }
                Ok(Some(Err(_))) => {
                    self.open = false;
                    return Err(Fault::BrokenBody);
                }
                Err(_) => {
                    self.open = false;
                    return Err(Fault::SlowBody);
                }
            }
        }
    }

    /// Throws away what is still to come of a body that is refused: a sender in the middle of writing would
    /// see a reset connection instead of the answer.
    pub(crate) fn discard(mut self) {
        if !self.open {
            return;
        }
        tokio::spawn(timeout(Duration::from_millis(LINGER_MILLIS_MAX), async move {
            let mut seen = 0;
            while let Some(Ok(piece)) = self.stream.next().await {
                seen += piece.remaining();
                if seen > LINGER_BYTES_MAX {
                    break;
                }
            }
        }));
    }
}

/// The pieces of a body. One piece, the usual case, is handed on as it is.
struct Pieces {
    /// As many bytes are set aside at once when a second piece comes, up to a limit: no declaration is believed
    /// beyond that.
    expected: usize,
    first: Bytes,
    joined: Vec<u8>,
}

impl Pieces {
    fn expecting(bytes: usize) -> Self {
        Self {
            expected: bytes.min(BODY_RESERVE_BYTES_MAX),
            first: Bytes::new(),
            joined: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        if self.joined.is_empty() {
            self.first.len()
        } else {
            self.joined.len()
        }
    }

    fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
            return;
        }
        if self.joined.is_empty() {
            self.joined.reserve(self.expected);
            self.joined.extend_from_slice(&self.first);
        }
        self.joined.extend_from_slice(&piece);
    }

    fn join(self) -> Bytes {
        if self.joined.is_empty() {
            self.first
        } else {
            self.joined.into()
        }
    }
}

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is.
    Plain,
    /// gzip, of one or several members.
    Gzip,
}

impl Coding {
    /// Reads `Content-Encoding`.
    pub(crate) fn of(header: Option<&str>) -> Result<Self, Fault> {
        match header.map(|it| it.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Ok(Self::Plain),
            Some("gzip" | "x-gzip") => Ok(Self::Gzip),
            Some(other) => Err(Fault::Coding(other.to_owned())),
        }
    }
}

/// Inflates a gzip body; with what is wrong comes what there was up to there.
pub(crate) fn inflate(body: &[u8], limit_bytes: usize) -> Result<Bytes, (Fault, Bytes)> {
    let mut inflated = Vec::new();
    let one_more = u64::try_from(limit_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let whole = MultiGzDecoder::new(body)
        .take(one_more)
        .read_to_end(&mut inflated);
    match whole {
        Err(error) => Err((Fault::BadGzip(error.to_string()), inflated.into())),
        Ok(_) if inflated.len() > limit_bytes => Err((Fault::TooLarge { limit_bytes }, inflated.into())),
        Ok(_) => Ok(inflated.into()),
    }
}
