//! What people read, as snapshots, and what must hold for any draft.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::sync::Arc;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::Value;

mod pictures;
mod work_notices;

use super::limits::{BUTTON_CHARS_MAX, BUTTONS_MAX, LINK_TEXT_CHARS_MAX, TITLE_CHARS_MAX};
use super::*;
use crate::alert::{AlertNo, DigestId, EndpointName, Fingerprint, Labels, Severity, Span, Status, Timestamp};
use crate::digest::compose::View;
use crate::digest::{Change, Detail, Entry, Fit, Message, Notice};
use crate::dingtalk::simulator::content::Content;
use crate::dingtalk::simulator::notices::content::members;
use crate::plan::{
    Bot, Channel, DingTalk, Endpoint, GroupBy, Listen, Locale, Mention, MentionOn, MessageKind, Receiver,
    Route, Routes, Server, Way,
};
use crate::secret::Secret;

/// 10:43 on 2 March 2026 in Shanghai.
const NOW: Timestamp = Timestamp(1_772_419_380_000);

fn plan(locale: Locale) -> Plan {
    let receiver = Receiver {
        name: "ops".into(),
        channel: Channel::Endpoints(vec!["ops-1".into()]),
        template: "digest".into(),
        message: MessageKind::Markdown,
        picture: Some("https://static.example.com/dingest.png".into()),
        mention: Mention {
            mobiles: vec!["13800000000".into()],
            ..Mention::default()
        },
        max_messages: NonZeroU8::MIN,
        afterwards: crate::plan::Afterwards::default(),
        fallback: None,
    };
    let bot = Bot {
        name: "ops-1".into(),
        access_token: Secret::new("t"),
        secret: None,
        base_url: None,
        keyword: None,
        per_minute: 18,
    };
    let route = Route {
        receiver: "ops".into(),
        sources: Vec::new(),
        matchers: Vec::new(),
        continue_matching: false,
        group_by: GroupBy::All,
        group_wait: Span(0),
        group_interval: Span(0),
        repeat_interval: Span(0),
        urgent: false,
        send_resolved: true,
        mute: Vec::new(),
        active: Vec::new(),
        children: Vec::new(),
    };
    Plan {
        server: Server {
            listen: Listen::Unix("/tmp/none".into()),
            external_url: Some("https://alerts.example.com".into()),
            body_limit_bytes: 1,
            allow_unauthenticated: false,
        },
        store: crate::plan::Store {
            path: "none".into(),
            history: Span(0),
        },
        record: None,
        locale,
        timezone: TimeZone::get("Asia/Shanghai").expect("a bundled zone"),
        templates: BTreeMap::new(),
        sources: BTreeMap::new(),
        dingtalk: DingTalk {
            base_url: String::new(),
            monthly_quota: None,
            monthly_api_quota: None,
        },
        apps: BTreeMap::new(),
        endpoints: BTreeMap::from([(EndpointName::from("ops-1"), Endpoint::from(bot))]),
        receivers: BTreeMap::from([("ops".into(), receiver)]),
        routes: Routes::new(vec![route]),
        intervals: BTreeMap::new(),
    }
}

fn renderer(plan: Plan) -> Renderer {
    Renderer::new(&Arc::new(plan)).expect("templates compile")
}

/// An entry: change, minutes ago, labels; the severity is that of the labels.
fn entry(change: Change, minutes_ago: i64, labels: &[(&str, &str)]) -> Entry {
    let labels = Labels::from_pairs(labels.iter().copied());
    let over = matches!(change, Change::Resolved | Change::Passed);
    Entry {
        alert: AlertNo(0),
        change,
        urgent: false,
        severity: Severity::of(&labels),
        group_by: GroupBy::Labels(Arc::from([Arc::from("alertname"), Arc::from("cluster")])),
        source: "alertmanager".into(),
        fingerprint: Fingerprint::of_labels(&labels),
        status: if over { Status::Resolved } else { Status::Firing },
        labels,
        annotations: Labels::default(),
        links: Labels::default(),
        values: Labels::default(),
        starts_at: Timestamp(NOW.0 - minutes_ago * 60_000),
        ends_at: over.then_some(Timestamp(NOW.0 - 60_000)),
        episodes: 1,
    }
}

impl Entry {
    fn saying(mut self, summary: &str) -> Self {
        self.annotations = Labels::from_pairs([("summary", summary)]);
        self
    }

    fn linking(mut self, kinds: &[&str]) -> Self {
        self.links = kinds
            .iter()
            .map(|kind| (*kind, format!("https://{kind}.example.com/x?y=1&z=2")))
            .collect();
        self
    }

    fn by(mut self, names: &[&str]) -> Self {
        self.group_by = GroupBy::Labels(names.iter().map(|name| Arc::from(*name)).collect());
        self
    }
}

fn draft(mut entries: Vec<Entry>, firing: [u64; 3]) -> Draft {
    for (number, entry) in (1..).zip(&mut entries) {
        entry.alert = AlertNo(number);
    }
    Draft {
        others: Vec::new(),
        id: DigestId(7),
        uuid_prefix: "d7".into(),
        receiver: "ops".into(),
        endpoint: Some("ops-1".into()),
        composed_at: NOW,
        urgent: entries.iter().any(|entry| entry.urgent),
        entries,
        firing,
        notices: Vec::new(),
        fit: Fit {
            messages_max: 3,
            message_bytes_max: 18_000,
            detail_max: Detail::Full,
        },
    }
}

fn one_critical() -> Draft {
    let labels = [
        ("alertname", "HighErrorRate"),
        ("cluster", "prod-eu-1"),
        ("service", "payments"),
        ("instance", "api-7c9d-00012"),
        ("severity", "critical"),
        ("job", "api"),
    ];
    let mut entry = entry(Change::New, 1, &labels)
        .saying("api-7c9d-00012 的 5xx 比例超过 5%，当前 7.2%")
        .linking(&["generator", "runbook", "silence"]);
    entry.urgent = true;
    draft(vec![entry], [1, 0, 0])
}

fn mixed() -> Draft {
    let disk = [
        ("alertname", "DiskFull"),
        ("cluster", "east-1"),
        ("service", "db"),
        ("instance", "db-07"),
        ("mountpoint", "/var"),
        ("severity", "critical"),
    ];
    let kafka = [
        ("alertname", "KafkaLag"),
        ("topic", "orders"),
        ("partition", "3"),
        ("severity", "warning"),
    ];
    let crash = [
        ("alertname", "PodCrashLooping"),
        ("pod", "checkout-5f6"),
        ("severity", "warning"),
    ];
    let latency = |instance| {
        [
            ("alertname", "HighLatency"),
            ("instance", instance),
            ("severity", "warning"),
        ]
    };
    draft(
        vec![
            entry(Change::Resolved, 23, &crash),
            entry(Change::Resolved, 10, &latency("api-3")),
            entry(Change::Resolved, 12, &latency("api-7")),
            entry(Change::New, 5, &kafka)
                .saying("48,000 behind and growing")
                .linking(&["dashboard"]),
            entry(Change::New, 2, &disk)
                .saying("/var 97 % full, full in about 40 min")
                .linking(&["generator", "runbook"]),
        ],
        [1, 5, 1],
    )
}

fn twelve_pods() -> Draft {
    let entries = (0..12)
        .map(|n| {
            let pod = format!("5f6c-{}{n}", char::from(b'a' + n));
            let labels = [
                ("alertname", "PodNotReady"),
                ("cluster", "prod-eu-1"),
                ("namespace", "checkout"),
                ("pod", &pod),
                ("severity", "warning"),
            ];
            entry(Change::New, if n < 5 { 16 } else { 15 }, &labels)
                .saying("not ready for 15 min")
                .linking(&["dashboard", "runbook"])
        })
        .collect();
    draft(entries, [0, 14, 0])
}

/// A storm: a rack of nodes first, then what hangs on them.
fn storm(size: u32) -> Draft {
    let mut entries = Vec::new();
    for n in 0..size {
        let number = n.to_string();
        let instance = format!("10.0.{}.{}:9100", n / 250, n % 250);
        let cluster = if n % 23 == 0 { "east-1" } else { "east-2" };
        let mut labels = vec![
            ("cluster", cluster),
            ("instance", instance.as_str()),
            ("uid", number.as_str()),
        ];
        let (name, severity, minutes) = match n % 100 {
            0 => ("NodeDown", "critical", 9),
            1..=60 => ("TargetDown", "warning", 7),
            61..=90 => ("HighErrorRate", "warning", 5),
            _ => ("ProbeFailed", "info", 3),
        };
        let rack = format!("r{}", n % 5);
        let service = format!("svc-{}", n % 43);
        labels.extend([("alertname", name), ("severity", severity)]);
        labels.push(match name {
            "NodeDown" => ("rack", rack.as_str()),
            "HighErrorRate" => ("service", service.as_str()),
            _ => ("job", "node"),
        });
        entries.push(
            entry(Change::New, minutes, &labels)
                .by(&["alertname"])
                .saying("down")
                .linking(&["generator"]),
        );
    }
    for n in 0..size / 50 {
        let number = n.to_string();
        let change = if n % 3 == 0 {
            Change::Passed
        } else {
            Change::Resolved
        };
        entries.push(
            entry(change, 8, &[("alertname", "HighLatency"), ("instance", &number)]).by(&["alertname"]),
        );
    }
    let firing = u64::from(size);
    draft(entries, [firing / 100, firing * 9 / 10, firing / 11])
}

fn all_clear() -> Draft {
    let at = |host| {
        [
            ("alertname", "DiskFull"),
            ("host", host),
            ("severity", "critical"),
        ]
    };
    draft(
        vec![
            entry(Change::Resolved, 73, &at("db-07")),
            entry(Change::Resolved, 30, &at("db-08")),
        ],
        [0; 3],
    )
}

fn reminders() -> Draft {
    let disk = [
        ("alertname", "DiskFull"),
        ("host", "db-07"),
        ("severity", "critical"),
    ];
    let lag = |partition| {
        [
            ("alertname", "KafkaLag"),
            ("topic", "orders"),
            ("partition", partition),
            ("severity", "warning"),
        ]
    };
    draft(
        vec![
            entry(Change::Reminder, 260, &disk)
                .saying("97 %")
                .linking(&["silence"]),
            entry(Change::Reminder, 245, &lag("3")),
            entry(Change::Reminder, 244, &lag("4")),
        ],
        [1, 2, 0],
    )
}

fn flapping() -> Draft {
    let mut entry = entry(
        Change::Flapping,
        4,
        &[
            ("alertname", "LinkDown"),
            ("device", "sw-3"),
            ("severity", "warning"),
        ],
    );
    entry.episodes = 14;
    draft(vec![entry], [0, 1, 0])
}

fn expired() -> Draft {
    let at = |host| {
        [
            ("alertname", "BackupFailed"),
            ("host", host),
            ("severity", "info"),
        ]
    };
    let mut draft = draft(
        vec![
            entry(Change::Expired, 15 * 1440, &at("nas-1")),
            entry(Change::Expired, 15 * 1440 + 9, &at("nas-2")),
        ],
        [0; 3],
    );
    draft.notices = vec![Notice::Fallback {
        through: "lobby".into(),
        endpoint: "ops-1".into(),
        reason: "limited",
        until: Some(Timestamp(NOW.0 + 480_000)),
    }];
    draft
}

fn passed() -> Draft {
    let mut entry = entry(
        Change::Passed,
        6,
        &[("alertname", "HighLatency"), ("instance", "api-3")],
    );
    entry.episodes = 3;
    draft(vec![entry], [0; 3])
}

fn again() -> Draft {
    let mut entry = entry(
        Change::Again,
        2,
        &[
            ("alertname", "LinkDown"),
            ("device", "sw-3"),
            ("severity", "critical"),
        ],
    )
    .saying("uplink of sw-3 is down");
    entry.episodes = 2;
    draft(vec![entry], [1, 0, 0])
}

fn hostile() -> Draft {
    let evil = "](http://evil.example) **x** <font color=red>y</font> @13800000000 ![i](u)\n# head\n- item";
    let mut entry = entry(
        Change::New,
        1,
        &[
            ("host", evil),
            ("größe", "µ-1"),
            ("emoji", "🔥👨\u{200d}👩"),
            ("rtl", "ab\u{202e}dc\u{7}"),
            ("path", r"C:\dir\"),
        ],
    )
    .by(&["host"])
    .saying("# 1. `rm -rf` & &lt;b&gt; https://evil.example kube_pod_name @all");
    entry.links = Labels::from_pairs([
        ("generator", "javascript:alert(1)"),
        ("runbook", "https://r.example/(a)[b]"),
    ]);
    draft(vec![entry], [0, 0, 1])
}

fn nameless() -> Draft {
    let mut entry = entry(Change::New, 0, &[]);
    entry.values = Labels::from_pairs([("B", "7.2")]);
    draft(vec![entry], [0, 0, 1])
}

fn enormous() -> Draft {
    let value = "长".repeat(100_000);
    let text = "very long ".repeat(12_000);
    let mut entry = entry(Change::New, 1, &[("alertname", "Huge"), ("host", &value)]).saying(&text);
    entry.annotations = Labels::from_pairs([("summary", text.as_str()), ("description", value.as_str())]);
    draft(vec![entry], [0, 0, 1])
}

fn in_parts() -> Draft {
    let entries = (0..36)
        .map(|n| {
            let (service, host) = (format!("service-{}", n / 12), format!("host-{n:02}"));
            let labels = [
                ("alertname", "Slow"),
                ("service", service.as_str()),
                ("host", host.as_str()),
                ("severity", "warning"),
            ];
            entry(Change::New, i64::from(n), &labels)
                .by(&["service"])
                .saying(&format!("{host} answers in {n} s"))
                .linking(&["generator", "silence"])
        })
        .collect();
    let mut draft = draft(entries, [0, 36, 0]);
    draft.fit.message_bytes_max = 2600;
    draft
}

type Scene = (&'static str, fn() -> Draft);

const SCENES: [Scene; 15] = [
    ("one_critical", one_critical),
    ("mixed", mixed),
    ("twelve_pods", twelve_pods),
    ("storm", || storm(5_000)),
    ("all_clear", all_clear),
    ("reminders", reminders),
    ("flapping", flapping),
    ("expired", expired),
    ("passed", passed),
    ("again", again),
    ("hostile", hostile),
    ("nameless", nameless),
    ("enormous", enormous),
    ("in_parts", in_parts),
    ("refused", || {
        let mut draft = mixed();
        draft.fit.detail_max = Detail::Stub;
        draft.notices = vec![Notice::ContentRefused {
            errcode: Some(430_102),
        }];
        draft
    }),
];

fn shown(rendered: &Rendered) -> String {
    let parts: Vec<String> = rendered
        .messages
        .iter()
        .map(|message| {
            format!(
                "title: {}\n{}",
                message.title,
                message.text.replace('\u{200b}', "␣")
            )
        })
        .collect();
    parts.join("\n\n======\n\n")
}

/// What must hold whatever the draft and the way.
#[track_caller]
fn check_frame(draft: &Draft, rendered: &Rendered) {
    let mut covered: Vec<AlertNo> = rendered
        .messages
        .iter()
        .flat_map(|m| m.covers.iter().copied())
        .collect();
    covered.sort_unstable();
    let mut told: Vec<AlertNo> = draft.entries.iter().map(|entry| entry.alert).collect();
    told.sort_unstable();
    assert_eq!(covered, told, "every alert is covered exactly once");
    assert!(rendered.messages.len() <= usize::from(draft.fit.messages_max.max(1)));
    for message in &rendered.messages {
        assert!(
            message.title.chars().count() <= TITLE_CHARS_MAX,
            "{}",
            message.title
        );
        assert!(!message.text.is_empty());
    }
}

/// What must hold whatever the draft, of messages of a bot or work notices.
#[track_caller]
fn check(draft: &Draft, rendered: &Rendered) {
    check_frame(draft, rendered);
    for message in &rendered.messages {
        let bytes = message.body.len() - work_notices::frame_bytes(message);
        assert!(bytes <= draft.fit.message_bytes_max, "{bytes} bytes");
        let content = arrived(message);
        match content.msgtype.as_str() {
            "markdown" => assert_eq!((&content.title, &content.text), (&message.title, &message.text)),
            "text" => assert_eq!(content.text, message.text),
            "link" => {
                assert_eq!((&content.title, &content.text), (&message.title, &message.text));
                assert!(content.text.chars().count() <= LINK_TEXT_CHARS_MAX);
            }
            "actionCard" | "action_card" => {
                assert_eq!((&content.title, &content.text), (&message.title, &message.text));
                assert!(content.links.len() <= BUTTONS_MAX);
                assert!(
                    content
                        .links
                        .iter()
                        .all(|button| button.title.chars().count() <= BUTTON_CHARS_MAX)
                );
            }
            "feedCard" => {
                let lines: Vec<&str> = content.links.iter().map(|entry| entry.title.as_str()).collect();
                assert_eq!(
                    lines,
                    [&message.title]
                        .into_iter()
                        .map(String::as_str)
                        .chain(message.text.lines())
                        .collect::<Vec<_>>()
                );
                assert!(lines.len() <= FEED_ENTRIES_MAX, "{}", lines.len());
                assert!(
                    lines
                        .iter()
                        .all(|line| line.chars().count() <= limits::LINE_CHARS_MAX)
                );
            }
            "oa" => {
                assert_eq!(content.title, message.title);
                // A dash parts what a line is about from what is said of it, and is not shown.
                let words = |text: &str| text.replace(" — ", " ");
                assert_eq!(words(&content.text), words(&message.text));
            }
            other => panic!("there is no {other}"),
        }
    }
}

/// Most entries of a feed when there is one notice: its head, sections, a few of other states, the rest, the numbers,
/// the notice.
const FEED_ENTRIES_MAX: usize = 1 + 6 + 3 + 3;

/// What a strict reader of the protocol makes of a message.
#[track_caller]
fn arrived(message: &Message) -> Content {
    let body: serde_json::Map<String, Value> = serde_json::from_slice(&message.body).expect("a JSON object");
    let read = match body.get("msg") {
        Some(notice) => members(notice.as_object().expect("a JSON object")),
        None => Content::read(&body),
    };
    read.unwrap_or_else(|error| panic!("{error:?}: {body:?}"))
}

/// A message as the chat shows it, with what can be pressed.
fn as_chatted(message: &Message) -> String {
    let content = arrived(message);
    let mut shown = format!("{}: {}\n{}", content.msgtype, content.title, content.text);
    if content.side_by_side {
        shown.push_str("\n\n(side by side)");
    }
    shown.extend(content.links.iter().map(|link| {
        let url = link.url.strip_prefix("dingtalk://dingtalkclient/page/link?url=");
        let url = url
            .and_then(|url| url.strip_suffix("&pc_slide=false"))
            .expect("a wrapped address");
        let url = percent_encoding::percent_decode_str(url).decode_utf8_lossy();
        let picture = link.picture.as_ref();
        let picture = picture.map_or(String::new(), |picture| format!(" 🖼 {picture}"));
        format!("\n[{}] {url}{picture}", link.title)
    }));
    shown.replace('\u{200b}', "␣")
}

const KINDS: [MessageKind; 5] = [
    MessageKind::Markdown,
    MessageKind::Text,
    MessageKind::Link,
    MessageKind::ActionCard,
    MessageKind::FeedCard,
];

/// A renderer whose receiver is told in messages of a type.
fn of_kind(kind: MessageKind, locale: Locale) -> Renderer {
    let mut plan = plan(locale);
    for receiver in plan.receivers.values_mut() {
        receiver.message = kind;
    }
    renderer(plan)
}

#[test]
fn our_own_templates_are_right_in_every_language() {
    for locale in [Locale::Chinese, Locale::English] {
        let renderer = Renderer::new(&Arc::new(plan(locale))).unwrap();
        assert!(
            renderer.templates.get().is_none(),
            "a start compiles none of them"
        );
        assert_eq!(Templates::new(&renderer.plan).map(drop), Ok(()));
    }
}

#[test]
fn every_type_of_message_reads_as_it_should() {
    for kind in &KINDS[1..] {
        for locale in [Locale::Chinese, Locale::English] {
            let chat = of_kind(*kind, locale);
            let mut shown = Vec::new();
            for (name, make) in SCENES {
                let draft = make();
                let rendered = chat.render(&draft);
                assert_eq!(rendered.template_error, None);
                check(&draft, &rendered);
                // Those whose texts are a storm's have been shown by the markdown that cards share.
                if ["enormous", "in_parts", "twelve_pods", "nameless"].contains(&name) {
                    continue;
                }
                for message in &rendered.messages {
                    shown.push(format!("====== {name}\n{}", as_chatted(message)));
                }
            }
            let name = format!("types_{}.{}", kind.as_str(), locale.tag());
            insta::assert_snapshot!(name, shown.join("\n\n"));
        }
    }
}

#[test]
fn a_text_message_shows_values_as_their_senders_wrote_them() {
    let value = "**kwargs [a](b) # <x> `rm` ~~y~~ R&D _z_ C:\\dir";
    let mut entry = entry(Change::New, 1, &[("alertname", value)]).saying("> # 1. [x] *all*");
    entry.group_by = GroupBy::Labels(Arc::from([Arc::from("alertname")]));
    let draft = draft(vec![entry], [0, 0, 1]);
    let text = of_kind(MessageKind::Text, Locale::English)
        .render(&draft)
        .messages
        .remove(0)
        .text;
    assert!(text.contains(&format!("\n{value}\n")), "{text}");
    assert!(text.contains("- 🔵 > # 1. [x] *all* — since"), "{text}");
}

#[test]
fn buttons_lead_to_what_fires_each_address_once_and_the_last_to_everything() {
    let linked = |change, name: &str, links: &[(&str, &str)]| {
        let mut entry = entry(change, 1, &[("alertname", name), ("severity", "critical")]).by(&["alertname"]);
        entry.links = Labels::from_pairs(links.iter().copied());
        entry
    };
    let shared = ("runbook", "https://r.example.com/all");
    let entries = vec![
        linked(
            Change::New,
            "AVeryLongNameOfAnAlert",
            &[shared, ("silence", "https://s.example.com/a")],
        ),
        linked(
            Change::New,
            "B",
            &[
                shared,
                ("silence", "https://s.example.com/b"),
                ("dashboard", "https://s.example.com/a"),
            ],
        ),
        linked(
            Change::New,
            "C",
            &[
                shared,
                ("silence", "https://s.example.com/c"),
                ("generator", "javascript:alert(1)"),
            ],
        ),
        linked(
            Change::New,
            "D",
            &[shared, ("silence", "https://s.example.com/d")],
        ),
        linked(Change::Resolved, "E", &[("runbook", "https://r.example.com/e")]),
    ];
    let draft = draft(entries, [4, 0, 0]);
    let card = of_kind(MessageKind::ActionCard, Locale::English).render(&draft);
    let content = arrived(&card.messages[0]);
    let titles: Vec<&str> = content.links.iter().map(|button| button.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "Runbook",
            "Silence · AVeryLong…",
            "Silence · B",
            "Silence · C",
            "All alerts"
        ]
    );
    assert!(!content.side_by_side);
}

#[test]
fn what_needs_an_address_or_a_picture_and_has_none_is_markdown() {
    for kind in [MessageKind::Link, MessageKind::ActionCard, MessageKind::FeedCard] {
        let mut plan = plan(Locale::English);
        plan.server.external_url = None;
        for receiver in plan.receivers.values_mut() {
            receiver.message = kind;
        }
        let message = renderer(plan).render(&mixed()).messages.remove(0);
        assert_eq!(arrived(&message).msgtype, "markdown");
    }
}

#[test]
fn digests_read_as_they_should() {
    for (name, make) in SCENES {
        for locale in [Locale::Chinese, Locale::English] {
            let draft = make();
            let rendered = renderer(plan(locale)).render(&draft);
            assert_eq!(rendered.template_error, None);
            check(&draft, &rendered);
            insta::assert_snapshot!(format!("{name}.{}", locale.tag()), shown(&rendered));
        }
    }
}

#[test]
fn a_lone_alert_names_its_place_wherever_its_summary_is_not_shown() {
    let lone = |change, name| {
        let mut entry = entry(change, 6, &[("alertname", name), ("host", "db-07")]);
        entry.annotations = Labels::from_pairs([("summary", "db-07 does not answer")]);
        entry
    };
    let text = |draft: &Draft| {
        let rendered = renderer(plan(Locale::English)).render(draft);
        check(draft, &rendered);
        rendered.messages[0].text.clone()
    };
    let firing = text(&draft(vec![lone(Change::New, "HostDown")], [0, 1, 0]));
    assert_eq!(firing.matches("db-07").count(), 1, "{firing}");
    let over = text(&draft(vec![lone(Change::Resolved, "HostDown")], [0; 3]));
    assert!(over.contains("**HostDown** · db-07 — lasted"), "{over}");
    let mut storm = storm(2000);
    storm.entries.push(lone(Change::New, "CoreDown"));
    storm.entries[2000].severity = Severity::Critical;
    let draft = draft(storm.entries, [1, 2000, 0]);
    let storm = text(&draft);
    assert!(
        storm.contains("**CoreDown** · db-07 · 1 — db-07 does not answer"),
        "{storm}"
    );
}

#[test]
fn a_storm_is_one_message_whatever_it_must_fit_into() {
    let chinese = renderer(plan(Locale::Chinese));
    let mut draft = storm(2000);
    for bytes in [18_000, 4000, 1500] {
        draft.fit.message_bytes_max = bytes;
        let rendered = chinese.render(&draft);
        check(&draft, &rendered);
        assert_eq!(
            (rendered.detail, rendered.messages.len()),
            (Detail::Rollup, 1),
            "{bytes}"
        );
    }
}

/// Renders with one template file and hands back the first message's text and the error.
fn with_file(name: &str, source: &str, draft: &Draft) -> (String, Option<String>) {
    let mut plan = plan(Locale::English);
    plan.templates.insert(name.to_owned(), source.to_owned());
    let rendered = renderer(plan).render(draft);
    check(draft, &rendered);
    (rendered.messages[0].text.clone(), rendered.template_error)
}

#[test]
fn a_file_overrides_the_built_in_template_of_its_name() {
    for name in ["digest", "digest.en"] {
        let (text, error) = with_file(
            name,
            "{{counts.new}} {{sections.[0].alerts.[0].labels.service}}",
            &one_critical(),
        );
        assert_eq!((text.as_str(), error), ("1 payments\n\n@13800000000", None));
    }
    let (text, error) = with_file("digest.zh-CN", "other", &one_critical());
    assert!(text.starts_with("### 🔴 1 new") && error.is_none());
}

#[test]
fn a_template_that_fails_gives_way_to_the_built_in_one_which_says_so() {
    for (source, said) in [
        ("", "it writes nothing"),
        ("  {{! nothing }}\n", "it writes nothing"),
        (
            "{{#each sections}}{{#each ../sections}}{{#each ../../sections}}{{/each}}{{/each}}{{/each}}",
            "it writes nothing",
        ),
        (
            "{{#each @root.firing}}{{#each @root.firing}}{{#each @root.firing}}{{#each @root.firing}}a line of more than four hundred and twenty bytes, which is what five to the power of four needs to go over the limit of a quarter of a mebibyte that holds for whatever a template writes, be it the text or the title; no message of that length could ever be sent, so there is no use in going on, and a template that never ends ends here: nobody waits for it, and nobody is left without a digest; the built-in template tells it instead, and this is enough of it now{{/each}}{{/each}}{{/each}}{{/each}}",
            "it writes more than",
        ),
        ("{{lookup}}", "param"),
    ] {
        let (text, error) = with_file("digest", source, &one_critical());
        assert!(text.starts_with("### 🔴 1 new"), "{source}: {text}");
        assert!(
            text.contains("template digest failed, the built-in one is used"),
            "{source}: {text}"
        );
        assert!(
            error.as_ref().is_some_and(|error| error.contains(said)),
            "{source}: {error:?}"
        );
    }
    let (text, error) = with_file("digest", &"too much ".repeat(3000), &one_critical());
    assert!(text.starts_with("### 🔴 1 new"));
    assert!(error.is_some_and(|error| error.contains("18000 bytes")));
}

#[test]
fn templates_that_cannot_work_are_reported_with_their_place() {
    for (source, expected) in [
        ("a\n{{#if x}}", "digest 2:"),
        (
            "a\n  {{durations2 x}}",
            "digest 2:3 there is no function `durations2`",
        ),
        (
            "{{#if (nope x)}}{{/if}}",
            "digest 1:1 there is no function `nope`",
        ),
        ("{{> other}}", "digest 1:1 there is no template `other`"),
        ("{{> digest}}", "digest 1:1 template `digest` includes itself"),
        (
            "{{> (lookup this 'x')}}",
            "digest 1:1 the name of an included template must be written out",
        ),
        (
            "{{#*inline 'x'}}{{/inline}}",
            "digest 1:1 decorators and inline partials are not supported",
        ),
        (
            "{{#each a}}{{#each b}}{{#each c}}{{#each d}}{{#each e}}{{/each}}{{/each}}{{/each}}{{/each}}{{/each}}",
            "digest 0:0 5 nested `each` blocks; at most 4 are allowed",
        ),
    ] {
        let mut plan = plan(Locale::English);
        plan.templates.insert("digest".into(), source.into());
        let problems = Renderer::new(&Arc::new(plan)).expect_err(source);
        let problem = &problems[0];
        let place = format!(
            "{} {}:{}",
            problem.name,
            problem.line.unwrap_or(0),
            problem.column.unwrap_or(0)
        );
        assert!(
            format!("{place} {}", problem.message).starts_with(expected),
            "{place} {}",
            problem.message
        );
    }
    let mut plan = plan(Locale::English);
    plan.templates.insert("a".into(), "{{> b}}".into());
    plan.templates.insert("b".into(), "{{> c}}".into());
    plan.templates.insert("c".into(), "{{> b}}".into());
    let problems = Renderer::new(&Arc::new(plan)).expect_err("a circle");
    assert!(
        problems
            .iter()
            .all(|problem| problem.message.contains("includes itself"))
            && problems.len() == 2
    );
}

/// Templates that include each other, told with the first of them as `digest`.
fn with_files(files: impl IntoIterator<Item = (String, String)>, draft: &Draft) -> Rendered {
    let mut plan = plan(Locale::English);
    plan.templates.extend(files);
    let rendered = renderer(plan).render(draft);
    check(draft, &rendered);
    rendered
}

#[test]
fn a_template_that_never_comes_to_an_end_is_stopped_and_the_built_in_one_speaks() {
    let many = draft(
        (0..350)
            .map(|number| {
                entry(
                    Change::New,
                    5,
                    &[("alertname", "Down"), ("pod", &format!("p-{number}"))],
                )
            })
            .collect(),
        [350, 0, 0],
    );
    // Over all alerts for each of all alerts.
    let all = "{{#each sections}}{{#each alerts}}{{#each @root.sections}}{{#each alerts}}x\
               {{/each}}{{/each}}{{/each}}{{/each}}";
    // Each includes the next one twice.
    let doubling = (0..24).map(|level| {
        let name = if level == 0 {
            "digest".to_owned()
        } else {
            format!("t{level}")
        };
        (name, format!("{{{{> t{0}}}}}{{{{> t{0}}}}}", level + 1))
    });
    let last = [("t24".to_owned(), "x".to_owned())];
    let begun = std::time::Instant::now();
    for (name, files, said) in [
        (
            "loops",
            vec![("digest".to_owned(), all.to_owned())],
            "more than 50000 times",
        ),
        (
            "doubling",
            doubling.chain(last).collect(),
            "more than 50000 times",
        ),
    ] {
        let rendered = with_files(files, &many);
        let error = rendered.template_error.unwrap_or_default();
        assert!(error.contains(said), "{name}: {error}");
        let text = &rendered.messages[0].text;
        assert!(
            text.contains("template digest failed, the built-in one is used"),
            "{name}: {text}"
        );
    }
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(20),
        "it took {:?}",
        begun.elapsed()
    );
}

#[test]
fn a_template_too_deep_to_be_read_is_refused_when_it_is_loaded() {
    for (source, expected) in [
        (
            format!("{{{{len {}x{}}}}}", "(len ".repeat(33), ")".repeat(33)),
            "brackets are nested more than 32 levels deep",
        ),
        (
            format!("{}x{}", "{{#if a}}".repeat(33), "{{/if}}".repeat(33)),
            "blocks are nested more than 32 levels deep",
        ),
        (
            format!("{{{{#if a}}}}{}{{{{/if}}}}", "{{else if a}}x".repeat(513)),
            "there are more than 512 branches (`else`)",
        ),
        (
            "{{#if a}}".repeat(100_000),
            "blocks are nested more than 32 levels deep",
        ),
        (
            format!("{{{{{}", "(".repeat(1_000_000)),
            "brackets are nested more than 32 levels deep",
        ),
    ] {
        let mut plan = plan(Locale::English);
        plan.templates.insert("digest".into(), source);
        let problems = Renderer::new(&Arc::new(plan)).expect_err(expected);
        assert_eq!(problems[0].message, expected);
    }
}

#[test]
fn a_receiver_may_name_the_built_in_digest_and_any_file() {
    let files = BTreeMap::from([
        ("ops".to_owned(), String::new()),
        ("db.en".to_owned(), String::new()),
    ]);
    for (name, exists) in [("digest", true), ("ops", true), ("db", true), ("web", false)] {
        assert_eq!(template_exists(&files, name), exists, "{name}");
    }
}

/// Renders one digest with a receiver and bot changed for the case.
fn told(draft: &Draft, change: impl FnOnce(&mut Receiver, &mut Bot)) -> Message {
    let mut plan = plan(Locale::English);
    let receiver = plan.receivers.values_mut().next().expect("a receiver");
    let endpoint = plan.endpoints.values_mut().next().expect("an endpoint");
    let Way::Bot(bot) = &mut endpoint.way else {
        panic!("a bot");
    };
    change(receiver, bot);
    renderer(plan).render(draft).messages.remove(0)
}

#[test]
fn phones_ring_only_when_something_begins_to_fire_unless_always() {
    let everybody = |on| Mention {
        mobiles: vec!["138".into()],
        user_ids: (0..60).map(|n| format!("u{n}")).collect(),
        all: true,
        on,
    };
    for (on, draft, rings) in [
        (MentionOn::Urgent, one_critical(), true),
        (MentionOn::Urgent, mixed(), false),
        (MentionOn::Firing, mixed(), true),
        (MentionOn::Firing, all_clear(), false),
        (MentionOn::Firing, reminders(), false),
        (MentionOn::Always, all_clear(), true),
    ] {
        let message = told(&draft, |receiver, _| receiver.mention = everybody(on));
        let body: Value = serde_json::from_slice(&message.body).expect("JSON");
        assert_eq!(message.text.contains("\n\n@138 @u0 "), rings, "{on:?}");
        assert_eq!(body.get("at").is_some(), rings);
        if rings {
            assert!(
                message.text.ends_with("@u48 @all"),
                "at most fifty: {}",
                message.text
            );
            assert_eq!(body["at"]["atUserIds"].as_array().map(Vec::len), Some(49));
            assert_eq!(body["at"]["isAtAll"], true);
        }
    }
}

#[test]
fn the_keyword_is_in_title_and_text_of_every_type() {
    for kind in KINDS {
        let message = told(&mixed(), |receiver, bot| {
            receiver.message = kind;
            bot.keyword = Some("监控".into());
        });
        let content = arrived(&message);
        let last = content.links.last().map_or("", |link| link.title.as_str());
        let (title, text) = match kind {
            MessageKind::Text => (content.text.as_str(), content.text.as_str()),
            MessageKind::FeedCard => (content.links[0].title.as_str(), last),
            MessageKind::Markdown
            | MessageKind::Link
            | MessageKind::ActionCard
            | MessageKind::Oa
            | MessageKind::Image => (content.title.as_str(), content.text.as_str()),
        };
        assert!(
            title.contains("监控") && text.contains("监控"),
            "{kind:?}: {content:?}"
        );
    }
}

#[test]
fn only_types_that_can_mention_do() {
    for kind in KINDS {
        let message = told(&one_critical(), |receiver, _| receiver.message = kind);
        let body: Value = serde_json::from_slice(&message.body).expect("JSON");
        assert_eq!(body.get("at").is_some(), kind.mentions(), "{kind:?}");
        assert_eq!(message.text.contains("@13800000000"), kind.mentions(), "{kind:?}");
        let rings = if kind.mentions() {
            vec!["13800000000".to_owned()]
        } else {
            Vec::new()
        };
        assert_eq!(arrived(&message).mentions, rings);
    }
}

#[test]
fn a_file_writes_the_lines_of_links_and_feeds() {
    let mut plan = plan(Locale::English);
    plan.templates.insert(
        "digest.line".into(),
        "{{#each sections}}{{name}}!{{/each}}{{#unless sections}}**rest** {{rest.alerts}}\n\nend{{/unless}}"
            .into(),
    );
    for receiver in plan.receivers.values_mut() {
        receiver.message = MessageKind::Link;
    }
    let text = renderer(plan).render(&mixed()).messages.remove(0).text;
    assert!(
        text.starts_with("DiskFull!\n") && text.ends_with("\n**rest** 0\nend"),
        "{text}"
    );
}

#[test]
fn a_line_about_several_names_each_kind_and_says_once_that_there_are_more() {
    let told_in_a_line = |change: Change, count: usize| {
        let each = |number: usize| {
            let (pod, severity) = (
                format!("pod-{number:04}"),
                ["critical", "warning"][usize::from(number > 1)],
            );
            entry(
                change,
                5,
                &[("alertname", "Slow"), ("pod", &pod), ("severity", severity)],
            )
        };
        let draft = draft((0..count).map(each).collect(), [0; 3]);
        let message = told(&draft, |receiver, _| receiver.message = MessageKind::FeedCard);
        message.text.lines().next().unwrap_or_default().to_owned()
    };
    let four = "pod-0000, pod-0001, pod-0002, pod-0003";
    let eight = format!("{four}, pod-0004, pod-0005, pod-0006, pod-0007, …");
    for (count, names) in [(4, four), (60, &eight), (500, "pod-0000, pod-0001, pod-0002, …")] {
        for (change, says) in [(Change::Resolved, "resolved: "), (Change::New, "")] {
            let line = told_in_a_line(change, count);
            assert!(line.ends_with(&format!(" — {says}{names}")), "{line}");
        }
    }
}

#[test]
fn the_keyword_is_in_title_and_text_once() {
    for (keyword, draft) in [("告警", in_parts()), ("new", mixed()), ("Slow", in_parts())] {
        let message = told(&draft, |_, bot| bot.keyword = Some(keyword.into()));
        assert_eq!(message.title.matches(keyword).count(), 1, "{}", message.title);
        assert!(message.text.contains(keyword) && message.title.chars().count() <= TITLE_CHARS_MAX);
    }
    let message = told(&mixed(), |_, bot| bot.keyword = Some("监控".into()));
    assert_eq!(message.title, "🔴 2 new, ✅ 3 resolved · DiskFull +1 · 监控");
    assert!(message.text.ends_with(" · 监控"), "{}", message.text);
}

#[test]
fn the_bytes_of_a_text_and_of_a_digest_on_a_terminal() {
    let text = told(&one_critical(), |receiver, _| {
        receiver.message = MessageKind::Text;
    });
    insta::assert_snapshot!("as_text", String::from_utf8_lossy(&text.body));
    let mut draft = hostile();
    draft.endpoint = None;
    let console = told(&draft, |_, _| ());
    insta::assert_snapshot!("on_a_terminal", String::from_utf8_lossy(&console.body));
    for kind in [MessageKind::Text, MessageKind::Link, MessageKind::FeedCard] {
        let console = told(&draft, |receiver, _| receiver.message = kind);
        let printed = String::from_utf8_lossy(&console.body);
        assert_eq!(
            printed,
            escape::clean_lines(&format!("{}\n\n{}\n", console.title, console.text))
        );
        assert!(printed.contains("**x** <font color=red>"), "{printed}");
    }
}

#[test]
fn a_title_template_that_writes_nothing_gives_way_to_the_built_in_one() {
    let rendered = with_files([("digest.title".to_owned(), "{{nothing}}".to_owned())], &mixed());
    assert_eq!(rendered.template_error.as_deref(), Some("it writes no title"));
    assert!(rendered.messages[0].title.starts_with("🔴 2 new"));
}

#[test]
fn the_number_of_the_part_is_in_its_msg_uuid_and_only_the_first_part_mentions() {
    let mut plan = plan(Locale::English);
    plan.receivers
        .values_mut()
        .for_each(|receiver| receiver.mention.on = MentionOn::Always);
    let rendered = renderer(plan).render(&in_parts());
    assert!(rendered.messages.len() > 1);
    for (part, message) in (1..).zip(&rendered.messages) {
        let body: Value = serde_json::from_slice(&message.body).expect("JSON");
        assert_eq!(body["msgUuid"], format!("d7-{part}"));
        assert_eq!(message.text.contains("@13800000000"), part == 1);
        assert!(
            message
                .title
                .ends_with(&format!("({part}/{})", rendered.messages.len()))
        );
    }
}

#[test]
fn a_digest_of_nothing_or_for_an_unknown_receiver_is_still_a_message() {
    let mut draft = draft(Vec::new(), [0; 3]);
    draft.receiver = "gone".into();
    let rendered = renderer(plan(Locale::English)).render(&draft);
    check(&draft, &rendered);
}

thread_local! {
    static CHINESE: [Renderer; 5] = KINDS.map(|kind| of_kind(kind, Locale::Chinese));
}

fn change() -> impl Strategy<Value = Change> {
    prop::sample::select(&Change::ALL[..])
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let text = "[a-z]{1,4}|\\PC{0,30}|[x长]{800,3000}";
    (
        change(),
        0..5000_i64,
        prop::collection::vec(("[a-c]|alertname|pod|severity", text), 0..6),
        text,
        any::<bool>(),
    )
        .prop_map(|(change, minutes, labels, summary, urgent)| {
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let mut entry = entry(change, minutes, &labels)
                .by(&["alertname", "a"])
                .saying(&summary);
            if labels.len() == 5 {
                entry.group_by = GroupBy::All;
            }
            entry.urgent = urgent;
            entry
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_draft_is_told_whole_within_its_frame(
        entries in prop::collection::vec(any_entry(), 1..60),
        messages_max in 0..4_u8,
        message_bytes_max in 1100..20_000_usize,
        kind in 0..KINDS.len(),
        detail_max in prop::sample::select(&[Detail::Full, Detail::Compact, Detail::Rollup, Detail::Stub][..]),
    ) {
        let mut draft = draft(entries, [3, 2, 1]);
        draft.fit = Fit { messages_max, message_bytes_max, detail_max };
        let rendered = CHINESE.with(|chinese| chinese[kind].render(&draft));
        check(&draft, &rendered);
        prop_assert_eq!(&rendered.template_error, &None);
        prop_assert!(rendered.detail >= detail_max);
        for message in &rendered.messages {
            let marks = matches!(KINDS[kind], MessageKind::Markdown | MessageKind::ActionCard);
            prop_assert!(!marks || !message.text.lines().any(|line| line.contains("](") && !line.contains("](dingtalk://")));
        }
    }

    #[test]
    fn every_level_counts_every_alert(entries in prop::collection::vec(any_entry(), 0..450)) {
        let draft = draft(entries, [0; 3]);
        let settings = Settings { timezone: TimeZone::UTC, external_url: None };
        for detail in [Detail::Full, Detail::Compact, Detail::Rollup, Detail::Stub] {
            let digest = Outline::new(&draft).digest(&View::whole(detail, draft.entries.len()), &settings);
            let told = draft.entries.len() as u64;
            prop_assert_eq!(digest.counts.told, told);
            let in_sections: u64 = digest.sections.iter().map(|section| section.counts.told).sum();
            prop_assert_eq!(in_sections + digest.rest.alerts, told);
            let listed: u64 = digest.sections.iter().map(|section| section.alerts.len() as u64 + section.more).sum();
            prop_assert_eq!(listed, in_sections);
            for section in &digest.sections {
                let folded: u64 = section.lines.iter().map(|line| line.count).sum();
                prop_assert_eq!(folded, section.alerts.len() as u64);
                let statuses: std::collections::BTreeSet<_> = section.alerts.iter().map(|a| a.status).collect();
                prop_assert!(statuses.len() <= 1);
            }
        }
    }
}
