//! DingTalk's custom-bot webhook: signing, messages, answers, the client, and a stand-in.
//!
//! What leaves here is one signed `POST` per message; what comes back is an
//! [`Answer`](crate::engine::Answer). Nothing here retries, waits or counts: that is the engine's. Tokens,
//! secrets and signatures appear in the request and nowhere else.

pub mod client;
pub mod errcode;
pub mod message;
pub mod sign;
pub mod simulator;

pub use client::Client;

/// The path of the webhook below its base URL.
pub(crate) const SEND_PATH: &str = "/robot/send";

/// Most bytes of a request body, from the text of errcode 460101.
pub const BODY_BYTES_MAX: usize = 20_000;
