//! The page of alerts: all of them can be reached, the worst first.

use crate::alerts::{alert, firing};
use crate::chat::{bots, chat};
use crate::daemon::{Daemon, Home};

#[tokio::test]
async fn the_worst_come_first_and_every_alert_is_on_one_page() {
    let chat = chat(&["ops"]).await;
    let rest = format!(
        "{}receivers: [{{ name: ops, bots: [ops] }}]\nroute: {{ receiver: ops }}\n",
        bots(&["ops"])
    );
    let home = Home::with(&chat, &rest);
    let daemon = Daemon::start(&home).await;
    let mut alerts: Vec<_> = (0..120)
        .map(|number| firing(&format!("node-{number:03}-")))
        .collect();
    alerts.push(alert("Down", "node-last-", "critical"));
    daemon.post(&alerts).await;
    let first = daemon.text("/alerts?receiver=ops").await;
    let second = daemon.text("/alerts?receiver=ops&page=2").await;
    for text in [&first, &second] {
        assert!(
            text.contains("🔴 1 · 🟠 120") && text.contains("121 firing"),
            "{text}"
        );
    }
    assert!(
        first.contains("node-last-") && first.contains("1 – 100 of 121"),
        "{first}"
    );
    assert!(first.contains("?receiver&#x3D;ops&amp;page&#x3D;2"), "{first}");
    assert!(second.contains("101 – 121 of 121"), "{second}");
    for number in 0..120 {
        let node = format!("node-{number:03}- does not answer");
        assert_ne!(first.contains(&node), second.contains(&node), "{node}");
    }
    let third = daemon.text("/alerts?page=3").await;
    assert!(
        third.contains("0 – 0 of 121") && third.contains("page&#x3D;2"),
        "{third}"
    );
    for wrong in ["page=0", "page=x", "limit=10000"] {
        let answer = daemon
            .http()
            .get(daemon.url(&format!("/alerts?{wrong}")))
            .send()
            .await;
        assert_eq!(answer.expect("an answer").status(), 400, "{wrong}");
    }
}
