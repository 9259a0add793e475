//! `POST /api/v2/alerts`: what Prometheus, vmalert and rulers post to an Alertmanager.
//!
//! It is state, not notification: an array of alerts without a status, posted again and again. `endsAt` decides: in
//! the past it is the end, in the future it is a lease that must be renewed, unset it means the lease that
//! Alertmanager grants. Labels are taken as strictly as Alertmanager takes them; everything else leniently, since
//! nobody is served by losing an alert over a badly written time.

use crate::alert::{Alert, Fingerprint, Labels, Span, Status};
use crate::source::time::Reading;
use crate::source::wire::{Broken, Json, Pairs, Place, Text};
use crate::source::{Arrival, Decoded, Refusal, body, labels, looks, moment, quote, web_address};

/// How long an alert without `endsAt` fires after it was last posted: Alertmanager's `resolve_timeout`.
const RESOLVE_TIMEOUT: Span = Span::minutes(5);

/// One alert.
#[derive(Debug, Default)]
struct Element<'a> {
    labels: Place<Pairs<'a>>,
    annotations: Place<Pairs<'a>>,
    starts_at: Text<'a>,
    ends_at: Text<'a>,
    generator_url: Text<'a>,
}

impl<'a> Element<'a> {
    /// Reads the field `name`, or returns false when there is no such field.
    fn read(&mut self, name: &str, json: &mut Json<'a>) -> Result<bool, Broken> {
        match name {
            "labels" => self.labels = json.pairs()?,
            "annotations" => self.annotations = json.pairs()?,
            "startsAt" => self.starts_at = json.text()?,
            "endsAt" => self.ends_at = json.text()?,
            "generatorURL" => self.generator_url = json.text()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Decodes the body of a Prometheus source.
pub(super) fn decode(text: &str, arrival: Arrival<'_>) -> Result<Decoded, Refusal> {
    let wrong_shape = |kind: &str| {
        Err(Refusal::WrongShape(format!(
            "`/api/v2/alerts` takes an array of alerts, but the body is {kind}{}",
            looks::hint(text, "prometheus")
        )))
    };
    let mut decoded = Decoded::default();
    match read(text, arrival, &mut decoded) {
        Ok(Place::Of(())) => decoded.unless_useless(),
        Ok(Place::Other(kind)) => wrong_shape(kind),
        Ok(Place::Absent) => wrong_shape("null"),
        Err(Broken) => Err(body::broken(text)),
    }
}

fn read(text: &str, arrival: Arrival<'_>, decoded: &mut Decoded) -> Result<Place<()>, Broken> {
    let mut json = Json::new(text);
    let mut index = 0;
    let place = json.array(|json| {
        let mut element = Element::default();
        let place = json.part(|json| json.object(|json, name| element.read(name, json)))?;
        match place.map(|place| place.with(element)) {
            Ok(Place::Of(mut element)) => match strict_labels(std::mem::take(&mut element.labels)) {
                Ok(labels) => {
                    let alert = alert(element, labels, index, arrival, decoded);
                    decoded.alerts.push(alert);
                }
                Err(problem) => decoded.leave_out(Some(index), problem),
            },
            Ok(Place::Other(kind)) => decoded.leave_out(Some(index), format!("the alert is {kind}")),
            Ok(Place::Absent) => decoded.leave_out(Some(index), "the alert is null"),
            Err(error) => decoded.leave_out(Some(index), format!("the alert cannot be read: {error}")),
        }
        index += 1;
        Ok(())
    })?;
    json.end()?;
    Ok(place)
}

/// Labels as Alertmanager takes them: strings, and at least one that is not empty.
fn strict_labels(place: Place<Pairs<'_>>) -> Result<Labels, String> {
    match place {
        Place::Absent => Err("the alert has no labels".to_owned()),
        Place::Other(kind) => Err(format!("the alert's labels are {kind}, not an object")),
        Place::Of(pairs) => {
            if let Some(name) = &pairs.not_a_string {
                return Err(format!(
                    "the value of the label `{}` is not a string",
                    quote(name)
                ));
            }
            let labels = labels(pairs.list);
            if labels.is_empty() {
                return Err("the alert has no label with a value".to_owned());
            }
            Ok(labels)
        }
    }
}

fn alert(
    element: Element<'_>,
    labels: Labels,
    index: usize,
    arrival: Arrival<'_>,
    decoded: &mut Decoded,
) -> Alert {
    let start = element.starts_at.get().unwrap_or("");
    let end = element.ends_at.get().unwrap_or("");
    let end = moment(Reading::of_text(end, arrival.zone), "end", end, index, decoded);
    let (status, ends_at, expires_at) = match end {
        Some(end) if end <= arrival.now => (Status::Resolved, Some(end), None),
        Some(lease) => (Status::Firing, None, Some(lease)),
        None => (Status::Firing, None, Some(arrival.now.plus(RESOLVE_TIMEOUT))),
    };
    let mut links = Vec::new();
    links.extend(
        element
            .generator_url
            .get()
            .and_then(web_address)
            .map(|address| ("generator", address.to_owned())),
    );
    Alert {
        fingerprint: Fingerprint::of_labels(&labels),
        identity: None,
        status,
        labels,
        annotations: decoded.annotations(index, element.annotations, &mut links),
        links: Labels::from_pairs(links),
        values: Labels::default(),
        starts_at: arrival.past(
            Reading::of_text(start, arrival.zone),
            "start",
            start,
            index,
            decoded,
        ),
        ends_at,
        expires_at,
    }
}
