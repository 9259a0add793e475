//! What can still be done about a message of an app once it was delivered: to take it back, and to learn who has read
//! it.
//!
//! Messages are kept here for receivers that ask for it only, for less than the day in which DingTalk answers about
//! them, and no more than the limits allow. Calls about them are [`Errand`]s: one at a time for each app, in a place of
//! its window that any digest may have before it, and none while the month is being stretched. Whatever comes of an
//! errand changes nothing of what anybody was told or is to be told, and silences nobody. Should the process end before
//! it is written down, a message is taken back again, which does nothing.
//!
//! **Invariants:** under `resolved` nothing is taken back that announces what fires, nor a word of an end, which is all
//! that is left to be read; what several people were sent by one call is taken back when that is due for all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::budget::{Pause, Reach, left, room_at};
use super::limits::{
    ANNOUNCED_MAX, ASKED_AFTER, ERRAND_LOOK_AGAIN, QUOTA_PAUSE, READER_PAGES_MAX, RECALL_TRIES_MAX,
    RECEIPT_LIFE, RECEIPTS_MAX, RECEIPTS_PER_RECEIVER_MAX, REFUSED_PAUSE, backoff,
};
use super::outcome::{Fate, Finding, ReadBy};
use super::{Answer, Effect, Engine, Errand, Event, Outcome, Task};
use crate::alert::{AlertNo, AppName, EndpointName, MessageId, Now, Receipt, ReceiverName, Span, Tick};
use crate::plan::{self, Endpoint, Quota, Recall};
use crate::store::{InFlightRow, ReceiptRow, State};

/// All messages that are kept.
#[derive(Debug, Default)]
pub(super) struct Afterwards {
    kept: BTreeMap<MessageId, Kept>,
    of_receivers: BTreeMap<ReceiverName, BTreeSet<MessageId>>,
    calls: BTreeMap<Receipt, Call>,
    /// When to look at each call: to ask who has read it, or to forget it.
    agenda: BTreeSet<(Tick, Receipt)>,
    queues: BTreeMap<AppName, Queue>,
    /// Alerts that kept messages announce, over all of them.
    announced: usize,
}

/// One message.
#[derive(Debug)]
struct Kept {
    row: ReceiptRow,
    /// Where in its list the alert stands that was last found not to be over.
    open: usize,
}

/// The messages that went by one call, as far as they are kept.
#[derive(Debug)]
struct Call {
    messages: BTreeSet<MessageId>,
    app: AppName,
    forget_at: Tick,
    /// When it is next asked who has read them.
    ask_at: Option<Tick>,
    /// How often it was tried in vain to take them back.
    tries: u32,
}

/// What is to be asked in the name of an app.
#[derive(Debug, Default)]
struct Queue {
    recalls: BTreeSet<Receipt>,
    reads: BTreeMap<Receipt, Page>,
    /// Whether an errand is on its way.
    is_out: bool,
    /// The budget in which that has a place.
    place: Option<EndpointName>,
    not_before: Tick,
    /// Errands that failed since the last that did not.
    failures: u32,
}

/// A part of a list of readers.
#[derive(Debug, Default)]
struct Page {
    number: u32,
    /// Where it begins, unless that is the begin of the list.
    begin: Option<String>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.recalls.is_empty() && self.reads.is_empty()
    }
}

impl Call {
    /// When to look at it again.
    fn look_at(&self) -> Tick {
        self.ask_at.map_or(self.forget_at, |at| at.min(self.forget_at))
    }

    /// When it is next asked who has read it: at one of the times for that which are still to come.
    fn next_ask(&self, now: Tick) -> Option<Tick> {
        // Counted from the end, which is never before the begin of our clock.
        let at = |after: &Span| (self.forget_at.0 + after.0).checked_sub(RECEIPT_LIFE.0).map(Tick);
        ASKED_AFTER.iter().filter_map(at).find(|at| *at > now)
    }
}

impl Afterwards {
    /// When there is something to do.
    pub(super) fn deadline(&self, draining: bool) -> Option<Tick> {
        let look = self.agenda.first().map(|(at, _)| *at);
        let waiting = |queue: &&Queue| !draining && !queue.is_out && !queue.is_empty();
        let errand = self
            .queues
            .values()
            .filter(waiting)
            .map(|queue| queue.not_before)
            .min();
        look.into_iter().chain(errand).min()
    }

    /// How many messages are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// How many messages of a receiver that tell anything are not known to have been read.
    pub(super) fn unread(&self, name: &ReceiverName) -> u64 {
        let kept = |message| self.kept.get(message);
        let messages = self.of_receivers.get(name).into_iter().flatten();
        let unread = |kept: &&Kept| kept.row.tells && !kept.row.read;
        messages.filter_map(kept).filter(unread).count() as u64
    }

    /// Takes in a message, unless it is too old.
    fn keep(&mut self, message: MessageId, row: ReceiptRow, app: AppName, now: Now) -> bool {
        let Some(left) = RECEIPT_LIFE.0.checked_sub(now.time.since(row.sent_at).0) else {
            return false;
        };
        let call = self.calls.entry(row.receipt.clone()).or_insert_with(|| Call {
            messages: BTreeSet::new(),
            app,
            forget_at: now.tick.plus(Span(left)),
            ask_at: None,
            tries: 0,
        });
        call.messages.insert(message);
        self.agenda.insert((call.look_at(), row.receipt.clone()));
        self.of_receivers
            .entry(row.receiver.clone())
            .or_default()
            .insert(message);
        self.announced += row.announced.len();
        self.kept.insert(message, Kept { row, open: 0 });
        true
    }

    /// Takes a message out, and its call with the last of it.
    fn remove(&mut self, message: MessageId) -> Option<ReceiptRow> {
        let Kept { row, .. } = self.kept.remove(&message)?;
        self.announced -= row.announced.len();
        if let Some(messages) = self.of_receivers.get_mut(&row.receiver) {
            messages.remove(&message);
            if messages.is_empty() {
                self.of_receivers.remove(&row.receiver);
            }
        }
        let call = self.calls.get_mut(&row.receipt)?;
        call.messages.remove(&message);
        if call.messages.is_empty() {
            self.agenda.remove(&(call.look_at(), row.receipt.clone()));
            if let Some(queue) = self.queues.get_mut(&call.app) {
                queue.recalls.remove(&row.receipt);
                queue.reads.remove(&row.receipt);
            }
            self.calls.remove(&row.receipt);
        }
        Some(row)
    }

    /// Sets when it is next asked who has read the messages of a call.
    fn ask_at(&mut self, receipt: &Receipt, at: impl FnOnce(&Call) -> Option<Tick>) {
        let Some(call) = self.calls.get_mut(receipt) else {
            return;
        };
        self.agenda.remove(&(call.look_at(), receipt.clone()));
        call.ask_at = at(call);
        self.agenda.insert((call.look_at(), receipt.clone()));
    }

    /// The next call whose time has come.
    fn next_due(&mut self, now: Tick) -> Option<Receipt> {
        let (at, receipt) = self.agenda.first()?;
        (*at <= now).then(|| receipt.clone())
    }

    fn queue_of(&mut self, receipt: &Receipt) -> Option<&mut Queue> {
        let app = self.calls.get(receipt)?.app.clone();
        Some(self.queues.entry(app).or_default())
    }

    /// The messages of a call, in order.
    fn messages(&self, receipt: &Receipt) -> Vec<MessageId> {
        let call = self.calls.get(receipt);
        call.map_or_else(Vec::new, |call| call.messages.iter().copied().collect())
    }

    /// The endpoints of a call's messages, in the order of the messages.
    fn endpoints(&self, receipt: &Receipt) -> Vec<EndpointName> {
        let messages = self
            .calls
            .get(receipt)
            .into_iter()
            .flat_map(|call| &call.messages);
        messages
            .filter_map(|message| Some(self.kept.get(message)?.row.endpoint.clone()))
            .collect()
    }

    /// The last digest of a receiver that was delivered as a whole.
    fn last_digest(&self, name: &ReceiverName) -> Option<MessageId> {
        let mut messages = self.of_receivers.get(name)?.iter().rev();
        let is_last = |message: &&MessageId| self.kept.get(message).is_some_and(|kept| kept.row.last);
        messages.find(is_last).copied()
    }

    /// A message that has to give way to the newest of this receiver.
    fn surplus(&self, name: &ReceiverName) -> Option<MessageId> {
        let own = self.of_receivers.get(name)?;
        if own.len() > RECEIPTS_PER_RECEIVER_MAX {
            return own.first().copied();
        }
        let too_many = self.kept.len() > RECEIPTS_MAX || self.announced > ANNOUNCED_MAX;
        self.kept.keys().next().copied().filter(|_| too_many)
    }
}

impl Engine {
    /// What is kept of the messages of a call: of those that were delivered, to receivers that ask for it, by their own
    /// endpoints.
    pub(super) fn receipts_of(&self, answers: &[(MessageId, Answer)]) -> Vec<(MessageId, ReceiptRow)> {
        let of_message = |(message, answer): &(MessageId, Answer)| {
            let receipt = answer.receipt.as_ref()?;
            let (receiver, row) = self.awaited_row(*message)?;
            let endpoint = row.endpoint.as_ref()?;
            let asked = self.asked_of(receiver, endpoint)?;
            let same = answers
                .iter()
                .filter(|(_, other)| other.receipt.as_ref() == Some(receipt));
            let row = ReceiptRow {
                receiver: receiver.clone(),
                endpoint: endpoint.clone(),
                receipt: receipt.clone(),
                shared: u32::try_from(same.count()).unwrap_or(u32::MAX),
                sent_at: self.now.time,
                last: self.completes(*message),
                tells: !row.covers.is_empty(),
                announced: match asked.recall {
                    Some(Recall::Resolved) if row.covers.is_empty() => self.announced_before(*message),
                    Some(Recall::Resolved) => announced(row),
                    Some(Recall::Superseded) | None => Vec::new(),
                },
                read: false,
            };
            is_of_use(&row, asked).then_some((*message, row))
        };
        answers.iter().filter_map(of_message).collect()
    }

    /// What the first message of a digest announces: a picture goes when that does.
    fn announced_before(&self, message: MessageId) -> Vec<AlertNo> {
        let first = MessageId { part: 1, ..message };
        let kept = self.afterwards.kept.get(&first);
        kept.map_or_else(Vec::new, |kept| kept.row.announced.clone())
    }

    /// What a receiver asks for afterwards, if that is one of its own endpoints.
    fn asked_of(&self, name: &ReceiverName, endpoint: &EndpointName) -> Option<plan::Afterwards> {
        let receiver = self.plan.receivers.get(name)?;
        let is_own = receiver.endpoints().contains(endpoint);
        (is_own && receiver.afterwards.is_any()).then_some(receiver.afterwards)
    }

    /// Keeps messages that have just been delivered.
    pub(super) fn keep(&mut self, rows: Vec<(MessageId, ReceiptRow)>) {
        for (message, row) in rows {
            let name = row.receiver.clone();
            self.dirty.rows.receipts.insert(message, Some(row.clone()));
            self.take_in(message, row);
            while let Some(surplus) = self.afterwards.surplus(&name) {
                self.let_go(surplus, Fate::Overflow, "");
            }
        }
    }

    /// Takes up messages of an earlier process, or of an earlier plan.
    pub(super) fn restore_receipts(&mut self, rows: Vec<(MessageId, ReceiptRow)>) {
        for (message, row) in rows {
            let asked = self.asked_of(&row.receiver, &row.endpoint);
            let is_of_use = asked.is_some_and(|asked| is_of_use(&row, asked));
            if !is_of_use || !self.take_in(message, row) {
                self.dirty.rows.receipts.insert(message, None);
            }
        }
    }

    /// Looks by a new plan at what is kept.
    pub(super) fn review_receipts(&mut self) {
        let before = std::mem::take(&mut self.afterwards);
        let is_out = |(app, queue): (AppName, Queue)| {
            (
                app,
                Queue {
                    is_out: queue.is_out,
                    place: queue.place,
                    ..Queue::default()
                },
            )
        };
        self.afterwards.queues = before.queues.into_iter().map(is_out).collect();
        self.restore_receipts(
            before
                .kept
                .into_iter()
                .map(|(message, kept)| (message, kept.row))
                .collect(),
        );
    }

    fn take_in(&mut self, message: MessageId, row: ReceiptRow) -> bool {
        let Some(app) = self
            .plan
            .endpoints
            .get(&row.endpoint)
            .and_then(Endpoint::app)
            .cloned()
        else {
            return false;
        };
        let receipt = row.receipt.clone();
        let is_kept = self.afterwards.keep(message, row, app, self.now);
        if is_kept && self.is_to_be_asked(&receipt) {
            let now = self.now.tick;
            self.afterwards.ask_at(&receipt, |call| call.next_ask(now));
        }
        is_kept
    }

    /// Whether anybody wants to know who has read the messages of a call, and that is not known of all of them. In a
    /// group nobody knows of how many.
    fn is_to_be_asked(&self, receipt: &Receipt) -> bool {
        let is_person = |name| {
            self.plan
                .endpoints
                .get(name)
                .is_some_and(|it| it.person().is_some())
        };
        self.afterwards.messages(receipt).iter().any(|message| {
            let kept = self.afterwards.kept.get(message);
            kept.is_some_and(|Kept { row, .. }| {
                let asked = self.asked_of(&row.receiver, &row.endpoint);
                let asked = asked.is_some_and(|asked| asked.read_status) && row.tells;
                asked && !(row.read && is_person(&row.endpoint))
            })
        })
    }

    /// An alert expired and is forgotten: nobody knows whether it is over, so what announced it stays.
    pub(super) fn stays_announced(&mut self, no: AlertNo, name: &ReceiverName) {
        let messages = self.afterwards.of_receivers.get(name).cloned();
        for message in messages.into_iter().flatten() {
            let Some(Kept { row, open }) = self.afterwards.kept.get_mut(&message) else {
                continue;
            };
            if row.announced.binary_search(&no).is_err() {
                continue;
            }
            *open = 0;
            self.afterwards.announced -= std::mem::take(&mut row.announced).len();
            let row = row.clone();
            let asked = self.asked_of(&row.receiver, &row.endpoint);
            if asked.is_some_and(|asked| is_of_use(&row, asked)) {
                self.dirty.rows.receipts.insert(message, Some(row));
            } else {
                self.forget_message(message);
            }
        }
    }

    /// Finds out which messages of a receiver whose situation may have changed are to be taken back.
    pub(super) fn look_back(&mut self, name: &ReceiverName) {
        let Some(messages) = self.afterwards.of_receivers.get(name) else {
            return;
        };
        for message in messages.iter().copied().collect::<Vec<_>>() {
            let Some(kept) = self.afterwards.kept.get(&message) else {
                continue;
            };
            let receipt = kept.row.receipt.clone();
            if self.is_due(message) && self.is_due_for_all(&receipt) {
                let queue = self.afterwards.queue_of(&receipt);
                queue.map(|queue| queue.recalls.insert(receipt));
            }
        }
    }

    /// Whether the messages of a call are to be taken back: from everybody who got it.
    fn is_due_for_all(&mut self, receipt: &Receipt) -> bool {
        let messages = self.afterwards.messages(receipt);
        let first = messages
            .first()
            .and_then(|message| self.afterwards.kept.get(message));
        first.is_some_and(|kept| kept.row.shared as usize == messages.len())
            && messages.into_iter().all(|message| self.is_due(message))
    }

    /// Whether a message is to be taken back, as far as its reader is concerned.
    fn is_due(&mut self, message: MessageId) -> bool {
        let Some(Kept { row, open }) = self.afterwards.kept.get(&message) else {
            return false;
        };
        match self
            .asked_of(&row.receiver, &row.endpoint)
            .and_then(|asked| asked.recall)
        {
            None => false,
            Some(Recall::Superseded) => {
                let last = self.afterwards.last_digest(&row.receiver);
                last.is_some_and(|last| last.digest > message.digest)
            }
            Some(Recall::Resolved) => {
                // The one that was not over last time most likely is not yet.
                let (before, from) = row.announced.split_at(*open);
                let mut order = (*open..).zip(from).chain((0..).zip(before));
                let found = order.find(|(_, no)| !self.is_over_for(**no, &row.receiver));
                let (is_over, at) = (found.is_none(), found.map_or(0, |(at, _)| at));
                let announces = !row.announced.is_empty();
                if let Some(kept) = self.afterwards.kept.get_mut(&message) {
                    kept.open = at;
                }
                announces && is_over
            }
        }
    }

    /// Whether an alert is over beyond doubt, and there is nothing to be told of that. What is forgotten is.
    fn is_over_for(&self, no: AlertNo, name: &ReceiverName) -> bool {
        let Some(record) = self.truth.get(no) else {
            return true;
        };
        let owed = || {
            record
                .concern(name)
                .is_some_and(|concern| self.change_for(no, concern).is_some())
        };
        record.state == State::Resolved && !record.doubted && !record.flapping && !owed()
    }

    /// Does what is to be done by now.
    pub(super) fn follow_up(&mut self) {
        while let Some(receipt) = self.afterwards.next_due(self.now.tick) {
            self.turn_to(&receipt);
        }
        if self.draining {
            return;
        }
        let now = self.now.tick;
        let idle =
            |(_, queue): &(&AppName, &Queue)| !queue.is_out && !queue.is_empty() && queue.not_before <= now;
        let idle: Vec<AppName> = self
            .afterwards
            .queues
            .iter()
            .filter(idle)
            .map(|(app, _)| app.clone())
            .collect();
        for app in idle {
            if let Some(errand) = self.next_errand(app) {
                self.send_out(errand);
            }
        }
    }

    /// The time of a call has come: it is asked who has read it, or it is forgotten.
    fn turn_to(&mut self, receipt: &Receipt) {
        let now = self.now.tick;
        let Some(call) = self.afterwards.calls.get(receipt) else {
            return;
        };
        if call.forget_at <= now {
            let queue = self.afterwards.queues.get(&call.app);
            let was_due = queue.is_some_and(|queue| queue.recalls.contains(receipt));
            for message in self.afterwards.messages(receipt) {
                if was_due {
                    self.let_go(message, Fate::TooOld, "");
                } else {
                    self.forget_message(message);
                }
            }
            return;
        }
        if let Some(queue) = self.afterwards.queue_of(receipt) {
            queue.reads.entry(receipt.clone()).or_default();
        }
        self.afterwards.ask_at(receipt, |call| call.next_ask(now));
    }

    /// What is to be asked next in the name of an app, when that may be asked at this moment.
    fn next_errand(&mut self, app: AppName) -> Option<Errand> {
        let recalls = self.recalls(&app);
        let queue = self.afterwards.queues.get(&app)?;
        let (receipt, task) = if let Some(first) = recalls.first() {
            (first.clone(), Task::Recall(recalls))
        } else {
            let (receipt, page) = queue.reads.first_key_value()?;
            let (receipt, page) = (receipt.clone(), page.begin.clone());
            (receipt.clone(), Task::Read { receipt, page })
        };
        let through = self.afterwards.endpoints(&receipt);
        let endpoint = through.first().and_then(|name| self.plan.endpoints.get(name))?;
        if let Some(until) = self.errand_waits_until(endpoint) {
            self.afterwards.queues.entry(app).or_default().not_before = until;
            return None;
        }
        Some(Errand { app, through, task })
    }

    /// What one call can take back: of one group, or of people. What is not due any more is left for later.
    fn recalls(&mut self, app: &AppName) -> Vec<Receipt> {
        let waiting = self.afterwards.queues.get(app).map(|queue| queue.recalls.clone());
        let mut place = None;
        let mut most = 1;
        let mut recalls = Vec::new();
        for receipt in waiting.unwrap_or_default() {
            if recalls.len() == most {
                break;
            }
            if !self.is_due_for_all(&receipt) {
                let queue = self.afterwards.queues.get_mut(app);
                queue.map(|queue| queue.recalls.remove(&receipt));
                continue;
            }
            let through = self.afterwards.endpoints(&receipt);
            let Some(endpoint) = through.first().and_then(|name| self.plan.endpoints.get(name)) else {
                continue;
            };
            most = endpoint.recalled_per_call_max();
            let group = endpoint.person().is_none().then(|| endpoint.name.clone());
            let here = (endpoint.way.as_str(), group);
            if *place.get_or_insert_with(|| here.clone()) == here {
                recalls.push(receipt);
            }
        }
        recalls
    }

    /// Until when an errand must wait; whoever has something to tell goes first.
    fn errand_waits_until(&self, endpoint: &Endpoint) -> Option<Tick> {
        let now = self.now.tick;
        let look_again = now.plus(ERRAND_LOOK_AGAIN);
        if let Some(pause) = self.pause_of_app(endpoint.app()) {
            return pause.until.into_iter().chain([look_again]).min();
        }
        if self.is_stretched(Quota::Api) {
            return Some(look_again);
        }
        if !has_places(endpoint) {
            return None;
        }
        let (sharing, rate) = (self.sharing(endpoint), endpoint.rate());
        let room_at = || room_at(&sharing, rate, false, now).filter(|at| *at > now);
        (left(&sharing, rate, false, now) == 0).then(|| room_at().unwrap_or(now.plus(Span::seconds(1))))
    }

    /// What silences an app, or everybody. An endpoint may have a longer pause of its own in its place.
    pub(super) fn pause_of_app(&self, app: Option<&AppName>) -> Option<Pause> {
        let reaches = |name: &EndpointName, pause: &Pause| match pause.reason.reaches() {
            Reach::Endpoint => false,
            Reach::App => app.is_some() && self.plan.app_of(name) == app,
            Reach::Everybody => true,
        };
        let mut budgets = self.budgets.iter();
        budgets.find_map(|(name, budget)| budget.pauses(self.now.tick).find(|pause| reaches(name, pause)))
    }

    fn send_out(&mut self, errand: Errand) {
        let place = errand.through.first().filter(|name| {
            let endpoint = self.plan.endpoints.get(*name);
            endpoint.is_some_and(has_places)
        });
        if let Some(name) = place
            && let Some(budget) = self.budgets.get_mut(name)
        {
            budget.open(1);
            self.dirty.endpoints.insert(name.clone());
        }
        let queue = self.afterwards.queues.entry(errand.app.clone()).or_default();
        queue.is_out = true;
        queue.place = place.cloned();
        self.effects.push_back(Effect::Errand(errand));
    }

    /// An errand came back.
    pub(super) fn came_back(&mut self, errand: &Errand, finding: Finding) {
        let answers: Vec<Outcome> = match &finding {
            Finding::Recalled(answers) => answers.iter().map(|(_, answer)| answer.outcome).collect(),
            Finding::Read(read_by) => vec![read_by.answer.outcome],
        };
        let arrived = answers.iter().any(|outcome| outcome.may_have_arrived());
        let now = self.now.tick;
        let queue = self.afterwards.queues.entry(errand.app.clone()).or_default();
        queue.is_out = false;
        let place = queue.place.take();
        let wait = answers
            .into_iter()
            .filter_map(|outcome| wait_after(outcome, queue.failures + 1))
            .max();
        queue.failures = wait.map_or(0, |_| queue.failures.saturating_add(1));
        queue.not_before = now.plus(wait.unwrap_or_default());
        // The place it took, whatever the plan says by now.
        if let Some(name) = place
            && let Some(budget) = self.budgets.get_mut(&name)
        {
            budget.close(1);
            self.take_place(&name);
        }
        if let Some(name) = errand.through.first() {
            self.count_month(name, u64::from(arrived));
        }
        match (&errand.task, finding) {
            (_, Finding::Recalled(answers)) => {
                for (receipt, answer) in answers {
                    self.recalled(&receipt, &answer);
                }
            }
            (Task::Read { receipt, .. }, Finding::Read(read_by)) => self.read(receipt, read_by),
            (Task::Recall(_), Finding::Read(_)) => {}
        }
    }

    /// It was tried to take the messages of a call back.
    fn recalled(&mut self, receipt: &Receipt, answer: &Answer) {
        let fate = match answer.outcome {
            Outcome::Delivered => Fate::Recalled,
            Outcome::Rejected(_) => Fate::Refused,
            Outcome::Retry
            | Outcome::Limited(_)
            | Outcome::Throttled(_)
            | Outcome::Blocked(_)
            | Outcome::Quota
            | Outcome::Refused(_)
            | Outcome::Outdated
            | Outcome::Unknown => {
                let Some(call) = self.afterwards.calls.get_mut(receipt) else {
                    return;
                };
                call.tries += 1;
                if call.tries < RECALL_TRIES_MAX {
                    return;
                }
                Fate::GivenUp
            }
        };
        for message in self.afterwards.messages(receipt) {
            if fate == Fate::Recalled {
                let later = self.dirty.rows.later.entry(message).or_default();
                later.recalled_at = Some(self.now.time);
            }
            self.let_go(message, fate, &answer.detail);
        }
    }

    /// It was asked who has read the messages of a call. What failed is asked again when its time has come.
    fn read(&mut self, receipt: &Receipt, read_by: ReadBy) {
        let page = self
            .afterwards
            .queue_of(receipt)
            .and_then(|queue| queue.reads.remove(receipt));
        let Some(page) = page.filter(|_| read_by.answer.outcome == Outcome::Delivered) else {
            return;
        };
        let now = self.now.time;
        for message in self.afterwards.messages(receipt) {
            let Some(Kept { row, .. }) = self.afterwards.kept.get_mut(&message) else {
                continue;
            };
            let later = self.dirty.rows.later.entry(message).or_default();
            later.asked_at = Some(now);
            let readers = read_by
                .readers
                .iter()
                .filter(|reader| reader.endpoint == row.endpoint);
            let readers = readers.map(|reader| (reader.user.clone(), reader.at.unwrap_or(now)));
            later.read_by.extend(readers);
            let Some(first) = later.read_by.values().min().filter(|_| !row.read) else {
                continue;
            };
            row.read = true;
            self.dirty.rows.receipts.insert(message, Some(row.clone()));
            self.effects.push_back(Effect::Event(Event::Read {
                message,
                receiver: row.receiver.clone(),
                age: first.since(row.sent_at),
            }));
        }
        let number = page.number + 1;
        if let (Some(begin), true) = (read_by.next, number < READER_PAGES_MAX)
            && let Some(queue) = self.afterwards.queue_of(receipt)
        {
            let begin = Some(begin);
            queue.reads.insert(receipt.clone(), Page { number, begin });
        } else if !self.is_to_be_asked(receipt) {
            self.afterwards.ask_at(receipt, |_| None);
        }
    }

    /// What becomes of a kept message is known.
    fn let_go(&mut self, message: MessageId, fate: Fate, detail: &str) {
        if let Some(row) = self.forget_message(message) {
            self.effects.push_back(Effect::Event(Event::LetGo {
                message,
                receiver: row.receiver,
                fate,
                detail: detail.to_owned(),
            }));
        }
    }

    fn forget_message(&mut self, message: MessageId) -> Option<ReceiptRow> {
        self.dirty.rows.receipts.insert(message, None);
        self.afterwards.remove(message)
    }
}

/// Whether an errand takes a place of the endpoint's window: there are three a day for what goes to everybody.
fn has_places(endpoint: &Endpoint) -> bool {
    !endpoint.is_to_everybody()
}

/// Whether anything that is asked for can be done about a message.
fn is_of_use(row: &ReceiptRow, asked: plan::Afterwards) -> bool {
    (asked.read_status && row.tells) || asked.recall == Some(Recall::Superseded) || !row.announced.is_empty()
}

/// The alerts a message announces. One that tells an end, too, is no announcement: when it is gone, nothing says so.
fn announced(row: &InFlightRow) -> Vec<AlertNo> {
    if !row.covers.iter().all(|(_, said, _)| said.owes_an_end()) {
        return Vec::new();
    }
    let mut announced: Vec<AlertNo> = row.covers.iter().map(|(no, _, _)| *no).collect();
    announced.sort_unstable();
    announced
}

/// How long an app asks nothing after an errand that failed for a reason that others would meet as well.
fn wait_after(outcome: Outcome, failures: u32) -> Option<Span> {
    match outcome {
        Outcome::Delivered | Outcome::Rejected(_) => None,
        Outcome::Retry | Outcome::Outdated | Outcome::Unknown => Some(backoff(failures)),
        Outcome::Limited(span) | Outcome::Throttled(span) | Outcome::Blocked(span) => Some(span),
        Outcome::Quota => Some(QUOTA_PAUSE),
        Outcome::Refused(_) => Some(REFUSED_PAUSE),
    }
}
