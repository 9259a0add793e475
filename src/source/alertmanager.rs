//! Alertmanager's webhook and its neighbours: protocol 3 and 4, ARMS, Grafana's superset, hand-made bodies.
//!
//! The alerts' own `status`, labels and times count; what the envelope says of the group (its status, key, common
//! labels, the sender's address) differs between peers and messages and is not looked at, except for a status
//! that an alert lacks and the number of alerts cut off.
//!
//! This is the hot path: the body is read once, and each alert is made as soon as its object has been read.

use crate::alert::{Alert, Fingerprint, Labels, Status};
use crate::source::time::Reading;
use crate::source::wire::{Broken, Json, Pairs, Place, Text};
use crate::source::word::Word;
use crate::source::{Arrival, Decoded, Refusal, body, labels, looks, quote, web_address};

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

impl<'a> Element<'a> {
    /// Reads the field `name`, or returns false when there is no such field.
    fn read(&mut self, name: &str, json: &mut Json<'a>) -> Result<bool, Broken> {
        match name {
            "status" => self.status = json.text()?,
            "labels" => self.labels = json.pairs()?,
            "annotations" => self.annotations = json.pairs()?,
            "startsAt" => self.starts_at = json.text()?,
            "endsAt" => self.ends_at = json.text()?,
            "generatorURL" => self.generator_url = json.text()?,
            "silenceURL" => self.silence_url = json.text()?,
            "dashboardURL" => self.dashboard_url = json.text()?,
            "panelURL" => self.panel_url = json.text()?,
            "imageURL" => self.image_url = json.text()?,
            "ruleUID" => self.rule_uid = json.text()?,
            "values" => self.values = json.pairs()?,
            "valueString" => self.value_string = json.text()?,
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
    let mut reading = Body::read(identity, text, Word::Firing, arrival);
    if let Ok((_, body)) = &reading
        && body.asked_group
        && let Some(group) = body.status.get()
    {
        // The group's word may stand behind the alerts that lack one, so it takes effect in a second reading.
        let group = Word::of(group);
        reading = Body::read(identity, text, group, arrival);
    }
    let (place, body) = reading.map_err(|Broken| body::broken(text))?;
    match (place, body.alerts) {
        (Place::Absent, _) => wrong_shape("the body is null"),
        (Place::Other(kind), _) => wrong_shape(&format!("the body is {kind}")),
        (Place::Of(()), None) => wrong_shape("there is no `alerts`"),
        (Place::Of(()), Some(Place::Other(kind))) => wrong_shape(&format!("`alerts` is {kind}")),
        // Go writes an empty list as null.
        (Place::Of(()), Some(Place::Of(()) | Place::Absent)) => {
            let mut decoded = body.decoded;
            note_truncated(&body.truncated_alerts, &mut decoded);
            decoded.unless_useless()
        }
    }
}

/// A body as it is read.
#[derive(Debug)]
struct Body<'a> {
    identity: Identity,
    /// The word of an alert that has neither a word nor an end of its own.
    group: Word,
    arrival: Arrival<'a>,
    /// What stands at `alerts`, once there is one; of several the last.
    alerts: Option<Place<()>>,
    decoded: Decoded,
    /// Did an alert depend on the word of its group?
    asked_group: bool,
    status: Text<'a>,
    truncated_alerts: Text<'a>,
}

impl<'a> Body<'a> {
    /// Reads it all; `Place` is what the body as a whole is.
    fn read(
        identity: Identity,
        text: &'a str,
        group: Word,
        arrival: Arrival<'a>,
    ) -> Result<(Place<()>, Self), Broken> {
        let mut body = Self {
            identity,
            group,
            arrival,
            alerts: None,
            decoded: Decoded::default(),
            asked_group: false,
            status: Text::default(),
            truncated_alerts: Text::default(),
        };
        let mut json = Json::new(text);
        let place = json.object(|json, name| {
            match name {
                "alerts" => body.alerts = Some(body.read_alerts(json)?),
                "status" => body.status = json.text()?,
                "truncatedAlerts" => body.truncated_alerts = json.text()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        json.end()?;
        Ok((place, body))
    }

    fn read_alerts(&mut self, json: &mut Json<'a>) -> Result<Place<()>, Broken> {
        self.decoded = Decoded::default();
        self.asked_group = false;
        let mut index = 0;
        json.array(|json| {
            let mut element = Element::default();
            let place = json.part(|json| json.object(|json, name| element.read(name, json)))?;
            self.take(index, place.map(|place| place.with(element)));
            index += 1;
            Ok(())
        })
    }

    fn take(&mut self, index: usize, element: Result<Place<Element<'a>>, serde_json::Error>) {
        let problem = match element {
            Ok(Place::Of(element)) => {
                let alert = self.alert(element, index);
                return self.decoded.alerts.extend(alert);
            }
            Ok(Place::Other(kind)) => format!("the alert is {kind}"),
            Ok(Place::Absent) => "the alert is null".to_owned(),
            Err(error) => format!("the alert cannot be read: {error}"),
        };
        self.decoded.leave_out(Some(index), problem);
    }

    fn alert(&mut self, mut element: Element<'_>, index: usize) -> Option<Alert> {
        let labels = match std::mem::take(&mut element.labels) {
            Place::Of(pairs) => labels(pairs.list),
            Place::Absent => {
                self.decoded.leave_out(Some(index), "the alert has no labels");
                return None;
            }
            Place::Other(kind) => {
                let problem = format!("the alert's labels are {kind}, not an object");
                self.decoded.leave_out(Some(index), problem);
                return None;
            }
        };
        let arrival = self.arrival;
        let end = element
            .ends_at
            .get()
            .map(|text| (Reading::of_text(text, arrival.zone), text));
        let Some(status) = self.status(element.status.get(), end, index) else {
            self.decoded.ignored += 1;
            return None;
        };
        let decoded = &mut self.decoded;
        let mut links = links(&element, status);
        let fingerprint = match (self.identity, element.rule_uid.get()) {
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
            annotations: decoded.annotations(index, element.annotations, &mut links),
            labels,
            links: Labels::from_pairs(links),
            values: values(element.values, &element.value_string),
            starts_at: arrival.past(
                Reading::of_text(start, arrival.zone),
                "start",
                start,
                index,
                decoded,
            ),
            ends_at: match (status, end) {
                (Status::Resolved, Some((reading, written))) => {
                    arrival.past(reading, "end", written, index, decoded)
                }
                (Status::Resolved | Status::Firing, _) => None,
            },
            expires_at: None,
        })
    }

    /// The alert's own word; without one its end, and without an end its group's word. `None` is neither.
    fn status(&mut self, word: Option<&str>, end: Option<(Reading, &str)>, index: usize) -> Option<Status> {
        let written = word.filter(|word| !word.is_empty());
        let word = match (written, end) {
            (Some(word), _) => Word::of(word),
            (None, Some((Reading::At(end), _))) if end <= self.arrival.now => Word::Resolved,
            (None, Some((Reading::At(_), _))) => Word::Firing,
            (None, Some((Reading::Unset, text))) if !text.is_empty() => Word::Firing,
            (None, Some(_) | None) => {
                self.asked_group = true;
                self.group
            }
        };
        match word {
            Word::Firing => Some(Status::Firing),
            Word::Resolved => Some(Status::Resolved),
            Word::Neither => None,
            Word::Unknown => {
                let written = quote(written.unwrap_or(""));
                let note = format!("the status `{written}` is not known; the alert is taken as firing");
                self.decoded.note(Some(index), note);
                Some(Status::Firing)
            }
        }
    }
}

fn note_truncated(count: &Text<'_>, decoded: &mut Decoded) {
    let count = count
        .get()
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0);
    if count > 0 {
        decoded.truncated = count;
        decoded.note_whole(format!(
            "the sender cut off {count} alerts, which are not sent again; set its `max_alerts` to 0"
        ));
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
