//! Answers to who asks the bot of an app, as far as they cost something.
//!
//! An answer in the name of an app is a call like any other of its: it takes a place of the app's second, counts
//! against the month, and what silences the app silences it. It is nothing urgent, so it leaves the reserved places
//! alone and keeps the month's pace. What is asked and answered is not the engine's business.

use super::budget::{Budget, Reach, left};
use super::delivery::pause_for;
use super::{Answer, Engine};
use crate::alert::AppName;
use crate::plan::{Api, App, Quota};

/// Why no answer may be sent in the name of an app at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// All places of this second are taken.
    #[error("the app calls as often as it may")]
    Busy,
    /// The app must be silent, for the reason of this name.
    #[error("the app must be silent (`{0}`)")]
    Silent(&'static str),
    /// What is left of the month's quota must last.
    #[error("what is left of the month's quota must last")]
    Quota,
}

impl Engine {
    /// Whether an answer may be sent in the name of an app.
    pub fn may_answer(&self, app: &AppName) -> Result<(), NoAnswer> {
        let (now, name) = (self.now.tick, App::answers_name(app));
        let (Some(app), Some(budget)) = (self.plan.apps.get(app), self.budgets.get(&name)) else {
            return Err(NoAnswer::Silent("no_such_app"));
        };
        if let Some(pause) = budget.paused(now) {
            return Err(NoAnswer::Silent(pause.reason.as_str()));
        }
        if (self.paced_until(Quota::Api)).is_some_and(|until| until > now) {
            return Err(NoAnswer::Quota);
        }
        let sharing = self
            .sharing
            .get(&(app.name.clone(), Api::Robot))
            .into_iter()
            .flatten();
        let sharing: Vec<&Budget> = sharing.filter_map(|name| self.budgets.get(name)).collect();
        if left(&sharing, app.rate(), false, now) == 0 {
            return Err(NoAnswer::Busy);
        }
        Ok(())
    }

    /// An answer is about to be sent.
    pub(super) fn answer_begins(&mut self, app: &AppName) {
        let name = App::answers_name(app);
        if let Some(budget) = self.budgets.get_mut(&name) {
            budget.open(1);
            self.dirty.endpoints.insert(name);
        }
    }

    /// It was sent: what came of it.
    pub(super) fn answer_ends(&mut self, app: &AppName, answer: &Answer) {
        let name = App::answers_name(app);
        if let Some(budget) = self.budgets.get_mut(&name) {
            budget.close(1);
        }
        self.count_against(&name, u64::from(answer.outcome.may_have_arrived()));
        // That one chat takes nothing is nothing to others who ask.
        if pause_for(answer).is_some_and(|(reason, _)| reason.reaches() != Reach::Endpoint) {
            self.pause_after(&name, answer);
        }
    }
}
