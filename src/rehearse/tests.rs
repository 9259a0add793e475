//! Files of cases: those that pass, those that fail with what people read then, and broken ones with their report.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use insta::{assert_snapshot, glob};

use super::cases::{self, Cases};
use super::replay::Recording;
use super::*;
use crate::config;

/// The name of a file as a user in the package's directory would write it.
fn data(name: &str) -> PathBuf {
    Path::new("tests/data/rehearse").join(name)
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../tests/data/rehearse/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[track_caller]
fn passes(path: &Path) {
    let cases = Cases::load(path, None).unwrap_or_else(|report| panic!("{report}"));
    assert!(cases.iter().count() > 0, "{}", path.display());
    for case in cases.iter() {
        let verdict = cases.play(case);
        assert!(
            verdict.passes(),
            "{}:{}: {}\n{verdict}",
            path.display(),
            case.line,
            case.name
        );
    }
}

#[test]
fn what_passes_passes() {
    passes(&data("passing.yaml"));
}

#[test]
fn the_examples_are_as_their_cases_say() {
    glob!("../../examples/tests", "*.yaml", |path| {
        passes(path);
        let text = std::fs::read_to_string(path).unwrap();
        let line = "# yaml-language-server: $schema=../dingest-test.schema.json\n";
        assert!(text.starts_with(line), "{}", path.display());
    });
}

#[test]
fn a_case_that_fails_says_what_was_expected_and_what_was_sent() {
    let cases = Cases::load(&data("failing.yaml"), None).unwrap_or_else(|report| panic!("{report}"));
    let shown: Vec<String> = cases
        .iter()
        .map(|case| {
            let verdict = cases.play(case);
            assert!(!verdict.passes(), "{}", case.name);
            format!("== {}: {}\n{verdict}", case.line, case.name)
        })
        .collect();
    settings().bind(|| assert_snapshot!("failing", shown.join("\n")));
}

#[test]
fn a_broken_file_is_reported_as_configurations_are() {
    let report = Cases::load(&data("broken.yaml"), None).expect_err("the file is broken");
    settings().bind(|| assert_snapshot!("broken", report.to_string()));
}

#[test]
fn a_file_that_names_no_configuration_needs_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cases.yaml");
    std::fs::write(&file, "cases: [{name: a, posts: [], count: 0}]\n").unwrap();
    let report = Cases::load(&file, None).expect_err("there is no configuration");
    assert!(report.to_string().contains("which configuration"), "{report}");
    let cases = Cases::load(&file, Some(&data("dingest.yaml"))).unwrap_or_else(|report| panic!("{report}"));
    assert!(cases.play(cases.iter().next().unwrap()).passes());
    let report = Cases::load(&file, Some(&data("nowhere.yaml"))).expect_err("there is no such file");
    assert!(report.to_string().contains("nowhere.yaml"), "{report}");
}

#[test]
fn a_configuration_is_rehearsed_without_its_secrets_and_runs_with_them_only() {
    let path = data("dingest.yaml");
    let loaded = config::load_to_rehearse(Some(&path)).unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.plan.secrets().all(|secret| secret.expose() == "rehearsal"));
    let report = config::load(Some(&path), Path::new("")).expect_err("the secrets are nowhere");
    assert!(report.problems().len() >= 7, "{report}");
}

#[test]
fn the_shipped_schema_of_cases_is_that_of_this_version() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/dingest-test.schema.json");
    let current = format!("{}\n", serde_json::to_string_pretty(&cases::schema()).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        shipped == current,
        "examples/dingest-test.schema.json is stale; write it anew with `UPDATE_SCHEMA=1 cargo test --lib shipped`"
    );
}

#[test]
fn equal_posts_give_equal_messages() {
    let loaded =
        config::load_to_rehearse(Some(&data("dingest.yaml"))).unwrap_or_else(|report| panic!("{report}"));
    let play = || {
        let begin = Timestamp(1_767_585_600_000);
        let mut rehearsal = Rehearsal::new(loaded.prepared(), begin);
        for minute in 0..120_u64 {
            rehearsal.advance(begin.plus(Span::minutes(minute)));
            let alerts: Vec<_> = (0..=minute % 7)
                .map(|host| {
                    let labels =
                        serde_json::json!({"alertname": "A", "host": host.to_string(), "team": "web"});
                    let status = if minute % 5 == 0 { "resolved" } else { "firing" };
                    serde_json::json!({"status": status, "labels": labels})
                })
                .collect();
            let body = serde_json::json!({ "alerts": alerts }).to_string();
            let post = Post {
                source: "am",
                form: Form::OfSource,
                content_type: None,
                body: body.as_bytes(),
            };
            rehearsal.post(post).unwrap();
        }
        assert_eq!(rehearsal.rest(LOOK_AHEAD), 0);
        rehearsal.into_messages()
    };
    let seen = |messages: Vec<Message>| -> Vec<_> {
        let seen = |it: &Message| (it.at, it.receiver.clone(), it.rendered().body.clone());
        messages.iter().map(seen).collect()
    };
    let (first, second) = (seen(play()), seen(play()));
    assert!(first.len() > 50, "{}", first.len());
    assert!(first == second);
}

#[test]
fn a_recording_is_played_with_two_configurations_and_the_difference_is_said() {
    let recording = Recording::read(&[data("recording.jsonl")]).unwrap();
    let with = |name: &str| {
        let loaded = config::load_to_rehearse(Some(&data(name))).unwrap_or_else(|report| panic!("{report}"));
        recording.play(&loaded.prepared())
    };
    let (current, candidate) = (with("dingest.yaml"), with("candidate.yaml"));
    let mut shown = String::new();
    for replay in [&current, &candidate] {
        for message in &replay.messages {
            writeln!(shown, "{} {} {}", message.at.0, message.receiver, message.title()).unwrap();
        }
        writeln!(shown, "{replay}\n{:#?}\n", replay.untaken).unwrap();
        assert_eq!(replay.waiting, 0);
    }
    let difference = candidate.against(&current);
    assert!(!difference.tells_the_same());
    writeln!(shown, "{difference}\n\n{}", current.against(&candidate)).unwrap();
    writeln!(
        shown,
        "\n{}\n{:#?}",
        current.against(&current),
        recording.unreadable
    )
    .unwrap();
    settings().bind(|| assert_snapshot!("replay", shown));
}

#[test]
fn files_of_a_recording_are_read_in_any_order() {
    let directory = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(data("recording.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let (older, newer) = (directory.path().join("a.1"), directory.path().join("a"));
    std::fs::write(&older, lines[..4].join("\n")).unwrap();
    std::fs::write(&newer, lines[4..].join("\n")).unwrap();
    let loaded =
        config::load_to_rehearse(Some(&data("dingest.yaml"))).unwrap_or_else(|report| panic!("{report}"));
    let titles = |files: &[PathBuf]| -> Vec<String> {
        let replay = Recording::read(files).unwrap().play(&loaded.prepared());
        replay
            .messages
            .iter()
            .map(|it| format!("{} {}", it.at.0, it.title()))
            .collect()
    };
    let whole = titles(&[data("recording.jsonl")]);
    assert!(whole.len() > 5);
    assert_eq!(titles(&[newer.clone(), older.clone()]), whole);
    assert_eq!(titles(&[older, newer]), whole);
    assert!(Recording::read(&[data("nowhere.jsonl")]).is_err());
}
