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
    let firing = number("/firing/total");
    let mut pieces = Vec::new();
    let kinds = [
        ("new", mark(worst), "new", "新"),
        ("again", "🔁", "back again", "再次"),
        ("flapping", "🔁", "flapping", "抖动"),
        ("resolved", "✅", "resolved", "恢复"),
        ("expired", "⚠️", "expired without a word", "静默失联"),
        ("passed", "✅", "came and went", "闪断"),
        ("reminder", "⏰", "still firing", "仍在告警"),
    ];
    for (change, mark, english, chinese) in kinds {
        let count = number(&format!("/counts/{change}"));
        if count > 0 {
            let word = if locale == Locale::English {
                english
            } else {
                chinese
            };
            pieces.push((change, format!("{mark} {} {word}", grouped(count))));
        }
    }
    let only = if let [(change, _)] = pieces.as_slice() {
        *change
    } else {
        ""
    };
    let over = pieces
        .iter()
        .all(|(change, _)| matches!(*change, "resolved" | "passed"));
    let pieces: Vec<String> = pieces.into_iter().map(|(_, piece)| piece).collect();
    let facts = Facts {
        only,
        over,
        firing,
        longest: number("/longest"),
        rollup: digest["detail"] == "rollup",
    };
    if title {
        short(&pieces, &facts, locale)
    } else {
        long(&pieces, &facts, digest, locale)
    }
}

struct Facts<'a> {
    /// The only kind of change, when there is one.
    only: &'a str,
    /// Does everything told here speak of an end?
    over: bool,
    firing: u64,
    longest: u64,
    rollup: bool,
}

fn short(pieces: &[String], facts: &Facts<'_>, locale: Locale) -> String {
    let english = locale == Locale::English;
    if facts.over && facts.firing == 0 {
        return if english {
            "✅ all clear"
        } else {
            "✅ 全部恢复"
        }
        .to_owned();
    }
    let text = pieces.join(if english { ", " } else { "，" });
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

fn long(pieces: &[String], facts: &Facts<'_>, digest: &Value, locale: Locale) -> String {
    let english = locale == Locale::English;
    let mut text = pieces.join(" · ");
    if facts.rollup {
        let begun = breakdown(&digest["begun"], locale);
        if !begun.is_empty() {
            text.push_str(&if english {
                format!(" ({begun})")
            } else {
                format!("（{begun}）")
            });
        }
    }
    let firing = grouped(facts.firing);
    let told = digest
        .pointer("/counts/told")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    let rest = match (facts.firing, facts.only, english) {
        (0, "new" | "again" | "flapping", _) => String::new(),
        (0, _, true) => "nothing firing".to_owned(),
        (0, _, false) => "当前无告警".to_owned(),
        // The same number twice says nothing.
        (n, "new" | "again", _) if n == told => String::new(),
        (n, "reminder", true) if n == told => "nothing new".to_owned(),
        (n, "reminder", false) if n == told => "无新告警".to_owned(),
        (_, _, true) => format!("{firing} firing in all"),
        (_, _, false) => format!("正在告警 {firing} 条"),
    };
    if !rest.is_empty() {
        text.push_str(" · ");
        text.push_str(&rest);
    }
    text
}
