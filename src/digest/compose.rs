//! From a draft to the value a template sees.
//!
//! An `Outline` sorts the entries into sections once; `Outline::digest` then makes the value for one view
//! of it — a level of detail, a range of alerts, a length of texts — so that fitting can try several without
//! sorting again. Ten thousand entries cost a few milliseconds: labels are walked in place, and only alerts that
//! a view lists become values of their own. No language, no markdown, no clock.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::ops::Range;

use jiff::tz::TimeZone;

use super::naming::{is_noise, is_rule_name, rule_name, shorten, shown_name, size, telling, value_text};
use super::value::{
    Alert, BySeverity, Common, Counts, Digest, First, Line, Links, NoticeValue, Rest, Section, Top, TopValue,
};
use super::{Change, Detail, Draft, Entry, Notice};
use crate::alert::{Labels, Severity, Status, Timestamp};
use crate::plan::GroupBy;
use crate::render::limits::{
    COMPACT_ALERTS_MAX, DIGEST_TOP_LABELS_MAX, FULL_ALERTS_MAX, LINE_DURATIONS_MAX, LINE_NAMES_MAX,
    LINK_BYTES_MAX, NAME_VALUES_MAX, PAIRS_MAX, PLACE_VALUES_MAX, ROLLUP_ALERTS_MAX,
    ROLLUP_OTHER_SECTIONS_MAX, ROLLUP_SECTIONS_MAX, TALLIED_VALUES_MAX, TOP_LABELS_MAX, TOP_VALUES_MAX,
    TextLimits, WHAT_NAMES_MAX,
};

/// What of the configuration a digest depends on.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Zone of its times.
    pub(crate) timezone: TimeZone,
    /// Base of links to us.
    pub(crate) external_url: Option<String>,
}

/// What a view shows of an outline.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) detail: Detail,
    /// Which alerts, in telling order.
    pub(crate) range: Range<usize>,
    /// How many alerts all parts list together.
    pub(crate) listed: usize,
    pub(crate) part: usize,
    pub(crate) parts: usize,
    pub(crate) texts: TextLimits,
    /// Most sections, for rollups.
    pub(crate) sections_max: usize,
}

impl View {
    /// Everything in one part, as far as the level lists it.
    pub(crate) fn whole(detail: Detail, entries: usize) -> Self {
        let most = match detail {
            Detail::Full => FULL_ALERTS_MAX,
            Detail::Compact => COMPACT_ALERTS_MAX,
            Detail::Rollup | Detail::Stub => 0,
        };
        Self {
            detail,
            range: 0..entries.min(most),
            listed: entries.min(most),
            part: 1,
            parts: 1,
            texts: match detail {
                Detail::Full | Detail::Compact => TextLimits::STEPS[0],
                Detail::Rollup | Detail::Stub => TextLimits::STEPS[2],
            },
            sections_max: ROLLUP_SECTIONS_MAX,
        }
    }
}

/// What the alerts of a section have in common in time; firing and resolved never share a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Firing,
    Flapping,
    Resolved,
    Expired,
    Passed,
    Reminder,
}

impl State {
    const fn of(change: Change) -> Self {
        match change {
            Change::New | Change::Again => Self::Firing,
            Change::Flapping => Self::Flapping,
            Change::Resolved => Self::Resolved,
            Change::Expired => Self::Expired,
            Change::Passed => Self::Passed,
            Change::Reminder => Self::Reminder,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Flapping => "flapping",
            Self::Resolved => "resolved",
            Self::Expired => "expired",
            Self::Passed => "passed",
            Self::Reminder => "reminder",
        }
    }
}

/// A pair of a label set.
type Pair<'a> = (&'a str, &'a str);

/// One section before it is shown.
#[derive(Debug)]
struct Group<'a> {
    state: State,
    /// The `group_by` labels the first alert has.
    keys: Vec<Pair<'a>>,
    /// Its alerts in the outline's order.
    range: Range<usize>,
    counts: Counts,
    urgent: bool,
    severity: Severity,
    oldest: (Timestamp, u64),
}

/// A draft, sorted.
#[derive(Debug)]
pub(crate) struct Outline<'a> {
    draft: &'a Draft,
    order: Vec<&'a Entry>,
    groups: Vec<Group<'a>>,
    counts: Counts,
    begun: BySeverity,
    /// The keys that all groups share.
    keys: Vec<Pair<'a>>,
    shared: Shared<'a>,
}

impl<'a> Outline<'a> {
    /// Sorts the entries of a draft into sections, and both into telling order.
    pub(crate) fn new(draft: &'a Draft) -> Self {
        let (mut groups, of_entry) = group(&draft.entries);
        // Telling order of the sections: their places by number.
        let mut ranks: Vec<usize> = (0..groups.len()).collect();
        ranks.sort_by_key(|index| {
            let group = &groups[*index];
            (group.state, !group.urgent, group.severity, group.oldest)
        });
        let mut place = vec![0; groups.len()];
        for (rank, index) in ranks.iter().enumerate() {
            place[*index] = rank;
        }
        groups.sort_by_key(|group| (group.state, !group.urgent, group.severity, group.oldest));
        let mut keyed: Vec<_> = draft
            .entries
            .iter()
            .zip(&of_entry)
            .map(|(e, index)| ((place[*index], !e.urgent, e.severity, e.starts_at, e.alert), e))
            .collect();
        keyed.sort_unstable_by_key(|(key, _)| *key);
        let mut start = 0;
        for group in &mut groups {
            let end = start + usize::try_from(group.counts.told).unwrap_or(usize::MAX);
            group.range = start..end;
            start = end;
        }
        let mut counts = Counts {
            firing: draft.firing.iter().sum(),
            ..Counts::default()
        };
        let mut begun = [0; 3];
        for entry in &draft.entries {
            count(&mut counts, entry.change);
            if matches!(entry.change, Change::New | Change::Again | Change::Flapping) {
                begun[entry.severity as usize] += 1;
            }
        }
        let order: Vec<&Entry> = keyed.into_iter().map(|(_, entry)| entry).collect();
        Self {
            draft,
            keys: shared_keys(&groups),
            shared: Shared::of(&order),
            order,
            groups,
            counts,
            begun: by_severity(begun),
        }
    }

    /// The entries in telling order.
    pub(crate) fn entries(&self) -> &[&'a Entry] {
        &self.order
    }

    /// The value of one view.
    pub(crate) fn digest(&self, view: &View, settings: &Settings) -> Digest {
        let draft = self.draft;
        let picked = self.picked(view);
        let mut sections: Vec<Section> = Vec::with_capacity(picked.len());
        for index in &picked {
            let mut section = self.section(&self.groups[*index], view, settings);
            section.opens = sections.last().is_none_or(|before| before.state != section.state);
            sections.push(section);
        }
        let listed = |index: &usize| match view.detail {
            Detail::Full | Detail::Compact => self.groups[*index].range.start < view.listed,
            Detail::Rollup | Detail::Stub => picked.binary_search(index).is_ok(),
        };
        let stub = view.detail == Detail::Stub;
        let (what, what_more, place) = if stub {
            (Vec::new(), 0, None)
        } else {
            self.headline(view)
        };
        Digest {
            id: draft.id.0,
            receiver: draft.receiver.configured().to_owned(),
            composed_at: rfc3339(draft.composed_at, &settings.timezone),
            urgent: draft.urgent,
            detail: view.detail.as_str(),
            part: view.part,
            parts: view.parts,
            url: settings
                .external_url
                .as_ref()
                .map(|base| alerts_url(base, draft.receiver.configured())),
            counts: self.counts,
            begun: self.begun,
            firing: by_severity(draft.firing),
            severity: self
                .order
                .iter()
                .filter(|e| speaks_of_firing(e))
                .map(|e| e.severity)
                .min()
                .unwrap_or(Severity::Info)
                .as_str(),
            state: self.groups.first().map_or("", |group| group.state.as_str()),
            what,
            what_more,
            place,
            first: if stub { None } else { self.first(view, settings) },
            groups: self.groups.len(),
            labels: map(self.keys.iter().copied(), view.texts.annotation),
            common: self.shared.value(view),
            sections,
            rest: rest(
                (0..self.groups.len())
                    .filter(|index| !listed(index))
                    .map(|index| &self.groups[index]),
            ),
            top: match view.detail {
                Detail::Rollup => tallies(&self.order, &[], DIGEST_TOP_LABELS_MAX, view.texts.name),
                Detail::Full | Detail::Compact | Detail::Stub => Vec::new(),
            },
            notices: draft
                .notices
                .iter()
                .map(|notice| notice_value(notice, &settings.timezone))
                .collect(),
            longest: self.longest(),
        }
    }

    /// The longest span among the reminders, in seconds.
    fn longest(&self) -> Option<u64> {
        let reminders = (self.groups.iter()).filter(|group| group.state == State::Reminder);
        reminders
            .map(|group| self.draft.composed_at.since(group.oldest.0).0 / 1000)
            .max()
    }

    /// The groups a view has sections for, in telling order.
    ///
    /// A rollup shows the first groups by urgency and age and the largest, so that neither the likely cause nor
    /// the bulk is missing, and a few of every other state.
    fn picked(&self, view: &View) -> Vec<usize> {
        let all = 0..self.groups.len();
        match view.detail {
            Detail::Stub => Vec::new(),
            Detail::Full | Detail::Compact => all
                .filter(|i| {
                    let range = &self.groups[*i].range;
                    range.start < view.range.end && range.end > view.range.start
                })
                .collect(),
            Detail::Rollup => {
                let main = self.groups.first().map(|group| group.state);
                let (mut first, mut others): (Vec<usize>, Vec<usize>) =
                    all.partition(|i| Some(self.groups[*i].state) == main);
                let by_size = |i: &usize| std::cmp::Reverse(self.groups[*i].counts.told);
                let kept = first.len().min(view.sections_max.div_ceil(2));
                first[kept..].sort_by_key(by_size);
                first.truncate(view.sections_max);
                others.sort_by_key(by_size);
                others.truncate(ROLLUP_OTHER_SECTIONS_MAX.min(view.sections_max));
                first.extend(others);
                first.sort_unstable();
                first
            }
        }
    }

    fn section(&self, group: &Group<'a>, view: &View, settings: &Settings) -> Section {
        let entries = &self.order[group.range.clone()];
        let (shown, more) = match view.detail {
            Detail::Full | Detail::Compact => {
                let end = group.range.end.min(view.range.end);
                (
                    group.range.start.max(view.range.start)..end,
                    group.range.end.saturating_sub(view.listed.max(group.range.start)),
                )
            }
            Detail::Rollup | Detail::Stub => {
                let end = group.range.end.min(group.range.start + ROLLUP_ALERTS_MAX);
                (group.range.start..end, group.range.end - end)
            }
        };
        let shared = Shared::of(entries);
        let several = entries.len() > 1;
        let summary = summary_of(|name| find(&shared.annotations, name)).filter(|_| several);
        let head = Head::of(group, entries, &shared, view);
        let folded = fold(&self.order[shown.clone()], group.state, view.detail, &shared);
        let telling = Telling {
            head: &head,
            shared: &shared,
            head_says_it: summary.is_some(),
            alone: !several,
            view,
            composed_at: self.draft.composed_at,
            settings,
        };
        let lines: Vec<Line> = folded.iter().map(|alerts| telling.line(alerts)).collect();
        Section {
            state: group.state.as_str(),
            opens: false,
            continued: group.range.start < view.range.start && view.detail <= Detail::Compact,
            name: shorten(head.name.unwrap_or(""), view.texts.name).into_owned(),
            place: head.place.clone(),
            labels: map(group.keys.iter().copied(), view.texts.annotation),
            common: shared.value(view),
            summary: summary.map(|text| shorten(text, view.texts.summary).into_owned()),
            counts: group.counts,
            urgent: group.urgent,
            severity: group.severity.as_str(),
            starts_at: rfc3339(group.oldest.0, &settings.timezone),
            more: more as u64,
            alerts: self.order[shown]
                .iter()
                .map(|entry| telling.alert(entry))
                .collect(),
            links: if several {
                links(shared.links.iter().copied())
            } else {
                Links::default()
            },
            lines,
            top: match view.detail {
                Detail::Rollup => tallies(entries, &shared.labels, TOP_LABELS_MAX, view.texts.name),
                Detail::Full | Detail::Compact | Detail::Stub => Vec::new(),
            },
        }
    }

    /// What the title may say: names worst first, how many more there are, and the place when there is one.
    fn headline(&self, view: &View) -> (Vec<String>, usize, Option<String>) {
        let mut names: Vec<&str> = Vec::new();
        let mut more = 0;
        let main = self.groups.first().map(|group| group.state);
        let groups = self.groups.iter().filter(|group| Some(group.state) == main);
        for group in groups.clone() {
            let entry = self.order[group.range.start];
            let name = rule_name(|name| find(&group.keys, name).or_else(|| entry.labels.get(name)))
                .or_else(|| group.keys.first().map(|(_, value)| *value))
                .unwrap_or("");
            if name.is_empty() || names.contains(&name) {
                continue;
            }
            if names.len() < WHAT_NAMES_MAX {
                names.push(name);
            } else {
                more += 1;
            }
        }
        let mut groups = groups;
        let place = match (groups.next(), groups.next()) {
            (Some(group), None) => self.place(group, view),
            _ => None,
        };
        let names = names
            .into_iter()
            .map(|name| shorten(name, view.texts.name).into_owned());
        (names.collect(), more, place)
    }

    /// Where a group is, in one value: the smallest thing its head names, or else its first alert's name.
    fn place(&self, group: &Group<'a>, view: &View) -> Option<String> {
        let entries = &self.order[group.range.clone()];
        let mut head = Head::of(group, entries, &Shared::of(entries), view);
        head.place.pop().or_else(|| {
            let first: Vec<Pair<'_>> = entries
                .first()?
                .labels
                .iter()
                .filter(|(_, value)| Some(*value) != head.name)
                .collect();
            let (name, value) = telling(&first, 1).pop()?;
            let others = entries.len() - 1;
            let text = value_text(name, value, view.texts.name);
            Some(if others > 0 {
                format!("{text} +{others}")
            } else {
                text
            })
        })
    }

    /// The alert that began first among those that begin to fire.
    fn first(&self, view: &View, settings: &Settings) -> Option<First> {
        let entry = self
            .order
            .iter()
            .filter(|entry| matches!(State::of(entry.change), State::Firing))
            .min_by_key(|entry| (entry.starts_at, entry.alert))?;
        let pairs: Vec<Pair<'_>> = entry.labels.iter().collect();
        let links = links(entry.links.iter());
        Some(First {
            name: shorten(
                rule_name(|name| entry.labels.get(name)).unwrap_or(entry.source.as_str()),
                view.texts.name,
            )
            .into_owned(),
            place: telling(&pairs, PLACE_VALUES_MAX)
                .into_iter()
                .map(|(name, value)| value_text(name, value, view.texts.name))
                .collect(),
            starts_at: rfc3339(entry.starts_at, &settings.timezone),
            url: links.panel.or(links.generator).or(links.dashboard),
        })
    }
}

/// Puts each entry into the group of its state and `group_by` values.
fn group(entries: &[Entry]) -> (Vec<Group<'_>>, Vec<usize>) {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut of_entry = Vec::with_capacity(entries.len());
    let mut key = String::new();
    for entry in entries {
        let state = State::of(entry.change);
        key.clear();
        key.push(char::from(b'0' + state as u8));
        match &entry.group_by {
            GroupBy::All => {
                key.push_str(entry.source.as_str());
                key.push_str(entry.labels.as_encoded());
            }
            GroupBy::Labels(names) => {
                for name in names.iter() {
                    let value = entry.labels.get(name).unwrap_or("");
                    // With their lengths, so that no value can pass for a separator. Writing to a String cannot fail.
                    let _infallible = write!(key, "{}:{name}{}:{value}", name.len(), value.len());
                }
            }
        }
        let index = known.get(key.as_str()).copied().unwrap_or_else(|| {
            known.insert(key.clone(), groups.len());
            groups.push(Group {
                state,
                keys: keys(entry),
                range: 0..0,
                counts: Counts::default(),
                urgent: false,
                severity: Severity::Info,
                oldest: (Timestamp(i64::MAX), u64::MAX),
            });
            groups.len() - 1
        });
        of_entry.push(index);
        let group = &mut groups[index];
        count(&mut group.counts, entry.change);
        group.counts.firing += u64::from(entry.status == Status::Firing);
        group.urgent |= entry.urgent;
        group.severity = group.severity.min(entry.severity);
        group.oldest = group.oldest.min((entry.starts_at, entry.alert.0));
    }
    (groups, of_entry)
}

/// The `group_by` pairs of an entry; a label it lacks is left out.
fn keys(entry: &Entry) -> Vec<Pair<'_>> {
    match &entry.group_by {
        GroupBy::All => entry.labels.iter().collect(),
        GroupBy::Labels(names) => names
            .iter()
            .filter_map(|wanted| {
                entry
                    .labels
                    .iter()
                    .find(|(name, value)| *name == &**wanted && !value.is_empty())
            })
            .collect(),
    }
}

fn count(counts: &mut Counts, change: Change) {
    counts.told += 1;
    *match change {
        Change::New => &mut counts.new,
        Change::Again => &mut counts.again,
        Change::Resolved => &mut counts.resolved,
        Change::Passed => &mut counts.passed,
        Change::Flapping => &mut counts.flapping,
        Change::Expired => &mut counts.expired,
        Change::Reminder => &mut counts.reminder,
    } += 1;
}

fn by_severity([critical, warning, info]: [u64; 3]) -> BySeverity {
    BySeverity {
        critical,
        warning,
        info,
        total: critical.saturating_add(warning).saturating_add(info),
        kinds: [critical, warning, info]
            .into_iter()
            .map(|n| u64::from(n > 0))
            .sum(),
    }
}

fn speaks_of_firing(entry: &Entry) -> bool {
    matches!(
        entry.change,
        Change::New | Change::Again | Change::Flapping | Change::Reminder
    )
}

fn rest<'g, 'a: 'g>(groups: impl Iterator<Item = &'g Group<'a>>) -> Rest {
    groups.fold(Rest::default(), |rest, group| Rest {
        sections: rest.sections + 1,
        alerts: rest.alerts + group.counts.told,
        firing: rest.firing
            + if group.state <= State::Flapping {
                group.counts.told
            } else {
                0
            },
    })
}

/// What all alerts of a section have in common.
#[derive(Debug)]
struct Shared<'a> {
    labels: Vec<Pair<'a>>,
    annotations: Vec<Pair<'a>>,
    links: Vec<Pair<'a>>,
}

impl<'a> Shared<'a> {
    fn of(entries: &[&'a Entry]) -> Self {
        Self {
            labels: common(entries, |entry| &entry.labels),
            annotations: common(entries, |entry| &entry.annotations),
            links: common(entries, |entry| &entry.links),
        }
    }

    fn value(&self, view: &View) -> Common {
        Common {
            labels: map(self.labels.iter().copied(), view.texts.annotation),
            annotations: map(self.annotations.iter().copied(), view.texts.annotation),
        }
    }
}

/// The keys that all groups have, with the same values.
fn shared_keys<'a>(groups: &[Group<'a>]) -> Vec<Pair<'a>> {
    let mut groups = groups.iter();
    let mut shared = groups.next().map_or(Vec::new(), |group| group.keys.clone());
    for group in groups {
        shared.retain(|pair| group.keys.contains(pair));
    }
    shared
}

/// The pairs that are in every set. Both sides are sorted by name, so one walk per alert is enough.
fn common<'a>(entries: &[&'a Entry], of: impl Fn(&'a Entry) -> &'a Labels) -> Vec<Pair<'a>> {
    let mut entries = entries.iter();
    let Some(first) = entries.next() else {
        return Vec::new();
    };
    let first = of(first);
    let mut shared: Vec<Pair<'a>> = first.iter().collect();
    for entry in entries {
        if shared.is_empty() {
            break;
        }
        let labels = of(entry);
        if labels.as_encoded() == first.as_encoded() {
            continue;
        }
        let mut pairs = labels.iter().peekable();
        shared.retain(|(name, value)| {
            while pairs.next_if(|(other, _)| other < name).is_some() {}
            pairs
                .next_if(|(other, _)| other == name)
                .is_some_and(|(_, other)| other == *value)
        });
    }
    shared
}

fn find<'a>(pairs: &[Pair<'a>], wanted: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| *value)
}

/// The annotation that says in one line what is wrong.
fn summary_of<'a>(mut get: impl FnMut(&str) -> Option<&'a str>) -> Option<&'a str> {
    ["summary", "message", "title", "description"]
        .iter()
        .find_map(|name| get(name).map(str::trim).filter(|text| !text.is_empty()))
}

/// What a section's head says.
#[derive(Debug)]
struct Head<'a> {
    name: Option<&'a str>,
    place: Vec<String>,
    /// The labels the head shows; lines do not repeat them.
    shown: Vec<&'a str>,
}

impl<'a> Head<'a> {
    fn of(group: &Group<'a>, entries: &[&'a Entry], shared: &Shared<'a>, view: &View) -> Self {
        let rule = rule_name(|name| find(&shared.labels, name));
        let line_says_summary =
            entries.len() == 1 && group.state == State::Firing && view.detail <= Detail::Compact;
        let summary = entries
            .first()
            .filter(|_| line_says_summary)
            .and_then(|entry| summary_of(|name| entry.annotations.get(name)));
        // Whoever groups by everything means every alert for itself, not twenty labels in the head.
        let keys = match entries.first().map(|entry| &entry.group_by) {
            Some(GroupBy::Labels(_)) => group.keys.as_slice(),
            Some(GroupBy::All) | None => &[],
        };
        let mut pairs: Vec<Pair<'a>> = keys
            .iter()
            .copied()
            .filter(|(name, _)| !is_rule_name(name) && *name != "severity")
            .collect();
        let room = PLACE_VALUES_MAX.saturating_sub(pairs.len());
        let others: Vec<Pair<'a>> = shared
            .labels
            .iter()
            .copied()
            .filter(|(name, value)| {
                !pairs.contains(&(*name, *value)) && pairs.iter().all(|(_, known)| known != value)
            })
            // A line's text that names it already need not be preceded by it.
            .filter(|(_, value)| !summary.is_some_and(|text| text.contains(*value)))
            .collect();
        pairs.extend(telling(&others, room));
        let name = rule.or_else(|| (!pairs.is_empty()).then(|| pairs.remove(0).1));
        Self {
            name,
            place: pairs
                .iter()
                .map(|(name, value)| value_text(name, value, view.texts.name))
                .collect(),
            shown: pairs.iter().map(|(name, _)| *name).collect(),
        }
    }
}

/// Puts alerts that say the same into one line: they differ only in labels. Lines keep the order of their first
/// alerts.
fn fold<'a>(entries: &[&'a Entry], state: State, detail: Detail, shared: &Shared<'a>) -> Vec<Vec<&'a Entry>> {
    let own_links = |entry: &Entry| entry.links.len() != shared.links.len();
    let keep_links = detail == Detail::Full && entries.len() <= LINE_NAMES_MAX / 2;
    let mut lines: Vec<Vec<&'a Entry>> = Vec::new();
    let mut known: HashMap<_, usize> = HashMap::new();
    for entry in entries {
        let alone = state == State::Firing && keep_links && own_links(entry);
        let text = match state {
            State::Firing => summary_of(|name| entry.annotations.get(name)),
            State::Flapping | State::Resolved | State::Expired | State::Passed | State::Reminder => None,
        };
        let begin = if state == State::Firing {
            entry.starts_at.0.div_euclid(60_000)
        } else {
            0
        };
        let rule = rule_name(|name| entry.labels.get(name));
        let key = (
            (
                rule,
                text,
                begin,
                entry.change,
                entry.severity,
                entry.status == Status::Firing,
            ),
            if alone { entry.alert.0 } else { 0 },
        );
        let index = *known.entry(key).or_insert(lines.len());
        if index == lines.len() {
            lines.push(Vec::new());
        }
        lines[index].push(entry);
    }
    lines
}

/// What telling about the alerts of one section depends on.
struct Telling<'a> {
    head: &'a Head<'a>,
    shared: &'a Shared<'a>,
    /// Does the head say the summary?
    head_says_it: bool,
    /// Is the alert the only one of its section?
    alone: bool,
    view: &'a View,
    composed_at: Timestamp,
    settings: &'a Settings,
}

impl Telling<'_> {
    /// One line about alerts that say the same.
    fn line(&self, entries: &[&Entry]) -> Line {
        let first = entries[0];
        let texts = &self.view.texts;
        let summary = summary_of(|name| first.annotations.get(name)).filter(|_| !self.head_says_it);
        // Only the lines of what begins to fire show it.
        let shown = entries.len() == 1 && State::of(first.change) == State::Firing;
        let said = summary.filter(|_| shown);
        // "and 1 more" takes no less room than the name.
        let most = if entries.len() == LINE_NAMES_MAX + 1 {
            LINE_NAMES_MAX + 1
        } else {
            LINE_NAMES_MAX
        };
        let names: Vec<String> = entries
            .iter()
            .take(most)
            .map(|entry| self.name(entry, said))
            .filter(|name| !name.is_empty())
            .collect();
        let mut durations: Vec<u64> = entries
            .iter()
            .map(|entry| duration(entry, self.composed_at))
            .collect();
        let range = durations.len() > LINE_DURATIONS_MAX;
        if range {
            durations = durations
                .iter()
                .min()
                .into_iter()
                .chain(durations.iter().max())
                .copied()
                .collect();
        }
        durations.dedup();
        let values = if entries.len() == 1 {
            values_text(first, texts)
        } else {
            None
        };
        Line {
            change: first.change.as_str(),
            severity: first.severity.as_str(),
            firing: first.status == Status::Firing,
            count: entries.len() as u64,
            more: if entries.len() == 1 {
                0
            } else {
                (entries.len() - names.len()) as u64
            },
            names,
            text: summary
                .map(|text| shorten(text, texts.summary).into_owned())
                .or_else(|| values.filter(|_| !self.head_says_it)),
            description: description(first, self.view),
            starts_at: rfc3339(
                entries
                    .iter()
                    .map(|entry| entry.starts_at)
                    .min()
                    .unwrap_or(first.starts_at),
                &self.settings.timezone,
            ),
            range: range && durations.len() > 1,
            durations,
            episodes: entries.iter().map(|entry| entry.episodes).max().unwrap_or(1),
            links: links(
                first
                    .links
                    .iter()
                    .filter(|pair| self.alone || !self.shared.links.contains(pair)),
            ),
        }
    }

    /// What tells an alert from the others of its section; empty when `text` says it or nothing does.
    fn name(&self, entry: &Entry, text: Option<&str>) -> String {
        let texts = &self.view.texts;
        let unsaid = |(name, value): &Pair<'_>| {
            !self.shared.labels.contains(&(*name, *value)) && !self.head.shown.contains(name)
        };
        let differing: Vec<Pair<'_>> = entry.labels.iter().filter(unsaid).collect();
        let rule = rule_name(|name| find(&differing, name));
        let mut pairs = telling(&differing, NAME_VALUES_MAX);
        if pairs.is_empty() && rule.is_none() {
            // Nothing but noise differs: it still is what tells them apart.
            pairs = differing
                .iter()
                .copied()
                .filter(|(name, _)| {
                    !matches!(*name, "severity" | "level" | "priority") && !name.starts_with("__")
                })
                .take(NAME_VALUES_MAX)
                .collect();
            pairs.sort_by_key(|(name, _)| size(name));
        }
        let said = |value: &str| text.is_some_and(|text| text.contains(value));
        rule.filter(|rule| !said(rule))
            .map(|rule| shorten(rule, texts.name).into_owned())
            .into_iter()
            .chain(
                pairs
                    .iter()
                    .filter(|(_, value)| !said(value))
                    .map(|(n, v)| value_text(n, v, texts.name)),
            )
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// One alert with everything a template may want of it.
    fn alert(&self, entry: &Entry) -> Alert {
        let most = self.view.texts.annotation;
        Alert {
            change: entry.change.as_str(),
            status: entry.status.as_str(),
            severity: entry.severity.as_str(),
            labels: map(entry.labels.iter(), most),
            differing: map(
                entry
                    .labels
                    .iter()
                    .filter(|pair| !self.shared.labels.contains(pair)),
                most,
            ),
            annotations: map(entry.annotations.iter(), most),
            starts_at: rfc3339(entry.starts_at, &self.settings.timezone),
            ends_at: entry.ends_at.map(|time| rfc3339(time, &self.settings.timezone)),
            duration: duration(entry, self.composed_at),
            episodes: entry.episodes,
            source: entry.source.to_string(),
            fingerprint: entry.fingerprint.to_string(),
            links: links(entry.links.iter()),
            values: map(entry.values.iter(), most),
        }
    }
}

/// The measured values, for an alert without a summary.
fn values_text(entry: &Entry, texts: &TextLimits) -> Option<String> {
    let text: Vec<String> = entry
        .values
        .iter()
        .take(NAME_VALUES_MAX)
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    (!text.is_empty()).then(|| shorten(&text.join(", "), texts.summary).into_owned())
}

/// What the description says beyond the summary.
fn description(entry: &Entry, view: &View) -> Option<String> {
    if view.detail != Detail::Full || view.texts.description == 0 {
        return None;
    }
    let summary = summary_of(|name| entry.annotations.get(name))?;
    ["description", "message"]
        .iter()
        .find_map(|name| entry.annotations.get(name))
        .map(str::trim)
        .filter(|text| !text.is_empty() && !summary.contains(text))
        .map(|text| shorten(text, view.texts.description).into_owned())
}

fn duration(entry: &Entry, composed_at: Timestamp) -> u64 {
    let end = match entry.status {
        Status::Firing => composed_at,
        Status::Resolved => entry.ends_at.unwrap_or(composed_at),
    };
    end.since(entry.starts_at).0 / 1000
}

fn map<'a>(pairs: impl Iterator<Item = Pair<'a>>, chars_max: usize) -> BTreeMap<String, String> {
    pairs
        .take(PAIRS_MAX)
        .map(|(name, value)| {
            (
                shorten(name, chars_max).into_owned(),
                shorten(value, chars_max).into_owned(),
            )
        })
        .collect()
}

/// The links of known kinds that a phone may open: web addresses, not too long.
fn links<'a>(pairs: impl Iterator<Item = Pair<'a>>) -> Links {
    let mut links = Links::default();
    for (kind, target) in pairs {
        if target.len() > LINK_BYTES_MAX || !is_web_address(target) {
            continue;
        }
        let place = match kind {
            "generator" => &mut links.generator,
            "dashboard" => &mut links.dashboard,
            "panel" => &mut links.panel,
            "silence" => &mut links.silence,
            "runbook" => &mut links.runbook,
            "image" => &mut links.image,
            _ => continue,
        };
        *place = Some(target.to_owned());
    }
    links
}

/// The pages among them that help somebody on call, the most helpful first, by kind.
pub(crate) fn known_links(all: &Labels) -> Vec<(&'static str, String)> {
    let links = links(all.iter());
    let kinds = [
        ("runbook", links.runbook),
        ("dashboard", links.dashboard),
        ("panel", links.panel),
        ("graph", links.generator),
        ("silence", links.silence),
    ];
    let there = |(kind, target): (_, Option<String>)| Some((kind, target?));
    kinds.into_iter().filter_map(there).collect()
}

/// Whether a text is an `http` or `https` address with a host.
pub(crate) fn is_web_address(text: &str) -> bool {
    let Some((scheme, rest)) = text.trim().split_once("://") else {
        return false;
    };
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
        && rest.starts_with(|c: char| c.is_alphanumeric() || c == '[')
}

/// Counts the values of the labels in which alerts differ, and picks the most telling ones.
fn tallies(entries: &[&Entry], shared: &[Pair<'_>], labels_max: usize, chars_max: usize) -> Vec<Top> {
    // `None` for a label that is not counted, so that the question is asked once per label. Alerts of one kind
    // have the same labels in the same order, so the next label is nearly always the next of the list.
    let mut tallied: Vec<(&str, Option<Tally<'_>>)> = Vec::new();
    for entry in entries {
        let mut next = 0;
        for (name, value) in &entry.labels {
            let index = if tallied.get(next).is_some_and(|(known, _)| *known == name) {
                next
            } else if let Some(index) = tallied.iter().position(|(known, _)| *known == name) {
                index
            } else {
                let counted = (is_rule_name(name) || !is_noise(name)) && find(shared, name).is_none();
                tallied.push((name, counted.then(Tally::default)));
                tallied.len() - 1
            };
            next = index + 1;
            if let Some(tally) = &mut tallied[index].1 {
                tally.add(value);
            }
        }
    }
    tallied.sort_unstable_by_key(|(name, _)| *name);
    let total = entries.len() as u64;
    let mut kept: Vec<(&str, Vec<(&str, u64)>)> = tallied
        .into_iter()
        .filter_map(|(name, tally)| Some((name, tally?.sorted()?)))
        // A label with one value, or with nearly as many as there are alerts, groups nothing.
        .filter(|(_, values)| values.len() > 1 && (values.len() as u64) * 2 <= total)
        .collect();
    // What separates into few large heaps says most.
    kept.sort_by_key(|(name, values)| {
        let heaps: u64 = values.iter().take(2).map(|(_, count)| count).sum();
        (
            !is_rule_name(name),
            std::cmp::Reverse(heaps * 20 / total.max(1)),
            size(name),
        )
    });
    kept.truncate(labels_max);
    kept.sort_by_key(|(name, _)| (!is_rule_name(name), size(name)));
    kept.into_iter()
        .map(|(name, values)| {
            let (shown, others) = values.split_at(values.len().min(TOP_VALUES_MAX));
            Top {
                label: shorten(name, chars_max).into_owned(),
                values: shown
                    .iter()
                    .map(|(value, count)| TopValue {
                        value: shorten(value, chars_max).into_owned(),
                        count: *count,
                    })
                    .collect(),
                others: others.len() as u64,
                others_count: others.iter().map(|(_, count)| count).sum(),
            }
        })
        .collect()
}

/// How often each value of one label occurs, as long as there are not too many.
#[derive(Debug, Default)]
struct Tally<'a> {
    counts: Vec<(&'a str, u64)>,
    places: HashMap<&'a str, usize>,
    /// The place of the value before: neighbours often have the same.
    last: usize,
    full: bool,
}

impl<'a> Tally<'a> {
    fn add(&mut self, value: &'a str) {
        if self.full {
            return;
        }
        if self
            .counts
            .get(self.last)
            .is_none_or(|(before, _)| *before != value)
        {
            self.last = *self.places.entry(value).or_insert(self.counts.len());
        }
        if let Some((_, count)) = self.counts.get_mut(self.last) {
            *count += 1;
        } else {
            self.counts.push((value, 1));
            self.full = self.counts.len() > TALLIED_VALUES_MAX;
        }
    }

    /// The values, most frequent first; `None` when there are too many to say anything.
    fn sorted(self) -> Option<Vec<(&'a str, u64)>> {
        let mut values = self.counts;
        values.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        (!self.full).then_some(values)
    }
}

fn notice_value(notice: &Notice, timezone: &TimeZone) -> NoticeValue {
    match notice {
        Notice::Fallback {
            through,
            endpoint,
            reason,
            until,
        } => NoticeValue::Fallback {
            through: through.to_string(),
            endpoint: shown_name(endpoint.as_str()),
            reason,
            until: until.map(|until| rfc3339(until, timezone)),
        },
        Notice::ContentRefused { errcode } => NoticeValue::ContentRefused { errcode: *errcode },
    }
}

/// Where all alerts of a receiver can be looked up.
pub(crate) fn alerts_url(base: &str, receiver: &str) -> String {
    format!(
        "{base}/alerts?receiver={}",
        percent_encoding::utf8_percent_encode(receiver, percent_encoding::NON_ALPHANUMERIC)
    )
}

/// A time in a zone, to the second.
pub(crate) fn rfc3339(time: Timestamp, timezone: &TimeZone) -> String {
    formatted(time, timezone, "%Y-%m-%dT%H:%M:%S%:z")
}

/// The time of day in a zone, to the second.
pub(crate) fn time_of_day(time: Timestamp, timezone: &TimeZone) -> String {
    formatted(time, timezone, "%H:%M:%S")
}

fn formatted(time: Timestamp, timezone: &TimeZone, format: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(time.0);
    let zoned = time.map(|time| time.to_zoned(timezone.clone()));
    zoned.map_or(String::new(), |time| time.strftime(format).to_string())
}
