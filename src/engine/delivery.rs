//! From a due receiver to what it was told: who carries a digest, when, and what each answer means.
//!
//! A receiver has at most one digest under way. Its parts go out in order, each after the one before was
//! delivered. What an attempt that surely failed leaves behind is nothing: its changes wait again and the next
//! digest tells them as they are then. Only a message that *may* have arrived is kept, and is sent again byte for
//! byte under the same `msgUuid` until an answer settles it, or until its endpoint must be silent and another can tell
//! what it tells; where DingTalk folds no repetitions, it is sent again once.

use std::collections::BTreeMap;

use super::budget::{Budget, Month, PauseReason, Reach, left, pace, room_at};
use super::desk::{Desk, Sending, Stage, Telling, UnderWay};
use super::limits::{
    BACKOFF_URGENT_MAX, CLOCK_PAUSE, MESSAGE_BYTES_MIN, QUOTA_PAUSE, REFUSED_PAUSE, UNFOLDED_ATTEMPTS_MAX,
    backoff,
};
use super::outcome::{Refused, Rejected};
use super::truth::Record;
use super::view::WaitsFor;
use super::{Answer, Effect, Engine, Event, Outcome, Send, told};
use crate::alert::{AlertNo, DigestId, EndpointName, MessageId, ReceiverName, Span, Status, Tick};
use crate::digest::{Change, Detail, Draft, Entry, Fit, Notice, Rendered};
use crate::plan::{Channel, Endpoint, Quota, Receiver, Route};
use crate::store::{AttemptRow, DigestRow, InFlightRow, MessageRow, Said, State, ToldRow};

/// Whether a receiver can be told at this moment.
#[derive(Debug)]
pub(super) enum Appointment {
    /// There is nothing to tell.
    Idle,
    /// Not yet.
    Waits {
        /// When to look again; `None` while only an answer can change anything.
        until: Option<Tick>,
        /// For what.
        waits_for: WaitsFor,
    },
    /// A message that may have arrived is to be sent again.
    Resend,
    /// The bot of a message that may have arrived must be silent, and another can tell what it tells: better twice than
    /// late.
    TakeOver { carrier: Carrier, urgent: bool },
    /// Yes.
    Ready { carrier: Carrier, urgent: bool },
}

/// Who carries a digest.
#[derive(Debug)]
pub(super) struct Carrier {
    /// The endpoint; `None` is the console.
    endpoint: Option<EndpointName>,
    /// Messages it may send at this moment.
    places: u32,
    /// Said in the digest when it is not the receiver's own.
    notice: Option<Notice>,
}

impl Engine {
    /// Looks at every receiver whose situation may have changed.
    pub(super) fn look_around(&mut self) {
        while let Some(receiver) = self.touched.pop_first() {
            let next = match self.appointment(&receiver) {
                Appointment::Idle => None,
                Appointment::Waits { until, .. } => self.look_again_at(&receiver, until),
                Appointment::Resend => {
                    if self.may_try(&receiver) {
                        self.send_next(&receiver);
                    } else {
                        // It had its last try before the process was started again.
                        self.abandon(&receiver, Outcome::Unknown.as_str());
                    }
                    None
                }
                Appointment::TakeOver { carrier, urgent } => {
                    self.abandon(&receiver, Outcome::Unknown.as_str());
                    self.serve(&receiver, carrier, urgent);
                    None
                }
                Appointment::Ready { carrier, urgent } => {
                    self.serve(&receiver, carrier, urgent);
                    None
                }
            };
            self.agenda.set(&receiver, next);
        }
    }

    /// When to look at a receiver that waits: at the end of what it waits for, or as soon as something urgent may speak
    /// for which that does not hold.
    fn look_again_at(&self, name: &ReceiverName, until: Option<Tick>) -> Option<Tick> {
        let urgent = self.desks.get(name)?.urgent_muted_until(self.now, &self.plan);
        urgent.into_iter().chain([until?]).min()
    }

    /// Whether a receiver can be told at this moment, and why not.
    pub(super) fn appointment(&self, name: &ReceiverName) -> Appointment {
        let Some(desk) = self.desks.get(name) else {
            return Appointment::Idle;
        };
        if let Some(under_way) = &desk.under_way {
            return self.appointment_under_way(name, desk, under_way);
        }
        let Some(receiver) = self.plan.receivers.get(name) else {
            return Appointment::Idle;
        };
        let Some(due) = desk.due(self.now, &self.plan) else {
            return Appointment::Idle;
        };
        if self.draining {
            return Appointment::Waits {
                until: None,
                waits_for: WaitsFor::Shutdown,
            };
        }
        let now = self.now.tick;
        if due.at > now {
            return Appointment::Waits {
                until: Some(due.at),
                waits_for: due.waits_for,
            };
        }
        let retry_at = if due.urgent {
            desk.urgent_retry_at
        } else {
            desk.retry_at
        };
        if retry_at > now {
            return Appointment::Waits {
                until: Some(retry_at),
                waits_for: WaitsFor::Backoff,
            };
        }
        if let Some(until) = (self.paced_until(receiver)).filter(|until| !due.urgent && *until > now) {
            return Appointment::Waits {
                until: Some(until),
                waits_for: WaitsFor::Quota,
            };
        }
        match self.carrier(receiver, due.urgent) {
            Ok(carrier) => Appointment::Ready {
                carrier,
                urgent: due.urgent,
            },
            Err((until, waits_for)) => Appointment::Waits { until, waits_for },
        }
    }

    fn appointment_under_way(&self, name: &ReceiverName, desk: &Desk, under_way: &UnderWay) -> Appointment {
        let sending = match &under_way.stage {
            Stage::Composing { .. } => {
                return Appointment::Waits {
                    until: None,
                    waits_for: WaitsFor::Composing,
                };
            }
            Stage::Sending(sending) => sending,
        };
        let Some(retry_at) = sending.retry_at else {
            return Appointment::Waits {
                until: None,
                waits_for: WaitsFor::Answer,
            };
        };
        let now = self.now.tick;
        let backoff = (retry_at > now).then_some(Appointment::Waits {
            until: Some(retry_at),
            waits_for: WaitsFor::Backoff,
        });
        let (Some(carrier), Some(part)) = (&under_way.endpoint, sending.parts.values().next()) else {
            return backoff.unwrap_or(Appointment::Resend);
        };
        // An endpoint that is not configured any more answers that.
        let (Some(endpoint), Some(budget)) = (self.plan.endpoints.get(carrier), self.budgets.get(carrier))
        else {
            return backoff.unwrap_or(Appointment::Resend);
        };
        // What is urgent waits behind it.
        let urgent = part.urgent || desk.due(self.now, &self.plan).is_some_and(|due| due.urgent);
        if let Some(pause) = budget.paused(now) {
            return self.appointment_of_another(name, urgent, pause.until);
        }
        if let Some(backoff) = backoff {
            return backoff;
        }
        let (sharing, rate) = (self.sharing(endpoint), endpoint.rate());
        if left(&sharing, rate, urgent, now) == 0 {
            let room_at = room_at(&sharing, rate, urgent, now);
            return Appointment::Waits {
                until: Some(room_at.unwrap_or(now.plus(Span::seconds(1)))),
                waits_for: WaitsFor::Minute,
            };
        }
        Appointment::Resend
    }

    /// What becomes of a message whose endpoint must be silent.
    fn appointment_of_another(&self, name: &ReceiverName, urgent: bool, silent_until: Tick) -> Appointment {
        let waits = |until: Option<Tick>, waits_for| Appointment::Waits {
            until: until.into_iter().chain([silent_until]).min(),
            waits_for,
        };
        // Nothing is composed in its place by who shuts down, or must spare the month's quota.
        let may_compose = |receiver: &&Receiver| {
            let paced = self.paced_until(receiver);
            !self.draining && (urgent || paced.is_none_or(|until| until <= self.now.tick))
        };
        let receiver = self.plan.receivers.get(name).filter(may_compose);
        match receiver.map(|receiver| self.carrier(receiver, urgent)) {
            Some(Ok(carrier)) => Appointment::TakeOver { carrier, urgent },
            Some(Err((until, waits_for))) => waits(until, waits_for),
            None => waits(None, WaitsFor::Pause),
        }
    }

    /// Until when a receiver's changes that are not urgent must wait so that the month's quota lasts.
    fn paced_until(&self, receiver: &Receiver) -> Option<Tick> {
        let quota = receiver.quota();
        let allowed = self.plan.dingtalk.quota(quota)?;
        let (month, ends_at) = Month::of(self.now.time, &self.plan.timezone);
        let pace = pace(self.used(quota, month), allowed, ends_at.since(self.now.time))?;
        let counted_at = self.counting(quota).filter_map(Budget::counted_at).max();
        Some(counted_at?.plus(pace))
    }

    /// Messages of all endpoints in `month` that count against `quota`.
    pub(super) fn used(&self, quota: Quota, month: Month) -> u64 {
        self.counting(quota).map(|budget| budget.used(month)).sum()
    }

    /// The budgets whose messages count against `quota`.
    fn counting(&self, quota: Quota) -> impl Iterator<Item = &Budget> {
        let counting = self
            .budgets
            .iter()
            .filter(move |(name, _)| Quota::of(name) == quota);
        counting.map(|(_, budget)| budget)
    }

    /// The budgets an endpoint has one rate with, its own among them.
    pub(super) fn sharing(&self, endpoint: &Endpoint) -> Vec<&Budget> {
        match endpoint.app() {
            None => self.budgets.get(&endpoint.name).into_iter().collect(),
            Some(_) => self
                .budgets
                .iter()
                .filter(|(name, _)| self.is_of_app_of(name, endpoint))
                .map(|(_, budget)| budget)
                .collect(),
        }
    }

    /// Whether an endpoint's messages come from the same app as another's.
    fn is_of_app_of(&self, name: &EndpointName, other: &Endpoint) -> bool {
        let app = self.plan.endpoints.get(name).and_then(Endpoint::app);
        app.is_some() && app == other.app()
    }

    /// Who can carry a digest of this receiver at this moment; otherwise until when there is nobody, and why.
    fn carrier(&self, receiver: &Receiver, urgent: bool) -> Result<Carrier, (Option<Tick>, WaitsFor)> {
        let now = self.now.tick;
        let endpoints = match &receiver.channel {
            Channel::Console => {
                return Ok(Carrier {
                    endpoint: None,
                    places: u32::MAX,
                    notice: None,
                });
            }
            Channel::Endpoints(endpoints) => endpoints,
        };
        let mut room: Option<(u32, u32, &EndpointName)> = None;
        let mut frees_at: Option<Option<Tick>> = None;
        let mut pauses = Vec::new();
        for name in endpoints {
            let (Some(endpoint), Some(budget)) = (self.plan.endpoints.get(name), self.budgets.get(name))
            else {
                continue;
            };
            if let Some(pause) = budget.paused(now) {
                pauses.push((pause, name));
                continue;
            }
            let (sharing, rate) = (self.sharing(endpoint), endpoint.rate());
            let left_here = left(&sharing, rate, urgent, now);
            if left_here > 0 && room.is_none_or(|(most, _, _)| left_here > most) {
                // Of what is reserved a digest takes one place, however much goes along: others have urgent changes,
                // too.
                let unreserved = left(&sharing, rate, false, now);
                room = Some((left_here, left_here.min(unreserved.max(1)), name));
            }
            let at = room_at(&sharing, rate, urgent, now);
            frees_at = Some(frees_at.flatten().into_iter().chain(at).min());
        }
        if let Some((_, places, endpoint)) = room {
            return Ok(Carrier {
                endpoint: Some(endpoint.clone()),
                places,
                notice: None,
            });
        }
        if let Some(at) = frees_at {
            // Without a known time an answer frees the place; look again soon all the same.
            return Err((Some(at.unwrap_or(now.plus(Span::seconds(1)))), WaitsFor::Minute));
        }
        let stuck = urgent || pauses.iter().all(|(pause, _)| pause.reason.needs_operator());
        let fallback = receiver.fallback.as_ref().filter(|_| stuck && !pauses.is_empty());
        if let (Some(fallback), Some((pause, endpoint))) = (
            fallback.and_then(|name| self.plan.receivers.get(name)),
            pauses.first(),
        ) {
            let carrier = self.carrier(fallback, urgent).map_err(|(until, _)| {
                let own = pauses.iter().map(|(pause, _)| pause.until);
                (own.chain(until).min(), WaitsFor::Pause)
            })?;
            let notice = Notice::Fallback {
                through: fallback.name.clone(),
                endpoint: (*endpoint).clone(),
                reason: pause.reason.as_str(),
                until: self.now.time.plus(pause.until.since(now)),
            };
            return Ok(Carrier {
                notice: Some(notice),
                ..carrier
            });
        }
        Err((pauses.iter().map(|(pause, _)| pause.until).min(), WaitsFor::Pause))
    }

    /// Takes everything a receiver may be told at this moment and hands it out to be composed.
    fn serve(&mut self, name: &ReceiverName, carrier: Carrier, urgent: bool) {
        let Some(receiver) = self.plan.receivers.get(name) else {
            return;
        };
        let messages_max = u32::from(receiver.max_messages.get()).min(carrier.places);
        let messages_max = if self.paced_until(receiver).is_some() && !urgent {
            1
        } else {
            messages_max
        };
        let (entries, tells) = self.take_changes(name);
        if entries.is_empty() {
            return;
        }
        let id = self.next_digest;
        self.next_digest = DigestId(id.0 + 1);
        let desk = self.desks.entry(name.clone()).or_default();
        let refused = desk.content_refused.clone();
        let endpoint = (carrier.endpoint.as_ref()).and_then(|name| self.plan.endpoints.get(name));
        let bytes_max = endpoint.map_or(desk.message_bytes_max, Endpoint::message_bytes_max);
        let draft = Draft {
            id,
            // The number alone would be given again: to the digest after a crash, when the store could not take in
            // what was sent before it.
            uuid_prefix: format!("{}-{id}", self.run),
            receiver: name.clone(),
            endpoint: carrier.endpoint.clone(),
            composed_at: self.now.time,
            urgent,
            firing: desk.firing,
            notices: carrier.notice.into_iter().chain(refused).collect(),
            fit: Fit {
                messages_max: u8::try_from(messages_max).unwrap_or(u8::MAX),
                message_bytes_max: desk.message_bytes_max.min(bytes_max),
                detail_max: desk.detail_max,
            },
            entries,
        };
        let mut counts = BTreeMap::new();
        for entry in &draft.entries {
            *counts.entry(entry.change.as_str().to_owned()).or_insert(0) += 1;
        }
        desk.under_way = Some(UnderWay {
            digest: id,
            endpoint: carrier.endpoint.clone(),
            tells,
            stage: Stage::Composing {
                places: messages_max,
                urgent,
                counts,
            },
        });
        if let Some(budget) = carrier
            .endpoint
            .as_ref()
            .and_then(|endpoint| self.budgets.get_mut(endpoint))
        {
            budget.open(messages_max);
        }
        self.effects.push_back(Effect::Digest(Box::new(draft)));
    }

    /// Takes the changes of every lane that may speak off a desk.
    fn take_changes(&mut self, name: &ReceiverName) -> (Vec<Entry>, BTreeMap<AlertNo, Telling>) {
        let mut taken = Vec::new();
        if let Some(desk) = self.desks.get_mut(name) {
            for (id, lane) in &mut desk.lanes {
                if self.plan.speaks(self.plan.routes.get(*id), self.now.time) {
                    taken.extend(lane.take());
                }
            }
        }
        let mut entries = Vec::with_capacity(taken.len());
        let mut tells = BTreeMap::new();
        for (no, since) in taken {
            let Some(record) = self.truth.get(no) else {
                continue;
            };
            let Some(concern) = record.concern(name) else {
                continue;
            };
            let Some(change) = self.change_for(no, concern) else {
                continue;
            };
            let told = self.desks.get(name).and_then(|desk| desk.told.get(&no));
            entries.push(entry(
                no,
                record,
                change,
                told,
                self.plan.routes.get(concern.route),
            ));
            tells.insert(
                no,
                Telling {
                    said: told::said(change),
                    episodes: record.episodes,
                    since,
                },
            );
        }
        (entries, tells)
    }

    /// A digest came back as messages: they are saved, and the first one goes out after that.
    pub(super) fn rendered(&mut self, digest: DigestId, rendered: &Rendered) {
        let Some(name) = self.receiver_of(digest) else {
            return;
        };
        let Some(desk) = self.desks.get_mut(&name) else {
            return;
        };
        let Some(under_way) = &mut desk.under_way else {
            return;
        };
        let Stage::Composing {
            places,
            urgent,
            counts,
        } = &mut under_way.stage
        else {
            return;
        };
        let (places, urgent, counts) = (*places, *urgent, std::mem::take(counts));
        let endpoint = under_way.endpoint.clone();
        let parts = u8::try_from(rendered.messages.len()).unwrap_or(u8::MAX);
        let mut rows = BTreeMap::new();
        for (part, message) in (1..=parts).zip(&rendered.messages) {
            let covers = message
                .covers
                .iter()
                .filter_map(|no| {
                    under_way
                        .tells
                        .get(no)
                        .map(|telling| (*no, telling.said, telling.episodes))
                })
                .collect();
            let body = std::sync::Arc::clone(&message.body);
            rows.insert(
                part,
                InFlightRow {
                    receiver: name.clone(),
                    endpoint: endpoint.clone(),
                    parts,
                    urgent,
                    body,
                    covers,
                    attempts: 0,
                },
            );
        }
        let saved = (rows.iter()).map(|(part, row)| (MessageId { digest, part: *part }, Some(row.clone())));
        self.dirty.rows.in_flight.extend(saved);
        let changes = under_way.tells.len();
        under_way.stage = Stage::Sending(Sending {
            parts: rows,
            doubtful: false,
            retry_at: None,
            reserved: true,
        });
        if let Some(budget) = endpoint
            .as_ref()
            .and_then(|endpoint| self.budgets.get_mut(endpoint))
        {
            budget.close(places);
            budget.open(u32::from(parts));
        }
        self.record_composed(&name, digest, rendered, counts, changes);
        if parts == 0 {
            // A renderer that renders nothing is a bug; the changes must not hang on it.
            self.abandon(&name, "not_rendered");
            self.fail(&name);
        } else {
            self.send_next(&name);
        }
    }

    fn record_composed(
        &mut self,
        receiver: &ReceiverName,
        digest: DigestId,
        rendered: &Rendered,
        counts: BTreeMap<String, u64>,
        changes: usize,
    ) {
        let endpoint = self
            .desks
            .get(receiver)
            .and_then(|desk| desk.under_way.as_ref()?.endpoint.clone());
        for (part, message) in (1..).zip(&rendered.messages) {
            let row = MessageRow {
                endpoint: endpoint.clone(),
                sent_at: None,
                attempts: 0,
                errcode: None,
                title: message.title.clone(),
                text: message.text.clone(),
            };
            self.dirty.rows.messages.insert(MessageId { digest, part }, row);
        }
        let row = DigestRow {
            receiver: receiver.clone(),
            composed_at: self.now.time,
            detail: rendered.detail.as_str().to_owned(),
            counts,
            outcome: "pending".to_owned(),
        };
        self.dirty.rows.digests.insert(digest, row);
        self.effects.push_back(Effect::Event(Event::Composed {
            digest,
            receiver: receiver.clone(),
            changes,
            detail: rendered.detail,
            messages: rendered.messages.len(),
            template_error: rendered.template_error.clone(),
        }));
    }

    /// Sends the first part that is not known to be delivered.
    fn send_next(&mut self, name: &ReceiverName) {
        let Some(under_way) = self.desks.get_mut(name).and_then(|desk| desk.under_way.as_mut()) else {
            return;
        };
        let (digest, endpoint) = (under_way.digest, under_way.endpoint.clone());
        let Stage::Sending(sending) = &mut under_way.stage else {
            return;
        };
        let Some((part, row)) = sending.parts.iter_mut().next() else {
            return;
        };
        row.attempts += 1;
        let (message, row) = (MessageId { digest, part: *part }, row.clone());
        // A first attempt has had its place since the digest was rendered.
        if sending.retry_at.take().is_some()
            && let Some(budget) = endpoint
                .as_ref()
                .and_then(|endpoint| self.budgets.get_mut(endpoint))
        {
            budget.open(1);
        }
        // What is on its way takes its place of the minute on disk, too: should the process end before the answer is
        // written, the next one knows of it.
        self.dirty.endpoints.extend(endpoint.clone());
        let body = std::sync::Arc::clone(&row.body);
        self.save_in_flight(message, Some(row));
        self.effects.push_back(Effect::Send(Send {
            message,
            endpoint,
            body,
        }));
    }

    /// The receiver whose digest this is.
    fn receiver_of(&self, digest: DigestId) -> Option<ReceiverName> {
        self.desks
            .iter()
            .find(|(_, desk)| {
                desk.under_way
                    .as_ref()
                    .is_some_and(|under_way| under_way.digest == digest)
            })
            .map(|(name, _)| name.clone())
    }

    /// A message was tried.
    pub(super) fn answered(&mut self, message: MessageId, answer: &Answer) {
        let Some(name) = self.receiver_of(message.digest) else {
            return;
        };
        let Some(under_way) = self.desks.get(&name).and_then(|desk| desk.under_way.as_ref()) else {
            return;
        };
        let endpoint = under_way.endpoint.clone();
        let Stage::Sending(sending) = &under_way.stage else {
            return;
        };
        if sending.parts.first_key_value().map(|(part, _)| *part) != Some(message.part) {
            return;
        }
        let attempts = sending.parts.get(&message.part).map_or(0, |row| row.attempts);
        self.count_attempt(endpoint.as_ref(), answer.outcome);
        let attempt = AttemptRow {
            sent_at: Some(self.now.time),
            attempts,
            errcode: answer.errcode,
        };
        self.dirty.rows.attempts.insert(message, attempt);
        self.effects.push_back(Effect::Event(Event::Answered {
            message,
            receiver: name.clone(),
            endpoint: endpoint.clone(),
            answer: answer.clone(),
        }));
        if let Some(endpoint) = &endpoint {
            self.pause_after(endpoint, answer);
        }
        self.settle_attempt(&name, message, answer);
        self.touched.insert(name);
    }

    /// What one answer means for the digest it belongs to.
    fn settle_attempt(&mut self, name: &ReceiverName, message: MessageId, answer: &Answer) {
        let repeats = self.may_try(name);
        let doubtful = self.sending(name).is_some_and(|sending| sending.doubtful);
        match answer.outcome {
            Outcome::Delivered => self.delivered(name, message),
            Outcome::Unknown if repeats => self.keep_trying(name, message),
            // An earlier attempt may have arrived: only the same message may be sent again.
            Outcome::Retry | Outcome::Limited(_) | Outcome::Blocked(_) | Outcome::Quota
                if doubtful && repeats =>
            {
                self.keep_trying(name, message);
            }
            Outcome::Limited(_) | Outcome::Blocked(_) | Outcome::Quota | Outcome::Refused(_) => {
                // The pause makes it wait; another endpoint or a fallback may take over at once.
                self.abandon(name, answer.outcome.as_str());
            }
            Outcome::Retry | Outcome::Unknown => {
                self.abandon(name, answer.outcome.as_str());
                self.fail(name);
            }
            Outcome::Rejected(why) => {
                self.abandon(name, answer.outcome.as_str());
                self.fail(name);
                self.make_acceptable(name, why, answer.errcode);
            }
        }
    }

    /// Whether the message under way may be tried once more, should it have arrived.
    fn may_try(&self, name: &ReceiverName) -> bool {
        let Some(under_way) = self.desks.get(name).and_then(|desk| desk.under_way.as_ref()) else {
            return true;
        };
        let Stage::Sending(sending) = &under_way.stage else {
            return true;
        };
        let endpoint = (under_way.endpoint.as_ref()).and_then(|name| self.plan.endpoints.get(name));
        endpoint.is_none_or(Endpoint::folds_repeats)
            || (sending.parts.values().next()).is_none_or(|row| row.attempts < UNFOLDED_ATTEMPTS_MAX)
    }

    fn sending(&mut self, name: &ReceiverName) -> Option<&mut Sending> {
        match &mut self.desks.get_mut(name)?.under_way.as_mut()?.stage {
            Stage::Sending(sending) => Some(sending),
            Stage::Composing { .. } => None,
        }
    }

    /// An attempt occupies its place of the endpoint's minute, and counts against the month if it may have arrived.
    fn count_attempt(&mut self, endpoint: Option<&EndpointName>, outcome: Outcome) {
        let Some(endpoint) = endpoint else { return };
        let (month, _) = Month::of(self.now.time, &self.plan.timezone);
        let Some(budget) = self.budgets.get_mut(endpoint) else {
            return;
        };
        budget.answered(self.now.tick);
        self.dirty.endpoints.insert(endpoint.clone());
        if !matches!(outcome, Outcome::Delivered | Outcome::Unknown) {
            return;
        }
        budget.count(month, self.now.tick);
        let quota = Quota::of(endpoint);
        let used = self.used(quota, month);
        let Some(allowed) = self.plan.dingtalk.quota(quota) else {
            return;
        };
        if pace(used, allowed, Span::days(1)).is_none() {
            self.quota_warned.remove(&quota);
        } else if self.quota_warned.insert(quota) {
            let near = Event::QuotaNear { quota, used, allowed };
            self.effects.push_back(Effect::Event(near));
        }
    }

    /// Silences endpoints as the answer demands.
    fn pause_after(&mut self, endpoint: &EndpointName, answer: &Answer) {
        let (reason, span) = match answer.outcome {
            Outcome::Limited(span) => (PauseReason::Limited, span),
            Outcome::Blocked(span) => (PauseReason::Blocked, span),
            Outcome::Quota => (PauseReason::Quota, QUOTA_PAUSE),
            Outcome::Refused(Refused::Clock) => (PauseReason::Refused(Refused::Clock), CLOCK_PAUSE),
            Outcome::Refused(what) => (PauseReason::Refused(what), REFUSED_PAUSE),
            Outcome::Delivered | Outcome::Retry | Outcome::Rejected(_) | Outcome::Unknown => return,
        };
        let now = self.now.tick;
        let app = self.plan.endpoints.get(endpoint).and_then(Endpoint::app);
        let of_app = |name| app.is_some() && app == self.plan.endpoints.get(name).and_then(Endpoint::app);
        for (name, budget) in &mut self.budgets {
            let reached = match reason.reaches() {
                Reach::Endpoint => name == endpoint,
                Reach::App => name == endpoint || of_app(name),
                Reach::Everybody => true,
            };
            if reached {
                budget.pause(reason, span, now);
                self.dirty.endpoints.insert(name.clone());
            }
        }
        self.effects.push_back(Effect::Event(Event::Paused {
            endpoint: endpoint.clone(),
            reason: reason.as_str(),
            span,
            detail: answer.detail.clone(),
        }));
    }

    /// A part arrived: what it covers is told.
    fn delivered(&mut self, name: &ReceiverName, message: MessageId) {
        let at = self.now.time;
        let Some(desk) = self.desks.get_mut(name) else {
            return;
        };
        let Some(under_way) = &mut desk.under_way else {
            return;
        };
        let Stage::Sending(sending) = &mut under_way.stage else {
            return;
        };
        let Some(row) = sending.parts.remove(&message.part) else {
            return;
        };
        sending.doubtful = false;
        let done = sending.parts.is_empty();
        if !done && !sending.reserved {
            // The next part finds its place by itself.
            sending.retry_at = Some(self.now.tick);
        }
        let at_once = sending.reserved;
        for (no, said, episodes) in &row.covers {
            under_way.tells.remove(no);
            desk.told.insert(
                *no,
                ToldRow {
                    said: *said,
                    episodes: *episodes,
                    at,
                    digest: message.digest,
                },
            );
        }
        desk.failures = 0;
        if done {
            desk.served = Some(self.now.tick);
            desk.detail_max = Detail::Full;
            desk.content_refused = None;
            self.dirty.rows.served.insert(name.clone(), at);
        }
        self.save_in_flight(message, None);
        for (no, said, _) in row.covers {
            self.dirty.told.insert((name.clone(), no));
            if said.owes_an_end()
                && self.plan.receivers.contains_key(name)
                && let Some(record) = self.truth.get_mut(no)
            {
                // It may have gone elsewhere meanwhile; its end is owed all the same.
                record.concern_as_former(name);
            }
            if said == Said::Firing {
                self.watch_reminder(name, no, at);
            }
            // What happened to it meanwhile is a new difference.
            self.compare(no, name, self.now.tick);
        }
        if done {
            self.abandon(name, Outcome::Delivered.as_str());
        } else if at_once {
            self.send_next(name);
        }
    }

    /// The message may have arrived: the same bytes are tried again after a while.
    fn keep_trying(&mut self, name: &ReceiverName, message: MessageId) {
        let jitter = self.random();
        let at = self.now.tick;
        let endpoint = self
            .desks
            .get(name)
            .and_then(|desk| desk.under_way.as_ref()?.endpoint.clone());
        let Some(sending) = self.sending(name) else { return };
        let attempts = sending.parts.get(&message.part).map_or(1, |row| row.attempts);
        sending.doubtful = true;
        sending.retry_at = Some(at.plus(jittered(backoff(attempts), jitter).min(BACKOFF_URGENT_MAX)));
        let kept = sending.places_kept();
        sending.reserved = false;
        if let Some(budget) = endpoint.and_then(|endpoint| self.budgets.get_mut(&endpoint)) {
            budget.close(kept);
        }
    }

    /// Gives up what is left of the digest under way: it is a difference like any other again.
    fn abandon(&mut self, name: &ReceiverName, outcome: &'static str) {
        let Some(under_way) = self.desks.get_mut(name).and_then(|desk| desk.under_way.take()) else {
            return;
        };
        if let Stage::Sending(sending) = &under_way.stage {
            for part in sending.parts.keys() {
                self.save_in_flight(
                    MessageId {
                        digest: under_way.digest,
                        part: *part,
                    },
                    None,
                );
            }
            if let Some(budget) = under_way
                .endpoint
                .as_ref()
                .and_then(|endpoint| self.budgets.get_mut(endpoint))
            {
                budget.close(sending.places_kept());
            }
        }
        self.dirty
            .rows
            .outcomes
            .insert(under_way.digest, outcome.to_owned());
        for (no, telling) in under_way.tells {
            self.compare(no, name, telling.since);
        }
        self.touched.insert(name.clone());
    }

    /// Compares truth with told of one alert for one receiver.
    pub(super) fn compare(&mut self, no: AlertNo, name: &ReceiverName, since: Tick) {
        if let Some(concern) = self
            .truth
            .get(no)
            .and_then(|record| record.concern(name))
            .cloned()
        {
            self.reconsider_for(no, &concern, since);
        }
    }

    /// Makes a receiver wait after a failure.
    fn fail(&mut self, name: &ReceiverName) {
        let jitter = self.random();
        let Some(desk) = self.desks.get_mut(name) else {
            return;
        };
        desk.failures = desk.failures.saturating_add(1);
        let wait = jittered(backoff(desk.failures), jitter);
        desk.retry_at = self.now.tick.plus(wait);
        desk.urgent_retry_at = self.now.tick.plus(wait.min(BACKOFF_URGENT_MAX));
    }

    /// Makes the next digest one that DingTalk will take.
    fn make_acceptable(&mut self, name: &ReceiverName, why: Rejected, errcode: Option<i64>) {
        let Some(desk) = self.desks.get_mut(name) else {
            return;
        };
        match why {
            Rejected::Size if desk.message_bytes_max > MESSAGE_BYTES_MIN => {
                desk.message_bytes_max = (desk.message_bytes_max / 2).max(MESSAGE_BYTES_MIN);
            }
            Rejected::Size | Rejected::Content | Rejected::Malformed => {
                desk.detail_max = Detail::Stub;
                desk.content_refused = Some(Notice::ContentRefused { errcode });
            }
        }
    }

    /// Takes up messages whose outcome was not known when the process ended: they are sent again as they were.
    pub(super) fn restore_in_flight(&mut self, rows: Vec<(MessageId, InFlightRow)>) {
        let now = self.now.tick;
        for (message, row) in rows {
            let (name, endpoint) = (row.receiver.clone(), row.endpoint.clone());
            let under_way = self.desk(&name).under_way.get_or_insert_with(|| UnderWay {
                digest: message.digest,
                endpoint: endpoint.clone(),
                tells: BTreeMap::new(),
                stage: Stage::Sending(Sending {
                    parts: BTreeMap::new(),
                    doubtful: true,
                    retry_at: Some(now),
                    reserved: false,
                }),
            });
            for (no, said, episodes) in &row.covers {
                let telling = Telling {
                    said: *said,
                    episodes: *episodes,
                    since: now,
                };
                under_way.tells.insert(*no, telling);
            }
            let Stage::Sending(sending) = &mut under_way.stage else {
                continue;
            };
            sending.parts.insert(message.part, row);
        }
    }
}

/// A wait moved by up to a fifth either way, so that receivers that failed together do not return together.
fn jittered(span: Span, random: u64) -> Span {
    let fifth = span.0 / 5;
    Span(span.0 - fifth + random % (2 * fifth + 1))
}

/// What a digest is told about one change.
fn entry(no: AlertNo, record: &Record, change: Change, told: Option<&ToldRow>, route: &Route) -> Entry {
    let texts = record.words.texts();
    let episodes = if change == Change::Flapping {
        u32::try_from(record.recent.len()).unwrap_or(u32::MAX)
    } else {
        record
            .episodes
            .saturating_sub(told.map_or(0, |told| told.episodes))
            .max(1)
    };
    Entry {
        alert: no,
        change,
        urgent: route.urgent,
        severity: record.severity,
        group_by: route.group_by.clone(),
        source: record.words.source().clone(),
        fingerprint: record.fingerprint,
        status: if record.state == State::Firing {
            Status::Firing
        } else {
            Status::Resolved
        },
        labels: texts.labels,
        annotations: texts.annotations,
        links: texts.links,
        values: texts.values,
        starts_at: record.starts_at,
        ends_at: record.ends_at,
        episodes,
    }
}
