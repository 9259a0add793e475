//! `dingest check`: says everything that is wrong with a configuration.

use std::collections::BTreeSet;

use clap::Args;

use super::{ConfigArgs, Exit, Failure, complain_of_config, say};
use crate::alert::ReceiverName;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: CheckArgs) -> Result<Exit, Failure> {
    let file = args
        .config
        .config
        .as_ref()
        .map_or("built-in defaults".to_owned(), |path| path.display().to_string());
    let loaded = args.config.load()?;
    if !loaded.warnings.is_empty() {
        complain_of_config(&loaded.warnings);
    }
    let plan = &loaded.plan;
    let receivers: BTreeSet<&str> = plan.receivers.keys().map(ReceiverName::configured).collect();
    say(format!(
        "{file}: valid; sources {}, endpoints {}, receivers {}, routes {}",
        plan.sources.len(),
        plan.endpoints.len(),
        receivers.len(),
        plan.routes.iter().count(),
    ));
    Ok(Exit::Done)
}
