//! Makes texts of senders harmless in DingTalk's markdown.
//!
//! DingTalk's dialect is documented in half a page and drawn by different programs on PC and phone. Backslash
//! escapes are known to work only before brackets; where they do not, every `kube\_pod\_name` shows its
//! backslashes. So nothing here relies on them: a character either cannot do harm where it stands and stays, or
//! is kept apart from its neighbour by a zero-width space (`␣` below, U+200B, invisible in both clients), or is
//! replaced by a look-alike that every CJK font has.
//!
//! | character | what it could do | becomes |
//! |---|---|---|
//! | `@` | ring a phone, begin a mail link | `@␣` |
//! | `*` | emphasis, list, rule | `＊` |
//! | `_` at the edge of a word | emphasis | `␣_␣` (inside a word it stays) |
//! | backtick | code | `'` |
//! | `[` | checkbox at the start of an item | `␣[` at the start, else stays |
//! | `]` before `(`, `[`, `:` or at the end | link, reference | `]␣` |
//! | `<` | HTML on PC, nothing at all on the phone | `＜` |
//! | `>` at the start, or after a `<` | quote, end of a tag | `＞` |
//! | `&` before a letter or `#` | entity | `&␣` |
//! | `\` before punctuation or at the end | escape of what follows, even of the template's own marks | `\␣` |
//! | `~~` | strike-through | `～～` |
//! | `#`, `+`, `-`, `=`, `\|`, `:`, `1.`, `1)` at the start | heading, list, rule, table | `␣` before it |
//! | `://`, `www.` | a link by itself | `:␣//`, `www␣.` |
//! | line breaks, tabs, runs of blanks | new paragraph, code block | one blank |
//! | control, direction and invisible characters | hide or reorder text | removed (joiners inside emoji stay) |
//!
//! Where DingTalk knows no marks (titles, text messages, links, feeds) only mentions and addresses are kept apart and
//! everything else stays as its sender wrote it: [`plain`], and [`literal`] for a text whose own marks are yet to be
//! taken away.
//!
//! **Invariant:** escaping twice is escaping once, and no output holds a line break.

/// Keeps two characters apart without showing.
const APART: char = '\u{200b}';

/// A value as it may stand in markdown.
pub(crate) fn markdown(value: &str) -> String {
    let value = with_look_alikes(&clean(value));
    let mut out = String::with_capacity(value.len() + 8);
    let mut rest = value.as_str();
    let mut before: Option<char> = None;
    if begins_block(&value) {
        out.push(APART);
    }
    while let Some(c) = rest.chars().next() {
        rest = rest.strip_prefix(c).unwrap_or_default();
        let next = rest.chars().next();
        match c {
            '_' if before.is_none_or(|b| b != '_' && !b.is_alphanumeric()) => out.extend([APART, c]),
            '.' if ends_in_www(&out) => out.extend([APART, c]),
            _ => out.push(c),
        }
        let hazard = match c {
            '@' => true,
            '&' => next.is_some_and(|n| n == '#' || n.is_alphanumeric()),
            ']' => next.is_none_or(|n| matches!(n, '(' | '[' | ':')),
            '\\' => next.is_none_or(|n| n.is_ascii_punctuation()),
            ':' => rest.starts_with("//"),
            '_' => next.is_none_or(|n| n != '_' && !n.is_alphanumeric()),
            _ => false,
        };
        if hazard {
            out.push(APART);
        }
        before = Some(c);
    }
    out
}

/// Replaces what no distance from its neighbours makes harmless.
fn with_look_alikes(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars().peekable();
    let mut before: Option<char> = None;
    let mut tag = false;
    while let Some(c) = chars.next() {
        out.push(match c {
            '*' => '＊',
            '`' => '\'',
            '<' => {
                tag = true;
                '＜'
            }
            '>' if tag || before.is_none() => '＞',
            '~' if chars.peek() == Some(&'~') || before == Some('~') => '～',
            _ => c,
        });
        before = Some(c);
    }
    out
}

/// A value without line breaks, control characters and characters that hide or reorder text; blanks become one.
/// What a title or a terminal may show.
pub(crate) fn clean(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut before = ' ';
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            if before != ' ' {
                out.push(' ');
                before = ' ';
            }
        } else if !is_hidden(c)
            || (joins(c) && is_pictorial(before) && chars.peek().is_some_and(|n| is_pictorial(*n)))
        {
            out.push(c);
            before = c;
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// A value as it may stand where there are no marks: as it is, but it rings nobody and is no link by itself.
pub(crate) fn plain(value: &str) -> String {
    let value = clean(value);
    let mut out = String::with_capacity(value.len() + 8);
    let mut rest = value.as_str();
    while let Some(c) = rest.chars().next() {
        rest = rest.strip_prefix(c).unwrap_or_default();
        if c == '.' && ends_in_www(&out) {
            out.push(APART);
        }
        out.push(c);
        if c == '@' || (c == ':' && rest.starts_with("//")) {
            out.push(APART);
        }
    }
    out
}

fn ends_in_www(text: &str) -> bool {
    text.as_bytes()
        .last_chunk::<3>()
        .is_some_and(|end| end.eq_ignore_ascii_case(b"www"))
}

/// What [`without_marks`] takes for marks, and what stands for it in a value until then: characters of private use,
/// which no value keeps.
const SHIELDED: [(char, char); 5] = [
    ('*', '\u{e000}'),
    ('#', '\u{e001}'),
    ('>', '\u{e002}'),
    ('[', '\u{e003}'),
    (']', '\u{e004}'),
];

/// A value as it may stand in a text from which [`without_marks`] takes the marks: it leaves the value as it is.
pub(crate) fn literal(value: &str) -> String {
    plain(value)
        .chars()
        .filter(|c| !SHIELDED.iter().any(|(_, shield)| shield == c))
        .map(|c| {
            SHIELDED
                .iter()
                .find(|(mark, _)| *mark == c)
                .map_or(c, |(_, shield)| *shield)
        })
        .collect()
}

fn unshielded(text: &str) -> String {
    text.chars()
        .map(|c| {
            SHIELDED
                .iter()
                .find(|(_, shield)| *shield == c)
                .map_or(c, |(mark, _)| *mark)
        })
        .collect()
}

/// A text of several lines without control, direction and invisible characters.
pub(crate) fn clean_lines(text: &str) -> String {
    text.chars()
        .filter(|c| *c == '\n' || !is_hidden(*c) || joins(*c))
        .collect()
}

/// Characters with no picture of their own that change how others are shown.
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The zero-width joiner, which makes one picture of several.
fn joins(c: char) -> bool {
    c == '\u{200d}'
}

/// Emoji and what modifies them, roughly.
fn is_pictorial(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{2bff}' | '\u{fe0f}' | '\u{1f000}'..='\u{1faff}')
}

/// Whether a text would begin a heading, list, quote, rule, table or checkbox at the start of a line.
fn begins_block(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    if rest.len() < text.len() {
        return rest.starts_with(['.', ')']) && rest.chars().nth(1).is_none_or(|c| c == ' ');
    }
    let mut chars = text.chars();
    match chars.next() {
        Some('#' | '=' | '|' | '[' | ':' | '!') => true,
        Some('+' | '-') => chars.next().is_none_or(|c| c == ' ' || c == '-' || c == '+'),
        _ => false,
    }
}

/// Markdown without its marks: what a plain text message or a terminal shows. Links show their target.
pub(crate) fn without_marks(markdown: &str) -> String {
    let mut out = String::with_capacity(markdown.len());
    for line in markdown.lines() {
        let indent = line.len() - line.trim_start().len();
        let (blanks, mut rest) = line.split_at(indent);
        let unheaded = rest.trim_start_matches('#');
        if unheaded.len() < rest.len() && unheaded.starts_with(' ') {
            rest = unheaded.trim_start();
        }
        rest = rest.strip_prefix("> ").unwrap_or(rest);
        out.push_str(blanks);
        out.push_str(&links_as_text(&rest.replace("**", "")));
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    unshielded(&out)
}

/// Writes `[word](target)` as `word: target`, with the address inside a DingTalk link instead of the link.
fn links_as_text(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        let (Some((text, word)), Some((target, tail))) = (before.rsplit_once('['), after.split_once(')'))
        else {
            out.push_str(before);
            out.push_str("](");
            rest = after;
            continue;
        };
        out.push_str(text);
        out.push_str(word);
        out.push_str(": ");
        out.push_str(&super::link::spelt_out(target));
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(cases: &[(&str, &str)]) {
        for (value, expected) in cases {
            assert_eq!(markdown(value).replace(APART, "␣"), *expected, "{value:?}");
        }
    }

    #[test]
    fn each_character_of_the_table_becomes_what_the_table_says() {
        check(&[
            ("call @13800000000", "call @␣13800000000"),
            ("**bold** *it*", "＊＊bold＊＊ ＊it＊"),
            ("kube_pod_name _it_ __init__", "kube_pod_name ␣_it_␣ ␣__init__␣"),
            ("`rm`", "'rm'"),
            ("[x](http://evil) ![i](u)", "␣[x]␣(http:␣//evil) ![i]␣(u)"),
            ("a[0] b]", "a[0] b]␣"),
            ("<font color=red>x</font> 5", "＜font color=red＞x＜/font＞ 5"),
            ("cpu > 90%", "cpu > 90%"),
            ("> quote", "＞ quote"),
            ("AT&T &lt; R & D", "AT&␣T &␣lt; R & D"),
            (r"C:\dir\*x \", r"C:\dir\＊x \␣"),
            ("~~gone~~ ~5", "～～gone～～ ~5"),
            ("# head", "␣# head"),
            ("- item", "␣- item"),
            ("-5 degrees", "-5 degrees"),
            ("1. item", "␣1. item"),
            ("1.5 s", "1.5 s"),
            ("www.example.com", "www␣.example.com"),
            ("two\nlines\tand   blanks ", "two lines and blanks"),
            ("a\u{202e}b\u{200b}c\u{7}", "abc"),
            ("👨\u{200d}👩 ok", "👨\u{200d}👩 ok"),
        ]);
    }

    proptest! {
        #[test]
        fn no_value_mentions_links_breaks_a_line_or_begins_a_block(value in "\\PC*|[-@*_`<>&\\[\\]()#+=~|:!/\\\\w0-9. \n\t\u{200b}\u{202e}]{0,40}") {
            let text = markdown(&value);
            prop_assert_eq!(markdown(&text), text.clone(), "escaping twice");
            prop_assert!(!text.contains(['\n', '\r', '\u{2028}', '\u{202e}', '*', '`', '<']), "{:?}", text);
            for pair in ["](", "][", "]:", "://", "~~"] {
                prop_assert!(!text.contains(pair), "{:?} in {:?}", pair, text);
            }
            let mut chars = text.chars().peekable();
            while let Some(c) = chars.next() {
                if c == '@' {
                    prop_assert_eq!(chars.peek(), Some(&APART));
                }
            }
            prop_assert!(!text.starts_with(['#', '>', '|', '=']));
            prop_assert!(!["- ", "+ ", "1. ", "1) "].iter().any(|mark| text.starts_with(mark)));
        }
    }

    proptest! {
        #[test]
        fn a_value_without_marks_is_shown_as_it_is_rings_nobody_and_is_no_link(value in "\\PC*|[-@*_`<>&\\[\\]()#+=~|:!/\\\\w0-9. \n\t\u{200b}\u{202e}\u{e000}\u{e003}]{0,40}") {
            let text = plain(&value);
            prop_assert_eq!(plain(&text), text.clone(), "escaping twice");
            prop_assert_eq!(text.replace(APART, ""), clean(&value), "what is seen");
            prop_assert!(!text.contains("://") && !text.to_lowercase().contains("www."));
            prop_assert!(text.split('@').skip(1).all(|rest| rest.starts_with(APART)));
            // In a text of ours its marks stay and ours go.
            let private = |c: char| SHIELDED.iter().any(|(_, shield)| *shield == c);
            let kept: String = text.chars().filter(|c| !private(*c)).collect();
            let item = without_marks(&format!("> - **{}** x", literal(&value)));
            prop_assert_eq!(item, format!("- {kept} x"));
        }
    }

    #[test]
    fn plain_text_has_no_marks_and_shows_where_links_lead() {
        let markdown = "### 🔴 1 new\n\n**DiskFull** · db\n\n- 🔴 db-07  \n  [graph](dingtalk://dingtalkclient/page/link?url=https%3A%2F%2Fg%2Fa%3Fb&pc_slide=false)\n\n> 10:43";
        assert_eq!(
            without_marks(markdown),
            "🔴 1 new\n\nDiskFull · db\n\n- 🔴 db-07\n  graph: https://g/a?b\n\n10:43"
        );
    }
}
