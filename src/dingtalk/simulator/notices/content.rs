//! Reads the message of a work notice: its five types, and their members, which are spelled unlike those of a webhook.
//!
//! As strict as the reading of [the messages of bots](crate::dingtalk::simulator::content), with which it shares the
//! words for what is wrong. Who is told, and whether at all, is not its business.

use serde_json::{Map, Value};

use crate::dingtalk::simulator::content::{Content, Link, Malformed, address, known, list, picture_of, text};
use crate::dingtalk::simulator::oapi::Errcode;

/// Most people that the status bar of an `oa` can be shown to.
const STATUS_BAR_PEOPLE_MAX: usize = 5;

/// What a message to so many people by name says.
pub(super) fn read(message: &Map<String, Value>, users: usize) -> Result<Content, Errcode> {
    members(message)
        .map_err(|malformed| match malformed {
            Malformed::NotJson => Errcode::missing("msg"),
            Malformed::Missing(member) => Errcode::missing(&member),
            Malformed::Invalid(member) => Errcode::invalid(&member),
            Malformed::Type(_) => Errcode::Code(40008, "不合法的消息类型".to_owned()),
        })
        .and_then(|content| {
            let bar = message.get("oa").and_then(|oa| oa.get("status_bar"));
            if bar.is_some() && !(1..=STATUS_BAR_PEOPLE_MAX).contains(&users) {
                return Err(Errcode::invalid("oa.status_bar"));
            }
            Ok(content)
        })
}

/// The members of the message, type by type.
pub(crate) fn members(message: &Map<String, Value>) -> Result<Content, Malformed> {
    let msgtype = text(message, "msgtype", "msgtype")?;
    known(message, "msg", &["msgtype", msgtype.as_str()])?;
    let inner = message.get(&msgtype).and_then(Value::as_object);
    let inner = inner.ok_or_else(|| Malformed::Missing(msgtype.clone()));
    let content = match msgtype.as_str() {
        "text" => Content {
            text: text(inner?, "text", "content")?,
            ..Content::default()
        },
        "markdown" => Content {
            title: text(inner.clone()?, "markdown", "title")?,
            text: text(inner?, "markdown", "text")?,
            ..Content::default()
        },
        "link" => link(inner?)?,
        "action_card" => action_card(inner?)?,
        "oa" => oa(inner?)?,
        _ => return Err(Malformed::Type(msgtype)),
    };
    Ok(Content { msgtype, ..content })
}

fn link(link: &Map<String, Value>) -> Result<Content, Malformed> {
    known(link, "link", &["messageUrl", "picUrl", "title", "text"])?;
    let title = text(link, "link", "title")?;
    Ok(Content {
        text: text(link, "link", "text")?,
        links: vec![Link {
            title: title.clone(),
            url: address(link, "link", "messageUrl")?,
            picture: Some(picture_of(link, "link", "picUrl")?),
        }],
        title,
        ..Content::default()
    })
}

fn action_card(card: &Map<String, Value>) -> Result<Content, Malformed> {
    const MEMBERS: [&str; 6] = [
        "title",
        "markdown",
        "single_title",
        "single_url",
        "btn_orientation",
        "btn_json_list",
    ];
    known(card, "action_card", &MEMBERS)?;
    let links = if card.contains_key("single_title") || card.contains_key("single_url") {
        vec![Link {
            title: short(card, "action_card", "single_title", 20)?,
            url: address(card, "action_card", "single_url").and_then(|url| within(url, "single_url", 500))?,
            picture: None,
        }]
    } else {
        let buttons = list(card, "action_card", "btn_json_list")?;
        let button = |button: &Map<String, Value>| {
            Ok(Link {
                title: short(button, "btn_json_list", "title", 20)?,
                url: address(button, "btn_json_list", "action_url")
                    .and_then(|url| within(url, "action_url", 700))?,
                picture: None,
            })
        };
        buttons.into_iter().map(button).collect::<Result<_, _>>()?
    };
    let title = card.get("title").and_then(Value::as_str).unwrap_or_default();
    Ok(Content {
        title: title.to_owned(),
        text: text(card, "action_card", "markdown")?,
        side_by_side: card.get("btn_orientation").is_some_and(|flag| flag == "1"),
        links,
        ..Content::default()
    })
}

/// Its form and its text become lines.
fn oa(oa: &Map<String, Value>) -> Result<Content, Malformed> {
    known(
        oa,
        "oa",
        &["message_url", "pc_message_url", "head", "body", "status_bar"],
    )?;
    let object = |name: &str| {
        let object = oa.get(name).and_then(Value::as_object);
        object.ok_or_else(|| Malformed::Missing(format!("oa.{name}")))
    };
    let (head, body) = (object("head")?, object("body")?);
    let colour = text(head, "head", "bgcolor")?;
    if colour.len() != 8 || !colour.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Malformed::Invalid("head.bgcolor".to_owned()));
    }
    let head = text(head, "head", "text")?;
    let member = |object: &Map<String, Value>, name: &str| {
        object
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut lines: Vec<String> = match body.get("form") {
        Some(_) => list(body, "body", "form")?
            .into_iter()
            .map(|line| {
                // A line without a value is its key alone.
                let shown = [member(line, "key"), member(line, "value")].join(" ");
                shown.trim().to_owned()
            })
            .collect(),
        None => Vec::new(),
    };
    lines.extend(["content", "author"].map(|name| member(body, name)));
    lines.retain(|line| !line.trim().is_empty());
    let title = Some(member(body, "title"))
        .filter(|title| !title.is_empty())
        .unwrap_or(head);
    Ok(Content {
        text: lines.join("\n"),
        links: vec![Link {
            title: title.clone(),
            url: address(oa, "oa", "message_url")?,
            picture: None,
        }],
        title,
        ..Content::default()
    })
}

/// A text of so many characters at most.
fn short(object: &Map<String, Value>, parent: &str, name: &str, most: usize) -> Result<String, Malformed> {
    within(text(object, parent, name)?, name, most)
}

fn within(text: String, name: &str, most: usize) -> Result<String, Malformed> {
    if text.chars().count() > most {
        return Err(Malformed::Invalid(format!("{name}: {most} 个字符以内")));
    }
    Ok(text)
}
