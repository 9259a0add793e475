//! Decoding as a whole: fixtures of every shape, the traps of hostile bodies, and properties.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::json::{Mapping, MappingText};
use super::*;
use crate::alert::{Fingerprint, SourceName, Status};
use crate::plan::Auth;

/// 2031-07-04T10:00:00Z, when every fixture arrives.
const NOW: Timestamp = Timestamp(1_940_925_600_000);

fn source(kind: SourceKind) -> Source {
    Source {
        name: "in".into(),
        kind,
        auth: Auth::None,
        expire_after: Span::days(15),
        busy_status: 503,
        timezone: TimeZone::get("Asia/Shanghai").unwrap(),
    }
}

/// One source of each type, Alertmanager and Grafana first, Prometheus third; and a mapping that uses everything.
static EVERY_KIND: LazyLock<[Source; 5]> = LazyLock::new(|| {
    let all = MappingText {
        alerts: Some("if type == \"array\" then .[] else .alerts // . end".to_owned()),
        identity: Some(".id // .title".to_owned()),
        status: Some(".status".to_owned()),
        labels: Some(".labels // {alertname: .title}".to_owned()),
        annotations: Some(".annotations".to_owned()),
        starts_at: Some(".startsAt".to_owned()),
        ends_at: Some(".endsAt | tonumber".to_owned()),
        link: Some(".url".to_owned()),
    };
    [
        source(SourceKind::Alertmanager),
        source(SourceKind::Grafana),
        source(SourceKind::Prometheus),
        source(SourceKind::Json(Arc::new(Mapping::default_mapping()))),
        source(mapping(&all)),
    ]
});

fn decode_text(kind: SourceKind, body: &str) -> Result<Decoded, Refusal> {
    decode(&source(kind), None, body.as_bytes(), NOW)
}

fn mapping(text: &MappingText) -> SourceKind {
    SourceKind::Json(Arc::new(Mapping::compile(text).unwrap()))
}

/// What a body was decoded to, for people.
fn in_words(result: &Result<Decoded, Refusal>) -> String {
    let decoded = match result {
        Ok(decoded) => decoded,
        Err(refusal) => return format!("refused: {refusal}\n"),
    };
    let mut words = String::new();
    for alert in &decoded.alerts {
        let identity = alert.identity.as_deref().unwrap_or("its labels");
        writeln!(
            words,
            "{} {} ({identity})",
            alert.status.as_str(),
            alert.fingerprint
        )
        .unwrap();
        for (what, pairs) in [
            ("labels", &alert.labels),
            ("annotations", &alert.annotations),
            ("links", &alert.links),
            ("values", &alert.values),
        ] {
            if !pairs.is_empty() {
                writeln!(words, "  {what} {pairs:?}").unwrap();
            }
        }
        for (what, time) in [
            ("starts", alert.starts_at),
            ("ended", alert.ends_at),
            ("expires", alert.expires_at),
        ] {
            if let Some(time) = time {
                let time = jiff::Timestamp::from_millisecond(time.0).unwrap();
                writeln!(words, "  {what} {time}").unwrap();
            }
        }
    }
    writeln!(
        words,
        "unusable {}, ignored {}, truncated {}",
        decoded.unusable, decoded.ignored, decoded.truncated
    )
    .unwrap();
    for problem in &decoded.problems {
        let index = problem
            .index
            .map_or_else(|| "all".to_owned(), |index| index.to_string());
        let fatal = if problem.fatal { "left out" } else { "used" };
        writeln!(words, "{index} {fatal}: {}", problem.text).unwrap();
    }
    words
}

/// A content type such as the sender of a body would give, by the name of its file.
fn content_type(path: &Path) -> Option<&'static str> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("form") => Some("application/x-www-form-urlencoded; charset=UTF-8"),
        Some("multipart") => Some("multipart/form-data; boundary=limit"),
        Some(_) | None => None,
    }
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings
}

#[test]
fn every_fixture_decodes_to_what_a_reader_of_it_expects() {
    let _guard = settings().bind_to_scope();
    insta::glob!("../../tests/data/source", "**/*.*", |path| {
        let folders = path.to_string_lossy();
        let kind = if folders.contains("/source/alertmanager/") {
            SourceKind::Alertmanager
        } else if folders.contains("/source/grafana/") {
            SourceKind::Grafana
        } else if folders.contains("/source/prometheus/") {
            SourceKind::Prometheus
        } else {
            SourceKind::Json(Arc::new(Mapping::default_mapping()))
        };
        let body = std::fs::read(path).unwrap();
        insta::assert_snapshot!(in_words(&decode(&source(kind), content_type(path), &body, NOW)));
    });
}

/// The bodies of a sender are in the directory of the name of its source.
#[test]
fn every_body_of_a_sender_becomes_the_alerts_that_its_example_promises() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = crate::config::load(Some(&root.join("examples/senders.yaml")), root).unwrap();
    let sources = &example.plan.sources;
    let _guard = settings().bind_to_scope();
    let mut seen = BTreeSet::new();
    insta::glob!("../../tests/data/senders", "*/*", |path| {
        let name = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let source = &sources[&SourceName::from(name)];
        let body = std::fs::read(path).unwrap();
        insta::assert_snapshot!(in_words(&decode(source, content_type(path), &body, NOW)));
        seen.insert(source.name.clone());
    });
    assert!(sources.keys().eq(&seen), "every example has bodies: {seen:?}");
}

#[test]
fn a_repeat_through_another_peer_or_with_other_values_is_the_same_alert() {
    let body = |peer: &str, end: u32, value: u32| {
        format!(
            r#"{{"externalURL": "http://{peer}", "groupKey": "{peer}", "receiver": "{peer}", "orgId": 1, "alerts": [
                {{"status": "firing", "labels": {{"alertname": "A"}}, "startsAt": "2031-07-04T09:00:00Z",
                  "dashboardURL": "https://g/d/1?from=1&to={end}", "panelURL": "https://g/d/1?to={end}&viewPanel=2",
                  "annotations": {{"__values__": "{value}"}}, "values": {{"A": {value}}}}}]}}"#
        )
    };
    for kind in [SourceKind::Alertmanager, SourceKind::Grafana] {
        let mut first = decode_text(kind.clone(), &body("am-0", 1000, 1)).unwrap();
        let second = decode_text(kind, &body("am-1", 2000, 2)).unwrap();
        for (mine, theirs) in first.alerts.iter_mut().zip(&second.alerts) {
            assert_ne!(mine.values, theirs.values);
            mine.values = theirs.values.clone();
        }
        assert_eq!(first, second);
    }
}

#[test]
fn what_began_or_ended_far_ahead_of_our_clock_did_so_when_it_arrived() {
    let times = r#""startsAt": "2031-07-06T09:00:00Z", "endsAt": "2031-07-06T09:30:00Z""#;
    let alert = format!(r#"{{"status": "resolved", "labels": {{"a": "b"}}, "title": "b", {times}}}"#);
    for (kind, body) in [
        (SourceKind::Alertmanager, format!(r#"{{"alerts": [{alert}]}}"#)),
        (
            SourceKind::Json(Arc::new(Mapping::default_mapping())),
            alert.clone(),
        ),
    ] {
        let decoded = decode_text(kind, &body).unwrap();
        let problems: Vec<_> = decoded
            .problems
            .iter()
            .map(|problem| problem.text.as_str())
            .collect();
        assert_eq!(
            problems,
            [
                "the start `2031-07-06T09:00:00Z` lies in the future; the time of arrival is used",
                "the end `2031-07-06T09:30:00Z` lies in the future; the time of arrival is used"
            ]
        );
        assert_eq!(
            (decoded.alerts[0].starts_at, decoded.alerts[0].ends_at),
            (None, None)
        );
    }
}

#[test]
fn two_grafana_rules_with_equal_labels_are_two_alerts() {
    let body = r#"{"orgId": 1, "alerts": [
        {"status": "firing", "labels": {"a": "b"}, "ruleUID": "r1"},
        {"status": "firing", "labels": {"a": "b"}, "ruleUID": "r2"},
        {"status": "firing", "labels": {"a": "b"}}]}"#;
    let of_labels = Fingerprint::of_labels(&Labels::from_pairs([("a", "b")]));
    let fingerprints: Vec<Fingerprint> = decode_text(SourceKind::Grafana, body)
        .unwrap()
        .alerts
        .iter()
        .map(|alert| alert.fingerprint)
        .collect();
    assert_eq!(
        fingerprints,
        [
            of_labels.pair("__ruleUID", "r1"),
            of_labels.pair("__ruleUID", "r2"),
            of_labels
        ]
    );
}

#[test]
fn nesting_beyond_every_limit_is_refused_and_never_overflows_the_stack() {
    for (open, close) in [
        ("[", "]"),
        ("{\"alerts\":", "}"),
        ("{\"a\":", "}"),
        ("[{\"labels\":", "}]"),
    ] {
        for depth in [200, 100_000] {
            let body = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for source in EVERY_KIND.iter() {
                let result = decode(source, None, body.as_bytes(), NOW);
                assert!(result.is_err(), "{:?} {open} {depth}: {result:?}", source.kind);
            }
        }
    }
    // Where nobody looks it does no harm.
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let body = format!(r#"{{"alerts": [{{"status": "firing", "labels": {{"a": "b"}}, "extra": {deep}}}]}}"#);
    assert_eq!(
        decode_text(SourceKind::Alertmanager, &body).unwrap().alerts.len(),
        1
    );
}

#[test]
fn nesting_inside_a_form_or_inside_a_text_that_a_mapping_unwraps_is_refused() {
    let kind = mapping(&MappingText {
        alerts: Some(".data | fromjson".to_owned()),
        ..MappingText::default()
    });
    let body = format!(r#"{{"data": "{}"}}"#, "[".repeat(100_000));
    assert!(matches!(
        decode_text(kind.clone(), &body),
        Err(Refusal::NothingUsable { count: 1, .. })
    ));
    let form = format!("data={}", "%5B".repeat(100_000));
    for kind in [kind, SourceKind::Json(Mapping::default_mapping().into())] {
        let result = decode(
            &source(kind),
            Some("application/x-www-form-urlencoded"),
            form.as_bytes(),
            NOW,
        );
        assert!(matches!(result, Err(Refusal::NotJson(_))));
    }
}

#[test]
fn a_body_of_nothing_but_nonsense_costs_a_bounded_number_of_words() {
    let body = format!("[{}0]", "0,".repeat(50_000));
    for source in EVERY_KIND.iter() {
        let result = decode(source, None, body.as_bytes(), NOW);
        assert!(matches!(
            result,
            Err(Refusal::NothingUsable { count: 50_001, .. } | Refusal::WrongShape(_))
        ));
    }
    let body = format!(
        r#"{{"alerts": [{{"status": "firing", "labels": {{"a": "b"}}}}, {}0]}}"#,
        "0,".repeat(5000)
    );
    let decoded = decode_text(SourceKind::Alertmanager, &body).unwrap();
    assert_eq!((decoded.unusable, decoded.problems.len()), (5001, PROBLEMS_MAX));
    assert_eq!(decoded.problems_more, 5001 - PROBLEMS_MAX);
}

#[test]
fn enormous_texts_are_shortened_and_enormous_labels_leave_an_alert_out() {
    let long = "磁".repeat(100_000);
    let alert = |labels: &str, annotations: &str| {
        format!(r#"{{"status": "firing", "labels": {{{labels}}}, "annotations": {{{annotations}}}}}"#)
    };
    let many = (0..100_000).fold(String::new(), |many, n| many + &format!(r#""a{n}": "b","#)) + r#""z": "y""#;
    let body = format!(
        r#"{{"alerts": [{}, {}, {}, {}]}}"#,
        alert(&format!(r#""alertname": "Label", "a": "{long}""#), ""),
        alert(
            r#""alertname": "Text""#,
            &format!(r#""{long}": "name", "summary": "{long}""#)
        ),
        alert(r#""alertname": "Texts""#, &many),
        alert(r#""alertname": "Usual""#, r#""summary": "as it is""#),
    );
    let decoded = decode_text(SourceKind::Alertmanager, &body).unwrap();
    let names: Vec<_> = decoded
        .alerts
        .iter()
        .map(|it| it.labels.get("alertname").unwrap())
        .collect();
    assert_eq!(names, ["Text", "Texts", "Usual"]);
    assert_eq!((decoded.unusable, decoded.problems.len()), (1, 3));
    for problem in &decoded.problems {
        assert!(
            problem.text.contains("bytes") && problem.text.len() < 300,
            "{problem:?}"
        );
    }
    let texts: Vec<_> = decoded.alerts.iter().map(|it| &it.annotations).collect();
    let summary = texts[0].get("summary").unwrap();
    assert!(summary.starts_with("磁磁") && summary.ends_with("磁…") && summary.len() <= TEXT_BYTES_MAX + 3);
    assert_eq!(texts[0].len(), 1, "a name cannot be shortened");
    assert!(texts.iter().all(|it| it.as_encoded().len() <= TEXTS_BYTES_MAX));
    assert!(texts[1].len() > 1000);
    assert_eq!(texts[2].get("summary"), Some("as it is"));
    assert_eq!(decode_text(SourceKind::Alertmanager, &body).unwrap(), decoded);
}

#[test]
fn an_expression_without_end_is_cut_off_and_said_so() {
    let kind = mapping(&MappingText {
        alerts: Some("repeat({title: \"x\"})".to_owned()),
        labels: Some("{alertname: (\"a\", \"b\", range(1; infinite))}".to_owned()),
        ..MappingText::default()
    });
    let decoded = decode_text(kind, "{}").unwrap();
    assert_eq!(decoded.alerts.len(), json::ALERTS_MAX);
    assert_eq!(decoded.unusable, 1);
    assert_eq!(decoded.alerts.first().unwrap().labels.get("alertname"), Some("a"));
}

#[test]
fn each_expression_that_fails_costs_only_itself() {
    let failing = Some("error(\"no\")".to_owned());
    let working = MappingText {
        identity: Some(".id".to_owned()),
        status: Some("\"ok\"".to_owned()),
        labels: Some("{alertname: .id}".to_owned()),
        ..MappingText::default()
    };
    let optional = MappingText {
        status: failing.clone(),
        annotations: failing.clone(),
        starts_at: failing.clone(),
        ends_at: failing.clone(),
        link: failing.clone(),
        ..working.clone()
    };
    let decoded = decode_text(mapping(&optional), r#"{"id": "7"}"#).unwrap();
    assert_eq!(decoded.problems.len(), 4, "{:?}", decoded.problems);
    // A status that cannot be told is never the end.
    assert_eq!(decoded.alerts.first().unwrap().status, Status::Firing);
    for needed in [
        MappingText {
            identity: failing.clone(),
            ..working.clone()
        },
        MappingText {
            labels: failing.clone(),
            ..working.clone()
        },
        MappingText {
            alerts: failing,
            ..working
        },
    ] {
        assert_eq!(
            decode_text(mapping(&needed), r#"{"id": "7"}"#)
                .unwrap_err()
                .to_string()
                .split('`')
                .nth(2),
            Some(" failed: no")
        );
    }
}

#[test]
fn all_mistakes_of_a_mapping_are_reported_with_their_places() {
    let errors = Mapping::compile(&MappingText {
        alerts: Some(".[]".to_owned()),
        status: Some(".a | foo".to_owned()),
        labels: Some("{alertname: .x".to_owned()),
        starts_at: Some("now".to_owned()),
        ..MappingText::default()
    })
    .unwrap_err();
    insta::assert_debug_snapshot!(errors, @r#"
    [
        MappingError {
            field: "status",
            offset: 5,
            message: "`foo` is not defined",
        },
        MappingError {
            field: "labels",
            offset: 14,
            message: "expected closing brace before the end of the expression",
        },
        MappingError {
            field: "starts_at",
            offset: 0,
            message: "`now` is not available: a mapping sees the body and nothing else, so that the same body always means the same alerts",
        },
    ]
    "#);
}

#[test]
fn a_mapping_is_shared_between_threads() {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<Mapping>();
}

/// JSON that resembles webhooks, to reach deeper than arbitrary bytes do.
fn body_like() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| if number.is_finite() {
            number.to_string()
        } else {
            "0".to_owned()
        }),
        "\\PC{0,8}".prop_map(|text| serde_json::Value::from(text).to_string()),
        prop::sample::select(vec![
            "\"firing\"",
            "\"resolved\"",
            "\"0001-01-01T00:00:00Z\"",
            "\"2031-07-04T09:00:00Z\"",
            "\"http://x\"",
            "1e400",
            "\"\\ud800\"",
            "-0",
        ])
        .prop_map(str::to_owned),
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "alerts",
            "status",
            "labels",
            "annotations",
            "startsAt",
            "endsAt",
            "values",
            "ruleUID",
            "ruleId",
            "ruleName",
            "state",
            "evalMatches",
            "tags",
            "title",
            "id",
            "url",
            "generatorURL",
            "truncatedAlerts",
        ])
        .prop_map(str::to_owned),
        "[a-z]{0,3}",
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|fields| {
                let fields: Vec<String> = fields.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

fn check_invariants(source: &Source, content_type: Option<&str>, body: &[u8]) -> Result<(), TestCaseError> {
    let Ok(decoded) = decode(source, content_type, body, NOW) else {
        return Ok(());
    };
    let by_labels = matches!(source.kind, SourceKind::Alertmanager | SourceKind::Prometheus);
    for alert in &decoded.alerts {
        match &alert.identity {
            Some(identity) => {
                prop_assert!(!by_labels);
                prop_assert_eq!(alert.fingerprint, Fingerprint::of_identity(identity));
            }
            None if by_labels => prop_assert_eq!(alert.fingerprint, Fingerprint::of_labels(&alert.labels)),
            None => {}
        }
        prop_assert!(alert.labels.iter().all(|(_, value)| !value.is_empty()));
        prop_assert!(alert.ends_at.is_none() || alert.status == Status::Resolved);
        for (_, link) in &alert.links {
            prop_assert!(web_address(link) == Some(link));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_break_a_decoder(body: Vec<u8>) {
        for source in EVERY_KIND.iter() {
            for content_type in [
                None,
                Some("application/x-www-form-urlencoded"),
                Some("multipart/form-data; boundary=a"),
            ] {
                check_invariants(source, content_type, &body)?;
            }
        }
    }

    #[test]
    fn whatever_decodes_keeps_the_invariants_of_an_alert(
        elements in prop::collection::vec(body_like(), 0..4),
        whole in body_like(),
    ) {
        let list = elements.join(",");
        for source in EVERY_KIND.iter() {
            for body in [&whole, &format!("[{list}]"), &format!("{{\"alerts\":[{list}]}}")] {
                check_invariants(source, None, body.as_bytes())?;
            }
        }
    }

    #[test]
    fn a_bad_element_never_costs_its_neighbours(bad in body_like()) {
        let good = r#"{"status": "firing", "labels": {"alertname": "Good"}, "title": "Good"}"#;
        for (source, body) in EVERY_KIND.iter().zip([
            format!(r#"{{"alerts": [{good}, {bad}, {good}]}}"#),
            format!(r#"{{"alerts": [{good}, {bad}, {good}]}}"#),
            format!("[{good}, {bad}, {good}]"),
        ]) {
            let decoded = decode(source, None, body.as_bytes(), NOW).unwrap();
            let good = decoded.alerts.iter().filter(|alert| alert.labels.get("alertname") == Some("Good"));
            prop_assert!(good.count() >= 2, "{:?}", source.kind);
        }
    }
}
