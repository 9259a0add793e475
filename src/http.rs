//! The ways in and out: webhooks, the read API, probes and metrics.
//!
//! warp's filters find the handler and take a request apart; handlers return an answer and cannot reject.
//! [`serve`] drives them over connections it limits in number, time and size. This module knows paths,
//! headers and statuses. It knows no wire format (`source` does), decides nothing about alerts (the engine
//! does), and answers 2xx only to what the driver said is durable.
//!
//! Two rules keep strangers out: a source without authentication, the read API and the reload are open to
//! this machine only, unless `server.allow_unauthenticated` says otherwise; probes and metrics are open.

mod api;
mod ask;
mod auth;
mod body;
pub(crate) mod explain;
mod intake;
pub mod limits;
mod moved;
mod page;
mod places;
mod reply;
mod room;
mod server;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use tokio::sync::{mpsc, oneshot, watch};
use warp::Filter;
use warp::http::Method;
use warp::http::header::{AsHeaderName, HeaderMap, HeaderName};
use warp::reply::Response;

use crate::alert::Timestamp;
use crate::ask::Answerer;
use crate::driver;
use crate::http::intake::Target;
use crate::http::limits::Limits;
use crate::http::moved::Moved;
use crate::http::reply::Fault;
use crate::http::room::Room;
use crate::plan::Plan;
use crate::record::Recorder;
use crate::render::Prepared;
use crate::secret::Secret;
use crate::telemetry::Metrics;

pub(crate) use body::inflate;
pub use server::{Listener, serve};

/// Everything a handler works with.
#[derive(Debug)]
pub struct Site {
    /// The configuration in force; every request looks at the current one.
    pub prepared: watch::Receiver<Prepared>,
    /// Where it came from, and what was wrong with a newer one.
    pub plan_status: watch::Receiver<PlanStatus>,
    /// The way to the engine.
    pub driver: driver::Handle,
    /// The way to a reload.
    pub reload: ReloadHandle,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Keeps what comes in.
    pub recorder: Recorder,
    /// When the process started.
    pub started_at: Timestamp,
    /// Answers who asks.
    pub answerer: Arc<Answerer>,
    /// Limits.
    pub limits: Limits,
}

/// Where the configuration in force came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStatus {
    /// Its file; `None` is the built-in one.
    pub file: Option<String>,
    /// When it was loaded.
    pub loaded_at: Timestamp,
    /// The report on a newer one that could not be loaded.
    pub error: Option<String>,
}

/// What came of a reload: the error is the report on the configuration, for people.
pub type ReloadOutcome = Result<(), String>;

/// The way to ask for a reload of the configuration and to wait for what came of it.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<oneshot::Sender<ReloadOutcome>>);

impl ReloadHandle {
    /// Requests go into this channel, each with the place for its outcome.
    pub fn new(requests: mpsc::Sender<oneshot::Sender<ReloadOutcome>>) -> Self {
        Self(requests)
    }

    /// Asks and waits; `None` when nobody reloads any more.
    pub(crate) async fn reload(&self) -> Option<ReloadOutcome> {
        let (outcome, done) = oneshot::channel();
        self.0.send(outcome).await.ok()?;
        done.await.ok()
    }
}

/// The head of a request, beside method and path.
pub(crate) struct Head {
    /// Who is at the other end; `None` is a process of this machine at the Unix socket.
    peer: Option<SocketAddr>,
    /// The headers.
    headers: HeaderMap,
}

/// Headers hold credentials and are not shown.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Head {
    /// A header's text.
    fn text(&self, name: impl AsHeaderName) -> Option<&str> {
        std::str::from_utf8(self.headers.get(name)?.as_bytes()).ok()
    }

    /// Whether it is a program of this machine that asks, on its own behalf: not a proxy for somebody else,
    /// not a browser for a page it shows.
    fn is_local(&self) -> bool {
        // Names in a map are in lower case.
        let is_of_others = |name: &HeaderName| {
            matches!(
                name.as_str(),
                "forwarded" | "x-forwarded-for" | "x-real-ip" | "origin"
            )
        };
        !self.headers.keys().any(is_of_others)
            && self
                .peer
                .is_none_or(|peer| peer.ip().to_canonical().is_loopback())
    }
}

/// A request without its path and body.
#[derive(Debug)]
pub(crate) struct Call {
    site: Arc<Site>,
    room: Room,
    method: Method,
    head: Arc<Head>,
}

impl Call {
    /// The configuration in force.
    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.site.prepared.borrow().plan)
    }

    /// Lets only one of these methods through.
    fn only(&self, methods: &'static [Method], allow: &'static str) -> Result<(), Fault> {
        if methods.contains(&self.method) {
            Ok(())
        } else {
            Err(Fault::Method { allow })
        }
    }

    fn reads(&self) -> Result<(), Fault> {
        self.only(&[Method::GET, Method::HEAD], "GET, HEAD")
    }

    fn writes(&self) -> Result<(), Fault> {
        self.only(&[Method::POST, Method::PUT], "POST, PUT")
    }

    /// Lets only this machine through, unless the configuration opens the door.
    fn local(&self) -> Result<(), Fault> {
        if self.head.is_local() || self.site.prepared.borrow().plan.server.allow_unauthenticated {
            return Ok(());
        }
        Err(Fault::Forbidden(
            "this path is open to the machine itself only; ask there, or set `server.allow_unauthenticated: true`",
        ))
    }
}

/// One segment of a path, percent-decoded.
#[derive(Clone, Debug)]
struct Segment(String);

impl FromStr for Segment {
    type Err = std::str::Utf8Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(percent_decode_str(text).decode_utf8()?.into_owned()))
    }
}

/// All paths. A trailing slash is the same path, never a redirect.
fn routes(
    site: Arc<Site>,
) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    let room = Room::new(&site.limits);
    let call = warp::any()
        .map(move || Arc::clone(&site))
        .and(warp::method())
        .and(warp::ext::get::<Arc<Head>>())
        .map(move |site, method, head| Call {
            site,
            room: room.clone(),
            method,
            head,
        });
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();

    let posted = hooks()
        .and(call.clone())
        .and(warp::body::stream())
        .then(intake::post)
        .or(warp::path!("v1" / "apps" / Segment / "messages")
            .and(call.clone())
            .and(warp::body::stream())
            .then(ask::post))
        .unify();
    let probes = probes(call.clone());
    let read = warp::path!("alerts")
        .and(call.clone())
        .and(query)
        .then(page::alerts)
        .or(warp::path!("api" / "v1" / "alerts")
            .and(call.clone())
            .and(query)
            .then(api::alerts))
        .unify()
        .or(warp::path!("api" / "v1" / "digests")
            .and(call.clone())
            .and(query)
            .then(api::digests))
        .unify()
        .or(warp::path!("api" / "v1" / "explain")
            .and(call.clone())
            .and(query)
            .then(explain::explain))
        .unify()
        .or(warp::path!("api" / "v1" / "receivers")
            .and(call.clone())
            .and(query)
            .then(api::receivers))
        .unify()
        .or(warp::path!("api" / "v1" / "refused")
            .and(call.clone())
            .and(query)
            .then(api::refused))
        .unify()
        .or(warp::path!("api" / "v1" / "status")
            .and(call.clone())
            .and(query)
            .then(api::status))
        .unify();
    let reload = warp::path!("-" / "reload").and(call.clone()).then(api::reload);
    let nothing = call.map(|call: Call| {
        call.site.metrics.unrouted();
        Fault::NoSuchPath.into_response()
    });

    posted
        .or(probes)
        .unify()
        .or(read)
        .unify()
        .or(reload)
        .unify()
        .or(nothing)
        .unify()
}

/// The paths that are open to whoever reaches the port.
fn probes(
    call: impl Filter<Extract = (Call,), Error = warp::Rejection> + Clone + Send + Sync + 'static,
) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    let healthz = warp::path!("healthz").or(warp::path!("-" / "healthy")).unify();
    let readyz = warp::path!("readyz").or(warp::path!("-" / "ready")).unify();
    healthz
        .and(call.clone())
        .then(api::healthz)
        .or(readyz.and(call.clone()).then(api::readyz))
        .unify()
        .or(warp::path!("metrics").and(call.clone()).then(api::metrics))
        .unify()
        .or(warp::path!("api" / "v1" / "openapi.json")
            .and(call)
            .then(api::description))
        .unify()
}

/// The paths alerts are posted to.
fn hooks() -> impl Filter<Extract = (Target,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    let hook = warp::path!("v1" / "hooks" / Segment).map(|source: Segment| Target::Hook {
        source: source.0,
        token: None,
    });
    let with_token =
        warp::path!("v1" / "hooks" / Segment / Segment).map(|source: Segment, token: Segment| Target::Hook {
            source: source.0,
            token: Some(Secret::new(token.0)),
        });
    let ruler = warp::path!("v1" / "hooks" / Segment / "api" / "v2" / "alerts").map(|source: Segment| {
        Target::Ruler {
            source: Some(source.0),
        }
    });
    let only_ruler = warp::path!("api" / "v2" / "alerts").map(|| Target::Ruler { source: None });
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let moved = warp::path!("dingtalk" / Segment / "send")
        .map(|target: Segment| Moved::Target(target.0))
        .or(warp::path!("prometheusalert")
            .and(query)
            .map(|query: String| Moved::by_prometheus_alert(&query)))
        .unify()
        .or(warp::path!("webhook" / "send")
            .and(query)
            .map(|query: String| Moved::by_adapter(&query)))
        .unify()
        .map(Target::Moved);
    hook.or(ruler)
        .unify()
        .or(only_ruler)
        .unify()
        .or(with_token)
        .unify()
        .or(moved)
        .unify()
}

/// The words our paths are made of.
const WORDS: [&str; 24] = [
    "-",
    "alerts",
    "api",
    "apps",
    "digests",
    "dingtalk",
    "explain",
    "healthy",
    "healthz",
    "hooks",
    "messages",
    "metrics",
    "openapi.json",
    "prometheusalert",
    "ready",
    "readyz",
    "receivers",
    "refused",
    "reload",
    "send",
    "status",
    "v1",
    "v2",
    "webhook",
];

/// A path as logs may show it: whatever may be a token is blanked. Where nothing was found, that is every word that
/// is not one of ours, for it may be a token in the wrong place.
fn shown(path: &str, found: bool) -> String {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        ["v1", "hooks", _, "api", "v2", "alerts"] if found => path.to_owned(),
        ["v1", "hooks", source, _, ..] if found => format!("/v1/hooks/{source}/***"),
        _ if found => path.to_owned(),
        _ => segments.iter().fold(String::new(), |shown, segment| {
            shown + "/" + if WORDS.contains(segment) { segment } else { "***" }
        }),
    }
}

/// What a handler that may fail returns.
fn answered(result: Result<Response, Fault>) -> Response {
    result.unwrap_or_else(Fault::into_response)
}

/// What never fails, for the bounds of hyper's services.
type Answer = Result<Response, Infallible>;
