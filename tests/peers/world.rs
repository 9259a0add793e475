//! What a test has around it: a directory, the stand-in for DingTalk, an HTTP client.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use dingest::dingtalk::simulator::rules::Call;
use dingest::dingtalk::simulator::{Simulator, SimulatorSettings};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::process::until;

/// The group's bot: name and group, token, secret.
const BOT: &str = "ops:token-of-ops:SEC0123456789";

/// The surroundings of one test.
#[derive(Debug)]
pub(crate) struct World {
    directory: TempDir,
    dingtalk: Simulator,
    http: reqwest::Client,
}

impl World {
    pub(crate) async fn new() -> Self {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let settings = SimulatorSettings {
            bots: vec![BOT.parse().expect("a bot")],
            accept_any_token: false,
            ..SimulatorSettings::default()
        };
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            dingtalk: Simulator::start(settings, listener).expect("the stand-in for DingTalk"),
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("an HTTP client"),
        }
    }

    /// A path in the test's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of that name.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file in the test's directory");
        path
    }

    /// The `dingtalk`, `bots`, `receivers` and `route` of a configuration with which one group is told everything at
    /// once.
    pub(crate) fn one_group(&self) -> String {
        format!(
            "locale: en
timezone: Asia/Shanghai
dingtalk: {{ base_url: '{}', monthly_quota: 0 }}
bots: [{{ name: ops, access_token: token-of-ops, secret: SEC0123456789 }}]
receivers: [{{ name: ops, bots: [ops] }}]
route: {{ receiver: ops, group_by: [alertname], group_wait: 100ms, group_interval: 100ms }}
",
            self.dingtalk.url()
        )
    }

    /// The text behind a URL; `None` when there is none, or not with success.
    pub(crate) async fn get(&self, url: &str) -> Option<String> {
        let response = self.http.get(url).send().await.ok()?;
        response.status().is_success().then_some(())?;
        response.text().await.ok()
    }

    /// Posts JSON and wants success.
    pub(crate) async fn post(&self, url: &str, body: String) {
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.expect("the text of an answer");
        assert!(status.is_success(), "{url}: {status}: {text}");
    }

    /// Posts something that is refused as it should be.
    pub(crate) async fn refused(&self, url: &str, body: &'static str) {
        let response = self.http.post(url).body(body).send().await.expect("an answer");
        assert!(
            response.status().is_client_error(),
            "{url}: {}",
            response.status()
        );
    }

    /// The sum of the samples of a metric that have all these labels, each written `name="value"`.
    pub(crate) async fn metric(&self, base_url: &str, name: &str, labels: &[&str]) -> u64 {
        let text = self.get(&format!("{base_url}/metrics")).await.unwrap_or_default();
        let samples = text.lines().filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label))
        });
        samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Waits until a metric is at least `least`.
    pub(crate) async fn counted(&self, base_url: &str, name: &str, labels: &[&str], least: u64) {
        let what = format!("`{name}` {labels:?} of {base_url} at {least}");
        until(&what, async || {
            (self.metric(base_url, name, labels).await >= least).then_some(())
        })
        .await;
    }

    /// Waits until the group shows `count` messages, wants exactly these, and returns the last.
    #[track_caller]
    pub(crate) fn told(&self, count: usize) -> impl Future<Output = Call> {
        let caller = std::panic::Location::caller();
        async move {
            until(&format!("message {count} ({caller})"), async || {
                (self.dingtalk.messages().len() >= count).then_some(())
            })
            .await;
            self.told_only(count);
            self.dingtalk.messages().pop().expect("at least one message")
        }
    }

    /// Wants every one of `parts` in what the group was told since the start, and nothing said twice.
    #[track_caller]
    pub(crate) fn told_in_all(&self, parts: &[&str]) {
        let mut messages: Vec<_> = self.dingtalk.messages().iter().map(read).collect();
        let text = messages.join("\n----\n");
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
        let count = messages.len();
        messages.sort();
        messages.dedup();
        assert_eq!(messages.len(), count, "something was said twice:\n{text}");
    }

    /// Wants exactly `count` messages in the group, and no call that was refused.
    #[track_caller]
    pub(crate) fn told_only(&self, count: usize) {
        let calls = self.dingtalk.ledger();
        let shown: Vec<_> = calls.iter().map(read).collect();
        assert_eq!(calls.len(), count, "{}", shown.join("\n----\n"));
        assert!(calls.iter().all(|call| call.shown), "{}", shown.join("\n----\n"));
    }
}

/// A message as people see it, with the title first.
pub(crate) fn read(call: &Call) -> String {
    format!("{}\n{}", call.content.title, call.content.text)
}

/// Wants every one of `parts` in a message.
#[track_caller]
pub(crate) fn says(call: &Call, parts: &[&str]) {
    let text = read(call);
    eprintln!("---- told\n{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}

/// A path as text.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}
