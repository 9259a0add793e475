//! Moving over from other programs: their configuration becomes ours, their senders find their paths.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use dingest::dingtalk::simulator::Simulator;
use serde_json::Value;
use tempfile::TempDir;

use crate::chat::{bots, chat, heard};
use crate::daemon::{Daemon, Home, configuration};

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import");
    path.join(name).display().to_string()
}

fn dingest(words: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_dingest")).args(words).output();
    output.expect("the program runs")
}

/// Carries a configuration over; gives the directory, and what was said to be left.
fn imported(file: &str) -> (TempDir, String) {
    let directory = TempDir::new().expect("a directory");
    let output = dingest(&[
        "import",
        file,
        "--output",
        &directory.path().display().to_string(),
        "--alertmanager",
        "http://am:9093/",
    ]);
    let left = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{left}");
    (directory, left)
}

#[test]
fn what_cannot_be_carried_over_is_named_line_by_line_and_secrets_get_files() {
    let (directory, left) = imported(&data("config.yml"));
    for (place, what) in [
        ("config.yml:1:", "`timeout`"),
        ("config.yml:21:", "not one of the built-in layouts"),
        ("own.tmpl:2:", "template `long`"),
    ] {
        assert!(
            left.contains(place) && left.contains(what),
            "{place} {what} in\n{left}"
        );
    }
    assert_eq!(left.matches('⚠').count(), 3, "{left}");
    let written = fs::read_to_string(directory.path().join("dingest.yaml")).expect("a configuration");
    assert!(
        !written.contains("token-") && !written.contains("SEC0"),
        "{written}"
    );
    let secret = directory.path().join("secrets/ops.secret");
    let mode = fs::metadata(&secret).expect("a secret").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        fs::read_to_string(secret).expect("a secret"),
        "SEC000000000000000000000\n"
    );
    let output = dingest(&[
        "import",
        &data("config.yml"),
        "--output",
        &directory.path().display().to_string(),
    ]);
    assert_eq!(output.status.code(), Some(1), "nothing is written over");
}

/// A message without its frame, and with runs of empty lines as one: that is how they look.
fn rendered(directory: &Path, source: &str) -> String {
    let config = directory.join("dingest.yaml").display().to_string();
    // What has been over for long is told to nobody.
    let just_now = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(60);
    let body = fs::read_to_string(data("body.json")).expect("a body");
    let file = directory.join("body.json");
    fs::write(&file, body.replace("2026-03-01T01:02:00Z", &just_now.to_string())).expect("a body");
    let file = file.display().to_string();
    let output = dingest(&["render", &file, "--source", source, "--config", &config]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, text) = text.split_once("title: ").unwrap_or_else(|| panic!("{output:?}"));
    one_blank(text)
}

fn one_blank(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.dedup_by(|line, before| line.is_empty() && before.is_empty());
    lines.join("\n").trim_end().to_owned()
}

/// What the other program's `default.tmpl` writes for `body.json`, expanded by Go's rules.
const DEFAULT: &str = r"[FIRING:2] HighLatency (east-1)

#### \[FIRING:2\] **[HighLatency](http://am:9093/#/alerts?receiver=ops)**
### Alerts Firing

**Alert:** \[CRITICAL\] p99 is 2.4 s

**Description:** over 1 s for ten minutes

**Graph:** [📈](http://prom:9090/graph?g0.expr=x)

**Details:**
> - alertname: HighLatency
> - cluster: east-1
> - instance: api-3:9100


**Alert:** \[CRITICAL\] p99 is 1.9 s

**Description:** over 1 s for ten minutes

**Graph:** [📈](http://prom:9090/graph?g0.expr=x)

**Details:**
> - alertname: HighLatency
> - cluster: east-1
> - instance: api-4:9100


### Alerts Resolved

**Alert:** \[WARNING\] p99 is 1.2 s

**Description:** over 1 s for ten minutes

**Graph:** [📈](http://prom:9090/graph?g0.expr=x)

**Details:**
> - alertname: HighLatency
> - cluster: east-1
> - instance: api-5:9100
";

/// The same for its legacy layout, which is silent about what is over. Without the number in the text, which is ours,
/// DingTalk rings the phone and does not say so.
const LEGACY: &str = r"[FIRING:2] HighLatency (east-1)

#### \[FIRING:2\] **[HighLatency](http://am:9093/#/alerts?receiver=db)**

**Labels**
> - alertname: HighLatency
> - cluster: east-1
> - instance: api-3:9100
> - severity: critical

**Annotations**
> - description: over 1 s for ten minutes
> - summary: p99 is 2.4 s

**Source:** [http://prom:9090/graph?g0.expr=x](http://prom:9090/graph?g0.expr=x)

**Labels**
> - alertname: HighLatency
> - cluster: east-1
> - instance: api-4:9100
> - severity: critical

**Annotations**
> - description: over 1 s for ten minutes
> - summary: p99 is 1.9 s

**Source:** [http://prom:9090/graph?g0.expr=x](http://prom:9090/graph?g0.expr=x)

@13800000000
";

#[test]
fn its_layouts_look_as_they_did() {
    let (directory, _) = imported(&data("config.yml"));
    assert_eq!(rendered(directory.path(), "ops"), one_blank(DEFAULT));
    assert_eq!(rendered(directory.path(), "db"), one_blank(LEGACY));
}

/// The bots that a chat has heard of an alert.
async fn told(chat: &Simulator, alert: &str, bots: usize) -> Vec<String> {
    let calls = heard(chat, alert, |calls| {
        calls
            .iter()
            .filter(|call| call.content.text.contains(alert))
            .count()
            >= bots
    })
    .await;
    let told = calls.iter().filter(|call| call.content.text.contains(alert));
    let mut told: Vec<String> = told.map(|call| call.bot.clone()).collect();
    told.sort();
    told
}

fn alert(name: &str) -> String {
    format!(
        r#"{{"version":"4","status":"firing","alerts":[{{"status":"firing","labels":{{"alertname":"{name}"}}}}]}}"#
    )
}

#[test]
fn a_target_whose_bot_cannot_be_is_named_where_it_stands_and_leaves_nothing_behind() {
    let home = Home::new();
    let (file, output) = (home.path("config.yml"), home.path("ours"));
    let import = |url: &str, secret: &str| {
        let target = format!("targets:\n  ops:\n    url: '{url}'\n    secret: '{secret}'\n");
        fs::write(&file, target).expect("a configuration");
        let [file, output] = [&file, &output].map(|path| path.display().to_string());
        dingest(&["import", &file, "--output", &output])
    };
    let bot = "https://oapi.dingtalk.com/robot/send?access_token=abc";
    for (url, secret, place) in [
        (
            "https://oapi.dingtalk.com/robot/sent?access_token=abc",
            "SEC1",
            "config.yml:3:10",
        ),
        (
            "https://me:pw@oapi.dingtalk.com/robot/send?access_token=abc",
            "SEC1",
            "config.yml:3:10",
        ),
        (bot, "SEC 1", "secrets/ops.secret"),
    ] {
        let refused = import(url, secret);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(place), "{said}");
        assert!(!said.contains("abc") && !said.contains("SEC"), "{said}");
    }
    assert!(import(bot, "SEC1").status.success());
}

#[tokio::test]
async fn its_senders_go_on_telling_whom_they_told() {
    let chat = chat(&["ops", "db"]).await;
    let home = Home::new();
    let target = |name: &str| {
        let url = chat.url();
        format!("  {name}:\n    url: {url}/robot/send?access_token=token-{name}\n    secret: SEC{name}\n")
    };
    let file = home.path("config.yml");
    fs::write(&file, format!("targets:\n{}{}", target("db"), target("ops"))).expect("a configuration");
    let (directory, left) = imported(&file.display().to_string());
    assert_eq!(left, "");
    let config = directory.path().join("dingest.yaml");
    let text = fs::read_to_string(&config).expect("a configuration");
    fs::write(&config, format!("server: {{ listen: 127.0.0.1:0 }}\n{text}")).expect("a configuration");
    let mut command = Command::new(env!("CARGO_BIN_EXE_dingest"));
    command
        .arg("run")
        .arg("--config")
        .arg(&config)
        .args(["--log-format", "json"]);
    command.arg("--state-dir").arg(directory.path());
    let daemon = Daemon::spawn(command).await;

    let post = async |path: &str, body: String| {
        let response = daemon.http().post(daemon.url(path)).body(body).send().await;
        response.expect("an answer").status().as_u16()
    };
    assert_eq!(post("/dingtalk/db/send", alert("Slow")).await, 200);
    assert_eq!(told(&chat, "Slow", 1).await, ["db"]);
    // The same alert for another target is told there, too.
    assert_eq!(post("/dingtalk/ops/send", alert("Slow")).await, 200);
    assert_eq!(told(&chat, "Slow", 2).await, ["db", "ops"]);
    for path in ["/-/healthy", "/-/ready"] {
        let answer = daemon
            .http()
            .get(daemon.url(path))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
    }
    assert_eq!(post("/-/reload", String::new()).await, 200);
}

/// An address, the status it is answered with, the bot that tells of it, and the name of the alert that is posted.
fn addresses() -> Vec<(String, u16, &'static str, &'static str)> {
    let address = "https://oapi.dingtalk.com/robot/send?access_token=token";
    let by_adapter = "/webhook/send?channel_type=dingtalk&msg_type=markdown&token=token";
    vec![
        (
            format!("/prometheusalert?type=dd&tpl=prometheus-dd&ddurl={address}-db&at=138"),
            200,
            "db",
            "One",
        ),
        (format!("{by_adapter}-db&secret=SECdb"), 200, "db", "Two"),
        (
            format!("/prometheusalert?type=dd&ddurl={address}-ops"),
            200,
            "ops",
            "Three",
        ),
        (
            "/prometheusalert?type=dd&tpl=prometheus-dd".to_owned(),
            200,
            "ops",
            "Four",
        ),
        (
            format!("/prometheusalert?type=dd&ddurl={address}-nobody"),
            403,
            "",
            "Five",
        ),
        (
            format!("/prometheusalert?type=dd&ddurl={address}-db,{address}-nobody"),
            403,
            "",
            "Six",
        ),
        (format!("{by_adapter}-nobody"), 403, "", "Seven"),
        (
            "/webhook/send?channel_type=feishu&token=token-db".to_owned(),
            404,
            "",
            "Eight",
        ),
        (
            format!("/prometheusalert?type=wx&wxurl={address}-db"),
            404,
            "",
            "Nine",
        ),
    ]
}

#[tokio::test]
async fn addresses_with_tokens_lead_to_the_bots_that_have_them_and_to_no_others() {
    let chat = chat(&["ops", "db"]).await;
    let home = Home::new();
    let rest = format!(
        "sources: [{{ name: alertmanager, type: alertmanager }}, {{ name: db, type: alertmanager }}]
{}receivers: [{{ name: ops, bots: [ops] }}, {{ name: db, bots: [db] }}]
route: {{ receiver: ops, urgent: true, routes: [{{ receiver: db, sources: [db] }}] }}
",
        bots(&["ops", "db"])
    );
    home.configure(&configuration(chat.url(), &rest));
    let daemon = Daemon::start(&home).await;
    for (path, status, bot, name) in addresses() {
        // From elsewhere, as a proxy says: a source without `auth` is not open to it, but the token opens it.
        let request = daemon
            .http()
            .post(daemon.url(&path))
            .header("x-forwarded-for", "192.0.2.1");
        let without_token = !path.contains("token-");
        let request = if without_token {
            daemon.http().post(daemon.url(&path))
        } else {
            request
        };
        let answer = request.body(alert(name)).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let answer: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        if status == 200 {
            assert_eq!(told(&chat, name, 1).await, [bot], "{path}");
        } else {
            assert!(!answer.to_string().contains("token-"), "{answer}");
        }
    }
    let log = daemon.log().join("\n");
    assert!(!log.contains("token-"), "{log}");
}
