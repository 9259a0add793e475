//! The tables back into rows. A row that cannot be read names its table, its key and its column.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::{Type, Value};
use rusqlite::{Connection, Params, Row, params, params_from_iter};

use crate::alert::words::{Model, Texts, Words};
use crate::alert::{AlertNo, DigestId, EndpointName, MessageId, ModelNo, ReceiverName, Timestamp};
use crate::store::sqlite::columns::odd;
use crate::store::sqlite::failure;
use crate::store::sqlite::names::Names;
use crate::store::sqlite::packed::{Covers, Facts, Numbers, Times};
use crate::store::sqlite::rows;
use crate::store::sqlite::write::{first_part, last_part};
use crate::store::{
    AlertRow, DigestRow, EndpointRow, InFlightRow, LaterRow, MessageRow, PersonKey, PersonRow, ReceiptRow,
    RefusedBody, SEARCHED_MESSAGES_MAX, StoreError, Told, ToldRow,
};

/// Where rows come from.
pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) connection: &'a Connection,
    pub(super) names: &'a Names,
}

impl Reader<'_> {
    /// A name nobody had who went on from here before.
    pub(super) fn run(&self) -> Result<String, StoreError> {
        self.connection
            .query_row("SELECT lower(hex(randomblob(8)))", [], |row| row.get(0))
            .map_err(|error| failure::of_sqlite(self.path, &error))
    }

    pub(super) fn alerts(&self, take: &mut dyn FnMut(AlertNo, AlertRow)) -> Result<(), StoreError> {
        let models: BTreeMap<ModelNo, Arc<Model>> = self.models()?.into_iter().collect();
        self.each(
            "alert",
            "SELECT id, model, own, facts FROM alert ORDER BY id",
            [],
            |row| {
                let model = models
                    .get(&row.get(1)?)
                    .ok_or_else(|| corrupt(1, "the number of no model"))?;
                let own = row.get_ref(2)?.as_blob().ok();
                let own = own.and_then(|own| std::str::from_utf8(own).ok());
                let words = own.and_then(|own| Words::read(model, own));
                let words = words.ok_or_else(|| corrupt(2, "no difference from its model"))?;
                let facts: Facts = row.get(3)?;
                let alert = AlertRow {
                    words,
                    fingerprint: facts.fingerprint,
                    state: facts.state,
                    starts_at: facts.starts_at,
                    ends_at: facts.ends_at,
                    first_seen: facts.first_seen,
                    last_seen: facts.last_seen,
                    expires_at: facts.expires_at,
                    episodes: facts.episodes,
                    recent: facts.recent,
                    flapping: facts.flapping,
                    doubted: facts.doubted,
                    occurrences: facts.occurrences,
                };
                take(row.get(0)?, alert);
                Ok(())
            },
        )
    }

    fn models(&self) -> Result<Vec<(ModelNo, Arc<Model>)>, StoreError> {
        self.all("model", "SELECT * FROM model ORDER BY id", [], |row| {
            let no = row.get(0)?;
            let texts = Texts {
                identity: row.get(2)?,
                labels: row.get(3)?,
                annotations: row.get(4)?,
                links: row.get(5)?,
                values: row.get(6)?,
            };
            let source = self.name(row, 1)?;
            Ok((no, Arc::new(Model { no, source, texts })))
        })
    }

    pub(super) fn told(&self) -> Result<Vec<(ReceiverName, AlertNo, ToldRow)>, StoreError> {
        let sql = "SELECT alert, said, episodes, at, digest FROM told WHERE receiver = ?1 ORDER BY alert";
        let mut all = Vec::new();
        for (name, id) in self.names.sorted() {
            let receiver = ReceiverName::from(name);
            all.extend(self.all("told", sql, params![id], |row| {
                let told = ToldRow {
                    said: row.get(1)?,
                    episodes: row.get(2)?,
                    at: row.get(3)?,
                    digest: row.get(4)?,
                };
                Ok((receiver.clone(), row.get(0)?, told))
            })?);
        }
        Ok(all)
    }

    pub(super) fn in_flight(&self) -> Result<Vec<(MessageId, InFlightRow)>, StoreError> {
        self.all("in_flight", "SELECT * FROM in_flight ORDER BY id", [], |row| {
            let in_flight = InFlightRow {
                receiver: self.name(row, 1)?,
                endpoint: self.name_if_any(row, 2)?,
                parts: row.get(3)?,
                urgent: row.get(4)?,
                body: row.get::<_, Vec<u8>>(5)?.into(),
                covers: row.get::<_, Covers>(6)?.0,
                attempts: row.get(7)?,
            };
            Ok((row.get(0)?, in_flight))
        })
    }

    pub(super) fn receipts(&self) -> Result<Vec<(MessageId, ReceiptRow)>, StoreError> {
        self.all("receipt", "SELECT * FROM receipt ORDER BY id", [], |row| {
            let receipt = ReceiptRow {
                receiver: self.name(row, 1)?,
                endpoint: self.name(row, 2)?,
                receipt: row.get::<_, String>(3)?.into(),
                shared: row.get(4)?,
                sent_at: row.get(5)?,
                last: row.get(6)?,
                tells: row.get(7)?,
                announced: row.get::<_, Numbers>(8)?.0,
                read: row.get(9)?,
            };
            Ok((row.get(0)?, receipt))
        })
    }

    pub(super) fn endpoints(&self) -> Result<Vec<(EndpointName, EndpointRow)>, StoreError> {
        let mut all = self.all("endpoint", "SELECT * FROM endpoint", [], |row| {
            let until: Option<Timestamp> = row.get(2)?;
            let reason: Option<String> = row.get(3)?;
            let endpoint = EndpointRow {
                sent: row.get::<_, Times>(1)?.0,
                pause: reason.map(|reason| (until, reason)),
                month: row.get(4)?,
                used: row.get::<_, i64>(5)?.cast_unsigned(),
                counted_at: row.get(6)?,
            };
            Ok((self.name(row, 0)?, endpoint))
        })?;
        all.sort_by(|a: &(EndpointName, _), b| a.0.cmp(&b.0));
        Ok(all)
    }

    pub(super) fn served(&self) -> Result<Vec<(ReceiverName, Timestamp)>, StoreError> {
        let mut all = self.all("served", "SELECT * FROM served", [], |row| {
            Ok((self.name(row, 0)?, row.get(1)?))
        })?;
        all.sort();
        Ok(all)
    }

    pub(super) fn people(&self) -> Result<Vec<(PersonKey, PersonRow)>, StoreError> {
        self.all("person", "SELECT * FROM person", [], |row| {
            let key = PersonKey {
                base_url: row.get(0)?,
                app: row.get(1)?,
                known_by: row.get(2)?,
            };
            let person = PersonRow {
                user: row.get(3)?,
                at: row.get(4)?,
            };
            Ok((key, person))
        })
    }

    /// The newest digests first: of these receivers, and that tell of one of these alerts, as far as that is asked for.
    pub(super) fn digests(
        &self,
        receivers: Option<&[i64]>,
        alerts: &[AlertNo],
        limit: i64,
    ) -> Result<Vec<Told>, StoreError> {
        let decode = |row: &Row<'_>| {
            let counts: BTreeMap<String, u64> = serde_json::from_str(&row.get::<_, String>(4)?)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(4, Type::Text, error.into()))?;
            let digest = DigestRow {
                receiver: self.name(row, 1)?,
                composed_at: row.get(2)?,
                detail: row.get(3)?,
                counts,
                outcome: row.get(5)?,
            };
            Ok((row.get(0)?, digest))
        };
        // What is not asked for is not in the query, so that an index serves what is.
        let mut sql = "SELECT * FROM digest WHERE TRUE".to_owned();
        let mut wanted: Vec<Value> = Vec::new();
        if let Some(receivers) = receivers {
            sql.push_str(" AND receiver IN (SELECT value FROM json_each(?))");
            wanted.push(serde_json::Value::from(receivers).to_string().into());
        }
        if !alerts.is_empty() {
            sql.push_str(" AND id IN (SELECT value FROM json_each(?))");
            wanted.push(
                serde_json::Value::from(self.digests_about(alerts)?)
                    .to_string()
                    .into(),
            );
        }
        sql.push_str(" ORDER BY id DESC LIMIT ?");
        wanted.push(limit.into());
        let found = self.all("digest", &sql, params_from_iter(wanted), decode)?;
        found
            .into_iter()
            .map(|(id, digest)| {
                Ok(Told {
                    id,
                    digest,
                    messages: self.messages(id)?,
                    later: self.later(id)?,
                })
            })
            .collect()
    }

    /// The digests that tell of one of these alerts, among those with the newest messages.
    fn digests_about(&self, alerts: &[AlertNo]) -> Result<Vec<u64>, StoreError> {
        let sql = "SELECT id, covers FROM message ORDER BY id DESC LIMIT ?1";
        let mut digests = Vec::new();
        self.each("message", sql, params![rows(SEARCHED_MESSAGES_MAX)], |row| {
            let Covers(covers) = row.get(1)?;
            if covers.iter().any(|(no, ..)| alerts.contains(no)) {
                digests.push(row.get::<_, MessageId>(0)?.digest.0);
            }
            Ok(())
        })?;
        Ok(digests)
    }

    fn messages(&self, digest: DigestId) -> Result<Vec<(u8, MessageRow)>, StoreError> {
        let sql = "SELECT * FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
        self.all(
            "message",
            sql,
            params![first_part(digest), last_part(digest)],
            |row| {
                let Covers(covers) = row.get(7)?;
                let message = MessageRow {
                    endpoint: self.name_if_any(row, 1)?,
                    sent_at: row.get(2)?,
                    attempts: row.get(3)?,
                    outcome: row.get(4)?,
                    errcode: row.get(5)?,
                    answer: row.get(6)?,
                    covers,
                    title: row.get(8)?,
                    text: row.get(9)?,
                };
                Ok((row.get::<_, MessageId>(0)?.part, message))
            },
        )
    }

    fn later(&self, digest: DigestId) -> Result<BTreeMap<u8, LaterRow>, StoreError> {
        let sql = "SELECT id, recalled_at, asked_at, user, at FROM later LEFT JOIN reader ON message = id \
                   WHERE id BETWEEN ?1 AND ?2";
        let mut later: BTreeMap<u8, LaterRow> = BTreeMap::new();
        let parts = params![first_part(digest), last_part(digest)];
        self.each("later", sql, parts, |row| {
            let part = row.get::<_, MessageId>(0)?.part;
            let known = later.entry(part).or_default();
            known.recalled_at = row.get(1)?;
            known.asked_at = row.get(2)?;
            let reader: Option<String> = row.get(3)?;
            if let Some(user) = reader {
                known.read_by.insert(user, row.get(4)?);
            }
            Ok(())
        })?;
        Ok(later)
    }

    /// The number of the source, if only its bodies are wanted.
    pub(super) fn refused(&self, source: Option<i64>, limit: i64) -> Result<Vec<RefusedBody>, StoreError> {
        let sql = "SELECT * FROM refused WHERE ?1 IS NULL OR source = ?1 ORDER BY id DESC LIMIT ?2";
        self.all("refused", sql, params![source, limit], |row| {
            Ok(RefusedBody {
                source: self.name(row, 1)?,
                at: row.get(2)?,
                reason: row.get(3)?,
                body: row.get(4)?,
            })
        })
    }

    /// Every row of a query, decoded.
    fn all<T>(
        &self,
        table: &str,
        sql: &str,
        params: impl Params,
        decode: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        self.each(table, sql, params, |row| {
            all.push(decode(row)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// Visits every row of a query.
    fn each(
        &self,
        table: &str,
        sql: &str,
        params: impl Params,
        mut visit: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let failed = |error| failure::of_sqlite(self.path, &error);
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let mut rows = statement.query(params).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            visit(row).map_err(|error| failure::of_row(self.path, table, row, &error))?;
        }
        Ok(())
    }

    /// The name whose number stands in a column.
    fn name<T: From<Arc<str>>>(&self, row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
        self.name_if_any(row, column)?
            .ok_or_else(|| corrupt(column, "no name"))
    }

    /// The name whose number stands in a column that may be empty.
    fn name_if_any<T: From<Arc<str>>>(&self, row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
        let Some(id) = row.get::<_, Option<i64>>(column)? else {
            return Ok(None);
        };
        match self.names.text(id) {
            Some(name) => Ok(Some(Arc::clone(name).into())),
            None => Err(corrupt(column, "the number of no name")),
        }
    }
}

/// A value that no row of ours can hold, in this column.
fn corrupt(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, odd(what).into())
}
