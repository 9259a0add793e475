//! Any JSON, read by jq expressions; without expressions, by the usual names of its fields.
//!
//! A [`Mapping`] is compiled from the texts of the configuration and knows the body and nothing else. An element
//! whose identity or labels cannot be made is left out; what else fails costs only itself.

mod flat;
mod jq;
mod meter;
mod natives;
mod value;

use jaq_json::Val;

use crate::alert::{Alert, Fingerprint, Labels, Status, Timestamp};
use crate::source::json::flat::Flat;
use crate::source::json::jq::Expression;
use crate::source::json::meter::{Budget, Limits};
use crate::source::time::Reading;
use crate::source::word::Word;
use crate::source::{Arrival, Decoded, Refusal, annotations, body, labels, looks, quote, web_address};

/// How many alerts one body may become.
pub const ALERTS_MAX: usize = 100_000;

/// The jq expressions of a JSON source as configured. `alerts` yields the alerts of a body, the others are run on
/// each of them and their first value counts; `null` is "not set".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingText {
    /// One value for each alert. Absent: the body, or the elements of an array.
    pub alerts: Option<String>,
    /// What stays the same between firing and recovery. Absent: all labels.
    pub identity: Option<String>,
    /// A status word, or `null` for neither. Absent: a field `status`, `state` or the like, or else firing.
    pub status: Option<String>,
    /// An object. Absent: title, severity and place by the usual names of fields.
    pub labels: Option<String>,
    /// An object. Absent: none.
    pub annotations: Option<String>,
    /// A time: text, or Unix seconds or milliseconds.
    pub starts_at: Option<String>,
    /// As `starts_at`, for the end.
    pub ends_at: Option<String>,
    /// An address.
    pub link: Option<String>,
}

/// A mistake in one expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingError {
    /// Which: `alerts`, `identity`, ….
    pub field: &'static str,
    /// Where in it, in bytes.
    pub offset: usize,
    /// What, as a sentence.
    pub message: String,
}

/// Compiled jq expressions of a JSON source.
#[derive(Debug, Default)]
pub struct Mapping {
    alerts: Option<Expression>,
    identity: Option<Expression>,
    status: Option<Expression>,
    labels: Option<Expression>,
    annotations: Option<Expression>,
    starts_at: Option<Expression>,
    ends_at: Option<Expression>,
    link: Option<Expression>,
}

impl Mapping {
    /// Compiles every expression, or says all that is wrong with them.
    pub fn compile(text: &MappingText) -> Result<Self, Vec<MappingError>> {
        let mut errors = Vec::new();
        let mut compile = |field, text: &Option<String>| {
            Expression::compile(text.as_deref()?)
                .map_err(|mistakes| {
                    errors.extend(mistakes.into_iter().map(|mistake| MappingError {
                        field,
                        offset: mistake.offset,
                        message: mistake.message,
                    }));
                })
                .ok()
        };
        let mapping = Self {
            alerts: compile("alerts", &text.alerts),
            identity: compile("identity", &text.identity),
            status: compile("status", &text.status),
            labels: compile("labels", &text.labels),
            annotations: compile("annotations", &text.annotations),
            starts_at: compile("starts_at", &text.starts_at),
            ends_at: compile("ends_at", &text.ends_at),
            link: compile("link", &text.link),
        };
        if errors.is_empty() {
            Ok(mapping)
        } else {
            Err(errors)
        }
    }

    /// The mapping of a source that has none: sensible for a flat object or an array of them. Title, status, id,
    /// severity, place, times and link are found by their usual names, all other fields become annotations.
    pub fn default_mapping() -> Self {
        Self::default()
    }

    /// Whether nothing was configured.
    fn is_default(&self) -> bool {
        let expressions = [
            &self.alerts,
            &self.identity,
            &self.status,
            &self.labels,
            &self.annotations,
            &self.starts_at,
            &self.ends_at,
            &self.link,
        ];
        expressions.into_iter().all(Option::is_none)
    }
}

/// Decodes the body of a JSON source.
pub(super) fn decode(mapping: &Mapping, text: &str, arrival: Arrival<'_>) -> Result<Decoded, Refusal> {
    let body = jq::read(text).map_err(|error| body::not_json(text, &error))?;
    if !matches!(body, Val::Obj(_) | Val::Arr(_)) {
        return Err(Refusal::WrongShape(format!(
            "an object or an array is expected, but the body is `{}`",
            quote(body)
        )));
    }
    let mut decoded = Decoded::default();
    if mapping.is_default() && matches!(&body, Val::Obj(_)) {
        let hint = looks::hint(text, "json");
        if !hint.is_empty() {
            decoded.note(None, format!("the source has no mapping{hint}"));
        }
    }
    let budget = Budget::new(Limits::USUAL);
    for (index, element) in elements(mapping, body, &budget).enumerate() {
        if index == ALERTS_MAX {
            decoded.leave_out(
                None,
                format!("only the first {ALERTS_MAX} alerts of the body are used"),
            );
            break;
        }
        match element {
            Ok(value) => Reader {
                mapping,
                arrival,
                index,
                budget: &budget,
                decoded: &mut decoded,
            }
            .read(&value),
            Err(problem) => decoded.leave_out(Some(index), format!("`alerts` failed: {problem}")),
        }
        if budget.is_spent() {
            decoded.leave_out(
                None,
                "the expressions have done all they may for one body; the rest is not read",
            );
            break;
        }
    }
    decoded.stopped = budget.stopped();
    if decoded.alerts.is_empty() && decoded.unusable == 0 && decoded.ignored == 0 && mapping.alerts.is_some()
    {
        decoded.ignored = 1;
    }
    decoded.unless_useless()
}

/// The values that stand for one alert each.
fn elements<'a>(
    mapping: &'a Mapping,
    body: Val,
    budget: &'a Budget,
) -> Box<dyn Iterator<Item = Result<Val, String>> + 'a> {
    match (&mapping.alerts, body) {
        (Some(alerts), body) => Box::new(alerts.run(body, budget).map(|output| output.map_err(quote))),
        (None, Val::Arr(elements)) => {
            let mut at = 0;
            Box::new(std::iter::from_fn(move || {
                let element = elements.get(at).cloned();
                at += 1;
                element.map(Ok)
            }))
        }
        (None, body) => Box::new(std::iter::once(Ok(body))),
    }
}

/// Reads one alert out of the value that stands for it.
struct Reader<'a> {
    mapping: &'a Mapping,
    arrival: Arrival<'a>,
    index: usize,
    budget: &'a Budget,
    decoded: &'a mut Decoded,
}

impl Reader<'_> {
    fn read(&mut self, value: &Val) {
        match self.alert(value) {
            Ok(Some(alert)) => self.decoded.alerts.push(alert),
            Ok(None) => self.decoded.ignored += 1,
            Err(problem) => self.decoded.leave_out(Some(self.index), problem),
        }
    }

    /// `None` when it is neither firing nor resolved; an error when it cannot be told which alert it is.
    fn alert(&mut self, value: &Val) -> Result<Option<Alert>, String> {
        let mapping = self.mapping;
        let flat = Flat::of(value).filter(|flat| !flat.is_empty());
        if mapping.is_default() && flat.is_none() {
            return Err(format!(
                "the alert is no object with fields but `{}`",
                quote(value)
            ));
        }
        let usual = flat.as_ref();
        let all = usual.filter(|_| mapping.is_default());
        let Some(status) = self.status(value, usual) else {
            return Ok(None);
        };
        let labels = match &mapping.labels {
            Some(expression) => labels(object(self.first(expression, value, "labels")?, "labels")?),
            None => labels(
                usual
                    .map(|flat| flat.labels(self.arrival.source))
                    .unwrap_or_default(),
            ),
        };
        let identity = match &mapping.identity {
            Some(expression) => jq::text(&self.first(expression, value, "identity")?),
            None => all.map(Flat::identity),
        };
        let identity = identity.filter(|identity| !identity.is_empty());
        if identity.is_none() && labels.is_empty() {
            return Err("the alert has neither an identity nor a label".to_owned());
        }
        let mut links = Vec::new();
        let link = self
            .text(mapping.link.as_ref(), value, "link")
            .or_else(|| all?.link());
        links.extend(
            link.as_deref()
                .and_then(web_address)
                .map(|address| ("generator", address.to_owned())),
        );
        let starts_at = self.time(mapping.starts_at.as_ref(), value, "starts_at");
        let (reading, written) = starts_at.unwrap_or_else(|| self.usual_time(all.and_then(Flat::starts_at)));
        let starts_at = self
            .arrival
            .past(reading, "start", &written, self.index, self.decoded);
        Ok(Some(Alert {
            fingerprint: identity
                .as_deref()
                .map_or_else(|| Fingerprint::of_labels(&labels), Fingerprint::of_identity),
            identity: identity.map(Into::into),
            status,
            labels,
            annotations: annotations(self.annotations(value, all), &mut links),
            links: Labels::from_pairs(links),
            values: Labels::default(),
            starts_at,
            ends_at: self.end(status, value, all),
            expires_at: None,
        }))
    }

    fn status(&mut self, value: &Val, usual: Option<&Flat<'_>>) -> Option<Status> {
        let written = match &self.mapping.status {
            Some(expression) => match self.first(expression, value, "status") {
                // `null` says that it is neither.
                Ok(output) => jq::text(&output)?,
                Err(problem) => {
                    self.note(format!("{problem}; the alert is taken as firing"));
                    return Some(Status::Firing);
                }
            },
            None => usual
                .and_then(Flat::status)
                .unwrap_or_else(|| "firing".to_owned()),
        };
        match Word::of(&written) {
            Word::Firing => Some(Status::Firing),
            Word::Resolved => Some(Status::Resolved),
            Word::Neither => None,
            Word::Unknown => {
                let written = quote(&written);
                self.note(format!(
                    "the status `{written}` is not known; the alert is taken as firing"
                ));
                Some(Status::Firing)
            }
        }
    }

    fn annotations(&mut self, value: &Val, all: Option<&Flat<'_>>) -> Vec<(String, String)> {
        let Some(expression) = &self.mapping.annotations else {
            return all.map(Flat::annotations).unwrap_or_default();
        };
        self.first(expression, value, "annotations")
            .and_then(|output| object(output, "annotations"))
            .unwrap_or_else(|problem| {
                self.note(problem);
                Vec::new()
            })
    }

    fn end(&mut self, status: Status, value: &Val, all: Option<&Flat<'_>>) -> Option<Timestamp> {
        if status == Status::Firing {
            return None;
        }
        let (reading, written) = self
            .time(self.mapping.ends_at.as_ref(), value, "ends_at")
            .unwrap_or_else(|| self.usual_time(all.and_then(Flat::ends_at)));
        self.arrival
            .past(reading, "end", &written, self.index, self.decoded)
    }

    /// What a time's expression says; `None` when there is no expression.
    fn time(
        &mut self,
        expression: Option<&Expression>,
        value: &Val,
        field: &str,
    ) -> Option<(Reading, String)> {
        let expression = expression?;
        let output = self.first(expression, value, field).unwrap_or_else(|problem| {
            self.note(problem);
            Val::Null
        });
        let written = jq::text(&output).unwrap_or_default();
        Some((Reading::of_text(&written, self.arrival.zone), written))
    }

    fn usual_time(&self, written: Option<String>) -> (Reading, String) {
        let written = written.unwrap_or_default();
        (Reading::of_text(&written, self.arrival.zone), written)
    }

    /// The text an expression makes, when there is one and it works.
    fn text(&mut self, expression: Option<&Expression>, value: &Val, field: &str) -> Option<String> {
        self.first(expression?, value, field)
            .map_err(|problem| self.note(problem))
            .ok()
            .and_then(|output| jq::text(&output))
    }

    /// The first value an expression makes of `value`; without any it is `null`.
    fn first(&self, expression: &Expression, value: &Val, field: &str) -> Result<Val, String> {
        expression
            .run(value.clone(), self.budget)
            .next()
            .unwrap_or(Ok(Val::Null))
            .map_err(|error| format!("`{field}` failed: {}", quote(error)))
    }

    fn note(&mut self, problem: String) {
        self.decoded.note(Some(self.index), problem);
    }
}

/// The names and texts of an object; `null` has none.
fn object(value: Val, field: &str) -> Result<Vec<(String, String)>, String> {
    match &value {
        Val::Null => Ok(Vec::new()),
        Val::Obj(object) => Ok(object
            .iter()
            .filter_map(|(name, value)| Some((jq::text(name)?, jq::text(value)?)))
            .collect()),
        Val::Bool(_) | Val::Num(_) | Val::BStr(_) | Val::TStr(_) | Val::Arr(_) => {
            Err(format!("`{field}` is no object but `{}`", quote(value)))
        }
    }
}
