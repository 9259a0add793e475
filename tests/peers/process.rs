//! Child processes, ports and patience.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long an event is awaited before the test gives up; far more than any takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often somebody who cannot tell us is asked.
const ASK_EVERY: Duration = Duration::from_millis(25);

/// A program that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; its output goes to `log`.
    pub(crate) fn start(program: &str, arguments: &[String], log: &Path) -> Self {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log file in the test's directory");
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of the log file"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{}", why_not(program, &error)));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Panics when it has ended by itself.
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("the state of a child process");
        assert!(ended.is_none(), "a process has ended: {ended:?}");
    }
}

impl Drop for Process {
    /// Ends it without a warning, as a power cut would.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("---- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// Runs a tool to its end: whether it was content, and all it said.
pub(crate) fn run(program: &str, arguments: &[&str], input: Option<&Path>) -> (bool, String) {
    let input = input.map_or_else(Stdio::null, |path| {
        Stdio::from(File::open(path).expect("the input of a tool"))
    });
    let output = Command::new(program)
        .args(arguments)
        .stdin(input)
        .output()
        .unwrap_or_else(|error| panic!("{}", why_not(program, &error)));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Runs a Python program of ours under `tests/peers/NAME` among what is installed for it.
#[track_caller]
pub(crate) fn python(name: &str, program: &str, arguments: &[&str]) -> (bool, String) {
    let interpreter = format!("target/peers/{name}/bin/python");
    let installed = Path::new(&interpreter).exists();
    assert!(installed, "run `tests/peers/install` first");
    let program = format!("tests/peers/{name}/{program}");
    run(&interpreter, &[&[program.as_str()], arguments].concat(), None)
}

fn why_not(program: &str, error: &std::io::Error) -> String {
    let package = match program {
        "prometheus" | "promtool" => "prometheus",
        "vmalert" => "victoria-metrics",
        "zabbix_js" => "zabbix-proxy-sqlite3",
        "php" => "php-cli",
        _ => "prometheus-alertmanager",
    };
    if error.kind() == ErrorKind::NotFound {
        format!("`{program}` is not installed; install Debian's package `{package}`")
    } else {
        format!("`{program}` cannot be started: {error}")
    }
}

/// A port of this machine that nobody listens on. Below those the system hands out to clients, so that none of them
/// takes it before its process does.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    let offset = std::process::id() % u32::from(COUNT);
    let offset = u16::try_from(offset).expect("less than COUNT");
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (offset.wrapping_add(step)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "never seen: {what}");
        tokio::time::sleep(ASK_EVERY).await;
    }
}
