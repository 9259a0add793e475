//! What must hold once nothing has happened for a while.

use std::collections::BTreeSet;
use std::sync::Arc;

use dingest::alert::{Now, Timestamp};
use dingest::digest::Change;
use dingest::engine::Engine;
use dingest::engine::view::{AlertQuery, AlertView, Counts};

use crate::invariant::{Invariant, Violation, violation};
use crate::judge::Judge;
use crate::model::{Story, Truth, concerned};
use crate::script::PlanText;
use crate::store::MemoryStore;
use crate::ways::configured;

/// What a chat last showed of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    Nothing,
    Fires,
    /// It comes and goes.
    Flaps,
    Over,
}

/// Every receiver has been told of every acknowledged alert that concerns it, and knows what is true of it.
pub(crate) fn everybody_has_heard(judge: &Judge<'_>, time: Timestamp, now: u64) -> Result<(), Violation> {
    let plan = &judge.setting().text;
    let stretched =
        judge.month.may_be_stretched(plan.quota) || judge.api_month.may_be_stretched(plan.api_quota);
    for alert in judge.heard.keys() {
        let story = judge.story(alert, time);
        if matches!(story.truth, Truth::Nothing | Truth::Open) {
            continue;
        }
        let routes = concerned(plan, &story.labels);
        for (receiver, route) in &routes {
            let words = &plan.routes[*route].1;
            let urgent = words.has("urgent");
            if !is_muted(words.get("mute"), time)
                && (urgent || !stretched)
                && !judge.may_wait_for_a_day(receiver, alert, &story, urgent, now)
            {
                has_heard(judge, alert, &story, receiver, now)?;
            }
        }
        for receiver in &plan.everybody() {
            let former = !routes.iter().any(|(name, _)| name == receiver);
            let owed = former && !stretched && story.truth == Truth::Over && !is_silent(judge, receiver);
            if owed
                && !judge.may_wait_for_a_day(receiver, alert, &story, false, now)
                && always_there(judge, receiver, alert)
                && matches!(belief(judge, receiver, alert), Belief::Fires)
            {
                let what =
                    format!("{receiver} still believes that {alert} fires, which is no longer its own");
                return Err(violation(Invariant::EverybodyKnows, now, what));
            }
        }
    }
    Ok(())
}

/// One receiver and one alert that concerns it.
fn has_heard(
    judge: &Judge<'_>,
    alert: &str,
    story: &Story,
    receiver: &str,
    now: u64,
) -> Result<(), Violation> {
    let (belief, silent) = (belief(judge, receiver, alert), is_silent(judge, receiver));
    // Also when the chat shows an end of which the answer was lost.
    let believed_to_fire =
        matches!(belief, Belief::Fires | Belief::Flaps) || !last_is_known(judge, receiver, alert);
    let told_since = |seq: u64| {
        let shown = judge
            .chats
            .get(&(receiver.to_owned(), alert.to_owned()))
            .into_iter()
            .flatten();
        shown.into_iter().any(|index| judge.tellings[*index].seq > seq)
    };
    if let Some(begun) = story.begun
        && story.labelled <= begun
        && always_concerned(judge, receiver, story, begun)
        && !told_since(begun)
        // What is over is not kept for somebody who is not there.
        && !(story.truth == Truth::Over && judge.was_gone(receiver, begun))
        && !(silent && story.truth == Truth::Over && believed_to_fire)
    {
        let what = format!("{receiver} was never told of {alert}, begun at step {begun}");
        return Err(violation(Invariant::NothingLost, now, what));
    }
    let expected = match story.truth {
        Truth::Firing => Belief::Fires,
        Truth::Over | Truth::Nothing | Truth::Open => Belief::Over,
    };
    let excused = match (expected, belief) {
        // An alert that was over before the receiver came to it is not told.
        (Belief::Over, Belief::Nothing) => true,
        // What began in a future that was none becomes calm when that has come.
        (_, Belief::Flaps) => judge.clock_was_ahead || silent || !always_there(judge, receiver, alert),
        // Nor can a receiver be told while no plan knows it.
        (Belief::Over, Belief::Fires) => silent || !always_there(judge, receiver, alert),
        // An end that was told while the disk could not be read, was not answered 2xx, and died with the process.
        (Belief::Fires, Belief::Over) => told_what_was_lost(judge, receiver, alert),
        (expected, belief) => expected == belief,
    };
    if excused {
        return Ok(());
    }
    let what = format!(
        "{alert} is {:?}, and {receiver} believes: {belief:?}",
        story.truth
    );
    Err(violation(Invariant::EverybodyKnows, now, what))
}

fn belief(judge: &Judge<'_>, receiver: &str, alert: &str) -> Belief {
    let shown = judge.chats.get(&(receiver.to_owned(), alert.to_owned()));
    let Some(last) = shown.and_then(|shown| shown.last()) else {
        return Belief::Nothing;
    };
    let change = judge.tellings[*last]
        .covers
        .iter()
        .find(|(name, _, _)| name == alert);
    match change.map(|(_, _, change)| *change) {
        None => Belief::Nothing,
        Some(Change::New | Change::Again | Change::Reminder) => Belief::Fires,
        Some(Change::Flapping) => Belief::Flaps,
        Some(Change::Resolved | Change::Passed | Change::Expired) => Belief::Over,
    }
}

/// Whether the product knows of the last message about an alert that a chat shows that it arrived.
fn last_is_known(judge: &Judge<'_>, receiver: &str, alert: &str) -> bool {
    let shown = judge.chats.get(&(receiver.to_owned(), alert.to_owned()));
    let last = shown.and_then(|shown| shown.last());
    last.is_none_or(|last| judge.tellings[*last].known.is_some())
}

/// Whether ends were not told to a receiver by some plan: then it may believe what it likes about them.
fn is_silent(judge: &Judge<'_>, receiver: &str) -> bool {
    let routes = plans_since(judge, 0).flat_map(|plan| plan.routes.iter().enumerate());
    routes
        .filter(|(index, (_, words))| *index == 0 || words.get("receiver") == Some(configured(receiver)))
        .any(|(_, (_, words))| words.has("silent"))
}

/// Whether the receiver has been concerned by every plan since a step.
fn always_concerned(judge: &Judge<'_>, receiver: &str, story: &Story, since: u64) -> bool {
    plans_since(judge, since).all(|plan| {
        concerned(plan, &story.labels)
            .iter()
            .any(|(name, _)| name == receiver)
    })
}

/// Whether the receiver was in every plan since it was last told of an alert, which is not forgotten: what was told
/// while the disk could not be written, and before it could, is.
fn always_there(judge: &Judge<'_>, receiver: &str, alert: &str) -> bool {
    let shown = judge.chats.get(&(receiver.to_owned(), alert.to_owned()));
    let Some(last) = shown.and_then(|shown| shown.last()) else {
        return false;
    };
    let told = &judge.tellings[*last];
    told.known.is_some() && plans_since(judge, told.seq).all(|plan| plan.knows(receiver))
}

/// Whether what a receiver was last told of an alert is forgotten, and may have been an end that nobody knows any more.
fn told_what_was_lost(judge: &Judge<'_>, receiver: &str, alert: &str) -> bool {
    let shown = judge.chats.get(&(receiver.to_owned(), alert.to_owned()));
    shown.and_then(|shown| shown.last()).is_some_and(|last| {
        let told = &judge.tellings[*last];
        told.known.is_none() && judge.lost_an_end(alert, told.seq)
    })
}

/// The plan in force at a step, and all later ones.
fn plans_since<'a>(judge: &'a Judge<'_>, since: u64) -> impl Iterator<Item = &'a PlanText> {
    let first = judge
        .plans
        .partition_point(|(seq, _)| *seq <= since)
        .saturating_sub(1);
    judge.plans[first..].iter().map(|(_, setting)| &setting.text)
}

/// Whether a route was silent at a time, or shortly before.
fn is_muted(mute: Option<&str>, time: Timestamp) -> bool {
    let Some((from, to)) = mute.and_then(|mute| mute.split_once('-')) else {
        return false;
    };
    let minutes = |text: &str| {
        let (hours, minutes) = text.split_once(':').unwrap_or((text, "0"));
        hours.parse::<i64>().unwrap_or(0) * 60 + minutes.parse::<i64>().unwrap_or(0)
    };
    let of_day = time.0.rem_euclid(86_400_000) / 60_000;
    (minutes(from)..minutes(to) + 60).contains(&of_day)
}

/// What is held follows from the alerts that are alive.
pub(crate) fn little_is_held(engine: &Engine, now: u64) -> Result<(), Violation> {
    let held = engine.held();
    if held.ages <= 2 * held.alerts && held.reminders <= 2 * held.told {
        return Ok(());
    }
    Err(violation(
        Invariant::MemoryBounded,
        now,
        format!("at rest it holds {held:?}"),
    ))
}

/// An engine made from what is on disk knows what the running one knows.
pub(crate) fn a_restart_changes_nothing(
    judge: &Judge<'_>,
    engine: &Engine,
    store: &MemoryStore,
    clocks: Now,
    now: u64,
) -> Result<(), Violation> {
    store.check_models();
    let plan = Arc::clone(&judge.setting().plan);
    let restarted = Engine::new(plan, store.saved(), clocks);
    let everything = AlertQuery {
        limit: usize::MAX,
        ..AlertQuery::default()
    };
    let (before, after) = (engine.alerts(&everything), restarted.alerts(&everything));
    let differs = before
        .alerts
        .iter()
        .map(facts)
        .zip(after.alerts.iter().map(facts))
        .find(|(a, b)| a != b);
    if let Some((before, after)) = differs {
        let what = format!("running:   {before}\nrestarted: {after}");
        return Err(violation(Invariant::RestartChangesNothing, now, what));
    }
    // A reminder may be due at this very moment.
    let counts = |engine: &Engine| Counts {
        changes: 0,
        ..engine.counts()
    };
    if before.total == after.total && counts(engine) == counts(&restarted) {
        return Ok(());
    }
    let what = format!(
        "running: {:?}, restarted: {:?}",
        engine.counts(),
        restarted.counts()
    );
    Err(violation(Invariant::RestartChangesNothing, now, what))
}

/// What a start must not change about an alert.
fn facts(alert: &AlertView) -> String {
    let receivers: BTreeSet<String> = alert
        .receivers
        .iter()
        .filter_map(|receiver| {
            // A reminder may be due at this very moment; who was told that it is over need not be remembered.
            let change = receiver.change.filter(|change| *change != Change::Reminder);
            let told = receiver.told.filter(|(said, _, _)| said.owes_an_end());
            (change.is_some() || told.is_some()).then(|| format!("{} {told:?} {change:?}", receiver.name))
        })
        .collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {} {receivers:?}",
        alert.identity, alert.state, alert.labels, alert.starts_at, alert.ends_at, alert.episodes
    )
}
