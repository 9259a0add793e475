//! Alerts and requests per second, ours beside the others.

use std::path::Path;

use crate::Outcome;
use crate::alerts::{Format, Requests};
use crate::load::{self, Load};
use crate::peers::Peer;
use crate::report::{Bound, Line, Report, grouped, median};

/// How often each side has its turn.
const ROUNDS: usize = 5;
/// Requests of a round with one alert each, and with a hundred.
const SINGLES: usize = 30_000;
const HUNDREDS: usize = 500;

/// Measures all sides in turn.
pub(crate) fn measure(report: &mut Report, directory: &Path) -> Outcome<()> {
    singles(report, &directory.join("singles"))?;
    hundreds(report, &directory.join("hundreds"))
}

/// One new alert per request.
fn singles(report: &mut Report, directory: &Path) -> Outcome<()> {
    let (ours, _) = Peer::dingest(&directory.join("ours"))?;
    let nothing = Peer::empty_handler()?;
    let alertmanager = Peer::alertmanager(&directory.join("alertmanager"))?;
    let mut webhooks = Requests::to(Format::Webhook);
    let mut api = Requests::to(Format::Alertmanager);
    let mut sides = Sides::default();
    for _ in 0..ROUNDS {
        let requests = webhooks.take(SINGLES, 1);
        sides.nothing.push(load::run(nothing.address(), &requests)?);
        sides.ours.push(load::run(ours.address(), &requests)?);
        if let Some(peer) = &alertmanager {
            sides
                .alertmanager
                .push(load::run(peer.address(), &api.take(SINGLES, 1))?);
        }
    }
    sides.report_singles(report);
    Ok(())
}

/// A hundred alerts per request: new ones, then the same again.
fn hundreds(report: &mut Report, directory: &Path) -> Outcome<()> {
    let (ours, _) = Peer::dingest(&directory.join("ours"))?;
    let nothing = Peer::empty_handler()?;
    let alertmanager = Peer::alertmanager(&directory.join("alertmanager"))?;
    let mut webhooks = Requests::to(Format::Webhook);
    let mut api = Requests::to(Format::Alertmanager);
    let mut sides = Sides::default();
    for _ in 0..ROUNDS {
        let requests = webhooks.take(HUNDREDS, 100);
        sides.nothing.push(load::run(nothing.address(), &requests)?);
        sides.ours.push(load::run(ours.address(), &requests)?);
        sides.repeats.push(load::run(ours.address(), &requests)?);
        if let Some(peer) = &alertmanager {
            sides
                .alertmanager
                .push(load::run(peer.address(), &api.take(HUNDREDS, 100))?);
        }
    }
    sides.report_hundreds(report);
    Ok(())
}

/// The rounds of every side.
#[derive(Default)]
struct Sides {
    ours: Vec<Load>,
    repeats: Vec<Load>,
    nothing: Vec<Load>,
    alertmanager: Vec<Load>,
}

impl Sides {
    fn report_singles(&self, report: &mut Report) {
        let [ours, nothing] = [rate(&self.ours), rate(&self.nothing)];
        report.add(Line {
            what: "one new alert per request",
            figure: format!("{}/s", grouped(ours)),
            beside: format!("empty warp handler {}/s", grouped(nothing)),
            measured: ours / nothing,
            target: Bound::AtLeast(0.5),
            floor: Some(Bound::AtLeast(0.2)),
        });
        if !self.alertmanager.is_empty() {
            let theirs = rate(&self.alertmanager);
            report.note(format!(
                "one new alert per request, Alertmanager (not durable): {}/s",
                grouped(theirs)
            ));
        }
        let [half, most] = [0.5, 0.99].map(|share| {
            let times = self
                .ours
                .iter()
                .map(|load| load.answered_within(share).as_secs_f64());
            median(times.collect()) * 1e3
        });
        report.note(format!(
            "one new alert per request, {} connections: answered within {half:.1} ms (half), {most:.1} ms (99 %)",
            load::CONNECTIONS
        ));
    }

    fn report_hundreds(&self, report: &mut Report) {
        let ours = 100.0 * rate(&self.ours);
        let nothing = 100.0 * rate(&self.nothing);
        report.add(Line {
            what: "100 new alerts per request",
            figure: format!("{} alerts/s", grouped(ours)),
            beside: format!("empty warp handler {}/s", grouped(nothing)),
            measured: ours,
            target: Bound::AtLeast(150_000.0),
            floor: Some(Bound::AtLeast(50_000.0)),
        });
        if !self.alertmanager.is_empty() {
            let theirs = 100.0 * rate(&self.alertmanager);
            report.add(Line {
                what: "100 new alerts per request, × Alertmanager",
                figure: format!("{:.1} ×", ours / theirs),
                beside: format!("Alertmanager, not durable, {}/s", grouped(theirs)),
                measured: ours / theirs,
                target: Bound::AtLeast(3.0),
                floor: None,
            });
        }
        let repeats = 100.0 * rate(&self.repeats);
        report.add(Line {
            what: "100 repeats per request",
            figure: format!("{} alerts/s", grouped(repeats)),
            beside: String::new(),
            measured: repeats,
            target: Bound::AtLeast(400_000.0),
            floor: None,
        });
    }
}

fn rate(rounds: &[Load]) -> f64 {
    median(rounds.iter().map(Load::per_second).collect())
}
