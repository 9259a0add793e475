//! Our own metrics, as Prometheus sees them.

use crate::daemon::Daemon;
use crate::peer::{Alertmanager, Prometheus, Status, alert};
use crate::process::{free_port, run};
use crate::world::{World, text};

const SOURCE: &str = "  - { name: alertmanager, type: alertmanager }";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus and prometheus-alertmanager"]
async fn prometheus_scrapes_our_metrics_and_promtool_finds_no_fault() {
    let world = World::new().await;
    let dingest = Daemon::start(&world, SOURCE).await;
    let alertmanager = Alertmanager::start(&world, dingest.hook("alertmanager")).await;
    alertmanager
        .post(&world, &alert("DiskFull", "db-1", "97 % full", Status::Firing))
        .await;
    world.told(1).await;

    let metrics = world
        .get(&format!("{}/metrics", dingest.url))
        .await
        .expect("metrics");
    let file = world.write("metrics.txt", &metrics);
    let (content, said) = run("promtool", &["check", "metrics"], Some(&file));
    assert!(content && said.is_empty(), "{}: {said}\n{metrics}", text(&file));

    let prometheus = Prometheus::start(&world, free_port(), &[dingest.address()], "").await;
    let up = prometheus.query(&world, "up == 1").await;
    assert_eq!(up, "1");
    let new = "dingest_alert_verdicts_total{source=\"alertmanager\",verdict=\"new\"}";
    assert_eq!(prometheus.query(&world, new).await, "1");
    assert_eq!(
        prometheus.query(&world, "dingest_alerts{state=\"firing\"}").await,
        "1"
    );
    for complaint in ["level=warn", "level=error"] {
        assert!(!prometheus.log().contains(complaint), "{}", prometheus.log());
    }
}
