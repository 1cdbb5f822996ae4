//! What bounds a scheduler's decisions. Validated by whoever makes one; every field is a plain value.

use std::time::Duration;

use super::plan::KvGrowth;

/// The options of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// When an idle engine waits for company before it starts.
    pub window: WindowConfig,
    /// How many sequences run together.
    pub batch_limit: BatchLimitConfig,
    /// Prompt tokens of one step, over all rows, while nobody decodes.
    pub prefill_chunk: usize,
    /// A step that also reads prompts takes at most so many times a step that only decodes, as far as chunks can help.
    pub stretch: f64,
    /// A priority whose oldest request has waited this long is owed a part of what passes it.
    pub ageing: Duration,
    /// How long a parked sequence keeps its place.
    pub park_timeout: Duration,
    /// What sequences may hold of the device's memory.
    pub kv: Option<KvLimit>,
}

/// When an idle engine waits for company.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowConfig {
    /// A request that finds the engine idle and nobody waiting runs at once.
    pub fast_path: bool,
    /// The window where `adaptive` is off; zero never waits.
    pub fixed: Duration,
    /// The window follows the measured queue depth, and is used only where arrivals are known to cluster.
    pub adaptive: Option<AdaptiveWindow>,
}

/// A window in three tiers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveWindow {
    /// At a depth of 1 or less.
    pub low: Duration,
    /// In between.
    pub medium: Duration,
    /// At a depth of more than 5.
    pub high: Duration,
    /// Samples in a row that must ask for the same other tier.
    pub hysteresis: u32,
    /// Weight of a new sample of the depth.
    pub ema_alpha: f64,
}

/// How many sequences run together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchLimitConfig {
    /// The limit to begin with, and for good where `tune` is off.
    pub start: usize,
    /// The limit follows measured step times.
    pub tune: Option<TuneConfig>,
    /// A batch size whose steps take longer than this is chosen only if no smaller one is allowed.
    pub step_target: Duration,
}

/// How the limit moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TuneConfig {
    /// It never falls below.
    pub min: usize,
    /// It never rises above, or above `start` where that is more.
    pub max: usize,
    /// Weight of a new sample of a step time.
    pub ema_alpha: f64,
    /// Steps between two changes.
    pub interval: u32,
}

/// The memory that KV may take, in the executor's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLimit {
    /// All of it.
    pub bytes: u64,
    /// What one position of one sequence takes.
    pub bytes_per_position: u64,
    /// Positions are allocated in blocks of so many.
    pub block: usize,
    /// How many blocks a sequence comes to have.
    pub growth: KvGrowth,
}

impl KvLimit {
    /// What a sequence of so many positions takes, in positions that all layers keep: whole blocks, less what layers with a
    /// window do not keep.
    pub fn whole_blocks(&self, num_positions: usize) -> usize {
        let num_blocks = num_positions.div_ceil(self.block.max(1));
        let num_blocks = if self.growth.doubles { num_blocks.next_power_of_two() } else { num_blocks };
        let allocated = num_blocks.saturating_mul(self.block.max(1));
        let Some(window) = self.growth.window else { return allocated };
        let dropped = allocated.saturating_sub(window.positions) as u64;
        let saved = dropped.saturating_mul(window.bytes_per_position) / self.bytes_per_position.max(1);
        allocated.saturating_sub(usize::try_from(saved).unwrap_or(usize::MAX))
    }

    /// Positions that fit, in whole blocks.
    pub fn capacity(&self) -> usize {
        let block = self.block.max(1) as u64;
        let positions = self.bytes / self.bytes_per_position.max(1) / block * block;
        usize::try_from(positions).unwrap_or(usize::MAX)
    }
}

impl BatchLimitConfig {
    /// The most rows a step can come to have. Whoever begins with more than `max` means that there may be more.
    pub fn ceiling(&self) -> usize {
        self.tune.map_or(self.start, |tune| tune.max.max(self.start))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: WindowConfig::default(),
            batch_limit: BatchLimitConfig::default(),
            prefill_chunk: 512,
            stretch: 2.0,
            ageing: Duration::from_secs(5),
            park_timeout: Duration::from_mins(1),
            kv: None,
        }
    }
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self { fast_path: true, fixed: Duration::from_millis(1), adaptive: Some(AdaptiveWindow::default()) }
    }
}

impl Default for AdaptiveWindow {
    fn default() -> Self {
        Self {
            low: Duration::from_micros(750),
            medium: Duration::from_millis(1),
            high: Duration::from_millis(2),
            hysteresis: 3,
            ema_alpha: 0.5,
        }
    }
}

impl Default for BatchLimitConfig {
    fn default() -> Self {
        Self { start: 4, tune: Some(TuneConfig::default()), step_target: Duration::from_millis(100) }
    }
}

impl Default for TuneConfig {
    fn default() -> Self {
        Self { min: 2, max: 32, ema_alpha: 0.3, interval: 10 }
    }
}
