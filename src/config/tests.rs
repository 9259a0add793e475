//! Files in, plans and reports out: `tests/data/config/` holds one file per case.

#![expect(clippy::string_slice, reason = "the texts of these tests are ASCII")]

mod reference;

use std::fmt::Write as _;
use std::path::PathBuf;

use insta::{assert_snapshot, glob};

use super::*;
use crate::plan::{
    App, Audience, Auth, Bot, Channel, GroupBy, Listen, Route, RouteId, Source, SourceKind, Way,
};

/// Everything in `secrets/` and in the files holds this; it must never come out.
const MARK: &str = "hunter2";

/// The name of a case's file as a user in the package's directory would write it.
fn relative(path: &Path) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap();
    path.canonicalize()
        .unwrap()
        .strip_prefix(here)
        .unwrap()
        .to_owned()
}

/// Closes the directories of secrets, as people do and git does not: what is there is readable by all otherwise,
/// and every report would say so.
fn close_secrets() {
    use std::os::unix::fs::PermissionsExt as _;
    for place in ["tests/data/config/bad", "tests/data/config/good", "examples"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(place).join("secrets");
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../tests/data/config/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[test]
fn every_bad_file_gets_its_report() {
    close_secrets();
    let _guard = settings().bind_to_scope();
    glob!("../../tests/data/config/bad", "*.yaml", |path| {
        let report = load(Some(&relative(path)), Path::new("state")).expect_err("the file is bad");
        let shown = report.to_string();
        assert!(!report.is_empty());
        for text in [&shown, &report.render(true), &format!("{report:?}")] {
            assert!(!text.contains(MARK), "a secret is in the report:\n{text}");
        }
        for problem in report.problems() {
            assert!(!problem.file.is_empty(), "{}", problem.summary());
        }
        assert_snapshot!("bad", shown);
    });
}

#[test]
fn every_good_file_makes_its_plan() {
    close_secrets();
    let _guard = settings().bind_to_scope();
    glob!("../../tests/data/config/good", "*.yaml", |path| {
        let loaded =
            load(Some(&relative(path)), Path::new("state")).unwrap_or_else(|report| panic!("{report}"));
        let shown = outline(&loaded);
        assert!(!shown.contains(MARK) && !format!("{loaded:?}").contains(MARK));
        assert_snapshot!("good", shown);
    });
}

#[test]
fn every_example_loads_without_a_warning() {
    close_secrets();
    let mut count = 0;
    glob!("../../examples", "*.yaml", |path| {
        let loaded =
            load(Some(&relative(path)), Path::new("state")).unwrap_or_else(|report| panic!("{report}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        tells_editors(path, "dingest.schema.json");
        count += 1;
    });
    assert!(count >= 5);
    for included in ["sources/*.yaml", "rules.d/*.yaml"] {
        glob!("../../examples", included, |path| tells_editors(
            path,
            "../dingest.schema.json"
        ));
    }
}

/// Wants an example to begin with where its schema is.
fn tells_editors(path: &Path, schema: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    let line = format!("# yaml-language-server: $schema={schema}\n");
    assert!(
        text.starts_with(&line),
        "{} does not tell editors about the schema",
        path.display()
    );
}

#[test]
fn without_a_file_there_are_the_builtin_defaults() {
    let _guard = settings().bind_to_scope();
    assert_snapshot!("builtin", outline(&load(None, Path::new("state")).unwrap()));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let report = load(Some(Path::new("nowhere/dingest.yaml")), Path::new("state")).unwrap_err();
    assert_eq!(
        report.problems()[0].summary(),
        "nowhere/dingest.yaml: cannot read the file: there is no such file"
    );
    assert_eq!(report.files(), [PathBuf::from("nowhere/dingest.yaml")]);
}

#[test]
fn secret_files_are_read_anew_by_each_load_and_watched() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(
        file("c.yaml"),
        "bots: [{name: b, access_token_file: t}]\nreceivers: [{name: r, bots: [b]}]\n",
    )
    .unwrap();
    let token = |text: &str| {
        std::fs::write(file("t"), text).unwrap();
        let loaded =
            load(Some(&file("c.yaml")), Path::new("state")).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(loaded.files, [file("c.yaml"), file("t")]);
        let token = loaded.plan.endpoints["b"].secrets().next();
        token.unwrap().expose().to_owned()
    };
    assert_eq!(token("one\n"), "one");
    assert_eq!(token("two"), "two");
}

#[test]
fn a_secret_file_that_others_may_read_is_warned_about_once_per_load() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let file = |name: &str| directory.path().join(name);
    let mode = |path: PathBuf, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(file(""), 0o755);
    std::fs::write(file("t"), "hunter2").unwrap();
    let text = "bots:\n  - {name: a, access_token_file: t}\n  - {name: b, access_token_file: t}\n\
                receivers: [{name: r, bots: [a, b]}]\n";
    std::fs::write(file("c.yaml"), text).unwrap();
    let warnings = || {
        let loaded =
            load(Some(&file("c.yaml")), Path::new("state")).unwrap_or_else(|report| panic!("{report}"));
        loaded.warnings.problems().to_vec()
    };
    mode(file("t"), 0o644);
    let open = warnings();
    let [warning] = &open[..] else { panic!("{open:?}") };
    assert!(
        warning
            .message
            .ends_with("can be read by every user of this machine")
            && warning.line == Some(2),
        "{warning:?}"
    );
    assert!(
        warning.help.as_ref().unwrap().contains("chmod 600"),
        "{warning:?}"
    );
    mode(file("t"), 0o600);
    assert_eq!(warnings().len(), 0);
}

#[test]
fn a_hostile_text_is_refused_quickly() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.yaml");
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let alias = format!("*a{}", level - 1);
        writeln!(bomb, "a{level}: &a{level} [{}]", [alias.as_str(); 10].join(", ")).unwrap();
    }
    let mut merged = String::from("a0: &a0 { k0: x }\n");
    for level in 1..30 {
        let alias = format!("*a{}", level - 1);
        writeln!(
            merged,
            "a{level}: &a{level} {{ k{level}: [{}], <<: {alias} }}",
            [alias.as_str(); 10].join(", ")
        )
        .unwrap();
    }
    let begun = std::time::Instant::now();
    let cases = [
        (
            bomb,
            "more than 200000 values, those that aliases repeat included",
        ),
        (
            merged,
            "more than 200000 values, those that aliases repeat included",
        ),
        (
            format!("a: [{}]", "x, ".repeat(300_000)),
            "more than 200000 values, those that aliases repeat included",
        ),
        (
            (0..1_000).fold(String::new(), |text, level| text + &" ".repeat(level) + "a:\n"),
            "this is not YAML: ",
        ),
        ("[".repeat(100_000), "this is not YAML: "),
        ("- ".repeat(100_000), "this is not YAML: "),
        ("? ".repeat(100_000), "this is not YAML: "),
        (
            "a: &a [*a]".to_owned(),
            "this alias stands inside the value it refers to",
        ),
        (
            "a: b\n".repeat(1_000_000),
            "cannot read the file: it has more than ",
        ),
    ];
    for (text, expected) in cases {
        std::fs::write(&file, text).unwrap();
        let report = load(Some(&file), Path::new("state")).unwrap_err();
        let message = &report.problems()[0].message;
        assert!(message.starts_with(expected), "{message}");
    }
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(20),
        "it took {:?}",
        begun.elapsed()
    );
}

#[test]
fn the_shipped_schema_is_that_of_this_version() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/dingest.schema.json");
    let current = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        shipped == current,
        "examples/dingest.schema.json is stale; write it anew with `UPDATE_SCHEMA=1 cargo test --lib shipped`"
    );
}

#[test]
fn the_full_example_shows_every_key() {
    let full = include_str!("../../examples/full.yaml");
    let schema = schema();
    let definitions = schema["definitions"].as_object().unwrap();
    assert!(definitions.len() > 15);
    for (name, definition) in definitions.iter().filter(|(name, _)| *name != "Included") {
        let keys: Vec<&str> = definition["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        for key in &keys {
            // Of a secret's three keys the one for a file is shown.
            let base = key.trim_end_matches("_env");
            let is_secret = keys.contains(&format!("{base}_env").as_str());
            let shown = if is_secret {
                format!("{base}_file:")
            } else {
                format!("{key}:")
            };
            assert!(full.contains(&shown), "`{shown}` of {name} is not in full.yaml");
        }
    }
}

#[test]
fn no_edit_of_a_file_makes_loading_panic_or_show_a_secret() {
    use proptest::prelude::*;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.yaml");
    let text = format!(
        "bots:\n  - name: b\n    access_token: {MARK}\n    secret: |\n      {MARK}\n  - {{ name: c, url: '{MARK}' }}\n\
         sources:\n  - name: s\n    type: json\n    auth: {{ basic: {{ username: u, password: {MARK} }} }}\n\
         receivers:\n  - {{ name: r, bots: [b] }}\nroute:\n  receiver: r\n  routes: [{{ matchers: [a=b] }}]\n"
    );
    let at = 0..text.len();
    let edit = (at, 0_usize..3, "[-a:\\[\\]{}\"'|>&*#, \n]{0,3}");
    proptest!(ProptestConfig::with_cases(400), |(edits in proptest::collection::vec(edit, 1..4))| {
        let mut text = text.clone();
        for (at, cut, insert) in edits {
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            // A damaged key of a secret is another test's business: here the damage is around them.
            let near = |part: &str| text.match_indices(part).any(|(found, _)| {
                let line = text[..found].rfind('\n').map_or(0, |start| start + 1);
                let line_end = text[found..].find('\n').map_or(text.len(), |length| found + length + 1);
                at < line_end && end >= line
            });
            if text.is_char_boundary(at) && text.is_char_boundary(end) && !near(MARK) && !near("secret") {
                text.replace_range(at..end, &insert);
            }
        }
        std::fs::write(&file, &text).unwrap();
        if let Err(report) = load(Some(&file), Path::new("state")) {
            let shown = report.to_string();
            prop_assert!(!shown.contains(MARK), "{text}\n---\n{shown}");
        }
    });
}

/// A compact rendering of a plan: what differs from file to file, a line each.
fn outline(loaded: &Loaded) -> String {
    let plan = &loaded.plan;
    let mut text = String::new();
    let listen = match &plan.server.listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    };
    let server = &plan.server;
    writeln!(
        text,
        "server {listen} url={:?} body={} open={}",
        server.external_url, server.body_limit_bytes, server.allow_unauthenticated
    )
    .unwrap();
    writeln!(
        text,
        "store {} history={}",
        plan.store.path.display(),
        span(plan.store.history)
    )
    .unwrap();
    if let Some(record) = &plan.record {
        writeln!(text, "record {} {}", record.path.display(), record.bytes_max).unwrap();
    }
    writeln!(text, "{} {}", plan.locale.tag(), zone_name(&plan.timezone)).unwrap();
    writeln!(
        text,
        "dingtalk {} quota={:?} api={:?}",
        plan.dingtalk.base_url, plan.dingtalk.monthly_quota, plan.dingtalk.monthly_api_quota
    )
    .unwrap();
    for (name, template) in &plan.templates {
        writeln!(text, "template {name} ({} bytes)", template.len()).unwrap();
    }
    plan.sources
        .values()
        .for_each(|source| outline_source(source, &mut text));
    plan.apps.values().for_each(|app| outline_app(app, &mut text));
    outline_endpoints(plan, &mut text);
    outline_receivers(plan, &mut text);
    outline_route(plan, RouteId(0), 0, &mut text);
    for (name, intervals) in &plan.intervals {
        for interval in intervals {
            writeln!(
                text,
                "interval {name} times={:?} weekdays={:?} days={:?} months={:?} years={:?} in {}",
                interval.times,
                interval.weekdays,
                interval.days_of_month,
                interval.months,
                interval.years,
                zone_name(&interval.location)
            )
            .unwrap();
        }
    }
    writeln!(text, "files {:?}", loaded.files).unwrap();
    if !loaded.warnings.is_empty() {
        write!(text, "\n{}", loaded.warnings).unwrap();
    }
    text
}

fn outline_source(source: &Source, text: &mut String) {
    let kind = match &source.kind {
        SourceKind::Alertmanager => "alertmanager",
        SourceKind::Grafana => "grafana",
        SourceKind::Prometheus => "prometheus",
        SourceKind::Json(_) => "json",
    };
    let auth = match &source.auth {
        Auth::None => "open".to_owned(),
        Auth::Bearer(token) => format!("bearer ({} bytes)", token.expose().len()),
        Auth::Basic { username, password } => format!("basic {username} ({} bytes)", password.expose().len()),
        Auth::GrafanaHmac {
            secret,
            header,
            timestamp_header,
        } => format!(
            "hmac ({} bytes) {header} {timestamp_header:?}",
            secret.expose().len()
        ),
    };
    writeln!(
        text,
        "source {} {kind} {auth} expires={} busy={} {}",
        source.name,
        span(source.expire_after),
        source.busy_status,
        zone_name(&source.timezone)
    )
    .unwrap();
}

fn outline_app(app: &App, text: &mut String) {
    writeln!(
        text,
        "app {} key={} secret={} bytes robot={} base={} per_second={}",
        app.name,
        app.key,
        app.secret.expose().len(),
        app.robot_code,
        app.base_url,
        app.per_second
    )
    .unwrap();
    if let Some(agent_id) = app.agent_id {
        writeln!(text, "  agent {agent_id}").unwrap();
    }
    if let Some(ask) = &app.ask {
        writeln!(text, "  asked by {:?}, in {:?}", ask.people, ask.groups).unwrap();
    }
}

fn outline_bot(bot: &Bot, text: &mut String) {
    let secret = bot.secret.as_ref().map(|secret| secret.expose().len());
    writeln!(
        text,
        "bot {} token={} bytes secret={secret:?} base={:?} keyword={:?} per_minute={}",
        bot.name,
        bot.access_token.expose().len(),
        bot.base_url,
        bot.keyword,
        bot.per_minute
    )
    .unwrap();
}

fn outline_endpoints(plan: &Plan, text: &mut String) {
    for endpoint in plan.endpoints.values() {
        let name = &endpoint.name;
        match &endpoint.way {
            Way::Bot(bot) => outline_bot(bot, text),
            Way::Group(group) => {
                let (app, conversation) = (&group.app.name, &group.conversation);
                writeln!(text, "{name} app={app} conversation={conversation}").unwrap();
            }
            Way::Direct(person) => {
                writeln!(text, "{name} app={} user={}", person.app.name, person.user).unwrap();
            }
            Way::WorkNotice(notice) => {
                let to = match &notice.to {
                    Audience::Person(person) => format!("user={}", person.user),
                    Audience::Departments(_, departments) => format!("departments={departments:?}"),
                    Audience::Everybody(_) => "everybody".to_owned(),
                };
                writeln!(
                    text,
                    "{name} app={} agent={} {to}",
                    notice.app().name,
                    notice.agent_id
                )
                .unwrap();
            }
        }
    }
}

fn outline_receivers(plan: &Plan, text: &mut String) {
    for receiver in plan.receivers.values() {
        let channel = match &receiver.channel {
            Channel::Endpoints(endpoints) => format!("{endpoints:?}"),
            Channel::Console => "console".to_owned(),
        };
        let picture = receiver.picture.as_ref();
        let picture = picture.map_or(String::new(), |picture| format!(" picture={picture}"));
        writeln!(
            text,
            "receiver {} {channel} template={} {:?}{picture} max={} fallback={:?} {:?}",
            receiver.name,
            receiver.template,
            receiver.message,
            receiver.max_messages,
            receiver.fallback,
            receiver.mention
        )
        .unwrap();
    }
}

fn outline_route(plan: &Plan, id: RouteId, depth: usize, text: &mut String) {
    let route: &Route = plan.routes.get(id);
    let group_by = match &route.group_by {
        GroupBy::Labels(labels) => labels.join(","),
        GroupBy::All => "...".to_owned(),
    };
    writeln!(
        text,
        "{:indent$}route {} {:?} by={group_by} wait={} interval={} repeat={} urgent={} resolved={} continue={} mute={:?} active={:?}",
        "",
        route.receiver,
        route.matchers,
        span(route.group_wait),
        span(route.group_interval),
        span(route.repeat_interval),
        route.urgent,
        route.send_resolved,
        route.continue_matching,
        route.mute,
        route.active,
        indent = depth * 2
    )
    .unwrap();
    for child in &route.children {
        outline_route(plan, *child, depth + 1, text);
    }
}

fn span(span: crate::alert::Span) -> String {
    format!("{}ms", span.0)
}

fn zone_name(zone: &jiff::tz::TimeZone) -> String {
    zone.iana_name().unwrap_or("?").to_owned()
}
