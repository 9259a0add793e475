//! What a message says, and the bodies of DingTalk's custom-bot webhook, with exactly its field names.
//!
//! [`Content`] is what people see, whatever carries it; [`webhook`] is one way to write it down. A body is raw UTF-8
//! JSON. `at` is a sibling of the message object; a mention rings only when `@id` also stands in the text, which is
//! the renderer's business.

use serde::Serialize;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A text without marks.
    Text {
        /// The bubble.
        text: &'a str,
    },
    /// A text in markdown.
    Markdown {
        /// What the phone shows.
        title: &'a str,
        /// The bubble.
        text: &'a str,
    },
    /// A box that as a whole opens one address.
    Link {
        /// Its head.
        title: &'a str,
        /// Below it, without marks; cut off after a few lines.
        text: &'a str,
        /// What it opens.
        url: String,
        /// Beside the text.
        picture: Option<String>,
    },
    /// A text in markdown with buttons, one at least.
    ActionCard {
        /// What the phone shows.
        title: &'a str,
        /// Above the buttons.
        text: &'a str,
        /// What can be pressed.
        buttons: Vec<Button>,
    },
    /// A list of entries, the first of them large; one at least.
    FeedCard {
        /// From top to bottom.
        entries: Vec<Entry>,
    },
}

/// A button of a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Button {
    /// What it says.
    pub title: String,
    /// What it opens.
    #[serde(rename = "actionURL")]
    pub url: String,
}

/// An entry of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What it says.
    pub title: String,
    /// What it opens.
    #[serde(rename = "messageURL")]
    pub url: String,
    /// What it shows; there must be one.
    #[serde(rename = "picURL")]
    pub picture: String,
}

/// Whom a message mentions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct At {
    /// Mobile numbers.
    pub at_mobiles: Vec<String>,
    /// User ids of the bot's organisation.
    pub at_user_ids: Vec<String>,
    /// Everybody in the group.
    pub is_at_all: bool,
}

impl At {
    /// Whether nobody is mentioned.
    pub fn is_empty(&self) -> bool {
        self.at_mobiles.is_empty() && self.at_user_ids.is_empty() && !self.is_at_all
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(flatten)]
    message: Message<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<&'a At>,
    msg_uuid: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "msgtype", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Message<'a> {
    Markdown { markdown: Markdown<'a> },
    Text { text: Text<'a> },
    Link { link: Link<'a> },
    ActionCard { action_card: ActionCard<'a> },
    FeedCard { feed_card: FeedCard<'a> },
}

#[derive(Serialize)]
struct Markdown<'a> {
    title: &'a str,
    text: &'a str,
}

#[derive(Serialize)]
struct Text<'a> {
    content: &'a str,
}

/// Here the address is `messageUrl`, and the picture may be missing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Link<'a> {
    title: &'a str,
    text: &'a str,
    message_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pic_url: Option<&'a str>,
}

#[derive(Serialize)]
struct ActionCard<'a> {
    title: &'a str,
    text: &'a str,
    #[serde(flatten)]
    buttons: Buttons<'a>,
}

/// One button makes the whole card a link.
#[derive(Serialize)]
#[serde(untagged)]
enum Buttons<'a> {
    One {
        #[serde(rename = "singleTitle")]
        title: &'a str,
        #[serde(rename = "singleURL")]
        url: &'a str,
    },
    Several {
        #[serde(rename = "btnOrientation")]
        orientation: &'static str,
        #[serde(rename = "btns")]
        buttons: &'a [Button],
    },
}

#[derive(Serialize)]
struct FeedCard<'a> {
    links: &'a [Entry],
}

/// The exact bytes of one request to the webhook.
pub fn webhook(content: &Content<'_>, at: &At, uuid: &str) -> Vec<u8> {
    let message = match content {
        Content::Markdown { title, text } => Message::Markdown {
            markdown: Markdown { title, text },
        },
        Content::Text { text } => Message::Text {
            text: Text { content: text },
        },
        Content::Link {
            title,
            text,
            url,
            picture,
        } => Message::Link {
            link: Link {
                title,
                text,
                message_url: url,
                pic_url: picture.as_deref(),
            },
        },
        Content::ActionCard { title, text, buttons } => Message::ActionCard {
            action_card: ActionCard {
                title,
                text,
                buttons: match buttons.as_slice() {
                    [one] => Buttons::One {
                        title: &one.title,
                        url: &one.url,
                    },
                    several => Buttons::Several {
                        // Two stand side by side; more would leave no room for their words.
                        orientation: if several.len() == 2 { "1" } else { "0" },
                        buttons: several,
                    },
                },
            },
        },
        Content::FeedCard { entries } => Message::FeedCard {
            feed_card: FeedCard { links: entries },
        },
    };
    let body = Body {
        message,
        at: (!at.is_empty()).then_some(at),
        msg_uuid: uuid,
    };
    // Structs of strings always serialise; an empty body would be refused by DingTalk and shows in the outcome.
    serde_json::to_vec(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &Content<'_>, at: &At, expected: &str) {
        let body = webhook(content, at, "d7-1");
        assert_eq!(String::from_utf8(body).expect("UTF-8"), expected);
    }

    fn button(title: &str) -> Button {
        Button {
            title: title.into(),
            url: format!("https://{title}.example.com/"),
        }
    }

    #[test]
    fn bodies_have_the_field_names_of_the_protocol_and_raw_text() {
        let (title, text) = ("🔴 标题", "### 正文\n@138");
        let nobody = At::default();
        let somebody = At {
            at_mobiles: vec!["138".into()],
            at_user_ids: vec!["u1".into()],
            is_at_all: false,
        };
        check(
            &Content::Markdown { title, text },
            &somebody,
            r####"{"msgtype":"markdown","markdown":{"title":"🔴 标题","text":"### 正文\n@138"},"at":{"atMobiles":["138"],"atUserIds":["u1"],"isAtAll":false},"msgUuid":"d7-1"}"####,
        );
        check(
            &Content::Text { text },
            &nobody,
            r####"{"msgtype":"text","text":{"content":"### 正文\n@138"},"msgUuid":"d7-1"}"####,
        );
        let link = |picture: Option<&str>| Content::Link {
            title,
            text,
            url: "https://a/".into(),
            picture: picture.map(Into::into),
        };
        check(
            &link(None),
            &nobody,
            r####"{"msgtype":"link","link":{"title":"🔴 标题","text":"### 正文\n@138","messageUrl":"https://a/"},"msgUuid":"d7-1"}"####,
        );
        check(
            &link(Some("https://p/")),
            &nobody,
            r####"{"msgtype":"link","link":{"title":"🔴 标题","text":"### 正文\n@138","messageUrl":"https://a/","picUrl":"https://p/"},"msgUuid":"d7-1"}"####,
        );
        let entry = Entry {
            title: title.into(),
            url: "https://a/".into(),
            picture: "https://p/".into(),
        };
        check(
            &Content::FeedCard { entries: vec![entry] },
            &nobody,
            r#"{"msgtype":"feedCard","feedCard":{"links":[{"title":"🔴 标题","messageURL":"https://a/","picURL":"https://p/"}]},"msgUuid":"d7-1"}"#,
        );
    }

    #[test]
    fn one_button_is_the_whole_card_two_stand_side_by_side_and_more_below_each_other() {
        let card = |buttons: &[&str]| Content::ActionCard {
            title: "t",
            text: "x",
            buttons: buttons.iter().map(|title| button(title)).collect(),
        };
        let nobody = At::default();
        check(
            &card(&["a"]),
            &nobody,
            r#"{"msgtype":"actionCard","actionCard":{"title":"t","text":"x","singleTitle":"a","singleURL":"https://a.example.com/"},"msgUuid":"d7-1"}"#,
        );
        check(
            &card(&["a", "b"]),
            &nobody,
            r#"{"msgtype":"actionCard","actionCard":{"title":"t","text":"x","btnOrientation":"1","btns":[{"title":"a","actionURL":"https://a.example.com/"},{"title":"b","actionURL":"https://b.example.com/"}]},"msgUuid":"d7-1"}"#,
        );
        let three = webhook(&card(&["a", "b", "c"]), &nobody, "u");
        let three: serde_json::Value = serde_json::from_slice(&three).expect("JSON");
        assert_eq!(three["actionCard"]["btnOrientation"], "0");
        assert_eq!(three["actionCard"]["btns"].as_array().map(Vec::len), Some(3));
    }
}
