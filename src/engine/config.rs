//! What an engine is started with, validated. The options as users write them are the binding's business.

use std::time::Duration;

use crate::config::{self, Settings};
use crate::scheduler::{self, AdaptiveWindow, BatchLimitConfig, TuneConfig, WindowConfig};

/// Limits of an engine. Every one bounds something that would otherwise grow with the callers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// How each model's scheduler decides. What it says of KV is filled in for each model.
    pub scheduler: scheduler::Config,
    /// Bytes of KV that the sequences of all models may hold; derived from `memory_bytes` where it is absent.
    pub kv_bytes: Option<u64>,
    /// Bytes of memory that the process may use; absent means that nobody knows, and then nothing limits KV.
    pub memory_bytes: Option<u64>,
    /// Requests accepted and not ended; one more is `Overloaded`.
    pub max_pending: usize,
    /// Prompt tokens of accepted requests; a request beyond them is `Overloaded`, unless it is the only one.
    pub max_pending_tokens: usize,
    /// Tokens a stream may run ahead of its consumer before its row is parked.
    pub buffer_tokens: usize,
    /// How long processing the text of one request may hold up those behind it; then they overtake it.
    pub text_patience: Duration,
    /// How long it may take.
    pub text_budget: Duration,
    /// Which answers are shared.
    pub answers: config::Cache,
}

impl From<&Settings> for Config {
    fn from(settings: &Settings) -> Self {
        // Precision concerns the backend alone.
        let Settings { precision: _, scheduler, memory, streaming, cache } = settings;
        Self {
            scheduler: scheduler::Config {
                park_timeout: streaming.park_timeout,
                ..if scheduler.enabled { shared(scheduler) } else { one_at_a_time(scheduler) }
            },
            kv_bytes: memory.kv_bytes,
            memory_bytes: None,
            max_pending: scheduler.max_queue,
            max_pending_tokens: scheduler.max_queue_tokens,
            buffer_tokens: streaming.buffer_tokens,
            text_patience: Duration::from_millis(100),
            text_budget: Duration::from_secs(5),
            answers: *cache,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::from(&Settings::default())
    }
}

/// Requests share steps.
fn shared(settings: &config::Scheduler) -> scheduler::Config {
    let adaptive = &settings.adaptive_window;
    let adaptive = adaptive.enabled.then_some(AdaptiveWindow {
        low: adaptive.low,
        medium: adaptive.medium,
        high: adaptive.high,
        hysteresis: count(adaptive.hysteresis),
        ema_alpha: adaptive.ema_alpha,
    });
    let tune = &settings.auto_tune;
    let tune = tune.enabled.then_some(TuneConfig {
        min: tune.min_batch,
        max: tune.max_batch,
        ema_alpha: tune.ema_alpha,
        interval: count(tune.interval),
    });
    scheduler::Config {
        window: WindowConfig { fast_path: settings.fast_path, fixed: settings.window, adaptive },
        batch_limit: BatchLimitConfig { start: settings.batch_size, tune, step_target: settings.p99_threshold },
        ..one_at_a_time(settings)
    }
}

/// One request at a time, as soon as the one before has ended: the baseline.
fn one_at_a_time(settings: &config::Scheduler) -> scheduler::Config {
    scheduler::Config {
        window: WindowConfig { fast_path: true, fixed: Duration::ZERO, adaptive: None },
        batch_limit: BatchLimitConfig { start: 1, tune: None, step_target: settings.p99_threshold },
        prefill_chunk: settings.prefill_chunk_tokens,
        stretch: settings.inter_token_stretch,
        ageing: settings.ageing,
        ..scheduler::Config::default()
    }
}

/// A small number of a table whose ranges are far below the type's.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Preset;

    fn of(preset: Preset, change: impl FnOnce(&mut Settings)) -> Config {
        let resolved = Settings::resolve(preset, &std::collections::HashMap::new(), &[]);
        let mut settings = resolved.expect("presets are in order").settings;
        change(&mut settings);
        Config::from(&settings)
    }

    #[test]
    fn the_table_and_the_scheduler_have_the_same_defaults() {
        assert_eq!(Config::default().scheduler, scheduler::Config::default());
    }

    #[test]
    fn the_preset_for_latency_has_a_fixed_window_and_batch_limit() {
        let Config { scheduler, .. } = of(Preset::Latency, |_| ());
        let window = WindowConfig { fast_path: true, fixed: Duration::from_micros(750), adaptive: None };
        assert_eq!(scheduler.window, window);
        assert_eq!((scheduler.batch_limit.start, scheduler.batch_limit.tune), (2, None));
    }

    #[test]
    fn off_runs_one_at_a_time_and_waits_for_nobody() {
        let Config { scheduler, .. } = of(Preset::Throughput, |settings| settings.scheduler.enabled = false);
        assert_eq!(scheduler.batch_limit.ceiling(), 1);
        assert_eq!((scheduler.window.fixed, scheduler.window.adaptive), (Duration::ZERO, None));
    }
}
