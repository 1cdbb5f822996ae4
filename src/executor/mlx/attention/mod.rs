//! Attention and its KV: the only part of a step that depends on sequences and positions. One trait has two
//! implementations: `composed` of MLX's operations for every device and type, and `fused` for float32 on the CPU.

mod composed;
mod fused;
mod host;
pub(super) mod kinds;
mod layer_pool;
mod layout;
pub(super) mod pool;
mod rope;
mod scores;
#[cfg(test)]
mod tests;

pub(super) use composed::Composed;
pub(super) use fused::{Fused, FusedLayers, can_fuse};
pub(super) use layout::Grouping;

use mlx_ops::Chain;
use mlx_rs::Array;

use super::failure::Mlx;
use crate::executor::{KV_BLOCK, KvUnit};
use crate::host_kv::{KvBlock, KvLayout};
use crate::request::SequenceId;

/// Divisor: this part of the memory for KV may be slots without a sequence.
const SPARE_SHARE: u64 = 16;

/// The tokens of one sequence in a step's packed matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Index among the rows of the plan.
    pub(super) row: usize,
    pub(super) sequence: SequenceId,
    /// Position of the first token in the sequence. KV of all earlier positions exists.
    pub(super) start: i32,
    /// Number of tokens; at least 1.
    pub(super) len: i32,
    /// Index of the first row in the packed matrix.
    pub(super) offset: i32,
    /// Whether a token is sampled after the span. Evaluating that token evaluates the span's KV.
    pub(super) sampled: bool,
}

/// Weights of the RMS norms over each head of queries and keys, [head dim] each.
pub(super) struct QkNorm {
    pub(super) queries: Array,
    pub(super) keys: Array,
}

/// Physical KV of all sequences, and attention over it. Callers check every span before.
pub(super) trait Attention {
    /// Adds a sequence, which never has more than `max_positions` positions.
    fn admit(&mut self, sequence: SequenceId, max_positions: i32) -> Mlx<()>;

    /// Copies the first `num_positions` of a sequence to one without KV.
    fn copy(&mut self, from: SequenceId, num_positions: i32, to: SequenceId) -> Mlx<()>;

    /// Moves the first `num_positions` of a retained sequence to one without KV. The retained one ends.
    fn take_over(&mut self, from: SequenceId, num_positions: i32, to: SequenceId) -> Mlx<()>;

    /// Keeps the KV of a sequence that gets no further rows. The sequence may be unknown.
    fn retain(&mut self, sequence: SequenceId) -> Mlx<()>;

    /// Drops the KV of a sequence. The sequence may be unknown.
    fn release(&mut self, sequence: SequenceId) -> Mlx<()>;

    /// The layout of blocks on the host.
    fn layout(&self) -> KvLayout;

    /// Copies a whole block of a sequence to the host. No step runs.
    fn export(&mut self, sequence: SequenceId, block: usize) -> Mlx<Vec<u8>>;

    /// Adds a retained sequence with the KV of some blocks.
    fn import(&mut self, sequence: SequenceId, blocks: &[KvBlock]) -> Mlx<()>;

    /// Drops all KV.
    fn reset(&mut self) -> Mlx<()>;

    /// The memory that the KV of a sequence takes.
    fn unit(&self) -> KvUnit;

    /// Sets the limit of KV in bytes, including slots that are allocated ahead of need.
    fn set_kv_bytes(&mut self, _bytes: u64) {}

    /// Bytes of KV held.
    fn bytes(&self) -> u64;

    /// Starts a step. Returns the spans in the order in which their rows attend, with offsets that pack them without gaps. So
    /// most layers need not reorder rows.
    fn begin(&mut self, spans: Vec<Span>) -> Mlx<Vec<Span>>;

    /// Normalizes and rotates queries and keys, appends keys and values, and attends causally, as the layer's spec says:
    /// [n, (heads + 2 · kv heads) · head dim] → [n, heads · head dim]. `norms` are given if the spec has `qk_norm`. Called once
    /// per layer, in order.
    fn attend(&mut self, layer: usize, qkv: &Array, norms: Option<&QkNorm>) -> Mlx<Array>;

    /// Runs a chain of all layers on the packed rows, [n, hidden] → [n, hidden], instead of [`attend`](Self::attend) in each
    /// layer. Only for chains that were made for this attention.
    fn run(&mut self, _layers: &Chain, _x: &Array) -> Mlx<Array> {
        Err("this attention is not part of a chain".into())
    }

    /// Ends a step after all layers were called. Returns what must be evaluated beside the sampled tokens, so that the step's
    /// KV is written.
    fn finish(&mut self) -> Vec<Array>;
}
