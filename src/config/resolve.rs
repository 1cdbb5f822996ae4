//! Combines the sources of option values: defaults, preset, runtime file, environment variables, options of
//! `createEngine`. A later source overrides an earlier one. Each value keeps its source.

use std::collections::HashMap;

use crate::error::{Error, Result};

use super::environment;
use super::file::{FilePlace, RuntimeFile};
use super::option::{EngineOption, Value};
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
    /// The runtime file.
    File,
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
            Self::File => "file",
            Self::Environment => "environment",
            Self::Option => "option",
        }
    }
}

/// The value of an option, and its source.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The option.
    pub option: &'static EngineOption,
    /// `None` if no source sets the option and it has no default.
    pub value: Option<Value>,
    /// The strongest source that sets the option.
    pub source: Source,
    /// Where the runtime file sets it, if that is its source.
    pub place: Option<FilePlace>,
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
    /// Combines preset, runtime file, environment variables and options. Each of the last three can name the preset.
    ///
    /// Every given value is checked, also one that a later source overrides. An error names the option as its source does:
    /// by its option name, its variable, or its key and line in the file.
    pub fn resolve(
        file: &RuntimeFile,
        environment: &HashMap<String, String>,
        options: &[(&'static EngineOption, Value)],
    ) -> Result<Resolved> {
        let variables = environment::read(environment)?;
        let in_file = file.values()?;
        let of_file: Vec<_> = in_file.iter().map(|entry| (entry.option, entry.value)).collect();
        let presets = [options, &variables, &of_file];
        let preset = presets.into_iter().find_map(preset_of).unwrap_or_default();
        let mut resolved = Resolved::default();
        let under_preset = OPTIONS.iter().filter_map(|option| Some((option, option.under(preset)?)));
        resolved.take(Source::Preset, under_preset)?;
        for entry in in_file {
            let place = Some(entry.place.clone());
            resolved.set(Effective { option: entry.option, value: Some(entry.value), source: Source::File, place })?;
        }
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
    values.iter().rev().find_map(|(option, value)| match value {
        Value::Name(name) if option.path == "preset" => Preset::named(name),
        _ => None,
    })
}

impl Default for Resolved {
    fn default() -> Self {
        let of_default = |option: &'static EngineOption| Effective::new(option, option.default, Source::Default);
        Self { settings: Settings::default(), values: OPTIONS.iter().map(of_default).collect() }
    }
}

impl Resolved {
    fn take(&mut self, source: Source, values: impl IntoIterator<Item = (&'static EngineOption, Value)>) -> Result<()> {
        for (option, value) in values {
            self.set(Effective::new(option, Some(value), source))?;
        }
        Ok(())
    }

    fn set(&mut self, effective: Effective) -> Result<()> {
        let Effective { option, value, .. } = effective;
        if let Some(value) = value.filter(|value| !option.store(*value, &mut self.settings)) {
            return Err(option.refuse(effective.name(), value));
        }
        *self.of(option.path) = effective;
        Ok(())
    }

    fn of(&mut self, path: &str) -> &mut Effective {
        let found = self.values.iter_mut().find(|effective| effective.option.path == path);
        found.expect("there is a value for each line of the table")
    }

    /// Checks pairs of options: each value may be in its range, and the pair still contradictory.
    fn check_order(&mut self) -> Result<()> {
        for (lower, upper) in NOT_ABOVE {
            let (lower, upper) = (self.of(lower).clone(), self.of(upper).clone());
            if lower.number() > upper.number() {
                let message =
                    format!("{} must not be above `{}` {}", lower.described(), upper.name(), upper.described());
                // The message starts with the lower one; `param` is the one whose source is stronger.
                let at_fault = if upper.source > lower.source { &upper } else { &lower };
                return Err(Error::config(lower.name(), message).with_param(at_fault.name()));
            }
        }
        Ok(())
    }
}

impl Effective {
    /// A value that no file sets.
    pub fn new(option: &'static EngineOption, value: Option<Value>, source: Source) -> Self {
        Self { option, value, source, place: None }
    }

    /// The name of the option in its source.
    fn name(&self) -> &str {
        match (self.source, self.option.variable, &self.place) {
            (Source::File, _, Some(place)) => &place.key,
            (Source::Environment, Some(variable), _) => variable,
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
        match &self.place {
            Some(place) => format!("({value}, {place})"),
            None => format!("({value}, {})", self.source.name()),
        }
    }
}
