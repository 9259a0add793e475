//! JSON read from its front to its end in one pass, leniently and with little copying.
//!
//! Bodies are read where they are taken in, and this is most of what an alert costs. So nothing is looked at twice:
//! texts are borrowed from the body, what nobody asks for is passed over, and no tree is built. A field that holds
//! something else than hoped for is no error: a [`Text`] is any scalar as written, and a [`Place`] says what stands
//! there instead; of repeated keys the caller sees each, so the last can stay.
//!
//! It knows no format. It takes exactly what `serde_json` takes for JSON, which a property holds it to; what is not
//! JSON is only [`Broken`], and `serde_json` is asked for the words.

use std::borrow::Cow;

/// The text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What stands at a place of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Place<T> {
    /// Nothing, or `null`.
    #[default]
    Absent,
    /// What was hoped for.
    Of(T),
    /// Something else, named: `an array`.
    Other(&'static str),
}

impl<T> Place<T> {
    /// The same place with `value` for what was hoped for.
    pub(super) fn with<U>(self, value: U) -> Place<U> {
        match self {
            Self::Absent => Place::Absent,
            Self::Of(_) => Place::Of(value),
            Self::Other(kind) => Place::Other(kind),
        }
    }
}

/// The text of a value: a string's characters, a number or boolean as written, an array or object as compact
/// JSON, and nothing for `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a> {
    text: Option<Cow<'a, str>>,
    /// Was it a string (or nothing)?
    is_string: bool,
}

impl Text<'_> {
    /// The text, unless it is absent.
    pub(super) fn get(&self) -> Option<&str> {
        self.text.as_deref()
    }
}

/// An object of texts: labels, annotations, values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pairs<'a> {
    /// Names and values as they come, repeated names included; `null` is an empty value.
    pub(super) list: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The first name whose value is not a string.
    pub(super) not_a_string: Option<Cow<'a, str>>,
}

/// A JSON text and how far it has been read.
#[derive(Debug)]
pub(super) struct Json<'a> {
    text: &'a str,
    at: usize,
    /// Why a string that was asked for has no characters: half of a surrogate pair.
    unreadable: Option<serde_json::Error>,
    /// The brackets that are open around a value that is passed over.
    open: Vec<u8>,
}

impl<'a> Json<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            unreadable: None,
            open: Vec::new(),
        }
    }

    /// Reads an object: `field` is called for each key and reads its value, or says with `false` that it has not.
    pub(super) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<bool, Broken>,
    ) -> Result<Place<()>, Broken> {
        if self.peek() != Some(b'{') {
            return self.something_else();
        }
        self.at += 1;
        if self.takes(b'}') {
            return Ok(Place::Of(()));
        }
        loop {
            let key = self.key()?;
            if !field(self, &key)? {
                self.skip()?;
            }
            if !self.takes(b',') {
                break;
            }
        }
        self.expect(b'}').map(Place::Of)
    }

    /// Reads an array: `element` is called for each element and reads it.
    pub(super) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Broken>,
    ) -> Result<Place<()>, Broken> {
        if self.peek() != Some(b'[') {
            return self.something_else();
        }
        self.at += 1;
        if self.takes(b']') {
            return Ok(Place::Of(()));
        }
        loop {
            element(self)?;
            if !self.takes(b',') {
                break;
            }
        }
        self.expect(b']').map(Place::Of)
    }

    /// Reads an object of texts.
    pub(super) fn pairs(&mut self) -> Result<Place<Pairs<'a>>, Broken> {
        let mut pairs = Pairs::default();
        if self.peek() != Some(b'{') {
            return Ok(self.something_else()?.with(pairs));
        }
        self.at += 1;
        if self.takes(b'}') {
            return Ok(Place::Of(pairs));
        }
        pairs.list.reserve(PAIRS_EXPECTED);
        loop {
            let name = self.key()?;
            let value = self.text()?;
            if !value.is_string && pairs.not_a_string.is_none() {
                pairs.not_a_string = Some(name.clone());
            }
            pairs.list.push((name, value.text.unwrap_or_default()));
            if !self.takes(b',') {
                break;
            }
        }
        self.expect(b'}')?;
        Ok(Place::Of(pairs))
    }

    /// Reads the text of any value.
    pub(super) fn text(&mut self) -> Result<Text<'a>, Broken> {
        let first = self.peek();
        if first == Some(b'"') {
            return Ok(Text {
                text: Some(self.string()?),
                is_string: true,
            });
        }
        let from = self.at;
        self.skip()?;
        let raw = self.text.get(from..self.at).ok_or(Broken)?;
        Ok(Text {
            is_string: raw == "null",
            text: match first {
                Some(b'n') => None,
                Some(b'{' | b'[') => Some(Cow::Owned(compact(raw))),
                _ => Some(Cow::Borrowed(raw)),
            },
        })
    }

    /// Reads a part by `read`; the inner error says that a string in it has no characters, since half a surrogate
    /// pair is none.
    pub(super) fn part<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Broken>,
    ) -> Result<Result<T, serde_json::Error>, Broken> {
        self.unreadable = None;
        let part = read(self)?;
        Ok(self.unreadable.take().map_or(Ok(part), Err))
    }

    /// Nothing but space is left.
    pub(super) fn end(&mut self) -> Result<(), Broken> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Broken),
        }
    }

    /// Passes over a value that is not what was hoped for, and names it.
    fn something_else(&mut self) -> Result<Place<()>, Broken> {
        let place = match self.peek() {
            Some(b'n') => Place::Absent,
            Some(b'{') => Place::Other("an object"),
            Some(b'[') => Place::Other("an array"),
            Some(b'"') => Place::Other("a text"),
            Some(b't' | b'f') => Place::Other("a boolean"),
            _ => Place::Other("a number"),
        };
        self.skip()?;
        Ok(place)
    }

    /// Passes over a value. However deep it is, only [`Json::open`] grows.
    fn skip(&mut self) -> Result<(), Broken> {
        debug_assert!(self.open.is_empty(), "a value is passed over as a whole");
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.raw_string()?;
                }
                Some(b'{') => {
                    self.at += 1;
                    if !self.takes(b'}') {
                        self.raw_key()?;
                        self.open.push(b'}');
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    if !self.takes(b']') {
                        self.open.push(b']');
                        continue;
                    }
                }
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                _ => self.number()?,
            }
            // A value has ended; so have, perhaps, those around it.
            loop {
                let Some(&close) = self.open.last() else {
                    return Ok(());
                };
                if self.takes(b',') {
                    if close == b'}' {
                        self.raw_key()?;
                    }
                    break;
                }
                self.expect(close)?;
                self.open.pop();
            }
        }
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<Cow<'a, str>, Broken> {
        let key = match self.peek() {
            Some(b'"') => self.string()?,
            _ => return Err(Broken),
        };
        self.expect(b':')?;
        Ok(key)
    }

    fn raw_key(&mut self) -> Result<(), Broken> {
        if self.peek() != Some(b'"') {
            return Err(Broken);
        }
        self.raw_string()?;
        self.expect(b':')
    }

    /// The characters of the string that begins here.
    fn string(&mut self) -> Result<Cow<'a, str>, Broken> {
        let from = self.at;
        let has_escapes = self.raw_string()?;
        let raw = self.text.get(from..self.at).ok_or(Broken)?;
        if has_escapes {
            let unescaped = serde_json::from_str(raw).map(Cow::Owned);
            return Ok(unescaped.unwrap_or_else(|error| {
                self.unreadable = Some(error);
                Cow::Borrowed("")
            }));
        }
        let inside = from + 1..self.at - 1;
        self.text.get(inside).map(Cow::Borrowed).ok_or(Broken)
    }

    /// Passes over the string that begins here; answers whether it holds an escape.
    fn raw_string(&mut self) -> Result<bool, Broken> {
        let bytes = self.text.as_bytes();
        let mut has_escapes = false;
        let mut at = self.at + 1;
        loop {
            at = plain_end(bytes, at);
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(has_escapes);
                }
                Some(b'\\') => {
                    has_escapes = true;
                    at = escape_end(bytes, at + 1)?;
                }
                Some(_) | None => return Err(Broken),
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Broken> {
        let found = self.text.as_bytes().get(self.at..self.at + word.len());
        if found != Some(word.as_bytes()) {
            return Err(Broken);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Broken> {
        self.at += usize::from(self.next() == Some(b'-'));
        if self.next() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.next() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.next(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.next(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), Broken> {
        let from = self.at;
        while self.next().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == from { Err(Broken) } else { Ok(()) }
    }

    /// The byte that is next.
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The byte that is next after space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let next = self.next();
            if !matches!(next, Some(b' ' | b'\n' | b'\t' | b'\r')) {
                return next;
            }
            self.at += 1;
        }
    }

    /// Whether `byte` is next after space, which is passed over with it then.
    fn takes(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Broken> {
        if self.takes(byte) { Ok(()) } else { Err(Broken) }
    }
}

/// Room for the labels of most alerts.
const PAIRS_EXPECTED: usize = 12;

/// Where the plain part of a string ends that has come to `at`: at a quote, a backslash, a control character or
/// the end. Eight bytes at once, as in Sean Anderson's "Bit Twiddling Hacks".
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let found = (control | quote | backslash) & HIGHS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let plain = |byte: &&u8| **byte >= 0x20 && **byte != b'"' && **byte != b'\\';
    at + bytes
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(plain)
        .count()
}

/// Where the escape ends whose letter stands at `at`.
fn escape_end(bytes: &[u8], at: usize) -> Result<usize, Broken> {
    match bytes.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
        Some(b'u') => match bytes.get(at + 1..at + 5) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 5),
            _ => Err(Broken),
        },
        _ => Err(Broken),
    }
}

/// The same JSON without the space between its tokens.
fn compact(json: &str) -> String {
    let mut inside_string = false;
    let mut escaped = false;
    json.chars()
        .filter(|&c| {
            if inside_string {
                inside_string = escaped || c != '"';
                escaped = !escaped && c == '\\';
                true
            } else {
                inside_string = c == '"';
                !c.is_ascii_whitespace()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    #[track_caller]
    fn check_text(json: &str, expected: Option<&str>) {
        assert_eq!(Json::new(json).text().unwrap().get(), expected, "{json}");
    }

    /// Whether the whole text is one value.
    fn is_json(text: &str) -> bool {
        let mut json = Json::new(text);
        json.skip().and_then(|()| json.end()).is_ok()
    }

    #[test]
    fn any_value_has_a_text() {
        for (json, expected) in [
            (r#""""#, Some("")),
            (r#""磁盘""#, Some("磁盘")),
            (r#""a\u003cb\"c""#, Some("a<b\"c")),
            ("null", None),
            ("true", Some("true")),
            ("0.50", Some("0.50")),
            (
                "123456789012345678901234567890",
                Some("123456789012345678901234567890"),
            ),
            (r#"[ "a \" b", { "k" : 1 } ]"#, Some(r#"["a \" b",{"k":1}]"#)),
        ] {
            check_text(json, expected);
        }
    }

    #[test]
    fn of_repeated_keys_all_are_read_in_order_and_the_first_odd_value_is_named() {
        let mut json = Json::new(r#"{"a": "1", "b": 2, "a": null, "c": 3}"#);
        let Place::Of(pairs) = json.pairs().unwrap() else {
            panic!("an object is one");
        };
        assert_eq!(pairs.not_a_string.as_deref(), Some("b"));
        assert_eq!(
            pairs.list,
            [("a", "1"), ("b", "2"), ("a", ""), ("c", "3")].map(|(n, v)| (n.into(), v.into()))
        );
    }

    #[test]
    fn another_kind_of_value_is_named_and_not_an_error() {
        for (json, expected) in [
            ("[1, [2]]", Place::Other("an array")),
            ("\"x\"", Place::Other("a text")),
            ("-1", Place::Other("a number")),
            ("1.5", Place::Other("a number")),
            ("false", Place::Other("a boolean")),
            (" null", Place::Absent),
        ] {
            assert_eq!(Json::new(json).pairs(), Ok(expected), "{json}");
        }
        let mut json = Json::new(r#"{"a": {}}"#);
        assert_eq!(json.array(|_| Err(Broken)), Ok(Place::Other("an object")));
        assert_eq!(json.end(), Ok(()));
    }

    #[test]
    fn half_a_surrogate_pair_is_an_error_of_its_part_alone() {
        let mut json = Json::new(r#"["\ud800", "b", {"\udc00": 1}]"#);
        let mut readable = Vec::new();
        let read = json.array(|json| {
            let part = json.part(|json| {
                if json.peek() == Some(b'{') {
                    json.pairs().map(drop)
                } else {
                    json.text().map(drop)
                }
            });
            readable.push(part?.is_ok());
            Ok(())
        });
        assert_eq!(read, Ok(Place::Of(())));
        assert_eq!(readable, [false, true, false]);
    }

    /// Pieces of JSON, so that some sequences of them are JSON and most others nearly so.
    fn nearly_json() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "\"a\"", "\"a\":", "1", "0", "-", ".", "e", "+",
            "E5", "true", "false", "null", "nul", " ", "\n", "\u{1f}", "é", "\\n", "\\ud800", "00ff", "{}",
            "[]", "1.5e-3",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// JSON, a character of which was perhaps replaced.
    fn damaged() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            any::<f64>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<bool>().prop_map(serde_json::Value::from),
            "\\PC{0,20}".prop_map(serde_json::Value::from),
        ];
        let value = leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::vec(("[a-z]{0,3}", inner), 0..4)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        });
        (value, any::<prop::sample::Index>(), any::<Option<char>>()).prop_map(|(value, place, other)| {
            let mut text: Vec<char> = value.to_string().chars().collect();
            if let Some(other) = other {
                let place = place.index(text.len());
                text[place] = other;
            }
            text.into_iter().collect()
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_takes_for_json_and_nothing_else_is_json(
            text in prop_oneof![nearly_json(), damaged()],
        ) {
            prop_assert_eq!(is_json(&text), serde_json::from_str::<IgnoredAny>(&text).is_ok());
        }

        #[test]
        fn a_text_is_what_serde_json_reads(text in any::<String>()) {
            let json = serde_json::Value::from(text.as_str()).to_string();
            let mut json = Json::new(&json);
            let read = json.text().unwrap();
            prop_assert_eq!(read.get(), Some(text.as_str()));
            prop_assert_eq!(json.end(), Ok(()));
        }
    }
}
