//! The settings of an engine, typed. Every field has its line in the table, which fills it and documents it.

use std::time::Duration;

use super::knobs::KNOBS;

/// Everything that can be set about an engine. [`Default`] gives what the table says.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "what a field means is in the table")]
pub struct Settings {
    pub precision: Precision,
    pub scheduler: Scheduler,
    pub memory: Memory,
    pub streaming: Streaming,
    pub cache: Cache,
}

/// What models are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// What the device computes fastest: float32 on a CPU, the model's own type on a GPU.
    #[default]
    Auto,
    /// The element type that the model is stored in.
    Model,
}

impl Precision {
    /// Its names as an option.
    pub const NAMES: [&str; 2] = ["auto", "model"];

    /// The one called so.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "model" => Some(Self::Model),
            _ => None,
        }
    }
}

/// How requests share the device. Made by [`Settings`]; on its own it is blank.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "what a field means is in the table")]
pub struct Scheduler {
    pub enabled: bool,
    pub window: Duration,
    pub batch_size: usize,
    pub p99_threshold: Duration,
    pub fast_path: bool,
    pub adaptive_window: AdaptiveWindow,
    pub auto_tune: AutoTune,
    pub max_queue: usize,
    pub max_queue_tokens: usize,
    pub prefill_chunk_tokens: usize,
    pub inter_token_stretch: f64,
    pub ageing: Duration,
    pub deterministic: bool,
}

/// The admission window follows the load.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "what a field means is in the table")]
pub struct AdaptiveWindow {
    pub enabled: bool,
    pub low: Duration,
    pub medium: Duration,
    pub high: Duration,
    pub hysteresis: usize,
    pub ema_alpha: f64,
}

/// The batch follows the measured time of steps.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "what a field means is in the table")]
pub struct AutoTune {
    pub enabled: bool,
    pub min_batch: usize,
    pub max_batch: usize,
    pub ema_alpha: f64,
    pub interval: usize,
}

/// What may be used of the device's memory.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "what a field means is in the table")]
pub struct Memory {
    pub kv_bytes: Option<u64>,
}

/// How far a stream may run ahead of its reader.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "what a field means is in the table")]
pub struct Streaming {
    pub buffer_tokens: usize,
    pub park_timeout: Duration,
}

/// Which answers are shared by requests that ask for the same: a switch and bounds for each of an answer's lifetimes.
/// [`Default`] gives what the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "what a field means is in the table")]
pub struct Cache {
    pub coalescing: Coalescing,
    pub dedup: Dedup,
    pub prompt_cache: PromptCache,
}

/// While an answer is being computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "what a field means is in the table")]
pub struct Coalescing {
    pub enabled: bool,
    pub max_subscribers: usize,
}

/// Shortly after an answer was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "what a field means is in the table")]
pub struct Dedup {
    pub enabled: bool,
    pub ttl: Duration,
    pub max_entries: usize,
}

/// For long after an answer was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "what a field means is in the table")]
pub struct PromptCache {
    pub enabled: bool,
    pub ttl: Duration,
    pub max_entries: usize,
    pub max_tokens: usize,
    pub max_bytes: usize,
}

impl Cache {
    /// Nothing is shared.
    pub const OFF: Self = Self {
        coalescing: Coalescing { enabled: false, max_subscribers: 1 },
        dedup: Dedup { enabled: false, ttl: Duration::ZERO, max_entries: 1 },
        prompt_cache: PromptCache { enabled: false, ttl: Duration::ZERO, max_entries: 1, max_tokens: 1, max_bytes: 1 },
    };
}

impl Default for Cache {
    fn default() -> Self {
        Settings::default().cache
    }
}

impl Default for Settings {
    fn default() -> Self {
        let (scheduler, memory, streaming) = Default::default();
        let mut settings = Self { precision: Precision::default(), scheduler, memory, streaming, cache: Cache::OFF };
        for knob in KNOBS {
            let is_stored = knob.default.is_none_or(|value| knob.store(value, &mut settings));
            debug_assert!(is_stored, "{}: the default is not one of its values", knob.path);
        }
        settings
    }
}
