//! Those who are told: how their messages look, who is mentioned, and who is told in their place.
//!
//! What is configured once becomes a receiver for each of its ways, and all of them look alike. What they are sent
//! through is `endpoints`' business.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use super::endpoints::{self, Senders};
use super::{Names, Written};
use crate::alert::ReceiverName;
use crate::config::raw;
use crate::config::read::At;
use crate::config::report::{Findings, Place};
use crate::config::suggest;
use crate::digest::compose::is_web_address;
use crate::plan::{Afterwards, Channel, Endpoint, Mention, MentionOn, MessageKind, Plan, Recall, Receiver};
use crate::render::template_exists;

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
        endpoints::no_slash(&raw.name, "receiver", findings);
        let mut receiver = Receiver::builtin(name, Channel::Console);
        if let Some(template) = raw.template.get() {
            check_template(template, plan, findings);
            receiver.template.clone_from(&template.value);
        }
        receiver.message = match raw.message.value() {
            Some(raw::MessageType::Text) => MessageKind::Text,
            Some(raw::MessageType::Link) => MessageKind::Link,
            Some(raw::MessageType::ActionCard) => MessageKind::ActionCard,
            Some(raw::MessageType::FeedCard) => MessageKind::FeedCard,
            Some(raw::MessageType::Oa) => MessageKind::Oa,
            Some(raw::MessageType::Image) => MessageKind::Image,
            Some(raw::MessageType::Markdown) | None => MessageKind::Markdown,
        };
        receiver.picture = raw.picture.value().cloned();
        check_message(raw, receiver.message, plan, findings);
        check_ways(raw, receiver.message, findings);
        check_mention(raw, receiver.message, findings);
        check_picture(raw, receiver.message, findings);
        check_afterwards(raw, findings);
        let afterwards = afterwards(raw);
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
        receiver.fallback = raw.fallback.value().map(|name| name.as_str().into());
        for (name, channel) in endpoints::ways(raw, plan, senders, findings) {
            let mut receiver = Receiver {
                name: name.clone(),
                channel,
                ..receiver.clone()
            };
            let endpoint = |name| plan.endpoints.get(name);
            let mut endpoints = receiver.endpoints().iter().filter_map(endpoint);
            if endpoints.any(Endpoint::can_be_asked) {
                receiver.afterwards = afterwards;
            }
            receivers.insert(name, receiver);
        }
    }
    for fallback in written.receivers.iter().filter_map(|raw| raw.fallback.get()) {
        names.knows(fallback, findings);
    }
    check_fallback_cycles(written, findings);
    plan.receivers = receivers;
}

fn check_template(name: &At<String>, plan: &Plan, findings: &mut Findings) {
    if template_exists(&plan.templates, &name.value) {
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

/// What a type of message needs.
fn check_message(raw: &raw::Receiver, kind: MessageKind, plan: &Plan, findings: &mut Findings) {
    let Some(place) = raw.message.place() else { return };
    if kind.opens_an_address() && plan.server.external_url.is_none() {
        let word = kind.as_str();
        findings
            .error(
                place,
                format!("`message: {word}` needs an address to open, and not every alert has one"),
            )
            .help("set `server.external_url`, or write `message: markdown`");
    }
    let needs_picture = match kind {
        MessageKind::FeedCard => {
            Some("`message: feed_card` needs a `picture`: DingTalk refuses an entry without one")
        }
        MessageKind::Link if !raw.work_notice.is_absent() => {
            Some("`message: link` needs a `picture` here: DingTalk refuses a work notice without one")
        }
        MessageKind::Markdown
        | MessageKind::Text
        | MessageKind::Link
        | MessageKind::ActionCard
        | MessageKind::Oa
        | MessageKind::Image => None,
    };
    if let Some(why) = needs_picture.filter(|_| raw.picture.is_absent()) {
        findings
            .error(place, why)
            .help("add `picture: https://…`, the address of a picture that phones can reach");
    }
}

/// Whether each way of a receiver can send messages of its type, and as many as that takes.
fn check_ways(raw: &raw::Receiver, kind: MessageKind, findings: &mut Findings) {
    let Some(place) = raw.message.place() else { return };
    let two =
        "make two receivers, and two routes of which the first says `continue: true`; or write another type";
    let (why, help, other, what) = match kind {
        MessageKind::FeedCard => (
            "an app cannot send messages of type `feed_card`",
            "write `message: link`, or another of those an app has",
            through_app(raw),
            "this is told through an app",
        ),
        MessageKind::Oa => (
            "only work notices can be of type `oa`",
            two,
            raw.bots.place().or(raw.group.place()).or(raw.direct.place()),
            "this is told by other messages",
        ),
        MessageKind::Image => (
            "only an app's bot can send pictures: `message: image` is for `group` and `direct`",
            two,
            raw.bots.place().or(raw.work_notice.place()),
            "this is told by other messages",
        ),
        MessageKind::Markdown | MessageKind::Text | MessageKind::Link | MessageKind::ActionCard => return,
    };
    if let Some(other) = other {
        findings.error(place, why).help(help).also(other, what);
    }
    let most = raw.max_messages.get().filter(|most| most.value.0 == 1);
    if let (MessageKind::Image, Some(most)) = (kind, most) {
        findings
            .error(most.place, "this leaves no place for the picture")
            .help("leave `max_messages` out, or write `message: markdown`")
            .also(place, "a digest and its picture are two messages");
    }
}

/// Where it is written that an app tells this receiver, if one does.
fn through_app(raw: &raw::Receiver) -> Option<Place> {
    raw.group
        .place()
        .or(raw.direct.place())
        .or(raw.work_notice.place())
}

/// Whether anybody can be mentioned at all.
fn check_mention(raw: &raw::Receiver, kind: MessageKind, findings: &mut Findings) {
    let Some(mention) = raw.mention.place() else {
        return;
    };
    if let (false, Some(place)) = (kind.mentions(), raw.message.place()) {
        let word = kind.as_str();
        findings
            .error(
                mention,
                format!("DingTalk mentions nobody in messages of type `{word}`"),
            )
            .help("leave `mention` out, or choose `markdown`, `text` or `action_card`")
            .also(place, "the type is chosen here");
    }
    if let (Some(app), true) = (through_app(raw), raw.bots.is_absent()) {
        findings
            .error(
                mention,
                "nobody can be mentioned through an app: DingTalk's API has no `@`",
            )
            .help("leave `mention` out, or add a custom bot of the group (`bots`), which can ring phones")
            .also(app, "this is told through an app");
    }
}

/// Whether the picture is one, and is shown.
fn check_picture(raw: &raw::Receiver, kind: MessageKind, findings: &mut Findings) {
    let Some(picture) = raw.picture.get() else { return };
    if !kind.shows_a_picture() && (raw.message.is_absent() || raw.message.value().is_some()) {
        findings
            .error(
                picture.place,
                format!("messages of type `{}` show no `picture`", kind.as_str()),
            )
            .help(match kind {
                MessageKind::Image => "leave it out: the pictures are those of the alerts",
                MessageKind::Markdown
                | MessageKind::Text
                | MessageKind::Link
                | MessageKind::ActionCard
                | MessageKind::FeedCard
                | MessageKind::Oa => "leave it out, or write `message: link` or `message: feed_card`",
            });
    }
    if !is_web_address(&picture.value) && !picture.value.starts_with('@') {
        findings
            .error(picture.place, "`picture` is neither a web address nor a media id")
            .help("write `https://…`, or a media id as DingTalk gives it, `'@lAD…'`");
    }
}

/// Whether anything can be done about a message afterwards.
fn check_afterwards(raw: &raw::Receiver, findings: &mut Findings) {
    if through_app(raw).is_some() {
        return;
    }
    let asked = [
        ("`recall`", "taken back", raw.recall.place()),
        ("`read_status`", "asked about", raw.read_status.place()),
    ];
    for (key, what, place) in asked {
        let Some(place) = place else { continue };
        findings
            .error(
                place,
                format!("{key} needs an app: a custom bot's messages cannot be {what}"),
            )
            .help("leave it out, or tell the receiver through an app: `group`, `direct` or `work_notice`");
    }
}

fn afterwards(raw: &raw::Receiver) -> Afterwards {
    Afterwards {
        recall: raw.recall.value().map(|when| match when {
            raw::RecallWhen::Resolved => Recall::Resolved,
            raw::RecallWhen::Superseded => Recall::Superseded,
        }),
        read_status: raw.read_status.or(false),
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
fn check_fallback_cycles(written: &Written, findings: &mut Findings) {
    let fallbacks = written.receivers.iter();
    let fallbacks = fallbacks.filter_map(|raw| Some((raw.name.value()?.as_str(), raw.fallback.value()?)));
    let fallbacks: BTreeMap<&str, &String> = fallbacks.collect();
    let next = |name: &str| fallbacks.get(name).copied();
    let mut noted: Vec<String> = Vec::new();
    for raw in &written.receivers {
        let (Some(start), Some(place)) = (raw.name.value(), raw.fallback.place()) else {
            continue;
        };
        let mut chain = vec![start.clone()];
        let mut at = next(start);
        while let Some(name) = at {
            if name == start {
                break;
            }
            if chain.len() > fallbacks.len() {
                at = None;
                break;
            }
            chain.push(name.clone());
            at = next(name);
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
