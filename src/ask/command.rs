//! What can be asked, as people type it.

use crate::plan::matcher::Matcher;

/// Most characters of a question that are read.
const CHARS_MAX: usize = 500;

/// A question.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// What can be asked.
    Help,
    /// How everything is.
    Status,
    /// What fires, and matches.
    Firing(Vec<Matcher>),
    /// What became of an alert, by name or matchers.
    Why(Vec<Matcher>),
    /// Tell this chat now what it was to be told later.
    DigestNow,
}

/// Why a text is no question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoQuestion {
    /// It begins with no command; what it begins with.
    NoCommand(String),
    /// These are no matchers, and why.
    NoMatchers(String),
    /// `why` needs to know of what.
    WhyWhat,
}

impl Command {
    /// Reads a question. Nothing at all asks for help.
    pub(super) fn parse(text: &str) -> Result<Self, NoQuestion> {
        let text: String = text.trim().chars().take(CHARS_MAX).collect();
        let (word, rest) = text
            .split_once(char::is_whitespace)
            .unwrap_or((text.as_str(), ""));
        let rest = rest.trim();
        match word.trim_start_matches('/').to_lowercase().as_str() {
            "" | "help" | "?" | "？" | "帮助" => Ok(Self::Help),
            "status" | "状态" => Ok(Self::Status),
            "firing" | "告警" => Ok(Self::Firing(matchers(rest)?)),
            "why" | "为什么" if rest.is_empty() => Err(NoQuestion::WhyWhat),
            "why" | "为什么" if rest.contains(['=', '~']) => Ok(Self::Why(matchers(rest)?)),
            "why" | "为什么" => Ok(Self::Why(named(rest)?)),
            "digest" if rest.eq_ignore_ascii_case("now") => Ok(Self::DigestNow),
            "立即汇报" => Ok(Self::DigestNow),
            other => Err(NoQuestion::NoCommand(other.to_owned())),
        }
    }
}

/// Matchers as Alertmanager writes them, between commas or blanks, in braces or not.
fn matchers(text: &str) -> Result<Vec<Matcher>, NoQuestion> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let text = inner.unwrap_or(text).trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let problem = match Matcher::parse_list(text) {
        Ok(matchers) => return Ok(matchers),
        Err(problem) => problem,
    };
    // `team=web severity=critical`, without commas.
    let words: Result<Vec<Matcher>, _> = text.split_whitespace().map(Matcher::parse).collect();
    words.map_err(|_| NoQuestion::NoMatchers(problem.to_string()))
}

/// The alerts of a rule.
fn named(name: &str) -> Result<Vec<Matcher>, NoQuestion> {
    let quoted = serde_json::Value::from(name).to_string();
    Matcher::parse(&format!("alertname={quoted}"))
        .map(|matcher| vec![matcher])
        .map_err(|problem| NoQuestion::NoMatchers(problem.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(text: &str) -> String {
        match Command::parse(text) {
            Ok(Command::Firing(matchers)) => format!("firing {}", matchers.len()),
            Ok(Command::Why(matchers)) => format!("why {}", matchers.len()),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn questions_are_read_as_people_type_them() {
        for (text, outlined) in [
            ("", "Help"),
            ("help", "Help"),
            (" 帮助 ", "Help"),
            ("STATUS", "Status"),
            ("/status", "Status"),
            ("firing", "firing 0"),
            ("firing team=web", "firing 1"),
            ("firing team=web severity=~\"critical|page\"", "firing 2"),
            ("firing {team=\"web\", env!=\"test\"}", "firing 2"),
            ("告警 team=web", "firing 1"),
            ("why DiskFull", "why 1"),
            ("why \"odd\\ name", "why 1"),
            ("why alertname=DiskFull host=db-07", "why 2"),
            ("why", "WhyWhat"),
            ("digest now", "DigestNow"),
            ("立即汇报", "DigestNow"),
            ("digest", "NoCommand(\"digest\")"),
            ("reboot everything", "NoCommand(\"reboot\")"),
        ] {
            assert_eq!(outline(text), outlined, "{text}");
        }
        assert!(outline("firing =web").starts_with("NoMatchers"));
        assert!(outline("firing team=~\"(\"").starts_with("NoMatchers"));
        assert!(outline(&"x".repeat(100_000)).len() < 1000);
    }
}
