//! The statistics of the prefix cache as plain objects. `lib/native.ts` declares their types.

use napi_derive::napi;

use crate::engine::PrefixMiss;
use crate::scheduler::{Miss, MissRecord, PrefixCounters};

/// Reuse of KV between requests.
#[napi(object)]
pub struct NativePrefixStats {
    /// Requests that started with KV of another request.
    pub hits: f64,
    /// Requests that did not, by reason.
    pub misses: NativePrefixMisses,
    /// Prompt tokens whose KV was reused.
    pub tokens_reused: f64,
    /// Prompt tokens that were computed for the hits, and for the misses except `disabled`.
    pub tokens_computed: f64,
    /// Prefixes that were dropped because the limit of tokens was reached or memory was needed.
    pub evictions: f64,
    /// Prefixes that are kept.
    pub entries: f64,
    /// Their tokens.
    pub tokens: f64,
    /// Bytes of their KV.
    pub bytes: f64,
    /// The part of them that is pinned.
    pub pinned: NativePinStats,
    /// The last misses, oldest first.
    pub recent_misses: Vec<NativePrefixMiss>,
}

/// Pinned prompts.
#[napi(object)]
pub struct NativePinStats {
    /// Their number.
    pub prompts: f64,
    /// Their tokens; those of equal prompts count once.
    pub tokens: f64,
    /// Bytes of their KV.
    pub bytes: f64,
}

/// A request that found no prefix.
#[napi(object)]
pub struct NativePrefixMiss {
    /// The name of the request.
    pub request_id: String,
    /// The id of its model.
    pub model: String,
    /// Why it found none.
    pub reason: String,
    /// The most tokens with which its prompt and another one begin.
    pub matched_tokens: f64,
    /// Tokens of its prompt.
    pub prompt_tokens: f64,
}

/// Requests that found no prefix, by reason.
#[napi(object)]
pub struct NativePrefixMisses {
    /// The prompt is too short.
    pub short: f64,
    /// No prompt began with the same token.
    pub new: f64,
    /// The prompt differs from all others too early.
    pub diverged: f64,
    /// Only requests with another salt begin alike.
    pub salt: f64,
    /// The prefix was dropped.
    pub evicted: f64,
    /// Positions have left a sliding window.
    pub window: f64,
    /// The prefix cache is off.
    pub disabled: f64,
}

impl From<PrefixMiss> for NativePrefixMiss {
    fn from(PrefixMiss { model, request, record }: PrefixMiss) -> Self {
        let MissRecord { sequence: _, reason, num_matched, num_prompt } = record;
        Self {
            request_id: request.0.to_string(),
            model: model.to_string(),
            reason: reason.as_str().to_owned(),
            matched_tokens: num_matched as f64,
            prompt_tokens: num_prompt as f64,
        }
    }
}

impl NativePrefixStats {
    pub(super) fn new(counters: PrefixCounters, recent: Vec<PrefixMiss>) -> Self {
        let PrefixCounters {
            num_hits,
            misses,
            num_tokens_reused,
            num_tokens_computed,
            num_evictions,
            num_entries,
            num_tokens,
            num_bytes,
            num_pins,
            num_pinned_tokens,
            num_pinned_bytes,
        } = counters;
        let of = |miss: Miss| misses[miss as usize] as f64;
        Self {
            hits: num_hits as f64,
            misses: NativePrefixMisses {
                short: of(Miss::Short),
                new: of(Miss::New),
                diverged: of(Miss::Diverged),
                salt: of(Miss::Salt),
                evicted: of(Miss::Evicted),
                window: of(Miss::Window),
                disabled: of(Miss::Disabled),
            },
            tokens_reused: num_tokens_reused as f64,
            tokens_computed: num_tokens_computed as f64,
            evictions: num_evictions as f64,
            entries: num_entries as f64,
            tokens: num_tokens as f64,
            bytes: num_bytes as f64,
            pinned: NativePinStats {
                prompts: num_pins as f64,
                tokens: num_pinned_tokens as f64,
                bytes: num_pinned_bytes as f64,
            },
            recent_misses: recent.into_iter().map(NativePrefixMiss::from).collect(),
        }
    }
}
