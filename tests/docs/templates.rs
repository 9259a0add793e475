//! Holds the template author's guide against the renderer: every template in it is rendered, every field has an
//! example.
//!
//! The samples are messages of the recording `examples/templates/morning.jsonl`, by the configuration beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use dingest::config;
use dingest::digest::value::NoticeValue;
use dingest::digest::{Detail, Draft, Message, Notice};
use dingest::plan::Plan;
use dingest::rehearse::replay::Recording;
use dingest::render::Renderer;

use crate::read;

const GUIDE: &str = "docs/templates.md";
const SAMPLES: &str = "examples/templates";

/// A configuration, and what it makes of the morning.
struct Morning {
    plan: Arc<Plan>,
    drafts: BTreeMap<String, Draft>,
    messages: BTreeMap<String, Message>,
}

impl Morning {
    /// Plays the recording with a configuration and its templates, as they stand in one directory.
    fn of(configuration: &str, templates: &BTreeMap<String, String>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("dingest.yaml");
        fs::write(&file, configuration).expect("written");
        for (name, text) in templates {
            fs::write(directory.path().join(name), text).expect("written");
        }
        let loaded = config::load_to_rehearse(Some(&file))
            .unwrap_or_else(|report| panic!("{configuration}\n{}", report.render(false)));
        let recording =
            Recording::read(&[format!("{}/{SAMPLES}/morning.jsonl", env!("CARGO_MANIFEST_DIR")).into()]);
        let recording = recording.expect("the recording can be read");
        assert!(recording.unreadable.is_empty(), "{:?}", recording.unreadable);
        let replay = recording.play(&loaded.prepared());
        assert!(replay.untaken.is_empty(), "{:?}", replay.untaken);
        let (mut drafts, mut messages) = (BTreeMap::new(), BTreeMap::new());
        for message in replay.messages {
            assert_eq!(message.composed.rendered.template_error, None, "{templates:?}");
            let time = jiff::Timestamp::from_millisecond(message.at.0).expect("a time");
            let time = time.to_zoned(loaded.plan.timezone.clone()).strftime("%H:%M");
            drafts.insert(time.to_string(), message.composed.draft.clone());
            messages.insert(time.to_string(), message.rendered().clone());
        }
        Self {
            plan: loaded.plan,
            drafts,
            messages,
        }
    }

    /// What a template writes about a sample.
    fn written(&self, sample: &str, template: &str) -> String {
        let at = |time: &str| self.drafts[time].clone();
        let notice = |notice| Draft {
            notices: vec![notice],
            ..at("10:22")
        };
        let draft = match sample {
            "morning" => at("10:22"),
            "recovery" => at("10:05"),
            "storm" => at("11:00"),
            "detour" => notice(Notice::Fallback {
                through: "lobby".into(),
                endpoint: "ops".into(),
                reason: "refused_token",
                until: Some(dingest::alert::Timestamp(at("10:22").composed_at.0 + 3_600_000)),
            }),
            "refusal" => {
                let mut draft = notice(Notice::ContentRefused {
                    errcode: Some(430_101),
                });
                draft.fit.detail_max = Detail::Stub;
                draft
            }
            other => panic!("{GUIDE} has no sample `{other}`"),
        };
        let mut plan = (*self.plan).clone();
        plan.templates = BTreeMap::from([("short".to_owned(), template.to_owned())]);
        let renderer = Renderer::new(&Arc::new(plan));
        let renderer = renderer.unwrap_or_else(|problems| panic!("{template}: {problems:?}"));
        let said = renderer.render(&draft);
        assert_eq!(said.template_error, None, "{template}");
        said.messages[0].text.clone()
    }
}

fn sample_configuration() -> String {
    read(&format!("{SAMPLES}/dingest.yaml"))
}

/// The rows of the tables below a heading, each as its cells.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// The part of the guide below one heading of the second or third level, to the next.
fn parts(guide: &str) -> Vec<(&str, &str)> {
    let guide = guide.split("\n## ").skip(1).flat_map(|part| part.split("\n### "));
    guide.filter_map(|part| part.split_once('\n')).collect()
}

/// The text in the first backticks.
fn code(cell: &str) -> Option<&str> {
    cell.split('`').nth(1)
}

/// The fields of every kind of notice.
fn notice_fields() -> BTreeSet<String> {
    let text = String::new;
    let notices = [
        NoticeValue::Fallback {
            through: text(),
            endpoint: text(),
            reason: "",
            until: Some(text()),
        },
        NoticeValue::ContentRefused { errcode: None },
        NoticeValue::TemplateFailed {
            template: text(),
            error: text(),
        },
    ];
    let values = notices.map(|notice| serde_json::to_value(notice).expect("plain data"));
    let objects = values.iter().filter_map(|value| value.as_object());
    objects.flat_map(|fields| fields.keys().cloned()).collect()
}

#[test]
fn every_field_has_an_example_that_is_rendered() {
    let (guide, built_in) = (read(GUIDE), read("templates/digest.en.hbs"));
    let templates = BTreeMap::from([("short.hbs".to_owned(), read(&format!("{SAMPLES}/short.hbs")))]);
    let morning = Morning::of(&sample_configuration(), &templates);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (heading, text) in parts(&guide)
        .into_iter()
        .filter(|(_, text)| text.contains("| what | example |"))
    {
        for row in rows(text) {
            let [field, _, _, example, gives] = row.as_slice() else {
                panic!(
                    "{heading}: a row has a field, its type, what it is, an example and what that gives: {row:?}"
                );
            };
            let field = code(field).expect("a field");
            let sample = example.split_once(": `").map_or("morning", |(sample, _)| sample);
            let (example, gives) = (
                code(example).expect("an example"),
                code(gives).unwrap_or_default(),
            );
            let names = example.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            assert!(
                names.into_iter().any(|name| name == field),
                "{heading}: no `{field}` in {example}"
            );
            let written = if sample == "failure" {
                assert!(
                    built_in.contains(example),
                    "the built-in template lacks {example}"
                );
                failed(&morning, example)
            } else {
                morning.written(sample, example)
            };
            let written = written.replace('\n', "\\n").replace('|', "\\|");
            seen += 1;
            if written != gives {
                wrong.push(format!("{example}\t{written}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{GUIDE} says otherwise than\n{}",
        wrong.join("\n")
    );
    assert!(seen > 100, "{seen} examples");
}

/// What a part of the built-in template writes when a template that writes nothing gave way to it.
fn failed(morning: &Morning, part: &str) -> String {
    let mut plan = (*morning.plan).clone();
    plan.templates = BTreeMap::from([("short".to_owned(), "{{nothing}}".to_owned())]);
    let renderer = Renderer::new(&Arc::new(plan)).expect("it compiles");
    let said = renderer.render(&morning.drafts["10:22"]);
    let error = said.template_error.expect("it writes nothing");
    let part = part.replace("{{template}}", "short").replace("{{error}}", &error);
    let text = &said.messages[0].text;
    assert!(
        text.contains(&part),
        "the built-in template does not write `{part}`:\n{text}"
    );
    part
}

#[test]
fn every_field_of_a_notice_stands_in_the_guide() {
    let guide = read(GUIDE);
    let parts = parts(&guide);
    let (_, text) = parts
        .iter()
        .find(|(heading, _)| *heading == "NoticeValue")
        .expect("a table");
    let named: BTreeSet<String> = rows(text)
        .iter()
        .filter_map(|row| code(row.first()?).map(str::to_owned))
        .collect();
    assert_eq!(named, notice_fields());
}

/// A configuration in which some top-level keys are others.
fn with_keys(configuration: &str, others: &str) -> String {
    let begins = |line: &str| line.starts_with(|c: char| c.is_ascii_alphabetic());
    let replaced: BTreeSet<&str> = others
        .lines()
        .filter(|line| begins(line))
        .filter_map(|line| line.split(':').next())
        .collect();
    let mut kept = true;
    let mut out = String::new();
    for line in configuration.lines() {
        if begins(line) {
            kept = !replaced.contains(line.split(':').next().unwrap_or_default());
        }
        if kept {
            out.push_str(line);
            out.push('\n');
        }
    }
    out + others
}

/// The blocks of code in a text: what stands before each, its kind, and what is in it.
fn blocks(text: &str) -> Vec<(&str, &str, &str)> {
    let pieces: Vec<&str> = text.split("```").collect();
    let blocks = pieces.chunks_exact(2).map(|pair| {
        let (kind, body) = pair[1].split_once('\n').expect("a block has lines");
        (pair[0], kind, body)
    });
    blocks.collect()
}

/// The file that a text says comes next, as in "`short.hbs`:".
fn file_named(before: &str) -> String {
    let name = before
        .trim_end()
        .strip_suffix("`:")
        .and_then(|text| text.rsplit('`').next());
    name.unwrap_or_else(|| panic!("a template has a name: {before}"))
        .to_owned()
}

#[test]
fn every_template_of_the_cookbook_writes_what_stands_below_it() {
    let guide = read(GUIDE);
    let (mut recipes, mut wrong) = (0, Vec::new());
    for (heading, text) in parts(&guide) {
        let (mut keys, mut templates) = ("", BTreeMap::new());
        for (before, kind, body) in blocks(text) {
            match kind {
                "yaml" => keys = body,
                "handlebars" => {
                    templates.insert(file_named(before), body.to_owned());
                }
                "text" => {
                    let morning = Morning::of(&with_keys(&sample_configuration(), keys), &templates);
                    let message = &morning.messages["10:22"];
                    let written = if body.starts_with("title: ") {
                        format!("title: {}\n", message.title)
                    } else {
                        format!("{}\n", message.text)
                    };
                    recipes += 1;
                    if written != body {
                        wrong.push(format!("### {heading}\n{written}"));
                    }
                }
                "console" => {}
                other => panic!("{heading}: a block of {other}"),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{GUIDE} says otherwise than\n{}",
        wrong.concat()
    );
    assert!(recipes >= 10, "{recipes} recipes");
}

#[test]
fn the_first_template_of_the_guide_is_that_of_the_samples() {
    let first = read(&format!("{SAMPLES}/short.hbs"));
    assert!(
        read(GUIDE).contains(&format!("`short.hbs`:\n\n```handlebars\n{first}```")),
        "{GUIDE} shows another `short.hbs`"
    );
}
