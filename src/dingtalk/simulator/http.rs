//! Carries requests to the rules and answers, or what is left of them, back.
//!
//! Below warp, straight on hyper, because the faults include what no well-behaved server does: closing a
//! connection without an answer and breaking off in the middle of one. This module decides nothing about
//! messages.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY};
use hyper::service::service_fn;
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::dingtalk::TOKEN_HEADER;
use crate::dingtalk::simulator::Desk;
use crate::dingtalk::simulator::fault::Injection;
use crate::dingtalk::simulator::questions::Saying;
use crate::dingtalk::simulator::rules::{Call, Manner, Reaction, Reply, Request};

/// The group chats.
const PAGE: &str = include_str!("page.html");
/// Most bytes of a body that are read; far beyond what is accepted.
const BODY_BYTES_READ_MAX: usize = 1024 * 1024;
/// Before the next try when the system has no connection to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until told to stop; connections end with it.
pub(super) async fn serve(desk: Arc<Desk>, listener: TcpListener, stop: CancellationToken) {
    let policy: Arc<str> = page_policy().into();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (desk, policy) = (Arc::clone(&desk), Arc::clone(&policy));
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&desk), Arc::clone(&policy), request));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Broken connections are this program's trade.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the simulated DingTalk ended early");
            }
        });
    }
}

async fn answer(
    desk: Arc<Desk>,
    policy: Arc<str>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Answer>, io::Error> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_READ_MAX).collect().await else {
        return response(Reply::json(
            413,
            &json!({"error": "the body is too large or was cut"}),
        ));
    };
    let body = body.to_bytes();
    let path = head.uri.path();
    let query = head.uri.query().unwrap_or_default();
    match (&head.method, path) {
        (&Method::GET, "/") => return page(&policy),
        (&Method::GET, "/_sim/messages") => return response(messages(&desk, query)),
        (&Method::DELETE, "/_sim/messages") => {
            desk.rules().clear();
            return response(Reply::json(200, &json!({})));
        }
        (&Method::GET, "/_sim/stats") => {
            return response(Reply::json(200, &json!(desk.rules().stats(desk.now()))));
        }
        (&Method::POST, "/_sim/say") => return response(say(&desk, &body)),
        (&Method::POST, "/_sim/read") => return response(read(&desk, &body)),
        (&Method::POST, "/_sim/faults") => return response(inject(&desk, &body)),
        (&Method::GET, "/_sim/faults") => {
            return response(Reply::json(200, &json!({"faults": desk.rules().faults()})));
        }
        (&Method::DELETE, "/_sim/faults") => {
            desk.rules().clear_faults();
            return response(Reply::json(200, &json!({"faults": []})));
        }
        _ => {}
    }
    let content_type = head
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let token = head
        .headers
        .get(TOKEN_HEADER)
        .and_then(|value| value.to_str().ok());
    let Reaction { reply, manner } = desk.receive(&Request {
        method: head.method.as_str(),
        path,
        query,
        content_type,
        token,
        body: &body,
    });
    match manner {
        Manner::After(delay) => {
            tokio::time::sleep(delay).await;
            response(reply)
        }
        Manner::CloseAfter(delay) => {
            tokio::time::sleep(delay).await;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Manner::Cut => response(reply).map(|response| response.map(Answer::cut)),
    }
}

fn response(reply: Reply) -> Result<Response<Answer>, io::Error> {
    let mut builder = Response::builder()
        .status(reply.http_status)
        .header(CONTENT_TYPE, reply.content_type);
    if let Some(location) = reply.location {
        builder = builder.header(LOCATION, location);
    }
    builder.body(Answer::new(reply.body)).map_err(io::Error::other)
}

/// `GET /_sim/messages?after=NUMBER&marks=NUMBER`: the ledger.
fn messages(desk: &Desk, query: &str) -> Reply {
    let number = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let (_, value) = pairs.find(|(name, _)| name == wanted)?;
        value.parse().ok()
    };
    let after = number("after").unwrap_or(0);
    let rules = desk.rules();
    let marked: Vec<&Call> =
        number("marks").map_or_else(Vec::new, |marks| rules.marked(after, marks).collect());
    let calls: Vec<&Call> = marked.into_iter().chain(rules.calls(after)).collect();
    Reply::json(
        200,
        &json!({
            "epoch": desk.epoch(&rules),
            "marks": rules.marks(),
            "messages": calls,
            "listening": rules.listening(),
            "people": rules.people(),
        }),
    )
}

/// Who reads, and where.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    person: String,
    group: Option<String>,
}

/// `POST /_sim/read`: a person reads what is in a group or in the own chats.
fn read(desk: &Desk, body: &[u8]) -> Reply {
    match serde_json::from_slice::<Reading>(body) {
        Ok(Reading { person, group }) => {
            let news = desk.rules().read(&person, group.as_deref(), desk.now().time);
            Reply::json(200, &json!({"read": news}))
        }
        Err(error) => Reply::json(400, &json!({"error": format!("not who reads: {error}")})),
    }
}

/// `POST /_sim/say`: a person writes to the bot of an app.
fn say(desk: &Arc<Desk>, body: &[u8]) -> Reply {
    let saying = serde_json::from_slice::<Saying>(body).map_err(|error| error.to_string());
    match saying.and_then(|saying| desk.say(&saying)) {
        Ok(number) => Reply::json(200, &json!({"number": number})),
        Err(problem) => Reply::json(400, &json!({"error": problem})),
    }
}

/// `POST /_sim/faults`: one order or a list of them.
fn inject(desk: &Desk, body: &[u8]) -> Reply {
    let orders = match body.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice(body),
        _ => serde_json::from_slice::<Injection>(body).map(|one| vec![one]),
    };
    match orders {
        Ok(orders) => {
            let mut rules = desk.rules();
            for order in orders {
                rules.inject(order);
            }
            Reply::json(200, &json!({"faults": rules.faults()}))
        }
        Err(error) => Reply::json(
            400,
            &json!({"error": format!("not an order for a fault: {error}")}),
        ),
    }
}

fn page(policy: &str) -> Result<Response<Answer>, io::Error> {
    Response::builder()
        .header(CONTENT_TYPE, "text/html; charset=utf-8")
        .header(CONTENT_SECURITY_POLICY, policy)
        .header(REFERRER_POLICY, "no-referrer")
        .header(HeaderName::from_static("x-content-type-options"), "nosniff")
        .body(Answer::new(PAGE))
        .map_err(io::Error::other)
}

/// Lets the page run its own script and style, by their hashes, and nothing a message could bring in.
fn page_policy() -> String {
    let hash_of = |tag: &str| {
        let inner = PAGE
            .split_once(&format!("<{tag}>"))
            .and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")))
            .map_or("", |(inner, _)| inner);
        STANDARD.encode(Sha256::digest(inner))
    };
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src https: http: data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash_of("script"),
        hash_of("style")
    )
}

/// A body that may break off after its text.
struct Answer {
    text: Option<Bytes>,
    cut: bool,
}

impl Answer {
    fn new(text: impl Into<Bytes>) -> Self {
        Self {
            text: Some(text.into()),
            cut: false,
        }
    }

    /// The first half, and then no end.
    fn cut(mut self) -> Self {
        if let Some(text) = &mut self.text {
            text.truncate(text.len() / 2);
        }
        self.cut = true;
        self
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match self.text.take() {
            Some(text) => Some(Ok(Frame::data(text))),
            None if self.cut => Some(Err(io::ErrorKind::ConnectionAborted.into())),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        match &self.text {
            Some(text) if !self.cut => SizeHint::with_exact(text.len() as u64),
            Some(_) | None => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_none() && !self.cut
    }
}
