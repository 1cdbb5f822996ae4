//! The compared policies: settings of the scheduler, and for v1.4.2 the gate before it.

use std::time::Duration;

use mlx_serving::scheduler::{BatchLimitConfig, Config, WindowConfig};

use super::original::Original;

/// A scheduling policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// An engine with default options.
    Default,
    /// The same, but an idle engine never waits.
    NoWindow,
    /// The same with the fixed window of v1.4.1: 2 ms.
    FixedWindow,
    /// One request after another: `MLX_GPU_SCHEDULER=off`.
    OneAtATime,
    /// The rules of v1.4.2: an adaptive window before batches of four, whose requests run one after another.
    Original,
    /// The preset `latency`.
    Latency,
    /// The preset `throughput`.
    Throughput,
}

impl Policy {
    /// The policies of every comparison.
    pub(crate) const COMPARED: [Self; 5] =
        [Self::Default, Self::NoWindow, Self::FixedWindow, Self::OneAtATime, Self::Original];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::NoWindow => "no window",
            Self::FixedWindow => "fixed 2 ms",
            Self::OneAtATime => "one at a time",
            Self::Original => "v1.4.2",
            Self::Latency => "latency preset",
            Self::Throughput => "throughput preset",
        }
    }

    /// The scheduler's settings.
    pub(crate) fn config(self) -> Config {
        let default = Config::default();
        match self {
            Self::Default => default,
            Self::NoWindow => Config { window: fixed_window(true, 0), ..default },
            Self::FixedWindow => Config { window: fixed_window(false, 2_000), ..default },
            Self::OneAtATime | Self::Original => {
                Config { window: fixed_window(true, 0), batch_limit: fixed_limit(1), ..default }
            }
            Self::Latency => Config { window: fixed_window(true, 750), batch_limit: fixed_limit(2), ..default },
            Self::Throughput => Config { batch_limit: BatchLimitConfig { start: 8, ..default.batch_limit }, ..default },
        }
    }

    /// The gate that holds requests back before the scheduler sees them.
    pub(crate) fn gate(self) -> Option<Original> {
        (self == Self::Original).then(Original::default)
    }
}

fn fixed_window(fast_path: bool, micros: u64) -> WindowConfig {
    WindowConfig { fast_path, fixed: Duration::from_micros(micros), adaptive: None }
}

fn fixed_limit(start: usize) -> BatchLimitConfig {
    BatchLimitConfig { start, tune: None, ..BatchLimitConfig::default() }
}
