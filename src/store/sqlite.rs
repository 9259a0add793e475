//! The embedded store: one SQLite file with one owner.
//!
//! A commit is one transaction in a write-ahead log that is flushed before it is confirmed
//! (`synchronous=FULL`). The log is taken over into the file by the commit that fills it and then written
//! from its start again, so it stays small; space that deleted rows leave in the file is used for later rows
//! and not given back. A commit that fails is rolled back and leaves the store as usable as before: once there
//! is space again, or the disk can be written, the next one succeeds.
//!
//! Before each commit it is asked whether the files are still those that were opened. SQLite would go on writing to
//! a file that was deleted, and every commit would succeed until the process ends and nothing is found.
//!
//! **Invariants:** the file is locked from [`SqliteStore::open`] until the process ends, however it ends, also
//! against readers, so what is in memory (names, next numbers) is what is on disk. Numbers of alerts and digests
//! never go back. [`Store::load`] reads every page of every table the engine starts from, which finds damage as
//! early as a check of its own would; damage in the history is found when that is read.
//!
//! This module decides nothing about alerts and knows neither engine nor plan.

mod columns;
mod failure;
mod names;
mod packed;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use packed::check_blob;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::alert::{AlertNo, SourceName, Timestamp};
use crate::store::sqlite::names::Names;
use crate::store::sqlite::read::Reader;
use crate::store::sqlite::schema::Found;
use crate::store::sqlite::write::{Next, Writer};
use crate::store::{AlertRow, Changes, DigestQuery, RefusedBody, Saved, Store, StoreError, Told};

/// How long another owner of the file is waited for: long enough for one that is just ending.
const OWNER_WAIT: Duration = Duration::from_millis(250);
/// Pages of 4 KiB in the log at which they are taken over into the file.
const LOG_PAGES: u32 = 4_000;
/// What the log may keep on disk after one large commit has been taken over.
const LOG_BYTES_KEPT: u32 = 64 << 20;
/// Memory for pages, in KiB. The engine reads everything once, so there is little to gain from more.
const CACHE_KIB: i32 = 4_096;
/// Statements kept prepared: as many as rows are written with.
const STATEMENTS_KEPT: usize = 32;
/// Digests forgotten by one [`Store::prune`].
const DIGESTS_PRUNED_MAX: i64 = 1_000;

/// The store in a file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connection: Connection,
    /// The open file as it last was.
    file: Place,
    /// Device and inode of its open log.
    log: (u64, u64),
    names: Names,
    next: Next,
}

impl SqliteStore {
    /// Opens the file at `path`, makes it (mode 0600) when there is none, and brings it to this version's
    /// schema. Its directory must exist.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process, or another store of this one, has it;
    /// [`StoreError::NewerSchema`], [`StoreError::Damaged`], [`StoreError::ReadOnly`] and [`StoreError::Full`]
    /// as they say. Nothing of the file has been changed then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, &schema::MIGRATIONS)
    }

    fn open_with(path: &Path, migrations: &[&str]) -> Result<Self, StoreError> {
        // Absolute, so that SQLite sees a path and never a URI or `:memory:`.
        let path = std::path::absolute(path).map_err(|error| failure::of_system(path, &error))?;
        create_if_absent(&path)?;
        check_not_emptied(&path)?;
        let failed = |error| failure::of_sqlite(&path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        if connection.is_readonly("main").map_err(failed)? {
            return Err(failure::read_only(&path, "it may only be read"));
        }
        lock(&connection).map_err(failed)?;
        let known = schema::version_of(migrations);
        match schema::inspect(&connection, known).map_err(failed)? {
            Found::Known => {}
            Found::Newer(found) => {
                return Err(StoreError::NewerSchema {
                    path: failure::text(&path),
                    found,
                    known,
                });
            }
            Found::Foreign => return Err(failure::damaged(&path, "a database of another program")),
        }
        configure(&connection).map_err(failed)?;
        schema::migrate(&mut connection, migrations).map_err(failed)?;
        let next = connection
            .query_row("SELECT next_alert, next_digest FROM meta", [], |row| {
                Ok(Next {
                    alert: row.get(0)?,
                    digest: row.get(1)?,
                })
            })
            .map_err(failed)?;
        Ok(Self {
            names: Names::load(&connection).map_err(failed)?,
            file: Place::of(&path).map_err(|error| failure::of_system(&path, &error))?,
            log: log_of(&path).map_err(|error| failure::of_system(&path, &error))?,
            connection,
            next,
            path,
        })
    }

    /// Does `work` in one transaction. When that fails, nothing of it stays, on disk or in memory.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Writer<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.check_in_place()?;
        let names_before = self.names.len();
        let Self {
            connection, names, ..
        } = self;
        let done = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                let result = work(&mut Writer {
                    connection: &transaction,
                    names,
                })?;
                transaction.commit()?;
                Ok(result)
            });
        done.map_err(|error| {
            self.names.forget(names_before);
            failure::of_sqlite(&self.path, &error)
        })
    }

    /// What is written to a file that was moved or deleted is not durable: the next start would not find it.
    fn check_in_place(&mut self) -> Result<(), StoreError> {
        let found = Place::of(&self.path)
            .map_err(|error| failure::read_only(&self.path, format!("it was moved or deleted: {error}")))?;
        if found.identity != self.file.identity {
            return Err(failure::read_only(
                &self.path,
                "another file took its place; start again",
            ));
        }
        if found.bytes < self.file.bytes {
            return Err(failure::damaged(
                &self.path,
                format!("it was cut from {} to {} bytes", self.file.bytes, found.bytes),
            ));
        }
        self.file = found;
        if log_of(&self.path).ok() == Some(self.log) {
            return Ok(());
        }
        self.renew_log()
    }

    /// Takes the open log over into the file, and begins another in its place.
    ///
    /// The first step may fail, on a full disk for one, and loses nothing: the log stays open. Only when the file has
    /// everything may the log be let go; SQLite does so whether it could be taken over or not.
    fn renew_log(&mut self) -> Result<(), StoreError> {
        let failed = |error| failure::of_sqlite(&self.path, &error);
        let taken_over = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (frames, done) = self
            .connection
            .query_row("PRAGMA wal_checkpoint(FULL)", [], taken_over)
            .map_err(failed)?;
        if done < frames {
            return Err(failure::other(&self.path, "its deleted log cannot be taken over"));
        }
        ["DELETE", "WAL"]
            .into_iter()
            .try_for_each(|mode| self.connection.pragma_update(None, "journal_mode", mode))
            // The first transaction makes the file.
            .and_then(|()| self.connection.execute_batch("BEGIN IMMEDIATE; COMMIT"))
            .map_err(failed)?;
        self.log = log_of(&self.path).map_err(|error| failure::of_system(&self.path, &error))?;
        tracing::warn!("the store's log was moved or deleted; it was written anew");
        Ok(())
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            path: &self.path,
            connection: &self.connection,
            names: &self.names,
        }
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Saved, StoreError> {
        let mut alerts = Vec::new();
        self.load_alerts(&mut |no, row| alerts.push((no, row)))?;
        Ok(Saved {
            alerts,
            ..self.load_others()?
        })
    }

    fn load_alerts(&mut self, take: &mut dyn FnMut(AlertNo, AlertRow)) -> Result<(), StoreError> {
        self.reader().alerts(take)
    }

    fn load_others(&mut self) -> Result<Saved, StoreError> {
        let reader = self.reader();
        Ok(Saved {
            run: reader.run()?,
            next_alert: self.next.alert,
            next_digest: self.next.digest,
            alerts: Vec::new(),
            told: reader.told()?,
            in_flight: reader.in_flight()?,
            receipts: reader.receipts()?,
            endpoints: reader.endpoints()?,
            served: reader.served()?,
            people: reader.people()?,
        })
    }

    fn commit(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let next = self.next;
        self.next = self.transact(|writer| writer.changes(changes, next))?;
        Ok(())
    }

    fn digests(&mut self, query: &DigestQuery) -> Result<Vec<Told>, StoreError> {
        let receiver = query.receiver.as_ref();
        let members = receiver.map(|name| self.names.members(name.as_str()));
        (self.reader()).digests(members.as_deref(), &query.alerts, rows(query.limit))
    }

    fn keep_refused(&mut self, body: &RefusedBody) -> Result<(), StoreError> {
        self.transact(|writer| writer.refused(body))
    }

    fn refused(&mut self, source: Option<&SourceName>, limit: usize) -> Result<Vec<RefusedBody>, StoreError> {
        let source = match source {
            None => None,
            Some(name) => match self.names.id(name.as_str()) {
                None => return Ok(Vec::new()),
                known => known,
            },
        };
        self.reader().refused(source, rows(limit))
    }

    fn prune(&mut self, before: Timestamp) -> Result<(), StoreError> {
        self.transact(|writer| writer.prune(before, DIGESTS_PRUNED_MAX))
    }
}

/// Makes an empty file that only we can read. An existing one is not even opened: closing it again would
/// release the locks that another store of this process has on it.
fn create_if_absent(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(path);
    if !directory.is_dir() {
        let directory = directory.display();
        return Err(failure::other(
            path,
            format!("there is no directory `{directory}`; create it, or set another `store.path`"),
        ));
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failure::of_system(path, &error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// SQLite takes an empty file for a new database and throws its log away. But a log comes after the first page: a
/// file that has one was not always empty.
fn check_not_emptied(path: &Path) -> Result<(), StoreError> {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    if bytes(path) == 0 && bytes(&log_path(path)) > 0 {
        return Err(failure::damaged(path, "it is empty, and its log is not"));
    }
    Ok(())
}

/// Takes the file for this connection alone. The system releases the lock when the process ends.
fn lock(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(OWNER_WAIT)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    // The first access takes the lock, and exclusive mode keeps it.
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")
}

/// Settings of the connection; only `journal_mode` stays with the file.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Rows refer to names only, which are never deleted; the bundled SQLite has this on.
    connection.pragma_update(None, "foreign_keys", false)
}

/// A file, and how long it was.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Device and inode.
    identity: (u64, u64),
    /// It only grows: space of deleted rows is not given back.
    bytes: u64,
}

impl Place {
    /// What stands at `path`.
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|file| Self {
            identity: (file.dev(), file.ino()),
            bytes: file.len(),
        })
    }
}

/// Which file is the log of the database at `path`.
fn log_of(path: &Path) -> io::Result<(u64, u64)> {
    Place::of(&log_path(path)).map(|place| place.identity)
}

/// Where SQLite keeps the log of the database at `path`.
fn log_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// A number of rows as SQLite counts them.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
