//! What must hold for any input whatever, one function for each kind of input.
//!
//! Public because the fuzz targets in `fuzz/` are a package of their own; they and the properties below call the
//! same functions, which panic when a promise is broken. Nothing of the program itself uses them.

mod chat;

use std::path::Path;
use std::sync::Arc;

use crate::alert::words::{Model, Texts, Words};
use crate::alert::{Labels, ModelNo, Span, Timestamp};
use crate::plan::matcher::Matcher;
use crate::plan::{Auth, Bot, Channel, Locale, MessageKind, Plan, Receiver, Source, SourceKind};
use crate::render::Renderer;
use crate::secret::Secret;
use crate::source::json::{ALERTS_MAX, Mapping, MappingText};
use crate::source::{self, PROBLEMS_MAX};

pub use chat::{labels, template};

/// Some day in 2026.
const NOW: Timestamp = Timestamp(1_772_419_380_000);

/// Where people reach us, and the picture of a receiver.
const EXTERNAL_URL: &str = "https://alerts.example.com";
const PICTURE: &str = "https://static.example.com/dingest.png";

/// Longest gzip body that is inflated here.
const INFLATED_BYTES_MAX: usize = 1 << 20;

/// Every kind of source with every form a body can have.
pub fn body(body: &[u8]) {
    let kinds = [
        SourceKind::Alertmanager,
        SourceKind::Grafana,
        SourceKind::Prometheus,
        SourceKind::Json(Arc::new(Mapping::default_mapping())),
    ];
    for kind in kinds {
        for content_type in [
            None,
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data; boundary=x"),
            Some("application/json; charset=gbk"),
        ] {
            decoded(kind.clone(), content_type, body);
        }
    }
    if let Ok(inflated) = crate::http::inflate(body, INFLATED_BYTES_MAX) {
        assert!(
            inflated.len() <= INFLATED_BYTES_MAX,
            "more than the limit was inflated"
        );
    }
}

/// A program of a mapping, in every place where one can stand, and a body for it.
pub fn mapping(program: &str, body: &[u8]) {
    let program = Some(program.to_owned());
    let texts = [
        MappingText {
            alerts: program.clone(),
            ..MappingText::default()
        },
        MappingText {
            labels: program.clone(),
            identity: program.clone(),
            status: program.clone(),
            annotations: program.clone(),
            starts_at: program.clone(),
            link: program,
            ..MappingText::default()
        },
    ];
    for text in texts {
        if let Ok(mapping) = Mapping::compile(&text) {
            decoded(SourceKind::Json(Arc::new(mapping)), None, body);
        }
    }
}

fn decoded(kind: SourceKind, content_type: Option<&str>, body: &[u8]) {
    let source = Source {
        name: "fuzz".into(),
        kind,
        auth: Auth::None,
        expire_after: Span::days(1),
        busy_status: 503,
        timezone: jiff::tz::TimeZone::UTC,
    };
    let decode = || source::decode(&source, content_type, body, NOW);
    let outcome = decode();
    // The second telling is the same fact: a hash map's order or a clock would show here.
    assert_eq!(outcome, decode(), "the same body was read in two ways");
    let Ok(decoded) = outcome else { return };
    assert!(decoded.problems.len() <= PROBLEMS_MAX);
    if matches!(source.kind, SourceKind::Json(_)) {
        assert!(decoded.alerts.len() <= ALERTS_MAX);
    }
    for alert in &decoded.alerts {
        let names: Vec<&str> = alert.labels.iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "labels are sorted and unique");
        assert!(
            alert.labels.iter().all(|(_, value)| !value.is_empty()),
            "an empty label is none"
        );
        let stored = Labels::from_encoded(alert.labels.as_encoded());
        assert_eq!(
            stored.as_ref(),
            Some(&alert.labels),
            "labels survive being stored"
        );
    }
}

/// The text of a route's matchers.
pub fn matchers(text: &str) {
    let labels = Labels::from_pairs([("severity", "critical"), ("a", text)]);
    for matcher in Matcher::parse_list(text)
        .into_iter()
        .flatten()
        .chain(Matcher::parse(text))
    {
        let again = Matcher::parse(&matcher.to_string());
        let again = again.unwrap_or_else(|error| panic!("`{matcher}` is not read back: {error}"));
        assert_eq!(
            matcher.matches(&labels),
            again.matches(&labels),
            "`{matcher}` changed"
        );
    }
}

/// A configuration. `path` is written to.
pub fn configuration(path: &Path, text: &[u8]) {
    let written = std::fs::write(path, text);
    written.unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
    let state_dir = path.parent().unwrap_or(path);
    match crate::config::load(Some(path), state_dir) {
        Ok(loaded) => assert!(!loaded.files.is_empty()),
        Err(report) => {
            assert!(!report.is_empty(), "refused without a reason");
            assert!(!report.render(false).is_empty());
        }
    }
}

/// An answer of DingTalk's.
pub fn answer(status: u16, content_type: Option<&str>, body: &[u8]) {
    use crate::dingtalk::errcode::classify;
    let answer = classify(status, content_type, body);
    assert_eq!(answer, classify(status, content_type, body));
    let accepted = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|body| body.get("errcode").cloned())
        .is_some_and(|code| code == 0 || code == "0");
    if answer.outcome == crate::engine::Outcome::Delivered {
        assert!(accepted, "only `errcode` 0 is success: {answer:?}");
    }
}

/// What stands in the store's columns: read, or refused, and written as it was.
pub fn stored(blob: &[u8]) {
    crate::store::check_blob(blob);
    let Ok(text) = std::str::from_utf8(blob) else {
        return;
    };
    if let Some(labels) = Labels::from_encoded(text) {
        assert_eq!(
            Labels::from_pairs(&labels),
            labels,
            "labels that were read are not in order"
        );
    }
    words(text);
}

/// What an alert says, as its difference from a model.
fn words(own: &str) {
    let model = Arc::new(Model {
        no: ModelNo(0),
        source: "am".into(),
        texts: Texts {
            identity: Some("Down/a-1".into()),
            labels: Labels::from_pairs([("alertname", "Down"), ("pod", "a-1"), ("severity", "critical")]),
            annotations: Labels::from_pairs([("summary", "a-1 的温度是 95")]),
            links: Labels::from_pairs([("generator", "http://prometheus/graph")]),
            values: Labels::default(),
        },
    });
    let Some(words) = Words::read(&model, own) else {
        return;
    };
    let texts = words.texts();
    for set in [&texts.labels, &texts.annotations, &texts.links, &texts.values] {
        let again = Labels::from_encoded(set.as_encoded());
        assert_eq!(again.as_ref(), Some(set), "what was read is no set");
    }
    assert_eq!(
        Words::describe(&model, &texts).texts(),
        texts,
        "what was read changed"
    );
}

/// The plan of a fresh installation, in one of the languages.
fn plan(locale: Locale) -> Plan {
    let mut plan = Plan::builtin(Path::new("."));
    plan.locale = locale;
    let bot = Bot {
        name: "ops-1".into(),
        access_token: Secret::new("t"),
        secret: None,
        base_url: None,
        keyword: None,
        per_minute: 18,
    };
    plan.endpoints.insert(bot.name.clone(), bot.into());
    plan
}

/// Its renderer for a type of message, with a template of somebody's if there is one.
fn renderer(locale: Locale, kind: MessageKind, template: Option<&str>) -> Option<Renderer> {
    let mut plan = plan(locale);
    plan.server.external_url = Some(EXTERNAL_URL.to_owned());
    let mut ops = Receiver::builtin("ops".into(), Channel::Endpoints(vec!["ops-1".into()]));
    ops.message = kind;
    ops.picture = Some(PICTURE.to_owned());
    plan.receivers.insert("ops".into(), ops);
    if let Some(template) = template {
        plan.templates.insert("digest".to_owned(), template.to_owned());
        for part in ["title", "line"] {
            plan.templates
                .insert(format!("digest.{part}"), template.to_owned());
        }
    }
    Renderer::new(&Arc::new(plan)).ok()
}

#[cfg(test)]
mod tests;
