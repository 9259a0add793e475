//! `dingest test`: plays cases written in YAML and says what is not as they expect.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, complain_of_config, say};
use crate::rehearse::cases::Cases;
use crate::rehearse::replay::counted;

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// Files of cases.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The configuration, instead of the one a file names. Secrets it names need not exist.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &TestArgs) -> Exit {
    let (mut passed, mut failed, mut broken) = (0, 0, 0);
    for file in &args.files {
        let cases = match Cases::load(file, args.config.as_deref()) {
            Ok(cases) => cases,
            Err(report) => {
                complain_of_config(&report);
                broken += 1;
                continue;
            }
        };
        for case in cases.iter() {
            let verdict = cases.play(case);
            if verdict.passes() {
                passed += 1;
                continue;
            }
            failed += 1;
            say(format!("{}:{}: {}", file.display(), case.line, case.name));
            for line in verdict.to_string().lines() {
                say(format!("  {line}"));
            }
        }
    }
    let unread = match broken {
        0 => String::new(),
        count => format!(", {} could not be read", counted(count, "file", "files")),
    };
    say(format!("{passed} passed, {failed} failed{unread}"));
    match (broken, failed) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Failed,
        (_, _) => Exit::BadConfig,
    }
}
