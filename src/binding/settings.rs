//! The table of options and the effective settings as plain objects. `lib/native.ts` declares their types.

use napi::bindgen_prelude::Either3;
use napi_derive::napi;

use crate::config::{Effective, EngineOption, FilePlace, Preset, Source, Value};

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
    /// The runtime file that sets it, if that is its source.
    pub file: Option<String>,
    /// The line of the runtime file.
    pub line: Option<u32>,
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
    fn from(Effective { option, value, source, place }: Effective) -> Self {
        Self {
            name: option.path.into(),
            value: value.map(cross),
            source: source.name().into(),
            file: place.as_ref().map(|place| place.file.to_string()),
            line: place.map(|place| place.line),
            variable: option.variable.map(Into::into),
            min: option.range().map(|range| range.min),
            max: option.range().map(|range| range.max),
            names: names(option),
        }
    }
}

impl NativeSetting {
    /// The value of an option that is not in the table.
    pub(super) fn text(name: &str, value: Option<String>, source: Source, place: Option<FilePlace>) -> Self {
        Self {
            name: name.into(),
            value: value.map(Either3::C),
            source: source.name().into(),
            file: place.as_ref().map(|place| place.file.to_string()),
            line: place.map(|place| place.line),
            variable: None,
            min: None,
            max: None,
            names: None,
        }
    }
}

/// Shows the limit that is in force, which may be less than a source has set.
pub(super) fn show_memory_limit(settings: &mut [NativeSetting], bytes: Option<u64>) {
    if let Some(setting) = settings.iter_mut().find(|setting| setting.name == "memory.limitBytes") {
        setting.value = bytes.map(|bytes| Either3::B(bytes as f64));
    }
}

/// One line of the table.
#[napi(object)]
pub struct NativeOption {
    /// Its name, with dots between the levels.
    pub name: String,
    /// Its environment variable.
    pub variable: Option<String>,
    /// Whether it is a switch.
    pub is_switch: bool,
    /// Whether it is a whole number.
    pub is_whole: bool,
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
            is_switch: option.is_switch(),
            is_whole: option.is_whole(),
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
