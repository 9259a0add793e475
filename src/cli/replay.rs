//! `dingest replay`: the messages that a recording would have become with another configuration.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{ConfigArgs, Exit, Failure, say};
use crate::app::AppError;
use crate::config;
use crate::rehearse::Message;
use crate::rehearse::replay::{Recording, Replay, counted};

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The files of a recording, in any order.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The configuration to compare with; then the exit status is 1 when some alert is told to others.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Print the texts of the messages, too.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: ReplayArgs) -> Result<Exit, Failure> {
    let candidate = args.config.load_to_rehearse()?;
    let recording = Recording::read(&args.files)?;
    for problem in &recording.unreadable {
        say(format!("left out: {problem}"));
    }
    let replay = recording.play(&candidate.prepared());
    for message in &replay.messages {
        show(message, &candidate.plan.timezone, args.full);
    }
    summarise(&replay, "");
    match &args.against {
        Some(path) => compare(&recording, &replay, path),
        None => Ok(Exit::Done),
    }
}

fn show(message: &Message, timezone: &jiff::tz::TimeZone, full: bool) {
    let time = jiff::Timestamp::from_millisecond(message.at.0).unwrap_or_default();
    let time = time
        .to_zoned(timezone.clone())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string();
    say(format!("{time}  {}  {}", message.receiver, message.title()));
    if full {
        for line in message.text().lines() {
            say(format!("    {line}").trim_end());
        }
    }
}

/// Says what came of it, and what did not.
fn summarise(replay: &Replay, with: &str) {
    say(format!("{replay}{with}"));
    for (problem, count) in &replay.untaken {
        say(format!(
            "{} not taken: {problem}",
            counted(*count, "body", "bodies")
        ));
    }
    if replay.waiting > 0 {
        let waiting = usize::try_from(replay.waiting).unwrap_or(usize::MAX);
        let waiting = counted(waiting, "change", "changes");
        say(format!(
            "a day after the last body nobody has been told of {waiting}"
        ));
    }
}

fn compare(recording: &Recording, replay: &Replay, against: &Path) -> Result<Exit, Failure> {
    let current = config::load_to_rehearse(Some(against)).map_err(AppError::Config)?;
    let current = recording.play(&current.prepared());
    summarise(&current, &format!(" with {}", against.display()));
    let difference = replay.against(&current);
    say(format!("\n{difference}"));
    Ok(if difference.tells_the_same() {
        Exit::Done
    } else {
        Exit::Failed
    })
}
