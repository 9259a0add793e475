//! `GET /api/v1/explain`: for any alert, where it came in, which routes it took and why not others, what each receiver
//! was told and when, what it waits for now, and DingTalk's own answers.
//!
//! What is true and waits is the engine's, what was told is in the history; here they are put together. The types are
//! what the API answers and what `dingest explain` reads. Times are RFC 3339 in UTC; what is absent is `null`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use warp::http::StatusCode;
use warp::reply::Response;

use crate::alert::{AlertNo, Labels, ReceiverName};
use crate::digest::Change;
use crate::engine::{Outcome, view};
use crate::http::api::{alert_query, utc, within};
use crate::http::limits::{EXPLAINED_DEFAULT, EXPLAINED_DIGESTS_MAX, EXPLAINED_MAX, EXPLAINED_MESSAGES_MAX};
use crate::http::reply::{Fault, json};
use crate::http::{Call, answered};
use crate::store::{DigestQuery, MessageRow, Said, Told};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Explained {
    /// How many alerts match, explained or not.
    pub(crate) total: u64,
    /// The first of them, in the order in which they first came in.
    pub(crate) alerts: Vec<Explanation>,
}

/// One alert, explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// Where it came in.
    pub(crate) source: String,
    /// Which alert of the source it is.
    pub(crate) fingerprint: String,
    /// The identity that a mapping names.
    pub(crate) identity: Option<String>,
    /// `firing`, `resolved` or `expired`.
    pub(crate) status: String,
    /// What it is about.
    pub(crate) labels: BTreeMap<String, String>,
    /// What it says to people.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Begin of the episode.
    pub(crate) starts_at: Option<String>,
    /// Its end.
    pub(crate) ends_at: Option<String>,
    /// When it first came in.
    pub(crate) first_seen: Option<String>,
    /// When it last came in, repeats included.
    pub(crate) last_seen: Option<String>,
    /// How many times it began to fire.
    pub(crate) episodes: u32,
    /// When it expires unless it is repeated.
    pub(crate) expires_at: Option<String>,
    /// Until when it is open whether it fires after all.
    pub(crate) doubted_until: Option<String>,
    /// Whether it comes and goes too often.
    pub(crate) flapping: bool,
    /// What happened to it after it first came in, oldest first: the last of it.
    pub(crate) occurrences: Vec<Occurrence>,
    /// Its way through the routing tree, by the configuration in force.
    pub(crate) routes: Vec<Route>,
    /// Whom it concerns.
    pub(crate) receivers: Vec<Receiver>,
}

/// Something that happened to an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Occurrence {
    /// When.
    pub(crate) at: Option<String>,
    /// What: the name of an [`crate::alert::occurrence::Occurred`].
    pub(crate) what: String,
}

/// A node of the routing tree that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    /// Its number in the order of the configuration; the root is 0.
    pub(crate) id: u32,
    /// How far below the root.
    pub(crate) depth: usize,
    /// Whom it tells.
    pub(crate) receiver: String,
    /// The sources it is for; empty is all.
    pub(crate) sources: Vec<String>,
    /// Its matchers.
    pub(crate) matchers: Vec<String>,
    /// Whether it leaves the alert to its next sibling as well.
    #[serde(rename = "continue")]
    pub(crate) continue_matching: bool,
    /// What it did with the alert: the name of a [`crate::plan::trace::Passage`].
    pub(crate) passage: String,
    /// The matcher that does not match.
    pub(crate) mismatch: Option<String>,
    /// The node before it that leaves nothing to it.
    pub(crate) shadowed_by: Option<u32>,
    /// Whether it tells nothing at this time of the week.
    pub(crate) muted: bool,
}

/// A receiver, and how it stands to the alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receiver {
    /// Its name, with the way and the person behind it.
    pub(crate) name: String,
    /// The route that leads to it.
    pub(crate) route: Option<u32>,
    /// As what it was last told the alert: `firing`, `resolved`, `flapping` or `expired`.
    pub(crate) told: Option<String>,
    /// When that was.
    pub(crate) told_at: Option<String>,
    /// In which digest.
    pub(crate) told_in: Option<u64>,
    /// What it is to be told.
    pub(crate) change: Option<String>,
    /// Why it has not been told yet.
    pub(crate) waits_for: Option<String>,
    /// When it will be, as far as known.
    pub(crate) due_at: Option<String>,
    /// Why there is nothing to tell it: the name of a [`view::Quiet`].
    pub(crate) quiet: Option<String>,
    /// When it is told again that the alert fires.
    pub(crate) reminder_at: Option<String>,
    /// What it is told through.
    pub(crate) endpoints: Vec<Endpoint>,
    /// The newest messages that told it of the alert, or were to, the newest first; `null` when the history cannot be
    /// read.
    pub(crate) messages: Option<Vec<Message>>,
    /// Whether there are older ones in the history.
    pub(crate) more_messages: bool,
}

/// What a receiver is told through, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// Its name.
    pub(crate) name: String,
    /// Why it is silent.
    pub(crate) reason: Option<String>,
    /// Until when; without it, until the configuration is loaded again.
    pub(crate) paused_until: Option<String>,
    /// Messages it may send at this moment.
    pub(crate) budget_left: u32,
}

/// A message that told a receiver of the alert, or was to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Its digest.
    pub(crate) digest: u64,
    /// Which part of it.
    pub(crate) part: u8,
    /// As what it tells the alert.
    pub(crate) status: String,
    /// When the digest was composed.
    pub(crate) composed_at: Option<String>,
    /// What came of the last try; `pending` when there was none yet, `not_sent` when there will be none.
    pub(crate) outcome: String,
    /// Through which endpoint; the console has none.
    pub(crate) endpoint: Option<String>,
    /// When it was last tried.
    pub(crate) sent_at: Option<String>,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// DingTalk's code.
    pub(crate) errcode: Option<i64>,
    /// DingTalk's words, or what kept it from having any.
    pub(crate) answer: Option<String>,
    /// When it was taken back.
    pub(crate) recalled_at: Option<String>,
}

/// `GET /api/v1/explain`.
pub(crate) async fn explain(call: Call, query: String) -> Response {
    answered(explained(&call, &query).await)
}

async fn explained(call: &Call, query: &str) -> Result<Response, Fault> {
    call.reads()?;
    call.local()?;
    let query = alert_query(query, EXPLAINED_DEFAULT, EXPLAINED_MAX)?;
    let found = within(call.site.driver.explain(query)).await?;
    let about = DigestQuery {
        alerts: found.alerts.iter().map(|alert| alert.no).collect(),
        limit: EXPLAINED_DIGESTS_MAX,
        ..DigestQuery::default()
    };
    let told = if about.alerts.is_empty() {
        Some(Vec::new())
    } else {
        // What the engine knows is said also when the disk, which may be the reason for asking, cannot be read.
        within(call.site.driver.digests(about)).await.ok()
    };
    let alerts = found.alerts.iter();
    let answer = Explained {
        total: found.total,
        alerts: alerts
            .map(|alert| Explanation::new(alert, told.as_deref()))
            .collect(),
    };
    Ok(json(StatusCode::OK, &answer))
}

impl Explanation {
    /// What is known of an alert, with the digests of the history that tell of it, if they can be read.
    pub(crate) fn new(explanation: &view::Explanation, told: Option<&[Told]>) -> Self {
        let alert = &explanation.alert;
        let standings = alert.receivers.iter().zip(&explanation.receivers);
        let mut receivers: Vec<Receiver> = standings
            .map(|(receiver, standing)| Receiver::new(receiver, standing))
            .collect();
        receivers.extend(former(explanation, told.unwrap_or_default()));
        for receiver in &mut receivers {
            let mut messages = told.map(|told| messages(explanation.no, &receiver.name, told));
            if let Some(messages) = &mut messages {
                receiver.more_messages = messages.len() > EXPLAINED_MESSAGES_MAX;
                messages.truncate(EXPLAINED_MESSAGES_MAX);
            }
            receiver.messages = messages;
        }
        Self {
            source: alert.source.to_string(),
            fingerprint: alert.fingerprint.to_string(),
            identity: alert.identity.as_deref().map(str::to_owned),
            status: alert.state.as_str().to_owned(),
            labels: pairs(&alert.labels),
            annotations: pairs(&alert.annotations),
            starts_at: utc(alert.starts_at),
            ends_at: alert.ends_at.and_then(utc),
            first_seen: utc(alert.first_seen),
            last_seen: utc(alert.last_seen),
            episodes: alert.episodes,
            expires_at: explanation.expires_at.and_then(utc),
            doubted_until: explanation.doubted_until.and_then(utc),
            flapping: explanation.flapping,
            occurrences: (explanation.occurrences.iter())
                .map(|it| Occurrence {
                    at: utc(it.at),
                    what: it.what.as_str().to_owned(),
                })
                .collect(),
            routes: explanation.routes.iter().map(Route::from).collect(),
            receivers,
        }
    }
}

/// Who was told of the alert and is not concerned with it any more.
fn former(explanation: &view::Explanation, told: &[Told]) -> Vec<Receiver> {
    let concerned = |name: &ReceiverName| {
        let mut receivers = explanation.alert.receivers.iter();
        receivers.any(|receiver| receiver.name == *name)
    };
    let mut former: Vec<Receiver> = Vec::new();
    for Told {
        id, digest, messages, ..
    } in told.iter().filter(|told| !concerned(&told.digest.receiver))
    {
        let arrived = messages.iter().find_map(|(_, row)| {
            let said = said_of(explanation.no, row)?;
            (row.outcome.as_deref() == Some(Outcome::Delivered.as_str())).then_some((said, row.sent_at))
        });
        let Some((said, at)) = arrived else { continue };
        if former
            .iter()
            .all(|receiver| receiver.name != digest.receiver.as_str())
        {
            former.push(Receiver {
                name: digest.receiver.to_string(),
                told: Some(said.as_str().to_owned()),
                told_at: at.and_then(utc),
                told_in: Some(id.0),
                quiet: Some(view::Quiet::Former.as_str().to_owned()),
                ..Receiver::default()
            });
        }
    }
    former
}

impl Receiver {
    /// Without its messages.
    fn new(view: &view::AlertReceiverView, standing: &view::Standing) -> Self {
        Self {
            name: view.name.to_string(),
            route: standing.route.map(|route| route.0),
            told: view.told.map(|(said, ..)| said.as_str().to_owned()),
            told_at: view.told.and_then(|(_, at, _)| utc(at)),
            told_in: view.told.map(|(.., digest)| digest.0),
            change: view.change.map(Change::as_str).map(str::to_owned),
            waits_for: (view.waits_for).map(|wait| wait.as_str().to_owned()),
            due_at: standing.due_at.and_then(utc),
            quiet: standing.quiet.map(|quiet| quiet.as_str().to_owned()),
            reminder_at: standing.reminder_at.and_then(utc),
            endpoints: standing.endpoints.iter().map(Endpoint::from).collect(),
            ..Self::default()
        }
    }
}

impl From<&view::RouteView> for Route {
    fn from(view: &view::RouteView) -> Self {
        Self {
            id: view.id.0,
            depth: view.depth,
            receiver: view.receiver.to_string(),
            sources: view.sources.iter().map(ToString::to_string).collect(),
            matchers: view.matchers.clone(),
            continue_matching: view.continue_matching,
            passage: view.passage.to_owned(),
            mismatch: view.mismatch.clone(),
            shadowed_by: view.shadowed_by.map(|route| route.0),
            muted: view.muted,
        }
    }
}

impl From<&view::EndpointView> for Endpoint {
    fn from(view: &view::EndpointView) -> Self {
        Self {
            name: view.name.to_string(),
            reason: view.reason.map(str::to_owned),
            paused_until: view.paused_until.and_then(utc),
            budget_left: view.budget_left,
        }
    }
}

/// The messages among these digests that tell a receiver of an alert.
fn messages(alert: AlertNo, receiver: &str, told: &[Told]) -> Vec<Message> {
    let mut messages = Vec::new();
    for Told {
        id,
        digest,
        messages: parts,
        later,
    } in told
        .iter()
        .filter(|told| told.digest.receiver.as_str() == receiver)
    {
        for (part, row) in parts {
            let Some(said) = said_of(alert, row) else { continue };
            let untried = if digest.outcome == "pending" {
                "pending"
            } else {
                "not_sent"
            };
            messages.push(Message {
                digest: id.0,
                part: *part,
                status: said.as_str().to_owned(),
                composed_at: utc(digest.composed_at),
                outcome: row.outcome.as_deref().unwrap_or(untried).to_owned(),
                endpoint: row.endpoint.as_ref().map(ToString::to_string),
                sent_at: row.sent_at.and_then(utc),
                attempts: row.attempts,
                errcode: row.errcode,
                answer: row.answer.clone(),
                recalled_at: later.get(part).and_then(|later| later.recalled_at).and_then(utc),
            });
        }
    }
    messages
}

/// As what a message tells an alert.
fn said_of(alert: AlertNo, row: &MessageRow) -> Option<Said> {
    let mut covers = row.covers.iter();
    covers.find(|(no, ..)| *no == alert).map(|(_, said, _)| *said)
}

fn pairs(labels: &Labels) -> BTreeMap<String, String> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    labels.iter().map(owned).collect()
}
