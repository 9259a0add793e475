//! Takes everything out of a failing script that it can fail without.

use crate::invariant::{Invariant, Violation};
use crate::play;

/// Runs of a script that shrinking may take.
const RUNS_MAX: u32 = 1500;

/// A script that breaks the same promise with as few lines and words as were found.
pub(crate) fn shrink(text: &str, invariant: Invariant) -> (String, Violation) {
    let mut shrinker = Shrinker {
        invariant,
        runs: 0,
        found: None,
    };
    // Without the line of a source its alerts live for another time, and the script would fail by another cause.
    let (sources, mut lines): (Vec<String>, Vec<String>) = text
        .lines()
        .map(str::to_owned)
        .partition(|line| line.starts_with("source "));
    let with_sources = |lines: &[String]| [&sources[..], lines].concat().join("\n");
    loop {
        let before = lines.len();
        lines = shrinker.fewer(lines, &with_sources);
        for index in 0..lines.len() {
            if lines[index].contains(" + ") {
                let line = lines[index].clone();
                let (time, rest) = line.split_once(' ').unwrap_or((&line, ""));
                let parts: Vec<String> = rest.split(" + ").map(str::to_owned).collect();
                let (head, tail) = (lines[..index].to_vec(), lines[index + 1..].to_vec());
                let whole = |parts: &[String]| {
                    let line = format!("{time} {}", parts.join(" + "));
                    with_sources(&[&head[..], &[line], &tail[..]].concat())
                };
                let parts = shrinker.fewer(parts, &whole);
                lines[index] = format!("{time} {}", parts.join(" + "));
            }
        }
        if lines.len() == before || shrinker.runs >= RUNS_MAX {
            break;
        }
    }
    let text = with_sources(&lines);
    let violation = shrinker
        .found
        .or_else(|| play(&text).err())
        .expect("it fails, or it would not be shrunk");
    (text, violation)
}

struct Shrinker {
    invariant: Invariant,
    runs: u32,
    /// How the smallest script fails.
    found: Option<Violation>,
}

impl Shrinker {
    /// Takes out halves, quarters, … and single parts, as long as it fails without them.
    fn fewer(&mut self, mut parts: Vec<String>, whole: &dyn Fn(&[String]) -> String) -> Vec<String> {
        let mut chunk = parts.len().div_ceil(2);
        while chunk > 0 && self.runs < RUNS_MAX {
            let mut at = 0;
            while at < parts.len() && parts.len() > 1 {
                let mut fewer = parts.clone();
                fewer.drain(at..(at + chunk).min(parts.len()));
                if !fewer.is_empty() && self.still_fails(&whole(&fewer)) {
                    parts = fewer;
                } else {
                    at += chunk;
                }
                if self.runs >= RUNS_MAX {
                    break;
                }
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
        parts
    }

    fn still_fails(&mut self, text: &str) -> bool {
        self.runs += 1;
        match play(text) {
            Err(violation) if violation.invariant == self.invariant => {
                self.found = Some(violation);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
}
