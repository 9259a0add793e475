//! Names of sources, receivers and endpoints, each kept once and referred to by a small number.
//!
//! A name stays for good: there are as many as were ever configured. **Invariant:** what is held here is what
//! the table holds, plus what the transaction under way adds; [`Names::forget`] takes that back when it fails.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::alert::ReceiverName;

/// The table `name` in memory.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By number.
    texts: Vec<Arc<str>>,
    /// By text.
    ids: HashMap<Arc<str>, i64>,
}

impl Names {
    /// Reads the table.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut names = Self::default();
        let mut statement = connection.prepare("SELECT text FROM name ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            names.push(row.get(0)?);
        }
        Ok(names)
    }

    /// The number of a name; one never seen before is given the next and written.
    pub(super) fn intern(&mut self, connection: &Connection, text: &str) -> rusqlite::Result<i64> {
        if let Some(id) = self.ids.get(text) {
            return Ok(*id);
        }
        let id = self.push(Arc::from(text));
        connection.execute("INSERT INTO name VALUES (?1, ?2)", params![id, text])?;
        Ok(id)
    }

    /// The number of a name, if it has one.
    pub(super) fn id(&self, text: &str) -> Option<i64> {
        self.ids.get(text).copied()
    }

    /// The numbers of those that a configured receiver stands for.
    pub(super) fn members(&self, configured: &str) -> Vec<i64> {
        let names = self.texts.iter().zip(0..);
        let members = names.filter(|(text, _)| ReceiverName::from(Arc::clone(text)).is_of(configured));
        members.map(|(_, id)| id).collect()
    }

    /// The name with this number.
    pub(super) fn text(&self, id: i64) -> Option<&Arc<str>> {
        self.texts.get(usize::try_from(id).ok()?)
    }

    /// Every name with its number, in the order of the names.
    pub(super) fn sorted(&self) -> Vec<(Arc<str>, i64)> {
        let mut all: Vec<_> = self.texts.iter().cloned().zip(0..).collect();
        all.sort();
        all
    }

    /// How many there are; what [`Names::forget`] goes back to.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Forgets all but the first `len` names: the transaction that wrote the others was rolled back.
    pub(super) fn forget(&mut self, len: usize) {
        for text in self.texts.drain(len..) {
            self.ids.remove(&text);
        }
    }

    fn push(&mut self, text: Arc<str>) -> i64 {
        let id = i64::try_from(self.texts.len()).unwrap_or(i64::MAX);
        self.ids.insert(Arc::clone(&text), id);
        self.texts.push(text);
        id
    }
}
