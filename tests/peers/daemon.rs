//! The daemon under test.

use std::path::PathBuf;

use serde_json::Value;

use crate::process::{Process, free_port, until};
use crate::world::{World, text};

/// A running dingest.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: Process,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    /// The file of its configuration.
    pub(crate) config: PathBuf,
}

impl Daemon {
    /// Starts it with one group to tell, and waits until it is ready.
    pub(crate) async fn start(world: &World, sources: &str) -> Self {
        Self::start_on(world, free_port(), sources).await
    }

    /// The same on a certain port: what starts again on the same port is the same daemon, with its store.
    pub(crate) async fn start_on(world: &World, port: u16, sources: &str) -> Self {
        Self::run(world, port, &format!("sources:\n{sources}")).await
    }

    /// The same with the source of an example.
    pub(crate) async fn of_example(world: &World, name: &str) -> Self {
        let file = format!("{}/examples/sources/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        Self::run(world, free_port(), &format!("include: ['{file}']")).await
    }

    async fn run(world: &World, port: u16, sources: &str) -> Self {
        let config = format!(
            "server: {{ listen: '127.0.0.1:{port}', external_url: 'http://dingest.example.com' }}
{}{sources}
",
            world.one_group()
        );
        let name = format!("dingest-{port}");
        let state = world.path(&name);
        std::fs::create_dir_all(&state).expect("a state directory");
        let config = world.write(&format!("{name}.yaml"), &config);
        let log = world.path(&format!("{name}.log"));
        // What an earlier one on this port wrote is no sign of life.
        drop(std::fs::remove_file(&log));
        let arguments = ["run", "--config", &text(&config), "--state-dir", &text(&state)].map(str::to_owned);
        let mut process = Process::start(env!("CARGO_BIN_EXE_dingest"), &arguments, &log);
        until("dingest is ready", async || {
            process.assert_alive();
            process.log().contains("ready address=").then_some(())
        })
        .await;
        Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            config,
        }
    }

    /// Where an Alertmanager posts.
    pub(crate) fn hook(&self, source: &str) -> String {
        format!("{}/v1/hooks/{source}", self.url)
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap_or_default()
    }

    /// Waits until this many alerts got a verdict.
    pub(crate) async fn judged(&self, world: &World, verdict: &str, least: u64) {
        let label = format!("verdict=\"{verdict}\"");
        world
            .counted(&self.url, "dingest_alert_verdicts_total", &[&label], least)
            .await;
    }

    /// How many alerts got a verdict.
    pub(crate) async fn verdicts(&self, world: &World, verdict: &str) -> u64 {
        let label = format!("verdict=\"{verdict}\"");
        world
            .metric(&self.url, "dingest_alert_verdicts_total", &[&label])
            .await
    }

    /// Waits until nobody waits to be told anything.
    pub(crate) async fn has_told_all(&self, world: &World) {
        until("no change is pending", async || {
            let status = world.get(&format!("{}/api/v1/status", self.url)).await?;
            let status: Value = serde_json::from_str(&status).ok()?;
            (status["changes"] == 0).then_some(())
        })
        .await;
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}
