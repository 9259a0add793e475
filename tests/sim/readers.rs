//! What history, receivers and metrics show of who has read a message, and of what was taken back: what is known, and
//! nothing else. They are asked for it as the API asks.

use std::collections::BTreeMap;

use dingest::alert::{MessageId, ReceiverName};
use dingest::engine::Engine;
use dingest::store::{DigestQuery, LaterRow};

use crate::invariant::{Invariant, Violation, violation};
use crate::judge::{Judge, Telling};
use crate::store::MemoryStore;
use crate::ways::person_behind;

/// Of a long history this much is looked at.
const LOOKED_AT_MAX: usize = 300;

/// The person that a receiver is.
fn person_of(receiver: &str) -> Option<String> {
    receiver.splitn(3, '/').nth(2).map(person_behind)
}

impl Judge<'_> {
    /// Nothing has happened for a while: the history says of messages what is known of them. When no commit runs, it
    /// knows as much as memory does.
    pub(crate) fn check_readers_shown(
        &self,
        engine: &Engine,
        store: &MemoryStore,
        is_written: bool,
        now: u64,
    ) -> Result<(), Violation> {
        let history = store.history(&DigestQuery {
            receiver: None,
            alerts: Vec::new(),
            limit: LOOKED_AT_MAX,
        });
        let mut known = BTreeMap::new();
        for told in &history {
            for (part, later) in &told.later {
                let message = MessageId {
                    digest: told.id,
                    part: *part,
                };
                self.check_later(message, later, &told.digest.receiver, now)?;
                known.insert(message, later);
            }
        }
        for (message, row) in &store.receipts {
            let is_shown = known.get(message).is_some_and(|later| !later.read_by.is_empty());
            let is_looked_at = history.iter().any(|told| told.id == message.digest);
            if is_looked_at && is_shown != row.read {
                let what = format!("of {row:?} the history says otherwise: {:?}", known.get(message));
                return Err(violation(Invariant::ReadersAreRight, now, what));
            }
        }
        if is_written {
            Self::check_unread(engine, store, now)?;
        }
        Ok(())
    }

    /// Whoever is said to have read a message has, and what is said to have been taken back was.
    fn check_later(
        &self,
        message: MessageId,
        later: &LaterRow,
        receiver: &ReceiverName,
        now: u64,
    ) -> Result<(), Violation> {
        // Numbers are given again when a process dies before it could write them.
        let told = self
            .by_message
            .get(&message)
            .map(|index| (*index, &self.tellings[*index]));
        let Some((index, telling)) = told.filter(|(_, telling)| telling.receiver == receiver.as_str()) else {
            return Ok(());
        };
        if let Some(user) = later.read_by.keys().find(|user| !self.has_read(user, telling)) {
            let what = format!("the history says that {user} has read {message:?} to {receiver}");
            return Err(violation(Invariant::ReadersAreRight, now, what));
        }
        if later.recalled_at.is_some() && !self.afterwards.was_taken_back(index) {
            let what = format!("the history says that {message:?} to {receiver} was taken back");
            return Err(violation(Invariant::RecallIsDue, now, what));
        }
        Ok(())
    }

    /// Whether somebody has read a message that was for them.
    fn has_read(&self, user: &str, telling: &Telling) -> bool {
        let is_for = person_of(&telling.receiver).is_none_or(|person| person == user);
        let group = telling.receiver.strip_suffix("/group");
        is_for && self.afterwards.has_read(user, group, telling.composed_at)
    }

    /// Of each receiver as many messages are said to be unread as there are.
    fn check_unread(engine: &Engine, store: &MemoryStore, now: u64) -> Result<(), Violation> {
        for receiver in engine.receivers() {
            let unread = (store.receipts.values())
                .filter(|row| row.receiver == receiver.name && row.tells && !row.read)
                .count() as u64;
            if let Some(shown) = receiver.unread.filter(|shown| *shown != unread) {
                let what = format!(
                    "{} has {unread} unread messages, and shows {shown}",
                    receiver.name
                );
                return Err(violation(Invariant::ReadersAreRight, now, what));
            }
        }
        Ok(())
    }

    /// The metrics count that a message was read: once, and when somebody has.
    pub(crate) fn read_is_counted(&mut self, message: MessageId, now: u64) -> Result<(), Violation> {
        let Some(index) = self.by_message.get(&message).copied() else {
            return Ok(());
        };
        let telling = &self.tellings[index];
        let group = telling.receiver.strip_suffix("/group");
        let is_read = match person_of(&telling.receiver) {
            Some(person) => self.afterwards.has_read(&person, group, telling.composed_at),
            None => self.afterwards.somebody_has_read(group, telling.composed_at),
        };
        let what = format!("{message:?} to {} is counted as read", telling.receiver);
        if is_read && self.afterwards.count_as_read(index) {
            return Ok(());
        }
        Err(violation(Invariant::ReadersAreRight, now, what))
    }
}
