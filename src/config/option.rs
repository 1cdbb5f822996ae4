//! One option: its names, the values that it takes, and the field that holds its value.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::Error;

use super::preset::Preset;
use super::settings::Settings;

/// How the variables of this package begin, except the established ones.
pub const PREFIX: &str = "MLX_SERVING_";
/// Groups that are not part of a variable's name, because the names of their options say enough.
const UNNAMED_GROUPS: [&str; 5] = ["scheduler", "memory", "streaming", "cache", "modelLifecycle"];

/// One line of the table of options.
#[derive(Debug)]
pub struct EngineOption {
    /// Its name, with dots between the levels: `scheduler.batchSize`.
    pub path: &'static str,
    /// Its environment variable, if it has one.
    pub variable: Option<&'static str>,
    /// The values that it takes, and the field that holds them.
    pub kind: Kind,
    /// Its value if no source sets it.
    pub default: Option<Value>,
    /// What it does, for users, in a few sentences.
    pub text: &'static str,
    latency: Option<Value>,
    throughput: Option<Value>,
}

/// A value as JavaScript has it. Durations are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the names document the variants")]
pub enum Value {
    Switch(bool),
    Number(f64),
    Name(&'static str),
}

/// The field of the settings that holds an option's value.
type Field<T> = fn(&mut Settings) -> &mut T;

/// The values that an option takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A boolean.
    Switch(Field<bool>),
    /// A whole number.
    Integer(Range, Field<usize>),
    /// A whole number of bytes. Unset, it depends on the device.
    Bytes(Range, Field<Option<u64>>),
    /// Any number.
    Number(Range, Field<f64>),
    /// A duration in milliseconds.
    Millis(Range, Field<Duration>),
    /// A duration in milliseconds; absent means no limit.
    OptionalMillis(Range, Field<Option<Duration>>),
    /// One of these names. The function stores the value with that name, and returns whether there is one.
    Choice(&'static [&'static str], fn(&mut Settings, &str) -> bool),
}

/// Numbers from `min` to `max`, both included.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the names document the fields")]
pub struct Range {
    pub min: f64,
    pub max: f64,
}

impl Range {
    const fn of(range: &RangeInclusive<f64>) -> Self {
        Self { min: *range.start(), max: *range.end() }
    }

    const fn whole(range: &RangeInclusive<u64>) -> Self {
        Self { min: *range.start() as f64, max: *range.end() as f64 }
    }

    /// False for NaN.
    fn contains(self, number: f64) -> bool {
        (self.min..=self.max).contains(&number)
    }
}

impl EngineOption {
    pub(super) const fn switch(path: &'static str, default: bool, field: Field<bool>) -> Self {
        Self::new(path, Kind::Switch(field), Some(Value::Switch(default)))
    }

    pub(super) const fn integer(
        path: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
        field: Field<usize>,
    ) -> Self {
        Self::new(path, Kind::Integer(Range::whole(&range), field), Some(Value::Number(default as f64)))
    }

    pub(super) const fn bytes(path: &'static str, range: RangeInclusive<u64>, field: Field<Option<u64>>) -> Self {
        Self::new(path, Kind::Bytes(Range::whole(&range), field), None)
    }

    pub(super) const fn number(
        path: &'static str,
        default: f64,
        range: RangeInclusive<f64>,
        field: Field<f64>,
    ) -> Self {
        Self::new(path, Kind::Number(Range::of(&range), field), Some(Value::Number(default)))
    }

    pub(super) const fn millis(
        path: &'static str,
        default: f64,
        range: RangeInclusive<f64>,
        field: Field<Duration>,
    ) -> Self {
        Self::new(path, Kind::Millis(Range::of(&range), field), Some(Value::Number(default)))
    }

    pub(super) const fn optional_millis(
        path: &'static str,
        range: RangeInclusive<f64>,
        field: Field<Option<Duration>>,
    ) -> Self {
        Self::new(path, Kind::OptionalMillis(Range::of(&range), field), None)
    }

    pub(super) const fn choice(
        path: &'static str,
        default: &'static str,
        names: &'static [&'static str],
        store: fn(&mut Settings, &str) -> bool,
    ) -> Self {
        Self::new(path, Kind::Choice(names, store), Some(Value::Name(default)))
    }

    const fn new(path: &'static str, kind: Kind, default: Option<Value>) -> Self {
        Self { path, variable: None, kind, default, text: "", latency: None, throughput: None }
    }

    pub(super) const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    pub(super) const fn latency(mut self, value: Value) -> Self {
        self.latency = Some(value);
        self
    }

    pub(super) const fn throughput(mut self, value: Value) -> Self {
        self.throughput = Some(value);
        self
    }

    pub(super) const fn text(mut self, text: &'static str) -> Self {
        self.text = text;
        self
    }

    /// The variable that its path stands for: the prefix and the path, without the names of [`UNNAMED_GROUPS`]. The option has
    /// this variable or an established one.
    pub fn own_variable(&self) -> String {
        let is_unnamed = |(group, _): &(&str, &str)| UNNAMED_GROUPS.contains(group);
        let path = self.path.split_once('.').filter(is_unnamed).map_or(self.path, |(_, rest)| rest);
        let mut name = String::from(PREFIX);
        for c in path.chars() {
            if c == '.' || c.is_ascii_uppercase() {
                name.push('_');
            }
            name.extend((c != '.').then(|| c.to_ascii_uppercase()));
        }
        name
    }

    /// Its value under a preset, if that differs from the default.
    pub fn under(&self, preset: Preset) -> Option<Value> {
        match preset {
            Preset::Latency => self.latency,
            Preset::Balanced => None,
            Preset::Throughput => self.throughput,
        }
    }

    /// The names that it takes; empty for a switch or a number.
    pub fn names(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Choice(names, _) => names,
            _ => &[],
        }
    }

    /// Whether it takes true or false.
    pub fn is_switch(&self) -> bool {
        matches!(self.kind, Kind::Switch(_))
    }

    /// Whether it takes whole numbers only.
    pub fn is_whole(&self) -> bool {
        matches!(self.kind, Kind::Integer(..) | Kind::Bytes(..))
    }

    /// The numbers that it takes; `None` for a switch or a name.
    pub fn range(&self) -> Option<Range> {
        match self.kind {
            Kind::Switch(_) | Kind::Choice(..) => None,
            Kind::Integer(range, _)
            | Kind::Bytes(range, _)
            | Kind::Number(range, _)
            | Kind::Millis(range, _)
            | Kind::OptionalMillis(range, _) => Some(range),
        }
    }

    /// Stores a value in the settings. Returns false, and changes nothing, if the option does not take the value.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: whole and in range")]
    pub(super) fn store(&self, value: Value, settings: &mut Settings) -> bool {
        match (self.kind, value) {
            (Kind::Switch(field), Value::Switch(on)) => *field(settings) = on,
            (Kind::Choice(_, store), Value::Name(name)) => return store(settings, name),
            (kind, Value::Number(number)) if self.range().is_some_and(|range| range.contains(number)) => match kind {
                Kind::Integer(_, field) if number.fract() == 0.0 => *field(settings) = number as usize,
                Kind::Bytes(_, field) if number.fract() == 0.0 => *field(settings) = Some(number as u64),
                Kind::Number(_, field) => *field(settings) = number,
                Kind::Millis(_, field) => *field(settings) = Duration::from_secs_f64(number / 1e3),
                Kind::OptionalMillis(_, field) => *field(settings) = Some(Duration::from_secs_f64(number / 1e3)),
                _ => return false,
            },
            _ => return false,
        }
        true
    }

    /// The values that it takes, as the end of a sentence: "must be …".
    pub fn allowed(&self) -> String {
        let what = match self.kind {
            Kind::Switch(_) => return "true or false".into(),
            Kind::Choice(names, _) => return either(names),
            Kind::Integer(..) => "a whole number",
            Kind::Bytes(..) => "a whole number of bytes",
            Kind::Number(..) => "a number",
            Kind::Millis(..) | Kind::OptionalMillis(..) => "a number of milliseconds",
        };
        self.range().map_or_else(String::new, |Range { min, max }| format!("{what} from {min} to {max}"))
    }

    /// The error about a value that it does not take. `name` is the name in the value's source.
    pub(super) fn refuse(&self, name: &str, value: Value) -> Error {
        let error = self.refuse_other(name, &value.to_string());
        match (self.range(), value) {
            (Some(Range { min, .. }), Value::Number(number)) if number < min => error.with_limit(min, number),
            (Some(Range { max, .. }), Value::Number(number)) if number > max => error.with_limit(max, number),
            _ => error,
        }
    }

    /// The value with this name, if the option takes names.
    pub fn name(&self, text: &str) -> Option<Value> {
        self.names().iter().find(|name| **name == text).copied().map(Value::Name)
    }

    /// The error about a value of a type that it does not take; `found` describes the value.
    pub fn refuse_other(&self, name: &str, found: &str) -> Error {
        Error::config(name, format!("must be {}, not {found}", self.allowed()))
    }
}

/// Names as "'a', 'b' or 'c'".
fn either(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => quoted.concat(),
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::Name(name) => write!(f, "'{name}'"),
            // Exponents as in JavaScript: plain notation can have hundreds of digits.
            Self::Number(number) if *number != 0.0 && !(1e-6..1e21).contains(&number.abs()) => write!(f, "{number:e}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}
