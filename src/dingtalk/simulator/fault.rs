//! What can be made to go wrong, and for how long.
//!
//! A fault either takes the place of the rules (the message is not accepted) or spoils the answer of a call
//! that was decided by the rules as usual, so that its sender cannot know.

use serde::{Deserialize, Serialize};

use crate::dingtalk::{NOTICE_SEND_PATH, PEOPLE_SEND_PATH};

/// One way to go wrong. As JSON a word (`"html"`) or an object of one member (`{"http_status": 502}`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Refuses with an error code.
    Errcode {
        /// The code.
        errcode: i64,
        /// The text; a text of the table when absent.
        errmsg: Option<String>,
        /// The sub code of an 88 or a 15.
        sub_code: Option<String>,
    },
    /// Refuses as the API of apps does, with a word.
    Code {
        /// The status.
        http_status: u16,
        /// The word.
        code: String,
        /// The text; empty when absent.
        message: Option<String>,
    },
    /// The page of a blocked egress address.
    Html,
    /// The JSON of a blocked egress address.
    Punish,
    /// Both at once: errcode 130101 with the members of a block.
    Mixed,
    /// A status of a gateway, with a page.
    HttpStatus(u16),
    /// Status 302 to this URL.
    RedirectTo(String),
    /// Status 200 and nothing else.
    Empty,
    /// Never accepts and closes the connection after so many milliseconds without a word.
    Hang(u64),
    /// Never accepts and closes the connection at once.
    Drop,
    /// Follows the rules, then closes the connection instead of answering.
    AcceptDrop,
    /// Follows the rules, then closes the connection after so many milliseconds instead of answering.
    AcceptHang(u64),
    /// Follows the rules and answers after so many milliseconds.
    Slow(u64),
    /// Follows the rules and breaks off in the middle of the answer.
    Cut,
    /// Follows the rules and answers with the code as a text.
    StringErrcode,
    /// Follows the rules, but has nobody of these `userId`s; of none at all when the list is empty. Only for calls that
    /// name people.
    InvalidStaff(Vec<String>),
    /// Follows the rules, but holds the message to these people back because they get too many; to all of them when
    /// the list is empty. Only for calls that name people.
    FlowControlledStaff(Vec<String>),
}

impl Fault {
    /// The stable name, as in JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Errcode { .. } => "errcode",
            Self::Code { .. } => "code",
            Self::Html => "html",
            Self::Punish => "punish",
            Self::Mixed => "mixed",
            Self::HttpStatus(_) => "http_status",
            Self::RedirectTo(_) => "redirect_to",
            Self::Empty => "empty",
            Self::Hang(_) => "hang",
            Self::Drop => "drop",
            Self::AcceptDrop => "accept_drop",
            Self::AcceptHang(_) => "accept_hang",
            Self::Slow(_) => "slow",
            Self::Cut => "cut",
            Self::StringErrcode => "string_errcode",
            Self::InvalidStaff(_) => "invalid_staff",
            Self::FlowControlledStaff(_) => "flow_controlled_staff",
        }
    }

    /// Whether the rules still decide what becomes of the message.
    pub const fn follows_rules(&self) -> bool {
        match self {
            Self::AcceptDrop
            | Self::AcceptHang(_)
            | Self::Slow(_)
            | Self::Cut
            | Self::StringErrcode
            | Self::InvalidStaff(_)
            | Self::FlowControlledStaff(_) => true,
            Self::Errcode { .. }
            | Self::Code { .. }
            | Self::Html
            | Self::Punish
            | Self::Mixed
            | Self::HttpStatus(_)
            | Self::RedirectTo(_)
            | Self::Empty
            | Self::Hang(_)
            | Self::Drop => false,
        }
    }

    /// Whether it can happen to a call of this path.
    fn fits(&self, path: &str) -> bool {
        match self {
            Self::InvalidStaff(_) | Self::FlowControlledStaff(_) => {
                [PEOPLE_SEND_PATH, NOTICE_SEND_PATH].contains(&path)
            }
            Self::Errcode { .. }
            | Self::Code { .. }
            | Self::Html
            | Self::Punish
            | Self::Mixed
            | Self::HttpStatus(_)
            | Self::RedirectTo(_)
            | Self::Empty
            | Self::Hang(_)
            | Self::Drop
            | Self::AcceptDrop
            | Self::AcceptHang(_)
            | Self::Slow(_)
            | Self::Cut
            | Self::StringErrcode => true,
        }
    }
}

/// An order for a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// What goes wrong.
    pub fault: Fault,
    /// For how many calls; 0 is until cleared.
    #[serde(default = "once")]
    pub times: u32,
    /// For the bot or app of this name only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bot: Option<String>,
    /// For calls of this path only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

const fn once() -> u32 {
    1
}

impl Injection {
    /// For the next call of any bot.
    pub const fn next(fault: Fault) -> Self {
        Self::times(1, fault)
    }

    /// For the next so many calls of any bot; 0 is until cleared.
    pub const fn times(times: u32, fault: Fault) -> Self {
        Self {
            fault,
            times,
            bot: None,
            path: None,
        }
    }
}

/// The faults that are still to come, in the order of their injection.
#[derive(Debug, Default)]
pub struct Faults(Vec<Injection>);

impl Faults {
    /// Adds one behind the others.
    pub fn push(&mut self, injection: Injection) {
        self.0.push(injection);
    }

    /// Those still to come.
    pub fn pending(&self) -> &[Injection] {
        &self.0
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of this call of `bot`.
    pub fn take(&mut self, bot: &str, path: &str) -> Option<Fault> {
        let concerns = |injection: &Injection| {
            injection.bot.as_deref().is_none_or(|name| name == bot)
                && injection.path.as_deref().is_none_or(|other| other == path)
                && injection.fault.fits(path)
        };
        let index = self.0.iter().position(concerns)?;
        let injection = &mut self.0[index];
        if injection.times == 1 {
            return Some(self.0.remove(index).fault);
        }
        injection.times = injection.times.saturating_sub(1);
        Some(injection.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_readable_json_and_a_typo_in_it_is_an_error() {
        let read = |text: &str| serde_json::from_str::<Injection>(text);
        assert_eq!(read(r#"{"fault":"html"}"#).unwrap(), Injection::next(Fault::Html));
        assert_eq!(
            read(r#"{"fault":{"errcode":{"errcode":-1}},"times":0,"bot":"ops"}"#).unwrap(),
            Injection {
                fault: Fault::Errcode {
                    errcode: -1,
                    errmsg: None,
                    sub_code: None
                },
                times: 0,
                bot: Some("ops".to_owned()),
                path: None,
            }
        );
        assert_eq!(
            read(r#"{"fault":{"accept_hang":250},"times":3}"#).unwrap(),
            Injection::times(3, Fault::AcceptHang(250))
        );
        for wrong in [
            r#"{"fault":"hmtl"}"#,
            r#"{"fault":"html","time":2}"#,
            r#"{"fault":{"errcode":{"errcode":1,"msg":""}}}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_name_of_every_fault_is_the_one_it_is_ordered_by() {
        for fault in [
            Fault::Errcode {
                errcode: 1,
                errmsg: None,
                sub_code: None,
            },
            Fault::Html,
            Fault::Punish,
            Fault::Mixed,
            Fault::HttpStatus(500),
            Fault::RedirectTo(String::new()),
            Fault::Empty,
            Fault::Hang(1),
            Fault::Drop,
            Fault::AcceptDrop,
            Fault::AcceptHang(1),
            Fault::Slow(1),
            Fault::Cut,
            Fault::StringErrcode,
            Fault::InvalidStaff(Vec::new()),
            Fault::FlowControlledStaff(Vec::new()),
        ] {
            let json = serde_json::to_value(&fault).unwrap();
            let name = json
                .as_str()
                .or_else(|| json.as_object()?.keys().next().map(String::as_str));
            assert_eq!(name, Some(fault.as_str()));
        }
    }

    #[test]
    fn faults_come_in_order_each_as_often_as_asked_and_only_for_its_bot() {
        let mut faults = Faults::default();
        faults.push(Injection {
            bot: Some("b".to_owned()),
            ..Injection::next(Fault::Empty)
        });
        faults.push(Injection::times(2, Fault::Html));
        faults.push(Injection::times(0, Fault::Drop));
        let taken: Vec<_> = ["a", "a", "b", "a", "a"]
            .map(|bot| faults.take(bot, "/").unwrap().as_str())
            .into();
        assert_eq!(taken, ["html", "html", "empty", "drop", "drop"]);
        assert_eq!(faults.pending(), [Injection::times(0, Fault::Drop)]);
    }

    #[test]
    fn a_fault_waits_for_a_call_it_can_happen_to() {
        let mut faults = Faults::default();
        faults.push(Injection::next(Fault::InvalidStaff(Vec::new())));
        faults.push(Injection {
            path: Some("/a".to_owned()),
            ..Injection::next(Fault::Drop)
        });
        let taken = ["/a", "/a", PEOPLE_SEND_PATH, PEOPLE_SEND_PATH]
            .map(|path| faults.take("ops", path).map(|fault| fault.as_str()));
        assert_eq!(taken, [Some("drop"), None, Some("invalid_staff"), None]);
    }
}
