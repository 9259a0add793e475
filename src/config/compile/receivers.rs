//! Those who are told.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use super::endpoints::{self, Senders};
use super::{Names, Written};
use crate::alert::ReceiverName;
use crate::config::raw;
use crate::config::read::At;
use crate::config::report::Findings;
use crate::config::suggest;
use crate::digest::compose::is_web_address;
use crate::plan::{Channel, Mention, MentionOn, MessageKind, Plan, Receiver};

pub(super) fn receivers(
    written: &Written,
    plan: &mut Plan,
    senders: &mut Senders,
    names: &mut Names,
    findings: &mut Findings,
) {
    let mut receivers = BTreeMap::new();
    for raw in &written.receivers {
        let name = ReceiverName::from(names.define(&raw.name, findings).unwrap_or(""));
        let channel = endpoints::channel(raw, &name, plan, senders, findings).unwrap_or(Channel::Console);
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
        if let (Some(place), Some(_)) = (raw.mention.place(), raw.group.place()) {
            findings
                .warning(
                    Some(place),
                    "nobody is mentioned in a group that is told through an app: DingTalk's API cannot do that",
                )
                .help("use a custom bot of the group (`bots`) where phones must ring");
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
    plan.receivers = receivers;
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
        if let (MessageKind::FeedCard, Some(group)) = (kind, raw.group.place()) {
            findings
                .error(place, "an app cannot send messages of type `feed_card`")
                .help("write `message: link`, or another of those an app has")
                .also(group, "the group is told through an app");
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
