//! Presets: named sets of option values.

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

    /// Their names, as option values.
    pub const NAMES: [&str; 3] = ["latency", "balanced", "throughput"];

    /// The preset with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().zip(Self::NAMES).find_map(|(preset, own)| (own == name).then_some(preset))
    }
}
