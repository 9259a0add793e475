//! `dingest import`: carries a configuration of prometheus-webhook-dingtalk over, into a directory of its own.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Failure, complain_of_config, say};
use crate::app::AppError;
use crate::config;
use crate::config::import::{Written, import};
use crate::rehearse::replay::counted;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The configuration of prometheus-webhook-dingtalk.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where ours goes; nothing that is there is written over.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Where the links in the carried-over layouts lead.
    #[arg(long, value_name = "URL", default_value = "http://localhost:9093")]
    alertmanager: String,
}

pub(super) fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let imported = import(&args.file, &args.alertmanager).map_err(AppError::Config)?;
    if let Some(taken) = imported
        .files
        .iter()
        .map(|file| args.output.join(&file.path))
        .find(|path| path.exists())
    {
        return Err(format!("`{}` is there already; give another directory", taken.display()).into());
    }
    let path = args.output.join("dingest.yaml");
    let mut written = Vec::new();
    // What was written must be what is read.
    let made = write_all(&imported.files, &args.output, &mut written)
        .and_then(|()| Ok(config::load(Some(&path), &args.output).map_err(AppError::Config)?));
    if let Err(failure) = made {
        // Half a configuration helps nobody, and would be in the way of the next try.
        for path in written {
            drop(fs::remove_file(path));
        }
        return Err(failure);
    }
    if !imported.left.is_empty() {
        complain_of_config(&imported.left);
    }
    say(format!(
        "{}: {}; {} could not be carried over",
        path.display(),
        counted(imported.targets, "target", "targets"),
        counted(imported.left.problems().len(), "thing", "things")
    ));
    Ok(Exit::Done)
}

fn write_all(files: &[Written], output: &Path, written: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for file in files {
        let path = output.join(&file.path);
        write(&path, file).map_err(|error| format!("cannot write `{}`: {error}", path.display()))?;
        written.push(path);
    }
    Ok(())
}

fn write(path: &Path, file: &Written) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        let mode = if file.secret { 0o700 } else { 0o755 };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(directory)?;
    }
    let mode = if file.secret { 0o600 } else { 0o644 };
    let mut open = OpenOptions::new();
    let mut out = open.write(true).create_new(true).mode(mode).open(path)?;
    out.write_all(file.text.as_bytes())
}
