//! Answers to questions about the engine's state; nothing here changes it.

use std::collections::BTreeMap;

use super::Engine;
use super::budget::{Month, left};
use super::delivery::Appointment;
use super::desk::Desk;
use super::limits::{QUERY_ALERTS_MAX, QUERY_BYTES_MAX};
use super::truth::{Concern, Record};
use super::view::{
    AlertList, AlertQuery, AlertReceiverView, AlertView, Counts, EndpointView, Explained, Explanation, Held,
    Order, Quiet, ReceiverView, RouteView, Standing, WaitsFor,
};
use crate::alert::{AlertNo, EndpointName, ReceiverName, Tick, Timestamp};
use crate::plan::trace::{Passage, Step};
use crate::plan::{Quota, SharedRate};
use crate::store::State;

/// What is left of each rate that several endpoints have between them, counted once however many they are.
type Room = BTreeMap<SharedRate, u32>;

impl Engine {
    /// The alerts that match.
    pub fn alerts(&self, query: &AlertQuery) -> AlertList {
        let (by_severity, listed) = self.find(query);
        let view = |no| Some(self.alert_view(no, self.truth.get(no)?));
        let mut room = QUERY_BYTES_MAX;
        let fits = |view: &AlertView| {
            let fits = room > 0;
            room = room.saturating_sub(bytes(view));
            fits
        };
        AlertList {
            total: by_severity.iter().sum(),
            by_severity,
            alerts: listed.into_iter().filter_map(view).take_while(fits).collect(),
        }
    }

    /// The alerts that match, with why what was and was not said of them.
    pub fn explain(&self, query: &AlertQuery) -> Explained {
        let (by_severity, listed) = self.find(query);
        let explanation = |no| Some(self.explanation(no, self.truth.get(no)?));
        Explained {
            total: by_severity.iter().sum(),
            alerts: listed.into_iter().filter_map(explanation).collect(),
        }
    }

    /// How many alerts match, by severity, and those that are to be listed.
    fn find(&self, query: &AlertQuery) -> ([u64; 3], Vec<AlertNo>) {
        let limit = query.limit.min(QUERY_ALERTS_MAX);
        let wanted = query.skip.saturating_add(limit);
        let mut by_severity = [0; 3];
        // What stands behind so many of its own kind is not listed in any case.
        let mut found: [Vec<AlertNo>; 3] = Default::default();
        for (no, record) in self.truth.iter().filter(|(_, record)| asked_for(query, record)) {
            let severity = record.severity as usize;
            by_severity[severity] += 1;
            let place = match query.order {
                Order::Arrival => 0,
                Order::Severity => severity,
            };
            if found[place].len() < wanted {
                found[place].push(no);
            }
        }
        let listed = found.into_iter().flatten().skip(query.skip).take(limit);
        (by_severity, listed.collect())
    }

    fn explanation(&self, no: AlertNo, record: &Record) -> Explanation {
        let alert = self.alert_view(no, record);
        let steps = self.plan.routes.trace(&alert.source, &alert.labels);
        let receivers = (record.concerns.iter())
            .zip(&alert.receivers)
            .map(|(concern, view)| self.standing(record, concern, view))
            .collect();
        Explanation {
            no,
            expires_at: record.fires().then_some(record.expires_at),
            doubted_until: record.doubted.then(|| record.believed_at()),
            flapping: record.flapping,
            occurrences: record.occurrences.as_slice().to_vec(),
            routes: steps.iter().map(|step| self.route_view(step)).collect(),
            receivers,
            alert,
        }
    }

    fn route_view(&self, step: &Step<'_>) -> RouteView {
        let route = step.route;
        let (mismatch, shadowed_by) = match &step.passage {
            Passage::Mismatch(matcher) => (Some(matcher.to_string()), None),
            Passage::Shadowed(sibling) => (None, Some(*sibling)),
            Passage::Taken | Passage::Delegated | Passage::OtherSource => (None, None),
        };
        RouteView {
            id: step.id,
            depth: step.depth,
            receiver: route.receiver.clone(),
            sources: route.sources.clone(),
            matchers: route.matchers.iter().map(ToString::to_string).collect(),
            continue_matching: route.continue_matching,
            passage: step.passage.as_str(),
            mismatch,
            shadowed_by,
            muted: !self.plan.speaks(route, self.now.time),
        }
    }

    /// What follows for a receiver from what it was told and is to be told.
    fn standing(&self, record: &Record, concern: &Concern, view: &AlertReceiverView) -> Standing {
        let owes_an_end = view.told.is_some_and(|(said, ..)| said.owes_an_end());
        let quiet = match view.change {
            Some(_) => None,
            None if record.state == State::Resolved && owes_an_end => Some(Quiet::NoEnds),
            None if concern.former => Some(Quiet::Former),
            None => Some(Quiet::Knows),
        };
        let route = self.plan.routes.get(concern.route);
        let is_reminded = quiet == Some(Quiet::Knows) && record.fires() && !record.flapping;
        // The calendar is not asked when it opens again, so what is muted has no due time.
        let speaks = self.plan.speaks(route, self.now.time);
        let due_at = || Some(self.time_of(self.situation(&concern.receiver).0?));
        let receiver = self.plan.receivers.get(&concern.receiver);
        Standing {
            route: (!concern.former).then_some(concern.route),
            quiet,
            due_at: view.change.filter(|_| speaks).and_then(|_| due_at()),
            reminder_at: (view.told.filter(|_| is_reminded)).map(|(_, at, _)| at.plus(route.repeat_interval)),
            endpoints: receiver.map_or(Vec::new(), |receiver| {
                self.endpoint_views(receiver.endpoints(), &mut Room::new())
            }),
        }
    }

    fn alert_view(&self, no: AlertNo, record: &Record) -> AlertView {
        let texts = record.words.texts();
        AlertView {
            source: record.words.source().clone(),
            fingerprint: record.fingerprint,
            identity: texts.identity,
            state: record.state,
            labels: texts.labels,
            annotations: texts.annotations,
            links: texts.links,
            starts_at: record.starts_at,
            ends_at: record.ends_at,
            first_seen: record.first_seen,
            last_seen: record.last_seen,
            episodes: record.episodes,
            receivers: record
                .concerns
                .iter()
                .map(|concern| self.alert_receiver(no, concern))
                .collect(),
        }
    }

    fn alert_receiver(&self, no: AlertNo, concern: &Concern) -> AlertReceiverView {
        let desk = self.desks.get(&concern.receiver);
        let change = self.change_for(no, concern);
        let muted = !self
            .plan
            .speaks(self.plan.routes.get(concern.route), self.now.time);
        let under_way = desk.is_some_and(|desk| desk.is_under_way(no));
        let waits_for = change.and_then(|_| match (muted, under_way) {
            (true, false) => Some(WaitsFor::Muted),
            (true | false, _) => self.situation(&concern.receiver).1,
        });
        AlertReceiverView {
            name: concern.receiver.clone(),
            told: desk
                .and_then(|desk| desk.told.get(&no))
                .map(|told| (told.said, told.at, told.digest)),
            change,
            waits_for,
        }
    }

    /// When a receiver will be looked at again, and what it waits for.
    fn situation(&self, name: &ReceiverName) -> (Option<Tick>, Option<WaitsFor>) {
        match self.appointment(name) {
            Appointment::Idle => (None, None),
            Appointment::Waits { until, waits_for } => (until, Some(waits_for)),
            Appointment::Resend => (Some(self.now.tick), Some(WaitsFor::Answer)),
            Appointment::TakeOver { .. } | Appointment::Ready { .. } | Appointment::Joins { .. } => {
                (Some(self.now.tick), Some(WaitsFor::Composing))
            }
        }
    }

    /// How many changes wait for a receiver.
    pub fn changes_for(&self, name: &ReceiverName) -> u64 {
        self.desks.get(name).map_or(0, |desk| desk.changes() as u64)
    }

    /// Every receiver of the plan.
    pub fn receivers(&self) -> Vec<ReceiverView> {
        let mut room = Room::new();
        self.plan
            .receivers
            .values()
            .map(|receiver| {
                let desk = self.desks.get(&receiver.name);
                let (due_at, waits_for) = self.situation(&receiver.name);
                ReceiverView {
                    name: receiver.name.clone(),
                    changes: desk.map_or(0, |desk| desk.changes() as u64),
                    oldest_change_at: desk.and_then(Desk::oldest).map(|tick| self.time_of(tick)),
                    due_at: due_at.map(|tick| self.time_of(tick)),
                    waits_for,
                    last_digest_at: desk.and_then(|desk| desk.served).map(|tick| self.time_of(tick)),
                    unread: (receiver.afterwards.read_status).then(|| self.afterwards.unread(&receiver.name)),
                    endpoints: self.endpoint_views(receiver.endpoints(), &mut room),
                }
            })
            .collect()
    }

    /// Every endpoint of the plan.
    pub fn endpoints(&self) -> Vec<EndpointView> {
        let mut room = Room::new();
        self.endpoint_views(self.plan.endpoints.keys(), &mut room)
    }

    fn endpoint_views<'a>(
        &self,
        names: impl IntoIterator<Item = &'a EndpointName>,
        room: &mut Room,
    ) -> Vec<EndpointView> {
        let views = names.into_iter();
        views.filter_map(|name| self.endpoint_view(name, room)).collect()
    }

    fn endpoint_view(&self, name: &EndpointName, room: &mut Room) -> Option<EndpointView> {
        let (endpoint, budget) = (self.plan.endpoints.get(name)?, self.budgets.get(name)?);
        let now = self.now.tick;
        let pause = budget.paused(now);
        let (month, _) = Month::of(self.now.time, &self.plan.timezone);
        let mut left = || match endpoint.shared_rate() {
            None => left(&self.sharing(endpoint), endpoint.rate(), true, now),
            Some(rate) => *(room.entry(rate))
                .or_insert_with(|| left(&self.sharing(endpoint), endpoint.rate(), true, now)),
        };
        Some(EndpointView {
            name: name.clone(),
            kind: endpoint.way.as_str(),
            budget_left: if pause.is_some() { 0 } else { left() },
            paused_until: pause.and_then(|pause| Some(self.time_of(pause.until?))),
            reason: pause.map(|pause| pause.reason.as_str()),
            used_this_month: budget.used(month),
        })
    }

    /// Numbers of the whole.
    pub fn counts(&self) -> Counts {
        let (month, _) = Month::of(self.now.time, &self.plan.timezone);
        Counts {
            firing: self.firing,
            resolved: (self.truth.len() as u64).saturating_sub(self.firing),
            changes: self.desks.values().map(|desk| desk.changes() as u64).sum(),
            used_this_month: Quota::ALL.map(|quota| (quota, self.used(quota, month))),
        }
    }

    /// How much is held in memory.
    pub fn held(&self) -> Held {
        let reminders = self.reminders.values().flat_map(|of| of.values());
        Held {
            alerts: self.truth.len() as u64,
            told: self.desks.values().map(|desk| desk.told.len() as u64).sum(),
            waiting: self.desks.values().map(|desk| desk.changes() as u64).sum(),
            ages: self.ageing.values().map(|of| of.len() as u64).sum(),
            reminders: reminders.map(|of| of.len() as u64).sum(),
            receipts: self.afterwards.len() as u64,
            effects: self.effects.len() as u64,
        }
    }

    /// What the wall clock showed, or will show, at `tick`.
    fn time_of(&self, tick: Tick) -> Timestamp {
        if tick >= self.now.tick {
            self.now.time.plus(tick.since(self.now.tick))
        } else {
            Timestamp(
                self.now
                    .time
                    .0
                    .saturating_sub_unsigned(self.now.tick.since(tick).0),
            )
        }
    }
}

/// What an alert says, in bytes.
fn bytes(view: &AlertView) -> usize {
    let texts = [&view.labels, &view.annotations, &view.links];
    texts.iter().map(|texts| texts.as_encoded().len()).sum()
}

fn asked_for(query: &AlertQuery, record: &Record) -> bool {
    query
        .source
        .as_ref()
        .is_none_or(|source| record.words.source() == source)
        && query.state.is_none_or(|state| record.state == state)
        && (query.fingerprint).is_none_or(|fingerprint| record.fingerprint == fingerprint)
        && query.receiver.as_ref().is_none_or(|receiver| {
            let mut concerned = record.concerns.iter();
            concerned.any(|concern| concern.receiver.is_of(receiver.as_str()))
        })
        && (query.matchers.is_empty() || {
            let labels = record.words.labels();
            query.matchers.iter().all(|matcher| matcher.matches(&labels))
        })
}
