//! Prometheus and Alertmanager, as Debian packages them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::process::{Process, free_port, run, until};
use crate::world::{World, text};

/// A running Alertmanager that posts everything to one webhook, in groups by `alertname`.
#[derive(Debug)]
pub(crate) struct Alertmanager {
    _process: Process,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
}

/// How an Alertmanager is set up.
#[derive(Clone, Debug)]
pub(crate) struct AlertmanagerSetup {
    /// Where it posts.
    pub(crate) hook: String,
    /// The webhook's `http_config`, in flow style.
    pub(crate) http_config: &'static str,
    /// Most alerts of one webhook; 0 is no limit.
    pub(crate) max_alerts: u32,
    /// More of the configuration.
    pub(crate) more: &'static str,
    /// Its port; with it come its store of notifications and silences.
    pub(crate) port: u16,
    /// More arguments; without any it is on its own.
    pub(crate) cluster: Vec<String>,
}

impl AlertmanagerSetup {
    pub(crate) fn posting_to(hook: String) -> Self {
        Self {
            hook,
            http_config: "{}",
            max_alerts: 0,
            more: "",
            port: free_port(),
            cluster: vec!["--cluster.listen-address=".to_owned()],
        }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&self, world: &World) -> Alertmanager {
        let Self {
            hook,
            http_config,
            max_alerts,
            more,
            port,
            cluster,
        } = self;
        let config = format!(
            "route:
  receiver: dingest
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1s
receivers:
  - name: dingest
    webhook_configs:
      - {{ url: '{hook}', send_resolved: true, http_config: {http_config}, max_alerts: {max_alerts} }}
{more}"
        );
        let name = format!("alertmanager-{port}");
        let config = world.write(&format!("{name}.yml"), &config);
        let mut arguments = vec![
            format!("--config.file={}", text(&config)),
            format!("--storage.path={}", text(&world.path(&name))),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.external-url=http://alertmanager.example.com".to_owned(),
            "--web.route-prefix=/".to_owned(),
        ];
        arguments.extend_from_slice(cluster);
        let log = world.path(&format!("{name}.log"));
        let mut process = Process::start("prometheus-alertmanager", &arguments, &log);
        let url = format!("http://127.0.0.1:{port}");
        until("Alertmanager is ready", async || {
            process.assert_alive();
            world.get(&format!("{url}/-/ready")).await
        })
        .await;
        Alertmanager {
            _process: process,
            url,
        }
    }
}

impl Alertmanager {
    pub(crate) async fn start(world: &World, hook: String) -> Self {
        AlertmanagerSetup::posting_to(hook).start(world).await
    }

    /// Posts an alert to its API, as Prometheus does.
    pub(crate) async fn post(&self, world: &World, alert: &Value) {
        let url = format!("{}/api/v2/alerts", self.url);
        world.post(&url, json!([alert]).to_string()).await;
    }

    /// Waits until it has posted this many notifications.
    pub(crate) async fn notified(&self, world: &World, least: u64) {
        world.counted(&self.url, NOTIFICATIONS, &[WEBHOOK], least).await;
    }

    /// Waits until that many more notifications than so far were posted.
    pub(crate) async fn notifies_again(&self, world: &World) {
        let so_far = world.metric(&self.url, NOTIFICATIONS, &[WEBHOOK]).await;
        self.notified(world, so_far + 2).await;
    }

    /// What `amtool` says when run against it.
    pub(crate) fn amtool(&self, arguments: &[&str]) -> String {
        let url = format!("--alertmanager.url={}", self.url);
        let (content, said) = run("amtool", &[&[url.as_str()], arguments].concat(), None);
        assert!(content, "{said}");
        said
    }
}

const NOTIFICATIONS: &str = "alertmanager_notifications_total";
pub(crate) const WEBHOOK: &str = "integration=\"webhook\"";

/// An alert as Prometheus posts it; `ended` seconds ago or not at all.
pub(crate) fn alert(name: &str, host: &str, summary: &str, status: Status) -> Value {
    let now = jiff::Timestamp::now();
    let (starts_at, ends_at) = (
        now - jiff::SignedDuration::from_mins(1),
        match status {
            Status::Firing => now + jiff::SignedDuration::from_mins(10),
            Status::Resolved => now,
        },
    );
    json!({
        "labels": {"alertname": name, "host": host, "severity": "critical"},
        "annotations": {"summary": summary},
        "startsAt": starts_at.to_string(),
        "endsAt": ends_at.to_string(),
        "generatorURL": "http://prometheus.example.com/graph?g0.expr=up",
    })
}

/// Whether an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Firing,
    Resolved,
}

/// A running Prometheus with a rule on the disk of an exporter.
#[derive(Debug)]
pub(crate) struct Prometheus {
    process: Process,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
}

/// A rule on the disk of an exporter.
pub(crate) const RULES: &str = "groups:
  - name: disks
    rules:
      - alert: DiskFull
        expr: disk_used_percent > 90
        labels: { severity: critical }
        annotations:
          summary: '{{ $labels.device }} is {{ $value }} % full'
          runbook_url: https://runbooks.example.com/disk
";

const OUR_RULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/packaging/monitoring/dingest.rules.yml"
);

impl Prometheus {
    /// Starts one that scrapes `targets` and alerts through `alertmanagers`, an entry of that list; its port may be
    /// taken over from an earlier one, together with its data. It has a rule on an exporter's disk, and ours on us.
    pub(crate) async fn start(world: &World, port: u16, targets: &[&str], alertmanagers: &str) -> Self {
        let name = format!("prometheus-{port}");
        let rules = world.write(&format!("{name}-rules.yml"), RULES);
        let mut config = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }}
rule_files: ['{}', '{OUR_RULES}']
scrape_configs:
",
            text(&rules)
        );
        for target in targets {
            writeln!(
                config,
                "  - {{ job_name: '{target}', static_configs: [{{ targets: ['{target}'] }}] }}"
            )
            .expect("writing to a string");
        }
        if !alertmanagers.is_empty() {
            writeln!(config, "alerting: {{ alertmanagers: [{alertmanagers}] }}")
                .expect("writing to a string");
        }
        let config = world.write(&format!("{name}.yml"), &config);
        let arguments = [
            format!("--config.file={}", text(&config)),
            format!("--storage.tsdb.path={}", text(&world.path(&name))),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.external-url=http://prometheus.example.com/".to_owned(),
            "--web.route-prefix=/".to_owned(),
            // How often a firing alert is posted again; the lease is four times as long.
            "--rules.alert.resend-delay=1s".to_owned(),
        ];
        let log = world.path(&format!("{name}.log"));
        let mut process = Process::start("prometheus", &arguments, &log);
        let url = format!("http://127.0.0.1:{port}");
        until("Prometheus is ready", async || {
            process.assert_alive();
            world.get(&format!("{url}/-/ready")).await
        })
        .await;
        Self { process, url }
    }

    /// What it knows of the first series a query finds; waits until there is one.
    pub(crate) async fn query(&self, world: &World, query: &str) -> String {
        until(&format!("a series for `{query}`"), async || {
            let series = self.series(world, query).await;
            let value = series.first()?["value"][1].as_str()?;
            Some(value.to_owned())
        })
        .await
    }

    /// The series a query finds.
    pub(crate) async fn series(&self, world: &World, query: &str) -> Vec<Value> {
        let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = self.ask(world, &format!("/api/v1/query?query={encoded}")).await;
        let series = answer["data"]["result"].as_array();
        series.unwrap_or_else(|| panic!("{answer}")).clone()
    }

    /// What it answers under a path of its API.
    pub(crate) async fn ask(&self, world: &World, path: &str) -> Value {
        let text = world.get(&format!("{}{path}", self.url)).await;
        let text = text.unwrap_or_else(|| panic!("Prometheus does not answer {path}"));
        serde_json::from_str(&text).expect("Prometheus answers JSON")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}
