//! What messages are sent through: custom bots, apps, and the ways of a receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::server::base_url;
use super::{Names, secrets};
use crate::alert::{AppName, EndpointName, ReceiverName};
use crate::config::raw;
use crate::config::read::{At, Given, Number, Word};
use crate::config::report::Findings;
use crate::dingtalk::SEND_PATH;
use crate::plan::{
    App, Askers, Audience, Bot, Channel, Endpoint, Group, KnownBy, Person, Plan, Way, WorkNotice,
};
use crate::secret::Secret;

/// Calls of one API an app may make in a second unless told otherwise; DingTalk refuses the twenty-first.
const PER_SECOND: u64 = 18;
/// Most bytes of a person's id in an organisation.
const USER_ID_BYTES_MAX: usize = 64;
/// Where the API of apps is.
const API: &str = "https://api.dingtalk.com";

/// The names a receiver's way can refer to.
#[derive(Debug)]
pub(super) struct Senders {
    pub(super) bots: Names,
    pub(super) apps: Names,
}

/// Messages a bot may send in a minute unless told otherwise; DingTalk mutes it at the twenty-first.
const PER_MINUTE: u64 = 18;

pub(super) fn bots(
    written: &[raw::Bot],
    findings: &mut Findings,
) -> (BTreeMap<EndpointName, Endpoint>, Names) {
    let mut names = Names::new("bot");
    let mut bots = BTreeMap::new();
    for raw in written {
        let name = EndpointName::from(names.define(&raw.name, findings).unwrap_or(""));
        no_slash(&raw.name, "bot", findings);
        if let (Some(token), Some(url)) = (raw.access_token.place(), raw.url.place()) {
            findings
                .error(url, "a bot has either `access_token` or `url`, not both")
                .help("the URL holds the token: keep one of them")
                .also(token, "the other one");
            continue;
        }
        if raw.access_token.is_absent() && raw.url.is_absent() {
            findings
                .error(raw.name.place().unwrap_or(raw.place), "a bot needs its `access_token` or `url`")
                .help("add `access_token_file`, `access_token_env`, or `url_file` with the webhook URL as copied");
        }
        let secret = secrets::token(&raw.secret, "secret", findings);
        let token = secrets::token(&raw.access_token, "access_token", findings).map(|token| (token, None));
        let Some((access_token, base_url)) = token.or_else(|| pasted_url(raw, findings)) else {
            continue;
        };
        let per_minute = raw.per_minute.value().map_or(PER_MINUTE, |number| number.0);
        let bot = Bot {
            name: name.clone(),
            access_token,
            secret,
            base_url,
            keyword: raw.keyword.value().cloned(),
            per_minute: u32::try_from(per_minute).unwrap_or(u32::MAX),
        };
        bots.insert(name, Endpoint::from(bot));
    }
    (bots, names)
}

/// Token and host of a webhook URL as copied from DingTalk.
fn pasted_url(raw: &raw::Bot, findings: &mut Findings) -> Option<(Secret, Option<String>)> {
    let (text, place) = secrets::text(&raw.url, "url", findings)?;
    match webhook(text.trim()) {
        Ok((token, base)) => Some((token, Some(base))),
        Err(problem) => {
            findings
                .error(place, format!("the `url` of a bot {problem}"))
                .help("copy it whole from the bot's page in DingTalk: `https://oapi.dingtalk.com/robot/send?access_token=…`");
            None
        }
    }
}

/// Takes a webhook URL apart; a time and signature in it are stale and left out.
pub(in crate::config) fn webhook(text: &str) -> Result<(Secret, String), &'static str> {
    let (url, base) = base_url(text)?;
    if url.path().trim_end_matches('/') != SEND_PATH {
        return Err("has another path than `/robot/send`");
    }
    let mut tokens = form_urlencoded::parse(url.query().unwrap_or("").as_bytes())
        .filter(|(key, value)| key == "access_token" && !value.is_empty());
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("holds a character in its `access_token` that no token has")
        }
        (Some((_, token)), None) => Ok((Secret::new(token.into_owned()), base)),
        (None, _) => Err("has no `access_token` in it"),
        (Some(_), Some(_)) => Err("has more than one `access_token` in it"),
    }
}

pub(super) fn apps(written: &[raw::App], findings: &mut Findings) -> (BTreeMap<AppName, Arc<App>>, Names) {
    let mut names = Names::new("app");
    let mut apps = BTreeMap::new();
    for raw in written {
        let name = AppName::from(names.define(&raw.name, findings).unwrap_or(""));
        for (given, key) in [(&raw.app_key, "app_key"), (&raw.app_secret, "app_secret")] {
            if given.is_absent() {
                findings
                    .error(
                        raw.name.place().unwrap_or(raw.place),
                        format!("an app needs its `{key}`"),
                    )
                    .help(format!("add `{key}_file` or `{key}_env`; both are on the app's page in DingTalk's developer console"));
            }
        }
        let base_url = api_url(&raw.base_url, findings);
        let (Some(key), Some(secret)) = (
            secrets::token(&raw.app_key, "app_key", findings),
            secrets::token(&raw.app_secret, "app_secret", findings),
        ) else {
            continue;
        };
        let key = key.expose().to_owned();
        let per_second = raw.per_second.value().map_or(PER_SECOND, |number| number.0);
        let app = App {
            name: name.clone(),
            robot_code: raw.robot_code.value().unwrap_or(&key).clone(),
            key,
            secret,
            base_url,
            per_second: u32::try_from(per_second).unwrap_or(u32::MAX),
            agent_id: raw.agent_id.value().map(|number| number.0),
            ask: raw.ask.get().and_then(|at| askers(at, findings)),
        };
        apps.insert(name, Arc::new(app));
    }
    (apps, names)
}

/// Who may ask. An empty list is a mistake: nobody writes `ask` to be asked by nobody.
fn askers(at: &At<raw::Askers>, findings: &mut Findings) -> Option<Askers> {
    let words = |list: &Given<Vec<At<Word>>>| {
        let list = list.value().into_iter().flatten();
        list.map(|word| word.value.0.clone()).collect()
    };
    for person in at.value.people.items() {
        let id = person.value.0.as_str();
        if !is_person(id) || !matches!(KnownBy::read(id), KnownBy::User(_)) {
            findings
                .error(person.place, format!("`{id}` is not a user id"))
                .help("write the person's `userId`, which is what a message says of who wrote it");
        }
    }
    let askers = Askers {
        people: words(&at.value.people),
        groups: words(&at.value.groups),
    };
    if askers == Askers::default() {
        findings
            .error(at.place, "`ask` lets nobody ask")
            .help("list `people` by user id, `groups` by `openConversationId`, or both; or leave `ask` out");
        return None;
    }
    Some(askers)
}

fn api_url(given: &Given<String>, findings: &mut Findings) -> String {
    let Some(at) = given.get() else {
        return API.to_owned();
    };
    let problem = match base_url(&at.value) {
        Ok((url, base)) if url.path() == "/" && url.query().is_none() => return base,
        Ok(_) => "is only scheme and host",
        Err(problem) => problem,
    };
    findings
        .error(at.place, format!("the `base_url` of an app {problem}"))
        .help(format!("write `{API}`, or leave it out"));
    API.to_owned()
}

/// Names of ours have a slash where one word ends and the next begins.
pub(super) fn no_slash(name: &Given<String>, kind: &str, findings: &mut Findings) {
    if let Some(at) = name.get().filter(|at| at.value.contains('/')) {
        findings
            .error(at.place, format!("the name of a {kind} cannot hold a `/`"))
            .help("dingest names groups and people of apps like that: `ops/group`, `direct/ops/zhangsan`");
    }
}

/// The ways of a receiver, each with the name it is told under; what is sent through and nobody else uses is added to
/// the plan.
pub(super) fn ways(
    raw: &raw::Receiver,
    plan: &mut Plan,
    senders: &mut Senders,
    findings: &mut Findings,
) -> Vec<(ReceiverName, Channel)> {
    let name = raw.name.value().map_or("", String::as_str);
    check_ways(raw, findings);
    let mut ways = Vec::new();
    if raw.console.value().is_some() {
        ways.push((ReceiverName::from(name), Channel::Console));
    }
    if let Some(bots) = raw.bots.get() {
        ways.push((ReceiverName::from(name), bots_of(bots, senders, findings)));
    }
    if let Some(group) = raw.group.value()
        && let Some(group) = self::group(group, plan, senders, findings)
    {
        let endpoint = endpoint(plan, Group::endpoint_name(name), Way::Group(group));
        ways.push((Group::receiver_name(name), endpoint));
    }
    if let Some(direct) = raw.direct.value() {
        let app = app(&direct.app, plan, senders, findings);
        for person in people(&direct.users, app.as_ref(), findings) {
            let receiver = Person::receiver_name(name, &person.user);
            let endpoint_name = Person::endpoint_name(name, &person.user);
            ways.push((receiver, endpoint(plan, endpoint_name, Way::Direct(person))));
        }
    }
    if let Some(at) = raw.work_notice.get() {
        for notice in work_notices(at, plan, senders, findings) {
            let user = match &notice.to {
                Audience::Person(person) => Some(person.user.as_str()),
                Audience::Departments(..) | Audience::Everybody(_) => None,
            };
            let receiver = WorkNotice::receiver_name(name, user);
            let endpoint_name = WorkNotice::endpoint_name(name, user);
            ways.push((receiver, endpoint(plan, endpoint_name, Way::WorkNotice(notice))));
        }
    }
    ways
}

fn check_ways(raw: &raw::Receiver, findings: &mut Findings) {
    let sending = [
        ("bots", raw.bots.place()),
        ("group", raw.group.place()),
        ("direct", raw.direct.place()),
        ("work_notice", raw.work_notice.place()),
    ];
    let mut sending = sending.into_iter().filter_map(|(key, place)| Some((key, place?)));
    if let (Some((key, place)), Some(console)) = (sending.next(), raw.console.place()) {
        findings
            .error(
                console,
                format!("a receiver has either `{key}` or `console`, not both"),
            )
            .help("make two receivers, and two routes of which the first says `continue: true`")
            .also(place, "the other one");
    }
    let by_app = !(raw.group.is_absent() && raw.direct.is_absent() && raw.work_notice.is_absent());
    if !by_app && raw.bots.is_absent() && raw.console.is_absent() {
        findings
            .error(
                raw.name.place().unwrap_or(raw.place),
                "a receiver needs `bots`, `group`, `direct`, `work_notice` or `console`",
            )
            .help(
                "name the bots of its group: `bots: [NAME]`, a group of an app: `group: { app: NAME, \
                 conversation: cid… }`, or people: `direct: { app: NAME, users: [ID] }`, `work_notice` likewise, or \
                 write `console: {}` to print digests",
            );
    }
}

/// Adds an endpoint that one receiver alone uses.
fn endpoint(plan: &mut Plan, name: EndpointName, way: Way) -> Channel {
    let endpoint = Endpoint {
        name: name.clone(),
        way,
    };
    plan.endpoints.insert(name.clone(), endpoint);
    Channel::Endpoints(vec![name])
}

fn bots_of(list: &At<Vec<At<String>>>, senders: &mut Senders, findings: &mut Findings) -> Channel {
    if list.value.is_empty() {
        findings
            .error(list.place, "`bots` is empty")
            .help("name at least one bot of the group");
    }
    let mut known: Vec<EndpointName> = Vec::new();
    for bot in &list.value {
        if !senders.bots.knows(bot, findings) {
            continue;
        }
        if known.iter().any(|name| name.as_str() == bot.value) {
            findings.error(bot.place, format!("bot `{}` is named twice", bot.value));
        }
        known.push(bot.value.as_str().into());
    }
    Channel::Endpoints(known)
}

fn group(raw: &raw::Group, plan: &Plan, senders: &mut Senders, findings: &mut Findings) -> Option<Group> {
    if let Some(at) = raw.conversation.get()
        && !(at.value.starts_with("cid") && at.value.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        findings
            .error(at.place, "`conversation` is not the id of a group")
            .help("write the group's `openConversationId`, which begins with `cid`");
    }
    Some(Group {
        app: app(&raw.app, plan, senders, findings)?,
        conversation: raw.conversation.value()?.clone(),
    })
}

/// Who is told by work notices: each person, and departments or everybody together.
fn work_notices(
    at: &At<raw::WorkNotice>,
    plan: &Plan,
    senders: &mut Senders,
    findings: &mut Findings,
) -> Vec<WorkNotice> {
    let raw = &at.value;
    let app = app(&raw.app, plan, senders, findings);
    let agent_id = app.as_ref().and_then(|app| app.agent_id);
    if let (Some(known), Some(named), None) = (&app, raw.app.place(), agent_id) {
        findings
            .error(named, format!("app `{}` has no `agent_id`, without which it sends no work notices", known.name))
            .help("write the AgentId from the app's page in DingTalk's developer console: `agent_id: 123456789`");
    }
    let everybody = raw.everybody.or(false);
    if raw.users.is_absent() && raw.departments.is_absent() && !everybody {
        findings
            .error(at.place, "`work_notice` tells nobody")
            .help("list `users`, `departments`, or both, or write `everybody: true`");
    }
    let departments = departments(&raw.departments, everybody, findings);
    let people = people(&raw.users, app.as_ref(), findings);
    let (Some(app), Some(agent_id)) = (app, agent_id) else {
        return Vec::new();
    };
    let together = if everybody {
        Some(Audience::Everybody(app))
    } else {
        (!departments.is_empty()).then_some(Audience::Departments(app, departments))
    };
    let audiences = people.into_iter().map(Audience::Person).chain(together);
    audiences.map(|to| WorkNotice { agent_id, to }).collect()
}

fn departments<const MIN: u64, const MAX: u64>(
    given: &Given<Vec<At<Number<MIN, MAX>>>>,
    everybody: bool,
    findings: &mut Findings,
) -> BTreeSet<u64> {
    let Some(at) = given.get() else {
        return BTreeSet::new();
    };
    if everybody {
        findings
            .error(at.place, "`everybody` are those of all `departments`, too")
            .help("leave one of them out");
    }
    let most = WorkNotice::DEPARTMENTS_MAX;
    if at.value.is_empty() {
        findings
            .error(at.place, "`departments` is empty")
            .help("write the number of at least one department; that of the whole organisation is 1");
    } else if at.value.len() > most {
        findings
            .error(at.place, format!("DingTalk takes {most} departments at most"))
            .help("name one above them, or make two receivers, and two routes of which the first says `continue: true`");
    }
    let mut ids = BTreeSet::new();
    for department in &at.value {
        if !ids.insert(department.value.0) {
            findings.error(
                department.place,
                format!("department `{}` is named twice", department.value.0),
            );
        }
    }
    ids
}

fn people(users: &Given<Vec<At<Word>>>, app: Option<&Arc<App>>, findings: &mut Findings) -> Vec<Person> {
    if let Some(users) = users.get().filter(|users| users.value.is_empty()) {
        findings
            .error(users.place, "`users` is empty")
            .help("write the user id of at least one person, as the organisation's address book has it");
    }
    let mut ids = BTreeSet::new();
    for user in users.items() {
        let id = user.value.0.as_str();
        if !is_person(id) {
            findings
                .error(user.place, format!("`{id}` is not a user id"))
                .help(
                    "write the person's `userId` as the organisation's address book has it, `mobile:` and a mobile \
                     number, or `unionid:` and a unionId; not a name",
                );
        } else if !ids.insert(id) {
            findings.error(user.place, format!("`{id}` is named twice"));
        }
    }
    let person = |(app, user): (&Arc<App>, &str)| Person {
        app: Arc::clone(app),
        user: user.to_owned(),
    };
    let of_app = |user| Some((app?, user));
    ids.into_iter().filter_map(of_app).map(person).collect()
}

/// Whether somebody could be known by this: an id of letters that can stand in a path and in a list with commas, or a
/// number.
fn is_person(text: &str) -> bool {
    let is_id = |id: &str| {
        (1..=USER_ID_BYTES_MAX).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"/:,".contains(&byte))
    };
    match KnownBy::read(text) {
        KnownBy::User(id) | KnownBy::UnionId(id) => is_id(id),
        KnownBy::Mobile(number) => {
            let digits = number.strip_prefix('+').unwrap_or(number);
            is_id(digits) && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        }
    }
}

fn app(
    given: &Given<String>,
    plan: &Plan,
    senders: &mut Senders,
    findings: &mut Findings,
) -> Option<Arc<App>> {
    let app = given.get().filter(|app| senders.apps.knows(app, findings))?;
    plan.apps.get(app.value.as_str()).map(Arc::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_url_gives_host_and_token_and_loses_its_stale_signature() {
        for (url, token, base) in [
            (
                "https://oapi.dingtalk.com/robot/send?timestamp=1500000000000&access_token=abc123&sign=b2xk%3D",
                "abc123",
                "https://oapi.dingtalk.com",
            ),
            (
                "https://OAPI.dingtalk.io:443/robot/send/?access_token=a%2Bb",
                "a+b",
                "https://oapi.dingtalk.io",
            ),
            (
                "http://127.0.0.1:9000/robot/send?access_token=t",
                "t",
                "http://127.0.0.1:9000",
            ),
        ] {
            assert_eq!(webhook(url), Ok((Secret::new(token), base.to_owned())), "{url}");
        }
        for url in [
            "https://oapi.dingtalk.com/robot/send?access_token=abc SECdef",
            "https://oapi.dingtalk.com/robot/send?access_token=abc%0A",
        ] {
            let problem = webhook(url).unwrap_err();
            assert!(problem.contains("no token has"), "{url}: {problem}");
        }
    }
}
