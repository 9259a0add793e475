//! Truth: one record per alert, and what an incoming message means for it.
//!
//! [`Record::hear`] decides alone, from what is known and what is said, which [`Verdict`] a message gets: the
//! rules about episodes, late messages and flapping are here and nowhere else. Who is told about it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Verdict;
use super::limits::{
    FLAPPING_CALM, FLAPPING_EPISODES_MAX, FLAPPING_WINDOW, LATE_MAX, OVER_KEPT, RESTART_GRACE,
    expiry_drift_max,
};
use crate::alert::occurrence::{Occurred, Occurrences};
use crate::alert::words::{Texts, Words};
use crate::alert::{
    Alert, AlertNo, Fingerprint, Labels, ReceiverName, Severity, SourceName, Span, Status, Tick, Timestamp,
};
use crate::engine::models::{Models, News};
use crate::plan::{Plan, RouteId};
use crate::store::{AlertRow, State};

/// A receiver an alert concerns, and the route that led there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Concern {
    pub(super) receiver: ReceiverName,
    pub(super) route: RouteId,
    /// No route leads there any more, but it was told that the alert fires and is to hear of its end.
    pub(super) former: bool,
}

/// The receivers of every set of routes in use, so that a million alerts share a handful of sets.
#[derive(Debug, Default)]
pub(super) struct Concerns(BTreeMap<Vec<RouteId>, Arc<[Concern]>>);

impl Concerns {
    /// Whom an alert of a source with these labels concerns; of two routes to one receiver the first counts.
    pub(super) fn of(&mut self, plan: &Plan, source: &SourceName, labels: &Labels) -> Arc<[Concern]> {
        let routes = plan.routes.matching(source, labels);
        if let Some(known) = self.0.get(&routes) {
            return Arc::clone(known);
        }
        let mut concerns: Vec<Concern> = Vec::new();
        let members = |route: &RouteId| {
            let members = plan.members(plan.routes.get(*route).receiver.as_str());
            members.map(|member| (*route, &member.name)).collect::<Vec<_>>()
        };
        let mut known = BTreeSet::new();
        for (route, receiver) in routes.iter().flat_map(members) {
            if known.insert(receiver) {
                concerns.push(Concern {
                    receiver: receiver.clone(),
                    route,
                    former: false,
                });
            }
        }
        let concerns: Arc<[Concern]> = concerns.into();
        self.0.insert(routes, Arc::clone(&concerns));
        concerns
    }
}

/// One alert: what is saved of it, and what follows from that and the plan.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) fingerprint: Fingerprint,
    pub(super) state: State,
    pub(super) starts_at: Timestamp,
    pub(super) ends_at: Option<Timestamp>,
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) episodes: u32,
    pub(super) recent: Vec<Timestamp>,
    pub(super) flapping: bool,
    pub(super) doubted: bool,
    pub(super) occurrences: Occurrences,
    pub(super) words: Words,
    pub(super) severity: Severity,
    pub(super) concerns: Arc<[Concern]>,
    /// `expires_at` as last written; a repeat that moves it only a little is not.
    saved_expires_at: Timestamp,
    /// Under which tick the engine has filed it for [`Record::age`]; 0 when not.
    pub(super) filed_at: Tick,
}

/// What a message meant for a known alert.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) verdict: Verdict,
    /// Whether that leaves something to write.
    pub(super) write: bool,
    /// The labels, when it may concern others than before.
    pub(super) relabelled: Option<Labels>,
}

impl Record {
    /// A record as the store had it, with these labels.
    fn restored(row: AlertRow, labels: &Labels, concerns: Arc<[Concern]>) -> Self {
        Self {
            fingerprint: row.fingerprint,
            state: row.state,
            starts_at: row.starts_at,
            ends_at: row.ends_at,
            first_seen: row.first_seen,
            last_seen: row.last_seen,
            expires_at: row.expires_at,
            episodes: row.episodes,
            recent: row.recent,
            flapping: row.flapping,
            doubted: row.doubted,
            occurrences: row.occurrences,
            words: row.words,
            severity: Severity::of(labels),
            concerns,
            saved_expires_at: row.expires_at,
            filed_at: Tick(0),
        }
    }

    /// What is saved of it.
    pub(super) fn row(&self) -> AlertRow {
        AlertRow {
            words: self.words.clone(),
            fingerprint: self.fingerprint,
            state: self.state,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            expires_at: self.expires_at,
            episodes: self.episodes,
            recent: self.recent.clone(),
            flapping: self.flapping,
            doubted: self.doubted,
            occurrences: self.occurrences.clone(),
        }
    }

    /// The record of an alert nobody knew with its labels, or why there is to be none.
    pub(super) fn first(
        source: &SourceName,
        alert: Alert,
        expire_after: Span,
        now: Timestamp,
        models: &mut Models,
    ) -> Result<(Self, Labels, Verdict), Verdict> {
        let (state, ends_at, verdict) = match alert.status {
            Status::Firing => (State::Firing, None, Verdict::New),
            Status::Resolved => {
                // An end is news only with the episode it ends: a sender that reports every success would
                // otherwise be told as a row of short alerts.
                let ends_at = alert.ends_at.unwrap_or(now);
                if alert.starts_at.is_none() || now.since(ends_at) > OVER_KEPT {
                    return Err(Verdict::Stale);
                }
                (State::Resolved, Some(ends_at), Verdict::Resolved)
            }
        };
        let expires_at = match state {
            State::Firing => alert.expires_at.unwrap_or(now.plus(expire_after)),
            State::Resolved | State::Expired => now.plus(OVER_KEPT),
        };
        let mut occurrences = Occurrences::default();
        if state == State::Resolved {
            occurrences.note(Occurred::Resolved, now);
        }
        let (fingerprint, starts_at) = (alert.fingerprint, alert.starts_at.unwrap_or(now));
        let texts = Texts::of(alert);
        let record = Self {
            fingerprint,
            state,
            starts_at,
            ends_at,
            first_seen: now,
            last_seen: now,
            expires_at,
            episodes: 1,
            recent: Vec::new(),
            flapping: false,
            doubted: false,
            occurrences,
            words: models.pack(source, &texts),
            severity: Severity::of(&texts.labels),
            concerns: Arc::from([]),
            saved_expires_at: expires_at,
            filed_at: Tick(0),
        };
        Ok((record, texts.labels, verdict))
    }

    /// Makes it right by a clock that was set, or that may have been while the process did not run: nothing was seen
    /// later than now, and nothing that is over is kept for longer than usual. When an episode began and ended is its
    /// sender's to say.
    pub(super) fn trust_clock(&mut self, now: Timestamp) {
        // Its expiry was last written when it was seen, or when it was believed to fire after all.
        let written = self.recent.iter().copied().fold(self.last_seen, Timestamp::max);
        let ahead = written.since(now);
        let seen = self.recent.iter_mut();
        for seen in seen.chain([&mut self.first_seen, &mut self.last_seen]) {
            *seen = now.min(*seen);
        }
        if self.fires() {
            self.expires_at = Timestamp(self.expires_at.0.saturating_sub_unsigned(ahead.0));
        } else if self.over_seen() > now {
            // Nobody knows when its end came in: long enough ago that a firing is believed.
            self.expires_at = now.plus(OVER_UNKNOWN_KEPT);
        }
        self.saved_expires_at = self.saved_expires_at.min(self.expires_at);
        self.occurrences.trust_clock(now);
    }

    /// The clock, which was to show `expected`, was set while we ran: an end came in, and is remembered, as if the
    /// clock had been right all along, or a repeat of it would be told as an alert of its own. Says whether that
    /// changed something.
    pub(super) fn follow_clock(&mut self, expected: Timestamp, now: Timestamp) -> bool {
        let before = self.expires_at;
        if self.fires() {
            return false;
        }
        if now > expected {
            self.expires_at = before.plus(now.since(expected));
        } else if self.over_seen() > now {
            self.expires_at = Timestamp(before.0.saturating_sub_unsigned(expected.since(now).0));
        }
        self.saved_expires_at = self.expires_at;
        self.expires_at != before
    }

    /// How it concerns one receiver.
    pub(super) fn concern(&self, receiver: &ReceiverName) -> Option<&Concern> {
        self.concerns.iter().find(|concern| concern.receiver == *receiver)
    }

    /// Makes sure that it concerns a receiver that was told that it fires, wherever its routes lead now.
    pub(super) fn concern_as_former(&mut self, receiver: &ReceiverName) {
        if self.concern(receiver).is_none() {
            let former = Concern {
                receiver: receiver.clone(),
                route: RouteId(0),
                former: true,
            };
            self.concerns = self.concerns.iter().cloned().chain([former]).collect();
        }
    }

    /// Whether it fires.
    pub(super) fn fires(&self) -> bool {
        self.state == State::Firing
    }

    /// What a further message about it means.
    pub(super) fn hear(
        &mut self,
        alert: Alert,
        expire_after: Span,
        now: Timestamp,
        models: &mut Models,
    ) -> Heard {
        let flapped = self.flapping;
        let verdict = match (self.state, alert.status) {
            (State::Firing, Status::Firing) => Verdict::Repeat,
            (State::Firing, Status::Resolved) => self.hear_end(&alert, now),
            (State::Resolved | State::Expired, Status::Firing) => self.hear_begin(&alert, now),
            (State::Resolved, Status::Resolved) => self.hear_passed(&alert, now),
            (State::Expired, Status::Resolved) => {
                self.end(State::Resolved, alert.ends_at.unwrap_or(now), now);
                Verdict::Resolved
            }
        };
        if matches!(verdict, Verdict::Late | Verdict::Doubted) {
            self.note(verdict, now);
            return Heard {
                verdict,
                write: verdict == Verdict::Doubted,
                relabelled: None,
            };
        }
        self.last_seen = now;
        if self.state == State::Firing {
            let expires_at = alert.expires_at.unwrap_or(now.plus(expire_after));
            self.expires_at = expires_at.max(self.expires_at);
        }
        let texts = Texts::of(alert);
        let news = self.learn(&texts, models);
        let verdict = if verdict == Verdict::Repeat && (news.labels || news.annotations) {
            Verdict::Updated
        } else {
            verdict
        };
        self.note(verdict, now);
        self.note_flapping(flapped, now);
        let drifted = self.expires_at.since(self.saved_expires_at) > expiry_drift_max(expire_after);
        let write = verdict != Verdict::Repeat || drifted;
        if write {
            self.saved_expires_at = self.expires_at;
        }
        Heard {
            verdict,
            write,
            relabelled: news.labels.then_some(texts.labels),
        }
    }

    /// Keeps what a message meant, if it was news.
    fn note(&mut self, verdict: Verdict, now: Timestamp) {
        let what = match verdict {
            Verdict::Again => Occurred::Again,
            Verdict::Resolved => Occurred::Resolved,
            Verdict::Updated => Occurred::Updated,
            Verdict::Late => Occurred::Late,
            Verdict::Doubted => Occurred::Doubted,
            Verdict::New | Verdict::Repeat | Verdict::Stale | Verdict::OverLimit => return,
        };
        self.occurrences.note(what, now);
    }

    /// Keeps that it began to come and go too often, if it does and did not before.
    fn note_flapping(&mut self, before: bool, now: Timestamp) {
        if self.flapping && !before {
            self.occurrences.note(Occurred::Flapping, now);
        }
    }

    /// An end of a firing alert: of this episode, unless it lies before its begin.
    fn hear_end(&mut self, alert: &Alert, now: Timestamp) -> Verdict {
        let ends_at = alert.ends_at.unwrap_or(now);
        let older = alert
            .starts_at
            .is_some_and(|starts_at| starts_at < self.starts_at);
        if older && ends_at < self.starts_at {
            return Verdict::Late;
        }
        self.end(State::Resolved, ends_at, now);
        Verdict::Resolved
    }

    /// A firing message about an alert that is over: the next episode, or a doubtful word about the last one.
    fn hear_begin(&mut self, alert: &Alert, now: Timestamp) -> Verdict {
        let over_at = self.ends_at.unwrap_or(self.starts_at);
        let same_episode = alert.starts_at.is_some_and(|starts_at| starts_at <= over_at);
        let ended_lately = now.since(self.over_seen()) <= LATE_MAX;
        if same_episode && self.state == State::Resolved && ended_lately {
            self.doubted = true;
            return Verdict::Doubted;
        }
        self.begin(alert.starts_at.unwrap_or(now), now);
        Verdict::Again
    }

    /// An end of an alert that is over: a repeat, unless it ends an episode we never saw begin.
    fn hear_passed(&mut self, alert: &Alert, now: Timestamp) -> Verdict {
        match (alert.starts_at, self.ends_at) {
            (Some(starts_at), Some(ends_at)) if starts_at > ends_at => {
                self.begin(starts_at, now);
                self.end(State::Resolved, alert.ends_at.unwrap_or(now), now);
                Verdict::Resolved
            }
            // The end is said again: what was said against it was late.
            _ if std::mem::take(&mut self.doubted) => Verdict::Resolved,
            _ => Verdict::Repeat,
        }
    }

    fn begin(&mut self, starts_at: Timestamp, now: Timestamp) {
        if self.recent.is_empty() {
            self.recent.push(self.starts_at.min(now));
        }
        self.recent.retain(|begin| now.since(*begin) <= FLAPPING_WINDOW);
        self.recent.push(now);
        // Older begins than these can no longer decide anything.
        let surplus = self.recent.len().saturating_sub(RECENT_KEPT_MAX);
        self.recent.drain(..surplus);
        self.flapping |= self.recent.len() > FLAPPING_EPISODES_MAX;
        self.doubted = false;
        self.state = State::Firing;
        self.starts_at = starts_at;
        self.ends_at = None;
        // Until here it said how long the end is remembered.
        self.expires_at = Timestamp::default();
        self.episodes = self.episodes.saturating_add(1);
    }

    fn end(&mut self, state: State, ends_at: Timestamp, now: Timestamp) {
        self.doubted = false;
        self.state = state;
        self.ends_at = Some(ends_at);
        self.expires_at = now.plus(OVER_KEPT);
    }

    /// Takes over what the message says beside the status, and answers what people would see of that. Measured
    /// values change with every evaluation, and two replicas of a sender link to different places: neither is news,
    /// the newest is simply the one shown.
    fn learn(&mut self, texts: &Texts, models: &mut Models) -> News {
        let news = models.repack(&mut self.words, texts);
        if news.labels {
            self.severity = Severity::of(&texts.labels);
        }
        news
    }

    /// When the end of an alert that is over came in.
    fn over_seen(&self) -> Timestamp {
        Timestamp(self.expires_at.0.saturating_sub_unsigned(OVER_KEPT.0))
    }

    /// What time does to the record: it expires, becomes calm, is believed to fire after all, is to be forgotten, or
    /// is looked at again later.
    ///
    /// What is believed after all is believed for `believed_for` unless it is said again. Before `patient_until`
    /// nothing expires and nothing is forgotten that was not heard since patience began.
    pub(super) fn age(&mut self, believed_for: Span, patient_until: Timestamp, now: Timestamp) -> Ageing {
        if self.doubted && self.believed_at() <= now {
            let flapped = self.flapping;
            self.begin(self.starts_at, now);
            self.expires_at = now.plus(believed_for);
            self.saved_expires_at = self.expires_at;
            self.occurrences.note(Occurred::Believed, now);
            self.note_flapping(flapped, now);
            return Ageing::Believed;
        }
        if self.flapping && self.calm_at() <= now {
            self.flapping = false;
            self.recent.clear();
            self.occurrences.note(Occurred::Calm, now);
            return Ageing::Calm;
        }
        if self.expires_with(patient_until) > now {
            return Ageing::Later;
        }
        match self.state {
            State::Firing => {
                self.end(State::Expired, now, now);
                self.saved_expires_at = self.expires_at;
                self.occurrences.note(Occurred::Expired, now);
                Ageing::Expired
            }
            State::Resolved | State::Expired => Ageing::Forget,
        }
    }

    /// When [`Record::age`] will next have something to say.
    pub(super) fn ages_at(&self, patient_until: Timestamp) -> Timestamp {
        let calm = self.flapping.then(|| self.calm_at());
        let believed = self.doubted.then(|| self.believed_at());
        [calm, believed]
            .into_iter()
            .flatten()
            .fold(self.expires_with(patient_until), Timestamp::min)
    }

    /// When it expires or is forgotten: not before `patient_until`, unless its sender was heard since patience began.
    fn expires_with(&self, patient_until: Timestamp) -> Timestamp {
        let began = Timestamp(patient_until.0.saturating_sub_unsigned(RESTART_GRACE.0));
        if self.last_seen > began {
            self.expires_at
        } else {
            self.expires_at.max(patient_until)
        }
    }

    /// Until when it is doubted, when it is.
    pub(super) fn believed_at(&self) -> Timestamp {
        self.over_seen().plus(LATE_MAX)
    }

    fn calm_at(&self) -> Timestamp {
        let last_begin = self.recent.last().copied().unwrap_or(self.starts_at);
        let last_end = if self.fires() {
            last_begin
        } else {
            self.over_seen()
        };
        last_begin.max(last_end).plus(FLAPPING_CALM)
    }
}

/// How long an end is remembered that came in at a time nobody knows.
const OVER_UNKNOWN_KEPT: Span = Span(OVER_KEPT.0 - 2 * LATE_MAX.0);

/// Begins remembered per alert; more than enough to see flapping and to say "14 times in an hour".
const RECENT_KEPT_MAX: usize = 200;

/// What time did to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ageing {
    /// Nothing yet.
    Later,
    /// It expired at this moment.
    Expired,
    /// It stopped flapping.
    Calm,
    /// It fires after all: nobody has repeated its end.
    Believed,
    /// It has been over for long enough.
    Forget,
}

/// All records, the way from a fingerprint to its record, and the models of what records say.
#[derive(Debug, Default)]
pub(super) struct Truth {
    records: BTreeMap<AlertNo, Box<Record>>,
    index: BTreeMap<SourceName, BTreeMap<Fingerprint, AlertNo>>,
    models: Models,
}

impl Truth {
    pub(super) fn find(&self, source: &SourceName, fingerprint: Fingerprint) -> Option<AlertNo> {
        self.index.get(source)?.get(&fingerprint).copied()
    }

    pub(super) fn get(&self, no: AlertNo) -> Option<&Record> {
        self.records.get(&no).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, no: AlertNo) -> Option<&mut Record> {
        self.records.get_mut(&no).map(Box::as_mut)
    }

    /// A record, and by what to pack what it is to say.
    pub(super) fn learning(&mut self, no: AlertNo) -> Option<(&mut Record, &mut Models)> {
        Some((self.records.get_mut(&no)?, &mut self.models))
    }

    /// By what records are described.
    pub(super) fn models(&mut self) -> &mut Models {
        &mut self.models
    }

    /// How many models are to be written.
    pub(super) fn models_changed(&self) -> usize {
        self.models.changed()
    }

    pub(super) fn insert(&mut self, no: AlertNo, record: Record) {
        let source = record.words.source();
        match self.index.get_mut(source) {
            Some(of_source) => of_source.insert(record.fingerprint, no),
            None => self
                .index
                .entry(source.clone())
                .or_default()
                .insert(record.fingerprint, no),
        };
        self.records.insert(no, Box::new(record));
    }

    /// Adds a record that is not found by its fingerprint before [`Truth::index`].
    pub(super) fn restore(&mut self, no: AlertNo, row: AlertRow, labels: &Labels, concerns: Arc<[Concern]>) {
        self.models.keep(&row.words);
        let record = Record::restored(row, labels, concerns);
        self.records.insert(no, Box::new(record));
    }

    /// Makes the way from fingerprints to records anew: for a million of them in a fifth of the time that it takes one
    /// by one.
    pub(super) fn index(&mut self) {
        let mut sorted: BTreeMap<&SourceName, Vec<(Fingerprint, AlertNo)>> = BTreeMap::new();
        for (no, record) in &self.records {
            let of_source = sorted.entry(record.words.source()).or_default();
            of_source.push((record.fingerprint, *no));
        }
        self.index = sorted
            .into_iter()
            .map(|(source, mut pairs)| {
                pairs.sort_unstable();
                (source.clone(), pairs.into_iter().collect())
            })
            .collect();
    }

    pub(super) fn remove(&mut self, no: AlertNo) {
        let Some(record) = self.records.remove(&no) else {
            return;
        };
        if let Some(of_source) = self.index.get_mut(record.words.source()) {
            of_source.remove(&record.fingerprint);
        }
        self.models.release(&record.words);
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (AlertNo, &Record)> {
        self.records.iter().map(|(no, record)| (*no, record.as_ref()))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (AlertNo, &mut Record)> {
        self.records.iter_mut().map(|(no, record)| (*no, record.as_mut()))
    }

    pub(super) fn numbers(&self) -> Vec<AlertNo> {
        self.records.keys().copied().collect()
    }
}
