//! Reads numbers out of `config.json` with suspicion: each has a range, and whatever is outside it ends as an error that
//! names the field. What the fields mean is said in `description`.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::failure::bad_model;
use crate::error::Result;

/// An object of `config.json`, with the path that leads to it for messages.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: &'a str,
}

impl<'a> Fields<'a> {
    /// The whole file.
    pub(super) fn new(config: &'a Value) -> Result<Self> {
        let object = config.as_object().ok_or_else(|| bad_model("config.json is not an object"))?;
        Ok(Self { object, path: "" })
    }

    /// A field that is absent or `null` is not there.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// An object inside this one.
    pub(super) fn object(&self, name: &'a str) -> Result<Option<Fields<'a>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| self.wrong(name, value, "an object"))?;
        Ok(Some(Fields { object, path: name }))
    }

    /// All fields, in the file's order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.object.iter()
    }

    /// A whole number that must be there.
    pub(super) fn int(&self, name: &str, range: RangeInclusive<i32>) -> Result<i32> {
        match self.optional_int(name, range)? {
            Some(number) => Ok(number),
            None => Err(bad_model(format!("config.json has no `{}`", self.full(name)))),
        }
    }

    /// A whole number that may be absent.
    pub(super) fn optional_int(&self, name: &str, range: RangeInclusive<i32>) -> Result<Option<i32>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_i64().or_else(|| whole(value)).and_then(|number| i32::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, value, &format!("a whole number from {} to {}", range.start(), range.end()))),
        }
    }

    /// A number that may be absent. Computed in f64, returned as the f32 the device uses.
    pub(super) fn optional_float(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, value, &format!("a number from {:e} to {:e}", range.start(), range.end()))),
        }
    }

    /// A switch that may be absent.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(name, value, "true or false"))
    }

    /// A text that may be absent.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(name, value, "a string"))
    }

    fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn wrong(&self, name: &str, value: &Value, allowed: &str) -> crate::error::Error {
        // A hostile file may put megabytes where a number belongs.
        let shown: String = value.to_string().chars().take(80).collect();
        bad_model(format!("config.json: `{}` is {shown}, expected {allowed}", self.full(name)))
            .with_param(self.full(name))
    }
}

/// Some exporters write whole numbers as `4096.0`.
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_f64()?;
    // Within ±2^53 the conversion is exact.
    #[allow(clippy::cast_possible_truncation)]
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}
