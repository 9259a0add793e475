//! What messages are sent through: custom bots, apps, and the way of a receiver.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::server::base_url;
use super::{Names, secrets};
use crate::alert::{AppName, EndpointName, ReceiverName};
use crate::config::raw;
use crate::config::read::{At, Given};
use crate::config::report::Findings;
use crate::dingtalk::SEND_PATH;
use crate::plan::{App, Bot, Channel, Endpoint, Group, Plan, Way};
use crate::secret::Secret;

/// Calls of one API an app may make in a second unless told otherwise; DingTalk refuses the twenty-first.
const PER_SECOND: u64 = 18;
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
        if let Some(place) = raw.name.place()
            && name.as_str().starts_with(Group::PREFIX)
        {
            findings
                .error(
                    place,
                    format!("the name of a bot cannot begin with `{}`", Group::PREFIX),
                )
                .help("that is how the groups of apps are named in metrics and logs");
        }
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
fn webhook(text: &str) -> Result<(Secret, String), &'static str> {
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
        };
        apps.insert(name, Arc::new(app));
    }
    (apps, names)
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

/// The way to a receiver; what it is sent through and nobody else uses is added to the plan.
pub(super) fn channel(
    raw: &raw::Receiver,
    name: &ReceiverName,
    plan: &mut Plan,
    senders: &mut Senders,
    findings: &mut Findings,
) -> Option<Channel> {
    let ways = [
        ("bots", raw.bots.place()),
        ("group", raw.group.place()),
        ("console", raw.console.place()),
    ];
    let mut given = ways.into_iter().filter_map(|(key, place)| Some((key, place?)));
    if let (Some((first, first_place)), Some((second, second_place))) = (given.next(), given.next()) {
        findings
            .error(
                second_place,
                format!("a receiver has either `{first}` or `{second}`, not both"),
            )
            .help("make two receivers, and two routes of which the first says `continue: true`")
            .also(first_place, "the other one");
    }
    if raw.bots.is_absent() && raw.group.is_absent() && raw.console.is_absent() {
        findings
            .error(
                raw.name.place().unwrap_or(raw.place),
                "a receiver needs `bots`, `group` or `console`",
            )
            .help(
                "name the bots of its group: `bots: [NAME]`, or a group of an app: `group: { app: NAME, \
                 conversation: cid… }`, or write `console: {}` to print digests",
            );
    }
    if let Some(group) = raw.group.value() {
        return self::group(group, name, plan, senders, findings);
    }
    Some(bots_of(raw.bots.get()?, senders, findings))
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

fn group(
    raw: &raw::Group,
    receiver: &ReceiverName,
    plan: &mut Plan,
    senders: &mut Senders,
    findings: &mut Findings,
) -> Option<Channel> {
    if let Some(at) = raw.conversation.get()
        && !(at.value.starts_with("cid") && at.value.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        findings
            .error(at.place, "`conversation` is not the id of a group")
            .help("write the group's `openConversationId`, which begins with `cid`");
    }
    let app = raw.app.get().filter(|app| senders.apps.knows(app, findings))?;
    let group = Group {
        app: Arc::clone(plan.apps.get(app.value.as_str())?),
        conversation: raw.conversation.value()?.clone(),
    };
    let name = Group::endpoint_name(receiver);
    let endpoint = Endpoint {
        name: name.clone(),
        way: Way::Group(group),
    };
    plan.endpoints.insert(name.clone(), endpoint);
    Some(Channel::Endpoints(vec![name]))
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
