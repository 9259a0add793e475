//! The simulator: what dingest is but for threads, disk and sockets (plan, engine, steering, renderer, the client, and
//! what answers who asks) in a world of virtual clocks, disks, networks, senders and people that one number makes and
//! that can be made again. Days of traffic take seconds. `docs/simulator.md` says how to use it.

mod afterwards;
mod agreement;
mod asking;
mod day;
#[path = "../support/dice.rs"]
mod dice;
mod fairness;
mod invariant;
mod judge;
mod learnt;
mod model;
mod month;
mod mutations;
mod noise;
mod numbers;
mod outside;
mod plan;
mod questions;
mod readers;
mod rest;
mod scenario;
mod script;
mod shapes;
mod shrink;
mod silence;
mod store;
mod timing;
mod ways;
mod world;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::invariant::{Invariant, Violation};
use crate::plan::Setting;
use crate::script::Script;
use crate::world::{Summary, World};

/// Seeds that are run every time.
const FIXED: std::ops::Range<u64> = 0..28;
/// Seeds nobody has seen before.
const FRESH: u64 = 6;

/// Runs a script.
fn play(text: &str) -> Result<Summary, Violation> {
    let script = Script::read(text).unwrap_or_else(|problem| panic!("{problem}"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let settings: BTreeMap<String, Setting> = script
        .plans
        .iter()
        .filter_map(|(name, plan)| Some((name.clone(), Setting::new(plan, &script, directory.path())?)))
        .collect();
    World::run(&script, &settings)
}

/// Runs a seed; a failure is shrunk and printed.
#[track_caller]
fn check(seed: u64) -> Summary {
    let text = scenario::script(seed);
    match play(&text) {
        Ok(summary) => summary,
        Err(violation) => {
            assert!(
                std::env::var_os("SIM_PLAIN").is_none(),
                "seed {seed} broke {violation}"
            );
            let (text, last) = shrink::shrink(&text, violation.invariant);
            panic!(
                "seed {seed} broke `{}`: {violation}\n\nshrunk, for tests/sim/scripts/NAME.sim: {last}\n\n{text}\n",
                violation.invariant.as_str()
            );
        }
    }
}

/// Says something also when the test passes.
fn say(line: &str) {
    // Nobody may be listening.
    let _unheard = writeln!(std::io::stderr(), "{line}");
}

#[test]
fn fixed_seeds_break_no_promise() {
    if let Ok(invariant) = std::env::var("SIM_HUNT") {
        return hunt(&invariant);
    }
    for seed in FIXED {
        check(seed);
    }
}

/// Runs the saved scripts, the noisy one and the fixed seeds until one breaks this promise, and says what they break.
fn hunt(invariant: &str) {
    let saved = saved_scripts().into_iter().map(|file| {
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        (name, std::fs::read_to_string(&file).expect("a script"))
    });
    let noise = std::iter::once(("noise".to_owned(), fairness::script()));
    let seeds = FIXED.map(|seed| (format!("seed {seed}"), scenario::script(seed)));
    for (name, text) in saved.chain(noise).chain(seeds) {
        let Err(violation) = play(&text) else { continue };
        say(&format!("sim: {} by {name}", violation.invariant.as_str()));
        if violation.invariant.as_str() == invariant {
            return;
        }
    }
    panic!("nothing broke `{invariant}`");
}

/// Also the campaign: `SIM_SEED=N` runs one seed, or prints its script with `SIM_PRINT=1`; `SIM_MINUTES=M` or
/// `SIM_SEEDS=COUNT` runs many, from `SIM_FROM` on.
#[test]
fn fresh_seeds_break_no_promise() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect(name))
    };
    if let Some(seed) = number("SIM_SEED") {
        if std::env::var_os("SIM_PRINT").is_some() {
            return say(&scenario::script(seed));
        }
        say(&format!("sim: seed {seed}: {:?}", check(seed)));
        return;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let first = number("SIM_FROM").unwrap_or_else(|| {
        u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(0) & 0xffff_ffff_ffff
    });
    let minutes = number("SIM_MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
    let count = number("SIM_SEEDS").unwrap_or(if minutes.is_some() { u64::MAX } else { FRESH });
    let begun = Instant::now();
    say(&format!("sim: fresh seeds from {first}"));
    let mut total = (0, 0, 0, 0, 0);
    for seed in (first..).take(usize::try_from(count).unwrap_or(usize::MAX)) {
        if minutes.is_some_and(|minutes| begun.elapsed() >= minutes) {
            break;
        }
        let summary = check(seed);
        total.0 += 1;
        total.1 += summary.events;
        total.2 += summary.messages;
        total.3 += summary.errands;
        total.4 += summary.span / 3_600_000;
    }
    let (seeds, events, messages, errands, hours) = total;
    say(&format!(
        "sim: {seeds} seeds, {events} events, {messages} messages, {errands} errands, {hours} hours of virtual time in {:?}",
        begun.elapsed()
    ));
}

/// Scripts that found something once, and one to try out: `SIM_SCRIPT=FILE`, with `SIM_TRACE=1` to see what happens.
#[test]
fn saved_scripts_break_no_promise() {
    let chosen = std::env::var_os("SIM_SCRIPT").map(|file| vec![file.into()]);
    for file in chosen.unwrap_or_else(saved_scripts) {
        let text = std::fs::read_to_string(&file).expect("a script");
        match play(&text) {
            Ok(summary) => assert!(
                summary.posts > 0,
                "{}: its plan says nothing that is loaded",
                file.display()
            ),
            Err(violation) => panic!("{}: {violation}", file.display()),
        }
    }
}

fn saved_scripts() -> Vec<PathBuf> {
    let saved = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/scripts");
    let entries = std::fs::read_dir(saved).expect("the directory of scripts");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry of it").path())
        .collect();
    files.sort();
    files
}

#[test]
fn equal_seeds_give_equal_bytes() {
    for seed in 100..103 {
        let (first, second) = (check(seed), check(seed));
        assert_eq!(first, second, "{}", Invariant::Repeatable.as_str());
    }
}
