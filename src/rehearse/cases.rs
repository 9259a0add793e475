//! Cases of a configuration, written in YAML: what comes in at which time, and what has to be told then.
//!
//! Read by the reader of configurations, so a broken file gets the same report, every problem with its place. Names
//! of sources and receivers are held against the configuration, so that a slip is no case that passes.

use std::path::{Path, PathBuf};

use jiff::civil;
use serde_json::{Map, Value as Json, json};

use super::verdict::{Verdict, judge};
use super::{Form, LOOK_AHEAD, Post, Rehearsal, written_route};
use crate::alert::{ReceiverName, SourceName, Span, Timestamp};
use crate::config::read::{At, Given, Number, Read, choice, expected, mapping};
use crate::config::report::Findings;
use crate::config::yaml::{Node, Value};
use crate::config::{self, Report, files, suggest};
use crate::plan::Plan;
use crate::plan::matcher::Matcher;
use crate::render::Prepared;

/// What the clock shows when a case begins and does not say: a Monday at noon, when nobody's night or weekend is.
const BEGIN: civil::DateTime = civil::datetime(2026, 1, 5, 12, 0, 0, 0);
/// Most bytes of a body in a file of its own.
const BODY_BYTES_MAX: usize = 8 << 20;

/// The cases of a file and the configuration they are about.
#[derive(Debug)]
pub struct Cases {
    prepared: Prepared,
    cases: Vec<Case>,
}

/// One case.
#[derive(Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The line of the file on which it begins.
    pub line: usize,
    pub(super) begin: Timestamp,
    pub(super) posts: Vec<CasePost>,
    pub(super) until: Option<Span>,
    pub(super) messages: Option<Vec<Expected>>,
    pub(super) others: bool,
    pub(super) count: Option<usize>,
}

/// What comes in.
#[derive(Debug)]
pub(super) struct CasePost {
    pub(super) at: Span,
    source: String,
    form: Form,
    content_type: Option<String>,
    body: Vec<u8>,
}

/// A message that has to be sent.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) receiver: String,
    pub(super) at: Option<Span>,
    pub(super) route: Option<String>,
    pub(super) urgent: Option<bool>,
    pub(super) title: Option<String>,
    pub(super) text: Option<String>,
    pub(super) contains: Vec<String>,
    pub(super) lacks: Vec<String>,
    pub(super) counts: Vec<(&'static str, u64)>,
    pub(super) sections: Option<Vec<SectionExpected>>,
}

/// A section that a digest has to have.
#[derive(Debug)]
pub(super) struct SectionExpected {
    pub(super) state: Option<&'static str>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) alerts: Option<u64>,
}

impl Cases {
    /// Reads a file of cases and the configuration it is about: `config`, or else the one the file names.
    pub fn load(path: &Path, config: Option<&Path>) -> Result<Self, Report> {
        let mut findings = Findings::default();
        let Some((raw, _)) = config::read_file::<CaseFile>(path, None, &mut findings) else {
            return Err(findings.into_report());
        };
        let named = raw
            .config
            .get()
            .map(|at| findings.resolve(at.place.file, &at.value));
        let config: Option<PathBuf> = config.map(Path::to_owned).or(named);
        if config.is_none() && !raw.config.is_unreadable() {
            findings
                .error(
                    raw.place,
                    "nothing says which configuration these cases are about",
                )
                .help("write `config: FILE`, relative to this file, or give `--config FILE`");
        }
        let Some(config) = config else {
            return Err(findings.into_report());
        };
        let prepared = config::load_to_rehearse(Some(&config))?.prepared();
        let reader = Compiler {
            plan: &prepared.plan,
            findings: &mut findings,
        };
        let cases = reader.cases(&raw);
        if findings.failed() {
            return Err(findings.into_report());
        }
        Ok(Self { prepared, cases })
    }

    /// The cases, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter()
    }

    /// Plays a case and says what is not as it expects.
    pub fn play(&self, case: &Case) -> Verdict {
        let mut rehearsal = Rehearsal::new(self.prepared.clone(), case.begin);
        let mut problems = Vec::new();
        for post in &case.posts {
            rehearsal.advance(case.begin.plus(post.at));
            let taken = rehearsal.post(Post {
                source: &post.source,
                form: post.form,
                content_type: post.content_type.as_deref(),
                body: &post.body,
            });
            let said: Vec<String> = match taken {
                Ok(taken) => taken.problems.into_iter().map(|problem| problem.text).collect(),
                Err(refusal) => vec![refusal.to_string()],
            };
            problems.extend(said.into_iter().map(|text| (post.at, text)));
        }
        match case.until {
            Some(until) => rehearsal.advance(case.begin.plus(until)),
            None => {
                rehearsal.rest(LOOK_AHEAD);
            }
        }
        judge(case, &self.prepared.plan, rehearsal.messages(), problems)
    }
}

// ---- as they are written ---------------------------------------------------------------------------------------

choice! {
    /// Whether an alert fires.
    StatusWord {
        "firing" => Firing,
        "resolved" => Resolved,
    }
    /// What the alerts of a section have in common.
    StateWord {
        "firing" => Firing,
        "flapping" => Flapping,
        "resolved" => Resolved,
        "expired" => Expired,
        "passed" => Passed,
        "reminder" => Reminder,
    }
}

/// Names and texts: labels, annotations.
#[derive(Clone, Debug)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl Read for Pairs {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            expected(node, "a mapping such as `{alertname: DiskFull}`", findings);
            return None;
        };
        let mut pairs = Vec::new();
        for (key, value) in entries {
            match &value.value {
                Value::Text { text, .. } => pairs.push((key.text.to_string(), text.clone())),
                Value::Empty | Value::List(_) | Value::Map(_) => {
                    expected(value, "a text", findings);
                }
            }
        }
        Some(Self(pairs))
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})
    }
}

mapping! {
    /// Cases for `dingest test`: what comes in, and what has to be told.
    "a file of cases" CaseFile {
        /// The configuration they are about, relative to this file. What --config names goes first.
        [optional] config: String,
        /// The cases. Each begins with nothing known and nobody told.
        [required] cases: Vec<RawCase>,
    }

    /// A case.
    "a case" RawCase {
        /// What it shows.
        [required] name: String,
        /// What the clock shows when it begins, in the zone of the configuration (2026-01-05T03:00) or with an offset.
        /// Default: 2026-01-05T12:00, a Monday.
        [optional] begin: String,
        /// What comes in.
        [required] posts: Vec<RawPost>,
        /// How long the clock runs, counted from the begin. Default: until everything has been told.
        [optional] until: Span,
        /// The messages that have to be sent, and no others. An empty list: nobody is told.
        [optional] messages: Vec<RawExpected>,
        /// Let others be sent besides. Default: false.
        [optional] others: bool,
        /// How many messages are sent.
        [optional] count: Number<0, 1_000_000>,
    }

    /// What comes in: one alert in short, or the body that a sender posts.
    "a post" RawPost {
        /// When, counted from the begin. Default: 0s.
        [optional] at: Span,
        /// The source it comes in by. Default: the only one.
        [optional] source: String,
        /// Labels of the alert.
        [optional] labels: Pairs,
        /// Annotations of the alert.
        [optional] annotations: Pairs,
        /// Whether it fires or is over. Default: firing.
        [optional] status: StatusWord,
        /// A body, instead.
        [optional] body: String,
        /// A file with a body, relative to this file, instead.
        [optional] body_file: String,
        /// The content type of the body, where it matters (forms).
        [optional] content_type: String,
    }

    /// A message that has to be sent. What is not given is not looked at.
    "a message" RawExpected {
        /// Who is told: a receiver, or one of those it stands for, such as ops/group or ops/direct/zhangsan.
        [required] receiver: String,
        /// When, counted from the begin.
        [optional] at: Span,
        /// The matchers of the route by which an alert in it came; of the root: [].
        [optional] route: Vec<At<String>>,
        /// The sources of that route. Default: it is for all.
        [optional] sources: Vec<At<String>>,
        /// Whether something urgent is in it.
        [optional] urgent: bool,
        /// Its title.
        [optional] title: String,
        /// Its text, whole.
        [optional] text: String,
        /// What its text contains.
        [optional] contains: Vec<String>,
        /// What its text does not contain.
        [optional] lacks: Vec<String>,
        /// How many alerts the digest tells, by what changed.
        [optional] counts: RawCounts,
        /// Sections of the digest, all of them, in any order.
        [optional] sections: Vec<RawSection>,
    }

    /// How many alerts, by what changed.
    "`counts`" RawCounts {
        /// Fire for the first time.
        [optional] new: Number<0, 1_000_000>,
        /// Fire again.
        [optional] again: Number<0, 1_000_000>,
        /// Are over.
        [optional] resolved: Number<0, 1_000_000>,
        /// Still fire, and it is time to say so.
        [optional] reminder: Number<0, 1_000_000>,
        /// Fired and resolved between two digests.
        [optional] passed: Number<0, 1_000_000>,
        /// Come and go.
        [optional] flapping: Number<0, 1_000_000>,
        /// Are no longer repeated by their sender.
        [optional] expired: Number<0, 1_000_000>,
        /// Fire at this moment, told here or before.
        [optional] firing: Number<0, 1_000_000>,
        /// Are in this digest.
        [optional] told: Number<0, 1_000_000>,
    }

    /// A section of a digest.
    "a section" RawSection {
        /// What its alerts have in common.
        [optional] state: StateWord,
        /// The values of the labels that make it.
        [optional] labels: Pairs,
        /// How many alerts it has.
        [optional] alerts: Number<1, 1_000_000>,
    }
}

/// The JSON Schema of a file of cases, for editors.
pub fn schema() -> Json {
    let mut definitions = Map::new();
    let root = CaseFile::schema(&mut definitions);
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "cases of dingest test",
        "$ref": root["$ref"],
        "definitions": definitions,
    })
}

// ---- what they mean --------------------------------------------------------------------------------------------

/// Holds what is written against a configuration.
struct Compiler<'a> {
    plan: &'a Plan,
    findings: &'a mut Findings,
}

impl Compiler<'_> {
    fn cases(mut self, raw: &CaseFile) -> Vec<Case> {
        raw.cases.items().iter().map(|raw| self.case(raw)).collect()
    }

    fn case(&mut self, raw: &RawCase) -> Case {
        let mut posts: Vec<CasePost> = (raw.posts.items().iter())
            .filter_map(|raw| self.post(raw))
            .collect();
        posts.sort_by_key(|post| post.at);
        let messages = raw.messages.value();
        let messages = messages.map(|raw| raw.iter().map(|raw| self.expected(raw)).collect());
        if raw.messages.is_absent() && raw.count.is_absent() {
            self.findings
                .error(raw.place, "this case expects nothing")
                .help("list `messages`, all there are (`[]` for none), or say their `count`");
        }
        Case {
            name: raw.name.or(String::new()),
            line: self.findings.line(raw.place),
            begin: self.begin(&raw.begin),
            posts,
            until: raw.until.value().copied(),
            messages,
            others: raw.others.or(false),
            count: count(&raw.count).and_then(|count| usize::try_from(count).ok()),
        }
    }

    fn begin(&mut self, given: &Given<String>) -> Timestamp {
        let zone = &self.plan.timezone;
        let read = |text: &str| {
            let exact = text.parse::<jiff::Timestamp>().ok();
            exact.or_else(|| {
                let local = text.parse::<civil::DateTime>().ok()?;
                zone.to_ambiguous_timestamp(local).compatible().ok()
            })
        };
        let begin = match given.get() {
            None => zone.to_ambiguous_timestamp(BEGIN).compatible().ok(),
            Some(at) => {
                let time = read(&at.value);
                if time.is_none() {
                    self.findings
                        .error(at.place, format!("`{}` is not a time", at.value))
                        .help("write it as `2026-01-05T03:00`, or with an offset as `2026-01-05T03:00:00+08:00`");
                }
                time
            }
        };
        Timestamp(begin.unwrap_or_default().as_millisecond())
    }

    fn post(&mut self, raw: &RawPost) -> Option<CasePost> {
        let source = self.source(raw)?;
        let given = [raw.labels.place(), raw.body.place(), raw.body_file.place()];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(first), Some(second)) => {
                self.findings
                    .error(second, "a post has one of `labels`, `body` and `body_file`")
                    .also(first, "the other one");
                return None;
            }
            (None, _) => {
                let misread =
                    raw.labels.is_unreadable() || raw.body.is_unreadable() || raw.body_file.is_unreadable();
                if !misread {
                    self.findings
                        .error(raw.place, "a post needs `labels`, `body` or `body_file`")
                        .help("an alert in short is `labels: { alertname: DiskFull }`");
                }
                return None;
            }
            (Some(_), None) => {}
        }
        let (form, body) = match (raw.labels.value(), raw.body.value()) {
            (Some(labels), _) => (Form::Alertmanager, alert(labels, raw)),
            (None, Some(text)) => (Form::OfSource, text.clone().into_bytes()),
            (None, None) => (Form::OfSource, self.body_file(&raw.body_file)?),
        };
        if form == Form::OfSource
            && let Some(place) = raw.annotations.place().or(raw.status.place())
        {
            self.findings.error(
                place,
                "`annotations` and `status` belong to `labels`; a body says these itself",
            );
        }
        Some(CasePost {
            at: raw.at.or(Span(0)),
            source,
            form,
            content_type: raw.content_type.value().cloned(),
            body,
        })
    }

    fn source(&mut self, raw: &RawPost) -> Option<String> {
        let names = self.plan.sources.keys().map(SourceName::as_str);
        let Some(at) = raw.source.get() else {
            if let (Some(only), 1) = (names.clone().next(), names.len()) {
                return Some(only.to_owned());
            }
            if raw.source.is_absent() {
                self.findings
                    .error(raw.place, "a post needs its `source`, because there are several")
                    .maybe_help(suggest::did_you_mean_or_list("", names));
            }
            return None;
        };
        self.known_source(at).then(|| at.value.clone())
    }

    /// Whether there is such a source; says so if not.
    fn known_source(&mut self, at: &At<String>) -> bool {
        if self.plan.sources.contains_key(at.value.as_str()) {
            return true;
        }
        let names = self.plan.sources.keys().map(SourceName::as_str);
        self.findings
            .error(
                at.place,
                format!("the configuration has no source `{}`", at.value),
            )
            .maybe_help(suggest::did_you_mean_or_list(&at.value, names));
        false
    }

    fn body_file(&mut self, given: &Given<String>) -> Option<Vec<u8>> {
        let at = given.get()?;
        let path = self.findings.resolve(at.place.file, &at.value);
        match files::read_bytes(&path, BODY_BYTES_MAX) {
            Ok(body) => Some(body),
            Err(problem) => {
                let message = format!("cannot read `{}`: {problem}", path.display());
                self.findings.error(at.place, message);
                None
            }
        }
    }

    fn expected(&mut self, raw: &RawExpected) -> Expected {
        if let Some(at) = raw.receiver.get() {
            self.receiver(at);
        }
        let given = raw.route.get().is_some() || raw.sources.get().is_some();
        let route = given.then(|| self.route(raw));
        let sections = raw.sections.value();
        Expected {
            receiver: raw.receiver.or(String::new()),
            at: raw.at.value().copied(),
            route,
            urgent: raw.urgent.value().copied(),
            title: raw.title.value().cloned(),
            text: raw.text.value().cloned(),
            contains: raw.contains.items().to_vec(),
            lacks: raw.lacks.items().to_vec(),
            counts: raw.counts.value().map(counts).unwrap_or_default(),
            sections: sections.map(|list| list.iter().map(section).collect()),
        }
    }

    fn receiver(&mut self, at: &At<String>) {
        let mut names = self.plan.receivers.keys();
        if !names.any(|name| name.is_of(&at.value)) {
            let known = self.plan.receivers.keys().map(ReceiverName::as_str);
            let help = suggest::did_you_mean_or_list(&at.value, known);
            self.findings
                .error(
                    at.place,
                    format!("the configuration has no receiver `{}`", at.value),
                )
                .maybe_help(help);
        }
    }

    /// A route, which there has to be.
    fn route(&mut self, raw: &RawExpected) -> String {
        let mut understood = !raw.route.is_unreadable() && !raw.sources.is_unreadable();
        let mut sources = Vec::new();
        for at in raw.sources.items() {
            understood &= self.known_source(at);
            sources.push(SourceName::from(at.value.as_str()));
        }
        let mut matchers = Vec::new();
        for At { value, place } in raw.route.items() {
            match Matcher::parse(value) {
                Ok(matcher) => matchers.push(matcher),
                Err(problem) => {
                    let place = self.findings.inside(*place, problem.offset);
                    self.findings.error(place, problem.message);
                    understood = false;
                }
            }
        }
        let route = written_route(&sources, &matchers);
        let mut routes = self.plan.routes.iter();
        let known = routes.any(|(_, known)| written_route(&known.sources, &known.matchers) == route);
        let first = raw.route.items().first().or(raw.sources.items().first());
        if let Some(first) = first.filter(|_| understood && !known) {
            self.findings
                .error(first.place, format!("the configuration has no route with just `{route}`"))
                .help(
                    "write all matchers of one route, in their order, and its `sources`, without those of the \
                     routes above it",
                );
        }
        route
    }
}

/// An alert in Alertmanager's form.
fn alert(labels: &Pairs, raw: &RawPost) -> Vec<u8> {
    let object = |pairs: &Pairs| -> Map<String, Json> {
        let pairs = pairs.0.iter();
        pairs.map(|(name, text)| (name.clone(), json!(text))).collect()
    };
    let status = raw.status.or(StatusWord::Firing).as_str();
    let annotations = raw.annotations.value().map(object).unwrap_or_default();
    let alert = json!({"status": status, "labels": object(labels), "annotations": annotations});
    json!({ "alerts": [alert] }).to_string().into_bytes()
}

fn count<const MIN: u64, const MAX: u64>(given: &Given<Number<MIN, MAX>>) -> Option<u64> {
    given.value().map(|number| number.0)
}

/// The numbers that are given, by the names that templates know them by.
fn counts(raw: &RawCounts) -> Vec<(&'static str, u64)> {
    let all = [
        ("new", &raw.new),
        ("again", &raw.again),
        ("resolved", &raw.resolved),
        ("reminder", &raw.reminder),
        ("passed", &raw.passed),
        ("flapping", &raw.flapping),
        ("expired", &raw.expired),
        ("firing", &raw.firing),
        ("told", &raw.told),
    ];
    let given = all.into_iter().map(|(name, given)| Some((name, count(given)?)));
    given.flatten().collect()
}

fn section(raw: &RawSection) -> SectionExpected {
    SectionExpected {
        state: raw.state.value().map(|state| state.as_str()),
        labels: raw
            .labels
            .value()
            .map(|pairs| pairs.0.clone())
            .unwrap_or_default(),
        alerts: count(&raw.alerts),
    }
}
