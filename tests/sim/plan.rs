//! The configuration of a script, made real: as YAML for the product, and read plainly for the reference model.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use dingest::config;
use dingest::dingtalk::simulator::{SimulatedBot, SimulatedDepartment, SimulatedPerson, SimulatorSettings};
use dingest::plan::Plan;
use dingest::render::{Prepared, Renderer};
use dingest::secret::Secret;

use crate::numbers;
use crate::script::{PlanText, Script, Words};
use crate::shapes::OWN_PICTURE;
use crate::ways::person_behind;

/// The word signed bots and bots with a keyword share with the stand-in.
const KEYWORD: &str = "alert";

/// The source whose alerts have leases: a Prometheus.
pub(crate) const LEASING: &str = "prom";

/// One configuration, compiled.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) text: PlanText,
    pub(crate) plan: Arc<Plan>,
    pub(crate) renderer: Arc<Renderer>,
}

impl Setting {
    /// Compiles the plan of a script; `None` when nobody can be told anything by it.
    pub(crate) fn new(text: &PlanText, script: &Script, directory: &Path) -> Option<Self> {
        let text = tidied(text)?;
        let file = directory.join("dingest.yaml");
        let template = directory.join("numbers.hbs");
        std::fs::write(&template, numbers::TEMPLATE).expect("a file in a directory of our own");
        let lines = directory.join("numbers.line.hbs");
        std::fs::write(&lines, numbers::LINES).expect("a file in a directory of our own");
        std::fs::write(&file, yaml(&text, script)).expect("a file in a directory of our own");
        let loaded = config::load(Some(&file), directory)
            .unwrap_or_else(|report| panic!("{}\n{}", report.render(false), yaml(&text, script)));
        Some(Self {
            text,
            plan: loaded.plan,
            renderer: loaded.renderer,
        })
    }

    /// As it is handed around.
    pub(crate) fn prepared(&self) -> Prepared {
        Prepared {
            plan: Arc::clone(&self.plan),
            renderer: Arc::clone(&self.renderer),
        }
    }
}

/// Without what refers to something that is not there.
fn tidied(text: &PlanText) -> Option<PlanText> {
    let mut text = text.clone();
    let nobody: Vec<String> = (text.receivers.keys())
        .filter(|name| text.members(name).is_empty())
        .cloned()
        .collect();
    text.receivers.retain(|name, _| !nobody.contains(name));
    let receivers = text.receivers.clone();
    text.routes.retain(|(_, words)| {
        words
            .get("receiver")
            .is_some_and(|name| receivers.contains_key(name))
    });
    (!text.routes.is_empty()).then_some(text)
}

fn yaml(text: &PlanText, script: &Script) -> String {
    let mut yaml = format!(
        "locale: en\ntimezone: UTC\ntemplates: [numbers.hbs, numbers.line.hbs]\nserver: {{ external_url: 'https://alerts.example.com' }}\n\
         dingtalk: {{ monthly_quota: {}, monthly_api_quota: {} }}\n",
        text.quota, text.api_quota
    );
    let mut line = |line: String| writeln!(yaml, "{line}").expect("texts take everything");
    if !script.sources.is_empty() {
        line("sources:".to_owned());
    }
    for (name, expire) in &script.sources {
        let kind = if name == LEASING {
            "prometheus"
        } else {
            "alertmanager"
        };
        line(format!(
            "  - {{ name: {name}, type: {kind}, expire_after: {expire}s }}"
        ));
    }
    if !text.bots.is_empty() {
        line("bots:".to_owned());
    }
    for (name, words) in &text.bots {
        let secret = if words.has("signed") {
            format!(", secret: SEC{name}")
        } else {
            String::new()
        };
        let keyword = if words.has("keyword") {
            format!(", keyword: {KEYWORD}")
        } else {
            String::new()
        };
        let per_minute = words.number("per_minute").unwrap_or(18);
        line(format!(
            "  - {{ name: {name}, access_token: token-{name}, per_minute: {per_minute}{secret}{keyword} }}"
        ));
    }
    line(apps_yaml(text));
    line("receivers:".to_owned());
    for (name, words) in &text.receivers {
        line(receiver_yaml(text, name, words));
    }
    line(format!("route: {}", route_yaml(text, 0)));
    let mutes: std::collections::BTreeSet<&str> = text
        .routes
        .iter()
        .filter_map(|(_, words)| words.get("mute"))
        .collect();
    if !mutes.is_empty() {
        line("time_intervals:".to_owned());
    }
    for mute in mutes {
        let (from, to) = mute.split_once('-').expect("a range of times");
        line(format!(
            "  - {{ name: '{mute}', time_intervals: [{{ times: [{{ start_time: '{from}', end_time: '{to}' }}] }}] }}"
        ));
    }
    yaml
}

fn receiver_yaml(text: &PlanText, name: &str, words: &Words) -> String {
    let fallback = words
        .get("fallback")
        .filter(|other| *other != name && text.receivers.contains_key(*other));
    let fallback = fallback.map_or(String::new(), |other| format!(", fallback: {other}"));
    let messages = words.number("messages").unwrap_or(3);
    let template = words.get("template").unwrap_or("digest");
    if words.has("console") {
        return format!("  - {{ name: {name}, template: {template}, console: {{}} }}");
    }
    let mut ways = String::new();
    let bots: Vec<String> = text.bots_of(words).collect();
    if !bots.is_empty() {
        write!(ways, ", bots: [{}]", bots.join(", ")).expect("texts take everything");
    }
    if let Some(app) = text.group_of(words) {
        let conversation = conversation(name);
        write!(ways, ", group: {{ app: {app}, conversation: {conversation} }}")
            .expect("texts take everything");
    }
    if let Some((app, people)) = text.people_of(words) {
        let people = quoted(&people);
        write!(ways, ", direct: {{ app: {app}, users: [{people}] }}").expect("texts take everything");
    }
    let noticed = text.noticed_of(words);
    let by_notice = noticed.is_some() || text.together_of(words).is_some();
    if by_notice || text.group_of(words).is_some() || text.people_of(words).is_some() {
        if let Some(when) = words.get("recall") {
            write!(ways, ", recall: {when}").expect("texts take everything");
        }
        if words.has("readstatus") {
            ways.push_str(", read_status: true");
        }
    }
    // Both are told by one app.
    let together = text
        .together_of(words)
        .filter(|app| noticed.as_ref().is_none_or(|(other, _)| app == other));
    if let Some(app) = noticed.as_ref().map(|(app, _)| *app).or(together) {
        let users = noticed.map_or(String::new(), |(_, people)| {
            format!(", users: [{}]", quoted(&people))
        });
        let departments = text.departments_of(words).unwrap_or_default().1;
        let together = match (together, text.everybody_of(words)) {
            (None, _) => String::new(),
            (Some(_), None) => format!(", departments: {departments:?}"),
            (Some(_), Some(_)) => ", everybody: true".to_owned(),
        };
        write!(ways, ", work_notice: {{ app: {app}{users}{together} }}").expect("texts take everything");
    }
    if let Some(kind) = text.message_of(words) {
        write!(ways, ", message: {kind}").expect("texts take everything");
        if matches!(kind, "link" | "feed_card") {
            write!(ways, ", picture: '{OWN_PICTURE}'").expect("texts take everything");
        }
    }
    format!("  - {{ name: {name}, template: {template}, max_messages: {messages}{fallback}{ways} }}")
}

/// The apps, if there are any.
fn apps_yaml(text: &PlanText) -> String {
    let mut yaml = String::new();
    if !text.apps.is_empty() {
        yaml.push_str("apps:");
    }
    for (name, words) in &text.apps {
        let (secret, agent, askers) = (secret_of(name), agent_of(name), askers(words));
        let per_second = words.number("per_second").unwrap_or(18);
        write!(
            yaml,
            "\n  - {{ name: {name}, app_key: ding{name}, app_secret: {secret}, per_second: {per_second}, \
             agent_id: {agent}{askers} }}"
        )
        .expect("texts take everything");
    }
    yaml
}

/// Who may ask an app's bot.
fn askers(words: &Words) -> String {
    let (people, groups): (Vec<String>, Vec<String>) =
        words.list("ask").into_iter().partition(|name| is_user(name));
    if people.is_empty() && groups.is_empty() {
        return String::new();
    }
    let groups: Vec<String> = groups.iter().map(|receiver| conversation(receiver)).collect();
    let (people, groups) = (people.join(", "), groups.join(", "));
    format!(", ask: {{ people: [{people}], groups: [{groups}] }}")
}

/// Whether this names a person, and no receiver.
pub(crate) fn is_user(name: &str) -> bool {
    name.starts_with('u')
}

fn quoted(people: &[&str]) -> String {
    let people: Vec<String> = people.iter().map(|user| format!("'{user}'")).collect();
    people.join(", ")
}

/// The secret of an app.
pub(crate) fn secret_of(app: &str) -> String {
    format!("secret-{app}")
}

/// The number of an app in the organisation.
fn agent_of(app: &str) -> u64 {
    app.bytes()
        .fold(1, |agent, byte| agent * 31 % 1_000_003 + u64::from(byte))
}

/// The group that a receiver is told in through an app.
fn conversation(receiver: &str) -> String {
    format!("cid-{receiver}")
}

fn route_yaml(text: &PlanText, index: usize) -> String {
    let (_, words) = &text.routes[index];
    let seconds = |key, default| words.number(key).unwrap_or(default);
    let matchers = match (index, matcher(words)) {
        (0, _) | (_, None) => String::new(),
        (_, Some((name, value))) => format!(" matchers: ['{name}={value}'],"),
    };
    let children: Vec<String> = children(text, index)
        .map(|child| route_yaml(text, child))
        .collect();
    format!(
        "{{{matchers} receiver: {}, group_by: [{}], group_wait: {}s, group_interval: {}s, repeat_interval: {}s,{} \
         urgent: {}, send_resolved: {},{} routes: [{}] }}",
        words.get("receiver").unwrap_or_default(),
        words.get("by").unwrap_or("alertname"),
        seconds("wait", 10),
        seconds("interval", 60),
        seconds("repeat", 14_400),
        if index > 0 && words.has("continue") {
            " continue: true,"
        } else {
            ""
        },
        words.has("urgent"),
        !words.has("silent"),
        match words.get("mute") {
            Some(name) if index > 0 => format!(" mute_time_intervals: ['{name}'],"),
            Some(_) | None => String::new(),
        },
        children.join(", "),
    )
}

/// The label a route wants.
pub(crate) fn matcher(words: &Words) -> Option<(&str, &str)> {
    words.get("if")?.split_once('=')
}

/// The routes below one, in order: those that name it, or, below the root, nobody that comes before them.
pub(crate) fn children(text: &PlanText, index: usize) -> impl Iterator<Item = usize> {
    let parent = move |child: usize| {
        let under = text.routes[child].1.get("under").unwrap_or_default();
        text.routes[1..child]
            .iter()
            .position(|(name, _)| name == under)
            .map_or(0, |found| found + 1)
    };
    (1..text.routes.len()).filter(move |child| parent(*child) == index)
}

/// A DingTalk that has everything any plan names.
pub(crate) fn simulated(script: &Script) -> SimulatorSettings {
    let (mut apps, mut groups, mut people) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    // An organisation has somebody: what is said to departments is read.
    people.insert(
        "somebody".to_owned(),
        "somebody:somebody".parse().expect("a person"),
    );
    let mut departments = script.departments.clone();
    for plan in script.plans.values() {
        for words in plan.receivers.values() {
            for id in plan.departments_of(words).unwrap_or_default().1 {
                // Of a department that is not there nobody would hear anything.
                departments
                    .entry(id)
                    .or_insert_with(|| vec!["somebody".to_owned()]);
            }
        }
        for (name, words) in &plan.apps {
            for user in words.list("ask").into_iter().filter(|name| is_user(name)) {
                people.insert(user.clone(), numbered(&user));
            }
            let app = format!(
                "{name}:ding{name}:{}:ding{name}:{}",
                secret_of(name),
                agent_of(name)
            );
            apps.insert(name, app.parse().expect("an app"));
        }
        for (receiver, words) in &plan.receivers {
            if let Some(app) = plan.group_of(words) {
                let group = format!("{app}@{receiver}:{}", conversation(receiver));
                groups.insert((app, receiver), group.parse().expect("a group"));
            }
            let of_both = [plan.people_of(words), plan.noticed_of(words)];
            for known_by in of_both.into_iter().flatten().flat_map(|(_, people)| people) {
                let user = person_behind(known_by);
                people.insert(user.clone(), numbered(&user));
            }
        }
    }
    for user in departments.values().flatten().filter(|user| is_user(user)) {
        people.insert(user.clone(), numbered(user));
    }
    let departments = departments.into_iter().filter(|(id, _)| *id > 1);
    let callback = |app: &&String| format!("{app}=http://127.0.0.1:9/").parse().expect("a callback");
    let callbacks = apps.keys().map(callback).collect();
    SimulatorSettings {
        bots: simulated_bots(script),
        apps: apps.into_values().collect(),
        groups: groups.into_values().collect(),
        people: people.into_values().collect(),
        departments: departments
            .map(|(id, people)| SimulatedDepartment { id, people })
            .collect(),
        callbacks,
        accept_any_token: false,
        ..SimulatorSettings::default()
    }
}

/// A person of this `userId`, with the numbers by which it is known.
fn numbered(user: &str) -> SimulatedPerson {
    let number = user
        .strip_prefix('u')
        .and_then(|number| number.parse::<u64>().ok());
    let numbers = number.map(|number| format!(":138{number:08}:n{number}"));
    let person = format!("{user}:{user}{}", numbers.unwrap_or_default());
    person.parse().expect("a person")
}

/// A bot of the stand-in for every bot any plan names.
fn simulated_bots(script: &Script) -> Vec<SimulatedBot> {
    let mut bots = BTreeMap::new();
    for plan in script.plans.values() {
        for (name, words) in &plan.bots {
            bots.entry(name.clone()).or_insert_with(|| SimulatedBot {
                name: name.clone(),
                group: name.clone(),
                access_token: Secret::new(format!("token-{name}")),
                secret: words.has("signed").then(|| Secret::new(format!("SEC{name}"))),
                keyword: words.has("keyword").then(|| KEYWORD.to_owned()),
            });
        }
    }
    bots.into_values().collect()
}
