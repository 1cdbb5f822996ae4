//! The options table: all options, in the order in which users see them. Each default is stated here and nowhere else.

use super::option::EngineOption;
use super::option::Value::{Number, Switch};
use super::preset::Preset;
use super::settings::{Cache, Precision, Routing, Settings};
use crate::numbers::MAX_SAFE_INTEGER;

/// One week. Answers that must live longer belong in a database.
const MAX_TTL_MS: f64 = 7.0 * 24.0 * 3_600_000.0;
/// The most answers of one cache.
const MAX_ENTRIES: u64 = 1_000_000;

/// All options of an engine except `backend` and paths. Some options have an
/// established variable, such as `MLX_FAST_PATH`; the others have [`EngineOption::own_variable`].
pub const OPTIONS: &[EngineOption] = &[
    EngineOption::choice("preset", "balanced", &Preset::NAMES, |s, name| put(Preset::named(name), &mut s.preset))
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
    EngineOption::choice("precision", "auto", &Precision::NAMES, |s, name| put(Precision::named(name), &mut s.precision))
        .variable("MLX_SERVING_PRECISION")
        .text("The element type of computations. `'auto'` is float32 on a CPU, where half precision and quantized weights are slow; quantized weights are dequantized if that takes at most half of the memory. On a GPU `'auto'` is the model's own type. `'model'` is the model's own type everywhere."),
    EngineOption::bytes("memory.kvBytes", 1..=MAX_SAFE_INTEGER, |s| &mut s.memory.kv_bytes)
        .variable("MLX_SERVING_KV_BYTES")
        .text("Memory for the KV caches of all models, in bytes. By default what the weights leave of three quarters of the memory that the process may use, and at least one eighth of that memory. `engine.config()` shows the number."),
    EngineOption::bytes("memory.limitBytes", 1..=MAX_SAFE_INTEGER, |s| &mut s.memory.limit_bytes)
        .variable("MLX_SERVING_LIMIT_BYTES")
        .text("Memory that this engine may use for weights, KV caches and the rest, in bytes. By default, and at most, the memory of the machine or of the container. Set it where several engines or other programs share the memory."),
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
    EngineOption::switch("cache.prefixCache.enabled", true, |s| &mut s.cache.prefix_cache.enabled)
        .variable("MLX_SERVING_PREFIX_CACHE_ENABLED")
        .text("Whether requests reuse the KV of other requests whose prompts or answers begin with the same tokens, so that each turn of a chat only reads what is new. KV is kept in the memory of `memory.kvBytes` that running requests leave."),
    EngineOption::integer("cache.prefixCache.minTokens", 64, 1..=1 << 20, |s| &mut s.cache.prefix_cache.min_tokens)
        .variable("MLX_SERVING_PREFIX_CACHE_MIN_TOKENS")
        .text("The fewest tokens that are reused. Shorter beginnings are computed again."),
    EngineOption::integer("cache.prefixCache.maxTokens", 1_000_000, 1..=1 << 40, |s| &mut s.cache.prefix_cache.max_tokens)
        .variable("MLX_SERVING_PREFIX_CACHE_MAX_TOKENS")
        .text("The most tokens of each model whose KV is kept after their requests have ended. Usually `memory.kvBytes` is the lower limit."),
    EngineOption::integer("cache.prefixCache.maxPinnedPercent", 25, 0..=75, |s| &mut s.cache.prefix_cache.max_pinned_percent)
        .variable("MLX_SERVING_PREFIX_CACHE_MAX_PINNED_PERCENT")
        .text("The largest part of `memory.kvBytes` that the prompts of `cachePrompt` may take, in percent. Requests have the rest."),
    EngineOption::integer("cache.prefixCache.maxDiskBytes", 10_737_418_240, 0..=1 << 50, |s| &mut s.cache.prefix_cache.max_disk_bytes)
        .variable("MLX_SERVING_PREFIX_CACHE_MAX_DISK_BYTES")
        .text("The most bytes of KV in the folder `path`. What was not used for longest is removed first. 0 keeps nothing."),
    EngineOption::millis("modelLifecycle.idleUnloadMs", 300_000.0, 0.0..=MAX_TTL_MS, |s| &mut s.model_lifecycle.idle_unload)
        .variable("MLX_SERVING_IDLE_UNLOAD_MS")
        .text("How long a model stays loaded after its last request. The next request loads it again. 0 keeps it loaded, and so does `pinModel`."),
    EngineOption::switch("modelLifecycle.evict", true, |s| &mut s.model_lifecycle.evict)
        .variable("MLX_SERVING_EVICT")
        .text("Whether a load that does not fit unloads other models: the least recently used first, and none that is pinned or has work."),
    EngineOption::millis("modelLifecycle.drainMs", 30_000.0, 0.0..=3_600_000.0, |s| &mut s.model_lifecycle.drain)
        .variable("MLX_SERVING_DRAIN_MS")
        .text("How long `unloadModel` lets running requests go on, if the call does not say."),
    EngineOption::switch("modelLifecycle.warmup", false, |s| &mut s.model_lifecycle.warmup)
        .variable("MLX_SERVING_WARMUP")
        .text("Whether every load ends with a short request, so that the first one of a user does not wait for kernels to be compiled."),
    EngineOption::switch("modelLifecycle.prefetch.enabled", false, |s| &mut s.model_lifecycle.prefetch.enabled)
        .variable("MLX_SERVING_PREFETCH_ENABLED")
        .text("Whether an idle engine loads models that will probably be asked for next, as far as memory is free."),
    EngineOption::number("modelLifecycle.prefetch.minConfidence", 0.7, 0.5..=1.0, |s| &mut s.model_lifecycle.prefetch.min_confidence)
        .variable("MLX_SERVING_PREFETCH_MIN_CONFIDENCE")
        .text("The least share of the changes from the last model to this one, among all changes from that model, for which it is loaded ahead."),
    EngineOption::integer("modelLifecycle.prefetch.maxModels", 2, 1..=8, |s| &mut s.model_lifecycle.prefetch.max_models)
        .variable("MLX_SERVING_PREFETCH_MAX_MODELS")
        .text("The most models that are loaded ahead and have had no request since."),
    EngineOption::switch("retry.enabled", true, |s| &mut s.retry.enabled)
        .variable("MLX_SERVING_RETRY_ENABLED")
        .text("Whether a request whose step failed on the device runs again. Only before the first token of its answer: no caller gets a token twice."),
    EngineOption::integer("retry.maxAttempts", 3, 1..=10, |s| &mut s.retry.max_attempts)
        .variable("MLX_SERVING_RETRY_MAX_ATTEMPTS")
        .text("Attempts of a request, the first one included."),
    EngineOption::millis("retry.initialDelayMs", 100.0, 1.0..=5_000.0, |s| &mut s.retry.initial_delay)
        .variable("MLX_SERVING_RETRY_INITIAL_DELAY_MS")
        .text("The wait before the second attempt. It doubles with each further attempt, and is spread by 25 % so that requests that failed together do not come back together. At most `maxDelayMs`."),
    EngineOption::millis("retry.maxDelayMs", 5_000.0, 100.0..=600_000.0, |s| &mut s.retry.max_delay)
        .variable("MLX_SERVING_RETRY_MAX_DELAY_MS")
        .text("The longest wait before an attempt, before it is spread."),
    EngineOption::switch("circuitBreaker.enabled", true, |s| &mut s.circuit_breaker.enabled)
        .variable("MLX_SERVING_CIRCUIT_BREAKER_ENABLED")
        .text("Whether a model whose device keeps failing refuses requests with `CircuitOpen` for a while, instead of failing them one by one."),
    EngineOption::integer("circuitBreaker.failures", 5, 1..=1_000, |s| &mut s.circuit_breaker.failures)
        .variable("MLX_SERVING_CIRCUIT_BREAKER_FAILURES")
        .text("The breaker opens after this many failed steps that ended requests with an error, without a complete answer between them."),
    EngineOption::millis("circuitBreaker.windowMs", 60_000.0, 1.0..=3_600_000.0, |s| &mut s.circuit_breaker.window)
        .variable("MLX_SERVING_CIRCUIT_BREAKER_WINDOW_MS")
        .text("Failures count for this long."),
    EngineOption::millis("circuitBreaker.openMs", 10_000.0, 1.0..=600_000.0, |s| &mut s.circuit_breaker.open)
        .variable("MLX_SERVING_CIRCUIT_BREAKER_OPEN_MS")
        .text("How long an open breaker refuses requests. Then the next step decides: it closes the breaker if it runs, and opens it again if it fails."),
    EngineOption::switch("metrics.export", true, |s| &mut s.metrics.export)
        .variable("MLX_METRICS_EXPORT")
        .latency(Switch(false))
        .text("Whether `engine.metrics()` has the metrics. `engine.stats()` has its figures in any case."),
    EngineOption::millis("health.stuckAfterMs", 10_000.0, 100.0..=3_600_000.0, |s| &mut s.health.stuck_after)
        .variable("MLX_SERVING_HEALTH_STUCK_AFTER_MS")
        .text("`engine.health()` reports a step of the device as stuck when it takes longer than this, and more than ten times as long as steps like it took before."),
    EngineOption::integer("workers.count", 1, 1..=8, |s| &mut s.workers.count)
        .variable("MLX_WORKER_COUNT")
        .text("Engine threads. Each runs every model, with the weights in common and an equal share of the memory for KV. One thread batches all requests, so it is the fastest on one device; with several, a thread that fails or hangs stops only its own requests."),
    EngineOption::choice("workers.routing", "least-busy", &Routing::NAMES, |s, name| put(Routing::named(name), &mut s.workers.routing))
        .variable("MLX_SERVING_WORKERS_ROUTING")
        .text("Which worker gets a request: the one with the fewest pending requests, or each in turn."),
    EngineOption::switch("workers.sticky", true, |s| &mut s.workers.sticky)
        .variable("MLX_SERVING_WORKERS_STICKY")
        .text("Whether a request goes to the worker that has read the beginning of its prompt before, if that worker has at most one pending request more than the others."),
    EngineOption::switch("workers.replaceStuck", true, |s| &mut s.workers.replace_stuck)
        .variable("MLX_SERVING_WORKERS_REPLACE_STUCK")
        .text("Whether a worker whose step is stuck (`health.stuckAfterMs`) is replaced. Its requests run again if nothing of their answers was delivered; the others fail."),
];

/// Stores a value, if there is one. Returns whether there is.
fn put<T>(value: Option<T>, field: &mut T) -> bool {
    value.map(|value| *field = value).is_some()
}

/// Pairs of options. The value of the first must not be above the value of the second.
pub(super) const NOT_ABOVE: [(&str, &str); 4] = [
    ("retry.initialDelayMs", "retry.maxDelayMs"),
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
        let (scheduler, memory, streaming, model_lifecycle, retry, circuit_breaker) = Default::default();
        let (metrics, health, workers) = Default::default();
        let mut settings = Self {
            preset: Preset::default(),
            precision: Precision::default(),
            scheduler,
            memory,
            streaming,
            cache: Cache::OFF,
            model_lifecycle,
            retry,
            circuit_breaker,
            metrics,
            health,
            workers,
        };
        for option in OPTIONS {
            let is_stored = option.default.is_none_or(|value| option.store(value, &mut settings));
            debug_assert!(is_stored, "{}: the option does not take its default", option.path);
        }
        settings
    }
}
