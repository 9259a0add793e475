//! The types of work notices: the same digests in an eighth of the room, each in words of its own.

use super::*;
use crate::plan::{App, Audience, Person, WorkNotice};

const KINDS: [MessageKind; 5] = [
    MessageKind::Markdown,
    MessageKind::Text,
    MessageKind::Link,
    MessageKind::ActionCard,
    MessageKind::Oa,
];

/// What a notice's body has around what is measured.
pub(super) fn frame_bytes(message: &Message) -> usize {
    const FRAME: &[u8] = b"{\"agent_id\":7,\"msg\":";
    if message.body.starts_with(FRAME) {
        FRAME.len() + 1
    } else {
        0
    }
}

fn endpoint() -> Endpoint {
    let person = Person {
        app: Arc::new(App::of_tests("ding1", "s", "http://127.0.0.1:1")),
        user: "ann".to_owned(),
    };
    Endpoint {
        name: "ops-1".into(),
        way: Way::WorkNotice(WorkNotice {
            agent_id: 7,
            to: Audience::Person(person),
        }),
    }
}

/// A renderer whose receiver is told by work notices of a type.
fn notices(kind: MessageKind, locale: Locale, change: impl FnOnce(&mut Plan)) -> Renderer {
    let mut plan = plan(locale);
    plan.endpoints.insert("ops-1".into(), endpoint());
    for receiver in plan.receivers.values_mut() {
        receiver.message = kind;
    }
    change(&mut plan);
    renderer(plan)
}

fn fitting(draft: Draft) -> Draft {
    Draft {
        fit: Fit {
            message_bytes_max: endpoint().message_bytes_max(),
            ..draft.fit
        },
        ..draft
    }
}

#[test]
fn every_type_of_notice_reads_as_it_should() {
    for kind in KINDS {
        for locale in [Locale::Chinese, Locale::English] {
            let chat = notices(kind, locale, |_| {});
            let mut shown = Vec::new();
            for (name, make) in SCENES {
                let draft = fitting(make());
                let rendered = chat.render(&draft);
                assert_eq!(rendered.template_error, None, "{name}");
                check(&draft, &rendered);
                for message in &rendered.messages {
                    let detail = rendered.detail.as_str();
                    shown.push(format!("====== {name} ({detail})\n{}", as_chatted(message)));
                }
            }
            let name = format!("work_notice_{}.{}", kind.as_str(), locale.tag());
            insta::assert_snapshot!(name, shown.join("\n\n"));
        }
    }
}

#[test]
fn no_two_notices_are_equal_and_one_that_is_rendered_again_is() {
    for kind in KINDS {
        let chat = notices(kind, Locale::English, |_| {});
        let draft = fitting(mixed());
        let message = |draft: &Draft| chat.render(draft).messages.remove(0);
        let first = message(&draft);
        assert_eq!(message(&draft), first);
        assert!(first.text.contains("#7 · 10:43:00"), "{}", first.text);
        assert!(
            arrived(&first).text.ends_with("#7 · 10:43:00"),
            "{}",
            arrived(&first).text
        );
        let next = Draft {
            id: DigestId(8),
            ..draft.clone()
        };
        let later = Draft {
            composed_at: Timestamp(NOW.0 + 1000),
            ..draft
        };
        for other in [next, later] {
            assert_ne!(message(&other).body, first.body, "{kind:?}");
        }
    }
    let parts = notices(MessageKind::Markdown, Locale::English, |_| {}).render(&fitting(in_parts()));
    for (part, message) in (1..).zip(&parts.messages) {
        let mark = if part == 1 {
            "#7".to_owned()
        } else {
            format!("#7-{part}")
        };
        let mark = format!("{mark} · 10:43:00");
        assert!(message.text.ends_with(&mark), "{}", message.text);
    }
}

#[test]
fn buttons_leave_room_for_words_and_addresses_that_are_too_long_are_left_out() {
    let long = |bytes: usize| format!("https://r.example.com/{}", "x".repeat(bytes));
    let mut entry = entry(Change::New, 1, &[("alertname", "A"), ("severity", "critical")]);
    entry.links = Labels::from_pairs([
        ("runbook", long(480)),
        ("dashboard", long(200)),
        ("silence", long(250)),
        ("generator", long(20)),
    ]);
    let draft = fitting(draft(vec![entry], [1, 0, 0]));
    let card = notices(MessageKind::ActionCard, Locale::English, |_| {}).render(&draft);
    let content = arrived(&card.messages[0]);
    let titles: Vec<&str> = content.links.iter().map(|button| button.title.as_str()).collect();
    assert_eq!(titles, ["Dashboard", "Graph", "All alerts"]);
    // An address of our own that is too long for a button makes it a text.
    for kind in [MessageKind::ActionCard, MessageKind::Link, MessageKind::Oa] {
        let url = long(500);
        let card = notices(kind, Locale::English, |plan| plan.server.external_url = Some(url));
        assert_eq!(arrived(&card.render(&draft).messages[0]).msgtype, "markdown");
    }
}

#[test]
fn a_form_has_the_colour_of_the_worst_that_fires() {
    let colour = |draft: Draft| {
        let message = notices(MessageKind::Oa, Locale::English, |_| {}).render(&fitting(draft));
        let body: Value = serde_json::from_slice(&message.messages[0].body).expect("JSON");
        body["msg"]["oa"]["head"]["bgcolor"]
            .as_str()
            .expect("a text")
            .to_owned()
    };
    assert_eq!(colour(one_critical()), "FFD93026");
    let warning = entry(Change::Again, 1, &[("alertname", "A"), ("severity", "warning")]);
    let over = entry(
        Change::Resolved,
        1,
        &[("alertname", "B"), ("severity", "critical")],
    );
    assert_eq!(colour(draft(vec![over, warning], [0, 1, 0])), "FFF2994A");
    assert_eq!(colour(all_clear()), "FF34A853");
    let unknown = Draft {
        fit: Fit {
            detail_max: Detail::Stub,
            ..mixed().fit
        },
        ..mixed()
    };
    assert_eq!(colour(unknown), "FF3296FA");
}

#[test]
fn what_a_way_has_no_type_for_is_said_by_another() {
    // A form where there is none, as a fallback may be.
    let card = of_kind(MessageKind::Oa, Locale::English).render(&mixed());
    assert_eq!(arrived(&card.messages[0]).msgtype, "link");
    let without_picture = |plan: &mut Plan| {
        for receiver in plan.receivers.values_mut() {
            receiver.picture = None;
        }
    };
    for (kind, msgtype) in [
        (MessageKind::Link, "oa"),
        (MessageKind::FeedCard, "markdown"),
        (MessageKind::Oa, "oa"),
    ] {
        let chat = notices(kind, Locale::English, without_picture);
        let draft = fitting(mixed());
        let rendered = chat.render(&draft);
        assert_eq!(arrived(&rendered.messages[0]).msgtype, msgtype, "{kind:?}");
    }
    let feed = notices(MessageKind::FeedCard, Locale::English, |_| {});
    let rendered = feed.render(&fitting(mixed()));
    assert_eq!(arrived(&rendered.messages[0]).msgtype, "text");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_draft_is_told_whole_within_a_notice(
        entries in prop::collection::vec(any_entry(), 1..60),
        messages_max in 0..4_u8,
        kind in 0..KINDS.len(),
    ) {
        let mut draft = fitting(draft(entries, [3, 2, 1]));
        draft.fit.messages_max = messages_max;
        let rendered = notices(KINDS[kind], Locale::Chinese, |_| {}).render(&draft);
        check(&draft, &rendered);
        prop_assert_eq!(&rendered.template_error, &None);
        for message in &rendered.messages {
            prop_assert!(message.text.contains("#7"));
        }
    }
}
