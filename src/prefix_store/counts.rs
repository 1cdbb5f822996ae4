//! What the disk tier has done.

/// Counts since the engine started, and what the folder holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskCounts {
    /// Requests that started with KV from the disk.
    pub num_hits: u64,
    /// Requests whose beginning is neither in memory nor on the disk.
    pub num_misses: u64,
    /// Requests whose beginning is on the disk, but is computed again because that is faster.
    pub num_skipped: u64,
    /// Prompt tokens whose KV was read from the disk and used.
    pub num_tokens_reused: u64,
    /// Blocks that were read.
    pub num_reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Blocks that were written.
    pub num_writes: u64,
    /// Their bytes.
    pub written_bytes: u64,
    /// Blocks that were removed because the folder was full.
    pub num_evictions: u64,
    /// Files that were damaged, and reads and writes that failed.
    pub num_errors: u64,
    /// Blocks in the folder.
    pub num_blocks: u64,
    /// Bytes of their files.
    pub num_bytes: u64,
}
