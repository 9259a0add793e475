//! The real program against the stand-in for DingTalk: what the whole promises, seen from outside.
//!
//! Each test runs the built binary as a child process on a port of its own choosing, posts to its webhooks and
//! reads its API; the stand-in runs in the test, and its ledger is the truth about what arrived. Tests wait for
//! events under [`PATIENCE`] and never for time to pass.

mod afterwards;
mod alerts;
mod apps;
mod ask;
mod chat;
mod crash;
mod daemon;
mod demo;
mod disk;
mod everyday;
mod explain;
mod fairness;
mod hostile;
mod message_types;
mod moving;
mod page;
#[path = "../support/patience.rs"]
mod patience;
mod people;
mod refusals;
mod rehearse;
mod reload;
mod secrets;
mod service;
mod storm;
mod talking;
mod trouble;
mod work_notices;

use patience::{PATIENCE, eventually};
