//! DingTalk's custom-bot webhook and the API of apps: signing, tokens, messages, answers, the client, and a stand-in.
//!
//! What leaves here is one `POST` per message, signed or with a token; what comes back is an
//! [`Answer`](crate::engine::Answer). Of messages that an app has sent it can be asked who has read them, and they can
//! be taken back ([`errand`]). Nothing here retries, waits or counts: that is the engine's. Only a call that
//! was refused for its token, or for one of the people in it, and so did nothing, is repeated: with a fresh token, for
//! fewer people. People who are known by a number are looked up before. Tokens, secrets and signatures appear in the
//! request and nowhere else.

pub mod apicode;
pub mod callback;
pub mod client;
mod directory;
pub mod errand;
pub mod errcode;
pub mod message;
pub mod notice;
pub mod oapicode;
pub mod sign;
pub mod simulator;
mod token;

pub use client::Client;

/// The path of the webhook below its base URL.
pub(crate) const SEND_PATH: &str = "/robot/send";

/// The path of the sessions in which who wrote to an app's bot is answered.
pub(crate) const SESSION_PATH: &str = "/robot/sendBySession";

/// Most bytes of a request body, from the text of errcode 460101.
pub const BODY_BYTES_MAX: usize = 20_000;

/// The path of the call that gives an app its access token.
pub(crate) const TOKEN_PATH: &str = "/v1.0/oauth2/accessToken";

/// The path of the call with which an app's bot sends to a group.
pub(crate) const GROUP_SEND_PATH: &str = "/v1.0/robot/groupMessages/send";

/// The path of the call with which an app's bot sends to people one-to-one.
pub(crate) const PEOPLE_SEND_PATH: &str = "/v1.0/robot/oToMessages/batchSend";

/// Most people that one such call may name.
pub const PEOPLE_PER_CALL_MAX: usize = 20;

/// The path of the call that says who has read a message to people.
pub(crate) const PEOPLE_READ_PATH: &str = "/v1.0/robot/oToMessages/readStatus";

/// The path of the call that takes messages to people back. It is spelled unlike the others.
pub(crate) const PEOPLE_RECALL_PATH: &str = "/v1.0/robot/otoMessages/batchRecall";

/// The path of the call that says who has read a message to a group.
pub(crate) const GROUP_READ_PATH: &str = "/v1.0/robot/groupMessages/query";

/// The path of the call that takes messages to a group back.
pub(crate) const GROUP_RECALL_PATH: &str = "/v1.0/robot/groupMessages/recall";

/// The path of the older call that gives an app its access token.
pub(crate) const OLDER_TOKEN_PATH: &str = "/gettoken";

/// The path of the call that looks somebody up by mobile number.
pub(crate) const BY_MOBILE_PATH: &str = "/topapi/v2/user/getbymobile";

/// The path of the call that looks somebody up by `unionId`.
pub(crate) const BY_UNION_ID_PATH: &str = "/topapi/user/getbyunionid";

/// The path of the call that sends a work notice.
pub(crate) const NOTICE_SEND_PATH: &str = "/topapi/message/corpconversation/asyncsend_v2";

/// The path of the call that says how far a work notice is.
pub(crate) const NOTICE_PROGRESS_PATH: &str = "/topapi/message/corpconversation/getsendprogress";

/// The path of the call that says what became of a work notice.
pub(crate) const NOTICE_OUTCOME_PATH: &str = "/topapi/message/corpconversation/getsendresult";

/// The path of the call that takes a work notice back.
pub(crate) const NOTICE_RECALL_PATH: &str = "/topapi/message/corpconversation/recall";

/// The header of an app's access token.
pub(crate) const TOKEN_HEADER: &str = "x-acs-dingtalk-access-token";

/// Most bytes of the `msgParam` of a message to a group.
pub const GROUP_PARAM_BYTES_MAX: usize = 15_000;
