//! Templates that never end: what they were to tell is told by the built-in one.

use super::*;
use crate::alerts::alert;
use crate::chat::{chat, heard, names};
use crate::daemon::Home;

/// How soon an urgent alert is in its chat, whatever other receivers' templates do.
const TOLD_MAX: Duration = Duration::from_secs(5);
/// Alerts of the digest with the endless template.
const MANY: usize = 350;

const REST: &str = "templates: [endless.hbs]
receivers:
  - { name: endless, bots: [endless], template: endless }
  - { name: duty, bots: [duty] }
route:
  receiver: endless
  group_by: [alertname]
  group_wait: 500ms
  group_interval: 1s
  routes:
    - { matchers: ['alertname=\"Duty\"'], receiver: duty, urgent: true }
";

/// Over all alerts for each of all alerts.
const ENDLESS: &str = "{{#each sections}}{{#each alerts}}{{#each @root.sections}}{{#each alerts}}\
    {{#if (eq severity 'x')}}{{/if}}{{/each}}{{/each}}{{/each}}{{/each}}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_whose_template_never_ends_is_told_all_the_same() {
    let chat = chat(&["endless", "duty"]).await;
    let home = Home::new();
    std::fs::write(home.path("endless.hbs"), ENDLESS).expect("a template");
    home.configure(&crate::daemon::configuration(
        chat.url(),
        &format!("{}{REST}", bots(&["endless", "duty"])),
    ));
    let daemon = Daemon::start(&home).await;
    let many: Vec<_> = (0..MANY)
        .map(|number| firing(&format!("node-{number}")))
        .collect();
    daemon.post(&many).await;
    let neighbour = Neighbour::begin(&daemon);
    let posted = Instant::now();
    daemon.post(&[alert("Duty", "duty-1", "critical")]).await;
    heard(&chat, "the urgent alert is told", |calls| {
        calls
            .iter()
            .any(|call| names(&call.content.text, "duty-").contains("duty-1"))
    })
    .await;
    assert!(
        posted.elapsed() <= TOLD_MAX,
        "it was told after {:?}",
        posted.elapsed()
    );
    let ledger = heard(&chat, "the digest is told", |calls| {
        calls.iter().any(|call| call.bot == "endless")
    })
    .await;
    neighbour.end().await;
    let text: String = ledger
        .iter()
        .filter(|it| it.bot == "endless")
        .map(|it| it.content.text.as_str())
        .collect();
    assert!(
        text.contains("template endless failed, the built-in one is used"),
        "{text}"
    );
    daemon.everything_is_told().await;
    let metrics = daemon.text("/metrics").await;
    assert!(
        metrics.contains("dingest_template_failures_total{receiver=\"endless\"}"),
        "{metrics}"
    );
}
