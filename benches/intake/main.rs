//! What the daemon takes in, what that costs, and how it compares with doing nothing at all.
//!
//! Starts the real daemon and, as a yardstick, an empty warp handler that reads the same bodies; where Debian's
//! Alertmanager is installed it is measured too. Rounds of the sides alternate and the medians are shown, since
//! machines are rarely quiet: compare ratios of one run, not figures of two.
//!
//! `cargo bench -- [NAME…] [--full] [--check]`: of `throughput`, `growth`, `composing` and `digest` those named, or
//! all; `--full` holds a million alerts instead of a hundred thousand, `--check` fails when a floor is missed.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table goes to standard output, progress to standard error"
)]

mod alerts;
mod composing;
mod digest;
mod growth;
mod load;
mod peers;
mod report;
mod throughput;

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use crate::report::{Report, median};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

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
    let names: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with("--"))
        .collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|it| it == name);
    let mut report = Report::begin();
    // Beside the build's other files: a temporary directory may be in memory, and commits would cost nothing.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    report.note(disk(directory.path())?);
    if wanted("throughput") {
        throughput::measure(&mut report, directory.path())?;
    }
    if wanted("growth") {
        growth::measure(&mut report, directory.path(), full)?;
    }
    if wanted("composing") {
        composing::measure(&mut report, directory.path())?;
    }
    if wanted("digest") {
        report.add(digest::line(directory.path())?);
    }
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
