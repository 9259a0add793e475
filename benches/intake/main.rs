//! What the daemon takes in, what that costs, and how it compares with doing nothing at all.
//!
//! Starts the real daemon and, as a yardstick, an empty warp handler that reads the same bodies; where Debian's
//! Alertmanager is installed it is measured too. Rounds of the sides alternate and the medians are shown, since
//! machines are rarely quiet: compare ratios of one run, not figures of two.
//!
//! `cargo bench -- [--full] [--check]`: `--full` holds a million alerts instead of a hundred thousand, `--check`
//! fails when a floor is missed.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table goes to standard output, progress to standard error"
)]

mod alerts;
mod digest;
mod load;
mod peers;
mod report;

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::alerts::{Format, Requests};
use crate::load::Load;
use crate::peers::Peer;
use crate::report::{Bound, Line, Report, grouped, median};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How often each side has its turn.
const ROUNDS: usize = 5;
/// How long an allocator may take to give back what it does not need any more.
const CALM: Duration = Duration::from_secs(5);
/// Requests of a round with one alert each, and with a hundred.
const SINGLES: usize = 15_000;
const HUNDREDS: usize = 300;

fn main() -> ExitCode {
    let has = |flag: &str| std::env::args().any(|it| it == flag);
    if has(peers::EMPTY_HANDLER) {
        return ended(peers::serve_nothing().map(|never| match never {}));
    }
    // `cargo test --benches` runs us without it, and wants no measurement.
    if !has("--bench") {
        return ExitCode::SUCCESS;
    }
    ended(measure(has("--full")).map(|report| {
        println!("{report}");
        if has("--check") && report.is_below_a_floor() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }))
}

fn ended(outcome: Outcome<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("the benchmark could not run: {error}");
        ExitCode::FAILURE
    })
}

fn measure(full: bool) -> Outcome<Report> {
    let mut report = Report::begin();
    // Beside the build's other files: a temporary directory may be in memory, and commits would cost nothing.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    report.note(disk(directory.path())?);
    throughput(&mut report, directory.path())?;
    holding(
        &mut report,
        directory.path(),
        if full { 1_000_000 } else { 100_000 },
    )?;
    report.add(digest::line(directory.path())?);
    Ok(report)
}

/// How long the disk takes for what every commit waits for.
fn disk(directory: &Path) -> Outcome<String> {
    let mut file = std::fs::File::create(directory.join("flushed"))?;
    let mut flushes = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        flushes.push(begun.elapsed().as_secs_f64());
    }
    Ok(format!("disk: 4 KiB flushed in {:.2} ms", median(flushes) * 1e3))
}

/// Alerts and requests per second, ours beside the others.
fn throughput(report: &mut Report, directory: &Path) -> Outcome<()> {
    let (ours, _) = Peer::dingest(&directory.join("intake"))?;
    let nothing = Peer::empty_handler()?;
    let alertmanager = Peer::alertmanager(&directory.join("alertmanager"))?;

    let mut webhooks = Requests::to(Format::Webhook);
    let mut api = Requests::to(Format::Alertmanager);
    let mut sides = Sides::default();
    for _ in 0..ROUNDS {
        let requests = webhooks.take(SINGLES, 1);
        sides.nothing.push(load::run(nothing.address(), &requests)?);
        sides.ours.push(load::run(ours.address(), &requests)?);
        if let Some(peer) = &alertmanager {
            sides
                .alertmanager
                .push(load::run(peer.address(), &api.take(SINGLES, 1))?);
        }
    }
    sides.report_singles(report);

    let mut sides = Sides::default();
    for _ in 0..ROUNDS {
        let requests = webhooks.take(HUNDREDS, 100);
        sides.nothing.push(load::run(nothing.address(), &requests)?);
        sides.ours.push(load::run(ours.address(), &requests)?);
        sides.repeats.push(load::run(ours.address(), &requests)?);
        if let Some(peer) = &alertmanager {
            sides
                .alertmanager
                .push(load::run(peer.address(), &api.take(HUNDREDS, 100))?);
        }
    }
    sides.report_hundreds(report);
    Ok(())
}

/// The rounds of every side.
#[derive(Default)]
struct Sides {
    ours: Vec<Load>,
    repeats: Vec<Load>,
    nothing: Vec<Load>,
    alertmanager: Vec<Load>,
}

impl Sides {
    fn report_singles(&self, report: &mut Report) {
        let [ours, nothing] = [rate(&self.ours), rate(&self.nothing)];
        report.add(Line {
            what: "one new alert per request",
            figure: format!("{}/s", grouped(ours)),
            beside: format!("empty warp handler {}/s", grouped(nothing)),
            measured: ours / nothing,
            target: Bound::AtLeast(0.5),
            floor: Some(Bound::AtLeast(0.2)),
        });
        if !self.alertmanager.is_empty() {
            let theirs = rate(&self.alertmanager);
            report.note(format!(
                "one new alert per request, Alertmanager (not durable): {}/s",
                grouped(theirs)
            ));
        }
        let [half, most] = [0.5, 0.99].map(|share| {
            let times = self
                .ours
                .iter()
                .map(|load| load.answered_within(share).as_secs_f64());
            median(times.collect()) * 1e3
        });
        report.note(format!(
            "one new alert per request, {} connections: answered within {half:.1} ms (half), {most:.1} ms (99 %)",
            load::CONNECTIONS
        ));
    }

    fn report_hundreds(&self, report: &mut Report) {
        let ours = 100.0 * rate(&self.ours);
        let nothing = 100.0 * rate(&self.nothing);
        report.add(Line {
            what: "100 new alerts per request",
            figure: format!("{} alerts/s", grouped(ours)),
            beside: format!("empty warp handler {}/s", grouped(nothing)),
            measured: ours,
            target: Bound::AtLeast(150_000.0),
            floor: Some(Bound::AtLeast(50_000.0)),
        });
        if !self.alertmanager.is_empty() {
            let theirs = 100.0 * rate(&self.alertmanager);
            report.add(Line {
                what: "100 new alerts per request, × Alertmanager",
                figure: format!("{:.1} ×", ours / theirs),
                beside: format!("Alertmanager, not durable, {}/s", grouped(theirs)),
                measured: ours / theirs,
                target: Bound::AtLeast(3.0),
                floor: None,
            });
        }
        let repeats = 100.0 * rate(&self.repeats);
        report.add(Line {
            what: "100 repeats per request",
            figure: format!("{} alerts/s", grouped(repeats)),
            beside: String::new(),
            measured: repeats,
            target: Bound::AtLeast(400_000.0),
            floor: None,
        });
    }
}

fn rate(rounds: &[Load]) -> f64 {
    median(rounds.iter().map(Load::per_second).collect())
}

/// Memory and restart with `count` alerts that have been told.
fn holding(report: &mut Report, directory: &Path, count: usize) -> Outcome<()> {
    let directory = directory.join("holding");
    let (daemon, _) = Peer::dingest(&directory)?;
    daemon.wait_until_told()?;
    let idle = daemon.resident_bytes()?;
    report.add(Line {
        what: "idle memory",
        figure: format!("{:.1} MB", idle / 1e6),
        beside: String::new(),
        measured: idle / 1e6,
        target: Bound::AtMost(12.0),
        floor: None,
    });
    let mut webhooks = Requests::to(Format::Webhook);
    for _ in 0..count / 10_000 {
        load::run(daemon.address(), &webhooks.take(100, 100))?;
    }
    daemon.wait_until_told()?;
    std::thread::sleep(CALM);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = (daemon.resident_bytes()? - idle) / count as f64;
    report.add(Line {
        what: "memory per active, told alert",
        figure: format!("{each:.0} bytes"),
        beside: format!("{count} alerts of {} bytes", alerts::BYTES),
        measured: each,
        target: Bound::AtMost(800.0),
        floor: Some(Bound::AtMost(1_500.0)),
    });
    // Killed, not stopped: the restart has to take over the log as well.
    drop(daemon);
    let (_restarted, took) = Peer::dingest(&directory)?;
    report.add(Line {
        what: "restart after a kill",
        figure: seconds(took),
        beside: format!("{count} alerts"),
        measured: took.as_secs_f64(),
        target: Bound::AtMost(2.0),
        floor: None,
    });
    Ok(())
}

fn seconds(span: Duration) -> String {
    format!("{:.2} s", span.as_secs_f64())
}
