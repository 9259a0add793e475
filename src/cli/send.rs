//! `dingest send`: a test message through every endpoint of a receiver, without the daemon.

use std::collections::BTreeSet;

use clap::Args;

use super::{ConfigArgs, Exit, Failure, say};
use crate::alert::ReceiverName;
use crate::clock::now;
use crate::digest::compose::time_of_day;
use crate::dingtalk::Client;
use crate::dingtalk::message::{self, At, work_notice};
use crate::engine::Outcome;
use crate::plan::{Channel, Endpoint, Plan, Receiver, Way};
use crate::render::form::{Form, Line};

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// The receiver.
    receiver: String,
    /// The text, in markdown.
    #[arg(long, default_value = "This is a test message; nothing is wrong.")]
    text: String,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(args: SendArgs) -> Result<Exit, Failure> {
    let plan = args.config.load()?.plan;
    let mut members = plan.members(&args.receiver).peekable();
    if members.peek().is_none() {
        let known: BTreeSet<&str> = plan.receivers.keys().map(ReceiverName::configured).collect();
        let known = Vec::from_iter(known).join("`, `");
        return Err(format!("there is no receiver `{}`; there are `{known}`", args.receiver).into());
    }
    let client = Client::new();
    let mut exit = Exit::Done;
    for receiver in members {
        if receiver.channel == Channel::Console {
            say(&args.text);
        }
        for endpoint in (receiver.endpoints().iter()).filter_map(|name| plan.endpoints.get(name)) {
            if !send(&client, &plan, receiver, endpoint, &args.text).await {
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

/// Sends through one endpoint and says what came of it.
async fn send(client: &Client, plan: &Plan, receiver: &Receiver, endpoint: &Endpoint, text: &str) -> bool {
    let keyword = endpoint.keyword().unwrap_or_default();
    let title = format!("dingest {keyword}");
    let mut text = text.to_owned();
    if !text.contains(keyword) {
        text = format!("{text}\n\n{keyword}");
    }
    if endpoint.drops_equals() {
        text = format!("{text}\n\n{}", time_of_day(now(), &plan.timezone));
    }
    let line = Line {
        text: text.clone(),
        section: None,
    };
    let form = Form::of(plan, receiver, Some(endpoint));
    let content = form.content(title.trim_end(), &text, &[], &[line]);
    let body = match &endpoint.way {
        Way::Bot(_) => {
            let uuid = format!("dingest-test-{:x}", now().0);
            message::webhook(&content, &At::default(), &uuid)
        }
        Way::Group(group) => message::group(&content, &group.app.robot_code, &group.conversation).0,
        Way::Direct(person) => message::direct(&content, &person.app.robot_code).0,
        Way::WorkNotice(notice) => work_notice::body(&content, notice).0,
    };
    let answer = client.send(&plan.dingtalk, endpoint, body.into(), now()).await;
    let delivered = answer.outcome == Outcome::Delivered;
    // The detail holds DingTalk's code, what it means and what to do.
    say(format!("{}: {} {}", endpoint.name, answer.outcome.as_str(), answer.detail).trim_end());
    delivered
}
