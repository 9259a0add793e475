//! What is many or small, packed into a blob: an alert's facts, lists of times, what a message covers.
//!
//! Each column costs some time to read, whatever is in it: with the facts in one, a million alerts are read in
//! half the time. Numbers are in groups of seven bits, the lowest first, a set high bit meaning that
//! more follow; times are distances from one another. **Invariant:** what was packed unpacks equal, and bytes
//! that nothing packs to are an error. The codes here are part of the file's format: they stay.

use rusqlite::types::{FromSql, FromSqlResult, ValueRef};

use crate::alert::occurrence::{Occurred, Occurrence, Occurrences};
use crate::alert::{AlertNo, Fingerprint, Timestamp};
use crate::store::sqlite::columns::odd;
use crate::store::{AlertRow, Cover, Said, State};

/// What an [`AlertRow`] holds besides names and texts: the column `alert.facts`.
pub(super) struct Facts {
    pub(super) fingerprint: Fingerprint,
    pub(super) state: State,
    pub(super) flapping: bool,
    pub(super) doubted: bool,
    pub(super) starts_at: Timestamp,
    pub(super) ends_at: Option<Timestamp>,
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) episodes: u32,
    pub(super) recent: Vec<Timestamp>,
    pub(super) occurrences: Occurrences,
}

/// The bit of a flag in the first byte of the facts, above the state's code.
const FLAPPING: u8 = 0b0100;
const ENDED: u8 = 0b1000;
const DOUBTED: u8 = 0b1_0000;
const OCCURRED: u8 = 0b10_0000;

impl Facts {
    /// The facts of a row as a blob of about forty bytes.
    pub(super) fn to_blob(row: &AlertRow) -> Vec<u8> {
        let mut blob = Packer(Vec::with_capacity(64));
        let flapping = if row.flapping { FLAPPING } else { 0 };
        let ended = if row.ends_at.is_some() { ENDED } else { 0 };
        let doubted = if row.doubted { DOUBTED } else { 0 };
        let occurrences = row.occurrences.as_slice();
        let occurred = if occurrences.is_empty() { 0 } else { OCCURRED };
        (blob.0).push(state_code(row.state) | flapping | ended | doubted | occurred);
        blob.0.extend_from_slice(&row.fingerprint.0.to_le_bytes());
        let start = row.starts_at;
        blob.time(start, Timestamp(0));
        for time in [row.first_seen, row.last_seen, row.expires_at] {
            blob.time(time, start);
        }
        if let Some(end) = row.ends_at {
            blob.time(end, start);
        }
        blob.unsigned(row.episodes.into());
        if !occurrences.is_empty() {
            blob.unsigned(occurrences.len() as u64);
        }
        for occurrence in occurrences {
            blob.unsigned(occurred_code(occurrence.what));
            blob.time(occurrence.at, start);
        }
        blob.times(&row.recent, start);
        blob.0
    }

    fn from_blob(blob: &[u8]) -> Option<Self> {
        let (&[first], rest) = blob.split_first_chunk()?;
        let (fingerprint, rest) = rest.split_first_chunk()?;
        if first >= OCCURRED << 1 {
            return None;
        }
        let state = State::ALL
            .into_iter()
            .find(|state| state_code(*state) == first & 0b11)?;
        let mut rest = Unpacker(rest);
        let start = rest.time(Timestamp(0))?;
        Some(Self {
            fingerprint: Fingerprint(u64::from_le_bytes(*fingerprint)),
            state,
            flapping: first & FLAPPING != 0,
            doubted: first & DOUBTED != 0,
            starts_at: start,
            first_seen: rest.time(start)?,
            last_seen: rest.time(start)?,
            expires_at: rest.time(start)?,
            ends_at: if first & ENDED != 0 {
                Some(rest.time(start)?)
            } else {
                None
            },
            episodes: u32::try_from(rest.unsigned()?).ok()?,
            occurrences: if first & OCCURRED != 0 {
                rest.occurrences(start)?
            } else {
                Occurrences::default()
            },
            recent: rest.times(start)?,
        })
    }
}

impl FromSql for Facts {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_blob(value.as_blob()?).ok_or_else(|| odd("not the facts of an alert"))
    }
}

const fn state_code(state: State) -> u8 {
    match state {
        State::Firing => 0,
        State::Resolved => 1,
        State::Expired => 2,
    }
}

const fn occurred_code(what: Occurred) -> u64 {
    match what {
        Occurred::Again => 0,
        Occurred::Resolved => 1,
        Occurred::Updated => 2,
        Occurred::Late => 3,
        Occurred::Doubted => 4,
        Occurred::Believed => 5,
        Occurred::Expired => 6,
        Occurred::Flapping => 7,
        Occurred::Calm => 8,
    }
}

/// A list of times: the column `endpoint.sent`.
pub(super) struct Times(pub(super) Vec<Timestamp>);

impl Times {
    /// The times as a blob.
    pub(super) fn to_blob(times: &[Timestamp]) -> Vec<u8> {
        let mut blob = Packer(Vec::new());
        blob.times(times, Timestamp(0));
        blob.0
    }
}

impl FromSql for Times {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let times = Unpacker(value.as_blob()?).times(Timestamp(0));
        times.map(Self).ok_or_else(|| odd("not a list of times"))
    }
}

/// A list of numbers of alerts: the column `receipt.announced`.
pub(super) struct Numbers(pub(super) Vec<AlertNo>);

impl Numbers {
    /// The list as a blob of a byte or two for each, when they are in order.
    pub(super) fn to_blob(numbers: &[AlertNo]) -> Vec<u8> {
        let mut blob = Packer(Vec::with_capacity(numbers.len() * 2));
        let mut last = 0_u64;
        for number in numbers {
            blob.signed(number.0.wrapping_sub(last).cast_signed());
            last = number.0;
        }
        blob.0
    }

    fn from_blob(blob: &[u8]) -> Option<Vec<AlertNo>> {
        let mut rest = Unpacker(blob);
        let mut numbers = Vec::new();
        let mut last = 0_u64;
        while !rest.0.is_empty() {
            last = last.wrapping_add(rest.signed()?.cast_unsigned());
            numbers.push(AlertNo(last));
        }
        Some(numbers)
    }
}

impl FromSql for Numbers {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let numbers = Self::from_blob(value.as_blob()?);
        numbers.map(Self).ok_or_else(|| odd("not a list of alerts"))
    }
}

/// What a message tells: the columns `in_flight.covers` and `message.covers`.
pub(super) struct Covers(pub(super) Vec<Cover>);

impl Covers {
    /// The list as a blob of two or three bytes for each alert.
    pub(super) fn to_blob(covers: &[Cover]) -> Vec<u8> {
        let mut blob = Packer(Vec::with_capacity(covers.len() * 3));
        let mut last = 0_u64;
        for (alert, said, episodes) in covers {
            blob.signed(alert.0.wrapping_sub(last).cast_signed());
            blob.unsigned((u64::from(*episodes) << 2) | said_code(*said));
            last = alert.0;
        }
        blob.0
    }

    fn from_blob(blob: &[u8]) -> Option<Vec<Cover>> {
        let mut rest = Unpacker(blob);
        let mut covers = Vec::new();
        let mut last = 0_u64;
        while !rest.0.is_empty() {
            last = last.wrapping_add(rest.signed()?.cast_unsigned());
            let packed = rest.unsigned()?;
            let said = Said::ALL
                .into_iter()
                .find(|said| said_code(*said) == packed & 0b11)?;
            covers.push((AlertNo(last), said, u32::try_from(packed >> 2).ok()?));
        }
        Some(covers)
    }
}

impl FromSql for Covers {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let covers = Self::from_blob(value.as_blob()?);
        covers
            .map(Self)
            .ok_or_else(|| odd("not a list of what is covered"))
    }
}

const fn said_code(said: Said) -> u64 {
    match said {
        Said::Firing => 0,
        Said::Resolved => 1,
        Said::Flapping => 2,
        Said::Expired => 3,
    }
}

/// Reads a blob as each of the columns and, where that works, writes it and reads it back.
pub(crate) fn check_blob(blob: &[u8]) {
    if let Some(covers) = Covers::from_blob(blob) {
        assert_eq!(
            Covers::from_blob(&Covers::to_blob(&covers)),
            Some(covers),
            "what a message tells changed"
        );
    }
    if let Some(numbers) = Numbers::from_blob(blob) {
        let again = Numbers::from_blob(&Numbers::to_blob(&numbers));
        assert_eq!(again, Some(numbers), "a list of alerts changed");
    }
    if let Some(times) = Unpacker(blob).times(Timestamp(0)) {
        let again = Unpacker(&Times::to_blob(&times)).times(Timestamp(0));
        assert_eq!(again, Some(times), "a list of times changed");
    }
    if let Some(facts) = Facts::from_blob(blob) {
        let times = facts.recent.len() + facts.occurrences.as_slice().len();
        assert!(times <= blob.len(), "more times than bytes");
    }
}

/// Appends to a blob.
struct Packer(Vec<u8>);

impl Packer {
    fn unsigned(&mut self, mut number: u64) {
        while number > 0x7f {
            let [low, ..] = number.to_le_bytes();
            self.0.push(low | 0x80);
            number >>= 7;
        }
        let [low, ..] = number.to_le_bytes();
        self.0.push(low);
    }

    /// The sign is in the lowest bit, so that small negative numbers are short too.
    fn signed(&mut self, number: i64) {
        self.unsigned(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn time(&mut self, time: Timestamp, base: Timestamp) {
        self.signed(time.0.wrapping_sub(base.0));
    }

    /// Each as its distance from the one before. A list comes last: its end is the end of the blob.
    fn times(&mut self, times: &[Timestamp], base: Timestamp) {
        let mut last = base;
        for time in times {
            self.time(*time, last);
            last = *time;
        }
    }
}

/// Takes off a blob's front what [`Packer`] appended. `None` when the blob ends early or a number is too long.
struct Unpacker<'a>(&'a [u8]);

impl Unpacker<'_> {
    fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.unsigned()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn time(&mut self, base: Timestamp) -> Option<Timestamp> {
        Some(Timestamp(base.0.wrapping_add(self.signed()?)))
    }

    fn occurrences(&mut self, base: Timestamp) -> Option<Occurrences> {
        let count = self.unsigned()?;
        (0..count)
            .map(|_| {
                let code = self.unsigned()?;
                let mut all = Occurred::ALL.into_iter();
                let what = all.find(|what| occurred_code(*what) == code)?;
                let at = self.time(base)?;
                Some(Occurrence { what, at })
            })
            .collect()
    }

    fn times(&mut self, base: Timestamp) -> Option<Vec<Timestamp>> {
        let mut times = Vec::new();
        let mut last = base;
        while !self.0.is_empty() {
            last = self.time(last)?;
            times.push(last);
        }
        Some(times)
    }
}
