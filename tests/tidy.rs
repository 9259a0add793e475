//! Rules about the code that no lint can say.
//!
//! Each rule is a function from a file's text to what is wrong with it; the first tests hold the rules against the
//! repository, the last holds them against texts that break them.

use std::fs;
use std::path::{Path, PathBuf};

/// rustfmt wraps at 110; a text it cannot wrap may be a little longer.
const LINE_CHARS_MAX: usize = 120;

/// Words that what decides may not use: it does no I/O, reads no clock and waits for nothing.
const PURE_BANS: [&str; 12] = [
    "Instant",
    "SystemTime",
    "async",
    "await",
    "fs",
    "hyper",
    "net",
    "reqwest",
    "rusqlite",
    "sqlite",
    "tokio",
    "warp",
];

/// Modules the engine may use.
const ENGINE_USES: [&str; 5] = ["alert", "digest", "engine", "plan", "store"];

/// Modules the deciding part of the driver may use.
const STEERING_USES: [&str; 5] = ["alert", "digest", "engine", "plan", "store"];

/// Names of modules nobody can say the job of.
const NO_NAMES: [&str; 6] = ["common", "helper", "helpers", "misc", "types", "util"];

// ---- the rules ------------------------------------------------------------------------------------------------

fn engine_is_pure(text: &str) -> Vec<String> {
    is_pure(text, &ENGINE_USES)
}

fn steering_is_pure(text: &str) -> Vec<String> {
    is_pure(text, &STEERING_USES)
}

/// What decides is a plain value and uses no modules but these.
fn is_pure(text: &str, uses: &[&str]) -> Vec<String> {
    let code = code(text);
    let mut problems: Vec<String> = words(&code)
        .filter(|word| PURE_BANS.contains(word))
        .map(|word| format!("what decides must not use `{word}`"))
        .collect();
    for path in code.split("crate::").skip(1) {
        let module = words(path)
            .next()
            .filter(|module| path.starts_with(module))
            .unwrap_or("{…}");
        if !uses.contains(&module) {
            problems.push(format!("what decides must not use `crate::{module}`"));
        }
    }
    if code.contains("super::super") {
        problems.push("write `super::super` as `crate::…`".to_owned());
    }
    problems
}

fn has_a_head(text: &str) -> Vec<String> {
    let head = text.starts_with("//! ");
    (!head)
        .then(|| "a module begins with `//!` and its job".to_owned())
        .into_iter()
        .collect()
}

/// A quoted text is as long as it is: broken in two it cannot be searched for.
fn lines_are_short(text: &str) -> Vec<String> {
    let long = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| line.chars().count() > LINE_CHARS_MAX && !line.contains('"'));
    long.map(|(_, number)| format!("line {number} has more than {LINE_CHARS_MAX} characters"))
        .collect()
}

fn nothing_is_left_to_do(text: &str) -> Vec<String> {
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ];
    let found = marks.into_iter().filter(|mark| text.contains(mark));
    found.map(|mark| format!("`{mark}` is left to do")).collect()
}

/// A comment gives the reason of the dependencies below it, up to the next empty line or heading.
fn dependencies_have_reasons(manifest: &str) -> Vec<String> {
    let (mut problems, mut inside, mut reason) = (Vec::new(), false, false);
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
            reason = false;
        } else if line.is_empty() {
            reason = false;
        } else if line.starts_with('#') {
            reason = true;
        } else if inside && !reason {
            problems.push(format!("no reason is given for `{line}`"));
        }
    }
    problems
}

// ---- the repository -------------------------------------------------------------------------------------------

#[test]
fn the_engine_knows_no_runtime_no_files_and_no_clock() {
    let engine = |path: &Path| path.starts_with("src/engine") || path == Path::new("src/engine.rs");
    check(|path| engine(path) && !path.ends_with("tests.rs"), engine_is_pure);
}

#[test]
fn what_the_driver_decides_knows_no_runtime_no_files_and_no_clock() {
    let steering = |path: &Path| {
        path.starts_with("src/driver/steering")
            || ["gate.rs", "steering.rs"]
                .iter()
                .any(|name| path == Path::new("src/driver").join(name))
    };
    check(
        |path| steering(path) && !path.ends_with("tests.rs"),
        steering_is_pure,
    );
}

#[test]
fn every_module_says_what_it_is_for() {
    check(|_| true, has_a_head);
}

#[test]
fn no_line_is_too_long() {
    check(|_| true, lines_are_short);
}

#[test]
fn nothing_is_half_done() {
    check(|_| true, nothing_is_left_to_do);
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    // The functions of templates are called helpers by everybody who writes templates.
    let says_nothing = |path: &Path| {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        NO_NAMES.contains(&name) && !path.starts_with("src/render")
    };
    check(says_nothing, |_| {
        vec!["give it the name of what it holds".to_owned()]
    });
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    assert_eq!(dependencies_have_reasons(&manifest), [""; 0]);
}

/// Holds a rule against every Rust file that is `concerned`.
#[track_caller]
fn check(concerned: impl Fn(&Path) -> bool, rule: impl Fn(&str) -> Vec<String>) {
    let files = rust_files();
    assert!(files.len() > 10, "the sources were not found");
    let concerned = files.iter().filter(|(path, _)| concerned(path));
    let problems: Vec<String> = concerned
        .flat_map(|(path, text)| {
            rule(text)
                .into_iter()
                .map(move |problem| format!("{}: {problem}", path.display()))
        })
        .collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// What lays the program out for the linker.
const LAYOUT: &str = "build.rs";

/// A path that is renamed would silently lose its place in the program.
#[test]
fn the_layout_of_the_program_names_what_there_is() {
    let files = rust_files();
    let text_of = |path: &str| {
        files
            .iter()
            .find(|(file, _)| file == Path::new(path))
            .map(|(_, text)| text)
    };
    let paths: Vec<&str> = text_of(LAYOUT)
        .expect("it is one of the files")
        .split('"')
        .filter_map(|text| text.strip_prefix("dingest::"))
        .collect();
    assert!(paths.len() > 50, "the layout has a list of paths");
    for path in paths {
        let parts: Vec<&str> = path.split("::").collect();
        let file_of = |count: usize| format!("src/{}.rs", parts[..count].join("/"));
        let modules = (1..=parts.len())
            .take_while(|count| text_of(&file_of(*count)).is_some())
            .count();
        assert!(modules > 0, "`{path}` is in no module");
        let file = file_of(modules);
        let below = Path::new(&file).with_extension("");
        let texts = files
            .iter()
            .filter(|(other, _)| other == Path::new(&file) || other.starts_with(&below));
        let texts: String = texts.map(|(_, text)| text.as_str()).collect();
        for item in &parts[modules..] {
            let is_there = ["fn", "struct", "enum"].iter().any(|kind| {
                let head = format!("{kind} {item}");
                texts
                    .split(&head)
                    .skip(1)
                    .any(|rest| !rest.starts_with(char::is_alphanumeric))
            });
            assert!(is_there, "`{path}`: there is no `{item}` in {file} or below");
        }
    }
}

/// Every Rust file below `src`, `tests` and `benches` and the one that lays the program out, by its path in the
/// repository.
fn rust_files() -> Vec<(PathBuf, String)> {
    let layout = fs::read_to_string(root().join(LAYOUT)).expect("a source file");
    let mut found = vec![(PathBuf::from(LAYOUT), layout)];
    let mut directories: Vec<PathBuf> = ["src", "tests", "benches"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory of the repository") {
            let path = entry.expect("an entry of the directory").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push((
                    path.strip_prefix(root())
                        .expect("a path below the root")
                        .to_owned(),
                    text,
                ));
            }
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

// ---- the rules themselves -------------------------------------------------------------------------------------

#[test]
fn the_rules_find_what_they_are_for() {
    #[track_caller]
    fn finds(rule: fn(&str) -> Vec<String>, text: &str, count: usize) {
        let problems = rule(text);
        assert_eq!(problems.len(), count, "{text}\n{problems:?}");
    }
    finds(engine_is_pure, "use std::time::{Duration, Instant};", 1);
    finds(engine_is_pure, "use std::{fs, net};\nasync fn f() {}", 3);
    finds(
        engine_is_pure,
        "use crate::driver::Handle;\nuse crate::{dingtalk};",
        2,
    );
    finds(engine_is_pure, "use crate::store::sqlite::SqliteStore;", 1);
    finds(
        steering_is_pure,
        "use crate::{clock, store};\nuse tokio::time;",
        2,
    );
    finds(
        steering_is_pure,
        "use crate::clock::Clock;\nuse crate::engine::Engine;",
        1,
    );
    finds(
        engine_is_pure,
        "// async\nuse crate::store::State;\n#[cfg(test)]\nmod tests { use std::fs; }",
        0,
    );
    finds(has_a_head, "use std::fs;\n//! too late", 1);
    finds(
        lines_are_short,
        &format!(
            "{}\n{}",
            "字".repeat(LINE_CHARS_MAX),
            "x".repeat(LINE_CHARS_MAX + 1)
        ),
        1,
    );
    finds(nothing_is_left_to_do, concat!("fn f() { to", "do!() }"), 1);
    let manifest =
        "[dependencies]\n# both are needed\na = 1\nb = 1\n\nc = 1\n[dev-dependencies]\nd = 1\n[lints]\ne = 1";
    finds(dependencies_have_reasons, manifest, 2);
}
