//! What the process knows of apps and people: access tokens, and who somebody is that is known by a number.

use std::collections::BTreeMap;

use dingest::dingtalk::client::Response;
use dingest::dingtalk::simulator::apps;
use serde_json::Value;

use crate::invariant::{Invariant, Violation, violation};
use crate::judge::Judge;
use crate::ways::APP_WINDOW;

/// A token is asked for again this long before it ends.
const EARLY: u64 = 5 * 60_000;
/// How long somebody counts as known, and nobody.
const KNOWN_FOR: u64 = 12 * 3_600_000;
const NOBODY_FOR: u64 = 5 * 60_000;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    /// By app.
    tokens: BTreeMap<String, Token>,
    /// By app, and by what they are known.
    people: BTreeMap<(String, String), Person>,
}

#[derive(Debug, Default)]
struct Token {
    /// The task that has asked for it and waits.
    asked_by: Option<u64>,
    asked_at: u64,
    came_at: u64,
    /// Until when it need not be asked for again.
    good_until: u64,
    /// Was the one that came last refused?
    is_refused: bool,
}

#[derive(Debug, Default)]
struct Person {
    asked_by: Option<u64>,
    asked_at: u64,
    good_until: u64,
    /// Is it on disk who that is?
    durable: bool,
    /// Could it not be written when that was tried?
    is_lost: bool,
    is_somebody: bool,
}

impl Learnt {
    /// The clock was set: what is known may count as old.
    pub(crate) fn grown_old(&mut self) {
        for token in self.tokens.values_mut() {
            token.good_until = 0;
        }
        for person in self.people.values_mut() {
            person.good_until = 0;
        }
    }

    /// The process ended.
    pub(crate) fn forgotten(&mut self) {
        self.tokens.clear();
        self.people.retain(|_, person| person.durable);
        for person in self.people.values_mut() {
            person.asked_by = None;
        }
    }
}

impl Judge<'_> {
    pub(crate) fn asks_for_token(&mut self, app: &str, task: u64, now: u64) -> Result<(), Violation> {
        let token = self.learnt.tokens.entry(app.to_owned()).or_default();
        let is_asked = token.asked_by.is_some();
        let is_good = now < token.good_until;
        if is_asked || is_good {
            let what = format!("{app} asks for a token though it has one, or is about to: {token:?}");
            return Err(violation(Invariant::TokenKept, now, what));
        }
        (token.asked_by, token.asked_at) = (Some(task), now);
        Ok(())
    }

    /// A call that was refused for its token is made again: not with that one.
    pub(crate) fn asks_with_another_token(&self, app: &str, path: &str, now: u64) -> Result<(), Violation> {
        let token = self.learnt.tokens.get(app);
        let is_refused = |token: &&Token| token.is_refused && token.asked_by.is_none();
        let Some(token) = token.filter(is_refused) else {
            return Ok(());
        };
        let what = format!("{app} calls `{path}` again with the token that was refused: {token:?}");
        Err(violation(Invariant::TokenKept, now, what))
    }

    /// Says whether there was one.
    pub(crate) fn token_came(&mut self, app: &str, response: Option<&Response>, now: u64) -> bool {
        let token = self.learnt.tokens.entry(app.to_owned()).or_default();
        token.asked_by = None;
        let body = body_of(response);
        if body["accessToken"].is_string() {
            let lives = 1000 * body["expireIn"].as_u64().unwrap_or_default();
            (token.came_at, token.is_refused) = (now, false);
            // It was asked for a moment ago, and counts from then.
            token.good_until = (now + lives).saturating_sub(EARLY + 20_000);
            if self.clock_set_at.is_some_and(|at| at >= token.asked_at) {
                // By the clock it is from another time.
                token.good_until = 0;
            }
        }
        body["accessToken"].is_string()
    }

    /// Whether an app's token came before the clock was last set: then it may end unnoticed.
    pub(crate) fn token_is_of_another_time(&self, app: &str) -> bool {
        let token = self.learnt.tokens.get(app);
        token.is_some_and(|token| self.clock_set_at.is_some_and(|at| token.came_at <= at))
    }

    /// A look-up arrives: each kind has a rate of its own.
    pub(crate) fn look_up_arrived(&mut self, app: &str, path: &str, now: u64) -> Result<(), Violation> {
        // What went one after the other comes together when ways take seconds.
        if !self.timing.nothing_for_all_since(now) {
            return Ok(());
        }
        let sender = format!("{app}{path}");
        self.count_arrival(&sender, apps::CALLS_PER_WINDOW_MAX, APP_WINDOW, now)
    }

    /// A call that was sent then was refused for its token.
    pub(crate) fn token_was_refused(&mut self, app: &str, sent_at: u64) {
        let token = self.learnt.tokens.get_mut(app);
        if let Some(token) = token.filter(|token| token.came_at <= sent_at) {
            token.good_until = 0;
            // Of what came at that moment nobody knows whether it was this one.
            token.is_refused = token.came_at < sent_at;
        }
    }

    pub(crate) fn looks_up(
        &mut self,
        app: &str,
        known_by: &str,
        task: u64,
        now: u64,
    ) -> Result<(), Violation> {
        let key = (app.to_owned(), known_by.to_owned());
        let person = self.learnt.people.entry(key).or_default();
        if person.asked_by.is_some() || now < person.good_until {
            let what =
                format!("{app} looks `{known_by}` up though that is known, or about to be: {person:?}");
            return Err(violation(Invariant::PeopleKept, now, what));
        }
        (person.asked_by, person.asked_at) = (Some(task), now);
        Ok(())
    }

    pub(crate) fn was_looked_up(&mut self, app: &str, known_by: &str, response: Option<&Response>, now: u64) {
        if response.is_none() {
            // Whoever shares the call waited for that, too.
            let endpoints = self.setting().text.endpoints_of_app(app);
            self.timing.waited(&endpoints, now);
        }
        let key = (app.to_owned(), known_by.to_owned());
        let Some(person) = self.learnt.people.get_mut(&key) else {
            return;
        };
        let asked_at = person.asked_at;
        let body = body_of(response);
        match (body["result"]["userid"].as_str(), body["errcode"].as_i64()) {
            (Some(_), _) => {
                *person = Person {
                    good_until: now + KNOWN_FOR - 20_000,
                    is_somebody: true,
                    ..Person::default()
                }
            }
            (None, Some(60_104 | 60_121 | 40_104)) => {
                *person = Person {
                    good_until: now + NOBODY_FOR - 20_000,
                    ..Person::default()
                }
            }
            // Refused for its token, it is asked again by the same.
            (None, _) => (person.asked_by, person.good_until) = (None, 0),
        }
        if self.clock_set_at.is_some_and(|at| at >= asked_at) {
            person.good_until = 0;
        }
    }

    /// Whoever was found is on disk.
    pub(crate) fn people_are_kept(&mut self) {
        for person in self
            .learnt
            .people
            .values_mut()
            .filter(|person| person.is_somebody && !person.is_lost)
        {
            person.durable = true;
        }
    }

    /// What was found since goes into no file: nobody misses it, but for one more call after a start.
    pub(crate) fn people_are_lost(&mut self) {
        let found = (self.learnt.people.values_mut()).filter(|person| person.is_somebody);
        for person in found.filter(|person| !person.durable) {
            person.is_lost = true;
        }
    }

    /// What was known of somebody is not so.
    pub(crate) fn forget_person(&mut self, app: &str, known_by: &str) {
        let is_meant = |key: &(String, String)| key.0 == app && key.1 == known_by;
        self.learnt.people.retain(|key, _| !is_meant(key));
    }

    /// A task is over; nobody waits for what it had asked for.
    pub(crate) fn task_ended(&mut self, task: u64) {
        let of_tokens = self.learnt.tokens.values_mut().map(|token| &mut token.asked_by);
        let of_people = self.learnt.people.values_mut().map(|person| &mut person.asked_by);
        for asked_by in of_tokens.chain(of_people).filter(|by| **by == Some(task)) {
            *asked_by = None;
        }
    }
}

fn body_of(response: Option<&Response>) -> Value {
    let body = response.and_then(|response| serde_json::from_slice(&response.body).ok());
    body.unwrap_or_default()
}
