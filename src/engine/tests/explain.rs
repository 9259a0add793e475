//! Why what was and was not said: what has happened to an alert, and how each receiver stands to it.

use super::*;

impl Stage {
    /// Says it of every alert.
    pub(super) fn explain(&mut self) {
        let all = view::AlertQuery {
            limit: 100,
            ..Default::default()
        };
        for alert in self.engine.explain(&all).alerts {
            self.say(&explained(&alert));
        }
    }
}

/// What has happened to an alert, and how each receiver stands to it.
fn explained(explanation: &view::Explanation) -> String {
    let second = |at: Timestamp| (at.0 - EPOCH) / 1000;
    let mut words = explanation.alert.labels.get("alertname").unwrap().to_owned();
    for it in &explanation.occurrences {
        write!(words, " {}@{}", it.what.as_str(), second(it.at)).unwrap();
    }
    for (receiver, standing) in explanation.alert.receivers.iter().zip(&explanation.receivers) {
        write!(words, "; {}", receiver.name).unwrap();
        if let Some(route) = standing.route {
            write!(words, " by {}", route.0).unwrap();
        }
        if let Some(quiet) = standing.quiet {
            write!(words, " {}", quiet.as_str()).unwrap();
        }
        if let Some(due) = standing.due_at {
            write!(words, " due {}", second(due)).unwrap();
        }
        if let Some(at) = standing.reminder_at {
            write!(words, " reminded {}", second(at)).unwrap();
        }
    }
    words
}

#[test]
fn it_says_what_happened_and_what_is_next() {
    check(
        "0s fire disk
         1s explain
         20s fire disk note=fuller
         21s fire disk note=fullest
         22s end disk
         30s explain
         300s fire disk start=290
         310s end disk start=290
         311s fire disk start=290
         320s explain
         450s explain",
        "0s reply new=1
         1s disk; ops by 0 due 10
         10s ops <-a- new disk
         20s reply updated=1
         21s reply updated=1
         22s reply resolved=1
         30s disk updated@21 resolved@22; ops by 0 due 70
         70s ops <-a- resolved disk
         300s reply again=1
         310s ops <-a- again disk
         310s reply resolved=1
         311s reply doubted=1
         320s disk updated@21 resolved@22 again@300 resolved@310 doubted@311; ops by 0 due 370
         370s ops <-a- resolved disk
         440s ops <-a- again disk
         450s disk updated@21 resolved@22 again@300 resolved@310 doubted@311 believed@430; \
         ops by 0 knows reminded 14840",
    );
}

#[test]
fn who_is_not_told_of_ends_and_who_is_no_longer_concerned_is_said_to_be_so() {
    check(
        "0s fire disk silent=yes
         20s end disk silent=yes
         21s explain
         30s fire load
         50s explain
         60s plan all-to-db
         61s explain
         100s explain
         110s end load
         200s explain",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         21s disk resolved@20; ops by 4 no_ends
         30s reply new=1
         50s disk resolved@20; ops by 4 no_ends
         50s load; ops by 0 due 70
         61s disk resolved@20; db by 0 due 70; ops due 70
         61s load; db by 0 due 70
         70s db <-c- passed disk, new load
         70s ops <-a- resolved disk
         100s disk resolved@20; db by 0 knows; ops former
         100s load; db by 0 knows reminded 14470
         110s reply resolved=1
         130s db <-c- resolved load
         200s disk resolved@20; db by 0 knows; ops former
         200s load resolved@110; db by 0 knows",
    );
}

#[test]
fn what_happened_is_known_after_a_restart_and_never_later_than_now() {
    check(
        "0s fire disk
         20s end disk
         30s explain
         40s restart
         40s explain
         60s explain
         61s clock -600
         62s end load
         63s explain",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         30s disk resolved@20; ops by 0 due 70
         40s disk resolved@20; ops by 0 due 50
         50s ops <-b- resolved disk
         60s disk resolved@20; ops by 0 knows
         62s reply resolved=1
         63s disk resolved@-538; ops by 0 knows
         63s load resolved@-538; ops by 0 due -490",
    );
}
