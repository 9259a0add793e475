//! The table of what was measured, beside what is to be reached.

use std::fmt;

/// One measurement.
pub(crate) struct Line {
    pub(crate) what: &'static str,
    /// As people read it.
    pub(crate) figure: String,
    /// What it was measured beside, or with.
    pub(crate) beside: String,
    /// What is held against the bounds: the figure, or its ratio to what is beside it.
    pub(crate) measured: f64,
    pub(crate) target: Bound,
    /// What the design must never fall short of.
    pub(crate) floor: Option<Bound>,
}

/// What a measurement has to reach.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(bound) => measured >= bound,
            Self::AtMost(bound) => measured <= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bound) = match self {
            Self::AtLeast(bound) => ('≥', bound),
            Self::AtMost(bound) => ('≤', bound),
        };
        f.pad(&format!("{sign} {}", short(*bound)))
    }
}

impl Line {
    fn verdict(&self) -> &'static str {
        if self.is_below_its_floor() {
            "BELOW THE FLOOR"
        } else if self.target.holds(self.measured) {
            "target reached"
        } else {
            "below the target"
        }
    }

    fn is_below_its_floor(&self) -> bool {
        self.floor.is_some_and(|floor| !floor.holds(self.measured))
    }
}

/// Everything that was measured, and under which circumstances.
pub(crate) struct Report {
    lines: Vec<Line>,
    notes: Vec<String>,
    load_before: String,
}

impl Report {
    pub(crate) fn begin() -> Self {
        Self {
            lines: Vec::new(),
            notes: Vec::new(),
            load_before: load_average(),
        }
    }

    pub(crate) fn add(&mut self, line: Line) {
        eprintln!("{}: {}", line.what, line.figure);
        self.lines.push(line);
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub(crate) fn is_below_a_floor(&self) -> bool {
        self.lines.iter().any(Line::is_below_its_floor)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<43} {:>18}  {:<44} {:>8} {:>9} {:>9}",
            "what", "figure", "beside, or with", "measured", "target", "floor"
        )?;
        for line in &self.lines {
            let floor = line.floor.map(|floor| floor.to_string()).unwrap_or_default();
            writeln!(
                f,
                "{:<43} {:>18}  {:<44} {:>8} {:>9} {:>9}  {}",
                line.what,
                line.figure,
                line.beside,
                short(line.measured),
                line.target,
                floor,
                line.verdict()
            )?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        write!(
            f,
            "{cores} cores, load average {} before and {} after; all processes share them",
            self.load_before,
            load_average()
        )
    }
}

/// The machine's load over the last minute, without which no figure means much.
fn load_average() -> String {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split(' ').next().unwrap_or_default().to_owned()
}

/// A number with its thousands set apart.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number as short as it can be told.
fn short(number: f64) -> String {
    if number < 100.0 {
        let text = format!("{number:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        grouped(number)
    }
}

/// The middle one.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
