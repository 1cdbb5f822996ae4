//! Reads JavaScript values as JSON, for templates and schemas. A value that `JSON.stringify` would silently leave out or
//! change is an error. Each getter runs once.

use std::fmt;

use napi::bindgen_prelude::{FromNapiValue, JsObjectValue, Object, Unknown};
use napi::{JsString, ValueType};
use serde_json::{Map, Number, Value};

use crate::error::Code;
use crate::numbers::MAX_SAFE_INTEGER;

use super::fields::{elements, is_array, is_plain, kind, wrong};
use super::keys::{Properties, Property};
use super::refusal::{Read, Refusal};
use super::validators;

/// A value of a template may have 128 levels, and messages add a few to these.
const MAX_DEPTH: usize = 48;
/// The most values of one param.
const MAX_VALUES: usize = 1 << 16;
/// The most bytes of the texts and keys of one param.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// The path of a value, for error messages. It becomes text only for an error, as a deep value has a long path.
enum Path<'a> {
    Root(&'a str),
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => f.write_str(name),
            Self::Key(parent, key) => write!(f, "{parent}.{key:.40}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Reads the values of one param, which share its limits.
pub(super) struct JsonReader {
    code: Code,
    num_values: usize,
    num_bytes: usize,
}

impl JsonReader {
    pub(super) fn new(code: Code) -> Self {
        Self { code, num_values: 0, num_bytes: 0 }
    }

    /// Reads an object; `path` is its name in error messages.
    pub(super) fn object(&mut self, path: &str, value: Unknown<'_>) -> Read<Value> {
        let path = &Path::Root(path);
        let kind = kind(&value)?;
        if kind != "an object" {
            let refusal = self.validator(path, value)?;
            return Err(refusal.unwrap_or_else(|| self.wrong(path, &format!("must be an object, not {kind}"))));
        }
        self.value(path, value, 0)
    }

    fn value(&mut self, path: &Path<'_>, value: Unknown<'_>, depth: usize) -> Read<Value> {
        self.count(path, 0)?;
        if depth > MAX_DEPTH {
            return Err(self.wrong(path, &format!("is nested too deeply; at most {MAX_DEPTH} levels are allowed")));
        }
        match value.get_type()? {
            ValueType::Null => Ok(Value::Null),
            ValueType::Boolean => Ok(Value::Bool(bool::from_unknown(value)?)),
            ValueType::Number => self.number(path, f64::from_unknown(value)?),
            ValueType::String => {
                // Measured before it is copied: a text has at least as many bytes as UTF-16 code units.
                self.has_room(path, JsString::from_unknown(value)?.utf16_len()?)?;
                let text = String::from_unknown(value)?;
                self.count(path, text.len())?;
                Ok(Value::String(text))
            }
            ValueType::Object if is_array(&value)? => self.items(path, value, depth),
            ValueType::Object => match self.fields(path, value, depth) {
                Err(Refusal::Invalid(error)) => Err(self.validator(path, value)?.unwrap_or(Refusal::Invalid(error))),
                read => read,
            },
            _ => match self.validator(path, value)? {
                Some(refusal) => Err(refusal),
                None => Err(self.wrong(path, &format!("must be JSON, not {}", kind(&value)?))),
            },
        }
    }

    /// Templates print numbers like Python, where 1 and 1.0 differ. So a whole number becomes an integer.
    #[expect(clippy::cast_possible_truncation, reason = "checked: whole and in range")]
    fn number(&self, path: &Path<'_>, number: f64) -> Read<Value> {
        if number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER as f64 {
            return Ok(Value::from(number as i64));
        }
        let number = Number::from_f64(number).map(Value::Number);
        number.ok_or_else(|| self.wrong(path, "must be a finite number"))
    }

    fn items(&mut self, path: &Path<'_>, value: Unknown<'_>, depth: usize) -> Read<Value> {
        // A sparse array can be long and have no elements, so its length is checked first.
        let length = Object::from_unknown(value)?.get_array_length()? as usize;
        if self.num_values + length > MAX_VALUES {
            return Err(self.too_large(path));
        }
        let items = elements(self.code, &path.to_string(), value, length)?.enumerate();
        let items = items.map(|(index, item)| self.value(&Path::Index(path, index), item?, depth + 1));
        items.collect::<Read<_>>().map(Value::Array)
    }

    fn fields(&mut self, path: &Path<'_>, value: Unknown<'_>, depth: usize) -> Read<Value> {
        let object = Object::from_unknown(value)?;
        if !is_plain(&object)? {
            let kind = kind(&value)?;
            let what = if kind == "an object" { "an object of a class" } else { kind };
            return Err(self.wrong(path, &format!("must be JSON, not {what}")));
        }
        let mut fields = Map::new();
        let most = MAX_VALUES - self.num_values;
        let properties = Properties::of(object, most)?.map_err(|_| self.too_large(path))?;
        for property in properties.read(MAX_BYTES - self.num_bytes) {
            let Property { name, value } = property?;
            let key = name.map_err(|_| self.too_large(path))?;
            self.count(path, key.len())?;
            // In all params `undefined` means absent.
            if value.get_type()? != ValueType::Undefined {
                let value = self.value(&Path::Key(path, &key), value, depth + 1)?;
                fields.insert(key, value);
            }
        }
        Ok(Value::Object(fields))
    }

    /// The error about a validator of a library, which is no JSON.
    fn validator(&self, path: &Path<'_>, value: Unknown<'_>) -> Read<Option<Refusal>> {
        let advice = validators::advice(value)?;
        Ok(advice.map(|advice| self.wrong(path, &advice)))
    }

    fn has_room(&self, path: &Path<'_>, num_bytes: usize) -> Read<()> {
        if self.num_bytes + num_bytes > MAX_BYTES { Err(self.too_large(path)) } else { Ok(()) }
    }

    fn count(&mut self, path: &Path<'_>, num_bytes: usize) -> Read<()> {
        self.num_values += 1;
        self.has_room(path, num_bytes)?;
        self.num_bytes += num_bytes;
        if self.num_values > MAX_VALUES { Err(self.too_large(path)) } else { Ok(()) }
    }

    fn too_large(&self, path: &Path<'_>) -> Refusal {
        let message = format!("is too much: at most {MAX_VALUES} values and {MAX_BYTES} bytes of text are allowed");
        self.wrong(path, &message)
    }

    fn wrong(&self, path: &Path<'_>, message: &str) -> Refusal {
        wrong(self.code, &path.to_string(), message).into()
    }
}

/// Parses the JSON text of an object. `serde_json` limits the depth to 128; the limit for templates is lower.
pub(super) fn parse_object(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    (text.len() <= MAX_BYTES && value.is_object() && depth_of(&value) <= MAX_DEPTH).then_some(value)
}

fn depth_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth_of).max().unwrap_or(0),
        _ => 0,
    }
}
