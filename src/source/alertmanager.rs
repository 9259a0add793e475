//! Alertmanager's webhook and its neighbours: protocol 3 and 4, ARMS, Grafana's superset, hand-made bodies.
//!
//! The alerts' own `status`, labels and times count; what the envelope says of the group (its status, key, common
//! labels, the sender's address) differs between peers and messages and is not looked at, except for a status
//! that an alert lacks and the number of alerts cut off.
//!
//! This is the hot path: texts are borrowed from the body, and each alert is read on its own.

use serde::de::MapAccess;

use crate::alert::{Alert, Fingerprint, Labels, Status};
use crate::source::time::Reading;
use crate::source::wire::{Elements, Fields, Object, Pairs, Place, Text};
use crate::source::word::Word;
use crate::source::{
    Arrival, Decoded, Refusal, annotations, body, labels, looks, moment, quote, web_address,
};

/// The envelope.
#[derive(Debug, Default)]
struct Envelope<'a> {
    alerts: Place<Elements<'a>>,
    status: Text<'a>,
    truncated_alerts: Text<'a>,
}

impl<'de> Fields<'de> for Envelope<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<bool, A::Error> {
        match name {
            "alerts" => self.alerts = object.next_value()?,
            "status" => self.status = object.next_value()?,
            "truncatedAlerts" => self.truncated_alerts = object.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// One alert; the second half only Grafana sends.
#[derive(Debug, Default)]
struct Element<'a> {
    status: Text<'a>,
    labels: Place<Pairs<'a>>,
    annotations: Place<Pairs<'a>>,
    starts_at: Text<'a>,
    ends_at: Text<'a>,
    generator_url: Text<'a>,
    silence_url: Text<'a>,
    dashboard_url: Text<'a>,
    panel_url: Text<'a>,
    image_url: Text<'a>,
    rule_uid: Text<'a>,
    values: Place<Pairs<'a>>,
    value_string: Text<'a>,
}

impl<'de> Fields<'de> for Element<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<bool, A::Error> {
        match name {
            "status" => self.status = object.next_value()?,
            "labels" => self.labels = object.next_value()?,
            "annotations" => self.annotations = object.next_value()?,
            "startsAt" => self.starts_at = object.next_value()?,
            "endsAt" => self.ends_at = object.next_value()?,
            "generatorURL" => self.generator_url = object.next_value()?,
            "silenceURL" => self.silence_url = object.next_value()?,
            "dashboardURL" => self.dashboard_url = object.next_value()?,
            "panelURL" => self.panel_url = object.next_value()?,
            "imageURL" => self.image_url = object.next_value()?,
            "ruleUID" => self.rule_uid = object.next_value()?,
            "values" => self.values = object.next_value()?,
            "valueString" => self.value_string = object.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// What makes an alert the same alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Its labels, as in Prometheus.
    Labels,
    /// Its labels and Grafana's `ruleUID`: two rules can have equal visible labels. The hash of the labels is
    /// continued by the pair (`__ruleUID`, uid); without a uid it is the hash of the labels.
    LabelsAndRule,
}

/// Decodes the body of an Alertmanager source.
pub(super) fn decode(text: &str, arrival: Arrival<'_>) -> Result<Decoded, Refusal> {
    decode_by(Identity::Labels, text, arrival)
}

/// Decodes a body whose alerts are told apart by `identity`.
pub(super) fn decode_by(identity: Identity, text: &str, arrival: Arrival<'_>) -> Result<Decoded, Refusal> {
    let wrong_shape = |found: &str| {
        let hint = looks::hint(text, "alertmanager");
        Err(Refusal::WrongShape(format!(
            "a webhook of Alertmanager is an object with an array `alerts`, but {found}{hint}"
        )))
    };
    let envelope = match serde_json::from_str::<Place<Object<Envelope<'_>>>>(text) {
        Ok(Place::Of(Object(envelope))) => envelope,
        Ok(Place::Other(kind)) => return wrong_shape(&format!("the body is {kind}")),
        Ok(Place::Absent) => return wrong_shape("the body is null"),
        Err(error) => return Err(body::not_json(text, &error)),
    };
    let elements = match envelope.alerts {
        Place::Of(Elements(elements)) => elements,
        Place::Other(kind) => return wrong_shape(&format!("`alerts` is {kind}")),
        // Go writes an empty list as null.
        Place::Absent if is_null_list(text) => Vec::new(),
        Place::Absent => return wrong_shape("there is no `alerts`"),
    };
    let mut decoded = Decoded::default();
    note_truncated(&envelope.truncated_alerts, &mut decoded);
    let group = envelope.status.get().map(Word::of);
    for (index, raw) in elements.into_iter().enumerate() {
        match serde_json::from_str::<Place<Object<Element<'_>>>>(raw.get()) {
            Ok(Place::Of(Object(element))) => {
                let alert = alert(element, group, identity, index, arrival, &mut decoded);
                decoded.alerts.extend(alert);
            }
            Ok(Place::Other(kind)) => decoded.leave_out(Some(index), format!("the alert is {kind}")),
            Ok(Place::Absent) => decoded.leave_out(Some(index), "the alert is null"),
            Err(error) => decoded.leave_out(Some(index), format!("the alert cannot be read: {error}")),
        }
    }
    decoded.unless_useless()
}

/// Does the body have `alerts` after all, as `null`?
fn is_null_list(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|body| body.get("alerts").is_some())
}

fn note_truncated(count: &Text<'_>, decoded: &mut Decoded) {
    let count = count
        .get()
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0);
    if count > 0 {
        decoded.truncated = count;
        decoded.note(
            None,
            format!("the sender cut off {count} alerts, which are not sent again; set its `max_alerts` to 0"),
        );
    }
}

fn alert(
    mut element: Element<'_>,
    group: Option<Word>,
    identity: Identity,
    index: usize,
    arrival: Arrival<'_>,
    decoded: &mut Decoded,
) -> Option<Alert> {
    let labels = match std::mem::take(&mut element.labels) {
        Place::Of(pairs) => labels(pairs.list),
        Place::Absent => {
            decoded.leave_out(Some(index), "the alert has no labels");
            return None;
        }
        Place::Other(kind) => {
            decoded.leave_out(
                Some(index),
                format!("the alert's labels are {kind}, not an object"),
            );
            return None;
        }
    };
    let end = element
        .ends_at
        .get()
        .map(|text| (Reading::of_text(text, arrival.zone), text));
    let Some(status) = status(element.status.get(), end, group, index, arrival, decoded) else {
        decoded.ignored += 1;
        return None;
    };
    let mut links = links(&element, status);
    let fingerprint = match (identity, element.rule_uid.get()) {
        (Identity::LabelsAndRule, Some(uid)) if !uid.is_empty() => {
            Fingerprint::of_labels(&labels).pair("__ruleUID", uid)
        }
        (Identity::LabelsAndRule | Identity::Labels, _) => Fingerprint::of_labels(&labels),
    };
    let start = element.starts_at.get().unwrap_or("");
    Some(Alert {
        fingerprint,
        identity: None,
        status,
        annotations: match element.annotations {
            Place::Of(pairs) => annotations(pairs.list, &mut links),
            Place::Absent => Labels::default(),
            Place::Other(kind) => {
                decoded.note(Some(index), format!("the annotations are {kind}, not an object"));
                Labels::default()
            }
        },
        labels,
        links: Labels::from_pairs(links),
        values: values(element.values, &element.value_string),
        starts_at: arrival.start(Reading::of_text(start, arrival.zone), start, index, decoded),
        ends_at: match (status, end) {
            (Status::Resolved, Some((reading, written))) => moment(reading, "end", written, index, decoded),
            (Status::Resolved | Status::Firing, _) => None,
        },
        expires_at: None,
    })
}

/// The alert's own word; without one its end, and without an end its group's word. `None` is neither.
fn status(
    word: Option<&str>,
    end: Option<(Reading, &str)>,
    group: Option<Word>,
    index: usize,
    arrival: Arrival<'_>,
    decoded: &mut Decoded,
) -> Option<Status> {
    let written = word.filter(|word| !word.is_empty());
    let word = match (written, end) {
        (Some(word), _) => Word::of(word),
        (None, Some((Reading::At(end), _))) if end <= arrival.now => Word::Resolved,
        (None, Some((Reading::At(_), _))) => Word::Firing,
        (None, Some((Reading::Unset, text))) if !text.is_empty() => Word::Firing,
        (None, Some(_) | None) => group.unwrap_or(Word::Firing),
    };
    match word {
        Word::Firing => Some(Status::Firing),
        Word::Resolved => Some(Status::Resolved),
        Word::Neither => None,
        Word::Unknown => {
            decoded.note(
                Some(index),
                format!(
                    "the status `{}` is not known; the alert is taken as firing",
                    quote(written.unwrap_or(""))
                ),
            );
            Some(Status::Firing)
        }
    }
}

fn links(element: &Element<'_>, status: Status) -> Vec<(&'static str, String)> {
    let settled = |url: &Text<'_>| {
        let address = web_address(url.get()?)?;
        Some(match status {
            Status::Firing => without_range_end(address),
            Status::Resolved => address.to_owned(),
        })
    };
    let as_sent = |url: &Text<'_>| web_address(url.get()?).map(str::to_owned);
    [
        ("generator", as_sent(&element.generator_url)),
        ("silence", as_sent(&element.silence_url)),
        ("dashboard", settled(&element.dashboard_url)),
        ("panel", settled(&element.panel_url)),
        ("image", as_sent(&element.image_url)),
    ]
    .into_iter()
    .filter_map(|(kind, address)| Some((kind, address?)))
    .collect()
}

/// The address of a dashboard without the end of its time range: while an alert fires Grafana writes the time of
/// the message there, and each repeat would look like news. Without it the range ends now.
fn without_range_end(url: &str) -> String {
    let Some((page, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let rest: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("to=")).collect();
    format!("{page}?{}", rest.join("&"))
}

/// Measured values by name, or Grafana's text of them when it could not name them.
fn values(values: Place<Pairs<'_>>, text: &Text<'_>) -> Labels {
    match (values, text.get()) {
        (Place::Of(pairs), _) if !pairs.list.is_empty() => labels(pairs.list),
        (_, Some(text)) if !text.is_empty() => Labels::from_pairs([("valueString", text)]),
        (_, _) => Labels::default(),
    }
}
