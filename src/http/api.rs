//! Probes, metrics, reload and the read API: the engine's views with their public JSON names.
//!
//! Times are RFC 3339 in UTC with milliseconds; what is absent is `null`. The engine's types carry no wire
//! format; the structs here mirror them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use tokio::time::timeout;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::alert::{Fingerprint, Labels, Timestamp};
use crate::clock::now;
use crate::driver::{Health, Unavailable};
use crate::engine::view::{AlertQuery, AlertReceiverView, AlertView, EndpointView, ReceiverView, WaitsFor};
use crate::http::limits::{
    ANSWER_MILLIS_MAX, LISTED_DEFAULT, LISTED_MAX, REFUSED_LISTED_DEFAULT, REFUSED_LISTED_MAX,
    RELOAD_MILLIS_MAX,
};
use crate::http::reply::{Fault, body, json};
use crate::http::{Call, answered};
use crate::plan::Quota;
use crate::plan::matcher::Matcher;
use crate::store::{self, DigestQuery};
use crate::telemetry::Snapshot;

/// All of this for programs and those who write them; tests hold it and the answers against each other.
const DESCRIPTION: &[u8] = include_bytes!("../../docs/openapi.json");
/// The classic text format, which every scraper reads.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz(call: Call) -> Response {
    answered(
        call.reads()
            .map(|()| json(StatusCode::OK, &BTreeMap::from([("status", "ok")]))),
    )
}

/// `GET /readyz`: alerts can be taken.
pub(crate) async fn readyz(call: Call) -> Response {
    answered(ready(&call).await)
}

async fn ready(call: &Call) -> Result<Response, Fault> {
    call.reads()?;
    if health(call).await?.store_writable {
        Ok(json(StatusCode::OK, &BTreeMap::from([("status", "ready")])))
    } else {
        Err(unavailable(Unavailable::StoreFailed))
    }
}

/// `GET /metrics`.
pub(crate) async fn metrics(call: Call) -> Response {
    if let Err(fault) = call.reads() {
        return fault.into_response();
    }
    let health = health(&call).await.ok();
    let plan = call.plan();
    let limited = |quota| Some((quota, plan.dingtalk.quota(quota)?));
    let quotas: Vec<_> = Quota::ALL.into_iter().filter_map(limited).collect();
    let text = call.site.metrics.encode(Snapshot {
        health: health.as_ref(),
        quotas: &quotas,
        started_at: call.site.started_at,
        now: now(),
    });
    body(StatusCode::OK, METRICS_TYPE, text.into())
}

/// `GET /api/v1/openapi.json`: every path with what it takes and answers.
pub(crate) async fn description(call: Call) -> Response {
    answered(call.reads().map(|()| {
        body(
            StatusCode::OK,
            "application/json",
            Bytes::from_static(DESCRIPTION),
        )
    }))
}

/// `POST /-/reload`.
pub(crate) async fn reload(call: Call) -> Response {
    answered(reloaded(&call).await)
}

async fn reloaded(call: &Call) -> Result<Response, Fault> {
    call.writes()?;
    call.local()?;
    let outcome = timeout(
        Duration::from_millis(RELOAD_MILLIS_MAX),
        call.site.reload.reload(),
    )
    .await;
    match outcome {
        Ok(Some(Ok(()))) => Ok(json(StatusCode::OK, &BTreeMap::from([("status", "reloaded")]))),
        Ok(Some(Err(report))) => Err(Fault::BadPlan(report)),
        Ok(None) => Err(unavailable(Unavailable::ShuttingDown)),
        Err(_) => Err(Fault::SlowAnswer),
    }
}

/// `GET /api/v1/alerts`.
pub(crate) async fn alerts(call: Call, query: String) -> Response {
    answered(list_alerts(&call, &query).await)
}

async fn list_alerts(call: &Call, query: &str) -> Result<Response, Fault> {
    #[derive(Serialize)]
    struct List<'a> {
        total: u64,
        alerts: Vec<Alert<'a>>,
    }
    call.reads()?;
    call.local()?;
    let list = within(
        call.site
            .driver
            .alerts(alert_query(query, LISTED_DEFAULT, LISTED_MAX)?),
    )
    .await?;
    let alerts = list.alerts.iter().map(Alert::from).collect();
    Ok(json(
        StatusCode::OK,
        &List {
            total: list.total,
            alerts,
        },
    ))
}

/// Reads which alerts are asked for: `default` when no limit is named, and never more than `max`.
pub(crate) fn alert_query(query: &str, default: usize, max: usize) -> Result<AlertQuery, Fault> {
    let once = ["source", "status", "receiver", "fingerprint", "limit"];
    let mut parameters = Parameters::read(query, &once, &["filter"])?;
    let state = match parameters.once.remove("status").as_deref() {
        None => None,
        Some("firing") => Some(store::State::Firing),
        Some("resolved") => Some(store::State::Resolved),
        Some("expired") => Some(store::State::Expired),
        Some(other) => {
            return Err(Fault::BadQuery(format!(
                "`status={other}` is none of `firing`, `resolved`, `expired`"
            )));
        }
    };
    let matchers = parameters
        .repeated
        .iter()
        .map(|(_, text)| {
            Matcher::parse(text)
                .map_err(|why| Fault::BadQuery(format!("`filter={text}` is no matcher: {why}")))
        })
        .collect::<Result<_, _>>()?;
    Ok(AlertQuery {
        source: parameters.name("source"),
        state,
        receiver: parameters.name("receiver"),
        matchers,
        fingerprint: parameters.fingerprint()?,
        limit: parameters.limit(default, max)?,
        ..AlertQuery::default()
    })
}

/// `GET /api/v1/digests`.
pub(crate) async fn digests(call: Call, query: String) -> Response {
    answered(list_digests(&call, &query).await)
}

async fn list_digests(call: &Call, query: &str) -> Result<Response, Fault> {
    #[derive(Serialize)]
    struct List<'a> {
        digests: Vec<Digest<'a>>,
    }
    call.reads()?;
    call.local()?;
    let mut parameters = Parameters::read(query, &["receiver", "limit"], &[])?;
    let query = DigestQuery {
        receiver: parameters.name("receiver"),
        limit: parameters.limit(LISTED_DEFAULT, LISTED_MAX)?,
        ..DigestQuery::default()
    };
    let told = within(call.site.driver.digests(query)).await?;
    Ok(json(
        StatusCode::OK,
        &List {
            digests: told.iter().map(Digest::from).collect(),
        },
    ))
}

/// `GET /api/v1/refused`.
pub(crate) async fn refused(call: Call, query: String) -> Response {
    answered(list_refused(&call, &query).await)
}

async fn list_refused(call: &Call, query: &str) -> Result<Response, Fault> {
    #[derive(Serialize)]
    struct List<'a> {
        refused: Vec<Refused<'a>>,
    }
    call.reads()?;
    call.local()?;
    let mut parameters = Parameters::read(query, &["source", "limit"], &[])?;
    let source = parameters.name("source");
    let limit = parameters.limit(REFUSED_LISTED_DEFAULT, REFUSED_LISTED_MAX)?;
    let bodies = within(call.site.driver.refused(source, limit)).await?;
    Ok(json(
        StatusCode::OK,
        &List {
            refused: bodies.iter().map(Refused::from).collect(),
        },
    ))
}

/// `GET /api/v1/receivers`.
pub(crate) async fn receivers(call: Call, query: String) -> Response {
    answered(list_receivers(&call, &query).await)
}

async fn list_receivers(call: &Call, query: &str) -> Result<Response, Fault> {
    #[derive(Serialize)]
    struct List<'a> {
        receivers: Vec<Receiver<'a>>,
    }
    call.reads()?;
    call.local()?;
    Parameters::read(query, &[], &[])?;
    let health = health(call).await?;
    Ok(json(
        StatusCode::OK,
        &List {
            receivers: health.receivers.iter().map(Receiver::from).collect(),
        },
    ))
}

/// `GET /api/v1/status`.
pub(crate) async fn status(call: Call, query: String) -> Response {
    answered(tell_status(&call, &query).await)
}

async fn tell_status(call: &Call, query: &str) -> Result<Response, Fault> {
    call.reads()?;
    call.local()?;
    Parameters::read(query, &[], &[])?;
    let health = health(call).await?;
    let plan = call.plan();
    let loaded = call.site.plan_status.borrow().clone();
    Ok(json(
        StatusCode::OK,
        &Status {
            version: env!("CARGO_PKG_VERSION"),
            started_at: Time(call.site.started_at),
            plan: PlanLoaded {
                file: loaded.file.as_deref(),
                loaded_at: Time(loaded.loaded_at),
                error: loaded.error.as_deref(),
            },
            store: StoreState {
                path: plan.store.path.to_string_lossy().into(),
                writable: health.store_writable,
            },
            alerts: Held {
                firing: health.counts.firing,
                resolved: health.counts.resolved,
            },
            changes: health.counts.changes,
        },
    ))
}

async fn health(call: &Call) -> Result<Health, Fault> {
    within(call.site.driver.health()).await
}

/// An answer of the driver, or the fault of not getting one in time.
pub(crate) async fn within<T>(answer: impl Future<Output = Result<T, Unavailable>>) -> Result<T, Fault> {
    timeout(Duration::from_millis(ANSWER_MILLIS_MAX), answer)
        .await
        .map_err(|_| Fault::SlowAnswer)?
        .map_err(unavailable)
}

fn unavailable(why: Unavailable) -> Fault {
    Fault::Unavailable {
        why,
        status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
    }
}

/// The parameters of a query, each known and, unless it may be repeated, there once.
struct Parameters {
    once: BTreeMap<String, String>,
    repeated: Vec<(String, String)>,
}

impl Parameters {
    fn read(query: &str, once: &[&str], repeated: &[&str]) -> Result<Self, Fault> {
        let mut parameters = Self {
            once: BTreeMap::new(),
            repeated: Vec::new(),
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            if repeated.contains(&name.as_str()) {
                parameters.repeated.push((name, value));
            } else if !once.contains(&name.as_str()) {
                let known: Vec<&str> = once.iter().chain(repeated).copied().collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    format!("`{}`", known.join("`, `"))
                };
                return Err(Fault::BadQuery(format!(
                    "there is no parameter `{name}` here; there is {known}"
                )));
            } else if parameters.once.insert(name.clone(), value).is_some() {
                return Err(Fault::BadQuery(format!("parameter `{name}` is given twice")));
            }
        }
        Ok(parameters)
    }

    /// A name to look for; an empty one, as a form sends it, looks for nothing in particular.
    fn name<T: From<String>>(&mut self, parameter: &str) -> Option<T> {
        self.once
            .remove(parameter)
            .filter(|name| !name.is_empty())
            .map(T::from)
    }

    fn fingerprint(&mut self) -> Result<Option<Fingerprint>, Fault> {
        let Some(text) = self.name::<String>("fingerprint") else {
            return Ok(None);
        };
        match Fingerprint::parse(&text) {
            None => Err(Fault::BadQuery(format!(
                "`fingerprint={text}` is no fingerprint: one is 16 hexadecimal digits, as `/api/v1/alerts` shows it"
            ))),
            known => Ok(known),
        }
    }

    fn limit(&mut self, default: usize, max: usize) -> Result<usize, Fault> {
        let Some(text) = self.once.remove("limit") else {
            return Ok(default);
        };
        match text.parse() {
            Ok(limit) if limit <= max => Ok(limit),
            _ => Err(Fault::BadQuery(format!(
                "`limit={text}` is no number from 0 to {max}"
            ))),
        }
    }
}

/// A time as text.
struct Time(Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        utc(self.0).serialize(to)
    }
}

/// A time as text; none outside the years a calendar has, which nobody could read.
pub(crate) fn utc(time: Timestamp) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(time.0).ok()?;
    Some(format!("{time:.3}"))
}

/// Labels as an object.
struct Pairs<'a>(&'a Labels);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0)
    }
}

#[derive(Serialize)]
struct Alert<'a> {
    source: &'a str,
    fingerprint: String,
    identity: Option<&'a str>,
    status: &'static str,
    labels: Pairs<'a>,
    annotations: Pairs<'a>,
    starts_at: Time,
    ends_at: Option<Time>,
    first_seen: Time,
    last_seen: Time,
    episodes: u32,
    receivers: Vec<AlertReceiver<'a>>,
}

#[derive(Serialize)]
struct AlertReceiver<'a> {
    name: &'a str,
    told: Option<Told>,
    change: Option<&'static str>,
    waits_for: Option<&'static str>,
}

#[derive(Serialize)]
struct Told {
    status: &'static str,
    at: Time,
    digest: u64,
}

#[derive(Serialize)]
struct Receiver<'a> {
    name: &'a str,
    changes: u64,
    oldest_change_at: Option<Time>,
    due_at: Option<Time>,
    waits_for: Option<&'static str>,
    last_digest_at: Option<Time>,
    unread: Option<u64>,
    endpoints: Vec<Endpoint<'a>>,
}

#[derive(Serialize)]
struct Endpoint<'a> {
    name: &'a str,
    kind: &'static str,
    budget_left: u32,
    paused_until: Option<Time>,
    reason: Option<&'static str>,
    used_this_month: u64,
}

#[derive(Serialize)]
struct Digest<'a> {
    id: u64,
    receiver: &'a str,
    composed_at: Time,
    detail: &'a str,
    counts: &'a BTreeMap<String, u64>,
    outcome: &'a str,
    messages: Vec<Message<'a>>,
}

#[derive(Serialize)]
struct Message<'a> {
    part: u8,
    endpoint: Option<&'a str>,
    sent_at: Option<Time>,
    attempts: u32,
    errcode: Option<i64>,
    answer: Option<&'a str>,
    title: &'a str,
    text: &'a str,
    recalled_at: Option<Time>,
    read: Option<Read<'a>>,
}

#[derive(Serialize)]
struct Read<'a> {
    asked_at: Time,
    by: Vec<Reader<'a>>,
}

#[derive(Serialize)]
struct Reader<'a> {
    user: &'a str,
    at: Time,
}

#[derive(Serialize)]
struct Refused<'a> {
    source: &'a str,
    at: Time,
    reason: &'a str,
    body: Cow<'a, str>,
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    started_at: Time,
    plan: PlanLoaded<'a>,
    store: StoreState,
    alerts: Held,
    changes: u64,
}

#[derive(Serialize)]
struct PlanLoaded<'a> {
    file: Option<&'a str>,
    loaded_at: Time,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct StoreState {
    path: String,
    writable: bool,
}

#[derive(Serialize)]
struct Held {
    firing: u64,
    resolved: u64,
}

impl<'a> From<&'a AlertView> for Alert<'a> {
    fn from(view: &'a AlertView) -> Self {
        Self {
            source: view.source.as_str(),
            fingerprint: view.fingerprint.to_string(),
            identity: view.identity.as_deref(),
            status: view.state.as_str(),
            labels: Pairs(&view.labels),
            annotations: Pairs(&view.annotations),
            starts_at: Time(view.starts_at),
            ends_at: view.ends_at.map(Time),
            first_seen: Time(view.first_seen),
            last_seen: Time(view.last_seen),
            episodes: view.episodes,
            receivers: view.receivers.iter().map(AlertReceiver::from).collect(),
        }
    }
}

impl<'a> From<&'a AlertReceiverView> for AlertReceiver<'a> {
    fn from(view: &'a AlertReceiverView) -> Self {
        Self {
            name: view.name.as_str(),
            told: view.told.map(|(said, at, digest)| Told {
                status: said.as_str(),
                at: Time(at),
                digest: digest.0,
            }),
            change: view.change.map(crate::digest::Change::as_str),
            waits_for: view.waits_for.map(WaitsFor::as_str),
        }
    }
}

impl<'a> From<&'a ReceiverView> for Receiver<'a> {
    fn from(view: &'a ReceiverView) -> Self {
        Self {
            name: view.name.as_str(),
            changes: view.changes,
            oldest_change_at: view.oldest_change_at.map(Time),
            due_at: view.due_at.map(Time),
            waits_for: view.waits_for.map(WaitsFor::as_str),
            last_digest_at: view.last_digest_at.map(Time),
            unread: view.unread,
            endpoints: view.endpoints.iter().map(Endpoint::from).collect(),
        }
    }
}

impl<'a> From<&'a EndpointView> for Endpoint<'a> {
    fn from(view: &'a EndpointView) -> Self {
        Self {
            name: view.name.as_str(),
            kind: view.kind,
            budget_left: view.budget_left,
            paused_until: view.paused_until.map(Time),
            reason: view.reason,
            used_this_month: view.used_this_month,
        }
    }
}

impl<'a> From<&'a store::RefusedBody> for Refused<'a> {
    fn from(refused: &'a store::RefusedBody) -> Self {
        Self {
            source: refused.source.as_str(),
            at: Time(refused.at),
            reason: &refused.reason,
            body: String::from_utf8_lossy(&refused.body),
        }
    }
}

impl<'a> From<&'a store::Told> for Digest<'a> {
    fn from(told: &'a store::Told) -> Self {
        let store::Told {
            id,
            digest,
            messages,
            later,
        } = told;
        Self {
            id: id.0,
            receiver: digest.receiver.as_str(),
            composed_at: Time(digest.composed_at),
            detail: &digest.detail,
            counts: &digest.counts,
            outcome: &digest.outcome,
            messages: messages
                .iter()
                .map(|(part, message)| Message {
                    part: *part,
                    endpoint: message.endpoint.as_ref().map(crate::alert::EndpointName::as_str),
                    sent_at: message.sent_at.map(Time),
                    attempts: message.attempts,
                    errcode: message.errcode,
                    answer: message.answer.as_deref(),
                    title: &message.title,
                    text: &message.text,
                    recalled_at: later.get(part).and_then(|later| later.recalled_at).map(Time),
                    read: later.get(part).and_then(Read::of),
                })
                .collect(),
        }
    }
}

impl<'a> Read<'a> {
    fn of(later: &'a store::LaterRow) -> Option<Self> {
        let reader = |(user, at): (&'a String, &Timestamp)| Reader { user, at: Time(*at) };
        Some(Self {
            asked_at: Time(later.asked_at?),
            by: later.read_by.iter().map(reader).collect(),
        })
    }
}
