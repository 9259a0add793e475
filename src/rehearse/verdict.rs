//! Whether a case is as expected, and in words what is not.
//!
//! Each expected message needs a sent one of its own. Where one is nearly there, what differs is shown; the others
//! are listed on both sides.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use super::Message;
use super::cases::{Case, Expected, SectionExpected};
use crate::alert::{Span, Timestamp};
use crate::digest::Digest;
use crate::plan::Plan;

/// What came of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is not as expected, in words; empty when the case passes.
    failures: Vec<String>,
}

impl Verdict {
    /// Whether everything is as expected.
    pub fn passes(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failures.iter().try_for_each(|failure| f.write_str(failure))
    }
}

/// A message that was sent, as a case speaks of it.
struct Sent<'a> {
    at: Span,
    message: &'a Message,
    routes: Vec<String>,
    digest: Digest,
}

/// Holds what was sent against what a case expects. `problems` are those of its posts.
pub(super) fn judge(
    case: &Case,
    plan: &Plan,
    messages: &[Message],
    problems: Vec<(Span, String)>,
) -> Verdict {
    let mut failures: Vec<String> = problems
        .into_iter()
        .map(|(at, problem)| format!("the post at {at} is not taken whole: {problem}\n"))
        .collect();
    let sent: Vec<Sent<'_>> = messages
        .iter()
        .map(|message| Sent::new(message, case.begin, plan))
        .collect();
    if let Some(expected) = &case.messages {
        compare(expected, &sent, case.others, &mut failures);
    }
    if let Some(count) = case.count.filter(|count| *count != sent.len()) {
        failures.push(format!("expected {}, sent {}\n", messages_of(count), sent.len()));
        if case.messages.is_none() {
            failures.extend(sent.iter().map(|sent| format!("  {sent}\n")));
        }
    }
    Verdict { failures }
}

fn messages_of(count: usize) -> String {
    match count {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }
}

fn compare(expected: &[Expected], sent: &[Sent<'_>], others: bool, failures: &mut Vec<String>) {
    let partners = partners(expected, sent);
    let mut free: Vec<&Sent<'_>> = (sent.iter().zip(0..))
        .filter(|(_, index)| !partners.contains(&Some(*index)))
        .map(|(sent, _)| sent)
        .collect();
    let missing = expected
        .iter()
        .zip(&partners)
        .filter(|(_, partner)| partner.is_none());
    for (expected, _) in missing {
        let near = free
            .iter()
            .enumerate()
            .filter(|(_, sent)| sent.is_to(&expected.receiver));
        let near = near.min_by_key(|(_, sent)| sent.differences(expected).len());
        failures.push(match near.map(|(index, _)| index) {
            Some(index) => {
                let sent = free.remove(index);
                let differences = sent.differences(expected).concat();
                format!("sent {sent}\nwhich is not as expected:\n{differences}")
            }
            None => format!("not sent  {expected}\n"),
        });
    }
    if !others {
        failures.extend(free.iter().map(|sent| format!("not expected  {sent}\n")));
    }
}

/// For each expected message the number of a sent one that is as expected, each used once: as many as can be.
fn partners(expected: &[Expected], sent: &[Sent<'_>]) -> Vec<Option<usize>> {
    let fits: Vec<Vec<usize>> = expected
        .iter()
        .map(|expected| {
            let fitting = sent.iter().zip(0..).filter(|(sent, _)| sent.is_as(expected));
            fitting.map(|(_, index)| index).collect()
        })
        .collect();
    let mut of_sent: Vec<Option<usize>> = vec![None; sent.len()];
    for index in 0..expected.len() {
        find(index, &fits, &mut vec![false; sent.len()], &mut of_sent);
    }
    let partner = |index| of_sent.iter().position(|of| *of == Some(index));
    (0..expected.len()).map(partner).collect()
}

/// Finds a partner for an expected message, if need be by moving others to other partners.
fn find(index: usize, fits: &[Vec<usize>], tried: &mut [bool], of_sent: &mut [Option<usize>]) -> bool {
    for &sent in &fits[index] {
        if std::mem::replace(&mut tried[sent], true) {
            continue;
        }
        if of_sent[sent].is_none_or(|other| find(other, fits, tried, of_sent)) {
            of_sent[sent] = Some(index);
            return true;
        }
    }
    false
}

impl<'a> Sent<'a> {
    fn new(message: &'a Message, begin: Timestamp, plan: &Plan) -> Self {
        Self {
            at: message.at.since(begin),
            message,
            routes: message.routes(plan),
            digest: message.composed.digest(plan),
        }
    }

    fn is_to(&self, receiver: &str) -> bool {
        self.message.receiver.is_of(receiver)
    }

    fn is_as(&self, expected: &Expected) -> bool {
        self.is_to(&expected.receiver) && self.differences(expected).is_empty()
    }

    /// What differs from what is expected, each in lines of its own.
    fn differences(&self, expected: &Expected) -> Vec<String> {
        let mut found = Vec::new();
        let mut hold = |what: &str, expected: Option<String>, sent: String| {
            if let Some(expected) = expected.filter(|expected| *expected != sent) {
                found.push(difference(what, &expected, &sent));
            }
        };
        hold("at", expected.at.map(|at| at.to_string()), self.at.to_string());
        hold(
            "urgent",
            expected.urgent.map(|urgent| urgent.to_string()),
            self.message.composed.draft.urgent.to_string(),
        );
        hold("title", expected.title.clone(), self.message.title().to_owned());
        let text = self.message.text().trim_end();
        let whole = expected.text.as_ref().map(|text| text.trim_end().to_owned());
        hold("text", whole, text.to_owned());
        if let Some(route) = expected
            .route
            .as_ref()
            .filter(|route| !self.routes.contains(route))
        {
            found.push(difference("route", route, &self.routes.join(" and ")));
        }
        let parts = wrong_parts(expected, text);
        if !parts.is_empty() {
            found.extend(parts);
            found.push(format!("  the text\n{}", marked("|", text)));
        }
        let counts = json!(self.digest.counts);
        for (name, count) in &expected.counts {
            let sent = counts.get(*name).and_then(Value::as_u64).unwrap_or(0);
            if sent != *count {
                found.push(difference(
                    &format!("counts.{name}"),
                    &count.to_string(),
                    &sent.to_string(),
                ));
            }
        }
        found.extend(
            expected
                .sections
                .as_ref()
                .and_then(|sections| self.other_sections(sections)),
        );
        found
    }

    /// The sections, when they are not those that are expected.
    fn other_sections(&self, expected: &[SectionExpected]) -> Option<String> {
        let mut left: Vec<_> = self.digest.sections.iter().collect();
        let mut missing = Vec::new();
        for section in expected {
            let fits = |sent: &&crate::digest::value::Section| {
                section.state.is_none_or(|state| state == sent.state)
                    && section.alerts.is_none_or(|alerts| alerts == sent.counts.told)
                    && (section.labels.iter()).all(|(name, value)| sent.labels.get(name) == Some(value))
            };
            match left.iter().position(fits) {
                Some(index) => drop(left.remove(index)),
                None => missing.push(section.to_string()),
            }
        }
        let left: Vec<String> = left
            .iter()
            .map(|section| {
                SectionExpected {
                    state: Some(section.state),
                    labels: section.labels.clone().into_iter().collect(),
                    alerts: Some(section.counts.told),
                }
                .to_string()
            })
            .collect();
        let differ = !missing.is_empty() || !left.is_empty();
        differ.then(|| difference("sections", &missing.join("\n"), &left.join("\n")))
    }
}

impl fmt::Display for Sent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at, message, routes, ..
        } = self;
        write!(
            f,
            "at {at} to `{}` by {}: {}",
            message.receiver,
            routes.join(" and "),
            message.title()
        )
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "at {at} ")?;
        }
        write!(f, "to `{}`", self.receiver)?;
        if let Some(route) = &self.route {
            write!(f, " by {route}")?;
        }
        match (&self.title, &self.contains[..]) {
            (Some(title), _) => write!(f, ": {title}"),
            (None, [part, ..]) => write!(f, ": a text with `{part}`"),
            (None, []) => Ok(()),
        }
    }
}

impl fmt::Display for SectionExpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        write!(f, "{} {{{}}}", self.state.unwrap_or("any"), labels.join(", "))?;
        self.alerts.map_or(Ok(()), |alerts| write!(f, ": {alerts}"))
    }
}

/// Parts that a text lacks, and parts that it should lack.
fn wrong_parts(expected: &Expected, text: &str) -> Vec<String> {
    let holds = |part: &&String| text.contains(part.as_str());
    let missing = expected.contains.iter().filter(|part| !holds(part));
    let missing = missing.map(|part| format!("  the text does not contain\n{}", marked("-", part)));
    let present = expected.lacks.iter().filter(holds);
    let present = present.map(|part| format!("  the text contains\n{}", marked("+", part)));
    missing.chain(present).collect()
}

/// What was expected with a minus, what was sent with a plus, equal lines with neither.
fn difference(what: &str, expected: &str, sent: &str) -> String {
    let mut text = format!("  {what}\n");
    for change in TextDiff::from_lines(&format!("{expected}\n"), &format!("{sent}\n")).iter_all_changes() {
        let mark = match change.tag() {
            ChangeTag::Delete => "-",
            ChangeTag::Insert => "+",
            ChangeTag::Equal => " ",
        };
        text += &marked(mark, change.value());
    }
    text
}

/// Lines behind a mark.
fn marked(mark: &str, lines: &str) -> String {
    lines.lines().fold(String::new(), |mut text, line| {
        // Writing to a text does not fail.
        let _written = writeln!(text, "{}", format!("    {mark} {line}").trim_end());
        text
    })
}
