//! A recording, played with a configuration, and how two configurations differ in what they make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Form, Message, Post, Rehearsal};
use crate::alert::{Fingerprint, ReceiverName, SourceName, Span, Timestamp};
use crate::record::Recorded;
use crate::render::Prepared;

/// How long the clock runs after the last body: a night in which nothing is told, and not a week of reminders.
const AFTERWARDS: Span = Span::days(1);
/// Names of alerts that a difference lists; the others are counted.
const NAMES_MAX: usize = 5;

/// Bodies in the order in which they came in.
#[derive(Debug, Default)]
pub struct Recording {
    bodies: Vec<Recorded>,
    /// What could not be read, as `file:line: why`.
    pub unreadable: Vec<String>,
}

impl Recording {
    /// Reads the files of a recording, whatever their order.
    pub fn read(files: &[PathBuf]) -> Result<Self, String> {
        let mut recording = Self::default();
        for file in files {
            let text = std::fs::read_to_string(file)
                .map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
            recording.add(file, &text);
        }
        recording.bodies.sort_by_key(|recorded| recorded.at);
        Ok(recording)
    }

    fn add(&mut self, file: &Path, text: &str) {
        for (line, number) in text.lines().zip(1..) {
            match Recorded::from_line(line) {
                Ok(recorded) => self.bodies.push(recorded),
                Err(problem) => self
                    .unreadable
                    .push(format!("{}:{number}: {problem}", file.display())),
            }
        }
    }

    /// Plays it from its first body until everything has been told, or a day after the last.
    pub fn play(&self, prepared: &Prepared) -> Replay {
        let begin = self.bodies.first().map_or(Timestamp(0), |first| first.at);
        let mut rehearsal = Rehearsal::new(prepared.clone(), begin);
        let mut replay = Replay {
            bodies: self.bodies.len(),
            ..Replay::default()
        };
        for recorded in &self.bodies {
            rehearsal.advance(recorded.at);
            let taken = rehearsal.post(Post {
                source: &recorded.source,
                form: Form::OfSource,
                content_type: recorded.content_type.as_deref(),
                body: &recorded.body,
            });
            match taken {
                Ok(taken) => replay.alerts += taken.alerts,
                Err(problem) => *replay.untaken.entry(problem.to_string()).or_default() += 1,
            }
        }
        replay.waiting = rehearsal.rest(AFTERWARDS);
        replay.messages = rehearsal.into_messages();
        replay
    }
}

/// What a configuration makes of a recording.
#[derive(Debug, Default)]
pub struct Replay {
    /// Bodies of the recording.
    pub bodies: usize,
    /// Alerts in those that were taken, repeats included.
    pub alerts: usize,
    /// Why bodies were not taken, and how many.
    pub untaken: BTreeMap<String, usize>,
    /// Changes that nobody had been told a day after the last body.
    pub waiting: u64,
    /// The messages, in the order in which they are sent.
    pub messages: Vec<Message>,
}

/// `312 bodies, 4,711 alerts → 41 messages`.
impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bodies, alerts) = (
            counted(self.bodies, "body", "bodies"),
            counted(self.alerts, "alert", "alerts"),
        );
        let messages = counted(self.messages.len(), "message", "messages");
        write!(f, "{bodies}, {alerts} → {messages}")
    }
}

/// An alert across configurations.
type AlertKey = (SourceName, Fingerprint);

impl Replay {
    /// Who was told of each alert, and its name.
    fn told(&self) -> BTreeMap<AlertKey, (String, BTreeSet<ReceiverName>)> {
        let mut told: BTreeMap<AlertKey, (String, BTreeSet<ReceiverName>)> = BTreeMap::new();
        for message in &self.messages {
            for entry in &message.composed.draft.entries {
                let key = (entry.source.clone(), entry.fingerprint);
                let name = || {
                    entry
                        .labels
                        .get("alertname")
                        .unwrap_or("without a name")
                        .to_owned()
                };
                let (_, receivers) = told.entry(key).or_insert_with(|| (name(), BTreeSet::new()));
                receivers.insert(message.receiver.clone());
            }
        }
        told
    }

    fn messages_by_receiver(&self) -> BTreeMap<ReceiverName, usize> {
        let mut counts = BTreeMap::new();
        for message in &self.messages {
            *counts.entry(message.receiver.clone()).or_default() += 1;
        }
        counts
    }

    /// How this one differs from what another configuration, the one in force, makes of the same recording.
    pub fn against(&self, current: &Self) -> Difference {
        let (before, after) = (current.told(), self.told());
        let mut moves: BTreeMap<Move, BTreeMap<String, usize>> = BTreeMap::new();
        let nobody = BTreeSet::new();
        for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let receivers = |told: Option<&(String, BTreeSet<ReceiverName>)>| {
                told.map_or(nobody.clone(), |(_, receivers)| receivers.clone())
            };
            let (old, new) = (before.get(key), after.get(key));
            let name = old.or(new).map(|(name, _)| name.clone());
            let step = Move::of(&receivers(old), &receivers(new));
            if let (Some(step), Some(name)) = (step, name) {
                *moves.entry(step).or_default().entry(name).or_default() += 1;
            }
        }
        let (before, after) = (current.messages_by_receiver(), self.messages_by_receiver());
        let receivers: BTreeSet<&ReceiverName> = before.keys().chain(after.keys()).collect();
        let count = |of: &BTreeMap<ReceiverName, usize>, receiver| of.get(receiver).copied().unwrap_or(0);
        Difference {
            messages: (current.messages.len(), self.messages.len()),
            by_receiver: receivers
                .into_iter()
                .map(|receiver| {
                    (
                        receiver.clone(),
                        (count(&before, receiver), count(&after, receiver)),
                    )
                })
                .collect(),
            moves,
        }
    }
}

/// How what two configurations make of a recording differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    messages: (usize, usize),
    by_receiver: BTreeMap<ReceiverName, (usize, usize)>,
    /// Which alerts others are told of, by who they are: names, and how many alerts of each.
    moves: BTreeMap<Move, BTreeMap<String, usize>>,
}

/// Who is told of an alert by one configuration and not by the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    /// Is it told to nobody any more, or was it before?
    kind: MoveKind,
    lost: BTreeSet<ReceiverName>,
    won: BTreeSet<ReceiverName>,
}

/// Worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum MoveKind {
    ToNobody,
    Fewer,
    Others,
    More,
    FromNobody,
}

impl Move {
    fn of(before: &BTreeSet<ReceiverName>, after: &BTreeSet<ReceiverName>) -> Option<Self> {
        let lost: BTreeSet<_> = before.difference(after).cloned().collect();
        let won: BTreeSet<_> = after.difference(before).cloned().collect();
        let kind = match (lost.is_empty(), won.is_empty()) {
            (true, true) => return None,
            (false, true) if after.is_empty() => MoveKind::ToNobody,
            (false, true) => MoveKind::Fewer,
            (false, false) => MoveKind::Others,
            (true, false) if before.is_empty() => MoveKind::FromNobody,
            (true, false) => MoveKind::More,
        };
        Some(Self { kind, lost, won })
    }

    /// What happens to so many alerts, as the rest of a sentence.
    fn sentence(&self, one: bool) -> String {
        let (lost, won) = (names(&self.lost), names(&self.won));
        let is = if one { "is" } else { "are" };
        match self.kind {
            MoveKind::ToNobody => format!("{is} told to nobody any more, before to {lost}"),
            MoveKind::Fewer => format!("{is} no longer told to {lost}"),
            MoveKind::Others if one => format!("moves from {lost} to {won}"),
            MoveKind::Others => format!("move from {lost} to {won}"),
            MoveKind::More => format!("{is} told to {won} as well"),
            MoveKind::FromNobody => format!("{is} told to {won}, before to nobody"),
        }
    }
}

impl Difference {
    /// Whether everybody is told of the same alerts, in however many messages.
    pub fn tells_the_same(&self) -> bool {
        self.moves.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = self.messages;
        write!(
            f,
            "{} → {}",
            counted(before, "message", "messages"),
            grouped(after)
        )?;
        for (receiver, (before, after)) in &self.by_receiver {
            write!(f, "\n  {receiver}: {} → {}", grouped(*before), grouped(*after))?;
        }
        for (step, alerts) in &self.moves {
            let count = alerts.values().sum();
            let listed: Vec<String> = alerts
                .iter()
                .take(NAMES_MAX)
                .map(|(name, count)| match count {
                    1 => name.clone(),
                    count => format!("{name} ×{}", grouped(*count)),
                })
                .collect();
            let more = alerts.len().saturating_sub(NAMES_MAX);
            let more = if more == 0 {
                String::new()
            } else {
                format!(" and {more} more names")
            };
            let (count, one) = (counted(count, "alert", "alerts"), count == 1);
            write!(f, "\n{count} {}: {}{more}", step.sentence(one), listed.join(", "))?;
        }
        if self.tells_the_same() {
            write!(f, "\nevery alert is told to the same receivers")?;
        }
        Ok(())
    }
}

fn names(receivers: &BTreeSet<ReceiverName>) -> String {
    let names: Vec<&str> = receivers.iter().map(ReceiverName::as_str).collect();
    names.join(" and ")
}

/// A number and what there are so many of.
pub(crate) fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { several })
}

/// A number with a comma at every third digit.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let places = (1..=digits.len()).rev();
    let grouped = digits.chars().zip(places).map(|(digit, place)| {
        let comma = place % 3 == 1 && place > 1;
        format!("{digit}{}", if comma { "," } else { "" })
    });
    grouped.collect()
}
