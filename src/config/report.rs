//! What is wrong with a configuration: every problem with its place, a picture of it and what to do.
//!
//! The same report comes from `check`, from start-up and from a reload. A report is made once, when loading has
//! ended, and is then plain text and numbers.
//!
//! **Invariant:** no secret is in it. Pictures are drawn from texts in which secrets are blanked, and messages
//! never quote a value that stands where a secret belongs.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};

use crate::config::yaml::SECRET_KEYS;

/// Width of reports in columns.
const REPORT_COLUMNS: usize = 110;
/// Most problems a report shows; the others are counted.
const PROBLEMS_SHOWN_MAX: usize = 100;

/// The problems of one attempt to load a configuration, in the order of files and lines.
#[derive(Clone, Debug, Default)]
pub struct Report {
    problems: Vec<Problem>,
    files: Vec<PathBuf>,
}

/// One problem.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Does it stand in the way of the configuration, or is it only odd?
    pub severity: Severity,
    /// The file, as the user named it; empty when it is about no file.
    pub file: String,
    /// Line, counted from 1.
    pub line: Option<usize>,
    /// Column in characters, counted from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    picture: Option<Picture>,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can.
    Warning,
}

impl Report {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The problems, for logs and the API.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The files that were read or looked for, so that a reload can wait for them to be put right.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The report as a terminal shows it, with or without colour.
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(REPORT_COLUMNS)
            .with_context_lines(1);
        let mut text = String::new();
        for problem in self.problems.iter().take(PROBLEMS_SHOWN_MAX) {
            if handler.render_report(&mut text, problem).is_err() {
                // Drawing cannot fail on a String; should it do so all the same, the sentence remains.
                text.push_str(&problem.summary());
            }
            text.push('\n');
        }
        text.push_str(&self.count());
        text
    }

    fn count(&self) -> String {
        let warnings = self
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Warning)
            .count();
        let errors = self.problems.len() - warnings;
        let plural = |count: usize, word: &str| match count {
            1 => format!("1 {word}"),
            count => format!("{count} {word}s"),
        };
        let counts = match (errors, warnings) {
            (0, warnings) => plural(warnings, "warning"),
            (errors, 0) => plural(errors, "problem"),
            (errors, warnings) => format!("{}, {}", plural(errors, "problem"), plural(warnings, "warning")),
        };
        if self.problems.len() > PROBLEMS_SHOWN_MAX {
            format!("{counts}; the first {PROBLEMS_SHOWN_MAX} are shown\n")
        } else {
            format!("{counts}\n")
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

impl Problem {
    /// One line: `file:line:column: message`.
    pub fn summary(&self) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}: {}", self.file, self.message),
            _ if self.file.is_empty() => self.message.clone(),
            _ => format!("{}: {}", self.file, self.message),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without a picture there is no other place for the file's name.
        if self.picture.is_none() {
            f.write_str(&self.summary())
        } else {
            f.write_str(&self.message)
        }
    }
}

impl std::error::Error for Problem {}

impl miette::Diagnostic for Problem {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.picture
            .as_ref()
            .map(|picture| &picture.source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let picture = self.picture.as_ref()?;
        Some(Box::new(picture.labels.iter().enumerate().map(
            |(index, (range, text))| {
                let text = (!text.is_empty()).then(|| text.clone());
                if index == 0 {
                    LabeledSpan::new_primary_with_span(text, range.clone())
                } else {
                    LabeledSpan::new_with_span(text, range.clone())
                }
            },
        )))
    }
}

/// A text with secrets blanked and the places to point at.
#[derive(Clone, Debug)]
struct Picture {
    source: NamedSource<Arc<str>>,
    labels: Vec<(Range<usize>, String)>,
}

/// The number of a file that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileNo(usize);

/// A place in a file, in bytes of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: FileNo,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Place {
    /// The place as sorting needs it.
    fn order(self) -> (FileNo, usize) {
        (self.file, self.start)
    }
}

/// Collects what is found while loading; reading goes on after each.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    sources: Vec<Source>,
    list: Vec<Finding>,
    files: Vec<PathBuf>,
    /// How who finds a secret named comes by it.
    secrets: Secrets,
}

/// Where secrets come from that are not in the files themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// From where the configuration says.
    #[default]
    Fetched,
    /// From nowhere: something stands for each, because nothing will be sent.
    Invented,
}

/// A file that was read.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    name: String,
    text: String,
    /// Where secrets stand.
    secrets: Vec<Range<usize>>,
}

/// A problem whose picture has not been drawn yet.
#[derive(Debug)]
pub(crate) struct Finding {
    severity: Severity,
    place: Option<Place>,
    file: String,
    message: String,
    help: Option<String>,
    label: String,
    also: Vec<(Place, &'static str)>,
}

impl Finding {
    /// Says what to do.
    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Says what to do, when there is something to say.
    pub(crate) fn maybe_help(&mut self, help: Option<String>) -> &mut Self {
        self.help = help.or(self.help.take());
        self
    }

    /// Words beside the picture.
    pub(crate) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }

    /// Another place that belongs to it.
    pub(crate) fn also(&mut self, place: Place, label: &'static str) -> &mut Self {
        self.also.push((place, label));
        self
    }
}

impl Findings {
    /// Nothing yet; secrets are come by like this.
    pub(crate) fn with(secrets: Secrets) -> Self {
        Self {
            secrets,
            ..Self::default()
        }
    }

    /// How secrets are come by.
    pub(crate) const fn secrets(&self) -> Secrets {
        self.secrets
    }

    /// Keeps the text of a file for pictures.
    pub(crate) fn add_source(&mut self, path: &Path, text: String) -> FileNo {
        self.sources.push(Source {
            path: path.to_owned(),
            name: path.display().to_string(),
            text,
            secrets: Vec::new(),
        });
        FileNo(self.sources.len() - 1)
    }

    /// Remembers that a file, or a pattern of files, matters. Returns whether that is news.
    pub(crate) fn watch(&mut self, path: PathBuf) -> bool {
        let news = !self.files.contains(&path);
        if news {
            self.files.push(path);
        }
        news
    }

    /// Marks a range of a file as secret.
    pub(crate) fn hide(&mut self, place: Place) {
        self.sources[place.file.0].secrets.push(place.start..place.end);
    }

    /// The text of a file.
    pub(crate) fn text(&self, file: FileNo) -> &str {
        &self.sources[file.0].text
    }

    /// The name of a file, as the user named it.
    pub(crate) fn name(&self, file: FileNo) -> &str {
        &self.sources[file.0].name
    }

    /// A path that a file names, which is relative to that file.
    pub(crate) fn resolve(&self, file: FileNo, path: &str) -> PathBuf {
        let directory = self.sources[file.0].path.parent().unwrap_or(Path::new(""));
        directory.join(path)
    }

    /// The line of a place, counted from 1.
    pub(crate) fn line(&self, place: Place) -> usize {
        line_and_column(self.text(place.file), place.start).0
    }

    /// A place so many bytes inside a text that may be quoted or a block: exact when the text stands in the file
    /// as it is, the whole text otherwise.
    pub(crate) fn inside(&self, place: Place, offset: usize) -> Place {
        let written = self.text(place.file).get(place.start..place.end).unwrap_or("");
        let quoted = written.starts_with('\'') && !written.trim_matches('\'').contains('\'');
        let plain = !written.starts_with(['"', '\'', '|', '>']) && !written.contains('\n');
        let start = place.start + offset + usize::from(quoted);
        if (quoted || plain) && start < place.end && self.text(place.file).is_char_boundary(start) {
            Place { start, ..place }
        } else {
            place
        }
    }

    /// The place of a line and column, both counted from 1, to the end of the line.
    pub(crate) fn place_at(&self, file: FileNo, line: usize, column: usize) -> Place {
        let text = self.text(file);
        let before: usize = text
            .split_inclusive('\n')
            .take(line.saturating_sub(1))
            .map(str::len)
            .sum();
        let rest = text.get(before..).unwrap_or("").lines().next().unwrap_or("");
        let skip: usize = rest
            .chars()
            .take(column.saturating_sub(1))
            .map(char::len_utf8)
            .sum();
        Place {
            file,
            start: before + skip,
            end: before + rest.len(),
        }
    }

    /// Notes a problem at a place.
    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>) -> &mut Finding {
        self.add(Severity::Error, Some(place), String::new(), message.into())
    }

    /// Notes an oddity at a place, or about the configuration as a whole.
    pub(crate) fn warning(&mut self, place: Option<Place>, message: impl Into<String>) -> &mut Finding {
        self.add(Severity::Warning, place, String::new(), message.into())
    }

    /// Notes a problem of a file that has no place in it.
    pub(crate) fn file_error(&mut self, path: &Path, message: impl Into<String>) -> &mut Finding {
        self.add(Severity::Error, None, path.display().to_string(), message.into())
    }

    fn add(
        &mut self,
        severity: Severity,
        place: Option<Place>,
        file: String,
        message: String,
    ) -> &mut Finding {
        let index = self.list.len();
        self.list.push(Finding {
            severity,
            place,
            file,
            message,
            help: None,
            label: String::new(),
            also: Vec::new(),
        });
        &mut self.list[index]
    }

    /// Whether anything stands in the way.
    pub(crate) fn failed(&self) -> bool {
        self.list
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// Draws the pictures.
    pub(crate) fn into_report(mut self) -> Report {
        self.list.sort_by_key(|finding| finding.place.map(Place::order));
        let blanked: Vec<Blanked> = self.sources.iter().map(Blanked::new).collect();
        let problems = self
            .list
            .into_iter()
            .map(|mut finding| {
                finding.message = without(finding.message, &self.sources);
                draw(finding, &self.sources, &blanked)
            })
            .collect();
        Report {
            problems,
            files: self.files,
        }
    }
}

/// A message that quotes nothing that is hidden in pictures. Words that are keys are words like any others.
fn without(message: String, sources: &[Source]) -> String {
    let hidden = sources
        .iter()
        .flat_map(|source| {
            source
                .secrets
                .iter()
                .filter_map(|range| source.text.get(range.clone()))
        })
        .map(|text| text.trim_matches(['"', '\'']))
        .filter(|text| !text.is_empty() && !SECRET_KEYS.contains(text));
    hidden.fold(message, |message, hidden| {
        if message.contains(hidden) {
            message.replace(&format!("`{hidden}`"), "`***`")
        } else {
            message
        }
    })
}

fn draw(finding: Finding, sources: &[Source], blanked: &[Blanked]) -> Problem {
    let Finding {
        severity,
        place,
        file,
        message,
        mut help,
        label,
        also,
    } = finding;
    let Some(place) = place else {
        return Problem {
            severity,
            file,
            line: None,
            column: None,
            message,
            help,
            picture: None,
        };
    };
    let source = &sources[place.file.0];
    let (line, column) = line_and_column(&source.text, place.start);
    let shown = &blanked[place.file.0];
    let mut labels = vec![(shown.range(place), label)];
    for (other, label) in also {
        if other.file == place.file {
            labels.push((shown.range(other), label.to_owned()));
        } else {
            let source = &sources[other.file.0];
            let (line, column) = line_and_column(&source.text, other.start);
            let text = format!("{label}: {}:{line}:{column}", source.name);
            help = Some(help.map_or(text.clone(), |help| format!("{help}\n{text}")));
        }
    }
    Problem {
        severity,
        file: source.name.clone(),
        line: Some(line),
        column: Some(column),
        message,
        help,
        picture: Some(Picture {
            source: NamedSource::new(&source.name, Arc::clone(&shown.text)),
            labels,
        }),
    }
}

/// Line and column in characters, both counted from 1.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    (line, column)
}

/// A text whose secrets are stars, and how places move in it.
struct Blanked {
    text: Arc<str>,
    /// Old range and new start of each blanked piece, in order.
    moves: Vec<(Range<usize>, Range<usize>)>,
}

impl Blanked {
    fn new(source: &Source) -> Self {
        let mut secrets = source.secrets.clone();
        secrets.sort_by_key(|range| range.start);
        let mut text = String::with_capacity(source.text.len());
        let mut moves = Vec::new();
        let mut done = 0;
        for secret in secrets {
            let secret = secret.start.max(done)..secret.end;
            if secret.is_empty() {
                continue;
            }
            text.push_str(source.text.get(done..secret.start).unwrap_or(""));
            let start = text.len();
            let hidden = source.text.get(secret.clone()).unwrap_or("");
            let after = source.text.get(secret.end..).unwrap_or("");
            text.push_str(&stars(hidden, after));
            moves.push((secret.clone(), start..text.len()));
            done = secret.end;
        }
        text.push_str(source.text.get(done..).unwrap_or(""));
        Self {
            text: text.into(),
            moves,
        }
    }

    /// Where an offset of the original lies; inside a secret it is the blank's start (or its end).
    fn offset(&self, offset: usize, at_end: bool) -> usize {
        let mut moved = offset;
        for (old, new) in &self.moves {
            if offset >= old.end {
                moved = new.end + (offset - old.end);
            } else if offset > old.start {
                return if at_end { new.end } else { new.start };
            } else {
                break;
            }
        }
        moved
    }

    /// A place in the blanked text, cut at the end of its first line.
    fn range(&self, place: Place) -> Range<usize> {
        let start = self.offset(place.start, false).min(self.text.len());
        let end = self.offset(place.end, true).clamp(start, self.text.len());
        let piece = self.text.get(start..end).unwrap_or("");
        let line = piece.split('\n').next().unwrap_or("").trim_end();
        start..start + line.len()
    }
}

/// What stands for a secret: three stars, and as many line breaks as it had. Where something follows on the
/// same line the stars keep the secret's width, so that columns in the picture are those of the file.
fn stars(hidden: &str, after: &str) -> String {
    let breaks = hidden.matches('\n').count();
    let follows = after
        .split('\n')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty());
    if breaks == 0 && follows {
        "*".repeat(hidden.chars().count())
    } else {
        format!("***{}", "\n".repeat(breaks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanked_texts_hold_no_secret_and_places_move_along() {
        let text = "a: topsecret, b: 1\nc: |\n  line one\n  line two\nd: 2\n";
        let find = |part: &str| {
            let start = text.find(part).unwrap();
            start..start + part.len()
        };
        let source = Source {
            path: PathBuf::new(),
            name: String::new(),
            text: text.to_owned(),
            secrets: vec![find("|\n  line one\n  line two"), find("topsecret")],
        };
        let blanked = Blanked::new(&source);
        assert_eq!(&*blanked.text, "a: *********, b: 1\nc: ***\n\n\nd: 2\n");
        let part = |of: Range<usize>| {
            let place = Place {
                file: FileNo(0),
                start: of.start,
                end: of.end,
            };
            blanked.text.get(blanked.range(place)).unwrap().to_owned()
        };
        assert_eq!(part(find("d: 2")), "d: 2");
        assert_eq!(part(find("b: 1")), "b: 1");
        assert_eq!(part(find("line two")), "***");
        assert_eq!(part(find("secret, b")), "*********, b");
    }
}
