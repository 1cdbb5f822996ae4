//! Reads fields of `config.json`. Each number has a range, and a value outside it is an error that names the field. Records
//! which fields were read, so that a field that would change the computation is never ignored. `families/` decides which
//! fields a model has.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::failure::{bad_model, unsupported};
use crate::error::{Error, Result};

/// An object of `config.json` with its path.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: Rc<str>,
    /// Full names of the fields that were read.
    read: Rc<RefCell<BTreeSet<String>>>,
}

impl<'a> Fields<'a> {
    /// The top-level object.
    pub(super) fn new(config: &'a Value) -> Result<Self> {
        let object = config.as_object().ok_or_else(|| bad_model("config.json is not an object"))?;
        Ok(Self { object, path: "".into(), read: Rc::default() })
    }

    /// The value of a field; `None` if it is absent or `null`. The field counts as read.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(self.full(name));
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Counts fields as read that change nothing in this model.
    pub(super) fn ignore(&self, names: &[&str]) {
        self.read.borrow_mut().extend(names.iter().map(|name| self.full(name)));
    }

    /// An object inside this one.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| self.wrong(name, value, "an object"))?;
        Ok(Some(Self { object, path: self.full(name).into(), read: Rc::clone(&self.read) }))
    }

    /// All fields, in the file's order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.object.iter()
    }

    /// A required integer.
    pub(super) fn int(&self, name: &str, range: RangeInclusive<i32>) -> Result<i32> {
        self.optional_int(name, range)?.ok_or_else(|| self.missing(name))
    }

    /// An optional integer.
    pub(super) fn optional_int(&self, name: &str, range: RangeInclusive<i32>) -> Result<Option<i32>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match whole(value).filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, value, &format!("a whole number from {} to {}", range.start(), range.end()))),
        }
    }

    /// A list of integers; empty if the field is absent.
    pub(super) fn ints(&self, name: &str, range: RangeInclusive<i32>) -> Result<Vec<i32>> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let number = |value: &Value| whole(value).filter(|number| range.contains(number));
        let numbers = value.as_array().and_then(|list| list.iter().map(number).collect());
        numbers.ok_or_else(|| {
            let allowed = format!("a list of whole numbers from {} to {}", range.start(), range.end());
            self.wrong(name, value, &allowed)
        })
    }

    /// A required number.
    pub(super) fn float(&self, name: &str, range: RangeInclusive<f64>) -> Result<f64> {
        self.optional_float(name, range)?.ok_or_else(|| self.missing(name))
    }

    /// An optional number.
    pub(super) fn optional_float(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, value, &format!("a number from {:e} to {:e}", range.start(), range.end()))),
        }
    }

    /// An optional boolean.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(name, value, "true or false"))
    }

    /// An optional string.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(name, value, "a string"))
    }

    /// An optional list of strings.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let texts = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect::<Option<_>>());
        texts.map(Some).ok_or_else(|| self.wrong(name, value, "a list of strings"))
    }

    /// Refuses a field that has a value, was not read, and whose name satisfies `matters`.
    pub(super) fn refuse_unread(&self, matters: impl Fn(&str) -> bool) -> Result<()> {
        let read = self.read.borrow();
        let mut unread =
            self.iter().filter(|(name, value)| !read.contains(&self.full(name)) && !is_neutral(value) && matters(name));
        match unread.next() {
            None => Ok(()),
            Some((name, value)) => {
                Err(unsupported(&self.full(name), format!("is {}, which is not supported", shown(value))))
            }
        }
    }

    /// The name of a field with its path, for messages.
    pub(super) fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The error of a field that has the wrong value.
    pub(super) fn wrong(&self, name: &str, value: &Value, allowed: &str) -> Error {
        bad_model(format!("config.json: `{}` is {}, expected {allowed}", self.full(name), shown(value)))
            .with_param(self.full(name))
    }

    fn missing(&self, name: &str) -> Error {
        bad_model(format!("config.json has no `{}`", self.full(name))).with_param(self.full(name))
    }
}

/// Whether a value means that a feature is absent or off.
fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_on) => !is_on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        // Python writes `NaN` for a missing number, which `hub` reads as a string.
        Value::String(text) => text.is_empty() || text == "NaN",
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}

/// The first 80 characters of a value: a hostile file may have megabytes in place of a number.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// An integer. Some exporters write integers as `4096.0`.
fn whole(value: &Value) -> Option<i32> {
    if let Some(number) = value.as_i64() {
        return i32::try_from(number).ok();
    }
    let number = value.as_f64()?;
    // Within ±2^31 the conversion is exact.
    #[allow(clippy::cast_possible_truncation)]
    (number.fract() == 0.0 && number.abs() < 2_147_483_648.0).then_some(number as i32)
}
