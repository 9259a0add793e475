//! Zones and time intervals.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::Names;
use crate::alert::IntervalName;
use crate::config::raw;
use crate::config::read::{At, Given, Word};
use crate::config::report::Findings;
use crate::config::suggest;
use crate::plan::calendar::{
    Cycle, DayRange, TimeInterval, TimeRange, parse_minute, parse_years, parse_zone,
};

/// The zone of that name, or the default when none is given.
pub(super) fn zone(given: &Given<String>, default: &TimeZone, findings: &mut Findings) -> TimeZone {
    let Some(at) = given.get() else {
        return default.clone();
    };
    parse_zone(&at.value).unwrap_or_else(|| {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        findings
            .error(at.place, format!("there is no time zone `{}`", at.value))
            .help("write a name such as `Asia/Shanghai` or `UTC`")
            .maybe_help(suggest::did_you_mean(&at.value, names.iter().map(String::as_str)))
            .maybe_help(
                names
                    .iter()
                    .find(|name| name.rsplit('/').next() == Some(&at.value))
                    .map(|name| format!("did you mean `{name}`?")),
            );
        default.clone()
    })
}

pub(super) fn intervals(
    written: &[raw::NamedIntervals],
    timezone: &TimeZone,
    findings: &mut Findings,
) -> (BTreeMap<IntervalName, Vec<TimeInterval>>, Names) {
    let mut names = Names::new("time interval");
    let mut sets = BTreeMap::new();
    for raw in written {
        let name = names.define(&raw.name, findings).unwrap_or("");
        let set = raw.time_intervals.items();
        if let Some(place) = raw.time_intervals.place()
            && set.is_empty()
        {
            findings.error(place, "a set of time intervals cannot be empty");
        }
        let set = set.iter().map(|raw| interval(raw, timezone, findings)).collect();
        sets.insert(IntervalName::from(name), set);
    }
    (sets, names)
}

fn interval(raw: &raw::Interval, timezone: &TimeZone, findings: &mut Findings) -> TimeInterval {
    TimeInterval {
        times: raw
            .times
            .items()
            .iter()
            .filter_map(|times| time_range(times, findings))
            .collect(),
        weekdays: each(raw.weekdays.items(), Cycle::parse_weekdays, findings),
        days_of_month: each(raw.days_of_month.items(), DayRange::parse, findings),
        months: each(raw.months.items(), Cycle::parse_months, findings),
        years: each(raw.years.items(), parse_years, findings),
        location: zone(&raw.location, timezone, findings),
    }
}

fn time_range(raw: &raw::Times, findings: &mut Findings) -> Option<TimeRange> {
    let mut minute = |given: &Given<String>| {
        let at = given.get()?;
        parse_minute(&at.value)
            .map_err(|problem| {
                findings.error(at.place, problem);
            })
            .ok()
    };
    let (start, end) = (minute(&raw.start_time), minute(&raw.end_time));
    TimeRange::new(start?, end?)
        .map_err(|problem| {
            findings.error(raw.place, problem);
        })
        .ok()
}

/// Reads each element of a list of texts.
fn each<W: AsRef<str>, T>(
    words: &[At<W>],
    read: fn(&str) -> Result<T, String>,
    findings: &mut Findings,
) -> Vec<T> {
    let mut values = Vec::new();
    for word in words {
        match read(word.value.as_ref()) {
            Ok(value) => values.push(value),
            Err(problem) => {
                findings.error(word.place, problem);
            }
        }
    }
    values
}

impl AsRef<str> for Word {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
