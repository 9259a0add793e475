//! One Alertmanager in front of the daemon.

use serde_json::json;

use crate::daemon::Daemon;
use crate::exporter::Exporter;
use crate::peer::{Alertmanager, AlertmanagerSetup, Prometheus, Status, WEBHOOK, alert};
use crate::process::free_port;
use crate::world::{World, says};

const SOURCE: &str = "  - { name: alertmanager, type: alertmanager }";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus and prometheus-alertmanager"]
async fn an_alert_that_fires_is_repeated_and_resolves_is_told_twice() {
    let world = World::new().await;
    let disk = Exporter::start(97).await;
    let dingest = Daemon::start(&world, SOURCE).await;
    let alertmanager = Alertmanager::start(&world, dingest.hook("alertmanager")).await;
    let target = alertmanager.url.replace("http://", "");
    let entry = format!("{{ static_configs: [{{ targets: ['{target}'] }}] }}");
    let _prometheus = Prometheus::start(&world, free_port(), &[&disk.address], &entry).await;

    let firing = world.told(1).await;
    says(
        &firing,
        &[
            "1 new",
            "DiskFull",
            "sda1 is 97 % full",
            "runbooks.example.com%2Fdisk",
            "prometheus.example.com%2Fgraph",
        ],
    );
    dingest.judged(&world, "repeat", 2).await;
    world.told_only(1);

    disk.fill(50);
    says(&world.told(2).await, &["✅", "DiskFull"]);
    assert_eq!(dingest.verdicts(&world, "new").await, 1);
    assert_eq!(dingest.verdicts(&world, "resolved").await, 1);
    dingest.has_told_all(&world).await;
    world.told_only(2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus-alertmanager"]
async fn odd_content_is_told_readably_and_within_the_limit() {
    let world = World::new().await;
    let dingest = Daemon::start(&world, SOURCE).await;
    let alertmanager = Alertmanager::start(&world, dingest.hook("alertmanager")).await;
    let long = "很长的说明 ".repeat(6_000);
    assert!(long.len() > 90_000);
    let mut odd = alert(
        "磁盘将满",
        "数据库-1",
        "第一行\n第二行 \"quoted\" 'and' <b>&amp; 5 > 3",
        Status::Firing,
    );
    odd["annotations"]["description"] = json!(long);
    alertmanager.post(&world, &odd).await;
    let message = world.told(1).await;
    says(
        &message,
        &["磁盘将满", "数据库-1", "第一行", "第二行", "\"quoted\"", "'and'"],
    );
    assert!(message.body_bytes <= 20_000, "{} bytes", message.body_bytes);
    assert!(
        !message.content.text.contains("<b>"),
        "markup of labels is not ours"
    );

    alertmanager.amtool(&[
        "alert",
        "add",
        "alertname=By hand",
        "path=C:\\Temp",
        "--annotation=summary=50 % | of # all * _things_",
    ]);
    let message = world.told(2).await;
    says(&message, &["By hand", "C:\\Temp", "50 %"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus-alertmanager"]
async fn alertmanager_presents_the_credentials_a_source_wants() {
    let world = World::new().await;
    let sources =
        "  - { name: open, type: alertmanager, auth: { basic: { username: am, password: 'pa:ss word' } } }
  - { name: token, type: alertmanager, auth: { bearer_token: t0ken } }";
    let dingest = Daemon::start(&world, sources).await;
    let cases = [
        (
            "open",
            "{ basic_auth: { username: am, password: 'pa:ss word' } }",
            true,
        ),
        ("open", "{ basic_auth: { username: am, password: wrong } }", false),
        ("open", "{}", false),
        ("token", "{ authorization: { credentials: t0ken } }", true),
        ("token", "{ authorization: { credentials: wrong } }", false),
        (
            "token",
            "{ authorization: { type: Token, credentials: t0ken } }",
            false,
        ),
    ];
    let (mut told, mut refused) = (0, 0);
    for (source, http_config, welcome) in cases {
        let setup = AlertmanagerSetup {
            http_config,
            ..AlertmanagerSetup::posting_to(dingest.hook(source))
        };
        let alertmanager = setup.start(&world).await;
        let name = format!("{source}-{told}-{refused}");
        alertmanager
            .post(&world, &alert(&name, "db-1", "full", Status::Firing))
            .await;
        if welcome {
            told += 1;
            says(&world.told(told).await, &[&name]);
        } else {
            refused += 1;
            let failures = "alertmanager_notifications_failed_total";
            world.counted(&alertmanager.url, failures, &[WEBHOOK], 1).await;
        }
        drop(alertmanager);
    }
    let unauthorized = ["status=\"401\""];
    world
        .counted(&dingest.url, "dingest_webhook_requests_total", &unauthorized, 4)
        .await;
    world.told_only(2);
    for secret in ["pa:ss", "t0ken", "token-of-ops", "SEC0123456789", "wrong"] {
        assert!(!dingest.log().contains(secret), "`{secret}` is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus-alertmanager"]
async fn what_fires_while_dingest_is_down_is_told_once_it_runs() {
    let world = World::new().await;
    let port = free_port();
    let hook = format!("http://127.0.0.1:{port}/v1/hooks/alertmanager");
    let alertmanager = Alertmanager::start(&world, hook).await;
    alertmanager
        .post(&world, &alert("DiskFull", "db-1", "97 % full", Status::Firing))
        .await;
    let attempts = "alertmanager_notification_requests_failed_total";
    world.counted(&alertmanager.url, attempts, &[WEBHOOK], 2).await;
    world.told_only(0);

    let dingest = Daemon::start_on(&world, port, SOURCE).await;
    says(&world.told(1).await, &["DiskFull", "97 % full"]);
    dingest.judged(&world, "repeat", 2).await;
    dingest.has_told_all(&world).await;
    world.told_only(1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus-alertmanager"]
async fn what_resolves_while_dingest_is_dead_is_told_after_its_restart() {
    let world = World::new().await;
    let port = free_port();
    let dingest = Daemon::start_on(&world, port, SOURCE).await;
    let alertmanager = Alertmanager::start(&world, dingest.hook("alertmanager")).await;
    let both = |status| ["db-1", "db-2"].map(|host| alert("DiskFull", host, "97 % full", status));
    for firing in both(Status::Firing) {
        alertmanager.post(&world, &firing).await;
    }
    dingest.judged(&world, "new", 2).await;
    drop(dingest);
    let [first, _] = both(Status::Resolved);
    alertmanager.post(&world, &first).await;
    let attempts = "alertmanager_notification_requests_failed_total";
    world.counted(&alertmanager.url, attempts, &[WEBHOOK], 1).await;

    let dingest = Daemon::start_on(&world, port, SOURCE).await;
    dingest.judged(&world, "resolved", 1).await;
    dingest.judged(&world, "repeat", 2).await;
    assert_eq!(dingest.verdicts(&world, "new").await, 0, "both were durable");
    dingest.has_told_all(&world).await;
    world.told_in_all(&["db-1", "db-2", "✅"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus-alertmanager"]
async fn an_alertmanager_that_lost_its_memory_makes_nobody_hear_twice() {
    let world = World::new().await;
    let dingest = Daemon::start(&world, SOURCE).await;
    let firing = alert("DiskFull", "db-1", "97 % full", Status::Firing);
    let alertmanager = Alertmanager::start(&world, dingest.hook("alertmanager")).await;
    alertmanager.post(&world, &firing).await;
    world.told(1).await;
    drop(alertmanager);

    let repeats = dingest.verdicts(&world, "repeat").await;
    let alertmanager = Alertmanager::start(&world, dingest.hook("alertmanager")).await;
    alertmanager.post(&world, &firing).await;
    dingest.judged(&world, "repeat", repeats + 1).await;
    dingest.has_told_all(&world).await;
    world.told_only(1);
    alertmanager
        .post(&world, &alert("DiskFull", "db-1", "97 % full", Status::Resolved))
        .await;
    says(&world.told(2).await, &["✅", "DiskFull"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus-alertmanager"]
async fn an_alert_silenced_in_alertmanager_expires_and_is_told_again_afterwards() {
    let world = World::new().await;
    let source = "  - { name: alertmanager, type: alertmanager, expire_after: 3s }";
    let dingest = Daemon::start(&world, source).await;
    let alertmanager = Alertmanager::start(&world, dingest.hook("alertmanager")).await;
    alertmanager
        .post(&world, &alert("DiskFull", "db-1", "97 % full", Status::Firing))
        .await;
    world.told(1).await;

    let silence = alertmanager.amtool(&[
        "silence",
        "add",
        "alertname=DiskFull",
        "--author=ops",
        "--comment=known",
    ]);
    says(&world.told(2).await, &["1 expired", "DiskFull", "db-1"]);

    alertmanager.amtool(&["silence", "expire", silence.trim()]);
    says(&world.told(3).await, &["again", "DiskFull"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus-alertmanager"]
async fn an_alert_that_is_inhibited_is_told_as_alertmanager_lets_it_through() {
    let world = World::new().await;
    let dingest = Daemon::start(&world, SOURCE).await;
    let setup = AlertmanagerSetup {
        more: "inhibit_rules:
  - { source_matchers: [alertname=NodeDown], target_matchers: [alertname=DiskFull], equal: [host] }
",
        ..AlertmanagerSetup::posting_to(dingest.hook("alertmanager"))
    };
    let alertmanager = setup.start(&world).await;
    let of_host = |name, status| alert(name, "db-1", "of db-1", status);
    alertmanager
        .post(&world, &of_host("NodeDown", Status::Firing))
        .await;
    says(&world.told(1).await, &["NodeDown"]);
    alertmanager
        .post(&world, &of_host("DiskFull", Status::Firing))
        .await;
    alertmanager.notifies_again(&world).await;
    world.told_only(1);

    alertmanager
        .post(&world, &of_host("NodeDown", Status::Resolved))
        .await;
    dingest.judged(&world, "resolved", 1).await;
    dingest.judged(&world, "new", 2).await;
    dingest.has_told_all(&world).await;
    world.told_in_all(&["**DiskFull**", "✅"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's prometheus-alertmanager"]
async fn alerts_that_alertmanager_cuts_off_do_not_go_unnoticed() {
    let world = World::new().await;
    let dingest = Daemon::start(&world, SOURCE).await;
    let setup = AlertmanagerSetup {
        max_alerts: 1,
        ..AlertmanagerSetup::posting_to(dingest.hook("alertmanager"))
    };
    let alertmanager = setup.start(&world).await;
    for host in ["db-1", "db-2", "db-3"] {
        let firing = alert("DiskFull", host, "97 % full", Status::Firing);
        alertmanager.post(&world, &firing).await;
    }
    let cut_off = ["reason=\"cut_off\""];
    world
        .counted(&dingest.url, "dingest_alerts_left_out_total", &cut_off, 2)
        .await;
    let log = dingest.log();
    assert!(log.contains("set its `max_alerts` to 0"), "{log}");
}
