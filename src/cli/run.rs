//! `dingest run`: the daemon.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{ConfigArgs, Exit, Failure};
use crate::app;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(args: RunArgs) -> Result<Exit, Failure> {
    let (ready, _) = oneshot::channel();
    app::run(args.config.setup(), stop_on_signals()?, ready).await?;
    Ok(Exit::Done)
}

/// Cancelled by the first TERM or INT. A second one ends the process at once, as if there were no handler.
pub(super) fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stopped.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        #[expect(
            clippy::exit,
            reason = "whoever asks twice does not want to wait; nothing durable is lost"
        )]
        std::process::exit(130);
    });
    Ok(stop)
}
