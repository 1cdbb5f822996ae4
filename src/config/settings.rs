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

/// How requests share the device. Its own [`Default`] is blank: only [`Settings::default`] has the defaults of the table.
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
}

/// How far a stream may be ahead of its reader.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Streaming {
    pub buffer_tokens: usize,
    pub park_timeout: Duration,
}

/// Which answers identical requests share: a switch and limits for each phase of an answer's life. [`Default`] gives the
/// defaults of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Cache {
    pub coalescing: Coalescing,
    pub dedup: Dedup,
    pub prompt_cache: PromptCache,
}

/// While an answer is being generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Coalescing {
    pub enabled: bool,
    pub max_subscribers: usize,
}

/// Shortly after the end of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct Dedup {
    pub enabled: bool,
    pub ttl: Duration,
    pub max_entries: usize,
}

/// Long after the end of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table documents the fields")]
pub struct PromptCache {
    pub enabled: bool,
    pub ttl: Duration,
    pub max_entries: usize,
    pub max_tokens: usize,
    pub max_bytes: usize,
}

impl Cache {
    /// No answer is shared.
    pub const OFF: Self = Self {
        coalescing: Coalescing { enabled: false, max_subscribers: 1 },
        dedup: Dedup { enabled: false, ttl: Duration::ZERO, max_entries: 1 },
        prompt_cache: PromptCache { enabled: false, ttl: Duration::ZERO, max_entries: 1, max_tokens: 1, max_bytes: 1 },
    };
}
