//! From a configuration of prometheus-webhook-dingtalk to one of ours.
//!
//! A target becomes a bot, a receiver, a source of its name and a route between them, so `/dingtalk/{target}/send` goes
//! on telling whom it told. Secrets go into files of their own, the built-in layouts come along as templates. What
//! cannot be carried over is noted with its place. Nothing is written here.
//!
//! The format is that program's `config/config.go`; its layouts are `template/default.tmpl`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value as Json, json};

use super::compile::endpoints::webhook;
use super::read::{At, Given, Read, SecretText, expected, mapping};
use super::report::{Findings, Place, Report};
use super::yaml::{Node, Value};
use super::{files, glob, read_file};
use crate::secret::Secret;

/// Most bytes of one of their template files.
const TEMPLATE_BYTES_MAX: usize = 1 << 20;

mapping! {
    /// A configuration of prometheus-webhook-dingtalk.
    "the configuration" Foreign {
        /// Leave the built-in templates out.
        [optional] no_builtin_template: bool,
        /// A file of templates.
        [optional] template: At<String>,
        /// Files of templates.
        [optional] templates: Vec<At<String>>,
        /// What is said to targets without a message of their own.
        [optional] default_message: Message,
        /// How long DingTalk may take.
        [optional] timeout: At<String>,
        /// Whom there is.
        [required] targets: Targets,
    }
    /// A target.
    "a target" Target {
        /// The bot's webhook.
        [secret] url: SecretText,
        /// The bot's signing secret.
        [secret] secret: SecretText,
        /// Whose phones ring.
        [optional] mention: Mention,
        /// What is said.
        [optional] message: Message,
    }
    /// Whose phones ring.
    "`mention`" Mention {
        /// Everybody's.
        [optional] all: bool,
        /// By mobile number.
        [optional] mobiles: Vec<At<String>>,
    }
    /// What is said.
    "`message`" Message {
        /// The title.
        [optional] title: At<String>,
        /// The text.
        [optional] text: At<String>,
    }
}

/// Targets by name, in the order of the file.
#[derive(Debug)]
pub(crate) struct Targets(Vec<(String, Target)>);

impl Read for Targets {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            expected(node, "targets by name", findings);
            return None;
        };
        let read = |(key, node): &(super::yaml::Key, Node), findings: &mut Findings| {
            Some((key.text.to_string(), Target::read(node, findings)?))
        };
        Some(Self(
            entries.iter().filter_map(|entry| read(entry, findings)).collect(),
        ))
    }

    fn schema(defs: &mut Map<String, Json>) -> Json {
        json!({"type": "object", "additionalProperties": Target::schema(defs)})
    }
}

/// One of their built-in layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layout {
    Default,
    Legacy,
}

impl Layout {
    /// The name of its template.
    const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Legacy => "legacy",
        }
    }

    /// Its files: the text, the list in it, the title.
    const fn files(self) -> [(&'static str, &'static str); 3] {
        macro_rules! layout {
            ($file:literal) => {
                (
                    $file,
                    include_str!(concat!(
                        "../../templates/prometheus-webhook-dingtalk/",
                        $file
                    )),
                )
            };
        }
        match self {
            Self::Default => [
                layout!("default.hbs"),
                layout!("default.alerts.hbs"),
                layout!("default.title.hbs"),
            ],
            Self::Legacy => [
                layout!("legacy.hbs"),
                layout!("legacy.alerts.hbs"),
                layout!("legacy.title.hbs"),
            ],
        }
    }
}

/// A file to be written.
#[derive(Clone)]
pub struct Written {
    /// Below the directory that everything goes into.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
    /// Whether only its owner may read it.
    pub secret: bool,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.secret { "***" } else { &self.text };
        f.debug_struct("Written")
            .field("path", &self.path)
            .field("text", &text)
            .field("secret", &self.secret)
            .finish()
    }
}

/// A configuration that was carried over.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What it consists of; `dingest.yaml` is the first.
    pub files: Vec<Written>,
    /// How many targets there are.
    pub targets: usize,
    /// What could not be carried over, line by line.
    pub left: Report,
}

/// Reads a configuration of prometheus-webhook-dingtalk. `alertmanager` is where links to alerts lead, as it is in
/// Alertmanager's own `--web.external-url`.
pub fn import(path: &Path, alertmanager: &str) -> Result<Imported, Report> {
    let mut findings = Findings::default();
    let Some((foreign, _)) = read_file::<Foreign>(path, None, &mut findings) else {
        return Err(findings.into_report());
    };
    let own = templates(&foreign, path, &mut findings);
    note_settings(&foreign, &mut findings);
    let mut targets: Vec<(&str, Carried)> = Vec::new();
    for (name, target) in foreign.targets.value().map_or(&[][..], |targets| &targets.0) {
        if let Some(carried) = carried(name, target, &foreign, &own, &mut findings) {
            targets.push((name, carried));
        }
    }
    if targets.is_empty() && !findings.failed() {
        let place = foreign.targets.place().unwrap_or(foreign.place);
        findings.error(place, "there is no target, so there is nothing to carry over");
    }
    if findings.failed() {
        return Err(findings.into_report());
    }
    Ok(Imported {
        files: files_of(&targets, alertmanager),
        targets: targets.len(),
        left: findings.into_report(),
    })
}

/// What a target comes to.
struct Carried {
    url: Secret,
    secret: Option<Secret>,
    mobiles: Vec<String>,
    all: bool,
    mentions: bool,
    layout: Layout,
}

/// Whether the other program would take this as the name of a target. Files get such names.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

fn carried(
    name: &str,
    target: &Target,
    foreign: &Foreign,
    own: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Option<Carried> {
    let text = |given: &Given<SecretText>| match given.value() {
        Some(SecretText::Inline(text)) => Some(Secret::new(text.as_str())),
        Some(SecretText::File(_) | SecretText::Env(_)) | None => None,
    };
    if !is_name(name) {
        findings
            .error(target.place, format!("`{name}` is no name of a target"))
            .help("a name is a letter and then letters, digits, `-` and `_`");
        return None;
    }
    let Some(url) = text(&target.url) else {
        findings.error(target.place, format!("target `{name}` has no `url`"));
        return None;
    };
    if let Err(problem) = webhook(url.expose().trim()) {
        let place = target.url.place().unwrap_or(target.place);
        findings.error(place, format!("the `url` of target `{name}` {problem}"));
        return None;
    }
    let mention = target.mention.value();
    let mobiles = mention.map_or(&[][..], |mention| mention.mobiles.items());
    let message = target.message.value().or(foreign.default_message.value());
    Some(Carried {
        url,
        secret: text(&target.secret),
        mobiles: mobiles.iter().map(|mobile| mobile.value.clone()).collect(),
        all: mention.is_some_and(|mention| mention.all.or(false)),
        mentions: mention.is_some(),
        layout: layout(message, own, findings),
    })
}

/// The layout that a message asks for; what it says beyond a layout's name is noted.
fn layout(message: Option<&Message>, own: &BTreeMap<String, String>, findings: &mut Findings) -> Layout {
    let said = |given: &Given<At<String>>| given.value().cloned();
    let text = message.and_then(|message| said(&message.text));
    let title = message.and_then(|message| said(&message.title));
    let wanted = |text: &Option<At<String>>, usual: &str| match text {
        Some(text) => called(&text.value).and_then(|name| resolve(name, own)),
        None => resolve(usual, own),
    };
    let of_text = wanted(&text, "ding.link.content");
    let chosen = of_text.unwrap_or(Layout::Default);
    for (given, found) in [(&text, of_text), (&title, wanted(&title, "ding.link.title"))] {
        let Some(given) = given.as_ref().filter(|_| found.is_none()) else {
            continue;
        };
        findings
            .warning(
                Some(given.place),
                format!("this is not one of the built-in layouts; `{}` is used", chosen.name()),
            )
            .help("write it as a handlebars template, see docs/templates.md, and name it in the receiver's `template`");
    }
    chosen
}

/// The template that a text calls, when it does nothing else.
fn called(text: &str) -> Option<&str> {
    static CALL: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"^\s*\{\{-?\s*template\s+"([^"]+)"\s+\.\s*-?\}\}\s*$"#).expect("a regular expression")
    });
    Some(CALL.captures(text)?.get(1)?.as_str())
}

/// The layout behind the name of a template: through templates of their own that only call another.
fn resolve(name: &str, own: &BTreeMap<String, String>) -> Option<Layout> {
    let mut name = name;
    for _ in 0..=own.len() {
        match own.get(name) {
            Some(body) => name = called(body)?,
            None => break,
        }
    }
    match name {
        "ding.link.title" | "ding.link.content" | "default.title" | "default.content" => {
            Some(Layout::Default)
        }
        "legacy.title" | "legacy.content" => Some(Layout::Legacy),
        _ => None,
    }
}

/// The templates in their own files, by name. All but those that only call another are noted.
fn templates(foreign: &Foreign, path: &Path, findings: &mut Findings) -> BTreeMap<String, String> {
    let mut own = BTreeMap::new();
    let directory = path.parent().unwrap_or(Path::new("."));
    let named = (foreign.template.value().into_iter()).chain(foreign.templates.items());
    for At { value, place } in named {
        let pattern = directory.join(value);
        let found = if glob::is_pattern(&pattern) {
            glob::expand(&pattern)
        } else {
            vec![pattern]
        };
        for file in found {
            match files::read(&file, TEMPLATE_BYTES_MAX) {
                Ok(text) => own.extend(definitions(&file, &text, findings)),
                Err(problem) => {
                    let message = format!("cannot read `{}`: {problem}", file.display());
                    findings.warning(Some(*place), message);
                }
            }
        }
    }
    own
}

/// The templates that one file defines, by name.
fn definitions(path: &Path, text: &str, findings: &mut Findings) -> Vec<(String, String)> {
    static DEFINE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"\{\{-?\s*define\s+"([^"]+)"\s*-?\}\}"#).expect("a regular expression")
    });
    static END: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\{\{-?\s*end\s*-?\}\}\s*$").expect("a regular expression"));
    let file = findings.add_source(path, text.to_owned());
    let heads: Vec<_> = DEFINE
        .captures_iter(text)
        .map(|head| (head.get_match(), head.extract::<1>().1))
        .collect();
    let mut definitions = Vec::new();
    for (index, (head, [name])) in heads.iter().enumerate() {
        let next = heads.get(index + 1).map_or(text.len(), |(next, _)| next.start());
        let body = text.get(head.end()..next).unwrap_or_default();
        let body = END.replace(body, "").into_owned();
        if called(&body).is_none() {
            let place = Place {
                file,
                start: head.start(),
                end: head.end(),
            };
            findings
                .warning(
                    Some(place),
                    format!("template `{name}` is in Go's language and is not carried over"),
                )
                .help("write it in handlebars, see docs/templates.md");
        }
        definitions.push(((*name).to_owned(), body));
    }
    definitions
}

/// Notes what there is no counterpart for.
fn note_settings(foreign: &Foreign, findings: &mut Findings) {
    if let Some(place) = foreign.timeout.place() {
        findings.warning(
            Some(place),
            "`timeout` is not carried over: DingTalk has ten seconds, and what may have arrived is sent again",
        );
    }
    if let Some(place) = foreign.no_builtin_template.place() {
        findings.warning(
            Some(place),
            "`no_builtin_template` is not carried over: the built-in templates are always there",
        );
    }
}

fn files_of(targets: &[(&str, Carried)], alertmanager: &str) -> Vec<Written> {
    let mut files = vec![Written {
        path: "dingest.yaml".into(),
        text: configuration(targets),
        secret: false,
    }];
    for (name, target) in targets {
        let secrets = [("url", Some(&target.url)), ("secret", target.secret.as_ref())];
        for (kind, text) in secrets {
            files.extend(text.map(|text| Written {
                path: Path::new("secrets").join(format!("{name}.{kind}")),
                text: format!("{}\n", text.expose()),
                secret: true,
            }));
        }
    }
    let layouts: BTreeSet<Layout> = targets.iter().map(|(_, target)| target.layout).collect();
    let link = format!(
        "{}/#/alerts?receiver={{{{receiver}}}}",
        alertmanager.trim_end_matches('/')
    );
    for (name, text) in layouts.into_iter().flat_map(Layout::files) {
        files.push(Written {
            path: Path::new("templates").join(name),
            text: text.replace("ALERTMANAGER", &link),
            secret: false,
        });
    }
    files
}

/// Our configuration. Names are letters, digits, `-` and `_`, and all else is quoted.
fn configuration(targets: &[(&str, Carried)]) -> String {
    let lines = |of: fn(&str, &Carried) -> String| -> String {
        targets.iter().map(|(name, target)| of(name, target)).collect()
    };
    let sources = lines(|name, _| format!("  - {{ name: {name}, type: alertmanager }}\n"));
    let bots = lines(bot);
    let receivers = lines(receiver);
    let routes = lines(|name, _| format!("    - {{ receiver: {name}, sources: [{name}] }}\n"));
    let first = targets.first().map_or("", |(name, _)| name);
    format!(
        "{HEAD}locale: en\ntemplates: [templates/*.hbs]\n\n\
         sources:\n{sources}\nbots:\n{bots}\nreceivers:\n{receivers}\n\
         route:\n  receiver: {first}\n  \
         # Alertmanager has waited for company already.\n  group_wait: 1s\n  group_interval: 10s\n  routes:\n{routes}"
    )
}

fn bot(name: &str, target: &Carried) -> String {
    let secret = match target.secret {
        Some(_) => format!("    secret_file: secrets/{name}.secret\n"),
        None => String::new(),
    };
    format!("  - name: {name}\n    url_file: secrets/{name}.url\n{secret}")
}

fn receiver(name: &str, target: &Carried) -> String {
    let layout = target.layout.name();
    let mention = if target.mentions {
        // A text of JSON is one of YAML.
        let mobiles = json!(target.mobiles);
        let all = target.all;
        format!("    mention: {{ mobiles: {mobiles}, all: {all}, on: always }}\n")
    } else {
        String::new()
    };
    format!("  - name: {name}\n    bots: [{name}]\n    template: {layout}\n{mention}")
}

const HEAD: &str = "\
# Carried over from prometheus-webhook-dingtalk: Alertmanager goes on posting to /dingtalk/TARGET/send.
#
# A target is a source, a bot, a receiver and the route between them. Take the line `template:` from a receiver to have
# dingest's own digests. Senders on other machines need `server.listen`, and a credential or
# `server.allow_unauthenticated: true`.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_over_shows_no_secret() {
        let path = Path::new("tests/data/import/config.yml");
        let imported = import(path, "http://localhost:9093").unwrap_or_else(|report| panic!("{report}"));
        let secrets: Vec<&str> = (imported.files.iter())
            .filter(|file| file.secret)
            .map(|file| file.text.trim_end())
            .collect();
        assert!(secrets.len() > 1, "{imported:?}");
        let shown = format!("{imported:?}");
        for secret in secrets {
            assert!(!shown.contains(secret), "{secret} in\n{shown}");
        }
        assert!(
            !shown.contains("token-") && shown.contains("dingest.yaml"),
            "{shown}"
        );
    }
}
