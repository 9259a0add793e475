//! Rows into the tables, inside a transaction that the caller begins and commits.
//!
//! A statement is prepared when its table first has rows, and kept: preparing costs as much as a few rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::alert::words::Model;
use crate::alert::{AlertNo, DigestId, EndpointName, MessageId, ModelNo, ReceiverName, Timestamp};
use crate::store::sqlite::names::Names;
use crate::store::sqlite::packed::{Covers, Facts, Numbers, Times};
use crate::store::{
    AlertRow, AttemptRow, Changes, DigestRow, EndpointRow, InFlightRow, LaterRow, MessageRow, PersonKey,
    PersonRow, REFUSED_BODY_BYTES_MAX, REFUSED_KEPT_MAX, ReceiptRow, RefusedBody, ToldRow,
};

/// The first numbers no alert and no digest has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) alert: AlertNo,
    pub(super) digest: DigestId,
}

impl Next {
    /// These numbers once `changes` are committed. Deleted rows count: their numbers have been given.
    fn after(self, changes: &Changes) -> Self {
        let alert = changes.alerts.last_key_value().map(|(no, _)| no.0);
        let digests = [
            changes.digests.last_key_value().map(|(id, _)| id.0),
            changes.messages.last_key_value().map(|(id, _)| id.digest.0),
            changes.in_flight.last_key_value().map(|(id, _)| id.digest.0),
        ];
        let after = |next: u64, used: Option<u64>| used.map_or(next, |used| next.max(used.saturating_add(1)));
        Self {
            alert: AlertNo(after(self.alert.0, alert)),
            digest: DigestId(after(self.digest.0, digests.into_iter().flatten().max())),
        }
    }
}

/// Where rows go.
pub(super) struct Writer<'a> {
    pub(super) connection: &'a Connection,
    pub(super) names: &'a mut Names,
}

impl Writer<'_> {
    /// Writes every row and returns the numbers that are next.
    pub(super) fn changes(&mut self, changes: &Changes, next: Next) -> rusqlite::Result<Next> {
        let after = next.after(changes);
        // An empty commit asks whether the file can be written at all.
        if after != next || changes.is_empty() {
            let mut put =
                (self.connection).prepare_cached("UPDATE meta SET next_alert = ?1, next_digest = ?2")?;
            put.execute(params![after.alert, after.digest])?;
        }
        self.models(&changes.models)?;
        self.alerts(&changes.alerts)?;
        self.told(&changes.told)?;
        self.in_flight(&changes.in_flight)?;
        self.receipts(&changes.receipts)?;
        self.endpoints(&changes.endpoints)?;
        self.served(&changes.served)?;
        self.people(&changes.people)?;
        self.digests(&changes.digests)?;
        self.messages(&changes.messages)?;
        self.attempts(&changes.attempts)?;
        self.outcomes(&changes.outcomes)?;
        self.later(&changes.later)?;
        Ok(after)
    }

    fn alerts(&mut self, rows: &BTreeMap<AlertNo, Option<AlertRow>>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put =
            (self.connection).prepare_cached("INSERT OR REPLACE INTO alert VALUES (?1, ?2, ?3, ?4)")?;
        let mut delete = (self.connection).prepare_cached("DELETE FROM alert WHERE id = ?1")?;
        for (no, row) in rows {
            match row {
                Some(row) => put.execute(params![
                    no,
                    row.words.model().no,
                    row.words.own().as_bytes(),
                    Facts::to_blob(row)
                ])?,
                None => delete.execute(params![no])?,
            };
        }
        Ok(())
    }

    fn models(&mut self, rows: &BTreeMap<ModelNo, Option<Arc<Model>>>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put = (self.connection)
            .prepare_cached("INSERT OR REPLACE INTO model VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        let mut delete = (self.connection).prepare_cached("DELETE FROM model WHERE id = ?1")?;
        for (no, row) in rows {
            match row.as_deref() {
                Some(Model { source, texts, .. }) => put.execute(params![
                    no,
                    self.names.intern(self.connection, source.as_str())?,
                    texts.identity.as_deref(),
                    texts.labels,
                    texts.annotations,
                    texts.links,
                    texts.values,
                ])?,
                None => delete.execute(params![no])?,
            };
        }
        Ok(())
    }

    fn told(&mut self, rows: &BTreeMap<(ReceiverName, AlertNo), Option<ToldRow>>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put = (self.connection)
            .prepare_cached("INSERT OR REPLACE INTO told VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let mut delete =
            (self.connection).prepare_cached("DELETE FROM told WHERE receiver = ?1 AND alert = ?2")?;
        for ((receiver, alert), row) in rows {
            let receiver = self.names.intern(self.connection, receiver.as_str())?;
            match row {
                Some(row) => put.execute(params![
                    receiver,
                    alert,
                    row.said,
                    row.episodes,
                    row.at,
                    row.digest
                ])?,
                None => delete.execute(params![receiver, alert])?,
            };
        }
        Ok(())
    }

    fn in_flight(&mut self, rows: &BTreeMap<MessageId, Option<InFlightRow>>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put = (self.connection)
            .prepare_cached("INSERT OR REPLACE INTO in_flight VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        let mut delete = (self.connection).prepare_cached("DELETE FROM in_flight WHERE id = ?1")?;
        for (id, row) in rows {
            match row {
                Some(row) => put.execute(params![
                    id,
                    self.names.intern(self.connection, row.receiver.as_str())?,
                    self.endpoint(row.endpoint.as_ref())?,
                    row.parts,
                    row.urgent,
                    &*row.body,
                    Covers::to_blob(&row.covers),
                    row.attempts,
                ])?,
                None => delete.execute(params![id])?,
            };
        }
        Ok(())
    }

    fn receipts(&mut self, rows: &BTreeMap<MessageId, Option<ReceiptRow>>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put = (self.connection).prepare_cached(
            "INSERT OR REPLACE INTO receipt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        let mut delete = (self.connection).prepare_cached("DELETE FROM receipt WHERE id = ?1")?;
        for (id, row) in rows {
            match row {
                Some(row) => put.execute(params![
                    id,
                    self.names.intern(self.connection, row.receiver.as_str())?,
                    self.names.intern(self.connection, row.endpoint.as_str())?,
                    row.receipt.as_str(),
                    row.shared,
                    row.sent_at,
                    row.last,
                    row.tells,
                    Numbers::to_blob(&row.announced),
                    row.read,
                ])?,
                None => delete.execute(params![id])?,
            };
        }
        Ok(())
    }

    fn endpoints(&mut self, rows: &BTreeMap<EndpointName, EndpointRow>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put = (self.connection)
            .prepare_cached("INSERT OR REPLACE INTO endpoint VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        for (name, row) in rows {
            put.execute(params![
                self.names.intern(self.connection, name.as_str())?,
                Times::to_blob(&row.sent),
                row.pause.as_ref().and_then(|(until, _)| *until),
                row.pause.as_ref().map(|(_, reason)| reason),
                row.month,
                row.used.cast_signed(),
                row.counted_at,
            ])?;
        }
        Ok(())
    }

    fn served(&mut self, rows: &BTreeMap<ReceiverName, Timestamp>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put = (self.connection).prepare_cached("INSERT OR REPLACE INTO served VALUES (?1, ?2)")?;
        for (receiver, at) in rows {
            put.execute(params![
                self.names.intern(self.connection, receiver.as_str())?,
                at
            ])?;
        }
        Ok(())
    }

    fn people(&mut self, rows: &BTreeMap<PersonKey, Option<PersonRow>>) -> rusqlite::Result<()> {
        for (
            PersonKey {
                base_url,
                app,
                known_by,
            },
            row,
        ) in rows
        {
            match row {
                Some(PersonRow { user, at }) => self.connection.execute(
                    "INSERT OR REPLACE INTO person VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![base_url, app, known_by, user, at],
                )?,
                None => self.connection.execute(
                    "DELETE FROM person WHERE base_url = ?1 AND app = ?2 AND known_by = ?3",
                    params![base_url, app, known_by],
                )?,
            };
        }
        Ok(())
    }

    fn digests(&mut self, rows: &BTreeMap<DigestId, DigestRow>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put = (self.connection)
            .prepare_cached("INSERT OR REPLACE INTO digest VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        for (id, row) in rows {
            let counts = serde_json::to_string(&row.counts)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            put.execute(params![
                id,
                self.names.intern(self.connection, row.receiver.as_str())?,
                row.composed_at,
                row.detail,
                counts,
                row.outcome,
            ])?;
        }
        Ok(())
    }

    fn attempts(&mut self, rows: &BTreeMap<MessageId, AttemptRow>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put = (self.connection).prepare_cached(
            "UPDATE message SET sent_at = ?2, attempts = ?3, outcome = ?4, errcode = ?5, answer = ?6 WHERE id = ?1",
        )?;
        for (id, row) in rows {
            put.execute(params![
                id,
                row.sent_at,
                row.attempts,
                row.outcome,
                row.errcode,
                row.answer
            ])?;
        }
        Ok(())
    }

    fn outcomes(&mut self, rows: &BTreeMap<DigestId, String>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put = self
            .connection
            .prepare_cached("UPDATE digest SET outcome = ?2 WHERE id = ?1")?;
        for (id, outcome) in rows {
            put.execute(params![id, outcome])?;
        }
        Ok(())
    }

    /// What is not in the history has no later.
    fn later(&mut self, rows: &BTreeMap<MessageId, LaterRow>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put = (self.connection).prepare_cached(
            "INSERT INTO later SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM message WHERE id = ?1)
             ON CONFLICT (id) DO UPDATE SET recalled_at = coalesce(excluded.recalled_at, recalled_at),
                                            asked_at = coalesce(excluded.asked_at, asked_at)",
        )?;
        let mut read = (self.connection).prepare_cached(
            "INSERT OR IGNORE INTO reader SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM message WHERE id = ?1)",
        )?;
        for (id, row) in rows {
            put.execute(params![id, row.recalled_at, row.asked_at])?;
            for (user, at) in &row.read_by {
                read.execute(params![id, user, at])?;
            }
        }
        Ok(())
    }

    fn messages(&mut self, rows: &BTreeMap<MessageId, MessageRow>) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut put = (self.connection).prepare_cached(
            "INSERT OR REPLACE INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for (id, row) in rows {
            put.execute(params![
                id,
                self.endpoint(row.endpoint.as_ref())?,
                row.sent_at,
                row.attempts,
                row.outcome,
                row.errcode,
                row.answer,
                Covers::to_blob(&row.covers),
                row.title,
                row.text,
            ])?;
        }
        Ok(())
    }

    fn endpoint(&mut self, name: Option<&EndpointName>) -> rusqlite::Result<Option<i64>> {
        name.map(|name| self.names.intern(self.connection, name.as_str()))
            .transpose()
    }

    /// Adds one refused body and drops the source's oldest beyond [`REFUSED_KEPT_MAX`].
    pub(super) fn refused(&mut self, row: &RefusedBody) -> rusqlite::Result<()> {
        let source = self.names.intern(self.connection, row.source.as_str())?;
        let kept = row.body.get(..REFUSED_BODY_BYTES_MAX).unwrap_or(&row.body);
        self.connection.execute(
            "INSERT INTO refused (source, at, reason, body) VALUES (?1, ?2, ?3, ?4)",
            params![source, row.at, row.reason, kept],
        )?;
        self.connection.execute(
            "DELETE FROM refused WHERE source = ?1 AND id NOT IN
                 (SELECT id FROM refused WHERE source = ?1 ORDER BY id DESC LIMIT ?2)",
            params![source, i64::try_from(REFUSED_KEPT_MAX).unwrap_or(i64::MAX)],
        )?;
        Ok(())
    }

    /// Deletes the `limit` oldest digests composed before `before`, with their messages, and people looked up before.
    pub(super) fn prune(&mut self, before: Timestamp, limit: i64) -> rusqlite::Result<()> {
        let mut people = self
            .connection
            .prepare_cached("DELETE FROM person WHERE at < ?1")?;
        people.execute(params![before])?;
        let mut oldest = (self.connection)
            .prepare_cached("SELECT id FROM digest WHERE composed_at < ?1 ORDER BY composed_at LIMIT ?2")?;
        let mut messages =
            (self.connection).prepare_cached("DELETE FROM message WHERE id BETWEEN ?1 AND ?2")?;
        let mut later = (self.connection).prepare_cached("DELETE FROM later WHERE id BETWEEN ?1 AND ?2")?;
        let mut readers =
            (self.connection).prepare_cached("DELETE FROM reader WHERE message BETWEEN ?1 AND ?2")?;
        let mut digest = (self.connection).prepare_cached("DELETE FROM digest WHERE id = ?1")?;
        let ids = oldest.query_map(params![before, limit], |row| row.get::<_, DigestId>(0))?;
        // Collected first: the digests found must not be deleted under the query that finds them.
        for id in ids.collect::<rusqlite::Result<Vec<_>>>()? {
            for parts in [&mut messages, &mut later, &mut readers] {
                parts.execute(params![first_part(id), last_part(id)])?;
            }
            digest.execute(params![id])?;
        }
        Ok(())
    }
}

/// The lowest key a message of the digest can have.
pub(super) fn first_part(digest: DigestId) -> MessageId {
    MessageId {
        digest,
        part: u8::MIN,
    }
}

/// The highest key a message of the digest can have.
pub(super) fn last_part(digest: DigestId) -> MessageId {
    MessageId {
        digest,
        part: u8::MAX,
    }
}
