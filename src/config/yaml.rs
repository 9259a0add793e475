//! A YAML text as a tree in which everything knows its place.
//!
//! Scalars stay text: what they mean is decided by whoever expects something there, so a token such as `12e4` is
//! never a number. Hostile texts meet limits: depth while parsing, nodes while aliases are copied. Secrets are
//! recognised here, by their keys, and hidden from pictures before anything can be wrong with them.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::{Arc, LazyLock};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as YamlSpan, StrInput};
use regex::Regex;

use super::report::{FileNo, Findings, Place};
use super::suggest;

/// Deepest nesting of lists and mappings.
const DEPTH_MAX: usize = 64;
/// Most nodes of one file after aliases have been copied.
const NODES_MAX: usize = 200_000;
/// Most bytes of one file.
pub(crate) const FILE_BYTES_MAX: usize = 4 << 20;

/// The keys whose values are secrets; each also exists with `_file` and `_env`, whose values are not.
pub(crate) const SECRET_KEYS: [&str; 6] = [
    "access_token",
    "bearer_token",
    "hmac_secret",
    "password",
    "secret",
    "url",
];

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
    /// The key it stands under, directly or in a list; empty at the top.
    pub(crate) key: Arc<str>,
    /// Whether it must not be quoted.
    pub(crate) secret: bool,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Empty,
    /// A scalar with its escapes resolved.
    Text {
        /// The text.
        text: String,
        /// Written without quotes and not as a block.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: Arc<str>,
    pub(crate) place: Place,
}

impl Node {
    /// What it is, for "expected …, found …".
    pub(crate) fn kind(&self) -> String {
        match &self.value {
            Value::Empty => "nothing".to_owned(),
            Value::Text { text, .. } if text.is_empty() => "an empty text".to_owned(),
            Value::Text { text, .. } if !self.secret && text.chars().count() <= 40 => format!("`{text}`"),
            Value::Text { .. } => "a text".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Reads a file's text. `None` when it is not YAML; an empty file is an empty mapping.
pub(crate) fn parse(file: FileNo, findings: &mut Findings) -> Option<Node> {
    let text = findings.text(file).to_owned();
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(
            &text,
            granit_parser::options! {
                emit_comments: false,
                disallow_directives: true,
                block_nesting_limit: DEPTH_MAX,
                flow_nesting_limit: DEPTH_MAX,
            },
        )
        .peekable(),
        file,
        text: &text,
        anchors: BTreeMap::new(),
        nodes_left: NODES_MAX,
        depth: 0,
        found: Vec::new(),
        dropped: Vec::new(),
    };
    let result = reader.document();
    let Reader {
        found, mut dropped, ..
    } = reader;
    match result {
        Ok(mut root) => {
            for (place, message, other) in found {
                let finding = findings.error(place, message);
                if let Some(other) = other {
                    finding.also(other, "first here");
                }
            }
            hide_secrets(&mut root, false, findings);
            hide_bare_bots(&mut root, findings);
            for (node, secret) in &mut dropped {
                hide_secrets(node, *secret, findings);
            }
            hide_secrets_in_comments(file, &text, findings);
            Some(root)
        }
        Err(stop) => {
            hide_secrets_of_broken_text(file, &text, findings);
            findings
                .error(stop.place, stop.message)
                .maybe_help(stop.help.map(str::to_owned));
            None
        }
    }
}

/// Why reading a text ended early.
struct Stop {
    place: Place,
    message: String,
    help: Option<&'static str>,
}

struct Reader<'a> {
    events: Peekable<Parser<'a, StrInput<'a>>>,
    file: FileNo,
    text: &'a str,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes_left: usize,
    depth: usize,
    /// Problems that do not end the reading: place, message, another place.
    found: Vec<(Place, String, Option<Place>)>,
    /// Values that are not part of the tree and may hold secrets all the same, or certainly are to be hidden.
    dropped: Vec<(Node, bool)>,
}

impl<'a> Reader<'a> {
    fn place(&self, span: YamlSpan) -> Place {
        let start = span.start.byte_offset().unwrap_or(0);
        let end = span.end.byte_offset().unwrap_or(start);
        // A block's span reaches to where the next key begins.
        let written = self.text.get(start..end).unwrap_or("").trim_end();
        Place {
            file: self.file,
            start,
            end: start + written.len(),
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Place), Stop> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                let place = self.place(span);
                Ok((event, place))
            }
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Err(Stop {
                place: Place {
                    file: self.file,
                    start: 0,
                    end: 0,
                },
                message: "the text ends in the middle of a value".to_owned(),
                help: None,
            }),
        }
    }

    fn syntax(&self, error: &ScanError) -> Stop {
        let start = error.marker().byte_offset().unwrap_or(0);
        Stop {
            place: Place {
                file: self.file,
                start,
                end: start + 1,
            },
            message: format!("this is not YAML: {}", error.kind()),
            help: Some(
                "mind the indentation, and quote values that hold `: `, ` #` or begin with one of `{[*&!|>%@`",
            ),
        }
    }

    /// The one document of a text.
    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, place) = self.next()?;
            if event == Event::StreamEnd {
                break;
            }
            if !matches!(event, Event::DocumentStart(..)) {
                continue;
            }
            if root.is_some() {
                return Err(Stop {
                    place,
                    message: "a second document begins here; a configuration is one document".to_owned(),
                    help: Some("put the other part into its own file and name it under `include`"),
                });
            }
            root = Some(self.node(&Arc::from(""))?);
        }
        Ok(root.unwrap_or_else(|| {
            let place = Place {
                file: self.file,
                start: 0,
                end: 0,
            };
            node(Value::Empty, place, &Arc::from(""))
        }))
    }

    fn spend(&mut self, nodes: usize, place: Place) -> Result<(), Stop> {
        match self.nodes_left.checked_sub(nodes) {
            Some(left) => {
                self.nodes_left = left;
                Ok(())
            }
            None => Err(Stop {
                place,
                message: format!("more than {NODES_MAX} values, those that aliases repeat included"),
                help: Some("a configuration of this size is a mistake or an attack; use fewer aliases"),
            }),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser may get more events; none but these begins a node"
    )]
    fn node(&mut self, key: &Arc<str>) -> Result<Node, Stop> {
        let before = self.nodes_left;
        let (event, place) = self.next()?;
        let (node, anchor) = match event {
            Event::Alias(id) => return self.alias(id, place, key),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let empty = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let custom = tag.is_some_and(|tag| tag.is_custom());
                let text = text.into_owned();
                if custom {
                    self.custom_tag(place);
                }
                let value = if empty {
                    Value::Empty
                } else {
                    Value::Text { text, plain }
                };
                (node(value, place, key), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                if tag.is_some_and(|tag| tag.is_custom()) {
                    self.custom_tag(place);
                }
                (self.nested(place, |reader| reader.list(place, key))?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                if tag.is_some_and(|tag| tag.is_custom()) {
                    self.custom_tag(place);
                }
                (self.nested(place, |reader| reader.map(place, key))?, anchor)
            }
            _ => (node(Value::Empty, place, key), 0),
        };
        self.spend(1, place)?;
        if anchor != 0 {
            let size = before - self.nodes_left;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn custom_tag(&mut self, place: Place) {
        self.found.push((
            place,
            "tags such as `!name` mean nothing here; leave it out".to_owned(),
            None,
        ));
    }

    fn nested(
        &mut self,
        place: Place,
        read: impl FnOnce(&mut Self) -> Result<Node, Stop>,
    ) -> Result<Node, Stop> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Stop {
                place,
                message: format!("nested more than {DEPTH_MAX} levels deep"),
                help: None,
            });
        }
        let node = read(self);
        self.depth -= 1;
        node
    }

    fn alias(&mut self, id: usize, place: Place, key: &Arc<str>) -> Result<Node, Stop> {
        let Some((node, size)) = self.anchors.get(&id).cloned() else {
            return Err(Stop {
                place,
                message: "this alias stands inside the value it refers to".to_owned(),
                help: None,
            });
        };
        self.spend(size, place)?;
        Ok(Node {
            key: Arc::clone(key),
            ..node
        })
    }

    fn list(&mut self, start: Place, key: &Arc<str>) -> Result<Node, Stop> {
        let mut items: Vec<Node> = Vec::new();
        while !matches!(self.events.peek(), Some(Ok((Event::SequenceEnd, _)))) {
            items.push(self.node(key)?);
        }
        let (_, end) = self.next()?;
        let place = enclosing(start, items.first().map(|item| item.place), end);
        Ok(node(Value::List(items), place, key))
    }

    fn map(&mut self, start: Place, key: &Arc<str>) -> Result<Node, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut merges = Vec::new();
        while !matches!(self.events.peek(), Some(Ok((Event::MappingEnd, _)))) {
            let name = self.node(key)?;
            let Value::Text { text, plain } = name.value else {
                self.found
                    .push((name.place, "a key must be a text".to_owned(), None));
                let value = self.node(key)?;
                self.dropped.extend([(name, true), (value, true)]);
                continue;
            };
            let text: Arc<str> = text.into();
            let mut value = self.node(&text)?;
            if matches!(value.value, Value::Empty) {
                value.place = name.place;
            }
            if plain && &*text == "<<" {
                merges.push(value);
                continue;
            }
            if let Some((first, _)) = entries.iter().find(|(key, _)| key.text == text) {
                let message = format!("`{text}` stands here twice");
                self.found.push((name.place, message, Some(first.place)));
                self.dropped.push((value, is_secret_key(&text)));
                continue;
            }
            let place = name.place;
            entries.push((Key { text, place }, value));
        }
        let (_, end) = self.next()?;
        let place = enclosing(start, entries.first().map(|(key, _)| key.place), end);
        self.merge(&mut entries, merges);
        Ok(node(Value::Map(entries), place, key))
    }

    /// YAML's merge key: entries of other mappings, where the mapping itself does not have them.
    fn merge(&mut self, entries: &mut Vec<(Key, Node)>, merges: Vec<Node>) {
        for node in merges {
            match node.value {
                Value::Map(others) => {
                    for (key, value) in others {
                        if entries.iter().any(|(known, _)| known.text == key.text) {
                            self.dropped.push((value, is_secret_key(&key.text)));
                        } else {
                            entries.push((key, value));
                        }
                    }
                }
                Value::List(nodes) => self.merge(entries, nodes),
                Value::Empty | Value::Text { .. } => {
                    let message = "`<<` takes a mapping or a list of mappings, such as `*defaults`";
                    self.found.push((node.place, message.to_owned(), None));
                    self.dropped.push((node, true));
                }
            }
        }
    }
}

fn node(value: Value, place: Place, key: &Arc<str>) -> Node {
    Node {
        value,
        place,
        key: Arc::clone(key),
        secret: false,
    }
}

/// Where to point for a list or mapping: all of it in brackets, otherwise where its first entry begins.
fn enclosing(start: Place, first: Option<Place>, end: Place) -> Place {
    if start.end > start.start {
        return Place {
            end: end.end,
            ..start
        };
    }
    first.unwrap_or(start)
}

/// Marks and hides every text that stands under a key which is, or looks like, that of a secret.
fn hide_secrets(node: &mut Node, secret: bool, findings: &mut Findings) {
    match &mut node.value {
        Value::Empty => {}
        Value::Text { text, .. } => {
            if secret || holds_secret(text, &node.key) {
                node.secret = true;
                findings.hide(node.place);
            }
        }
        Value::List(items) => {
            for item in items {
                hide_secrets(item, secret, findings);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                // A slip can make a secret part of a key: `access_token:x`, `{x}`.
                if secret || secret_in(&key.text, |key| key.contains([':', '='])).is_some() {
                    findings.hide(key.place);
                }
                let bare = !matches!(value.value, Value::Map(_)) && matches!(&*key.text, "auth" | "basic");
                hide_secrets(value, secret || bare || is_secret_key(&key.text), findings);
            }
        }
    }
}

/// Marks and hides texts that stand where a bot should: a token or a webhook URL without its key.
fn hide_bare_bots(root: &mut Node, findings: &mut Findings) {
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    for (_, bots) in entries.iter_mut().filter(|(key, _)| &*key.text == "bots") {
        let items = match &mut bots.value {
            Value::List(items) => items.as_mut_slice(),
            Value::Text { .. } | Value::Empty | Value::Map(_) => std::slice::from_mut(bots),
        };
        for item in items
            .iter_mut()
            .filter(|item| matches!(item.value, Value::Text { .. }))
        {
            item.secret = true;
            findings.hide(item.place);
        }
    }
}

/// Hides every text of a value.
pub(crate) fn hide(node: &Node, findings: &mut Findings) {
    match &node.value {
        Value::Empty => {}
        Value::Text { .. } => findings.hide(node.place),
        Value::List(items) => items.iter().for_each(|item| hide(item, findings)),
        Value::Map(entries) => entries.iter().for_each(|(_, value)| hide(value, findings)),
    }
}

/// Whether a key is that of a secret, or a misspelt one.
fn is_secret_key(key: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    if ["_file", "_env", "base_url", "external_url"]
        .iter()
        .any(|end| key.ends_with(end))
    {
        return false;
    }
    ["token", "secret", "passw", "url", "webhook"]
        .iter()
        .any(|part| key.contains(part))
        || suggest::nearest(&key, SECRET_KEYS).is_some()
}

/// Whether a text holds a pasted webhook URL, or keys and secrets that a slip made a part of it: a forgotten
/// colon, a stray quote or `>` before them. In jq expressions such words are labels.
fn holds_secret(text: &str, key: &str) -> bool {
    let jq = matches!(
        key,
        "alerts" | "identity" | "status" | "labels" | "annotations" | "starts_at" | "ends_at" | "link"
    );
    let key_and_value = || {
        text.split_once(char::is_whitespace)
            .is_some_and(|(word, rest)| !rest.trim().is_empty() && SECRET_KEYS.contains(&word))
    };
    let keys = || secret_in(text, |key| key.contains([':', '='])).is_some();
    text.contains("access_token=") || names_a_user(text) || (!jq && (key_and_value() || keys()))
}

/// Whether an address may hold a user name, and so a password, in which a `/` may stand by mistake.
fn names_a_user(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// One of these is in whatever looks like the key of a secret.
const SECRET_WORDS: [&str; 7] = ["token", "secret", "passw", "url", "webhook", "auth", "basic"];

/// Something that looks like the key of a secret, and what stands between it and its value.
static SECRET_KEY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let words = SECRET_WORDS.join("|");
    Regex::new(&format!(r#"(?i-u:[a-z_-]*({words})[a-z_-]*["']?)\s*[:=]?[ \t]*"#)).ok()
});

/// A line that begins with a key.
static KEY_LINE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"^[\s\-?{\[]*["']?[\w.-]+["']?\s*:(\s|$)"#).ok());

/// Where a secret may begin in a piece of text: behind the first of its keys that `counts`.
fn secret_in(text: &str, counts: fn(&str) -> bool) -> Option<usize> {
    let names_its_place = |key: &str| key.contains("_file") || key.contains("_env");
    // Most texts hold none, and a regular expression takes more memory than all of them.
    let lower = text.to_ascii_lowercase();
    if !SECRET_WORDS.iter().any(|word| lower.contains(word)) {
        return None;
    }
    SECRET_KEY
        .as_ref()?
        .find_iter(text)
        .find(|key| !names_its_place(key.as_str()) && counts(key.as_str()))
        .map(|key| key.end().min(text.trim_end().len()))
}

/// Settings are commented out with their values.
fn hide_secrets_in_comments(file: FileNo, text: &str, findings: &mut Findings) {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if let Some((before, comment)) = line.split_once('#')
            && let Some(from) = secret_in(comment, |key| key.contains([':', '=']))
        {
            findings.hide(Place {
                file,
                start: offset + before.len() + 1 + from,
                end: offset + line.trim_end().len(),
            });
        }
        offset += line.len();
    }
}

/// In a text that is not YAML there are no values: from every key that looks like a secret's to the end of the
/// line, and from there to the next line that begins with a key and is not indented more, nothing is shown.
fn hide_secrets_of_broken_text(file: FileNo, text: &str, findings: &mut Findings) {
    let Some(key_line) = KEY_LINE.as_ref() else { return };
    let mut offset = 0;
    let mut inside: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        let indent = line.len() - line.trim_start_matches([' ', '-', '?']).len();
        let continues = inside.is_some_and(|outer| indent > outer || !key_line.is_match(line));
        let from = if continues {
            Some(indent.min(content.len()))
        } else {
            secret_in(line, |_| true)
        };
        inside = if continues { inside } else { from.map(|_| indent) };
        if let Some(from) = from {
            findings.hide(Place {
                file,
                start: offset + from,
                end: offset + content.len(),
            });
        }
        offset += line.len();
    }
}
