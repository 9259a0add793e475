//! The stand-in for DingTalk against clients for it that others wrote, so that it is not only our own idea of DingTalk.
//!
//! Each is a program under `tests/peers/clients`, which fails when an answer is not what its client needs; what it said
//! is then looked at in the chats. `tests/peers/install` installs the clients.

use std::net::SocketAddr;

use dingest::dingtalk::simulator::rules::Call;
use dingest::dingtalk::simulator::{Simulator, SimulatorSettings};
use tokio::net::TcpListener;

use crate::process::python;

/// A strict stand-in, and its address.
async fn dingtalk() -> (Simulator, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let settings = SimulatorSettings {
        bots: vec!["ops@group:token-of-ops:SEC0123456789".parse().expect("a bot")],
        apps: vec!["alerts:ding1:app-s3cret::7".parse().expect("an app")],
        groups: vec!["alerts@everybody:cidA==".parse().expect("a group")],
        people: ["Ann:u1", "Bao:u2"]
            .map(|person| person.parse().expect("a person"))
            .into(),
        accept_any_token: false,
        ..SimulatorSettings::default()
    };
    let dingtalk = Simulator::start(settings, listener).expect("the stand-in for DingTalk");
    (dingtalk, address)
}

/// Runs one of the programs against the stand-in.
#[track_caller]
fn tell(program: &str, address: SocketAddr) {
    let (content, said) = python("clients", program, &[&address.to_string()]);
    assert!(content, "{program}: {said}");
}

/// The types of the messages, and what they say.
fn gist(calls: &[Call]) -> Vec<(&str, &str)> {
    (calls.iter())
        .map(|call| (call.content.msgtype.as_str(), call.content.text.as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs what tests/peers/install installs"]
async fn dingtalks_own_sdk_sends_asks_and_recalls() {
    let (dingtalk, address) = dingtalk().await;
    tell("official.py", address);
    // What it said first, to the group and to the people, was recalled.
    let recalled: Vec<Call> = dingtalk.ledger().into_iter().take(2).collect();
    let said = "### Disk\n\n- **node-1** 盘满了 91 %";
    assert_eq!(gist(&recalled), [("markdown", said); 2]);
    assert!(recalled.iter().all(|call| call.shown && call.recalled));
    assert_eq!((recalled[0].read_by.len(), recalled[1].read_by.len()), (2, 1));
    let shown = dingtalk.chat("u1");
    assert_eq!(gist(&shown), [("actionCard", "### Disk")]);
    assert_eq!(shown[0].content.links.len(), 2);
    assert_eq!(dingtalk.messages(), shown);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs what tests/peers/install installs"]
async fn a_client_for_custom_bots_says_every_type_of_message() {
    let (dingtalk, address) = dingtalk().await;
    tell("webhook.py", address);
    let shown = dingtalk.messages();
    let types: Vec<_> = gist(&shown).into_iter().map(|(msgtype, _)| msgtype).collect();
    assert_eq!(
        types,
        [
            "text",
            "markdown",
            "link",
            "link",
            "actionCard",
            "actionCard",
            "feedCard"
        ]
    );
    assert_eq!(shown[0].content.mentions, ["13800000000"]);
    assert!(shown[1].content.mentions_all);
    assert_eq!(
        (shown[4].content.links.len(), shown[5].content.links.len()),
        (1, 3)
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs what tests/peers/install installs"]
async fn a_client_of_the_older_api_sends_work_notices() {
    let (dingtalk, address) = dingtalk().await;
    tell("notices.py", address);
    let (ann, bao) = (dingtalk.chat("u1"), dingtalk.chat("u2"));
    assert_eq!(gist(&ann), [("text", "node-1 盘满了"), ("text", "to all")]);
    assert_eq!(
        gist(&bao),
        [
            ("text", "node-1 盘满了"),
            ("action_card", "### Disk"),
            ("text", "to all")
        ]
    );
    assert!(bao.iter().all(|call| call.notice));
}
