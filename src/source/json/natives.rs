//! Filters that jaq has for its own values alone, for values with a meter; and what a regular expression costs.

use jaq_core::native::{Fun, bome, run, unary, v};
use jaq_core::{Error, ValR};
use jaq_json::Val;
use jaq_std::ValT as _;

use super::jq::{self, Metered};
use super::meter;
use super::value::Value;

/// Definitions that put a price before jaq's filters of the same name, which are known by [`PRICED`] names.
pub(super) const PRICES: &str = "
    def matches($re; $flags): pay_for_regex($re) | unpaid_matches($re; $flags);
    def split_matches($re; $flags): pay_for_regex($re) | unpaid_split_matches($re; $flags);
    def split_($re; $flags): pay_for_regex($re) | unpaid_split_($re; $flags);
";

/// Filters with a price, and the names they are known by.
pub(super) const PRICED: [(&str, &str); 3] = [
    ("matches", "unpaid_matches"),
    ("split_matches", "unpaid_split_matches"),
    ("split_", "unpaid_split_"),
];

/// A regular expression looks at each byte once for each of its states; so many looks are a step.
const LOOKS_PER_STEP: usize = 4;

/// All of them.
pub(super) fn all() -> [Fun<Metered>; 8] {
    [
        run(("fromjson", v(0), |cv| bome(from_json(&cv.1)))),
        run(("tojson", v(0), |cv| bome(Ok(to_json(&cv.1))))),
        run(("length", v(0), |cv| bome(length(&cv.1)))),
        run(("contains", v(1), |cv| {
            unary(cv, |value, part| {
                let (left, right) = (value.weigh(), part.weigh());
                // Each element of the one may be compared with each of the other.
                meter::steps(left.saturating_mul(right) / 256);
                Ok(contains(value.inner(), part.inner()).into())
            })
        })),
        run(("has", v(1), |cv| unary(cv, has))),
        run(("indices", v(1), |cv| unary(cv, indices))),
        run(("bsearch", v(1), |cv| {
            unary(cv, |value, wanted| bsearch(value, &wanted))
        })),
        run(("pay_for_regex", v(1), |cv| {
            unary(cv, |value, regex| {
                let states = states(&String::from_utf8_lossy(regex.as_bytes().unwrap_or_default()));
                let bytes = value.as_bytes().unwrap_or_default().len();
                meter::steps(states.saturating_mul(bytes + 16) / LOOKS_PER_STEP);
                Ok(value)
            })
        })),
    ]
}

/// With a depth limit; the standard library's `tonumber` uses it too.
fn from_json(value: &Value) -> ValR<Value> {
    let text = jq::text(value.inner()).ok_or_else(|| Error::str("null cannot be read as JSON"))?;
    meter::steps(text.len() / 16);
    // Values take several times the room of their text.
    meter::bytes(text.len().saturating_mul(6));
    jq::read(&text)
        .map(|value| Value::new(value, jq::READ_LEVELS_MAX))
        .map_err(|error| {
            let text = crate::source::quote(text);
            Error::str(format_args!("`{text}` is no number and no JSON: {error}"))
        })
}

fn to_json(value: &Value) -> Value {
    Value::from(value.to_string())
}

fn length(value: &Value) -> ValR<Value> {
    let length = match value.inner() {
        Val::Null => 0,
        Val::Num(_) if *value < Value::from(0_usize) => return -value.clone(),
        Val::Num(_) => return Ok(value.clone()),
        Val::BStr(bytes) => bytes.len(),
        Val::TStr(text) => {
            meter::steps(text.len() / 16);
            String::from_utf8_lossy(text).chars().count()
        }
        Val::Arr(array) => array.len(),
        Val::Obj(object) => object.len(),
        Val::Bool(_) => return Err(Error::str(format_args!("{value} has no length"))),
    };
    Ok(length.into())
}

/// As jq: a text in a text, each element in some element, each field in the field of its name, or equal.
fn contains(value: &Val, part: &Val) -> bool {
    match (value, part) {
        (Val::BStr(text) | Val::TStr(text), Val::BStr(part) | Val::TStr(part)) => {
            String::from_utf8_lossy(text).contains(&*String::from_utf8_lossy(part))
        }
        (Val::Arr(all), Val::Arr(parts)) => parts
            .iter()
            .all(|part| all.iter().any(|value| contains(value, part))),
        (Val::Obj(all), Val::Obj(parts)) => parts
            .iter()
            .all(|(name, part)| all.get(name).is_some_and(|value| contains(value, part))),
        _ => value == part,
    }
}

fn has(value: Value, index: Value) -> ValR<Value> {
    index.weigh();
    match (value.inner(), index.as_isize()) {
        (Val::Obj(object), _) => Ok(object.contains_key(index.inner()).into()),
        (Val::Arr(array), Some(at)) => {
            let at = usize::try_from(at)
                .ok()
                .or_else(|| array.len().checked_sub(at.unsigned_abs()));
            Ok(at.is_some_and(|at| at < array.len()).into())
        }
        _ => Err(Error::index(value, index)),
    }
}

fn indices(value: Value, wanted: Value) -> ValR<Value> {
    let at: Vec<usize> = match (value.inner(), wanted.inner()) {
        (Val::BStr(text) | Val::TStr(text), Val::BStr(part) | Val::TStr(part)) => {
            meter::steps(text.len().saturating_mul(1 + part.len() / 64) / 16);
            meter::bytes(text.len());
            let (text, part) = (String::from_utf8_lossy(text), String::from_utf8_lossy(part));
            let places = text.char_indices().enumerate();
            places
                .filter(|(_, (byte, _))| {
                    !part.is_empty() && text.get(*byte..).is_some_and(|rest| rest.starts_with(&*part))
                })
                .map(|(at, _)| at)
                .collect()
        }
        (Val::Arr(_), Val::Arr(part)) if part.is_empty() => Vec::new(),
        (Val::Arr(array), Val::Arr(part)) => {
            value.weigh();
            meter::steps(array.len().saturating_mul(wanted.weigh()) / 64);
            let windows = array.windows(part.len()).enumerate();
            windows
                .filter(|(_, window)| **window == ***part)
                .map(|(at, _)| at)
                .collect()
        }
        (Val::Arr(array), part) => {
            value.weigh();
            meter::steps(array.len().saturating_mul(wanted.weigh()) / 64);
            let elements = array.iter().enumerate();
            elements
                .filter(|(_, element)| *element == part)
                .map(|(at, _)| at)
                .collect()
        }
        _ => return Err(Error::index(value, wanted)),
    };
    Ok(at.into_iter().map(Value::from).collect())
}

fn bsearch(value: Value, wanted: &Value) -> ValR<Value> {
    let Val::Arr(array) = value.inner() else {
        return Err(Error::typ(value, "array"));
    };
    value.weigh();
    wanted.weigh();
    let at = array.binary_search(wanted.inner());
    let place = |at: usize| isize::try_from(at).unwrap_or(isize::MAX);
    Ok(at.map_or_else(|at| -1 - place(at), place).into())
}

/// How many states a regular expression has at most, roughly: its characters, each group and class as often as it is
/// repeated.
fn states(regex: &str) -> usize {
    // What is open, each group with its states so far; the last element alone is `atom`.
    let mut groups = vec![0_usize];
    let mut atom = 0_usize;
    let mut class = false;
    let mut rest = regex.chars();
    while let Some(c) = rest.next() {
        let done = |groups: &mut Vec<usize>, atom: usize| {
            if let Some(group) = groups.last_mut() {
                *group = group.saturating_add(atom);
            }
        };
        match c {
            _ if class => {
                atom += 1;
                match c {
                    '\\' => drop(rest.next()),
                    ']' => class = false,
                    _ => {}
                }
            }
            '(' => {
                done(&mut groups, atom);
                groups.push(1);
                atom = 0;
            }
            ')' => {
                done(&mut groups, atom);
                atom = if groups.len() > 1 {
                    groups.pop().unwrap_or(1)
                } else {
                    1
                };
            }
            '{' => {
                let counts: String = rest.by_ref().take_while(|c| *c != '}').collect();
                let most = counts
                    .split(',')
                    .filter_map(|count| count.trim().parse().ok())
                    .max();
                atom = atom.saturating_mul(most.unwrap_or(1_usize).max(1));
            }
            '*' | '+' | '?' => {}
            _ => {
                done(&mut groups, atom);
                atom = 4;
                class = c == '[';
                if c == '\\' {
                    rest.next();
                }
            }
        }
    }
    groups.into_iter().fold(atom, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::states;

    #[test]
    fn the_states_of_a_regular_expression_are_those_of_its_repeated_parts() {
        for (regex, expected) in [
            ("", 0..=0),
            ("abc", 12..=12),
            (r"^\d{4}-\d{2}$", 30..=40),
            (r"(a{1,3}){3}", 30..=50),
            ("[a-z]{1000}", 5_000..=10_000),
            ("((((a{100}){100}){100}){100}){100}", 10_000_000_000..=usize::MAX),
            (")))(((", 0..=20),
        ] {
            assert!(expected.contains(&states(regex)), "{regex}: {}", states(regex));
        }
    }
}
