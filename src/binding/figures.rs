//! The engine's statistics as plain objects. `lib/native.ts` declares their types.

use std::collections::BTreeMap;

use napi_derive::napi;

use crate::engine::{CircuitState, MemoryUse, ModelKey, ModelStats, Refusals, Sample};
use crate::scheduler::{AdmissionRecord, Reason, Status, Tier};

use super::cache_figures::NativeCacheStats;
use super::crossing::ms;
use super::latency::{NativeLatency, NativeRates};
use super::memory_figures::NativeMemoryStats;
use super::prefix_figures::NativePrefixStats;
use super::worker_figures::NativeWorkerStats;

/// Counters of an engine.
#[napi(object)]
pub struct NativeStats {
    /// Requests submitted.
    pub submitted: f64,
    /// Requests accepted.
    pub requests: f64,
    /// Requests refused.
    pub rejected: NativeRefusals,
    /// Requests whose answers are complete.
    pub completed: f64,
    /// Requests cancelled, aborted or left.
    pub cancelled: f64,
    /// Requests that failed.
    pub failed: f64,
    /// Requests that failed or were refused, by the code of their error.
    pub errors: BTreeMap<String, f64>,
    /// Prompt tokens fed to the device.
    pub prompt_tokens: f64,
    /// Tokens generated.
    pub generated_tokens: f64,
    /// Steps run.
    pub steps: f64,
    /// Mean rows of a step.
    pub mean_batch: f64,
    /// Fewest rows of a step; 0 before the first.
    pub min_batch: f64,
    /// Most rows of a step.
    pub max_batch: f64,
    /// Percentiles of latencies.
    pub latency: NativeLatency,
    /// Tokens generated per second.
    pub tokens_per_second: NativeRates,
    /// Times a row was parked.
    pub parks: f64,
    /// Times the device was reset after a failure.
    pub recoveries: f64,
    /// Attempts of requests after failed steps.
    pub retries: f64,
    /// Times a circuit breaker opened.
    pub circuit_opened: f64,
    /// Requests that are being tokenized, or are on their way to the engine thread.
    pub preparing: f64,
    /// Requests that wait for a row.
    pub queued: f64,
    /// Requests with a row, parked ones included.
    pub running: f64,
    /// Requests that read the answer of another request.
    pub joined: f64,
    /// Parked requests.
    pub parked: f64,
    /// Bytes of KV in use.
    pub kv_bytes: f64,
    /// Memory in use.
    pub memory: NativeMemoryStats,
    /// Statistics of the answer cache.
    pub cache: NativeCacheStats,
    /// The engine threads.
    pub workers: Vec<NativeWorkerStats>,
    /// Statistics of each loaded model.
    pub models: Vec<NativeModelStats>,
    /// Indexes of scripted answers that were not used, if a simulated device has a list of them.
    pub unused_answers: Option<Vec<u32>>,
}

impl NativeStats {
    pub(super) fn new(sample: Sample, memory: MemoryUse) -> Self {
        let (stats, figures) = (sample.snapshot(), sample.figures());
        let Refusals { pending, wait, tokens, prompts, circuit } = stats.rejected;
        Self {
            submitted: stats.submitted as f64,
            requests: stats.requests as f64,
            rejected: NativeRefusals {
                pending: pending as f64,
                wait: wait as f64,
                tokens: tokens as f64,
                prompts: prompts as f64,
                circuit: circuit as f64,
            },
            completed: stats.completed as f64,
            cancelled: stats.cancelled as f64,
            failed: stats.failed as f64,
            errors: stats.errors.iter().map(|(code, count)| (code.as_str().to_owned(), count as f64)).collect(),
            prompt_tokens: stats.prompt_tokens as f64,
            generated_tokens: stats.generated_tokens as f64,
            steps: stats.steps as f64,
            mean_batch: stats.rows as f64 / (stats.steps.max(1)) as f64,
            min_batch: figures.batch.min().unwrap_or_default(),
            max_batch: figures.batch.max().unwrap_or_default(),
            latency: NativeLatency::from(&figures),
            tokens_per_second: NativeRates::new(&sample, &figures),
            parks: stats.parks as f64,
            recoveries: stats.recoveries as f64,
            retries: stats.retries as f64,
            circuit_opened: stats.circuit_opened as f64,
            preparing: stats.preparing as f64,
            queued: stats.queued as f64,
            running: stats.running as f64,
            joined: stats.joined as f64,
            parked: stats.parked as f64,
            kv_bytes: stats.kv_bytes as f64,
            memory: memory.into(),
            cache: NativeCacheStats::new(
                stats.answers,
                NativePrefixStats::new(stats.prefix, sample.misses),
                stats.disk,
            ),
            workers: sample.workers.iter().map(NativeWorkerStats::from).collect(),
            models: sample.models.into_iter().map(NativeModelStats::from).collect(),
            unused_answers: None,
        }
    }
}

/// Refusals by reason.
#[napi(object)]
pub struct NativeRefusals {
    /// Too many requests were pending.
    pub pending: f64,
    /// They would have waited for too long.
    pub wait: f64,
    /// Too many prompt tokens were pending.
    pub tokens: f64,
    /// Too many prompts waited for the tokenizer.
    pub prompts: f64,
    /// The circuit breaker of the model was open.
    pub circuit: f64,
}

/// Statistics of one model's scheduler.
#[napi(object)]
pub struct NativeModelStats {
    /// Addresses the model.
    pub key: u32,
    /// Requests that wait for a row.
    pub queued: u32,
    /// Requests with a row, parked ones included.
    pub running: u32,
    /// Parked requests.
    pub parked: u32,
    /// Bytes of KV in use.
    pub kv_bytes: f64,
    /// The batch limit.
    pub batch_limit: u32,
    /// Changes of the batch limit.
    pub batch_limit_changes: f64,
    /// How long an idle engine would wait for more requests.
    pub window_ms: f64,
    /// The tier of that window.
    pub window_tier: String,
    /// Changes of the tier.
    pub window_switches: f64,
    /// Samples of the queue depth.
    pub window_samples: f64,
    /// Admissions by reason.
    pub admissions: NativeAdmissions,
    /// The last admissions, oldest first.
    pub recent_admissions: Vec<NativeAdmission>,
    /// Preemptions: sequences that lost their KV and were recomputed later.
    pub preemptions: f64,
    /// Sequences that were set aside for a more urgent one.
    pub set_aside: f64,
    /// Attempts of requests after failed steps.
    pub retries: f64,
    /// The state of the circuit breaker.
    pub circuit: String,
    /// Measured times of steps that only decode.
    pub step_times: Vec<NativeStepTime>,
    /// Measured time that prompts add to a step.
    pub prefill_cost: Option<NativePrefillCost>,
    /// Steps collected.
    pub steps: f64,
    /// Processor time of the engine thread for these steps.
    pub engine_ms: f64,
    /// Time that the device was idle while there was work for it.
    pub device_idle_ms: f64,
    /// The longest of these times.
    pub longest_device_idle_ms: f64,
}

/// Admissions by reason.
#[napi(object)]
pub struct NativeAdmissions {
    /// The engine was idle and no other request waited.
    pub fast_path: f64,
    /// At a step border of a running batch.
    pub joined: f64,
    /// The engine was idle, and several requests waited.
    pub together: f64,
    /// As many requests waited as may run.
    pub full: f64,
    /// The window had passed.
    pub window: f64,
    /// The request was urgent.
    pub urgent: f64,
}

/// One admission.
#[napi(object)]
pub struct NativeAdmission {
    /// Its reason.
    pub reason: String,
    /// How long the request had waited.
    pub waited_ms: f64,
    /// How many requests waited, this one included.
    pub depth: u32,
    /// The tier of the window.
    pub tier: String,
}

/// The measured time of steps that only decode.
#[napi(object)]
pub struct NativeStepTime {
    /// Rows of the step.
    pub rows: f64,
    /// Milliseconds.
    pub ms: f64,
}

/// The measured time that prompts add to a step.
#[napi(object)]
pub struct NativePrefillCost {
    /// Milliseconds, whatever the number of tokens.
    pub fixed_ms: f64,
    /// Milliseconds for each token.
    pub per_token_ms: f64,
}

impl From<(ModelKey, ModelStats)> for NativeModelStats {
    fn from((key, stats): (ModelKey, ModelStats)) -> Self {
        let ModelStats { scheduler, kv_bytes, totals, recent, circuit, figures: _ } = stats;
        let Status { load, counters, prefix: _, batch_limit, window, tier, step_times, prefill_cost } = scheduler;
        Self {
            key: key.0,
            queued: count(load.num_queued),
            running: count(load.num_running),
            parked: count(load.num_parked),
            kv_bytes: kv_bytes as f64,
            batch_limit: count(batch_limit),
            batch_limit_changes: counters.limit_changes as f64,
            window_ms: ms(window),
            window_tier: tier_name(tier).into(),
            window_switches: counters.tier_switches as f64,
            window_samples: counters.tier_samples as f64,
            admissions: NativeAdmissions::from(counters.admissions),
            recent_admissions: recent.into_iter().map(NativeAdmission::from).collect(),
            preemptions: counters.preemptions as f64,
            set_aside: counters.set_aside as f64,
            retries: counters.retries as f64,
            circuit: circuit_name(circuit).into(),
            step_times: step_times.into_iter().map(|(rows, time)| NativeStepTime { rows, ms: ms(time) }).collect(),
            prefill_cost: prefill_cost
                .map(|(fixed, per_token)| NativePrefillCost { fixed_ms: ms(fixed), per_token_ms: ms(per_token) }),
            steps: totals.steps.steps as f64,
            engine_ms: ms(totals.engine),
            device_idle_ms: ms(totals.idle),
            longest_device_idle_ms: ms(totals.longest_idle),
        }
    }
}

impl From<[u64; Reason::ALL.len()]> for NativeAdmissions {
    fn from(counts: [u64; Reason::ALL.len()]) -> Self {
        let of = |reason: Reason| counts[reason as usize] as f64;
        Self {
            fast_path: of(Reason::FastPath),
            joined: of(Reason::Joined),
            together: of(Reason::Together),
            full: of(Reason::Full),
            window: of(Reason::Window),
            urgent: of(Reason::Urgent),
        }
    }
}

impl From<AdmissionRecord> for NativeAdmission {
    fn from(AdmissionRecord { reason, waited, depth, tier, .. }: AdmissionRecord) -> Self {
        let (reason, tier) = (reason_name(reason).into(), tier_name(tier).into());
        Self { reason, waited_ms: ms(waited), depth: count(depth), tier }
    }
}

/// The public names, which are also the fields of [`NativeAdmissions`].
fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::FastPath => "fastPath",
        Reason::Joined => "joined",
        Reason::Together => "together",
        Reason::Full => "full",
        Reason::Window => "window",
        Reason::Urgent => "urgent",
    }
}

fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Low => "low",
        Tier::Medium => "medium",
        Tier::High => "high",
    }
}

fn circuit_name(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::Open => "open",
        CircuitState::HalfOpen => "half-open",
    }
}

/// Queues and batches are far smaller than 2³².
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
