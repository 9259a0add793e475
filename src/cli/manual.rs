//! `dingest manual`: writes the manual pages and the shells' completions, made from the command line itself.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Exit, Failure, say};

#[derive(Debug, Args)]
pub(super) struct ManualArgs {
    /// Where they go; it is made when it is not there.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Shells whose completions are written.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];

pub(super) fn run(args: ManualArgs) -> Result<Exit, Failure> {
    let directory = args.directory;
    std::fs::create_dir_all(&directory)?;
    clap_mangen::generate_to(Cli::command(), &directory)?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut Cli::command(), "dingest", &directory)?;
    }
    say(format!("{}: manual pages and completions", directory.display()));
    Ok(Exit::Done)
}
