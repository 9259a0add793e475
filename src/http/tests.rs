//! The real server on a free port, a raw client, and a stand-in for the driver.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::sync::{Arc, mpsc as std_mpsc};

use flate2::Compression;
use flate2::write::GzEncoder;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::alert::{BotName, DigestId, Fingerprint, Labels, ReceiverName, SourceName, Span};
use crate::digest::Change;
use crate::driver::{Ask, Handle, Health, Unavailable};
use crate::engine::Verdict;
use crate::engine::view::{AlertList, AlertReceiverView, AlertView, BotView, Counts, ReceiverView, WaitsFor};
use crate::plan::{
    Auth, Channel, DingTalk, GroupBy, Listen, Locale, Mention, MessageKind, Receiver, Route, Routes,
    Server as ServerPlan, Source, SourceKind, Store,
};
use crate::store::{DigestRow, MessageRow, RefusedBody, Said, State, Told};

/// One alert as Alertmanager posts it.
const FIRING: &str = r#"{"version":"4","status":"firing","receiver":"ops","alerts":[{"status":"firing",
"labels":{"alertname":"DiskFull","host":"db-1"},"annotations":{"summary":"91 %"},
"startsAt":"2026-04-01T08:00:00Z","endsAt":"0001-01-01T00:00:00Z"}]}"#;
/// One alert as Prometheus posts it.
const RULED: &str = r#"[{"labels":{"alertname":"DiskFull"},"startsAt":"2026-04-01T08:00:00.000Z"}]"#;
const BODY_LIMIT_BYTES: usize = 64 * 1024;

fn source(name: &str, kind: SourceKind, auth: Auth) -> (SourceName, Source) {
    let name = SourceName::from(name);
    let source = Source {
        name: name.clone(),
        kind,
        auth,
        expire_after: Span::days(15),
        busy_status: 503,
        timezone: jiff::tz::TimeZone::UTC,
    };
    (name, source)
}

fn plan() -> Plan {
    let hmac = |timestamp_header: Option<&str>| Auth::GrafanaHmac {
        secret: Secret::new("hmac-secret"),
        header: "X-Grafana-Alerting-Signature".to_owned(),
        timestamp_header: timestamp_header.map(str::to_owned),
    };
    let receiver = ReceiverName::from("ops");
    Plan {
        server: ServerPlan {
            listen: Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
            external_url: None,
            body_limit_bytes: BODY_LIMIT_BYTES,
            allow_unauthenticated: false,
        },
        store: Store {
            path: "dingest.db".into(),
            history: Span::days(30),
        },
        locale: Locale::English,
        timezone: jiff::tz::TimeZone::UTC,
        templates: BTreeMap::new(),
        sources: BTreeMap::from([
            source("alertmanager", SourceKind::Alertmanager, Auth::None),
            source(
                "bearer",
                SourceKind::Alertmanager,
                Auth::Bearer(Secret::new("t0ken/ä")),
            ),
            source(
                "basic",
                SourceKind::Alertmanager,
                Auth::Basic {
                    username: "am".to_owned(),
                    password: Secret::new("pa:ss"),
                },
            ),
            source("signed", SourceKind::Alertmanager, hmac(None)),
            source("signed-at", SourceKind::Alertmanager, hmac(Some("X-Signed-At"))),
            source("rules", SourceKind::Prometheus, Auth::None),
        ]),
        dingtalk: DingTalk {
            base_url: "https://oapi.dingtalk.com".to_owned(),
            monthly_quota: Some(3000),
        },
        bots: BTreeMap::new(),
        receivers: BTreeMap::from([(
            receiver.clone(),
            Receiver {
                name: receiver.clone(),
                channel: Channel::Console,
                template: "digest".to_owned(),
                message: MessageKind::Markdown,
                mention: Mention::default(),
                max_messages: NonZeroU8::MIN,
                fallback: None,
            },
        )]),
        routes: Routes::new(vec![Route {
            receiver,
            matchers: Vec::new(),
            continue_matching: false,
            group_by: GroupBy::All,
            group_wait: Span::seconds(10),
            group_interval: Span::minutes(1),
            repeat_interval: Span::hours(4),
            urgent: false,
            send_resolved: true,
            mute: Vec::new(),
            active: Vec::new(),
            children: Vec::new(),
        }]),
        intervals: BTreeMap::new(),
    }
}

/// A driver that does what `answer` says.
fn handle_that(mut answer: impl FnMut(Ask) + Send + 'static) -> Handle {
    let (inbox, mut asked) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Some(ask) = asked.recv().await {
            answer(ask);
        }
    });
    Handle::new(inbox)
}

fn health() -> Health {
    let bot = BotView {
        name: BotName::from("ops-1"),
        budget_left: 17,
        paused_until: Some(Timestamp(1_775_030_700_000)),
        reason: Some("limited"),
        used_this_month: 12,
    };
    Health {
        store_writable: true,
        counts: Counts {
            firing: 3,
            resolved: 1,
            changes: 2,
            used_this_month: 12,
        },
        receivers: vec![ReceiverView {
            name: ReceiverName::from("ops"),
            changes: 2,
            oldest_change_at: Some(Timestamp(1_775_030_400_000)),
            due_at: None,
            waits_for: Some(WaitsFor::Pause),
            last_digest_at: None,
            bots: vec![bot.clone()],
        }],
        bots: vec![bot],
    }
}

fn alert_list() -> AlertList {
    let labels = Labels::from_pairs([("host", "db-1"), ("alertname", "DiskFull")]);
    AlertList {
        total: 7,
        alerts: vec![AlertView {
            source: SourceName::from("alertmanager"),
            fingerprint: Fingerprint::of_labels(&labels),
            identity: None,
            state: State::Firing,
            labels,
            annotations: Labels::default(),
            starts_at: Timestamp(1_775_030_400_000),
            ends_at: None,
            first_seen: Timestamp(1_775_030_400_120),
            last_seen: Timestamp(1_775_030_460_000),
            episodes: 1,
            receivers: vec![AlertReceiverView {
                name: ReceiverName::from("ops"),
                told: Some((Said::Firing, Timestamp(1_775_030_410_000), DigestId(4))),
                change: Some(Change::Reminder),
                waits_for: Some(WaitsFor::Muted),
            }],
        }],
    }
}

fn digest_list() -> Vec<Told> {
    vec![Told {
        id: DigestId(4),
        digest: DigestRow {
            receiver: ReceiverName::from("ops"),
            composed_at: Timestamp(1_775_030_410_000),
            detail: "full".to_owned(),
            counts: BTreeMap::from([("new".to_owned(), 1)]),
            outcome: "delivered".to_owned(),
        },
        messages: vec![(
            1,
            MessageRow {
                bot: Some(BotName::from("ops-1")),
                sent_at: Some(Timestamp(1_775_030_410_250)),
                attempts: 1,
                errcode: Some(0),
                title: "1 new".to_owned(),
                text: "**DiskFull**".to_owned(),
            },
        )],
    }]
}

/// What the driver was asked for.
#[derive(Debug, PartialEq)]
enum Seen {
    Accepted(String, usize),
    Refused(RefusedBody),
}

/// Answers like a driver in good health, and tells what it was asked to keep.
fn answers(seen: std_mpsc::Sender<Seen>) -> impl FnMut(Ask) + Send + 'static {
    move |ask| match ask {
        Ask::Accept {
            source,
            alerts,
            reply,
        } => {
            let count = u32::try_from(alerts.len()).unwrap();
            // Nobody may be listening any more, here and below.
            let _gone = reply.send(Ok(BTreeMap::from([(Verdict::New, count)])));
            let _gone = seen.send(Seen::Accepted(source.to_string(), alerts.len()));
        }
        Ask::Alerts { reply, .. } => {
            let _gone = reply.send(alert_list());
        }
        Ask::Digests { reply, .. } => {
            let _gone = reply.send(Ok(digest_list()));
        }
        Ask::Health { reply } => {
            let _gone = reply.send(health());
        }
        Ask::KeepRefused(body) => {
            let _gone = seen.send(Seen::Refused(body));
        }
    }
}

/// A server that runs.
struct Running {
    address: SocketAddr,
    plan: watch::Sender<Arc<Plan>>,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    stopped: JoinHandle<usize>,
    _status: watch::Sender<PlanStatus>,
}

async fn run(plan: Plan, limits: Limits, driver: Handle) -> Running {
    let (plan, current) = watch::channel(Arc::new(plan));
    let (status, plan_status) = watch::channel(PlanStatus {
        file: Some("dingest.yaml".to_owned()),
        loaded_at: Timestamp(1_775_030_400_000),
        error: None,
    });
    let (reload, mut requests) = mpsc::channel::<oneshot::Sender<ReloadOutcome>>(1);
    tokio::spawn(async move {
        let mut outcome = Ok(());
        while let Some(request) = requests.recv().await {
            let next = Err("no such key `sourcs` in line 3".to_owned());
            let _gone = request.send(std::mem::replace(&mut outcome, next));
        }
    });
    let metrics = Arc::new(Metrics::new());
    let site = Site {
        plan: current,
        plan_status,
        driver,
        reload: ReloadHandle::new(reload),
        metrics: Arc::clone(&metrics),
        started_at: Timestamp(1_775_030_000_000),
        limits,
    };
    let listener = Listener::bind(&Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))))
        .await
        .unwrap();
    let address = listener.address().unwrap();
    let (stop, stopping) = oneshot::channel::<()>();
    let stopped = tokio::spawn(serve(listener, Arc::new(site), async {
        let _either_way = stopping.await;
    }));
    Running {
        address,
        plan,
        metrics,
        stop,
        stopped,
        _status: status,
    }
}

/// A server over a driver in good health.
async fn running() -> (Running, std_mpsc::Receiver<Seen>) {
    let (to, seen) = std_mpsc::channel();
    (
        run(plan(), Limits::default(), handle_that(answers(to))).await,
        seen,
    )
}

/// Writes everything and reads until the server closes.
async fn talk(address: SocketAddr, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    read(&mut stream).await
}

async fn read(stream: &mut TcpStream) -> Reply {
    let mut text = Vec::new();
    // A reset after the answer is as good as a close.
    let _reset = stream.read_to_end(&mut text).await;
    Reply(String::from_utf8(text).unwrap())
}

/// A whole request.
fn request(line: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        write!(request, "{header}\r\n").unwrap();
    }
    if !headers
        .iter()
        .any(|header| header.starts_with("Transfer-Encoding"))
    {
        write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    request
}

/// An answer as it came over the wire.
#[derive(Debug)]
struct Reply(String);

impl Reply {
    fn status(&self) -> u16 {
        self.0
            .split(' ')
            .nth(1)
            .and_then(|it| it.parse().ok())
            .unwrap_or(0)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.0.split_once("\r\n\r\n")?;
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.body()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `line headers body` is answered with a status, and an error with a stable reason and a sentence.
#[track_caller]
fn check(case: &str, reply: &Reply, status: u16, reason: Option<&str>) {
    assert_eq!(reply.status(), status, "{case}: {reply:?}");
    if let Some(reason) = reason {
        let json = reply.json();
        assert_eq!(json["reason"], reason, "{case}: {reply:?}");
        assert!(
            json["error"].as_str().is_some_and(|it| it.len() > 10),
            "{case}: {reply:?}"
        );
    }
}

#[tokio::test]
async fn every_path_and_method_has_its_answer_and_none_redirects() {
    let (server, _seen) = running().await;
    let cases = [
        ("POST /v1/hooks/alertmanager", FIRING, 200, None),
        ("POST /v1/hooks/alertmanager/", FIRING, 200, None),
        ("POST /v1/hooks/alert%6danager", FIRING, 200, None),
        ("POST /v1/hooks/alertmanager?x=y", FIRING, 200, None),
        ("PUT /v1/hooks/alertmanager", FIRING, 200, None),
        (
            "POST /v1/hooks/alertmanager",
            r#"{"version":"4","alerts":[]}"#,
            200,
            None,
        ),
        ("GET /v1/hooks/alertmanager", "", 405, Some("method")),
        ("DELETE /v1/hooks/alertmanager", "", 405, Some("method")),
        ("POST /v1/hooks/nobody", FIRING, 404, Some("no_such_source")),
        (
            "POST /v1/hooks/alertmanager/secret",
            FIRING,
            404,
            Some("no_source_for_path"),
        ),
        ("POST /v1/hooks/", FIRING, 404, Some("no_such_path")),
        ("POST /", FIRING, 404, Some("no_such_path")),
        ("POST /v1/hooks/alertmanager", "{", 400, Some("not_json")),
        ("POST /api/v2/alerts", RULED, 200, None),
        ("POST /v1/hooks/rules/api/v2/alerts", RULED, 200, None),
        ("POST /v1/hooks/rules", RULED, 200, None),
        (
            "POST /v1/hooks/alertmanager/api/v2/alerts",
            RULED,
            404,
            Some("no_source_for_path"),
        ),
        ("POST /dingtalk/whoever/send", FIRING, 200, None),
        ("GET /healthz", "", 200, None),
        ("GET /readyz", "", 200, None),
        ("GET /metrics", "", 200, None),
        ("POST /metrics", "", 405, Some("method")),
        ("GET /api/v1/alerts", "", 200, None),
        ("GET /api/v1/status/", "", 200, None),
        ("POST /api/v1/status", "", 405, Some("method")),
        ("GET /-/reload", "", 405, Some("method")),
    ];
    for (line, body, status, reason) in cases {
        check(
            line,
            &talk(server.address, &request(line, &[], body.as_bytes())).await,
            status,
            reason,
        );
    }
    let refused = talk(server.address, &request("GET /v1/hooks/alertmanager", &[], b"")).await;
    assert_eq!(refused.header("allow"), Some("POST, PUT"));
    let head = talk(server.address, &request("HEAD /healthz", &[], b"")).await;
    assert_eq!((head.status(), head.body()), (200, ""));
}

#[tokio::test]
async fn what_was_taken_is_told_and_a_ruler_is_told_nothing() {
    let (server, seen) = running().await;
    let reply = talk(
        server.address,
        &request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes()),
    )
    .await;
    let expected = r#"{"accepted":1,"new":1,"resolved":0,"repeats":0,"ignored":0,"truncated":0,"problems":[],"more_problems":0}"#;
    assert_eq!(reply.body(), format!("{expected}\n"));
    assert_eq!(seen.recv().unwrap(), Seen::Accepted("alertmanager".to_owned(), 1));
    let ruler = talk(
        server.address,
        &request("POST /api/v2/alerts", &[], RULED.as_bytes()),
    )
    .await;
    assert_eq!((ruler.status(), ruler.body()), (200, ""));
    assert_eq!(seen.recv().unwrap(), Seen::Accepted("rules".to_owned(), 1));
    let partly = RULED.replace('[', "[17,");
    let reply = talk(
        server.address,
        &request("POST /api/v2/alerts", &[], partly.as_bytes()),
    )
    .await;
    assert_eq!(
        (reply.status(), &reply.json()["problems"][0]["index"]),
        (200, &0.into()),
        "{reply:?}"
    );
}

#[tokio::test]
async fn alertmanagers_own_path_needs_one_source_or_one_of_that_name() {
    let (server, _seen) = running().await;
    let mut several = plan();
    several
        .sources
        .extend([source("more-rules", SourceKind::Prometheus, Auth::None)]);
    let mut named = several.clone();
    named
        .sources
        .extend([source("prometheus", SourceKind::Prometheus, Auth::None)]);
    let mut none = plan();
    none.sources.clear();
    for (plan, status) in [(several, 404), (named, 200), (none, 404)] {
        server.plan.send_replace(Arc::new(plan));
        let reply = talk(
            server.address,
            &request("POST /api/v2/alerts", &[], RULED.as_bytes()),
        )
        .await;
        check("a new plan is in force at once", &reply, status, None);
    }
}

fn signed(secret: &str, bytes: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(bytes);
    mac.finalize()
        .into_bytes()
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[tokio::test]
async fn only_the_right_credentials_open_a_source() {
    let (server, seen) = running().await;
    let basic = |text: &str| {
        use base64::Engine as _;
        format!(
            "Authorization: Basic {}",
            base64::prelude::BASE64_STANDARD.encode(text)
        )
    };
    let signature = |text: &str| format!("X-Grafana-Alerting-Signature: {text}");
    let seconds = now().0 / 1000;
    let at = |seconds: i64| {
        let both = format!("{seconds}:{FIRING}");
        format!(
            "{}\r\nX-Signed-At: {seconds}",
            signature(&signed("hmac-secret", both.as_bytes()))
        )
    };
    let none = String::new;
    let cases = [
        ("alertmanager", none(), 200, ""),
        (
            "alertmanager",
            "X-Forwarded-For: 192.0.2.1".to_owned(),
            403,
            "forbidden",
        ),
        (
            "alertmanager",
            "Forwarded: for=192.0.2.1".to_owned(),
            403,
            "forbidden",
        ),
        (
            "alertmanager",
            "Origin: https://example.com".to_owned(),
            403,
            "forbidden",
        ),
        ("bearer", none(), 401, "Bearer"),
        ("bearer", "Authorization: Bearer wrong".to_owned(), 401, "Bearer"),
        ("bearer", "Authorization: Bearer".to_owned(), 401, "Bearer"),
        ("bearer", basic("t0ken/ä:"), 401, "Bearer"),
        ("bearer/wrong", none(), 401, "Bearer"),
        ("bearer/t0ken%2F%C3%A4", none(), 200, ""),
        (
            "bearer/t0ken%2F%C3%A4",
            "X-Forwarded-For: 192.0.2.1".to_owned(),
            200,
            "",
        ),
        ("basic", none(), 401, "Basic"),
        ("basic", basic("am:pa"), 401, "Basic"),
        ("basic", basic("am:pa:ss"), 200, ""),
        ("basic", basic("am:pa:ss").replace("Basic", "bASIC"), 200, ""),
        ("basic", "Authorization: Basic §".to_owned(), 401, "Basic"),
        ("signed", none(), 401, "HMAC-SHA256"),
        ("signed", signature("00"), 401, "HMAC-SHA256"),
        (
            "signed",
            signature(&signed("other", FIRING.as_bytes())),
            401,
            "HMAC-SHA256",
        ),
        (
            "signed",
            signature(&signed("hmac-secret", FIRING.as_bytes())),
            200,
            "",
        ),
        (
            "signed",
            signature(&signed("hmac-secret", FIRING.as_bytes()).to_uppercase()),
            200,
            "",
        ),
        (
            "signed-at",
            signature(&signed("hmac-secret", FIRING.as_bytes())),
            401,
            "HMAC-SHA256",
        ),
        ("signed-at", at(seconds), 200, ""),
        ("signed-at", at(seconds - 299), 200, ""),
        ("signed-at", at(seconds - 400), 401, "HMAC-SHA256"),
        ("signed-at", at(seconds + 400), 401, "HMAC-SHA256"),
        ("signed-at", at(i64::MIN), 401, "HMAC-SHA256"),
    ];
    let mut granted = 0;
    for (path, header, status, challenge) in &cases {
        let line = format!("POST /v1/hooks/{path}");
        let headers: Vec<&str> = if header.is_empty() {
            Vec::new()
        } else {
            vec![header]
        };
        let reply = talk(server.address, &request(&line, &headers, FIRING.as_bytes())).await;
        check(&format!("{line} {header}"), &reply, *status, None);
        if *status == 401 {
            let told = reply.header("www-authenticate").unwrap_or_default();
            assert!(told.starts_with(challenge), "{line} {header}: {told}");
        }
        granted += usize::from(*status == 200);
    }
    assert_eq!(
        seen.try_iter().count(),
        granted,
        "what is not let in is not handed on"
    );
}

#[tokio::test]
async fn the_machine_itself_is_told_apart_from_the_network() {
    let (server, _seen) = running().await;
    let far = ["X-Forwarded-For: 192.0.2.1"];
    for line in [
        "GET /api/v1/alerts",
        "GET /api/v1/status",
        "GET /api/v1/receivers",
        "GET /api/v1/digests",
        "POST /-/reload",
    ] {
        check(
            line,
            &talk(server.address, &request(line, &far, b"")).await,
            403,
            Some("forbidden"),
        );
    }
    for line in ["GET /healthz", "GET /readyz", "GET /metrics"] {
        check(
            line,
            &talk(server.address, &request(line, &far, b"")).await,
            200,
            None,
        );
    }
    let mut open = plan();
    open.server.allow_unauthenticated = true;
    server.plan.send_replace(Arc::new(open));
    for line in ["GET /api/v1/status", "POST /v1/hooks/alertmanager"] {
        check(
            line,
            &talk(server.address, &request(line, &far, FIRING.as_bytes())).await,
            200,
            None,
        );
    }
    let head = |peer: &str| Head {
        peer: Some(peer.parse().unwrap()),
        headers: HeaderMap::new(),
    };
    assert!(head("[::ffff:127.0.0.1]:9").is_local() && head("[::1]:9").is_local());
    assert!(!head("192.0.2.1:9").is_local() && !head("[::ffff:192.0.2.1]:9").is_local());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read_or_as_soon_as_it_shows() {
    let (server, seen) = running().await;
    let declared = format!(
        "POST /v1/hooks/alertmanager HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        BODY_LIMIT_BYTES + 1
    );
    check(
        "declared",
        &talk(server.address, declared.as_bytes()).await,
        413,
        Some("too_large"),
    );
    let mut chunked = Vec::new();
    for _ in 0..5 {
        chunked.extend_from_slice(b"4000\r\n");
        chunked.resize(chunked.len() + 0x4000, b' ');
        chunked.extend_from_slice(b"\r\n");
    }
    let endless = request(
        "POST /v1/hooks/alertmanager",
        &["Transfer-Encoding: chunked"],
        &chunked,
    );
    check(
        "chunked",
        &talk(server.address, &endless).await,
        413,
        Some("too_large"),
    );
    // A sender that goes on writing gets to read the answer, instead of a reset.
    let whole = request("POST /v1/hooks/alertmanager", &[], &vec![b' '; 4 * 1024 * 1024]);
    check(
        "sent whole",
        &talk(server.address, &whole).await,
        413,
        Some("too_large"),
    );
    let fits = format!("{FIRING}{}", " ".repeat(BODY_LIMIT_BYTES - FIRING.len()));
    let fits = talk(
        server.address,
        &request("POST /v1/hooks/alertmanager", &[], fits.as_bytes()),
    )
    .await;
    check("exactly the limit", &fits, 200, None);
    assert_eq!(seen.try_iter().count(), 1);
}

#[tokio::test]
async fn a_chunked_body_is_put_together() {
    let (server, seen) = running().await;
    let mut chunks = Vec::new();
    for chunk in FIRING.as_bytes().chunks(50) {
        write!(chunks, "{:x}\r\n", chunk.len()).unwrap();
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    let whole = request(
        "POST /v1/hooks/alertmanager",
        &["Transfer-Encoding: chunked"],
        &chunks,
    );
    check("chunked", &talk(server.address, &whole).await, 200, None);
    assert_eq!(seen.recv().unwrap(), Seen::Accepted("alertmanager".to_owned(), 1));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn gzip_is_read_up_to_the_limit_and_other_codings_are_refused() {
    let (server, seen) = running().await;
    let bomb = gzip(&vec![b' '; 20 * 1024 * 1024]);
    assert!(bomb.len() < BODY_LIMIT_BYTES, "only inflated it is too large");
    let cases: [(&str, Vec<u8>, u16, Option<&str>); 6] = [
        ("gzip", gzip(FIRING.as_bytes()), 200, None),
        ("X-GZip", gzip(FIRING.as_bytes()), 200, None),
        ("identity", FIRING.as_bytes().to_vec(), 200, None),
        ("gzip", bomb, 413, Some("too_large")),
        ("gzip", FIRING.as_bytes().to_vec(), 400, Some("bad_gzip")),
        ("br", FIRING.as_bytes().to_vec(), 415, Some("content_coding")),
    ];
    for (coding, body, status, reason) in cases {
        let header = format!("Content-Encoding: {coding}");
        let reply = talk(
            server.address,
            &request("POST /v1/hooks/alertmanager", &[&header], &body),
        )
        .await;
        check(&header, &reply, status, reason);
    }
    let compressed = gzip(FIRING.as_bytes());
    let signature = format!(
        "X-Grafana-Alerting-Signature: {}",
        signed("hmac-secret", &compressed)
    );
    let reply = talk(
        server.address,
        &request(
            "POST /v1/hooks/signed",
            &[&signature, "Content-Encoding: gzip"],
            &compressed,
        ),
    )
    .await;
    check("the signature is over the bytes as received", &reply, 200, None);
    assert_eq!(
        seen.try_iter()
            .filter(|it| matches!(it, Seen::Accepted(..)))
            .count(),
        4
    );
}

#[tokio::test]
async fn a_refused_body_is_kept_inflated_with_the_reason() {
    let (server, seen) = running().await;
    let body = gzip(b"not what we hoped for");
    let reply = talk(
        server.address,
        &request("POST /v1/hooks/alertmanager", &["Content-Encoding: gzip"], &body),
    )
    .await;
    check("refused", &reply, 400, Some("not_json"));
    let Seen::Refused(kept) = seen.recv().unwrap() else {
        panic!("not kept")
    };
    assert_eq!(kept.source.as_str(), "alertmanager");
    assert_eq!(kept.body, b"not what we hoped for");
    assert_eq!(reply.json()["error"], kept.reason.as_str());
}

/// Limits so short that nobody waits for them.
fn hasty() -> Limits {
    Limits {
        header_read_millis_max: 100,
        body_read_millis_max: 150,
        body_idle_millis_max: 100,
        accept_millis_max: 100,
        drain_millis_max: 5_000,
        ..Limits::default()
    }
}

#[tokio::test]
async fn slow_clients_are_dropped() {
    let (to, seen) = std_mpsc::channel();
    let server = run(plan(), hasty(), handle_that(answers(to))).await;
    let silent = talk(server.address, b"").await;
    assert!(
        silent.0.is_empty(),
        "a connection without a request is closed: {silent:?}"
    );
    let half_a_head = talk(server.address, b"POST /v1/hooks/alertmanager HTTP/1.1\r\nHost:").await;
    assert_ne!(half_a_head.status(), 200, "{half_a_head:?}");
    let half_a_body =
        "POST /v1/hooks/alertmanager HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{\"alerts\"";
    check(
        "half a body",
        &talk(server.address, half_a_body.as_bytes()).await,
        408,
        Some("slow_body"),
    );

    let mut trickle = TcpStream::connect(server.address).await.unwrap();
    trickle.write_all(half_a_body.as_bytes()).await.unwrap();
    let (mut answer, mut drops) = trickle.into_split();
    let dropping = tokio::spawn(async move {
        let mut beat = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            beat.tick().await;
            if drops.write_all(b" ").await.is_err() {
                return;
            }
        }
    });
    let mut text = Vec::new();
    // A reset after the answer is as good as a close.
    let _reset = answer.read_to_end(&mut text).await;
    check(
        "a byte at a time",
        &Reply(String::from_utf8(text).unwrap()),
        408,
        Some("slow_body"),
    );
    dropping.await.unwrap();
    assert_eq!(seen.try_iter().count(), 0);
}

#[tokio::test]
async fn a_client_that_closes_its_side_after_writing_is_answered() {
    let (server, _seen) = running().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(&request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes()))
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    check("half closed", &read(&mut stream).await, 200, None);
}

#[tokio::test]
async fn a_connection_serves_on_after_a_refusal() {
    let (server, _seen) = running().await;
    let refused = format!(
        "POST /v1/hooks/bearer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{FIRING}",
        FIRING.len()
    );
    let both = [
        refused.into_bytes(),
        request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes()),
    ]
    .concat();
    let replies = talk(server.address, &both).await;
    assert!(
        replies.0.starts_with("HTTP/1.1 401") && replies.0.contains("HTTP/1.1 200"),
        "{replies:?}"
    );
}

#[tokio::test]
async fn the_same_body_twice_at_once_is_taken_twice() {
    let (server, seen) = running().await;
    let body = request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes());
    let (one, two) = tokio::join!(talk(server.address, &body), talk(server.address, &body));
    assert_eq!((one.status(), two.status()), (200, 200));
    assert_eq!(seen.try_iter().count(), 2, "the engine folds them, not we");
}

/// What cannot be taken responsibility for is refused with the source's busy status and a time to come again.
#[track_caller]
fn check_busy(case: &str, reply: &Reply, status: u16, reason: &str) {
    check(case, reply, status, Some(reason));
    assert_eq!(reply.header("retry-after"), Some("5"), "{case}: {reply:?}");
}

#[tokio::test]
async fn what_cannot_be_made_durable_is_never_answered_with_200() {
    let cases: [(Result<BTreeMap<Verdict, u32>, Unavailable>, &str); 4] = [
        (Err(Unavailable::InboxFull), "inbox_full"),
        (Err(Unavailable::StoreFailed), "store_failed"),
        (Err(Unavailable::ShuttingDown), "shutting_down"),
        (
            Ok(BTreeMap::from([(Verdict::New, 3), (Verdict::OverLimit, 1)])),
            "no_room",
        ),
    ];
    let body = request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes());
    for (outcome, reason) in cases {
        for status in [503, 429] {
            let outcome = outcome.clone();
            let driver = handle_that(move |ask| {
                if let Ask::Accept { reply, .. } = ask {
                    reply.send(outcome.clone()).unwrap();
                }
            });
            let mut plan = plan();
            plan.sources
                .values_mut()
                .for_each(|source| source.busy_status = status);
            let server = run(plan, Limits::default(), driver).await;
            check_busy(reason, &talk(server.address, &body).await, status, reason);
        }
    }
    let mut kept = Vec::new();
    let server = run(plan(), hasty(), handle_that(move |ask| kept.push(ask))).await;
    check_busy("no answer", &talk(server.address, &body).await, 503, "slow_store");
    let (gone, _) = mpsc::channel(1);
    let server = run(plan(), Limits::default(), Handle::new(gone)).await;
    check_busy(
        "no driver",
        &talk(server.address, &body).await,
        503,
        "shutting_down",
    );
    let ready = talk(server.address, &request("GET /readyz", &[], b"")).await;
    check_busy("no driver", &ready, 503, "shutting_down");
    let scrape = talk(server.address, &request("GET /metrics", &[], b"")).await;
    check("metrics without a driver", &scrape, 200, None);
}

#[tokio::test]
async fn we_are_not_ready_while_the_store_takes_no_writes() {
    let driver = handle_that(|ask| {
        if let Ask::Health { reply } = ask {
            let broken = Health {
                store_writable: false,
                ..health()
            };
            reply.send(broken).unwrap();
        }
    });
    let server = run(plan(), Limits::default(), driver).await;
    let ready = talk(server.address, &request("GET /readyz", &[], b"")).await;
    check_busy("readyz", &ready, 503, "store_failed");
    check(
        "healthz",
        &talk(server.address, &request("GET /healthz", &[], b"")).await,
        200,
        None,
    );
}

#[tokio::test]
async fn a_reload_tells_what_came_of_it() {
    let (server, _seen) = running().await;
    check(
        "good",
        &talk(server.address, &request("POST /-/reload", &[], b"")).await,
        200,
        None,
    );
    let reply = talk(server.address, &request("PUT /-/reload", &[], b"")).await;
    check("bad", &reply, 422, Some("bad_configuration"));
    assert_eq!(reply.json()["error"], "no such key `sourcs` in line 3");
}

#[tokio::test]
async fn the_read_api_has_its_public_names() {
    let (server, _seen) = running().await;
    let mut all = String::new();
    for path in ["alerts", "receivers", "digests", "status"] {
        let reply = talk(server.address, &request(&format!("GET /api/v1/{path}"), &[], b"")).await;
        check(path, &reply, 200, None);
        all += &format!(
            "GET /api/v1/{path}\n{}\n\n",
            serde_json::to_string_pretty(&reply.json()).unwrap()
        );
    }
    insta::assert_snapshot!(all.trim_end());
}

#[tokio::test]
async fn a_query_reaches_the_engine_as_it_was_asked() {
    let (to, asked) = std_mpsc::channel();
    let driver = handle_that(move |ask| match ask {
        Ask::Alerts { query, reply } => {
            to.send(format!("{query:?}")).unwrap();
            reply.send(alert_list()).unwrap();
        }
        Ask::Digests {
            receiver,
            limit,
            reply,
        } => {
            to.send(format!("{receiver:?} {limit}")).unwrap();
            reply.send(Ok(Vec::new())).unwrap();
        }
        Ask::Accept { .. } | Ask::Health { .. } | Ask::KeepRefused(_) => {}
    });
    let server = run(plan(), Limits::default(), driver).await;
    let cases = [
        (
            "alerts",
            "AlertQuery { source: None, state: None, receiver: None, matchers: [], limit: 100 }",
        ),
        (
            "alerts?source=a%20b&status=expired&receiver=ops&limit=0",
            r#"AlertQuery { source: Some("a b"), state: Some(Expired), receiver: Some("ops"), matchers: [], limit: 0 }"#,
        ),
        ("digests?receiver=&limit=3", "None 3"),
        ("digests?receiver=ops", r#"Some("ops") 100"#),
    ];
    for (path, expected) in cases {
        let reply = talk(server.address, &request(&format!("GET /api/v1/{path}"), &[], b"")).await;
        check(path, &reply, 200, None);
        assert_eq!(asked.recv().unwrap(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_refused_by_name() {
    let (server, _seen) = running().await;
    let cases = [
        (
            "alerts?colour=red",
            "there is no parameter `colour` here; there is `source`, `status`, `receiver`, `limit`, `filter`",
        ),
        (
            "alerts?status=broken",
            "`status=broken` is none of `firing`, `resolved`, `expired`",
        ),
        ("alerts?limit=10001", "`limit=10001` is no number from 0 to 10000"),
        ("digests?limit=-1", "`limit=-1` is no number from 0 to 10000"),
        ("alerts?source=a&source=b", "parameter `source` is given twice"),
        ("status?x", "there is no parameter `x` here; there is none"),
    ];
    for (path, error) in cases {
        let reply = talk(server.address, &request(&format!("GET /api/v1/{path}"), &[], b"")).await;
        check(path, &reply, 400, Some("bad_query"));
        assert_eq!(reply.json()["error"], error, "{path}");
    }
    let reply = talk(
        server.address,
        &request("GET /api/v1/alerts?filter=%3D%3D", &[], b""),
    )
    .await;
    check("filter", &reply, 400, Some("bad_query"));
}

#[tokio::test]
async fn requests_and_refusals_are_counted_by_source() {
    let (server, _seen) = running().await;
    for (line, body) in [
        ("POST /v1/hooks/alertmanager", FIRING),
        ("POST /v1/hooks/alertmanager", "{"),
        ("POST /v1/hooks/bearer", FIRING),
        ("POST /v1/hooks/nobody", FIRING),
        ("POST /nowhere", FIRING),
    ] {
        talk(server.address, &request(line, &[], body.as_bytes())).await;
    }
    let scrape = talk(server.address, &request("GET /metrics", &[], b"")).await;
    assert_eq!(
        scrape.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for sample in [
        r#"dingest_webhook_requests_total{source="alertmanager",status="200"} 1"#,
        r#"dingest_webhook_requests_total{source="alertmanager",status="400"} 1"#,
        r#"dingest_webhook_refusals_total{source="bearer",reason="unauthorized"} 1"#,
        r#"dingest_alerts_received_total{source="alertmanager"} 1"#,
        r#"dingest_alert_verdicts_total{source="alertmanager",verdict="new"} 1"#,
        "dingest_webhook_unrouted_total 2",
        "dingest_http_connections 1",
        "dingest_quota_per_month 3000",
    ] {
        assert!(
            scrape.body().lines().any(|line| line == sample),
            "{sample} is missing in\n{}",
            scrape.body()
        );
    }
}

#[tokio::test]
async fn at_the_limit_of_connections_the_next_one_waits_for_its_turn() {
    let (to, _seen) = std_mpsc::channel();
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let server = run(plan(), limits, handle_that(answers(to))).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut piece = [0; 12];
    first.read_exact(&mut piece).await.unwrap();
    let second = tokio::spawn({
        let address = server.address;
        async move { talk(address, &request("GET /healthz", &[], b"")).await }
    });
    let waited = |text: &str| text.contains("dingest_http_connections_waited_total 1");
    let snapshot = crate::telemetry::Snapshot {
        health: None,
        monthly_quota: None,
        started_at: Timestamp(0),
        now: Timestamp(0),
    };
    while !waited(&server.metrics.encode(snapshot)) {
        tokio::task::yield_now().await;
    }
    assert!(!second.is_finished());
    drop(first);
    check("after the first", &second.await.unwrap(), 200, None);
}

#[tokio::test]
async fn shutdown_lets_a_request_under_way_finish_and_takes_no_more() {
    let (to, mut accepted) = mpsc::channel(1);
    let driver = handle_that(move |ask| {
        if let Ask::Accept { reply, .. } = ask {
            to.try_send(reply).unwrap();
        }
    });
    let server = run(plan(), Limits::default(), driver).await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    let address = server.address;
    let under_way = tokio::spawn(async move {
        talk(
            address,
            &request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes()),
        )
        .await
    });
    let reply = accepted.recv().await.unwrap();
    server.stop.send(()).unwrap();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    reply.send(Ok(BTreeMap::from([(Verdict::New, 1)]))).unwrap();
    check("under way", &under_way.await.unwrap(), 200, None);
    assert_eq!(server.stopped.await.unwrap(), 0, "nothing was cut");
    drop(idle);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let limits = Limits {
        drain_millis_max: 50,
        ..Limits::default()
    };
    let (to, mut asked) = mpsc::channel(1);
    let server = run(plan(), limits, handle_that(move |ask| to.try_send(ask).unwrap())).await;
    let address = server.address;
    let hanging = tokio::spawn(async move {
        talk(
            address,
            &request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes()),
        )
        .await
    });
    let _unanswered = asked.recv().await.unwrap();
    server.stop.send(()).unwrap();
    assert_eq!(server.stopped.await.unwrap(), 1);
    assert_eq!(
        hanging.await.unwrap().status(),
        0,
        "cut, never answered with success"
    );
}

#[tokio::test]
async fn a_token_never_reaches_the_log_or_an_answer() {
    let (to, lines) = std_mpsc::channel::<Vec<u8>>();
    let log = crate::telemetry::subscriber(
        crate::telemetry::LogFormat::Text,
        "trace",
        false,
        false,
        move || Lines(to.clone()),
    );
    let _here = tracing::subscriber::set_default(log.unwrap());
    let (server, _seen) = running().await;
    for (line, header) in [
        ("POST /v1/hooks/bearer/t0ken%2F%C3%A4", "Accept: */*"),
        ("GET /v1/hooks/bearer/t0ken%2F%C3%A4", "Accept: */*"),
        ("POST /v1/hooks/bearer/t0ken-mistyped", "Accept: */*"),
        ("POST /v1/hooks/basic/t0ken", "Accept: */*"),
        ("POST /v1/hooks/nobody/t0ken", "Accept: */*"),
        ("POST /v1/hooks/bearer?token=t0ken", "Accept: */*"),
        ("POST /v1/hooks/bearer", "Authorization: Bearer t0ken-mistyped"),
        ("POST /v1/hooks/bearer/api/t0ken", "Authorization: Bearer t0ken"),
    ] {
        let reply = talk(server.address, &request(line, &[header], b"{")).await;
        assert!(!reply.0.contains("t0ken"), "{line}: {reply:?}");
    }
    let log = String::from_utf8(lines.try_iter().flatten().collect()).unwrap();
    assert!(
        log.contains("path=\"/v1/hooks/bearer/***\"") && log.contains("unauthorized"),
        "{log}"
    );
    assert!(!log.contains("t0ken"), "{log}");
}

/// Where a test's log goes.
struct Lines(std_mpsc::Sender<Vec<u8>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_unix_socket_is_this_machine_and_a_stale_file_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let listen = Listen::Unix(path.clone());
    drop(Listener::bind(&listen).await.unwrap());
    let listener = Listener::bind(&listen).await.unwrap();
    assert!(Listener::bind(&listen).await.is_err(), "somebody answers there");
    assert!(listener.address().is_none());
    assert!(
        Head {
            peer: None,
            headers: HeaderMap::new()
        }
        .is_local()
    );
}
