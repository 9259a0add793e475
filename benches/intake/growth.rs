//! What grows with the number of active alerts, and what must not.
//!
//! One daemon is filled step by step. At each step everything has been told, then the same is measured: what it
//! takes in, how soon it answers, its memory, its restart, and a digest of as many changes. The first two are to
//! stay as they are however many alerts there are; the others grow as the alerts do, and no faster.

use std::path::Path;
use std::time::Duration;

use crate::alerts::{self, Format, Requests};
use crate::peers::Peer;
use crate::report::{Bound, Line, Report, grouped, median};
use crate::{Outcome, digest, load};

/// Active alerts at each step; the last with `--full` only.
const STEPS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// How often the rate is measured at each step, and by how many requests of one new alert.
const ROUNDS: usize = 5;
const SINGLES: usize = 2_000;
/// Requests of a hundred repeats each.
const REPEATS: usize = 300;
/// How long an allocator may take to give back what it does not need any more.
const CALM: Duration = Duration::from_secs(5);

/// What was measured with so many alerts.
struct Step {
    alerts: f64,
    singles_per_second: f64,
    answered_millis: f64,
    repeats_per_second: f64,
    bytes: f64,
    restart_seconds: f64,
    compose_millis: f64,
}

/// Measures every step.
pub(crate) fn measure(report: &mut Report, directory: &Path, full: bool) -> Outcome<()> {
    let state = directory.join("growth");
    let (mut daemon, _) = Peer::dingest(&state)?;
    std::thread::sleep(CALM);
    let idle = daemon.resident_bytes()?;
    report.add(Line {
        what: "idle memory",
        figure: format!("{:.1} MB", idle / 1e6),
        beside: String::new(),
        measured: idle / 1e6,
        target: Bound::AtMost(12.0),
        floor: None,
    });
    daemon.wait_until_told()?;
    report.note(format!(
        "idle memory once it was asked how it is: {:.1} MB",
        daemon.resident_bytes()? / 1e6
    ));
    let mut webhooks = Requests::to(Format::Webhook);
    let mut steps = Vec::new();
    for alerts in STEPS.into_iter().take(if full { 4 } else { 3 }) {
        while webhooks.made() + 100 <= alerts {
            let requests = ((alerts - webhooks.made()) / 100).min(100);
            load::run(daemon.address(), &webhooks.take(requests, 100))?;
        }
        daemon.wait_until_told()?;
        std::thread::sleep(CALM);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let held = webhooks.made() as f64;
        let bytes = daemon.resident_bytes()? - idle;
        let mut singles = Vec::new();
        for _ in 0..ROUNDS {
            singles.push(load::run(daemon.address(), &webhooks.take(SINGLES, 1))?);
        }
        let repeats = load::run(daemon.address(), &webhooks.again(REPEATS, 100))?;
        // Killed, not stopped: the restart has to take over the log as well.
        drop(daemon);
        let (restarted, took) = Peer::dingest(&state)?;
        daemon = restarted;
        let answered = singles
            .iter()
            .map(|load| load.answered_within(0.99).as_secs_f64());
        steps.push(Step {
            alerts: held,
            singles_per_second: median(singles.iter().map(load::Load::per_second).collect()),
            answered_millis: median(answered.collect()) * 1e3,
            repeats_per_second: 100.0 * repeats.per_second(),
            bytes,
            restart_seconds: took.as_secs_f64(),
            compose_millis: digest::millis(directory, u64::try_from(alerts)?, 3)?,
        });
    }
    for line in table(&steps) {
        report.note(line);
    }
    bounds(report, &steps);
    Ok(())
}

/// The steps for people.
fn table(steps: &[Step]) -> Vec<String> {
    let head = format!(
        "\n{:>13} {:>12} {:>14} {:>12} {:>12} {:>10} {:>12}",
        "active alerts", "new/s", "answered, 99 %", "repeats/s", "memory", "restart", "digest of all"
    );
    let rows = steps.iter().map(|step| {
        format!(
            "{:>13} {:>12} {:>11.1} ms {:>12} {:>9.1} MB {:>8.2} s {:>9.1} ms",
            grouped(step.alerts),
            grouped(step.singles_per_second),
            step.answered_millis,
            grouped(step.repeats_per_second),
            step.bytes / 1e6,
            step.restart_seconds,
            step.compose_millis,
        )
    });
    std::iter::once(head).chain(rows).collect()
}

/// The bounds of the last step, and what it may be beside the first or the one before.
fn bounds(report: &mut Report, steps: &[Step]) {
    let [first, .., before, last] = steps else { return };
    let with = format!("{} alerts", grouped(last.alerts));
    let each = last.bytes / last.alerts;
    report.add(Line {
        what: "memory per active, told alert",
        figure: format!("{each:.0} bytes"),
        beside: format!("{with} of {} bytes", alerts::BYTES),
        measured: each,
        target: Bound::AtMost(800.0),
        floor: Some(Bound::AtMost(1_500.0)),
    });
    report.add(Line {
        what: "restart after a kill",
        figure: format!("{:.2} s", last.restart_seconds),
        beside: with.clone(),
        measured: last.restart_seconds,
        target: Bound::AtMost(2.0),
        floor: None,
    });
    let flat = |what, measured: f64, target, floor| Line {
        what,
        figure: format!("{measured:.2} ×"),
        beside: format!("{with}, beside {}", grouped(first.alerts)),
        measured,
        target,
        floor: Some(floor),
    };
    report.add(flat(
        "growth: new alerts per second",
        last.singles_per_second / first.singles_per_second,
        Bound::AtLeast(0.7),
        Bound::AtLeast(0.35),
    ));
    report.add(flat(
        "growth: repeats per second",
        last.repeats_per_second / first.repeats_per_second,
        Bound::AtLeast(0.5),
        Bound::AtLeast(0.25),
    ));
    report.add(flat(
        "growth: answered, 99 %",
        last.answered_millis / first.answered_millis,
        Bound::AtMost(2.0),
        Bound::AtMost(5.0),
    ));
    let linear = |what, of: fn(&Step) -> f64| {
        let measured = (of(last) / last.alerts) / (of(before) / before.alerts);
        Line {
            what,
            figure: format!("{measured:.2} ×"),
            beside: format!("each of {with}, beside {}", grouped(before.alerts)),
            measured,
            target: Bound::AtMost(1.3),
            floor: Some(Bound::AtMost(2.5)),
        }
    };
    report.add(linear("growth: memory", |step| step.bytes));
    report.add(linear("growth: restart", |step| step.restart_seconds));
    report.add(linear("growth: digest", |step| step.compose_millis));
}
