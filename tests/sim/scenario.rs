//! A seed becomes a scenario: who is told what by which plan, what senders say and how, and what goes wrong when.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dingest::dingtalk::errcode::Errcode;
use dingest::dingtalk::{apicode, errcode, oapicode};
use dingest::engine::Outcome;

use crate::dice::Dice;
use crate::plan::LEASING;
use crate::ways::{MOBILE, UNION_ID};

/// Milliseconds.
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// Between parts of a scenario: long enough for a check to be due.
const REST: u64 = 4 * HOUR + 10 * MINUTE;
const DAY: u64 = 24 * HOUR;

const TEAMS: [&str; 6] = ["db", "web", "net", "app", "ops", "lab"];
const SEVERITIES: [&str; 4] = ["critical", "warning", "info", "page"];

/// The script of a seed.
pub(crate) fn script(seed: u64) -> String {
    let mut scenario = Scenario {
        dice: Dice::new(seed),
        app_dice: Dice::new(!seed),
        later_dice: Dice::new(seed.rotate_left(32)),
        asking_dice: Dice::new(seed.rotate_left(48)),
        day_dice: Dice::new(seed.rotate_left(8)),
        name_dice: Dice::new(seed.rotate_left(24)),
        question_dice: Dice::new(seed.rotate_left(40)),
        session_dice: Dice::new(seed.rotate_left(12)),
        code_dice: Dice::new(seed.rotate_left(20)),
        department_dice: Dice::new(seed.rotate_left(28)),
        shape_dice: Dice::new(seed.rotate_left(56)),
        everybody: BTreeMap::new(),
        groups: Vec::new(),
        people: 0,
        notice_dice: Dice::new(seed.rotate_left(16)),
        apps: 0,
        text: String::new(),
        steps: Vec::new(),
        size: Size::Small,
        bots: 0,
        receivers: 0,
        plans: 0,
        alerts: 0,
        leased: Vec::new(),
    };
    scenario.make(seed);
    scenario.text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// A few receivers, everything goes wrong, for days.
    Small,
    /// Some dozens of receivers.
    Middle,
    /// Hundreds of receivers and bots.
    Large,
}

struct Scenario {
    dice: Dice,
    /// For what came later, so that the rest of a seed stays what it was.
    app_dice: Dice,
    notice_dice: Dice,
    apps: u64,
    /// The same for what is done about messages afterwards.
    later_dice: Dice,
    /// And for who asks to be told now.
    asking_dice: Dice,
    /// And for what is told to everybody.
    day_dice: Dice,
    /// And for people who are known by a number.
    name_dice: Dice,
    /// And for what people ask.
    question_dice: Dice,
    /// And for where the answers may go.
    session_dice: Dice,
    /// And for all that DingTalk can say.
    code_dice: Dice,
    /// And for departments.
    department_dice: Dice,
    /// And for what messages look like.
    shape_dice: Dice,
    /// The receivers that are everybody, too, each by an app: not more by one plan than by another.
    everybody: BTreeMap<u64, u64>,
    /// The receivers that are groups of apps, and how many people there are.
    groups: Vec<u64>,
    people: u64,
    text: String,
    steps: Vec<(u64, String)>,
    size: Size,
    bots: u64,
    receivers: u64,
    plans: u64,
    alerts: u64,
    /// The alerts a Prometheus posts.
    leased: Vec<bool>,
}

impl Scenario {
    fn make(&mut self, seed: u64) {
        self.size = match self.dice.range(0, 20) {
            0 => Size::Large,
            1..=4 => Size::Middle,
            _ => Size::Small,
        };
        let (bots, receivers, plans, alerts, parts) = match self.size {
            Size::Small => (4, 5, 3, 24, 4),
            Size::Middle => (20, 30, 3, 80, 2),
            Size::Large => (120, 250, 2, 300, 1),
        };
        if self.app_dice.percent(40) {
            self.apps = self.app_dice.range(1, 3);
        }
        self.bots = self.dice.range(1, bots + 1);
        self.receivers = self.dice.range(1, receivers + 1);
        if self.apps > 0 && self.day_dice.percent(50) {
            for _ in 0..self.day_dice.range(1, 4) {
                let receiver = self.day_dice.range(0, self.receivers);
                self.everybody.insert(receiver, self.day_dice.range(0, self.apps));
            }
        }
        self.plans = self.dice.range(1, plans + 1);
        self.alerts = self.dice.range(1, alerts + 1);
        self.line(&format!("noise {}", seed % 1_000_000));
        // The month may end on the way.
        let days = *self.dice.pick(&[1, 1, 1, 14, 30]);
        self.line(&format!("begin {}", days * 24 * HOUR / SECOND));
        self.line("source am expire=86400");
        self.line("source prom expire=1209600");
        if self.apps > 0 {
            for department in ["7 u0,u1,u2", "8 u2,u5", "9 u3"] {
                self.line(&format!("department {department}"));
            }
        }
        for plan in 0..self.plans {
            self.plan(plan);
        }
        for alert in 0..self.alerts {
            self.alert(alert);
        }
        let parts = self.dice.range(1, parts + 1);
        let mut begin = 0;
        for _ in 0..parts {
            begin = self.part(begin) + REST;
            self.steps.push((begin, "check".to_owned()));
            begin += MINUTE;
        }
        if !self.everybody.is_empty() && self.day_dice.percent(60) {
            // By then there was a place for what everybody was still to be told.
            self.steps.push((begin + DAY + HOUR, "check".to_owned()));
        }
        self.steps.sort();
        for (at, step) in std::mem::take(&mut self.steps) {
            let line = format!("{} {step}", seconds(at));
            self.line(&line);
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    // ---- plans and alerts -------------------------------------------------------------------------------------

    fn plan(&mut self, plan: u64) {
        for bot in 0..self.bots {
            if plan > 0 && self.dice.percent(10) {
                continue;
            }
            let per_minute = *self.dice.pick(&[18, 18, 18, 20, 20, 5, 4]);
            let mut line = format!("plan p{plan} bot b{bot} per_minute={per_minute}");
            // What DingTalk demands of a bot does not change with our plans.
            if bot % 2 == 0 {
                line.push_str(" signed");
            }
            if bot % 3 == 0 {
                line.push_str(" keyword");
            }
            self.line(&line);
        }
        for app in 0..self.apps {
            let per_second = *self.app_dice.pick(&[18, 18, 20, 4]);
            let ask = match self.question_dice.range(0, 3) {
                0 => "",
                1 => " ask=u0,u1",
                _ => " ask=u1,r0,r1,r2",
            };
            self.line(&format!("plan p{plan} app ap{app} per_second={per_second}{ask}"));
        }
        for receiver in 0..self.receivers {
            if plan > 0 && self.dice.percent(10) {
                continue;
            }
            let own = receiver % self.bots;
            if self.dice.percent(6) {
                self.line(&format!(
                    "plan p{plan} receiver r{receiver} console template=numbers"
                ));
                continue;
            }
            let mut line = format!("plan p{plan} receiver r{receiver} bots=b{own}");
            let other = self.dice.range(0, self.bots);
            if other != own && self.dice.percent(40) {
                write!(line, ",b{other}").expect("texts take everything");
            }
            if self.dice.percent(25) {
                line.push_str(" template=numbers");
            }
            let messages = self.dice.range(1, 4);
            write!(line, " messages={messages}").expect("texts take everything");
            if receiver > 0 && self.dice.percent(30) {
                write!(line, " fallback=r{}", self.dice.range(0, receiver)).expect("texts take everything");
            }
            if self.apps > 0 {
                line = self.other_ways(line, receiver);
                self.notices(&mut line, receiver);
            }
            self.shape(&mut line);
            self.line(&line);
        }
        if self.dice.percent(15) {
            let quota = *self.dice.pick(&[20, 60, 200, 1000]);
            self.line(&format!("plan p{plan} quota {quota}"));
        }
        if self.apps > 0 && self.app_dice.percent(15) {
            let quota = *self.app_dice.pick(&[20, 60, 200, 1000]);
            self.line(&format!("plan p{plan} apiquota {quota}"));
        }
        self.routes(plan);
    }

    /// Besides its bots, or instead of them, a receiver is told in a group and one by one.
    fn other_ways(&mut self, mut line: String, receiver: u64) -> String {
        let app = self.app_dice.range(0, self.apps);
        if self.app_dice.percent(30) {
            write!(line, " group=ap{app}").expect("texts take everything");
            self.groups.push(receiver);
        }
        if self.app_dice.percent(50) {
            // Some are more than one call can name.
            let people = *self.app_dice.pick(&[1, 2, 3, 5, 5, 23]);
            self.people = self.people.max(people);
            let people = self.names(people);
            write!(line, " people=ap{app}:{people}").expect("texts take everything");
        }
        let other = line.contains("group=") || line.contains("people=");
        if other && self.app_dice.percent(30) {
            let words = line.split(' ').filter(|word| !word.starts_with("bots="));
            line = words.collect::<Vec<_>>().join(" ");
        }
        if other {
            let recall = ["", " recall=resolved", " recall=resolved", " recall=superseded"];
            line.push_str(self.later_dice.pick::<&str>(&recall));
            line.push_str(if self.later_dice.percent(40) {
                " readstatus"
            } else {
                ""
            });
        }
        line
    }

    /// So many people, some of them by their mobile number or `unionId`.
    fn names(&mut self, people: u64) -> String {
        let by_numbers = self.name_dice.percent(40);
        let mut name = |person: u64| match self.name_dice.range(0, 4) {
            0 if by_numbers => format!("{MOBILE}{person:08}"),
            1 if by_numbers => format!("{UNION_ID}{person}"),
            _ => format!("u{person}"),
        };
        let names: Vec<String> = (0..people).map(&mut name).collect();
        names.join(",")
    }

    /// And by work notices, people and all of the organisation.
    fn notices(&mut self, line: &mut String, receiver: u64) {
        let app = self.notice_dice.range(0, self.apps);
        let everybody = self.everybody.get(&receiver).copied();
        let app = everybody.unwrap_or(app);
        if self.notice_dice.percent(30) {
            // Some are more than one call can name.
            let people = *self.notice_dice.pick(&[1, 2, 3, 3, 7, 110]);
            let people = self.names(people);
            write!(line, " notices=ap{app}:{people}").expect("texts take everything");
        }
        let departments = self.notice_dice.percent(20);
        if everybody.is_some() {
            write!(line, " everybody=ap{app}").expect("texts take everything");
        } else if departments {
            write!(line, " departments=ap{app}").expect("texts take everything");
            line.push_str(self.department_dice.pick::<&str>(&["", ":7", ":8,7", ":9"]));
        }
        if self.day_dice.percent(40) && line.contains("=ap") && !line.contains("recall=") {
            let recall = ["resolved", "resolved", "superseded"];
            write!(line, " recall={}", self.day_dice.pick::<&str>(&recall)).expect("texts take everything");
        }
        if self.day_dice.percent(20) && line.contains("=ap") && !line.contains("readstatus") {
            line.push_str(" readstatus");
        }
    }

    /// And by messages of another type than the usual one, of those that all its ways have.
    fn shape(&mut self, line: &mut String) {
        if !self.shape_dice.percent(45) {
            return;
        }
        let has = |words: [&str; 3]| words.iter().any(|word| line.contains(word));
        let by_bots = has([" bots="; 3]);
        let by_app = has([" group=", " people=", " people="]);
        let by_notice = has([" notices=", " departments=", " everybody="]);
        let mut kinds = vec!["text", "link", "action_card"];
        match (by_bots, by_app, by_notice) {
            (true, false, false) => kinds.extend(["feed_card"; 2]),
            (false, true, false) if !line.contains(" messages=1") => kinds.extend(["image"; 6]),
            (false, false, true) => kinds.extend(["oa"; 3]),
            _ => {}
        }
        let kind = *self.shape_dice.pick(&kinds);
        write!(line, " message={kind}").expect("texts take everything");
    }

    fn routes(&mut self, plan: u64) {
        let root = self.settings(0);
        self.line(&format!("plan p{plan} route root {root}"));
        for receiver in 0..self.receivers {
            let settings = self.settings(receiver);
            let urgent = if self.dice.percent(35) { " urgent" } else { "" };
            let onward = if self.dice.percent(50) { " continue" } else { "" };
            let silent = if self.dice.percent(8) { " silent" } else { "" };
            let mute = if self.dice.percent(5) {
                " mute=01:00-02:30"
            } else {
                ""
            };
            let matcher = match self.dice.range(0, 4) {
                0 => format!("severity={}", self.dice.pick(&SEVERITIES)),
                1 => format!("shard=s{}", receiver % 16),
                _ => format!("team={}", self.dice.pick(&TEAMS)),
            };
            let under = if receiver > 1 && self.dice.percent(20) {
                format!(" under=t{}", self.dice.range(0, receiver))
            } else {
                String::new()
            };
            self.line(&format!(
                "plan p{plan} route t{receiver}{under} if={matcher} {settings}{urgent}{onward}{silent}{mute}"
            ));
        }
    }

    fn settings(&mut self, receiver: u64) -> String {
        let wait = *self.dice.pick(&[0, 1, 10, 10, 30]);
        let interval = *self.dice.pick(&[1, 30, 60, 60, 300]);
        let repeat = *self.dice.pick(&[600, 3600, 14_400, 14_400, 86_400]);
        let by = *self
            .dice
            .pick(&["alertname", "alertname", "team", "team,severity", "severity"]);
        format!("receiver=r{receiver} wait={wait} interval={interval} repeat={repeat} by={by}")
    }

    fn alert(&mut self, alert: u64) {
        self.leased.push(self.dice.percent(30));
        let source = if self.leased.last() == Some(&true) {
            LEASING
        } else {
            "am"
        };
        let (team, severity) = (*self.dice.pick(&TEAMS), *self.dice.pick(&SEVERITIES));
        let shard = self.dice.range(0, 16);
        let mut line = format!("alert a{alert} from={source} team={team} severity={severity} shard=s{shard}");
        if self.shape_dice.percent(45) {
            write!(line, " picture={}", self.shape_dice.range(0, 3)).expect("texts take everything");
        }
        if self.shape_dice.percent(40) {
            write!(line, " pages={}", self.shape_dice.range(1, 5)).expect("texts take everything");
        }
        self.line(&line);
    }

    // ---- what happens -----------------------------------------------------------------------------------------

    /// Some hours in which everything happens, and the moment at which everything is well again.
    fn part(&mut self, begin: u64) -> u64 {
        let span = match self.size {
            Size::Small => self.dice.range(10 * MINUTE, 8 * HOUR),
            Size::Middle => self.dice.range(10 * MINUTE, 2 * HOUR),
            Size::Large => self.dice.range(5 * MINUTE, 30 * MINUTE),
        };
        let end = begin + span;
        for alert in 0..self.alerts {
            if self.dice.percent(70) {
                self.life(alert, begin, end);
            }
        }
        if self.dice.percent(30) {
            self.storm(begin, end);
        }
        let calm = self.dice.percent(15);
        let troubles = if calm { 0 } else { self.dice.range(1, 30) };
        for _ in 0..troubles {
            let at = self.dice.range(begin, end);
            self.trouble(at, end);
        }
        if self.plans > 1 {
            for _ in 0..self.dice.range(0, 4) {
                let (at, plan) = (self.dice.range(begin, end), self.dice.range(0, self.plans));
                self.steps.push((at, format!("plan p{plan}")));
            }
        }
        self.steps.push((end, "heal".to_owned()));
        for _ in 0..self.later_dice.range(0, 8) {
            self.somebody_reads(begin, end);
        }
        if self.apps > 0 && self.question_dice.percent(50) {
            for _ in 0..self.question_dice.range(1, 16) {
                self.somebody_writes(begin, end);
            }
        }
        if self.asking_dice.percent(50) {
            for _ in 0..self.asking_dice.range(1, 12) {
                self.somebody_asks(begin, end);
            }
        }
        end
    }

    /// Somebody writes to an app's bot; somebody else has seen it, and says more.
    fn somebody_writes(&mut self, begin: u64, end: u64) {
        let dice = &mut self.question_dice;
        let (at, app) = (dice.range(begin, end + REST), dice.range(0, self.apps));
        let question = match dice.range(0, 8) {
            0 => "help".to_owned(),
            1 => "status".to_owned(),
            2 => "firing".to_owned(),
            3 => format!("firing team={}", dice.pick(&TEAMS)),
            4 | 5 => format!("why a{}", dice.range(0, self.alerts)),
            6 => "digest now".to_owned(),
            _ => "what is this".to_owned(),
        };
        let place = match self.groups.as_slice() {
            groups @ [_, ..] if dice.percent(50) => format!(" in=r{}", dice.pick(groups)),
            _ => String::new(),
        };
        let times = if dice.percent(20) { " times=2" } else { "" };
        let person = dice.range(0, 4);
        let session = match self.session_dice.range(0, 10) {
            0 => " session=0".to_owned(),
            1 => format!(" session={}", plain(self.session_dice.range(1, 2 * SECOND))),
            2 => " session=elsewhere".to_owned(),
            _ => String::new(),
        };
        self.steps.push((
            at,
            format!("ask u{person} app=ap{app}{place}{times}{session} say {question}"),
        ));
        if at < end && self.session_dice.percent(8) {
            // Somebody stops the daemon while it answers.
            let soon = at + self.session_dice.range(0, 600);
            self.steps.push((soon, "stop down=2".to_owned()));
        }
        if self.question_dice.percent(30) {
            let later = at + self.question_dice.range(0, 2 * HOUR);
            let head = *self.question_dice.pick(&["", " unsigned", " stale"]);
            self.steps
                .push((later, format!("forge ap{app}{head} say digest now")));
        }
    }

    /// Somebody wants to be told what has just happened, and need not be the one who is to be told first.
    fn somebody_asks(&mut self, begin: u64, end: u64) {
        let happens = |(at, step): &&(u64, String)| {
            (begin..end).contains(at) && (step.contains("fire a") || step.contains("end a"))
        };
        let times: Vec<u64> = self.steps.iter().filter(happens).map(|(at, _)| *at).collect();
        if times.is_empty() {
            return;
        }
        let at = self.asking_dice.pick(&times) + self.asking_dice.range(0, 40 * SECOND);
        let first = self.asking_dice.range(0, self.receivers);
        let receivers = first..self.receivers.min(first + self.asking_dice.range(1, 6));
        let receivers: Vec<String> = receivers.map(|receiver| format!("r{receiver}")).collect();
        self.steps
            .push((at.min(end - 1), format!("hasten {}", receivers.join(","))));
    }

    fn somebody_reads(&mut self, begin: u64, end: u64) {
        if self.people == 0 {
            return;
        }
        let at = self.later_dice.range(begin, end + REST);
        let person = self.later_dice.range(0, self.people);
        let group = match self.groups.as_slice() {
            [] => String::new(),
            groups if self.later_dice.percent(50) => format!(" r{}", self.later_dice.pick(groups)),
            _ => String::new(),
        };
        self.steps.push((at, format!("read u{person}{group}")));
    }

    fn at(&mut self, at: u64, step: String) {
        self.steps.push((at, step));
    }

    fn say(&mut self, at: u64, saying: &str) {
        let alert = saying.split(' ').nth(1).and_then(|name| name.strip_prefix('a'));
        let leased = alert
            .and_then(|number| number.parse().ok())
            .is_some_and(|number| self.leased[index(number)]);
        // A Prometheus says with every firing message until when to believe it.
        let saying = if leased && saying.starts_with("fire") && !saying.contains("lease=") {
            &format!("{saying} lease={}", plain(at + 4 * MINUTE))
        } else {
            saying
        };
        let once = if self.dice.percent(5) { "once " } else { "" };
        self.at(at, format!("{once}{saying}"));
    }

    /// What is said about one alert in a part, by one of the manners senders have.
    fn life(&mut self, alert: u64, from: u64, to: u64) {
        let at = self.dice.range(from, to);
        match self.dice.range(0, 8) {
            0 | 1 => self.steady(alert, at, to),
            2 => self.comes_and_goes(alert, at, to),
            3 => self.said_twice(alert, at, to),
            4 => {
                let start = at.saturating_sub(self.dice.range(0, 2 * HOUR));
                self.say_end(at, alert, start, at);
            }
            5 if self.leased[index(alert)] => {
                // Repeated for a while, and never heard of again.
                let repeats = self.dice.range(0, 10);
                let every = self.dice.range(30 * SECOND, 2 * MINUTE);
                for turn in 0..=repeats {
                    self.say(at + turn * every, &format!("fire a{alert} start={}", plain(at)));
                }
            }
            6 => self.relabelled(alert, at),
            _ => {
                // A word about an older episode comes late.
                let over = at + self.dice.range(SECOND, 20 * MINUTE);
                let again = over + self.dice.range(SECOND, 20 * MINUTE);
                self.say(at, &format!("fire a{alert} start={}", plain(at)));
                self.say(again, &format!("fire a{alert} start={}", plain(again)));
                let late = again + self.dice.range(0, 10 * MINUTE);
                self.say_end(late, alert, at, over);
            }
        }
    }

    fn say_end(&mut self, at: u64, alert: u64, start: u64, end: u64) {
        self.say(
            at,
            &format!("end a{alert} start={} end={}", plain(start), plain(end)),
        );
    }

    fn comes_and_goes(&mut self, alert: u64, mut at: u64, to: u64) {
        for _ in 0..self.dice.range(2, 16) {
            let up = self.dice.range(SECOND, 5 * MINUTE);
            let down = self.dice.range(SECOND, 10 * MINUTE);
            if at + up > to {
                break;
            }
            self.say(at, &format!("fire a{alert} start={}", plain(at)));
            self.say_end(at + up, alert, at, at + up);
            at += up + down;
        }
    }

    /// The peers of a cluster: everything twice, and a straggler after the end, which is mostly said again.
    fn said_twice(&mut self, alert: u64, at: u64, to: u64) {
        let over = (at + self.dice.range(SECOND, HOUR)).min(to);
        let late = self.dice.range(0, 20 * SECOND);
        for when in [at, at + late, over + late] {
            self.say(when, &format!("fire a{alert} start={}", plain(at)));
        }
        self.say_end(over, alert, at, over);
        if self.dice.percent(70) {
            let again = over + late + self.dice.range(0, MINUTE);
            self.say_end(again, alert, at, over);
        }
    }

    /// Other labels on the way.
    fn relabelled(&mut self, alert: u64, at: u64) {
        let (team, severity) = (*self.dice.pick(&TEAMS), *self.dice.pick(&SEVERITIES));
        let start = plain(at);
        self.say(at, &format!("fire a{alert} start={start}"));
        let mut now = at + self.dice.range(SECOND, HOUR);
        self.say(
            now,
            &format!("fire a{alert} start={start} team={team} severity={severity}"),
        );
        now += self.dice.range(SECOND, HOUR);
        if self.dice.percent(70) {
            let labels = format!("team={team} severity={severity}");
            self.say(
                now,
                &format!("end a{alert} start={start} end={} {labels}", plain(now)),
            );
        }
    }

    /// Fires, is repeated, and perhaps ends.
    fn steady(&mut self, alert: u64, at: u64, end: u64) {
        let every = if self.leased[index(alert)] {
            MINUTE
        } else {
            self.dice.range(MINUTE, HOUR)
        };
        let over = at + self.dice.range(SECOND, 6 * HOUR);
        let start = plain(at);
        let mut now = at;
        while now < over.min(end) {
            self.say(now, &format!("fire a{alert} start={start}"));
            now += every;
        }
        if over < end {
            self.say(over, &format!("end a{alert} start={start} end={}", plain(over)));
        }
    }

    /// Many alerts at once, in a few bodies.
    fn storm(&mut self, begin: u64, end: u64) {
        let at = self.dice.range(begin, end);
        let over = (at + self.dice.range(SECOND, HOUR)).min(end);
        let (mut fires, mut ends) = (Vec::new(), Vec::new());
        for alert in 0..self.alerts {
            if self.dice.percent(80) {
                let lease = if self.leased[index(alert)] {
                    format!(" lease={}", plain(at + 4 * MINUTE))
                } else {
                    String::new()
                };
                fires.push(format!("fire a{alert} start={}{lease}", plain(at)));
                ends.push(format!("end a{alert} start={} end={}", plain(at), plain(over)));
            }
        }
        let ends_too = self.dice.percent(70);
        for chunk in fires.chunks(50) {
            self.at(at, chunk.join(" + "));
        }
        for chunk in ends.chunks(50).filter(|_| ends_too) {
            self.at(over, chunk.join(" + "));
        }
    }

    /// Something goes wrong for a while.
    fn trouble(&mut self, at: u64, end: u64) {
        let until = at + self.dice.range(SECOND, 20 * MINUTE).min(end - at);
        let down = seconds(self.dice.range(0, 30 * SECOND));
        let down = down.trim_end_matches('s');
        match self.dice.range(0, 14) {
            0..=2 => {
                let applied = if self.dice.percent(50) { "applied" } else { "lost" };
                self.at(at, format!("kill {applied} down={down}"));
            }
            3 => self.at(at, format!("stop down={down}")),
            4 => {
                self.at(at, "store fails".to_owned());
                self.at(until, "store well".to_owned());
            }
            5 => {
                self.at(at, "store unreadable".to_owned());
                self.at(until, "store well".to_owned());
            }
            6 => {
                let slow = self.dice.range(20, 4000);
                self.at(at, format!("store slow={slow}"));
                self.at(until, "store slow=0".to_owned());
            }
            7 => {
                self.at(at, "network down".to_owned());
                self.at(until, "network well".to_owned());
            }
            8 => {
                let slow = self.dice.range(200, 9000);
                self.at(at, format!("network slow={slow}"));
                self.at(until, "network well".to_owned());
            }
            9 => {
                let ahead = *self
                    .dice
                    .pick(&["-36000", "-600", "-5", "5", "600", "3000", "36000"]);
                self.at(at, format!("clock {ahead}"));
                self.at(until, "clock 0".to_owned());
            }
            _ => self.fault(at),
        }
    }

    fn fault(&mut self, at: u64) {
        let bot = if self.dice.percent(15) {
            "*".to_owned()
        } else {
            format!("b{}", self.dice.range(0, self.bots))
        };
        let fault = *self.dice.pick(&[
            "busy",
            "errcode=130101",
            "errcode=660026",
            "errcode=300005",
            "errcode=310000",
            "errcode=430102",
            "errcode=460101",
            "errcode=90030",
            "errcode=40035",
            "errcode=987654",
            "html",
            "punish",
            "mixed",
            "status=500",
            "status=502",
            "status=404",
            "redirect",
            "empty",
            "hang=60000",
            "hang=2000",
            "drop",
            "accept_drop",
            "accept_drop",
            "accept_drop",
            "accept_hang=60000",
            "accept_hang=3000",
            "slow=3000",
            "slow=60000",
            "cut",
            "cut",
            "string",
        ]);
        let times = self.dice.range(1, 6);
        self.at(at, format!("fault {bot} {fault} times={times}"));
        if self.apps > 0 {
            self.fault_of_an_app(at);
        }
        if self.code_dice.percent(40) {
            self.fault_by_code(at);
        }
    }

    /// DingTalk says any of what is known that it says, or what nobody has heard yet.
    fn fault_by_code(&mut self, at: u64) {
        let dice = &mut self.code_dice;
        let (who, fault) = match dice.range(0, 3) {
            0 if self.apps > 0 => (format!("ap{}", dice.range(0, self.apps)), any_code(dice)),
            1 if self.apps > 0 => (
                format!("ap{}", dice.range(0, self.apps)),
                any_errcode(dice, oapicode::TABLE),
            ),
            _ => (
                format!("b{}", dice.range(0, self.bots)),
                any_errcode(dice, errcode::TABLE),
            ),
        };
        let times = dice.range(1, 4);
        self.steps
            .push((at, format!("fault {who} {fault} times={times}")));
    }

    fn fault_of_an_app(&mut self, at: u64) {
        let app = self.app_dice.range(0, self.apps);
        let person = self.app_dice.range(0, 5);
        let fault = match self.app_dice.range(0, 8) {
            0 => format!("gone=u{person}"),
            1 | 2 => format!("held=u{person},u{}", person + 1),
            3 => (*self.app_dice.pick(&[
                "code=500:system.error",
                "code=400:system.busy",
                "code=400:send.too.fast",
                "code=400:send.byToken.tooFast",
                "code=403:Forbidden.AccessDenied.QpsLimitForAppkeyAndApi",
                "code=403:Forbidden.AccessDenied.ApiCountLimitForOrg",
                "code=403:Forbidden.AccessDenied.AccessTokenPermissionDenied",
                "code=400:unknown.send.result",
                "code=400:send.forbidden",
                "code=400:contain.unsafe.url",
                "code=400:invalidParameter.msgParam.tooLong",
                "code=400:never.seen",
            ]))
            .to_owned(),
            _ => (*self.app_dice.pick(&[
                "html",
                "status=502",
                "drop",
                "accept_drop",
                "accept_hang=60000",
                "hang=60000",
                "slow=60000",
                "cut",
            ]))
            .to_owned(),
        };
        let times = self.app_dice.range(1, 6);
        self.at(at, format!("fault ap{app} {fault} times={times}"));
        // A whole call is refused because of one of its people.
        if self.question_dice.percent(10) {
            self.steps
                .push((at, format!("fault ap{app} code=400:staffId.notExisted times=3")));
        }
        self.fault_of_notices(at);
    }

    fn fault_of_notices(&mut self, at: u64) {
        let app = self.notice_dice.range(0, self.apps);
        let fault = *self.notice_dice.pick(&[
            "busy",
            "errcode=15",
            "errcode=45009",
            "errcode=90018",
            "errcode=41047",
            "errcode=90020",
            "errcode=60011",
            "errcode=45002",
            "errcode=1430002",
            "errcode=987654",
            "accept_drop",
            "accept_hang=60000",
            "slow=60000",
            "drop",
        ]);
        // A token that was refused, for the second time.
        if self.day_dice.percent(5) {
            let refusal = self.day_dice.pick::<&str>(&[
                "code=400:InvalidAuthentication",
                "code=401:InvalidAuthentication",
                "code=403:InvalidAuthentication",
                "code=403:invalidParameter.token.invalid",
                "code=400:token.notExisted",
                "errcode=40014",
                "errcode=42001",
            ]);
            self.steps.push((at, format!("fault ap{app} {refusal} times=1")));
        }
        let times = self.notice_dice.range(1, 6);
        if self.notice_dice.percent(50) {
            self.at(at, format!("fault ap{app} {fault} times={times}"));
        }
    }
}

/// One of the codes of a table that refuse something, one that is wrapped, or one that nobody knows.
fn any_errcode(dice: &mut Dice, table: &[Errcode]) -> String {
    let rows: Vec<&Errcode> = table
        .iter()
        .filter(|row| row.first >= 0 && row.outcome != Outcome::Delivered)
        .collect();
    let row = dice.pick(&rows);
    let errcode = match dice.range(0, 3) {
        0 => row.first,
        _ => row.last,
    };
    match dice.range(0, 8) {
        0 => format!("errcode=88:{errcode}"),
        1 => format!("errcode={}", dice.range(1, 2_000_000)),
        _ => format!("errcode={errcode}"),
    }
}

/// The same of the newer API, whose statuses say little.
fn any_code(dice: &mut Dice) -> String {
    let status = dice.pick(&[400, 400, 400, 403, 404, 500, 401, 200]);
    let code = dice.pick(apicode::TABLE).code;
    match dice.range(0, 8) {
        0 => format!("code={status}:{code}.andMore"),
        1 => format!("code={status}:nobody.knows.{}", dice.range(0, 100)),
        _ => format!("code={status}:{code}"),
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A time as a step begins with it.
fn seconds(at: u64) -> String {
    format!("{}s", plain(at))
}

fn plain(at: u64) -> String {
    match at % SECOND {
        0 => format!("{}", at / SECOND),
        rest => format!("{}.{rest:03}", at / SECOND),
    }
}
