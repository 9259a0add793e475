//! What a client stands on: the network and the clocks. The real ones, and the place where others can be put: the
//! simulator's, in which time is virtual and DingTalk is a table of rules.
//!
//! What failed before the connection stood was certainly not delivered; everything after that may have been. Nothing
//! here knows what is said, and to whom.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use tokio::sync::OnceCell;

use crate::alert::Timestamp;
use crate::clock;
use crate::dingtalk::TOKEN_HEADER;
use crate::engine::outcome::Refused;
use crate::engine::{Answer, Outcome};
use crate::secret::Secret;

/// From looking up the name to the end of the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From the start of an attempt to the last byte of its answer.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept: less than servers do, so that none is closed just as it is used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Most bytes of an answer that are read. Nearly all have some hundred; one that lists the five thousand people whom a
/// notice reaches at most, some of them twice, has half a million.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The network and the clocks.
pub trait Outside: fmt::Debug + Send + Sync {
    /// What the wall clock shows.
    fn now(&self) -> Timestamp;

    /// Ends so long after this call, whenever it is polled first.
    fn pause(&self, span: Duration) -> BoxFuture<'static, ()>;

    /// Whether requests to an address could be made, as far as this machine is concerned.
    fn check<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<(), ClientError>>;

    /// Makes one request, which ends within [`TOTAL_TIMEOUT`]; a failure on the way is an answer, too.
    fn exchange<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Answer>>;
}

/// A request. Its address and its token are secrets, so it cannot be printed.
pub struct Request<'a> {
    /// Where it goes.
    pub url: &'a str,
    /// The access token that goes with it as a header.
    pub token: Option<&'a Secret>,
    /// JSON that is posted; without it, it is a `GET`.
    pub body: Option<Arc<[u8]>>,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

/// What came back. It may hold a token, and a redirect may repeat ours, so only its size is printed.
#[derive(Clone)]
pub struct Response {
    /// The status of HTTP.
    pub status: u16,
    /// What the body says it is.
    pub content_type: Option<String>,
    /// Where a redirect points.
    pub location: Option<String>,
    /// The body, or its first mebibyte.
    pub body: Vec<u8>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Nothing can be sent over TLS.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot verify who DingTalk is: {}; install the system's root certificates (`ca-certificates`) or name a file of \
     them in `SSL_CERT_FILE`",
    causes(.0).join(": ")
)]
pub struct ClientError(reqwest::Error);

/// The real network, and the clocks of this machine.
///
/// Verifying certificates takes root certificates, and a machine may have none yet. That keeps nobody from being
/// started: until there are some, a message that needs them is certainly not delivered, and looks for them again.
#[derive(Debug)]
pub(super) struct Internet {
    connect: Duration,
    total: Duration,
    /// For `https`.
    verifying: OnceCell<reqwest::Client>,
    /// For `http`, which is for stand-ins and proxies of one's own; it trusts no certificate.
    plain: OnceCell<reqwest::Client>,
}

impl Default for Internet {
    fn default() -> Self {
        Self::with_timeouts(CONNECT_TIMEOUT, TOTAL_TIMEOUT)
    }
}

impl Internet {
    pub(super) fn with_timeouts(connect: Duration, total: Duration) -> Self {
        provide_tls();
        Self {
            connect,
            total,
            verifying: OnceCell::new(),
            plain: OnceCell::new(),
        }
    }

    /// The client for an address, made at its first use.
    async fn http(&self, url: &str) -> Result<&reqwest::Client, ClientError> {
        let is_plain = url.starts_with("http:");
        let cell = if is_plain { &self.plain } else { &self.verifying };
        let (connect, total) = (self.connect, self.total);
        cell.get_or_try_init(|| async move {
            // Certificates are read from files.
            tokio::task::spawn_blocking(move || build(connect, total, is_plain))
                .await
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        })
        .await
        .map_err(ClientError)
    }
}

impl Outside for Internet {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn pause(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn check<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<(), ClientError>> {
        Box::pin(async move { self.http(url).await.map(drop) })
    }

    fn exchange<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Answer>> {
        Box::pin(async move {
            let http = self.http(request.url).await;
            let http = http.map_err(|error| Answer::new(Outcome::Retry, error.to_string()))?;
            exchange(http, request).await.map_err(failure)
        })
    }
}

/// A client for peers that speak no TLS.
pub(crate) fn without_tls(total: Duration) -> Result<reqwest::Client, reqwest::Error> {
    provide_tls();
    build(total, total, true)
}

/// Says once for the process what TLS is made with.
fn provide_tls() {
    // An error says that the process has it already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn build(connect: Duration, total: Duration, is_plain: bool) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("dingest/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect)
        .timeout(total)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy();
    let builder = if is_plain {
        builder.tls_certs_only([])
    } else {
        builder
    };
    builder.build()
}

async fn exchange(http: &reqwest::Client, request: Request<'_>) -> Result<Response, reqwest::Error> {
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    let Request { url, token, body } = request;
    let mut request = match body {
        Some(body) => http.post(url).body(Bytes::from_owner(body)),
        None => http.get(url),
    };
    request = request.header(CONTENT_TYPE, json);
    if let Some(token) = token.and_then(|token| HeaderValue::from_str(token.expose()).ok()) {
        let mut token = token;
        token.set_sensitive(true);
        request = request.header(TOKEN_HEADER, token);
    }
    let mut response = request.send().await?;
    let mut read = Vec::new();
    while read.len() < ANSWER_BYTES_MAX {
        let Some(chunk) = response.chunk().await? else {
            break;
        };
        let room = ANSWER_BYTES_MAX - read.len();
        read.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
    }
    let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    Ok(Response {
        status: response.status().as_u16(),
        content_type: header(CONTENT_TYPE),
        location: header(LOCATION),
        body: read,
    })
}

/// What a failure on the way means.
fn failure(error: reqwest::Error) -> Answer {
    let (outcome, what) = if error.is_builder() {
        (
            Outcome::Refused(Refused::Other),
            "the request cannot be made; check `base_url`",
        )
    } else if error.is_connect() {
        (Outcome::Retry, "cannot connect to DingTalk")
    } else if error.is_timeout() {
        (
            Outcome::Unknown,
            "no answer in time; it may or may not have been delivered",
        )
    } else {
        (
            Outcome::Unknown,
            "the connection was lost; it may or may not have been delivered",
        )
    };
    let mut detail = vec![what.to_owned()];
    detail.extend(causes(&error.without_url()));
    detail.dedup();
    Answer::new(outcome, detail.join(": "))
}

/// What lies below an error of the HTTP client's, which itself only says what it was about.
fn causes(error: &reqwest::Error) -> Vec<String> {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
        .map(ToString::to_string)
        .collect()
}
