//! The config of a scheduler, made from validated settings. The table of options has the defaults.

use std::time::Duration;

use crate::config::{self, Settings};

use super::plan::KvGrowth;

/// The config of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// How long an idle engine waits for more requests before its first step.
    pub window: WindowConfig,
    /// How many sequences run together.
    pub batch_limit: BatchLimitConfig,
    /// The most prompt tokens of one step, over all rows, while no row decodes.
    pub prefill_chunk: usize,
    /// A step that also reads prompts takes at most this many times as long as a step that only decodes, as far as smaller
    /// chunks can achieve that.
    pub stretch: f64,
    /// A priority whose oldest request has waited this long gets a share of the tokens.
    pub ageing: Duration,
    /// How long a parked sequence waits for its readers.
    pub park_timeout: Duration,
    /// The memory for KV, if it is limited.
    pub kv: Option<KvLimit>,
}

/// How long an idle engine waits for more requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowConfig {
    /// Whether a request that finds the engine idle and the queue empty starts at once.
    pub fast_path: bool,
    /// The window if `adaptive` is off. Zero means no wait.
    pub fixed: Duration,
    /// The window follows the measured queue depth, and opens only if requests tend to arrive together.
    pub adaptive: Option<AdaptiveWindow>,
}

/// A window in three tiers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveWindow {
    /// At a queue depth of 1 or less.
    pub low: Duration,
    /// At a queue depth above 1, up to 5.
    pub medium: Duration,
    /// At a queue depth above 5.
    pub high: Duration,
    /// The tier changes after this many samples in a row that call for the same other tier.
    pub hysteresis: u32,
    /// Weight of a new sample in the moving average of the queue depth.
    pub ema_alpha: f64,
}

/// How many sequences run together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchLimitConfig {
    /// The limit to start with. It stays if `tune` is off.
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

    /// Positions that fit beside what is allocated ahead of need. No rounding to blocks: a sequence of layers with a window holds
    /// less than a block.
    pub fn capacity(&self) -> usize {
        let spare = self.growth.spare_share.map_or(0, |share| self.bytes / share.max(1));
        usize::try_from((self.bytes - spare) / self.bytes_per_position.max(1)).unwrap_or(usize::MAX)
    }
}

impl BatchLimitConfig {
    /// The most rows that a step can have. A start above `max` raises it.
    pub fn ceiling(&self) -> usize {
        self.tune.map_or(self.start, |tune| tune.max.max(self.start))
    }
}

impl From<&Settings> for Config {
    fn from(Settings { scheduler, streaming, .. }: &Settings) -> Self {
        Self {
            window: WindowConfig::of(scheduler),
            batch_limit: BatchLimitConfig::of(scheduler),
            prefill_chunk: scheduler.prefill_chunk_tokens,
            stretch: scheduler.inter_token_stretch,
            ageing: scheduler.ageing,
            park_timeout: streaming.park_timeout,
            kv: None,
        }
    }
}

impl WindowConfig {
    /// Without a scheduler one request runs at a time, and none waits for others: the baseline for measurements.
    fn of(settings: &config::Scheduler) -> Self {
        if !settings.enabled {
            return Self { fast_path: true, fixed: Duration::ZERO, adaptive: None };
        }
        let adaptive = &settings.adaptive_window;
        let adaptive = adaptive.enabled.then_some(AdaptiveWindow {
            low: adaptive.low,
            medium: adaptive.medium,
            high: adaptive.high,
            hysteresis: small(adaptive.hysteresis),
            ema_alpha: adaptive.ema_alpha,
        });
        Self { fast_path: settings.fast_path, fixed: settings.window, adaptive }
    }
}

impl BatchLimitConfig {
    fn of(settings: &config::Scheduler) -> Self {
        let step_target = settings.p99_threshold;
        if !settings.enabled {
            return Self { start: 1, tune: None, step_target };
        }
        let tune = &settings.auto_tune;
        let tune = tune.enabled.then_some(TuneConfig {
            min: tune.min_batch,
            max: tune.max_batch,
            ema_alpha: tune.ema_alpha,
            interval: small(tune.interval),
        });
        Self { start: settings.batch_size, tune, step_target }
    }
}

/// The table limits these numbers to a few digits.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Default for Config {
    fn default() -> Self {
        Self::from(&Settings::default())
    }
}

impl Default for WindowConfig {
    fn default() -> Self {
        Config::default().window
    }
}

impl Default for BatchLimitConfig {
    fn default() -> Self {
        Config::default().batch_limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Preset;

    fn of(preset: Preset, change: impl FnOnce(&mut Settings)) -> Config {
        let resolved = Settings::resolve(preset, &std::collections::HashMap::new(), &[]);
        let mut settings = resolved.expect("presets have valid values").settings;
        change(&mut settings);
        Config::from(&settings)
    }

    #[test]
    fn the_latency_preset_has_a_fixed_window_and_batch_limit() {
        let config = of(Preset::Latency, |_| ());
        let window = WindowConfig { fast_path: true, fixed: Duration::from_micros(750), adaptive: None };
        assert_eq!(config.window, window);
        assert_eq!((config.batch_limit.start, config.batch_limit.tune), (2, None));
    }

    #[test]
    fn without_the_scheduler_one_request_runs_at_a_time_and_at_once() {
        let config = of(Preset::Throughput, |settings| settings.scheduler.enabled = false);
        assert_eq!(config.batch_limit.ceiling(), 1);
        assert_eq!((config.window.fixed, config.window.adaptive), (Duration::ZERO, None));
    }
}
