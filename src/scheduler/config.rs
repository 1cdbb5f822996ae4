//! The config of a scheduler, made from validated settings. The table of options in `crate::config` has the defaults.

use std::time::Duration;

use crate::config::{self, Settings};

use super::plan::KvGrowth;
use super::retry::RetryConfig;

/// The config of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// How long an idle engine waits for more requests before its first step.
    pub window: WindowConfig,
    /// What happens to the sequences of a failed step.
    pub retry: RetryConfig,
    /// How many sequences run together.
    pub batch_limit: BatchLimitConfig,
    /// The most prompt tokens of a step, over all rows.
    pub prefill_chunk: usize,
    /// The longest time of a step that decodes and reads prompts, relative to a step that only decodes. It limits chunks of
    /// prompts, as far as smaller chunks are not much slower per token.
    pub stretch: f64,
    /// A priority whose oldest request has waited this long gets a share of the tokens.
    pub ageing: Duration,
    /// How long a parked sequence waits for its readers.
    pub park_timeout: Duration,
    /// The memory for KV, if it is limited.
    pub kv: Option<KvLimit>,
    /// Whether requests reuse KV of other requests.
    pub prefix: PrefixConfig,
}

/// How long an idle engine waits for more requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowConfig {
    /// Whether a request that finds the engine idle and the queue empty starts at once.
    pub fast_path: bool,
    /// The window if `adaptive` is off. Zero means no wait.
    pub fixed: Duration,
    /// Adapts the window to the measured queue depth, and uses it only if requests tend to arrive together.
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
    /// The first limit. Without `tune` it does not change.
    pub start: usize,
    /// Adapts the limit to measured step times.
    pub tune: Option<TuneConfig>,
    /// A batch size whose steps take longer than this is chosen only if no smaller one is allowed.
    pub step_target: Duration,
}

/// How the batch limit is tuned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TuneConfig {
    /// The smallest limit.
    pub min: usize,
    /// The largest limit, unless `start` is larger.
    pub max: usize,
    /// Weight of a new sample of a step time.
    pub ema_alpha: f64,
    /// Steps between two changes.
    pub interval: u32,
}

/// Which KV is reused between requests.
pub type PrefixConfig = config::PrefixCache;

/// The memory that KV may take, and how the executor allocates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLimit {
    /// The limit in bytes.
    pub bytes: u64,
    /// Bytes of one position of one sequence.
    pub bytes_per_position: u64,
    /// Positions of a block. Memory is allocated in whole blocks.
    pub block: usize,
    /// How the number of blocks of a sequence grows.
    pub growth: KvGrowth,
}

impl KvLimit {
    /// The memory of a sequence with `num_positions`, in units of a position in all layers: whole blocks, less the positions that
    /// layers with a window do not keep.
    pub fn whole_blocks(&self, num_positions: usize) -> usize {
        let num_blocks = num_positions.div_ceil(self.block.max(1));
        let num_blocks = if self.growth.doubles { num_blocks.next_power_of_two() } else { num_blocks };
        let allocated = num_blocks.saturating_mul(self.block.max(1));
        let Some(window) = self.growth.window else { return allocated };
        let dropped = allocated.saturating_sub(window.positions) as u64;
        let saved = dropped.saturating_mul(window.bytes_per_position) / self.bytes_per_position.max(1);
        allocated.saturating_sub(usize::try_from(saved).unwrap_or(usize::MAX))
    }

    /// Positions that fit beside the memory that is allocated ahead of need. They are not rounded to blocks: with a sliding
    /// window a sequence can hold less than a block.
    pub fn capacity(&self) -> usize {
        let spare = self.growth.spare_share.map_or(0, |share| self.bytes / share.max(1));
        usize::try_from((self.bytes - spare) / self.bytes_per_position.max(1)).unwrap_or(usize::MAX)
    }
}

impl BatchLimitConfig {
    /// The most rows of a step: `max`, or `start` if that is larger.
    pub fn ceiling(&self) -> usize {
        self.tune.map_or(self.start, |tune| tune.max.max(self.start))
    }
}

impl From<&Settings> for Config {
    fn from(Settings { scheduler, streaming, cache, retry, .. }: &Settings) -> Self {
        Self {
            window: WindowConfig::of(scheduler),
            batch_limit: BatchLimitConfig::of(scheduler),
            prefill_chunk: scheduler.prefill_chunk_tokens,
            stretch: scheduler.inter_token_stretch,
            ageing: scheduler.ageing,
            park_timeout: streaming.park_timeout,
            retry: RetryConfig::of(retry),
            kv: None,
            prefix: cache.prefix_cache,
        }
    }
}

impl RetryConfig {
    fn of(settings: &config::Retry) -> Self {
        let config::Retry { enabled, max_attempts, initial_delay, max_delay } = *settings;
        Self { max_attempts: if enabled { max_attempts } else { 1 }, initial_delay, max_delay }
    }
}

impl WindowConfig {
    /// With the scheduler disabled, one request runs at a time and starts at once: the baseline for measurements.
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
        let step_target = settings.max_step;
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
    use crate::config::{Member, RuntimeFile, Value, find};

    fn of(preset: &'static str, change: impl FnOnce(&mut Settings)) -> Config {
        let Some(Member::Option(option)) = find("", "preset") else { panic!("an option") };
        let resolved = Settings::resolve(
            &RuntimeFile::default(),
            &std::collections::HashMap::new(),
            &[(option, Value::Name(preset))],
        );
        let mut settings = resolved.expect("presets have valid values").settings;
        change(&mut settings);
        Config::from(&settings)
    }

    #[test]
    fn the_latency_preset_has_a_fixed_window_and_batch_limit() {
        let config = of("latency", |_| ());
        let window = WindowConfig { fast_path: true, fixed: Duration::from_micros(750), adaptive: None };
        assert_eq!(config.window, window);
        assert_eq!((config.batch_limit.start, config.batch_limit.tune), (2, None));
    }

    #[test]
    fn without_the_scheduler_one_request_runs_at_a_time_and_at_once() {
        let config = of("throughput", |settings| settings.scheduler.enabled = false);
        assert_eq!(config.batch_limit.ceiling(), 1);
        assert_eq!((config.window.fixed, config.window.adaptive), (Duration::ZERO, None));
    }
}
