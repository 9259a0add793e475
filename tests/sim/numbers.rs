//! The numbers a digest shows: read from what a template of ours prints, and counted again.

use std::collections::BTreeMap;

use dingest::alert::Severity;
use dingest::digest::{Change, Draft, Message, Rendered};

use crate::shapes::is_picture;

/// A template that shows every number, and the alerts it lists.
pub(crate) const TEMPLATE: &str = "\
numbers part={{part}} parts={{parts}} told={{counts.told}} new={{counts.new}} again={{counts.again}} \
resolved={{counts.resolved}} passed={{counts.passed}} flapping={{counts.flapping}} expired={{counts.expired}} \
reminder={{counts.reminder}} critical={{firing.critical}} warning={{firing.warning}} info={{firing.info}} \
firing={{firing.total}} begun={{begun.total}} rest={{rest.alerts}}
{{#each sections}}

section key={{state}}{{#each labels}}/{{this}}{{/each}} told={{counts.told}} more={{more}} \
listed={{#each alerts}}{{labels.alertname}},{{/each}}
{{/each}}
";

/// The same in lines, for messages that have no text of their own.
pub(crate) const LINES: &str = "\
{{#each sections}}
section key={{state}}{{#each labels}}/{{this}}{{/each}} told={{counts.told}} more={{more}} \
listed={{#each alerts}}{{labels.alertname}},{{/each}}
{{else}}
numbers part={{part}} parts={{parts}} told={{counts.told}} new={{counts.new}} again={{counts.again}} \
resolved={{counts.resolved}} passed={{counts.passed}} flapping={{counts.flapping}} expired={{counts.expired}}
numbers reminder={{counts.reminder}} critical={{firing.critical}} warning={{firing.warning}} \
info={{firing.info}} firing={{firing.total}} begun={{begun.total}} rest={{rest.alerts}}
{{/each}}
";

/// What the messages of a digest show, and what is wrong with it.
pub(crate) fn check(draft: &Draft, rendered: &Rendered) -> Result<(), String> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let mut rest = 0;
    let texts: Vec<&Message> = (rendered.messages.iter())
        .filter(|message| !is_picture(message))
        .collect();
    for message in &texts {
        let lines: Vec<Shown<'_>> = message.text.lines().filter_map(Shown::read).collect();
        let Some(numbers) = Shown::numbers(&lines) else {
            return Err(format!("it shows no numbers:\n{}", message.text));
        };
        check_counts(draft, &numbers)?;
        if numbers.number("parts")? != texts.len() as u64 {
            return Err("it has another number of parts".to_owned());
        }
        rest = numbers.number("rest")?;
        for shown in lines.iter().filter(|shown| shown.what == "section") {
            let (told, more) = (shown.number("told")?, shown.number("more")?);
            let section = sections.entry(shown.text("key")?.to_owned()).or_default();
            let listed = shown.text("listed")?.split(',').filter(|name| !name.is_empty());
            section.listed += listed.count() as u64;
            section.is_cut |= shown.is_cut;
            (section.told, section.more) = (told, more);
        }
    }
    for (key, section) in &sections {
        if section.listed + section.more != section.told && !section.is_cut {
            return Err(format!("of `{key}` it lists and counts otherwise: {section:?}"));
        }
    }
    let told: u64 = sections.values().map(|section| section.told).sum();
    if told + rest == draft.entries.len() as u64 {
        return Ok(());
    }
    Err(format!(
        "{told} are in sections and {rest} are not, of {}",
        draft.entries.len()
    ))
}

/// The numbers of the whole digest.
fn check_counts(draft: &Draft, shown: &Shown<'_>) -> Result<(), String> {
    let with = |change: Change| {
        draft
            .entries
            .iter()
            .filter(|entry| entry.change == change)
            .count() as u64
    };
    let begun = [Change::New, Change::Again, Change::Flapping]
        .map(with)
        .iter()
        .sum();
    let [critical, warning, info] = draft.firing;
    let mut expected = vec![
        ("told", draft.entries.len() as u64),
        ("begun", begun),
        (Severity::Critical.as_str(), critical),
        (Severity::Warning.as_str(), warning),
        (Severity::Info.as_str(), info),
        ("firing", critical + warning + info),
    ];
    expected.extend(Change::ALL.map(|change| (change.as_str(), with(change))));
    for (name, expected) in expected {
        let number = shown.number(name)?;
        if number != expected {
            return Err(format!("it shows {number} as `{name}`, and there are {expected}"));
        }
    }
    Ok(())
}

/// A section, over all messages.
#[derive(Debug, Default)]
struct Section {
    told: u64,
    more: u64,
    listed: u64,
    /// Was there no room for all of its line?
    is_cut: bool,
}

/// A line of the template.
struct Shown<'a> {
    what: &'a str,
    words: BTreeMap<&'a str, &'a str>,
    is_cut: bool,
}

impl<'a> Shown<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (what, words) = line.split_once(' ')?;
        let words = words.split(' ').filter_map(|word| word.split_once('='));
        matches!(what, "numbers" | "section").then(|| Self {
            what,
            words: words.collect(),
            is_cut: line.ends_with('…'),
        })
    }

    /// All the numbers of a message, on however many lines.
    fn numbers(lines: &[Self]) -> Option<Self> {
        let numbers = lines.iter().filter(|shown| shown.what == "numbers");
        let words: BTreeMap<&str, &str> = numbers.flat_map(|shown| shown.words.clone()).collect();
        (!words.is_empty()).then_some(Self {
            what: "numbers",
            words,
            is_cut: false,
        })
    }

    fn text(&self, name: &str) -> Result<&'a str, String> {
        let text = self.words.get(name).copied();
        text.ok_or_else(|| format!("it shows no `{name}`"))
    }

    fn number(&self, name: &str) -> Result<u64, String> {
        let text = self.text(name)?;
        text.parse().map_err(|_| format!("`{name}` is `{text}`"))
    }
}
