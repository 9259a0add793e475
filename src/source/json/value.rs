//! The values of expressions: jaq's, with a meter on everything that costs.
//!
//! **Invariant:** no operation takes much longer than what it pays for beforehand, however its operands share their
//! parts: `reduce range(99) as $i (0; [., .])` is a hundred small arrays, and a tree that no machine could walk.
//!
//! **Invariant:** no value nests deeper than [`DEPTH_MAX`], since jaq compares, prints and drops values recursively.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::ops::Math;
use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Exn, ValR, ValT, ValX};
use jaq_json::{Num, Rc, Val};

use super::meter::{self, DEPTH_MAX, INTEGER_BITS_MAX, Limit};

/// Bytes of a value inside another one.
const SLOT_BYTES: usize = size_of::<Val>();
/// Bytes of a text besides its characters.
const TEXT_BYTES: usize = 64;
/// So many values are walked for one step.
const WALKED_PER_STEP: usize = 8;
/// So many bytes of text are walked for one step.
const TEXT_PER_STEP: usize = 64;

type Error = jaq_core::Error<Value>;

/// A value that pays for what is done with it.
#[derive(Debug)]
pub(super) struct Value {
    inner: Val,
    /// At least its levels of nesting; 0 for what holds nothing.
    depth: usize,
}

impl Value {
    /// A value that may have so many levels.
    pub(super) fn new(inner: Val, depth: usize) -> Self {
        let depth = match &inner {
            Val::Null | Val::Bool(_) | Val::Num(_) | Val::BStr(_) | Val::TStr(_) => 0,
            Val::Arr(_) | Val::Obj(_) if depth <= DEPTH_MAX => depth.max(1),
            // The bound only grows where parts are taken out again; it is time to look.
            Val::Arr(_) | Val::Obj(_) => levels(&inner, DEPTH_MAX),
        };
        if let Val::Num(Num::BigInt(integer)) = &inner
            && integer.bits() > INTEGER_BITS_MAX
        {
            meter::stop(Limit::Integer);
        }
        Self { inner, depth }
    }

    /// The value inside, which nobody counts any longer.
    pub(super) fn into_inner(self) -> Val {
        self.inner
    }

    /// The value inside.
    pub(super) const fn inner(&self) -> &Val {
        &self.inner
    }

    fn text(bytes: Vec<u8>) -> Self {
        Self::new(Val::utf8_str(bytes), 0)
    }

    /// A part of this one.
    fn part(&self, inner: Val) -> Self {
        Self::new(inner, self.depth.saturating_sub(1))
    }

    /// Pays for walking all of it; the bytes of its JSON, roughly.
    pub(super) fn weigh(&self) -> usize {
        weigh(&self.inner)
    }

    /// Pays for taking the elements out, which copies them if others hold them, too.
    fn open(&self) {
        let copied = match &self.inner {
            Val::Arr(array) if Rc::strong_count(array) > 1 => array.len(),
            Val::Obj(object) if Rc::strong_count(object) > 1 => 2 * object.len(),
            Val::Null
            | Val::Bool(_)
            | Val::Num(_)
            | Val::BStr(_)
            | Val::TStr(_)
            | Val::Arr(_)
            | Val::Obj(_) => {
                return;
            }
        };
        meter::steps(copied / WALKED_PER_STEP);
        meter::bytes(copied * SLOT_BYTES);
    }

    /// Changes parts by `change`, of which `jaq` knows how to put the outcome back.
    fn changed<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        f: impl Fn(Self) -> I,
        change: impl FnOnce(Val, &dyn Fn(Val) -> Parts<'a, I>) -> ValX<'a, Val>,
    ) -> ValX<'a, Self> {
        self.open();
        let depth = Rc::new(std::cell::Cell::new(self.depth));
        let failure = Rc::new(RefCell::new(None));
        let part_depth = self.depth.saturating_sub(1);
        let changed = change(self.inner, &|part| Parts {
            made: f(Self::new(part, part_depth)),
            depth: Rc::clone(&depth),
            failure: Rc::clone(&failure),
        });
        if let Some(failure) = failure.take() {
            return Err(failure);
        }
        changed
            .map(|inner| Self::new(inner, depth.get()))
            .map_err(|error| {
                Exn::from(
                    error
                        .get_err()
                        .map_or_else(|_| Error::new(Self::from(false)), told),
                )
            })
    }
}

/// What a part becomes, as `jaq` wants it; a failure is kept aside, since it can hold a value of ours.
struct Parts<'a, I> {
    made: I,
    depth: Rc<std::cell::Cell<usize>>,
    failure: Rc<RefCell<Option<Exn<'a, Value>>>>,
}

impl<'a, I: Iterator<Item = ValX<'a, Value>>> Iterator for Parts<'a, I> {
    type Item = ValX<'a, Val>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.made.next()? {
            Ok(part) => {
                item();
                self.depth.set(self.depth.get().max(part.depth + 1));
                Ok(part.inner)
            }
            Err(failure) => {
                self.failure.replace(Some(failure));
                Err(Exn::from(jaq_json::Error::new(Val::Null)))
            }
        })
    }
}

/// An error of jaq's whose values have been paid for.
fn told(error: jaq_json::Error) -> Error {
    Error::new(Value::new(error.into_val(), DEPTH_MAX + 1))
}

/// Pays for one more element.
fn item() {
    meter::steps(1);
    meter::bytes(SLOT_BYTES);
}

/// The levels of a value, unless they are more than `most`.
fn levels(value: &Val, most: usize) -> usize {
    let parts: &mut dyn Iterator<Item = &Val> = match value {
        Val::Arr(array) => &mut array.iter(),
        Val::Obj(object) => &mut object.iter().flat_map(|(name, value)| [name, value]),
        Val::Null | Val::Bool(_) | Val::Num(_) | Val::BStr(_) | Val::TStr(_) => return 0,
    };
    let Some(below) = most.checked_sub(1) else {
        meter::stop(Limit::Depth)
    };
    1 + parts
        .map(|part| {
            meter::steps(1);
            levels(part, below)
        })
        .max()
        .unwrap_or(0)
}

fn weigh(value: &Val) -> usize {
    match value {
        Val::Null | Val::Bool(_) | Val::Num(_) => 8,
        Val::BStr(text) | Val::TStr(text) => {
            meter::steps(text.len() / TEXT_PER_STEP);
            text.len() + 2
        }
        Val::Arr(array) => {
            meter::steps(1 + array.len() / WALKED_PER_STEP);
            array.iter().map(weigh).fold(2, usize::saturating_add)
        }
        Val::Obj(object) => {
            meter::steps(1 + 2 * object.len() / WALKED_PER_STEP);
            let parts = object.iter().flat_map(|(name, value)| [name, value]);
            parts.map(weigh).fold(2, usize::saturating_add)
        }
    }
}

/// Pays for a comparison.
fn weigh_both(left: &Val, right: &Val) {
    match (left, right) {
        (Val::BStr(left) | Val::TStr(left), Val::BStr(right) | Val::TStr(right)) => {
            meter::steps(1 + left.len().min(right.len()) / TEXT_PER_STEP);
        }
        (Val::Arr(_), Val::Arr(_)) | (Val::Obj(_), Val::Obj(_)) => {
            weigh(left);
            weigh(right);
        }
        _ => meter::steps(1),
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        meter::steps(1);
        Self {
            inner: self.inner.clone(),
            depth: self.depth,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        meter::bytes(self.weigh());
        self.inner.fmt(f)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::new(value.into(), 0)
    }
}

impl From<isize> for Value {
    fn from(value: isize) -> Self {
        Self::new(value.into(), 0)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::new(value.into(), 0)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::new(value.into(), 0)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        meter::bytes(text.len() + TEXT_BYTES);
        Self::text(text.into_bytes())
    }
}

impl From<Range<Self>> for Value {
    fn from(range: Range<Self>) -> Self {
        let depth = |end: &Option<Self>| end.as_ref().map_or(0, |end| end.depth);
        let depth = 1 + depth(&range.start).max(depth(&range.end));
        let inner = |end: Option<Self>| end.map(Self::into_inner);
        Self::new((inner(range.start)..inner(range.end)).into(), depth)
    }
}

impl FromIterator<Self> for Value {
    fn from_iter<T: IntoIterator<Item = Self>>(values: T) -> Self {
        let mut depth = 0;
        let inner = values
            .into_iter()
            .map(|value| {
                item();
                depth = depth.max(value.depth);
                value.inner
            })
            .collect();
        Self::new(inner, depth + 1)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        weigh_both(&self.inner, &other.inner);
        self.inner == other.inner
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        weigh_both(&self.inner, &other.inner);
        self.inner.cmp(&other.inner)
    }
}

/// What jaq makes of two operands, of which it is known that it takes them.
fn outcome(made: ValR<Val>, depth: usize) -> ValR<Value> {
    made.map(|inner| Value::new(inner, depth)).map_err(told)
}

impl Add for Value {
    type Output = ValR<Self>;

    fn add(self, other: Self) -> ValR<Self> {
        match (&self.inner, &other.inner) {
            (Val::Null, _) | (_, Val::Null) | (Val::Num(_), Val::Num(_)) => {}
            (Val::BStr(left), Val::BStr(right)) | (Val::TStr(left), Val::TStr(right)) => {
                meter::steps((left.len() + right.len()) / TEXT_PER_STEP);
                meter::bytes(left.len() + right.len() + TEXT_BYTES);
            }
            (Val::Arr(_), Val::Arr(right)) => {
                self.open();
                meter::steps(right.len() / WALKED_PER_STEP);
                meter::bytes(right.len() * SLOT_BYTES);
            }
            (Val::Obj(_), Val::Obj(right)) => {
                self.open();
                for name in right.keys() {
                    item();
                    weigh(name);
                }
            }
            _ => return Err(Error::math(self, Math::Add, other)),
        }
        let depth = self.depth.max(other.depth);
        outcome(self.inner + other.inner, depth)
    }
}

impl Sub for Value {
    type Output = ValR<Self>;

    fn sub(self, other: Self) -> ValR<Self> {
        match (&self.inner, &other.inner) {
            (Val::Num(_), Val::Num(_)) => {}
            (Val::Arr(_), Val::Arr(right)) => {
                self.open();
                // Each element is looked for in a sorted tree of the others.
                for _ in 0..=right.len().checked_ilog2().unwrap_or(0) {
                    self.weigh();
                    other.weigh();
                }
            }
            _ => return Err(Error::math(self, Math::Sub, other)),
        }
        outcome(self.inner - other.inner, self.depth)
    }
}

impl Mul for Value {
    type Output = ValR<Self>;

    fn mul(self, other: Self) -> ValR<Self> {
        match (&self.inner, &other.inner) {
            (Val::Num(_), Val::Num(_)) => {}
            (Val::BStr(text) | Val::TStr(text), Val::Num(number))
            | (Val::Num(number), Val::BStr(text) | Val::TStr(text)) => {
                let times = match number {
                    Num::Int(times) => usize::try_from(*times).unwrap_or(0),
                    Num::BigInt(_) | Num::Float(_) | Num::Dec(_) => usize::MAX,
                };
                meter::bytes(text.len().max(1).saturating_mul(times));
            }
            (Val::Obj(_), Val::Obj(_)) => {
                meter::bytes(self.weigh());
                meter::bytes(other.weigh());
            }
            _ => return Err(Error::math(self, Math::Mul, other)),
        }
        let depth = self.depth.max(other.depth);
        outcome(self.inner * other.inner, depth)
    }
}

impl Div for Value {
    type Output = ValR<Self>;

    fn div(self, other: Self) -> ValR<Self> {
        match (&self.inner, &other.inner) {
            (Val::Num(_), Val::Num(_)) => {}
            (Val::BStr(text), Val::BStr(between)) | (Val::TStr(text), Val::TStr(between)) => {
                meter::steps(text.len() / TEXT_PER_STEP);
                let (text, between) = (String::from_utf8_lossy(text), String::from_utf8_lossy(between));
                for _ in text.matches(&*between) {
                    item();
                    meter::bytes(TEXT_BYTES);
                }
            }
            _ => return Err(Error::math(self, Math::Div, other)),
        }
        outcome(self.inner / other.inner, 1)
    }
}

impl Rem for Value {
    type Output = ValR<Self>;

    fn rem(self, other: Self) -> ValR<Self> {
        if !matches!((&self.inner, &other.inner), (Val::Num(_), Val::Num(_))) {
            return Err(Error::math(self, Math::Rem, other));
        }
        outcome(self.inner % other.inner, 0)
    }
}

impl Neg for Value {
    type Output = ValR<Self>;

    fn neg(self) -> ValR<Self> {
        if !matches!(self.inner, Val::Num(_)) {
            return Err(Error::typ(self, "number"));
        }
        outcome(-self.inner, 0)
    }
}

/// What is said of a value that has no elements.
const ITERABLE: &str = "iterable (array or object)";

impl ValT for Value {
    fn from_num(number: &str) -> ValR<Self> {
        meter::bytes(number.len());
        outcome(Val::from_num(number), 0)
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(pairs: I) -> ValR<Self> {
        let mut depth = 0;
        let inner = Val::from_map(pairs.into_iter().map(|(name, value)| {
            item();
            name.weigh();
            depth = depth.max(name.depth).max(value.depth);
            (name.inner, value.inner)
        }));
        outcome(inner, depth + 1)
    }

    fn key_values(self) -> BoxIter<'static, ValR<(Self, Self), Self>> {
        if !matches!(self.inner, Val::Arr(_) | Val::Obj(_)) {
            return box_once(Err(Error::typ(self, ITERABLE)));
        }
        self.open();
        let below = self.depth.saturating_sub(1);
        Box::new(self.inner.key_values().map(move |pair| {
            let (name, value) = pair.map_err(told)?;
            Ok((Self::new(name, below), Self::new(value, below)))
        }))
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        if !matches!(self.inner, Val::Arr(_) | Val::Obj(_)) {
            return box_once(Err(Error::typ(self, ITERABLE)));
        }
        self.open();
        let below = self.depth.saturating_sub(1);
        Box::new(self.inner.values().map(move |value| outcome(value, below)))
    }

    fn index(self, index: &Self) -> ValR<Self> {
        match (&self.inner, &index.inner) {
            (Val::Arr(array), Val::Arr(wanted)) => {
                self.weigh();
                meter::steps(array.len().saturating_mul(1 + wanted.len()));
                meter::bytes(array.len() * SLOT_BYTES);
            }
            (_, Val::Arr(_) | Val::Obj(_)) => {
                index.weigh();
                self.weigh();
            }
            _ => {}
        }
        // Of its errors, all are about the value and the index.
        let found = self.inner.clone().index(&index.inner);
        match found {
            Ok(found) => Ok(self.part(found)),
            Err(_) => Err(Error::index(self, index.clone())),
        }
    }

    fn range(self, range: Range<&Self>) -> ValR<Self> {
        match &self.inner {
            Val::BStr(text) | Val::TStr(text) => {
                meter::steps(text.len() / TEXT_PER_STEP);
                meter::bytes(TEXT_BYTES);
            }
            Val::Arr(array) => {
                meter::steps(array.len() / WALKED_PER_STEP);
                meter::bytes(array.len() * SLOT_BYTES);
            }
            Val::Null | Val::Bool(_) | Val::Num(_) | Val::Obj(_) => {
                return Err(Error::typ(self, "rangeable (array or string)"));
            }
        }
        for end in [range.start, range.end].into_iter().flatten() {
            end.weigh();
        }
        outcome(self.inner.range(inner_range(&range)), self.depth)
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        if !matches!(self.inner, Val::Arr(_) | Val::Obj(_)) {
            return opt.fail(self, |value| Exn::from(Error::typ(value, ITERABLE)));
        }
        self.changed(f, |inner, part| inner.map_values(opt, part))
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        if matches!(self.inner, Val::Null | Val::Bool(_) | Val::Num(_)) {
            return opt.fail(self, |value| Exn::from(Error::typ(value, ITERABLE)));
        }
        index.weigh();
        self.pay_for_text();
        self.changed(f, |inner, part| inner.map_index(&index.inner, opt, part))
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        if matches!(self.inner, Val::Null | Val::Bool(_) | Val::Num(_) | Val::Obj(_)) {
            return opt.fail(self, |value| Exn::from(Error::typ(value, "array")));
        }
        for end in [range.start, range.end].into_iter().flatten() {
            end.weigh();
        }
        self.pay_for_text();
        self.changed(f, |inner, part| inner.map_range(inner_range(&range), opt, part))
    }

    fn as_bool(&self) -> bool {
        self.inner.as_bool()
    }

    fn into_string(self) -> Self {
        match &self.inner {
            Val::BStr(_) | Val::TStr(_) => {}
            Val::Null | Val::Bool(_) | Val::Num(_) | Val::Arr(_) | Val::Obj(_) => {
                meter::bytes(self.weigh() + TEXT_BYTES);
            }
        }
        Self::new(self.inner.into_string(), 0)
    }
}

fn inner_range<'v>(range: &Range<&'v Value>) -> Range<&'v Val> {
    range.start.map(Value::inner)..range.end.map(Value::inner)
}

impl Value {
    /// A part of a text is put back by copying the text.
    fn pay_for_text(&self) {
        if let Val::BStr(text) | Val::TStr(text) = &self.inner {
            meter::steps(text.len() / TEXT_PER_STEP);
            meter::bytes(text.len() + TEXT_BYTES);
        }
    }
}

impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        let below = self.depth.saturating_sub(1);
        let part = |part: Val| {
            item();
            Self::new(part, below)
        };
        match self.inner {
            Val::Arr(array) => Ok(match Rc::try_unwrap(array) {
                Ok(own) => own.into_iter().map(part).collect(),
                Err(shared) => shared.iter().cloned().map(part).collect(),
            }),
            Val::Null | Val::Bool(_) | Val::Num(_) | Val::BStr(_) | Val::TStr(_) | Val::Obj(_) => Err(self),
        }
    }

    fn is_int(&self) -> bool {
        jaq_std::ValT::is_int(&self.inner)
    }

    fn as_isize(&self) -> Option<isize> {
        jaq_std::ValT::as_isize(&self.inner)
    }

    fn as_f64(&self) -> Option<f64> {
        jaq_std::ValT::as_f64(&self.inner)
    }

    fn is_utf8_str(&self) -> bool {
        jaq_std::ValT::is_utf8_str(&self.inner)
    }

    /// Whoever wants the bytes will walk them.
    fn as_bytes(&self) -> Option<&[u8]> {
        let bytes = jaq_std::ValT::as_bytes(&self.inner)?;
        meter::steps(bytes.len() / TEXT_PER_STEP);
        Some(bytes)
    }

    fn as_sub_str(&self, part: &[u8]) -> Self {
        meter::bytes(TEXT_BYTES);
        Self::new(jaq_std::ValT::as_sub_str(&self.inner, part), 0)
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        meter::bytes(bytes.as_ref().len() + TEXT_BYTES);
        Self::new(<Val as jaq_std::ValT>::from_utf8_bytes(bytes), 0)
    }
}
