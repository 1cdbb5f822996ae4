//! The table of knobs and the effective settings as plain objects. The shapes are those of `lib/native.ts`.

use napi::bindgen_prelude::Either3;
use napi_derive::napi;

use crate::config::{Effective, Kind, Knob, Preset, Value};

/// A switch, a number or a name, as JavaScript has them.
type NativeValue = Either3<bool, f64, String>;

/// What one knob is set to.
#[napi(object)]
pub struct NativeSetting {
    /// Its name as an option, with dots between the levels.
    pub name: String,
    /// Absent where nobody said anything and there is no default.
    pub value: Option<NativeValue>,
    /// Who said it.
    pub source: String,
    /// Its name in the environment.
    pub variable: Option<String>,
    /// The smallest number it takes.
    pub min: Option<f64>,
    /// The largest number it takes.
    pub max: Option<f64>,
    /// The names it takes, where it takes names.
    pub names: Option<Vec<String>>,
}

impl From<Effective> for NativeSetting {
    fn from(Effective { knob, value, source }: Effective) -> Self {
        Self {
            name: knob.path.into(),
            value: value.map(cross),
            source: source.name().into(),
            variable: knob.variable.map(Into::into),
            min: knob.range().map(|range| range.min),
            max: knob.range().map(|range| range.max),
            names: names(knob),
        }
    }
}

/// One line of the table.
#[napi(object)]
pub struct NativeKnob {
    /// Its name as an option, with dots between the levels.
    pub name: String,
    /// Its name in the environment.
    pub variable: Option<String>,
    /// Whether it is a switch; otherwise it is a number, or a name.
    pub is_switch: bool,
    /// The names it takes, where it takes names.
    pub names: Option<Vec<String>>,
    /// The smallest number it takes.
    pub min: Option<f64>,
    /// The largest number it takes.
    pub max: Option<f64>,
    /// Its value when nobody says anything.
    pub default: Option<NativeValue>,
    /// Its value under the preset of that name, where it differs.
    pub latency: Option<NativeValue>,
    /// Likewise.
    pub throughput: Option<NativeValue>,
    /// What it does.
    pub text: String,
}

impl From<&Knob> for NativeKnob {
    fn from(knob: &Knob) -> Self {
        Self {
            name: knob.path.into(),
            variable: knob.variable.map(Into::into),
            is_switch: matches!(knob.kind, Kind::Switch(_)),
            names: names(knob),
            min: knob.range().map(|range| range.min),
            max: knob.range().map(|range| range.max),
            default: knob.default.map(cross),
            latency: knob.under(Preset::Latency).map(cross),
            throughput: knob.under(Preset::Throughput).map(cross),
            text: knob.text.into(),
        }
    }
}

fn names(knob: &Knob) -> Option<Vec<String>> {
    let names = knob.names();
    (!names.is_empty()).then(|| names.iter().map(|name| (*name).to_owned()).collect())
}

fn cross(value: Value) -> NativeValue {
    match value {
        Value::Switch(on) => Either3::A(on),
        Value::Number(number) => Either3::B(number),
        Value::Name(name) => Either3::C(name.into()),
    }
}
