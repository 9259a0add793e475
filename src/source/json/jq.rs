//! jq expressions: compiled once, run on values that `serde_json` has read.
//!
//! jaq's own JSON reader has no depth limit and would overflow the stack on a body of nested brackets. So values
//! come from [`read`] alone, which refuses more than 128 levels, and the `fromjson` of expressions uses it too.
//! Expressions see neither the environment nor the clock, cannot print and cannot end the process: one body always
//! gives the same values.
//!
//! **Invariant:** every evaluation ends, whatever its expression and its input: [`meter`](super::meter) counts what
//! it does, at each call of the interpreter ([`Table`]) and in each operation on values ([`Value`]).

use std::fmt;

use jaq_core::data::HasLut;
use jaq_core::load::lex::{Lexer, StrPart, Tok, Token};
use jaq_core::load::{Arena, Error as LoadError, File, Loader};
use jaq_core::{Compiler, Ctx, DataT, Filter, Lut, Vars, compile, load, unwrap_valr};
use jaq_json::{Map, Num, Val};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::meter::{self, Budget};
use super::natives;
use super::value::Value;

/// Most levels of what [`read`] reads.
pub(super) const READ_LEVELS_MAX: usize = 128;

const _: () = assert!(2 * READ_LEVELS_MAX <= meter::DEPTH_MAX);

/// jaq with values that pay.
pub(super) struct Metered;

impl DataT for Metered {
    type V<'a> = Value;
    type Data<'a> = Table<'a>;
}

/// The terms of a compiled expression. jaq looks each up before it evaluates it, so this is where steps are counted.
#[derive(Clone, Copy)]
pub(super) struct Table<'a>(&'a Lut<Metered>);

impl<'a> HasLut<'a, Metered> for Table<'a> {
    fn lut(&self) -> &'a Lut<Metered> {
        meter::call();
        self.0
    }
}

/// Native filters an expression must not reach: those that see more than the body, and those whose paths grow
/// without bound in a loop that makes nothing.
const WITHHELD: [&str; 9] = [
    "debug_empty",
    "env",
    "halt",
    "localtime",
    "now",
    "path",
    "path_value",
    "stderr_empty",
    "strflocaltime",
];

/// Definitions of the standard library that need one of those.
const WITHHELD_DEFINITIONS: [&str; 6] = ["debug", "halt", "halt_error", "paths", "pick", "stderr"];

/// Of both, those about paths.
const ABOUT_PATHS: [&str; 4] = ["path", "path_value", "paths", "pick"];

/// Longest text of an expression in bytes.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// Stack for reading an expression: enough for one that consists of opening brackets.
const READER_STACK_BYTES: usize = 256 << 20;

/// One compiled expression.
pub(super) struct Expression {
    text: Box<str>,
    filter: Filter<Metered>,
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
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("an expression has at most {TEXT_BYTES_MAX} bytes");
            return Err(vec![Mistake { offset: 0, message }]);
        }
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new()
                .name("jq".to_owned())
                .stack_size(READER_STACK_BYTES)
                .spawn_scoped(scope, || Self::read(text));
            let failed = |why: String| {
                vec![Mistake {
                    offset: 0,
                    message: why,
                }]
            };
            let read = reader.map_err(|error| failed(format!("there is no thread to read it: {error}")))?;
            read.join()
                .unwrap_or_else(|_| Err(failed("the jq compiler does not get along with it".to_owned())))
        })
    }

    fn read(text: &str) -> Result<Self, Vec<Mistake>> {
        if let Ok(tokens) = Lexer::new(text).lex() {
            let mut mistakes = Vec::new();
            find_filter_parameters(text, &tokens, &mut mistakes);
            if !mistakes.is_empty() {
                return Err(mistakes);
            }
        }
        let definitions = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs())
            .filter(|definition| !WITHHELD_DEFINITIONS.contains(&definition.name));
        // Definitions see those before them.
        let prices = load::parse(natives::PRICES, |parser| parser.defs());
        let definitions = prices.into_iter().flatten().chain(definitions);
        let listed = |name| natives::PRICED.iter().find(|(known, _)| *known == name);
        let functions = jaq_core::funs()
            .chain(jaq_std::funs())
            .filter(|(name, _, _)| !WITHHELD.contains(name))
            .map(|(name, arguments, run)| (listed(name).map_or(name, |(_, unpaid)| *unpaid), arguments, run))
            .chain(natives::all());
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
    pub(super) fn run<'a>(
        &'a self,
        input: Val,
        budget: &'a Budget,
    ) -> impl Iterator<Item = Result<Val, String>> + 'a {
        let context = Ctx::<Metered>::new(Table(&self.filter.lut), Vars::new([]));
        let mut input = Some((context, Value::new(input, READ_LEVELS_MAX)));
        let mut outputs = None;
        std::iter::from_fn(move || {
            let next = budget.spend(|| {
                if let Some(input) = input.take() {
                    outputs = Some(self.filter.id.run(input).map(unwrap_valr));
                }
                // Nobody counts what is done with an output, so its size is paid for here.
                Some(match outputs.as_mut()?.next()? {
                    Ok(output) => {
                        output.weigh();
                        Ok(output.into_inner())
                    }
                    Err(error) => {
                        let error = error.into_val();
                        meter::bytes(error.weigh());
                        Err(text(error.inner()).unwrap_or_default())
                    }
                })
            });
            let next = next.unwrap_or_else(|limit| Some(Err(limit.to_string())));
            if !matches!(next, Some(Ok(_))) {
                outputs = None;
            }
            next
        })
    }
}

/// A definition that takes filters and calls itself wraps each in the one before: a chain that nothing counts, and
/// that no stack could take apart.
fn find_filter_parameters(text: &str, tokens: &[Token<&str>], mistakes: &mut Vec<Mistake>) {
    for (at, Token(_, token)) in tokens.iter().enumerate() {
        let parameters = match token {
            Tok::Block(inner) => {
                find_filter_parameters(text, inner, mistakes);
                inner
            }
            Tok::Str(parts) => {
                for part in parts {
                    if let StrPart::Term(term) = part {
                        find_filter_parameters(text, std::slice::from_ref(term), mistakes);
                    }
                }
                continue;
            }
            Tok::Word | Tok::Var | Tok::Fmt | Tok::Num | Tok::Sym => continue,
        };
        let defines = at.checked_sub(2).and_then(|at| tokens.get(at));
        if defines.is_some_and(|Token(word, _)| *word == "def") {
            let filters = parameters
                .iter()
                .filter(|Token(_, token)| matches!(token, Tok::Word));
            mistakes.extend(filters.map(|Token(name, _)| Mistake {
                offset: offset(text, name),
                message: format!(
                    "a definition in a mapping takes values and no filters; write `${name}`",
                    name = crate::source::quote(name)
                ),
            }));
        }
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
            let message = if ABOUT_PATHS.contains(&name) {
                format!("`{name}` is not available: what it makes cannot be bounded")
            } else if is_withheld || name == "$ENV" {
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
    use crate::source::json::meter::Limits;

    #[track_caller]
    fn check(expression: &str, input: &str, expected: &[&str]) {
        let outputs: Vec<String> = Expression::compile(expression)
            .unwrap()
            .run(read(input).unwrap(), &Budget::new(Limits::USUAL))
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
            let output = expression.run(input, &Budget::new(Limits::USUAL)).next().unwrap();
            assert!(output.unwrap_err().contains("recursion limit"));
        }
        assert!(read(&"[".repeat(200_000)).is_err());
    }

    /// Runs an expression to its end: its last words, and how many values came before.
    fn ran(expression: &str, input: &str) -> (usize, String) {
        let expression = Expression::compile(expression).unwrap();
        let budget = Budget::new(Limits {
            steps: 100_000,
            bytes: 1 << 20,
            ..Limits::USUAL
        });
        let mut values = 0;
        for output in expression.run(read(input).unwrap(), &budget) {
            match output {
                Ok(_) => values += 1,
                Err(error) => return (values, error),
            }
        }
        (values, String::new())
    }

    /// Each with the limit it meets.
    const ENDLESS: &[(&str, &str)] = &[
        // Loops that make nothing.
        ("def f: f; f", "steps"),
        ("def f: def g: f; g; f", "steps"),
        ("until(false; .)", "steps"),
        ("last(range(1e18))", "steps"),
        ("first(range(1e18) | select(. < 0))", "steps"),
        (
            "label $out | foreach range(1e18) as $i (0; . + 1; empty)",
            "steps",
        ),
        ("limit(1; repeat(empty))", "steps"),
        ("nth(1e12; repeat(1))", "steps"),
        ("skip(1e12; repeat(1))", "steps"),
        ("all(repeat(true); .)", "steps"),
        ("isempty(repeat(empty))", "steps"),
        ("[limit(1e12; repeat(1)) | empty]", "steps"),
        ("reduce repeat(1) as $x (0; . + $x)", "steps"),
        ("try error catch (def f: f; f)", "steps"),
        // Heaps that grow.
        ("[range(infinite)]", "steps"),
        ("[limit(1e12; repeat(1))]", "steps"),
        ("[repeat(1)]", "steps"),
        ("[while(true; .)]", "steps"),
        ("[recurse(.)]", "steps"),
        ("\"x\" * 1e9", "bytes"),
        ("\"x\" * 1000000000", "bytes"),
        ("\"\" * 100000000000000000000", "bytes"),
        ("reduce range(100) as $i (\"x\"; . + .)", "bytes"),
        ("[.,1] | until(length > 1e9; . + .)", "bytes"),
        ("[[range(3000)] | combinations(2)]", "bytes"),
        ("[range(1e6)] | implode", "steps"),
        (
            "\"%0\" * 100000 | . + . | [limit(100; repeat(@uri))] | add | [., ., ., ., ., ., ., .] | add | . * 9",
            "bytes",
        ),
        ("[range(100000)] | [.[] as $i | .]", ""),
        // Small heaps that are large trees.
        ("reduce range(99) as $i (1; [., .]) | tojson", "steps"),
        ("reduce range(99) as $i (1; [., .]) | @json \"\\(.)\"", "steps"),
        ("reduce range(99) as $i (1; {a: ., b: .}) | tostring", "steps"),
        (
            "reduce range(99) as $i (1; [., .]) | . == (. | .[0] |= 2)",
            "steps",
        ),
        ("reduce range(99) as $i (1; [., .]) | [., .] | sort", "steps"),
        ("reduce range(99) as $i (1; [., .]) | unique", "steps"),
        ("reduce range(99) as $i (1; [., .]) | {(.): 1}", "steps"),
        ("reduce range(99) as $i (1; [., .]) | contains(.)", "steps"),
        ("reduce range(99) as $i (1; [., .]) | index(.)", "steps"),
        ("reduce range(99) as $i (1; [., .]) | . - .", "steps"),
        ("reduce range(99) as $i ({}; {a: ., b: .}) | . * .", "steps"),
        ("reduce range(99) as $i (1; [., .]) | error", "steps"),
        ("reduce range(99) as $i (1; [., .]) | . + 1", "steps"),
        ("reduce range(99) as $i (1; [., .]) | flatten", "steps"),
        ("reduce range(99) as $i (1; [., .]) | last(..)", "bytes"),
        ("reduce range(99) as $i (1; [., .]) | .[\"a\"]", "steps"),
        ("reduce range(99) as $i (1; [., .])", "steps"),
        // Towers.
        ("reduce range(1e6) as $i (0; [.])", "levels"),
        ("reduce range(1e6) as $i (0; {a: .})", "levels"),
        ("reduce range(1e6) as $i (0; {(tojson): .})", ""),
        (
            "reduce range(1e6) as $i (null; {a: 1, b: .} | .c = 2 | del(.a))",
            "levels",
        ),
        ("[recurse([.])] | length", "levels"),
        // Recursion.
        ("def f: 1 + f; f", "itself"),
        ("def f: [f]; f", "itself"),
        ("def f: {a: f}; f", "itself"),
        ("def f: ., (f | .); last(f)", "steps"),
        ("def f: f | f; f", "itself"),
        ("def f: f as $x | $x; f", "itself"),
        ("def f: try f catch .; f", "itself"),
        ("def f: if f then 1 else 2 end; f", "itself"),
        ("def f: reduce f as $x (0; .); f", "itself"),
        ("def f: (f, f); last(f)", ""),
        ("def f: .[f]; f", "itself"),
        ("def f: . |= f; f", "itself"),
        ("def f: first(f); f", "itself"),
        ("def f($x): f($x + 1) + 1; f(0)", "itself"),
        // Numbers and regular expressions.
        ("reduce range(100) as $i (3; . * .)", "bits"),
        ("reduce range(1e18) as $i (9; . * 9)", "bits"),
        ("\"a\" * 100000 | test(\"(((a{100}){100}){100}){100}b\")", ""),
        ("\"a\" * 10000 | test(\"(a?){1000}a{1000}b\")", "steps"),
        (
            "\"a\" * 1000 | [limit(100000; repeat(test(\"(a*)*b\")))]",
            "steps",
        ),
        ("\"a\" * 100000 | [match(\"\"; \"g\")] | length", ""),
        (
            "\"a\" * 1000000 | gsub(\"\"; \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\")",
            "",
        ),
        (
            "[limit(1000000; repeat(\"%Y\"))] | add as $f | 0 | strftime($f)",
            "",
        ),
    ];

    #[test]
    fn an_expression_that_never_ends_ends_at_a_limit_with_its_name() {
        for (expression, limit) in ENDLESS {
            let (values, error) = ran(expression, "[]");
            assert!(
                error.contains(limit),
                "`{expression}` ended after {values} values with `{error}`, not at its limit of {limit}"
            );
        }
    }

    #[test]
    fn after_an_evaluation_that_met_a_limit_the_thread_works_on() {
        let (_, error) = ran("def f: f; f", "{}");
        assert!(error.contains("more than 100000 steps"), "{error}");
        check("[.[] | . + 1]", "[1, 2]", &["[2,3]"]);
    }

    #[test]
    fn all_evaluations_for_a_body_together_have_a_limit() {
        let expression = Expression::compile("[range(10000)] | length").unwrap();
        let budget = Budget::new(Limits {
            body_steps: 100_000,
            ..Limits::USUAL
        });
        let ends: Vec<_> = (0..20)
            .map(|_| expression.run(Val::Null, &budget).next().unwrap())
            .collect();
        assert!(ends[0].is_ok());
        assert_eq!(
            ends[19].clone().unwrap_err(),
            "all expressions together take more than 100000 steps for this body"
        );
        assert!(budget.is_spent() && budget.stopped() > 0);
    }

    #[test]
    fn expressions_are_compiled_without_clock_environment_output_exit_and_what_cannot_be_bounded() {
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
            "path(.a)",
            "paths",
            "pick(.a)",
            "def f(g): f(g | g); f(.)",
            "[\"\\(def f($x; g): g; f(1; 2))\"]",
        ] {
            assert!(Expression::compile(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn expressions_of_brackets_and_signs_alone_are_read_without_overflow() {
        for part in [
            "(", "[", "{a:", "-", "try ", ".|", "1+", "if ", "\"\\(", "def f: ", "..", "reduce ", ". as [",
            ".",
        ] {
            let deep = part.repeat(TEXT_BYTES_MAX / part.len());
            for end in ["", "1"] {
                let text = format!("{deep}{end}");
                if let Ok(expression) = Expression::compile(&text) {
                    let _ends = expression.run(Val::Null, &Budget::new(Limits::USUAL)).count();
                }
            }
        }
        assert!(Expression::compile(&" ".repeat(TEXT_BYTES_MAX + 1)).is_err());
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
