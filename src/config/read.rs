//! From the tree of a file to typed values, with every problem on the way noted and the reading going on.
//!
//! A type says in one place how it is read and how it is described to editors ([`Read`]). The mappings of the
//! configuration are declared by the macro `mapping!`, which makes the type, its reader and its schema from the
//! same list of keys; so the schema can describe nothing that is not read, and nothing is read that it lacks.

use serde_json::{Map, Value as Json, json};

use super::report::{Findings, Place};
use super::suggest;
use super::yaml::{Key, Node, SECRET_KEYS, Value, hide};
use crate::alert::Span;

/// A type that can be read from a tree and described by a schema.
pub(crate) trait Read: Sized {
    /// Reads a value; what is wrong with it is noted.
    fn read(node: &Node, findings: &mut Findings) -> Option<Self>;

    /// Its JSON schema; named definitions are added to `defs`.
    fn schema(defs: &mut Map<String, Json>) -> Json;
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// What became of an optional key.
#[derive(Clone, Debug)]
pub(crate) enum Given<T> {
    /// It is not there.
    Absent,
    /// It is there, and what is wrong with it has been noted.
    Unreadable,
    /// It is there.
    Is(At<T>),
}

impl<T> Given<T> {
    pub(crate) fn get(&self) -> Option<&At<T>> {
        match self {
            Self::Is(at) => Some(at),
            Self::Absent | Self::Unreadable => None,
        }
    }

    pub(crate) fn value(&self) -> Option<&T> {
        self.get().map(|at| &at.value)
    }

    pub(crate) fn place(&self) -> Option<Place> {
        self.get().map(|at| at.place)
    }

    /// Whether it is not there at all.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether it is there but was not understood: what hangs on it is not worth a second problem.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable)
    }
}

impl<T: Clone> Given<T> {
    /// The value, or what stands for it when it is not there.
    pub(crate) fn or(&self, default: T) -> T {
        self.value().cloned().unwrap_or(default)
    }
}

impl<T> Given<Vec<T>> {
    pub(crate) fn items(&self) -> &[T] {
        self.value().map_or(&[], Vec::as_slice)
    }
}

impl<T: Read> Read for At<T> {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        T::read(node, findings).map(|value| Self {
            value,
            place: node.place,
        })
    }

    fn schema(defs: &mut Map<String, Json>) -> Json {
        T::schema(defs)
    }
}

/// Notes that something else was expected.
pub(crate) fn expected<'a>(
    node: &Node,
    what: &str,
    findings: &'a mut Findings,
) -> &'a mut super::report::Finding {
    let key = if node.key.is_empty() {
        String::new()
    } else {
        format!("`{}`: ", node.key)
    };
    findings.error(node.place, format!("{key}expected {what}, found {}", node.kind()))
}

impl Read for String {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Text { text, .. } if !text.is_empty() => Some(text.clone()),
            Value::Empty | Value::Text { .. } | Value::List(_) | Value::Map(_) => {
                expected(node, "a text", findings);
                None
            }
        }
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// A text that may be a number and is used as written: days, years, telephone numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) String);

impl Read for Word {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        String::read(node, findings).map(Self)
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        json!({"type": ["string", "integer"], "minLength": 1})
    }
}

impl Read for bool {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        if let Value::Text { text, plain: true } = &node.value {
            match text.as_str() {
                "true" | "True" | "TRUE" => return Some(true),
                "false" | "False" | "FALSE" => return Some(false),
                _ => {}
            }
        }
        expected(node, "`true` or `false`", findings);
        None
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        json!({"type": "boolean"})
    }
}

/// A whole number between two bounds, both allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Read for Number<MIN, MAX> {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        if let Value::Text { text, plain: true } = &node.value
            && let Ok(number) = text.parse()
            && (MIN..=MAX).contains(&number)
        {
            return Some(Self(number));
        }
        expected(node, &format!("a whole number from {MIN} to {MAX}"), findings);
        None
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        json!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}

impl Read for Span {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let what = "a duration such as `30s`, `5m` or `1h30m`";
        let Value::Text { text, .. } = &node.value else {
            expected(node, what, findings);
            return None;
        };
        let span = parse_duration(text);
        if span.is_none() {
            let finding = expected(node, what, findings);
            if text.bytes().all(|byte| byte.is_ascii_digit()) {
                finding.help("add a unit: `ms`, `s`, `m`, `h`, `d` or `w`");
            }
        }
        span
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        json!({"type": ["string", "integer"], "maximum": 0, "pattern": r"^(0|(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?)$", "minLength": 1})
    }
}

/// Reads a duration such as `1h30m`: units from large to small, each once.
fn parse_duration(text: &str) -> Option<Span> {
    const UNITS: [(&str, u64); 6] = [
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    if text == "0" {
        return Some(Span(0));
    }
    let mut rest = text;
    let mut total = 0_u64;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let index = UNITS.iter().position(|(name, _)| *name == unit)?;
        if index < next_unit {
            return None;
        }
        next_unit = index + 1;
        let amount = digits.parse::<u64>().ok()?.checked_mul(UNITS.get(index)?.1)?;
        total = total.checked_add(amount)?;
        rest = after;
    }
    (!text.is_empty() && total <= Span::days(36_500).0).then_some(Span(total))
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Read for Size {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        if let Value::Text { text, .. } = &node.value
            && let Some(size) = parse_size(text)
        {
            return Some(Self(size));
        }
        expected(
            node,
            "a size such as `8MiB`, `20kB` or a number of bytes",
            findings,
        );
        None
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        json!({"type": ["string", "integer"], "pattern": r"^\d+ ?(B|kB|KB|KiB|MB|MiB|GB|GiB)?$", "minimum": 0})
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit.strip_prefix(' ').unwrap_or(unit) {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::List(items) => Some(items.iter().filter_map(|item| T::read(item, findings)).collect()),
            Value::Text { text, .. } => {
                let shown = !node.secret && !text.is_empty() && text.chars().count() <= 40;
                let text = if shown { text } else { "…" };
                expected(node, "a list", findings).help(format!("put it in brackets: `[{text}]`"));
                None
            }
            Value::Map(_) => {
                expected(node, "a list", findings).help("begin each element with `- `");
                None
            }
            Value::Empty => {
                expected(node, "a list", findings).help("write `[]` for an empty list, or leave the key out");
                None
            }
        }
    }

    fn schema(defs: &mut Map<String, Json>) -> Json {
        json!({"type": "array", "items": T::schema(defs)})
    }
}

/// A secret: in the file itself, in another one, or in an environment variable.
#[derive(Clone)]
pub(crate) enum SecretText {
    Inline(String),
    File(String),
    Env(String),
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("***"),
            Self::File(name) | Self::Env(name) => f.write_str(name),
        }
    }
}

/// A mapping while its keys are taken out one by one.
pub(crate) struct Keys<'a> {
    entries: &'a [(Key, Node)],
    place: Place,
    /// Keys that misspelt ones probably mean: they are not missing.
    meant: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    /// The keys of a mapping, those that are not `known` noted.
    pub(crate) fn of(
        node: &'a Node,
        what: &str,
        known: &[&'static str],
        findings: &mut Findings,
    ) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            // `server:` with nothing below is an empty section, as people leave it when they comment keys out.
            Value::Empty => &[],
            Value::Text { .. } | Value::List(_) => {
                let keys = known.first().map_or("`{}`".to_owned(), |key| {
                    format!("a mapping with keys such as `{key}`")
                });
                expected(node, &keys, findings);
                return None;
            }
        };
        let mut meant = Vec::new();
        let with_secrets = known.iter().any(|key| SECRET_KEYS.contains(key));
        for (key, value) in entries.iter().filter(|(key, _)| !known.contains(&&*key.text)) {
            // Whatever stands among secrets under a strange name may be one.
            if with_secrets {
                hide(value, findings);
            }
            meant.extend(suggest::nearest(&key.text, known.iter().copied()));
            findings
                .error(key.place, format!("{what} has no key `{}`", key.text))
                .maybe_help(suggest::did_you_mean_or_list(&key.text, known.iter().copied()));
        }
        Some(Self {
            entries,
            place: node.place,
            meant,
        })
    }

    fn find(&self, name: &str) -> Option<&'a Node> {
        self.entries
            .iter()
            .find(|(key, _)| &*key.text == name)
            .map(|(_, node)| node)
    }

    /// The value of a key that may be absent.
    pub(crate) fn optional<T: Read>(&self, name: &str, findings: &mut Findings) -> Given<T> {
        match self.find(name) {
            None if self.meant.contains(&name) => Given::Unreadable,
            None => Given::Absent,
            Some(node) => At::read(node, findings).map_or(Given::Unreadable, Given::Is),
        }
    }

    /// The value of a key that must be there.
    pub(crate) fn required<T: Read>(&self, what: &str, name: &str, findings: &mut Findings) -> Given<T> {
        let given = self.optional(name, findings);
        if given.is_absent() {
            findings.error(self.place, format!("{what} needs the key `{name}`"));
            return Given::Unreadable;
        }
        given
    }

    /// A secret under one of its three keys.
    pub(crate) fn secret(&self, names: [&str; 3], findings: &mut Findings) -> Given<SecretText> {
        let misspelt = names.iter().any(|name| self.meant.contains(name));
        let mut found: Given<SecretText> = if misspelt {
            Given::Unreadable
        } else {
            Given::Absent
        };
        let wraps: [fn(String) -> SecretText; 3] = [SecretText::Inline, SecretText::File, SecretText::Env];
        for (name, wrap) in names.into_iter().zip(wraps) {
            let Some(node) = self.find(name) else { continue };
            if let Given::Is(first) = &found {
                findings
                    .error(node.place, format!("`{}` is given more than once", names[0]))
                    .help(format!("keep one of `{}`", names.join("`, `")))
                    .also(first.place, "already given here");
                continue;
            }
            found = String::read(node, findings).map_or(Given::Unreadable, |text| {
                Given::Is(At {
                    value: wrap(text),
                    place: node.place,
                })
            });
        }
        found
    }
}

/// The name of a key whose field is a raw identifier.
pub(crate) fn key_name(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// A doc comment as one paragraph.
pub(crate) fn description(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Declares mappings: the type, how it is read, and its schema, from one list of keys.
///
/// Keys are `[required]`, `[optional]`, `[secret]` (three keys: as it is, `_file`, `_env`), or `[required_secret]` (of
/// which `compile` wants one).
macro_rules! mapping {
    ($(
        $(#[doc = $doc:expr])*
        $what:literal
        $name:ident { $( $(#[doc = $field_doc:expr])* [$mode:ident] $field:ident : $ty:ty, )* }
    )*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug)]
        #[allow(clippy::struct_field_names, reason = "fields are named as the keys are")]
        pub(crate) struct $name {
            /// Where the mapping stands.
            #[allow(dead_code, reason = "not every mapping is pointed at as a whole")]
            pub(crate) place: $crate::config::report::Place,
            $( $(#[doc = $field_doc])* pub(crate) $field: $crate::config::read::Given<$ty>, )*
        }

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::config::yaml::Node,
                findings: &mut $crate::config::report::Findings,
            ) -> Option<Self> {
                let known: &[&[&'static str]] = &[$( &mapping!(@names $mode $field) ),*];
                let known: Vec<&'static str> =
                    known.iter().copied().flatten().map(|name| $crate::config::read::key_name(name)).collect();
                let keys = $crate::config::read::Keys::of(node, $what, &known, findings)?;
                Some(Self {
                    place: node.place,
                    $( $field: mapping!(@read $mode $field keys findings $what), )*
                })
            }

            fn schema(defs: &mut serde_json::Map<String, serde_json::Value>) -> serde_json::Value {
                if !defs.contains_key(stringify!($name)) {
                    defs.insert(stringify!($name).to_owned(), serde_json::Value::Null);
                    let mut properties = serde_json::Map::new();
                    let mut required: Vec<&'static str> = Vec::new();
                    $(
                        let text = $crate::config::read::description(&[$($field_doc),*]);
                        mapping!(@schema $mode $field $ty, text, properties, required, defs);
                    )*
                    let mut schema = serde_json::json!({
                        "type": "object",
                        "description": $crate::config::read::description(&[$($doc),*]),
                        "additionalProperties": false,
                        "properties": properties,
                    });
                    if !required.is_empty() {
                        schema["required"] = serde_json::json!(required);
                    }
                    let secrets: Vec<serde_json::Value> = [$( mapping!(@demand $mode $field) ),*].concat();
                    if !secrets.is_empty() {
                        schema["allOf"] = serde_json::json!(secrets);
                    }
                    defs.insert(stringify!($name).to_owned(), schema);
                }
                serde_json::json!({"$ref": concat!("#/definitions/", stringify!($name))})
            }
        }
    )*};

    (@names secret $field:ident) => {
        [stringify!($field), concat!(stringify!($field), "_file"), concat!(stringify!($field), "_env")]
    };
    (@names required_secret $field:ident) => { mapping!(@names secret $field) };
    (@names $mode:ident $field:ident) => { [stringify!($field)] };

    (@read secret $field:ident $keys:ident $findings:ident $what:literal) => {
        $keys.secret(mapping!(@names secret $field), $findings)
    };
    (@read required_secret $field:ident $keys:ident $findings:ident $what:literal) => {
        mapping!(@read secret $field $keys $findings $what)
    };
    (@read optional $field:ident $keys:ident $findings:ident $what:literal) => {
        $keys.optional($crate::config::read::key_name(stringify!($field)), $findings)
    };
    (@read required $field:ident $keys:ident $findings:ident $what:literal) => {
        $keys.required($what, $crate::config::read::key_name(stringify!($field)), $findings)
    };

    (@demand required_secret $field:ident) => {{
        let ways = mapping!(@names secret $field).map(|name| serde_json::json!({"required": [name]}));
        vec![serde_json::json!({"anyOf": ways})]
    }};
    (@demand $mode:ident $field:ident) => { vec![] };

    (@schema secret $field:ident $ty:ty, $text:ident, $properties:ident, $required:ident, $defs:ident) => {
        for (name, suffix) in mapping!(@names secret $field).into_iter().zip([
            "",
            " Path of the file that holds it; one line break at its end is not part of it.",
            " Name of the environment variable that holds it.",
        ]) {
            let schema = serde_json::json!({
                "type": "string", "minLength": 1, "description": format!("{}{suffix}", $text),
            });
            $properties.insert(name.to_owned(), schema);
        }
    };
    (@schema required_secret $field:ident $($rest:tt)*) => { mapping!(@schema secret $field $($rest)*) };
    (@schema $mode:ident $field:ident $ty:ty, $text:ident, $properties:ident, $required:ident, $defs:ident) => {
        let name = $crate::config::read::key_name(stringify!($field));
        let mut schema = <$ty as $crate::config::read::Read>::schema($defs);
        schema["description"] = serde_json::json!($text);
        $properties.insert(name.to_owned(), schema);
        if stringify!($mode) == "required" {
            $required.push(name);
        }
    };
}
pub(crate) use mapping;

/// Declares a choice between words: the type, how it is read, and its schema.
macro_rules! choice {
    ($( $(#[doc = $doc:expr])* $name:ident { $( $word:literal => $variant:ident, )* } )*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $( $variant, )* }

        impl $name {
            /// The word itself.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::config::yaml::Node,
                findings: &mut $crate::config::report::Findings,
            ) -> Option<Self> {
                const WORDS: &[&str] = &[$( $word ),*];
                let text = if let $crate::config::yaml::Value::Text { text, .. } = &node.value {
                    Some(text)
                } else {
                    None
                };
                let meant = text.and_then(|text| {
                    [$( Self::$variant ),*].into_iter().find(|choice| choice.as_str() == text)
                });
                if meant.is_none() {
                    let help = text.and_then(|text| {
                        $crate::config::suggest::did_you_mean(text, WORDS.iter().copied())
                    });
                    let words = format!("`{}`", WORDS.join("`, `"));
                    $crate::config::read::expected(node, &format!("one of {words}"), findings).maybe_help(help);
                }
                meant
            }

            fn schema(_: &mut serde_json::Map<String, serde_json::Value>) -> serde_json::Value {
                // A word of digits is written without quotes.
                let words = [$( $word ),*].map(|word| {
                    word.parse::<u64>().map_or_else(|_| serde_json::json!(word), |number| serde_json::json!(number))
                });
                serde_json::json!({"enum": words})
            }
        }
    )*};
}
pub(crate) use choice;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit_and_nothing_else_is_one() {
        let cases = [
            ("200ms", Some(200)),
            ("10s", Some(10_000)),
            ("4h", Some(14_400_000)),
            ("15d", Some(1_296_000_000)),
            ("1h30m", Some(5_400_000)),
            ("1w2d3h4m5s6ms", Some(788_645_006)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("30m1h", None),
            ("1h1h", None),
            ("10", None),
            ("1.5h", None),
            ("-1s", None),
            ("s", None),
            ("", None),
            ("10 s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615w", None),
            ("36501d", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected.map(Span), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_decimal_and_binary_units() {
        let cases = [
            ("8MiB", Some(8_388_608)),
            ("20kB", Some(20_000)),
            ("1 GiB", Some(1_073_741_824)),
            ("4096", Some(4096)),
            ("12B", Some(12)),
            ("8M", None),
            ("1.5MiB", None),
            ("", None),
            ("99999999999GiB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }
}
