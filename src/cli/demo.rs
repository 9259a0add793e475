//! `dingest demo`: the daemon and the stand-in together, and an incident to watch.
//!
//! Nothing here is special: a configuration file is written to a temporary directory, the daemon runs on it as
//! `dingest run` would, and the incident is posted to its webhook as an Alertmanager would post it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::run::stop_on_signals;
use super::{Exit, Failure, say};
use crate::alert::{Span, Timestamp};
use crate::app::{self, Setup};
use crate::clock::now;
use crate::dingtalk::simulator::{SimulatedBot, SimulatedCallback, Simulator, SimulatorSettings};

/// Alerts of the storm.
const STORM_ALERTS: usize = 3000;
/// Alerts of the storm in one webhook.
const STORM_BATCH: usize = 100;
/// How long `--once` waits for everything to be told.
const ONCE_PATIENCE: Span = Span::minutes(3);

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where the daemon listens.
    #[arg(long, default_value = "127.0.0.1:8060")]
    listen: SocketAddr,
    /// Where the group chat is shown.
    #[arg(long, default_value = "127.0.0.1:8070")]
    chat: SocketAddr,
    /// Language of the digests, and of the names and alerts in them.
    #[arg(long, value_enum, default_value = "zh-CN")]
    locale: DemoLocale,
    /// End when everything has been told, instead of waiting to be stopped.
    #[arg(long)]
    once: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DemoLocale {
    #[value(name = "zh-CN")]
    ZhCn,
    En,
}

impl DemoLocale {
    /// Of two ways to say the same, the one in this language.
    fn pick<'t>(self, chinese: &'t str, english: &'t str) -> &'t str {
        match self {
            Self::ZhCn => chinese,
            Self::En => english,
        }
    }
}

pub(super) async fn run(args: DemoArgs) -> Result<Exit, Failure> {
    let stop = stop_on_signals()?;
    let listener = TcpListener::bind(args.chat).await.map_err(|error| {
        format!(
            "cannot listen on `{}`: {error}; choose another with --chat",
            args.chat
        )
    })?;
    let simulator = Simulator::start(simulator_settings(args.locale)?, listener)?;
    let directory = Directory::create()?;
    let config = directory.0.join("dingest.yaml");
    std::fs::write(&config, configuration(&args, simulator.url()))?;

    let (ready, is_ready) = oneshot::channel();
    let setup = Setup {
        config: Some(config),
        state_dir: directory.0.clone(),
    };
    let daemon = tokio::spawn(app::run(setup, stop.clone(), ready));
    let Ok(Some(address)) = is_ready.await else {
        daemon.await??;
        return Ok(Exit::Failed);
    };
    simulator.call_back(SimulatedCallback {
        app: "alerts".to_owned(),
        url: format!("http://{address}/v1/apps/alerts/messages"),
    });
    say(format!("chats       {}/", simulator.url()));
    say(format!("daemon      http://{address}/api/v1/receivers"));
    let incident = Incident::new(address, args.locale)?;
    let played = tokio::select! {
        played = incident.play(args.once) => played,
        () = stop.cancelled() => Ok(()),
    };
    if args.once {
        stop.cancel();
    } else if played.is_ok() {
        say("the incident is over; look around, post your own alerts, and end with Ctrl-C");
    }
    finish(&stop, played, daemon).await?;
    let told = simulator.messages().len();
    say(format!("{told} messages told everything"));
    simulator.shutdown().await;
    Ok(if told > 0 { Exit::Done } else { Exit::Failed })
}

/// Waits for the end of the daemon, or ends it when the incident could not be played.
async fn finish(
    stop: &CancellationToken,
    played: Result<(), Failure>,
    daemon: tokio::task::JoinHandle<Result<(), app::AppError>>,
) -> Result<(), Failure> {
    if played.is_err() {
        stop.cancel();
    }
    daemon.await??;
    played
}

fn simulator_settings(locale: DemoLocale) -> Result<SimulatorSettings, Failure> {
    let [ops, db, incidents] = [
        ("运维值班", "Operations"),
        ("数据库组", "Databases"),
        ("故障处理", "Incidents"),
    ]
    .map(|(zh, en)| locale.pick(zh, en));
    let bots = [
        format!("ops@{ops}:demo-token-ops:SECdemo-secret-ops"),
        format!("db@{db}:demo-token-db:SECdemo-secret-db:{}", keyword(locale)),
    ];
    let bots = bots
        .iter()
        .map(|bot| bot.parse())
        .collect::<Result<Vec<SimulatedBot>, _>>()?;
    let people = [
        ("张三", "Zhang San", "zhangsan"),
        ("李四", "Li Si", "lisi"),
        ("王五", "Wang Wu", "wangwu"),
    ];
    let people = people
        .iter()
        .map(|(zh, en, user)| format!("{}:{user}", locale.pick(zh, en)).parse());
    Ok(SimulatorSettings {
        bots,
        apps: vec!["alerts:demo-key:demo-app-secret::7".parse()?],
        groups: vec![format!("alerts@{incidents}:cidDEMO==").parse()?],
        people: people.collect::<Result<_, _>>()?,
        ..SimulatorSettings::default()
    })
}

/// What the databases' bot wants to find in every message.
fn keyword(locale: DemoLocale) -> &'static str {
    locale.pick("告警", "alert")
}

fn configuration(args: &DemoArgs, dingtalk: &str) -> String {
    format!(
        "server:
  listen: {listen}
  external_url: http://{listen}
store:
  path: demo.db
locale: {locale}
dingtalk:
  base_url: {dingtalk}
  monthly_quota: 0
  monthly_api_quota: 0
bots:
  - name: ops
    access_token: demo-token-ops
    secret: SECdemo-secret-ops
  - name: db
    access_token: demo-token-db
    secret: SECdemo-secret-db
    keyword: {keyword}
apps:
  - name: alerts
    app_key: demo-key
    app_secret: demo-app-secret
    agent_id: 7
    base_url: {dingtalk}
    ask: {{ people: [zhangsan, lisi, wangwu], groups: [cidDEMO==] }}
receivers:
  - name: ops
    bots: [ops]
    mention: {{ mobiles: ['13800000000'], on: urgent }}
  - name: db
    bots: [db]
  - name: on-call
    group: {{ app: alerts, conversation: cidDEMO== }}
    direct: {{ app: alerts, users: [zhangsan, lisi] }}
    work_notice: {{ app: alerts, users: [wangwu] }}
route:
  receiver: ops
  group_by: [alertname, cluster]
  group_wait: 2s
  group_interval: 10s
  routes:
    - matchers: ['team=\"db\"']
      receiver: db
      continue: true
    - matchers: ['severity=\"critical\"']
      receiver: on-call
      urgent: true
      continue: true
    - matchers: ['severity=\"critical\"']
      urgent: true
",
        listen = args.listen,
        locale = args.locale.pick("zh-CN", "en"),
        keyword = keyword(args.locale),
    )
}

/// A directory that goes with the program.
struct Directory(PathBuf);

impl Directory {
    fn create() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("dingest-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        if let Err(error) = std::fs::remove_dir_all(path) {
            tracing::debug!(%error, "the demonstration's directory stays");
        }
    }
}

/// What happens in the demonstration, and the way to the daemon.
struct Incident {
    http: reqwest::Client,
    base: String,
    locale: DemoLocale,
    begun: Timestamp,
}

impl Incident {
    fn new(address: SocketAddr, locale: DemoLocale) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .no_proxy()
            // Our own daemon, without TLS: a machine without root certificates has a demonstration, too.
            .tls_certs_only([])
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self {
            http,
            base: format!("http://{address}"),
            locale,
            begun: now(),
        })
    }

    async fn play(&self, wait_for_all: bool) -> Result<(), Failure> {
        say("a few alerts come in");
        let first = self.first_alerts();
        self.post(&first).await?;
        self.told().await?;
        say(format!(
            "an uplink fails: {STORM_ALERTS} alerts at once, one of them critical"
        ));
        let storm: Vec<Value> = (0..STORM_ALERTS).map(|number| self.storm_alert(number)).collect();
        let (before, after) = storm.split_at(STORM_ALERTS / 2);
        self.post_all(before).await?;
        self.post(&[self.core_down()]).await?;
        self.post_all(after).await?;
        self.told().await?;
        say("everything recovers");
        let recovered: Vec<Value> = storm
            .into_iter()
            .chain(first)
            .chain([self.core_down()])
            .map(ended)
            .collect();
        self.post_all(&recovered).await?;
        if wait_for_all {
            self.told().await?;
        }
        Ok(())
    }

    fn first_alerts(&self) -> [Value; 3] {
        [
            self.alert(
                &[
                    ("alertname", "HighErrorRate"),
                    ("cluster", "prod-eu-1"),
                    ("service", "payments"),
                    ("instance", "api-7c9d-00012"),
                    ("severity", "critical"),
                ],
                self.locale.pick(
                    "api-7c9d-00012 的 5xx 比例超过 5%，当前 7.2%",
                    "5xx ratio of api-7c9d-00012 above 5%, now 7.2%",
                ),
            ),
            self.alert(
                &[
                    ("alertname", "DiskFull"),
                    ("cluster", "east-1"),
                    ("team", "db"),
                    ("host", "db-07"),
                    ("mountpoint", "/var"),
                    ("severity", "warning"),
                ],
                self.locale.pick(
                    "db-07 /var 已用 97%，约 40 分钟后写满",
                    "db-07 /var 97% full, full in about 40 min",
                ),
            ),
            self.alert(
                &[
                    ("alertname", "KafkaLag"),
                    ("cluster", "east-1"),
                    ("topic", "orders"),
                    ("partition", "3"),
                    ("severity", "warning"),
                ],
                self.locale.pick(
                    "分区 3 积压 48,000 条，还在增长",
                    "partition 3: 48,000 behind and growing",
                ),
            ),
        ]
    }

    fn core_down(&self) -> Value {
        self.alert(
            &[
                ("alertname", "CoreSwitchDown"),
                ("cluster", "east-2"),
                ("device", "core-1"),
                ("severity", "critical"),
            ],
            self.locale.pick(
                "core-1 无响应，其后的机器全部失联",
                "core-1 does not answer; everything behind it is cut off",
            ),
        )
    }

    fn storm_alert(&self, number: usize) -> Value {
        let (rack, host) = (number % 24, format!("node-{number:04}"));
        let rack = format!("r{rack:02}");
        let name = if number.is_multiple_of(3) {
            "NodeDown"
        } else {
            "TargetDown"
        };
        self.alert(
            &[
                ("alertname", name),
                ("cluster", "east-2"),
                ("rack", &rack),
                ("host", &host),
                ("severity", "warning"),
            ],
            self.locale.pick(
                &format!("机架 {rack} 的 {host} 无响应"),
                &format!("{host} in {rack} does not answer"),
            ),
        )
    }

    fn alert(&self, labels: &[(&str, &str)], summary: &str) -> Value {
        let labels: serde_json::Map<String, Value> = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({
            "status": "firing",
            "labels": labels,
            "annotations": { "summary": summary, "runbook_url": "https://runbooks.example.com/" },
            "startsAt": rfc3339(self.begun),
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "https://prometheus.example.com/graph",
        })
    }

    async fn post_all(&self, alerts: &[Value]) -> Result<(), Failure> {
        for batch in alerts.chunks(STORM_BATCH) {
            self.post(batch).await?;
        }
        Ok(())
    }

    async fn post(&self, alerts: &[Value]) -> Result<(), Failure> {
        let body = json!({ "version": "4", "status": "firing", "receiver": "demo", "alerts": alerts });
        let request = self
            .http
            .post(format!("{}/v1/hooks/alertmanager", self.base))
            .body(body.to_string());
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// Waits until every receiver has been told everything.
    async fn told(&self) -> Result<(), Failure> {
        let begun = now();
        while now().since(begun) < ONCE_PATIENCE {
            let text = self
                .http
                .get(format!("{}/api/v1/status", self.base))
                .send()
                .await?
                .text()
                .await?;
            let status: Value = serde_json::from_str(&text)?;
            if status["changes"] == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err("not everything was told in time; the daemon's log says why".into())
    }
}

/// The same alert, over.
fn ended(mut alert: Value) -> Value {
    alert["status"] = json!("resolved");
    alert["endsAt"] = json!(rfc3339(now()));
    alert
}

fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.0)
        .unwrap_or_default()
        .to_string()
}
