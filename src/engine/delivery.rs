//! From a due receiver to what it was told: who carries a digest, when, and what each answer means.
//!
//! A receiver has at most one digest under way. Its parts go out in order, each after the one before was
//! delivered. What an attempt that surely failed leaves behind is nothing: its changes wait again and the next
//! digest tells them as they are then. Only a message that *may* have arrived is kept, and is sent again byte for
//! byte under the same `msgUuid` until an answer settles it, or until its endpoint must be silent and another can tell
//! what it tells, or is configured to be another; where DingTalk folds no repetitions, it is sent again once.
//!
//! The last part may be a picture, which covers nothing: it shows what the parts before it have told. It is tried once,
//! and whatever becomes of it changes nothing but the pauses that an answer demands.

use std::collections::BTreeMap;

use super::budget::{Budget, Month, Pause, PauseReason, Reach, is_used_up, left, pace, room_at};
use super::desk::{Composing, Desk, Places, Sending, Stage, Telling, UnderWay};
use super::limits::{
    BACKOFF_URGENT_MAX, BUDGET_WINDOW, CLOCK_PAUSE, MESSAGE_BYTES_MIN, QUOTA_PAUSE, REFUSED_PAUSE,
    UNFOLDED_ATTEMPTS_MAX, backoff,
};
use super::outcome::{Refused, Rejected};
use super::truth::{Concern, Record};
use super::view::WaitsFor;
use super::{Answer, Effect, Engine, Event, Outcome, Send, told};
use crate::alert::{AlertNo, DigestId, EndpointName, MessageId, ReceiverName, Span, Status, Tick};
use crate::digest::{Change, Detail, Draft, Entry, Fit, Notice, Rendered};
use crate::plan::{Channel, Endpoint, Quota, Receiver, Route, RouteId};
use crate::store::{AttemptRow, Cover, DigestRow, InFlightRow, MessageRow, Said, State, ToldRow};

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
    /// The bot of a message that may have arrived must be silent, or its app has told everybody what it may in a day,
    /// and another can tell what it tells: better twice than late.
    TakeOver { carrier: Carrier, urgent: bool },
    /// Yes.
    Ready { carrier: Carrier, urgent: bool },
    /// Yes, together with others: it is to read just what a draft says that is handed out at this moment.
    Joins { draft: DigestId },
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
            self.look_back(&receiver);
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
                Appointment::Joins { draft } => {
                    self.join(&receiver, draft);
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
        // Whoever it joins keeps the month's pace for both.
        if let Some(draft) = self.draft_to_join(receiver, desk, due.urgent) {
            return Appointment::Joins { draft };
        }
        if let Some(until) = (self.paced_until(receiver.quota())).filter(|until| !due.urgent && *until > now)
        {
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
            Stage::Composing(_) => {
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
            return self.appointment_of_another(name, urgent, (pause.until, WaitsFor::Pause));
        }
        if let Some(backoff) = backoff {
            return backoff;
        }
        let (sharing, rate) = (self.sharing(endpoint), endpoint.rate());
        if left(&sharing, rate, urgent, now) > 0 {
            return Appointment::Resend;
        }
        let (room_at, waits_for) = (
            room_at(&sharing, rate, urgent, now),
            WaitsFor::room_in(rate.window),
        );
        if endpoint.is_to_everybody() {
            // That may be in a day.
            return self.appointment_of_another(name, urgent, (room_at, waits_for));
        }
        Appointment::Waits {
            until: Some(room_at.unwrap_or(now.plus(Span::seconds(1)))),
            waits_for,
        }
    }

    /// What becomes of a message whose endpoint must be silent, until when and for what.
    fn appointment_of_another(
        &self,
        name: &ReceiverName,
        urgent: bool,
        (silent_until, silent_for): (Option<Tick>, WaitsFor),
    ) -> Appointment {
        let waits = |until: Option<Tick>, waits_for| Appointment::Waits {
            until: until.into_iter().chain(silent_until).min(),
            waits_for,
        };
        // Nothing is composed in its place by who shuts down, or must spare the month's quota for a while.
        let receiver = self.plan.receivers.get(name).filter(|_| !self.draining);
        let paced_until = receiver
            .and_then(|receiver| self.paced_until(receiver.quota()))
            .filter(|until| !urgent && *until > self.now.tick);
        if let Some(paced) = paced_until {
            let is_first = silent_until.is_none_or(|silent| paced < silent);
            return waits(paced_until, if is_first { WaitsFor::Quota } else { silent_for });
        }
        match receiver.map(|receiver| self.carrier(receiver, urgent)) {
            Some(Ok(carrier)) => Appointment::TakeOver { carrier, urgent },
            Some(Err((until, waits_for))) => waits(until, waits_for),
            None => waits(None, silent_for),
        }
    }

    /// Until when what is not urgent must wait so that the month's quota lasts.
    pub(super) fn paced_until(&self, quota: Quota) -> Option<Tick> {
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
        let Some(sharing) = endpoint.shared_rate().and_then(|rate| self.sharing.get(&rate)) else {
            return self.budgets.get(&endpoint.name).into_iter().collect();
        };
        sharing.iter().filter_map(|name| self.budgets.get(name)).collect()
    }

    /// Under which name the places of a message through an endpoint are counted.
    pub(super) fn counted_as(&self, endpoint: Option<&EndpointName>) -> Option<EndpointName> {
        let configured = endpoint.and_then(|name| self.plan.endpoints.get(name));
        configured.map_or(endpoint.cloned(), |endpoint| Some(endpoint.counted_as()))
    }

    /// The budget in which the digest under way for a receiver has its places.
    fn places(&mut self, name: &ReceiverName) -> Option<&mut Budget> {
        let under_way = self.desks.get(name)?.under_way.as_ref()?;
        self.budgets.get_mut(under_way.counted_as.as_ref()?)
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
        let mut frees_at: Option<(Option<Tick>, Span)> = None;
        let mut silences = Vec::new();
        for name in endpoints {
            let Some(endpoint) = self.plan.endpoints.get(name) else {
                continue;
            };
            if let Some((pause, waits_for)) = self.silence(endpoint, urgent) {
                silences.push((pause, waits_for, name));
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
            let others = frees_at.and_then(|(at, _)| at);
            frees_at = Some((others.into_iter().chain(at).min(), rate.window));
        }
        if let Some((_, places, endpoint)) = room {
            return Ok(Carrier {
                endpoint: Some(endpoint.clone()),
                places,
                notice: None,
            });
        }
        if let Some((at, window)) = frees_at {
            // Without a known time an answer frees the place; look again soon all the same.
            let at = at.unwrap_or(now.plus(Span::seconds(1)));
            return Err((Some(at), WaitsFor::room_in(window)));
        }
        let ends = silences
            .iter()
            .filter_map(|(pause, waits_for, _)| Some((pause.until?, *waits_for)));
        let first = ends.min_by_key(|(until, _)| *until);
        let (mut until, waits_for) = first.map_or((None, WaitsFor::Pause), |(at, why)| (Some(at), why));
        let fallback = (receiver.fallback.as_ref()).filter(|_| self.speaks_for_all(receiver, urgent));
        if let (Some(fallback), Some((pause, _, endpoint))) = (fallback, silences.first()) {
            let notice = Notice::Fallback {
                through: fallback.clone(),
                endpoint: (*endpoint).clone(),
                reason: pause.reason.as_str(),
                until: pause.until.map(|until| self.now.time.plus(until.since(now))),
            };
            for member in self.plan.members(fallback.as_str()) {
                match self.carrier(member, urgent) {
                    Ok(carrier) => {
                        let notice = Some(notice);
                        return Ok(Carrier { notice, ..carrier });
                    }
                    Err((at, _)) => until = until.into_iter().chain(at).min(),
                }
            }
        }
        Err((until, waits_for))
    }

    /// What silences an endpoint for long: its pause, or its day.
    fn silence(&self, endpoint: &Endpoint, urgent: bool) -> Option<(Pause, WaitsFor)> {
        let budget = self.budgets.get(&endpoint.name);
        let paused = budget.and_then(|budget| budget.paused(self.now.tick));
        let day = || self.full_day(endpoint, urgent).map(|day| (day, WaitsFor::Day));
        paused.map(|pause| (pause, WaitsFor::Pause)).or_else(day)
    }

    /// What silences an endpoint whose day of notices to everybody has no place left: that may be for hours, so it is
    /// as good as a pause. What is still on its way may give its place back, and is waited for.
    fn full_day(&self, endpoint: &Endpoint, urgent: bool) -> Option<Pause> {
        // All others would be counted for nothing.
        if !endpoint.is_to_everybody() {
            return None;
        }
        let now = self.now.tick;
        let (sharing, rate) = (self.sharing(endpoint), endpoint.rate());
        // Without a known time an answer frees the place.
        let until = || room_at(&sharing, rate, urgent, now).unwrap_or(now.plus(Span::seconds(1)));
        is_used_up(&sharing, rate, urgent, now).then(|| Pause {
            until: Some(until()),
            reason: PauseReason::Day,
        })
    }

    /// Whether it is this one whose digests go to the fallback of its configured receiver: nobody of that receiver can
    /// be told anything, and one of them speaks for all. So the fallback hears everything once; not from somebody who
    /// has been gone for long and missed much, if that can be had.
    pub(super) fn speaks_for_all(&self, receiver: &Receiver, urgent: bool) -> bool {
        let members = || self.plan.members(receiver.name.configured());
        let speaker = members()
            .find(|member| !self.is_gone(member))
            .or(members().next());
        speaker.is_some_and(|speaker| speaker.name == receiver.name)
            && members().all(|member| self.is_silenced(member, urgent))
    }

    /// Whether all its endpoints must be silent: for what is not urgent, in a way that does not pass by itself.
    fn is_silenced(&self, receiver: &Receiver, urgent: bool) -> bool {
        self.all_silent(receiver, urgent, |pause| urgent || pause.reason.needs_operator())
    }

    /// Whether nobody is there to be told before the configuration is loaded again.
    pub(super) fn is_gone(&self, receiver: &Receiver) -> bool {
        self.all_silent(receiver, true, |pause| pause.until.is_none())
    }

    fn all_silent(&self, receiver: &Receiver, urgent: bool, counts: impl Fn(Pause) -> bool) -> bool {
        let silence = |name| self.silence(self.plan.endpoints.get(name)?, urgent);
        let is_silent = |name| silence(name).is_some_and(|(pause, _)| counts(pause));
        !receiver.endpoints().is_empty() && receiver.endpoints().iter().all(is_silent)
    }

    /// Takes everything a receiver may be told at this moment and hands it out to be composed.
    fn serve(&mut self, name: &ReceiverName, carrier: Carrier, urgent: bool) {
        let Some(receiver) = self.plan.receivers.get(name) else {
            return;
        };
        let messages_max = u32::from(receiver.max_messages.get()).min(carrier.places);
        let messages_max = if self.paced_until(receiver.quota()).is_some() && !urgent {
            1
        } else {
            messages_max
        };
        let entries = self.entries(name);
        if entries.is_empty() {
            return;
        }
        let tells = self.take_changes(name);
        let counted_as = self.counted_as(carrier.endpoint.as_ref());
        let id = self.next_digest();
        let message_bytes_max = (self.desks.get(name)).map_or(MESSAGE_BYTES_MIN, |desk| {
            self.message_bytes_max(desk, carrier.endpoint.as_ref())
        });
        let desk = self.desks.entry(name.clone()).or_default();
        let refused = desk.content_refused.clone();
        let draft = Draft {
            id,
            // The number alone would be given again: to the digest after a crash, when the store could not take in
            // what was sent before it.
            uuid_prefix: format!("{}-{id}", self.run),
            receiver: name.clone(),
            others: Vec::new(),
            endpoint: carrier.endpoint.clone(),
            composed_at: self.now.time,
            urgent,
            firing: desk.firing,
            notices: carrier.notice.into_iter().chain(refused).collect(),
            fit: Fit {
                messages_max: u8::try_from(messages_max).unwrap_or(u8::MAX),
                message_bytes_max,
                detail_max: desk.detail_max,
            },
            entries,
        };
        self.under_way.insert(id, name.clone());
        desk.under_way = Some(UnderWay {
            digest: id,
            endpoint: carrier.endpoint,
            counted_as,
            tells,
            stage: Stage::Composing(Composing {
                draft: id,
                places: messages_max,
                urgent,
                counts: counts(&draft),
            }),
        });
        if let Some(budget) = self.places(name) {
            budget.open(messages_max);
        }
        self.effects.push_back(Effect::Digest(Box::new(draft)));
    }

    /// The number of a new digest.
    pub(super) fn next_digest(&mut self) -> DigestId {
        let id = self.next_digest;
        self.next_digest = DigestId(id.0 + 1);
        id
    }

    /// The changes of every lane of a desk that may speak, each with its route.
    pub(super) fn changes_of<'a>(
        &'a self,
        desk: &'a Desk,
        name: &'a ReceiverName,
    ) -> impl Iterator<Item = (AlertNo, &'a Record, Change, &'a Route)> {
        let speaks = |id: RouteId| self.plan.speaks(self.plan.routes.get(id), self.now.time);
        let lanes = desk.lanes.iter().filter(move |(id, _)| speaks(**id));
        lanes.flat_map(|(_, lane)| lane.numbers()).filter_map(|no| {
            let record = self.truth.get(no)?;
            let concern = record.concern(name)?;
            let change = self.change_for(no, concern)?;
            Some((no, record, change, self.plan.routes.get(concern.route)))
        })
    }

    /// What a digest would be told about them.
    fn entries(&self, name: &ReceiverName) -> Vec<Entry> {
        let Some(desk) = self.desks.get(name) else {
            return Vec::new();
        };
        self.changes_of(desk, name)
            .map(|(no, record, change, route)| entry(no, record, change, desk.told.get(&no), route))
            .collect()
    }

    /// Takes the changes of every lane that may speak off a desk.
    pub(super) fn take_changes(&mut self, name: &ReceiverName) -> BTreeMap<AlertNo, Telling> {
        let mut taken = Vec::new();
        if let Some(desk) = self.desks.get_mut(name) {
            for (id, lane) in &mut desk.lanes {
                if self.plan.speaks(self.plan.routes.get(*id), self.now.time) {
                    taken.extend(lane.take());
                }
            }
        }
        let telling = |(no, since)| {
            let record = self.truth.get(no)?;
            let change = self.change_for(no, record.concern(name)?)?;
            let telling = Telling {
                said: told::said(change),
                episodes: record.episodes,
                since,
                news: None,
            };
            Some((no, telling))
        };
        taken.into_iter().filter_map(telling).collect()
    }

    /// A draft came back as messages: they are saved for everybody it was made for, and the first ones go out after
    /// that.
    pub(super) fn rendered(&mut self, draft: DigestId, rendered: &Rendered) {
        let awaits = |under_way: &UnderWay| match &under_way.stage {
            Stage::Composing(composing) => composing.draft == draft,
            Stage::Sending(_) => false,
        };
        let readers = self
            .desks
            .iter()
            .filter(|(_, desk)| desk.under_way.as_ref().is_some_and(awaits));
        let readers: Vec<ReceiverName> = readers.map(|(name, _)| name.clone()).collect();
        for name in readers {
            self.take_rendered(&name, rendered);
        }
    }

    fn take_rendered(&mut self, name: &ReceiverName, rendered: &Rendered) {
        let Some(under_way) = self.desks.get_mut(name).and_then(|desk| desk.under_way.as_mut()) else {
            return;
        };
        let Stage::Composing(composing) = &mut under_way.stage else {
            return;
        };
        let (places, urgent, counts) = (
            composing.places,
            composing.urgent,
            std::mem::take(&mut composing.counts),
        );
        let (digest, endpoint) = (under_way.digest, under_way.endpoint.clone());
        let joins = composing.draft != digest;
        let parts = u8::try_from(rendered.messages.len()).unwrap_or(u8::MAX);
        let mut rows = BTreeMap::new();
        for (part, message) in (1..=parts).zip(&rendered.messages) {
            let cover = |no: &AlertNo| {
                let telling = under_way.tells.get(no)?;
                Some((*no, telling.said, telling.episodes))
            };
            let covers: Vec<Cover> = message.covers.iter().filter_map(cover).collect();
            let kept = MessageRow {
                endpoint: endpoint.clone(),
                sent_at: None,
                attempts: 0,
                outcome: None,
                errcode: None,
                answer: None,
                covers: covers.clone(),
                title: message.title.clone(),
                text: message.text.clone(),
            };
            self.dirty.rows.messages.insert(MessageId { digest, part }, kept);
            rows.insert(
                part,
                InFlightRow {
                    receiver: name.clone(),
                    endpoint: endpoint.clone(),
                    parts,
                    urgent,
                    body: std::sync::Arc::clone(&message.body),
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
            places: if joins { Places::Joined } else { Places::Kept },
        });
        if let Some(budget) = self.places(name) {
            budget.close(places);
            budget.open(if joins { 0 } else { u32::from(parts) });
        }
        self.record_composed(name, digest, rendered, counts, changes);
        if parts == 0 {
            // A renderer that renders nothing is a bug; the changes must not hang on it.
            self.abandon(name, "not_rendered");
            let jitter = self.random();
            self.fail(name, jitter);
        } else {
            self.send_next(name);
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
        let counted_as = under_way.counted_as.clone();
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
            && let Some(budget) = counted_as.as_ref().and_then(|name| self.budgets.get_mut(name))
        {
            budget.open(1);
        }
        // What is on its way takes its place of the minute on disk, too: should the process end before the answer is
        // written, the next one knows of it.
        self.dirty.endpoints.extend(counted_as);
        let body = std::sync::Arc::clone(&row.body);
        self.save_in_flight(message, Some(row));
        self.effects.push_back(Effect::Send(Send {
            message,
            endpoint,
            body,
        }));
    }

    /// A call was made, with one message or with several that are equal.
    pub(super) fn answered(&mut self, answers: &[(MessageId, Answer)]) {
        self.count_call(answers);
        let receipts = self.receipts_of(answers);
        // What failed together is tried again together.
        let all_well = answers
            .iter()
            .all(|(_, answer)| answer.outcome == Outcome::Delivered);
        let jitter = if all_well { 0 } else { self.random() };
        for (message, answer) in answers {
            self.answer(*message, answer, jitter);
        }
        self.keep(receipts);
    }

    /// The receiver and the endpoint of a message whose answer is awaited.
    fn awaited(&self, message: MessageId) -> Option<(ReceiverName, Option<EndpointName>)> {
        let (name, row) = self.awaited_row(message)?;
        Some((name.clone(), row.endpoint.clone()))
    }

    /// The receiver of a message whose answer is awaited, and its row.
    pub(super) fn awaited_row(&self, message: MessageId) -> Option<(&ReceiverName, &InFlightRow)> {
        let name = self.under_way.get(&message.digest)?;
        let under_way = self.desks.get(name)?.under_way.as_ref()?;
        let Stage::Sending(sending) = &under_way.stage else {
            return None;
        };
        let (part, row) = sending.parts.first_key_value()?;
        (*part == message.part).then_some((name, row))
    }

    /// Whether a digest is told as a whole once this message, whose answer is awaited, has arrived.
    pub(super) fn completes(&self, message: MessageId) -> bool {
        let under_way = |name| self.desks.get(name)?.under_way.as_ref();
        let under_way = self.under_way.get(&message.digest).and_then(under_way);
        under_way.is_some_and(|under_way| match &under_way.stage {
            Stage::Sending(sending) => {
                let mut tell = sending.parts.values().map(|row| !row.covers.is_empty());
                tell.next() == Some(true) && !tell.any(|tells| tells)
            }
            Stage::Composing(_) => false,
        })
    }

    /// One message was tried.
    fn answer(&mut self, message: MessageId, answer: &Answer, jitter: u64) {
        let Some((name, endpoint)) = self.awaited(message) else {
            return;
        };
        let Some(sending) = self.sending(&name) else {
            return;
        };
        let attempts = sending.parts.get(&message.part).map_or(0, |row| row.attempts);
        let has_place = sending.places != Places::Joined;
        if let Some(budget) = self.places(&name) {
            budget.close(u32::from(has_place));
        }
        let under_way = self.desks.get(&name).and_then(|desk| desk.under_way.as_ref());
        self.dirty
            .endpoints
            .extend(under_way.and_then(|it| it.counted_as.clone()));
        let attempt = AttemptRow {
            sent_at: Some(self.now.time),
            attempts,
            outcome: Some(answer.outcome.as_str().to_owned()),
            errcode: answer.errcode,
            answer: (!answer.detail.is_empty()).then(|| answer.detail.clone()),
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
        self.settle_attempt(&name, message, answer, jitter);
        self.touched.insert(name);
    }

    /// What one answer means for the digest it belongs to.
    fn settle_attempt(&mut self, name: &ReceiverName, message: MessageId, answer: &Answer, jitter: u64) {
        let repeats = self.may_try(name);
        let sending = self.sending(name);
        let (doubtful, told) =
            sending.map_or((false, false), |sending| (sending.doubtful, sending.is_told()));
        if told && answer.outcome != Outcome::Delivered {
            self.abandon(name, answer.outcome.as_str());
            return;
        }
        match answer.outcome {
            Outcome::Delivered => self.delivered(name, message),
            Outcome::Unknown if repeats => self.keep_trying(name, message, jitter),
            // An earlier attempt may have arrived: only the same message may be sent again.
            Outcome::Retry
            | Outcome::Limited(_)
            | Outcome::Throttled(_)
            | Outcome::Blocked(_)
            | Outcome::Quota
                if doubtful && repeats =>
            {
                self.keep_trying(name, message, jitter);
            }
            Outcome::Limited(_)
            | Outcome::Throttled(_)
            | Outcome::Blocked(_)
            | Outcome::Quota
            | Outcome::Refused(_) => {
                // The pause makes it wait; another endpoint or a fallback may take over at once.
                self.abandon(name, answer.outcome.as_str());
            }
            Outcome::Retry | Outcome::Outdated | Outcome::Unknown => {
                self.abandon(name, answer.outcome.as_str());
                self.fail(name, jitter);
            }
            Outcome::Rejected(why) => {
                self.make_acceptable(name, why, answer.errcode);
                self.abandon(name, answer.outcome.as_str());
                self.fail(name, jitter);
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
            Stage::Composing(_) => None,
        }
    }

    /// A call occupies a place of the endpoint's window, and counts against the month if anything of it may have
    /// arrived; once, however many messages went along. Of the few notices to everybody in a day it is one only if it
    /// may have arrived, or if DingTalk took it: then more than one call was made for it.
    fn count_call(&mut self, answers: &[(MessageId, Answer)]) {
        let under_way = |(message, _): &(MessageId, Answer)| {
            let (name, _) = self.awaited_row(*message)?;
            let under_way = self.desks.get(name)?.under_way.as_ref()?;
            under_way.endpoint.is_some().then_some(under_way)
        };
        let counted = answers
            .iter()
            .filter(|(_, answer)| answer.outcome.may_have_arrived())
            .find_map(under_way);
        let Some(of) = counted.or_else(|| answers.iter().find_map(under_way)) else {
            return;
        };
        let (Some(endpoint), Some(counted_as)) = (of.endpoint.clone(), of.counted_as.clone()) else {
            return;
        };
        let configured = self.plan.endpoints.get(&endpoint);
        let to_everybody = of.is_to_everybody();
        let calls_made = answers.iter().filter_map(|(_, answer)| answer.calls).max();
        let calls = calls_made.unwrap_or_else(|| configured.map_or(1, Endpoint::calls_per_message));
        let is_counted = counted.is_some();
        if is_counted || calls_made.is_some_and(|calls| calls > 1) || !to_everybody {
            self.take_place(&counted_as);
        }
        if to_everybody {
            // It may have been the last of the day, or have given its place back.
            self.touch_who_falls_back();
            self.touch_who_tells_everybody();
        }
        self.count_month(&endpoint, if is_counted { calls } else { 0 });
    }

    /// What was tried occupies a place of an endpoint's window, and counts as so many calls against the month.
    pub(super) fn count_against(&mut self, endpoint: &EndpointName, calls: u64) {
        self.take_place(endpoint);
        self.count_month(endpoint, calls);
    }

    /// What was tried occupies a place of the window that is counted under a name.
    pub(super) fn take_place(&mut self, counted_as: &EndpointName) {
        let Some(budget) = self.budgets.get_mut(counted_as) else {
            return;
        };
        let configured = self.plan.endpoints.get(counted_as);
        let window = configured.map_or(BUDGET_WINDOW, |endpoint| endpoint.rate().window);
        budget.answered(window, self.now.tick);
        self.dirty.endpoints.insert(counted_as.clone());
    }

    /// Counts so many calls against the month.
    pub(super) fn count_month(&mut self, endpoint: &EndpointName, calls: u64) {
        if calls == 0 {
            return;
        }
        let (month, _) = Month::of(self.now.time, &self.plan.timezone);
        let Some(budget) = self.budgets.get_mut(endpoint) else {
            return;
        };
        self.dirty.endpoints.insert(endpoint.clone());
        budget.count(month, calls, self.now.tick);
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

    /// Whether what is left of a month's quota is made to last.
    pub(super) fn is_stretched(&self, quota: Quota) -> bool {
        let (month, _) = Month::of(self.now.time, &self.plan.timezone);
        let pace = |allowed| pace(self.used(quota, month), allowed, Span::days(1));
        self.plan.dingtalk.quota(quota).and_then(pace).is_some()
    }

    /// Silences endpoints as the answer demands.
    pub(super) fn pause_after(&mut self, endpoint: &EndpointName, answer: &Answer) {
        let Some((reason, span)) = pause_for(answer) else {
            return;
        };
        let now = self.now.tick;
        let until = span.map(|span| now.plus(span));
        let pause = Pause { until, reason };
        if (self.budgets.get(endpoint)).is_some_and(|own| own.paused(now) == Some(pause)) {
            // The answer to another message of the same call has said so.
            return;
        }
        let plan = &self.plan;
        let app = plan.app_of(endpoint);
        for (name, budget) in &mut self.budgets {
            let reached = match reason.reaches() {
                Reach::Endpoint => name == endpoint,
                Reach::App => name == endpoint || (app.is_some() && app == plan.app_of(name)),
                Reach::Everybody => true,
            };
            if reached {
                budget.pause(pause, now);
                self.dirty.endpoints.insert(name.clone());
            }
        }
        self.touch_who_falls_back();
        self.effects.push_back(Effect::Event(Event::Paused {
            endpoint: endpoint.clone(),
            reason: reason.as_str(),
            span,
            detail: answer.detail.clone(),
        }));
    }

    /// Somebody may be the last of a receiver to fall silent, so that its fallback is to speak.
    fn touch_who_falls_back(&mut self) {
        let receivers = self.plan.receivers.values();
        let falls_back = receivers.filter(|receiver| receiver.fallback.is_some());
        self.touched
            .extend(falls_back.map(|receiver| receiver.name.clone()));
    }

    /// They have a few places a day between them.
    fn touch_who_tells_everybody(&mut self) {
        let goes_to_all = |name| (self.plan.endpoints.get(name)).is_some_and(Endpoint::is_to_everybody);
        let receivers = self.plan.receivers.values();
        let touched = receivers.filter(|receiver| receiver.endpoints().iter().any(goes_to_all));
        self.touched.extend(touched.map(|receiver| receiver.name.clone()));
    }

    /// A part arrived.
    fn delivered(&mut self, name: &ReceiverName, message: MessageId) {
        let now = self.now.tick;
        let Some(sending) = self.sending(name) else { return };
        let Some(row) = sending.parts.remove(&message.part) else {
            return;
        };
        sending.doubtful = false;
        let (done, told) = (sending.parts.is_empty(), sending.is_told());
        let at_once = sending.places != Places::Sought;
        if !done && !at_once {
            sending.retry_at = Some(now);
        }
        self.save_in_flight(message, None);
        if !row.covers.is_empty() {
            self.told(name, message, row, told);
        }
        if done {
            self.abandon(name, Outcome::Delivered.as_str());
        } else if at_once {
            self.send_next(name);
        }
    }

    /// What a part covers is told, and with the last such part the digest.
    fn told(&mut self, name: &ReceiverName, message: MessageId, row: InFlightRow, whole: bool) {
        let (now, at) = (self.now.tick, self.now.time);
        let Some(desk) = self.desks.get_mut(name) else {
            return;
        };
        let Some(under_way) = &mut desk.under_way else {
            return;
        };
        let mut since = now;
        let mut news = BTreeMap::new();
        for (no, said, episodes) in &row.covers {
            if let Some(telling) = under_way.tells.remove(no) {
                since = since.min(telling.since);
                news.extend(telling.news.map(|at| (*no, at)));
            }
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
        if whole {
            desk.served = Some(now);
            desk.detail_max = Detail::Full;
            desk.content_refused = None;
            self.dirty.rows.served.insert(name.clone(), at);
        }
        self.effects.push_back(Effect::Event(Event::Told {
            receiver: name.clone(),
            urgent: row.urgent,
            waited: now.since(since),
        }));
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
            // What happened to it meanwhile is a new difference, and has waited since then.
            self.compare(no, name, news.get(&no).copied().unwrap_or(now));
        }
    }

    /// The message may have arrived: the same bytes are tried again after a while.
    fn keep_trying(&mut self, name: &ReceiverName, message: MessageId, jitter: u64) {
        let at = self.now.tick;
        let Some(sending) = self.sending(name) else { return };
        let attempts = sending.parts.get(&message.part).map_or(1, |row| row.attempts);
        sending.doubtful = true;
        sending.retry_at = Some(at.plus(jittered(backoff(attempts), jitter).min(BACKOFF_URGENT_MAX)));
        let kept = sending.places_kept();
        sending.places = Places::Sought;
        if let Some(budget) = self.places(name) {
            budget.close(kept);
        }
    }

    /// Gives up what is left of the digest under way: it is a difference like any other again, unless all is told.
    fn abandon(&mut self, name: &ReceiverName, mut outcome: &'static str) {
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
            let counted_as = under_way.counted_as.as_ref();
            if let Some(budget) = counted_as.and_then(|name| self.budgets.get_mut(name)) {
                budget.close(sending.places_kept());
            }
            if !sending.parts.is_empty() && sending.is_told() {
                outcome = Outcome::Delivered.as_str();
            }
        }
        self.under_way.remove(&under_way.digest);
        self.dirty
            .rows
            .outcomes
            .insert(under_way.digest, outcome.to_owned());
        for (no, telling) in under_way.tells {
            self.compare(no, name, telling.since);
        }
        self.touched.insert(name.clone());
    }

    /// Notes since when there is more to tell of an alert than what is being told of it.
    pub(super) fn note_news(&mut self, no: AlertNo, concern: &Concern) {
        let now = self.now;
        let (Some(record), Some(desk)) = (self.truth.get(no), self.desks.get_mut(&concern.receiver)) else {
            return;
        };
        let Some(under_way) = &mut desk.under_way else {
            return;
        };
        let Some(telling) = under_way.tells.get_mut(&no) else {
            return;
        };
        let told = ToldRow {
            said: telling.said,
            episodes: telling.episodes,
            at: now.time,
            digest: under_way.digest,
        };
        let route = self.plan.routes.get(concern.route);
        let is_news = told::difference(record, Some(&told), route, now.time).is_some();
        telling.news = is_news.then(|| telling.news.unwrap_or(now.tick));
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
    fn fail(&mut self, name: &ReceiverName, jitter: u64) {
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
        let Some(desk) = self.desks.get(name) else {
            return;
        };
        let endpoint = desk
            .under_way
            .as_ref()
            .and_then(|under_way| under_way.endpoint.as_ref());
        let bytes = self.message_bytes_max(desk, endpoint);
        let Some(desk) = self.desks.get_mut(name) else {
            return;
        };
        match why {
            Rejected::Size if bytes > MESSAGE_BYTES_MIN => {
                desk.message_bytes_max = (bytes / 2).max(MESSAGE_BYTES_MIN);
            }
            Rejected::Size | Rejected::Content | Rejected::Malformed | Rejected::Gone => {
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
            let counted_as = self.counted_as(endpoint.as_ref());
            let under_way = self.desk(&name).under_way.get_or_insert_with(|| UnderWay {
                digest: message.digest,
                endpoint,
                counted_as,
                tells: BTreeMap::new(),
                stage: Stage::Sending(Sending {
                    parts: BTreeMap::new(),
                    doubtful: true,
                    retry_at: Some(now),
                    places: Places::Sought,
                }),
            });
            let digest = under_way.digest;
            for (no, said, episodes) in &row.covers {
                let telling = Telling {
                    said: *said,
                    episodes: *episodes,
                    since: now,
                    news: None,
                };
                under_way.tells.insert(*no, telling);
            }
            let Stage::Sending(sending) = &mut under_way.stage else {
                continue;
            };
            sending.parts.insert(message.part, row);
            self.under_way.insert(digest, name);
        }
    }
}

/// Why and for how long there must be silence after an answer; without a time until the configuration is loaded again.
pub(super) fn pause_for(answer: &Answer) -> Option<(PauseReason, Option<Span>)> {
    Some(match answer.outcome {
        Outcome::Limited(span) => (PauseReason::Limited, Some(span)),
        Outcome::Throttled(span) => (PauseReason::Throttled, Some(span)),
        Outcome::Blocked(span) => (PauseReason::Blocked, Some(span)),
        Outcome::Quota => (PauseReason::Quota, Some(QUOTA_PAUSE)),
        Outcome::Refused(Refused::Clock) => (PauseReason::Refused(Refused::Clock), Some(CLOCK_PAUSE)),
        Outcome::Refused(Refused::Person) => (PauseReason::Refused(Refused::Person), None),
        Outcome::Refused(what) => (PauseReason::Refused(what), Some(REFUSED_PAUSE)),
        Outcome::Delivered | Outcome::Retry | Outcome::Rejected(_) | Outcome::Outdated | Outcome::Unknown => {
            return None;
        }
    })
}

/// A wait moved by up to a fifth either way, so that receivers that failed together do not return together.
fn jittered(span: Span, random: u64) -> Span {
    let fifth = span.0 / 5;
    Span(span.0 - fifth + random % (2 * fifth + 1))
}

/// How many changes of each kind a draft tells.
pub(super) fn counts(draft: &Draft) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for entry in &draft.entries {
        *counts.entry(entry.change.as_str().to_owned()).or_insert(0) += 1;
    }
    counts
}

/// Episodes that a digest tells of.
pub(super) fn episodes(record: &Record, change: Change, told: Option<&ToldRow>) -> u32 {
    if change == Change::Flapping {
        return u32::try_from(record.recent.len()).unwrap_or(u32::MAX);
    }
    let before = told.map_or(0, |told| told.episodes);
    record.episodes.saturating_sub(before).max(1)
}

/// What a digest is told about one change.
fn entry(no: AlertNo, record: &Record, change: Change, told: Option<&ToldRow>, route: &Route) -> Entry {
    let texts = record.words.texts();
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
        episodes: episodes(record, change, told),
    }
}
