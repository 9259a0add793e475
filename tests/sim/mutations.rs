//! Deliberate faults: each must be caught, by the promise it breaks.
//!
//! The table is the record of which promise caught which fault. A cheap test keeps it true to the source; the
//! ignored one puts all faults into a copy of the repository, each behind a switch, builds that, and lets the simulator
//! hunt for one after the other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::invariant::Invariant;
use crate::say;

/// A fault: in a file, an expression or statements that are there once, and what is done instead.
struct Mutation {
    name: &'static str,
    file: &'static str,
    text: &'static str,
    replacement: &'static str,
    caught_by: Invariant,
}

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "an answer does not wait for its commit",
        file: "src/driver/gate.rs",
        text: "if needs <= self.durable {\n            return Some(item);\n        }",
        replacement: "if needs <= self.gathering {\n    return Some(item);\n}",
        caught_by: Invariant::AnswerAfterCommit,
    },
    Mutation {
        name: "a repeat does not wait for what it repeats",
        file: "src/driver/gate.rs",
        text: "if dirty { self.gathering } else { self.gathering - 1 }",
        replacement: "if dirty { self.gathering } else { 0 }",
        caught_by: Invariant::AnswerAfterCommit,
    },
    Mutation {
        name: "a message does not wait for its commit",
        file: "src/driver/steering.rs",
        text: "Action::Send(vec![send])",
        replacement: "return self.perform(Action::Send(vec![send]))",
        caught_by: Invariant::SendAfterCommit,
    },
    Mutation {
        name: "what was told is not written",
        file: "src/engine/delivery.rs",
        text: "self.dirty.told.insert((name.clone(), no));",
        replacement: "",
        caught_by: Invariant::NothingTwice,
    },
    Mutation {
        name: "what was told is not read back",
        file: "src/engine.rs",
        text: "engine.restore_told(saved.told);",
        replacement: "",
        caught_by: Invariant::NothingTwice,
    },
    Mutation {
        name: "what a start makes right is not written",
        file: "src/engine.rs",
        text: "self.dirty.told.insert((receiver, alert));",
        replacement: "",
        caught_by: Invariant::RestartChangesNothing,
    },
    Mutation {
        name: "one message too many in a minute",
        file: "src/engine/budget.rs",
        text: "allowed(rate.messages, urgent).saturating_sub(taken)",
        replacement: "allowed(rate.messages + u32::from(urgent), urgent).saturating_sub(taken)",
        caught_by: Invariant::MinuteKept,
    },
    Mutation {
        name: "a bot's minute counts from sending",
        file: "src/engine/budget.rs",
        text: "self.answered.push_back(now);",
        replacement: "self.answered.push_back(Tick(now.0 - 9_000));",
        caught_by: Invariant::MinuteKept,
    },
    Mutation {
        name: "a start forgets what may have been sent",
        file: "src/engine/budget.rs",
        text: "answered.chain(open).collect()",
        replacement: "answered.chain(open.take(0)).collect()",
        caught_by: Invariant::MinuteKept,
    },
    Mutation {
        name: "the reserve of the urgent is for everybody",
        file: "src/engine/budget.rs",
        text: "most.saturating_sub(URGENT_RESERVE).max(1).min(most)",
        replacement: "most",
        caught_by: Invariant::ReserveKept,
    },
    Mutation {
        name: "a msgUuid is used again",
        file: "src/engine/delivery.rs",
        text: "format!(\"{}-{id}\", self.run)",
        replacement: "format!(\"{}-{}\", self.run, name)",
        caught_by: Invariant::UuidIsNew,
    },
    Mutation {
        name: "what still fires is taken back",
        file: "src/engine/afterwards.rs",
        text: "announces && is_over",
        replacement: "announces || is_over",
        caught_by: Invariant::RecallIsDue,
    },
    Mutation {
        name: "what people share is taken back for the sake of one",
        file: "src/engine/afterwards.rs",
        text: "messages.into_iter().all(|message| self.is_due(message))",
        replacement: "messages.into_iter().any(|message| self.is_due(message))",
        caught_by: Invariant::RecallIsDue,
    },
    Mutation {
        name: "a recall does not wait for its commit",
        file: "src/driver/steering.rs",
        text: "self.number(errand)",
        replacement: "{\n    let action = self.number(errand);\n    return self.perform(action);\n}",
        caught_by: Invariant::RecallIsDue,
    },
    Mutation {
        name: "people read what others are told",
        file: "src/engine/joining.rs",
        text: "no == entry.alert\n                        && change == entry.change",
        replacement: "no.0 > 0",
        caught_by: Invariant::NothingTwice,
    },
    Mutation {
        name: "who is on a list of a call that succeeded was told",
        file: "src/dingtalk/apicode.rs",
        text: "list.is_some_and(|ids| ids.iter().any(|id| id.as_str() == Some(user)))",
        replacement: "list.is_some_and(|ids| ids.is_empty() && user.is_empty())",
        caught_by: Invariant::NothingLost,
    },
    Mutation {
        name: "a person who gets too many silences the app",
        file: "src/engine/delivery.rs",
        text: "(PauseReason::Throttled, Some(span))",
        replacement: "(PauseReason::Limited, Some(span))",
        caught_by: Invariant::UrgentInTime,
    },
    Mutation {
        name: "whom a notice was held back from was told",
        file: "src/dingtalk/notice.rs",
        text: "outcome_of(code)",
        replacement: "Outcome::Delivered",
        caught_by: Invariant::NothingLost,
    },
    Mutation {
        name: "a notice that may have arrived is said in other words",
        file: "src/engine/delivery.rs",
        text: "endpoint.is_none_or(Endpoint::folds_repeats)",
        replacement: "endpoint.is_none_or(|endpoint| matches!(endpoint.way, crate::plan::Way::Bot(_)))",
        caught_by: Invariant::DoubtKeepsItsMessage,
    },
    Mutation {
        name: "everybody is told once too often in a day",
        file: "src/plan.rs",
        text: "WorkNotice::TO_EVERYBODY_MAX",
        replacement: "WorkNotice::TO_EVERYBODY_MAX + 1",
        caught_by: Invariant::DayKept,
    },
    Mutation {
        name: "a start forgets what everybody was told on this day",
        file: "src/engine/budget.rs",
        text: "age(at) < BUDGET_WINDOW",
        replacement: "age(at) < BUDGET_WINDOW.min(Span::minutes(1))",
        caught_by: Invariant::DayKept,
    },
    Mutation {
        name: "who is told in everybody's place begins a new day",
        file: "src/plan.rs",
        text: "App::everybody_name(&app.name)",
        replacement: "self.name.clone()",
        caught_by: Invariant::DayKept,
    },
    Mutation {
        name: "what everybody may have heard waits for another day",
        file: "src/engine/delivery.rs",
        text: "if endpoint.is_to_everybody() {\n            // That may be in a day.\n            return self.appointment_of_another(name, urgent, (room_at, waits_for));\n        }",
        replacement: "",
        caught_by: Invariant::UrgentInTime,
    },
    Mutation {
        name: "notices say the same when nothing has changed",
        file: "src/render/fit.rs",
        text: "self.endpoint.is_some_and(Endpoint::drops_equals)",
        replacement: "false",
        caught_by: Invariant::NothingLost,
    },
    Mutation {
        name: "who is blocked goes on with other bots",
        file: "src/engine/delivery.rs",
        text: "reason.reaches()",
        replacement: "if reason == PauseReason::Blocked { Reach::Endpoint } else { reason.reaches() }",
        caught_by: Invariant::BlockKept,
    },
    Mutation {
        name: "who asks to be told now waits all the same",
        file: "src/engine.rs",
        text: "desk.hastened = Some(self.now.tick);",
        replacement: "desk.hastened = None;",
        caught_by: Invariant::ToldWhenAsked,
    },
    Mutation {
        name: "what happens on the way of an announcement has waited since that arrived",
        file: "src/engine/delivery.rs",
        text: "news.get(&no).copied().unwrap_or(now)",
        replacement: "now",
        caught_by: Invariant::ToldWhenAsked,
    },
    Mutation {
        name: "only the first of a fallback's ways is used",
        file: "src/engine/delivery.rs",
        text: "until = until.into_iter().chain(at).min()",
        replacement: "return Err((until.into_iter().chain(at).min(), WaitsFor::Pause))",
        caught_by: Invariant::UrgentInTime,
    },
    Mutation {
        name: "a day of everybody that is full is waited for",
        file: "src/engine/delivery.rs",
        text: "self.full_day(endpoint, urgent)",
        replacement: "None",
        caught_by: Invariant::UrgentInTime,
    },
    Mutation {
        name: "a call of an app takes no place",
        file: "src/engine/delivery.rs",
        text: "budget.answered(window, self.now.tick);",
        replacement: "",
        caught_by: Invariant::MinuteKept,
    },
    Mutation {
        name: "a picture comes before its digest",
        file: "src/render/fit.rs",
        text: "messages.extend(self.picture(detail, &text.title));",
        replacement: "let picture = self.picture(detail, &text.title);\ndrop(messages.splice(0..0, picture));",
        caught_by: Invariant::PictureFollows,
    },
    Mutation {
        name: "the first of several pictures is shown",
        file: "src/render/form.rs",
        text: "is_of_all.then_some(only)",
        replacement: "(is_of_all || digest.firing.total > 0).then_some(only)",
        caught_by: Invariant::PictureFollows,
    },
    Mutation {
        name: "a picture that may have arrived is sent again",
        file: "src/engine/delivery.rs",
        text: "told && answer.outcome != Outcome::Delivered",
        replacement: "told && !answer.outcome.may_have_arrived()",
        caught_by: Invariant::PictureFollows,
    },
    Mutation {
        name: "after a picture that is refused a digest says less",
        file: "src/engine/delivery.rs",
        text: "told && answer.outcome != Outcome::Delivered",
        replacement: "told && !matches!(answer.outcome, Outcome::Delivered | Outcome::Rejected(_))",
        caught_by: Invariant::PictureFollows,
    },
    Mutation {
        name: "it is asked who has seen a picture",
        file: "src/engine/afterwards.rs",
        text: "asked.is_some_and(|asked| asked.read_status) && row.tells",
        replacement: "asked.is_some_and(|asked| asked.read_status)",
        caught_by: Invariant::PictureFollows,
    },
    Mutation {
        name: "a card has a button too many",
        file: "src/render/form.rs",
        text: "buttons.len() + 1 == BUTTONS_MAX",
        replacement: "buttons.len() == BUTTONS_MAX",
        caught_by: Invariant::Acceptable,
    },
    Mutation {
        name: "an entry of a feed has no picture",
        file: "src/render/form.rs",
        text: "section.and_then(image).unwrap_or_else(|| picture.clone())",
        replacement: "String::new()",
        caught_by: Invariant::Acceptable,
    },
    Mutation {
        name: "a form has no lines",
        file: "src/render/form.rs",
        text: "rows.iter().map(|line| row(&line.text)).collect()",
        replacement: "Vec::new()",
        caught_by: Invariant::TextTellsAll,
    },
    Mutation {
        name: "what may have arrived is told by a new message",
        file: "src/engine/delivery.rs",
        text: "self.may_try(name)",
        replacement: "self.may_try(name) && answer.outcome != Outcome::Unknown",
        caught_by: Invariant::DoubtKeepsItsMessage,
    },
    Mutation {
        name: "a start forgets what is in flight",
        file: "src/engine.rs",
        text: "engine.restore_in_flight(saved.in_flight);",
        replacement: "",
        caught_by: Invariant::DoubtKeepsItsMessage,
    },
    Mutation {
        name: "what fired and was over between two digests is dropped",
        file: "src/engine/told.rs",
        text: "match record.state {\n            _ if record.flapping => Change::Flapping,\n            State::Firing => Change::New,\n            State::Resolved => Change::Passed,\n            State::Expired => Change::Expired,\n        }",
        replacement: "match record.state {\n    State::Resolved => return None,\n    _ if record.flapping => Change::Flapping,\n    State::Firing => Change::New,\n    State::Expired => Change::Expired,\n}",
        caught_by: Invariant::NothingLost,
    },
    Mutation {
        name: "an expiry is not told",
        file: "src/engine/told.rs",
        text: "Some(Change::Expired)",
        replacement: "None",
        caught_by: Invariant::EverybodyKnows,
    },
    Mutation {
        name: "a reminder comes at once",
        file: "src/engine/told.rs",
        text: "now >= told.at.plus(route.repeat_interval)",
        replacement: "now >= told.at",
        caught_by: Invariant::NothingTwice,
    },
    Mutation {
        name: "what failed counts as told",
        file: "src/engine/delivery.rs",
        text: "sending.map_or((false, false), |sending| (sending.doubtful, sending.is_told()))",
        replacement: "{\n    if matches!(answer.outcome, Outcome::Retry | Outcome::Outdated) {\n        self.delivered(name, message);\n        return;\n    }\n    sending.map_or((false, false), |sending| (sending.doubtful, sending.is_told()))\n}",
        caught_by: Invariant::NothingLost,
    },
    Mutation {
        name: "what was given up is no difference any more",
        file: "src/engine/delivery.rs",
        text: "self.compare(no, name, telling.since);",
        replacement: "drop((no, telling));",
        caught_by: Invariant::NothingLost,
    },
    Mutation {
        name: "after a reload nobody closes what another route announced",
        file: "src/engine.rs",
        text: "self.find_former();",
        replacement: "",
        caught_by: Invariant::EverybodyKnows,
    },
    Mutation {
        name: "an urgent digest takes the reserve for all its parts",
        file: "src/engine/delivery.rs",
        text: "left_here.min(unreserved.max(1))",
        replacement: "left_here.min(unreserved.max(9))",
        caught_by: Invariant::ReserveKept,
    },
    Mutation {
        name: "a quota that is nearly used is used on",
        file: "src/engine/delivery.rs",
        text: "counted_at?.plus(pace)",
        replacement: "counted_at?.plus(Span(pace.0 / 2))",
        caught_by: Invariant::QuotaLasts,
    },
    Mutation {
        name: "a start forgets when the quota was used",
        file: "src/engine/budget.rs",
        text: "row.counted_at.as_ref().map(age).map(tick_of)",
        replacement: "None",
        caught_by: Invariant::QuotaLasts,
    },
    Mutation {
        name: "answers do not spare the month",
        file: "src/engine/answering.rs",
        text: "(self.paced_until(Quota::Api)).is_some_and(|until| until > now)",
        replacement: "false",
        caught_by: Invariant::QuotaLasts,
    },
    Mutation {
        name: "what is over is counted as firing",
        file: "src/engine/desk.rs",
        text: "if up { *count + 1 } else { count.saturating_sub(1) }",
        replacement: "if up { *count + 1 } else { *count }",
        caught_by: Invariant::NumbersAreTrue,
    },
    Mutation {
        name: "what is past is looked at in the next second",
        file: "src/engine.rs",
        text: "if time <= now.time {\n        return now.tick;\n    }",
        replacement: "",
        caught_by: Invariant::NumbersAreTrue,
    },
    Mutation {
        name: "an end does not say of what",
        file: "src/digest/compose.rs",
        text: "entries.len() == 1 && State::of(first.change) == State::Firing",
        replacement: "entries.len() == 1",
        caught_by: Invariant::TextTellsAll,
    },
    Mutation {
        name: "an urgent change waits for company",
        file: "src/engine/desk.rs",
        text: "route.urgent || self.hastened.is_some_and(|asked| oldest <= asked)",
        replacement: "false",
        caught_by: Invariant::UrgentInTime,
    },
    Mutation {
        name: "a refusal silences the bots of others",
        file: "src/engine/delivery.rs",
        text: "name == endpoint || (app.is_some() && app == plan.app_of(name))",
        replacement: "reason != PauseReason::Limited || name == endpoint",
        caught_by: Invariant::ToldInTime,
    },
    Mutation {
        name: "older rows go over newer ones",
        file: "src/driver/steering.rs",
        text: "let newer = std::mem::replace(backlog.as_mut(), lost);\n                backlog.merge(newer);",
        replacement: "backlog.merge(lost);",
        caught_by: Invariant::RestartChangesNothing,
    },
    Mutation {
        name: "what was told while a commit ran is dropped",
        file: "src/driver/steering.rs",
        text: "backlog.merge(self.engine.changes());\n                None",
        replacement: "drop(self.engine.changes());\nNone",
        caught_by: Invariant::RestartChangesNothing,
    },
    Mutation {
        name: "filings are left behind",
        file: "src/engine.rs",
        text: "whole_second(now.tick_of(time)).min(Tick(turn))",
        replacement: "whole_second(now.tick_of(time)).min(Tick(turn.max(u64::MAX)))",
        caught_by: Invariant::MemoryBounded,
    },
    Mutation {
        name: "what is on its way counts from when it was sent",
        file: "src/engine/budget.rs",
        text: "now.time.plus(CALL_MAX)",
        replacement: "now.time",
        caught_by: Invariant::MinuteKept,
    },
    Mutation {
        name: "a token is asked for by each call",
        file: "src/dingtalk/token.rs",
        text: "token.is_fresh(now) && Some(token) != refused",
        replacement: "!token.is_fresh(now) && Some(token) != refused",
        caught_by: Invariant::TokenKept,
    },
    Mutation {
        name: "who people are is forgotten at a start",
        file: "src/dingtalk/directory.rs",
        text: "self.entries().extend(people);",
        replacement: "drop(people);",
        caught_by: Invariant::PeopleKept,
    },
    Mutation {
        name: "one number is looked up for all",
        file: "src/dingtalk/client.rs",
        text: "(BY_MOBILE_PATH, json!({\"mobile\": number}))",
        replacement: "(BY_MOBILE_PATH, json!({\"mobile\": number.split_at(3).0.to_owned() + \"00000000\"}))",
        caught_by: Invariant::NobodyElse,
    },
    Mutation {
        name: "what one has read all have",
        file: "src/dingtalk/errand.rs",
        text: "*read.get(user.as_str())?",
        replacement: "*read.values().next()?",
        caught_by: Invariant::ReadersAreRight,
    },
    Mutation {
        name: "errands go on while our address is blocked",
        file: "src/engine/afterwards.rs",
        text: "pause.reason.reaches()",
        replacement: "match pause.reason.reaches() {\n    Reach::Everybody => Reach::Endpoint,\n    reach => reach,\n}",
        caught_by: Invariant::BlockKept,
    },
    Mutation {
        name: "a question that comes again is answered again",
        file: "src/dingtalk/callback.rs",
        text: "if is_known { Hearing::Again } else { Hearing::New }",
        replacement: "Hearing::New",
        caught_by: Invariant::AnsweredOnce,
    },
    Mutation {
        name: "an answer that may have arrived is said again",
        file: "src/ask.rs",
        text: "answer.outcome.may_have_arrived()",
        replacement: "answer.outcome == Outcome::Delivered",
        caught_by: Invariant::AnsweredOnce,
    },
    Mutation {
        name: "who has asked for a list keeps others from asking",
        file: "src/driver.rs",
        text: "self.question(|reply| Question::Alerts { query, reply }).await",
        replacement: "{\n    std::mem::forget(_turn);\n    self.question(|reply| Question::Alerts { query, reply }).await\n}",
        caught_by: Invariant::AnsweredInTime,
    },
    Mutation {
        name: "what is over is listed as firing",
        file: "src/ask/reply.rs",
        text: "Some(State::Firing)",
        replacement: "None",
        caught_by: Invariant::AnswersAreTrue,
    },
    Mutation {
        name: "everybody may ask",
        file: "src/ask.rs",
        text: "in_group || (message.person.as_ref()).is_some_and(|person| ask.people.contains(person))",
        replacement: "in_group || message.person.is_some() || ask.people.is_empty()",
        caught_by: Invariant::OnlyWhoMayAsk,
    },
    Mutation {
        name: "the head of a repeat serves somebody else",
        file: "src/dingtalk/callback.rs",
        text: "is_known && head_is_known",
        replacement: "is_known",
        caught_by: Invariant::OnlyWhoMayAsk,
    },
    Mutation {
        name: "who is known by numbers is looked up all at once",
        file: "src/dingtalk/directory.rs",
        text: "*next = at.plus(APART);",
        replacement: "*next = at.plus(Span(APART.0 / 65));",
        caught_by: Invariant::MinuteKept,
    },
    Mutation {
        name: "a call that is refused for its token is given up",
        file: "src/dingtalk/client.rs",
        text: "posted.reading.token_refused && refused.is_none()",
        replacement: "posted.reading.token_refused && refused.is_some()",
        caught_by: Invariant::TokenKept,
    },
    Mutation {
        name: "who may not ask is answered by the app",
        file: "src/ask.rs",
        text: "self.send_to_session(message, &text).await",
        replacement: "{\n    drop(self.send(app, message, &plan, &text).await);\n    None\n}",
        caught_by: Invariant::OnlyWhoMayAsk,
    },
    Mutation {
        name: "whom the session does not reach is not answered",
        file: "src/ask.rs",
        text: "in_session.filter(arrived)",
        replacement: "in_session",
        caught_by: Invariant::AnsweredInTime,
    },
    Mutation {
        name: "nothing is taken back",
        file: "src/engine/afterwards.rs",
        text: "queue.map(|queue| queue.recalls.insert(receipt));",
        replacement: "drop(queue.map(|queue| queue.recalls.contains(&receipt)));",
        caught_by: Invariant::RecalledInTime,
    },
    Mutation {
        name: "what is superseded stays",
        file: "src/engine/afterwards.rs",
        text: "last.is_some_and(|last| last.digest > message.digest)",
        replacement: "false",
        caught_by: Invariant::RecalledInTime,
    },
    Mutation {
        name: "an errand that fails is run for ever",
        file: "src/engine/afterwards.rs",
        text: "call.tries < RECALL_TRIES_MAX",
        replacement: "true",
        caught_by: Invariant::AfterwardsBounded,
    },
    Mutation {
        name: "an errand that must wait is looked at over and over",
        file: "src/engine/afterwards.rs",
        text: "return Some(look_again)",
        replacement: "return Some(now)",
        caught_by: Invariant::ComesToRest,
    },
    Mutation {
        name: "nobody is asked who has read",
        file: "src/engine/afterwards.rs",
        text: "queue.reads.entry(receipt.clone()).or_default();",
        replacement: "drop(queue.reads.remove(receipt));",
        caught_by: Invariant::AskedWhoHasRead,
    },
    Mutation {
        name: "any signature is as good",
        file: "src/dingtalk/callback.rs",
        text: "!bool::from(expected.as_bytes().ct_eq(signature.as_bytes()))",
        replacement: "expected.len() != signature.len()",
        caught_by: Invariant::OnlyWhoMayAsk,
    },
    Mutation {
        name: "what was signed once is good for ever",
        file: "src/dingtalk/callback.rs",
        text: "now.since(at) > SKEW_MAX || at.since(now) > SKEW_MAX",
        replacement: "at.since(now) > SKEW_MAX",
        caught_by: Invariant::OnlyWhoMayAsk,
    },
    Mutation {
        name: "an end that hangs is waited for",
        file: "src/driver/steering.rs",
        text: "Drain::Until(now.tick.plus(DRAIN_MAX))",
        replacement: "Drain::Until(now.tick.plus(Span::days(1)))",
        caught_by: Invariant::DrainEnds,
    },
    Mutation {
        name: "an answer goes into a session that has ended",
        file: "src/ask.rs",
        text: "session.filter(|session| self.now() < session.expires_at)?",
        replacement: "session?",
        caught_by: Invariant::Acceptable,
    },
    Mutation {
        name: "a session may be anywhere",
        file: "src/dingtalk/callback.rs",
        text: "plain && (of_dingtalk || configured)",
        replacement: "plain || of_dingtalk || configured",
        caught_by: Invariant::NobodyElse,
    },
    Mutation {
        name: "a session with a port of its own is as good",
        file: "src/dingtalk/callback.rs",
        text: "parsed.port().is_none()",
        replacement: "true",
        caught_by: Invariant::NobodyElse,
    },
    Mutation {
        name: "a token is known to be refused by the status",
        file: "src/dingtalk/apicode.rs",
        text: "http_status == 401 || TOKEN_CODES.contains(&code)",
        replacement: "http_status == 401",
        caught_by: Invariant::TokenKept,
    },
    Mutation {
        name: "a call is made again with the token that was refused",
        file: "src/dingtalk/token.rs",
        text: "token.is_fresh(now) && Some(token) != refused",
        replacement: "token.is_fresh(now) && (Some(token) != refused || token.fetched_at <= now)",
        caught_by: Invariant::TokenKept,
    },
    Mutation {
        name: "an end does not wait for answers under way",
        file: "src/ask.rs",
        text: "self.places.acquire_many(ANSWERS_MAX)",
        replacement: "self.places.acquire_many(0)",
        caught_by: Invariant::DrainEnds,
    },
    Mutation {
        name: "at an end there is no place for an answer",
        file: "src/ask.rs",
        text: "return Err(Denied::Unavailable)",
        replacement: "return Err(Denied::OverBudget(NoAnswer::Busy))",
        caught_by: Invariant::AnsweredInTime,
    },
    Mutation {
        name: "who is refused tries again in a minute",
        file: "src/engine/delivery.rs",
        text: "(PauseReason::Refused(what), Some(REFUSED_PAUSE))",
        replacement: "(PauseReason::Refused(what), Some(CLOCK_PAUSE))",
        caught_by: Invariant::SilenceKept,
    },
    Mutation {
        name: "who is too fast is silent for half as long",
        file: "src/engine/delivery.rs",
        text: "(PauseReason::Limited, Some(span))",
        replacement: "(PauseReason::Limited, Some(Span(span.0 / 2)))",
        caught_by: Invariant::SilenceKept,
    },
    Mutation {
        name: "a start forgets who must be silent",
        file: "src/engine/budget.rs",
        text: "pause.lasts(now.tick)",
        replacement: "false",
        caught_by: Invariant::SilenceKept,
    },
    Mutation {
        name: "a load of the configuration lets everybody speak",
        file: "src/engine/budget.rs",
        text: "self.refusal.take().is_some()",
        replacement: "self.refusal.take().is_some() | self.pause.take().is_some()",
        caught_by: Invariant::SilenceKept,
    },
    Mutation {
        name: "whom nobody knows is written to again in an hour",
        file: "src/engine/delivery.rs",
        text: "(PauseReason::Refused(Refused::Person), None)",
        replacement: "(PauseReason::Refused(Refused::Person), Some(REFUSED_PAUSE))",
        caught_by: Invariant::SilenceKept,
    },
    Mutation {
        name: "a code that nobody knows is as good as none",
        file: "src/dingtalk/errcode.rs",
        text: "row.map_or(by_class(http_status, interface.pause), |row| row.outcome)",
        replacement: "row.map_or(Outcome::Delivered, |row| row.outcome)",
        caught_by: Invariant::UrgentInTime,
    },
    Mutation {
        name: "departments are the whole organisation",
        file: "src/dingtalk/message/work_notice.rs",
        text: "ids.join(\",\")",
        replacement: "ids.first().map(|_| \"1\".to_owned()).unwrap_or_default()",
        caught_by: Invariant::NobodyElse,
    },
    Mutation {
        name: "one of several departments is told",
        file: "src/dingtalk/message/work_notice.rs",
        text: "ids.join(\",\")",
        replacement: "ids.first().cloned().unwrap_or_default()",
        caught_by: Invariant::NobodyElse,
    },
    Mutation {
        name: "the history says that others have read",
        file: "src/engine/afterwards.rs",
        text: "reader.endpoint == row.endpoint",
        replacement: "row.read || reader.endpoint != row.endpoint",
        caught_by: Invariant::ReadersAreRight,
    },
    Mutation {
        name: "what is read is counted again and again",
        file: "src/engine/afterwards.rs",
        text: "later.read_by.values().min().filter(|_| !row.read)",
        replacement: "later.read_by.values().min()",
        caught_by: Invariant::ReadersAreRight,
    },
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_mutation_still_has_its_place() {
    let guide = fs::read_to_string(root().join("docs/simulator.md")).expect("the guide");
    let count = format!("holds {} deliberate faults", MUTATIONS.len());
    assert!(
        guide.contains(&count),
        "docs/simulator.md does not say that it {count}"
    );
    for mutation in MUTATIONS {
        let text = fs::read_to_string(root().join(mutation.file)).expect(mutation.file);
        let places = text.matches(mutation.text).count();
        assert_eq!(places, 1, "`{}`: the text in {}", mutation.name, mutation.file);
        let row = format!("| {} | `{}` |", mutation.name, mutation.caught_by.as_str());
        assert!(
            guide.contains(&row),
            "`{}` is not in docs/simulator.md",
            mutation.name
        );
    }
}

/// Ten minutes. `SIM_MUTATION=WORDS` takes only those whose name has them.
#[test]
#[ignore = "builds a copy of the program, and lets the simulator hunt for every fault in it"]
fn every_mutation_is_caught_by_the_promise_it_breaks() {
    let wanted = std::env::var("SIM_MUTATION").unwrap_or_default();
    let copy = copy();
    arm(&copy);
    build(&copy);
    let mut missed = Vec::new();
    for (no, mutation) in MUTATIONS.iter().enumerate() {
        if !mutation.name.contains(&wanted) {
            continue;
        }
        let by = mutation.caught_by.as_str();
        match hunt(&copy, no, mutation.caught_by) {
            Ok(script) => say(&format!("| {} | `{by}` | {script} |", mutation.name)),
            Err(what) => {
                say(&format!("| {} | `{by}` | MISSED |\n{what}", mutation.name));
                missed.push(mutation.name);
            }
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// A copy of what is built, always in the same place, so that it is not built again for nothing.
fn copy() -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
    drop(fs::remove_dir_all(&copy));
    fs::create_dir_all(&copy).expect("a directory of our own");
    for name in [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "templates",
        "tests",
        "benches",
        "docs",
    ] {
        let from = root().join(name);
        // With the times of the files: what has not changed is not built again.
        let copied = Command::new("cp").arg("-rp").arg(&from).arg(&copy).status();
        assert!(copied.is_ok_and(|status| status.success()), "cannot copy {name}");
    }
    copy
}

/// Puts every fault into the copy, in force in a process whose environment has its number.
fn arm(copy: &Path) {
    let mut places: BTreeMap<(&str, &str), Vec<(usize, &str)>> = BTreeMap::new();
    for (no, mutation) in MUTATIONS.iter().enumerate() {
        let faults = places.entry((mutation.file, mutation.text)).or_default();
        faults.push((no, mutation.replacement));
    }
    for ((file, text), faults) in places {
        rewrite(&copy.join(file), |source| {
            assert!(source.contains(text), "two faults overlap in {file}: {text}");
            source.replacen(text, &switched(text, &faults), 1)
        });
    }
    rewrite(&copy.join("src/lib.rs"), |source| format!("{source}\n{SWITCH}"));
}

/// What is done when none of these faults is in force, or what is done instead.
fn switched(text: &str, faults: &[(usize, &str)]) -> String {
    let mut choice = String::new();
    for (no, replacement) in faults {
        write!(choice, "if crate::is_in_force({no}) {{ {replacement} }} else ").expect("a string grows");
    }
    write!(choice, "{{ {text} }}").expect("a string grows");
    if text.ends_with([';', '}']) {
        choice
    } else {
        format!("({choice})")
    }
}

/// What [`switched`] asks.
const SWITCH: &str = r#"
pub(crate) fn is_in_force(no: usize) -> bool {
    static IN_FORCE: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var("SIM_FAULT").ok()?.parse().ok());
    *IN_FORCE == Some(no)
}
"#;

fn rewrite(place: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(place).expect("a file of the copy");
    fs::write(place, change(text)).expect("the copy is ours");
}

/// The simulator of the copy.
fn simulator(copy: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["test", "--locked", "--test", "sim"])
        .current_dir(copy)
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("../mutations"),
        );
    cargo
}

/// Panics when the copy cannot be built: what was not tried has not been missed.
fn build(copy: &Path) {
    let built = simulator(copy).arg("--no-run").output().expect("cargo runs");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
}

/// Runs everything the simulator has against a fault until the promise is broken: by what. What it broke instead,
/// otherwise.
fn hunt(copy: &Path, no: usize, invariant: Invariant) -> Result<String, String> {
    let run = simulator(copy)
        .args(["--", "fixed_seeds", "--nocapture"])
        .env("SIM_HUNT", invariant.as_str())
        .env("SIM_FAULT", no.to_string())
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    let broken: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("sim: "))
        .collect();
    let by = format!("{} by ", invariant.as_str());
    match broken.iter().find_map(|line| line.strip_prefix(&by)) {
        Some(script) => Ok(script.to_owned()),
        None if broken.is_empty() => Err(said.lines().rev().take(20).collect::<Vec<_>>().join("\n")),
        None => Err(broken.join("\n")),
    }
}
