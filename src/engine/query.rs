//! Answers to questions about the engine's state; nothing here changes it.

use std::collections::BTreeMap;

use super::Engine;
use super::budget::{Month, left};
use super::delivery::Appointment;
use super::desk::Desk;
use super::limits::QUERY_ALERTS_MAX;
use super::truth::{Concern, Record};
use super::view::{
    AlertList, AlertQuery, AlertReceiverView, AlertView, Counts, EndpointView, Held, Order, ReceiverView,
    WaitsFor,
};
use crate::alert::{AlertNo, EndpointName, ReceiverName, Tick, Timestamp};
use crate::plan::{Quota, SharedRate};

/// What is left of each rate that several endpoints have between them, counted once however many they are.
type Room = BTreeMap<SharedRate, u32>;

impl Engine {
    /// The alerts that match.
    pub fn alerts(&self, query: &AlertQuery) -> AlertList {
        let mut list = AlertList::default();
        let limit = query.limit.min(QUERY_ALERTS_MAX);
        let wanted = query.skip.saturating_add(limit);
        // What stands behind so many of its own kind is not listed in any case.
        let mut found: [Vec<AlertNo>; 3] = Default::default();
        for (no, record) in self.truth.iter().filter(|(_, record)| asked_for(query, record)) {
            let severity = record.severity as usize;
            list.total += 1;
            list.by_severity[severity] += 1;
            let place = match query.order {
                Order::Arrival => 0,
                Order::Severity => severity,
            };
            if found[place].len() < wanted {
                found[place].push(no);
            }
        }
        let listed = found.into_iter().flatten().skip(query.skip).take(limit);
        let view = |no| Some(self.alert_view(no, self.truth.get(no)?));
        list.alerts = listed.filter_map(view).collect();
        list
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
                    endpoints: receiver
                        .endpoints()
                        .iter()
                        .filter_map(|endpoint| self.endpoint_view(endpoint, &mut room))
                        .collect(),
                }
            })
            .collect()
    }

    /// Every endpoint of the plan.
    pub fn endpoints(&self) -> Vec<EndpointView> {
        let mut room = Room::new();
        self.plan
            .endpoints
            .keys()
            .filter_map(|endpoint| self.endpoint_view(endpoint, &mut room))
            .collect()
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

fn asked_for(query: &AlertQuery, record: &Record) -> bool {
    query
        .source
        .as_ref()
        .is_none_or(|source| record.words.source() == source)
        && query.state.is_none_or(|state| record.state == state)
        && query.receiver.as_ref().is_none_or(|receiver| {
            let mut concerned = record.concerns.iter();
            concerned.any(|concern| concern.receiver.is_of(receiver.as_str()))
        })
        && (query.matchers.is_empty() || {
            let labels = record.words.labels();
            query.matchers.iter().all(|matcher| matcher.matches(&labels))
        })
}
