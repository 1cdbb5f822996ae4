//! The settings of an engine as typed fields. Each field has a line in the table of options, which sets and documents
//! it.

use std::time::Duration;

use super::preset::Preset;

/// All settings of an engine. [`Default`] gives the defaults of the table.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Settings {
    pub preset: Preset,
    pub precision: Precision,
    pub scheduler: Scheduler,
    pub memory: Memory,
    pub streaming: Streaming,
    pub cache: Cache,
    pub model_lifecycle: ModelLifecycle,
    pub retry: Retry,
    pub circuit_breaker: CircuitBreaker,
    pub metrics: Metrics,
    pub health: Health,
    pub workers: Workers,
}

/// The element type of a model's computations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The fastest type of the device: float32 on a CPU, the model's own type on a GPU.
    #[default]
    Auto,
    /// The element type of the stored weights.
    Model,
}

impl Precision {
    /// All names, as option values.
    pub const NAMES: [&str; 2] = ["auto", "model"];

    /// The precision with this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "model" => Some(Self::Model),
            _ => None,
        }
    }
}

/// How requests share the device. Its own [`Default`] has zeros; [`Settings::default`] has the defaults of the table.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Scheduler {
    pub enabled: bool,
    pub window: Duration,
    pub batch_size: usize,
    pub max_step: Duration,
    pub fast_path: bool,
    pub adaptive_window: AdaptiveWindow,
    pub auto_tune: AutoTune,
    pub max_pending: usize,
    pub max_pending_tokens: usize,
    pub max_wait: Option<Duration>,
    pub prefill_chunk_tokens: usize,
    pub inter_token_stretch: f64,
    pub ageing: Duration,
    pub deterministic: bool,
}

/// The admission window that follows the load.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct AdaptiveWindow {
    pub enabled: bool,
    pub low: Duration,
    pub medium: Duration,
    pub high: Duration,
    pub hysteresis: usize,
    pub ema_alpha: f64,
}

/// The batch limit that follows measured step times.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct AutoTune {
    pub enabled: bool,
    pub min_batch: usize,
    pub max_batch: usize,
    pub ema_alpha: f64,
    pub interval: usize,
}

/// How much of the device's memory may be used.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Memory {
    pub kv_bytes: Option<u64>,
    pub limit_bytes: Option<u64>,
}

/// When models are loaded and unloaded. JavaScript decides that (`lib/lifecycle/`), and reads the effective settings.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct ModelLifecycle {
    pub idle_unload: Duration,
    pub evict: bool,
    pub drain: Duration,
    pub warmup: bool,
    pub prefetch: Prefetch,
}

/// Loading of models before they are asked for.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Prefetch {
    pub enabled: bool,
    pub min_confidence: f64,
    pub max_models: usize,
}

/// How far a stream may be ahead of its reader.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Streaming {
    pub buffer_tokens: usize,
    pub park_timeout: Duration,
}

/// When the requests of a failed step run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Retry {
    pub enabled: bool,
    pub max_attempts: usize,
    pub initial_delay: Duration,
    pub max_delay: Duration,
}

/// After which failures of the device a model refuses requests, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct CircuitBreaker {
    pub enabled: bool,
    pub failures: usize,
    pub window: Duration,
    pub open: Duration,
}

/// Which statistics are exported.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Metrics {
    pub export: bool,
}

/// What counts as a failure of the device.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Health {
    pub stuck_after: Duration,
}

/// The engine threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Workers {
    pub count: usize,
    pub routing: Routing,
    pub sticky: bool,
    pub replace_stuck: bool,
}

/// Which worker gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Routing {
    /// The one with the fewest pending requests.
    #[default]
    LeastBusy,
    /// Each in turn.
    RoundRobin,
}

impl Routing {
    /// All names, as option values.
    pub const NAMES: [&str; 2] = ["least-busy", "round-robin"];

    /// The routing with this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "least-busy" => Some(Self::LeastBusy),
            "round-robin" => Some(Self::RoundRobin),
            _ => None,
        }
    }
}

/// What requests share: a switch and limits for the answers of each phase below, and for the KV of common prefixes.
/// [`Default`] gives the defaults of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Cache {
    pub coalescing: Coalescing,
    pub dedup: Dedup,
    pub prompt_cache: PromptCache,
    pub prefix_cache: PrefixCache,
}

/// Sharing of an answer while it is being generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Coalescing {
    pub enabled: bool,
    pub max_subscribers: usize,
}

/// Sharing of an answer shortly after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Dedup {
    pub enabled: bool,
    pub ttl: Duration,
    pub max_entries: usize,
}

/// Sharing of an answer long after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct PromptCache {
    pub enabled: bool,
    pub ttl: Duration,
    pub max_entries: usize,
    pub max_tokens: usize,
    pub max_bytes: usize,
}

/// The KV of prompts and answers, which requests that begin with the same tokens reuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct PrefixCache {
    pub enabled: bool,
    pub min_tokens: usize,
    pub max_tokens: usize,
    pub max_pinned_percent: usize,
    pub max_disk_bytes: usize,
}

impl Cache {
    /// Nothing is shared.
    pub const OFF: Self = Self {
        coalescing: Coalescing { enabled: false, max_subscribers: 1 },
        dedup: Dedup { enabled: false, ttl: Duration::ZERO, max_entries: 1 },
        prompt_cache: PromptCache { enabled: false, ttl: Duration::ZERO, max_entries: 1, max_tokens: 1, max_bytes: 1 },
        prefix_cache: PrefixCache {
            enabled: false,
            min_tokens: 1,
            max_tokens: 1,
            max_pinned_percent: 0,
            max_disk_bytes: 0,
        },
    };
}
