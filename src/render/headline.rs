//! The one line that says whether to get up: what changed, then what is firing.

use serde_json::Value;

use super::helpers::{grouped, span};
use crate::plan::Locale;

/// The mark of a severity.
pub(crate) fn mark(severity: &str) -> &'static str {
    match severity {
        "critical" => "🔴",
        "warning" => "🟠",
        _ => "🔵",
    }
}

/// Numbers by severity, without the zeros.
pub(crate) fn breakdown(by: &Value, locale: Locale) -> String {
    let (words, between) = match locale {
        Locale::Chinese => (["严重", "警告", "提示"], "，"),
        Locale::English => (["critical", "warning", "info"], ", "),
    };
    let parts: Vec<String> = ["critical", "warning", "info"]
        .iter()
        .zip(words)
        .filter_map(|(severity, word)| {
            let count = grouped(by.get(severity).and_then(Value::as_u64).filter(|n| *n > 0)?);
            Some(match locale {
                Locale::Chinese => format!("{word} {count}"),
                Locale::English => format!("{count} {word}"),
            })
        })
        .collect();
    parts.join(between)
}

/// The headline of a digest; the short form for a title.
pub(crate) fn headline(digest: &Value, locale: Locale, title: bool) -> String {
    let number = |path: &str| digest.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let worst = ["critical", "warning", "info"]
        .into_iter()
        .find(|severity| number(&format!("/begun/{severity}")) > 0)
        .unwrap_or("info");
    let chinese = locale == Locale::Chinese;
    let mut pieces = Vec::new();
    for (change, words) in WORDS {
        let count = number(&format!("/counts/{change}"));
        if count > 0 {
            let word = words[usize::from(chinese) * 2 + usize::from(title)];
            let mark = if change == "new" {
                mark(worst)
            } else {
                change_mark(change)
            };
            let spaced = word.replace('#', &grouped(count));
            pieces.push((change, format!("{mark} {spaced}")));
        }
    }
    let facts = Facts {
        only: if let [(change, _)] = pieces.as_slice() {
            change
        } else {
            ""
        },
        over: pieces
            .iter()
            .all(|(change, _)| matches!(*change, "resolved" | "passed"))
            && number("/counts/resolved") > 0,
        firing: number("/firing/total"),
        told: number("/counts/told"),
        longest: number("/longest"),
        rollup: digest["detail"] == "rollup",
    };
    if title {
        short(&pieces, &facts, locale)
    } else {
        long(pieces, &facts, digest, locale)
    }
}

/// What a change is called: in English in a text and in a title, in Chinese in a text and in a title. `#` is the
/// number.
const WORDS: [(&str, [&str; 4]); 7] = [
    ("new", ["# new", "# new", "# 条新告警", "# 新"]),
    ("again", ["# back again", "# again", "再次告警 # 条", "# 再次"]),
    ("flapping", ["# flapping", "# flapping", "抖动 # 条", "# 抖动"]),
    ("resolved", ["# resolved", "# resolved", "恢复 # 条", "# 恢复"]),
    (
        "expired",
        ["# expired without a word", "# expired", "失联 # 条", "# 失联"],
    ),
    (
        "passed",
        ["# came and went", "# came and went", "闪断 # 条", "# 闪断"],
    ),
    (
        "reminder",
        ["# still firing", "# still firing", "仍在告警 # 条", "# 仍在告警"],
    ),
];

/// Most kinds of change a title names.
const TITLE_KINDS_MAX: usize = 2;

fn change_mark(change: &str) -> &'static str {
    match change {
        "again" | "flapping" => "🔁",
        "expired" => "⚠️",
        "reminder" => "⏰",
        _ => "✅",
    }
}

struct Facts<'a> {
    /// The only kind of change, when there is one.
    only: &'a str,
    /// Does everything told here speak of an end that was waited for?
    over: bool,
    firing: u64,
    told: u64,
    longest: u64,
    rollup: bool,
}

const fn nothing_fires(locale: Locale) -> &'static str {
    match locale {
        Locale::Chinese => "当前无告警",
        Locale::English => "nothing firing",
    }
}

fn short(pieces: &[(&str, String)], facts: &Facts<'_>, locale: Locale) -> String {
    let english = locale == Locale::English;
    if facts.over && facts.firing == 0 {
        return if english {
            "✅ all clear"
        } else {
            "✅ 全部恢复"
        }
        .to_owned();
    }
    let most = if facts.rollup { 1 } else { TITLE_KINDS_MAX };
    let kept: Vec<&str> = pieces
        .iter()
        .take(most)
        .map(|(_, piece)| piece.as_str())
        .collect();
    if kept.is_empty() {
        return nothing_fires(locale).to_owned();
    }
    let text = kept.join(if english { ", " } else { "，" });
    if facts.only == "reminder" {
        let longest = span(facts.longest, locale);
        return if english {
            format!("{text} · oldest {longest}")
        } else {
            format!("{text} · 最久 {longest}")
        };
    }
    text
}

fn long(mut pieces: Vec<(&str, String)>, facts: &Facts<'_>, digest: &Value, locale: Locale) -> String {
    let english = locale == Locale::English;
    let begun = breakdown(&digest["begun"], locale);
    let begins = |change: &str| matches!(change, "new" | "again" | "flapping");
    if facts.rollup
        && !begun.is_empty()
        && let Some((_, piece)) = pieces.iter_mut().rfind(|(change, _)| begins(change))
    {
        let (open, close) = if english { (" (", ")") } else { ("（", "）") };
        piece.extend([open, &begun, close]);
    }
    let firing = grouped(facts.firing);
    let rest = match (facts.firing, facts.only, english) {
        (0, "new" | "again" | "flapping", _) => String::new(),
        (0, _, _) => nothing_fires(locale).to_owned(),
        // The same number twice says nothing.
        (n, "new" | "again" | "flapping", _) if n == facts.told => String::new(),
        (n, "reminder", true) if n == facts.told => "nothing new".to_owned(),
        (n, "reminder", false) if n == facts.told => "无新告警".to_owned(),
        (_, _, true) => format!("{firing} firing in all"),
        (_, _, false) => format!("正在告警 {firing} 条"),
    };
    let pieces = pieces.into_iter().map(|(_, piece)| piece);
    pieces
        .chain((!rest.is_empty()).then_some(rest))
        .collect::<Vec<_>>()
        .join(" · ")
}
