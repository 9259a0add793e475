//! The demonstration: one incident, told in every way there is.

use serde_json::Value;

use crate::talking::Talking;

#[tokio::test]
async fn the_same_alert_is_told_by_a_bot_in_a_group_to_two_people_and_by_a_work_notice() {
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--chat",
        "127.0.0.1:0",
        "--locale",
        "en",
    ];
    let program = Talking::start(&[&["demo"][..], &arguments[..]].concat());
    let (program, chats) = program.says("chats").await;
    // By then everybody has been told the first alerts.
    let (program, _) = program.says("an uplink fails").await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let ledger = http.get(format!("{chats}_sim/messages")).send().await;
    let text = ledger.expect("an answer").text().await.expect("a body");
    let ledger: Value = serde_json::from_str(&text).expect("JSON");
    let messages = ledger["messages"].as_array().expect("messages");
    let mut told: Vec<String> = (messages.iter())
        .filter(|message| message["shown"] == true && message["text"].to_string().contains("payments"))
        .flat_map(|message| {
            let kind = if message["notice"] == true {
                "notice"
            } else {
                "chat"
            };
            let people = message["people"].as_array().cloned().unwrap_or_default();
            let mut readers: Vec<Value> = people.iter().map(|person| person["name"].clone()).collect();
            if readers.is_empty() {
                readers.push(message["group"].clone());
            }
            readers
                .into_iter()
                .map(move |name| format!("{kind} {}", name.as_str().unwrap_or("")))
        })
        .collect();
    told.sort();
    let expected = [
        "chat Incidents",
        "chat Li Si",
        "chat Operations",
        "chat Zhang San",
        "notice Wang Wu",
    ];
    assert_eq!(told, expected, "{text}");
    program.stop().await;
}
