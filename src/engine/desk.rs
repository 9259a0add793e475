//! One receiver's desk: what it was told, what it is to be told, and since when that waits.
//!
//! Changes wait in lanes, one per route that led here: a route's `group_wait`, urgency and mute intervals hold for
//! its lane. The desk knows no other receiver and no endpoint.

use std::collections::BTreeMap;

use super::view::WaitsFor;
use crate::alert::{AlertNo, DigestId, EndpointName, Now, ReceiverName, Severity, Span, Tick};
use crate::digest::{Detail, Notice};
use crate::engine::limits::MESSAGE_BYTES_MAX;
use crate::plan::{Plan, Route, RouteId};
use crate::store::{InFlightRow, Said, ToldRow};

/// One receiver's desk.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) told: BTreeMap<AlertNo, ToldRow>,
    pub(super) lanes: BTreeMap<RouteId, Lane>,
    /// Firing alerts that concern the receiver, by severity.
    pub(super) firing: [u64; 3],
    /// When it was last sent a digest.
    pub(super) served: Option<Tick>,
    pub(super) under_way: Option<UnderWay>,
    /// When somebody asked to be told at once; what came later waits for company again.
    pub(super) hastened: Option<Tick>,
    /// Failures since the last success, and until when they make it wait.
    pub(super) failures: u32,
    pub(super) retry_at: Tick,
    /// The same for urgent changes.
    pub(super) urgent_retry_at: Tick,
    /// The richest level DingTalk is expected to take.
    pub(super) detail_max: Detail,
    /// The largest request DingTalk is expected to take, in bytes.
    pub(super) message_bytes_max: usize,
    /// To be said in the next digest after DingTalk refused what the last one said.
    pub(super) content_refused: Option<Notice>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            told: BTreeMap::new(),
            lanes: BTreeMap::new(),
            firing: [0; 3],
            served: None,
            under_way: None,
            hastened: None,
            failures: 0,
            retry_at: Tick(0),
            urgent_retry_at: Tick(0),
            detail_max: Detail::Full,
            message_bytes_max: MESSAGE_BYTES_MAX,
            content_refused: None,
        }
    }
}

/// The changes that came by one route.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Since when each waits.
    waiting: BTreeMap<AlertNo, Tick>,
    /// How many wait since each moment, so that the oldest is known without a search.
    since: BTreeMap<Tick, u32>,
}

impl Lane {
    /// Adds a change; one that waits already keeps its place.
    pub(super) fn add(&mut self, alert: AlertNo, since: Tick) {
        self.waiting.entry(alert).or_insert_with(|| {
            *self.since.entry(since).or_insert(0) += 1;
            since
        });
    }

    /// Removes a change and says since when it waited.
    pub(super) fn remove(&mut self, alert: AlertNo) -> Option<Tick> {
        let since = self.waiting.remove(&alert)?;
        if let Some(count) = self.since.get_mut(&since) {
            *count -= 1;
            if *count == 0 {
                self.since.remove(&since);
            }
        }
        Some(since)
    }

    /// Since when the oldest waits.
    pub(super) fn oldest(&self) -> Option<Tick> {
        self.since.first_key_value().map(|(tick, _)| *tick)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What waits, in order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = AlertNo> {
        self.waiting.keys().copied()
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> BTreeMap<AlertNo, Tick> {
        self.since.clear();
        std::mem::take(&mut self.waiting)
    }
}

/// The digest a receiver is being sent.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) digest: DigestId,
    /// Through which endpoint; `None` is the console.
    pub(super) endpoint: Option<EndpointName>,
    /// Under which name its places are counted, whatever becomes of the endpoint meanwhile.
    pub(super) counted_as: Option<EndpointName>,
    /// What it tells, and since when each of it waited. Restored digests do not know the latter.
    pub(super) tells: BTreeMap<AlertNo, Telling>,
    pub(super) stage: Stage,
}

/// One alert of a digest under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Telling {
    pub(super) said: Said,
    pub(super) episodes: u32,
    pub(super) since: Tick,
    /// Since when there is more to tell of it than this.
    pub(super) news: Option<Tick>,
}

/// How far a digest has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Being composed and rendered.
    Composing(Composing),
    /// Being sent, part by part in order.
    Sending(Sending),
}

/// A digest that is being composed and rendered.
#[derive(Debug)]
pub(super) struct Composing {
    /// The draft it is rendered from: its own, or that of another digest that says the same.
    pub(super) draft: DigestId,
    /// So many places of the endpoint's window are kept for it.
    pub(super) places: u32,
    pub(super) urgent: bool,
    pub(super) counts: BTreeMap<String, u64>,
}

/// The parts of a digest that are not known to be delivered.
#[derive(Debug)]
pub(super) struct Sending {
    /// The part on its way or waiting to be tried, first; then those behind it.
    pub(super) parts: BTreeMap<u8, InFlightRow>,
    /// May the first of them have been delivered already?
    pub(super) doubtful: bool,
    /// When it is tried again; `None` while an answer is awaited.
    pub(super) retry_at: Option<Tick>,
    pub(super) places: Places,
}

/// What places of the endpoint's window the parts of a digest have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Places {
    /// Each has one.
    Kept,
    /// None: they go along in the calls of another digest's.
    Joined,
    /// Only the one on its way: one that is tried again, and each behind it, finds a place by itself, so that nobody
    /// waits for a place and keeps others.
    Sought,
}

impl UnderWay {
    /// Whether it is a notice to everybody: one of the few of an app's day, and so the only kind that is counted under
    /// another name than its endpoint's.
    pub(super) fn is_to_everybody(&self) -> bool {
        self.counted_as != self.endpoint
    }
}

impl Sending {
    /// Whether everything is told: what is left covers nothing.
    pub(super) fn is_told(&self) -> bool {
        self.parts.values().all(|row| row.covers.is_empty())
    }

    /// Places of the endpoint's window that are kept for parts not yet tried: all but the first.
    pub(super) fn places_kept(&self) -> u32 {
        let behind = u32::try_from(self.parts.len().saturating_sub(1)).unwrap_or(u32::MAX);
        match self.places {
            Places::Kept => behind,
            Places::Joined | Places::Sought => 0,
        }
    }
}

impl Desk {
    pub(super) fn is_under_way(&self, alert: AlertNo) -> bool {
        self.under_way
            .as_ref()
            .is_some_and(|under_way| under_way.tells.contains_key(&alert))
    }

    /// Changes that wait or are being told.
    pub(super) fn changes(&self) -> usize {
        let telling = self
            .under_way
            .as_ref()
            .map_or(0, |under_way| under_way.tells.len());
        self.lanes.values().map(Lane::len).sum::<usize>() + telling
    }

    /// Since when the oldest change waits.
    pub(super) fn oldest(&self) -> Option<Tick> {
        let waiting = self.lanes.values().filter_map(Lane::oldest).min();
        let telling = self
            .under_way
            .as_ref()
            .and_then(|under_way| under_way.tells.values().map(|telling| telling.since).min());
        waiting.into_iter().chain(telling).min()
    }

    /// Puts a change into the lane of its route, and out of any other.
    pub(super) fn wait(&mut self, alert: AlertNo, route: RouteId, since: Tick) {
        let since = self
            .lanes
            .iter_mut()
            .filter(|(id, _)| **id != route)
            .find_map(|(_, lane)| lane.remove(alert))
            .unwrap_or(since);
        self.lanes.entry(route).or_default().add(alert, since);
    }

    /// Takes a change out: there is no difference any more.
    pub(super) fn settle(&mut self, alert: AlertNo) {
        for lane in self.lanes.values_mut() {
            lane.remove(alert);
        }
    }

    /// When the changes of one lane want to be told, and what they wait for until then.
    fn lane_due(&self, lane: &Lane, route: &Route, now: Now, plan: &Plan) -> Option<(Tick, WaitsFor)> {
        let oldest = lane.oldest()?;
        if !plan.speaks(route, now.time) {
            return Some((next_check(now), WaitsFor::Muted));
        }
        if route.urgent || self.hastened.is_some_and(|asked| oldest <= asked) {
            return Some((oldest, WaitsFor::GroupWait));
        }
        let company = oldest.plus(route.group_wait);
        let pause = self
            .served
            .map_or(Tick(0), |served| served.plus(route.group_interval));
        Some(if pause > company {
            (pause, WaitsFor::GroupInterval)
        } else {
            (company, WaitsFor::GroupWait)
        })
    }

    /// When the receiver is due, as far as its own changes say; `None` when it has none.
    pub(super) fn due(&self, now: Now, plan: &Plan) -> Option<Due> {
        let mut earliest: Option<Due> = None;
        for (id, lane) in &self.lanes {
            let route = plan.routes.get(*id);
            let Some((at, waits_for)) = self.lane_due(lane, route, now, plan) else {
                continue;
            };
            let ready = at <= now.tick && waits_for != WaitsFor::Muted;
            let urgent = route.urgent && ready;
            earliest = Some(match earliest {
                None => Due {
                    at,
                    waits_for,
                    urgent,
                },
                Some(due) => Due {
                    urgent: due.urgent || urgent,
                    ..if at < due.at {
                        Due {
                            at,
                            waits_for,
                            urgent,
                        }
                    } else {
                        due
                    }
                },
            });
        }
        earliest
    }

    /// When to see whether something urgent may speak that may not at this moment.
    pub(super) fn urgent_muted_until(&self, now: Now, plan: &Plan) -> Option<Tick> {
        let mut lanes = self.lanes.iter().filter(|(_, lane)| lane.oldest().is_some());
        let muted = lanes.any(|(id, _)| {
            let route = plan.routes.get(*id);
            route.urgent && !plan.speaks(route, now.time)
        });
        muted.then(|| next_check(now))
    }

    pub(super) fn count_firing(&mut self, severity: Severity, up: bool) {
        let count = &mut self.firing[severity as usize];
        *count = if up { *count + 1 } else { count.saturating_sub(1) };
    }
}

/// When a receiver is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Tick,
    /// What it waits for until then.
    pub(super) waits_for: WaitsFor,
    /// Whether something urgent is ready.
    pub(super) urgent: bool,
}

/// The next time muted lanes are looked at.
fn next_check(now: Now) -> Tick {
    let width = super::limits::MUTE_CHECK;
    let into = now.time.0.rem_euclid(i64::try_from(width.0).unwrap_or(i64::MAX));
    now.tick.plus(Span(width.0 - u64::try_from(into).unwrap_or(0)))
}

/// When each receiver is next to be looked at.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    by_time: std::collections::BTreeSet<(Tick, ReceiverName)>,
    by_receiver: BTreeMap<ReceiverName, Tick>,
}

impl Agenda {
    pub(super) fn set(&mut self, receiver: &ReceiverName, at: Option<Tick>) {
        if self.by_receiver.get(receiver).copied() == at {
            return;
        }
        if let Some(old) = self.by_receiver.remove(receiver) {
            self.by_time.remove(&(old, receiver.clone()));
        }
        if let Some(at) = at {
            self.by_receiver.insert(receiver.clone(), at);
            self.by_time.insert((at, receiver.clone()));
        }
    }

    pub(super) fn first(&self) -> Option<Tick> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub(super) fn due(&self, now: Tick) -> Vec<ReceiverName> {
        self.by_time
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, name)| name.clone())
            .collect()
    }
}
