//! Sends one message to one bot and says what came of it.
//!
//! Every attempt is signed afresh. An answer is either DingTalk's ([`errcode`]) or a failure of the way there:
//! what failed before the connection stood was certainly not delivered, everything after that may have been.
//! There is no retrying here, no waiting and no memory; no token, secret or signature leaves in an [`Answer`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION};

use crate::alert::Timestamp;
use crate::dingtalk::{errcode, sign};
use crate::engine::outcome::Refused;
use crate::engine::{Answer, Outcome};
use crate::plan;
use crate::secret::Secret;

/// From looking up the name to the end of the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From the start of an attempt to the last byte of its answer.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of an answer that are read; DingTalk's own have some hundred.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The one HTTP client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
}

/// The client cannot be made, which concerns TLS only.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot set up TLS for sending to DingTalk; are the system's root certificates (`ca-certificates`) installed?"
)]
pub struct ClientError(#[source] reqwest::Error);

impl Client {
    /// A client with the time-outs of the daemon.
    pub fn new() -> Result<Self, ClientError> {
        Self::with_timeouts(CONNECT_TIMEOUT, TOTAL_TIMEOUT)
    }

    /// A client with other time-outs, for tests.
    pub fn with_timeouts(connect: Duration, total: Duration) -> Result<Self, ClientError> {
        // An error says that the process has a provider already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .user_agent(concat!("dingest/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect)
            .timeout(total)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .build()
            .map_err(ClientError)?;
        Ok(Self { http })
    }

    /// Posts `body` to `bot`, signed for `now`, and reads the answer.
    pub async fn send(
        &self,
        dingtalk: &plan::DingTalk,
        bot: &plan::Bot,
        body: Arc<[u8]>,
        now: Timestamp,
    ) -> Answer {
        let base_url = bot.base_url.as_deref().unwrap_or(&dingtalk.base_url);
        let url = sign::signed_url(base_url, &bot.access_token, bot.secret.as_ref(), now);
        let mut answer = match self.post(&url, body).await {
            Ok(answer) => answer,
            Err(error) => failure(error),
        };
        // What DingTalk, or a redirect, says may echo the request.
        answer.detail = without_credentials(answer.detail, bot, now);
        answer
    }

    async fn post(&self, url: &Secret, body: Arc<[u8]>) -> Result<Answer, reqwest::Error> {
        let mut response = self
            .http
            .post(url.expose())
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/json; charset=utf-8"),
            )
            .body(Bytes::from_owner(body))
            .send()
            .await?;
        let mut read = Vec::new();
        while read.len() < ANSWER_BYTES_MAX {
            let Some(chunk) = response.chunk().await? else {
                break;
            };
            let room = ANSWER_BYTES_MAX - read.len();
            read.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let mut answer = errcode::classify(response.status().as_u16(), header(CONTENT_TYPE), &read);
        if response.status().is_redirection()
            && let Some(target) = header(LOCATION).and_then(place)
        {
            answer.detail = format!("{}; it points to `{target}`", answer.detail);
        }
        Ok(answer)
    }
}

/// Scheme, host and path of a redirect's target: its query may hold our token.
fn place(location: &str) -> Option<String> {
    let mut url = reqwest::Url::parse(location).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url.into())
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
    let error = error.without_url();
    let mut causes = vec![what.to_owned()];
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes.dedup();
    Answer {
        outcome,
        errcode: None,
        detail: causes.join(": "),
    }
}

/// The text without anything that would let its reader send in our name.
fn without_credentials(detail: String, bot: &plan::Bot, now: Timestamp) -> String {
    let signature = bot
        .secret
        .as_ref()
        .map(|secret| Secret::new(sign::sign(secret, now)));
    let encoded = signature
        .as_ref()
        .map(|sign| Secret::new(sign::percent_encoded(sign.expose())));
    [
        Some(&bot.access_token),
        bot.secret.as_ref(),
        signature.as_ref(),
        encoded.as_ref(),
    ]
    .into_iter()
    .flatten()
    .map(Secret::expose)
    .filter(|credential| !credential.is_empty())
    .fold(detail, |detail, credential| detail.replace(credential, "***"))
}
