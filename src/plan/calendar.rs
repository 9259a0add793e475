//! Time intervals of routes, as Alertmanager defines them.
//!
//! An interval is a conjunction: the day must fit every list that is given, and the time of day one of its
//! ranges. Pure: a time and a zone in, an answer out.
//!
//! Two things go beyond Alertmanager. A range of times that ends before it begins lasts until the next morning,
//! and the day is then judged where the range began: `22:00`–`07:00` on `friday` covers Saturday's early hours
//! and not Friday's. Ranges of weekdays and months may wrap around (`saturday:sunday`, `november:february`).

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use crate::alert::Timestamp;

/// Minutes of a day; the end of a range may be this.
const DAY_MINUTES: u16 = 24 * 60;

/// One recurring stretch of time. Empty lists fit every day, or the whole day.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeInterval {
    /// Times of the day.
    pub times: Vec<TimeRange>,
    /// Days of the week, Sunday being 0.
    pub weekdays: Vec<Cycle>,
    /// Days of the month.
    pub days_of_month: Vec<DayRange>,
    /// Months, January being 1.
    pub months: Vec<Cycle>,
    /// Years, both included.
    pub years: Vec<(u16, u16)>,
    /// The zone all of it is meant in.
    pub location: TimeZone,
}

/// From a minute of the day until before another; past midnight when it is not later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    start: u16,
    end: u16,
}

/// Both ends included; wraps around when the last comes before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    first: u8,
    last: u8,
}

/// Days of a month, both included; negative days count from its end, -1 being the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayRange {
    first: i8,
    last: i8,
}

impl TimeInterval {
    /// Whether `time` lies inside.
    pub fn contains(&self, time: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_millisecond(time.0) else {
            return false;
        };
        let local = self.location.to_datetime(instant);
        let minute = minute_of(local.time());
        let today = local.date();
        if self.times.is_empty() {
            return self.fits_day(today);
        }
        let begun_today = self.times.iter().any(|range| range.begun(minute));
        let begun_yesterday = self.times.iter().any(|range| range.carried_over(minute));
        (begun_today && self.fits_day(today))
            || (begun_yesterday && today.yesterday().is_ok_and(|day| self.fits_day(day)))
    }

    fn fits_day(&self, day: Date) -> bool {
        let weekday = day.weekday().to_sunday_zero_offset().unsigned_abs();
        let month = day.month().unsigned_abs();
        let year = day.year().unsigned_abs();
        fits(&self.weekdays, |cycle| cycle.contains(weekday))
            && fits(&self.months, |cycle| cycle.contains(month))
            && fits(&self.days_of_month, |range| range.contains(day))
            && fits(&self.years, |(first, last)| (*first..=*last).contains(&year))
    }
}

/// Whether one of the conditions holds; none at all is no condition.
fn fits<T>(conditions: &[T], holds: impl Fn(&T) -> bool) -> bool {
    conditions.is_empty() || conditions.iter().any(holds)
}

fn minute_of(time: Time) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

impl TimeRange {
    /// Reads `22:00` and `07:00`; the end may be `24:00`.
    pub fn new(start: u16, end: u16) -> Result<Self, String> {
        if start == end {
            return Err("a range of times cannot begin and end at the same minute; leave `times` out for the whole day".to_owned());
        }
        if start >= DAY_MINUTES {
            return Err("a range of times cannot begin at 24:00; write `00:00`".to_owned());
        }
        Ok(Self { start, end })
    }

    fn crosses_midnight(self) -> bool {
        self.end < self.start
    }

    /// Inside the part of the range that lies on the day on which it begins.
    fn begun(self, minute: u16) -> bool {
        minute >= self.start && (self.crosses_midnight() || minute < self.end)
    }

    /// Inside the part that lies on the day after.
    fn carried_over(self, minute: u16) -> bool {
        self.crosses_midnight() && minute < self.end
    }
}

/// Reads a time of day such as `07:30` or `24:00` as its minute.
pub fn parse_minute(text: &str) -> Result<u16, String> {
    let wrong = || format!("expected a time of day such as `07:30`, found `{text}`");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str| {
        (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse::<u16>().ok())
            .flatten()
    };
    let (hour, minute) = (number(hour).ok_or_else(wrong)?, number(minute).ok_or_else(wrong)?);
    let total = hour * 60 + minute;
    if minute < 60 && total <= DAY_MINUTES {
        Ok(total)
    } else {
        Err(format!("there is no time `{text}`; the day ends at 24:00"))
    }
}

/// Names of weekdays, Sunday first as in Alertmanager.
pub const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

/// Names of months.
pub const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

impl Cycle {
    /// Reads a weekday or a range of them, such as `monday:friday`.
    pub fn parse_weekdays(text: &str) -> Result<Self, String> {
        Self::parse(text, |word| {
            position(&WEEKDAYS, word)
                .ok_or_else(|| format!("expected a day such as `monday` or `monday:friday`, found `{word}`"))
        })
    }

    /// Reads a month or a range of them, by name or number, such as `may:august` or `1:3`.
    pub fn parse_months(text: &str) -> Result<Self, String> {
        Self::parse(text, |word| {
            let number = word.parse().ok().filter(|month| (1..=12).contains(month));
            number
                .or_else(|| position(&MONTHS, word).map(|index| index + 1))
                .ok_or_else(|| {
                    format!("expected a month such as `january`, `1` or `may:august`, found `{word}`")
                })
        })
    }

    fn parse(text: &str, read: impl Fn(&str) -> Result<u8, String>) -> Result<Self, String> {
        let (first, last) = ends(text);
        Ok(Self {
            first: read(first)?,
            last: read(last)?,
        })
    }

    fn contains(self, value: u8) -> bool {
        if self.first <= self.last {
            (self.first..=self.last).contains(&value)
        } else {
            value >= self.first || value <= self.last
        }
    }
}

fn position(names: &[&str], word: &str) -> Option<u8> {
    let index = names.iter().position(|name| name.eq_ignore_ascii_case(word))?;
    u8::try_from(index).ok()
}

/// Both ends of `first:last`, or one word twice.
fn ends(text: &str) -> (&str, &str) {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    (first.trim(), last.trim())
}

impl DayRange {
    /// Reads a day of the month or a range, such as `1`, `1:5` or `-3:-1`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (first, last) = ends(text);
        let read = |word: &str| {
            word.parse::<i8>()
                .ok()
                .filter(|day| *day != 0 && day.abs() <= 31)
                .ok_or_else(|| {
                    format!("expected a day of the month such as `1`, `1:5` or `-3:-1`, found `{word}`")
                })
        };
        let range = Self {
            first: read(first)?,
            last: read(last)?,
        };
        if range.first < 0 && range.last > 0 {
            return Err(format!(
                "`{text}` begins before the end of a month and ends after its start; write two ranges"
            ));
        }
        if range.resolved(31).is_none() {
            return Err(format!("`{text}` ends before it begins, in every month"));
        }
        Ok(range)
    }

    fn contains(self, day: Date) -> bool {
        self.resolved(day.days_in_month())
            .is_some_and(|(first, last)| (first..=last).contains(&day.day()))
    }

    /// Both ends counted from the start of a month of so many days; `None` when no day is inside.
    fn resolved(self, days: i8) -> Option<(i8, i8)> {
        let from_start = |day: i8| if day < 0 { days + day + 1 } else { day };
        let (first, last) = (from_start(self.first).max(1), from_start(self.last).min(days));
        (first <= last).then_some((first, last))
    }
}

/// Reads a year or a range such as `2026:2028`.
pub fn parse_years(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = ends(text);
    let read = |word: &str| {
        word.parse::<u16>()
            .ok()
            .filter(|year| (1970..=9999).contains(year))
            .ok_or_else(|| format!("expected a year such as `2026` or `2026:2028`, found `{word}`"))
    };
    let range = (read(first)?, read(last)?);
    if range.0 > range.1 {
        return Err(format!("`{text}` ends before it begins"));
    }
    Ok(range)
}

/// Reads the name of a zone: `Asia/Shanghai`, `UTC`, or `Local` for the machine's.
pub fn parse_zone(name: &str) -> Option<TimeZone> {
    match name {
        "UTC" => Some(TimeZone::UTC),
        "Local" => TimeZone::try_system().ok(),
        name => TimeZone::get(name).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn always() -> TimeInterval {
        TimeInterval {
            times: Vec::new(),
            weekdays: Vec::new(),
            days_of_month: Vec::new(),
            months: Vec::new(),
            years: Vec::new(),
            location: TimeZone::UTC,
        }
    }

    fn times(start: &str, end: &str) -> Vec<TimeRange> {
        vec![TimeRange::new(parse_minute(start).unwrap(), parse_minute(end).unwrap()).unwrap()]
    }

    #[track_caller]
    fn check(interval: &TimeInterval, cases: &[(&str, bool)]) {
        for (time, expected) in cases {
            let instant: jiff::Timestamp = time.parse().unwrap();
            assert_eq!(
                interval.contains(Timestamp(instant.as_millisecond())),
                *expected,
                "{time}"
            );
        }
    }

    #[test]
    fn a_range_of_times_includes_its_start_and_not_its_end() {
        let interval = TimeInterval {
            times: times("09:00", "17:30"),
            ..always()
        };
        check(
            &interval,
            &[
                ("2026-03-02T08:59:59Z", false),
                ("2026-03-02T09:00:00Z", true),
                ("2026-03-02T17:29:59.999Z", true),
                ("2026-03-02T17:30:00Z", false),
            ],
        );
    }

    #[test]
    fn the_day_ends_at_24_00() {
        let interval = TimeInterval {
            times: times("23:00", "24:00"),
            ..always()
        };
        check(
            &interval,
            &[("2026-03-02T23:59:59Z", true), ("2026-03-03T00:00:00Z", false)],
        );
    }

    #[test]
    fn a_range_past_midnight_belongs_to_the_day_on_which_it_begins() {
        let interval = TimeInterval {
            times: times("22:00", "07:00"),
            weekdays: vec![Cycle::parse_weekdays("friday").unwrap()],
            ..always()
        };
        check(
            &interval,
            &[
                ("2026-03-06T06:00:00Z", false), // Friday's early hours
                ("2026-03-06T21:59:00Z", false),
                ("2026-03-06T22:00:00Z", true),
                ("2026-03-07T06:59:59Z", true), // Saturday morning
                ("2026-03-07T07:00:00Z", false),
                ("2026-03-07T22:00:00Z", false),
            ],
        );
    }

    #[test]
    fn weekdays_wrap_around_the_end_of_the_week() {
        let interval = TimeInterval {
            weekdays: vec![Cycle::parse_weekdays("Saturday:sunday").unwrap()],
            ..always()
        };
        check(
            &interval,
            &[
                ("2026-03-06T12:00:00Z", false),
                ("2026-03-07T12:00:00Z", true),
                ("2026-03-08T12:00:00Z", true),
                ("2026-03-09T12:00:00Z", false),
            ],
        );
    }

    #[test]
    fn negative_days_count_from_the_end_of_each_month() {
        let interval = TimeInterval {
            days_of_month: vec![DayRange::parse("-3:-1").unwrap(), DayRange::parse("1").unwrap()],
            ..always()
        };
        check(
            &interval,
            &[
                ("2026-02-25T12:00:00Z", false),
                ("2026-02-26T12:00:00Z", true),
                ("2026-02-28T12:00:00Z", true),
                ("2026-03-01T12:00:00Z", true),
                ("2026-03-28T12:00:00Z", false),
                ("2026-03-29T12:00:00Z", true),
                ("2024-02-29T12:00:00Z", true),
            ],
        );
    }

    #[test]
    fn a_day_that_a_month_does_not_have_is_not_its_last() {
        let interval = TimeInterval {
            days_of_month: vec![DayRange::parse("31").unwrap()],
            ..always()
        };
        check(
            &interval,
            &[("2026-04-30T12:00:00Z", false), ("2026-05-31T12:00:00Z", true)],
        );
    }

    #[test]
    fn months_years_and_location_are_judged_in_local_time() {
        let interval = TimeInterval {
            months: vec![Cycle::parse_months("december:1").unwrap()],
            years: vec![parse_years("2027:2028").unwrap()],
            location: parse_zone("Asia/Shanghai").unwrap(),
            ..always()
        };
        check(
            &interval,
            &[
                ("2026-12-31T15:59:59Z", false),
                ("2026-12-31T16:00:00Z", true),
                ("2027-02-01T12:00:00Z", false),
                ("2028-12-01T12:00:00Z", true),
                ("2029-01-01T12:00:00Z", false),
            ],
        );
    }

    #[test]
    fn a_summer_time_change_moves_the_instants_and_not_the_hours() {
        let interval = TimeInterval {
            times: times("09:00", "10:00"),
            location: parse_zone("Europe/Berlin").unwrap(),
            ..always()
        };
        check(
            &interval,
            &[
                ("2026-03-28T08:30:00Z", true),
                ("2026-03-29T08:30:00Z", false),
                ("2026-03-29T07:30:00Z", true),
            ],
        );
    }

    #[test]
    fn what_is_no_time_day_month_or_year_is_refused() {
        for text in ["7:00", "24:01", "12:60", "noon", "12", "１２:00"] {
            assert!(parse_minute(text).is_err(), "{text}");
        }
        for text in ["funday", "", "monday:", "1"] {
            assert!(Cycle::parse_weekdays(text).is_err(), "{text}");
        }
        for text in ["13", "0", "smarch", "may:"] {
            assert!(Cycle::parse_months(text).is_err(), "{text}");
        }
        for text in ["0", "32", "-32", "5:1", "-1:-3", "-3:5", "31:-31", "x"] {
            assert!(DayRange::parse(text).is_err(), "{text}");
        }
        for text in ["26", "2028:2026", "year"] {
            assert!(parse_years(text).is_err(), "{text}");
        }
        assert!(TimeRange::new(60, 60).is_err());
        assert!(TimeRange::new(DAY_MINUTES, 60).is_err());
        assert!(parse_zone("Asia/Shangai").is_none());
    }
}
