//! `GET /alerts`: what is true, for people. The links of digests lead here.
//!
//! The same list as `/api/v1/alerts`, with the same parameters and rules of access, but in pages, the worst first; what
//! fires unless another state is asked for. What a filter has wrong is said on the page.
//!
//! **Invariant:** a page has some megabytes at most, whatever senders have said and whoever asks for what.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY};
use warp::reply::Response;

use crate::alert::{Labels, Severity, Timestamp};
use crate::clock::now;
use crate::digest::compose::{known_links, rfc3339};
use crate::digest::{naming, shorten};
use crate::engine::limits::ALERTS_HELD_MAX;
use crate::engine::view::{AlertList, AlertQuery, AlertView, Order, WaitsFor};
use crate::http::api::{alert_query, within};
use crate::http::limits::LISTED_MAX;
use crate::http::reply::{Fault, body};
use crate::http::{Call, answered};
use crate::plan::Plan;
use crate::plan::matcher::Matcher;
use crate::render::page_policy;
use crate::store::State;

/// Alerts of one page.
const ALERTS_MAX: usize = 100;
/// Pages that can be asked for: as many as all alerts fill.
const PAGES_MAX: usize = ALERTS_HELD_MAX / ALERTS_MAX;
/// Labels that tell alerts of one name apart.
const PLACES_MAX: usize = 4;
/// Labels that are shown of an alert.
const LABELS_MAX: usize = 40;
/// Receivers that are shown of an alert.
const RECEIVERS_MAX: usize = 20;
/// Characters of any text.
const CHARS_MAX: usize = 2_000;
/// Characters of a label or a name.
const NAME_CHARS_MAX: usize = 200;
/// Bytes of the query of a page, which stands in every link on it.
const QUERY_BYTES_MAX: usize = 2_000;
/// Bytes of an address that is linked to: browsers open none that is much longer.
const TARGET_BYTES_MAX: usize = 8_000;

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
    severities: Vec<Share>,
    groups: Vec<Group>,
    place: Option<Place>,
}

/// How many have a severity.
#[derive(Serialize)]
struct Share {
    severity: &'static str,
    count: u64,
}

/// Which of all alerts are on the page, when that is not all of them.
#[derive(Serialize)]
struct Place {
    first: u64,
    last: u64,
    before: Option<String>,
    after: Option<String>,
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

/// A label, and the page of the alerts that have it, too, if it can be asked for.
#[derive(Serialize)]
struct Label {
    text: String,
    href: Option<String>,
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
    labels: Vec<Label>,
    labels_more: usize,
    receivers: Vec<Recipient>,
    receivers_more: usize,
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
    let mut address = Address::read(query);
    let (query, problem) = match asked(&mut address) {
        Ok(query) => (query, None),
        Err(Fault::BadQuery(problem)) => (AlertQuery::default(), Some(problem)),
        Err(fault) => return Err(fault),
    };
    let list = match &problem {
        None => within(call.site.driver.alerts(query.clone())).await?,
        Some(_) => AlertList::default(),
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

/// What an address asks for, which is left without the number of the page.
fn asked(address: &mut Address) -> Result<AlertQuery, Fault> {
    let problem = |problem: String| Err(Fault::BadQuery(problem));
    let number = address.take("page");
    let number = match number.as_deref().map(str::parse) {
        None => 1,
        Some(Ok(number)) if (1..=PAGES_MAX).contains(&number) => number,
        Some(_) => return problem(format!("`page` is no number from 1 to {PAGES_MAX}")),
    };
    if address.has("limit") {
        return problem(format!("a page has {ALERTS_MAX} alerts; the parameter is `page`"));
    }
    let query = address.query(None);
    if query.len() > QUERY_BYTES_MAX {
        *address = Address(Vec::new());
        return problem(format!("the address asks with more than {QUERY_BYTES_MAX} bytes"));
    }
    let query = alert_query(&query, ALERTS_MAX, LISTED_MAX)?;
    Ok(AlertQuery {
        state: query.state.or(Some(State::Firing)),
        order: Order::Severity,
        skip: (number - 1) * ALERTS_MAX,
        limit: ALERTS_MAX,
        ..query
    })
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

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|it| it.name == name)
    }

    /// The last parameter of a name, which is not there any more.
    fn take(&mut self, name: &str) -> Option<String> {
        let value = self.0.iter().rev().find(|it| it.name == name)?.value.clone();
        self.0.retain(|it| it.name != name);
        Some(value)
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
        severities: severities(list),
        groups: groups(address, &list.alerts, plan),
        place: place(address, query, list),
    }
}

/// How many are how bad, without what there is not.
fn severities(list: &AlertList) -> Vec<Share> {
    let all = [Severity::Critical, Severity::Warning, Severity::Info].map(Severity::as_str);
    let shares = all
        .into_iter()
        .zip(list.by_severity)
        .map(|(severity, count)| Share { severity, count });
    shares.filter(|share| share.count > 0).collect()
}

/// Where a page stands among the others.
fn place(address: &Address, query: &AlertQuery, list: &AlertList) -> Option<Place> {
    let here = list.alerts.len() as u64;
    let before = if here > 0 { query.skip as u64 } else { 0 };
    let number = query.skip / ALERTS_MAX + 1;
    let page = |number: usize| address.with("page", &number.to_string());
    (list.total > here).then(|| Place {
        first: before + here.min(1),
        last: before + here,
        before: (number > 1).then(|| page(number - 1)),
        after: (here > 0 && before + here < list.total).then(|| page(number + 1)),
    })
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
            .filter(|(_, href)| href.len() <= TARGET_BYTES_MAX)
            .map(|(kind, href)| Target { kind, href })
            .collect(),
        labels: (pairs.iter().take(LABELS_MAX))
            .map(|(name, value)| label(address, name, value))
            .collect(),
        labels_more: pairs.len().saturating_sub(LABELS_MAX),
        receivers: (view.receivers.iter().take(RECEIVERS_MAX))
            .map(|receiver| Recipient {
                name: naming::shown_name(receiver.name.as_str()),
                told: receiver.told.map(|(said, ..)| said.as_str()),
                at: receiver.told.map(|(_, time, _)| at(time)),
                change: receiver.change.map(crate::digest::Change::as_str),
                waits_for: receiver.waits_for.map(WaitsFor::as_str),
            })
            .collect(),
        receivers_more: view.receivers.len().saturating_sub(RECEIVERS_MAX),
    }
}

fn label(address: &Address, name: &str, value: &str) -> Label {
    let (shown, shown_value) = (shorten(name, NAME_CHARS_MAX), shorten(value, NAME_CHARS_MAX));
    let text = format!("{shown}={shown_value}");
    // What is cut, or no matcher can name, leads nowhere.
    let filter = exactly(name, value);
    let is_whole = text.len() == name.len() + 1 + value.len();
    let finds_it = |matcher: Matcher| matcher.matches(&Labels::from_pairs([(name, value)]));
    let can_be_asked = is_whole && Matcher::parse(&filter).is_ok_and(finds_it);
    let href = can_be_asked.then(|| address.with("filter", &filter));
    Label {
        text,
        href: href.filter(|href| href.len() <= QUERY_BYTES_MAX),
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::alert::{Fingerprint, SourceName};
    use crate::engine::view::AlertReceiverView;
    use crate::plan::Locale;
    use crate::render::Renderer;

    /// The largest alert that a source takes, in everything that a page shows.
    fn huge(receivers: usize) -> AlertView {
        let names: Vec<String> = (0..4_000).map(|number| format!("label_{number}")).collect();
        let long = format!("http://a/{}", "&".repeat(60_000));
        let labels = Labels::from_pairs(names.iter().map(|name| (name.as_str(), "<\">")));
        let text = "<".repeat(60_000);
        AlertView {
            source: SourceName::from("alertmanager"),
            fingerprint: Fingerprint::of_labels(&labels),
            identity: None,
            state: State::Firing,
            labels,
            annotations: Labels::from_pairs([("summary", text.as_str()), ("description", &text)]),
            links: Labels::from_pairs([("runbook", long.as_str()), ("generator", "http://p/graph")]),
            starts_at: Timestamp(0),
            ends_at: None,
            first_seen: Timestamp(0),
            last_seen: Timestamp(0),
            episodes: 1,
            receivers: (0..receivers)
                .map(|number| AlertReceiverView {
                    name: format!("ops/direct/person-{number}").into(),
                    told: None,
                    change: None,
                    waits_for: None,
                })
                .collect(),
        }
    }

    #[test]
    fn a_page_is_small_whatever_senders_have_said_and_whoever_asks_for_what() {
        let plan = Arc::new(Plan {
            locale: Locale::English,
            ..Plan::builtin(Path::new(""))
        });
        let renderer = Renderer::new(&plan).expect("templates that compile");
        let list = AlertList {
            total: 1_000_000,
            by_severity: [0, 0, 1_000_000],
            alerts: vec![huge(1_000); ALERTS_MAX],
        };
        let asks = format!("filter=a!=\"{}\"", "%26".repeat(600));
        for query in [asks.as_str(), "page=7&receiver=ops"] {
            let mut address = Address::read(query);
            let asked = asked(&mut address).expect("a question");
            let text = renderer.page(&shown(&address, &asked, &list, None, &plan));
            assert!(text.len() < 16 << 20, "{query}: {} bytes", text.len());
            assert!(text.contains("3,960 more") && text.contains("980 more"));
            assert!(text.contains("http://p/graph") && !text.contains("http://a/"));
        }
        let mut endless = Address::read(&format!("receiver={}", "x".repeat(QUERY_BYTES_MAX)));
        assert!(matches!(asked(&mut endless), Err(Fault::BadQuery(_))));
        assert_eq!(endless.query(None), "");
    }

    #[test]
    fn a_label_leads_to_the_alerts_that_have_it_unless_no_matcher_can_name_it() {
        let address = Address::read("receiver=ops");
        let leads = |name: &str, value: &str| label(&address, name, value).href.is_some();
        for (name, value) in [
            ("host", "db-1"),
            ("at", "a\n\"\\b\u{202e}"),
            ("x<y>", ""),
            ("节点", "甲"),
        ] {
            assert!(leads(name, value), "{name}");
        }
        for (name, value) in [("a=b", "q"), ("team name", "z"), ("{", "}"), (" host", "x")] {
            assert!(!leads(name, value), "{name}");
        }
        assert!(!leads("host", &"x".repeat(NAME_CHARS_MAX + 1)));
    }
}
