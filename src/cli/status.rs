//! `dingest status`: asks a running daemon how it is, for people and for the health checks of containers.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::{Exit, Failure, say};
use crate::dingtalk::client;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Where the daemon listens.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8060")]
    url: String,
}

/// How long the daemon may take for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// What is read of `GET /api/v1/status`.
#[derive(Deserialize)]
struct Status {
    version: String,
    plan: Plan,
    store: Store,
    alerts: Alerts,
    changes: u64,
}

#[derive(Deserialize)]
struct Plan {
    file: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Store {
    path: String,
    writable: bool,
}

#[derive(Deserialize)]
struct Alerts {
    firing: u64,
    resolved: u64,
}

/// What is read of `GET /api/v1/receivers`.
#[derive(Deserialize)]
struct Receivers {
    receivers: Vec<Receiver>,
}

#[derive(Deserialize)]
struct Receiver {
    name: String,
    changes: u64,
    waits_for: Option<String>,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    name: String,
    paused_until: Option<String>,
    reason: Option<String>,
}

/// Says how the daemon is; it is well when it takes alerts.
pub(super) async fn run(args: StatusArgs) -> Result<Exit, Failure> {
    let Status {
        version,
        plan,
        store,
        alerts,
        changes,
    } = get(&args.url, "/api/v1/status").await?;
    let Receivers { receivers } = get(&args.url, "/api/v1/receivers").await?;
    let file = plan.file.as_deref().unwrap_or("built-in defaults");
    say(format!(
        "dingest {version}, configuration: {file}, store: {}",
        store.path
    ));
    say(format!(
        "{} firing, {} resolved lately, {changes} changes to be told",
        alerts.firing, alerts.resolved
    ));
    for receiver in &receivers {
        if let Some(wait) = &receiver.waits_for {
            say(format!(
                "{}: {} changes wait for {wait}",
                receiver.name, receiver.changes
            ));
        }
        for endpoint in &receiver.endpoints {
            if let Some(reason) = &endpoint.reason {
                let until = endpoint.paused_until.as_deref();
                let until = until.unwrap_or("the configuration is loaded again");
                say(format!("{}: paused until {until}: {reason}", endpoint.name));
            }
        }
    }
    if let Some(error) = &plan.error {
        say(format!(
            "the configuration on disk cannot be used, the one before it runs:\n{error}"
        ));
    }
    if store.writable {
        return Ok(Exit::Done);
    }
    Err("the store takes no writes, so no alerts are taken; the log says why".into())
}

/// One question to the daemon.
pub(super) async fn get<T: serde::de::DeserializeOwned>(url: &str, path: &str) -> Result<T, Failure> {
    let url = format!("{}{path}", url.trim_end_matches('/'));
    let asked = client::without_tls(ANSWER_WAIT)?.get(&url).send().await;
    let response = asked.map_err(|error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        format!("cannot ask {url} ({cause}); is a daemon running, and is its address what `--url` says?")
    })?;
    let (status, body) = (response.status(), response.bytes().await?);
    if !status.is_success() {
        return Err(format!(
            "{url} answers {status}: {}",
            String::from_utf8_lossy(&body).trim()
        )
        .into());
    }
    Ok(serde_json::from_slice(&body)?)
}
