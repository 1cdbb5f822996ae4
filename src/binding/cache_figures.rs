//! The statistics of the caches as plain objects. `lib/native.ts` declares their types.

use napi_derive::napi;

use crate::answers::{Counts, LayerCounts};
use crate::prefix_store::DiskCounts;

use super::prefix_figures::NativePrefixStats;

/// Look-ups in one layer of the answer cache.
#[napi(object)]
pub struct NativeLayerStats {
    /// Look-ups that found an answer.
    pub hits: f64,
    /// Look-ups that found none.
    pub misses: f64,
}

/// Statistics of the answer cache.
#[napi(object)]
pub struct NativeCacheStats {
    /// Answers that are being generated.
    pub coalescing: NativeLayerStats,
    /// Answers that have just ended.
    pub dedup: NativeLayerStats,
    /// Cached answers.
    pub prompt_cache: NativeLayerStats,
    /// Reuse of KV by requests with a common prefix.
    pub prefix: NativePrefixStats,
    /// The disk tier of the prefix cache, if there is one.
    pub disk: Option<NativeDiskStats>,
    /// The share of the shareable requests that got the answer of another request.
    pub shared_ratio: f64,
    /// Cached answers.
    pub entries: f64,
    /// Tokens of the cached answers.
    pub tokens: f64,
    /// Bytes of the cached answers.
    pub bytes: f64,
}

impl From<LayerCounts> for NativeLayerStats {
    fn from(LayerCounts { hits, misses }: LayerCounts) -> Self {
        Self { hits: hits as f64, misses: misses as f64 }
    }
}

impl NativeCacheStats {
    pub(super) fn new(counts: Counts, prefix: NativePrefixStats, disk: Option<DiskCounts>) -> Self {
        Self {
            coalescing: counts.coalescing.into(),
            dedup: counts.dedup.into(),
            prompt_cache: counts.prompt_cache.into(),
            prefix,
            disk: disk.map(NativeDiskStats::from),
            shared_ratio: counts.shared_ratio(),
            entries: counts.num_entries as f64,
            tokens: counts.num_tokens as f64,
            bytes: counts.num_bytes as f64,
        }
    }
}

/// The disk tier of the prefix cache.
#[napi(object)]
pub struct NativeDiskStats {
    /// Requests that started with KV from the disk.
    pub hits: f64,
    /// Requests whose beginning is neither in memory nor on the disk.
    pub misses: f64,
    /// Requests whose prefix is on the disk but was computed again: that was faster, or too many reads were running.
    pub skipped: f64,
    /// Prompt tokens whose KV was read and used.
    pub tokens_reused: f64,
    /// Blocks that were read.
    pub reads: f64,
    /// Their bytes.
    pub read_bytes: f64,
    /// Blocks that were written.
    pub writes: f64,
    /// Their bytes.
    pub written_bytes: f64,
    /// Blocks that were removed because the folder was full.
    pub evictions: f64,
    /// Damaged files, and reads and writes that failed.
    pub errors: f64,
    /// Blocks in the folder.
    pub blocks: f64,
    /// Bytes of their files.
    pub bytes: f64,
}

impl From<DiskCounts> for NativeDiskStats {
    fn from(counts: DiskCounts) -> Self {
        let DiskCounts { num_hits, num_misses, num_skipped, num_tokens_reused, num_reads, read_bytes, .. } = counts;
        let DiskCounts { num_writes, written_bytes, num_evictions, num_errors, num_blocks, num_bytes, .. } = counts;
        Self {
            hits: num_hits as f64,
            misses: num_misses as f64,
            skipped: num_skipped as f64,
            tokens_reused: num_tokens_reused as f64,
            reads: num_reads as f64,
            read_bytes: read_bytes as f64,
            writes: num_writes as f64,
            written_bytes: written_bytes as f64,
            evictions: num_evictions as f64,
            errors: num_errors as f64,
            blocks: num_blocks as f64,
            bytes: num_bytes as f64,
        }
    }
}
