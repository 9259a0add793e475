//! Alerts in, readable DingTalk digests out.
//!
//! A digest is the difference between what is true and what its receiver was last told. The way of an alert, and the
//! order in which to read the modules:
//!
//! 1. [`alert`]: the vocabulary; [`secret`]: texts that cannot be printed.
//! 2. [`source`] decodes what senders post into alerts and problems.
//! 3. [`config`] compiles YAML into a [`plan`], or says everything that is wrong with it.
//! 4. [`engine`] holds truth and told, routes, and decides who is told what and when. It does nothing else.
//! 5. [`digest`] and [`render`] turn a difference into messages that fit.
//! 6. [`dingtalk`] signs and sends them, and plays DingTalk for tests and demonstrations.
//! 7. [`store`] keeps it all on disk.
//! 8. [`driver`] is the loop around the engine: inputs in, rows to the store, then effects out.
//! 9. [`http`] takes webhooks and answers questions, [`record`] keeps webhooks to be replayed; [`telemetry`] logs and
//!    counts.
//! 10. [`rehearse`] plays a configuration in virtual time.
//! 11. [`app`] starts and ends the whole in the right order; [`cli`] is the command line.

pub mod alert;
pub mod app;
pub mod ask;
pub mod cli;
mod clock;
pub mod config;
pub mod digest;
pub mod dingtalk;
pub mod driver;
pub mod engine;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod plan;
pub mod record;
pub mod rehearse;
pub mod render;
pub mod secret;
mod shares;
pub mod source;
pub mod store;
pub mod telemetry;
