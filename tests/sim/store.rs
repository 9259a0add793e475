//! A store in memory: what the simulated disk holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use dingest::alert::words::Model;
use dingest::alert::{
    AlertNo, DigestId, EndpointName, MessageId, ModelNo, ReceiverName, SourceName, Timestamp,
};
use dingest::store::{
    AlertRow, Changes, DigestQuery, DigestRow, EndpointRow, InFlightRow, LaterRow, MessageRow, PersonKey,
    PersonRow, REFUSED_BODY_BYTES_MAX, REFUSED_KEPT_MAX, ReceiptRow, RefusedBody, Saved, Store, StoreError,
    Told, ToldRow,
};

/// Everything that was committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryStore {
    models: BTreeMap<ModelNo, Arc<Model>>,
    pub(crate) alerts: BTreeMap<AlertNo, AlertRow>,
    pub(crate) told: BTreeMap<(ReceiverName, AlertNo), ToldRow>,
    pub(crate) in_flight: BTreeMap<MessageId, InFlightRow>,
    pub(crate) receipts: BTreeMap<MessageId, ReceiptRow>,
    endpoints: BTreeMap<EndpointName, EndpointRow>,
    served: BTreeMap<ReceiverName, Timestamp>,
    people: BTreeMap<PersonKey, PersonRow>,
    digests: BTreeMap<DigestId, DigestRow>,
    messages: BTreeMap<MessageId, MessageRow>,
    later: BTreeMap<MessageId, LaterRow>,
    refused: Vec<RefusedBody>,
    /// The last numbers given, whatever became of their rows.
    last_alert: u64,
    last_digest: u64,
}

/// Digests forgotten in one go, as in the store on disk.
const PRUNED_AT_ONCE: usize = 1000;

impl MemoryStore {
    /// The history, as the API shows it.
    pub(crate) fn history(&self, query: &DigestQuery) -> Vec<Told> {
        let tells = |id: &DigestId| {
            let mut messages = self.messages.iter().filter(|(message, _)| message.digest == *id);
            messages.any(|(_, row)| row.covers.iter().any(|(no, ..)| query.alerts.contains(no)))
        };
        let asked = self.digests.iter().rev().filter(|(id, digest)| {
            (query.receiver.as_ref()).is_none_or(|name| digest.receiver == *name)
                && (query.alerts.is_empty() || tells(id))
        });
        let told = asked.take(query.limit).map(|(id, digest)| Told {
            id: *id,
            digest: digest.clone(),
            messages: self
                .messages
                .iter()
                .filter(|(message, _)| message.digest == *id)
                .map(|(message, row)| (message.part, row.clone()))
                .collect(),
            later: self
                .later
                .iter()
                .filter(|(message, _)| message.digest == *id)
                .map(|(message, row)| (message.part, row.clone()))
                .collect(),
        });
        told.collect()
    }

    /// Puts rows in their place and takes deleted ones out.
    pub(crate) fn apply(&mut self, changes: &Changes) {
        fn apply<K: Ord + Clone, V: Clone>(to: &mut BTreeMap<K, V>, rows: &BTreeMap<K, Option<V>>) {
            for (key, row) in rows {
                match row {
                    Some(row) => to.insert(key.clone(), row.clone()),
                    None => to.remove(key),
                };
            }
        }
        let digests = changes.digests.keys().map(|id| id.0);
        let messages = changes.messages.keys().map(|id| id.digest.0);
        let in_flight = changes.in_flight.keys().map(|id| id.digest.0);
        let last_digest = digests.chain(messages).chain(in_flight).map(|id| id + 1).max();
        self.last_digest = self.last_digest.max(last_digest.unwrap_or(0));
        let last_alert = changes.alerts.keys().map(|no| no.0 + 1).max();
        self.last_alert = self.last_alert.max(last_alert.unwrap_or(0));
        apply(&mut self.models, &changes.models);
        apply(&mut self.alerts, &changes.alerts);
        apply(&mut self.told, &changes.told);
        apply(&mut self.in_flight, &changes.in_flight);
        apply(&mut self.receipts, &changes.receipts);
        self.endpoints.extend(changes.endpoints.clone());
        self.served.extend(changes.served.clone());
        apply(&mut self.people, &changes.people);
        self.digests.extend(changes.digests.clone());
        self.messages.extend(changes.messages.clone());
        for (id, attempt) in &changes.attempts {
            if let Some(message) = self.messages.get_mut(id) {
                message.sent_at = attempt.sent_at;
                message.attempts = attempt.attempts;
                message.outcome.clone_from(&attempt.outcome);
                message.errcode = attempt.errcode;
                message.answer.clone_from(&attempt.answer);
            }
        }
        for (id, outcome) in &changes.outcomes {
            if let Some(digest) = self.digests.get_mut(id) {
                digest.outcome.clone_from(outcome);
            }
        }
        for (id, row) in &changes.later {
            if self.messages.contains_key(id) {
                self.later.entry(*id).or_default().merge(row.clone());
            }
        }
    }

    /// A model is saved as long as it describes an alert that is, and no longer.
    pub(crate) fn check_models(&self) {
        let used = self.alerts.values().map(|row| row.words.model());
        let used: BTreeMap<ModelNo, Arc<Model>> = used.map(|model| (model.no, Arc::clone(model))).collect();
        assert_eq!(
            used, self.models,
            "models that are used, and models that are saved"
        );
    }

    /// What an engine goes on from, but for the name of the process.
    pub(crate) fn saved(&self) -> Saved {
        Saved {
            run: String::new(),
            next_alert: AlertNo(self.last_alert.max(1)),
            next_digest: DigestId(self.last_digest.max(1)),
            alerts: self.alerts.clone().into_iter().collect(),
            told: self
                .told
                .iter()
                .map(|((receiver, no), row)| (receiver.clone(), *no, *row))
                .collect(),
            in_flight: self.in_flight.clone().into_iter().collect(),
            receipts: self.receipts.clone().into_iter().collect(),
            endpoints: self.endpoints.clone().into_iter().collect(),
            served: self.served.clone().into_iter().collect(),
            people: self.people.clone().into_iter().collect(),
        }
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Saved, StoreError> {
        Ok(self.saved())
    }

    fn commit(&mut self, changes: &Changes) -> Result<(), StoreError> {
        self.apply(changes);
        Ok(())
    }

    fn digests(&mut self, query: &DigestQuery) -> Result<Vec<Told>, StoreError> {
        Ok(self.history(query))
    }

    fn keep_refused(&mut self, body: &RefusedBody) -> Result<(), StoreError> {
        let mut body = body.clone();
        body.body.truncate(REFUSED_BODY_BYTES_MAX);
        let of_source: Vec<usize> = (0..self.refused.len())
            .filter(|index| self.refused[*index].source == body.source)
            .collect();
        if of_source.len() >= REFUSED_KEPT_MAX {
            self.refused.remove(of_source[0]);
        }
        self.refused.push(body);
        Ok(())
    }

    fn refused(&mut self, source: Option<&SourceName>, limit: usize) -> Result<Vec<RefusedBody>, StoreError> {
        let newest = self.refused.iter().rev();
        let asked = newest.filter(|body| source.is_none_or(|name| body.source == *name));
        Ok(asked.take(limit).cloned().collect())
    }

    fn prune(&mut self, before: Timestamp) -> Result<(), StoreError> {
        self.people.retain(|_, person| person.at >= before);
        let mut old: Vec<(Timestamp, DigestId)> = self
            .digests
            .iter()
            .filter(|(_, digest)| digest.composed_at < before)
            .map(|(id, digest)| (digest.composed_at, *id))
            .collect();
        old.sort();
        for (_, id) in old.into_iter().take(PRUNED_AT_ONCE) {
            self.digests.remove(&id);
            self.messages.retain(|message, _| message.digest != id);
            self.later.retain(|message, _| message.digest != id);
        }
        Ok(())
    }
}
