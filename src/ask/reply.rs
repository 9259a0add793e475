//! Answers as data: what is known, in the shape that the templates `answer` are given.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::command::{Command, NoQuestion};
use crate::alert::{EndpointName, ReceiverName, Severity, Timestamp};
use crate::digest::compose::rfc3339;
use crate::digest::naming::{self, shown_name};
use crate::digest::{Change, shorten};
use crate::dingtalk::Client;
use crate::dingtalk::callback::Message;
use crate::driver::{Handle, Health, Unavailable};
use crate::engine::view::{AlertQuery, AlertReceiverView, AlertView, ReceiverView, WaitsFor};
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
/// How long it may take to find out who asks.
const LOOK_UP_MAX: Duration = Duration::from_secs(10);

/// An answer. Times are RFC 3339 in the configured zone.
#[derive(Debug, Serialize)]
pub(super) struct Reply {
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
    /// The receivers this chat is, how many changes are told now, and whose must wait all the same.
    DigestNow {
        receivers: Vec<String>,
        changes: u64,
        waiting: Vec<Waiting>,
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
    /// Without it, until the configuration is loaded again.
    until: Option<String>,
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
    receivers_more: usize,
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
    fn new(said: Said, timezone: &TimeZone, now: Timestamp) -> Self {
        Self {
            composed_at: rfc3339(now, timezone),
            said,
        }
    }

    /// It is no question.
    pub(super) fn not_understood(why: NoQuestion, plan: &Plan, now: Timestamp) -> Self {
        let (problem, text) = match why {
            NoQuestion::NoCommand(text) => ("no_command", text),
            NoQuestion::NoMatchers(text) => ("no_matchers", text),
            NoQuestion::WhyWhat => ("why_what", String::new()),
        };
        let text = shorten(&text, CHARS_MAX).into_owned();
        Self::new(Said::NotUnderstood { problem, text }, &plan.timezone, now)
    }

    /// Who asks may not.
    pub(super) fn not_allowed(message: &Message, plan: &Plan, now: Timestamp) -> Self {
        let conversation = message.in_group.then(|| message.conversation.clone());
        let person = message.person.clone();
        Self::new(Said::NotAllowed { person, conversation }, &plan.timezone, now)
    }

    /// Counts an alert instead of naming it; says whether one was left.
    pub(super) fn name_fewer(&mut self) -> bool {
        let (Said::Firing(listed) | Said::Why(listed)) = &mut self.said else {
            return false;
        };
        let named = listed.alerts.pop().is_some();
        listed.more += u64::from(named);
        named
    }
}

/// Whence answers come.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) plan: &'a Plan,
    pub(super) driver: &'a Handle,
    pub(super) client: &'a Client,
}

impl Facts<'_> {
    /// What a command is answered with.
    pub(super) async fn reply(self, command: Command, app: &App, asked: &Message) -> Reply {
        let Self { plan, driver, .. } = self;
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
                let receivers = tokio::select! {
                    biased;
                    receivers = self.receivers_in(app, asked) => Some(receivers),
                    () = self.client.outside().pause(LOOK_UP_MAX) => None,
                };
                match receivers {
                    Some(receivers) => self.hasten(&receivers).await,
                    None => Ok(Said::Unavailable),
                }
            }
        };
        Reply::new(
            said.unwrap_or(Said::Unavailable),
            &plan.timezone,
            self.client.outside().now(),
        )
    }

    /// Lets receivers be told now. What no asking helps against, such as a pause, is said.
    async fn hasten(self, receivers: &[ReceiverName]) -> Result<Said, Unavailable> {
        let changes = self.driver.hasten(receivers.to_vec()).await?;
        let health = self.driver.health().await?;
        let must_wait = |receiver: &&ReceiverView| {
            let at_once = matches!(
                receiver.waits_for,
                None | Some(WaitsFor::Composing | WaitsFor::Answer)
            );
            !at_once && receivers.contains(&receiver.name)
        };
        let waiting = waiting(health.receivers.iter().filter(must_wait), &self.plan.timezone);
        let held_up: u64 = waiting.iter().map(|waiting| waiting.changes).sum();
        Ok(Said::DigestNow {
            receivers: receivers.iter().map(|name| shown_name(name.as_str())).collect(),
            changes: changes.saturating_sub(held_up),
            waiting: first(waiting),
        })
    }

    /// The receivers that are told in the chat a message came from.
    async fn receivers_in(self, app: &App, asked: &Message) -> Vec<ReceiverName> {
        let mut here: BTreeSet<&EndpointName> = BTreeSet::new();
        for endpoint in self.plan.endpoints.values() {
            if self.is_here(&endpoint.way, app, asked).await {
                here.insert(&endpoint.name);
            }
        }
        let receivers = self.plan.receivers.values();
        receivers
            .filter(|receiver| receiver.endpoints().iter().any(|name| here.contains(name)))
            .map(|receiver| receiver.name.clone())
            .collect()
    }

    async fn is_here(self, way: &Way, app: &App, asked: &Message) -> bool {
        match (way, &asked.person) {
            (Way::Group(group), _) => group.app.name == app.name && group.conversation == asked.conversation,
            (Way::Direct(person), Some(user)) if !asked.in_group && person.app.name == app.name => {
                self.client.is_user(person, user).await
            }
            (Way::Direct(_) | Way::Bot(_) | Way::WorkNotice(_), _) => false,
        }
    }
}

fn waiting<'a>(receivers: impl Iterator<Item = &'a ReceiverView>, timezone: &TimeZone) -> Vec<Waiting> {
    receivers
        .filter(|receiver| receiver.changes > 0)
        .map(|receiver| Waiting {
            receiver: shown_name(receiver.name.as_str()),
            changes: receiver.changes,
            waits_for: receiver.waits_for.map(WaitsFor::as_str),
            due_at: receiver.due_at.map(|at| rfc3339(at, timezone)),
        })
        .collect()
}

fn status(health: &Health, plan: &Plan) -> Status {
    let at = |time| rfc3339(time, &plan.timezone);
    let waiting = waiting(health.receivers.iter(), &plan.timezone);
    let paused: Vec<Paused> = (health.endpoints.iter())
        .filter(|endpoint| endpoint.reason.is_some())
        .map(|endpoint| Paused {
            endpoint: shown_name(endpoint.name.as_str()),
            reason: endpoint.reason,
            until: endpoint.paused_until.map(at),
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
        receivers_more: view.receivers.len().saturating_sub(NAMED_MAX),
    }
}

fn told(view: &AlertReceiverView, timezone: &TimeZone) -> Recipient {
    Recipient {
        name: shown_name(view.name.as_str()),
        told: view.told.map(|(said, ..)| said.as_str()),
        at: view.told.map(|(_, at, _)| rfc3339(at, timezone)),
        digest: view.told.map(|(.., digest)| digest.0),
        change: view.change.map(Change::as_str),
        waits_for: view.waits_for.map(WaitsFor::as_str),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::view::{Counts, EndpointView};
    use crate::plan::Quota;

    #[test]
    fn who_is_silent_for_good_is_named_without_an_end() {
        let plan = Plan::builtin(std::path::Path::new("/"));
        let endpoint = |name: &str, reason, until: Option<i64>| EndpointView {
            name: name.into(),
            kind: "direct",
            budget_left: 0,
            paused_until: until.map(Timestamp),
            reason,
            used_this_month: 0,
        };
        let health = Health {
            store_writable: true,
            counts: Counts {
                firing: 0,
                resolved: 0,
                changes: 0,
                used_this_month: Quota::ALL.map(|quota| (quota, 0)),
            },
            receivers: Vec::new(),
            endpoints: vec![
                endpoint("direct/ops/gone", Some("refused_person"), None),
                endpoint("ops-1", Some("limited"), Some(1_780_000_000_000)),
                endpoint("ops-2", None, None),
            ],
        };
        let paused: Vec<_> = (status(&health, &plan).paused.into_iter())
            .map(|paused| (paused.endpoint, paused.until.is_some()))
            .collect();
        assert_eq!(
            paused,
            [("direct/ops/gone".to_owned(), false), ("ops-1".to_owned(), true)]
        );
    }
}
