//! What reaches a chat, judged by a reader of markdown that knows nothing of how it was made.
//!
//! The reader goes by the documented dialect: a line is a heading, an item, a quote, a line that goes on, or text; in
//! a line stand bold marks and links. Everything else that some client draws (HTML, code, images, links without
//! marks, rules, tables, mentions) must not be there at all.

use std::sync::LazyLock;

use percent_encoding::percent_decode_str;

use super::{NOW, renderer};
use crate::alert::{AlertNo, DigestId, Fingerprint, Labels, Severity, Status, Timestamp};
use crate::digest::{Change, Detail, Draft, Entry, Fit, Rendered};
use crate::plan::{GroupBy, Locale};
use crate::render::Renderer;

/// Between the texts of one input.
const SEPARATOR: char = '\u{1e}';
const LOCALES: [Locale; 2] = [Locale::Chinese, Locale::English];

/// As much as DingTalk takes, and so little that a digest is cut into messages or shrunk.
const FITS: [(u8, usize, Detail); 5] = [
    (3, 18_000, Detail::Full),
    (3, 18_000, Detail::Compact),
    (3, 18_000, Detail::Rollup),
    (3, 18_000, Detail::Stub),
    (2, 2_500, Detail::Full),
];

/// The built-in templates, compiled.
static BUILT_IN: LazyLock<[Renderer; 2]> = LazyLock::new(|| {
    LOCALES.map(|locale| renderer(locale, None).unwrap_or_else(|| panic!("built-in templates compile")))
});

/// Texts for every field that reaches a chat, through the built-in templates of both languages.
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
                check_text(&message.text, &draft);
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
    if let Some(renderer) = renderer(Locale::English, Some(template)) {
        let rendered = renderer.render(&draft);
        check_frame(&draft, &rendered);
        assert_eq!(
            rendered,
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
                ]),
                values: Labels::from_pairs([("A", text())]),
                starts_at: Timestamp(NOW.0.saturating_sub_unsigned(60_000 * number as u64)),
                ends_at: over.then_some(NOW),
                episodes: 1 + u32::from(number % 4 == 0),
            }
        })
        .collect();
    Draft {
        id: DigestId(1),
        uuid_prefix: "d1".to_owned(),
        receiver: "ops".into(),
        bot: Some("ops-1".into()),
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
        let body: Result<serde_json::Value, _> = serde_json::from_slice(&message.body);
        assert!(body.is_ok(), "a message is no JSON");
    }
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
        assert!(
            [
                "graph",
                "dashboard",
                "runbook",
                "silence",
                "all",
                "图表",
                "看板",
                "手册",
                "静默",
                "全部"
            ]
            .contains(&word),
            "a link of somebody else's: {line:?}"
        );
        let address = target
            .strip_prefix("dingtalk://dingtalkclient/page/link?url=")
            .and_then(|rest| rest.strip_suffix("&pc_slide=false"))
            .unwrap_or_else(|| panic!("a link out of the client: {line:?}"));
        let address = percent_decode_str(address).decode_utf8_lossy();
        assert!(
            draft
                .entries
                .iter()
                .any(|entry| entry.links.iter().any(|(_, known)| known.trim() == address)),
            "a link to an address that no alert has: {line:?}"
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
