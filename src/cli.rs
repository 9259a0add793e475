//! The command line: one file per subcommand.
//!
//! Subcommands print to standard output what they were asked for and to standard error what went wrong; the exit
//! code says which: 0 done, 1 failed, 78 (`EX_CONFIG`) for a configuration that cannot be used.

mod check;
mod demo;
mod explain;
mod import;
mod manual;
mod render;
mod replay;
mod run;
mod send;
mod simulate;
mod status;
mod test;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::app::{self, AppError};
use crate::config::{self, Loaded, Report};
use crate::telemetry::{self, LogFormat};

/// Alerts in, readable DingTalk digests out.
///
/// Takes alerts from Alertmanager, Grafana, Prometheus and any JSON webhook, keeps them durably, folds
/// duplicates, and tells each DingTalk group or person only what changed, within DingTalk's limits.
#[derive(Debug, Parser)]
#[command(
    name = "dingest",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
    /// The form of log lines.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: Format,
    /// Which events are logged, as in `RUST_LOG`: a level, or `target=level` pairs.
    #[arg(long, global = true, env = "DINGEST_LOG", default_value = "info")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon (the default).
    Run(run::RunArgs),
    /// Check a configuration and say everything that is wrong with it.
    Check(check::CheckArgs),
    /// Carry a configuration of prometheus-webhook-dingtalk over.
    Import(import::ImportArgs),
    /// Show the messages a webhook body would become.
    Render(render::RenderArgs),
    /// Play cases of routing and templates written in YAML, and say what is not as they expect.
    Test(test::TestArgs),
    /// Play a recording of what came in, and show the messages each chat would have got.
    Replay(replay::ReplayArgs),
    /// Send a test message through every bot of a receiver.
    Send(send::SendArgs),
    /// Say why an alert was told to whom it was, which routes it took and why not others, and what waits for what.
    Explain(explain::ExplainArgs),
    /// Ask a running daemon on this machine how it is; fails when it takes no alerts.
    Status(status::StatusArgs),
    /// Run a local stand-in for DingTalk's webhook that enforces its rules and shows the group chat.
    SimulateDingtalk(simulate::SimulateArgs),
    /// Run the daemon and the stand-in together and play an incident.
    Demo(demo::DemoArgs),
    /// Write the manual pages and the shells' completions into a directory.
    Manual(manual::ManualArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people and the journal.
    Text,
    /// For machines.
    Json,
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
struct ConfigArgs {
    /// The configuration file. Without one, built-in defaults are used.
    #[arg(short, long, value_name = "FILE", env = "DINGEST_CONFIG")]
    config: Option<PathBuf>,
    /// Where state is kept [default: systemd's state directory, or the working directory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl ConfigArgs {
    fn setup(self) -> app::Setup {
        let state_dir = self.state_dir.unwrap_or_else(app::default_state_dir);
        app::Setup {
            config: self.config,
            // Absolute, so that log and API say where it is.
            state_dir: std::path::absolute(&state_dir).unwrap_or(state_dir),
        }
    }

    fn load(self) -> Result<Loaded, Failure> {
        let setup = self.setup();
        Ok(config::load(setup.config.as_deref(), &setup.state_dir).map_err(AppError::Config)?)
    }

    /// Without its secrets.
    fn load_to_rehearse(self) -> Result<Loaded, Failure> {
        Ok(config::load_to_rehearse(self.config.as_deref()).map_err(AppError::Config)?)
    }
}

/// Threads for what blocks: large bodies, digests, names looked up. Each has a heap of its own, so few are enough.
const BLOCKING_THREADS_MAX: usize = 16;

/// Why a subcommand could not do what it was asked.
type Failure = Box<dyn std::error::Error>;

/// How a subcommand ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// It did what it was asked.
    Done,
    /// It did not; standard error says why.
    Failed,
    /// The configuration cannot be used (`EX_CONFIG`): starting again will not help.
    BadConfig,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
            Exit::BadConfig => Self::from(78),
        }
    }
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = match cli.log_format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    };
    match telemetry::init(format, &cli.log)
        .map_err(Failure::from)
        .and_then(|()| perform(cli))
    {
        Ok(exit) => exit.into(),
        Err(failure) => complain(failure.as_ref()).into(),
    }
}

fn perform(cli: Cli) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()?;
    runtime.block_on(async {
        match cli.command.unwrap_or(Command::Run(cli.run)) {
            Command::Run(args) => run::run(args).await,
            Command::Check(args) => check::run(args),
            Command::Import(args) => import::run(&args),
            Command::Manual(args) => manual::run(args),
            Command::Render(args) => render::run(args),
            Command::Replay(args) => replay::run(args),
            Command::Test(args) => Ok(test::run(&args)),
            Command::Send(args) => send::run(args).await,
            Command::Explain(args) => explain::run(args).await,
            Command::Status(args) => status::run(args).await,
            Command::SimulateDingtalk(args) => simulate::run(args).await,
            Command::Demo(args) => demo::run(args).await,
        }
    })
}

/// The bytes of a file, or of standard input for `-`.
fn read_input(payload: &Path) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    if payload == Path::new("-") {
        std::io::stdin().read_to_end(&mut body)?;
        return Ok(body);
    }
    Ok(std::fs::read(payload).map_err(|error| format!("cannot read `{}`: {error}", payload.display()))?)
}

/// Prints what was asked for. Nobody may be reading any more, as behind `| head`.
fn say(text: impl std::fmt::Display) {
    let _unread = writeln!(std::io::stdout(), "{text}");
}

/// Prints what went wrong, causes included.
fn complain(failure: &(dyn std::error::Error + 'static)) -> Exit {
    if let Some(AppError::Config(report)) = failure.downcast_ref() {
        complain_of_config(report);
        return Exit::BadConfig;
    }
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    let _unread = writeln!(std::io::stderr(), "dingest: {text}");
    Exit::Failed
}

/// Prints a report on a configuration.
fn complain_of_config(report: &Report) {
    let text = report.render(std::io::stderr().is_terminal());
    let _unread = std::io::stderr().write_all(text.as_bytes());
}
