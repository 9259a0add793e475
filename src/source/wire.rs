//! Pieces of JSON that bodies of every format are made of, read leniently and with little copying.
//!
//! A derived struct takes an array for an object, fails on a repeated key and on a number where a text belongs.
//! The types here do not: an [`Object`] is read key by key and the last of repeated keys stays, a [`Text`] is any
//! scalar as written, and a [`Place`] says what stands there instead of what was hoped for.
//!
//! They borrow from the body, so they read only from text that is in memory as a whole. They know no format.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What stands at a place of a body.
#[derive(Clone, Debug, Default)]
pub(super) enum Place<T> {
    /// Nothing, or `null`.
    #[default]
    Absent,
    /// What was hoped for.
    Of(T),
    /// Something else, named: `an array`.
    Other(&'static str),
}

/// What can stand at a [`Place`]: made of an array or of an object.
pub(super) trait Shape<'de>: Sized {
    /// Reads an array; `None` when this is not made of one.
    fn of_array<A: SeqAccess<'de>>(mut array: A) -> Result<Option<Self>, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// Reads an object; `None` when this is not made of one.
    fn of_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<'de, T: Shape<'de>> Deserialize<'de> for Place<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlaceVisitor(PhantomData))
    }
}

struct PlaceVisitor<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> Visitor<'de> for PlaceVisitor<T> {
    type Value = Place<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Place::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Place::Other("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Place::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Place::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Place::Other("a number"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Place::Other("a text"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Self::Value, A::Error> {
        Ok(T::of_array(array)?.map_or(Place::Other("an array"), Place::Of))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        Ok(T::of_object(object)?.map_or(Place::Other("an object"), Place::Of))
    }
}

/// The elements of an array, each still to be read on its own.
#[derive(Clone, Debug)]
pub(super) struct Elements<'a>(pub(super) Vec<&'a RawValue>);

impl<'de> Shape<'de> for Elements<'de> {
    fn of_array<A: SeqAccess<'de>>(mut array: A) -> Result<Option<Self>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = array.next_element()? {
            elements.push(element);
        }
        Ok(Some(Self(elements)))
    }
}

/// The fields of one kind of object.
pub(super) trait Fields<'de>: Default {
    /// Reads the value of the field `name` from `object`, or returns false when there is no such field.
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<bool, A::Error>;
}

/// An object of known fields; others are passed over, of repeated ones the last stays.
#[derive(Clone, Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Fields<'de>> Shape<'de> for Object<T> {
    fn of_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut fields = T::default();
        while let Some(Key(name)) = object.next_key()? {
            if !fields.read(&name, &mut object)? {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Some(Self(fields)))
    }
}

/// A key, borrowed unless it holds an escape.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
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

impl<'a> Text<'a> {
    /// The text, unless it is absent.
    pub(super) fn get(&self) -> Option<&str> {
        self.text.as_deref()
    }

    fn of_raw(raw: &'a str) -> Result<Self, serde_json::Error> {
        let string = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let text = match string {
            // The reader has checked the string; without an escape it stands there as it is.
            Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
            Some(_) => Some(Cow::Owned(serde_json::from_str(raw)?)),
            None if raw == "null" => None,
            None if raw.starts_with(['{', '[']) => Some(Cow::Owned(compact(raw))),
            None => Some(Cow::Borrowed(raw)),
        };
        Ok(Self {
            is_string: string.is_some() || text.is_none(),
            text,
        })
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Self::of_raw(raw.get()).map_err(D::Error::custom)
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

/// An object of texts: labels, annotations, values.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs<'a> {
    /// Names and values as they come, repeated names included; `null` is an empty value.
    pub(super) list: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The first name whose value is not a string.
    pub(super) not_a_string: Option<Cow<'a, str>>,
}

impl<'de> Shape<'de> for Pairs<'de> {
    fn of_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut pairs = Self::default();
        while let Some((Key(name), value)) = object.next_entry::<Key<'de>, Text<'de>>()? {
            if !value.is_string && pairs.not_a_string.is_none() {
                pairs.not_a_string = Some(name.clone());
            }
            pairs.list.push((name, value.text.unwrap_or_default()));
        }
        Ok(Some(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(json: &str, expected: Option<&str>) {
        let text: Text<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(text.get(), expected, "{json}");
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
        let place: Place<Pairs<'_>> =
            serde_json::from_str(r#"{"a": "1", "b": 2, "a": null, "c": 3}"#).unwrap();
        let Place::Of(pairs) = place else {
            panic!("{place:?}");
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
            ("[1, [2]]", "an array"),
            ("\"x\"", "a text"),
            ("-1", "a number"),
            ("1.5", "a number"),
            ("false", "a boolean"),
        ] {
            let place: Place<Pairs<'_>> = serde_json::from_str(json).unwrap();
            assert!(
                matches!(place, Place::Other(kind) if kind == expected),
                "{place:?}"
            );
        }
        assert!(matches!(
            serde_json::from_str::<Place<Elements<'_>>>(r#"{"a": {}}"#).unwrap(),
            Place::Other("an object")
        ));
    }
}
