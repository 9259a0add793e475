//! The real server on a free port, a raw client, and a stand-in for the driver.

mod api;
mod bodies;
mod connections;
mod credentials;
mod description;
mod paths;
mod places;
mod room;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc as std_mpsc};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::alert::occurrence::{Occurred, Occurrence};
use crate::alert::{AlertNo, DigestId, EndpointName, Fingerprint, Labels, ReceiverName, SourceName, Span};
use crate::digest::Change;
use crate::dingtalk::Client;
use crate::driver::question::Question;
use crate::driver::{Ask, Handle, Health, Unavailable};
use crate::engine::Verdict;
use crate::engine::view::{
    AlertList, AlertReceiverView, AlertView, Counts, EndpointView, Explained, Explanation, ReceiverView,
    RouteView, Standing, WaitsFor,
};
use crate::plan::{
    Auth, DingTalk, GroupBy, Listen, Locale, Route, RouteId, Routes, Server as ServerPlan, Source,
    SourceKind, Store,
};
use crate::record::Recorder;
use crate::render::Renderer;
use crate::source::json::{Mapping, MappingText};
use crate::store::{DigestRow, LaterRow, MessageRow, RefusedBody, Said, State, Told};

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

fn endless() -> SourceKind {
    let mapping = MappingText {
        labels: Some("def f: f; f".to_owned()),
        ..MappingText::default()
    };
    SourceKind::Json(Arc::new(Mapping::compile(&mapping).unwrap()))
}

fn plan() -> Plan {
    let hmac = |timestamp_header: Option<&str>| Auth::GrafanaHmac {
        secret: Secret::new("hmac-secret"),
        header: "X-Grafana-Alerting-Signature".to_owned(),
        timestamp_header: timestamp_header.map(str::to_owned),
    };
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
        record: None,
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
            source("endless", endless(), Auth::None),
        ]),
        dingtalk: DingTalk {
            base_url: "https://oapi.dingtalk.com".to_owned(),
            monthly_quota: Some(3000),
            monthly_api_quota: Some(5000),
        },
        apps: BTreeMap::new(),
        endpoints: BTreeMap::new(),
        receivers: BTreeMap::new(),
        routes: Routes::new(vec![catch_all()]),
        intervals: BTreeMap::new(),
    }
}

fn catch_all() -> Route {
    Route {
        receiver: ReceiverName::from("ops"),
        sources: Vec::new(),
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
    let endpoint = EndpointView {
        name: EndpointName::from("ops-1"),
        kind: "bot",
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
            used_this_month: [(crate::plan::Quota::Webhook, 12), (crate::plan::Quota::Api, 0)],
        },
        receivers: vec![ReceiverView {
            name: ReceiverName::from("ops"),
            changes: 2,
            oldest_change_at: Some(Timestamp(1_775_030_400_000)),
            due_at: None,
            waits_for: Some(WaitsFor::Pause),
            last_digest_at: None,
            unread: Some(1),
            endpoints: vec![endpoint.clone()],
        }],
        endpoints: vec![endpoint],
    }
}

fn alert_list() -> AlertList {
    let labels = Labels::from_pairs([("host", "db-1"), ("alertname", "DiskFull")]);
    AlertList {
        total: 7,
        by_severity: [2, 4, 1],
        alerts: vec![AlertView {
            source: SourceName::from("alertmanager"),
            fingerprint: Fingerprint::of_labels(&labels),
            identity: None,
            state: State::Firing,
            labels,
            annotations: Labels::default(),
            links: Labels::from_pairs([
                ("runbook", "https://runbooks.example.com/disk"),
                ("silence", "javascript:alert(1)"),
            ]),
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

/// As if by a plan with a route for `severity="warning"` alone that is before one for everything.
fn explained() -> Explained {
    let route = |id, matchers: &[&str], passage| RouteView {
        id: RouteId(id),
        depth: usize::from(id > 0),
        receiver: ReceiverName::from("ops"),
        sources: Vec::new(),
        matchers: matchers.iter().map(ToString::to_string).collect(),
        continue_matching: false,
        passage,
        mismatch: None,
        shadowed_by: None,
        muted: id == 2,
    };
    let mismatch = RouteView {
        mismatch: Some(r#"severity="warning""#.to_owned()),
        ..route(1, &[r#"severity="warning""#], "mismatch")
    };
    let alert = alert_list().alerts.remove(0);
    Explained {
        total: 1,
        alerts: vec![Explanation {
            no: AlertNo(7),
            alert,
            expires_at: Some(Timestamp(1_776_326_400_000)),
            doubted_until: None,
            flapping: false,
            occurrences: vec![Occurrence {
                what: Occurred::Updated,
                at: Timestamp(1_775_030_420_000),
            }],
            routes: vec![route(0, &[], "delegated"), mismatch, route(2, &[], "taken")],
            receivers: vec![Standing {
                route: Some(RouteId(2)),
                quiet: None,
                due_at: None,
                reminder_at: None,
                endpoints: vec![EndpointView {
                    name: EndpointName::from("ops-1"),
                    kind: "bot",
                    budget_left: 0,
                    paused_until: Some(Timestamp(1_775_030_999_000)),
                    reason: Some("limited"),
                    used_this_month: 5,
                }],
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
                endpoint: Some(EndpointName::from("ops-1")),
                sent_at: Some(Timestamp(1_775_030_410_250)),
                attempts: 1,
                outcome: Some("delivered".to_owned()),
                errcode: Some(0),
                answer: Some("ok".to_owned()),
                covers: vec![(AlertNo(7), Said::Firing, 1)],
                title: "1 new".to_owned(),
                text: "**DiskFull**".to_owned(),
            },
        )],
        later: BTreeMap::from([(
            1,
            LaterRow {
                recalled_at: Some(Timestamp(1_775_034_000_000)),
                asked_at: Some(Timestamp(1_775_030_710_000)),
                read_by: BTreeMap::from([("zhangsan".to_owned(), Timestamp(1_775_030_500_000))]),
            },
        )]),
    }]
}

fn refused_list() -> Vec<RefusedBody> {
    vec![RefusedBody {
        source: SourceName::from("grafana"),
        at: Timestamp(1_775_030_400_000),
        reason: "the body is empty".to_owned(),
        body: vec![b'{', 0xff],
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
            ..
        } => {
            let count = u32::try_from(alerts.len()).unwrap();
            // Nobody may be listening any more, here and below.
            let _gone = reply.send(Ok(BTreeMap::from([(Verdict::New, count)])));
            let _gone = seen.send(Seen::Accepted(source.to_string(), alerts.len()));
        }
        Ask::Question(Question::Alerts { reply, .. }) => {
            let _gone = reply.send(alert_list());
        }
        Ask::Question(Question::Explain { reply, .. }) => {
            let _gone = reply.send(explained());
        }
        Ask::Digests { reply, .. } => {
            let _gone = reply.send(Ok(digest_list()));
        }
        Ask::Question(Question::BeginAnswer { reply, .. }) => {
            let _gone = reply.send(Ok(()));
        }
        Ask::Question(Question::EndAnswer(..)) => {}
        Ask::Question(Question::Hasten { receivers, reply }) => {
            let _gone = reply.send(receivers.len() as u64);
        }
        Ask::Question(Question::Health { reply }) => {
            let _gone = reply.send(health());
        }
        Ask::KeepRefused(body, keeping) => {
            keeping.kept();
            let _gone = seen.send(Seen::Refused(body));
        }
        Ask::Refused { reply, .. } => {
            let _gone = reply.send(Ok(refused_list()));
        }
    }
}

/// A server that runs.
struct Running {
    address: SocketAddr,
    prepared: watch::Sender<Prepared>,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    stopped: JoinHandle<usize>,
    _status: watch::Sender<PlanStatus>,
}

async fn run(plan: Plan, limits: Limits, driver: Handle) -> Running {
    let plan = Arc::new(plan);
    let renderer = Renderer::new(&plan).expect("templates that compile");
    let renderer = Arc::new(renderer);
    let (prepared, current) = watch::channel(Prepared { plan, renderer });
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
        prepared: current.clone(),
        plan_status,
        answerer: Answerer::new(current, driver.clone(), Client::new(), Arc::clone(&metrics)),
        driver,
        reload: ReloadHandle::new(reload),
        metrics: Arc::clone(&metrics),
        recorder: Recorder::start(Arc::clone(&metrics)).unwrap().0,
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
        prepared,
        metrics,
        stop,
        stopped,
        _status: status,
    }
}

/// A server over a driver in good health.
async fn running() -> (Running, std_mpsc::Receiver<Seen>) {
    running_with(Limits::default()).await
}

async fn running_with(limits: Limits) -> (Running, std_mpsc::Receiver<Seen>) {
    let (to, seen) = std_mpsc::channel();
    (run(plan(), limits, handle_that(answers(to))).await, seen)
}

/// Asks once; the answer must be one that is described.
async fn talk(address: SocketAddr, request: &[u8]) -> Reply {
    let reply = exchange(address, request).await;
    description::hold(request, &reply);
    reply
}

/// Writes everything and reads until the server closes.
async fn exchange(address: SocketAddr, text: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text).await.unwrap();
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

/// Limits so short that nobody waits for them.
fn hasty() -> Limits {
    Limits {
        header_read_millis_max: 100,
        body_read_millis_max: 150,
        body_idle_millis_max: 100,
        write_millis_max: 100,
        accept_millis_max: 100,
        drain_millis_max: 5_000,
        ..Limits::default()
    }
}

/// The lower-case hexadecimal HMAC-SHA256 of some bytes.
fn signed(secret: &str, bytes: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(bytes);
    mac.finalize()
        .into_bytes()
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
