//! How each type of a row stands in a column, and back.
//!
//! Numbers are SQLite's signed 64 bits with the same bit pattern, states are their names, label sets their
//! encoded text, lists a compact blob. **Invariant:** what was written reads back equal, and what no row of
//! ours can hold is an error, never a default.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::alert::{AlertNo, DigestId, Fingerprint, Labels, MessageId, Timestamp};
use crate::store::{Said, State};

/// An alert number, an alert's told state and its episodes: an element of `in_flight.covers`.
pub(super) type Cover = (AlertNo, Said, u32);

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

unsigned! { AlertNo DigestId Fingerprint }

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

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        let mut all = Self::ALL.into_iter();
        all.find(|state| state.as_str() == name)
            .ok_or_else(|| odd("not a state"))
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

/// Times as a blob, each as its distance from the one before.
pub(super) fn times_to_blob(times: &[Timestamp]) -> Vec<u8> {
    let mut blob = Vec::new();
    let mut last = 0_i64;
    for time in times {
        push_signed(&mut blob, time.0.wrapping_sub(last));
        last = time.0;
    }
    blob
}

/// A column made by [`times_to_blob`].
pub(super) struct Times(pub(super) Vec<Timestamp>);

impl FromSql for Times {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let mut rest = value.as_blob()?;
        let mut times = Vec::new();
        let mut last = 0_i64;
        while !rest.is_empty() {
            let distance = take_signed(&mut rest).ok_or_else(|| odd("not a list of times"))?;
            last = last.wrapping_add(distance);
            times.push(Timestamp(last));
        }
        Ok(Self(times))
    }
}

/// What a message covers as a blob: about three bytes for each alert.
pub(super) fn covers_to_blob(covers: &[Cover]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(covers.len() * 4);
    let mut last = 0_u64;
    for (alert, said, episodes) in covers {
        push_signed(&mut blob, alert.0.wrapping_sub(last).cast_signed());
        last = alert.0;
        // Two bits for how it was told below the episodes: one byte for nearly every alert.
        push_unsigned(&mut blob, (u64::from(*episodes) << 2) | said_code(*said));
    }
    blob
}

/// A column made by [`covers_to_blob`].
pub(super) struct Covers(pub(super) Vec<Cover>);

impl FromSql for Covers {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        fn take(rest: &mut &[u8], last: u64) -> Option<Cover> {
            let alert = last.wrapping_add(take_signed(rest)?.cast_unsigned());
            let packed = take_unsigned(rest)?;
            let said = Said::ALL
                .into_iter()
                .find(|said| said_code(*said) == packed & 3)?;
            Some((AlertNo(alert), said, u32::try_from(packed >> 2).ok()?))
        }
        let mut rest = value.as_blob()?;
        let mut covers: Vec<Cover> = Vec::new();
        while !rest.is_empty() {
            let last = covers.last().map_or(0, |cover| cover.0.0);
            covers.push(take(&mut rest, last).ok_or_else(|| odd("not a list of what is covered"))?);
        }
        Ok(Self(covers))
    }
}

/// Part of the format of `in_flight.covers`: these numbers stay.
const fn said_code(said: Said) -> u64 {
    match said {
        Said::Firing => 0,
        Said::Resolved => 1,
        Said::Flapping => 2,
        Said::Expired => 3,
    }
}

/// Appends a number in groups of seven bits, the lowest first, a set high bit meaning that more follow.
fn push_unsigned(blob: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        let [low, ..] = number.to_le_bytes();
        blob.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    blob.push(low);
}

/// As [`push_unsigned`], with the sign in the lowest bit, so that small negative numbers are short too.
fn push_signed(blob: &mut Vec<u8>, number: i64) {
    push_unsigned(blob, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Takes off what [`push_unsigned`] appended. `None` when the blob ends early or the number is too long.
fn take_unsigned(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Takes off what [`push_signed`] appended.
fn take_signed(rest: &mut &[u8]) -> Option<i64> {
    let number = take_unsigned(rest)?;
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

/// A value that no row of ours can hold.
pub(super) fn odd(what: &'static str) -> FromSqlError {
    FromSqlError::Other(what.into())
}
