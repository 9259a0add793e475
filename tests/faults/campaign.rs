//! Faults at random, one after the other and at the same time, from a seed, for as long as it is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::fault::Fault;
use crate::judge::{Judgement, judge};
use crate::ledger::Evidence;
use crate::world::{Settings, World};

/// How long it lasts unless `DINGEST_FAULTS_SECONDS` says otherwise.
const SECONDS: u64 = 20;
/// Rounds of one world, at most.
const ROUNDS_MAX: u64 = 12;

/// What became of one fault.
#[derive(Debug, Default)]
struct Row {
    injected: u32,
    acknowledged: usize,
    messages: usize,
    repeats: usize,
    lost_declared: usize,
    wrongs: usize,
    skipped: Option<String>,
}

/// What there was at the beginning of a round.
struct Before {
    acknowledged: usize,
    messages: usize,
    repeats: usize,
}

impl Before {
    fn of(world: &World) -> Self {
        let calls = world.chat.ledger();
        Self {
            acknowledged: world
                .producer
                .as_ref()
                .map_or(0, |producer| producer.postings().acknowledged()),
            messages: calls.iter().filter(|call| call.shown).count(),
            repeats: calls.iter().filter(|call| call.duplicate_of.is_some()).count(),
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "lasts as long as it is told; `.ci/run` runs a short one"]
async fn campaign() {
    let seconds = from_environment("DINGEST_FAULTS_SECONDS").unwrap_or(SECONDS);
    let seed = from_environment("DINGEST_FAULTS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("DINGEST_FAULTS_SECONDS={seconds} DINGEST_FAULTS_SEED={seed}");
    let (mut dice, mut table) = (Dice::new(seed), BTreeMap::new());
    let ends_at = Instant::now() + Duration::from_secs(seconds);
    let mut total = Judgement::default();
    let mut worlds = 0;
    while Instant::now() < ends_at || worlds == 0 {
        let judgement = one_world(&mut dice, ends_at, &mut table).await;
        worlds += 1;
        println!(
            "world {worlds}: {} alerts, {} messages, {} repeats, wrong: {:?}",
            judgement.acknowledged, judgement.messages, judgement.repeats, judgement.wrongs
        );
        total.acknowledged += judgement.acknowledged;
        total.messages += judgement.messages;
        total.repeats += judgement.repeats;
        total.lost_declared += judgement.lost_declared;
        total.wrongs.extend(judgement.wrongs);
    }
    println!("{}", shown(&table, worlds, &total));
    assert!(
        total.wrongs.is_empty(),
        "seed {seed}: {} wrong",
        total.wrongs.len()
    );
}

/// One daemon from its beginning to its end.
async fn one_world(dice: &mut Dice, ends_at: Instant, table: &mut BTreeMap<Fault, Row>) -> Judgement {
    let seed = dice.next();
    let wanted = Settings {
        disk: true,
        clock: true,
        bots: *dice.pick(&[1, 2, 3]),
    };
    let mut world = create(wanted, seed).await;
    let mut struck = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let faults = choose(dice);
        round(&mut world, &faults, dice, table).await;
        struck.extend(faults.iter().copied());
        if faults.iter().any(|fault| fault.destroys()) || Instant::now() >= ends_at {
            break;
        }
    }
    let evidence = world.end().await;
    let judgement = judge(&evidence);
    if !judgement.wrongs.is_empty() {
        keep(&evidence, seed);
    }
    struck.sort_unstable();
    struck.dedup();
    for fault in struck {
        let row = table.entry(fault).or_default();
        row.wrongs += judgement.wrongs.len();
        if fault.destroys() {
            row.lost_declared += judgement.lost_declared;
        }
    }
    judgement
}

/// Writes down what is needed to understand what went wrong.
fn keep(evidence: &Evidence, seed: u64) {
    let path = std::env::temp_dir().join(format!("dingest-faults-{seed:x}.log"));
    let mut text = evidence.log.join("\n");
    for call in &evidence.calls {
        writeln!(text, "\n{call:#?}").expect("a text can be written to");
    }
    write!(text, "{:#?}\n{:#?}", evidence.circumstances, evidence.postings)
        .expect("a text can be written to");
    std::fs::write(&path, text).expect("a file is written");
    println!("log and ledgers are in {}", path.display());
}

/// The world that is wanted, or what the machine allows of it.
async fn create(wanted: Settings, seed: u64) -> World {
    let less = [
        wanted,
        Settings {
            disk: false,
            ..wanted
        },
        Settings {
            clock: false,
            ..wanted
        },
        Settings {
            disk: false,
            clock: false,
            ..wanted
        },
    ];
    for settings in less {
        match World::new(settings, seed).await {
            Ok(world) => return world,
            Err(reason) => println!("{settings:?} is not possible here: {reason}"),
        }
    }
    panic!("no world is possible here");
}

/// One fault, or two at the same time. One that destroys the database is the last of its world, and rarer.
fn choose(dice: &mut Dice) -> Vec<Fault> {
    let mut faults = Vec::new();
    let number = 1 + usize::from(dice.percent(33));
    while faults.len() < number {
        let fault = *dice.pick(&Fault::ALL);
        let fits = !fault.destroys() || (faults.is_empty() && dice.percent(50));
        if fits && !faults.contains(&fault) {
            faults.push(fault);
            if fault.destroys() {
                break;
            }
        }
    }
    faults
}

async fn round(world: &mut World, faults: &[Fault], dice: &mut Dice, table: &mut BTreeMap<Fault, Row>) {
    let before = Before::of(world);
    let mut in_force = Vec::new();
    for fault in faults {
        match world.inject(*fault).await {
            Ok(()) => {
                table.entry(*fault).or_default().injected += 1;
                in_force.push(*fault);
            }
            Err(reason) => {
                world.lift(*fault).await;
                table.entry(*fault).or_default().skipped = Some(reason);
            }
        }
    }
    tokio::time::sleep(Duration::from_millis(dice.range(500, 8_000))).await;
    while !in_force.is_empty() {
        let lifted = *dice.pick(&in_force);
        in_force.retain(|fault| *fault != lifted);
        world.lift(lifted).await;
        tokio::time::sleep(Duration::from_millis(dice.range(0, 500))).await;
    }
    println!(
        "{}",
        faults
            .iter()
            .map(|fault| fault.name())
            .collect::<Vec<_>>()
            .join(" + ")
    );
    world.works().await;
    let after = Before::of(world);
    for fault in faults {
        let row = table.entry(*fault).or_default();
        row.acknowledged += after.acknowledged - before.acknowledged;
        row.messages += after.messages - before.messages;
        row.repeats += after.repeats - before.repeats;
    }
}

/// The table of results, as markdown.
fn shown(table: &BTreeMap<Fault, Row>, worlds: u32, total: &Judgement) -> String {
    let mut text = String::from(
        "| fault | injected | alerts acknowledged | messages | repeats, outcome unknown | lost with the file | verdict |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | --- |\n",
    );
    for (fault, row) in table {
        let verdict = match (&row.skipped, row.wrongs) {
            (Some(reason), _) if row.injected == 0 => format!("skipped: {reason}"),
            (_, 0) => "nothing wrong".to_owned(),
            (_, wrongs) => format!("**{wrongs} wrong**"),
        };
        let line = (
            fault.name(),
            row.injected,
            row.acknowledged,
            row.messages,
            row.repeats,
            row.lost_declared,
        );
        let (name, injected, acknowledged, messages, repeats, lost) = line;
        writeln!(
            text,
            "| {name} | {injected} | {acknowledged} | {messages} | {repeats} | {lost} | {verdict} |"
        )
        .expect("a text can be written to");
    }
    writeln!(
        text,
        "| all, in {worlds} worlds | | {} | {} | {} | {} | {} wrong |",
        total.acknowledged,
        total.messages,
        total.repeats,
        total.lost_declared,
        total.wrongs.len()
    )
    .expect("a text can be written to");
    text
}
