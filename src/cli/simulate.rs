//! `dingest simulate-dingtalk`: the stand-in as a program of its own.

use clap::Args;
use tokio::net::TcpListener;

use super::run::stop_on_signals;
use super::{Exit, Failure, say};
use crate::dingtalk::simulator::{Simulator, SimulatorArgs};

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    simulator: SimulatorArgs,
}

pub(super) async fn run(args: SimulateArgs) -> Result<Exit, Failure> {
    let stop = stop_on_signals()?;
    let address = args.simulator.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on `{address}`: {error}"))?;
    let simulator = Simulator::start(args.simulator.settings(), listener)?;
    say(format!("chat     {}/", simulator.url()));
    say(format!("webhook  {}/robot/send?access_token=…", simulator.url()));
    stop.cancelled().await;
    simulator.shutdown().await;
    Ok(Exit::Done)
}
