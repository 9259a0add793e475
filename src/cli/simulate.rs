//! `dingest simulate-dingtalk`: the stand-in as a program of its own.

use clap::Args;
use tokio::net::TcpListener;

use super::run::stop_on_signals;
use super::{Exit, Failure, say};
use crate::dingtalk::simulator::people::Fate;
use crate::dingtalk::simulator::rules::Call;
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
    tokio::select! {
        () = show(&simulator) => {}
        () = stop.cancelled() => {}
    }
    simulator.shutdown().await;
    Ok(Exit::Done)
}

/// Prints what comes into the chats, for whoever has no browser at hand.
async fn show(simulator: &Simulator) {
    let mut last = 0;
    loop {
        for call in simulator.arrivals(last).await {
            last = call.number;
            let content = &call.content;
            // A picture is all address, and so is a feed's first entry.
            let text = match (content.text.as_str(), content.links.first()) {
                ("", Some(link)) => &link.url,
                (text, _) => text,
            };
            say(format!(
                "\n{} in {}: {}\n\n{text}",
                call.bot,
                chat(&call),
                content.title
            ));
        }
    }
}

/// The group, or the people it is for.
fn chat(call: &Call) -> String {
    if !call.group.is_empty() {
        return format!("`{}`", call.group);
    }
    let told = call.people.iter().filter(|person| person.fate == Fate::Told);
    let people: Vec<&str> = told.map(|person| person.name.as_str()).collect();
    format!("the chat of {}", people.join(", "))
}
