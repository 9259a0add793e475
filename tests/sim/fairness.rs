//! Fairness, in virtual time: whoever makes noise delays nobody else's urgent alert.

use std::fmt::Write as _;

use crate::play;

/// How long the noise goes on, in seconds.
const NOISE: u64 = 300;
/// Alerts of the noisy source that come and go all the time, and so are soon told as flapping.
const FLAPPING: u64 = 100;
/// Alerts of the noisy source that fire each second for one second, and never again.
const PASSING: u64 = 20;

/// Who is there: `noisy` hears the noise, and what is urgent by a route of its own; `sharing` speaks through the same
/// bot, `apart` through one of its own; `broken`, too, hears the noise, and its bot hangs.
const PLAN: &str = "
source noise expire=86400
source am expire=86400
plan p0 bot shared per_minute=18
plan p0 bot own per_minute=18
plan p0 bot hanging per_minute=18
plan p0 receiver noisy bots=shared messages=3
plan p0 receiver sharing bots=shared messages=3
plan p0 receiver apart bots=own messages=3
plan p0 receiver broken bots=hanging messages=3
plan p0 route root receiver=noisy wait=0 interval=1 repeat=600
plan p0 route t1 if=team=noise receiver=broken wait=0 interval=1 repeat=600 continue
plan p0 route t2 if=team=noise receiver=noisy wait=0 interval=1 repeat=600
plan p0 route t3 if=team=both receiver=noisy wait=30 interval=300 repeat=14400 urgent continue
plan p0 route t4 if=team=both receiver=sharing wait=30 interval=300 repeat=14400 urgent
plan p0 route t5 if=team=apart receiver=apart wait=30 interval=300 repeat=14400 urgent
";

/// A script in which more than a hundred alerts come and go every second, and every minute something urgent happens
/// to three receivers.
pub(crate) fn script() -> String {
    let mut text = PLAN.to_owned();
    let mut line = |line: String| writeln!(text, "{line}").expect("texts take everything");
    let names = (0..FLAPPING).map(|number| format!("n{number}"));
    let passing = |second: u64| (0..PASSING).map(move |number| format!("p{second}-{number}"));
    for alert in names.chain((1..NOISE).flat_map(passing)) {
        line(format!("alert {alert} from=noise team=noise severity=warning"));
    }
    line("0s fault hanging hang=60000 times=0".to_owned());
    for second in 1..NOISE {
        let flapping = (0..FLAPPING).map(|number| {
            if second % 2 == 1 {
                format!("fire n{number} start={second}")
            } else {
                format!("end n{number} start={} end={second}", second - 1)
            }
        });
        let begun = passing(second).map(|alert| format!("fire {alert} start={second}"));
        let over = passing(second - 1).filter(|_| second > 1);
        let over = over.map(|alert| format!("end {alert} start={} end={second}", second - 1));
        let sayings: Vec<String> = flapping.chain(begun).chain(over).collect();
        line(format!("{second}s {}", sayings.join(" + ")));
    }
    for (number, at) in (10..NOISE).step_by(60).enumerate() {
        for (team, receivers) in [("both", &["noisy", "sharing"][..]), ("apart", &["apart"])] {
            let alert = format!("u-{team}-{number}");
            line(format!("alert {alert} from=am team={team} severity=critical"));
            line(format!("{at}.5s fire {alert} start={at}"));
            for receiver in receivers {
                line(format!("{}.5s told {receiver} {alert}", at + 5));
            }
        }
    }
    line(format!("{NOISE}s heal"));
    text
}

#[test]
fn in_virtual_time_noise_delays_nobody_elses_urgent_alert() {
    if let Err(violation) = play(&script()) {
        panic!("{violation}");
    }
}
