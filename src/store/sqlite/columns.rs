//! How each type of a row stands in a column, and back.
//!
//! Numbers are SQLite's signed 64 bits with the same bit pattern, what was said is its name, label sets are
//! their encoded text. **Invariant:** what was written reads back equal, and what no row of ours can hold is
//! an error, never a default.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::alert::{AlertNo, DigestId, Labels, MessageId, ModelNo, Timestamp};
use crate::store::Said;

/// Implements the column of a type that wraps an unsigned number.
macro_rules! unsigned {
    ($($name:ident)*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.0.cast_signed().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                Ok(Self(value.as_i64()?.cast_unsigned()))
            }
        }
    )*};
}

unsigned! { AlertNo DigestId ModelNo }

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self)
    }
}

impl ToSql for MessageId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(((self.digest.0 << 8) | u64::from(self.part)).cast_signed().into())
    }
}

impl FromSql for MessageId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?.cast_unsigned();
        let [part, ..] = number.to_le_bytes();
        Ok(Self {
            digest: DigestId(number >> 8),
            part,
        })
    }
}

impl ToSql for Labels {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_encoded().into())
    }
}

impl FromSql for Labels {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_encoded(value.as_str()?).ok_or_else(|| odd("not a set of labels"))
    }
}

impl ToSql for Said {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Said {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        let mut all = Self::ALL.into_iter();
        all.find(|said| said.as_str() == name)
            .ok_or_else(|| odd("not what an alert can be told as"))
    }
}

/// A value that no row of ours can hold.
pub(super) fn odd(what: &'static str) -> FromSqlError {
    FromSqlError::Other(what.into())
}
