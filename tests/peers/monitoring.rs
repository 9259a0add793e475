//! What we give people to watch us with: alert rules and a dashboard, held against the tools that read them and
//! against the daemon they are about.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::peer::{Prometheus, Status, alert};
use crate::process::{free_port, python, run};
use crate::world::{World, text};

/// Panels about what does not happen while all is well: they have no series before it does.
const EMPTY_WHILE_WELL: [&str; 3] = [
    "Silent, and why",
    "Templates that failed",
    "What receivers wait for",
];

/// Panels that have nothing to show without apps.
const OF_APPS: [&str; 5] = [
    "Calls afterwards",
    "Not read",
    "Questions to apps",
    "Taken back",
    "Time until read",
];

fn monitoring(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("packaging/monitoring")
        .join(name)
}

fn dashboard() -> Value {
    let text = fs::read_to_string(monitoring("dashboard.json")).expect("the dashboard");
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

/// The queries of a panel as Grafana sends them to Prometheus.
fn queries(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array();
    let expressions = targets
        .into_iter()
        .flatten()
        .map(|target| target["expr"].as_str().expect("a target has a query"));
    let fill_in = |query: &str| {
        query
            .replace("$__rate_interval", "1m")
            .replace("$job", ".+")
            .replace("$instance", ".+")
    };
    expressions.map(fill_in).collect()
}

#[test]
#[ignore = "needs Debian's prometheus"]
fn every_alert_fires_when_it_should_and_only_then() {
    for (command, file) in [("check", "dingest.rules.yml"), ("test", "dingest.rules.test.yml")] {
        let (content, said) = run("promtool", &[command, "rules", &text(&monitoring(file))], None);
        assert!(content, "{said}");
    }
}

#[test]
#[ignore = "needs what tests/peers/install installs"]
fn the_dashboard_is_one_by_grafanas_schema() {
    let (content, said) = python(
        "tools",
        "known.py",
        &["dashboard", &text(&monitoring("dashboard.json"))],
    );
    assert!(content, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus"]
async fn every_panel_shows_what_a_real_daemon_exposes() {
    let world = World::new().await;
    let dingest = Daemon::start(&world, "  - { name: prometheus, type: prometheus }").await;
    let hook = dingest.hook("prometheus");
    let (good, bad) = (
        alert("DiskFull", "db-1", "97 % full", Status::Firing),
        Value::Null,
    );
    world.post(&hook, Value::from(vec![good, bad]).to_string()).await;
    world.refused(&hook, "no alerts").await;
    world.refused(&format!("{}/nowhere", dingest.url), "").await;
    world.told(1).await;

    let prometheus = Prometheus::start(&world, free_port(), &[dingest.address()], "").await;
    prometheus.query(&world, "rate(dingest_messages_total[1m])").await;
    for panel in dashboard()["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a panel has a title");
        let mut series = 0;
        for query in queries(panel) {
            series += prometheus.series(&world, &query).await.len();
        }
        let empty = panel["type"] == "row" || EMPTY_WHILE_WELL.contains(&title) || OF_APPS.contains(&title);
        assert!(series > 0 || empty, "the panel `{title}` shows nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus"]
async fn a_real_prometheus_sees_what_is_wrong_with_a_real_daemon() {
    let world = World::new().await;
    let dingest = Daemon::start(&world, "  - { name: prometheus, type: prometheus }").await;
    let prometheus = Prometheus::start(&world, free_port(), &[dingest.address()], "").await;
    prometheus.query(&world, "dingest_build_info").await;
    assert_eq!(prometheus.series(&world, "ALERTS").await, [Value::Null; 0]);

    let bad = Value::from(vec![Value::Null, alert("A", "db-1", "", Status::Firing)]);
    world.post(&dingest.hook("prometheus"), bad.to_string()).await;
    world.refused(&dingest.hook("prometheus"), "no alerts").await;
    fs::write(&dingest.config, "nonsense: true").expect("the configuration can be written");
    for (alert, state) in [
        ("DingestAlertsLeftOut", "firing"),
        ("DingestRefusesSender", "firing"),
        ("DingestConfigRejected", "pending"),
    ] {
        let query = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"{state}\"}}");
        assert_eq!(prometheus.query(&world, &query).await, "1");
    }
    let rules = prometheus.ask(&world, "/api/v1/rules").await;
    let groups = rules["data"]["groups"].as_array().expect("groups of rules");
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let (mut count, mut said) = (0, String::new());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        count += 1;
        said.push_str(&rule["alerts"].to_string());
    }
    assert!(count > 20, "the rules are loaded");
    assert!(!said.contains("error expanding template"), "{said}");
    assert!(
        said.contains("Alerts of prometheus were left out (unusable)"),
        "{said}"
    );
}
