//! The whole way with real peers: Debian's Prometheus and Alertmanager, the built daemon, and the stand-in for
//! DingTalk inside the test. The stand-in itself meets clients for DingTalk that others wrote.
//!
//! Ignored by plain `cargo test`, since the peers may not be installed; with `--ignored` a missing one is a failure.
//! Every process listens on loopback, works in a directory of its own and ends with its test. Events are awaited,
//! never a span of time; that nothing was said is seen from what came before and after it.
#![expect(
    clippy::print_stderr,
    reason = "what was told, and the logs of the processes, are shown when a test fails"
)]

mod alertmanager;
mod clients;
mod daemon;
mod examples;
mod exporter;
mod metrics;
mod monitoring;
mod pair;
mod peer;
mod process;
mod prometheus;
mod world;
