//! What people ask the bots of apps, and what they are answered.

use std::collections::BTreeSet;

use dingest::alert::{Span, Timestamp};
use dingest::dingtalk::simulator::apps;
use dingest::dingtalk::simulator::rules::Call;
use dingest::engine::{Answer, Outcome};

use crate::afterwards::DECIDED_WITHIN;
use crate::invariant::{Invariant, Violation, violation};
use crate::judge::{Blocked, COUNTED_MAX, Judge};
use crate::model::Truth;
use crate::script::{PlanText, Session};
use crate::ways::{APP_WINDOW, MOBILE, person_behind, user_of};

/// How an answer to who may not ask begins.
const NOT_ALLOWED: &str = "You may not ask here";
/// And one that has come too late to know anything.
const NOT_NOW: &str = "dingest cannot answer at the moment";
/// What DingTalk says to an answer whose session has ended.
const NO_SESSION: i64 = 300_001;
/// By a clock that was set it is open which of the last words about an alert is believed.
const UNSURE: usize = 3;
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
    pub(crate) session: Session,
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

/// A question that a process has taken.
#[derive(Debug)]
pub(crate) struct Taking {
    question: usize,
    who: Questioner,
    /// The process.
    life: u64,
    taken_at: u64,
    may_ask: bool,
    /// When its session ends, by the true time, if DingTalk has that.
    session_ends_at: Option<Timestamp>,
    /// Was nothing in the way of an answer then?
    is_well: bool,
    /// Answers that were shown.
    shown: u32,
    fires: Option<Fires>,
}

/// What was asked, and what was taken of it.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// Each with the true time.
    posed: Vec<(Questioner, Timestamp)>,
    taken: Vec<Taking>,
    /// The last process that was asked to end.
    stopping: u64,
}

impl Judge<'_> {
    /// Somebody writes to an app's bot.
    pub(crate) fn question_posed(&mut self, who: &Questioner, at: Timestamp) -> usize {
        self.questions.posed.push((who.clone(), at));
        self.questions.posed.len() - 1
    }

    /// The process is asked to end: what is under way is still answered, as far as that is known by then.
    pub(crate) const fn stops(&mut self) {
        self.questions.stopping = self.life;
    }

    /// How many questions were posed.
    pub(crate) const fn questions_posed(&self) -> usize {
        self.questions.posed.len()
    }

    /// The process takes a question; nobody posed it when it is somebody else who says that it is DingTalk.
    pub(crate) fn question_taken(
        &mut self,
        app: &str,
        question: Option<usize>,
        is_well: bool,
        now: u64,
    ) -> Result<usize, Violation> {
        let Some(question) = question else {
            let what = format!("{app} takes what somebody says who is not DingTalk");
            return Err(violation(Invariant::OnlyWhoMayAsk, now, what));
        };
        let is_same = |taking: &&Taking| taking.question == question && taking.life == self.life;
        // By a clock that was set it may be forgotten before its time.
        if let Some(taking) = self.questions.taken.iter().find(is_same)
            && self.clock_set_at.is_none_or(|at| at < taking.taken_at)
        {
            let what = format!("{taking:?} is taken again");
            return Err(violation(Invariant::AnsweredOnce, now, what));
        }
        let (who, posed_at) = self.questions.posed[question].clone();
        let session_ends_at = match who.session {
            Session::Lasts(span) => Some(posed_at.plus(Span(span))),
            Session::Elsewhere => None,
        };
        self.questions.taken.push(Taking {
            question,
            life: self.life,
            taken_at: now,
            may_ask: who.may_ask(&self.setting().text),
            who,
            session_ends_at,
            is_well,
            shown: 0,
            fires: None,
        });
        Ok(self.questions.taken.len() - 1)
    }

    /// What may be told in answer to a question is looked at: only for who may ask.
    pub(crate) fn engine_is_asked(&self, taking: usize, now: u64) -> Result<(), Violation> {
        let taking = &self.questions.taken[taking];
        if taking.may_ask {
            return Ok(());
        }
        let what = format!("{taking:?} moves something");
        Err(violation(Invariant::OnlyWhoMayAsk, now, what))
    }

    /// What fires is looked at to answer a question.
    pub(crate) fn looked_at(&mut self, taking: usize, time: Timestamp) {
        if self.heard.len() > COUNTED_MAX {
            return;
        }
        let question = &self.questions.taken[taking].who.text;
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
            // What expires when, and is doubted until when, the ledger says only of clocks that nobody sets.
            let lately = self.effective(alert).into_iter().rev().take(UNSURE);
            let may_fire = is_open || self.clock_was_set && lately.into_iter().any(|heard| heard.fires);
            if story.truth == Truth::Firing && !is_open && !self.clock_was_set {
                certainly.insert(alert.clone());
            }
            if story.truth == Truth::Firing || may_fire {
                perhaps.insert(alert.clone());
            }
        }
        self.questions.taken[taking].fires = Some(Fires { certainly, perhaps });
    }

    /// Somebody who asked has these told now.
    pub(crate) fn hastened(&self, taking: usize, receivers: &[String], now: u64) -> Result<(), Violation> {
        let taking = &self.questions.taken[taking];
        let text = &self.setting().text;
        let is_elsewhere = |receiver: &&String| !taking.who.is_told_here(text, receiver);
        match receivers.iter().find(is_elsewhere) {
            None => Ok(()),
            Some(receiver) => {
                let what = format!("{taking:?} has {receiver} told now");
                Err(violation(Invariant::OnlyWhoMayAsk, now, what))
            }
        }
    }

    /// An answer leaves for the session of its question, by the daemon's clock at this time.
    pub(crate) fn answer_leaves_in_session(
        &self,
        taking: usize,
        now: u64,
        time: Timestamp,
    ) -> Result<(), Violation> {
        let taking = &self.questions.taken[taking];
        if taking.session_ends_at.is_some_and(|ends_at| time < ends_at) {
            return Ok(());
        }
        let what = format!("{taking:?} is answered in a session that has ended");
        Err(violation(Invariant::Acceptable, now, what))
    }

    /// An answer leaves in the name of an app: it takes no place that is reserved, and keeps the month's pace.
    pub(crate) fn answer_leaves(
        &mut self,
        app: &str,
        taking: Option<usize>,
        now: u64,
        time: Timestamp,
    ) -> Result<(), Violation> {
        if let Some(taking) = taking {
            // Anybody could use up the app's quota.
            self.engine_is_asked(taking, now)?;
        }
        let text = &self.setting().text;
        let (most, window) = text.rate_of(app);
        let sent = self.sent_within(app, window, now);
        self.sends.entry(app.to_owned()).or_default().push(now);
        if self.questions.stopping == self.life {
            // Nobody counts any more.
            return Ok(());
        }
        if sent >= Self::unreserved(most) && now > self.excused_until && self.plan_is_old(now) {
            let what = format!("{app} has sent {sent} of {most}, and there goes an answer");
            return Err(violation(Invariant::ReserveKept, now, what));
        }
        if self.blocked.is_some_and(|blocked| now < blocked.until) {
            let what = format!("{app} answers while our address is blocked");
            return Err(violation(Invariant::BlockKept, now, what));
        }
        self.check_answer_pace(time, now)
    }

    /// Like a digest that is not urgent, it leaves so long after what was last counted that the month lasts.
    fn check_answer_pace(&self, time: Timestamp, now: u64) -> Result<(), Violation> {
        let pace = self.api_month.pace(self.setting().text.api_quota, time);
        // What was counted just now may have come after it was decided.
        let is_in_pace = |(counted_at, pace)| now >= counted_at + pace || now < counted_at + DECIDED_WITHIN;
        if pace.is_none_or(is_in_pace) {
            return Ok(());
        }
        let what = "an answer leaves before its time, and the month is made to last";
        Err(violation(Invariant::QuotaLasts, now, what))
    }

    /// It is known what became of it.
    pub(crate) fn answer_came(&mut self, app: &str, answer: &Answer, now: u64, time: Timestamp) {
        if answer.outcome.may_have_arrived() {
            self.api_month.counted(time, now);
        }
        self.learn_of_block(answer, now);
        let reached = self.reached_of_app(app);
        self.timing.outcome("", app, &reached, answer.outcome, 0, now);
    }

    /// An answer has arrived.
    pub(crate) fn answer_arrived(
        &mut self,
        taking: usize,
        call: &Call,
        now: u64,
        true_time: Timestamp,
    ) -> Result<(), Violation> {
        self.check_answer_is_taken(taking, call, now, true_time)?;
        let is_of_app = call.query_key.is_some() || call.code.is_some();
        if is_of_app {
            self.count_arrival(&call.bot, apps::CALLS_PER_WINDOW_MAX, APP_WINDOW, now)?;
        }
        if !call.shown {
            return Ok(());
        }
        self.questions.taken[taking].shown += 1;
        let taking = &self.questions.taken[taking];
        let broken = |invariant, what: String| {
            let text = &call.content.text;
            Err(violation(invariant, now, format!("{taking:?} {what}:\n{text}")))
        };
        if taking.shown > 1 {
            let what = format!("is answered for the {}. time", taking.shown);
            return broken(Invariant::AnsweredOnce, what);
        }
        let in_chat = match (&taking.who.receiver, &call.people[..]) {
            (Some(receiver), []) => call.group == *receiver,
            (None, [person]) => call.group.is_empty() && person.user_id == taking.who.person,
            (Some(_) | None, _) => false,
        };
        if !in_chat {
            return broken(
                Invariant::NobodyElse,
                format!("is answered in another chat: {call:?}"),
            );
        }
        let text = &call.content.text;
        if text.starts_with(NOT_ALLOWED) == taking.may_ask {
            return broken(Invariant::OnlyWhoMayAsk, "has the wrong answer".to_owned());
        }
        let what_is_known = |alert: &&String| text.contains(&format!("**{alert}**"));
        if let Some(alert) = self.heard.keys().find(what_is_known).filter(|_| !taking.may_ask) {
            return broken(Invariant::OnlyWhoMayAsk, format!("learns of {alert}"));
        }
        match self.check_answer(taking, text) {
            Ok(()) => Ok(()),
            Err(what) => broken(Invariant::AnswersAreTrue, what),
        }
    }

    /// DingTalk refuses an answer only when its session has ended on the way, or a token has.
    fn check_answer_is_taken(
        &self,
        taking: usize,
        call: &Call,
        now: u64,
        true_time: Timestamp,
    ) -> Result<(), Violation> {
        let is_refused = call.code.is_some() || call.errcode.is_some_and(|code| code != 0);
        let taking = &self.questions.taken[taking];
        let has_ended = call.errcode == Some(NO_SESSION)
            && taking.session_ends_at.is_some_and(|ends_at| ends_at <= true_time);
        if call.fault.is_some() || !is_refused || has_ended || self.is_of_another_token(call, &taking.who.app)
        {
            return Ok(());
        }
        let answer = (call.errcode, call.code.as_ref(), &call.errmsg);
        let what = format!("{taking:?} is answered, and DingTalk says {answer:?}");
        Err(violation(Invariant::Acceptable, now, what))
    }

    /// What an answer says of what fires, and of who was told.
    fn check_answer(&self, taking: &Taking, text: &str) -> Result<(), String> {
        if !taking.may_ask {
            return Ok(());
        }
        if text.starts_with(NOT_NOW) && self.questions.stopping == taking.life {
            return Ok(());
        }
        let (word, rest) = (taking.who.text.split_once(' ')).unwrap_or((&taking.who.text, ""));
        match (word, &taking.fires) {
            ("firing" | "status", Some(fires)) => check_count(text, fires, word == "firing"),
            ("why", _) => self.check_why(text, rest),
            _ => Ok(()),
        }
    }

    /// Who is said to have been told has it in the chat.
    fn check_why(&self, text: &str, alert: &str) -> Result<(), String> {
        let lines = text.lines().filter_map(|line| {
            let (receiver, rest) = line.strip_prefix("- ")?.split_once(": ")?;
            Some((receiver, rest.starts_with("told ")))
        });
        let members = self.setting().text.everybody();
        for (receiver, is_told) in lines {
            // Of mobile numbers only the end is shown.
            let shown_as = |member: &&String| match member.split_once(MOBILE) {
                Some((before, number)) => {
                    let rest = receiver
                        .strip_prefix(before)
                        .and_then(|rest| rest.strip_prefix("mobile:…"));
                    rest.is_some_and(|end| !end.is_empty() && number.ends_with(end))
                }
                None => member.as_str() == receiver,
            };
            let mut members = members.iter().filter(shown_as).peekable();
            if members.peek().is_none() {
                return Err(format!("there is no {receiver}"));
            }
            let has = |member: &String| self.chats.contains_key(&(member.clone(), alert.to_owned()));
            if is_told && !members.any(has) {
                return Err(format!("{receiver} was not told of {alert}"));
            }
        }
        Ok(())
    }

    /// The time is up.
    pub(crate) fn should_be_answered(
        &self,
        taking: usize,
        is_well: bool,
        now: u64,
        true_time: Timestamp,
    ) -> Result<(), Violation> {
        let taking = &self.questions.taken[taking];
        let clock_was_set = self.clock_set_at.is_some_and(|at| at >= taking.taken_at);
        let is_well = is_well && taking.is_well && !clock_was_set;
        if taking.shown > 0 || !is_well || !self.timing.nothing_for_all_since(taking.taken_at) {
            return Ok(());
        }
        // Without a session an answer is a call of the app's.
        let in_session = taking.session_ends_at.is_some_and(|ends_at| true_time < ends_at);
        let by_app = taking.may_ask && self.app_is_free(&taking.who.app, taking.taken_at, now);
        if !in_session && !by_app {
            return Ok(());
        }
        let what = format!("{taking:?} has had no answer for {} ms", now - taking.taken_at);
        Err(violation(Invariant::AnsweredInTime, now, what))
    }

    /// Whether nothing has kept an app from answering since then.
    fn app_is_free(&self, app: &str, since: u64, now: u64) -> bool {
        let text = &self.setting().text;
        let (most, window) = text.rate_of(app);
        let is_silent = (self.reached_of_app(app).iter()).any(|it| self.timing.may_be_silent(it, since));
        let used = self.sent_within(app, now - since + window, now);
        !is_silent && used * 2 <= Self::unreserved(most) && !self.api_month.may_be_stretched(text.api_quota)
    }

    /// What an answer to an app may silence: everything it speaks through, and its answers.
    pub(crate) fn reached_of_app(&self, app: &str) -> Vec<String> {
        let mut reached = self.setting().text.endpoints_of_app(app);
        reached.push(app.to_owned());
        reached
    }

    /// Somebody has been answered by now, as a script says they must.
    pub(crate) fn has_been_answered(&self, person: &str, now: u64) -> Result<(), Violation> {
        let mut taken = self.questions.taken.iter();
        if taken.any(|taking| taking.who.person == person && taking.shown > 0) {
            return Ok(());
        }
        let what = format!("{person} has had no answer");
        Err(violation(Invariant::AnsweredInTime, now, what))
    }

    /// DingTalk blocks our address, if an answer says so.
    pub(crate) fn learn_of_block(&mut self, answer: &Answer, now: u64) {
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
