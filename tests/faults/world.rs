//! One daemon with everything around it: senders, DingTalk behind a door, a disk, a clock, and what is written down.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dingest::dingtalk::simulator::{SimulatedBot, Simulator, SimulatorSettings};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::dice::Dice;
use crate::door::Door;
use crate::eventually;
use crate::fault::Fault;
use crate::ground::Ground;
use crate::keeper::{Keeper, Start};
use crate::ledger::{Circumstances, Evidence, Period, Reported, now};
use crate::producer::Producer;

/// The database's file.
pub(crate) const DATABASE: &str = "dingest.db";
/// No configuration.
pub(crate) const GARBAGE: &str = "\u{1}server: [ }\nreceivers: 7\n";
/// The longest time from a call of DingTalk to the moment at which its answer is given up.
const ANSWER_MILLIS_MAX: i64 = 11_000;
/// One line for each alert; where not all are listed, the number of each change.
const TEMPLATE: &str = "{{#each sections}}
{{#each alerts}}
- {{change}} {{labels.node}}
{{/each}}
{{/each}}
{{#if (or (eq detail \"rollup\") (eq detail \"stub\"))}}
{{#each counts}}
{{#unless (or (eq @key \"firing\") (eq @key \"told\"))}}
+ {{@key}} {{this}}
{{/unless}}
{{/each}}
{{/if}}
";

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// State on a disk of its own.
    pub(crate) disk: bool,
    /// A clock that can be set.
    pub(crate) clock: bool,
    /// Bots of each receiver; one alone is busy all the time.
    pub(crate) bots: usize,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) keeper: Keeper,
    pub(crate) producer: Option<Producer>,
    pub(crate) chat: Simulator,
    pub(crate) door: Door,
    pub(crate) ground: Ground,
    pub(crate) dice: Dice,
    pub(crate) connections: Vec<TcpStream>,
    http: reqwest::Client,
    settings: Settings,
    port: u16,
    /// The clock that the daemon sees, if it can be set.
    clock: Option<PathBuf>,
    circumstances: Circumstances,
    /// When each fault began that has not ended.
    in_force: BTreeMap<Fault, i64>,
    /// When the disk took nothing.
    store_stopped: Vec<Period>,
}

impl World {
    /// Makes a world and waits until its daemon is at work. An error says what cannot be had here.
    pub(crate) async fn new(settings: Settings, seed: u64) -> Result<Self, String> {
        // Another test of this process may have done it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let dice = Dice::new(seed);
        let ground = if settings.disk {
            Ground::disk()?
        } else {
            Ground::plain()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let upstream = listener.local_addr().expect("an address");
        let chat = Simulator::start(chat_settings(settings.bots), listener).expect("the stand-in starts");
        let door = Door::before(upstream, ground.beside()).await;
        let port = free_port().await;
        let mut environment = vec![("SSL_CERT_FILE", door.authority().display().to_string())];
        let clock = ground.beside().join("clock");
        if settings.clock {
            environment.extend(clock_environment(&clock)?);
        }
        fs::write(ground.path().join("ledger.hbs"), TEMPLATE).expect("a template is written");
        let config = configuration(port, &door.url(), settings.bots);
        fs::write(ground.path().join("dingest.yaml"), config).expect("a configuration is written");
        let start = Start {
            config: ground.path().join("dingest.yaml"),
            state: ground.path(),
            log: ground.beside().join("log"),
            environment,
        };
        let mut world = Self {
            keeper: Keeper::start(start),
            producer: None,
            chat,
            door,
            ground,
            dice,
            connections: Vec::new(),
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(5))
                .build()
                .expect("a client"),
            settings,
            port,
            clock: settings.clock.then_some(clock),
            circumstances: Circumstances::default(),
            in_force: BTreeMap::new(),
            store_stopped: Vec::new(),
        };
        let base = format!("http://{}", world.address());
        world.producer = Some(Producer::start(&base, &mut world.dice));
        world.works().await;
        Ok(world)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A file of the daemon's directory.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.ground.path().join(name)
    }

    /// Puts a good configuration in place, with DingTalk at this URL.
    pub(crate) fn configure(&self, dingtalk: &str) {
        self.write_configuration(&configuration(self.port, dingtalk, self.settings.bots));
    }

    /// Writes what a full disk had no room for, unless it is meant to be wrong.
    pub(crate) fn repair_configuration(&self) {
        let spoils = [Fault::ConfigurationGarbage, Fault::NameUnresolved];
        if !spoils.iter().any(|fault| self.in_force.contains_key(fault)) {
            self.configure(&self.door.url());
        }
    }

    pub(crate) fn write_configuration(&self, text: &str) {
        let draft = self.ground.beside().join("draft");
        // Not by renaming: the draft is on another file system. A full disk has room for neither.
        drop(fs::write(&draft, text));
        drop(fs::copy(&draft, self.state("dingest.yaml")));
    }

    /// Sets the daemon's clock so many hours off.
    pub(crate) fn step_clock(&self, hours: i64) -> Result<(), String> {
        let clock = self.clock.as_ref().ok_or("there is no clock to set")?;
        let draft = clock.with_extension("draft");
        fs::write(&draft, format!("{:+}\n", hours * 3600))
            .and_then(|()| fs::rename(draft, clock))
            .map_err(|error| error.to_string())
    }

    pub(crate) fn answered(&self, status: u16) -> u64 {
        self.producer
            .as_ref()
            .map_or(0, |producer| producer.answered(status))
    }

    /// Waits until this is answered to somebody.
    pub(crate) async fn answers(&self, status: u16) {
        let before = self.answered(status);
        eventually(&format!("a sender is answered {status}"), async || {
            (self.answered(status) > before).then_some(())
        })
        .await;
    }

    /// Waits until the daemon logs this, after so many lines.
    pub(crate) async fn logs(&self, message: &str, lines_before: usize) -> Value {
        eventually(&format!("the daemon logs `{message}`"), async || {
            self.keeper.events(message, lines_before).into_iter().next()
        })
        .await
    }

    /// Waits until webhooks are taken and messages arrive, newly.
    pub(crate) async fn works(&self) {
        let (taken, shown) = (self.answered(200), self.chat.messages().len());
        eventually("webhooks are taken and messages arrive", async || {
            let works = self.answered(200) >= taken + 3 && self.chat.messages().len() > shown;
            works.then_some(())
        })
        .await;
    }

    /// A document of the API; `None` while there is no answer.
    pub(crate) async fn api(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&self.text(path).await?).ok()
    }

    pub(crate) async fn text(&self, path: &str) -> Option<String> {
        let url = format!("http://{}{path}", self.address());
        self.http.get(url).send().await.ok()?.text().await.ok()
    }

    /// Waits until a metric has this value.
    pub(crate) async fn metric(&self, sample: &str, value: f64) {
        eventually(&format!("{sample} is {value}"), async || {
            let metrics = self.text("/metrics").await?;
            let line = metrics
                .lines()
                .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
            let shown: f64 = line.parse().ok()?;
            ((shown - value).abs() < 1e-9).then_some(())
        })
        .await;
    }

    pub(crate) fn note_begin(&mut self, fault: Fault) {
        self.in_force.insert(fault, now());
    }

    pub(crate) fn note_end(&mut self, fault: Fault) {
        let Some(from) = self.in_force.remove(&fault) else {
            return;
        };
        let period = Period { from, to: now() };
        if fault.makes_doubtful() {
            self.circumstances.doubts.push(Period {
                from: from - ANSWER_MILLIS_MAX,
                // A signal is not instantly obeyed.
                to: period.to + 500,
            });
        }
        if fault.stops_store() {
            // The store is tried again every second.
            self.store_stopped.push(Period {
                to: period.to + 3_000,
                ..period
            });
        }
    }

    /// What an operator does about a database that is of no use any more: moves it aside and starts empty.
    pub(crate) async fn replace_lost(&mut self) {
        if !self.keeper.log().iter().any(|line| declares_lost(line)) {
            return;
        }
        let from = self.in_force.values().copied().min().unwrap_or_else(now);
        self.keeper.hold("TERM").await;
        for name in [DATABASE, "dingest.db-wal", "dingest.db-shm"] {
            // It may be gone.
            drop(fs::rename(self.state(name), self.state(&format!("{name}.lost"))));
        }
        self.keeper.release();
        self.circumstances.declared_lost = true;
        self.circumstances.history_from = now();
        // Nobody knows any more what was told.
        self.circumstances.forgotten.push(Period { from, to: i64::MAX });
    }

    /// Ends every alert, waits until everything is told, stops the daemon and hands the ledgers over.
    pub(crate) async fn end(mut self) -> Evidence {
        let producer = self.producer.take().expect("it ends once");
        let postings = tokio::time::timeout(crate::PATIENCE, producer.finish())
            .await
            .expect("every end is confirmed in time");
        eventually("everything is told", async || {
            let status = self.api("/api/v1/status").await?;
            (status["changes"] == 0).then_some(())
        })
        .await;
        // What was told last is written next.
        let history = eventually("the history is complete", async || {
            let history = self.api("/api/v1/digests?limit=10000").await?;
            let digests = history["digests"].as_array()?;
            let complete = digests.iter().all(|digest| digest["outcome"] != "pending");
            complete.then_some(history)
        })
        .await;
        let ends = self.keeper.ends();
        self.keeper.hold("TERM").await;
        let last = self.keeper.ends().pop().expect("it has ended");
        assert!(last.1.success(), "it ended with {}", last.1);
        for stopped in self.store_stopped {
            for (at, _) in ends.iter().filter(|(at, _)| stopped.has(*at)) {
                self.circumstances.forgotten.push(Period {
                    from: stopped.from,
                    to: *at,
                });
            }
        }
        Evidence {
            postings,
            calls: self.chat.ledger(),
            reported: reported(&history),
            circumstances: self.circumstances,
            log: self.keeper.log(),
        }
    }
}

/// Whether a line of the log says that the database is of no use any more.
pub(crate) fn declares_lost(line: &str) -> bool {
    ["is damaged", "was moved or deleted", "took its place"]
        .iter()
        .any(|words| line.contains(words))
}

fn reported(history: &Value) -> Vec<Reported> {
    let digests = history["digests"].as_array().cloned().unwrap_or_default();
    let messages = digests
        .iter()
        .filter_map(|digest| digest["messages"].as_array())
        .flatten();
    messages
        .map(|message| Reported {
            text: message["text"].as_str().unwrap_or_default().to_owned(),
            delivered: message["errcode"] == 0,
        })
        .collect()
}

fn bot_names(receiver: &str, bots: usize) -> Vec<String> {
    (1..=bots).map(|number| format!("{receiver}-{number}")).collect()
}

fn chat_settings(bots: usize) -> SimulatorSettings {
    let bot = |name: String| -> SimulatedBot {
        format!("{name}@group:token-{name}:SEC{name}")
            .parse()
            .expect("a bot's description")
    };
    let names = bot_names("ops", bots).into_iter().chain(bot_names("db", bots));
    SimulatorSettings {
        bots: names.map(bot).collect(),
        accept_any_token: false,
        time_scale: NonZeroU32::MIN,
        ..SimulatorSettings::default()
    }
}

fn configuration(port: u16, dingtalk: &str, bots: usize) -> String {
    let (ops, db) = (bot_names("ops", bots), bot_names("db", bots));
    let describe =
        |name: &String| format!("{{ name: {name}, access_token: token-{name}, secret: SEC{name} }}");
    let described: Vec<String> = ops.iter().chain(&db).map(describe).collect();
    format!(
        "server: {{ listen: '127.0.0.1:{port}' }}
store: {{ path: {DATABASE} }}
locale: en
timezone: UTC
templates: [ledger.hbs]
dingtalk: {{ base_url: '{dingtalk}', monthly_quota: 0 }}
sources:
  - {{ name: alertmanager, type: alertmanager }}
  - name: events
    type: json
    mapping:
      alerts: '.events[]'
      identity: '.node'
      status: '.status'
      labels: '{{alertname: \"Event\", node: .node, severity: .severity, team: \"db\"}}'
bots: [{}]
receivers:
  - {{ name: ops, bots: [{}], template: ledger, max_messages: 10 }}
  - {{ name: db, bots: [{}], template: ledger, max_messages: 10 }}
route:
  receiver: ops
  group_by: [alertname]
  group_wait: 200ms
  group_interval: 1s
  repeat_interval: 300d
  routes:
    - {{ matchers: ['severity=\"critical\"'], urgent: true, continue: false, routes: [{{ matchers: ['team=\"db\"'], receiver: db }}] }}
    - {{ matchers: ['team=\"db\"'], receiver: db }}
",
        described.join(", "),
        ops.join(", "),
        db.join(", ")
    )
}

/// A port that stays the daemon's own when it is restarted: none the system gives to others, nor one of another world
/// of this process.
async fn free_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    loop {
        let tried = std::process::id() * 64 + TRIED.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + u16::try_from(tried % 10_000).expect("a small number");
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
}

/// Debian's `faketime`, told to look at a file and to leave the timers alone.
fn clock_environment(clock: &std::path::Path) -> Result<Vec<(&'static str, String)>, String> {
    let library = fs::read_dir("/usr/lib")
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .ok_or("there is no `libfaketime`; install Debian's package `faketime`")?;
    fs::write(clock, "+0\n").map_err(|error| error.to_string())?;
    Ok(vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ])
}
