//! Holds the documents against the program: what they list is what there is.
//!
//! A test here fails when a helper, a field of a digest or a metric is added and not written down, or written down
//! and gone.

mod operations;
mod templates;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dingest::render::helpers;
use serde_json::Value;

const READMES: [&str; 2] = ["README.md", "README.zh-CN.md"];
const DOCUMENTS: &[&str] = &[
    "README.md",
    "README.zh-CN.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "packaging/README.md",
    "packaging/monitoring/README.md",
    "examples/senders/README.md",
    "docs/comparison.md",
    "docs/configuration.md",
    "docs/configuration.zh-CN.md",
    "docs/faults.md",
    "docs/getting-started.md",
    "docs/getting-started.zh-CN.md",
    "docs/operations.md",
    "docs/rehearse.md",
    "docs/reliability.md",
    "docs/security.md",
    "docs/simulator.md",
    "docs/templates.md",
];

#[track_caller]
fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The words in backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_helper_stands_in_the_guide_with_its_example() {
    let guide = read("docs/templates.md");
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', "\\n");
    for helper in helpers::ALL {
        let (does, example, writes) = (cell(helper.does), cell(helper.example), cell(helper.writes));
        let row = format!("| `{}` | {does} | `{example}` | `{writes}` |", helper.name);
        assert!(guide.contains(&row), "docs/templates.md lacks the line\n{row}");
    }
}

#[test]
fn every_field_of_a_digest_stands_in_the_guide() {
    let (guide, source) = (read("docs/templates.md"), read("src/digest/value.rs"));
    for declared in source.split("\npub struct ").skip(1) {
        let (name, body) = declared.split_once(" {\n").expect("a struct has fields");
        let (body, _) = body.split_once("\n}").expect("a struct ends");
        let heading = if name == "Digest" {
            "\n## The digest\n".to_owned()
        } else {
            format!("\n### {name}\n")
        };
        let (_, section) = guide.split_once(&heading).expect(&heading);
        let section = section.split("\n## ").next().unwrap_or_default();
        let section = section.split("\n### ").next().unwrap_or_default();
        let documented: BTreeSet<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let fields: BTreeSet<&str> = body
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next())
            .collect();
        assert_eq!(fields, documented, "the fields of `{name}`");
    }
}

#[test]
fn getting_started_is_the_same_in_both_languages() {
    let [english, chinese] = ["docs/getting-started.md", "docs/getting-started.zh-CN.md"].map(read);
    let blocks = |text: &str| -> Vec<String> {
        let inside = text.split("\n```").skip(1).step_by(2);
        inside.map(str::to_owned).collect()
    };
    assert!(blocks(&english).len() > 10);
    assert_eq!(blocks(&english), blocks(&chinese));
}

/// The names of the metrics the daemon exposes.
fn declared_metrics() -> BTreeSet<String> {
    let declared = read(concat!(
        "src/telemetry/snapshots/",
        "dingest__telemetry__metrics__tests__names_help_and_types_are_those_that_dashboards_were_built_on.snap",
    ));
    let names = declared
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

/// The words of a text that are names of metrics of ours, without the suffix of a histogram's series.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("dingest_") || word.starts_with("process_"));
    names
        .map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned())
        .collect()
}

#[test]
fn the_metrics_in_the_readme_are_those_there_are() {
    for path in READMES {
        let named = metrics_in(&quoted(&read(path)).into_iter().collect::<Vec<_>>().join(" "));
        assert_eq!(named, declared_metrics(), "{path}");
    }
}

#[test]
fn every_metric_has_a_panel_and_every_panel_and_alert_has_its_metric() {
    let declared = declared_metrics();
    assert_eq!(metrics_in(&read("packaging/monitoring/dashboard.json")), declared);
    for file in ["dingest.rules.yml", "dingest.rules.test.yml"] {
        let named = metrics_in(&read(&format!("packaging/monitoring/{file}")));
        let unknown: Vec<_> = named.difference(&declared).collect();
        assert!(named.len() > 15 && unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn every_panel_asks_a_question_of_the_chosen_data_source_in_a_place_of_its_own() {
    let dashboard: Value = serde_json::from_str(&read("packaging/monitoring/dashboard.json")).expect("JSON");
    let (mut titles, mut ids, mut places) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(titles.insert(title), "two panels `{title}`");
        assert!(
            ids.insert(panel["id"].to_string()),
            "`{title}` has the id of another"
        );
        let side = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        let (left, top) = (side("x"), side("y"));
        assert!(left + side("w") <= 24, "`{title}` sticks out");
        for place in (left..left + side("w")).flat_map(|x| (top..top + side("h")).map(move |y| (x, y))) {
            assert!(places.insert(place), "`{title}` lies on another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        let question = panel["description"].as_str().unwrap_or_default();
        assert!(question.contains('?'), "`{title}` answers no question");
        for target in panel["targets"].as_array().expect("queries") {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let query = target["expr"].as_str().expect("a query");
            assert!(query.contains(r#"instance=~"$instance""#), "{title}: {query}");
        }
    }
    assert!(titles.len() > 30);
}

#[test]
fn what_alerts_ask_for_are_names_that_decisions_have() {
    let names = ["view", "outcome", "budget"].map(|file| read(&format!("src/engine/{file}.rs")));
    let names = names.join("\n") + r#""unusable" "cut_off""#;
    for file in ["dingest.rules.yml", "dingest.rules.test.yml"] {
        let text = read(&format!("packaging/monitoring/{file}"));
        for label in ["waits_for", "outcome", "reason"] {
            let equals = format!("{label}=");
            let values = text.split(equals.as_str()).skip(1);
            let values = values.filter_map(|rest| rest.trim_start_matches('~').split('"').nth(1));
            for name in values.flat_map(|value| value.split('|')) {
                let beginning = name.strip_suffix(".+").map(|name| format!("\"{name}"));
                let quoted = beginning.unwrap_or_else(|| format!("\"{name}\""));
                assert!(
                    names.contains(&quoted) || name.is_empty(),
                    "{file}: {label} {name}"
                );
            }
        }
    }
}

#[test]
fn every_alert_says_what_is_wrong_and_what_to_do_and_has_a_case_in_which_it_fires() {
    let (rules, cases) = (
        read("packaging/monitoring/dingest.rules.yml"),
        read("packaging/monitoring/dingest.rules.test.yml"),
    );
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 20);
    for alert in alerts {
        let (name, rest) = alert.split_once('\n').expect("an alert has more than a name");
        for part in [
            "\n        labels: { severity: ",
            " summary: ",
            " description: ",
            " runbook: ",
        ] {
            assert_eq!(rest.matches(part).count(), 1, "{name}:{part}");
        }
        let fired = format!("ALERTS{{alertname=\"{name}\",");
        let case = cases.lines().find(|line| line.contains(&fired));
        let case = case.unwrap_or_else(|| panic!("{name} has no case in which it fires"));
        // What its words are about is what the alert has.
        for label in rest.split("$labels.").skip(1) {
            let label = label.split(' ').next().unwrap_or_default();
            assert!(
                case.contains(&format!(",{label}=\"")),
                "{name} has no label {label}"
            );
        }
    }
}

#[test]
fn who_may_use_a_path_stands_in_the_document_on_security() {
    let description: Value = serde_json::from_str(&read("docs/openapi.json")).expect("JSON");
    let document = read("docs/security.md");
    let (_, open) = document.split_once("\n## What is open\n").expect("a chapter");
    let open = open.split("\n## ").next().unwrap_or_default();
    let words = quoted(open);
    let paths = description["paths"].as_object().expect("paths");
    let missing: Vec<_> = paths
        .keys()
        .filter(|path| !words.contains(path.as_str()))
        .collect();
    assert!(
        paths.len() > 15 && missing.is_empty(),
        "docs/security.md lacks {missing:?}"
    );
}

/// The names of the files in a directory.
fn files_in(directory: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(root.join(directory)).expect("a directory");
    let files = entries.filter_map(|entry| {
        let entry = entry.expect("an entry");
        entry.path().is_file().then(|| entry.file_name().into_string())
    });
    files.map(|name| name.expect("a name in UTF-8")).collect()
}

#[test]
fn every_snippet_and_source_for_senders_stands_in_their_table() {
    let table = read("examples/senders/README.md");
    let words = quoted(&table);
    let mut files = files_in("examples/senders");
    assert!(files.remove("README.md"));
    files.extend(
        files_in("examples/sources")
            .iter()
            .map(|name| format!("../sources/{name}")),
    );
    assert!(files.len() > 20);
    let missing: Vec<_> = files
        .iter()
        .filter(|name| !words.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "the table lacks {missing:?}");
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/senders");
    let elsewhere = words.iter().filter(|word| word.starts_with("../"));
    let dead: Vec<_> = elsewhere.filter(|word| !here.join(word).exists()).collect();
    assert!(dead.is_empty(), "the table names {dead:?}");
}

#[test]
fn senders_post_to_sources_that_the_examples_have() {
    let texts = |directory: &str| {
        let names = files_in(directory);
        let texts: Vec<String> = names
            .iter()
            .map(|name| read(&format!("{directory}/{name}")))
            .collect();
        texts.join("\n")
    };
    let (main, sources, senders) = (
        texts("examples"),
        texts("examples/sources"),
        texts("examples/senders"),
    );
    let names: BTreeSet<&str> = (main.lines().chain(sources.lines()))
        .filter_map(|line| line.trim().strip_prefix("- name: ")?.split(' ').next())
        .collect();
    let addresses = [&sources, &senders].map(|text| text.split("/v1/hooks/").skip(1));
    let addresses: Vec<&str> = addresses
        .into_iter()
        .flatten()
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .next()
        })
        .collect();
    assert!(addresses.len() > 20);
    for name in addresses {
        assert!(names.contains(name), "nobody listens on /v1/hooks/{name}");
    }
}

#[test]
fn grafana_signs_with_the_headers_that_its_source_reads() {
    let (sender, source) = (
        read("examples/senders/grafana.yaml"),
        read("examples/grafana.yaml"),
    );
    for (theirs, ours) in [
        ("header: ", "header: "),
        ("timestampHeader: ", "timestamp_header: "),
    ] {
        let value = |text: &str, key: &str| {
            text.split(&format!(" {key}"))
                .nth(1)?
                .lines()
                .next()
                .map(str::to_owned)
        };
        assert!(value(&sender, theirs).is_some());
        assert_eq!(value(&sender, theirs), value(&source, ours));
    }
}

#[test]
fn the_template_for_healthchecks_makes_the_body_that_the_tests_read() {
    let body: Value = serde_json::from_str(&read("tests/data/senders/healthchecks/down.json")).expect("JSON");
    let mut template = read("examples/senders/healthchecks.json");
    let text = |name: &str| body[name].as_str().expect("a text").to_owned();
    for (placeholder, value) in [
        ("$NAME_JSON", body["name"].to_string()),
        ("$STATUS", text("status")),
        ("$CODE", text("code")),
        ("$TAGS", text("tags")),
        ("$NOW", text("now")),
    ] {
        template = template.replace(placeholder, &value);
    }
    let filled_in: Value = serde_json::from_str(&template).expect("the template makes JSON");
    assert_eq!(filled_in, body);
}

/// A text without what is code in it.
fn prose(text: &str) -> String {
    let outside = text.split("```").step_by(2);
    let lines = outside.flat_map(|text| text.lines().flat_map(|line| line.split('`').step_by(2)));
    lines.collect::<Vec<_>>().join(" ")
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let outside = text.split("\n```").step_by(2).flat_map(str::lines);
    let headings = outside.filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        heading.chars().filter(kept).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        let words = prose(&text);
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let directory = directory.parent().expect("a document is in a directory");
        let links = words
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        let pictures = words
            .split("src=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next());
        for target in links.chain(pictures).filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = directory.join(file);
            assert!(
                file.is_empty() || there.exists(),
                "{document} links to `{target}`"
            );
            if !anchor.is_empty() {
                let other = if file.is_empty() {
                    text.clone()
                } else {
                    fs::read_to_string(there).expect("a document")
                };
                assert!(anchors(&other).contains(anchor), "{document} links to `{target}`");
            }
        }
    }
}
