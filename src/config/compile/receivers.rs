//! Bots and those who are told through them.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use super::server::base_url;
use super::{Names, Written, secrets};
use crate::alert::{BotName, ReceiverName};
use crate::config::raw;
use crate::config::read::At;
use crate::config::report::Findings;
use crate::config::suggest;
use crate::digest::compose::is_web_address;
use crate::dingtalk::SEND_PATH;
use crate::plan::{Bot, Channel, Mention, MentionOn, MessageKind, Plan, Receiver};
use crate::secret::Secret;

/// Messages a bot may send in a minute unless told otherwise; DingTalk mutes it at the twenty-first.
const PER_MINUTE: u64 = 18;

pub(super) fn bots(written: &[raw::Bot], findings: &mut Findings) -> (BTreeMap<BotName, Bot>, Names) {
    let mut names = Names::new("bot");
    let mut bots = BTreeMap::new();
    for raw in written {
        let name = BotName::from(names.define(&raw.name, findings).unwrap_or(""));
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
        bots.insert(name, bot);
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

pub(super) fn receivers(
    written: &Written,
    plan: &Plan,
    bots: &mut Names,
    names: &mut Names,
    findings: &mut Findings,
) -> BTreeMap<ReceiverName, Receiver> {
    let mut receivers = BTreeMap::new();
    for raw in &written.receivers {
        let name = ReceiverName::from(names.define(&raw.name, findings).unwrap_or(""));
        let channel = channel(raw, bots, findings).unwrap_or(Channel::Console);
        let mut receiver = Receiver::builtin(name.clone(), channel);
        if let Some(template) = raw.template.get() {
            check_template(template, plan, findings);
            receiver.template.clone_from(&template.value);
        }
        receiver.message = match raw.message.value() {
            Some(raw::MessageType::Text) => MessageKind::Text,
            Some(raw::MessageType::Link) => MessageKind::Link,
            Some(raw::MessageType::ActionCard) => MessageKind::ActionCard,
            Some(raw::MessageType::FeedCard) => MessageKind::FeedCard,
            Some(raw::MessageType::Markdown) | None => MessageKind::Markdown,
        };
        receiver.picture = raw.picture.value().cloned();
        check_message(raw, receiver.message, plan, findings);
        if let Some(mention) = raw.mention.value() {
            receiver.mention = self::mention(mention, findings);
        }
        if let Some(most) = raw
            .max_messages
            .value()
            .and_then(|most| u8::try_from(most.0).ok())
        {
            receiver.max_messages = NonZeroU8::new(most).unwrap_or(receiver.max_messages);
        }
        receivers.insert(name, receiver);
    }
    for raw in &written.receivers {
        if let (Some(name), Some(fallback)) = (raw.name.value(), raw.fallback.get())
            && names.knows(fallback, findings)
            && let Some(receiver) = receivers.get_mut(name.as_str())
        {
            receiver.fallback = Some(fallback.value.as_str().into());
        }
    }
    check_fallback_cycles(written, &receivers, findings);
    receivers
}

fn channel(raw: &raw::Receiver, bots: &mut Names, findings: &mut Findings) -> Option<Channel> {
    if let (Some(bots), Some(console)) = (raw.bots.place(), raw.console.place()) {
        findings
            .error(console, "a receiver has either `bots` or `console`, not both")
            .help("make two receivers, and two routes of which the first says `continue: true`")
            .also(bots, "the other one");
    }
    if raw.bots.is_absent() && raw.console.is_absent() {
        findings
            .error(
                raw.name.place().unwrap_or(raw.place),
                "a receiver needs `bots` or `console`",
            )
            .help("name the bots of its group: `bots: [NAME]`, or write `console: {}` to print digests");
    }
    let list = raw.bots.get()?;
    if list.value.is_empty() {
        findings
            .error(list.place, "`bots` is empty")
            .help("name at least one bot of the group");
    }
    let mut known: Vec<BotName> = Vec::new();
    for bot in &list.value {
        if !bots.knows(bot, findings) {
            continue;
        }
        if known.iter().any(|name| name.as_str() == bot.value) {
            findings.error(bot.place, format!("bot `{}` is named twice", bot.value));
        }
        known.push(bot.value.as_str().into());
    }
    Some(Channel::Bots(known))
}

fn check_template(name: &At<String>, plan: &Plan, findings: &mut Findings) {
    if name.value == Receiver::TEMPLATE || plan.templates.contains_key(&name.value) {
        return;
    }
    let known = plan
        .templates
        .keys()
        .map(String::as_str)
        .chain([Receiver::TEMPLATE]);
    findings
        .error(name.place, format!("there is no template `{}`", name.value))
        .help("a template is named after its file without `.hbs`; list the file under `templates`")
        .maybe_help(suggest::did_you_mean(&name.value, known));
}

/// What a type of message needs, and what it cannot do.
fn check_message(raw: &raw::Receiver, kind: MessageKind, plan: &Plan, findings: &mut Findings) {
    let word = kind.as_str();
    if let Some(place) = raw.message.place() {
        if kind.opens_an_address() && plan.server.external_url.is_none() {
            findings
                .error(
                    place,
                    format!("`message: {word}` needs an address to open, and not every alert has one"),
                )
                .help("set `server.external_url`, or write `message: markdown`");
        }
        if kind == MessageKind::FeedCard && raw.picture.is_absent() {
            findings
                .error(
                    place,
                    "`message: feed_card` needs a `picture`: DingTalk refuses an entry without one",
                )
                .help("add `picture: https://…`, the address of a picture that phones can reach");
        }
        if let (false, Some(mention)) = (kind.mentions(), raw.mention.place()) {
            findings
                .error(
                    mention,
                    format!("DingTalk mentions nobody in messages of type `{word}`"),
                )
                .help("leave `mention` out, or choose `markdown`, `text` or `action_card`")
                .also(place, "the type is chosen here");
        }
    }
    let Some(picture) = raw.picture.get() else { return };
    if !kind.shows_a_picture() && (raw.message.is_absent() || raw.message.value().is_some()) {
        findings
            .error(
                picture.place,
                format!("messages of type `{word}` show no `picture`"),
            )
            .help("leave it out, or write `message: link` or `message: feed_card`");
    }
    if !is_web_address(&picture.value) && !picture.value.starts_with('@') {
        findings
            .error(picture.place, "`picture` is neither a web address nor a media id")
            .help("write `https://…`, or a media id as DingTalk gives it, `'@lAD…'`");
    }
}

fn mention(raw: &raw::Mention, findings: &mut Findings) -> Mention {
    for mobile in raw.mobiles.items() {
        let digits = mobile.value.0.bytes().filter(u8::is_ascii_digit).count();
        let number = mobile
            .value
            .0
            .bytes()
            .all(|b| b.is_ascii_digit() || b == b'+' || b == b'-');
        if !number || !(5..=20).contains(&digits) {
            findings.error(
                mobile.place,
                format!("`{}` is not a mobile number", mobile.value.0),
            );
        }
    }
    let texts = |list: &[At<crate::config::read::Word>]| list.iter().map(|at| at.value.0.clone()).collect();
    Mention {
        mobiles: texts(raw.mobiles.items()),
        user_ids: texts(raw.user_ids.items()),
        all: raw.all.or(false),
        on: match raw.on.value() {
            Some(raw::MentionWhen::Firing) => MentionOn::Firing,
            Some(raw::MentionWhen::Always) => MentionOn::Always,
            Some(raw::MentionWhen::Urgent) | None => MentionOn::Urgent,
        },
    }
}

/// A chain of fallbacks must end; each circle is noted once, at the receiver in it that comes first.
fn check_fallback_cycles(
    written: &Written,
    receivers: &BTreeMap<ReceiverName, Receiver>,
    findings: &mut Findings,
) {
    let next = |name: &str| {
        receivers
            .get(name)
            .and_then(|receiver| receiver.fallback.as_ref())
    };
    let mut noted: Vec<String> = Vec::new();
    for raw in &written.receivers {
        let (Some(start), Some(place)) = (raw.name.value(), raw.fallback.place()) else {
            continue;
        };
        let mut chain = vec![start.clone()];
        let mut at = next(start);
        while let Some(name) = at {
            if name.as_str() == start {
                break;
            }
            if chain.len() > receivers.len() {
                at = None;
                break;
            }
            chain.push(name.to_string());
            at = next(name.as_str());
        }
        if at.is_some() && !chain.iter().any(|name| noted.contains(name)) {
            let circle = chain.iter().chain([start]).map(|name| format!("`{name}`"));
            let circle = circle.collect::<Vec<_>>().join(" → ");
            findings
                .error(place, format!("fallbacks go in a circle: {circle}"))
                .help("let one of them have no `fallback`");
            noted.append(&mut chain);
        }
    }
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
