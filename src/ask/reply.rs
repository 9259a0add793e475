//! Answers as data: what is known, in the shape that the templates `answer` are given.

use jiff::tz::TimeZone;
use serde::Serialize;

use super::command::{Command, NoQuestion};
use crate::alert::{ReceiverName, Severity, Timestamp};
use crate::clock::now;
use crate::digest::compose::rfc3339;
use crate::digest::{Change, naming, shorten};
use crate::dingtalk::callback::Message;
use crate::driver::{Handle, Health, Unavailable};
use crate::engine::view::{AlertQuery, AlertReceiverView, AlertView, WaitsFor};
use crate::plan::{App, Plan, Way};
use crate::store::State;

/// Alerts that are listed.
const LISTED_MAX: usize = 20;
/// Alerts that are explained.
const EXPLAINED_MAX: usize = 3;
/// Receivers and endpoints that are named.
const NAMED_MAX: usize = 10;
/// Labels that tell alerts apart.
const PLACES_MAX: usize = 3;
/// Characters of any text.
const CHARS_MAX: usize = 120;

/// An answer. Times are RFC 3339 in the configured zone.
#[derive(Debug, Serialize)]
pub(crate) struct Reply {
    /// When it was made; the functions for times look at it.
    composed_at: String,
    #[serde(flatten)]
    said: Said,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Said {
    Help,
    /// With what an operator would have to list.
    NotAllowed {
        person: Option<String>,
        conversation: Option<String>,
    },
    /// `no_command`, `no_matchers` or `why_what`, and of what text.
    NotUnderstood {
        problem: &'static str,
        text: String,
    },
    Unavailable,
    Status(Status),
    Firing(Listed),
    Why(Listed),
    /// The receivers this chat is, and how many changes they waited for.
    DigestNow {
        receivers: Vec<String>,
        changes: u64,
    },
}

#[derive(Debug, Serialize)]
struct Status {
    store_writable: bool,
    firing: u64,
    changes: u64,
    used_this_month: Vec<Usage>,
    /// Whom something waits for.
    waiting: Vec<Waiting>,
    waiting_more: usize,
    /// What may not speak.
    paused: Vec<Paused>,
    paused_more: usize,
}

#[derive(Debug, Serialize)]
struct Usage {
    quota: &'static str,
    used: u64,
    allowed: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Waiting {
    receiver: String,
    changes: u64,
    waits_for: Option<&'static str>,
    due_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Paused {
    endpoint: String,
    reason: Option<&'static str>,
    until: String,
}

#[derive(Debug, Serialize)]
struct Listed {
    total: u64,
    alerts: Vec<Alert>,
    more: u64,
}

#[derive(Debug, Serialize)]
struct Alert {
    status: &'static str,
    severity: &'static str,
    name: String,
    place: Vec<String>,
    summary: Option<String>,
    source: String,
    starts_at: String,
    ends_at: Option<String>,
    last_seen: String,
    episodes: u32,
    receivers: Vec<Recipient>,
}

#[derive(Debug, Serialize)]
struct Recipient {
    name: String,
    told: Option<&'static str>,
    at: Option<String>,
    digest: Option<u64>,
    change: Option<&'static str>,
    waits_for: Option<&'static str>,
}

impl Reply {
    fn new(said: Said, timezone: &TimeZone) -> Self {
        Self {
            composed_at: rfc3339(now(), timezone),
            said,
        }
    }

    /// It is no question.
    pub(super) fn not_understood(why: NoQuestion, plan: &Plan) -> Self {
        let (problem, text) = match why {
            NoQuestion::NoCommand(text) => ("no_command", text),
            NoQuestion::NoMatchers(text) => ("no_matchers", text),
            NoQuestion::WhyWhat => ("why_what", String::new()),
        };
        let text = shorten(&text, CHARS_MAX).into_owned();
        Self::new(Said::NotUnderstood { problem, text }, &plan.timezone)
    }

    /// Who asks may not.
    pub(super) fn not_allowed(message: &Message, plan: &Plan) -> Self {
        let conversation = message.in_group.then(|| message.conversation.clone());
        let person = message.person.clone();
        Self::new(Said::NotAllowed { person, conversation }, &plan.timezone)
    }
}

/// What a command is answered with.
pub(super) async fn to(command: Command, app: &App, asked: &Message, plan: &Plan, driver: &Handle) -> Reply {
    let said = match command {
        Command::Help => Ok(Said::Help),
        Command::Status => driver
            .health()
            .await
            .map(|health| Said::Status(status(&health, plan))),
        Command::Firing(matchers) => {
            let query = AlertQuery {
                state: Some(State::Firing),
                matchers,
                limit: LISTED_MAX,
                ..AlertQuery::default()
            };
            listed(query, plan, driver).await.map(Said::Firing)
        }
        Command::Why(matchers) => {
            let query = AlertQuery {
                matchers,
                limit: EXPLAINED_MAX,
                ..AlertQuery::default()
            };
            listed(query, plan, driver).await.map(Said::Why)
        }
        Command::DigestNow => {
            let receivers = receivers_in(app, asked, plan);
            let hastened = driver.hasten(receivers.clone()).await;
            hastened.map(|changes| Said::DigestNow {
                receivers: receivers.iter().map(ToString::to_string).collect(),
                changes,
            })
        }
    };
    Reply::new(said.unwrap_or(Said::Unavailable), &plan.timezone)
}

/// The receivers that are told in the chat a message came from.
fn receivers_in(app: &App, asked: &Message, plan: &Plan) -> Vec<ReceiverName> {
    let here = |way: &Way| match way {
        Way::Group(group) => group.app.name == app.name && group.conversation == asked.conversation,
        Way::Direct(person) => {
            let same = Some(&person.user) == asked.person.as_ref();
            !asked.in_group && same && person.app.name == app.name
        }
        Way::Bot(_) => false,
    };
    let speaks_here = |name| (plan.endpoints.get(name)).is_some_and(|endpoint| here(&endpoint.way));
    let receivers = plan.receivers.values();
    receivers
        .filter(|receiver| receiver.endpoints().iter().any(speaks_here))
        .map(|receiver| receiver.name.clone())
        .collect()
}

fn status(health: &Health, plan: &Plan) -> Status {
    let at = |time| rfc3339(time, &plan.timezone);
    let waiting: Vec<Waiting> = (health.receivers.iter())
        .filter(|receiver| receiver.changes > 0)
        .map(|receiver| Waiting {
            receiver: receiver.name.to_string(),
            changes: receiver.changes,
            waits_for: receiver.waits_for.map(WaitsFor::as_str),
            due_at: receiver.due_at.map(at),
        })
        .collect();
    let paused: Vec<Paused> = (health.endpoints.iter())
        .filter_map(|endpoint| {
            Some(Paused {
                endpoint: endpoint.name.to_string(),
                reason: endpoint.reason,
                until: at(endpoint.paused_until?),
            })
        })
        .collect();
    let used = health.counts.used_this_month.into_iter();
    Status {
        store_writable: health.store_writable,
        firing: health.counts.firing,
        changes: health.counts.changes,
        used_this_month: used
            .map(|(quota, used)| Usage {
                quota: quota.as_str(),
                used,
                allowed: plan.dingtalk.quota(quota),
            })
            .collect(),
        waiting_more: waiting.len().saturating_sub(NAMED_MAX),
        waiting: first(waiting),
        paused_more: paused.len().saturating_sub(NAMED_MAX),
        paused: first(paused),
    }
}

fn first<T>(mut list: Vec<T>) -> Vec<T> {
    list.truncate(NAMED_MAX);
    list
}

async fn listed(query: AlertQuery, plan: &Plan, driver: &Handle) -> Result<Listed, Unavailable> {
    let found = driver.alerts(query).await?;
    let alerts: Vec<Alert> = (found.alerts.iter())
        .map(|view| alert(view, &plan.timezone))
        .collect();
    Ok(Listed {
        total: found.total,
        more: found.total.saturating_sub(alerts.len() as u64),
        alerts,
    })
}

fn alert(view: &AlertView, timezone: &TimeZone) -> Alert {
    let at = |time: Timestamp| rfc3339(time, timezone);
    let pairs: Vec<(&str, &str)> = view.labels.iter().collect();
    let name = naming::rule_name(|label| view.labels.get(label));
    let place = naming::telling(&pairs, PLACES_MAX);
    let summary = ["summary", "message", "description"]
        .into_iter()
        .find_map(|annotation| view.annotations.get(annotation));
    Alert {
        status: view.state.as_str(),
        severity: Severity::of(&view.labels).as_str(),
        name: shorten(name.unwrap_or_default(), CHARS_MAX).into_owned(),
        place: place
            .into_iter()
            .map(|(label, value)| naming::value_text(label, value, CHARS_MAX))
            .collect(),
        summary: summary.map(|text| shorten(text, CHARS_MAX).into_owned()),
        source: view.source.to_string(),
        starts_at: at(view.starts_at),
        ends_at: view.ends_at.map(at),
        last_seen: at(view.last_seen),
        episodes: view.episodes,
        receivers: (view.receivers.iter().take(NAMED_MAX))
            .map(|receiver| told(receiver, timezone))
            .collect(),
    }
}

fn told(view: &AlertReceiverView, timezone: &TimeZone) -> Recipient {
    Recipient {
        name: view.name.to_string(),
        told: view.told.map(|(said, ..)| said.as_str()),
        at: view.told.map(|(_, at, _)| rfc3339(at, timezone)),
        digest: view.told.map(|(.., digest)| digest.0),
        change: view.change.map(Change::as_str),
        waits_for: view.waits_for.map(WaitsFor::as_str),
    }
}
