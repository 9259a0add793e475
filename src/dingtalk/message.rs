//! What a message says, and the bodies of DingTalk's custom-bot webhook and of its app API, with exactly their field
//! names.
//!
//! [`Content`] is what people see, whatever carries it; [`webhook`], [`group`], [`direct`] and [`work_notice`] are the
//! ways to write it down; what one of them has no type for it says by another. A body is raw UTF-8 JSON. For a webhook,
//! `at` is a sibling of the message object; a mention rings only when `@id` also stands in the text, which is the
//! renderer's business. For an app's bot the message is a JSON document inside a text, all of whose members are texts,
//! and nobody can be mentioned. Only such a bot can send a picture by its address: [`picture_to_group`] and
//! [`picture_to_people`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub mod work_notice;

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
    /// A form below a coloured head that as a whole opens one address.
    Oa {
        /// Above the form.
        title: &'a str,
        /// The colour of its head.
        colour: Colour,
        /// The form, line by line.
        rows: Vec<Row>,
        /// Below the form.
        text: String,
        /// What it opens.
        url: String,
    },
}

/// The colour of a head: how bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Critical.
    Red,
    /// A warning.
    Orange,
    /// Neither.
    Blue,
    /// Over.
    Green,
}

/// A line of a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it is about.
    pub key: String,
    /// What there is to say.
    pub value: String,
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

/// Where buttons stand: two side by side, more one below the other, for there would be no room for their words.
const fn orientation(buttons: &[Button]) -> &'static str {
    if buttons.len() == 2 { "1" } else { "0" }
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
                        orientation: orientation(several),
                        buttons: several,
                    },
                },
            },
        },
        Content::FeedCard { entries } => Message::FeedCard {
            feed_card: FeedCard { links: entries },
        },
        // Here the words and the address of one are a box.
        Content::Oa {
            title,
            rows,
            text,
            url,
            ..
        } => {
            let text = &without_form(rows, text);
            return webhook(&link(title, text, url), at, uuid);
        }
    };
    let body = Body {
        message,
        at: (!at.is_empty()).then_some(at),
        msg_uuid: uuid,
    };
    // Structs of strings always serialise; an empty body would be refused by DingTalk and shows in the outcome.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// A message of an app to a group.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupBody<'a> {
    robot_code: &'a str,
    open_conversation_id: &'a str,
    msg_key: &'a str,
    msg_param: &'a str,
}

/// A message of an app to people, whoever they are.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DirectBody<'a> {
    robot_code: &'a str,
    msg_key: &'a str,
    msg_param: &'a str,
}

/// The exact bytes of one request to `groupMessages/send`, and the length of its `msgParam`, which is what is limited.
pub fn group(content: &Content<'_>, robot_code: &str, conversation: &str) -> (Vec<u8>, usize) {
    to_group(&param(content), robot_code, conversation)
}

/// The same for a picture.
pub fn picture_to_group(url: &str, robot_code: &str, conversation: &str) -> (Vec<u8>, usize) {
    to_group(&picture(url), robot_code, conversation)
}

fn to_group((msg_key, param): &Param<'_>, robot_code: &str, conversation: &str) -> (Vec<u8>, usize) {
    // As above, members that are texts always serialise.
    let msg_param = serde_json::to_string(param).unwrap_or_default();
    let body = GroupBody {
        robot_code,
        open_conversation_id: conversation,
        msg_key,
        msg_param: &msg_param,
    };
    (serde_json::to_vec(&body).unwrap_or_default(), msg_param.len())
}

/// The exact bytes of a message to people, without who they are, and the length of its `msgParam`. Equal messages are
/// equal bytes, and [`addressed`] makes one request of them.
pub fn direct(content: &Content<'_>, robot_code: &str) -> (Vec<u8>, usize) {
    to_people(&param(content), robot_code)
}

/// The same for a picture.
pub fn picture_to_people(url: &str, robot_code: &str) -> (Vec<u8>, usize) {
    to_people(&picture(url), robot_code)
}

fn to_people((msg_key, param): &Param<'_>, robot_code: &str) -> (Vec<u8>, usize) {
    let msg_param = serde_json::to_string(param).unwrap_or_default();
    let body = DirectBody {
        robot_code,
        msg_key,
        msg_param: &msg_param,
    };
    (serde_json::to_vec(&body).unwrap_or_default(), msg_param.len())
}

/// The exact bytes of one request to `oToMessages/batchSend`: what [`direct`] wrote, with whom it is for in front.
pub fn addressed(message: &[u8], users: &[&str]) -> Vec<u8> {
    with_member(message, "userIds", users)
}

/// A message with a member in front.
fn with_member(message: &[u8], name: &str, value: impl Serialize) -> Vec<u8> {
    let value = serde_json::to_vec(&value).unwrap_or_default();
    let members = message.strip_prefix(b"{").unwrap_or(message);
    [b"{\"", name.as_bytes(), b"\":", value.as_slice(), b",", members].concat()
}

/// Whom a message of an app is from, and the group it is for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(borrow)]
    robot_code: Cow<'a, str>,
    #[serde(borrow)]
    open_conversation_id: Option<Cow<'a, str>>,
}

/// Whether a message was written for an app's bot, and for this group or for people: the configuration may have changed
/// since.
pub fn is_written_for(body: &[u8], robot_code: &str, conversation: Option<&str>) -> bool {
    let written: Result<Written<'_>, _> = serde_json::from_slice(body);
    written.is_ok_and(|written| {
        written.robot_code == robot_code && written.open_conversation_id.as_deref() == conversation
    })
}

/// The template of an app's message, and its members.
type Param<'a> = (Cow<'static, str>, BTreeMap<Cow<'static, str>, Cow<'a, str>>);

fn picture(url: &str) -> Param<'_> {
    let param = BTreeMap::from([("photoURL".into(), url.into())]);
    ("sampleImageMsg".into(), param)
}

fn param<'a>(content: &'a Content<'_>) -> Param<'a> {
    let mut param = BTreeMap::new();
    let mut add = |name: Cow<'static, str>, text: Cow<'a, str>| drop(param.insert(name, text));
    let key = match content {
        Content::Text { text } => {
            add("content".into(), (*text).into());
            "sampleText".into()
        }
        Content::Markdown { title, text } => {
            add("title".into(), (*title).into());
            add("text".into(), (*text).into());
            "sampleMarkdown".into()
        }
        Content::Link {
            title,
            text,
            url,
            picture,
        } => {
            add("title".into(), (*title).into());
            add("text".into(), (*text).into());
            add("messageUrl".into(), url.into());
            if let Some(picture) = picture {
                add("picUrl".into(), picture.into());
            }
            "sampleLink".into()
        }
        Content::ActionCard { title, text, buttons } => {
            add("title".into(), (*title).into());
            add("text".into(), (*text).into());
            // Two stand side by side, as those of a bot do, under names of their own.
            let (key, title, url) = match buttons.len() {
                0 | 1 => ("sampleActionCard".into(), "singleTitle", "singleURL"),
                2 => ("sampleActionCard6".into(), "buttonTitle", "buttonUrl"),
                several => (
                    format!("sampleActionCard{several}").into(),
                    "actionTitle",
                    "actionURL",
                ),
            };
            for (number, button) in (1..).zip(buttons) {
                let name = |name: &'static str| match buttons.len() {
                    1 => name.into(),
                    _ => format!("{name}{number}").into(),
                };
                add(name(title), button.title.as_str().into());
                add(name(url), button.url.as_str().into());
            }
            key
        }
        Content::FeedCard { entries } => {
            add("content".into(), without_pictures(entries).into());
            "sampleText".into()
        }
        Content::Oa {
            title,
            rows,
            text,
            url,
            ..
        } => {
            add("title".into(), (*title).into());
            add("text".into(), without_form(rows, text).into());
            add("messageUrl".into(), url.into());
            "sampleLink".into()
        }
    };
    (key, param)
}

/// The words and addresses of a feed, where there are none.
fn without_pictures(entries: &[Entry]) -> String {
    let line = |entry: &Entry| format!("{}\n{}", entry.title, entry.url);
    let lines: Vec<String> = entries.iter().map(line).collect();
    lines.join("\n\n")
}

/// The words of a form, where there are none.
fn without_form(rows: &[Row], text: &str) -> String {
    let rows = rows.iter().map(|row| format!("{} {}", row.key, row.value));
    let lines = rows.chain([text.to_owned()]).map(|line| line.trim().to_owned());
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

fn link<'a>(title: &'a str, text: &'a str, url: &str) -> Content<'a> {
    Content::Link {
        title,
        text,
        url: url.to_owned(),
        picture: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &Content<'_>, at: &At, expected: &str) {
        let body = webhook(content, at, "d7-1");
        assert_eq!(String::from_utf8(body).expect("UTF-8"), expected);
    }

    #[test]
    fn a_message_to_people_is_the_same_bytes_whoever_they_are() {
        let content = Content::Text { text: "盘 \"满\"" };
        let (body, bytes) = direct(&content, "ding1");
        assert_eq!(bytes, r#"{"content":"盘 \"满\""}"#.len());
        assert!(is_written_for(&body, "ding1", None));
        assert!(!is_written_for(&body, "ding2", None) && !is_written_for(&body, "ding1", Some("cid1")));
        let (to_group, _) = group(&content, "ding1", "cid1");
        assert!(is_written_for(&to_group, "ding1", Some("cid1")));
        assert!(!is_written_for(&to_group, "ding1", Some("cid2")) && !is_written_for(b"", "ding1", None));
        let request = addressed(&body, &["u1", "张\"三"]);
        let request: serde_json::Value = serde_json::from_slice(&request).expect("JSON");
        assert_eq!(
            request,
            serde_json::json!({
                "userIds": ["u1", "张\"三"],
                "robotCode": "ding1",
                "msgKey": "sampleText",
                "msgParam": r#"{"content":"盘 \"满\""}"#,
            })
        );
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

    #[test]
    fn a_message_of_an_app_is_a_document_inside_a_text() {
        let content = Content::Markdown {
            title: "🔴 \"标题\"",
            text: "### 正文\n",
        };
        let (body, param_bytes) = group(&content, "ding1", "cid1==");
        assert_eq!(
            String::from_utf8(body).expect("UTF-8"),
            r####"{"robotCode":"ding1","openConversationId":"cid1==","msgKey":"sampleMarkdown","msgParam":"{\"text\":\"### 正文\\n\",\"title\":\"🔴 \\\"标题\\\"\"}"}"####,
        );
        assert_eq!(
            param_bytes,
            r####"{"text":"### 正文\n","title":"🔴 \"标题\""}"####.len()
        );
    }

    #[track_caller]
    fn check_param(content: &Content<'_>, expected: &str) {
        let (key, param) = param(content);
        let param = serde_json::to_string(&param).expect("JSON");
        assert_eq!(format!("{key} {param}"), expected);
    }

    #[test]
    fn a_picture_of_an_app_is_its_address() {
        let url = "https://grafana.example.com/render?a=\"1\"";
        let (body, bytes) = picture_to_group(url, "ding1", "cid1==");
        assert_eq!(
            String::from_utf8(body).expect("UTF-8"),
            r#"{"robotCode":"ding1","openConversationId":"cid1==","msgKey":"sampleImageMsg","msgParam":"{\"photoURL\":\"https://grafana.example.com/render?a=\\\"1\\\"\"}"}"#,
        );
        assert_eq!(
            bytes,
            r#"{"photoURL":"https://grafana.example.com/render?a=\"1\""}"#.len()
        );
        let (body, same) = picture_to_people(url, "ding1");
        assert!(is_written_for(&body, "ding1", None) && same == bytes);
    }

    #[test]
    fn each_type_has_its_template_and_members_for_an_app() {
        let (title, text) = ("t", "x");
        check_param(&Content::Text { text }, r#"sampleText {"content":"x"}"#);
        let link = Content::Link {
            title,
            text,
            url: "https://a/".into(),
            picture: None,
        };
        check_param(
            &link,
            r#"sampleLink {"messageUrl":"https://a/","text":"x","title":"t"}"#,
        );
        let card = |buttons: &[&str]| Content::ActionCard {
            title,
            text,
            buttons: buttons.iter().map(|title| button(title)).collect(),
        };
        check_param(
            &card(&["a"]),
            r#"sampleActionCard {"singleTitle":"a","singleURL":"https://a.example.com/","text":"x","title":"t"}"#,
        );
        check_param(
            &card(&["a", "b"]),
            r#"sampleActionCard6 {"buttonTitle1":"a","buttonTitle2":"b","buttonUrl1":"https://a.example.com/","buttonUrl2":"https://b.example.com/","text":"x","title":"t"}"#,
        );
        check_param(
            &card(&["a", "b", "c"]),
            r#"sampleActionCard3 {"actionTitle1":"a","actionTitle2":"b","actionTitle3":"c","actionURL1":"https://a.example.com/","actionURL2":"https://b.example.com/","actionURL3":"https://c.example.com/","text":"x","title":"t"}"#,
        );
        let entry = |title: &str| Entry {
            title: title.into(),
            url: "https://a/".into(),
            picture: "https://p/".into(),
        };
        let entries = vec![entry("one"), entry("two")];
        check_param(
            &Content::FeedCard { entries },
            r#"sampleText {"content":"one\nhttps://a/\n\ntwo\nhttps://a/"}"#,
        );
    }
}
