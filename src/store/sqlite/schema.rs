//! The tables, and how a file of an older version becomes one of this version.
//!
//! Rows are keyed by numbers that only grow (alerts, digests, messages) or by small numbers (receivers, endpoints),
//! so that a batch of new rows is appended to the end of a table. **Invariant:** no table that grows with the
//! number of alerts has an index on anything random: it would cost more than the table itself.

use rusqlite::{Connection, TransactionBehavior};

/// Marks the file as ours (`PRAGMA application_id`): the letters `ding`.
pub(super) const APPLICATION_ID: i64 = 0x6469_6e67;

/// What makes a file of schema `n` one of schema `n + 1`, at place `n`. Steps that were released never change.
pub(super) const MIGRATIONS: [&str; 1] = [V1];

/// Names are kept once and referred to by number: `model.source`, `told.receiver`, `in_flight.endpoint`, ….
/// Messages are numbered `digest * 256 + part`. Times are milliseconds since the Unix epoch. Blobs other than
/// bodies are the module `packed`'s. What an alert says is its difference from a model, as of `alert::words`: a text,
/// but of any characters, also those at which tools for SQLite take a text to end.
const V1: &str = "
CREATE TABLE meta (
    id          INTEGER PRIMARY KEY CHECK (id = 0),
    next_alert  INTEGER NOT NULL,
    next_digest INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (0, 1, 1);

CREATE TABLE name (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;

CREATE TABLE model (
    id          INTEGER PRIMARY KEY,
    source      INTEGER NOT NULL,
    identity    TEXT,
    labels      TEXT NOT NULL,
    annotations TEXT NOT NULL,
    links       TEXT NOT NULL,
    measured    TEXT NOT NULL
) STRICT;

CREATE TABLE alert (
    id    INTEGER PRIMARY KEY,
    model INTEGER NOT NULL,
    own   BLOB NOT NULL,
    facts BLOB NOT NULL
) STRICT;

CREATE TABLE told (
    receiver INTEGER NOT NULL,
    alert    INTEGER NOT NULL,
    said     TEXT NOT NULL,
    episodes INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    digest   INTEGER NOT NULL,
    PRIMARY KEY (receiver, alert)
) STRICT, WITHOUT ROWID;

CREATE TABLE in_flight (
    id       INTEGER PRIMARY KEY,
    receiver INTEGER NOT NULL,
    endpoint INTEGER,
    parts    INTEGER NOT NULL,
    urgent   INTEGER NOT NULL,
    body     BLOB NOT NULL,
    covers   BLOB NOT NULL,
    attempts INTEGER NOT NULL
) STRICT;

CREATE TABLE receipt (
    id        INTEGER PRIMARY KEY,
    receiver  INTEGER NOT NULL,
    endpoint  INTEGER NOT NULL,
    receipt   TEXT NOT NULL,
    shared    INTEGER NOT NULL,
    sent_at   INTEGER NOT NULL,
    last      INTEGER NOT NULL,
    tells     INTEGER NOT NULL,
    announced BLOB NOT NULL,
    read      INTEGER NOT NULL
) STRICT;

CREATE TABLE endpoint (
    name         INTEGER PRIMARY KEY,
    sent         BLOB NOT NULL,
    paused_until INTEGER,
    pause_reason TEXT,
    month        INTEGER NOT NULL,
    used         INTEGER NOT NULL,
    counted_at   INTEGER
) STRICT;

CREATE TABLE served (
    receiver INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL
) STRICT;

CREATE TABLE person (
    base_url TEXT NOT NULL,
    app      TEXT NOT NULL,
    known_by TEXT NOT NULL,
    user     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (base_url, app, known_by)
) STRICT, WITHOUT ROWID;

CREATE TABLE digest (
    id          INTEGER PRIMARY KEY,
    receiver    INTEGER NOT NULL,
    composed_at INTEGER NOT NULL,
    detail      TEXT NOT NULL,
    counts      TEXT NOT NULL,
    outcome     TEXT NOT NULL
) STRICT;
CREATE INDEX digest_by_receiver ON digest (receiver);
CREATE INDEX digest_by_time ON digest (composed_at);

CREATE TABLE message (
    id       INTEGER PRIMARY KEY,
    endpoint INTEGER,
    sent_at  INTEGER,
    attempts INTEGER NOT NULL,
    outcome  TEXT,
    errcode  INTEGER,
    answer   TEXT,
    covers   BLOB NOT NULL,
    title    TEXT NOT NULL,
    text     TEXT NOT NULL
) STRICT;

CREATE TABLE later (
    id          INTEGER PRIMARY KEY,
    recalled_at INTEGER,
    asked_at    INTEGER
) STRICT;

CREATE TABLE reader (
    message INTEGER NOT NULL,
    user    TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (message, user)
) STRICT, WITHOUT ROWID;

CREATE TABLE refused (
    id     INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    reason TEXT NOT NULL,
    body   BLOB NOT NULL
) STRICT;
";

/// What a file says about itself.
pub(super) enum Found {
    /// It is empty, or holds a schema that [`migrate`] can bring up to date.
    Known,
    /// It holds a schema of a newer version.
    Newer(i64),
    /// It is a database of another program.
    Foreign,
}

/// Looks at a file without changing it. `known` is the newest schema this version writes.
pub(super) fn inspect(connection: &Connection, known: i64) -> rusqlite::Result<Found> {
    let version = version(connection)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(
        if application != APPLICATION_ID && (version != 0 || tables != 0) {
            Found::Foreign
        } else if version > known {
            Found::Newer(version)
        } else {
            Found::Known
        },
    )
}

/// Takes every step from the file's schema to the newest, all or none.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let version = usize::try_from(version(connection)?).unwrap_or(usize::MAX);
    let missing = steps.get(version..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version_of(steps))?;
    transaction.commit()
}

/// The schema that `steps` lead to.
pub(super) fn version_of(steps: &[&str]) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
