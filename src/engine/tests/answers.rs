//! Answers in the name of an app cost what its other calls cost.

use super::*;

/// The app may call four times in a second, once for what is not urgent; its bot may be asked.
const PLAN: &str = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0, monthly_api_quota: 5 }
apps:
  - { name: app, app_key: k, app_secret: s, per_second: 4, ask: { people: [ann] } }
  - { name: mute, app_key: m, app_secret: s }
receivers:
  - { name: ops, group: { app: app, conversation: cidA } }
route:
  receiver: ops
  group_wait: 0s
  group_interval: 1s
  routes: [{ matchers: ['severity=critical'], urgent: true }]
";

impl Stage {
    /// Somebody asks the bot of an app, and is answered in its name if that may be.
    pub(super) fn asked(&mut self, app: &str) {
        self.handle(Input::Timer);
        match self.engine.may_answer(&app.into()) {
            Ok(()) => self.handle(Input::AnswerBegins(app.into())),
            Err(why) => self.say(&format!("{app}: {why}")),
        }
    }

    /// What came of the answer.
    pub(super) fn was_answered(&mut self, app: &str, outcome: &str) {
        let answer = Answer::new(outcome_named(outcome), "");
        self.handle(Input::AnswerEnds(app.into(), answer));
    }
}

#[track_caller]
fn check(script: &str, expected: &str) -> Stage {
    check_by(compiled(PLAN), script, expected)
}

#[test]
fn an_answer_takes_a_place_of_the_second_and_leaves_those_that_are_reserved() {
    check(
        "0s asked app
         0s asked app
         0s fire disk
         0s waits ops/group
         0s fire cpu severity=critical
         1s answered app delivered
         1s asked app
         2s waits ops/group
         2s used",
        "0s app: the app calls as often as it may
         0s reply new=1
         0s ops/group waits for minute until 1s, 1 changes
         0s reply new=1
         0s ops/group <-group/ops- urgent new disk, new cpu
         1s app: the app calls as often as it may
         2s ops/group waits for - until -, 0 changes
         2s used [(Webhook, 0), (Api, 2)]",
    );
}

#[test]
fn what_silences_the_app_silences_its_answers_and_the_other_way_round() {
    check(
        "0s asked app
         0s answered app limited
         1s asked app
         2s fire disk
         2s waits ops/group
         700s asked app
         700s answered app throttled
         702s asked app
         702s answered app gone
         704s asked app
         704s asked mute",
        "1s app: the app must be silent (`limited`)
         2s reply new=1
         2s ops/group waits for pause until 600s, 1 changes
         600s ops/group <-group/ops- new disk
         704s mute: the app must be silent (`no_such_app`)",
    );
}

#[test]
fn an_answer_keeps_the_months_pace() {
    check(
        "0s asked app
         1s answered app delivered
         2s asked app
         3s answered app unknown
         4s asked app
         5s answered app retry
         6s asked app
         7s answered app delivered
         8s asked app
         9s answered app delivered
         10s asked app
         10s restart
         12s asked app
         12s used",
        "10s app: what is left of the month's quota must last
         12s app: what is left of the month's quota must last
         12s used [(Webhook, 0), (Api, 4)]",
    );
}
