//! The group chat: the stand-in, and how to read what was said there.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use dingest::dingtalk::simulator::fault::{Fault, Injection};
use dingest::dingtalk::simulator::rules::Call;
use dingest::dingtalk::simulator::{SimulatedBot, Simulator, SimulatorSettings};
use tokio::net::TcpListener;

use crate::PATIENCE;

/// The calls of an app's bot that write to a group, and to people.
pub(crate) const GROUP_SEND: &str = "/v1.0/robot/groupMessages/send";
pub(crate) const PEOPLE_SEND: &str = "/v1.0/robot/oToMessages/batchSend";

/// A stand-in that knows bots of these names, with the tokens and secrets [`bots`] gives them. All are in one
/// group.
pub(crate) async fn chat(names: &[&str]) -> Simulator {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    chat_on(names, listener)
}

/// The same on a given socket.
pub(crate) fn chat_on(names: &[&str], listener: TcpListener) -> Simulator {
    let settings = SimulatorSettings {
        bots: names.iter().map(|name| bot(name)).collect(),
        ..SimulatorSettings::default()
    };
    strict_on(settings, listener)
}

/// A stand-in that knows what the settings name and nothing else, in real time.
pub(crate) async fn strict(settings: SimulatorSettings) -> Simulator {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    strict_on(settings, listener)
}

/// An organisation with an app `alerts`, whose agent is 7, a group that its bot is in, and two people.
pub(crate) fn organisation() -> SimulatorSettings {
    let person = |text: &str| text.parse().expect("a person's description");
    let app = "alerts:ding1:app-s3cret:ding1:7";
    SimulatorSettings {
        apps: vec![app.parse().expect("an app's description")],
        groups: vec!["alerts@everybody:cidA==".parse().expect("a group's description")],
        people: vec![person("王芳:wang:13800000000:un-wang"), person("Ann:ann")],
        ..SimulatorSettings::default()
    }
}

/// What goes wrong with the next call of this path.
pub(crate) fn on(path: &str, fault: Fault) -> Injection {
    Injection {
        path: Some(path.to_owned()),
        ..Injection::next(fault)
    }
}

/// How often the app `alerts` made the call of this path.
pub(crate) fn asked(chat: &Simulator, path: &str) -> u64 {
    let apps = chat.stats().apps;
    let app = apps.iter().find(|app| app.app == "alerts").expect("the app");
    app.calls.get(path).copied().unwrap_or_default()
}

/// To whom a call was.
pub(crate) fn to(call: &Call) -> Vec<&str> {
    call.people.iter().map(|person| person.user_id.as_str()).collect()
}

fn strict_on(settings: SimulatorSettings, listener: TcpListener) -> Simulator {
    let settings = SimulatorSettings {
        accept_any_token: false,
        time_scale: NonZeroU32::MIN,
        ..settings
    };
    Simulator::start(settings, listener).expect("the stand-in starts")
}

fn bot(name: &str) -> SimulatedBot {
    format!("{name}@group:token-{name}:SEC{name}")
        .parse()
        .expect("a bot's description")
}

/// The configuration's lines for the same bots.
pub(crate) fn bots(names: &[&str]) -> String {
    let lines = names
        .iter()
        .map(|name| format!("  - {{ name: {name}, access_token: token-{name}, secret: SEC{name} }}\n"));
    format!("bots:\n{}", lines.collect::<String>())
}

/// Waits until the ledger satisfies `enough`; `what` is said when it never does.
pub(crate) async fn heard(chat: &Simulator, what: &str, enough: impl Fn(&[Call]) -> bool) -> Vec<Call> {
    tokio::time::timeout(PATIENCE, chat.wait_for(enough))
        .await
        .unwrap_or_else(|_| {
            panic!(
                "waited {PATIENCE:?} in vain for this: {what}; {}",
                gist(&chat.ledger())
            )
        })
}

/// The words of a text that begin with `prefix`: the nodes it is about.
pub(crate) fn names(text: &str, prefix: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

/// Every node the group was told of, once for every message shown that tells of it.
pub(crate) fn told(chat: &Simulator, prefix: &str) -> Vec<String> {
    chat.messages()
        .iter()
        .flat_map(|call| names(&call.content.text, prefix))
        .collect()
}

/// A ledger in a few lines, for the message of a failed test.
pub(crate) fn gist(ledger: &[Call]) -> String {
    let lines = ledger.iter().map(|call| {
        format!(
            "\n#{} {} fault {:?} errcode {:?} uuid {:?} duplicate of {:?}: {}",
            call.number,
            call.bot,
            call.fault,
            call.errcode,
            call.msg_uuid,
            call.duplicate_of,
            call.content.title
        )
    });
    format!("the ledger:{}", lines.collect::<String>())
}
