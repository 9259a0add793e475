//! Prometheus that takes the daemon for its Alertmanager.

use crate::daemon::Daemon;
use crate::exporter::Exporter;
use crate::peer::Prometheus;
use crate::process::free_port;
use crate::world::{World, says};

const SOURCE: &str = "  - { name: prometheus, type: prometheus }";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus"]
async fn prometheus_is_heard_under_the_path_of_a_source() {
    tells_firing_and_resolved(", path_prefix: /v1/hooks/prometheus").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus"]
async fn prometheus_is_heard_under_the_path_of_an_alertmanager() {
    tells_firing_and_resolved("").await;
}

async fn tells_firing_and_resolved(prefix: &str) {
    let world = World::new().await;
    let disk = Exporter::start(97).await;
    let dingest = Daemon::start(&world, SOURCE).await;
    let entry = entry(&dingest, prefix);
    let _prometheus = Prometheus::start(&world, free_port(), &[&disk.address], &entry).await;

    says(
        &world.told(1).await,
        &[
            "1 new",
            "DiskFull",
            "sda1 is 97 % full",
            "prometheus.example.com%2Fgraph",
        ],
    );
    // The lease of four seconds is renewed every second: six renewals outlive it.
    dingest.judged(&world, "repeat", 6).await;
    world.told_only(1);

    disk.fill(50);
    says(&world.told(2).await, &["✅", "DiskFull"]);
    let repeats = dingest.verdicts(&world, "repeat").await;
    dingest.judged(&world, "repeat", repeats + 2).await;
    dingest.has_told_all(&world).await;
    world.told_only(2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus"]
async fn the_alerts_of_a_prometheus_that_dies_expire() {
    let world = World::new().await;
    let disk = Exporter::start(97).await;
    let dingest = Daemon::start(&world, SOURCE).await;
    let (port, entry) = (free_port(), entry(&dingest, ""));
    let prometheus = Prometheus::start(&world, port, &[&disk.address], &entry).await;
    says(&world.told(1).await, &["1 new", "DiskFull"]);
    drop(prometheus);
    says(&world.told(2).await, &["1 expired", "DiskFull"]);

    let _prometheus = Prometheus::start(&world, port, &[&disk.address], &entry).await;
    says(&world.told(3).await, &["again", "DiskFull"]);
    disk.fill(50);
    says(&world.told(4).await, &["✅", "DiskFull"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus"]
async fn a_prometheus_that_restarts_within_the_lease_is_not_heard_twice() {
    let world = World::new().await;
    let disk = Exporter::start(97).await;
    let dingest = Daemon::start(&world, SOURCE).await;
    let entry = entry(&dingest, "");
    let (first, second) = (free_port(), free_port());
    let prometheus = Prometheus::start(&world, first, &[&disk.address], &entry).await;
    world.told(1).await;
    // The other one of a pair is there when the first goes.
    let other = Prometheus::start(&world, second, &[&disk.address], &entry).await;
    let sent = "prometheus_notifications_sent_total";
    world.counted(&other.url, sent, &[], 2).await;
    drop(prometheus);
    let repeats = dingest.verdicts(&world, "repeat").await;
    dingest.judged(&world, "repeat", repeats + 6).await;
    world.told_only(1);
    let _prometheus = Prometheus::start(&world, first, &[&disk.address], &entry).await;
    let repeats = dingest.verdicts(&world, "repeat").await;
    dingest.judged(&world, "repeat", repeats + 4).await;
    dingest.has_told_all(&world).await;
    world.told_only(1);
}

/// An entry of `alerting.alertmanagers`.
fn entry(dingest: &Daemon, more: &str) -> String {
    format!(
        "{{ static_configs: [{{ targets: ['{}'] }}]{more} }}",
        dingest.address()
    )
}
