//! The real program under real faults: the process, its disk, its clock and its network go wrong while senders post.
//!
//! Senders keep a ledger of every 2xx, the stand-in for DingTalk keeps one of every message, and a judge compares
//! them: everything acknowledged is told, nothing is told twice, everything announced is closed, no bot is too fast,
//! and the API says what the chat saw. `docs/faults.md` says how to repeat the long campaign and what it gave.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "results, and why a fault is not possible on this machine, are for people"
)]

mod campaign;
mod cases;
#[path = "../support/dice.rs"]
mod dice;
mod door;
mod fault;
mod ground;
mod judge;
mod keeper;
mod ledger;
#[path = "../support/patience.rs"]
mod patience;
mod producer;
mod world;

use patience::{PATIENCE, eventually};
