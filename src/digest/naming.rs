//! Which labels tell people what an alert is about, and how their values read.
//!
//! Senders put twenty labels on an alert; a phone has room for three. The order here goes from large to small
//! (region … pod); what only machines read is noise. A wrong guess costs clarity, never correctness: every
//! label stays in the digest's data.

use std::borrow::Cow;

/// Digits of a mobile number that are said.
const DIGITS_MAX: usize = 4;

/// Labels that name the rule, best first.
const RULE_NAMES: [&str; 6] = ["alertname", "alert_name", "rulename", "rule", "check", "title"];

/// Labels that tell where, from large to small. Unknown labels come at [`UNKNOWN`].
const PLACES: [&str; 38] = [
    "region",
    "datacenter",
    "dc",
    "cluster",
    "env",
    "environment",
    "zone",
    "availability_zone",
    "az",
    "rack",
    "project",
    "namespace",
    "service",
    "app",
    "application",
    "component",
    "module",
    "deployment",
    "statefulset",
    "daemonset",
    "workload",
    "job_name",
    "database",
    "topic",
    "queue",
    "host",
    "hostname",
    "nodename",
    "node",
    "instance",
    "server",
    "target",
    "pod",
    "container",
    "device",
    "interface",
    "mountpoint",
    "path",
];

/// The place of labels not in [`PLACES`]: after topic and queue, before single machines.
const UNKNOWN: usize = 25;

/// Labels only machines read, or that the digest shows in another way.
const NOISE: [&str; 28] = [
    "severity",
    "level",
    "priority",
    "prometheus",
    "prometheus_replica",
    "replica",
    "endpoint",
    "monitor",
    "job",
    "uid",
    "id",
    "image",
    "pod_template_hash",
    "controller_revision_hash",
    "grafana_folder",
    "metrics_path",
    "tenant_id",
    "alertgroup",
    "alertstate",
    "team",
    "owner",
    "tier",
    "channel",
    "category",
    "fstype",
    "mode",
    "ref_id",
    "scrape_job",
];

/// Whether a label says nothing to the person on call.
pub(super) fn is_noise(name: &str) -> bool {
    NOISE.contains(&name)
        || name.starts_with("__")
        || ["_hash", "_uid", "_id"].iter().any(|end| name.ends_with(end))
        || is_rule_name(name)
}

/// Whether a label names the rule.
pub(super) fn is_rule_name(name: &str) -> bool {
    RULE_NAMES.contains(&name)
}

/// The rule's name among some labels.
pub(crate) fn rule_name<'a>(mut get: impl FnMut(&str) -> Option<&'a str>) -> Option<&'a str> {
    RULE_NAMES
        .iter()
        .find_map(|name| get(name).filter(|value| !value.is_empty()))
}

/// Where a label stands between region and path.
pub(super) fn size(name: &str) -> usize {
    PLACES.iter().position(|known| *known == name).unwrap_or(UNKNOWN)
}

/// Picks at most `most` labels that tell alerts apart, small things first, and puts them from large to small.
/// The address in `instance` goes when a better name for the same machine is there.
pub(crate) fn telling<'a>(pairs: &[(&'a str, &'a str)], most: usize) -> Vec<(&'a str, &'a str)> {
    let named = pairs
        .iter()
        .any(|(name, _)| matches!(*name, "pod" | "host" | "hostname" | "nodename" | "node"));
    let mut picked: Vec<_> = pairs
        .iter()
        .copied()
        .filter(|(name, value)| !(value.is_empty() || is_noise(name) || (named && *name == "instance")))
        .collect();
    // A stable sort: unknown labels keep the order of their names.
    picked.sort_by_key(|(name, _)| std::cmp::Reverse(size(name)));
    picked.truncate(most);
    picked.sort_by_key(|(name, _)| size(name));
    picked
}

/// A label's value as people read it: a bare `3` or `true` says nothing without the label's name.
pub(crate) fn value_text(name: &str, value: &str, chars_max: usize) -> String {
    let bare = value.chars().count() <= 2
        || matches!(value, "true" | "false")
        || value.chars().all(|c| c.is_ascii_digit() || c == '.');
    if bare {
        format!("{} {}", shorten(name, chars_max), shorten(value, chars_max))
    } else {
        shorten(value, chars_max).into_owned()
    }
}

/// The name of a receiver or an endpoint, as everybody in a chat may read it: of a mobile number, its end.
pub(crate) fn shown_name(name: &str) -> String {
    let Some((before, number)) = name.split_once("mobile:") else {
        return name.to_owned();
    };
    let hidden = number.chars().count().saturating_sub(DIGITS_MAX);
    let end: String = number.chars().skip(hidden).collect();
    format!("{before}mobile:…{end}")
}

/// At most `chars_max` characters of a text; what is cut ends in `…`.
pub(crate) fn shorten(text: &str, chars_max: usize) -> Cow<'_, str> {
    // Most texts are short: a text of so many bytes has at most as many characters.
    if text.len() <= chars_max || text.char_indices().nth(chars_max).is_none() {
        return Cow::Borrowed(text);
    }
    let mut kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    // A joiner or a space at the cut would bind or part the mark, and what keeps an `@` from ringing stands behind it.
    kept.truncate(
        kept.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '\u{200d}' | '\u{fe0f}' | '@'))
            .len(),
    );
    kept.push('…');
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_things_tell_alerts_apart_and_are_shown_after_large_ones() {
        let pairs = [
            ("cluster", "east"),
            ("instance", "10.0.0.1:8080"),
            ("job", "kube-state-metrics"),
            ("namespace", "shop"),
            ("pod", "api-1"),
            ("pod_template_hash", "5f6c"),
        ];
        assert_eq!(telling(&pairs, 2), [("namespace", "shop"), ("pod", "api-1")]);
        assert_eq!(
            telling(&pairs, 9),
            [("cluster", "east"), ("namespace", "shop"), ("pod", "api-1")]
        );
    }

    #[test]
    fn a_bare_number_is_shown_with_its_label() {
        assert_eq!(value_text("partition", "3", 20), "partition 3");
        assert_eq!(value_text("host", "db-07", 20), "db-07");
    }

    #[test]
    fn of_a_mobile_number_a_chat_reads_the_end() {
        assert_eq!(
            shown_name("ops/direct/mobile:13800001234"),
            "ops/direct/mobile:…1234"
        );
        assert_eq!(shown_name("direct/ops/wang"), "direct/ops/wang");
    }

    #[test]
    fn shortened_texts_end_in_an_ellipsis_and_keep_characters_whole() {
        assert_eq!(shorten("短文", 2), "短文");
        assert_eq!(shorten("很长的文字", 3), "很长…");
        assert_eq!(shorten("👨\u{200d}👩 family", 3), "👨…");
        assert_eq!(shorten("a @\u{200b}all", 4), "a…");
        assert_eq!(shorten("abc", 0), "…");
    }
}
