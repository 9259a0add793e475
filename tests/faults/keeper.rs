//! Runs the real program and starts it again whenever it ends, as a service manager does.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::ground::run;
use crate::ledger::now;

/// How often the process is looked at.
const GLANCE: Duration = Duration::from_millis(10);
/// How long the manager waits before it starts the program again.
const RESTART_PAUSE: Duration = Duration::from_millis(150);

/// What the program is started with.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) config: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) environment: Vec<(&'static str, String)>,
}

#[derive(Debug)]
struct State {
    child: Option<Child>,
    wanted: bool,
    /// How it ended, and when.
    ends: Vec<(i64, ExitStatus)>,
}

/// The manager. The program ends with it.
#[derive(Debug)]
pub(crate) struct Keeper {
    start: Start,
    state: Arc<Mutex<State>>,
    watcher: JoinHandle<()>,
}

impl Keeper {
    pub(crate) fn start(start: Start) -> Self {
        let state = Arc::new(Mutex::new(State {
            child: Some(spawn(&start)),
            wanted: true,
            ends: Vec::new(),
        }));
        let watcher = tokio::spawn(watch(start.clone(), Arc::clone(&state)));
        Self {
            start,
            state,
            watcher,
        }
    }

    /// The process, when there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        lock(&self.state).child.as_ref().map(Child::id)
    }

    /// Sends a signal, when there is a process.
    pub(crate) fn signal(&self, name: &str) {
        if let Some(pid) = self.pid() {
            // It may be gone by now.
            drop(run(
                Command::new("sh").args(["-c", &format!("kill -{name} {pid}")])
            ));
        }
    }

    /// Sets a limit of the process with `prlimit`.
    pub(crate) fn limit(&self, limit: &str) -> Result<(), String> {
        let Some(pid) = self.pid() else { return Ok(()) };
        run(Command::new("prlimit").args([&format!("--pid={pid}"), limit]))
    }

    /// Ends it with a signal and keeps it from being started again.
    pub(crate) async fn hold(&self, signal: &str) {
        lock(&self.state).wanted = false;
        self.signal(signal);
        while self.pid().is_some() {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Lets it be started again.
    pub(crate) fn release(&self) {
        lock(&self.state).wanted = true;
    }

    /// How it ended, every time.
    pub(crate) fn ends(&self) -> Vec<(i64, ExitStatus)> {
        lock(&self.state).ends.clone()
    }

    /// Every line it logged.
    pub(crate) fn log(&self) -> Vec<String> {
        let bytes = std::fs::read(&self.start.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(str::to_owned).collect()
    }

    /// The events of this message in its log, without the first lines.
    pub(crate) fn events(&self, message: &str, lines_before: usize) -> Vec<Value> {
        self.log()
            .iter()
            .skip(lines_before)
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["message"] == message)
            .collect()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.watcher.abort();
        if let Some(mut child) = lock(&self.state).child.take() {
            // It may have ended already.
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            let log = self.log();
            let last = log.len().saturating_sub(30);
            eprintln!("the daemon's last words:\n{}", log[last..].join("\n"));
        }
    }
}

fn spawn(start: &Start) -> Child {
    let mut command = Command::new("sh");
    // A write beyond a limit of the file's size fails, and does not end the process.
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" run \"$@\" --log-format json"])
        .arg(program())
        .arg("--config")
        .arg(&start.config)
        .arg("--state-dir")
        .arg(&start.state)
        .env_remove("DINGEST_LOG")
        .env_remove("JOURNAL_STREAM")
        .env_remove("SSL_CERT_DIR")
        .envs(start.environment.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log_file(&start.log));
    command.spawn().expect("the program starts")
}

/// The program: that of this build, unless `DINGEST_FAULTS_PROGRAM` names another.
fn program() -> OsString {
    std::env::var_os("DINGEST_FAULTS_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_dingest").into())
}

fn log_file(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("a file for its log")
}

async fn watch(start: Start, state: Arc<Mutex<State>>) {
    loop {
        tokio::time::sleep(GLANCE).await;
        let gone = {
            let mut state = lock(&state);
            let ended = match state.child.as_mut() {
                Some(child) => child.try_wait().expect("a child"),
                None => None,
            };
            if let Some(status) = ended {
                state.child = None;
                state.ends.push((now(), status));
            }
            state.child.is_none()
        };
        if gone {
            tokio::time::sleep(RESTART_PAUSE).await;
            let mut state = lock(&state);
            if state.wanted {
                state.child = Some(spawn(&start));
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
