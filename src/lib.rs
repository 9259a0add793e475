//! Alerts in, readable DingTalk digests out.

pub mod alert;
pub mod app;
pub mod cli;
pub mod config;
pub mod digest;
pub mod dingtalk;
pub mod driver;
pub mod engine;
pub mod http;
pub mod plan;
pub mod render;
pub mod secret;
pub mod source;
pub mod store;
pub mod telemetry;
