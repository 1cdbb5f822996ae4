//! Attention and the KV it reads: the one part of a step that knows rows and positions. Two implementations stand
//! behind one trait: `composed` out of MLX's operations for every device and type, `fused` for f32 on the CPU.

mod composed;
mod fused;
pub(super) mod kinds;
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
use crate::request::SequenceId;

/// One part in so many of the memory for KV is for slots that no sequence has.
const SPARE_SHARE: u64 = 16;

/// The tokens of one sequence inside a step's packed matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Index among the rows of the plan.
    pub(super) row: usize,
    pub(super) sequence: SequenceId,
    /// Position of its first token in the sequence. KV of all positions before it is there.
    pub(super) start: i32,
    /// How many tokens; at least one.
    pub(super) len: i32,
    /// Its first row in the packed matrix.
    pub(super) offset: i32,
    /// Whether something is drawn from it: if so, drawing evaluates its KV too.
    pub(super) sampled: bool,
}

/// Weights of the RMS norms over each head of queries and keys, [head dim] each.
pub(super) struct QkNorm {
    pub(super) queries: Array,
    pub(super) keys: Array,
}

/// Physical KV of all sequences, and the operation over it. Callers have checked every span against what is held.
pub(super) trait Attention {
    /// A sequence appears; it never holds more than `max_positions`.
    fn admit(&mut self, sequence: SequenceId, max_positions: i32) -> Mlx<()>;

    /// A sequence that has no KV gets the first `num_positions` of another one, which has them.
    fn copy(&mut self, from: SequenceId, num_positions: i32, to: SequenceId) -> Mlx<()>;

    /// Its KV is dropped. Unknown sequences are allowed.
    fn release(&mut self, sequence: SequenceId) -> Mlx<()>;

    /// All KV is dropped.
    fn reset(&mut self) -> Mlx<()>;

    /// What the KV of a sequence takes.
    fn unit(&self) -> KvUnit;

    /// Sets what KV may take, with all that is allocated ahead.
    fn set_kv_bytes(&mut self, _bytes: u64) {}

    /// Bytes of KV held.
    fn bytes(&self) -> u64;

    /// A step begins. The same spans in the order in which their rows are to be packed, without gaps: that in which they attend,
    /// so that no layer has to bring them into another one.
    fn begin(&mut self, spans: Vec<Span>) -> Mlx<Vec<Span>>;

    /// Normalizes and rotates queries and keys, appends keys and values, attends causally, as the layer's spec says:
    /// [n, (heads + 2 · kv heads) · head dim] → [n, heads · head dim]. `norms` are there where the spec has `qk_norm`.
    /// Called once a layer, in order.
    fn attend(&mut self, layer: usize, qkv: &Array, norms: Option<&QkNorm>) -> Mlx<Array>;

    /// Runs the packed rows through all layers at once, [n, hidden] → [n, hidden], instead of calling
    /// [`attend`](Self::attend) in each. Only for chains that were made for this attention.
    fn run(&mut self, _layers: &Chain, _x: &Array) -> Mlx<Array> {
        Err("this attention is not part of a chain".into())
    }

    /// All layers have been called. What to evaluate beside the drawn tokens, so that the step's KV is there.
    fn finish(&mut self) -> Vec<Array>;
}
