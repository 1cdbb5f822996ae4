//! The options table: all options, in the order in which users see them. Each default is stated here and nowhere else.

use super::option::EngineOption;
use super::option::Value::{Number, Switch};
use super::preset::Preset;
use super::settings::{Cache, Precision, Settings};
use crate::numbers::MAX_SAFE_INTEGER;

/// One week. Answers that must live longer belong in a database.
const MAX_TTL_MS: f64 = 7.0 * 24.0 * 3_600_000.0;
/// The most answers of one cache.
const MAX_ENTRIES: u64 = 1_000_000;

/// All options of an engine except `backend` and the path of the cache file. Some options have an
/// established variable, such as `MLX_FAST_PATH`; the others have [`EngineOption::own_variable`].
pub const OPTIONS: &[EngineOption] = &[
    EngineOption::preset("preset", "balanced", |s| &mut s.preset)
        .variable("MLX_SERVING_PRESET")
        .text("What to tune for: the latency of a few requests, or the throughput of many. A preset only changes defaults."),
    EngineOption::switch("scheduler.enabled", true, |s| &mut s.scheduler.enabled)
        .variable("MLX_GPU_SCHEDULER")
        .text("Whether requests share steps of the model (continuous batching). When off, one request runs at a time: a baseline for measurements."),
    EngineOption::millis("scheduler.windowMs", 1.0, 0.5..=5.0, |s| &mut s.scheduler.window)
        .variable("MLX_GPU_SCHEDULER_WINDOW_MS")
        .latency(Number(0.75))
        .throughput(Number(2.0))
        .text("How long an idle engine waits for more requests before its first step. Used when the adaptive window is off."),
    EngineOption::integer("scheduler.batchSize", 4, 1..=64, |s| &mut s.scheduler.batch_size)
        .variable("MLX_GPU_SCHEDULER_BATCH_SIZE")
        .latency(Number(2.0))
        .throughput(Number(8.0))
        .text("Sequences that are decoded together in one step. With auto-tune, the batch limit to start with."),
    EngineOption::millis("scheduler.maxStepMs", 100.0, 50.0..=500.0, |s| &mut s.scheduler.max_step)
        .variable("MLX_GPU_SCHEDULER_P99_THRESHOLD_MS")
        .text("The longest step that auto-tune aims at: it chooses a smaller batch if steps would take longer than this."),
    EngineOption::switch("scheduler.fastPath", true, |s| &mut s.scheduler.fast_path)
        .variable("MLX_FAST_PATH")
        .text("Whether a request that finds the engine idle and the queue empty starts at once, without a window."),
    EngineOption::switch("scheduler.adaptiveWindow.enabled", true, |s| &mut s.scheduler.adaptive_window.enabled)
        .variable("MLX_ADAPTIVE_WINDOW")
        .latency(Switch(false))
        .text("Whether the window follows the queue depth. It then opens only when requests tend to arrive together."),
    EngineOption::millis("scheduler.adaptiveWindow.lowMs", 0.75, 0.5..=2.0, |s| &mut s.scheduler.adaptive_window.low)
        .variable("MLX_ADAPTIVE_WINDOW_LOW_MS")
        .text("The window at a queue depth of 1 or less. At most `mediumMs`."),
    EngineOption::millis("scheduler.adaptiveWindow.mediumMs", 1.0, 0.75..=3.0, |s| &mut s.scheduler.adaptive_window.medium)
        .variable("MLX_ADAPTIVE_WINDOW_MEDIUM_MS")
        .text("The window at a queue depth above 1, up to 5. At most `highMs`."),
    EngineOption::millis("scheduler.adaptiveWindow.highMs", 2.0, 1.0..=5.0, |s| &mut s.scheduler.adaptive_window.high)
        .variable("MLX_ADAPTIVE_WINDOW_HIGH_MS")
        .text("The window at a queue depth above 5."),
    EngineOption::integer("scheduler.adaptiveWindow.hysteresis", 3, 1..=10, |s| &mut s.scheduler.adaptive_window.hysteresis)
        .variable("MLX_ADAPTIVE_WINDOW_HYSTERESIS")
        .text("The window changes after this many samples of the queue depth in a row that call for another one."),
    EngineOption::number("scheduler.adaptiveWindow.emaAlpha", 0.5, 0.1..=0.9, |s| &mut s.scheduler.adaptive_window.ema_alpha)
        .variable("MLX_ADAPTIVE_WINDOW_EMA_ALPHA")
        .text("Weight of a new sample in the moving average of the queue depth."),
    EngineOption::switch("scheduler.autoTune.enabled", true, |s| &mut s.scheduler.auto_tune.enabled)
        .variable("MLX_AUTO_TUNE")
        .latency(Switch(false))
        .text("Whether the batch limit follows measured step times. It starts at `batchSize`."),
    EngineOption::integer("scheduler.autoTune.minBatch", 2, 1..=8, |s| &mut s.scheduler.auto_tune.min_batch)
        .variable("MLX_AUTO_TUNE_MIN_BATCH")
        .text("The smallest batch limit that auto-tune may choose. At most `maxBatch`."),
    EngineOption::integer("scheduler.autoTune.maxBatch", 32, 4..=64, |s| &mut s.scheduler.auto_tune.max_batch)
        .variable("MLX_AUTO_TUNE_MAX_BATCH")
        .text("The largest batch limit that auto-tune may choose, or `batchSize` if that is more. On Apple GPUs, steps of 10 to 32 rows take about the same time."),
    EngineOption::number("scheduler.autoTune.emaAlpha", 0.3, 0.1..=0.9, |s| &mut s.scheduler.auto_tune.ema_alpha)
        .variable("MLX_AUTO_TUNE_EMA_ALPHA")
        .text("Weight of a new sample in the moving average of step times."),
    EngineOption::integer("scheduler.autoTune.interval", 10, 5..=20, |s| &mut s.scheduler.auto_tune.interval)
        .variable("MLX_AUTO_TUNE_INTERVAL")
        .text("Steps between two changes of the batch limit."),
    EngineOption::integer("scheduler.maxPending", 1_024, 1..=1_000_000, |s| &mut s.scheduler.max_pending)
        .variable("MLX_SERVING_MAX_PENDING")
        .text("The most pending requests, waiting and running. One more fails with `OverloadedError`."),
    EngineOption::integer("scheduler.maxPendingTokens", 4_194_304, 1..=1 << 40, |s| &mut s.scheduler.max_pending_tokens)
        .variable("MLX_SERVING_MAX_PENDING_TOKENS")
        .text("The most prompt tokens of all pending requests. A request beyond that fails with `OverloadedError`, unless it is the only one."),
    EngineOption::optional_millis("scheduler.maxWaitMs", 1.0..=3_600_000.0, |s| &mut s.scheduler.max_wait)
        .variable("MLX_SERVING_MAX_WAIT_MS")
        .text("The longest expected wait for a row. A request that would wait longer fails with `OverloadedError`. Set it in a service. Without it, only a lasting overload limits the wait."),
    EngineOption::integer("scheduler.prefillChunkTokens", 512, 1..=65_536, |s| &mut s.scheduler.prefill_chunk_tokens)
        .variable("MLX_SERVING_PREFILL_CHUNK_TOKENS")
        .text("The most prompt tokens of one step while no sequence decodes."),
    EngineOption::number("scheduler.interTokenStretch", 2.0, 1.0..=100.0, |s| &mut s.scheduler.inter_token_stretch)
        .variable("MLX_SERVING_INTER_TOKEN_STRETCH")
        .text("A step that also reads prompts may take at most this many times as long as a step that only decodes, as far as smaller chunks can achieve that."),
    EngineOption::millis("scheduler.ageingMs", 5_000.0, 1.0..=3_600_000.0, |s| &mut s.scheduler.ageing)
        .variable("MLX_SERVING_AGEING_MS")
        .text("Once a request of a lower priority has waited for this long, its priority gets one fifth of the tokens, so that no request waits for ever."),
    EngineOption::switch("scheduler.deterministic", false, |s| &mut s.scheduler.deterministic)
        .variable("MLX_SERVING_DETERMINISTIC")
        .text("Whether an answer must be the same to the last bit, whatever other requests run at the same time. Tested on the CPU, where it costs nothing for models that use the engine's own attention in float32. Elsewhere each row attends by itself, and matrix products cost most when few sequences run. On a GPU attention may still round differently."),
    EngineOption::precision("precision", "auto", |s| &mut s.precision)
        .variable("MLX_SERVING_PRECISION")
        .text("The element type of computations. `'auto'` is float32 on a CPU, where half precision and quantized weights are slow; quantized weights are dequantized if that takes at most half of the memory. On a GPU `'auto'` is the model's own type. `'model'` is the model's own type everywhere."),
    EngineOption::bytes("memory.kvBytes", 1..=MAX_SAFE_INTEGER, |s| &mut s.memory.kv_bytes)
        .variable("MLX_SERVING_KV_BYTES")
        .text("Memory for the KV caches of all models, in bytes. By default what the weights leave of three quarters of the memory that the process may use, and at least one eighth of that memory. `engine.config()` shows the number."),
    EngineOption::integer("streaming.bufferTokens", 256, 3..=65_536, |s| &mut s.streaming.buffer_tokens)
        .variable("MLX_SERVING_BUFFER_TOKENS")
        .text(
        "Tokens that a stream may be ahead of its reader. Then it is parked: it keeps its memory, and runs no steps.",
    ),
    EngineOption::millis("streaming.parkTimeoutMs", 60_000.0, 1.0..=MAX_SAFE_INTEGER as f64, |s| &mut s.streaming.park_timeout)
        .variable("MLX_SERVING_PARK_TIMEOUT_MS")
        .text("How long a parked stream waits for its reader before it fails with `SlowConsumerError`."),
    EngineOption::switch("cache.coalescing.enabled", true, |s| &mut s.cache.coalescing.enabled)
        .variable("MLX_REQUEST_COALESCING_ENABLED")
        .text("Whether a request joins an identical one that is running. It gets the whole answer, from its beginning."),
    EngineOption::integer("cache.coalescing.maxSubscribers", 10_000, 1..=1_000_000, |s| &mut s.cache.coalescing.max_subscribers)
        .variable("MLX_SERVING_COALESCING_MAX_SUBSCRIBERS")
        .text("The most readers of one generation. The next request starts another generation, which can be joined in turn."),
    EngineOption::switch("cache.dedup.enabled", true, |s| &mut s.cache.dedup.enabled)
        .variable("MLX_REQUEST_DEDUP_ENABLED")
        .text("Whether a request gets the answer of an identical one that has just ended."),
    EngineOption::millis("cache.dedup.ttlMs", 1_000.0, 1.0..=MAX_TTL_MS, |s| &mut s.cache.dedup.ttl)
        .variable("MLX_REQUEST_DEDUP_TTL_MS")
        .text("How long after its end an answer can be reused by `dedup`."),
    EngineOption::integer("cache.dedup.maxEntries", 1_000, 1..=MAX_ENTRIES, |s| &mut s.cache.dedup.max_entries)
        .variable("MLX_SERVING_DEDUP_MAX_ENTRIES")
        .text(
            "The most answers that are cached for `dedup` alone: those that are not reproducible, or all without a prompt cache. \
             The oldest is evicted first.",
        ),
    EngineOption::switch("cache.promptCache.enabled", true, |s| &mut s.cache.prompt_cache.enabled)
        .variable("MLX_PROMPT_CACHE_ENABLED")
        .text("Whether reproducible answers are cached. The least recently used one is evicted first."),
    EngineOption::millis("cache.promptCache.ttlMs", 300_000.0, 1.0..=MAX_TTL_MS, |s| &mut s.cache.prompt_cache.ttl)
        .variable("MLX_PROMPT_CACHE_TTL_MS")
        .text("How long after its end an answer can be reused."),
    EngineOption::integer("cache.promptCache.maxEntries", 10_000, 1..=MAX_ENTRIES, |s| &mut s.cache.prompt_cache.max_entries)
        .variable("MLX_PROMPT_CACHE_MAX_ENTRIES")
        .text("The most cached answers."),
    EngineOption::integer("cache.promptCache.maxTokens", 1_000_000, 1..=1 << 40, |s| &mut s.cache.prompt_cache.max_tokens)
        .variable("MLX_SERVING_PROMPT_CACHE_MAX_TOKENS")
        .text("The most tokens of all cached answers."),
    EngineOption::integer("cache.promptCache.maxBytes", 104_857_600, 1..=1 << 40, |s| &mut s.cache.prompt_cache.max_bytes)
        .variable("MLX_PROMPT_CACHE_MAX_BYTES")
        .text("The most bytes of all cached answers, including those that are cached for `dedup` alone."),
];

/// Pairs of options. The value of the first must not be above the value of the second.
pub(super) const NOT_ABOVE: [(&str, &str); 3] = [
    ("scheduler.autoTune.minBatch", "scheduler.autoTune.maxBatch"),
    ("scheduler.adaptiveWindow.lowMs", "scheduler.adaptiveWindow.mediumMs"),
    ("scheduler.adaptiveWindow.mediumMs", "scheduler.adaptiveWindow.highMs"),
];

/// A property of an options object.
#[derive(Debug)]
pub enum Member {
    /// An option with a value.
    Option(&'static EngineOption),
    /// An object with further options.
    Group,
}

/// Finds a property by its name in a group. The name of the outermost group is "".
pub fn find(group: &str, name: &str) -> Option<Member> {
    OPTIONS.iter().find_map(|option| match within(group, option)?.split_once('.') {
        None if within(group, option) == Some(name) => Some(Member::Option(option)),
        Some((first, _)) if first == name => Some(Member::Group),
        _ => None,
    })
}

/// The names of the options in a group, in the order of the table.
pub fn names_in(group: &str) -> Vec<&'static str> {
    let mut names: Vec<_> =
        OPTIONS.iter().filter_map(|option| within(group, option)).filter_map(|path| path.split('.').next()).collect();
    // Options of one group are adjacent in the table.
    names.dedup();
    names
}

/// The rest of an option's path, if the option is in that group.
fn within(group: &str, option: &EngineOption) -> Option<&'static str> {
    if group.is_empty() { Some(option.path) } else { option.path.strip_prefix(group)?.strip_prefix('.') }
}

impl Default for Cache {
    fn default() -> Self {
        Settings::default().cache
    }
}

/// The defaults of the table.
impl Default for Settings {
    fn default() -> Self {
        let (scheduler, memory, streaming) = Default::default();
        let mut settings = Self {
            preset: Preset::default(),
            precision: Precision::default(),
            scheduler,
            memory,
            streaming,
            cache: Cache::OFF,
        };
        for option in OPTIONS {
            let is_stored = option.default.is_none_or(|value| option.store(value, &mut settings));
            debug_assert!(is_stored, "{}: the option does not take its default", option.path);
        }
        settings
    }
}
