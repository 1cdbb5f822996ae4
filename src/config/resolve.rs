//! Combines the sources of option values: defaults, preset, environment variables, options of `createEngine`. A later
//! source overrides an earlier one. Each value keeps its source.

use std::collections::HashMap;

use crate::error::{Error, Result};

use super::environment;
use super::option::{EngineOption, Kind, Value};
use super::options::{NOT_ABOVE, OPTIONS};
use super::preset::Preset;
use super::settings::Settings;

/// Where a value comes from. A later source overrides an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The table: no other source sets the option.
    Default,
    /// The preset.
    Preset,
    /// An environment variable.
    Environment,
    /// The options of `createEngine`.
    Option,
}

impl Source {
    /// Its name in `engine.config()`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Preset => "preset",
            Self::Environment => "environment",
            Self::Option => "option",
        }
    }
}

/// The value of an option, and its source.
#[derive(Debug, Clone, Copy)]
pub struct Effective {
    /// The option.
    pub option: &'static EngineOption,
    /// `None` if no source sets the option and it has no default.
    pub value: Option<Value>,
    /// The strongest source that sets the option.
    pub source: Source,
}

/// The settings of an engine, and the source of each.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The settings.
    pub settings: Settings,
    /// The same values with their sources: one for each option, in the order of the table.
    pub values: Vec<Effective>,
}

impl Settings {
    /// Combines preset, environment variables and options. A variable or an option names the preset.
    ///
    /// Every given value is checked, also one that a later source overrides. An error names the option as its source does:
    /// by its option name or by its variable.
    pub fn resolve(
        environment: &HashMap<String, String>,
        options: &[(&'static EngineOption, Value)],
    ) -> Result<Resolved> {
        let variables = environment::read(environment)?;
        let preset = preset_of(options).or_else(|| preset_of(&variables)).unwrap_or_default();
        let mut resolved = Resolved::default();
        let under_preset = OPTIONS.iter().filter_map(|option| Some((option, option.under(preset)?)));
        resolved.take(Source::Preset, under_preset)?;
        resolved.take(Source::Environment, variables)?;
        resolved.take(Source::Option, options.iter().copied())?;
        resolved.check_order()?;
        Ok(resolved)
    }

    /// These settings with other values for some options, for an engine that runs.
    pub fn with(mut self, options: &[(&'static EngineOption, Value)]) -> Result<Self> {
        for (option, value) in options {
            if !option.store(*value, &mut self) {
                return Err(option.refuse(option.path, *value));
            }
        }
        Ok(self)
    }
}

/// The preset that a source names.
fn preset_of(values: &[(&'static EngineOption, Value)]) -> Option<Preset> {
    values.iter().rev().find_map(|(option, value)| match (option.kind, value) {
        (Kind::Preset(_), Value::Name(name)) => Preset::named(name),
        _ => None,
    })
}

impl Default for Resolved {
    fn default() -> Self {
        let of_default =
            |option: &'static EngineOption| Effective { option, value: option.default, source: Source::Default };
        Self { settings: Settings::default(), values: OPTIONS.iter().map(of_default).collect() }
    }
}

impl Resolved {
    fn take(&mut self, source: Source, values: impl IntoIterator<Item = (&'static EngineOption, Value)>) -> Result<()> {
        for (option, value) in values {
            let effective = Effective { option, value: Some(value), source };
            if !option.store(value, &mut self.settings) {
                return Err(option.refuse(effective.name(), value));
            }
            *self.of(option.path) = effective;
        }
        Ok(())
    }

    fn of(&mut self, path: &str) -> &mut Effective {
        let found = self.values.iter_mut().find(|effective| effective.option.path == path);
        found.expect("there is a value for each line of the table")
    }

    /// Checks pairs of options: each value may be in its range, and the pair still contradictory.
    fn check_order(&mut self) -> Result<()> {
        for (lower, upper) in NOT_ABOVE {
            let (lower, upper) = (*self.of(lower), *self.of(upper));
            if lower.number() > upper.number() {
                let message =
                    format!("{} must not be above `{}` {}", lower.described(), upper.name(), upper.described());
                // The message starts with the lower one; `param` is the one whose source is stronger.
                let at_fault = if upper.source > lower.source { upper } else { lower };
                return Err(Error::config(lower.name(), message).with_param(at_fault.name()));
            }
        }
        Ok(())
    }
}

impl Effective {
    /// The name of the option in its source.
    fn name(&self) -> &'static str {
        match (self.source, self.option.variable) {
            (Source::Environment, Some(variable)) => variable,
            _ => self.option.path,
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
