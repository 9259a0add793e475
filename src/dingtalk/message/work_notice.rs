//! The bodies of work notices, which spell the members of a message unlike webhooks and the API of bots.
//!
//! What is limited is the `msg` in them. A notice to people says nothing of who they are, so that equal notices are
//! equal bytes; one to departments or everybody is whole.

use serde::{Deserialize, Serialize};

use super::{Colour, Content, Markdown, Row, Text, orientation, with_member, without_pictures};
use crate::plan::{Audience, WorkNotice};

/// What stands in the head of a form where DingTalk does not put the app's name.
const HEAD: &str = "dingest";

#[derive(Serialize)]
struct Body<'a> {
    agent_id: u64,
    #[serde(flatten)]
    to: To,
    msg: &'a Message<'a>,
}

/// Whom a notice is for, as far as that is not left open.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct To {
    #[serde(skip_serializing_if = "Option::is_none")]
    dept_id_list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_all_user: Option<bool>,
}

impl To {
    fn of(audience: &Audience) -> Self {
        match audience {
            Audience::Person(_) => Self::default(),
            Audience::Departments(_, departments) => {
                let ids: Vec<String> = departments.iter().map(u64::to_string).collect();
                Self {
                    dept_id_list: Some(ids.join(",")),
                    to_all_user: None,
                }
            }
            Audience::Everybody(_) => Self {
                dept_id_list: None,
                to_all_user: Some(true),
            },
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "msgtype", rename_all = "snake_case")]
enum Message<'a> {
    Text { text: Text<'a> },
    Markdown { markdown: Markdown<'a> },
    Link { link: Link<'a> },
    ActionCard { action_card: ActionCard<'a> },
    Oa { oa: Oa<'a> },
}

/// Here every member must be there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Link<'a> {
    title: &'a str,
    text: &'a str,
    message_url: &'a str,
    pic_url: &'a str,
}

#[derive(Serialize)]
struct ActionCard<'a> {
    title: &'a str,
    markdown: &'a str,
    #[serde(flatten)]
    buttons: Buttons<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Buttons<'a> {
    One {
        single_title: &'a str,
        single_url: &'a str,
    },
    Several {
        btn_orientation: &'static str,
        btn_json_list: Vec<Button<'a>>,
    },
}

#[derive(Serialize)]
struct Button<'a> {
    title: &'a str,
    action_url: &'a str,
}

#[derive(Serialize)]
struct Oa<'a> {
    message_url: &'a str,
    head: Head,
    body: Inner<'a>,
}

#[derive(Serialize)]
struct Head {
    bgcolor: &'static str,
    text: &'static str,
}

#[derive(Serialize)]
struct Inner<'a> {
    title: &'a str,
    #[serde(skip_serializing_if = "<[Row]>::is_empty")]
    form: &'a [Row],
    content: &'a str,
}

impl Colour {
    /// Alpha, red, green, blue.
    const fn argb(self) -> &'static str {
        match self {
            Self::Red => "FFD93026",
            Self::Orange => "FFF2994A",
            Self::Blue => "FF3296FA",
            Self::Green => "FF34A853",
        }
    }
}

/// The exact bytes of a notice, without which people it is for, and the length of its `msg`, which is what is limited.
pub fn body(content: &Content<'_>, notice: &WorkNotice) -> (Vec<u8>, usize) {
    let plain;
    let msg = match content {
        Content::Text { text } => Message::Text {
            text: Text { content: text },
        },
        Content::Markdown { title, text } => Message::Markdown {
            markdown: Markdown { title, text },
        },
        Content::Link {
            title,
            text,
            url,
            picture: Some(picture),
        } => Message::Link {
            link: Link {
                title,
                text,
                message_url: url,
                pic_url: picture,
            },
        },
        // A form needs no picture.
        Content::Link {
            title,
            text,
            url,
            picture: None,
        } => form(title, Colour::Blue, &[], text, url),
        Content::ActionCard { title, text, buttons } => Message::ActionCard {
            action_card: ActionCard {
                title,
                markdown: text,
                buttons: self::buttons(buttons),
            },
        },
        Content::FeedCard { entries } => {
            plain = without_pictures(entries);
            Message::Text {
                text: Text { content: &plain },
            }
        }
        Content::Oa {
            title,
            colour,
            rows,
            text,
            url,
        } => form(title, *colour, rows, text, url),
    };
    let body = Body {
        agent_id: notice.agent_id,
        to: To::of(&notice.to),
        msg: &msg,
    };
    // Texts and numbers always serialise; an empty body would be refused by DingTalk and shows in the outcome.
    let bytes = serde_json::to_vec(&msg).map_or(0, |msg| msg.len());
    (serde_json::to_vec(&body).unwrap_or_default(), bytes)
}

fn form<'a>(title: &'a str, colour: Colour, rows: &'a [Row], text: &'a str, url: &'a str) -> Message<'a> {
    Message::Oa {
        oa: Oa {
            message_url: url,
            head: Head {
                bgcolor: colour.argb(),
                text: HEAD,
            },
            body: Inner {
                title,
                form: rows,
                content: text,
            },
        },
    }
}

fn buttons(buttons: &[super::Button]) -> Buttons<'_> {
    match buttons {
        [one] => Buttons::One {
            single_title: &one.title,
            single_url: &one.url,
        },
        several => Buttons::Several {
            btn_orientation: orientation(several),
            btn_json_list: several
                .iter()
                .map(|button| Button {
                    title: &button.title,
                    action_url: &button.url,
                })
                .collect(),
        },
    }
}

/// The exact bytes of one request: what [`body`] wrote, with the people it is for in front.
pub fn addressed(message: &[u8], users: &[&str]) -> Vec<u8> {
    with_member(message, "userid_list", users.join(","))
}

#[derive(Deserialize)]
struct Written {
    agent_id: u64,
    #[serde(flatten)]
    to: To,
}

/// Whether a notice was written for this app and audience, or for people: the configuration may have changed since.
pub fn is_written_for(body: &[u8], notice: &WorkNotice) -> bool {
    let written: Result<Written, _> = serde_json::from_slice(body);
    written.is_ok_and(|written| written.agent_id == notice.agent_id && written.to == To::of(&notice.to))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dingtalk::message::{Button, Entry};
    use crate::plan::{App, Person};

    fn app() -> Arc<App> {
        Arc::new(App::of_tests("ding1", "s", "http://127.0.0.1:1"))
    }

    fn to_ann() -> WorkNotice {
        let person = Person {
            app: app(),
            user: "ann".to_owned(),
        };
        WorkNotice {
            agent_id: 7,
            to: Audience::Person(person),
        }
    }

    #[track_caller]
    fn check(content: &Content<'_>, msg: &str) {
        let (body, bytes) = body(content, &to_ann());
        let body = String::from_utf8(body).expect("UTF-8");
        assert_eq!(body, format!(r#"{{"agent_id":7,"msg":{msg}}}"#));
        assert_eq!(bytes, msg.len());
    }

    #[test]
    fn a_notice_says_whom_it_is_for_unless_they_are_people() {
        let content = Content::Text { text: "盘满" };
        let msg = r#""msg":{"msgtype":"text","text":{"content":"盘满"}}}"#;
        let people = to_ann();
        let departments = WorkNotice {
            to: Audience::Departments(app(), [42, 5].into()),
            ..to_ann()
        };
        let everybody = WorkNotice {
            to: Audience::Everybody(app()),
            ..to_ann()
        };
        let all = [
            (&people, String::new()),
            (&departments, r#""dept_id_list":"5,42","#.to_owned()),
            (&everybody, r#""to_all_user":true,"#.to_owned()),
        ];
        for (notice, to) in &all {
            let (body, _) = body(&content, notice);
            let text = String::from_utf8(body.clone()).expect("UTF-8");
            assert_eq!(text, format!(r#"{{"agent_id":7,{to}{msg}"#));
            for (other, _) in &all {
                assert_eq!(is_written_for(&body, other), std::ptr::eq(*notice, *other));
            }
        }
        let (body, _) = body(&content, &people);
        let of_another_app = WorkNotice {
            agent_id: 8,
            ..to_ann()
        };
        assert!(!is_written_for(&body, &of_another_app) && !is_written_for(b"", &people));
        let request = String::from_utf8(addressed(&body, &["ann", "王"])).expect("UTF-8");
        assert_eq!(request, format!(r#"{{"userid_list":"ann,王","agent_id":7,{msg}"#));
    }

    #[test]
    fn each_type_has_its_members() {
        let (title, text) = ("t", "x");
        check(
            &Content::Markdown { title, text },
            r#"{"msgtype":"markdown","markdown":{"title":"t","text":"x"}}"#,
        );
        let link = |picture: Option<&str>| Content::Link {
            title,
            text,
            url: "https://a/".into(),
            picture: picture.map(Into::into),
        };
        check(
            &link(Some("https://p/")),
            r#"{"msgtype":"link","link":{"title":"t","text":"x","messageUrl":"https://a/","picUrl":"https://p/"}}"#,
        );
        check(
            &link(None),
            r#"{"msgtype":"oa","oa":{"message_url":"https://a/","head":{"bgcolor":"FF3296FA","text":"dingest"},"body":{"title":"t","content":"x"}}}"#,
        );
        let button = |title: &str| Button {
            title: title.into(),
            url: format!("https://{title}/"),
        };
        let card = |buttons: &[&str]| Content::ActionCard {
            title,
            text,
            buttons: buttons.iter().map(|title| button(title)).collect(),
        };
        check(
            &card(&["a"]),
            r#"{"msgtype":"action_card","action_card":{"title":"t","markdown":"x","single_title":"a","single_url":"https://a/"}}"#,
        );
        check(
            &card(&["a", "b"]),
            r#"{"msgtype":"action_card","action_card":{"title":"t","markdown":"x","btn_orientation":"1","btn_json_list":[{"title":"a","action_url":"https://a/"},{"title":"b","action_url":"https://b/"}]}}"#,
        );
        let row = |key: &str, value: &str| Row {
            key: key.into(),
            value: value.into(),
        };
        check(
            &Content::Oa {
                title,
                colour: Colour::Red,
                rows: vec![row("disk", "full")],
                text: "1 firing".to_owned(),
                url: "https://a/".to_owned(),
            },
            r#"{"msgtype":"oa","oa":{"message_url":"https://a/","head":{"bgcolor":"FFD93026","text":"dingest"},"body":{"title":"t","form":[{"key":"disk","value":"full"}],"content":"1 firing"}}}"#,
        );
        let entry = Entry {
            title: "one".into(),
            url: "https://a/".into(),
            picture: "https://p/".into(),
        };
        check(
            &Content::FeedCard { entries: vec![entry] },
            r#"{"msgtype":"text","text":{"content":"one\nhttps://a/"}}"#,
        );
    }
}
