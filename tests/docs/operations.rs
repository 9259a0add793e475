//! Holds the operator's guide against the program: every log line, alert rule, reason and exit status stands in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{anchors, read};

const GUIDE: &str = "docs/operations.md";

/// The text below a heading of the second level.
#[track_caller]
fn chapter<'a>(guide: &'a str, heading: &str) -> &'a str {
    let (_, text) = guide.split_once(&format!("\n## {heading}\n")).expect(heading);
    text.split("\n## ").next().unwrap_or_default()
}

/// The cells of the rows of tables, without their heads.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|line| {
        line.trim_matches('|')
            .split(" | ")
            .map(str::trim)
            .collect::<Vec<_>>()
    });
    cells.filter(|cells| !cells[0].starts_with("---") && !["message", "reason", "signal"].contains(&cells[0]))
}

/// The files of the program, without their tests.
fn sources(directory: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let is_tests = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_tests {
            sources(&path, into);
        } else if path.extension().is_some_and(|it| it == "rs") && !is_tests {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            into.push(code.to_owned());
        }
    }
}

/// The messages logged by a macro: the last text in each call.
fn logged(code: &str, name: &str) -> Vec<String> {
    let begin = format!("{name}!(");
    let messages = code.split(begin.as_str()).skip(1).map(|rest| {
        let call = inside(rest);
        let message = call.rsplit('"').nth(1);
        let message = message.unwrap_or_else(|| panic!("a call of {name}! without a message: {call}"));
        message.to_owned()
    });
    messages.collect()
}

/// A text up to the bracket that closes what is around it.
fn inside(text: &str) -> &str {
    let (mut depth, mut quoted) = (1, false);
    let end = text.find(|c| {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

#[test]
fn every_warning_and_error_stands_in_the_guide_and_no_other() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut there = BTreeSet::new();
    for code in &files {
        for (name, level) in [("warn", "WARN"), ("error", "ERROR")] {
            there.extend(
                logged(code, name)
                    .into_iter()
                    .map(|message| (message.replace('`', ""), level.to_owned())),
            );
        }
    }
    let guide = read(GUIDE);
    let told: BTreeSet<(String, String)> = rows(chapter(&guide, "Log lines"))
        .map(|cells| (cells[0].to_owned(), cells[1].to_owned()))
        .collect();
    assert!(there.len() > 30, "{there:?}");
    assert_eq!(
        told, there,
        "{GUIDE} against the messages of `warn!` and `error!`"
    );
}

#[test]
fn every_alert_about_dingest_has_its_section() {
    let (guide, rules) = (read(GUIDE), read("packaging/monitoring/dingest.rules.yml"));
    let alerts: BTreeSet<&str> = rules
        .split("- alert: ")
        .skip(1)
        .filter_map(|rest| rest.lines().next())
        .collect();
    let sections: BTreeSet<&str> = chapter(&guide, "Alerts about dingest")
        .split("\n### ")
        .skip(1)
        .filter_map(|rest| rest.lines().next())
        .collect();
    assert_eq!(sections, alerts);
    assert!(
        alerts
            .iter()
            .all(|name| anchors(&guide).contains(&name.to_lowercase()))
    );
}

#[test]
fn every_reason_of_a_pause_stands_in_the_guide() {
    let (guide, outcomes) = (read(GUIDE), read("src/engine/outcome.rs"));
    let reasons = read("src/engine/budget.rs");
    let pauses = [
        "limited",
        "throttled",
        "blocked",
        "quota",
        "daily_limit",
        "refused_",
    ];
    let there: BTreeSet<&str> = [&outcomes, &reasons]
        .into_iter()
        .flat_map(|text| text.split("=> \"").skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| pauses.iter().any(|pause| name.starts_with(pause)))
        .collect();
    let told: BTreeSet<&str> = rows(chapter(&guide, "Reasons"))
        .map(|cells| cells[0].trim_matches('`'))
        .collect();
    assert_eq!(told, there);
}
