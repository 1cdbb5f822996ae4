//! What an engine is started with: the settings as far as they concern it.

use std::time::Duration;

use crate::config::{self, Settings};
use crate::executor::Limits;
use crate::scheduler::{self, AdaptiveWindow, KvLimit, TuneConfig, WidthConfig, WindowConfig};

/// Limits of an engine. Every one bounds something that would otherwise grow with the callers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// How each model's scheduler decides. What it says of KV is filled in for each model.
    pub scheduler: scheduler::Config,
    /// Bytes of KV that the sequences of a model may hold; derived from `memory_bytes` where it is absent.
    pub kv_bytes: Option<u64>,
    /// Bytes of memory that the process may use; absent means that nobody knows, and then nothing limits KV.
    pub memory_bytes: Option<u64>,
    /// Requests accepted and not ended; one more is `Overloaded`.
    pub max_pending: usize,
    /// Prompt tokens of accepted requests; a request beyond them is `Overloaded`, unless it is the only one.
    pub max_pending_tokens: usize,
    /// Tokens a stream may run ahead of its consumer before its row is parked.
    pub buffer_tokens: usize,
    /// How long the text of one request may keep the text thread.
    pub text_budget: Duration,
}

impl From<&Settings> for Config {
    fn from(settings: &Settings) -> Self {
        let Settings { scheduler, memory, streaming } = settings;
        Self {
            scheduler: scheduler::Config {
                window: window(scheduler),
                width: width(scheduler),
                prefill_chunk: scheduler.prefill_chunk_tokens,
                stretch: scheduler.inter_token_stretch,
                ageing: scheduler.ageing,
                park_timeout: streaming.park_timeout,
                kv: None,
            },
            kv_bytes: memory.kv_bytes,
            memory_bytes: None,
            max_pending: scheduler.max_queue,
            max_pending_tokens: scheduler.max_queue_tokens,
            buffer_tokens: streaming.buffer_tokens,
            text_budget: Duration::from_secs(5),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::from(&Settings::default())
    }
}

/// One at a time there is nobody to wait for.
fn window(settings: &config::Scheduler) -> WindowConfig {
    if !settings.enabled {
        return WindowConfig { fast_path: true, fixed: Duration::ZERO, adaptive: None };
    }
    let config::AdaptiveWindow { enabled, low, medium, high, hysteresis, ema_alpha } = settings.adaptive_window;
    let adaptive = AdaptiveWindow { low, medium, high, hysteresis: small(hysteresis), ema_alpha };
    WindowConfig { fast_path: settings.fast_path, fixed: settings.window, adaptive: enabled.then_some(adaptive) }
}

fn width(settings: &config::Scheduler) -> WidthConfig {
    let step_target = settings.p99_threshold;
    if !settings.enabled {
        return WidthConfig { start: 1, tune: None, step_target };
    }
    let config::AutoTune { enabled, min_batch: min, max_batch: max, ema_alpha, interval } = settings.auto_tune;
    let tune = TuneConfig { min, max, ema_alpha, interval: small(interval) };
    WidthConfig { start: settings.batch_size, tune: enabled.then_some(tune), step_target }
}

/// A count of a few steps or samples, as its range makes sure.
fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Config {
    /// What a model's sequences may hold. A quarter of the memory is left to the process and the system; a model that
    /// takes nearly all of the rest still gets an eighth.
    pub(super) fn kv_limit(&self, limits: Limits) -> Option<KvLimit> {
        let derived = |memory: u64| (memory / 4 * 3).saturating_sub(limits.weight_bytes).max(memory / 8);
        let bytes = self.kv_bytes.or(self.memory_bytes.map(derived))?;
        let bytes_per_position = limits.kv.bytes_per_position;
        (bytes_per_position > 0).then_some(KvLimit { bytes, bytes_per_position, block: limits.kv.block })
    }
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
    fn the_preset_for_latency_has_a_fixed_window_and_width() {
        let Config { scheduler, .. } = of(Preset::Latency, |_| ());
        let window = WindowConfig { fast_path: true, fixed: Duration::from_micros(750), adaptive: None };
        assert_eq!(scheduler.window, window);
        assert_eq!((scheduler.width.start, scheduler.width.tune), (2, None));
    }

    #[test]
    fn off_runs_one_at_a_time_and_waits_for_nobody() {
        let Config { scheduler, .. } = of(Preset::Throughput, |settings| settings.scheduler.enabled = false);
        assert_eq!(scheduler.width.ceiling(), 1);
        assert_eq!((scheduler.window.fixed, scheduler.window.adaptive), (Duration::ZERO, None));
    }
}
