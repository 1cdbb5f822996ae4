//! The table of options and the effective settings as plain objects. `lib/native.ts` declares their types.

use napi::bindgen_prelude::Either3;
use napi_derive::napi;

use crate::config::{Effective, EngineOption, Kind, Preset, Source, Value};

/// A boolean, a number or a string of JavaScript.
type NativeValue = Either3<bool, f64, String>;

/// The effective value of one option.
#[napi(object)]
pub struct NativeSetting {
    /// Its name, with dots between the levels.
    pub name: String,
    /// Absent if no source sets it and it has no default.
    pub value: Option<NativeValue>,
    /// The strongest source that sets it.
    pub source: String,
    /// Its environment variable.
    pub variable: Option<String>,
    /// The smallest number that it takes.
    pub min: Option<f64>,
    /// The largest number that it takes.
    pub max: Option<f64>,
    /// The names that it takes, if it takes names.
    pub names: Option<Vec<String>>,
}

impl From<Effective> for NativeSetting {
    fn from(Effective { option, value, source }: Effective) -> Self {
        Self {
            name: option.path.into(),
            value: value.map(cross),
            source: source.name().into(),
            variable: option.variable.map(Into::into),
            min: option.range().map(|range| range.min),
            max: option.range().map(|range| range.max),
            names: names(option),
        }
    }
}

impl NativeSetting {
    /// The value of an option that is not in the table.
    pub(super) fn text(name: &str, value: Option<String>, source: Source) -> Self {
        Self {
            name: name.into(),
            value: value.map(Either3::C),
            source: source.name().into(),
            variable: None,
            min: None,
            max: None,
            names: None,
        }
    }
}

/// One line of the table.
#[napi(object)]
pub struct NativeOption {
    /// Its name, with dots between the levels.
    pub name: String,
    /// Its environment variable.
    pub variable: Option<String>,
    /// Whether it is a switch. Otherwise it is a number or a name.
    pub is_switch: bool,
    /// The names that it takes, if it takes names.
    pub names: Option<Vec<String>>,
    /// The smallest number that it takes.
    pub min: Option<f64>,
    /// The largest number that it takes.
    pub max: Option<f64>,
    /// Its default.
    pub default: Option<NativeValue>,
    /// Its value under the preset `latency`, if that differs from the default.
    pub latency: Option<NativeValue>,
    /// Its value under the preset `throughput`, if that differs from the default.
    pub throughput: Option<NativeValue>,
    /// What it does.
    pub text: String,
}

impl From<&EngineOption> for NativeOption {
    fn from(option: &EngineOption) -> Self {
        Self {
            name: option.path.into(),
            variable: option.variable.map(Into::into),
            is_switch: matches!(option.kind, Kind::Switch(_)),
            names: names(option),
            min: option.range().map(|range| range.min),
            max: option.range().map(|range| range.max),
            default: option.default.map(cross),
            latency: option.under(Preset::Latency).map(cross),
            throughput: option.under(Preset::Throughput).map(cross),
            text: option.text.into(),
        }
    }
}

fn names(option: &EngineOption) -> Option<Vec<String>> {
    let names = option.names();
    (!names.is_empty()).then(|| names.iter().map(|name| (*name).to_owned()).collect())
}

fn cross(value: Value) -> NativeValue {
    match value {
        Value::Switch(on) => Either3::A(on),
        Value::Number(number) => Either3::B(number),
        Value::Name(name) => Either3::C(name.into()),
    }
}
