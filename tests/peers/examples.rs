//! What the examples tell senders to write: read by the senders' own tools and, where they run here, followed to the
//! group.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::daemon::Daemon;
use crate::exporter::Exporter;
use crate::peer::{Prometheus, RULES};
use crate::process::{Process, free_port, python, run};
use crate::world::{World, says, text};

/// The token of every source in the examples.
const TOKEN: &str = "replace-me";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn senders(name: &str) -> PathBuf {
    repository().join("examples/senders").join(name)
}

/// What a sender's snippet says when dingest is there and its secret file is `secret`.
fn snippet(name: &str, dingest: &Daemon, secret: (&str, &Path)) -> String {
    let written = fs::read_to_string(senders(name)).expect("the snippet");
    let (placeholder, file) = secret;
    for part in ["dingest:8060", placeholder] {
        assert!(written.contains(part), "{name} lacks {part}");
    }
    written
        .replace("dingest:8060", dingest.address())
        .replace(placeholder, &text(file))
}

/// A body of the tests of sources, as the names and texts it has.
fn body(path: &str) -> Map<String, Value> {
    let path = repository().join("tests/data/senders").join(path);
    let written = fs::read_to_string(path).expect("a body");
    if written.starts_with('{') {
        return serde_json::from_str(&written).expect("the body is an object");
    }
    let pairs = form_urlencoded::parse(written.as_bytes());
    pairs
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
        .collect()
}

#[track_caller]
fn check(tool: &str, arguments: &[&str], name: &str) {
    let (content, said) = run(tool, &[arguments, &[&text(&senders(name))]].concat(), None);
    assert!(content, "{tool} {name}: {said}");
}

#[test]
#[ignore = "needs Debian's prometheus, prometheus-alertmanager and php-cli, and what tests/peers/install installs"]
fn the_senders_side_of_the_examples_is_valid() {
    check("amtool", &["check-config"], "alertmanager.yml");
    check(
        "promtool",
        &["check", "config", "--syntax-only"],
        "prometheus.yml",
    );
    check("target/peers/tools/bin/cfn-lint", &[], "aws-sns.cfn.yaml");
    check("php", &["tests/peers/tools/zabbix_import.php"], "zabbix.yaml");
    for (kind, name) in [("alerting", "grafana.yaml"), ("action-group", "azure.json")] {
        let (content, said) = python("tools", "known.py", &[kind, &text(&senders(name))]);
        assert!(content, "{name}: {said}");
    }
    for name in ["loki.yaml", "kubernetes-event-exporter.yaml"] {
        let (content, said) = python("tools", "yaml_as_json.py", &[&text(&senders(name))]);
        assert!(content, "{name}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's victoria-metrics and prometheus"]
async fn vmalert_is_heard_with_the_configuration_of_the_examples() {
    let world = World::new().await;
    let disk = Exporter::start(97).await;
    let source =
        "  - { name: prometheus, type: prometheus, auth: { basic: { username: prometheus, password: pw } } }";
    let dingest = Daemon::start(&world, source).await;
    let metrics = Prometheus::start(&world, free_port(), &[&disk.address], "").await;
    let password = ("/etc/vmalert/dingest.password", &*world.write("password", "pw"));
    let notifier = world.write("vmalert.yml", &snippet("vmalert.yml", &dingest, password));
    let arguments = [
        format!("-datasource.url={}", metrics.url),
        format!("-notifier.config={}", text(&notifier)),
        format!("-rule={}", text(&world.write("rules.yml", RULES))),
        "-evaluationInterval=1s".to_owned(),
        format!("-httpListenAddr=127.0.0.1:{}", free_port()),
    ];
    let _vmalert = Process::start("vmalert", &arguments, &world.path("vmalert.log"));
    says(
        &world.told(1).await,
        &["1 new", "DiskFull", "sda1 is 97 % full", "vmalert"],
    );
    disk.fill(40);
    says(&world.told(2).await, &["1 resolved", "DiskFull"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's zabbix-proxy-sqlite3, and what tests/peers/install installs"]
async fn the_media_type_for_zabbix_runs_in_zabbix_own_engine() {
    let (content, exported) = python("tools", "yaml_as_json.py", &[&text(&senders("zabbix.yaml"))]);
    assert!(content, "{exported}");
    let exported: Value = serde_json::from_str(&exported).expect("JSON");
    let media = &exported["zabbix_export"]["media_types"][0];
    assert_eq!(media["type"], "WEBHOOK");

    let world = World::new().await;
    let dingest = Daemon::of_example(&world, "zabbix").await;
    let script = world.write("script.js", media["script"].as_str().expect("a script"));
    // Runs the script with its parameters, the macros in them replaced by what is in a body.
    let send = |path: &str, token: &str| {
        let mut values = body(path);
        let given = media["parameters"].as_array().expect("parameters");
        let mut given: Map<String, Value> = given
            .iter()
            .map(|it| {
                (
                    it["name"].as_str().expect("a name").to_owned(),
                    it["value"].clone(),
                )
            })
            .collect();
        assert_eq!(given["dingest_url"], "http://dingest:8060/v1/hooks/zabbix");
        values.insert("dingest_url".to_owned(), dingest.hook("zabbix").into());
        values.insert("dingest_token".to_owned(), token.into());
        let names = |map: &Map<String, Value>| {
            let mut names: Vec<String> = map.keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(
            names(&given),
            names(&values),
            "{path} is not what the media type posts"
        );
        given.extend(values);
        let parameters = Value::from(given).to_string();
        run("zabbix_js", &["-s", &text(&script), "-p", &parameters], None)
    };
    let (content, said) = send("zabbix/problem.json", TOKEN);
    assert!(content && said.contains("\"new\":1"), "{said}");
    says(
        &world.told(1).await,
        &["1 new", "Free disk space", "db-07", "Space used: 93 %"],
    );
    let (content, said) = send("zabbix/recovery.json", TOKEN);
    assert!(content && said.contains("\"resolved\":1"), "{said}");
    says(&world.told(2).await, &["1 resolved", "Free disk space"]);
    // What is refused is thrown, so that Zabbix says so.
    let (content, said) = send("zabbix/problem.json", "another");
    assert!(!content && said.contains("dingest answered 401"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's netdata-core and netdata-plugins-bash"]
async fn the_notification_for_netdata_runs_in_netdatas_own_script() {
    let world = World::new().await;
    let dingest = Daemon::of_example(&world, "netdata").await;
    let header = format!("header = \"Authorization: Bearer {TOKEN}\"\n");
    let secret = (
        "/etc/netdata/dingest.curl",
        &*world.write("dingest.curl", &header),
    );
    world.write(
        "health_alarm_notify.conf",
        &snippet("netdata.conf", &dingest, secret),
    );
    let notify = |path: &str| {
        let values = body(path);
        let of = |name: &str| values[name].as_str().expect("a text").to_owned();
        let directory = format!("NETDATA_USER_CONFIG_DIR={}", text(&world.path("")));
        // In the order of `alarm-notify.sh`.
        let arguments = [
            directory.as_str(),
            "NETDATA_STOCK_CONFIG_DIR=/usr/lib/netdata/conf.d",
            "/usr/lib/netdata/plugins.d/alarm-notify.sh",
            "sysadmin",
            &of("host"),
            "1",
            "2",
            "3",
            &of("when"),
            &of("name"),
            &of("chart"),
            "/var",
            &of("status"),
            &of("old_status"),
            "98.2",
            "91.0",
            "10@disks.conf",
            "600",
            "600",
            "%",
            &of("info"),
            &of("value"),
            "",
            "$avail",
            "",
            "0",
            "1",
            "",
            "",
            &of("class"),
            "",
            "",
        ];
        let (_, said) = run("env", &arguments, None);
        assert!(
            said.contains("sent custom notification about disk_space_usage"),
            "{said}"
        );
    };
    notify("netdata/critical.form");
    says(
        &world.told(1).await,
        &[
            "1 new",
            "disk_space_usage",
            "edge-01",
            "98.2 %",
            "disk /var space utilization",
        ],
    );
    notify("netdata/clear.form");
    says(&world.told(2).await, &["1 resolved", "disk_space_usage"]);
}
