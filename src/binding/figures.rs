//! The engine's figures as plain objects. The shapes are those of `lib/native.ts`.

use napi_derive::napi;

use crate::answers::{Counts, LayerCounts};
use crate::engine::{ModelKey, ModelStats, Refusals, Snapshot};
use crate::scheduler::{AdmissionRecord, Reason, Status, Tier};

use super::crossing::ms;

/// Counters of an engine.
#[napi(object)]
pub struct NativeStats {
    /// Requests that came.
    pub submitted: f64,
    /// Requests accepted.
    pub requests: f64,
    /// Requests refused.
    pub rejected: NativeRefusals,
    /// Finished by themselves.
    pub completed: f64,
    /// Cancelled or abandoned.
    pub cancelled: f64,
    /// Ended with an error.
    pub failed: f64,
    /// Prompt tokens fed to the device.
    pub prompt_tokens: f64,
    /// Tokens generated.
    pub generated_tokens: f64,
    /// Steps run.
    pub steps: f64,
    /// Mean rows of a step.
    pub mean_batch: f64,
    /// Times a row was parked.
    pub parks: f64,
    /// Times the device was reset after a failure.
    pub recoveries: f64,
    /// Requests that are being tokenized, or on the way to the engine thread.
    pub preparing: f64,
    /// Requests that wait for a row.
    pub queued: f64,
    /// Requests on the device.
    pub running: f64,
    /// Requests that read the answer of another one.
    pub joined: f64,
    /// Of those on the device, parked ones.
    pub parked: f64,
    /// Bytes of KV held.
    pub kv_bytes: f64,
    /// What sharing answers brought.
    pub cache: NativeCacheStats,
    /// How the scheduling of each loaded model stands.
    pub models: Vec<NativeModelStats>,
}

impl NativeStats {
    pub(super) fn new(stats: Snapshot, models: Vec<(ModelKey, ModelStats)>) -> Self {
        let Refusals { queue, tokens, prompts } = stats.rejected;
        Self {
            submitted: stats.submitted as f64,
            requests: stats.requests as f64,
            rejected: NativeRefusals { queue: queue as f64, tokens: tokens as f64, prompts: prompts as f64 },
            completed: stats.completed as f64,
            cancelled: stats.cancelled as f64,
            failed: stats.failed as f64,
            prompt_tokens: stats.prompt_tokens as f64,
            generated_tokens: stats.generated_tokens as f64,
            steps: stats.steps as f64,
            mean_batch: stats.rows as f64 / (stats.steps.max(1)) as f64,
            parks: stats.parks as f64,
            recoveries: stats.recoveries as f64,
            preparing: stats.preparing as f64,
            queued: stats.queued as f64,
            running: stats.running as f64,
            joined: stats.joined as f64,
            parked: stats.parked as f64,
            kv_bytes: stats.kv_bytes as f64,
            cache: stats.answers.into(),
            models: models.into_iter().map(NativeModelStats::from).collect(),
        }
    }
}

/// Refusals by reason.
#[napi(object)]
pub struct NativeRefusals {
    /// Too many requests were pending.
    pub queue: f64,
    /// Too many prompt tokens were pending.
    pub tokens: f64,
    /// Too many prompts waited for the tokenizer.
    pub prompts: f64,
}

/// How often a lifetime of answers was asked.
#[napi(object)]
pub struct NativeLayerStats {
    /// It had the answer.
    pub hits: f64,
    /// It had not.
    pub misses: f64,
}

/// What sharing answers brought.
#[napi(object)]
pub struct NativeCacheStats {
    /// Of answers that are being computed.
    pub coalescing: NativeLayerStats,
    /// Of answers that have just ended.
    pub dedup: NativeLayerStats,
    /// Of answers that are kept.
    pub prompt_cache: NativeLayerStats,
    /// Of the requests that could share, those that did.
    pub dedupe_ratio: f64,
    /// Answers kept.
    pub entries: f64,
    /// Their tokens.
    pub tokens: f64,
    /// Their bytes.
    pub bytes: f64,
}

impl From<LayerCounts> for NativeLayerStats {
    fn from(LayerCounts { hits, misses }: LayerCounts) -> Self {
        Self { hits: hits as f64, misses: misses as f64 }
    }
}

impl From<Counts> for NativeCacheStats {
    fn from(counts: Counts) -> Self {
        Self {
            coalescing: counts.coalescing.into(),
            dedup: counts.dedup.into(),
            prompt_cache: counts.prompt_cache.into(),
            dedupe_ratio: counts.num_shared() as f64 / counts.num_sharing.max(1) as f64,
            entries: counts.num_entries as f64,
            tokens: counts.num_tokens as f64,
            bytes: counts.num_bytes as f64,
        }
    }
}

/// How the scheduling of one model stands.
#[napi(object)]
pub struct NativeModelStats {
    /// Addresses the model.
    pub key: u32,
    /// Requests that wait for a row.
    pub queued: u32,
    /// Requests that have one.
    pub running: u32,
    /// Of these, parked ones.
    pub parked: u32,
    /// Bytes of KV held.
    pub kv_bytes: f64,
    /// Sequences that may run together now.
    pub batch_limit: u32,
    /// Times that limit moved.
    pub batch_limit_changes: f64,
    /// How long an idle engine would wait for company.
    pub window_ms: f64,
    /// Which of the three windows that is.
    pub window_tier: String,
    /// Times the tier changed.
    pub window_switches: f64,
    /// Samples of the queue depth.
    pub window_samples: f64,
    /// Admissions by reason.
    pub admissions: NativeAdmissions,
    /// The last admissions, oldest first.
    pub recent_admissions: Vec<NativeAdmission>,
    /// Sequences that gave their KV back and were computed again.
    pub preemptions: f64,
    /// Times a sequence was set aside for a more urgent one.
    pub set_aside: f64,
    /// Measured time of steps that only decode.
    pub step_times: Vec<NativeStepTime>,
    /// What prompts add to a step.
    pub prefill_cost: Option<NativePrefillCost>,
    /// Steps collected.
    pub steps: f64,
    /// Processor time that the engine thread itself used for them.
    pub engine_ms: f64,
    /// How long the device stood still with work waiting.
    pub device_idle_ms: f64,
    /// The longest of these times.
    pub longest_device_idle_ms: f64,
}

/// Admissions by reason.
#[napi(object)]
pub struct NativeAdmissions {
    /// Idle, alone, at once.
    pub fast_path: f64,
    /// At a step border of a running batch.
    pub joined: f64,
    /// Idle, with others who waited as well.
    pub together: f64,
    /// As many as may run.
    pub full: f64,
    /// After the window.
    pub window: f64,
    /// Urgent.
    pub urgent: f64,
}

/// Why and when one request was admitted.
#[napi(object)]
pub struct NativeAdmission {
    /// Why then.
    pub reason: String,
    /// How long it had waited.
    pub waited_ms: f64,
    /// How many waited, itself included.
    pub depth: u32,
    /// The window's tier.
    pub tier: String,
}

/// A decode step.
#[napi(object)]
pub struct NativeStepTime {
    /// Its rows.
    pub rows: f64,
    /// What it takes.
    pub ms: f64,
}

/// What prompts add to a step.
#[napi(object)]
pub struct NativePrefillCost {
    /// However many tokens there are.
    pub fixed_ms: f64,
    /// For each token.
    pub per_token_ms: f64,
}

impl From<(ModelKey, ModelStats)> for NativeModelStats {
    fn from((key, stats): (ModelKey, ModelStats)) -> Self {
        let ModelStats { scheduler, kv_bytes, totals, recent } = stats;
        let Status { load, counters, batch_limit, window, tier, step_times, prefill_cost } = scheduler;
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
            step_times: step_times.into_iter().map(|(rows, time)| NativeStepTime { rows, ms: ms(time) }).collect(),
            prefill_cost: prefill_cost
                .map(|(fixed, per_token)| NativePrefillCost { fixed_ms: ms(fixed), per_token_ms: ms(per_token) }),
            steps: totals.steps as f64,
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

/// The names users see; they are those of [`NativeAdmissions`] as well.
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

/// Queues and batches are bounded far below.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
