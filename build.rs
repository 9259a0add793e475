//! Lays the program out: what a daemon at rest has not run stands together, behind what it has.
//!
//! The system maps a program in pieces of 64 KiB. The functions of a start are a fifth of this one, and scattered as
//! the compiler leaves them they make three fifths of it resident. A path that is missing here, or is here and should
//! not be, costs some memory and nothing else; `cargo bench -- growth` shows how much there is at rest.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// What the others would take with them, and a start runs.
const STARTS: &[&str] = &[
    "dingest::dingtalk::client::Client::new",
    "dingest::source::json::Mapping",
    "rustls::crypto",
];

/// Crates and modules whose functions no start runs, in the order in which they stand.
const SELDOM: &[&str] = &[
    // A request.
    "hyper",
    "http",
    "httparse",
    "http_body_util",
    "bytes",
    "warp",
    "dingest::http::intake",
    "dingest::http::server::answer",
    "dingest::http::room",
    "dingest::http::places",
    "dingest::http::body",
    "dingest::http::reply",
    "dingest::source",
    "serde_json",
    "serde_core",
    "dingest::driver::Driver::asked",
    "dingest::driver::Handle::accept",
    "dingest::store::sqlite::SqliteStore::transact",
    "futures_util",
    "tokio::time::timeout",
    "tokio::sync::batch_semaphore",
    "dingest::engine::Engine::handle",
    "dingest::engine::Engine::changes",
    "dingest::engine::Engine::enact_plan",
    "dingest::engine::Engine::reconsider_for",
    "dingest::engine::Engine::route",
    "dingest::engine::Engine::watch_reminder",
    "dingest::engine::models::Models::pack",
    "dingest::engine::truth::Concerns",
    "dingest::store::Changes::merge",
    "dingest::store::sqlite::write",
    // A digest, and its way to DingTalk.
    "dingest::digest",
    "dingest::render",
    "handlebars",
    "pest",
    "dingest::dingtalk::client::Client",
    "dingest::dingtalk::client::errand",
    "dingest::dingtalk::client::notices",
    "dingest::dingtalk::errcode",
    "dingest::dingtalk::message",
    "dingest::driver::Driver::run_errand",
    "dingest::driver::Driver::send",
    "dingest::driver::tell",
    "sha2",
    "miniz_oxide",
    "flate2",
    "base64",
    "rustls_pki_types",
    "smallvec",
    "dingest::dingtalk::apicode",
    "dingest::dingtalk::errand",
    "reqwest",
    "hyper_util",
    "tower",
    "rustls",
    "ring",
    "ring_core_0_17",
    "webpki",
    "url",
    "idna",
    "icu_normalizer",
    "icu_segmenter",
    // What is asked of it, and answers.
    "dingest::http::api",
    "dingest::http::explain",
    "dingest::http::page",
    "dingest::engine::query",
    "dingest::engine::view",
    "dingest::ask",
    "prometheus_client::encoding",
    "dingest::telemetry::metrics::Metrics::encode",
    // Mappings and patterns.
    "dingest::config::import",
    "jaq_core",
    "jaq_json",
    "jaq_std",
    "num_bigint",
    "libm",
    "regex",
    "regex_automata",
    "regex_syntax",
    "regex_bites",
    "aho_corasick",
    "memchr",
    "dingest::secret",
    "indexmap",
    "jiff::fmt",
    "jiff::error",
    // Other commands, help and what is wrong.
    "dingest::dingtalk::simulator::apps",
    "dingest::dingtalk::simulator::content",
    "dingest::dingtalk::simulator::fault",
    "dingest::dingtalk::simulator::http",
    "dingest::dingtalk::simulator::notices",
    "dingest::dingtalk::simulator::postman",
    "dingest::dingtalk::simulator::questions",
    "dingest::dingtalk::simulator::receipts",
    "dingest::dingtalk::simulator::robot",
    "dingest::dingtalk::simulator::rules",
    "dingest::cli::demo",
    "dingest::cli::explain",
    "dingest::cli::import",
    "dingest::cli::manual",
    "dingest::cli::render",
    "dingest::cli::replay",
    "dingest::cli::status",
    "dingest::cli::test",
    "dingest::rehearse",
    "clap_builder::error",
    "clap_builder::output",
    "clap_complete",
    "clap_mangen",
    "miette",
    "dingest::config::compile::secrets",
    "walkdir",
    "similar",
    "core::fmt::Debug",
    "std::backtrace_rs",
    "tracing_subscriber::fmt::Subscriber",
    "tracing_subscriber::filter::env::field",
    "tracing_serde",
    // Long lists, and what is taken out of long maps.
    "core::slice::sort::stable",
    "core::slice::sort::unstable",
    "core::iter::adapters::map",
    "core::iter::adapters::chain",
    "alloc::collections::btree::node",
    "core::iter::sources",
    "core::iter::traits::collect",
    "std::sync::mpmc::zero",
    "parking_lot",
    "hashbrown::map",
    "sqlite3Window",
    "sqlite3Alter",
    "sqlite3Fk",
    "json",
    "alloc::collections::btree::remove",
    "tokio::runtime::task::raw::shutdown",
    "tokio::runtime::task::harness::cancel_task",
    "tokio::runtime::scheduler::current_thread",
];
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|it| it == value);
    // Other systems have other linkers, and so has who chose one.
    let chosen = env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("PROFILE", "release") || chosen {
        return;
    }
    let out = env::var_os("OUT_DIR").expect("cargo says where");
    let script = PathBuf::from(out).join("layout.ld");
    fs::write(&script, layout()).expect("a file of our own can be written");
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
}

/// A script for the linker: beside what it does by itself, a section behind that of the program.
fn layout() -> String {
    let mut script = String::from("SECTIONS {\n");
    for (section, paths) in [(".text.starts", STARTS), (".text.seldom", SELDOM)] {
        writeln!(script, "  {section} : {{").expect("memory takes text");
        for name in paths.iter().flat_map(|path| names(path)) {
            writeln!(script, "    *(.text.{name}*)").expect("memory takes text");
        }
        script.push_str("  }\n");
    }
    script + "}\nINSERT AFTER .text;\n"
}

/// How a path begins in the names of functions: of its own, by both schemes of the compiler, and of generic ones that
/// are made for its types.
fn names(path: &str) -> Vec<String> {
    let own: String = path
        .split("::")
        .map(|part| format!("{}{part}", part.len()))
        .collect();
    match path.split_once("::") {
        None => vec![
            format!("_ZN{own}"),
            format!("_R*_{own}"),
            format!("*${path}.."),
            path.to_owned(),
        ],
        Some(_) => vec![format!("*{own}"), format!("*{}", path.replace("::", ".."))],
    }
}
