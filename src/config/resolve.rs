//! Brings together what was said about the knobs: defaults, then the preset, the environment and the options, each over
//! the one before. Every value remembers who said it.

use std::collections::HashMap;

use crate::error::Result;

use super::environment;
use super::knob::{Knob, Value, wrong};
use super::knobs::{KNOBS, NOT_ABOVE};
use super::preset::Preset;
use super::settings::Settings;

/// Where a value came from; a later source goes over an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The preset.
    Preset,
    /// An environment variable.
    Environment,
    /// An option of `createEngine`.
    Option,
}

impl Source {
    /// How users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Preset => "preset",
            Self::Environment => "environment",
            Self::Option => "option",
        }
    }
}

/// The value of a knob, and where it came from.
#[derive(Debug, Clone, Copy)]
pub struct Effective {
    /// The knob.
    pub knob: &'static Knob,
    /// `None` where nobody said anything and there is no default.
    pub value: Option<Value>,
    /// Who said it.
    pub source: Source,
}

/// The settings, and how they came to be.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What the engine works with.
    pub settings: Settings,
    /// The same with their sources: one for each knob, in the order of the table.
    pub values: Vec<Effective>,
}

impl Settings {
    /// The settings that preset, environment and options make together.
    ///
    /// Everything that was written is checked, also what another source then goes over. The error names the knob as
    /// its source does: an option, or a variable.
    pub fn resolve(
        preset: Preset,
        environment: &HashMap<String, String>,
        options: &[(&'static Knob, Value)],
    ) -> Result<Resolved> {
        let mut resolved = Resolved::default();
        let under_preset = KNOBS.iter().filter_map(|knob| Some((knob, knob.under(preset)?)));
        resolved.take(Source::Preset, under_preset)?;
        resolved.take(Source::Environment, environment::read(environment)?)?;
        resolved.take(Source::Option, options.iter().copied())?;
        resolved.check_order()?;
        Ok(resolved)
    }

    /// The same with other values for some knobs, while the engine runs.
    pub fn with(mut self, options: &[(&'static Knob, Value)]) -> Result<Self> {
        for (knob, value) in options {
            if !knob.store(*value, &mut self) {
                return Err(knob.refuse(knob.path, *value));
            }
        }
        Ok(self)
    }
}

impl Default for Resolved {
    fn default() -> Self {
        let of_default = |knob: &'static Knob| Effective { knob, value: knob.default, source: Source::Default };
        Self { settings: Settings::default(), values: KNOBS.iter().map(of_default).collect() }
    }
}

impl Resolved {
    fn take(&mut self, source: Source, values: impl IntoIterator<Item = (&'static Knob, Value)>) -> Result<()> {
        for (knob, value) in values {
            let said = Effective { knob, value: Some(value), source };
            if !knob.store(value, &mut self.settings) {
                return Err(knob.refuse(said.name(), value));
            }
            *self.of(knob.path) = said;
        }
        Ok(())
    }

    fn of(&mut self, path: &str) -> &mut Effective {
        let found = self.values.iter_mut().find(|effective| effective.knob.path == path);
        found.expect("there is a value for each line of the table")
    }

    /// Knobs that are in order by themselves may contradict each other.
    fn check_order(&mut self) -> Result<()> {
        for (lower, upper) in NOT_ABOVE {
            let (lower, upper) = (*self.of(lower), *self.of(upper));
            if lower.number() > upper.number() {
                let message =
                    format!("{} must not be above `{}` {}", lower.described(), upper.name(), upper.described());
                // Named first is always the lower one; at fault is the one that was said last.
                let at_fault = if upper.source > lower.source { upper } else { lower };
                return Err(wrong(lower.name(), &message).with_param(at_fault.name()));
            }
        }
        Ok(())
    }
}

impl Effective {
    /// The knob as its source calls it.
    fn name(&self) -> &'static str {
        match (self.source, self.knob.variable) {
            (Source::Environment, Some(variable)) => variable,
            _ => self.knob.path,
        }
    }

    fn number(&self) -> Option<f64> {
        match self.value? {
            Value::Number(number) => Some(number),
            Value::Switch(_) | Value::Name(_) => None,
        }
    }

    fn described(&self) -> String {
        let value = self.value.map_or_else(String::new, |value| value.to_string());
        format!("({value}, {})", self.source.name())
    }
}
