//! Grafana's webhooks: unified alerting (9 and later) and the legacy body (8 and older), told apart by content.
//!
//! Unified bodies are a superset of Alertmanager's and read by that decoder, with the rule's uid as part of the
//! identity. A legacy body is one rule as a whole: no labels but its tags, no times, identity `orgId/ruleId`.
//! Anything else comes from a contact point's own payload template and is read like any JSON without a mapping.

use std::sync::Arc;

use crate::alert::{Alert, Fingerprint, Labels, Status};
use crate::source::alertmanager::{self, Identity};
use crate::source::json::{self, Mapping};
use crate::source::wire::{Broken, Json, Pairs, Place, Text};
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
    matches: Vec<(String, String)>,
}

impl<'a> Body<'a> {
    fn read_all(&mut self, text: &'a str) -> Result<Place<()>, Broken> {
        let mut json = Json::new(text);
        let place = json.object(|json, name| self.read(name, json))?;
        json.end()?;
        Ok(place)
    }

    /// Reads the field `name`, or returns false when there is no such field.
    fn read(&mut self, name: &str, json: &mut Json<'a>) -> Result<bool, Broken> {
        match name {
            "alerts" => {
                self.has_alerts = true;
                return Ok(false);
            }
            "ruleId" => self.rule_id = json.text()?,
            "ruleName" => self.rule_name = json.text()?,
            // The second spelling is that of the oldest releases.
            "ruleUrl" | "rule_url" => self.rule_url = json.text()?,
            "state" => self.state = json.text()?,
            "title" => self.title = json.text()?,
            "message" => self.message = json.text()?,
            "imageUrl" | "image_url" => self.image_url = json.text()?,
            "orgId" => self.org_id = json.text()?,
            "tags" => self.tags = json.pairs()?,
            "evalMatches" => self.matches = matches(json)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The values of a legacy rule's series that are over its threshold: `metric{tag=value}` and number.
fn matches(json: &mut Json<'_>) -> Result<Vec<(String, String)>, Broken> {
    let mut matches = Vec::new();
    json.array(|json| {
        let [mut metric, mut value] = [Text::default(), Text::default()];
        let mut tags = Place::Absent;
        let read = json.part(|json| {
            json.object(|json, name| {
                match name {
                    "metric" => metric = json.text()?,
                    "value" => value = json.text()?,
                    "tags" => tags = json.pairs()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        if let (Ok(Place::Of(())), Some(value)) = (read, value.get()) {
            let mut name = metric.get().unwrap_or("value").to_owned();
            if let Place::Of(tags) = tags
                && !tags.list.is_empty()
                && !name.contains('{')
            {
                let tags: Vec<String> = tags.list.iter().map(|(n, v)| format!("{n}={v}")).collect();
                name = format!("{name}{{{}}}", tags.join(", "));
            }
            matches.push((name, value.to_owned()));
        }
        Ok(())
    })?;
    Ok(matches)
}

/// Decodes the body of a Grafana source.
pub(super) fn decode(text: &str, arrival: Arrival<'_>) -> Result<Decoded, Refusal> {
    let mut body = Body::default();
    match body.read_all(text) {
        Ok(Place::Of(())) if body.has_alerts => {
            alertmanager::decode_by(Identity::LabelsAndRule, text, arrival)
        }
        Ok(Place::Of(())) if body.rule_id.get().is_some() || body.rule_name.get().is_some() => {
            Ok(legacy(body))
        }
        Ok(Place::Of(())) => custom(text, arrival),
        Ok(Place::Other(_) | Place::Absent) => Err(Refusal::WrongShape(format!(
            "a webhook of Grafana is an object{}",
            looks::hint(text, "grafana")
        ))),
        Err(Broken) => Err(body::broken(text)),
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
        values: Labels::from_pairs(body.matches),
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
