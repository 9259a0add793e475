//! Builds the daemon and runs it: what starts before what, and what ends after what.
//!
//! Start: configuration, store, engine, socket, then readiness. A reload does everything that can fail first and
//! then swaps plan and renderer in one step; what cannot change while running is said. End: no more connections,
//! requests under way are answered, messages on their way may arrive, everything is committed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ask::Answerer;
use crate::clock::now;
use crate::config::watch::{Changes, Snapshot, Watcher};
use crate::config::{self, Loaded, Report};
use crate::dingtalk::Client;
use crate::driver::{self, Driver};
use crate::http::limits::{CONNECTIONS_MAX, Limits, connections_max};
use crate::http::{self, Listener, PlanStatus, ReloadHandle, ReloadOutcome, Site};
use crate::plan::Plan;
use crate::record::Recorder;
use crate::render::Prepared;
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;
use crate::telemetry::{Metrics, open_files_max};

/// Questions that may wait for the driver; one more is answered "try again".
const INBOX_MAX: usize = 1024;
/// Requests for a reload that may wait; they are answered together.
const RELOADS_WAITING_MAX: usize = 16;

/// What the daemon is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The configuration file; `None` runs on built-in defaults.
    pub config: Option<PathBuf>,
    /// Where state is kept when the configuration names a relative path.
    pub state_dir: PathBuf,
}

/// Why the daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration cannot be used; the report says why.
    #[error("the configuration cannot be used")]
    Config(Report),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error(
        "cannot listen on `{address}`: {error}; is another dingest running, or does `server.listen` need a change?"
    )]
    Listen {
        /// The address as configured.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The system refused something it always grants.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// A part of the daemon panicked, which is a bug; what was durable by then is not lost.
    #[error(
        "the daemon stopped because a part of it died ({0}); start it again, and report what the log says"
    )]
    Died(tokio::task::JoinError),
}

/// Runs the daemon until `stop`. `ready` is told the address once webhooks are taken (`None`: a Unix socket).
pub async fn run(
    setup: Setup,
    stop: CancellationToken,
    ready: oneshot::Sender<Option<SocketAddr>>,
) -> Result<(), AppError> {
    let started_at = now();
    let loaded = config::load(setup.config.as_deref(), &setup.state_dir).map_err(AppError::Config)?;
    let (watcher, changes) = Watcher::new(&loaded.files)?;
    warn_of(&loaded.warnings);
    let metrics = Arc::new(Metrics::new());
    metrics.reloaded(true, started_at);
    let (prepared, current) = watch::channel(loaded.prepared());
    let client = Client::new();
    let driver = start_driver(loaded.prepared(), client.clone(), Arc::clone(&metrics)).await?;
    let listener = listen(&loaded.plan).await?;
    let (recorder, recording) = Recorder::start(Arc::clone(&metrics))?;
    let address = listener.address();

    let (inbox, asks) = mpsc::channel(INBOX_MAX);
    let (reloads, reload_requests) = mpsc::channel(RELOADS_WAITING_MAX);
    let handle = driver::Handle::new(inbox);
    let (status, plan_status) = watch::channel(PlanStatus {
        file: setup.config.as_ref().map(|path| path.display().to_string()),
        loaded_at: started_at,
        error: None,
    });
    let site = Arc::new(Site {
        prepared: current.clone(),
        plan_status,
        answerer: Answerer::new(current.clone(), handle.clone(), client, Arc::clone(&metrics)),
        driver: handle,
        reload: ReloadHandle::new(reloads),
        metrics: Arc::clone(&metrics),
        recorder,
        started_at,
        limits: limits(),
    });
    let reloader = Reloader {
        setup,
        watcher,
        files: loaded.files.clone(),
        prepared,
        status,
        metrics,
    };
    let drained = CancellationToken::new();
    let driver = tokio::spawn(vital(driver.run(asks, current, drained.clone()), &stop));
    let reloader = tokio::spawn(vital(reloader.run(changes, reload_requests, stop.clone()), &stop));
    let watchdog = tokio::spawn(feed_watchdog(site.driver.clone(), stop.clone()));

    tell_systemd(&[NotifyState::Ready]);
    tracing::info!(address = address.map(tracing::field::display), "ready");
    // Nobody may want to know.
    let _unwatched = ready.send(address);
    let answerer = Arc::clone(&site.answerer);
    let cut = http::serve(listener, site, stop.cancelled()).await;
    tell_systemd(&[NotifyState::Stopping]);
    if cut > 0 {
        tracing::warn!(connections = cut, "connections cut that did not end in time");
    }
    drained.cancel();
    answerer.finish().await;
    recording.ended().await;
    let ended = all_ended([driver, reloader, watchdog]).await;
    tracing::info!("stopped");
    ended
}

/// Waits for every task, also when one died.
async fn all_ended(tasks: [JoinHandle<()>; 3]) -> Result<(), AppError> {
    let mut died = None;
    for task in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, "a task died");
            died = died.or(Some(error));
        }
    }
    died.map_or(Ok(()), |error| Err(AppError::Died(error)))
}

/// As many connections as this process may have files open for.
fn limits() -> Limits {
    Limits {
        connections_max: open_files_max().map_or(CONNECTIONS_MAX, connections_max),
        ..Limits::default()
    }
}

/// A task the daemon is nothing without: however it ends, the daemon ends, so that whoever started it can start
/// it again.
fn vital<T: Future>(task: T, stop: &CancellationToken) -> impl Future<Output = T::Output> + use<T> {
    let ends = stop.clone().drop_guard();
    async move {
        let _ends = ends;
        task.await
    }
}

/// Opens the store and loads it, away from the runtime's threads.
async fn start_driver(prepared: Prepared, client: Client, metrics: Arc<Metrics>) -> Result<Driver, AppError> {
    if let Err(error) = client.check(&prepared.plan).await {
        // What comes in meanwhile is kept, and told as soon as it can be.
        tracing::error!(%error, "messages cannot be sent");
    }
    let start = move || {
        let store = SqliteStore::open(&prepared.plan.store.path)?;
        Ok(Driver::start(Box::new(store), prepared, client, metrics)?)
    };
    tokio::task::spawn_blocking(start)
        .await
        .map_err(std::io::Error::other)?
}

/// The socket systemd hands over, or the configured one.
async fn listen(plan: &Plan) -> Result<Listener, AppError> {
    if let Some(inherited) = Listener::inherited()? {
        return Ok(inherited);
    }
    Listener::bind(&plan.server.listen)
        .await
        .map_err(|error| AppError::Listen {
            address: plan.server.listen.to_string(),
            error,
        })
}

/// The one place where plans change.
#[derive(Debug)]
struct Reloader {
    setup: Setup,
    watcher: Watcher,
    /// What is watched.
    files: Vec<PathBuf>,
    prepared: watch::Sender<Prepared>,
    status: watch::Sender<PlanStatus>,
    metrics: Arc<Metrics>,
}

impl Reloader {
    /// Reloads when a file changes, on HUP and on request, until `stop`.
    async fn run(
        mut self,
        mut changes: Changes,
        mut requests: mpsc::Receiver<oneshot::Sender<ReloadOutcome>>,
        stop: CancellationToken,
    ) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(hangup),
            Err(error) => {
                tracing::warn!(%error, "HUP does not reload here");
                None
            }
        };
        loop {
            let mut asked = Vec::new();
            tokio::select! {
                () = stop.cancelled() => return,
                () = changes.changed() => tracing::debug!("a configuration file has changed"),
                () = next_signal(hangup.as_mut()) => tracing::debug!("asked to reload by HUP"),
                request = requests.recv() => asked.extend(request),
            }
            // Whoever asks while we wait for a turn gets the outcome of this one.
            while let Ok(request) = requests.try_recv() {
                asked.push(request);
            }
            let outcome = self.reload().await;
            for request in asked {
                // Somebody who asked and went away is owed nothing.
                let _gone = request.send(outcome.clone());
            }
        }
    }

    async fn reload(&mut self) -> ReloadOutcome {
        tell_systemd(&[NotifyState::Reloading]);
        let Setup { config, state_dir } = self.setup.clone();
        let files = self.files.clone();
        let read = move || {
            // Read first: what changes while it is loaded is loaded again.
            let before = Snapshot::of(&files);
            (before, config::load(config.as_deref(), &state_dir))
        };
        let outcome = match tokio::task::spawn_blocking(read).await {
            Ok((before, Ok(loaded))) => {
                self.rearm(&loaded.files, before);
                self.adopt(&loaded);
                Ok(())
            }
            Ok((before, Err(report))) => {
                self.rearm(report.files(), before);
                self.refuse(&report)
            }
            Err(error) => Err(format!("the configuration could not be loaded: {error}")),
        };
        tell_systemd(&[NotifyState::Ready]);
        self.metrics.reloaded(outcome.is_ok(), now());
        outcome
    }

    fn rearm(&mut self, files: &[PathBuf], before: Snapshot) {
        files.clone_into(&mut self.files);
        self.watcher.rearm(files, before);
    }

    fn adopt(&self, loaded: &Loaded) {
        warn_of(&loaded.warnings);
        let running = Arc::clone(&self.prepared.borrow().plan);
        if running.server.listen != loaded.plan.server.listen || running.store.path != loaded.plan.store.path
        {
            tracing::warn!("`server.listen` and `store.path` take effect at the next start");
        }
        self.prepared.send_replace(loaded.prepared());
        self.status.send_modify(|status| {
            status.loaded_at = now();
            status.error = None;
        });
        tracing::info!("configuration loaded");
    }

    /// Keeps the running plan. The same report is logged once, however often it comes up.
    fn refuse(&self, report: &Report) -> ReloadOutcome {
        let text = report.render(false);
        let known = self.status.borrow().error.as_deref() == Some(text.as_str());
        if !known {
            tracing::error!(
                problems = report.problems().len(),
                first = report.problems().first().map(config::Problem::summary),
                "configuration refused"
            );
        }
        self.status
            .send_modify(|status| status.error = Some(text.clone()));
        Err(text)
    }
}

async fn next_signal(signal: Option<&mut tokio::signal::unix::Signal>) {
    match signal {
        // `None` would mean that no further signal can come.
        Some(signal) => match signal.recv().await {
            Some(()) => {}
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

fn warn_of(warnings: &Report) {
    for problem in warnings.problems() {
        let place = problem
            .line
            .map(|line| format!("{}:{line}", problem.file))
            .unwrap_or_default();
        tracing::warn!(
            place,
            problem = problem.message,
            help = problem.help,
            "odd configuration"
        );
    }
}

/// Pings the service manager's watchdog for as long as the driver answers.
async fn feed_watchdog(driver: driver::Handle, stop: CancellationToken) {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut interval = tokio::time::interval(within / 3);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        if driver.health().await.is_ok() {
            tell_systemd(&[NotifyState::Watchdog]);
        }
    }
}

/// Says something to the service manager, if there is one.
fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// Where state is kept when nothing says so: systemd's directory for it, or the working directory.
pub fn default_state_dir() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| Path::new(".").to_owned(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vital_part_that_dies_stops_the_daemon() {
        let stop = CancellationToken::new();
        let task = tokio::spawn(vital(async { panic!("a bug") }, &stop));
        stop.cancelled().await;
        assert!(task.await.is_err_and(|error| error.is_panic()));
    }
}
