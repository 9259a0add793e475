//! Label sets and texts as their difference from others.
//!
//! The alerts of one rule say nearly the same: the same names, mostly the same values, sentences with another host
//! in them. As a difference from another such alert, what one says takes some tens of bytes in place of a thousand.
//!
//! A difference is a text of its own: numbers in ASCII characters of six bits each, the lowest first, a set seventh
//! bit meaning that more follow; and the pieces that are new. It ends where it says, so differences can stand one
//! behind the other, and equal texts have equal differences from the same base.
//!
//! **Invariant:** whatever is read as a difference, from whatever base, gives a set of labels or `None`: a store keeps
//! differences, and a disk may give back anything.

use super::{Labels, push, push_number};

/// How a set differs from its base.
const SAME: usize = 0;
const OTHER_VALUES: usize = 1;
const UNLIKE: usize = 2;

impl Labels {
    /// Appends how this set differs from `base`.
    pub(crate) fn write_difference(&self, base: &Self, to: &mut String) {
        let begin = to.len();
        if self == base {
            push_digits(to, SAME);
        } else if self.write_values(base, to).is_none() {
            to.truncate(begin);
            push_digits(to, UNLIKE);
            push_digits(to, self.0.len());
            to.push_str(&self.0);
        }
    }

    /// Appends how the values differ: how many pairs stay as they are, the next one's value, and so on until no pair
    /// is left. `None` when the names differ.
    fn write_values(&self, base: &Self, to: &mut String) -> Option<()> {
        push_digits(to, OTHER_VALUES);
        let mut pairs = self.iter();
        let mut same = 0;
        for (name, value) in base {
            let (own_name, own_value) = pairs.next()?;
            if own_name != name {
                return None;
            }
            if own_value == value {
                same += 1;
            } else {
                push_digits(to, same);
                write_difference(own_value, value, to);
                same = 0;
            }
        }
        push_digits(to, same);
        pairs.next().is_none().then_some(())
    }

    /// Takes a set off the front of `rest`, where it was written as its difference from `base`.
    pub(crate) fn take_difference<'a>(base: &'a Self, rest: &mut &'a str) -> Option<Self> {
        match take_digits(rest)? {
            SAME => Some(base.clone()),
            OTHER_VALUES => {
                let mut text = String::with_capacity(base.0.len() + rest.len());
                base.take_values(rest, |piece| piece.push_to(&mut text))?;
                Some(Self(text.into()))
            }
            UNLIKE => take_unlike(rest).map(|text| Self(text.into())),
            _ => None,
        }
    }

    /// Passes over what [`Labels::take_difference`] would take.
    pub(crate) fn skip_difference<'a>(base: &'a Self, rest: &mut &'a str) -> Option<()> {
        match take_digits(rest)? {
            SAME => Some(()),
            OTHER_VALUES => base.take_values(rest, |_| ()),
            UNLIKE => take_unlike(rest).map(|_| ()),
            _ => None,
        }
    }

    /// Takes what [`Labels::write_values`] wrote, piece by piece.
    fn take_values<'a>(&'a self, rest: &mut &'a str, mut put: impl FnMut(Piece<'a>)) -> Option<()> {
        let mut pairs = self.iter();
        loop {
            let begin = pairs.rest;
            for _ in 0..take_digits(rest)? {
                pairs.next()?;
            }
            put(Piece::Kept(before(begin, pairs.rest)));
            if pairs.rest.is_empty() {
                return Some(());
            }
            let (name, value) = pairs.next()?;
            put(Piece::Name(name));
            put(Piece::Value(Difference::take(value, rest)?));
        }
    }
}

/// A piece of the text of a set.
enum Piece<'a> {
    /// Pairs as they stand in the base.
    Kept(&'a str),
    Name(&'a str),
    Value(Difference<'a>),
}

impl Piece<'_> {
    fn push_to(self, text: &mut String) {
        match self {
            Self::Kept(pairs) => text.push_str(pairs),
            Self::Name(name) => push(text, name),
            Self::Value(value) => {
                push_number(text, value.len());
                text.push(':');
                value.push_to(text);
            }
        }
    }
}

/// Takes a set that stands there whole.
fn take_unlike<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let length = take_digits(rest)?;
    take_bytes(rest, length).filter(|text| Labels::is_encoded(text))
}

/// Appends how a text differs from `base`: how much of it begins and ends the same, and what stands between.
pub(crate) fn write_difference(text: &str, base: &str, to: &mut String) {
    let begin = equal_begin(text, base);
    let (text, base) = (text.get(begin..).unwrap_or(""), base.get(begin..).unwrap_or(""));
    let end = equal_end(text, base);
    let own = text.get(..text.len() - end).unwrap_or("");
    for number in [begin, end, own.len()] {
        push_digits(to, number);
    }
    to.push_str(own);
}

/// Takes a text off the front of `rest`, where it was written as its difference from `base`.
pub(crate) fn take_difference<'a>(base: &'a str, rest: &mut &'a str) -> Option<String> {
    let difference = Difference::take(base, rest)?;
    let mut text = String::with_capacity(difference.len());
    difference.push_to(&mut text);
    Some(text)
}

/// The three pieces of a text.
struct Difference<'a>([&'a str; 3]);

impl<'a> Difference<'a> {
    fn take(base: &'a str, rest: &mut &'a str) -> Option<Self> {
        let [begin, end, own] = [take_digits(rest)?, take_digits(rest)?, take_digits(rest)?];
        let own = take_bytes(rest, own)?;
        let end = base.len().checked_sub(end)?;
        Some(Self([base.get(..begin)?, own, base.get(end..)?]))
    }

    fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.len()).sum()
    }

    fn push_to(&self, text: &mut String) {
        for piece in self.0 {
            text.push_str(piece);
        }
    }
}

/// How many bytes both texts begin with, up to the end of a character.
fn equal_begin(a: &str, b: &str) -> usize {
    const STEP: usize = 16;
    let [left, right] = [a.as_bytes(), b.as_bytes()];
    let steps = left.chunks_exact(STEP).zip(right.chunks_exact(STEP));
    let far = STEP * steps.take_while(|(a, b)| a == b).count();
    let bytes = left.iter().zip(right).skip(far);
    let mut equal = far + bytes.take_while(|(a, b)| a == b).count();
    while !a.is_char_boundary(equal) {
        equal -= 1;
    }
    equal
}

/// How many bytes both texts end with, from the begin of a character.
fn equal_end(a: &str, b: &str) -> usize {
    const STEP: usize = 16;
    let [left, right] = [a.as_bytes(), b.as_bytes()];
    let steps = left.rchunks_exact(STEP).zip(right.rchunks_exact(STEP));
    let far = STEP * steps.take_while(|(a, b)| a == b).count();
    let bytes = left.iter().rev().zip(right.iter().rev()).skip(far);
    let mut equal = far + bytes.take_while(|(a, b)| a == b).count();
    while !a.is_char_boundary(a.len() - equal) {
        equal -= 1;
    }
    equal
}

/// What of `text` stands before its end `rest`.
fn before<'a>(text: &'a str, rest: &str) -> &'a str {
    text.get(..text.len() - rest.len()).unwrap_or("")
}

fn take_bytes<'a>(rest: &mut &'a str, length: usize) -> Option<&'a str> {
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

/// Appends a number.
pub(crate) fn push_digits(to: &mut String, mut number: usize) {
    while number > 0x3f {
        to.push(digit(number | 0x40));
        number >>= 6;
    }
    to.push(digit(number));
}

/// The character of the lowest seven bits.
fn digit(number: usize) -> char {
    let [low, ..] = number.to_le_bytes();
    char::from(low & 0x7f)
}

/// Takes off the front what [`push_digits`] appended.
pub(crate) fn take_digits(rest: &mut &str) -> Option<usize> {
    let mut number = 0_usize;
    for (at, byte) in (0_u32..).zip(rest.bytes()) {
        let digit = usize::from(byte & 0x3f);
        number |= digit.checked_shl(6 * at)?;
        if byte & 0x40 == 0 {
            *rest = rest.get(at as usize + 1..)?;
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(base: &Labels, set: &Labels) -> usize {
        let mut text = String::new();
        set.write_difference(base, &mut text);
        let length = text.len();
        text.push_str("and more");
        let mut rest = text.as_str();
        let taken = Labels::take_difference(base, &mut rest);
        assert_eq!(taken.as_ref(), Some(set), "against {base:?}");
        assert_eq!(rest, "and more");
        let mut rest = text.as_str();
        assert_eq!(Labels::skip_difference(base, &mut rest), Some(()));
        assert_eq!(rest, "and more");
        length
    }

    #[test]
    fn alerts_of_one_rule_differ_by_what_is_new_in_each() {
        let set = |pod: &str| {
            Labels::from_pairs([
                ("alertname", "PodRestarts".to_owned()),
                ("pod", pod.to_owned()),
                ("summary", format!("容器 {pod} 重启了，请看一看")),
            ])
        };
        let base = set("shop-001");
        assert_eq!(check(&base, &base), 1);
        // Which set, two equal pairs, none, one digit twice with where it stands.
        assert_eq!(check(&base, &set("shop-002")), 1 + (1 + 3 + 1) * 2 + 1);
    }

    #[test]
    fn a_character_is_never_cut() {
        let base = Labels::from_pairs([("a", "温度"), ("b", "é")]);
        for (a, b) in [
            ("湿度", "è"),
            ("温湿", "ê"),
            ("", ""),
            ("温", "éé"),
            ("温度度", "e"),
        ] {
            check(&base, &Labels::from_pairs([("a", a), ("b", b)]));
        }
    }

    #[test]
    fn sets_of_other_names_are_kept_whole() {
        let base = Labels::from_pairs([("a", "1"), ("b", "2")]);
        for names in [&["a"][..], &["a", "c"], &["a", "b", "c"], &[]] {
            check(&base, &Labels::from_pairs(names.iter().map(|name| (name, "1"))));
        }
        check(&Labels::default(), &base);
    }

    fn few_texts() -> impl Strategy<Value = String> {
        "[ab温湿]{0,40}|[a温]{60,90}"
    }

    proptest! {
        #[test]
        fn what_is_written_as_a_difference_reads_back(
            base in btree_map("[ab]{0,1}", few_texts(), 0..3),
            set in btree_map("[ab]{0,1}", few_texts(), 0..3),
        ) {
            let [base, set] = [base, set].map(Labels::from_pairs);
            check(&base, &set);
            check(&set, &base);
        }

        #[test]
        fn anything_reads_as_a_set_or_not_at_all(
            base in btree_map("[ab]{0,1}", few_texts(), 0..3),
            text in "[@-D]{0,3}[\\x00-\\x7f温]{0,20}",
        ) {
            let base = Labels::from_pairs(base);
            let (mut taken, mut skipped) = (text.as_str(), text.as_str());
            let set = Labels::take_difference(&base, &mut taken);
            prop_assert_eq!(Labels::skip_difference(&base, &mut skipped).is_some(), set.is_some());
            if let Some(set) = set {
                prop_assert_eq!(taken, skipped);
                prop_assert!(Labels::is_encoded(set.as_encoded()));
            }
        }

        #[test]
        fn every_number_reads_back(number: usize) {
            let mut text = String::new();
            push_digits(&mut text, number);
            let mut rest = text.as_str();
            prop_assert_eq!(take_digits(&mut rest), Some(number));
            prop_assert_eq!(rest, "");
        }
    }
}
