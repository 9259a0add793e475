//! `digest now`: what waits for a receiver when somebody asks for it is told at once.
//!
//! The ledger says what certainly waits at that moment, also behind a message that is on its way; what was tried and
//! failed is not held against anybody, nor what changes in the meantime.

use dingest::alert::Timestamp;
use dingest::digest::Change;

use crate::invariant::{Invariant, Violation, violation};
use crate::judge::{Judge, Telling};
use crate::model::{Heard, Story, Truth, concerned};
use crate::script::Words;

/// How long it may take.
pub(crate) const AT_ONCE: u64 = 5_000;

/// How much of that a message may take that is on its way when somebody asks.
const ON_ITS_WAY: u64 = 1_000;

/// Somebody asked.
#[derive(Debug)]
pub(crate) struct Asked {
    at: u64,
    seq: u64,
    /// Receivers, and the alerts that wait for them.
    waiting: Vec<(String, String)>,
}

impl Judge<'_> {
    /// Somebody asks that these be told now. Which of them were to know more is remembered by a number.
    pub(crate) fn asks(&mut self, receivers: &[String], now: u64, time: Timestamp) -> usize {
        let mut waiting = Vec::new();
        for alert in self.heard.keys() {
            let story = self.story(alert, time);
            for (receiver, route) in concerned(&self.setting().text, &story.labels) {
                let route = &self.setting().text.routes[route].1;
                if receivers.contains(&receiver) && self.waits(&receiver, alert, &story, route, time) {
                    waiting.push((receiver, alert.clone()));
                }
            }
        }
        let seq = self.seq;
        self.asked.push(Asked {
            at: now,
            seq,
            waiting,
        });
        self.asked.len() - 1
    }

    /// Whether a change of an alert certainly waits for a receiver.
    fn waits(&self, receiver: &str, alert: &str, story: &Story, route: &Words, time: Timestamp) -> bool {
        let planned = self.plans.last().map_or(0, |(seq, _)| *seq);
        let heard = self.effective(alert);
        let is_certain = |heard: &&&Heard| heard.acknowledged && heard.seq > planned;
        let Some(last) = heard.last().filter(is_certain) else {
            return false;
        };
        // What expires when, and is doubted until when, the ledger says only of clocks that nobody sets.
        if self.clock_was_set || story.open_until > time.0 || story.labelled > last.seq {
            return false;
        }
        let told = self.last_about(receiver, alert);
        if told.is_some_and(|(told, _)| told.known.is_none() && !self.is_on_its_way(told)) {
            return false;
        }
        let since = told.map_or(0, |(told, _)| told.seq);
        match (story.truth, told.map(|(_, change)| change)) {
            (Truth::Firing, None | Some(Change::Resolved | Change::Passed | Change::Expired)) => {
                story.begun.is_some_and(|begun| begun > since.max(planned))
            }
            (Truth::Over, Some(Change::New | Change::Again | Change::Reminder)) => {
                !last.fires && last.seq > since && !route.has("silent")
            }
            (Truth::Firing | Truth::Over | Truth::Nothing | Truth::Open, _) => false,
        }
    }

    /// The last message to a receiver about an alert, and what it says of that, shown or not.
    fn last_about(&self, receiver: &str, alert: &str) -> Option<(&Telling, Change)> {
        let of_receiver = self.tellings.iter().rev().filter(|it| it.receiver == receiver);
        let mut about = of_receiver.filter_map(|telling| {
            let cover = telling.covers.iter().find(|(name, ..)| name == alert)?;
            Some((telling, cover.2))
        });
        about.next()
    }

    /// The time is up: whoever was not told had something in the way.
    pub(crate) fn heeds(&self, asked: usize, now: u64) -> Result<(), Violation> {
        let asked = &self.asked[asked];
        for (receiver, alert) in &asked.waiting {
            let told = self.last_about(receiver, alert);
            let is_told = told.is_some_and(|(told, _)| told.seq > asked.seq && told.shown.is_some());
            if !is_told && self.nothing_is_in_the_way(asked, receiver, alert, now) {
                let what = format!(
                    "{receiver} asked for what waits {} ms ago, and was not told of {alert}",
                    now - asked.at
                );
                return Err(violation(Invariant::ToldWhenAsked, now, what));
            }
        }
        Ok(())
    }

    fn nothing_is_in_the_way(&self, asked: &Asked, receiver: &str, alert: &str, now: u64) -> bool {
        let is_later = |seq: u64| seq > asked.seq;
        let heard = self.heard.get(alert).and_then(|heard| heard.last());
        if self.clock_was_set
            || self.plans.last().is_some_and(|(seq, _)| is_later(*seq))
            || heard.is_none_or(|heard| is_later(heard.seq))
            || self.doubts.contains_key(receiver)
        {
            return false;
        }
        let text = &self.setting().text;
        let labels = self.effective(alert).last().map(|heard| heard.labels.clone());
        let routes = concerned(text, &labels.unwrap_or_default());
        let Some((_, route)) = routes.iter().find(|(name, _)| name == receiver) else {
            return false;
        };
        let route = &text.routes[*route].1;
        let Some(bots) = self.free_bots(receiver, route, 0, now) else {
            return false;
        };
        let free_since = self.timing.free_since(receiver, &bots, route.has("urgent"));
        free_since.is_some_and(|since| since <= asked.at + ON_ITS_WAY)
    }
}
