//! Two Alertmanagers of one high-availability pair, both posting to one source.

use crate::daemon::Daemon;
use crate::peer::{Alertmanager, AlertmanagerSetup, Status, alert};
use crate::process::{free_port, until};
use crate::world::{World, says};

const SOURCE: &str = "  - { name: alertmanager, type: alertmanager }";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus-alertmanager"]
async fn two_alertmanagers_that_do_not_know_of_each_other_are_told_as_one() {
    let world = World::new().await;
    let dingest = Daemon::start(&world, SOURCE).await;
    let pair = [
        Alertmanager::start(&world, dingest.hook("alertmanager")).await,
        Alertmanager::start(&world, dingest.hook("alertmanager")).await,
    ];
    let firing = alert("DiskFull", "db-1", "97 % full", Status::Firing);
    for alertmanager in &pair {
        alertmanager.post(&world, &firing).await;
    }
    says(&world.told(1).await, &["DiskFull", "db-1"]);
    for alertmanager in &pair {
        alertmanager.notified(&world, 2).await;
    }
    world.told_only(1);

    let resolved = alert("DiskFull", "db-1", "97 % full", Status::Resolved);
    for alertmanager in &pair {
        alertmanager.post(&world, &resolved).await;
    }
    says(&world.told(2).await, &["✅", "DiskFull"]);
    // The second of them says so too, or repeats once more what was true before.
    for alertmanager in &pair {
        until("no alert is left", async || {
            let groups = world
                .get(&format!("{}/api/v2/alerts/groups", alertmanager.url))
                .await?;
            (groups.trim() == "[]").then_some(())
        })
        .await;
    }
    dingest.has_told_all(&world).await;
    world.told_only(2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus-alertmanager"]
async fn a_cluster_tells_once_and_goes_on_when_one_of_it_dies() {
    let world = World::new().await;
    let dingest = Daemon::start(&world, SOURCE).await;
    let ports = [free_port(), free_port()];
    let member = |own: u16, peer: u16| AlertmanagerSetup {
        cluster: vec![
            format!("--cluster.listen-address=127.0.0.1:{own}"),
            format!("--cluster.peer=127.0.0.1:{peer}"),
            "--cluster.gossip-interval=20ms".to_owned(),
            // How long the second waits for the first to have notified.
            "--cluster.peer-timeout=1s".to_owned(),
        ],
        ..AlertmanagerSetup::posting_to(dingest.hook("alertmanager"))
    };
    let first = member(ports[0], ports[1]).start(&world).await;
    let second = member(ports[1], ports[0]).start(&world).await;
    for alertmanager in [&first, &second] {
        until("the cluster has settled", async || {
            let status = world.get(&format!("{}/api/v2/status", alertmanager.url)).await?;
            let status: serde_json::Value = serde_json::from_str(&status).ok()?;
            let cluster = &status["cluster"];
            (cluster["status"] == "ready" && cluster["peers"].as_array()?.len() == 2).then_some(())
        })
        .await;
    }
    let firing = alert("DiskFull", "db-1", "97 % full", Status::Firing);
    for alertmanager in [&first, &second] {
        alertmanager.post(&world, &firing).await;
    }
    says(&world.told(1).await, &["DiskFull", "db-1"]);
    dingest.judged(&world, "repeat", 2).await;
    world.told_only(1);

    drop(first);
    second.notifies_again(&world).await;
    world.told_only(1);
    let resolved = alert("DiskFull", "db-1", "97 % full", Status::Resolved);
    second.post(&world, &resolved).await;
    says(&world.told(2).await, &["✅", "DiskFull"]);
    dingest.has_told_all(&world).await;
    world.told_only(2);
}
