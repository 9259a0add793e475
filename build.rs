//! Lays the program out: what a daemon at rest has not run stands together, behind what it has.
//!
//! The system maps a program in pieces of 64 KiB. The functions of a start are a fifth of this one, and scattered as
//! the compiler leaves them they make three fifths of it resident. A path that is missing here, or is here and should
//! not be, costs some memory and nothing else; `cargo bench -- growth` shows how much there is at rest.
//!
//! With `DINGEST_LAYOUT=none` the linker does as it likes: for one that takes no script, and that cannot be seen from
//! here (`mold -run`).

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// What a start, and the answer to a probe, run of the paths below.
const STARTS: &[&str] = &[
    "dingest::dingtalk::client::Client::new",
    "dingest::source::json::Mapping",
    "rustls::crypto::CryptoProvider::install_default",
    "rustls::crypto::ring::default_provider",
    // The answer to a probe.
    "hyper::proto::h1",
    "hyper::common::buf",
    "hyper::headers",
    "httparse",
    "http::header",
    "http::uri",
    "http::extensions",
    "warp::filter",
    "warp::filters",
    "dingest::http::server",
    "dingest::http::places",
    "dingest::http::api",
    "dingest::http::reply",
    "dingest::engine::query",
    "dingest::driver::Driver::asked",
    "serde_json::ser",
    "bytes",
    "jiff::fmt::temporal",
    "tokio::time::timeout",
    "tokio::sync::batch_semaphore",
];

/// Crates, modules and functions of which a start runs hardly anything, in the order in which they stand.
const SELDOM: &[&str] = &[
    // A request.
    "hyper",
    "http",
    "http_body_util",
    "warp",
    "dingest::http::intake",
    "dingest::http::room",
    "dingest::http::body",
    "dingest::source",
    "serde_json",
    "serde_core",
    "dingest::driver::Handle::accept",
    "dingest::store::sqlite::SqliteStore::transact",
    "futures_util",
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
    "dingest::dingtalk::apicode",
    "dingest::dingtalk::errcode",
    "dingest::dingtalk::errand",
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
    "reqwest",
    "hyper_util",
    "tower",
    "rustls",
    "ring",
    "webpki",
    "url",
    "idna",
    "icu_normalizer",
    "icu_segmenter",
    // What is asked of it, and answers.
    "dingest::http::explain",
    "dingest::http::page",
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
    "similar",
    "tracing_subscriber::fmt::Subscriber",
    "tracing_subscriber::filter::env::field",
    "tracing_serde",
    // Long lists and maps, and what is taken out of them.
    "core::slice::sort::stable",
    "core::slice::sort::unstable",
    "core::iter::adapters::map",
    "core::iter::adapters::chain",
    "alloc::collections::btree::node",
    "alloc::collections::btree::remove",
    "core::iter::sources",
    "core::iter::traits::collect",
    "hashbrown::map",
    // What goes wrong, and ends early.
    "dingest::secret",
    "core::fmt::Debug",
    "parking_lot",
    "std::backtrace_rs",
    "std::sync::mpmc::zero",
    "tokio::runtime::scheduler::current_thread",
    "tokio::runtime::task::harness::cancel_task",
    "tokio::runtime::task::raw::shutdown",
    "walkdir",
];

/// How the names of functions in C begin that no start runs either.
const SELDOM_IN_C: &[&str] = &["json", "ring_core_", "sqlite3Alter", "sqlite3Fk", "sqlite3Window"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DINGEST_LAYOUT");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|it| it == value);
    // Other systems have other linkers, and whoever chose one may have one that takes no script.
    let chosen = env::var_os("RUSTC_LINKER").is_some()
        || env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    let wanted =
        is("CARGO_CFG_TARGET_OS", "linux") && is("PROFILE", "release") && !is("DINGEST_LAYOUT", "none");
    if chosen || !wanted {
        return;
    }
    let out = env::var_os("OUT_DIR").expect("cargo names a directory for what is made here");
    let script = PathBuf::from(out).join("layout.ld");
    fs::write(&script, layout()).expect("the linker's script can be written");
    println!("cargo::rustc-link-arg-bins=-T{}", script.display());
}

/// A script for the linker: two sections more, behind that of the program.
fn layout() -> String {
    let names = |paths: &[&str]| paths.iter().flat_map(|path| names(path)).collect::<Vec<_>>();
    let in_c = SELDOM_IN_C.iter().map(|name| (*name).to_owned());
    let seldom = names(SELDOM).into_iter().chain(in_c).collect();
    let mut script = String::from("SECTIONS {\n");
    for (section, names) in [(".text.starts", names(STARTS)), (".text.seldom", seldom)] {
        let patterns = names.iter().fold(String::new(), |patterns, name| {
            format!("{patterns}    *(.text.{name}*)\n")
        });
        writeln!(script, "  {section} : {{\n{patterns}  }}").expect("a text takes more text");
    }
    script + "}\nINSERT AFTER .text;\n"
}

/// How a path stands in the names of functions, by the compiler's older scheme: of its own, and of generic ones that
/// are made for its types.
fn names(path: &str) -> [String; 2] {
    let own = path
        .split("::")
        .fold(String::new(), |name, part| format!("{name}{}{part}", part.len()));
    if path.contains("::") {
        [format!("*{own}"), format!("*{}", path.replace("::", ".."))]
    } else {
        [format!("_ZN{own}"), format!("*${path}..")]
    }
}
