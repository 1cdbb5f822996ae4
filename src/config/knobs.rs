//! The table. Its order is the one in which users see the knobs.

use super::knob::Knob;
use super::knob::Value::{Number, Switch};

/// Numbers up to here survive the way through JavaScript unchanged.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A week: what is to be kept for longer belongs into a database.
const MAX_TTL_MS: f64 = 7.0 * 24.0 * 3_600_000.0;
/// Answers that one cache can hold.
const MAX_ENTRIES: u64 = 1_000_000;

/// Everything that can be set about an engine, apart from what runs it.
pub const KNOBS: &[Knob] = &[
    Knob::switch("scheduler.enabled", true, |s| &mut s.scheduler.enabled)
        .variable("MLX_GPU_SCHEDULER")
        .text("Whether generations share steps. Off, they run one at a time: the baseline to measure against."),
    Knob::millis("scheduler.windowMs", 1.0, 0.5..=5.0, |s| &mut s.scheduler.window)
        .variable("MLX_GPU_SCHEDULER_WINDOW_MS")
        .latency(Number(0.75))
        .throughput(Number(2.0))
        .text("How long an idle engine waits for company, while the adaptive window is off."),
    Knob::integer("scheduler.batchSize", 4, 1..=64, |s| &mut s.scheduler.batch_size)
        .variable("MLX_GPU_SCHEDULER_BATCH_SIZE")
        .latency(Number(2.0))
        .throughput(Number(8.0))
        .text("Generations decoded together in one step of the model; with auto-tune, to begin with."),
    Knob::millis("scheduler.p99ThresholdMs", 100.0, 50.0..=500.0, |s| &mut s.scheduler.p99_threshold)
        .variable("MLX_GPU_SCHEDULER_P99_THRESHOLD_MS")
        .text("How long a step may take: auto-tune chooses no batch with longer steps if a smaller one is there."),
    Knob::switch("scheduler.fastPath", true, |s| &mut s.scheduler.fast_path)
        .variable("MLX_FAST_PATH")
        .text("Whether a request that finds the engine idle and nobody waiting runs at once, without a window."),
    Knob::switch("scheduler.adaptiveWindow.enabled", true, |s| &mut s.scheduler.adaptive_window.enabled)
        .variable("MLX_ADAPTIVE_WINDOW")
        .latency(Switch(false))
        .text("Whether the window follows the depth of the queue, and opens only if arrivals cluster."),
    Knob::millis("scheduler.adaptiveWindow.lowMs", 0.75, 0.5..=2.0, |s| &mut s.scheduler.adaptive_window.low)
        .variable("MLX_ADAPTIVE_WINDOW_LOW_MS")
        .text("The window at a depth of 1 or less; at most `mediumMs`."),
    Knob::millis("scheduler.adaptiveWindow.mediumMs", 1.0, 0.75..=3.0, |s| &mut s.scheduler.adaptive_window.medium)
        .variable("MLX_ADAPTIVE_WINDOW_MEDIUM_MS")
        .text("The window at a depth in between; at most `highMs`."),
    Knob::millis("scheduler.adaptiveWindow.highMs", 2.0, 1.0..=5.0, |s| &mut s.scheduler.adaptive_window.high)
        .variable("MLX_ADAPTIVE_WINDOW_HIGH_MS")
        .text("The window at a depth of more than 5."),
    Knob::integer("scheduler.adaptiveWindow.hysteresis", 3, 1..=10, |s| &mut s.scheduler.adaptive_window.hysteresis)
        .variable("MLX_ADAPTIVE_WINDOW_HYSTERESIS")
        .text("Samples of the depth in a row that must ask for another window before it changes."),
    Knob::number("scheduler.adaptiveWindow.emaAlpha", 0.5, 0.1..=0.9, |s| &mut s.scheduler.adaptive_window.ema_alpha)
        .variable("MLX_ADAPTIVE_WINDOW_EMA_ALPHA")
        .text("Weight of a new sample in the average of the depth."),
    Knob::switch("scheduler.autoTune.enabled", true, |s| &mut s.scheduler.auto_tune.enabled)
        .variable("MLX_AUTO_TUNE")
        .latency(Switch(false))
        .text("Whether the size of batches follows the measured time of steps, from `batchSize` on."),
    Knob::integer("scheduler.autoTune.minBatch", 2, 1..=8, |s| &mut s.scheduler.auto_tune.min_batch)
        .variable("MLX_AUTO_TUNE_MIN_BATCH")
        .text("The smallest batch it may choose; at most `maxBatch`."),
    Knob::integer("scheduler.autoTune.maxBatch", 32, 4..=64, |s| &mut s.scheduler.auto_tune.max_batch)
        .variable("MLX_AUTO_TUNE_MAX_BATCH")
        .text("The largest batch it may choose, or `batchSize` if that is more. From 10 to 32, rows cost the same on Apple GPUs."),
    Knob::number("scheduler.autoTune.emaAlpha", 0.3, 0.1..=0.9, |s| &mut s.scheduler.auto_tune.ema_alpha)
        .variable("MLX_AUTO_TUNE_EMA_ALPHA")
        .text("Weight of a new sample in the average of step times."),
    Knob::integer("scheduler.autoTune.interval", 10, 5..=20, |s| &mut s.scheduler.auto_tune.interval)
        .variable("MLX_AUTO_TUNE_INTERVAL")
        .text("Steps between two changes."),
    Knob::integer("scheduler.maxQueue", 1_024, 1..=1_000_000, |s| &mut s.scheduler.max_queue)
        .text("Generations pending at once, waiting and running. One more is refused with `OverloadedError`."),
    Knob::integer("scheduler.maxQueueTokens", 4_194_304, 1..=1 << 40, |s| &mut s.scheduler.max_queue_tokens)
        .text("Prompt tokens of all pending generations. Beyond it `OverloadedError` refuses all but a lone one."),
    Knob::integer("scheduler.prefillChunkTokens", 512, 1..=65_536, |s| &mut s.scheduler.prefill_chunk_tokens)
        .text("Prompt tokens of one step while no stream is running."),
    Knob::number("scheduler.interTokenStretch", 2.0, 1.0..=100.0, |s| &mut s.scheduler.inter_token_stretch)
        .text("A step that also reads prompts takes at most so many times a step without, if chunks can help."),
    Knob::millis("scheduler.ageingMs", 5_000.0, 1.0..=3_600_000.0, |s| &mut s.scheduler.ageing)
        .text("Once a request of a lower priority has waited so long, its priority gets a fifth of the tokens, so that none waits for ever."),
    Knob::switch("scheduler.deterministic", false, |s| &mut s.scheduler.deterministic)
        .text("Whether an answer must be the same to the last bit whatever else is running. Tested on the CPU, where it costs nothing for models that run on the engine's own attention in float32; elsewhere each row attends by itself, and products cost most where few generations run. On a GPU attention may still round differently."),
    Knob::precision("precision", "auto", |s| &mut s.precision)
        .variable("MLX_SERVING_PRECISION")
        .text("What models are computed in. `'auto'` is float32 on a CPU, where half precision and quantized weights are slow; quantized weights are dequantized if that takes at most half of the memory. On a GPU it is the model's own type, as `'model'` is everywhere."),
    Knob::bytes("memory.kvBytes", 1..=MAX_SAFE_INTEGER, |s| &mut s.memory.kv_bytes)
        .text("Memory for the KV caches of all models; without it, what their weights leave of the memory."),
    Knob::integer("streaming.bufferTokens", 256, 3..=65_536, |s| &mut s.streaming.buffer_tokens).text(
        "Tokens a stream may be ahead of its reader. Then it is parked: it keeps its memory, but takes no steps.",
    ),
    Knob::millis("streaming.parkTimeoutMs", 60_000.0, 1.0..=MAX_SAFE_INTEGER as f64, |s| &mut s.streaming.park_timeout)
        .text("How long a parked generation waits for its reader before it ends with `SlowConsumerError`."),
    Knob::switch("cache.coalescing.enabled", true, |s| &mut s.cache.coalescing.enabled)
        .variable("MLX_REQUEST_COALESCING_ENABLED")
        .text("Whether a request joins an identical one that is running: it gets the answer from its beginning."),
    Knob::integer("cache.coalescing.maxSubscribers", 10_000, 1..=1_000_000, |s| &mut s.cache.coalescing.max_subscribers)
        .text("Readers of one generation; the one after them starts another, which can be joined in turn."),
    Knob::switch("cache.dedup.enabled", true, |s| &mut s.cache.dedup.enabled)
        .variable("MLX_REQUEST_DEDUP_ENABLED")
        .text("Whether a request that repeats one which has just ended gets its answer."),
    Knob::millis("cache.dedup.ttlMs", 1_000.0, 1.0..=MAX_TTL_MS, |s| &mut s.cache.dedup.ttl)
        .variable("MLX_REQUEST_DEDUP_TTL_MS")
        .text("How long after its end an answer counts as one that has just ended."),
    Knob::integer("cache.dedup.maxEntries", 1_000, 1..=MAX_ENTRIES, |s| &mut s.cache.dedup.max_entries)
        .text(
            "Answers that are kept for that time alone, because they are not reproducible or there is no prompt cache. \
             The oldest goes first.",
        ),
    Knob::switch("cache.promptCache.enabled", true, |s| &mut s.cache.prompt_cache.enabled)
        .variable("MLX_PROMPT_CACHE_ENABLED")
        .text("Whether reproducible answers are kept. The one that nobody asked for the longest goes first."),
    Knob::millis("cache.promptCache.ttlMs", 300_000.0, 1.0..=MAX_TTL_MS, |s| &mut s.cache.prompt_cache.ttl)
        .variable("MLX_PROMPT_CACHE_TTL_MS")
        .text("How long after its end an answer may be given again."),
    Knob::integer("cache.promptCache.maxEntries", 10_000, 1..=MAX_ENTRIES, |s| &mut s.cache.prompt_cache.max_entries)
        .variable("MLX_PROMPT_CACHE_MAX_ENTRIES")
        .text("Answers kept."),
    Knob::integer("cache.promptCache.maxTokens", 1_000_000, 1..=1 << 40, |s| &mut s.cache.prompt_cache.max_tokens)
        .text("Tokens of all answers that are kept."),
    Knob::integer("cache.promptCache.maxBytes", 104_857_600, 1..=1 << 40, |s| &mut s.cache.prompt_cache.max_bytes)
        .variable("MLX_PROMPT_CACHE_MAX_BYTES")
        .text("Bytes of all answers that are kept, also of those kept for the time of `dedup` alone."),
];

/// Pairs of knobs of which the first must not be above the second.
pub(super) const NOT_ABOVE: [(&str, &str); 3] = [
    ("scheduler.autoTune.minBatch", "scheduler.autoTune.maxBatch"),
    ("scheduler.adaptiveWindow.lowMs", "scheduler.adaptiveWindow.mediumMs"),
    ("scheduler.adaptiveWindow.mediumMs", "scheduler.adaptiveWindow.highMs"),
];

/// What an option may be.
#[derive(Debug)]
pub enum Member {
    /// A value.
    Knob(&'static Knob),
    /// An object with further options.
    Group,
}

/// What is called so in a group; the outermost group is called "".
pub fn find(group: &str, name: &str) -> Option<Member> {
    KNOBS.iter().find_map(|knob| match within(group, knob)?.split_once('.') {
        None if within(group, knob) == Some(name) => Some(Member::Knob(knob)),
        Some((first, _)) if first == name => Some(Member::Group),
        _ => None,
    })
}

/// The names of the options in a group, in the order of the table.
pub fn names_in(group: &str) -> Vec<&'static str> {
    let mut names: Vec<_> =
        KNOBS.iter().filter_map(|knob| within(group, knob)).filter_map(|path| path.split('.').next()).collect();
    // Those of one group stand together.
    names.dedup();
    names
}

/// The rest of a knob's path, where it is in that group.
fn within(group: &str, knob: &Knob) -> Option<&'static str> {
    if group.is_empty() { Some(knob.path) } else { knob.path.strip_prefix(group)?.strip_prefix('.') }
}
