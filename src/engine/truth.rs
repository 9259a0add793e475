//! Truth: one record per alert, and what an incoming message means for it.
//!
//! [`Record::hear`] decides alone, from what is known and what is said, which [`Verdict`] a message gets: the
//! rules about episodes, late messages and flapping are here and nowhere else. Who is told about it is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Verdict;
use super::limits::{
    FLAPPING_CALM, FLAPPING_EPISODES_MAX, FLAPPING_WINDOW, LATE_MAX, OVER_KEPT, expiry_drift_max,
};
use crate::alert::{
    Alert, AlertNo, Fingerprint, ReceiverName, Severity, SourceName, Span, Status, Tick, Timestamp,
};
use crate::plan::RouteId;
use crate::store::{AlertRow, State};

/// A receiver an alert concerns, and the route that led there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Concern {
    pub(super) receiver: ReceiverName,
    pub(super) route: RouteId,
    /// No route leads there any more, but it was told that the alert fires and is to hear of its end.
    pub(super) former: bool,
}

/// One alert: what is saved of it, and what follows from that and the plan.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) row: AlertRow,
    pub(super) severity: Severity,
    pub(super) concerns: Arc<[Concern]>,
    /// `row.expires_at` as last written; a repeat that moves it only a little is not.
    saved_expires_at: Timestamp,
    /// Under which tick the engine has filed it for [`Record::age`]; 0 when not.
    pub(super) filed_at: Tick,
}

impl Record {
    /// A record as the store had it.
    pub(super) fn restored(row: AlertRow, concerns: Arc<[Concern]>) -> Self {
        let severity = Severity::of(&row.labels);
        let saved_expires_at = row.expires_at;
        Self {
            row,
            severity,
            concerns,
            saved_expires_at,
            filed_at: Tick(0),
        }
    }

    /// The record of an alert nobody knew, or why there is to be none.
    pub(super) fn first(
        source: &SourceName,
        alert: Alert,
        expire_after: Span,
        now: Timestamp,
    ) -> Result<(Self, Verdict), Verdict> {
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
        let row = AlertRow {
            source: source.clone(),
            fingerprint: alert.fingerprint,
            identity: alert.identity,
            state,
            labels: alert.labels,
            annotations: alert.annotations,
            links: alert.links,
            values: alert.values,
            starts_at: alert.starts_at.unwrap_or(now),
            ends_at,
            first_seen: now,
            last_seen: now,
            expires_at,
            episodes: 1,
            recent: Vec::new(),
            flapping: false,
            doubted: false,
        };
        Ok((
            Self {
                saved_expires_at: expires_at,
                ..Self::restored(row, Arc::from([]))
            },
            verdict,
        ))
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
        self.row.state == State::Firing
    }

    /// What a further message about it means, and whether that leaves something to write.
    pub(super) fn hear(&mut self, alert: Alert, expire_after: Span, now: Timestamp) -> (Verdict, bool) {
        let verdict = match (self.row.state, alert.status) {
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
            return (verdict, verdict == Verdict::Doubted);
        }
        let updated = self.learn(alert, expire_after, now);
        let verdict = if verdict == Verdict::Repeat && updated {
            Verdict::Updated
        } else {
            verdict
        };
        let drifted = self.row.expires_at.since(self.saved_expires_at) > expiry_drift_max(expire_after);
        let write = verdict != Verdict::Repeat || drifted;
        if write {
            self.saved_expires_at = self.row.expires_at;
        }
        (verdict, write)
    }

    /// An end of a firing alert: of this episode, unless it lies before its begin.
    fn hear_end(&mut self, alert: &Alert, now: Timestamp) -> Verdict {
        let ends_at = alert.ends_at.unwrap_or(now);
        let older = alert
            .starts_at
            .is_some_and(|starts_at| starts_at < self.row.starts_at);
        if older && ends_at < self.row.starts_at {
            return Verdict::Late;
        }
        self.end(State::Resolved, ends_at, now);
        Verdict::Resolved
    }

    /// A firing message about an alert that is over: the next episode, or a doubtful word about the last one.
    fn hear_begin(&mut self, alert: &Alert, now: Timestamp) -> Verdict {
        let over_at = self.row.ends_at.unwrap_or(self.row.starts_at);
        let same_episode = alert.starts_at.is_some_and(|starts_at| starts_at <= over_at);
        let ended_lately = now.since(self.over_seen()) <= LATE_MAX;
        if same_episode && self.row.state == State::Resolved && ended_lately {
            self.row.doubted = true;
            return Verdict::Doubted;
        }
        self.begin(alert.starts_at.unwrap_or(now), now);
        Verdict::Again
    }

    /// An end of an alert that is over: a repeat, unless it ends an episode we never saw begin.
    fn hear_passed(&mut self, alert: &Alert, now: Timestamp) -> Verdict {
        match (alert.starts_at, self.row.ends_at) {
            (Some(starts_at), Some(ends_at)) if starts_at > ends_at => {
                self.begin(starts_at, now);
                self.end(State::Resolved, alert.ends_at.unwrap_or(now), now);
                Verdict::Resolved
            }
            // The end is said again: what was said against it was late.
            _ if std::mem::take(&mut self.row.doubted) => Verdict::Resolved,
            _ => Verdict::Repeat,
        }
    }

    fn begin(&mut self, starts_at: Timestamp, now: Timestamp) {
        let row = &mut self.row;
        if row.recent.is_empty() {
            row.recent.push(row.starts_at.min(now));
        }
        row.recent.retain(|begin| now.since(*begin) <= FLAPPING_WINDOW);
        row.recent.push(now);
        // Older begins than these can no longer decide anything.
        let surplus = row.recent.len().saturating_sub(RECENT_KEPT_MAX);
        row.recent.drain(..surplus);
        row.flapping |= row.recent.len() > FLAPPING_EPISODES_MAX;
        row.doubted = false;
        row.state = State::Firing;
        row.starts_at = starts_at;
        row.ends_at = None;
        row.episodes = row.episodes.saturating_add(1);
    }

    fn end(&mut self, state: State, ends_at: Timestamp, now: Timestamp) {
        self.row.doubted = false;
        self.row.state = state;
        self.row.ends_at = Some(ends_at);
        self.row.expires_at = now.plus(OVER_KEPT);
    }

    /// Takes over what the message says beside the status. `true` when people would see a difference.
    fn learn(&mut self, alert: Alert, expire_after: Span, now: Timestamp) -> bool {
        let row = &mut self.row;
        row.last_seen = now;
        if row.state == State::Firing {
            row.expires_at = alert
                .expires_at
                .unwrap_or(now.plus(expire_after))
                .max(row.expires_at);
        }
        // Measured values change with every evaluation, and two replicas of a sender link to different places:
        // neither is news, the newest is simply the one shown.
        row.values = alert.values;
        row.links = alert.links;
        let updated = row.labels != alert.labels || row.annotations != alert.annotations;
        if updated {
            self.severity = Severity::of(&alert.labels);
            row.labels = alert.labels;
            row.annotations = alert.annotations;
        }
        updated
    }

    /// When the end of an alert that is over came in.
    fn over_seen(&self) -> Timestamp {
        Timestamp(self.row.expires_at.0.saturating_sub_unsigned(OVER_KEPT.0))
    }

    /// What time does to the record: it expires, becomes calm, is believed to fire after all, is to be forgotten, or
    /// is looked at again later.
    pub(super) fn age(&mut self, expire_after: Span, now: Timestamp) -> Ageing {
        if self.row.doubted && self.believed_at() <= now {
            self.begin(self.row.starts_at, now);
            self.row.expires_at = now.plus(expire_after);
            self.saved_expires_at = self.row.expires_at;
            return Ageing::Believed;
        }
        if self.row.flapping && self.calm_at() <= now {
            self.row.flapping = false;
            self.row.recent.clear();
            return Ageing::Calm;
        }
        if self.row.expires_at > now {
            return Ageing::Later;
        }
        match self.row.state {
            State::Firing => {
                self.end(State::Expired, now, now);
                self.saved_expires_at = self.row.expires_at;
                Ageing::Expired
            }
            State::Resolved | State::Expired => Ageing::Forget,
        }
    }

    /// When [`Record::age`] will next have something to say.
    pub(super) fn ages_at(&self) -> Timestamp {
        let calm = self.row.flapping.then(|| self.calm_at());
        let believed = self.row.doubted.then(|| self.believed_at());
        [calm, believed]
            .into_iter()
            .flatten()
            .fold(self.row.expires_at, Timestamp::min)
    }

    fn believed_at(&self) -> Timestamp {
        self.over_seen().plus(LATE_MAX)
    }

    fn calm_at(&self) -> Timestamp {
        let last_begin = self.row.recent.last().copied().unwrap_or(self.row.starts_at);
        let last_end = if self.fires() {
            last_begin
        } else {
            self.over_seen()
        };
        last_begin.max(last_end).plus(FLAPPING_CALM)
    }
}

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

/// All records, and the way from a fingerprint to its record.
#[derive(Debug, Default)]
pub(super) struct Truth {
    records: BTreeMap<AlertNo, Box<Record>>,
    index: BTreeMap<SourceName, BTreeMap<Fingerprint, AlertNo>>,
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

    pub(super) fn insert(&mut self, no: AlertNo, record: Record) {
        match self.index.get_mut(&record.row.source) {
            Some(of_source) => of_source.insert(record.row.fingerprint, no),
            None => self
                .index
                .entry(record.row.source.clone())
                .or_default()
                .insert(record.row.fingerprint, no),
        };
        self.records.insert(no, Box::new(record));
    }

    pub(super) fn remove(&mut self, no: AlertNo) -> Option<Box<Record>> {
        let record = self.records.remove(&no)?;
        if let Some(of_source) = self.index.get_mut(&record.row.source) {
            of_source.remove(&record.row.fingerprint);
        }
        Some(record)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (AlertNo, &Record)> {
        self.records.iter().map(|(no, record)| (*no, record.as_ref()))
    }

    pub(super) fn numbers(&self) -> Vec<AlertNo> {
        self.records.keys().copied().collect()
    }
}
