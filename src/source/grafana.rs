//! Grafana's webhooks: unified alerting (9 and later) and the legacy body (8 and older), told apart by content.
//!
//! Unified bodies are a superset of Alertmanager's and read by that decoder, with the rule's uid as part of the
//! identity. A legacy body is one rule as a whole: no labels but its tags, no times, identity `orgId/ruleId`.
//! Anything else comes from a contact point's own payload template and is read like any JSON without a mapping.

use std::sync::Arc;

use serde::de::MapAccess;

use crate::alert::{Alert, Fingerprint, Labels, Status};
use crate::source::alertmanager::{self, Identity};
use crate::source::json::{self, Mapping};
use crate::source::wire::{Elements, Fields, Object, Pairs, Place, Text};
use crate::source::word::Word;
use crate::source::{Arrival, Decoded, Refusal, annotations, body, labels, looks, quote, web_address};

/// What both bodies are told apart by, and the legacy one's fields.
#[derive(Debug, Default)]
struct Body<'a> {
    has_alerts: bool,
    rule_id: Text<'a>,
    rule_name: Text<'a>,
    rule_url: Text<'a>,
    state: Text<'a>,
    title: Text<'a>,
    message: Text<'a>,
    image_url: Text<'a>,
    org_id: Text<'a>,
    tags: Place<Pairs<'a>>,
    matches: Place<Elements<'a>>,
}

impl<'de> Fields<'de> for Body<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<bool, A::Error> {
        match name {
            "alerts" => {
                self.has_alerts = true;
                return Ok(false);
            }
            "ruleId" => self.rule_id = object.next_value()?,
            "ruleName" => self.rule_name = object.next_value()?,
            // The second spelling is that of the oldest releases.
            "ruleUrl" | "rule_url" => self.rule_url = object.next_value()?,
            "state" => self.state = object.next_value()?,
            "title" => self.title = object.next_value()?,
            "message" => self.message = object.next_value()?,
            "imageUrl" | "image_url" => self.image_url = object.next_value()?,
            "orgId" => self.org_id = object.next_value()?,
            "tags" => self.tags = object.next_value()?,
            "evalMatches" => self.matches = object.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// One series of a legacy rule that is over its threshold.
#[derive(Debug, Default)]
struct Match<'a> {
    metric: Text<'a>,
    value: Text<'a>,
    tags: Place<Pairs<'a>>,
}

impl<'de> Fields<'de> for Match<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<bool, A::Error> {
        match name {
            "metric" => self.metric = object.next_value()?,
            "value" => self.value = object.next_value()?,
            "tags" => self.tags = object.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Decodes the body of a Grafana source.
pub(super) fn decode(text: &str, arrival: Arrival<'_>) -> Result<Decoded, Refusal> {
    match serde_json::from_str::<Place<Object<Body<'_>>>>(text) {
        Ok(Place::Of(Object(body))) if body.has_alerts => {
            alertmanager::decode_by(Identity::LabelsAndRule, text, arrival)
        }
        Ok(Place::Of(Object(body))) if body.rule_id.get().is_some() || body.rule_name.get().is_some() => {
            Ok(legacy(body))
        }
        Ok(Place::Of(_)) => custom(text, arrival),
        Ok(Place::Other(_) | Place::Absent) => Err(Refusal::WrongShape(format!(
            "a webhook of Grafana is an object{}",
            looks::hint(text, "grafana")
        ))),
        Err(error) => Err(body::not_json(text, &error)),
    }
}

/// A body made by a contact point's own payload template, or by somebody else: read by the usual names of fields,
/// since it may be the only word of its alert.
fn custom(text: &str, arrival: Arrival<'_>) -> Result<Decoded, Refusal> {
    let mut decoded = json::decode(&Mapping::default_mapping(), text, arrival)?;
    decoded.note(
        None,
        "this is neither a webhook of Grafana's unified alerting (it has no `alerts`) nor of its legacy alerting \
         (it has no `ruleId`) and was read as a hand-made body; for a contact point with its own payload template \
         use a source of type `json` with a mapping",
    );
    Ok(decoded)
}

fn legacy(body: Body<'_>) -> Decoded {
    let mut decoded = Decoded::default();
    let state = body.state.get().unwrap_or("").trim().to_ascii_lowercase();
    let is_no_data = state == "no_data";
    let status = match Word::of(&state) {
        Word::Resolved => Status::Resolved,
        Word::Neither if !is_no_data => {
            decoded.ignored = 1;
            return decoded;
        }
        Word::Firing | Word::Neither => Status::Firing,
        Word::Unknown => {
            decoded.note(
                Some(0),
                format!(
                    "the state `{}` is not known; the alert is taken as firing",
                    quote(&state)
                ),
            );
            Status::Firing
        }
    };
    let name = [&body.rule_name, &body.title]
        .into_iter()
        .find_map(|text| text.get().filter(|text| !text.is_empty()))
        .unwrap_or("");
    let mut links = Vec::new();
    for (kind, url) in [("generator", &body.rule_url), ("image", &body.image_url)] {
        links.extend(
            url.get()
                .and_then(web_address)
                .map(|address| (kind, address.to_owned())),
        );
    }
    let notes = vec![
        ("description", body.message.get().unwrap_or("")),
        // The name unified alerting gives the same fact.
        ("grafana_state_reason", if is_no_data { "NoData" } else { "" }),
    ];
    let identity: Arc<str> = identity(&body, name).into();
    decoded.alerts.push(Alert {
        fingerprint: Fingerprint::of_identity(&identity),
        identity: Some(identity),
        status,
        annotations: annotations(notes, &mut links),
        values: values(body.matches),
        labels: match body.tags {
            Place::Of(mut tags) => {
                tags.list.push(("alertname".into(), name.into()));
                labels(tags.list)
            }
            Place::Absent | Place::Other(_) => labels(vec![("alertname", name)]),
        },
        links: Labels::from_pairs(links),
        starts_at: None,
        ends_at: None,
        expires_at: None,
    });
    decoded
}

/// `orgId/ruleId`; the oldest releases send no `orgId`, hand-made bodies no `ruleId`.
fn identity(body: &Body<'_>, name: &str) -> String {
    let rule = body.rule_id.get().unwrap_or(name);
    match body.org_id.get() {
        Some(org) => format!("{org}/{rule}"),
        None => rule.to_owned(),
    }
}

/// The values of a legacy rule's series: `metric{tag=value}` and number.
fn values(matches: Place<Elements<'_>>) -> Labels {
    let Place::Of(Elements(matches)) = matches else {
        return Labels::default();
    };
    matches
        .into_iter()
        .filter_map(|raw| match serde_json::from_str(raw.get()) {
            Ok(Place::Of(Object(Match { metric, value, tags }))) => {
                let mut name = metric.get().unwrap_or("value").to_owned();
                if let Place::Of(tags) = tags
                    && !tags.list.is_empty()
                    && !name.contains('{')
                {
                    let tags: Vec<String> = tags.list.iter().map(|(n, v)| format!("{n}={v}")).collect();
                    name = format!("{name}{{{}}}", tags.join(", "));
                }
                Some((name, value.get()?.to_owned()))
            }
            Ok(Place::Absent | Place::Other(_)) | Err(_) => None,
        })
        .collect()
}
