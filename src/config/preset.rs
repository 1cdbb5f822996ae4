//! Sets of values that go together.

use crate::error::Error;

use super::knob::wrong;

/// What an engine is tuned for. The values are in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    /// A few requests, each answered as early as can be.
    Latency,
    /// The defaults.
    #[default]
    Balanced,
    /// Many requests, as much done at a time as can be.
    Throughput,
}

impl Preset {
    /// All of them, in the order in which they are listed to users.
    pub const ALL: [Self; 3] = [Self::Latency, Self::Balanced, Self::Throughput];

    /// How users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Balanced => "balanced",
            Self::Throughput => "throughput",
        }
    }

    /// The preset that users call so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// The error about a preset that does not exist; `found` says what is there in its place.
    pub fn refuse(found: &str) -> Error {
        let [first, second, third] = Self::ALL.map(Self::name);
        wrong("preset", &format!("must be '{first}', '{second}' or '{third}', not {found}"))
    }
}
