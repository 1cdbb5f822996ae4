//! Reads objects of options and params. Each property is read once, in a fixed order, and checked for type and range. An
//! unknown property is an error that names the nearest known one. `null` and `undefined` mean absent.

use std::ops::RangeInclusive;

use napi::bindgen_prelude::{FromNapiValue, JsObjectValue, Object, Unknown};
use napi::{JsString, JsValue, ValueType};

use crate::config::Value;
use crate::error::{Code, Error};
use crate::numbers::MAX_SAFE_INTEGER;

use super::keys::{Properties, Property, key_at, own_keys};
use super::names::{self, Place};
use super::refusal::{Read, Refusal};

/// The most elements of a list without a limit of its own. JavaScript is blocked while they are read.
pub(super) const MAX_ELEMENTS: usize = 1 << 16;
/// The most UTF-16 code units of a text that is not a prompt, and of all texts of a list together.
pub(super) const MAX_TEXT_UNITS: usize = 4 << 20;
/// The most UTF-16 code units of a property name.
pub(super) const MAX_KEY_UNITS: usize = 256;
/// Error messages show at most this many characters of a path.
const MAX_PATH_CHARS: usize = 80;

/// The most properties of an object of options; far more than there are options.
pub(super) const MAX_PROPERTIES: usize = 1 << 12;

/// A property: its name, and its value if it has one.
pub(super) type Entry<'env> = (String, Option<Unknown<'env>>);

/// One object of options or params while it is read.
pub(super) struct Fields<'env> {
    /// `None` if the caller gave no object.
    object: Option<Object<'env>>,
    /// The path of the object in messages, with a dot at its end. Empty for the outermost object.
    prefix: String,
    code: Code,
    place: Place,
    known: Vec<&'static str>,
}

impl<'env> Fields<'env> {
    /// Starts to read `value`. Its path in messages is `name`; errors have `code`.
    pub(super) fn of(name: &str, code: Code, value: Unknown<'env>) -> Read<Self> {
        let object = object(name, code, value)?;
        let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
        Ok(Self { object, prefix, code, place: Place::Other, known: Vec::new() })
    }

    /// Sets the kind of the object, so that errors can translate names of other libraries.
    pub(super) fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// Names of options that lib/ reads, and takes out of the object.
    pub(super) fn also(mut self, names: &[&'static str]) -> Self {
        self.known.extend(names);
        self
    }

    /// The value of a property, if it is present.
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
        let (mut items, mut left) = (Vec::new(), MAX_TEXT_UNITS);
        for (index, item) in elements(self.code, &path, value, MAX_ELEMENTS)?.enumerate() {
            let (path, item) = (format!("{path}[{index}]"), item?);
            left -= num_units(self.code, &path, &item, left)?;
            items.push(string(self.code, &path, item)?);
        }
        Ok(Some(items))
    }

    /// The path of a property in messages.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// An error about a property.
    pub(super) fn wrong(&self, name: &str, message: &str) -> Refusal {
        wrong(self.code, &self.path(name), message).into()
    }

    /// Ends the reading: a property that was not read is an error.
    pub(super) fn finish(self) -> Read<()> {
        let Some(object) = &self.object else { return Ok(()) };
        let keys = own_keys(object)?;
        for index in 0..keys.get_array_length()? {
            // A name beyond the limit is unknown in any case; the message has its length.
            let key = key_at(&keys, index, MAX_KEY_UNITS)?
                .map(|key| key.name.unwrap_or_else(|units| format!("of length {units}")));
            if let Some(key) = key.filter(|key| !self.known.contains(&key.as_str())) {
                return Err(unknown(self.place, self.code, &self.path(&key), &key, &self.known));
            }
        }
        Ok(())
    }
}

/// The error about an unknown option; `known` lists the options of the object.
pub(super) fn unknown(place: Place, code: Code, path: &str, key: &str, known: &[&str]) -> Refusal {
    let path: String = path.chars().take(MAX_PATH_CHARS).collect();
    wrong(code, &path, &format!("is not an option; {}", names::advice(place, key, known))).into()
}

/// The own properties of an object, each read once; empty if the caller gave no object. An object with more than `most`
/// properties is refused before any of them is read.
pub(super) fn entries<'env>(name: &str, code: Code, value: Unknown<'env>, most: usize) -> Read<Vec<Entry<'env>>> {
    let Some(object) = object(name, code, value)? else { return Ok(Vec::new()) };
    let too_many = |num: usize| {
        let message = format!("has more than {most} properties, which is the limit");
        wrong(code, name, &message).with_limit(most as f64, num as f64)
    };
    let properties = Properties::of(object, most)?.map_err(too_many)?;
    let mut read = Vec::new();
    for property in properties.read(MAX_KEY_UNITS) {
        let Property { name: key, value } = property?;
        let too_long =
            |units| wrong(code, name, &format!("has a name of {units} characters, longer than any known name"));
        read.push((key.map_err(too_long)?, (!is_absent(&value)?).then_some(value)));
    }
    Ok(read)
}

fn object<'env>(name: &str, code: Code, value: Unknown<'env>) -> Read<Option<Object<'env>>> {
    match value.get_type()? {
        ValueType::Undefined | ValueType::Null => Ok(None),
        ValueType::Object if !is_array(&value)? => {
            let object = Object::from_unknown(value)?;
            if is_plain(&object)? {
                return Ok(Some(object));
            }
            if value.is_promise()? || is_binary(&value)? {
                return Err(wrong(code, name, &format!("must be an object, not {}", kind(&value)?)).into());
            }
            if own_keys(&object)?.get_array_length()? == 0 {
                let message = "must be an object with these names, not an instance of a class without them";
                return Err(wrong(code, name, message).into());
            }
            Ok(Some(object))
        }
        _ => Err(wrong(code, name, &format!("must be an object, not {}", kind(&value)?)).into()),
    }
}

/// Whether an object is a plain one: its prototype is `Object.prototype`, or it has none. A date, a map or an instance of
/// a class would lose its content.
pub(super) fn is_plain(object: &Object<'_>) -> Read<bool> {
    let prototype: Unknown<'_> = object.get_prototype_unchecked()?;
    if prototype.get_type()? != ValueType::Object {
        return Ok(true);
    }
    let above: Unknown<'_> = Object::from_unknown(prototype)?.get_prototype_unchecked()?;
    Ok(above.get_type()? == ValueType::Null)
}

/// A whole number from 0 to [`MAX_SAFE_INTEGER`].
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: whole and in range")]
pub(super) fn whole(number: f64) -> Option<u64> {
    ((0.0..=MAX_SAFE_INTEGER as f64).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

/// The elements of a list, each read on demand. A list of more than `most` elements is refused before any of them is read.
pub(super) fn elements<'env>(
    code: Code,
    path: &str,
    value: Unknown<'env>,
    most: usize,
) -> Read<impl ExactSizeIterator<Item = Read<Unknown<'env>>> + use<'env>> {
    let length = num_elements(code, path, &value)?;
    if length > most {
        let message = format!("has {length} elements; at most {most} are allowed");
        return Err(wrong(code, path, &message).with_limit(most as f64, length as f64).into());
    }
    let array = Object::from_unknown(value)?;
    Ok((0..length).map(move |index| Ok(array.get_element(u32::try_from(index).unwrap_or(u32::MAX))?)))
}

/// The length of a list.
pub(super) fn num_elements(code: Code, path: &str, value: &Unknown<'_>) -> Read<usize> {
    if !is_array(value)? {
        return Err(wrong(code, path, &format!("must be an array, not {}", kind(value)?)).into());
    }
    Ok(Object::from_unknown(*value)?.get_array_length()? as usize)
}

/// A text.
pub(super) fn string(code: Code, path: &str, value: Unknown<'_>) -> Read<String> {
    num_units(code, path, &value, MAX_TEXT_UNITS)?;
    Ok(String::from_unknown(value)?)
}

/// The length of a text in UTF-16 code units; more than `most` is an error. The text has at least as many bytes. It is not
/// copied.
pub(super) fn num_units(code: Code, path: &str, value: &Unknown<'_>, most: usize) -> Read<usize> {
    if value.get_type()? != ValueType::String {
        return Err(wrong(code, path, &format!("must be a string, not {}", kind(value)?)).into());
    }
    let units = JsString::from_unknown(*value)?.utf16_len()?;
    if units <= most {
        return Ok(units);
    }
    let message = format!("has {units} characters, more than are read here: {most}");
    Err(wrong(code, path, &message).with_limit(most as f64, units as f64).into())
}

pub(super) fn wrong(code: Code, path: &str, message: &str) -> Error {
    Error::new(code, format!("`{path}` {message}")).with_param(path)
}

pub(super) fn is_array(value: &Unknown<'_>) -> napi::Result<bool> {
    value.is_array()
}

/// Whether it is a `Buffer`, a typed array, a `DataView` or an `ArrayBuffer`.
fn is_binary(value: &Unknown<'_>) -> napi::Result<bool> {
    Ok(value.is_typedarray()? || value.is_arraybuffer()? || value.is_dataview()? || value.is_buffer()?)
}

fn is_absent(value: &Unknown<'_>) -> napi::Result<bool> {
    Ok(matches!(value.get_type()?, ValueType::Undefined | ValueType::Null))
}

/// The type of a value, for error messages.
pub(super) fn kind(value: &Unknown<'_>) -> napi::Result<&'static str> {
    Ok(match value.get_type()? {
        ValueType::Undefined => "undefined",
        ValueType::Null => "null",
        ValueType::Boolean => "a boolean",
        ValueType::Number => "a number",
        ValueType::String => "a string",
        ValueType::Symbol => "a symbol",
        ValueType::Object if is_array(value)? => "an array",
        ValueType::Object if value.is_promise()? => "a promise: await it first",
        ValueType::Object if is_binary(value)? => "binary data: decode it first, as by `buffer.toString()`",
        ValueType::Object if value.is_date()? => "a date",
        ValueType::Object => "an object",
        ValueType::Function => "a function",
        ValueType::BigInt => "a bigint",
        _ => "a value of another type",
    })
}
