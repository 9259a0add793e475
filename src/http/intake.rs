//! Intake: a request to a source becomes alerts that are durable, or a reason.
//!
//! The order is the point: path, method, credentials, coding, size — all before the body is read — then the
//! signature, the decoder, the driver. A 2xx is sent only after the driver said that everything usable in the
//! body is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use serde::Serialize;
use tokio::time::timeout;
use tracing::{debug, warn};
use warp::http::StatusCode;
use warp::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use warp::reply::Response;

use crate::alert::Timestamp;
use crate::clock::now;
use crate::engine::Verdict;
use crate::http::Call;
use crate::http::auth::admit;
use crate::http::body::{Body, Coding, inflate};
use crate::http::limits::{DECODE_IN_PLACE_BYTES_MAX, PROBLEMS_LISTED_MAX, REDACTED_BYTES_MAX};
use crate::http::moved::Moved;
use crate::http::reply::{Fault, json};
use crate::plan::{Plan, Source, SourceKind};
use crate::secret::Secret;
use crate::secret::redact::redact;
use crate::source::{self, Decoded, Problem, Refusal};
use crate::store::{REFUSED_BODY_BYTES_MAX, RefusedBody};

/// What a path means.
#[derive(Debug)]
pub(crate) enum Target {
    /// The webhook of a source, perhaps with its token.
    Hook {
        /// The source.
        source: String,
        /// The token in the path.
        token: Option<Secret>,
    },
    /// Alertmanager's own API, for rulers.
    Ruler {
        /// The source; `None` is the one there is.
        source: Option<String>,
    },
    /// A path of another program.
    Moved(Moved),
}

impl Target {
    /// The source it is about.
    fn source<'p>(&self, plan: &'p Plan) -> Result<&'p Source, Fault> {
        let named = |name: &String| {
            plan.sources
                .get(name.as_str())
                .ok_or_else(|| Fault::NoSuchSource(name.clone()))
        };
        match self {
            Self::Hook { source, .. } => named(source),
            Self::Ruler { source: Some(source) } => match named(source)? {
                source if matches!(source.kind, SourceKind::Prometheus) => Ok(source),
                other => Err(Fault::NoSourceFor(format!(
                    "source `{0}` is not of type `prometheus`; post its webhooks to `/v1/hooks/{0}`",
                    other.name
                ))),
            },
            Self::Ruler { source: None } => {
                only(plan, "prometheus", "/v1/hooks/{source}/api/v2/alerts", |kind| {
                    matches!(kind, SourceKind::Prometheus)
                })
            }
            Self::Moved(moved) => moved.source(plan),
        }
    }

    fn token(&self) -> Option<&Secret> {
        match self {
            Self::Hook { token, .. } => token.as_ref(),
            Self::Ruler { .. } | Self::Moved(_) => None,
        }
    }

    /// Whether it holds what opens a source without `auth`.
    fn vouches(&self) -> bool {
        matches!(self, Self::Moved(moved) if moved.vouches())
    }
}

/// The only source of a type, or of several the one that bears the type's name.
pub(super) fn only<'p>(
    plan: &'p Plan,
    name: &str,
    instead: &str,
    of_type: impl Fn(&SourceKind) -> bool,
) -> Result<&'p Source, Fault> {
    let mut found = plan.sources.values().filter(|source| of_type(&source.kind));
    match (found.next(), found.next()) {
        (Some(source), None) => Ok(source),
        (None, _) => Err(Fault::NoSourceFor(format!(
            "there is no source of type `{name}`; add one to the configuration's `sources`"
        ))),
        (Some(_), Some(_)) => plan
            .sources
            .get(name)
            .filter(|source| of_type(&source.kind))
            .ok_or_else(|| {
                Fault::NoSourceFor(format!(
                    "there are several sources of type `{name}` and none of that name; post to `{instead}`"
                ))
            }),
    }
}

/// Takes one request.
pub(crate) async fn post<S, B, E>(target: Target, call: Call, stream: S) -> Response
where
    S: Stream<Item = Result<B, E>> + Send + Unpin + 'static,
    B: Buf + Send,
    E: Send,
{
    let plan = call.plan();
    let metrics = &call.site.metrics;
    let mut body = Body::new(stream, call.head.text(EXPECT).is_some());
    let found = match &target {
        // What its query says is looked at when it is a request that may have one.
        Target::Moved(_) => call.writes().and_then(|()| target.source(&plan)),
        Target::Hook { .. } | Target::Ruler { .. } => target.source(&plan),
    };
    let source = match found {
        Ok(source) => source,
        Err(fault) => {
            metrics.unrouted();
            body.discard();
            return fault.into_response();
        }
    };
    let response = match take(&target, &call, &plan, source, &mut body).await {
        Ok(taken) => json(StatusCode::OK, &taken),
        Err(fault) => {
            body.discard();
            metrics.refused(&source.name, fault.reason());
            warn!(
                source = source.name.as_str(),
                peer = call.head.peer.map(tracing::field::display),
                reason = fault.reason(),
                "webhook refused"
            );
            fault.into_response()
        }
    };
    metrics.request(&source.name, response.status().as_u16());
    response
}

async fn take<S, B, E>(
    target: &Target,
    call: &Call,
    plan: &Arc<Plan>,
    source: &Source,
    body: &mut Body<S>,
) -> Result<Taken, Fault>
where
    S: Stream<Item = Result<B, E>> + Send + Unpin + 'static,
    B: Buf,
{
    call.writes()?;
    let now = now();
    let head = &call.head;
    let is_open = plan.server.allow_unauthenticated || target.vouches();
    let admission = admit(source, head, target.token(), is_open, now)?;
    let coding = Coding::of(head.text(CONTENT_ENCODING))?;
    let limit_bytes = plan.server.body_limit_bytes;
    let declared = declared(head.text(CONTENT_LENGTH), limit_bytes)?;
    let inflated = if coding == Coding::Plain { declared } else { None };
    // Until its alerts are durable: decoded and waiting they take as much memory as the body.
    let mut place = call.room.take(source, inflated.unwrap_or(limit_bytes)).await?;
    let received = body.read(declared, limit_bytes, &call.site.limits).await?;
    if coding == Coding::Plain {
        place.shrink(received.len());
    }
    admission.confirm(&received)?;
    let content_type = head.text(CONTENT_TYPE);
    let decoded = open(call, source, coding, content_type, received, limit_bytes, now).await?;
    let stopped = match &decoded {
        Ok((decoded, _)) => decoded.stopped,
        Err(Unusable {
            fault: Fault::Refused(Refusal::MappingLimit { stopped, .. }),
            ..
        }) => *stopped,
        Err(_) => 0,
    };
    if stopped > 0 {
        call.site.metrics.mapping_limits(&source.name, stopped);
    }
    let decoded = decoded.map_err(|unusable| {
        call.site
            .driver
            .keep_refused(&source.name, &call.site.metrics, || {
                kept(source, plan, now, &unusable)
            });
        unusable.fault
    })?;
    let (decoded, body) = decoded;
    // Held while its alerts become durable only if it is needed then.
    let to_record = plan.record.is_some().then_some(body);
    let taken = keep(call, source, decoded).await?;
    if let Some(body) = to_record {
        let recorder = &call.site.recorder;
        recorder.keep(plan, &source.name, now, content_type, body);
    }
    Ok(taken)
}

/// The length a request declares, unless that is too much already.
fn declared(content_length: Option<&str>, limit_bytes: usize) -> Result<Option<usize>, Fault> {
    let Some(bytes) = content_length.and_then(|it| it.parse::<u64>().ok()) else {
        return Ok(None);
    };
    match usize::try_from(bytes) {
        Ok(bytes) if bytes <= limit_bytes => Ok(Some(bytes)),
        _ => Err(Fault::TooLarge { limit_bytes }),
    }
}

/// A body in which nothing could be used.
struct Unusable {
    fault: Fault,
    /// The body, inflated as far as that was possible.
    body: Bytes,
}

/// What is kept of a refused body: its first bytes, without the credentials in them.
fn kept(source: &Source, plan: &Plan, now: Timestamp, unusable: &Unusable) -> RefusedBody {
    let head = unusable.body.get(..REDACTED_BYTES_MAX).unwrap_or(&unusable.body);
    let mut body = redact(head, plan.secrets());
    body.truncate(REFUSED_BODY_BYTES_MAX);
    // The reason may quote the body.
    let reason = redact(unusable.fault.to_string().as_bytes(), plan.secrets());
    RefusedBody {
        source: source.name.clone(),
        at: now,
        reason: String::from_utf8_lossy(&reason).into_owned(),
        body,
    }
}

/// Whether decoding takes so long that it would hold up a worker: who knows what a mapping does.
fn takes_a_while(source: &Source, coding: Coding, received: &Bytes) -> bool {
    let mapped = matches!(source.kind, SourceKind::Json(_));
    mapped || coding != Coding::Plain || received.len() > DECODE_IN_PLACE_BYTES_MAX
}

/// Inflates and decodes, and gives the inflated body back; on another thread when that takes a while.
async fn open(
    call: &Call,
    source: &Source,
    coding: Coding,
    content_type: Option<&str>,
    received: Bytes,
    limit_bytes: usize,
    now: Timestamp,
) -> Result<Result<(Decoded, Bytes), Unusable>, Fault> {
    if !takes_a_while(source, coding, &received) {
        return Ok(decode(source, content_type, received, now));
    }
    let seat = call.room.seat(source).await?;
    let (source, content_type) = (source.clone(), content_type.map(str::to_owned));
    let work = tokio::task::spawn_blocking(move || {
        let _seat = seat;
        let plain = match coding {
            Coding::Plain => received,
            Coding::Gzip => {
                inflate(&received, limit_bytes).map_err(|(fault, body)| Unusable { fault, body })?
            }
        };
        decode(&source, content_type.as_deref(), plain, now)
    });
    match work.await {
        Ok(decoded) => Ok(decoded),
        Err(failed) => match failed.try_into_panic() {
            // Answered and logged where every panic is.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Fault::Panicked),
        },
    }
}

fn decode(
    source: &Source,
    content_type: Option<&str>,
    body: Bytes,
    now: Timestamp,
) -> Result<(Decoded, Bytes), Unusable> {
    match source::decode(source, content_type, &body, now) {
        Ok(decoded) => Ok((decoded, body)),
        Err(refusal) => Err(Unusable {
            fault: refusal.into(),
            body,
        }),
    }
}

/// Hands the alerts over and waits until they are durable.
async fn keep(call: &Call, source: &Source, decoded: Decoded) -> Result<Taken, Fault> {
    let metrics = &call.site.metrics;
    metrics.received(
        &source.name,
        u64::try_from(decoded.alerts.len()).unwrap_or(u64::MAX),
    );
    let tally = if decoded.alerts.is_empty() {
        BTreeMap::new()
    } else {
        let status = source.busy_status;
        let durable = call.site.driver.accept(source.name.clone(), decoded.alerts);
        timeout(Duration::from_millis(call.site.limits.accept_millis_max), durable)
            .await
            .map_err(|_| Fault::SlowStore { status })?
            .map_err(|why| Fault::Unavailable { why, status })?
    };
    metrics.verdicts(&source.name, &tally);
    for (verdict, alerts) in &tally {
        debug!(
            source = source.name.as_str(),
            verdict = verdict.as_str(),
            alerts,
            "alerts judged"
        );
    }
    tell_of_gaps(
        call,
        source,
        &decoded.problems,
        decoded.unusable,
        decoded.truncated,
    );
    match tally.get(&Verdict::OverLimit) {
        // A 2xx would promise what there is no room for.
        Some(&alerts) if alerts > 0 => Err(Fault::NoRoom {
            alerts,
            status: source.busy_status,
        }),
        _ => Ok(Taken {
            refused: decoded.unusable,
            ignored: decoded.ignored,
            truncated: decoded.truncated,
            ..Taken::new(&tally, &decoded.problems, decoded.problems_more)
        }),
    }
}

/// Says that a body was taken without some of its alerts: few senders show anybody the answer that says so too.
fn tell_of_gaps(call: &Call, source: &Source, problems: &[Problem], unusable: usize, cut_off: u64) {
    if unusable == 0 && cut_off == 0 {
        return;
    }
    call.site
        .metrics
        .left_out(&source.name, u64::try_from(unusable).unwrap_or(u64::MAX), cut_off);
    warn!(
        source = source.name.as_str(),
        peer = call.head.peer.map(tracing::field::display),
        unusable,
        cut_off,
        first = problems.first().map(|problem| problem.text.as_str()),
        "webhook taken without some of its alerts"
    );
}

/// The answer to a body that was taken.
#[derive(Debug, Serialize)]
struct Taken {
    /// Alerts that are durable.
    accepted: u32,
    /// Of them: begun to fire.
    new: u32,
    /// Of them: over.
    resolved: u32,
    /// Of them: known already.
    repeats: u32,
    /// Elements left out because they could not be used; `problems` says why.
    refused: usize,
    /// Elements that are not alerts.
    ignored: u32,
    /// Alerts the sender says it left out.
    truncated: u64,
    /// What was wrong with the others, the first few.
    problems: Vec<Told>,
    /// How many more problems there were.
    more_problems: usize,
}

#[derive(Debug, Serialize)]
struct Told {
    index: Option<usize>,
    error: String,
}

impl Taken {
    fn new(tally: &BTreeMap<Verdict, u32>, problems: &[Problem], unworded: usize) -> Self {
        let count = |verdicts: &[Verdict]| verdicts.iter().filter_map(|it| tally.get(it)).sum();
        Self {
            accepted: tally.values().sum(),
            new: count(&[Verdict::New, Verdict::Again]),
            resolved: count(&[Verdict::Resolved]),
            repeats: count(&[Verdict::Repeat]),
            refused: 0,
            ignored: 0,
            truncated: 0,
            problems: problems
                .iter()
                .take(PROBLEMS_LISTED_MAX)
                .map(|problem| Told {
                    index: problem.index,
                    error: problem.text.clone(),
                })
                .collect(),
            more_problems: problems.len().saturating_sub(PROBLEMS_LISTED_MAX) + unworded,
        }
    }
}
