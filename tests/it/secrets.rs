//! Credentials go nowhere but to their peer: everything that can print is made to, and searched for marked secrets.
//!
//! [`PLACES`] lists where words can come out. Each must be seen with something in it; a path of the API that is added
//! joins by being described.

#![expect(
    clippy::string_slice,
    reason = "base64 and JSON of these tests are cut at ASCII characters"
)]

mod marks;
mod programs;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dingest::dingtalk::simulator::fault::{Fault, Injection};
use dingest::dingtalk::simulator::questions::Saying;
use dingest::dingtalk::simulator::rules::Call;
use dingest::dingtalk::simulator::{SimulatedCallback, Simulator, SimulatorSettings};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::alerts::{alert, firing, resolved, webhook};
use crate::chat::heard;
use crate::daemon::{Daemon, Home, configuration};
use crate::eventually;
use marks::{APP_KEY, APP_SECRET, BEARER, HMAC, PASSWORD, SECRET, TOKEN, WRONG, app_token, found};

/// Everything that can show something.
const PLACES: [&str; 21] = [
    "the log as JSON, at its most talkative",
    "the log as text, at its most talkative",
    "the last words of an aborted process",
    "the last words of panics",
    "the command line as the system shows it",
    "the answers to requests",
    "the API and the metrics",
    "the messages in the chat",
    "the files of the store while it runs",
    "the files of the store afterwards",
    "the files of the store after an abort",
    "reports of `check`",
    "the report of a reload",
    "the words of `render`",
    "the words of `send`",
    "the words of `simulate-dingtalk`",
    "the pages of the stand-in",
    "the words of `demo`",
    "the pages of the demonstration",
    "`Debug` of a plan, a report and an error",
    "errors with all their causes",
];

/// What was shown where.
#[derive(Default)]
struct Exhibits(BTreeMap<&'static str, usize>);

impl Exhibits {
    /// Searches what was shown.
    #[track_caller]
    fn show(&mut self, place: &'static str, what: &str, bytes: impl AsRef<[u8]>) {
        assert!(PLACES.contains(&place), "`{place}` is not listed");
        let bytes = bytes.as_ref();
        if let Some(found) = found(bytes) {
            panic!("{place} ({what}) holds {found}");
        }
        *self.0.entry(place).or_default() += bytes.len();
    }

    #[track_caller]
    fn show_output(&mut self, place: &'static str, what: &str, output: &Output) {
        self.show(place, what, &output.stdout);
        self.show(place, what, &output.stderr);
    }

    /// Whether every place has shown something.
    #[track_caller]
    fn are_complete(&self) {
        for place in PLACES {
            assert!(
                self.0.get(place).is_some_and(|bytes| *bytes > 0),
                "nothing was seen of {place}"
            );
        }
    }
}

/// Sources of every kind of authentication, secrets given in every way.
fn rest(api: &str) -> String {
    format!(
        "sources:
  - {{ name: alertmanager, type: alertmanager }}
  - {{ name: bearer, type: json, auth: {{ bearer_token: '{BEARER}' }} }}
  - {{ name: basic, type: prometheus, auth: {{ basic: {{ username: me, password_file: password }} }} }}
  - {{ name: signed, type: grafana, auth: {{ hmac_secret: {HMAC} }} }}
bots:
  - {{ name: ops, access_token_file: token, secret_env: MARKED_SECRET }}
apps:
  - name: alerts
    app_key: {APP_KEY}
    app_secret_file: app-secret
    agent_id: 7
    base_url: '{api}'
    ask: {{ people: [ann] }}
receivers:
  - {{ name: ops, bots: [ops], direct: {{ app: alerts, users: [ann] }} }}
  - {{ name: night, work_notice: {{ app: alerts, users: ['mobile:13800000000'] }}, recall: resolved }}
route:
  receiver: ops
  group_wait: 20ms
  group_interval: 20ms
  routes: [{{ receiver: night, matchers: [alertname=Night] }}]
"
    )
}

async fn group_chat() -> Simulator {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let bot = format!("ops@group:{TOKEN}:{SECRET}");
    let settings = SimulatorSettings {
        bots: vec![bot.parse().expect("a bot's description")],
        apps: vec![
            format!("alerts:{APP_KEY}:{APP_SECRET}:{APP_KEY}:7")
                .parse()
                .expect("an app's description"),
        ],
        people: vec!["Ann:ann:13800000000".parse().expect("a person's description")],
        accept_any_token: false,
        ..SimulatorSettings::default()
    };
    Simulator::start(settings, listener).expect("the stand-in starts")
}

fn home(dingtalk: &str) -> Home {
    let home = Home::new();
    std::fs::write(home.path("token"), format!("{TOKEN}\n")).expect("a file");
    std::fs::write(home.path("password"), PASSWORD).expect("a file");
    std::fs::write(home.path("app-secret"), APP_SECRET).expect("a file");
    home.configure(&configuration(dingtalk, &rest(dingtalk)));
    home
}

/// A subcommand with the environment's secret, and without a core dump, which would be the memory itself.
fn command(home: &Home, subcommand: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -c 0; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_dingest"),
    ]);
    command.args(subcommand).env("MARKED_SECRET", SECRET);
    home.furnish(&mut command);
    command
}

async fn output(mut command: Command) -> Output {
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("a task").expect("the program runs")
}

#[tokio::test]
async fn no_secret_is_logged_shown_or_kept() {
    let mut exhibits = Exhibits::default();
    of_a_daemon(&mut exhibits).await;
    of_an_aborted_one(&mut exhibits).await;
    of_bad_configurations(&mut exhibits).await;
    of_commands(&mut exhibits).await;
    programs::of_a_stand_in(&mut exhibits).await;
    programs::of_a_demonstration(&mut exhibits).await;
    programs::of_panics(&mut exhibits).await;
    of_values(&mut exhibits);
    exhibits.are_complete();
}

/// A daemon with trouble on every side, logging everything.
async fn of_a_daemon(exhibits: &mut Exhibits) {
    let chat = group_chat().await;
    let home = home(chat.url());
    let mut run = command(&home, &["run"]);
    run.args(["--log-format", "json", "--log", "trace"]);
    let daemon = Daemon::spawn(run).await;
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", daemon.pid())).expect("a process");
    exhibits.show("the command line as the system shows it", "cmdline", cmdline);
    for request in knocks(&daemon) {
        let what = format!("{request:?}");
        let answer = daemon.http().execute(request).await.expect("an answer");
        let head = format!("{answer:?}");
        // Whoever asked for a path is told the path; the address of a request is not an answer.
        let head = head.split("url:").next().unwrap_or_default().to_owned();
        exhibits.show("the answers to requests", &what, head);
        exhibits.show(
            "the answers to requests",
            &what,
            answer.bytes().await.expect("a body"),
        );
    }
    trouble(&daemon, &chat).await;
    errands(&daemon, &chat).await;
    mistakes(exhibits, &daemon, &home, &chat).await;
    let description = daemon.api("/api/v1/openapi.json").await;
    let paths = description["paths"].as_object().expect("paths");
    for path in paths
        .iter()
        .filter(|(_, item)| item.get("get").is_some())
        .map(|(path, _)| path)
    {
        exhibits.show("the API and the metrics", path, daemon.text(path).await);
    }
    assert!(
        daemon.api("/api/v1/refused").await["refused"]
            .as_array()
            .is_some_and(|it| it.len() >= 4),
        "refused bodies with credentials are kept"
    );
    for call in chat.ledger() {
        exhibits.show(
            "the messages in the chat",
            "a message",
            call.content.text + &call.content.title,
        );
    }
    show_files(exhibits, "the files of the store while it runs", &home);
    daemon.signal("TERM");
    let (_, log) = daemon.ended().await;
    let log = log.join("\n");
    assert!(
        log.contains("\"TRACE\"") && log.contains("cannot connect"),
        "the log tells everything"
    );
    exhibits.show("the log as JSON, at its most talkative", "all of it", log);
    show_files(exhibits, "the files of the store afterwards", &home);
}

/// A mistake in the line of a secret, in a reload; then nobody answers, then somebody who speaks no TLS.
async fn mistakes(exhibits: &mut Exhibits, daemon: &Daemon, home: &Home, chat: &Simulator) {
    let mistaken =
        configuration(chat.url(), &rest(chat.url())).replace("hmac_secret:", "hmac_secrte: 1, hmac_secret:");
    home.configure(&mistaken);
    let report = reload(daemon, 422).await;
    exhibits.show("the report of a reload", "422", report);
    exhibits.show(
        "the API and the metrics",
        "a report",
        daemon.text("/api/v1/status").await,
    );
    for base in ["http://127.0.0.1:9", &chat.url().replace("http:", "https:")] {
        home.configure(&configuration(base, &rest(base)));
        reload(daemon, 200).await;
        let before = failures(daemon);
        daemon.post(&[firing(&format!("node-{}", base.len()))]).await;
        eventually("nobody answers any more", async || {
            (failures(daemon) > before).then_some(())
        })
        .await;
    }
}

/// Requests with right and wrong credentials at every door, and bodies that hold some and are refused.
fn knocks(daemon: &Daemon) -> Vec<reqwest::Request> {
    let body = webhook(&[firing("node-0")]).to_string();
    let encoded = |text: &str| -> String {
        text.bytes()
            .fold(String::new(), |text, byte| format!("{text}%{byte:02x}"))
    };
    let post = |path: &str, body: &[u8]| {
        daemon
            .http()
            .request(Method::POST, daemon.url(path))
            .body(body.to_vec())
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(format!("not what was hoped for: {BEARER}").as_bytes())
        .expect("room");
    let gzip = gzip.finish().expect("room");
    let basic = |password: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("me:{password}")));
    let mut requests = vec![
        post("/v1/hooks/bearer", body.as_bytes()),
        post("/v1/hooks/bearer", body.as_bytes()).bearer_auth(WRONG),
        post("/v1/hooks/bearer", body.as_bytes()).bearer_auth(BEARER),
        post("/v1/hooks/basic", body.as_bytes()).header("authorization", basic(WRONG)),
        post("/v1/hooks/basic", body.as_bytes()).header("authorization", basic(PASSWORD)),
        post("/v1/hooks/signed", body.as_bytes()).header("x-grafana-alerting-signature", WRONG),
        // Bodies that are refused, and hold what no stranger should know.
        post(
            "/v1/hooks/alertmanager",
            format!("{{\"x\":\"{WRONG}\"").replace(WRONG, TOKEN).as_bytes(),
        ),
        post(
            "/v1/hooks/alertmanager",
            Value::from(BEARER).to_string().as_bytes(),
        ),
        post(
            "/v1/hooks/alertmanager",
            format!("token={}", encoded(SECRET)).as_bytes(),
        ),
        post(
            "/v1/hooks/alertmanager",
            format!("authorization: {}", basic(PASSWORD)).as_bytes(),
        ),
        post("/v1/hooks/alertmanager", &gzip).header("content-encoding", "gzip"),
        post("/v1/hooks/alertmanager", &gzip[..gzip.len() - 6]).header("content-encoding", "gzip"),
        daemon
            .http()
            .get(daemon.url(&format!("/api/v1/status?{}", encoded("x")))),
    ];
    // Tokens in the path, rightly placed and not.
    for token in [BEARER, WRONG] {
        for path in [
            "v1/hooks/bearer",
            "v1/hooks/alertmanager",
            "v1/hook/bearer",
            "hooks",
            "V1//hooks/bearer/x/y",
        ] {
            requests.push(post(&format!("/{path}/{}", encoded(token)), body.as_bytes()));
        }
        requests.push(
            daemon
                .http()
                .get(daemon.url(&format!("/v1/hooks/bearer/{}", encoded(token)))),
        );
    }
    requests
        .into_iter()
        .map(|request| request.build().expect("a request"))
        .collect()
}

/// Everything that makes a log line about DingTalk.
async fn trouble(daemon: &Daemon, chat: &Simulator) {
    let echo = Fault::Errcode {
        errcode: 310_000,
        errmsg: Some(format!("no such token {TOKEN}, sign={SECRET}")),
        sub_code: None,
    };
    let to = |name: &str, fault| Injection {
        bot: Some(name.to_owned()),
        ..Injection::next(fault)
    };
    for fault in [Fault::Drop, Fault::HttpStatus(502), Fault::Cut, Fault::AcceptDrop] {
        chat.inject(to("ops", fault));
    }
    chat.inject(to("alerts", Fault::Drop));
    daemon.post(&[firing("node-1")]).await;
    daemon.everything_is_told().await;
    let echo_of_app = |code: &str| Fault::Code {
        http_status: 400,
        code: code.to_owned(),
        message: Some(format!("token {} of {APP_KEY} and {APP_SECRET}", app_token())),
    };
    for (node, name, fault) in [
        ("node-2", "ops", echo),
        ("node-3", "ops", Fault::RedirectTo(redirect(chat))),
        ("node-4", "alerts", echo_of_app("unauthorized")),
        ("node-5", "alerts", Fault::RedirectTo(redirect(chat))),
    ] {
        let before = failures(daemon);
        chat.inject(to(name, fault));
        daemon.post(&[firing(node)]).await;
        eventually("its answer is logged", async || {
            (failures(daemon) > before).then_some(())
        })
        .await;
        // Lifts the pause.
        reload(daemon, 200).await;
    }
}

/// The calls of the older API, each refused with our own words before it succeeds, and somebody who asks.
async fn errands(daemon: &Daemon, chat: &Simulator) {
    let echo = |path: &str| Injection {
        path: Some(path.to_owned()),
        ..Injection::next(Fault::Errcode {
            errcode: -1,
            errmsg: Some(format!("busy with {} of {APP_SECRET}", app_token())),
            sub_code: None,
        })
    };
    let notices = "/topapi/message/corpconversation";
    chat.inject(echo("/topapi/user/getbymobile"));
    for call in ["asyncsend_v2", "getsendprogress", "getsendresult", "recall"] {
        chat.inject(echo(&format!("{notices}/{call}")));
    }
    let night = alert("Night", "node-6", "critical");
    daemon.post(std::slice::from_ref(&night)).await;
    daemon.everything_is_told().await;
    daemon.post(&[resolved(&night)]).await;
    heard(chat, "a recall", |calls| {
        calls.iter().any(|call| call.notice && call.recalled)
    })
    .await;
    chat.call_back(SimulatedCallback {
        app: "alerts".to_owned(),
        url: daemon.url("/v1/apps/alerts/messages"),
    });
    // Its session ends before it is answered, so it is answered through the app.
    chat.inject(echo("/robot/sendBySession"));
    for _ in 0..2 {
        let number = chat
            .say(&Saying::new("ann", None, "status"))
            .expect("it is posted");
        heard(chat, "an answer", |calls| {
            let is_answer = |call: &Call| call.number > number && call.shown && call.said_by.is_none();
            calls.iter().any(is_answer)
        })
        .await;
    }
}

fn failures(daemon: &Daemon) -> usize {
    let log = daemon.log();
    log.iter()
        .filter(|line| line.contains("message not delivered"))
        .count()
}

fn redirect(chat: &Simulator) -> String {
    format!("{}/elsewhere?access_token={TOKEN}&secret={SECRET}", chat.url())
}

async fn reload(daemon: &Daemon, status: u16) -> String {
    let asked = daemon
        .http()
        .post(daemon.url("/-/reload"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(asked.status().as_u16(), status);
    asked.text().await.expect("a body")
}

#[track_caller]
fn show_files(exhibits: &mut Exhibits, place: &'static str, home: &Home) {
    for entry in std::fs::read_dir(home.path("")).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().contains("dingest.db") {
            let what = path.display().to_string();
            exhibits.show(place, &what, std::fs::read(&path).expect("a file"));
        }
    }
}

/// A daemon that logs for people and is aborted in the middle of its work.
async fn of_an_aborted_one(exhibits: &mut Exhibits) {
    let chat = group_chat().await;
    chat.inject(Injection::next(Fault::Hang(60_000)));
    let home = home(chat.url());
    let mut run = command(&home, &["run"]);
    run.args(["--log", "trace"]).env("RUST_BACKTRACE", "full");
    run.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = run.spawn().expect("the program starts");
    let address = address_of(&mut child).await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let body = webhook(&[firing("node-1")]).to_string();
    let posted = http
        .post(format!("http://{}/v1/hooks/alertmanager", address.0))
        .body(body);
    assert_eq!(posted.send().await.expect("an answer").status().as_u16(), 200);
    heard(&chat, "a message is on its way", |calls| !calls.is_empty()).await;
    let aborted = Command::new("sh")
        .args(["-c", &format!("kill -ABRT {}", child.id())])
        .status();
    assert!(aborted.expect("a shell").success());
    let last = tokio::task::spawn_blocking(move || child.wait_with_output());
    let last = last.await.expect("a task").expect("it ends");
    assert!(!last.status.success());
    exhibits.show("the log as text, at its most talkative", "its begin", address.1);
    exhibits.show("the log as text, at its most talkative", "the rest", &last.stderr);
    exhibits.show_output("the last words of an aborted process", "both streams", &last);
    show_files(exhibits, "the files of the store after an abort", &home);
}

/// The address in the log of a daemon that has just started, and the log up to there.
async fn address_of(child: &mut std::process::Child) -> (String, String) {
    let mut stderr = child.stderr.take().expect("its log");
    let read = tokio::task::spawn_blocking(move || {
        use std::io::Read as _;
        let (mut text, mut byte) = (Vec::new(), [0]);
        while stderr.read(&mut byte).is_ok_and(|read| read == 1) {
            text.push(byte[0]);
            let line = text.rsplit(|byte| *byte == b'\n').nth(1).unwrap_or_default();
            let line = String::from_utf8_lossy(line).into_owned();
            if byte == *b"\n"
                && let Some((_, address)) = line.split_once("ready address=")
            {
                let address = address.trim().to_owned();
                return (address, String::from_utf8_lossy(&text).into_owned(), stderr);
            }
        }
        panic!("it ended: {}", String::from_utf8_lossy(&text));
    });
    let (address, log, stderr) = read.await.expect("it is ready");
    child.stderr = Some(stderr);
    (address, log)
}

/// Mistakes in the lines of secrets, in every way to give one.
async fn of_bad_configurations(exhibits: &mut Exhibits) {
    let url = format!("https://oapi.dingtalk.com/robot/send?access_token={TOKEN}");
    let bad_urls = [
        url.replace("access_token", "acces_token"),
        url.replace("https://", "htps://"),
        url.replace("dingtalk.com/", "dingtalk.com:99999/"),
        format!("{url}&access_token={WRONG}"),
        url.replace("oapi", &format!("user:{WRONG}@oapi")),
        format!("{url} {SECRET}"),
    ];
    let mut lines: Vec<String> = bad_urls
        .iter()
        .map(|url| format!("{{ name: a, url: '{url}' }}"))
        .collect();
    lines.extend([
        format!("{{ name: a, access_token: {TOKEN}, secrte: {SECRET} }}"),
        format!("{{ name: a, access_token:{TOKEN} }}"),
        format!("{{ name: a, access_token: {{{TOKEN}}} }}"),
        TOKEN.to_owned(),
        format!("'{url}'"),
        format!("{{ name: a, access_token: {TOKEN}, secret: [{SECRET}] }}"),
        format!("{{ name: a, access_token: {{ {TOKEN}: {SECRET} }} }}"),
        format!("{{ name: a, access_token: {TOKEN} x, per_minute: no }}"),
        format!("{{ name: a, access_token: {TOKEN}, secret: '{SECRET} }}"),
        format!("{{ name: a, access_token: \"{TOKEN}\\q\" }}"),
        format!("{{ name: a, accesstoken: {TOKEN} }}"),
        format!("{{ name: a, access_token: {TOKEN}, keyword: [1] }}, {{ name: a, token: {WRONG} }}"),
        "{ name: a, access_token_env: NO_SUCH_VARIABLE }".to_owned(),
        "{ name: a, access_token_file: bad-token }".to_owned(),
    ]);
    let mut texts: Vec<String> = lines
        .into_iter()
        .map(|line| format!("bots: [{line}]\nreceivers: [{{ name: r, bots: [a] }}]\n"))
        .collect();
    texts.extend([
        format!("bots: {TOKEN}\n"),
        format!("receivers: [{{ name: r, bots: ['{url}'] }}]\n"),
        format!("dingtalk: {{ base_url: 'https://me:{WRONG}@oapi.dingtalk.com' }}\n"),
        format!("bots:\n  - name: a\n    access_token = {TOKEN}\n"),
        format!("bots:\n  - name: a\n\taccess_token: {TOKEN}\n"),
        format!("sources: [{{ name: a, type: json, auth: {{ basic: [me, {WRONG}] }} }}]\n"),
    ]);
    for text in texts {
        let home = Home::new();
        std::fs::write(home.path("bad-token"), format!("{TOKEN}\n{SECRET}\n")).expect("a file");
        home.configure(&text);
        let report = output(command(&home, &["check"])).await;
        assert_eq!(report.status.code(), Some(78), "{text}: {report:?}");
        exhibits.show_output("reports of `check`", &text, &report);
    }
}

/// Commands that load a configuration, send or listen, and are disappointed.
async fn of_commands(exhibits: &mut Exhibits) {
    let chat = group_chat().await;
    let home = home(chat.url());
    let body = home.path("body.json");
    std::fs::write(&body, webhook(&[firing("node-1")]).to_string()).expect("a file");
    let body = body.to_string_lossy().into_owned();
    for source in ["alertmanager", "signed", "nobody"] {
        let rendered = output(command(
            &home,
            &["render", &body, "--source", source, "--log", "trace"],
        ))
        .await;
        exhibits.show_output("the words of `render`", source, &rendered);
    }
    exhibits.show_output(
        "reports of `check`",
        "good",
        &output(command(&home, &["check"])).await,
    );
    let faults = [
        None,
        Some(Fault::RedirectTo(redirect(&chat))),
        Some(Fault::Drop),
        Some(Fault::Html),
    ];
    for fault in faults {
        let what = format!("{fault:?}");
        if let Some(fault) = fault {
            chat.inject(Injection::next(fault));
        }
        let sent = output(command(&home, &["send", "ops", "--log", "trace"])).await;
        exhibits.show_output("the words of `send`", &what, &sent);
    }
    for base in [
        "http://127.0.0.1:9",
        &chat.url().replace("http:", "https:"),
        "https://no-such-host.invalid",
    ] {
        home.configure(&configuration(base, &rest(base)));
        let sent = output(command(&home, &["send", "ops", "--log", "trace"])).await;
        assert!(!sent.status.success());
        exhibits.show_output("the words of `send`", base, &sent);
    }
    let taken = chat.url().trim_start_matches("http://").to_owned();
    let bot = format!("ops@group:{TOKEN}:{SECRET}");
    let mut simulate = Command::new(env!("CARGO_BIN_EXE_dingest"));
    simulate.args([
        "simulate-dingtalk",
        "--listen",
        &taken,
        "--log",
        "trace",
        "--bot",
        &bot,
    ]);
    let disappointed = output(simulate).await;
    assert!(!disappointed.status.success());
    exhibits.show_output(
        "the words of `simulate-dingtalk`",
        "an address that is taken",
        &disappointed,
    );
}

/// What a panic could print: values as `Debug` shows them, and errors down to their causes.
fn of_values(exhibits: &mut Exhibits) {
    let home = Home::new();
    std::fs::write(home.path("token"), TOKEN).expect("a file");
    std::fs::write(home.path("password"), PASSWORD).expect("a file");
    std::fs::write(home.path("app-secret"), APP_SECRET).expect("a file");
    let good = configuration(
        "http://127.0.0.1:9",
        &rest("http://127.0.0.1:9").replace("secret_env: MARKED_SECRET", &format!("secret: {SECRET}")),
    );
    home.configure(&good);
    let load = || dingest::config::load(Some(&home.config()), &home.path(""));
    let mut debug = |what: &str, value: &dyn Debug| {
        exhibits.show(
            "`Debug` of a plan, a report and an error",
            what,
            format!("{value:?}{value:#?}"),
        );
    };
    let loaded = load().unwrap_or_else(|report| panic!("{report}"));
    debug("what is loaded", &loaded);
    debug("the plan", &loaded.plan);
    home.configure(&good.replace("hmac_secret:", "hmac_secrte: 1, hmac_secret:"));
    let report = load().expect_err("it is bad");
    debug("a report", &report);
    let error = dingest::app::AppError::Config(report);
    debug("an error", &error);
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        exhibits.show("errors with all their causes", "start-up", error.to_string());
        cause = error.source();
    }
}
