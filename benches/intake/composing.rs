//! Whether anybody who posts notices that a large digest is made.

use std::path::Path;
use std::time::Duration;

use crate::alerts::{Format, Requests};
use crate::peers::Peer;
use crate::report::{Bound, Line, Report, median};
use crate::{Outcome, load};

/// Changes of the digest.
const CHANGES: usize = 10_000;
/// How often.
const ROUNDS: usize = 3;
/// How long a connection waits after an answer, so that the load alone keeps nobody waiting and the digest stays small.
const PAUSE: Duration = Duration::from_millis(150);
/// Requests of a round: so many that the digest is told well before the last of them.
const REQUESTS: usize = 5_000;
/// How long after it was begun a digest is composed, rendered, committed, sent and noted as told.
const MAKING: Duration = Duration::from_millis(300);

/// Posts single alerts all the while, and looks at those under way while the digest was made.
pub(crate) fn measure(report: &mut Report, directory: &Path) -> Outcome<()> {
    let (daemon, _) = Peer::dingest(&directory.join("composing"))?;
    let mut webhooks = Requests::to(Format::Webhook);
    let (mut during, mut otherwise, mut seen) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let last = daemon.composed_at()?;
        load::run(daemon.address(), &webhooks.take(CHANGES / 100, 100))?;
        let load = load::run_paced(daemon.address(), &webhooks.take(REQUESTS, 1), PAUSE)?;
        let composed_at = daemon.composed_at()?.filter(|at| Some(*at) != last);
        let composed_at = composed_at.ok_or("no digest was composed while alerts were posted")?;
        let (within, count) = load.answered_within_between(0.99, composed_at, composed_at + MAKING);
        during.push(within.as_secs_f64() * 1e3);
        otherwise.push(load.answered_within(0.99).as_secs_f64() * 1e3);
        seen += count;
        daemon.wait_until_told()?;
    }
    let (during, otherwise) = (median(during), median(otherwise));
    report.add(Line {
        what: "99 % answered while 10,000 changes are told",
        figure: format!("{during:.1} ms"),
        beside: format!("{seen} requests; {otherwise:.1} ms over the whole time"),
        measured: during,
        target: Bound::AtMost(10.0),
        floor: Some(Bound::AtMost(100.0)),
    });
    Ok(())
}
