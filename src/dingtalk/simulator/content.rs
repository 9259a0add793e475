//! Reads the body of a message as DingTalk would: the five types, their members, the mentions; and pictures of apps.
//!
//! Stricter than the original where that is silent: a member that the protocol does not know, a value that is not among
//! those it lists, and an address that nothing could open are refused, for there they would be lost without a word.

use serde::Serialize;
use serde_json::{Map, Value};

/// Most people a message can mention.
const MENTIONS_MAX: usize = 50;

/// What a group would show of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Content {
    /// `text`, `link`, `markdown`, `actionCard` or `feedCard`; of work notices `action_card` and `oa`, too; of apps'
    /// bots `image`.
    pub msgtype: String,
    /// The notification line; in the bubble only for links. A feed has none: its first entry's stands for it.
    pub title: String,
    /// The bubble: markdown for `markdown` and `actionCard`.
    pub text: String,
    /// Buttons of an action card, the entries of a feed, the target of a link.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// The buttons stand side by side.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub side_by_side: bool,
    /// Whose phones ring: the ids of `at` that stand in the text too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// Everybody's phone rings.
    pub mentions_all: bool,
}

/// Something to press.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its words.
    pub title: String,
    /// Where it leads.
    pub url: String,
    /// Its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
}

/// Why a body is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not a JSON object.
    NotJson,
    /// A member that must be there, and a text that is not empty.
    Missing(String),
    /// A `msgtype` that does not exist.
    Type(String),
    /// A member that does not exist, or whose value is none it can have.
    Invalid(String),
}

impl Content {
    /// Reads a message.
    pub fn read(message: &Map<String, Value>) -> Result<Self, Malformed> {
        let msgtype = text(message, "msgtype", "msgtype")?;
        let inner = |name: &str| {
            message
                .get(name)
                .and_then(Value::as_object)
                .ok_or_else(|| Malformed::Missing(name.to_owned()))
        };
        let mut content = match msgtype.as_str() {
            "text" => {
                let object = inner("text")?;
                known(object, "text", &["content"])?;
                Self {
                    text: text(object, "text", "content")?,
                    ..Self::default()
                }
            }
            "markdown" => {
                let object = inner("markdown")?;
                known(object, "markdown", &["title", "text"])?;
                Self::titled(object, "markdown")?
            }
            "link" => Self::link(inner("link")?)?,
            "actionCard" => Self::card(inner("actionCard")?)?,
            "feedCard" => Self::feed(inner("feedCard")?)?,
            _ => return Err(Malformed::Type(msgtype)),
        };
        if !matches!(msgtype.as_str(), "link" | "feedCard") {
            content.mention(message.get("at"));
        }
        content.msgtype = msgtype;
        Ok(content)
    }

    /// A picture of an app's bot, which has no words.
    pub(super) fn picture(param: &Map<String, Value>) -> Result<Self, Malformed> {
        known(param, "photo", &["photoURL"])?;
        let url = picture_of(param, "photo", "photoURL")?;
        Ok(Self {
            msgtype: "image".to_owned(),
            links: vec![Link {
                title: String::new(),
                url: url.clone(),
                picture: Some(url),
            }],
            ..Self::default()
        })
    }

    fn titled(object: &Map<String, Value>, parent: &str) -> Result<Self, Malformed> {
        Ok(Self {
            title: text(object, parent, "title")?,
            text: text(object, parent, "text")?,
            ..Self::default()
        })
    }

    fn link(object: &Map<String, Value>) -> Result<Self, Malformed> {
        known(object, "link", &["title", "text", "messageUrl", "picUrl"])?;
        let content = Self::titled(object, "link")?;
        let picture = object.get("picUrl").filter(|url| !url.is_null() && **url != "");
        Ok(Self {
            links: vec![Link {
                title: content.title.clone(),
                url: address(object, "link", "messageUrl")?,
                picture: picture
                    .map(|_| picture_of(object, "link", "picUrl"))
                    .transpose()?,
            }],
            ..content
        })
    }

    fn card(object: &Map<String, Value>) -> Result<Self, Malformed> {
        const MEMBERS: [&str; 7] = [
            "title",
            "text",
            "singleTitle",
            "singleURL",
            "btns",
            "btnOrientation",
            "hideAvatar",
        ];
        known(object, "actionCard", &MEMBERS)?;
        for name in ["btnOrientation", "hideAvatar"] {
            if object.get(name).is_some_and(|flag| flag != "0" && flag != "1") {
                return Err(Malformed::Invalid(format!("actionCard.{name}")));
            }
        }
        Ok(Self {
            links: buttons(object)?,
            side_by_side: object.get("btnOrientation").is_some_and(|flag| flag == "1"),
            ..Self::titled(object, "actionCard")?
        })
    }

    fn feed(object: &Map<String, Value>) -> Result<Self, Malformed> {
        known(object, "feedCard", &["links"])?;
        let links = entries(object)?;
        Ok(Self {
            title: links.first().map(|link| link.title.clone()).unwrap_or_default(),
            links,
            ..Self::default()
        })
    }

    /// An id of `at` mentions nobody unless `@id` stands in the text.
    fn mention(&mut self, at: Option<&Value>) {
        let Some(at) = at.and_then(Value::as_object) else {
            return;
        };
        self.mentions_all = at.get("isAtAll").and_then(Value::as_bool).unwrap_or(false);
        self.mentions = ["atMobiles", "atUserIds"]
            .iter()
            .filter_map(|list| at.get(*list)?.as_array())
            .flatten()
            .filter_map(Value::as_str)
            .filter(|id| !id.is_empty() && self.text.contains(&format!("@{id}")))
            .map(str::to_owned)
            .take(MENTIONS_MAX)
            .collect();
    }

    /// Everything a keyword may stand in.
    pub fn contains(&self, keyword: &str) -> bool {
        self.title.contains(keyword)
            || self.text.contains(keyword)
            || self.links.iter().any(|link| link.title.contains(keyword))
    }
}

/// A text that is not empty.
pub(super) fn text(object: &Map<String, Value>, parent: &str, name: &str) -> Result<String, Malformed> {
    match object.get(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        _ if parent == name => Err(Malformed::Missing(name.to_owned())),
        _ => Err(Malformed::Missing(format!("{parent}.{name}"))),
    }
}

/// Refuses members that the protocol does not have.
pub(super) fn known(object: &Map<String, Value>, parent: &str, names: &[&str]) -> Result<(), Malformed> {
    match object.keys().find(|key| !names.contains(&key.as_str())) {
        Some(strange) => Err(Malformed::Invalid(format!("{parent}.{strange}"))),
        None => Ok(()),
    }
}

/// An address that the client opens: of the web, or its own.
pub(super) fn address(object: &Map<String, Value>, parent: &str, name: &str) -> Result<String, Malformed> {
    let address = text(object, parent, name)?;
    let opens = address.split_once("://").is_some_and(|(scheme, rest)| {
        let scheme = scheme.to_ascii_lowercase();
        ["http", "https", "dingtalk"].contains(&scheme.as_str()) && !rest.is_empty()
    });
    if opens && !address.contains(|c: char| c.is_whitespace() || c.is_control()) {
        Ok(address)
    } else {
        Err(Malformed::Invalid(format!("{parent}.{name}")))
    }
}

/// The address of a picture, or a media id.
pub(super) fn picture_of(object: &Map<String, Value>, parent: &str, name: &str) -> Result<String, Malformed> {
    let picture = text(object, parent, name)?;
    if picture.starts_with('@') {
        return Ok(picture);
    }
    address(object, parent, name)
}

/// One button for the whole card, which makes `btns` count for nothing, or several.
fn buttons(card: &Map<String, Value>) -> Result<Vec<Link>, Malformed> {
    if card.contains_key("singleTitle") || card.contains_key("singleURL") {
        return Ok(vec![Link {
            title: text(card, "actionCard", "singleTitle")?,
            url: address(card, "actionCard", "singleURL")?,
            picture: None,
        }]);
    }
    list(card, "actionCard", "btns")?
        .into_iter()
        .map(|button| {
            known(button, "btns", &["title", "actionURL"])?;
            Ok(Link {
                title: text(button, "btns", "title")?,
                url: address(button, "btns", "actionURL")?,
                picture: None,
            })
        })
        .collect()
}

fn entries(feed: &Map<String, Value>) -> Result<Vec<Link>, Malformed> {
    list(feed, "feedCard", "links")?
        .into_iter()
        .map(|entry| {
            known(entry, "links", &["title", "messageURL", "picURL"])?;
            Ok(Link {
                title: text(entry, "links", "title")?,
                url: address(entry, "links", "messageURL")?,
                picture: Some(picture_of(entry, "links", "picURL")?),
            })
        })
        .collect()
}

/// A list of one object or more.
pub(super) fn list<'a>(
    object: &'a Map<String, Value>,
    parent: &str,
    name: &str,
) -> Result<Vec<&'a Map<String, Value>>, Malformed> {
    object
        .get(name)
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty())
        .and_then(|list| list.iter().map(Value::as_object).collect())
        .ok_or_else(|| Malformed::Missing(format!("{parent}.{name}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(message: &Value) -> Result<Content, Malformed> {
        Content::read(message.as_object().unwrap())
    }

    #[test]
    fn each_type_is_read_and_each_of_its_members_is_required() {
        for message in [
            json!({"msgtype": "text", "text": {"content": "t"}}),
            json!({"msgtype": "markdown", "markdown": {"title": "a", "text": "b"}}),
            json!({"msgtype": "link", "link": {"title": "a", "text": "b", "messageUrl": "https://x"}}),
            json!({"msgtype": "actionCard", "actionCard": {"title": "a", "text": "b", "singleTitle": "c", "singleURL": "https://d"}}),
            json!({"msgtype": "actionCard", "actionCard": {"title": "a", "text": "b", "btns": [{"title": "c", "actionURL": "dingtalk://d"}]}}),
            json!({"msgtype": "feedCard", "feedCard": {"links": [{"title": "c", "messageURL": "https://d", "picURL": "@e"}]}}),
        ] {
            let content = read(&message).unwrap();
            assert_eq!(message["msgtype"], content.msgtype.as_str());
            for path in leaves(&message, "") {
                for poor in [json!(""), json!(7), Value::Null] {
                    let mut message = message.clone();
                    *message.pointer_mut(&path).unwrap() = poor.clone();
                    assert!(read(&message).is_err(), "{path} {poor}");
                }
            }
        }
    }

    #[test]
    fn what_dingtalk_would_lose_without_a_word_is_refused() {
        for (message, member) in [
            (
                json!({"msgtype": "link", "link": {"title": "a", "text": "b", "messageUrl": "https://x", "picURL": "https://y"}}),
                "link.picURL",
            ),
            (
                json!({"msgtype": "link", "link": {"title": "a", "text": "b", "messageUrl": "javascript:alert(1)"}}),
                "link.messageUrl",
            ),
            (
                json!({"msgtype": "link", "link": {"title": "a", "text": "b", "messageUrl": "https://x", "picUrl": "x.png"}}),
                "link.picUrl",
            ),
            (
                json!({"msgtype": "text", "text": {"content": "b", "at": {}}}),
                "text.at",
            ),
            (
                json!({"msgtype": "markdown", "markdown": {"title": "a", "text": "b", "content": "c"}}),
                "markdown.content",
            ),
            (
                json!({"msgtype": "actionCard", "actionCard": {"title": "a", "text": "b", "btnOrientation": 1, "btns": [{"title": "c", "actionURL": "https://d"}]}}),
                "actionCard.btnOrientation",
            ),
            (
                json!({"msgtype": "actionCard", "actionCard": {"title": "a", "text": "b", "btns": [{"title": "c", "actionURL": "https://d", "url": "e"}]}}),
                "btns.url",
            ),
            (
                json!({"msgtype": "actionCard", "actionCard": {"title": "a", "text": "b", "singleTitle": "c", "singleURL": "d e"}}),
                "actionCard.singleURL",
            ),
            (
                json!({"msgtype": "feedCard", "feedCard": {"links": [{"title": "a", "messageURL": "https://", "picURL": "https://y"}]}}),
                "links.messageURL",
            ),
            (
                json!({"msgtype": "feedCard", "feedCard": {"links": [{"title": "a", "messageURL": "https://x", "picURL": "https://y", "picUrl": "https://y"}]}}),
                "links.picUrl",
            ),
        ] {
            assert_eq!(
                read(&message),
                Err(Malformed::Invalid(member.to_owned())),
                "{message}"
            );
        }
        let missing = json!({"msgtype": "feedCard", "feedCard": {"links": [{"title": "a", "messageURL": "https://x"}]}});
        assert_eq!(read(&missing), Err(Malformed::Missing("links.picURL".to_owned())));
    }

    fn leaves(value: &Value, path: &str) -> Vec<String> {
        match value {
            Value::Object(map) => map
                .iter()
                .flat_map(|(k, v)| leaves(v, &format!("{path}/{k}")))
                .collect(),
            Value::Array(list) => list
                .iter()
                .flat_map(|v| leaves(v, &format!("{path}/0")))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![path.to_owned()],
        }
    }

    #[test]
    fn the_spelling_of_a_type_matters() {
        let wrong = json!({"msgtype": "actioncard", "actioncard": {"title": "a", "text": "b"}});
        assert_eq!(read(&wrong), Err(Malformed::Type("actioncard".to_owned())));
    }

    #[test]
    fn nobody_is_mentioned_whose_id_does_not_stand_in_the_text() {
        let content = read(&json!({
            "msgtype": "markdown",
            "markdown": {"title": "@u3", "text": "down @13800000000 @u1"},
            "at": {"atMobiles": ["13800000000", "13900000000"], "atUserIds": ["u1", "u3"], "isAtAll": false},
        }));
        assert_eq!(content.unwrap().mentions, ["13800000000", "u1"]);
    }
}
