//! The configuration reference, `docs/configuration.md` and its Chinese twin: what the schema says, as tables.
//!
//! The prose of the documents is written by hand. Between `<!-- keys of NAME -->` and `<!-- end -->` stands the table
//! of a mapping, between `<!-- example of KEY, … -->` and `<!-- end -->` a part of `examples/full.yaml`; both are made
//! here. Chinese meanings are in `tests/data/config/zh-CN.json`, by mapping and key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::super::{load, schema};

/// Where the keys are declared; the schema does not keep their order.
const DECLARATIONS: &str = include_str!("../raw.rs");

/// Numbers above have no limit worth a word.
const LIMIT_MAX: u64 = 1_000_000;

/// A language of the reference: its file, and its words.
struct Language {
    file: &'static str,
    head: &'static str,
    required: &'static str,
    /// What begins a default, at the end of a meaning.
    default: &'static str,
    /// What ends a sentence.
    stop: &'static str,
    types: Types,
}

/// How types are called.
struct Types {
    text: &'static str,
    boolean: &'static str,
    duration: &'static str,
    size: &'static str,
    secret: &'static str,
    number: &'static str,
    object: &'static str,
    list_of: &'static str,
    /// Between two words of a list, and before its last.
    between: [&'static str; 2],
    /// Between the bounds of a number, and after a lower bound that stands alone.
    bounds: [&'static str; 2],
}

const ENGLISH: Language = Language {
    file: "docs/configuration.md",
    head: "| key | type | default | meaning |",
    required: "**required**",
    default: "Default: ",
    stop: ".",
    types: Types {
        text: "text",
        boolean: "`true` or `false`",
        duration: "duration",
        size: "size",
        secret: "secret",
        number: "number, ",
        object: "object",
        list_of: "list: ",
        between: [", ", " or "],
        bounds: [" to ", " or more"],
    },
};

const CHINESE: Language = Language {
    file: "docs/configuration.zh-CN.md",
    head: "| 键 | 类型 | 默认 | 含义 |",
    required: "**必填**",
    default: "默认：",
    stop: "。",
    types: Types {
        text: "文本",
        boolean: "`true` 或 `false`",
        duration: "时长",
        size: "大小",
        secret: "密钥",
        number: "整数，",
        object: "对象",
        list_of: "列表：",
        between: ["、", " 或 "],
        bounds: [" 到 ", " 及以上"],
    },
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Meanings by mapping, or by mapping and key: `Server`, `Server.listen`. A secret is one key, however it is given.
fn meanings() -> BTreeMap<String, String> {
    let schema = schema();
    let mut meanings = BTreeMap::new();
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        let text = |value: &Json| value["description"].as_str().unwrap().to_owned();
        meanings.insert(name.clone(), text(definition));
        for (key, property) in keys(name, definition) {
            meanings.insert(format!("{name}.{key}"), text(property));
        }
    }
    meanings
}

/// The keys of a mapping in the order in which they are declared; those of secrets once.
fn keys<'a>(name: &str, definition: &'a Json) -> Vec<(&'a str, &'a Json)> {
    let (_, declared) = DECLARATIONS.split_once(&format!("\" {name} {{")).unwrap();
    let place = |key: &str| {
        let places = ["", "r#"].map(|raw| declared.find(&format!("] {raw}{key}: ")));
        places.into_iter().flatten().min().unwrap()
    };
    let properties = definition["properties"].as_object().unwrap();
    let of_secret = |key: &str| {
        let bases = ["_file", "_env"].map(|suffix| key.strip_suffix(suffix));
        bases
            .into_iter()
            .flatten()
            .any(|base| is_secret(properties, base))
    };
    let keys = properties.iter().map(|(key, property)| (key.as_str(), property));
    let mut keys: Vec<_> = keys.filter(|(key, _)| !of_secret(key)).collect();
    keys.sort_by_key(|(key, _)| place(key));
    keys
}

fn is_secret(properties: &Map<String, Json>, key: &str) -> bool {
    properties.contains_key(&format!("{key}_env"))
}

/// A meaning without its last sentence, when that is a default; and that default.
fn split_default<'a>(meaning: &'a str, language: &Language) -> (&'a str, &'a str) {
    match meaning.rsplit_once(language.default) {
        Some((meaning, default)) => (meaning.trim_end(), default.trim_end_matches(language.stop)),
        None => (meaning, ""),
    }
}

/// Everything that is made in a document, made anew.
fn written_anew(text: &str, language: &Language, meanings: &BTreeMap<String, String>) -> String {
    let anchors = anchors(text);
    let mut lines = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let order = line
            .strip_prefix("<!-- ")
            .and_then(|rest| rest.strip_suffix(" -->"));
        inside = inside && order != Some("end");
        if !inside {
            lines.push(line.to_owned());
        }
        let Some((what, of)) = order.and_then(|order| order.split_once(" of ")) else {
            continue;
        };
        lines.push(match what {
            "keys" => table(of, language, meanings, &anchors),
            "example" => example(of),
            other => panic!("nothing is known to make of `{other}`"),
        });
        inside = true;
    }
    lines.join("\n") + "\n"
}

/// The anchor of the heading above each mapping's table, as GitHub makes it.
fn anchors(text: &str) -> BTreeMap<String, String> {
    let mut anchors = BTreeMap::new();
    let mut above = String::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            above = heading.chars().filter(kept).collect::<String>().replace(' ', "-");
        }
        if let Some(rest) = line.strip_prefix("<!-- keys of ") {
            anchors.insert(rest.trim_end_matches(" -->").to_owned(), above.clone());
        }
    }
    anchors
}

/// What a mapping is, and a row for each of its keys.
fn table(
    name: &str,
    language: &Language,
    meanings: &BTreeMap<String, String>,
    anchors: &BTreeMap<String, String>,
) -> String {
    let schema = schema();
    let definition = &schema["definitions"][name];
    let required = required(definition);
    let mut text = format!(
        "\n{}\n\n{}\n| --- | --- | --- | --- |\n",
        meanings[name], language.head
    );
    for (key, property) in keys(name, definition) {
        let kind = if is_secret(definition["properties"].as_object().unwrap(), key) {
            language.types.secret.to_owned()
        } else {
            kind(property, &language.types, anchors)
        };
        let (meaning, default) = split_default(&meanings[&format!("{name}.{key}")], language);
        let default = if required.contains(key) {
            language.required
        } else {
            default
        };
        let row = [&format!("`{key}`"), kind.as_str(), default, meaning].map(|cell| cell.replace('|', "\\|"));
        let row = row.map(|cell| if cell.is_empty() { cell } else { format!(" {cell}") });
        writeln!(text, "|{} |", row.join(" |")).unwrap();
    }
    text
}

/// The keys that must be there; of secrets one of three must.
fn required(definition: &Json) -> BTreeSet<&str> {
    let secrets = definition["allOf"].as_array().into_iter().flatten();
    let ways = secrets.map(|one| &one["anyOf"][0]);
    let lists = ways
        .chain([definition])
        .filter_map(|it| it["required"].as_array());
    lists.flatten().filter_map(Json::as_str).collect()
}

/// The type of a value, with its limits.
fn kind(schema: &Json, types: &Types, anchors: &BTreeMap<String, String>) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/definitions/");
        let anchor = anchors
            .get(name)
            .unwrap_or_else(|| panic!("`{name}` has no table"));
        return format!("[{}](#{anchor})", types.object);
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words
            .iter()
            .map(|word| format!("`{}`", word.to_string().trim_matches('"')))
            .collect();
        let (last, others) = words.split_last().unwrap();
        let [between, before_last] = types.between;
        return format!("{}{before_last}{last}", others.join(between));
    }
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    match (&schema["type"], pattern) {
        (Json::String(kind), _) if kind == "boolean" => types.boolean.to_owned(),
        (Json::String(kind), _) if kind == "array" => {
            format!(
                "{}{}",
                types.list_of,
                self::kind(&schema["items"], types, anchors)
            )
        }
        (Json::String(kind), _) if kind == "integer" => {
            let [min, max] = ["minimum", "maximum"].map(|bound| schema[bound].as_u64().unwrap());
            let [to, or_more] = types.bounds;
            let above = if max > LIMIT_MAX {
                or_more.to_owned()
            } else {
                format!("{to}{max}")
            };
            format!("{}{min}{above}", types.number)
        }
        (_, "") if schema["additionalProperties"] == false => "`{}`".to_owned(),
        (_, "") => types.text.to_owned(),
        (_, pattern) if pattern.contains("ms") => types.duration.to_owned(),
        _ => types.size.to_owned(),
    }
}

/// Parts of the example that shows everything, without its comments: every one of these keys with what is below it.
fn example(keys: &str) -> String {
    let full = read("examples/full.yaml");
    let mut text = "\n```yaml\n".to_owned();
    for key in keys.split(", ") {
        let begin = format!("{key}:");
        let is_of_key = |line: &&str| line.starts_with(' ') || line.starts_with(&begin);
        let lines = full.lines().filter(|line| !line.trim_start().starts_with('#'));
        let lines = lines
            .skip_while(|line| !line.starts_with(&begin))
            .take_while(is_of_key);
        let before = text.len();
        for line in lines {
            text += line.split(" # ").next().unwrap().trim_end();
            text.push('\n');
        }
        assert!(text.len() > before, "`{key}` is not in the example");
    }
    text + "```\n"
}

#[test]
fn the_shipped_reference_is_what_the_schema_gives() {
    let english = meanings();
    let chinese: BTreeMap<String, String> =
        serde_json::from_str(&read("tests/data/config/zh-CN.json")).unwrap();
    for (language, meanings) in [(&ENGLISH, &english), (&CHINESE, &chinese)] {
        let shipped = read(language.file);
        for name in english.keys().filter(|name| !name.contains('.')) {
            let marks = shipped.matches(&format!("<!-- keys of {name} -->")).count();
            assert_eq!(marks, 1, "{} has no place for `{name}`", language.file);
        }
        let current = written_anew(&shipped, language, meanings);
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(root().join(language.file), &current).unwrap();
        } else {
            assert!(
                shipped == current,
                "{} is stale; write it anew with `UPDATE_SCHEMA=1 cargo test --lib shipped`",
                language.file
            );
        }
    }
}

#[test]
fn every_meaning_is_translated_and_says_the_same_defaults_and_names() {
    let english = meanings();
    let chinese: BTreeMap<String, String> =
        serde_json::from_str(&read("tests/data/config/zh-CN.json")).unwrap();
    let missing: Vec<_> = english.keys().filter(|key| !chinese.contains_key(*key)).collect();
    let left_over: Vec<_> = chinese.keys().filter(|key| !english.contains_key(*key)).collect();
    assert!(
        missing.is_empty() && left_over.is_empty(),
        "tests/data/config/zh-CN.json lacks {missing:?} and should not have {left_over:?}"
    );
    // What stands in backticks is the same in every language.
    let names =
        |text: &str| -> BTreeSet<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    for (key, text) in &english {
        let translated = &chinese[key];
        assert_eq!(names(text), names(translated), "{key}");
        let [ours, theirs] = [(text, &ENGLISH), (translated, &CHINESE)]
            .map(|(text, language)| names(split_default(text, language).1));
        assert_eq!(ours, theirs, "the default of {key}");
    }
}

/// One of each mapping that has a default; where `<NAME>` stands, defaults may be written out.
const ONE_OF_EACH: &str = "
<Root>
server: { <Server> }
store: { <Store> }
record: { <Record> }
dingtalk: { <DingTalk> }
sources:
  - { <Source> name: s, type: grafana, auth: { <Auth> hmac_secret: hunter2 } }
bots:
  - { <Bot> name: b, access_token: hunter2 }
apps:
  - { <App> name: a, app_key: k, app_secret: hunter2, agent_id: 1 }
receivers:
  - { <Receiver> name: r, bots: [b], mention: { <Mention> mobiles: ['13800000000'] },
      work_notice: { <WorkNotice> app: a, users: [u] } }
route: { routes: [{ <Route> matchers: [a=b] }] }
";

fn without_marks(text: &str) -> String {
    let parts = text
        .split('<')
        .map(|part| part.split_once('>').map_or(part, |(_, rest)| rest));
    parts.collect()
}

#[test]
fn what_the_reference_calls_a_default_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.yaml");
    let plan = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let loaded =
            load(Some(&file), Path::new("state")).unwrap_or_else(|report| panic!("{report}\n{text}"));
        format!("{:?}", loaded.plan)
    };
    let (mut explicit, mut count) = (ONE_OF_EACH.to_owned(), 0);
    for (key, meaning) in meanings() {
        let Some((name, key)) = key.split_once('.') else {
            continue;
        };
        let mark = format!("<{name}>");
        let (_, default) = split_default(&meaning, &ENGLISH);
        if let Some(value) = (default.strip_prefix('`'))
            .and_then(|rest| rest.strip_suffix('`'))
            .filter(|value| !value.contains('`'))
        {
            assert!(explicit.contains(&mark), "there is no `{name}` in the text");
            let after = if name == "Root" { "\n" } else { ", " };
            explicit = explicit.replace(&mark, &format!("{mark}{key}: {value}{after}"));
            count += 1;
        }
    }
    let silent = without_marks(ONE_OF_EACH);
    let explicit = without_marks(&explicit);
    assert!(count > 25, "{count} defaults");
    assert_eq!(plan(&silent), plan(&explicit));
}
