//! The picture that follows a digest of an app: when there is one, and what it is.

use super::*;
use crate::plan::{App, Audience, Group, Person, WorkNotice};

const PANEL: &str = "https://grafana.example.com/render/disk.png?from=1&to=2";

/// The ways that something goes through an app: to a group, to a person, and as a work notice.
fn ways() -> [Way; 3] {
    let app = Arc::new(App::of_tests("ding1", "s", "http://127.0.0.1:1"));
    let ann = || Person {
        app: Arc::clone(&app),
        user: "ann".to_owned(),
    };
    [
        Way::Group(Group {
            app: Arc::clone(&app),
            conversation: "cid1".to_owned(),
        }),
        Way::Direct(ann()),
        Way::WorkNotice(WorkNotice {
            agent_id: 7,
            to: Audience::Person(ann()),
        }),
    ]
}

/// A renderer whose receiver is shown pictures, by its bot or this way.
fn pictured(way: Option<Way>) -> Renderer {
    let mut plan = plan(Locale::English);
    if let Some(way) = way {
        let name = EndpointName::from("ops-1");
        plan.endpoints.insert(name.clone(), Endpoint { name, way });
    }
    for receiver in plan.receivers.values_mut() {
        receiver.message = MessageKind::Image;
    }
    renderer(plan)
}

/// A change of an alert of this name and instance, with this picture.
fn with_picture(change: Change, name: &str, instance: &str, image: &str) -> Entry {
    let mut entry = entry(change, 1, &[("alertname", name), ("instance", instance)]).by(&["alertname"]);
    entry.links = Labels::from_pairs([("image", image)]);
    entry
}

/// What follows the text of a digest, when that takes one message.
#[track_caller]
fn follows(chat: &Renderer, draft: &Draft) -> Option<String> {
    let rendered = chat.render(draft);
    check_frame(draft, &rendered);
    let (said, pictures): (Vec<_>, Vec<_>) = rendered.messages.iter().partition(|it| !it.covers.is_empty());
    assert!(said.len() == 1 && pictures.len() <= 1, "{rendered:?}");
    let picture = pictures.first()?;
    assert_eq!(rendered.messages.last(), Some(*picture));
    assert_eq!(picture.title, said[0].title);
    Some(picture.text.clone())
}

#[test]
fn a_picture_is_a_message_of_its_own_behind_the_digest() {
    let draft = draft(
        vec![with_picture(Change::New, "DiskFull", "db-1", PANEL)],
        [0, 0, 1],
    );
    let [group, direct, _] = ways();
    for way in [group, direct] {
        let messages = pictured(Some(way)).render(&draft).messages;
        let bodies = messages
            .iter()
            .map(|message| serde_json::from_slice(&message.body));
        let bodies: Vec<Value> = bodies.collect::<Result<_, _>>().expect("JSON");
        assert_eq!(bodies[0]["msgKey"], "sampleMarkdown");
        assert_eq!(bodies[1]["msgKey"], "sampleImageMsg");
        let param = bodies[1]["msgParam"].as_str().expect("a text");
        let param: Value = serde_json::from_str(param).expect("JSON");
        assert_eq!(param, serde_json::json!({ "photoURL": PANEL }));
        assert!(messages[0].text.contains("DiskFull"), "{}", messages[0].text);
    }
}

/// Asks what follows a digest of these changes: alert, rule and picture.
#[track_caller]
fn check_follows(changes: &[(Change, &str, &str)], expected: bool) {
    let numbered = (1..).zip(changes);
    let entries =
        numbered.map(|(n, (change, name, image))| with_picture(*change, name, &format!("db-{n}"), image));
    let draft = draft(entries.collect(), [0, 0, changes.len() as u64]);
    let expected = expected.then(|| PANEL.to_owned());
    for (way, expected) in ways().into_iter().zip([&expected, &expected, &None]) {
        assert_eq!(&follows(&pictured(Some(way)), &draft), expected);
    }
    assert_eq!(follows(&pictured(None), &draft), None, "by a bot");
}

#[test]
fn a_picture_follows_when_it_is_that_of_everything_that_fires() {
    use Change::{Again, New, Reminder, Resolved};
    let other = "https://grafana.example.com/render/load.png";
    check_follows(&[(New, "DiskFull", PANEL)], true);
    check_follows(&[(Reminder, "DiskFull", PANEL)], true);
    check_follows(&[(New, "DiskFull", PANEL), (Again, "DiskFull", PANEL)], true);
    check_follows(&[(New, "DiskFull", PANEL), (New, "DiskSlow", PANEL)], true);
    check_follows(&[(New, "DiskFull", PANEL), (Resolved, "Load", other)], true);
    check_follows(&[(New, "DiskFull", PANEL), (New, "DiskFull", other)], false);
    check_follows(&[(New, "DiskFull", PANEL), (New, "Load", other)], false);
    check_follows(&[(New, "DiskFull", PANEL), (New, "Load", "")], false);
    check_follows(&[(Resolved, "DiskFull", PANEL)], false);
    let mut storm = vec![(New, "DiskFull", PANEL); 500];
    check_follows(&storm, true);
    storm[499].2 = other;
    check_follows(&storm, false);
}

#[test]
fn a_picture_takes_no_place_that_the_digest_needs() {
    let [group, ..] = ways();
    let chat = pictured(Some(group));
    let long = format!("{PANEL}&{}", "x".repeat(1000));
    let fit = |messages_max, message_bytes_max, detail_max| Fit {
        messages_max,
        message_bytes_max,
        detail_max,
    };
    for (what, fit, expected) in [
        ("room for both", fit(2, 18_000, Detail::Full), true),
        ("room for one message", fit(1, 18_000, Detail::Full), false),
        (
            "less room than its address takes",
            fit(3, 1000, Detail::Full),
            false,
        ),
        (
            "no content that DingTalk takes",
            fit(3, 18_000, Detail::Stub),
            false,
        ),
    ] {
        let entries = vec![with_picture(Change::New, "DiskFull", "db-1", &long)];
        let draft = Draft {
            fit,
            ..draft(entries, [0, 0, 1])
        };
        assert_eq!(follows(&chat, &draft).is_some(), expected, "{what}");
    }
    let parts = chat.render(&in_parts());
    assert!(parts.messages.len() > 1 && parts.messages.iter().all(|it| !it.covers.is_empty()));
}

#[test]
fn only_a_whole_web_address_is_a_picture() {
    let [group, ..] = ways();
    let chat = pictured(Some(group));
    let too_long = format!("https://grafana.example.com/{}", "x".repeat(2000));
    for image in [
        "@lADOpwk3K80C0M0FoA",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "file:///etc/passwd",
        "https://a.example.com/a b.png",
        "https://a.example.com/\u{202e}gnp.a",
        "https://a.example.com/a\nb.png",
        "https://",
        too_long.as_str(),
    ] {
        let entries = vec![with_picture(Change::New, "DiskFull", "db-1", image)];
        assert_eq!(follows(&chat, &draft(entries, [0, 0, 1])), None, "{image:?}");
    }
}
