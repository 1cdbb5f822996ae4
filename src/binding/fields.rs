//! Reading option objects: each property once, in a fixed order, checked for type and range; what was not asked for is
//! an error that names the nearest known key. `null` and `undefined` mean absent.

use std::ops::RangeInclusive;

use napi::bindgen_prelude::{
    FromNapiValue, JsObjectValue, KeyCollectionMode, KeyConversion, KeyFilter, Object, Unknown,
};
use napi::{JsValue, ValueType};

use crate::config::Value;
use crate::error::{Code, Error};

/// Why an option object was not taken.
pub(super) enum Refusal {
    /// It is wrong; the caller gets an error with a code.
    Invalid(Error),
    /// Reading it ran the caller's own code (a getter, a proxy), which threw; the caller gets back what it threw.
    Thrown(napi::Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Invalid(error)
    }
}

impl From<napi::Error> for Refusal {
    fn from(error: napi::Error) -> Self {
        Self::Thrown(error)
    }
}

/// Numbers up to here survive the way through JavaScript unchanged.
pub(super) const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The longest list. Its elements are read while JavaScript waits.
const MAX_ELEMENTS: u32 = 1 << 20;

pub(super) type Read<T> = Result<T, Refusal>;

/// A property: its name, and its value if it has one.
pub(super) type Entry<'env> = (String, Option<Unknown<'env>>);

/// One option object while it is read.
pub(super) struct Fields<'env> {
    /// `None` where the caller gave no object at all.
    object: Option<Object<'env>>,
    /// How the object is called in messages, with a dot, or nothing for the outermost.
    prefix: String,
    code: Code,
    known: Vec<&'static str>,
}

impl<'env> Fields<'env> {
    /// Begins to read `value`, which is called `name` in messages; errors have `code`.
    pub(super) fn of(name: &str, code: Code, value: Unknown<'env>) -> Read<Self> {
        let object = object(name, code, value)?;
        let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
        Ok(Self { object, prefix, code, known: Vec::new() })
    }

    /// The value of a property, if it is there.
    pub(super) fn value(&mut self, name: &'static str) -> Read<Option<Unknown<'env>>> {
        self.known.push(name);
        let Some(object) = &self.object else { return Ok(None) };
        let value: Unknown<'env> = object.get_named_property_unchecked(name)?;
        Ok((!is_absent(&value)?).then_some(value))
    }

    /// A number inside a range.
    pub(super) fn number(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Read<Option<f64>> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        let number = match value.get_type()? {
            ValueType::Number => f64::from_unknown(value)?,
            _ => return Err(self.wrong(name, &format!("must be a number, not {}", kind(&value)?))),
        };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let (start, end) = range.into_inner();
        let message = format!("must be from {start} to {end}, not {}", Value::Number(number));
        let limit = if number < start { start } else { end };
        Err(wrong(self.code, &self.path(name), &message).with_limit(limit, number).into())
    }

    /// A whole number inside a range.
    pub(super) fn integer(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Read<Option<u64>> {
        let (start, end) = range.into_inner();
        let Some(number) = self.number(name, start as f64..=end as f64)? else { return Ok(None) };
        let not_whole = || self.wrong(name, &format!("must be a whole number, not {}", Value::Number(number)));
        whole(number).ok_or_else(not_whole).map(Some)
    }

    /// A function, which is not called here.
    pub(super) fn function(&mut self, name: &'static str) -> Read<Option<Unknown<'env>>> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        match value.get_type()? {
            ValueType::Function => Ok(Some(value)),
            _ => Err(self.wrong(name, &format!("must be a function, not {}", kind(&value)?))),
        }
    }

    /// On or off.
    pub(super) fn switch(&mut self, name: &'static str) -> Read<Option<bool>> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        match value.get_type()? {
            ValueType::Boolean => Ok(Some(bool::from_unknown(value)?)),
            _ => Err(self.wrong(name, &format!("must be true or false, not {}", kind(&value)?))),
        }
    }

    /// A text.
    pub(super) fn string(&mut self, name: &'static str) -> Read<Option<String>> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        Ok(Some(string(self.code, &self.path(name), value)?))
    }

    /// A list of texts.
    pub(super) fn strings(&mut self, name: &'static str) -> Read<Option<Vec<String>>> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        let path = self.path(name);
        let mut items = Vec::new();
        for (index, item) in elements(self.code, &path, value)?.enumerate() {
            items.push(string(self.code, &format!("{path}[{index}]"), item?)?);
        }
        Ok(Some(items))
    }

    /// How a property is called in messages.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// An error about a property.
    pub(super) fn wrong(&self, name: &str, message: &str) -> Refusal {
        wrong(self.code, &self.path(name), message).into()
    }

    /// Everything known was read: what is left over is an error.
    pub(super) fn finish(self) -> Read<()> {
        let Some(object) = &self.object else { return Ok(()) };
        for key in own_keys(object)? {
            if !self.known.contains(&key.as_str()) {
                return Err(unknown(self.code, &self.path(&key), &key, &self.known));
            }
        }
        Ok(())
    }
}

/// An option that does not exist, in an object where those of `known` do.
pub(super) fn unknown(code: Code, path: &str, key: &str, known: &[&str]) -> Refusal {
    let nearest = known.iter().min_by_key(|known| distance(known, key));
    let hint = match nearest {
        Some(known) if distance(known, key) <= key.len().div_ceil(2) => format!("did you mean `{known}`?"),
        _ => format!("known are {}", known.join(", ")),
    };
    wrong(code, path, &format!("is not an option; {hint}")).into()
}

/// The own properties of an object, each read once; none where the caller gave no object at all.
pub(super) fn entries<'env>(name: &str, code: Code, value: Unknown<'env>) -> Read<Vec<Entry<'env>>> {
    let Some(object) = object(name, code, value)? else { return Ok(Vec::new()) };
    let present = |(key, value)| Ok((key, (!is_absent(&value)?).then_some(value)));
    properties(&object)?.into_iter().map(present).collect()
}

/// The own properties of an object, each read once.
pub(super) fn properties<'env>(object: &Object<'env>) -> Read<Vec<(String, Unknown<'env>)>> {
    let read = |key: String| Ok((key.clone(), object.get_named_property_unchecked(&key)?));
    own_keys(object)?.into_iter().map(read).collect()
}

fn object<'env>(name: &str, code: Code, value: Unknown<'env>) -> Read<Option<Object<'env>>> {
    match value.get_type()? {
        ValueType::Undefined | ValueType::Null => Ok(None),
        ValueType::Object if !is_array(&value)? => {
            let object = Object::from_unknown(value)?;
            if !is_plain(&object)? && own_keys(&object)?.is_empty() {
                return Err(
                    wrong(code, name, "must be an object with these names, not one of a class without any").into()
                );
            }
            Ok(Some(object))
        }
        _ => Err(wrong(code, name, &format!("must be an object, not {}", kind(&value)?)).into()),
    }
}

/// Whether an object is a literal one: its prototype is the root of all objects, or there is none. A date, a map or an
/// object of a class would cross without what it is about.
pub(super) fn is_plain(object: &Object<'_>) -> Read<bool> {
    let prototype: Unknown<'_> = object.get_prototype_unchecked()?;
    if prototype.get_type()? != ValueType::Object {
        return Ok(true);
    }
    let above: Unknown<'_> = Object::from_unknown(prototype)?.get_prototype_unchecked()?;
    Ok(above.get_type()? == ValueType::Null)
}

/// Names of own, enumerable properties. Symbols say nothing to this library, and what a prototype has was not asked for.
fn own_keys(object: &Object<'_>) -> Read<Vec<String>> {
    let (mode, filter) = (KeyCollectionMode::OwnOnly, KeyFilter::Enumerable);
    let keys = object.get_all_property_names(mode, filter, KeyConversion::NumbersToStrings)?;
    let mut names = Vec::new();
    for index in 0..keys.get_array_length()? {
        let key: Unknown<'_> = keys.get_element(index)?;
        if key.get_type()? == ValueType::String {
            names.push(String::from_unknown(key)?);
        }
    }
    Ok(names)
}

/// A number that is whole, not negative, and exact.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range: checked before")]
pub(super) fn whole(number: f64) -> Option<u64> {
    ((0.0..=MAX_SAFE_INTEGER as f64).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

/// The elements of a list, each read when it is asked for: a list can be long and hold nothing.
pub(super) fn elements<'env>(
    code: Code,
    path: &str,
    value: Unknown<'env>,
) -> Read<impl ExactSizeIterator<Item = Read<Unknown<'env>>> + use<'env>> {
    if !is_array(&value)? {
        return Err(wrong(code, path, &format!("must be an array, not {}", kind(&value)?)).into());
    }
    let array = Object::from_unknown(value)?;
    let length = array.get_array_length()?;
    if length > MAX_ELEMENTS {
        let message = format!("has {length} elements; at most {MAX_ELEMENTS} are allowed");
        return Err(wrong(code, path, &message).with_limit(f64::from(MAX_ELEMENTS), f64::from(length)).into());
    }
    Ok((0..length as usize).map(move |index| Ok(array.get_element(u32::try_from(index).unwrap_or(u32::MAX))?)))
}

/// A text.
pub(super) fn string(code: Code, path: &str, value: Unknown<'_>) -> Read<String> {
    match value.get_type()? {
        ValueType::String => Ok(String::from_unknown(value)?),
        _ => Err(wrong(code, path, &format!("must be a string, not {}", kind(&value)?)).into()),
    }
}

pub(super) fn wrong(code: Code, path: &str, message: &str) -> Error {
    Error::new(code, format!("`{path}` {message}")).with_param(path)
}

pub(super) fn is_array(value: &Unknown<'_>) -> napi::Result<bool> {
    value.is_array()
}

fn is_absent(value: &Unknown<'_>) -> napi::Result<bool> {
    Ok(matches!(value.get_type()?, ValueType::Undefined | ValueType::Null))
}

/// How a value of another type than expected is called in messages.
pub(super) fn kind(value: &Unknown<'_>) -> napi::Result<&'static str> {
    Ok(match value.get_type()? {
        ValueType::Undefined => "undefined",
        ValueType::Null => "null",
        ValueType::Boolean => "a boolean",
        ValueType::Number => "a number",
        ValueType::String => "a string",
        ValueType::Symbol => "a symbol",
        ValueType::Object if is_array(value)? => "an array",
        ValueType::Object => "an object",
        ValueType::Function => "a function",
        ValueType::BigInt => "a bigint",
        _ => "a value of another type",
    })
}

/// Levenshtein distance, to find the key that was meant.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(!from.eq_ignore_ascii_case(&to));
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}
