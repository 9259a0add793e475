//! The engine spoken to in a small language: what happens at which second, and what must come of it.
//!
//! A script line is `<time> <command>`. Commands: `fire NAME [k=v…]` and `end NAME [k=v…]` post an alert (`start=`
//! and `end=` give its times in seconds of the script, `from=` its source, `lease=` its expiry); `answer BOT
//! OUTCOME` sets what DingTalk says to that bot from here on, `answer pictures OUTCOME` what to pictures, whoever sends
//! them; `silence BOT` and `speech BOT` whether it says anything, `silence errands` and `speech errands` whether they
//! come back;
//! `recall OUTCOME` sets what comes of taking messages back, and `reads USER…` who has read what they were sent;
//! `plan NAME` changes the configuration and `reload` loads it again; `restart` ends
//! the process and starts it again from what was committed, `down SECONDS` so much later; `clock SECONDS` sets the
//! wall clock that much ahead of the script; `drain` shuts down; `run` lets time pass up to there.
//! The transcript says what came of it: replies, digests, messages and their answers, in order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use proptest::strategy::Strategy as _;

use super::outcome::{Refused, Rejected};
use super::*;
use crate::alert::{Fingerprint, Labels, Status};
use crate::digest::{Entry, Message};
use crate::plan::{MessageKind, Route, Routes};

mod afterwards;
mod answers;
mod explain;
mod lists;
mod people;
mod pictures;
mod work_notices;

/// 2026-03-02 00:00:00 UTC, a Monday.
const EPOCH: i64 = 1_772_409_600_000;

/// The plan most scripts use: `ops` hears everything, what is critical urgently; what is the database's goes to
/// `db` too; what is quiet waits while it is night.
const PLAN: &str = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0 }
sources:
  - { name: am, type: alertmanager, expire_after: 24h }
  - { name: other, type: alertmanager, expire_after: 24h }
  - { name: prom, type: prometheus }
bots:
  - { name: a, access_token: t, per_minute: 5 }
  - { name: b, access_token: t, per_minute: 5 }
  - { name: c, access_token: t, per_minute: 5 }
receivers:
  - { name: ops, bots: [a, b] }
  - { name: db, bots: [c], fallback: ops }
route:
  receiver: ops
  group_by: [alertname]
  routes:
    - { matchers: ['team=db'], receiver: db, continue: true }
    - { matchers: ['severity=critical'], urgent: true }
    - { matchers: ['quiet=yes'], mute_time_intervals: [nights] }
    - { matchers: ['silent=yes'], send_resolved: false }
time_intervals:
  - { name: nights, time_intervals: [{ times: [{ start_time: '01:00', end_time: '02:00' }] }] }
";

fn plan() -> Plan {
    static COMPILED: LazyLock<Plan> = LazyLock::new(|| compiled(PLAN));
    COMPILED.clone()
}

fn compiled(text: &str) -> Plan {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dingest.yaml");
    std::fs::write(&file, text).unwrap();
    let loaded = crate::config::load(Some(&file), directory.path());
    Plan::clone(&loaded.unwrap_or_else(|report| panic!("{report}")).plan)
}

/// Plans by name, for the command `plan`.
fn plan_named(name: &str) -> Plan {
    let mut plan = plan();
    match name {
        "usual" => {}
        "without-db" => {
            plan.receivers.remove("db");
            let routes = plan
                .routes
                .iter()
                .map(|(_, route)| route.clone())
                .collect::<Vec<_>>();
            let mut routes: Vec<Route> = routes;
            routes[0].children = [2, 3, 4].map(RouteId).to_vec();
            routes[1].receiver = "ops".into();
            plan.routes = Routes::new(routes);
        }
        "all-to-db" => {
            let mut root = plan.routes.get(RouteId(0)).clone();
            root.receiver = "db".into();
            root.children.clear();
            plan.routes = Routes::new(vec![root]);
        }
        "hurried" => {
            // Bot `c` alone, 5 a minute of which 3 are reserved, and no waiting.
            let mut routes: Vec<Route> = plan.routes.iter().map(|(_, route)| route.clone()).collect();
            for route in &mut routes {
                route.receiver = "db".into();
                route.group_wait = Span::seconds(1);
                route.group_interval = Span::seconds(1);
            }
            plan.routes = Routes::new(routes);
        }
        "db-on-a" => {
            // `db` speaks through `a` and falls back on `ops`, which has `c`.
            let on = |bot: &str| crate::plan::Channel::Endpoints(vec![bot.into()]);
            plan.receivers.get_mut("db").unwrap().channel = on("a");
            plan.receivers.get_mut("ops").unwrap().channel = on("c");
        }
        "urgent-nights" => {
            // A message a month, and what is quiet is urgent.
            plan.dingtalk.monthly_quota = Some(1);
            let mut routes: Vec<Route> = plan.routes.iter().map(|(_, route)| route.clone()).collect();
            routes[3].urgent = true;
            plan.routes = Routes::new(routes);
        }
        "quota-10" => plan.dingtalk.monthly_quota = Some(10),
        other => panic!("no plan `{other}`"),
    }
    plan
}

/// What survives a restart, as the store would keep it.
#[derive(Default)]
struct Disk {
    models: BTreeMap<crate::alert::ModelNo, Arc<crate::alert::words::Model>>,
    alerts: BTreeMap<AlertNo, crate::store::AlertRow>,
    told: BTreeMap<(ReceiverName, AlertNo), crate::store::ToldRow>,
    in_flight: BTreeMap<MessageId, InFlightRow>,
    receipts: BTreeMap<MessageId, crate::store::ReceiptRow>,
    endpoints: BTreeMap<EndpointName, crate::store::EndpointRow>,
    served: BTreeMap<ReceiverName, Timestamp>,
    next_alert: AlertNo,
    next_digest: DigestId,
}

impl Disk {
    fn commit(&mut self, changes: Changes) {
        fn apply<K: Ord, V>(to: &mut BTreeMap<K, V>, rows: BTreeMap<K, Option<V>>) {
            for (key, row) in rows {
                match row {
                    Some(row) => to.insert(key, row),
                    None => to.remove(&key),
                };
            }
        }
        self.next_alert = changes
            .alerts
            .keys()
            .map(|no| AlertNo(no.0 + 1))
            .chain([self.next_alert])
            .max()
            .unwrap();
        self.next_digest = changes
            .digests
            .keys()
            .map(|id| DigestId(id.0 + 1))
            .chain([self.next_digest])
            .max()
            .unwrap();
        apply(&mut self.models, changes.models);
        apply(&mut self.alerts, changes.alerts);
        for row in self.alerts.values() {
            let model = row.words.model();
            assert_eq!(
                self.models.get(&model.no),
                Some(model),
                "what describes an alert is saved"
            );
        }
        let used: BTreeSet<_> = self.alerts.values().map(|row| row.words.model().no).collect();
        assert_eq!(
            used,
            self.models.keys().copied().collect(),
            "what describes no alert is not"
        );
        apply(&mut self.told, changes.told);
        apply(&mut self.in_flight, changes.in_flight);
        apply(&mut self.receipts, changes.receipts);
        self.endpoints.extend(changes.endpoints);
        self.served.extend(changes.served);
    }

    fn saved(&self) -> Saved {
        Saved {
            run: "test".to_owned(),
            next_alert: self.next_alert,
            next_digest: self.next_digest,
            alerts: self.alerts.clone().into_iter().collect(),
            told: self
                .told
                .clone()
                .into_iter()
                .map(|((receiver, no), row)| (receiver, no, row))
                .collect(),
            in_flight: self.in_flight.clone().into_iter().collect(),
            receipts: self.receipts.clone().into_iter().collect(),
            endpoints: self.endpoints.clone().into_iter().collect(),
            served: self.served.clone().into_iter().collect(),
            people: Vec::new(),
        }
    }
}

/// The engine, a disk, and a DingTalk that answers as told.
struct Stage {
    engine: Engine,
    plan: Arc<Plan>,
    disk: Disk,
    now: Now,
    /// Added to the engine's tick: a restart begins a new monotonic clock.
    restarted_at: Span,
    /// How far the wall clock is ahead of the script, in milliseconds.
    ahead: i64,
    answers: BTreeMap<String, Outcome>,
    /// What comes of taking messages back, and who has read.
    recalls: Outcome,
    readers: Vec<String>,
    /// Bots whose answers never come; with `errands`, these stay out.
    silent: std::collections::BTreeSet<String>,
    out: Vec<(Errand, Finding)>,
    transcript: String,
    requests: u64,
    /// When each bot was last used, in milliseconds of the script.
    sent: BTreeMap<String, Vec<u64>>,
    /// What each digest says to whom.
    drafts: BTreeMap<DigestId, (ReceiverName, Vec<(String, Change)>)>,
    /// What arrived, in order: the receiver, the alert's name and what was said of it.
    arrived: Vec<(String, String, Change)>,
}

impl Stage {
    fn new(plan: Plan) -> Self {
        let plan = Arc::new(plan);
        let now = Now {
            tick: Tick(0),
            time: Timestamp(EPOCH),
        };
        let disk = Disk::default();
        Self {
            engine: Engine::new(Arc::clone(&plan), disk.saved(), now),
            plan,
            disk,
            now,
            restarted_at: Span(0),
            ahead: 0,
            answers: BTreeMap::new(),
            recalls: Outcome::Delivered,
            readers: Vec::new(),
            silent: std::collections::BTreeSet::new(),
            out: Vec::new(),
            transcript: String::new(),
            requests: 0,
            sent: BTreeMap::new(),
            drafts: BTreeMap::new(),
            arrived: Vec::new(),
        }
    }

    fn handle(&mut self, input: Input) {
        self.engine.handle(input, self.now);
        self.settle();
    }

    /// Commits, then lets every effect happen.
    fn settle(&mut self) {
        loop {
            let mut effects = Vec::new();
            while let Some(effect) = self.engine.poll() {
                effects.push(effect);
            }
            let changes = self.engine.changes();
            if effects.is_empty() && changes.is_empty() {
                return;
            }
            self.disk.commit(changes);
            let mut calls: Vec<Vec<Send>> = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Send(send) if self.is_to_a_person(&send) => {
                        let most = self.plan.endpoints[send.endpoint.as_ref().unwrap()].per_call_max();
                        let fits = |call: &&mut Vec<Send>| call[0].body == send.body && call.len() < most;
                        match calls.iter_mut().find(fits) {
                            Some(call) => call.push(send),
                            None => calls.push(vec![send]),
                        }
                    }
                    other @ (Effect::Reply { .. }
                    | Effect::Digest(_)
                    | Effect::Send(_)
                    | Effect::Errand(_)
                    | Effect::Event(_)) => self.perform(other),
                }
            }
            for call in calls {
                self.call(&call);
            }
        }
    }

    fn is_to_a_person(&self, send: &Send) -> bool {
        let endpoint = send
            .endpoint
            .as_ref()
            .and_then(|name| self.plan.endpoints.get(name));
        endpoint.is_some_and(|endpoint| endpoint.person().is_some())
    }

    /// Equal messages to people, by one call.
    fn call(&mut self, sends: &[Send]) {
        let mut words = Vec::new();
        let mut answers = Vec::new();
        for send in sends {
            let name = send.endpoint.as_ref().unwrap().as_str().to_owned();
            let user = name.rsplit('/').next().unwrap();
            if self.silent.contains(&name) {
                words.push(format!("{user} no answer"));
                continue;
            }
            let outcome = self.outcome_for(send, &name);
            words.push(if outcome == Outcome::Delivered {
                user.to_owned()
            } else {
                format!("{user} {}", outcome.as_str())
            });
            let mut answer = self.answered(send, outcome);
            let first = sends[0].message.digest;
            answer.receipt = (outcome == Outcome::Delivered).then(|| receipt(send, first));
            answers.push((send.message, answer));
        }
        let what = if is_picture(&sends[0]) {
            "picture to"
        } else {
            "call"
        };
        self.say(&format!("  {what} {}", words.join(", ")));
        if !answers.is_empty() {
            self.engine.handle(Input::Outcome(answers), self.now);
        }
    }

    /// What is answered to a message.
    fn answered(&mut self, send: &Send, outcome: Outcome) -> Answer {
        assert!(
            self.disk.in_flight.contains_key(&send.message),
            "nothing is sent before it is committed"
        );
        if outcome == Outcome::Delivered && !is_picture(send) {
            let (receiver, changes) = &self.drafts[&send.message.digest];
            let changes = changes.iter();
            self.arrived
                .extend(changes.map(|(name, change)| (receiver.to_string(), name.clone(), *change)));
        }
        Answer::new(outcome, "")
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Reply { tally, .. } => {
                let words: Vec<String> = tally
                    .iter()
                    .map(|(verdict, count)| format!("{}={count}", verdict.as_str()))
                    .collect();
                self.say(&format!("reply {}", words.join(" ")));
            }
            Effect::Digest(draft) => {
                let changes = draft.entries.iter().map(|entry| {
                    let name = entry.labels.get("alertname").unwrap();
                    (name.to_owned(), entry.change)
                });
                let changes: Vec<_> = changes.collect();
                let first = (draft.id, draft.receiver.clone());
                for (id, receiver) in draft.others.iter().cloned().chain([first]) {
                    self.drafts.insert(id, (receiver, changes.clone()));
                }
                let words = draft
                    .entries
                    .iter()
                    .map(entry_words)
                    .collect::<Vec<_>>()
                    .join(", ");
                let urgent = if draft.urgent { "urgent" } else { "" };
                let bot = draft.endpoint.as_ref().map_or("-", |bot| bot.as_str());
                let notices: Vec<String> = draft
                    .notices
                    .iter()
                    .map(|notice| format!(" [{notice:?}]"))
                    .collect();
                let notices = notices.concat();
                let detail = match draft.fit.detail_max {
                    Detail::Full => "",
                    poorer @ (Detail::Compact | Detail::Rollup | Detail::Stub) => poorer.as_str(),
                };
                let told = [urgent, detail, &words]
                    .into_iter()
                    .filter(|word| !word.is_empty());
                let told = told.collect::<Vec<_>>().join(" ");
                let others: Vec<_> = draft.others.iter().map(|(_, name)| format!(", {name}")).collect();
                let others = others.concat();
                self.say(&format!("{}{others} <-{bot}- {told}{notices}", draft.receiver));
                let message = Message {
                    title: String::new(),
                    text: words,
                    body: format!("{}-1", draft.id).into_bytes().into(),
                    covers: draft.entries.iter().map(|entry| entry.alert).collect(),
                };
                let rendered = Rendered {
                    detail: Detail::Full,
                    messages: std::iter::once(message).chain(self.picture(&draft)).collect(),
                    template_error: None,
                };
                self.engine.handle(
                    Input::Rendered {
                        digest: draft.id,
                        rendered,
                    },
                    self.now,
                );
            }
            Effect::Send(send) => self.answer(&send),
            Effect::Errand(errand) => self.run(errand),
            Effect::Event(_) => {}
        }
    }

    fn answer(&mut self, send: &Send) {
        let bot = send
            .endpoint
            .as_ref()
            .map_or("-", EndpointName::as_str)
            .to_owned();
        let outcome = self.outcome_for(send, &bot);
        if send.endpoint.is_some() {
            self.count_sent(&bot);
        }
        if self.silent.contains(&bot) {
            let body = String::from_utf8_lossy(&send.body).into_owned();
            self.say(&format!("  {bot}: {body} no answer"));
            return;
        }
        if outcome != Outcome::Delivered {
            let body = String::from_utf8_lossy(&send.body).into_owned();
            self.say(&format!("  {bot}: {body} {}", outcome.as_str()));
        } else if is_picture(send) {
            self.say(&format!("  picture through {bot}"));
        }
        let mut answer = self.answered(send, outcome);
        if outcome == Outcome::Delivered && bot.contains('/') {
            answer.receipt = Some(receipt(send, send.message.digest));
        }
        self.engine
            .handle(Input::Outcome(vec![(send.message, answer)]), self.now);
    }

    /// What comes of a message by this bot.
    fn outcome_for(&self, send: &Send, bot: &str) -> Outcome {
        let key = if is_picture(send) { "pictures" } else { bot };
        self.answers.get(key).copied().unwrap_or(Outcome::Delivered)
    }

    /// The picture of a digest in which something begins to fire, where there is to be one.
    fn picture(&self, draft: &Draft) -> Option<Message> {
        let receiver = self.plan.receivers.get(&draft.receiver)?;
        let is_news = draft.entries.iter().any(|entry| entry.change == Change::New);
        let is_shown = receiver.message == MessageKind::Image && draft.fit.messages_max > 1 && is_news;
        is_shown.then(|| Message {
            title: String::new(),
            text: "picture".to_owned(),
            body: format!("{}-2", draft.id).into_bytes().into(),
            covers: Vec::new(),
        })
    }

    /// An errand is run.
    fn run(&mut self, errand: Errand) {
        let through: Vec<&str> = errand.through.iter().map(EndpointName::as_str).collect();
        let mut words = format!("  {} through {}:", errand.task.as_str(), through.join(", "));
        let finding = match &errand.task {
            Task::Recall(receipts) => {
                let (outcome, name) = (self.recalls, self.recalls.as_str());
                let keys: Vec<&str> = receipts.iter().map(Receipt::as_str).collect();
                write!(words, " {} {name}", keys.join(", ")).unwrap();
                let mut kept = self.disk.receipts.values();
                assert!(
                    receipts
                        .iter()
                        .all(|receipt| kept.any(|row| row.receipt == *receipt)),
                    "what is taken back is on disk"
                );
                let answer = |receipt: &Receipt| (receipt.clone(), Answer::new(outcome, ""));
                Finding::Recalled(receipts.iter().map(answer).collect())
            }
            Task::Read { receipt, .. } => {
                let reader = |user: &String| Reader {
                    endpoint: format!("direct/ops/{user}").into(),
                    user: user.clone(),
                    at: None,
                };
                write!(words, " {} {}", receipt.as_str(), self.readers.join(", ")).unwrap();
                Finding::Read(ReadBy {
                    answer: Answer::new(self.recalls, ""),
                    readers: self.readers.iter().map(reader).collect(),
                    next: None,
                })
            }
        };
        self.say(words.trim_end());
        if self.silent.contains("errands") {
            self.out.push((errand, finding));
        } else {
            self.engine.handle(Input::Errand(errand, finding), self.now);
        }
    }

    /// No bot may be used more often than its minute allows, whatever happens.
    fn count_sent(&mut self, bot: &str) {
        let now = self.elapsed();
        let sent = self.sent.entry(bot.to_owned()).or_default();
        sent.retain(|at| now - at < Span::minutes(1).0);
        sent.push(now);
        assert!(
            sent.len() <= 5,
            "bot {bot} sends too much: {sent:?}\n{}",
            self.transcript
        );
    }

    /// Milliseconds of the script.
    fn elapsed(&self) -> u64 {
        self.now.tick.0 + self.restarted_at.0
    }

    fn say(&mut self, line: &str) {
        let seconds = self.elapsed() / 1000;
        writeln!(self.transcript, "{seconds}s {line}").unwrap();
    }

    /// Lets time pass, stopping at every deadline of the engine.
    fn run_to(&mut self, second: u64) {
        let end = second * 1000;
        loop {
            let at = self
                .engine
                .deadline()
                .map(|(tick, _)| tick.plus(self.restarted_at).0);
            let Some(at) = at.filter(|at| *at <= end) else {
                break;
            };
            self.set_clock(at.max(self.elapsed()));
            self.handle(Input::Timer);
        }
        self.set_clock(end);
    }

    fn set_clock(&mut self, elapsed: u64) {
        self.now.time = Timestamp(EPOCH + self.ahead + i64::try_from(elapsed).unwrap());
        self.now.tick = Tick(elapsed - self.restarted_at.0);
    }

    /// The configuration is loaded.
    fn plan_is(&mut self, text: &str) {
        self.plan = Arc::new(compiled(text));
        self.handle(Input::Plan(Arc::clone(&self.plan)));
    }

    /// The next process, whose clock began at `began`.
    fn restart(&mut self, began: u64) {
        let elapsed = self.elapsed();
        self.restarted_at = Span(began);
        self.set_clock(elapsed);
        self.engine = Engine::new(Arc::clone(&self.plan), self.disk.saved(), self.now);
        self.settle();
    }

    fn command(&mut self, words: &[&str]) {
        match words {
            ["run"] => {}
            ["fire" | "end", rest @ ..] => self.post(words[0] == "fire", rest),
            ["answer", bot, outcome] => {
                self.answers.insert((*bot).to_owned(), outcome_named(outcome));
            }
            ["silence", bot] => {
                self.silent.insert((*bot).to_owned());
            }
            ["speech", bot] => {
                self.silent.remove(*bot);
                for (errand, finding) in std::mem::take(&mut self.out) {
                    self.handle(Input::Errand(errand, finding));
                }
            }
            ["recall", outcome] => self.recalls = outcome_named(outcome),
            ["reads", users @ ..] => self.readers = users.iter().map(|user| (*user).to_owned()).collect(),
            ["plan", name] => {
                self.plan = Arc::new(plan_named(name));
                self.handle(Input::Plan(Arc::clone(&self.plan)));
            }
            ["reload"] => self.handle(Input::Plan(Arc::clone(&self.plan))),
            ["used"] => {
                let used = self.engine.counts().used_this_month;
                self.say(&format!("used {used:?}"));
            }
            ["restart"] => self.restart(self.elapsed()),
            ["down", seconds] => {
                let up_at = self.elapsed() + 1000 * seconds.parse::<u64>().unwrap();
                // The clock of a process runs before its engine does.
                self.set_clock(up_at + 20);
                self.restart(up_at);
            }
            ["clock", ahead] => {
                self.ahead = 1000 * ahead.parse::<i64>().unwrap();
                self.set_clock(self.elapsed());
            }
            ["drain"] => self.handle(Input::Drain),
            ["hasten", receiver] => self.handle(Input::Hasten(vec![(*receiver).into()])),
            ["asked", app] => self.asked(app),
            ["answered", app, outcome] => self.was_answered(app, outcome),
            ["alerts"] => {
                let list = self.engine.alerts(&view::AlertQuery {
                    limit: 100,
                    ..Default::default()
                });
                let held = format!("{} known, {} fire", list.total, self.engine.counts().firing);
                self.say(&held);
            }
            ["explain"] => self.explain(),
            ["waits", receiver] => {
                let views = self.engine.receivers();
                let view = views.iter().find(|view| view.name.as_str() == *receiver).unwrap();
                let due = view
                    .due_at
                    .map_or("-".to_owned(), |at| format!("{}s", (at.0 - EPOCH) / 1000));
                let line = format!(
                    "{receiver} waits for {} until {due}, {} changes",
                    view.waits_for.map_or("-", view::WaitsFor::as_str),
                    view.changes
                );
                self.say(&line);
            }
            other => panic!("no command {other:?}"),
        }
    }

    fn post(&mut self, fires: bool, words: &[&str]) {
        let (name, settings) = words.split_first().unwrap();
        let mut labels = vec![("alertname", *name)];
        let mut alert = Alert {
            fingerprint: Fingerprint(0),
            identity: None,
            status: if fires { Status::Firing } else { Status::Resolved },
            labels: Labels::default(),
            annotations: Labels::default(),
            links: Labels::default(),
            values: Labels::default(),
            starts_at: Some(Timestamp(EPOCH)),
            ends_at: (!fires).then_some(self.now.time),
            expires_at: None,
        };
        let mut source = "am";
        let second =
            |text: &str| (text != "none").then(|| Timestamp(EPOCH + 1000 * text.parse::<i64>().unwrap()));
        for setting in settings {
            match setting.split_once('=').unwrap() {
                ("start", at) => alert.starts_at = second(at),
                ("end", at) => alert.ends_at = second(at),
                ("lease", at) => alert.expires_at = second(at),
                ("from", name) => source = name,
                ("note", text) => alert.annotations = Labels::from_pairs([("summary", text)]),
                ("value", text) => alert.values = Labels::from_pairs([("A", text)]),
                label => labels.push(label),
            }
        }
        alert.labels = Labels::from_pairs(labels);
        alert.fingerprint = Fingerprint::of_labels(&alert.labels);
        self.requests += 1;
        let request = RequestId(self.requests);
        self.handle(Input::Alerts {
            request,
            source: source.into(),
            alerts: vec![alert],
        });
    }
}

fn entry_words(entry: &Entry) -> String {
    let name = entry.labels.get("alertname").unwrap();
    let host = entry
        .labels
        .get("host")
        .map_or(String::new(), |host| format!("/{host}"));
    let times = if entry.episodes > 1 {
        format!(" ({}x)", entry.episodes)
    } else {
        String::new()
    };
    format!("{} {name}{host}{times}", entry.change.as_str())
}

fn is_picture(send: &Send) -> bool {
    send.body.ends_with(b"-2")
}

/// What DingTalk calls a message whose call is named after this digest.
fn receipt(send: &Send, digest: DigestId) -> Receipt {
    let picture = if is_picture(send) { "-picture" } else { "" };
    format!("k{digest}{picture}").into()
}

fn outcome_named(name: &str) -> Outcome {
    match name {
        "delivered" => Outcome::Delivered,
        "retry" => Outcome::Retry,
        "limited" => Outcome::Limited(Span::minutes(10)),
        "throttled" => Outcome::Throttled(Span::minutes(1)),
        "gone" => Outcome::Refused(Refused::Person),
        "blocked" => Outcome::Blocked(Span::minutes(5)),
        "quota" => Outcome::Quota,
        "refused" => Outcome::Refused(Refused::Token),
        "clock" => Outcome::Refused(Refused::Clock),
        "content" => Outcome::Rejected(Rejected::Content),
        "size" => Outcome::Rejected(Rejected::Size),
        "outdated" => Outcome::Outdated,
        "unknown" => Outcome::Unknown,
        "too-old" => Outcome::Rejected(Rejected::Gone),
        other => panic!("no outcome `{other}`"),
    }
}

/// Runs a script and compares what came of it.
#[track_caller]
fn check(script: &str, expected: &str) {
    check_by(plan(), script, expected);
}

/// The same by another plan; answers the stage as it was left.
#[track_caller]
fn check_by(plan: Plan, script: &str, expected: &str) -> Stage {
    let mut stage = Stage::new(plan);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (time, command) = line.split_once(' ').unwrap();
        stage.run_to(time.trim_end_matches('s').parse().unwrap());
        stage.command(&command.split_whitespace().collect::<Vec<_>>());
    }
    let trim = |text: &str| {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(
        trim(&stage.transcript),
        trim(expected),
        "\n--- transcript ---\n{}",
        stage.transcript
    );
    stage
}

#[test]
fn an_alert_is_told_after_group_wait_and_a_repeat_is_silent() {
    check(
        "0s fire disk
         5s fire disk
         20s fire disk
         300s run",
        "0s reply new=1
         5s reply repeat=1
         10s ops <-a- new disk
         20s reply repeat=1",
    );
}

#[test]
fn changes_wait_for_company_and_go_along_in_one_digest() {
    check(
        "0s fire disk host=a
         4s fire disk host=b
         9s fire load host=a
         300s run",
        "0s reply new=1
         4s reply new=1
         9s reply new=1
         10s ops <-a- new disk/a, new disk/b, new load/a",
    );
}

#[test]
fn two_digests_are_at_least_group_interval_apart() {
    check(
        "0s fire disk host=a
         11s fire disk host=b
         60s waits ops
         300s run",
        "0s reply new=1
         10s ops <-a- new disk/a
         11s reply new=1
         60s ops waits for group_interval until 70s, 1 changes
         70s ops <-a- new disk/b",
    );
}

#[test]
fn who_asks_for_it_is_told_at_once_and_waits_for_company_again_afterwards() {
    check(
        "0s hasten ops
         1s fire disk host=a
         3s hasten ops
         4s fire disk host=b
         5s hasten nobody
         6s hasten ops
         7s fire disk host=c
         60s waits ops
         300s run",
        "1s reply new=1
         3s ops <-a- new disk/a
         4s reply new=1
         6s ops <-b- new disk/b
         7s reply new=1
         60s ops waits for group_interval until 66s, 1 changes
         66s ops <-a- new disk/c",
    );
}

#[test]
fn who_asks_while_a_message_is_under_way_hastens_nothing_that_comes_later() {
    check(
        "0s fire disk host=a
         1s answer a unknown
         11s hasten ops
         11s answer a delivered
         30s fire disk host=b
         31s waits ops",
        "0s reply new=1
         10s ops <-a- new disk/a
         10s   a: 0-1 unknown
         30s reply new=1
         31s ops waits for group_interval until 71s, 1 changes",
    );
}

#[test]
fn who_asks_while_an_announcement_is_under_way_is_told_its_end_as_soon_as_that_is_answered() {
    check(
        "0s fire disk
         1s answer a unknown
         10s end disk
         10s hasten ops
         10s answer a delivered
         30s fire load
         31s waits ops",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 unknown
         10s reply resolved=1
         11s ops <-b- resolved disk
         30s reply new=1
         31s ops waits for group_interval until 71s, 1 changes",
    );
}

#[test]
fn an_urgent_alert_waits_for_nothing_and_takes_the_others_along() {
    check(
        "0s fire disk host=a
         10s run
         12s fire load host=a
         15s fire down host=a severity=critical
         300s run",
        "0s reply new=1
         10s ops <-a- new disk/a
         12s reply new=1
         15s reply new=1
         15s ops <-b- urgent new load/a, new down/a",
    );
}

#[test]
fn a_resolve_is_told_and_a_pass_is_told_as_such() {
    check(
        "0s fire disk
         30s end disk
         100s fire load start=100
         105s end load start=100
         500s run",
        "0s reply new=1
         10s ops <-a- new disk
         30s reply resolved=1
         70s ops <-a- resolved disk
         100s reply new=1
         105s reply resolved=1
         130s ops <-a- passed load",
    );
}

#[test]
fn an_end_never_preceded_by_a_begin_is_told_as_passed_only_with_its_episode() {
    check(
        "0s end disk
         0s end load start=none
         4000s end old start=10 end=20
         5000s run",
        "0s reply resolved=1
         0s reply stale=1
         10s ops <-a- passed disk
         4000s reply stale=1",
    );
}

#[test]
fn an_alert_that_comes_back_is_one_line_with_a_count() {
    check(
        "0s fire disk
         20s end disk
         30s fire disk start=30
         40s end disk start=30
         50s fire disk start=50
         300s run",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         30s reply again=1
         40s reply resolved=1
         50s reply again=1
         70s ops <-a- again disk (2x)",
    );
}

#[test]
fn an_alert_that_comes_and_goes_too_often_is_told_as_flapping_once_until_calm() {
    check(
        "0s fire disk
         20s end disk
         30s fire disk start=30
         40s end disk start=30
         50s fire disk start=50
         60s end disk start=50
         61s fire disk start=61
         62s end disk start=61
         63s fire disk start=63
         64s end disk start=63
         65s fire disk start=65
         200s end disk start=65
         300s fire disk start=300
         2000s run",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         30s reply again=1
         40s reply resolved=1
         50s reply again=1
         60s reply resolved=1
         61s reply again=1
         62s reply resolved=1
         63s reply again=1
         64s reply resolved=1
         65s reply again=1
         70s ops <-a- flapping disk (6x)
         200s reply resolved=1
         300s reply again=1
         1210s ops <-a- again disk",
    );
}

#[test]
fn a_firing_alert_is_told_again_every_repeat_interval() {
    check(
        "0s fire disk
         30000s run",
        "0s reply new=1
         10s ops <-a- new disk
         14420s ops <-a- reminder disk
         28830s ops <-a- reminder disk",
    );
}

#[test]
fn an_alert_nobody_repeats_expires_and_is_forgotten_an_hour_later() {
    check(
        "0s fire disk lease=240
         60s fire disk lease=300
         500s alerts
         4000s alerts",
        "0s reply new=1
         10s ops <-a- new disk
         60s reply repeat=1
         310s ops <-a- expired disk
         500s 1 known, 0 fire
         4000s 0 known, 0 fire",
    );
}

#[test]
fn the_next_episode_has_a_lease_of_its_own() {
    check(
        "300s fire disk lease=540
         330s end disk
         340s fire disk start=340 lease=580
         1000s run",
        "300s reply new=1
         310s ops <-a- new disk
         330s reply resolved=1
         340s reply again=1
         370s ops <-a- again disk
         590s ops <-a- expired disk",
    );
}

#[test]
fn a_late_message_about_an_older_episode_changes_nothing() {
    check(
        "0s fire disk start=0
         20s end disk start=0
         25s fire disk start=0
         30s end disk start=0
         100s fire disk start=90
         110s end disk start=0 end=20
         1000s run",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         25s reply doubted=1
         30s reply resolved=1
         70s ops <-a- resolved disk
         100s reply again=1
         110s reply late=1
         130s ops <-a- again disk",
    );
}

#[test]
fn a_firing_message_right_after_the_end_is_believed_when_nobody_repeats_the_end() {
    check(
        "0s fire disk start=0
         20s end disk start=0
         25s fire disk start=0
         80s restart
         1000s alerts",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         25s reply doubted=1
         70s ops <-a- resolved disk
         150s ops <-a- again disk
         1000s 1 known, 1 fire",
    );
}

#[test]
fn a_doubt_that_ran_out_while_nobody_watched_is_over_from_the_start() {
    check(
        "0s fire disk start=0
         20s end disk start=0
         25s fire disk start=0
         130s down 30
         160s alerts
         1000s run",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         25s reply doubted=1
         70s ops <-a- resolved disk
         160s 1 known, 1 fire
         170s ops <-b- again disk",
    );
}

#[test]
fn what_a_prometheus_said_right_after_the_end_is_believed_for_a_lease() {
    check(
        "0s fire disk from=prom start=0 lease=240
         20s end disk from=prom start=0
         25s fire disk from=prom start=0 lease=265
         2000s run",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         25s reply doubted=1
         70s ops <-a- resolved disk
         150s ops <-a- again disk
         390s ops <-a- expired disk",
    );
}

#[test]
fn when_in_doubt_the_firing_is_believed() {
    check(
        "0s fire disk start=0
         20s end disk start=0
         200s fire disk start=0
         1000s run",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         70s ops <-a- resolved disk
         200s reply again=1
         210s ops <-a- again disk",
    );
}

#[test]
fn a_change_of_words_is_written_but_not_told_and_a_change_of_values_is_neither() {
    check(
        "0s fire disk note=a
         20s fire disk note=b
         30s fire disk note=b value=7
         1000s run",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply updated=1
         30s reply repeat=1",
    );
}

#[test]
fn two_sources_never_resolve_each_others_alerts() {
    check(
        "0s fire disk
         20s end disk from=other start=none
         200s alerts",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply stale=1
         200s 1 known, 1 fire",
    );
}

#[test]
fn a_route_that_continues_tells_both_receivers() {
    check(
        "0s fire disk team=db severity=critical
         300s run",
        "0s reply new=1
         0s ops <-a- urgent new disk
         10s db <-c- new disk",
    );
}

#[test]
fn resolves_are_not_told_where_the_route_says_so_and_the_next_episode_is() {
    check(
        "0s fire disk silent=yes
         20s end disk silent=yes
         200s fire disk silent=yes start=150
         400s run",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         200s reply again=1
         210s ops <-a- again disk",
    );
}

#[test]
fn a_muted_route_is_told_when_its_interval_ends() {
    check(
        "3590s fire disk quiet=yes
         3700s waits ops
         3800s fire load
         4000s end disk quiet=yes
         8000s run",
        "3590s reply new=1
         3700s ops waits for muted until 3720s, 1 changes
         3800s reply new=1
         3810s ops <-a- new load
         4000s reply resolved=1
         7200s ops <-a- passed disk",
    );
}

#[test]
fn a_bot_that_is_too_fast_is_silent_and_another_takes_over_at_once() {
    check(
        "0s answer a limited
         0s fire disk
         20s fire load
         300s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 limited
         10s ops <-b- new disk
         20s reply new=1
         70s ops <-b- new load",
    );
}

#[test]
fn while_every_bot_is_limited_the_difference_grows_and_ends_in_one_digest() {
    check(
        "0s answer a limited
         0s answer b limited
         0s fire disk
         100s fire load
         200s end disk
         300s waits ops
         300s answer a delivered
         300s answer b delivered
         1000s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 limited
         10s ops <-b- new disk
         10s   b: 1-1 limited
         100s reply new=1
         200s reply resolved=1
         300s ops waits for pause until 610s, 2 changes
         610s ops <-a- passed disk, new load",
    );
}

#[test]
fn a_refused_bot_is_left_alone_until_the_configuration_changes() {
    check(
        "0s answer a refused
         0s answer b refused
         0s fire disk
         50s answer a delivered
         60s waits ops
         100s plan usual
         200s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 refused_token
         10s ops <-b- new disk
         10s   b: 1-1 refused_token
         60s ops waits for pause until 3610s, 1 changes
         100s ops <-a- new disk",
    );
}

#[test]
fn a_receiver_whose_bots_are_all_refused_speaks_through_its_fallback() {
    check(
        "0s answer c refused
         0s fire disk team=db
         100s run",
        "0s reply new=1
         10s db <-c- new disk
         10s   c: 0-1 refused_token
         10s db <-a- new disk [Fallback { through: \"ops\", endpoint: \"c\", reason: \"refused_token\", until: Some(Timestamp(1772413210000)) }]",
    );
}

/// Better twice than late: what may have arrived does not hold up what another bot can tell.
#[test]
fn another_bot_takes_over_from_one_that_is_limited_while_its_message_is_in_doubt() {
    check(
        "0s answer a unknown
         0s fire disk
         11s answer a limited
         12s end disk
         100s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 unknown
         11s   a: 0-1 limited
         11s ops <-b- new disk
         12s reply resolved=1
         71s ops <-b- resolved disk",
    );
}

#[test]
fn what_is_urgent_goes_to_the_fallback_though_a_message_is_in_doubt_at_a_silent_bot() {
    check(
        "0s plan hurried
         0s answer c unknown
         0s fire disk
         2s answer c limited
         30s waits db
         60s fire down severity=critical
         100s run",
        "0s reply new=1
         1s db <-c- new disk
         1s   c: 0-1 unknown
         2s   c: 0-1 limited
         30s db waits for pause until 602s, 1 changes
         60s reply new=1
         60s db <-a- urgent new disk, new down [Fallback { through: \"ops\", endpoint: \"c\", reason: \"limited\", until: Some(Timestamp(1772410202065)) }]",
    );
}

#[test]
fn an_urgent_change_is_told_when_its_route_may_speak_though_others_have_to_wait() {
    check(
        "0s plan urgent-nights
         0s fire first
         3700s fire disk
         3701s fire down quiet=yes
         7300s run",
        "0s reply new=1
         10s ops <-a- new first
         3700s reply new=1
         3701s reply new=1
         7200s ops <-a- urgent new disk, new down",
    );
}

#[test]
fn a_send_that_surely_failed_is_no_message_any_more_but_a_difference() {
    check(
        "0s answer a retry
         0s answer b retry
         0s fire disk
         11s end disk
         11s answer a delivered
         11s answer b delivered
         100s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 retry
         11s reply resolved=1
         11s ops <-b- passed disk",
    );
}

#[test]
fn an_urgent_alert_does_not_wait_through_the_backoff_of_others() {
    check(
        "0s answer a retry
         0s answer b retry
         0s fire disk
         400s answer a delivered
         400s answer b delivered
         400s waits ops
         401s fire down severity=critical
         402s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 retry
         11s ops <-b- new disk
         11s   b: 1-1 retry
         13s ops <-a- new disk
         13s   a: 2-1 retry
         17s ops <-b- new disk
         17s   b: 3-1 retry
         70s ops <-a- new disk
         70s   a: 4-1 retry
         87s ops <-b- new disk
         87s   b: 5-1 retry
         126s ops <-a- new disk
         126s   a: 6-1 retry
         182s ops <-b- new disk
         182s   b: 7-1 retry
         327s ops <-a- new disk
         327s   a: 8-1 retry
         400s ops waits for backoff until 621s, 1 changes
         401s reply new=1
         401s ops <-a- urgent new disk, new down",
    );
}

#[test]
fn a_message_that_may_have_arrived_is_sent_again_byte_for_byte() {
    check(
        "0s answer a unknown
         0s fire disk
         11s end disk
         12s fire load
         13s answer a delivered
         200s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 unknown
         11s reply resolved=1
         11s   a: 0-1 unknown
         12s reply new=1
         130s ops <-a- resolved disk, new load",
    );
}

#[test]
fn a_restart_sends_a_message_of_unknown_outcome_again_and_tells_nothing_twice() {
    check(
        "0s fire load
         20s answer a unknown
         20s answer b unknown
         21s fire disk
         71s restart
         72s answer a delivered
         72s answer b delivered
         300s run",
        "0s reply new=1
         10s ops <-a- new load
         21s reply new=1
         70s ops <-a- new disk
         70s   a: 1-1 unknown
         71s   a: 1-1 unknown",
    );
}

#[test]
fn a_restart_keeps_truth_told_and_pauses() {
    check(
        "0s answer a limited
         0s answer b limited
         0s fire disk
         11s restart
         12s fire disk
         20s waits ops
         500s answer a delivered
         700s restart
         800s alerts",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 limited
         10s ops <-b- new disk
         10s   b: 1-1 limited
         12s reply repeat=1
         20s ops waits for group_wait until 21s, 1 changes
         610s ops <-a- new disk
         800s 1 known, 1 fire",
    );
}

#[test]
fn content_dingtalk_refuses_is_told_as_numbers() {
    check(
        "0s answer a content
         0s answer b delivered
         0s fire disk
         10s answer a delivered
         200s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 rejected_content
         11s ops <-b- stub new disk [ContentRefused { errcode: None }]",
    );
}

#[test]
fn the_minute_of_a_bot_is_never_exceeded_and_its_reserve_is_for_the_urgent() {
    check(
        "0s plan hurried
         0s fire x1
         5s fire x2
         10s fire x3
         11s waits db
         20s fire u1 severity=critical
         21s fire u2 severity=critical
         22s fire u3 severity=critical
         23s fire u4 severity=critical
         24s waits db
         100s run",
        "0s reply new=1
         1s db <-c- new x1
         5s reply new=1
         6s db <-c- new x2
         10s reply new=1
         11s db waits for minute until 61s, 1 changes
         20s reply new=1
         20s db <-c- urgent new x3, new u1
         21s reply new=1
         21s db <-c- urgent new u2
         22s reply new=1
         22s db <-c- urgent new u3
         23s reply new=1
         24s db waits for minute until 61s, 1 changes
         61s db <-c- urgent new u4",
    );
}

#[test]
fn a_reload_tells_nothing_twice_and_an_announced_alert_is_still_closed() {
    check(
        "0s fire disk
         0s fire load team=db
         20s plan all-to-db
         40s end disk
         40s end load team=db
         300s run",
        "0s reply new=1
         0s reply new=1
         10s db <-c- new load
         10s ops <-a- new disk
         40s reply resolved=1
         40s reply resolved=1
         70s db <-c- passed disk, resolved load
         70s ops <-a- resolved disk",
    );
}

/// The stage's clock begins at 0 with a restart, so that what was sent before counts as sent then.
#[test]
fn a_quota_nearly_used_up_stretches_what_is_not_urgent() {
    check(
        "0s plan quota-10
         0s fire u1 severity=critical
         1s fire u2 severity=critical
         2s fire u3 severity=critical
         3s fire u4 severity=critical
         4s fire u5 severity=critical
         5s fire u6 severity=critical
         6s fire u7 severity=critical
         7s fire u8 severity=critical
         8s fire x
         600s waits ops
         650s restart
         660s waits ops
         700s fire u9 severity=critical
         701s run",
        "0s reply new=1
         0s ops <-a- urgent new u1
         1s reply new=1
         1s ops <-b- urgent new u2
         2s reply new=1
         2s ops <-a- urgent new u3
         3s reply new=1
         3s ops <-b- urgent new u4
         4s reply new=1
         4s ops <-a- urgent new u5
         5s reply new=1
         5s ops <-b- urgent new u6
         6s reply new=1
         6s ops <-a- urgent new u7
         7s reply new=1
         7s ops <-b- urgent new u8
         8s reply new=1
         600s ops waits for quota until 1295973s, 1 changes
         660s ops waits for quota until 1296320s, 1 changes
         700s reply new=1
         700s ops <-a- urgent new x, new u9",
    );
}

#[test]
fn a_drained_engine_composes_no_more() {
    check(
        "0s fire disk
         5s drain
         100s waits ops",
        "0s reply new=1
         100s ops waits for shutdown until -, 1 changes",
    );
}

#[test]
fn what_arrived_after_a_reload_took_the_alert_elsewhere_is_still_closed() {
    check(
        "0s answer a unknown
         0s fire disk
         10s plan all-to-db
         10s answer a delivered
         100s end disk
         300s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 unknown
         20s db <-c- new disk
         100s reply resolved=1
         110s db <-c- resolved disk
         110s ops <-a- resolved disk",
    );
}

#[test]
fn what_arrives_about_a_forgotten_alert_leaves_nothing_behind() {
    let mut stage = Stage::new(plan());
    for (second, command) in [
        (0, "answer a unknown"),
        (0, "fire disk"),
        (10, "plan all-to-db"),
        (20, "end disk"),
        (8000, "alerts"),
        (8000, "answer a delivered"),
        (9000, "alerts"),
    ] {
        stage.run_to(second);
        stage.command(&command.split_whitespace().collect::<Vec<_>>());
    }
    assert!(
        stage.transcript.ends_with("9000s 0 known, 0 fire\n"),
        "{}",
        stage.transcript
    );
    assert_eq!(stage.disk.told, BTreeMap::new());
}

#[test]
fn what_is_held_does_not_grow_with_what_is_over() {
    let mut stage = Stage::new(plan());
    for round in 0..50 {
        let second = 1000 * round;
        stage.run_to(second);
        let (name, again) = (format!("short{round}"), format!("steady start={second}"));
        for command in [&format!("fire {name}"), &format!("fire {again}")] {
            stage.command(&command.split_whitespace().collect::<Vec<_>>());
        }
        stage.run_to(second + 500);
        for command in [format!("end {name}"), format!("end {again}")] {
            stage.command(&command.split_whitespace().collect::<Vec<_>>());
        }
    }
    stage.run_to(54_000);
    stage.command(&["fire", "last"]);
    stage.run_to(60_000);
    let held = stage.engine.held();
    assert_eq!((held.alerts, held.told), (1, 1));
    assert!(held.ages <= 2 && held.reminders <= 2, "{held:?}");
}

#[test]
fn an_expiry_is_noticed_soon_though_the_clock_was_far_behind_when_it_was_filed() {
    check(
        "0s clock -36000
         0s fire disk lease=240
         20s clock 0
         20000s run",
        "0s reply new=1
         10s ops <-a- new disk
         1810s ops <-a- reminder disk
         2110s ops <-a- expired disk",
    );
}

#[test]
fn a_message_that_may_have_arrived_is_sent_again_only_as_often_as_its_bot_may_speak() {
    let mut stage = Stage::new(plan_named("hurried"));
    for command in ["answer c unknown", "fire disk severity=critical"] {
        stage.command(&command.split_whitespace().collect::<Vec<_>>());
    }
    // The stage counts.
    stage.run_to(600);
    assert!(stage.transcript.matches("c: 0-1 unknown").count() > 5);
}

#[test]
fn a_receiver_looks_again_when_its_fallback_may_speak() {
    check(
        "0s plan db-on-a
         0s answer a refused
         0s fire x1 severity=critical
         1s fire x2 severity=critical
         2s fire x3 severity=critical
         3s fire x4 severity=critical
         4s fire x5 severity=critical
         5s fire disk team=db
         200s run",
        "0s reply new=1
         0s ops <-c- urgent new x1
         1s reply new=1
         1s ops <-c- urgent new x2
         2s reply new=1
         2s ops <-c- urgent new x3
         3s reply new=1
         3s ops <-c- urgent new x4
         4s reply new=1
         4s ops <-c- urgent new x5
         5s reply new=1
         15s db <-a- new disk
         15s   a: 5-1 refused_token
         63s db <-c- new disk [Fallback { through: \"ops\", endpoint: \"a\", reason: \"refused_token\", until: Some(Timestamp(1772413215000)) }]",
    );
}

#[test]
fn a_reminder_is_told_though_the_clock_was_set_back() {
    check(
        "0s fire disk
         20s clock -600
         30000s run",
        "0s reply new=1
         10s ops <-a- new disk
         15020s ops <-a- reminder disk
         29430s ops <-a- reminder disk",
    );
}

#[test]
fn a_clock_that_was_set_back_is_as_right_after_a_restart() {
    check(
        "0s clock 600
         0s fire disk
         100s clock 0
         120s fire disk
         1000s restart
         16000s run",
        "0s reply new=1
         10s ops <-a- new disk
         120s reply repeat=1
         14530s ops <-a- reminder disk",
    );
}

#[test]
fn a_pause_that_was_saved_by_a_clock_far_ahead_ends_all_the_same() {
    check(
        "0s clock 100000000
         0s answer a limited
         0s answer b limited
         0s fire disk
         20s clock 0
         20s restart
         20s answer a delivered
         20s answer b delivered
         8000s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 limited
         10s ops <-b- new disk
         10s   b: 1-1 limited
         3620s ops <-a- new disk",
    );
}

#[test]
fn who_is_configured_while_our_address_is_blocked_is_silent_too() {
    let with = |name: &str| {
        format!(
            "
locale: en
timezone: UTC
dingtalk: {{ monthly_quota: 0 }}
bots:
  - {{ name: {name}, access_token: t }}
receivers:
  - {{ name: ops, bots: [{name}] }}
route: {{ receiver: ops }}
"
        )
    };
    let mut stage = Stage::new(compiled(&with("a")));
    stage.command(&["answer", "a", "blocked"]);
    stage.command(&["fire", "disk"]);
    stage.run_to(20);
    stage.plan_is(&with("b"));
    stage.run_to(30);
    stage.command(&["restart"]);
    stage.run_to(400);
    let expected = "0s reply new=1
10s ops <-a- new disk
10s   a: 0-1 blocked
310s ops <-b- new disk
";
    assert_eq!(stage.transcript, expected);
}

#[test]
fn a_refusal_that_is_lifted_ends_no_block() {
    let script = |restart: &str| {
        format!(
            "0s answer a refused
             0s answer b blocked
             0s fire disk
             20s answer a delivered
             20s answer b delivered
             50s {restart}
             100s reload
             400s run"
        )
    };
    let expected = "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 refused_token
         10s ops <-b- new disk
         10s   b: 1-1 blocked
         310s ops <-a- new disk";
    check(&script("run"), expected);
    check(&script("restart"), expected);
}

#[test]
fn a_clock_that_dingtalk_refused_is_tried_again_soon() {
    check(
        "0s answer a clock
         0s answer b clock
         0s fire disk
         30s answer a delivered
         30s answer b delivered
         200s run",
        "0s reply new=1
         10s ops <-a- new disk
         10s   a: 0-1 refused_clock
         10s ops <-b- new disk
         10s   b: 1-1 refused_clock
         70s ops <-a- new disk",
    );
}

#[test]
fn an_alert_that_ended_while_the_clock_was_far_ahead_is_heard_when_it_comes_back() {
    let script = |then: &str| {
        format!(
            "0s fire disk start=0
             20s clock 100000
             20s end disk start=0
             50s clock 0
             50s {then}
             50s fire other
             100s fire disk start=90
             400s run"
        )
    };
    check(
        &script("run"),
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         50s reply new=1
         70s ops <-a- resolved disk, new other
         100s reply doubted=1
         150s ops <-a- again disk",
    );
    check(
        &script("restart"),
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         50s reply new=1
         60s ops <-b- resolved disk, new other
         100s reply again=1
         120s ops <-a- again disk",
    );
}

#[test]
fn an_alert_told_while_the_clock_was_far_ahead_is_reminded_of_in_time() {
    check(
        "0s clock 100000
         0s fire disk
         20s clock 0
         30s fire disk
         15000s run",
        "0s reply new=1
         10s ops <-a- new disk
         30s reply repeat=1
         14440s ops <-a- reminder disk",
    );
}

#[test]
fn a_clock_set_ahead_expires_nothing_before_its_sender_had_the_chance_to_repeat_it() {
    check(
        "0s fire disk lease=240
         20s clock 100000
         100s fire disk
         1000s run",
        "0s reply new=1
         10s ops <-a- new disk
         100s reply repeat=1
         110s ops <-a- reminder disk",
    );
}

#[test]
fn a_clock_that_was_ahead_for_a_moment_lets_nothing_live_for_longer() {
    check(
        "0s fire disk lease=240
         20s clock 36000
         21s fire other
         25s clock 0
         25s end other
         1000s run",
        "0s reply new=1
         10s ops <-a- new disk
         21s reply new=1
         25s reply resolved=1
         70s ops <-a- passed other
         335s ops <-a- expired disk",
    );
}

/// An end that is repeated is known as such for an hour of ours, whatever the clock says.
#[test]
fn a_clock_that_was_behind_when_an_alert_ended_forgets_no_end() {
    check(
        "0s clock -21600
         0s fire disk start=0
         20s end disk start=0 end=20
         60s clock 0
         90s end disk start=0 end=20
         95s restart
         200s end disk start=0 end=20
         3500s end disk start=0 end=20
         3700s run",
        "0s reply new=1
         10s ops <-a- new disk
         20s reply resolved=1
         70s ops <-a- resolved disk
         90s reply repeat=1
         200s reply repeat=1
         3500s reply repeat=1",
    );
}

#[test]
fn another_takes_over_from_who_must_be_silent_as_soon_as_the_months_quota_lets_it() {
    let plan = PLAN.replace("monthly_quota: 0", "monthly_quota: 100000");
    let mut stage = Stage::new(compiled(&plan));
    // What is left lasts until April with one message every three minutes.
    let used = crate::store::EndpointRow {
        sent: Vec::new(),
        pause: None,
        month: 2026 * 12 + 3,
        used: 86_080,
        counted_at: None,
    };
    stage.disk.endpoints.insert("c".into(), used);
    stage.command(&["restart"]);
    stage.command(&["answer", "a", "unknown"]);
    stage.command(&["fire", "disk"]);
    stage.run_to(11);
    stage.command(&["answer", "a", "limited"]);
    stage.run_to(100);
    stage.command(&["waits", "ops"]);
    stage.run_to(1000);
    let expected = "0s reply new=1
10s ops <-a- new disk
10s   a: 0-1 unknown
11s   a: 0-1 limited
100s ops waits for quota until 196s, 1 changes
196s ops <-b- new disk
";
    assert_eq!(stage.transcript, expected);
}

#[test]
fn a_message_that_was_on_its_way_when_the_process_ended_has_its_place_in_the_minute() {
    // Bot `c` may send 5 a minute, of which 2 are for what is not urgent.
    check(
        "0s plan hurried
         0s silence c
         0s fire disk
         1s restart
         1s restart
         2s speech c
         2s restart
         3s fire cpu
         90s run",
        "0s reply new=1
         1s db <-c- new disk
         1s   c: 0-1 no answer
         1s   c: 0-1 no answer
         3s reply new=1
         82s db <-c- new cpu",
    );
}

/// One step of a random script.
#[derive(Clone, Debug)]
enum Step {
    Toggle(usize),
    Answer(usize, usize),
    Plan(usize),
    Restart,
    Wait(u64),
}

/// Alerts of random scripts with their labels.
const ALERTS: [(&str, &str); 4] = [
    ("plain", ""),
    ("urgent", "severity=critical"),
    ("db", "team=db"),
    ("both", "team=db severity=critical"),
];

/// Plays random steps, then lets DingTalk deliver for hours; in the end everybody knows what is true.
fn play(steps: &[Step]) {
    const OUTCOMES: [&str; 9] = [
        "delivered",
        "delivered",
        "retry",
        "limited",
        "refused",
        "content",
        "size",
        "unknown",
        "unknown",
    ];
    const PLANS: [&str; 5] = ["usual", "without-db", "all-to-db", "hurried", "usual"];
    let mut stage = Stage::new(plan());
    let mut fires = [false; ALERTS.len()];
    let mut posted = [false; ALERTS.len()];
    let mut second = 0;
    let tell = |stage: &mut Stage, command: &str| {
        stage.command(&command.split_whitespace().collect::<Vec<_>>());
    };
    for step in steps {
        second += 1;
        stage.run_to(second);
        match step {
            Step::Toggle(index) => {
                let (name, labels) = ALERTS[*index];
                let word = if fires[*index] { "end" } else { "fire" };
                fires[*index] = !fires[*index];
                posted[*index] = true;
                tell(&mut stage, &format!("{word} {name} {labels} start={second}"));
            }
            Step::Answer(bot, outcome) => {
                let bot = ["a", "b", "c"][*bot];
                tell(&mut stage, &format!("answer {bot} {}", OUTCOMES[*outcome]));
            }
            Step::Plan(index) => tell(&mut stage, &format!("plan {}", PLANS[*index])),
            Step::Restart => tell(&mut stage, "restart"),
            Step::Wait(seconds) => second += seconds,
        }
    }
    stage.run_to(second);
    for command in [
        "plan usual",
        "answer a delivered",
        "answer b delivered",
        "answer c delivered",
    ] {
        tell(&mut stage, command);
    }
    stage.run_to(second + 3 * 3600);
    assert_everybody_knows(&stage, posted, fires);
}

/// Whoever is concerned was told of everything that was posted, once as new, and last what is true.
fn assert_everybody_knows(stage: &Stage, posted: [bool; ALERTS.len()], fires: [bool; ALERTS.len()]) {
    for (index, (name, labels)) in ALERTS.iter().enumerate() {
        for receiver in ["ops", "db"] {
            let told: Vec<Change> = stage
                .arrived
                .iter()
                .filter(|(to, about, _)| to == receiver && about == name)
                .map(|(_, _, change)| *change)
                .collect();
            let context = || format!("{name} to {receiver}: {told:?}\n{}", stage.transcript);
            let news = told.iter().filter(|change| **change == Change::New).count();
            assert!(news <= 1, "news twice: {}", context());
            let concerned = match receiver {
                "db" => labels.contains("team=db"),
                _ => labels != &"team=db",
            };
            assert!(
                !(posted[index] && concerned && told.is_empty()),
                "lost: {}",
                context()
            );
            let known_to_fire = told.last().map(|last| {
                matches!(
                    last,
                    Change::New | Change::Again | Change::Reminder | Change::Flapping
                )
            });
            if let Some(known) = known_to_fire.filter(|known| concerned || *known) {
                assert_eq!(known, fires[index], "not current: {}", context());
            }
        }
    }
    assert_eq!(stage.engine.counts().changes, 0, "{}", stage.transcript);
    assert!(stage.disk.in_flight.is_empty());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_everybody_knows_in_the_end_what_is_true(
        steps in proptest::collection::vec(
            proptest::prelude::prop_oneof![
                6 => (0..ALERTS.len()).prop_map(Step::Toggle),
                4 => (0..3usize, 0..9usize).prop_map(|(bot, outcome)| Step::Answer(bot, outcome)),
                1 => (0..5usize).prop_map(Step::Plan),
                1 => proptest::prelude::Just(Step::Restart),
                6 => (0..100u64).prop_map(Step::Wait),
            ],
            1..30,
        )
    ) {
        play(&steps);
    }
}
