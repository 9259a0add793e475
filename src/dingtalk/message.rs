//! The bodies of DingTalk's custom-bot webhook, with exactly its field names.
//!
//! A body is raw UTF-8 JSON. `at` is a sibling of the message object; a mention rings only when `@id` also stands
//! in the text, which is the renderer's business.

use serde::Serialize;

/// What a message is, besides its title and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape<'a> {
    /// `markdown`.
    Markdown,
    /// `text`: the text alone, without marks.
    Text,
    /// `actionCard` that as a whole opens one address.
    ActionCard {
        /// What the button says.
        button: &'a str,
        /// Where it leads.
        url: &'a str,
    },
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
#[serde(tag = "msgtype", rename_all = "camelCase")]
enum Message<'a> {
    Markdown {
        markdown: Markdown<'a>,
    },
    Text {
        text: Text<'a>,
    },
    #[serde(rename_all = "camelCase")]
    ActionCard {
        action_card: ActionCard<'a>,
    },
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

#[derive(Serialize)]
struct ActionCard<'a> {
    title: &'a str,
    text: &'a str,
    #[serde(rename = "singleTitle")]
    single_title: &'a str,
    #[serde(rename = "singleURL")]
    single_url: &'a str,
}

/// The exact bytes of one request.
pub fn body(shape: Shape<'_>, title: &str, text: &str, at: &At, uuid: &str) -> Vec<u8> {
    let message = match shape {
        Shape::Markdown => Message::Markdown {
            markdown: Markdown { title, text },
        },
        Shape::Text => Message::Text {
            text: Text { content: text },
        },
        Shape::ActionCard { button, url } => Message::ActionCard {
            action_card: ActionCard {
                title,
                text,
                single_title: button,
                single_url: url,
            },
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
    fn check(shape: Shape<'_>, at: &At, expected: &str) {
        let body = body(shape, "🔴 标题", "### 正文\n@138", at, "d7-1");
        assert_eq!(String::from_utf8(body).expect("UTF-8"), expected);
    }

    #[test]
    fn bodies_have_the_field_names_of_the_protocol_and_raw_text() {
        let nobody = At::default();
        let somebody = At {
            at_mobiles: vec!["138".into()],
            at_user_ids: vec!["u1".into()],
            is_at_all: false,
        };
        check(
            Shape::Markdown,
            &somebody,
            r####"{"msgtype":"markdown","markdown":{"title":"🔴 标题","text":"### 正文\n@138"},"at":{"atMobiles":["138"],"atUserIds":["u1"],"isAtAll":false},"msgUuid":"d7-1"}"####,
        );
        check(
            Shape::Text,
            &nobody,
            r####"{"msgtype":"text","text":{"content":"### 正文\n@138"},"msgUuid":"d7-1"}"####,
        );
        check(
            Shape::ActionCard {
                button: "详情",
                url: "https://a.example.com/",
            },
            &nobody,
            r####"{"msgtype":"actionCard","actionCard":{"title":"🔴 标题","text":"### 正文\n@138","singleTitle":"详情","singleURL":"https://a.example.com/"},"msgUuid":"d7-1"}"####,
        );
    }
}
