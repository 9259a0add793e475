//! What an alert is: labels, annotations, status, times, and the typed ids everything else refers to.
//!
//! A source decodes a body into [`Alert`]s; the engine compares them with what it holds. This module knows no
//! wire format, no routing and no clock.
//!
//! **Invariant:** [`Labels`] are sorted by the bytes of their names and hold each name once, so equal sets are
//! equal texts, and the [`Fingerprint`] is the one Prometheus computes for the same set.

pub(crate) mod difference;
pub mod occurrence;
pub mod words;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Milliseconds since the Unix epoch: data for display, signing and calendars, never a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time moved by `span` (saturating).
    #[must_use]
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add_unsigned(span.0))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Span {
        Span(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Milliseconds of a monotonic clock that starts with the process: all timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

impl Tick {
    /// This tick moved by `span` (saturating).
    #[must_use]
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub u64);

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// A span of whole minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Self::seconds(minutes * 60)
    }

    /// A span of whole hours.
    pub const fn hours(hours: u64) -> Self {
        Self::minutes(hours * 60)
    }

    /// A span of whole days of 24 hours.
    pub const fn days(days: u64) -> Self {
        Self::hours(days * 24)
    }

    /// The same span for timers of the standard library and the runtime.
    pub const fn as_duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

/// As configurations write it: `1h30m`, `200ms`, `0s`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 5] = [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
            ("ms", 1),
        ];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, millis) in UNITS {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// The monotonic clock.
    pub tick: Tick,
    /// The wall clock.
    pub time: Timestamp,
}

impl Now {
    /// The tick at which the wall clock will show `time`, if it runs evenly from here.
    pub fn tick_of(self, time: Timestamp) -> Tick {
        self.tick.plus(time.since(self.time))
    }

    /// What the wall clock will show at a later `tick`, if it runs evenly from here.
    pub fn time_at(self, tick: Tick) -> Timestamp {
        self.time.plus(tick.since(self.tick))
    }
}

/// Defines a name: a cheap-to-clone text that cannot be mixed up with another kind of name.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// As a text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<Arc<str>>> From<T> for $name {
            fn from(text: T) -> Self {
                Self(text.into())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}

names! {
    /// The name of a configured way in.
    SourceName
    /// The name of a receiver: the configured one, followed by how it is told unless that is through bots or on the
    /// console, and by whom: `ops`, `ops/group`, `ops/direct/PERSON`, `ops/work_notice`, `ops/work_notice/PERSON`.
    ReceiverName
    /// The name of what messages are sent through: that of a custom bot, `group/RECEIVER`, `direct/RECEIVER/PERSON`,
    /// `work_notice/RECEIVER` or `work_notice/RECEIVER/PERSON`.
    EndpointName
    /// The name of an app.
    AppName
    /// The name of a set of time intervals.
    IntervalName
    /// What DingTalk calls a message that an app sent: it can be asked about by that, and taken back.
    Receipt
}

impl ReceiverName {
    /// The receiver of the configuration that it is one of.
    pub fn configured(&self) -> &str {
        self.as_str().split('/').next().unwrap_or_default()
    }

    /// Without the person: what people of one receiver have in common.
    pub fn without_person(&self) -> &str {
        two_words(self.as_str())
    }

    /// Whether it is one person.
    pub fn is_person(&self) -> bool {
        self.without_person() != self.as_str()
    }

    /// Whether it is the other, or one of those that the other stands for.
    pub fn is_of(&self, other: &str) -> bool {
        (self.as_str().strip_prefix(other)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl EndpointName {
    /// Without the person: what people of one receiver have in common.
    pub fn without_person(&self) -> &str {
        two_words(self.as_str())
    }
}

/// A name without what comes after its second word.
fn two_words(name: &str) -> &str {
    let end = name.match_indices('/').nth(1);
    end.map_or(name, |(at, _)| name.split_at(at).0)
}

/// Defines a number that counts one kind of thing and cannot be mixed up with another.
macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numbers! {
    /// The number of an alert in the order in which alerts first came in; never reused.
    AlertNo
    /// The number of a digest in the order of composition; never reused.
    DigestId
    /// The number of a model that alerts are described by. It may be that of another one once none is.
    ModelNo
    /// The number of one webhook request inside this process.
    RequestId
}

/// One HTTP request to DingTalk: a part of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The digest it belongs to.
    pub digest: DigestId,
    /// Its part, counted from 1.
    pub part: u8,
}

/// Whether the condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It holds.
    Firing,
    /// It is over.
    Resolved,
}

impl Status {
    /// `firing` or `resolved`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// How bad an alert is, read from its `severity` label in any sender's vocabulary (worst first).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// `critical`, `page`, `disaster`, `P1`, `Sev0`, `严重`, ….
    Critical,
    /// `warning`, `average`, `P3`, `一般`, ….
    Warning,
    /// Everything else, and no severity at all.
    Info,
}

impl Severity {
    /// Reads the words of every sender we know, whatever their case. Unknown words are [`Severity::Info`].
    pub fn of(labels: &Labels) -> Self {
        let word = ["severity", "level", "priority"]
            .iter()
            .find_map(|name| labels.get(name))
            .unwrap_or("")
            .trim();
        let is_lower = word
            .bytes()
            .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        let word = if is_lower {
            Cow::Borrowed(word)
        } else {
            Cow::Owned(word.to_lowercase())
        };
        match &*word {
            "critical" | "page" | "fatal" | "emergency" | "disaster" | "high" | "error" | "down" | "p1"
            | "p2" | "sev0" | "sev1" | "5" | "4" | "灾难" | "严重" | "紧急" => Self::Critical,
            "warning" | "warn" | "average" | "unknown" | "major" | "minor" | "p3" | "sev2" | "3" | "2"
            | "重要" | "一般" | "一般严重" | "警告" => Self::Warning,
            _ => Self::Info,
        }
    }

    /// `critical`, `warning` or `info`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// A set of names and values: labels, annotations, links.
///
/// The set is one text, so that a million alerts cost a million allocations and not thirty: each name and
/// value in the order of the names, as `length:text` with the length in bytes (`9:alertname8:DiskFull`). The
/// same text is what the store keeps.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<str>);

impl Default for Labels {
    fn default() -> Self {
        thread_local! {
            static EMPTY: Arc<str> = Arc::from("");
        }
        Self(EMPTY.with(Arc::clone))
    }
}

impl Labels {
    /// Builds a set from pairs in any order. Of a repeated name the last value stays, as in Alertmanager.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut sorted: Vec<(N, V)> = pairs.into_iter().collect();
        if sorted.is_empty() {
            return Self::default();
        }
        sorted.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let mut text = String::with_capacity(
            sorted
                .iter()
                .map(|(n, v)| n.as_ref().len() + v.as_ref().len() + 8)
                .sum(),
        );
        let mut rest = sorted.iter().peekable();
        while let Some((name, value)) = rest.next() {
            if rest
                .peek()
                .is_some_and(|(next, _)| next.as_ref() == name.as_ref())
            {
                continue;
            }
            push(&mut text, name.as_ref());
            push(&mut text, value.as_ref());
        }
        Self(text.into())
    }

    /// Reads back [`Labels::as_encoded`]. `None` when the text is not of that form.
    pub fn from_encoded(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::default()),
            _ => Self::is_encoded(text).then(|| Self(text.into())),
        }
    }

    /// Whether a text is of the form of [`Labels::as_encoded`].
    pub(crate) fn is_encoded(text: &str) -> bool {
        let mut pairs = Self::pairs_of(text);
        let mut last: Option<&str> = None;
        for (name, _) in pairs.by_ref() {
            if last.is_some_and(|last| last >= name) {
                return false;
            }
            last = Some(name);
        }
        pairs.rest.is_empty()
    }

    /// The whole set as one text; equal sets have equal texts.
    pub fn as_encoded(&self) -> &str {
        &self.0
    }

    /// The pairs in the order of the names' bytes.
    pub fn iter(&self) -> LabelsIter<'_> {
        Self::pairs_of(&self.0)
    }

    fn pairs_of(text: &str) -> LabelsIter<'_> {
        LabelsIter { rest: text }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// Whether there is no pair at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }
}

/// Appends `text` as `length:text`.
fn push(to: &mut String, text: &str) {
    push_number(to, text.len());
    to.push(':');
    to.push_str(text);
}

/// Appends the decimal digits. Every text of every alert has a length: the formatter would be a tenth of the
/// time an alert takes.
fn push_number(to: &mut String, number: usize) {
    if number >= 10 {
        push_number(to, number / 10);
    }
    to.push(char::from(b"0123456789"[number % 10]));
}

/// Splits `length:text` off the front.
fn take(text: &str) -> Option<(&str, &str)> {
    let mut length = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            // One way to write a number, so that equal sets stay equal texts.
            b'0'..=b'9' if at == 0 || length > 0 => {
                length = length.checked_mul(10)?.checked_add(usize::from(byte - b'0'))?;
            }
            b':' if at > 0 => return text.get(at + 1..)?.split_at_checked(length),
            _ => return None,
        }
    }
    None
}

/// Iterator over the pairs of [`Labels`].
#[derive(Clone, Debug)]
pub struct LabelsIter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = take(self.rest)?;
        let (value, rest) = take(rest)?;
        self.rest = rest;
        Some((name, value))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self::from_pairs(pairs)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The 64-bit FNV-1a hash Prometheus gives a label set (`prometheus/common` `model/signature.go`).
///
/// Sixty-four bits are plenty against accident. Somebody who can choose labels can make two sets collide, but
/// only inside a source whose credentials they hold, where they could simply post a resolve instead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

    /// The fingerprint of a label set.
    pub fn of_labels(labels: &Labels) -> Self {
        labels
            .iter()
            .fold(Self(Self::OFFSET), |hash, (name, value)| hash.pair(name, value))
    }

    /// The fingerprint of an identity that a mapping names.
    pub fn of_identity(identity: &str) -> Self {
        Self(Self::OFFSET).bytes(identity.as_bytes())
    }

    /// This hash continued by one more label.
    #[must_use]
    pub fn pair(self, name: &str, value: &str) -> Self {
        self.bytes(name.as_bytes())
            .bytes(&[0xff])
            .bytes(value.as_bytes())
            .bytes(&[0xff])
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        const PRIME: u64 = 0x0100_0000_01b3;
        Self(
            bytes
                .iter()
                .fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME)),
        )
    }

    /// Reads sixteen hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One alert as its sender states it, decoded and free of any wire format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Which alert of its source this is: the hash of its labels, or of what a mapping calls its identity.
    pub fingerprint: Fingerprint,
    /// The identity in words, when it is not simply all labels.
    pub identity: Option<Arc<str>>,
    /// Firing or resolved.
    pub status: Status,
    /// What it is about; routing and sections look here only.
    pub labels: Labels,
    /// What it says to people.
    pub annotations: Labels,
    /// Where to look further, by kind: `generator`, `dashboard`, `panel`, `silence`, `runbook`, `image`.
    pub links: Labels,
    /// Measured values by name, as Grafana sends them.
    pub values: Labels,
    /// Begin of the episode, when the sender says it.
    pub starts_at: Option<Timestamp>,
    /// End of the episode, when it is over and the sender says it.
    pub ends_at: Option<Timestamp>,
    /// Until when the sender vouches for a firing alert (the `endsAt` lease of `/api/v2/alerts`).
    pub expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_which_receiver_it_is_of_and_whether_it_is_a_person() {
        let name = |text: &str| ReceiverName::from(text);
        for (text, configured, without_person) in [
            ("ops", "ops", "ops"),
            ("ops/group", "ops", "ops/group"),
            ("ops/direct/zhang", "ops", "ops/direct"),
            ("ops/work_notice", "ops", "ops/work_notice"),
            ("ops/work_notice/zhang", "ops", "ops/work_notice"),
        ] {
            let name = name(text);
            assert_eq!(
                (name.configured(), name.without_person()),
                (configured, without_person)
            );
            assert_eq!(name.is_person(), text != without_person);
            for other in [text, configured, without_person] {
                assert!(name.is_of(other), "{text} is of {other}");
            }
        }
        assert!(!name("ops-2").is_of("ops") && !name("ops").is_of("ops/group"));
        let endpoint = |text: &str| EndpointName::from(text).without_person().to_owned();
        assert_eq!(endpoint("direct/ops/zhang"), "direct/ops");
        assert_eq!(endpoint("group/ops"), "group/ops");
    }

    /// As a stock Alertmanager sent them, and as the tests of `grafana/alerting` have them
    /// (`receivers/webhook/v1/webhook_test.go`).
    #[test]
    fn fingerprints_are_those_prometheus_computes() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[], "cbf29ce484222325"),
            (&[("a", "b")], "d2b371819297f98a"),
            (
                &[("alertname", "TestAlert"), ("instance", "Grafana")],
                "57c6d9296de2ad39",
            ),
            (&[("lbl1", "val1"), ("alertname", "alert1")], "fac0861a85de433a"),
            (
                &[
                    ("severity", "critical"),
                    ("region", "北京"),
                    ("case", "all"),
                    ("alertname", "AllLabels"),
                ],
                "b7fafc5857149efb",
            ),
            (
                &[
                    ("alertname", "多级 \"路由\""),
                    ("case", "multi"),
                    ("cluster", "华东\n1"),
                    ("severity", "critical"),
                ],
                "fea44285434c6d23",
            ),
        ];
        for (pairs, expected) in cases {
            let labels = Labels::from_pairs(pairs.iter().copied());
            assert_eq!(
                Fingerprint::of_labels(&labels).to_string(),
                expected,
                "{labels:?}"
            );
        }
    }

    #[test]
    fn labels_are_sorted_hold_each_name_once_and_survive_the_round_trip() {
        let labels = Labels::from_pairs([("b", "2:3"), ("a", "一"), ("b", "last"), ("", "")]);
        assert_eq!(
            labels.iter().collect::<Vec<_>>(),
            [("", ""), ("a", "一"), ("b", "last")]
        );
        assert_eq!(labels.get("b"), Some("last"));
        assert_eq!(Labels::from_encoded(labels.as_encoded()), Some(labels));
    }

    #[test]
    fn text_that_is_not_an_encoded_set_is_refused() {
        for text in [
            "x",
            "1:a",
            "2:a1:b",
            "1:b1:x1:a1:y",
            "1:a1:x1:a1:y",
            "99999999999999999999:a",
            "0:00:",
            "01:a1:b",
        ] {
            assert_eq!(Labels::from_encoded(text), None, "{text}");
        }
    }

    #[test]
    fn severity_is_read_in_every_vocabulary() {
        for (word, severity) in [
            ("Critical", Severity::Critical),
            (" page ", Severity::Critical),
            ("严重", Severity::Critical),
            ("WARN", Severity::Warning),
            ("Sev2", Severity::Warning),
            ("none", Severity::Info),
            ("banana", Severity::Info),
        ] {
            assert_eq!(
                Severity::of(&Labels::from_pairs([("severity", word)])),
                severity,
                "{word}"
            );
        }
        assert_eq!(Severity::of(&Labels::default()), Severity::Info);
    }
}
