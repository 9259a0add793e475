//! What people ask the bots of apps, and what they are answered.

use std::collections::BTreeSet;

use dingest::alert::Timestamp;
use dingest::dingtalk::simulator::apps;
use dingest::dingtalk::simulator::rules::Call;
use dingest::engine::{Answer, Outcome};

use crate::invariant::{Invariant, Violation, violation};
use crate::judge::{Blocked, COUNTED_MAX, Judge};
use crate::model::Truth;
use crate::script::PlanText;
use crate::ways::{APP_WINDOW, person_behind, user_of};

/// How an answer to who may not ask begins.
const NOT_ALLOWED: &str = "You may not ask here";
/// Alerts that an answer lists at most.
const LISTED_MAX: usize = 20;

/// Somebody who asks, where, and what.
#[derive(Clone, Debug)]
pub(crate) struct Questioner {
    pub(crate) person: String,
    /// The app whose bot is asked.
    pub(crate) app: String,
    /// In the group of this receiver, or in the own chat.
    pub(crate) receiver: Option<String>,
    pub(crate) text: String,
}

impl Questioner {
    /// Whether the configuration lets them ask.
    fn may_ask(&self, text: &PlanText) -> bool {
        let askers = text
            .apps
            .get(&self.app)
            .map_or(Vec::new(), |words| words.list("ask"));
        let in_group = self
            .receiver
            .as_ref()
            .is_some_and(|receiver| askers.contains(receiver));
        in_group || askers.contains(&self.person)
    }

    /// Whether a receiver is told in the chat in which they ask.
    fn is_told_here(&self, text: &PlanText, receiver: &str) -> bool {
        let mut endpoints = text.endpoints_of(receiver).into_iter();
        let through = |endpoint: String| {
            let here = if let Some(receiver) = &self.receiver {
                endpoint == format!("group/{receiver}")
            } else {
                let user = user_of(&endpoint).map(person_behind);
                endpoint.starts_with("direct/") && user.as_ref() == Some(&self.person)
            };
            here && text.app_of(&endpoint) == Some(self.app.as_str())
        };
        endpoints.any(through)
    }
}

/// What fires when an answer is made: certainly, and perhaps.
#[derive(Debug)]
struct Fires {
    certainly: BTreeSet<String>,
    perhaps: BTreeSet<String>,
}

/// A question.
#[derive(Debug)]
pub(crate) struct Question {
    who: Questioner,
    /// When it was taken last.
    taken_at: u64,
    may_ask: bool,
    /// Was nothing in the way of an answer then?
    is_well: bool,
    /// Answers that were shown since, to a process of this number.
    shown: u32,
    life: u64,
    fires: Option<Fires>,
}

impl Judge<'_> {
    pub(crate) fn is_asked(&mut self, who: &Questioner, now: u64) -> usize {
        self.questions.push(Question {
            who: who.clone(),
            taken_at: now,
            may_ask: false,
            is_well: false,
            shown: 0,
            life: 0,
            fires: None,
        });
        self.questions.len() - 1
    }

    /// The process takes a question; nobody asked it when it is somebody else who says that it is DingTalk.
    pub(crate) fn is_taken(
        &mut self,
        app: &str,
        question: Option<usize>,
        is_well: bool,
        now: u64,
    ) -> Result<usize, Violation> {
        let Some(index) = question else {
            let what = format!("{app} takes what somebody says who is not DingTalk");
            return Err(violation(Invariant::OnlyWhoMayAsk, now, what));
        };
        let text = &self.setting().text;
        let question = &self.questions[index];
        let may_ask = question.who.may_ask(text);
        let question = &mut self.questions[index];
        (question.taken_at, question.may_ask) = (now, may_ask);
        (question.is_well, question.fires) = (is_well, None);
        // What an earlier process has answered this one does not know.
        if question.life != self.life {
            (question.life, question.shown) = (self.life, 0);
        }
        Ok(index)
    }

    /// What fires is looked at to answer a question.
    pub(crate) fn is_looked_at(&mut self, index: usize, time: Timestamp) {
        // What expires when, and what is doubted until when, the ledger says only of clocks that nobody sets.
        if self.clock_was_set || self.heard.len() > COUNTED_MAX {
            return;
        }
        let question = &self.questions[index].who.text;
        let wanted: Vec<(String, String)> = question
            .strip_prefix("firing")
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let (mut certainly, mut perhaps) = (BTreeSet::new(), BTreeSet::new());
        for alert in self.heard.keys() {
            let story = self.story(alert, time);
            if !wanted.iter().all(|pair| story.labels.contains(pair)) {
                continue;
            }
            let is_open = story.truth == Truth::Open || story.open_until > time.0;
            if story.truth == Truth::Firing && !is_open {
                certainly.insert(alert.clone());
            }
            if story.truth == Truth::Firing || is_open {
                perhaps.insert(alert.clone());
            }
        }
        self.questions[index].fires = Some(Fires { certainly, perhaps });
    }

    /// Somebody who asked has these told now.
    pub(crate) fn is_hastened_by(
        &self,
        index: usize,
        receivers: &[String],
        now: u64,
    ) -> Result<(), Violation> {
        let question = &self.questions[index];
        let text = &self.setting().text;
        let is_elsewhere = |receiver: &&String| !question.who.is_told_here(text, receiver);
        let elsewhere = receivers.iter().find(is_elsewhere);
        if question.may_ask && elsewhere.is_none() {
            return Ok(());
        }
        let what = format!("{question:?} has {receivers:?} told now");
        Err(violation(Invariant::OnlyWhoMayAsk, now, what))
    }

    /// An answer leaves in the name of an app: it takes no place that is reserved, and there is none while the month is
    /// made to last.
    pub(crate) fn answer_leaves(&mut self, app: &str, now: u64, time: Timestamp) -> Result<(), Violation> {
        let text = &self.setting().text;
        let (most, window) = text.rate_of(app);
        let sent = self.sent_within(app, window, now);
        self.sends.entry(app.to_owned()).or_default().push(now);
        if sent >= Self::unreserved(most) && now > self.excused_until && self.plan_is_old(now) {
            let what = format!("{app} has sent {sent} of {most}, and there goes an answer");
            return Err(violation(Invariant::ReserveKept, now, what));
        }
        if self.blocked.is_some_and(|blocked| now < blocked.until) {
            let what = format!("{app} answers while our address is blocked");
            return Err(violation(Invariant::BlockKept, now, what));
        }
        self.check_errand_pace(time, now)
    }

    /// It is known what became of it.
    pub(crate) fn answer_came(&mut self, app: &str, answer: &Answer, now: u64, time: Timestamp) {
        if answer.outcome.may_have_arrived() {
            self.api_month.counted(time, now);
        }
        self.is_blocked_by(answer, now);
        let reached = self.setting().text.endpoints_of_app(app);
        self.timing.outcome("", app, &reached, answer.outcome, 0, now);
    }

    /// An answer has arrived.
    pub(crate) fn answer_arrived(&mut self, index: usize, call: &Call, now: u64) -> Result<(), Violation> {
        let is_of_app = call.query_key.is_some() || call.code.is_some();
        if is_of_app {
            self.count_arrival(&call.bot, apps::CALLS_PER_WINDOW_MAX, APP_WINDOW, now)?;
        }
        if !call.shown {
            return Ok(());
        }
        let question = &mut self.questions[index];
        question.shown += 1;
        let question = &self.questions[index];
        if question.shown > 1 {
            let what = format!("{question:?} is answered for the {}. time", question.shown);
            return Err(violation(Invariant::AnsweredOnce, now, what));
        }
        let in_chat = match &question.who.receiver {
            Some(receiver) => call.group == *receiver && call.people.is_empty(),
            None => call
                .people
                .iter()
                .all(|person| person.user_id == question.who.person),
        };
        if !in_chat {
            let what = format!("{question:?} is answered in another chat: {call:?}");
            return Err(violation(Invariant::NobodyElse, now, what));
        }
        let text = &call.content.text;
        if text.contains(NOT_ALLOWED) == question.may_ask {
            let what = format!("{question:?} is answered `{text}`");
            return Err(violation(Invariant::OnlyWhoMayAsk, now, what));
        }
        self.check_answer(question, text).map_err(|what| {
            violation(
                Invariant::AnswersAreTrue,
                now,
                format!("{question:?}: {what}:\n{text}"),
            )
        })
    }

    /// What an answer says of what fires, and of who was told.
    fn check_answer(&self, question: &Question, text: &str) -> Result<(), String> {
        if !question.may_ask {
            return Ok(());
        }
        let (word, rest) = (question.who.text.split_once(' ')).unwrap_or((&question.who.text, ""));
        match (word, &question.fires) {
            ("firing" | "status", Some(fires)) => check_count(text, fires, word == "firing"),
            ("why", _) => self.check_why(text, rest),
            _ => Ok(()),
        }
    }

    /// Who is said to have been told has it in the chat.
    fn check_why(&self, text: &str, alert: &str) -> Result<(), String> {
        let told = text.lines().filter_map(|line| {
            let (receiver, rest) = line.strip_prefix("- ")?.split_once(": ")?;
            rest.starts_with("told ").then_some(receiver)
        });
        let known = |receiver: &&str| self.setting().text.knows(receiver);
        let mut told = told.filter(known);
        let has_not = told.find(|receiver| {
            let key = ((*receiver).to_owned(), alert.to_owned());
            !self.chats.contains_key(&key)
        });
        has_not.map_or(Ok(()), |receiver| {
            Err(format!("{receiver} was not told of {alert}"))
        })
    }

    /// The time is up.
    pub(crate) fn should_be_answered(&self, index: usize, is_well: bool, now: u64) -> Result<(), Violation> {
        let question = &self.questions[index];
        let is_well = is_well && question.is_well && !self.clock_was_set;
        if question.shown > 0 || !is_well || !self.timing.nothing_for_all_since(question.taken_at) {
            return Ok(());
        }
        let what = format!(
            "{question:?} has had no answer for {} ms",
            now - question.taken_at
        );
        Err(violation(Invariant::AnsweredInTime, now, what))
    }

    /// DingTalk blocks our address, if an answer says so.
    pub(crate) fn is_blocked_by(&mut self, answer: &Answer, now: u64) {
        if let Outcome::Blocked(span) = answer.outcome {
            let until = now + span.0;
            let lasts = self.blocked.filter(|blocked| now < blocked.until);
            let begins = Blocked {
                since: self.seq,
                at: now,
                until,
            };
            let before = lasts.unwrap_or(begins);
            self.blocked = Some(Blocked {
                until: until.max(before.until),
                ..before
            });
        }
    }
}

/// The number an answer begins with, and the alerts it lists.
fn check_count(text: &str, fires: &Fires, is_listed: bool) -> Result<(), String> {
    let heading = text.lines().find_map(|line| line.strip_prefix("### "));
    let heading = heading.ok_or("there is no heading")?;
    let number = heading.split(' ').next().unwrap_or_default();
    let count = if heading.starts_with("Nothing") {
        0
    } else {
        number.parse().map_err(|_| "the heading has no number")?
    };
    if !(fires.certainly.len()..=fires.perhaps.len()).contains(&count) {
        return Err(format!("{count} is not what fires: {fires:?}"));
    }
    if !is_listed {
        return Ok(());
    }
    let listed: BTreeSet<&str> = (text.lines())
        .filter(|line| line.starts_with("- "))
        .filter_map(|line| line.split("**").nth(1))
        .collect();
    let wrong = listed.iter().find(|alert| !fires.perhaps.contains(**alert));
    if let Some(alert) = wrong {
        return Err(format!("{alert} does not fire: {fires:?}"));
    }
    let missing = fires
        .certainly
        .iter()
        .find(|alert| !listed.contains(alert.as_str()));
    match missing {
        Some(alert) if count <= LISTED_MAX => Err(format!("{alert} fires: {fires:?}")),
        Some(_) | None => Ok(()),
    }
}
