//! Computes scores, softmax and the sum of values for one group of rows. It uses MLX's fused operation if the device has a
//! kernel for it and the model has no soft cap, and the separate operations otherwise.

use mlx_rs::fast::{ScaledDotProductAttentionMask, scaled_dot_product_attention};
use mlx_rs::ops::{broadcast_to, divide, matmul, multiply, select, softmax_axis, tanh};
use mlx_rs::{Array, Dtype};

use super::super::failure::Mlx;
use super::super::spec::AttentionSpec;
use super::layout::{Group, Keys, Piece, Pieces, Sharing};

/// Number of scores, over all heads, that cost about as much as the operations of one more group: for separate operations on a
/// CPU, and for a fused kernel.
const FEW_SCORES: i64 = 1 << 14;
const FEW_FUSED_SCORES: i64 = 1 << 18;
/// The most scores of a group of pieces, over all heads: 64 MiB of float32.
const MOST_SCORES: i64 = 1 << 24;

/// The keys that the queries of a group attend to.
pub(super) enum Visible {
    All,
    /// Keys up to each query's own position; the last query attends to all keys.
    Causal,
    /// A mask of slots and keys for decoding rows, or of slots, queries and keys for pieces, with one slot if all pieces have the
    /// same start. The other axes are 1, or the heads if a fused kernel would otherwise copy the mask.
    Masked(Array),
}

/// The most queries of a sequence for which Metal's vector kernel runs.
const MOST_QUERIES_OF_VECTOR_KERNEL: i32 = 8;

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scores {
    pub(super) is_fused: bool,
    /// Element type of scores and weights: the model's type.
    pub(super) dtype: Dtype,
    /// Element type of keys, values and products. It represents all values of `dtype`.
    pub(super) kv_dtype: Dtype,
}

impl Scores {
    /// The limits of the groups of a step.
    pub(super) fn sharing(self, heads: i32) -> Sharing {
        let few = if self.is_fused { FEW_FUSED_SCORES } else { FEW_SCORES };
        let heads = i64::from(heads.max(1));
        Sharing { few: few / heads, most: MOST_SCORES / heads }
    }

    /// The keys that a group attends to, computed once per step for all layers.
    pub(super) fn visible(self, group: &Group, heads: i32) -> Mlx<Visible> {
        match group {
            Group::Decode { num_visible, .. } => {
                let most = num_visible.iter().copied().max().unwrap_or_default();
                if num_visible.iter().all(|visible| *visible == most) {
                    return Ok(Visible::All);
                }
                let seen = num_visible.iter().flat_map(|visible| (0..most).map(move |key| key < *visible));
                let num_slots = i32::try_from(num_visible.len()).map_err(|_| "too many rows")?;
                let mask = Array::from_slice(&seen.collect::<Vec<_>>(), &[num_slots, 1, 1, most]);
                if self.is_fused { over_heads(&mask, heads).map(Visible::Masked) } else { Ok(Visible::Masked(mask)) }
            }
            Group::Pieces(Pieces { rows: pieces, len, keys, .. }) => {
                let is_one_start = pieces.iter().all(|piece| piece.start == pieces[0].start);
                if self.is_fused && is_one_start && matches!(keys, Keys::Full(_)) {
                    return Ok(Visible::Causal);
                }
                let pieces = if is_one_start { &pieces[..1] } else { pieces };
                let num_pieces = i32::try_from(pieces.len()).map_err(|_| "too many rows")?;
                let (seen, num_keys) = (seen_by(pieces, *len, *keys), keys.count(*len));
                if !self.is_fused {
                    // Query heads that share a KV head are an axis of their own.
                    return Ok(Visible::Masked(Array::from_slice(&seen, &[num_pieces, 1, 1, *len, num_keys])));
                }
                let mask = Array::from_slice(&seen, &[num_pieces, 1, *len, num_keys]);
                let is_read_as_it_is = *len > MOST_QUERIES_OF_VECTOR_KERNEL;
                if is_read_as_it_is { Ok(mask) } else { over_heads(&mask, heads) }.map(Visible::Masked)
            }
        }
    }

    /// Queries of all rows in the form that `decode` and `pieces` take.
    pub(super) fn prepare(self, spec: &AttentionSpec, queries: &Array) -> Mlx<Array> {
        if self.is_fused {
            return Ok(queries.clone());
        }
        in_type(&multiply(number(spec.scale, self.dtype)?, queries)?, self.kv_dtype)
    }

    /// Decoding rows: [rows, heads, 1, head dim] over [rows, kv heads, keys, head dim] → [rows, heads · head dim].
    pub(super) fn decode(
        self,
        spec: &AttentionSpec,
        queries: &Array,
        kv: &[Array; 2],
        visible: &Visible,
    ) -> Mlx<Array> {
        let AttentionSpec { heads, kv_heads, head_dim, .. } = *spec;
        let (num_rows, flat) = (queries.dim(0), heads * head_dim);
        if self.is_fused {
            return fused(spec, queries, kv, visible)?.reshape(&[num_rows, flat]);
        }
        // Query heads that share a KV head are the rows of one product.
        let grouped = queries.reshape(&[num_rows, kv_heads, heads / kv_heads, head_dim])?;
        let keys = kv[0].transpose_axes(&[0, 1, 3, 2])?;
        let weights = self.weights(spec, &matmul(&grouped, keys)?, visible)?;
        matmul(weights, &kv[1])?.reshape(&[num_rows, flat])
    }

    /// Pieces of prompts: [slots · queries, heads, 1, head dim] over [slots, kv heads, keys, head dim] → [slots · queries,
    /// heads · head dim].
    pub(super) fn pieces(
        self,
        spec: &AttentionSpec,
        queries: &Array,
        kv: &[Array; 2],
        visible: &Visible,
    ) -> Mlx<Array> {
        let AttentionSpec { heads, kv_heads, head_dim, .. } = *spec;
        let (num_rows, num_slots) = (queries.dim(0), kv[0].dim(0));
        let len = num_rows / num_slots;
        let queries = queries.reshape(&[num_slots, len, heads, head_dim])?.transpose_axes(&[0, 2, 1, 3])?;
        let attended = if self.is_fused {
            fused(spec, &queries, kv, visible)?
        } else {
            let grouped = queries.reshape(&[num_slots, kv_heads, heads / kv_heads, len, head_dim])?;
            let keys = kv[0].expand_dims(2)?.transpose_axes(&[0, 1, 2, 4, 3])?;
            let weights = self.weights(spec, &matmul(&grouped, keys)?, visible)?;
            matmul(weights, kv[1].expand_dims(2)?)?.reshape(&[num_slots, heads, len, head_dim])?
        };
        attended.transpose_axes(&[0, 2, 1, 3])?.reshape(&[num_rows, heads * head_dim])
    }

    /// The softmax of scores over the visible keys, with a soft cap if the model has one. Scores and weights are rounded as
    /// MLX's operations on the model's type round them.
    fn weights(self, spec: &AttentionSpec, scores: &Array, visible: &Visible) -> Mlx<Array> {
        let mut scores = in_type(scores, self.dtype)?;
        if let Some(softcap) = spec.softcap {
            let softcap = number(softcap, self.dtype)?;
            scores = multiply(tanh(divide(scores, &softcap)?)?, &softcap)?;
        }
        scores = in_type(&scores, self.kv_dtype)?;
        if let Visible::Masked(mask) = visible {
            scores = select(mask, scores, number(f32::NEG_INFINITY, self.kv_dtype)?)?;
        }
        let weights = softmax_axis(scores, -1, true)?;
        in_type(&in_type(&weights, self.dtype)?, self.kv_dtype)
    }
}

/// A mask that is stored for each head: the kernel for few queries would copy any other mask in each layer.
fn over_heads(mask: &Array, heads: i32) -> Mlx<Array> {
    broadcast_to(mask, &[mask.dim(0), heads, mask.dim(2), mask.dim(3)])?.contiguous()
}

impl Keys {
    /// Number of keys for `num_queries` queries.
    fn count(self, num_queries: i32) -> i32 {
        match self {
            Self::Full(count) => count,
            Self::Window { kept, .. } => kept + num_queries,
        }
    }
}

/// For each query of each piece and each key, whether the query attends to the key.
fn seen_by(pieces: &[Piece], len: i32, keys: Keys) -> Vec<bool> {
    let mut seen = Vec::new();
    for start in pieces.iter().map(|piece| piece.start) {
        for query in 0..len {
            let position = start + query;
            match keys {
                Keys::Full(count) => seen.extend((0..count).map(|key| key <= position)),
                Keys::Window { window, kept } => {
                    // The last position before the piece that each place holds. A place at or after `start` holds none.
                    let held = |place: i32| start - 1 - (start - 1 - place).rem_euclid(window);
                    let is_held = |place: i32| place < start && held(place) > position - window;
                    seen.extend((0..kept).map(is_held));
                    seen.extend((0..len).map(|row| row <= query && row > query - window));
                }
            }
        }
    }
    seen
}

/// Casts to a type, if the array has another one.
pub(super) fn in_type(x: &Array, dtype: Dtype) -> Mlx<Array> {
    if x.dtype() == dtype { Ok(x.clone()) } else { x.as_dtype(dtype) }
}

fn fused(spec: &AttentionSpec, queries: &Array, [keys, values]: &[Array; 2], visible: &Visible) -> Mlx<Array> {
    let mask = match visible {
        Visible::All => None,
        Visible::Causal => Some(ScaledDotProductAttentionMask::Causal),
        Visible::Masked(mask) => Some(ScaledDotProductAttentionMask::Array(mask)),
    };
    scaled_dot_product_attention(queries, keys, values, spec.scale, mask, None)
}

fn number(value: f32, dtype: Dtype) -> Mlx<Array> {
    Array::from_f32(value).as_dtype(dtype)
}
