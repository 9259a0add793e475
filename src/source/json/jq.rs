//! jq expressions: compiled once, run on values that `serde_json` has read.
//!
//! jaq's own JSON reader has no depth limit and would overflow the stack on a body of nested brackets. So values
//! come from [`read`] alone, which refuses more than 128 levels, and the `fromjson` of expressions uses it too.
//! Expressions see neither the environment nor the clock, cannot print and cannot end the process: one body always
//! gives the same values.
//!
//! What is *not* bounded: an expression's own loops (`until(false; .)`), what it collects (`[range(1e12)]`) and how
//! deep it nests what it builds. Expressions are written by the operator, and one that does so with one body does it
//! with all. Regular expressions take time linear in their text.

use std::fmt;

use jaq_core::data::JustLut;
use jaq_core::load::{Arena, Error as LoadError, File, Loader};
use jaq_core::native::{Fun, bome, run, v};
use jaq_core::{Compiler, Ctx, Filter, Vars, compile, load, unwrap_valr};
use jaq_json::{Map, Num, Val};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

type Data = JustLut<Val>;

/// Native filters an expression must not reach, with `fromjson`, which is replaced.
const WITHHELD: [&str; 8] = [
    "debug_empty",
    "env",
    "fromjson",
    "halt",
    "localtime",
    "now",
    "stderr_empty",
    "strflocaltime",
];

/// Definitions of the standard library that need one of those.
const WITHHELD_DEFINITIONS: [&str; 4] = ["debug", "halt", "halt_error", "stderr"];

/// One compiled expression.
pub(super) struct Expression {
    text: Box<str>,
    filter: Filter<Data>,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Where, in bytes.
    pub(super) offset: usize,
    /// What.
    pub(super) message: String,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Expression {
    /// Compiles `text`.
    pub(super) fn compile(text: &str) -> Result<Self, Vec<Mistake>> {
        let definitions = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs())
            .filter(|definition| !WITHHELD_DEFINITIONS.contains(&definition.name));
        let functions = jaq_core::funs()
            .chain(jaq_std::funs())
            .chain(jaq_json::funs())
            .filter(|(name, _, _)| !WITHHELD.contains(name))
            .chain([from_json()]);
        let arena = Arena::default();
        let modules = Loader::new(definitions)
            .load(&arena, File { code: text, path: () })
            .map_err(|errors| load_mistakes(text, errors))?;
        let filter = Compiler::default()
            .with_funs(functions)
            .compile(modules)
            .map_err(|errors| compile_mistakes(text, errors))?;
        Ok(Self {
            text: text.into(),
            filter,
        })
    }

    /// The values this makes of `input`, one after the other; an error is a sentence and the last.
    pub(super) fn run(&self, input: Val) -> impl Iterator<Item = Result<Val, String>> + '_ {
        let context = Ctx::<Data>::new(&self.filter.lut, Vars::new([]));
        let outputs = self.filter.id.run((context, input)).map(unwrap_valr);
        outputs.map(|output| output.map_err(|error| text(&error.into_val()).unwrap_or_default()))
    }
}

fn load_mistakes(text: &str, errors: load::Errors<&str, ()>) -> Vec<Mistake> {
    let found = |found: &str| match found {
        "" => "the end of the expression".to_owned(),
        found => format!("`{}`", super::quote(found)),
    };
    let mut mistakes = Vec::new();
    for (_, error) in errors {
        match error {
            LoadError::Io(paths) => mistakes.extend(paths.into_iter().map(|(path, _)| Mistake {
                offset: offset(text, path),
                message: "a mapping cannot include other files".to_owned(),
            })),
            LoadError::Lex(errors) => mistakes.extend(errors.into_iter().map(|(expected, at)| Mistake {
                offset: offset(text, at),
                message: format!("expected {} before {}", expected.as_str(), found(at)),
            })),
            LoadError::Parse(errors) => mistakes.extend(errors.into_iter().map(|(expected, at)| Mistake {
                offset: offset(text, at),
                message: format!("expected {}, found {}", expected.as_str(), found(at)),
            })),
        }
    }
    mistakes
}

fn compile_mistakes(text: &str, errors: compile::Errors<&str, ()>) -> Vec<Mistake> {
    let undefined = errors.into_iter().flat_map(|(_, undefined)| undefined);
    undefined
        .map(|(name, kind)| {
            let is_withheld = WITHHELD.contains(&name) || WITHHELD_DEFINITIONS.contains(&name);
            let message = if is_withheld || name == "$ENV" {
                format!(
                    "`{name}` is not available: a mapping sees the body and nothing else, so that the same body \
                     always means the same alerts"
                )
            } else {
                let what = if let compile::Undefined::Filter(arity @ 1..) = kind {
                    format!(" with {arity} arguments")
                } else {
                    String::new()
                };
                format!("`{}`{what} is not defined", super::quote(name))
            };
            Mistake {
                offset: offset(text, name),
                message,
            }
        })
        .collect()
}

/// Where `part` begins in `text`, of which it is a slice.
fn offset(text: &str, part: &str) -> usize {
    let distance = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
    if distance <= text.len() { distance } else { 0 }
}

/// `fromjson` with a depth limit; the standard library's `tonumber` uses it too.
fn from_json() -> Fun<Data> {
    run(("fromjson", v(0), |cv| {
        bome(text(&cv.1).map_or_else(
            || Err(jaq_json::Error::str("null cannot be read as JSON")),
            |text| {
                read(&text).map_err(|error| {
                    let text = super::quote(text);
                    jaq_json::Error::str(format_args!("`{text}` is no number and no JSON: {error}"))
                })
            },
        ))
    }))
}

/// Reads JSON of at most 128 levels.
pub(super) fn read(text: &str) -> Result<Val, serde_json::Error> {
    serde_json::from_str(text).map(|Readable(value)| value)
}

/// A value as `serde_json` reads it.
struct Readable(Val);

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Val;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Val, E> {
        Ok(Val::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Val, E> {
        Ok(Val::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Val, E> {
        Ok(Val::Num(Num::from_integral(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Val, E> {
        Ok(Val::Num(Num::from_integral(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Val, E> {
        Ok(Val::Num(Num::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Val, E> {
        Ok(Val::utf8_str(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Val, E> {
        Ok(Val::utf8_str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Val, A::Error> {
        let mut values = Vec::new();
        while let Some(Readable(value)) = array.next_element()? {
            values.push(value);
        }
        Ok(Val::Arr(values.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Val, A::Error> {
        let mut map = Map::default();
        while let Some((name, Readable(value))) = object.next_entry::<String, Readable>()? {
            map.insert(Val::utf8_str(name), value);
        }
        Ok(Val::obj(map))
    }
}

/// The text of a value: a text as it is, anything else as compact JSON with sorted keys, nothing for `null`.
pub(super) fn text(value: &Val) -> Option<String> {
    match value {
        Val::Null => None,
        Val::TStr(text) | Val::BStr(text) => Some(String::from_utf8_lossy(text).into_owned()),
        Val::Bool(_) | Val::Num(_) | Val::Arr(_) | Val::Obj(_) => Some(sorted(value)),
    }
}

/// Compact JSON with sorted keys: the same object is the same text whatever the order it came in.
fn sorted(value: &Val) -> String {
    let style = jaq_json::write::Pp::<String> {
        sort_keys: true,
        ..Default::default()
    };
    let mut json = Vec::new();
    match jaq_json::write::write(&mut json, &style, 0, value) {
        Ok(()) => String::from_utf8_lossy(&json).into_owned(),
        // Not reached: memory takes every byte.
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, input: &str, expected: &[&str]) {
        let outputs: Vec<String> = Expression::compile(expression)
            .unwrap()
            .run(read(input).unwrap())
            .map(|output| match output {
                Ok(value) => sorted(&value),
                Err(error) => format!("error: {error}"),
            })
            .collect();
        assert_eq!(outputs, expected, "{expression}");
    }

    #[test]
    fn expressions_run_on_what_serde_json_reads() {
        check(
            ".a[] | tostring",
            r#"{"a": [1, 1.5, 18446744073709551615, "x", null]}"#,
            &[
                "\"1\"",
                "\"1.5\"",
                "\"18446744073709551615\"",
                "\"x\"",
                "\"null\"",
            ],
        );
        check(r#"gsub("\\."; "-") | sub("x$"; "y")"#, r#""1.2x""#, &["\"1-2y\""]);
        check(
            ".a | fromjson",
            r#"{"a": "{\"z\": [1], \"b\": 2}"}"#,
            &[r#"{"b":2,"z":[1]}"#],
        );
        check("tonumber", "\"17\"", &["17"]);
        check(r#"try fromjson catch "no""#, "\"{\"", &["\"no\""]);
    }

    #[test]
    fn json_inside_a_text_nested_beyond_the_limit_is_an_error_and_not_a_crash() {
        for open in ["[", "{\"a\":"] {
            let input = Val::utf8_str(open.repeat(200_000));
            let expression = Expression::compile("fromjson").unwrap();
            let output = expression.run(input).next().unwrap();
            assert!(output.unwrap_err().contains("recursion limit"));
        }
        assert!(read(&"[".repeat(200_000)).is_err());
    }

    #[test]
    fn expressions_are_compiled_without_clock_environment_output_and_exit() {
        for expression in [
            "env",
            "$ENV",
            "now",
            "debug",
            "debug(.)",
            "stderr",
            "halt",
            "halt_error",
            "input",
            "inputs",
            "localtime",
            "1 | halt(.)",
            "include \"x\"; .",
            "import \"x\" as x; .",
        ] {
            assert!(Expression::compile(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn a_mistake_names_its_place() {
        for (expression, offset, message) in [
            (".a | foo", 5, "`foo` is not defined"),
            (
                ".a | (",
                6,
                "expected closing parenthesis before the end of the expression",
            ),
            (".a | map(.; .)", 5, "`map` with 2 arguments is not defined"),
            (
                "if . then 1",
                11,
                "expected else or end, found the end of the expression",
            ),
        ] {
            let mistakes = Expression::compile(expression).unwrap_err();
            assert_eq!(
                mistakes
                    .first()
                    .map(|mistake| (mistake.offset, mistake.message.as_str())),
                Some((offset, message)),
                "{expression}"
            );
        }
    }
}
