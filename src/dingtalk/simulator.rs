//! A stand-in for DingTalk's webhook, for tests, demonstrations and trying out templates.
//!
//! It is stricter than the original wherever that is not documented, so that what passes here passes there:
//! signatures, clock, keyword, size, 20 calls a minute with a penalty, `msgUuid` folding. Faults are made to
//! order. Everything that arrives is in a bounded ledger, and the group chats are shown as a web page.
//!
//! - [`rules`] decides: a plain value, told the time, without any I/O
//! - [`content`] reads the five message types
//! - [`fault`] says what can be made to go wrong
//! - `http` carries requests to it and answers, or what is left of them, back
//!
//! Tokens and secrets are compared and never shown; a bot that was not configured goes by the last four
//! characters of its token.

pub mod content;
pub mod fault;
mod http;
pub mod rules;

use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alert::{Now, Tick, Timestamp};
use crate::dingtalk::simulator::fault::Injection;
use crate::dingtalk::simulator::rules::{Call, Reaction, Request, Rules, Stats};
use crate::secret::Secret;

/// How the stand-in behaves.
#[derive(Clone, Debug)]
pub struct SimulatorSettings {
    /// The bots it knows.
    pub bots: Vec<SimulatedBot>,
    /// Is every other token taken for an unsigned bot of a group of its own?
    pub accept_any_token: bool,
    /// How many times faster than the clock the rate window and the penalty pass: at 60 the ten minutes are
    /// ten seconds. Signatures live for an hour of the clock all the same.
    pub time_scale: NonZeroU32,
    /// The words of its refusals.
    pub wording: Wording,
}

/// A bot of the stand-in, written `NAME[@GROUP]:TOKEN[:SECRET[:KEYWORD]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedBot {
    /// Shown as the sender.
    pub name: String,
    /// The group chat it speaks in; bots may share one.
    pub group: String,
    /// Its `access_token`.
    pub access_token: Secret,
    /// Demands signatures when present.
    pub secret: Option<Secret>,
    /// Demands this word in every message when present.
    pub keyword: Option<String>,
}

/// DingTalk worded its refusals differently over the years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Wording {
    /// `sign not match`, as documented.
    English,
    /// `description:…;solution:…`, since 2023.
    #[default]
    Chinese,
    /// `错误描述:…;解决方案:…`, since 2026.
    Recent,
}

/// The stand-in's part of a command line.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulatorArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8070")]
    pub listen: std::net::SocketAddr,
    /// A bot, may be repeated; without any, every token is accepted
    #[arg(long = "bot", value_name = "NAME[@GROUP]:TOKEN[:SECRET[:KEYWORD]]")]
    pub bots: Vec<SimulatedBot>,
    /// Accept other tokens besides those of the named bots
    #[arg(long)]
    pub accept_any_token: bool,
    /// How many times faster the rate window and the penalty pass
    #[arg(long, value_name = "TIMES", default_value = "1")]
    pub time_scale: NonZeroU32,
    /// Which generation of DingTalk's refusal texts to use
    #[arg(long, value_enum, default_value_t)]
    pub wording: Wording,
}

impl SimulatorArgs {
    /// The settings these arguments ask for.
    pub fn settings(self) -> SimulatorSettings {
        SimulatorSettings {
            accept_any_token: self.accept_any_token || self.bots.is_empty(),
            bots: self.bots,
            time_scale: self.time_scale,
            wording: self.wording,
        }
    }
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            bots: Vec::new(),
            accept_any_token: true,
            time_scale: NonZeroU32::MIN,
            wording: Wording::default(),
        }
    }
}

/// A bot that is not written as it should be. The text is not repeated: it holds a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bot is written `NAME[@GROUP]:TOKEN[:SECRET[:KEYWORD]]`, with a name and a token at least")]
pub struct SimulatedBotError;

impl FromStr for SimulatedBot {
    type Err = SimulatedBotError;

    fn from_str(text: &str) -> Result<Self, SimulatedBotError> {
        let mut fields = text.splitn(4, ':');
        let mut field = || fields.next().filter(|field| !field.is_empty());
        let name = field().ok_or(SimulatedBotError)?;
        let access_token = field().map(Secret::new).ok_or(SimulatedBotError)?;
        let (name, group) = name.split_once('@').unwrap_or((name, name));
        if name.is_empty() || group.is_empty() {
            return Err(SimulatedBotError);
        }
        Ok(Self {
            name: name.to_owned(),
            group: group.to_owned(),
            access_token,
            secret: field().map(Secret::new),
            keyword: field().map(str::to_owned),
        })
    }
}

/// A running stand-in; it ends when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    url: String,
    desk: Arc<Desk>,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

/// The rules and their clocks, shared by connections and handle. The lock is held for one decision at a time.
#[derive(Debug)]
pub(crate) struct Desk {
    rules: Mutex<Rules>,
    started: std::time::Instant,
    changed: watch::Sender<()>,
}

impl Desk {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, request: &Request<'_>) -> Reaction {
        let reaction = self.rules().receive(request, self.now());
        self.changed.send_replace(());
        reaction
    }

    fn now(&self) -> Now {
        let tick = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now {
            tick: Tick(tick),
            time: Timestamp(jiff::Timestamp::now().as_millisecond()),
        }
    }
}

impl Simulator {
    /// Serves on `listener` until shut down. Must be called inside a runtime.
    pub fn start(settings: SimulatorSettings, listener: TcpListener) -> std::io::Result<Self> {
        let url = format!("http://{}", listener.local_addr()?);
        let desk = Arc::new(Desk {
            rules: Mutex::new(Rules::new(settings)),
            started: std::time::Instant::now(),
            changed: watch::Sender::new(()),
        });
        let stop = CancellationToken::new();
        let server = tokio::spawn(http::serve(Arc::clone(&desk), listener, stop.clone()));
        Ok(Self {
            url,
            desk,
            stop,
            server: Some(server),
        })
    }

    /// The base URL: for `dingtalk.base_url`, and for the page.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every call there was, oldest first.
    pub fn ledger(&self) -> Vec<Call> {
        self.desk.rules().calls(0).cloned().collect()
    }

    /// What the groups show, oldest first.
    pub fn messages(&self) -> Vec<Call> {
        self.desk
            .rules()
            .calls(0)
            .filter(|call| call.shown)
            .cloned()
            .collect()
    }

    /// Each bot's numbers.
    pub fn stats(&self) -> Stats {
        self.desk.rules().stats(self.desk.now())
    }

    /// Makes something go wrong.
    pub fn inject(&self, injection: Injection) {
        self.desk.rules().inject(injection);
    }

    /// Lets nothing go wrong any more.
    pub fn clear_faults(&self) {
        self.desk.rules().clear_faults();
    }

    /// Empties the groups and the ledger. Rate windows, penalties and known `msgUuid`s stay.
    pub fn clear(&self) {
        self.desk.rules().clear();
    }

    /// Waits until the ledger satisfies `enough`, and returns it.
    pub async fn wait_for(&self, enough: impl Fn(&[Call]) -> bool) -> Vec<Call> {
        let mut changed = self.desk.changed.subscribe();
        loop {
            let ledger = self.ledger();
            // The sender lives as long as `self`, so waiting cannot fail.
            if enough(&ledger) || changed.changed().await.is_err() {
                return ledger;
            }
        }
    }

    /// Stops serving, closes every connection and gives the port back.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take()
            && let Err(error) = server.await
        {
            tracing::error!(%error, "the simulated DingTalk ended abnormally");
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
