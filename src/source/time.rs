//! Times as senders spell them.
//!
//! RFC 3339 in all its variations, dates with slashes or dots, a zone's name after a space, local times without
//! a zone, Unix seconds and milliseconds as numbers or texts. Which field a time stands in, and what to do when
//! it cannot be read, is the decoder's business.
//!
//! **Invariant:** the zero times of Go (year 1) and of Unix (1970) are "not set", never a date.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::alert::Timestamp;

/// Times before this many milliseconds are "not set": every zone's spelling of 1970's first moment, and year 1.
const UNSET_BELOW_MS: i64 = 86_400_000;

/// Numbers above this are milliseconds: as seconds they would lie beyond the year 5000.
const SECONDS_MAX: f64 = 1e11;

/// What a sender's time says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing: absent, empty or a zero time.
    Unset,
    /// A moment.
    At(Timestamp),
    /// No time that we know how to read.
    Unreadable,
}

impl Reading {
    /// Reads a text; one without a zone is read in `zone`.
    pub(super) fn of_text(text: &str, zone: &TimeZone) -> Self {
        let text = text.trim();
        // What Alertmanager says of the end of every alert that fires need not be computed.
        if text.is_empty() || text == "0001-01-01T00:00:00Z" {
            return Self::Unset;
        }
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Self::of_millis(time.as_millisecond());
        }
        if let Ok(number) = text.parse::<f64>() {
            return Self::of_number(number);
        }
        let text = plain(text);
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Self::of_millis(time.as_millisecond());
        }
        text.parse::<DateTime>()
            .and_then(|local| zone.to_timestamp(local))
            .map_or(Self::Unreadable, |time| Self::of_millis(time.as_millisecond()))
    }

    /// Reads Unix seconds or, when they are too many, milliseconds.
    pub(super) fn of_number(number: f64) -> Self {
        let millis = if number.abs() > SECONDS_MAX {
            number
        } else {
            number * 1000.0
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the range was checked; a fraction of a millisecond is not kept"
        )]
        if millis.is_finite() && jiff::Timestamp::from_millisecond(millis as i64).is_ok() {
            Self::of_millis(millis.round() as i64)
        } else {
            Self::Unreadable
        }
    }

    const fn of_millis(millis: i64) -> Self {
        if millis < UNSET_BELOW_MS {
            Self::Unset
        } else {
            Self::At(Timestamp(millis))
        }
    }
}

/// The same time with dashes in its date and its zone written as an offset right after it:
/// `2016/08/12 15:23:28 UTC` becomes `2016-08-12 15:23:28Z`.
fn plain(text: &str) -> String {
    let (time, zone) = match text.rsplit_once(' ') {
        Some((time, "UTC" | "GMT" | "Z")) => (time, "Z"),
        Some((time, offset)) if offset.starts_with(['+', '-']) => (time, offset),
        Some(_) | None => (text, ""),
    };
    let date_ends = time.find([' ', 'T']).unwrap_or(time.len());
    let (date, clock) = time.split_at(date_ends);
    format!("{}{clock}{zone}", date.replace(['/', '.'], "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let reading = match Reading::of_text(text, &zone) {
            Reading::Unset => "unset".to_owned(),
            Reading::At(time) => jiff::Timestamp::from_millisecond(time.0).unwrap().to_string(),
            Reading::Unreadable => "unreadable".to_owned(),
        };
        assert_eq!(reading, expected, "{text}");
    }

    #[test]
    fn every_spelling_of_the_known_senders_is_read() {
        for (text, expected) in [
            ("2031-07-04T09:08:07Z", "2031-07-04T09:08:07Z"),
            ("2031-07-04T17:08:07.42+08:00", "2031-07-04T09:08:07.42Z"),
            ("2031-07-04T09:08:07.123456789Z", "2031-07-04T09:08:07.123Z"),
            ("2031-07-04T09:08:07.1234567Z", "2031-07-04T09:08:07.123Z"),
            ("2031-07-04T09:08:07.512+0000", "2031-07-04T09:08:07.512Z"),
            ("2031-07-04T09:08Z", "2031-07-04T09:08:00Z"),
            ("2031-07-04 09:08:07 UTC", "2031-07-04T09:08:07Z"),
            ("2031-07-04 11:08:07 +0200", "2031-07-04T09:08:07Z"),
            ("2031-07-04 17:08:07", "2031-07-04T09:08:07Z"),
            ("2031-07-04T17:08:07.5", "2031-07-04T09:08:07.5Z"),
            ("2031/07/04 17:08:07", "2031-07-04T09:08:07Z"),
            ("2031.07.04 17:08:07", "2031-07-04T09:08:07Z"),
            ("1940842087", "2031-07-03T10:48:07Z"),
            ("1940842087.25", "2031-07-03T10:48:07.25Z"),
            (" 1940842087250 ", "2031-07-03T10:48:07.25Z"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn zero_times_are_not_set_and_nonsense_is_unreadable() {
        for text in [
            "",
            "  ",
            "0",
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00.000Z",
            "1970-01-01T00:00:00Z",
            "1970-01-01T08:00:00+08:00",
            "1970-01-01 00:00:00",
            "-62135596800",
        ] {
            check(text, "unset");
        }
        for text in [
            "soon",
            "2031-02-30T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "NaN",
            "inf",
            "1940842087250000000",
            "{EVENT.DATE}",
        ] {
            check(text, "unreadable");
        }
    }
}
