//! What reaches a chat, judged by readers that know nothing of how it was made: that of the stand-in for each type of
//! message, and one of markdown.
//!
//! The reader goes by the documented dialect: a line is a heading, an item, a quote, a line that goes on, or text; in
//! a line stand bold marks and links. Everything else that some client draws (HTML, code, images, links without
//! marks, rules, tables, mentions) must not be there at all.

use std::sync::LazyLock;

use percent_encoding::percent_decode_str;

use super::{EXTERNAL_URL, NOW, PICTURE, renderer};
use crate::alert::{AlertNo, DigestId, Fingerprint, Labels, Severity, Status, Timestamp};
use crate::digest::{Change, Detail, Draft, Entry, Fit, Rendered};
use crate::dingtalk::simulator::content::{Content, Link};
use crate::plan::{GroupBy, Locale, MessageKind};
use crate::render::Renderer;

/// What the built-in templates call links.
const OUR_WORDS: [&str; 10] = [
    "graph",
    "dashboard",
    "runbook",
    "silence",
    "all",
    "图表",
    "看板",
    "手册",
    "静默",
    "全部",
];

/// Between the texts of one input.
const SEPARATOR: char = '\u{1e}';
const LOCALES: [Locale; 2] = [Locale::Chinese, Locale::English];
const KINDS: [MessageKind; 5] = [
    MessageKind::Markdown,
    MessageKind::Text,
    MessageKind::Link,
    MessageKind::ActionCard,
    MessageKind::FeedCard,
];

/// As much as DingTalk takes, and so little that a digest is cut into messages or shrunk.
const FITS: [(u8, usize, Detail); 5] = [
    (3, 18_000, Detail::Full),
    (3, 18_000, Detail::Compact),
    (3, 18_000, Detail::Rollup),
    (3, 18_000, Detail::Stub),
    (2, 2_500, Detail::Full),
];

/// The built-in templates, compiled.
static BUILT_IN: LazyLock<Vec<Renderer>> = LazyLock::new(|| {
    let each = |locale| KINDS.map(|kind| (locale, kind));
    LOCALES
        .into_iter()
        .flat_map(each)
        .map(|(locale, kind)| {
            renderer(locale, kind, None).unwrap_or_else(|| panic!("built-in templates compile"))
        })
        .collect()
});

/// Texts for every field that reaches a chat, through the built-in templates of both languages, in every type of
/// message.
pub fn labels(input: &str) {
    for renderer in &*BUILT_IN {
        for (messages_max, message_bytes_max, detail_max) in FITS {
            let fit = Fit {
                messages_max,
                message_bytes_max,
                detail_max,
            };
            let draft = draft(input, fit);
            let digest = renderer.render(&draft);
            assert_eq!(digest.template_error, None);
            check_frame(&draft, &digest);
            for message in &digest.messages {
                check_title(&message.title);
                check_content(&arrived(&message.body), &draft);
            }
        }
    }
}

/// A template of somebody's and the texts it is given: an answer within the frame, whatever the template does.
pub fn template(template: &str, input: &str) {
    let draft = draft(
        input,
        Fit {
            messages_max: 3,
            message_bytes_max: 18_000,
            detail_max: Detail::Full,
        },
    );
    for kind in KINDS {
        let Some(renderer) = renderer(Locale::English, kind, Some(template)) else {
            return;
        };
        let digest = renderer.render(&draft);
        check_frame(&draft, &digest);
        for message in &digest.messages {
            arrived(&message.body);
        }
        assert_eq!(
            digest,
            renderer.render(&draft),
            "the same draft was rendered in two ways"
        );
    }
}

fn draft(input: &str, fit: Fit) -> Draft {
    let mut texts = input.split(SEPARATOR).cycle();
    let mut text = || texts.next().unwrap_or_default();
    let entries = (1..)
        .zip(Change::ALL.iter().chain(Change::ALL.iter()))
        .map(|(number, &change)| {
            let over = matches!(change, Change::Resolved | Change::Passed);
            let labels = Labels::from_pairs([
                ("alertname", text()),
                ("instance", text()),
                ("cluster", text()),
                (text(), text()),
                ("severity", ["critical", "warning", text()][number % 3]),
            ]);
            Entry {
                alert: AlertNo(number as u64),
                change,
                urgent: number % 5 == 0,
                severity: Severity::of(&labels),
                group_by: GroupBy::Labels(["alertname", "cluster"].into_iter().map(Into::into).collect()),
                source: text().into(),
                fingerprint: Fingerprint::of_labels(&labels),
                status: if over { Status::Resolved } else { Status::Firing },
                labels,
                annotations: Labels::from_pairs([
                    ("summary", text()),
                    ("description", text()),
                    (text(), text()),
                ]),
                links: Labels::from_pairs([
                    ("generator", text().to_owned()),
                    ("runbook", format!("https://runbook.example.com/{}", text())),
                    ("dashboard", format!("http://x)[y](z{}", text())),
                    ("image", format!("https://image.example.com/{}", text())),
                ]),
                values: Labels::from_pairs([("A", text())]),
                starts_at: Timestamp(NOW.0.saturating_sub_unsigned(60_000 * number as u64)),
                ends_at: over.then_some(NOW),
                episodes: 1 + u32::from(number % 4 == 0),
            }
        })
        .collect();
    Draft {
        others: Vec::new(),
        id: DigestId(1),
        uuid_prefix: "d1".to_owned(),
        receiver: "ops".into(),
        endpoint: Some("ops-1".into()),
        composed_at: NOW,
        urgent: true,
        entries,
        firing: [3, 2, 1],
        notices: Vec::new(),
        fit,
    }
}

fn check_frame(draft: &Draft, rendered: &Rendered) {
    assert!(rendered.messages.len() <= usize::from(draft.fit.messages_max));
    let covered: usize = rendered.messages.iter().map(|message| message.covers.len()).sum();
    assert_eq!(covered, draft.entries.len(), "every entry is told once");
    for message in &rendered.messages {
        assert!(
            message.body.len() <= draft.fit.message_bytes_max,
            "a message is too large"
        );
        assert!(message.title.chars().count() <= crate::render::limits::TITLE_CHARS_MAX);
    }
}

/// What a strict reader of the protocol makes of a body.
fn arrived(body: &[u8]) -> Content {
    let body: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("a message is no JSON object: {error}"));
    Content::read(&body).unwrap_or_else(|error| panic!("DingTalk would refuse it: {error:?}: {body:?}"))
}

fn check_content(content: &Content, draft: &Draft) {
    assert!(content.mentions.is_empty() && !content.mentions_all);
    match content.msgtype.as_str() {
        "markdown" | "actionCard" => check_text(&content.text, draft),
        "text" => check_plain(&content.text, draft),
        "link" | "feedCard" => {
            assert!(!content.text.contains("://"), "an address: {:?}", content.text);
            check_plain(&content.text, draft);
        }
        other => panic!("there is no `{other}`"),
    }
    for link in &content.links {
        check_title(&link.title);
        check_plain(&link.title, draft);
        check_link(link, draft);
    }
}

/// What can be pressed leads to an address of the alert's or of ours, and shows no other picture.
fn check_link(link: &Link, draft: &Draft) {
    let ours = format!("{EXTERNAL_URL}/alerts?receiver=ops");
    let address = unwrapped(&link.url);
    assert!(
        address == ours || is_linked(&address, draft),
        "a link to an address that no alert has: {link:?}"
    );
    if let Some(picture) = &link.picture {
        assert!(
            picture == PICTURE || is_linked(picture, draft),
            "a picture of nobody's: {link:?}"
        );
    }
}

/// The address inside a link of DingTalk's client.
fn unwrapped(url: &str) -> String {
    let address = url
        .strip_prefix("dingtalk://dingtalkclient/page/link?url=")
        .and_then(|rest| rest.strip_suffix("&pc_slide=false"))
        .unwrap_or_else(|| panic!("a link out of the client: {url:?}"));
    percent_decode_str(address).decode_utf8_lossy().into_owned()
}

fn is_linked(address: &str, draft: &Draft) -> bool {
    let mut links = draft.entries.iter().flat_map(|entry| entry.links.iter());
    links.any(|(_, known)| known.trim() == address)
}

/// A text in which nothing is a mark: it rings nobody, hides nothing, and its addresses are those behind our own words.
fn check_plain(text: &str, draft: &Draft) {
    assert!(!rings(text), "a text mentions somebody: {text:?}");
    assert!(
        !text.chars().any(|c| c != '\n' && reorders(c)),
        "a text hides or reorders text: {text:?}"
    );
    let mut outside = text.to_owned();
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    for (at, _) in text.match_indices("://") {
        let (before, after) = text.split_at(at);
        let scheme = before.rsplit(char::is_whitespace).next().unwrap_or_default();
        let before = before.strip_suffix(scheme).unwrap_or_default();
        let Some(word) = before.strip_suffix(": ") else {
            // Inside of an address that was judged already.
            assert!(scheme.contains("://"), "an address without a word: {text:?}");
            continue;
        };
        assert!(
            OUR_WORDS.iter().any(|ours| word.ends_with(ours)),
            "an address of somebody else's: {text:?}"
        );
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let address = format!("{scheme}{}", after.split_at(end).0);
        outside = outside.replacen(&address, "", 1);
        let address = decoded(&address);
        let mut known = draft.entries.iter().flat_map(|entry| entry.links.iter());
        assert!(
            known.any(|(_, known)| decoded(known.trim()) == address)
                || address.starts_with(EXTERNAL_URL.as_bytes()),
            "an address that no alert has: {text:?}"
        );
    }
    assert!(!outside.to_lowercase().contains("www."), "a host: {text:?}");
}

fn check_title(title: &str) {
    assert!(!rings(title), "a title mentions somebody: {title:?}");
    assert!(
        !title.chars().any(reorders),
        "a title hides or reorders text: {title:?}"
    );
    assert!(!title.contains('\n'), "a title has lines: {title:?}");
}

fn check_text(text: &str, draft: &Draft) {
    assert!(!rings(text), "a text mentions somebody: {text:?}");
    assert!(
        !text.chars().any(|c| c != '\n' && reorders(c)),
        "a text hides or reorders text: {text:?}"
    );
    for (number, line) in text.lines().enumerate() {
        check_line(number, line, text);
        check_inside(line, draft);
    }
}

/// A line begins as the templates begin lines, and with nothing else that means something.
fn check_line(number: usize, line: &str, text: &str) {
    let own = ["- ", "> ", "**", "  ", "and ", "First: **", "最早：**", "其余 "];
    let is_own = line.is_empty()
        || (number == 0 && line.starts_with("### "))
        || own.iter().any(|begin| line.starts_with(begin))
        || line
            .split_once(" other group")
            .is_some_and(|(count, _)| count.bytes().all(|byte| byte.is_ascii_digit() || byte == b','));
    assert!(
        is_own,
        "line {number} begins as no line of ours: {line:?} in {text:?}"
    );
    let rest = line
        .strip_prefix("- ")
        .or_else(|| line.strip_prefix("> "))
        .or_else(|| line.strip_prefix("### "))
        .unwrap_or(line)
        .trim_start_matches(' ');
    let begins = [
        "# ", "## ", "- ", "+ ", "* ", "> ", "|", "```", "~~~", "[ ]", "[x]",
    ];
    assert!(
        !begins.iter().any(|begin| rest.starts_with(begin)),
        "a second block begins in line {number}: {line:?}"
    );
    let is_rule = rest.len() > 2 && rest.chars().all(|c| matches!(c, '-' | '=' | '*' | '_' | ' '));
    assert!(!is_rule, "line {number} is a rule: {line:?}");
    assert_eq!(
        line.matches("**").count() % 2,
        0,
        "bold does not end in line {number}: {line:?}"
    );
}

/// What stands in a line: links of ours to addresses of the alert, and nothing else that is drawn.
fn check_inside(line: &str, draft: &Draft) {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        let (before, word) = before
            .rsplit_once('[')
            .unwrap_or_else(|| panic!("a link without a word: {line:?}"));
        let (target, tail) = after
            .split_once(')')
            .unwrap_or_else(|| panic!("a link without an end: {line:?}"));
        assert!(!before.ends_with('!'), "an image: {line:?}");
        assert!(OUR_WORDS.contains(&word), "a link of somebody else's: {line:?}");
        check_link(
            &Link {
                title: word.to_owned(),
                url: target.to_owned(),
                picture: None,
            },
            draft,
        );
        plain.push_str(before);
        rest = tail;
    }
    plain.push_str(rest);
    assert!(!plain.contains(['<', '`']), "HTML or code: {line:?}");
    for mark in ["://", "www.", "][", "]:", "~~", "&#"] {
        assert!(
            !plain.to_lowercase().contains(mark),
            "`{mark}` outside of a link: {line:?}"
        );
    }
    let single = plain.replace("**", "");
    assert!(!single.contains('*'), "emphasis: {line:?}");
}

/// Whether somebody's phone rings: an `@` with a name after it.
fn rings(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        text.get(at + 1..)
            .and_then(|rest| rest.chars().next())
            .is_some_and(|next| next != '\u{200b}')
    })
}

/// Controls, directions, and what has no width but the one space of ours and the joiner of emoji.
fn reorders(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
