//! The config of an engine, made from validated settings.

use std::time::Duration;

use crate::config::{self, Settings};
use crate::scheduler;

/// The limits of an engine: without them, memory and waiting times would grow with the number of callers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// The config of each model's scheduler. Its `kv` is set for each model.
    pub scheduler: scheduler::Config,
    /// Bytes of KV for the sequences of all models. If absent, it is derived from `memory_bytes`.
    pub kv_bytes: Option<u64>,
    /// Bytes of memory that the process may use. If absent, KV is not limited.
    pub memory_bytes: Option<u64>,
    /// Bytes that the device can use at a time without a loss of speed, if it has such a limit.
    pub device_bytes: Option<u64>,
    /// The most pending requests. A further request fails with `Overloaded`.
    pub max_pending: usize,
    /// The longest wait for a row. If absent, only a lasting overload limits the wait.
    pub max_wait: Option<Duration>,
    /// The most prompt tokens of pending requests. A request above this limit fails with `Overloaded`, unless it is the only one.
    pub max_pending_tokens: usize,
    /// Tokens that a stream may be ahead of its consumer before its row is parked.
    pub buffer_tokens: usize,
    /// How long the text of one request may delay the texts of other requests. After this time, they overtake it.
    pub text_patience: Duration,
    /// How long the text of one request may take.
    pub text_budget: Duration,
    /// Which answers are shared.
    pub answers: config::Cache,
    /// After which failures of the device a model refuses requests, and for how long.
    pub breaker: config::CircuitBreaker,
    /// Whether metrics are exported.
    pub exports_metrics: bool,
    /// The least time after which a step counts as stuck.
    pub stuck_after: Duration,
    /// The engine threads.
    pub workers: config::Workers,
}

impl From<&Settings> for Config {
    fn from(settings: &Settings) -> Self {
        // Used elsewhere: `precision` by the backend, `retry` by the scheduler, `model_lifecycle` by `lib/`. `preset` only
        // changes the defaults of other options.
        let Settings { preset: _, precision: _, retry: _, model_lifecycle: _, metrics, health, .. } = settings;
        let Settings { scheduler, memory, streaming, cache, circuit_breaker, workers, .. } = settings;
        Self {
            scheduler: scheduler::Config::from(settings),
            kv_bytes: memory.kv_bytes,
            memory_bytes: memory.limit_bytes,
            device_bytes: None,
            max_pending: scheduler.max_pending,
            max_wait: scheduler.max_wait,
            max_pending_tokens: scheduler.max_pending_tokens,
            buffer_tokens: streaming.buffer_tokens,
            text_patience: Duration::from_millis(100),
            text_budget: Duration::from_secs(5),
            answers: *cache,
            breaker: *circuit_breaker,
            exports_metrics: metrics.export,
            stuck_after: health.stuck_after,
            workers: *workers,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::from(&Settings::default())
    }
}
