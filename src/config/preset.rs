//! Presets: named sets of option values.

use crate::error::Error;

/// What an engine is tuned for. The table has the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    /// Few requests, each with the lowest latency.
    Latency,
    /// The defaults.
    #[default]
    Balanced,
    /// Many requests, with the highest total throughput.
    Throughput,
}

impl Preset {
    /// All presets, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Latency, Self::Balanced, Self::Throughput];

    /// Its name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Balanced => "balanced",
            Self::Throughput => "throughput",
        }
    }

    /// The preset with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// The error about a value that is not a preset; `found` describes the value.
    pub fn refuse(found: &str) -> Error {
        let [first, second, third] = Self::ALL.map(Self::name);
        Error::config("preset", format!("must be '{first}', '{second}' or '{third}', not {found}"))
    }
}
