//! Told against truth: the difference that is to be told.
//!
//! [`difference`] is the one idea of the program as one function. It is pure; whatever it answers is still the
//! answer after a restart, a reload or a failed send, because nothing but truth and told goes into it.

use super::truth::Record;
use crate::alert::Timestamp;
use crate::digest::Change;
use crate::plan::Route;
use crate::store::{Said, State, ToldRow};

/// What a receiver is to be told about an alert, if anything.
pub(super) fn difference(
    record: &Record,
    told: Option<&ToldRow>,
    route: &Route,
    now: Timestamp,
) -> Option<Change> {
    let Some(told) = told else {
        return Some(match record.state {
            _ if record.flapping => Change::Flapping,
            State::Firing => Change::New,
            State::Resolved => Change::Passed,
            State::Expired => Change::Expired,
        });
    };
    if record.flapping {
        return (told.said != Said::Flapping).then_some(Change::Flapping);
    }
    let another_episode = record.episodes > told.episodes;
    match (record.state, told.said) {
        (State::Firing, Said::Firing) if another_episode => Some(Change::Again),
        (State::Firing, Said::Firing) => {
            (now >= told.at.plus(route.repeat_interval)).then_some(Change::Reminder)
        }
        (State::Firing, Said::Resolved | Said::Expired | Said::Flapping) => Some(Change::Again),
        (State::Resolved, Said::Firing | Said::Flapping) => route.send_resolved.then_some(Change::Resolved),
        (State::Resolved, Said::Resolved | Said::Expired) => another_episode.then_some(Change::Passed),
        (State::Expired, Said::Firing | Said::Flapping) => Some(Change::Expired),
        (State::Expired, Said::Resolved | Said::Expired) => another_episode.then_some(Change::Expired),
    }
}

/// As what a change is told.
pub(super) fn said(change: Change) -> Said {
    match change {
        Change::New | Change::Again | Change::Reminder => Said::Firing,
        Change::Resolved | Change::Passed => Said::Resolved,
        Change::Flapping => Said::Flapping,
        Change::Expired => Said::Expired,
    }
}
