//! What SQLite said, sorted by what can be done about it.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// An error of SQLite on the file at `path`.
pub(super) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> StoreError {
    let detail = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse { path: text(path) },
        Some(ErrorCode::DiskFull) => StoreError::Full { path: text(path) },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, detail),
        // An I/O error that is not a full disk is a mount that became read-only, a quota or a failing disk.
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure,
        ) => read_only(path, detail),
        _ => other(path, detail),
    }
}

/// An error of the file system on the file at `path`.
pub(super) fn of_system(path: &Path, error: &io::Error) -> StoreError {
    use io::ErrorKind::{IsADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let kind = error.kind();
    if matches!(kind, StorageFull | QuotaExceeded) {
        StoreError::Full { path: text(path) }
    } else if matches!(kind, PermissionDenied | ReadOnlyFilesystem | IsADirectory) {
        read_only(path, error.to_string())
    } else {
        other(path, error.to_string())
    }
}

/// A row of `table` that holds what no row of ours can hold.
pub(super) fn of_row(
    path: &Path,
    table: &str,
    row: &rusqlite::Row<'_>,
    error: &rusqlite::Error,
) -> StoreError {
    let column = |index: usize| row.as_ref().column_name(index).unwrap_or("?").to_owned();
    let what = if let rusqlite::Error::FromSqlConversionFailure(index, _, why) = error {
        format!("column `{}`: {why}", column(*index))
    } else if let rusqlite::Error::IntegralValueOutOfRange(index, value) = error {
        format!("column `{}`: {value} is out of range", column(*index))
    } else if let rusqlite::Error::InvalidColumnType(index, _, found) = error {
        format!("column `{}`: unexpected {found}", column(*index))
    } else {
        return of_sqlite(path, error);
    };
    let key = row.get_ref(0).ok().and_then(|key| key.as_i64().ok());
    let key = key.map_or_else(|| "?".to_owned(), |key| key.to_string());
    damaged(path, format!("table `{table}`, row {key}, {what}"))
}

/// The file cannot be written.
pub(super) fn read_only(path: &Path, detail: impl Into<String>) -> StoreError {
    StoreError::ReadOnly {
        path: text(path),
        detail: detail.into(),
    }
}

/// The file is not what it should be.
pub(super) fn damaged(path: &Path, detail: impl Into<String>) -> StoreError {
    StoreError::Damaged {
        path: text(path),
        detail: detail.into(),
    }
}

/// Anything else.
pub(super) fn other(path: &Path, detail: impl Into<String>) -> StoreError {
    StoreError::Other {
        path: text(path),
        detail: detail.into(),
    }
}

/// The path as people read it.
pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}
