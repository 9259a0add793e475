//! The program as a child process: a directory it lives in, its log, its webhooks and its API.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dingest::dingtalk::simulator::Simulator;
use serde_json::Value;
use tempfile::TempDir;

use crate::alerts::webhook;
use crate::eventually;

/// The directory with a daemon's configuration and state; it goes with the test.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    /// A home with a configuration: `rest` is added to what all tests share.
    pub(crate) fn with(chat: &Simulator, rest: &str) -> Self {
        let home = Self::new();
        home.configure(&configuration(chat.url(), rest));
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("dingest.yaml")
    }

    /// Puts a configuration in the place of the one there is, in one step.
    pub(crate) fn configure(&self, text: &str) {
        let draft = self.path("draft");
        std::fs::write(&draft, text).expect("a draft is written");
        std::fs::rename(draft, self.config()).expect("it takes its place");
    }

    /// The program with this home's configuration and state.
    pub(crate) fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dingest"));
        command.arg(subcommand);
        self.furnish(&mut command);
        command
    }

    /// Tells the program where its configuration and state are.
    pub(crate) fn furnish(&self, command: &mut Command) {
        command
            .arg("--config")
            .arg(self.config())
            .arg("--state-dir")
            .arg(self.0.path())
            .env_remove("DINGEST_LOG")
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null());
    }

    /// Runs a command that is expected to end by itself.
    pub(crate) async fn output(&self, subcommand: &str) -> Output {
        let mut command = self.command(subcommand);
        tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("a task")
            .expect("the program runs")
    }
}

/// A configuration with everything all tests share, at a port the system chooses.
pub(crate) fn configuration(dingtalk: &str, rest: &str) -> String {
    format!(
        "server: {{ listen: 127.0.0.1:0 }}
store: {{ path: dingest.db }}
locale: en
timezone: UTC
dingtalk: {{ base_url: '{dingtalk}', monthly_quota: 0 }}
{rest}"
    )
}

/// A running daemon; it is killed when this is dropped.
pub(crate) struct Daemon {
    child: Child,
    base: String,
    http: reqwest::Client,
    log: Arc<Mutex<Vec<String>>>,
    /// Whether its log is still read.
    heard: Arc<AtomicBool>,
    /// Ends with the daemon's log.
    listening: Option<std::thread::JoinHandle<()>>,
}

impl Daemon {
    /// Starts the daemon of a home and waits until it takes webhooks.
    pub(crate) async fn start(home: &Home) -> Self {
        let mut command = home.command("run");
        command.args(["--log-format", "json"]);
        Self::spawn(command).await
    }

    /// The same with a command of the test's own making, which must log as JSON.
    pub(crate) async fn spawn(mut command: Command) -> Self {
        // Another test of this process may have done it.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("its log");
        let log = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::new(AtomicBool::new(true));
        let (written, is_read) = (Arc::clone(&log), Arc::clone(&heard));
        let listening = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                hold(&written).push(line);
                if !is_read.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client");
        let mut daemon = Self {
            child,
            base: String::new(),
            http,
            log,
            heard,
            listening: Some(listening),
        };
        let address = eventually("the daemon is ready", async || {
            assert!(daemon.is_running(), "it ended: {:#?}", daemon.log());
            daemon.event("ready")?["address"].as_str().map(str::to_owned)
        })
        .await;
        daemon.base = format!("http://{address}");
        daemon
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.base.trim_start_matches("http://");
        address.parse().expect("an address")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Stops reading its log after the next line: what it writes from then on has nowhere to go.
    pub(crate) fn hang_up(&self) {
        self.heard.store(false, Ordering::SeqCst);
    }

    /// Whether its log has been hung up on.
    pub(crate) fn is_unheard(&self) -> bool {
        self.listening
            .as_ref()
            .is_some_and(std::thread::JoinHandle::is_finished)
    }

    /// Every line of its log.
    pub(crate) fn log(&self) -> Vec<String> {
        hold(&self.log).clone()
    }

    /// The first event of this message in its log.
    pub(crate) fn event(&self, message: &str) -> Option<Value> {
        hold(&self.log)
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|event| event["message"] == message)
    }

    /// Posts alerts as an Alertmanager does, and returns the status; `None` when there was no answer.
    pub(crate) async fn try_post(&self, alerts: &[Value]) -> Option<u16> {
        self.poster().post(alerts).await
    }

    /// Posts alerts that must be taken.
    pub(crate) async fn post(&self, alerts: &[Value]) {
        assert_eq!(self.try_post(alerts).await, Some(200));
    }

    /// The way to its webhook, for a task of its own.
    pub(crate) fn poster(&self) -> Poster {
        self.poster_to("alertmanager")
    }

    /// The way to the webhook of a source.
    pub(crate) fn poster_to(&self, source: &str) -> Poster {
        Poster {
            http: self.http.clone(),
            url: self.url(&format!("/v1/hooks/{source}")),
        }
    }

    /// Asks for a JSON document.
    pub(crate) async fn api(&self, path: &str) -> Value {
        let text = self.text(path).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path} is no JSON ({error}): {text}"))
    }

    /// Asks for a text.
    pub(crate) async fn text(&self, path: &str) -> String {
        let response = self.http.get(self.url(path)).send().await.expect("an answer");
        response.text().await.expect("a whole answer")
    }

    /// One receiver as the API shows it.
    pub(crate) async fn receiver(&self, name: &str) -> Value {
        let list = self.api("/api/v1/receivers").await;
        list["receivers"]
            .as_array()
            .expect("a list of receivers")
            .iter()
            .find(|receiver| receiver["name"] == name)
            .cloned()
            .unwrap_or_else(|| panic!("no receiver `{name}` in {list}"))
    }

    /// The first endpoint of a receiver.
    pub(crate) async fn endpoint(&self, receiver: &str) -> Value {
        self.receiver(receiver).await["endpoints"][0].clone()
    }

    /// Waits until the metrics have this line.
    pub(crate) async fn shows(&self, sample: &str) {
        eventually(sample, async || {
            let metrics = self.text("/metrics").await;
            metrics.lines().any(|line| line == sample).then_some(())
        })
        .await;
    }

    /// The one alert there is, as the API shows it.
    pub(crate) async fn alert(&self) -> Value {
        let mut list = self.api("/api/v1/alerts").await;
        assert_eq!(list["total"], 1, "{list}");
        list["alerts"][0].take()
    }

    /// Waits until every receiver was told everything.
    pub(crate) async fn everything_is_told(&self) {
        eventually("everything is told", async || {
            let status = self.api("/api/v1/status").await;
            (status["changes"] == 0).then_some(())
        })
        .await;
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.pid())])
            .status()
            .expect("a shell");
        assert!(sent.success(), "the signal {name} is sent");
    }

    /// Ends it without a warning, as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it is gone");
    }

    /// Waits until it has ended by itself and returns how, and its whole log.
    pub(crate) async fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let status = eventually("the daemon ends", async || {
            self.child.try_wait().expect("a child")
        })
        .await;
        if let Some(listening) = self.listening.take() {
            listening.join().expect("the log was read");
        }
        (status, self.log())
    }
}

impl Drop for Daemon {
    #[expect(
        clippy::print_stderr,
        reason = "what a failed test prints is kept with its failure"
    )]
    fn drop(&mut self) {
        // It may have ended already; a failing test shows what it had to say.
        let _ended = self.child.kill();
        let _gone = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let last = log.len().saturating_sub(30);
            eprintln!("the daemon's last words:\n{}", log[last..].join("\n"));
        }
    }
}

/// Posts to a daemon's Alertmanager webhook.
#[derive(Clone)]
pub(crate) struct Poster {
    http: reqwest::Client,
    url: String,
}

impl Poster {
    pub(crate) async fn post(&self, alerts: &[Value]) -> Option<u16> {
        self.post_body(webhook(alerts).to_string()).await
    }

    pub(crate) async fn post_body(&self, body: String) -> Option<u16> {
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json");
        let response = request.body(body).send().await.ok()?;
        let status = response.status().as_u16();
        // An answer counts when all of it has arrived.
        response.bytes().await.ok()?;
        Some(status)
    }
}

fn hold(log: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
