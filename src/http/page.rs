//! `GET /alerts`: what is true, for people. The links of digests lead here.
//!
//! The same list as `/api/v1/alerts`, with the same parameters, rules of access and limits; what fires unless another
//! state is asked for. What a filter has wrong is said on the page.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY};
use warp::reply::Response;

use crate::alert::{Severity, Timestamp};
use crate::clock::now;
use crate::digest::compose::{known_links, rfc3339};
use crate::digest::{naming, shorten};
use crate::engine::view::{AlertList, AlertQuery, AlertView, WaitsFor};
use crate::http::api::{alert_query, within};
use crate::http::reply::{Fault, body};
use crate::http::{Call, answered};
use crate::plan::Plan;
use crate::render::page_policy;
use crate::store::State;

/// Labels that tell alerts of one name apart.
const PLACES_MAX: usize = 4;
/// Characters of any text.
const CHARS_MAX: usize = 2_000;
/// Characters of a label or a name.
const NAME_CHARS_MAX: usize = 200;

/// Everything the template sees. Times are RFC 3339 in the configured zone.
#[derive(Serialize)]
struct Shown<'a> {
    lang: &'static str,
    composed_at: String,
    /// Whether there is a list, and so a number.
    counted: bool,
    total: u64,
    status: &'static str,
    receiver: Option<&'a str>,
    tabs: Vec<Tab>,
    /// What a further filter leaves as it is.
    kept: Vec<Parameter>,
    filters: Vec<Link>,
    problem: Option<String>,
    groups: Vec<Group>,
    more: u64,
}

#[derive(Serialize)]
struct Tab {
    status: &'static str,
    href: String,
    current: bool,
}

#[derive(Clone, Serialize)]
struct Parameter {
    name: String,
    value: String,
}

#[derive(Serialize)]
struct Link {
    text: String,
    href: String,
}

#[derive(Serialize)]
struct Group {
    name: String,
    count: usize,
    alerts: Vec<Alert>,
}

#[derive(Serialize)]
struct Alert {
    severity: &'static str,
    over: bool,
    place: Vec<String>,
    summary: Option<String>,
    description: Option<String>,
    starts_at: String,
    ends_at: Option<String>,
    seconds: u64,
    episodes: u32,
    source: String,
    links: Vec<Target>,
    labels: Vec<Link>,
    receivers: Vec<Recipient>,
}

/// A page about an alert.
#[derive(Serialize)]
struct Target {
    kind: &'static str,
    href: String,
}

#[derive(Serialize)]
struct Recipient {
    name: String,
    told: Option<&'static str>,
    at: Option<String>,
    change: Option<&'static str>,
    waits_for: Option<&'static str>,
}

/// `GET /alerts`.
pub(crate) async fn alerts(call: Call, query: String) -> Response {
    answered(show(&call, &query).await)
}

async fn show(call: &Call, query: &str) -> Result<Response, Fault> {
    call.reads()?;
    call.local()?;
    let address = Address::read(query);
    let (query, problem) = match alert_query(&address.query(None)) {
        Ok(query) => (query, None),
        Err(Fault::BadQuery(problem)) => (AlertQuery::default(), Some(problem)),
        Err(fault) => return Err(fault),
    };
    let query = AlertQuery {
        state: query.state.or(Some(State::Firing)),
        ..query
    };
    let list = match &problem {
        None => within(call.site.driver.alerts(query.clone())).await?,
        Some(_) => AlertList {
            total: 0,
            alerts: Vec::new(),
        },
    };
    let prepared = call.site.prepared.borrow().clone();
    let shown = shown(&address, &query, &list, problem, &prepared.plan);
    let status = if shown.counted {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    Ok(page(status, prepared.renderer.page(&shown)))
}

/// The page as it goes out: shown as it is, by nobody else, and never kept.
fn page(status: StatusCode, text: String) -> Response {
    let mut response = body(status, "text/html; charset=utf-8", text.into());
    let headers = response.headers_mut();
    // What is made of letters and digits is a header's value.
    if let Ok(policy) = HeaderValue::try_from(page_policy()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderName::from_static("x-content-type-options");
    headers.insert(nosniff, HeaderValue::from_static("nosniff"));
    response
}

/// The address of a page: its parameters, in their order.
struct Address(Vec<Parameter>);

impl Address {
    /// Without what a form sends empty.
    fn read(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
        let said = pairs.filter(|(_, value)| !value.is_empty());
        Self(said.map(|(name, value)| Parameter { name, value }).collect())
    }

    /// The query, with another parameter, if one is given.
    fn query(&self, further: Option<(&str, &str)>) -> String {
        let own = self.0.iter().map(|it| (it.name.as_str(), it.value.as_str()));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(own.chain(further)).finish()
    }

    /// This page with another parameter.
    fn with(&self, name: &str, value: &str) -> String {
        format!("?{}", self.query(Some((name, value))))
    }

    /// This page without one of its parameters.
    fn without(&self, is_meant: impl Fn(&Parameter) -> bool) -> Self {
        Self(self.0.iter().filter(|it| !is_meant(it)).cloned().collect())
    }
}

fn shown<'a>(
    address: &Address,
    query: &'a AlertQuery,
    list: &AlertList,
    problem: Option<String>,
    plan: &Plan,
) -> Shown<'a> {
    let stateless = address.without(|it| it.name == "status");
    let status = query.state.unwrap_or(State::Firing);
    let tab = |state: State| Tab {
        status: state.as_str(),
        href: stateless.with("status", state.as_str()),
        current: state == status,
    };
    let filters = address.0.iter().filter(|it| it.name == "filter");
    Shown {
        lang: plan.locale.tag(),
        composed_at: rfc3339(now(), &plan.timezone),
        counted: problem.is_none(),
        total: list.total,
        status: status.as_str(),
        receiver: query.receiver.as_ref().map(crate::alert::ReceiverName::as_str),
        tabs: State::ALL.map(tab).into(),
        kept: address.0.clone(),
        filters: filters
            .map(|filter| Link {
                text: filter.value.clone(),
                href: format!(
                    "?{}",
                    address
                        .without(|it| it.name == "filter" && it.value == filter.value)
                        .query(None)
                ),
            })
            .collect(),
        problem,
        groups: groups(address, &list.alerts, plan),
        more: list.total.saturating_sub(list.alerts.len() as u64),
    }
}

/// By name, the worst first, then the latest.
fn groups(address: &Address, alerts: &[AlertView], plan: &Plan) -> Vec<Group> {
    let mut by_name: BTreeMap<&str, Vec<&AlertView>> = BTreeMap::new();
    for alert in alerts {
        let name = naming::rule_name(|label| alert.labels.get(label));
        by_name.entry(name.unwrap_or_default()).or_default().push(alert);
    }
    let mut groups: Vec<(&str, Vec<&AlertView>)> = by_name.into_iter().collect();
    let rank = |alert: &&AlertView| (Severity::of(&alert.labels), Reverse(alert.starts_at));
    for (_, alerts) in &mut groups {
        alerts.sort_by_key(rank);
    }
    groups.sort_by_key(|(_, alerts)| alerts.first().map(rank));
    let group = |(name, alerts): (&str, Vec<&AlertView>)| Group {
        name: shorten(name, NAME_CHARS_MAX).into_owned(),
        count: alerts.len(),
        alerts: alerts.iter().map(|view| alert(address, view, plan)).collect(),
    };
    groups.into_iter().map(group).collect()
}

fn alert(address: &Address, view: &AlertView, plan: &Plan) -> Alert {
    let at = |time: Timestamp| rfc3339(time, &plan.timezone);
    let pairs: Vec<(&str, &str)> = view.labels.iter().collect();
    let annotation = |name: &str| {
        let text = view.annotations.get(name)?;
        Some(shorten(text, CHARS_MAX).into_owned())
    };
    let label = |(name, value): &(&str, &str)| Link {
        text: format!("{name}={}", shorten(value, NAME_CHARS_MAX)),
        href: address.with("filter", &exactly(name, value)),
    };
    Alert {
        severity: Severity::of(&view.labels).as_str(),
        over: view.state != State::Firing,
        place: naming::telling(&pairs, PLACES_MAX)
            .into_iter()
            .map(|(name, value)| naming::value_text(name, value, NAME_CHARS_MAX))
            .collect(),
        summary: annotation("summary").or_else(|| annotation("message")),
        description: annotation("description"),
        starts_at: at(view.starts_at),
        ends_at: view.ends_at.map(at),
        seconds: view.ends_at.unwrap_or_else(now).since(view.starts_at).0 / 1000,
        episodes: view.episodes,
        source: view.source.to_string(),
        links: known_links(&view.links)
            .into_iter()
            .map(|(kind, href)| Target { kind, href })
            .collect(),
        labels: pairs.iter().map(label).collect(),
        receivers: (view.receivers.iter())
            .map(|receiver| Recipient {
                name: naming::shown_name(receiver.name.as_str()),
                told: receiver.told.map(|(said, ..)| said.as_str()),
                at: receiver.told.map(|(_, time, _)| at(time)),
                change: receiver.change.map(crate::digest::Change::as_str),
                waits_for: receiver.waits_for.map(WaitsFor::as_str),
            })
            .collect(),
    }
}

/// The matcher that holds for this value of a label alone.
fn exactly(name: &str, value: &str) -> String {
    let value = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}
