//! Scores, their softmax and the sum of values, for one group of rows. MLX's fused operation runs where the device has a
//! kernel of it and the model asks for nothing else; otherwise its parts.

use mlx_rs::fast::{ScaledDotProductAttentionMask, scaled_dot_product_attention};
use mlx_rs::ops::{broadcast_to, divide, matmul, multiply, select, softmax_axis, tanh};
use mlx_rs::{Array, Dtype};

use super::super::failure::Mlx;
use super::super::spec::AttentionSpec;
use super::layout::Group;

/// Which keys the rows of a group see.
pub(super) enum Visible {
    All,
    /// Up to each row's own position.
    Causal,
    /// [rows, 1, 1, keys], or [1, 1, rows, keys] of a piece.
    Masked(Array),
}

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scores {
    pub(super) is_fused: bool,
    /// Of scores and weights, as the model has it.
    pub(super) dtype: Dtype,
    /// Of keys and values, and of products. It holds all values of `dtype`.
    pub(super) kv_dtype: Dtype,
}

impl Scores {
    /// Made once a step and shared by layers. A fused kernel takes a mask of rows that decode as it is only if it lies there for
    /// each head.
    pub(super) fn visible(self, group: &Group, heads: i32) -> Mlx<Visible> {
        match group {
            Group::Decode { num_visible, .. } => {
                let most = num_visible.iter().copied().max().unwrap_or_default();
                if num_visible.iter().all(|visible| *visible == most) {
                    return Ok(Visible::All);
                }
                let seen = num_visible.iter().flat_map(|visible| (0..most).map(move |key| key < *visible));
                let num_rows = i32::try_from(num_visible.len()).map_err(|_| "too many rows")?;
                let mask = Array::from_slice(&seen.collect::<Vec<_>>(), &[num_rows, 1, 1, most]);
                if !self.is_fused {
                    return Ok(Visible::Masked(mask));
                }
                broadcast_to(&mask, &[mask.dim(0), heads, 1, most])?.contiguous().map(Visible::Masked)
            }
            Group::Piece { window: None, .. } if self.is_fused => Ok(Visible::Causal),
            Group::Piece { len, num_before, window, .. } => {
                let (num_keys, window) = (num_before + len, window.unwrap_or(num_before + len));
                let keys_of = |row: i32| {
                    let last = num_before + row;
                    (0..num_keys).map(move |key| key <= last && key > last - window)
                };
                let seen: Vec<bool> = (0..*len).flat_map(keys_of).collect();
                Ok(Visible::Masked(Array::from_slice(&seen, &[1, 1, *len, num_keys])))
            }
        }
    }

    /// Queries of all rows as `decode` and `piece` take them.
    pub(super) fn prepare(self, spec: &AttentionSpec, queries: &Array) -> Mlx<Array> {
        if self.is_fused {
            return Ok(queries.clone());
        }
        in_type(&multiply(number(spec.scale, self.dtype)?, queries)?, self.kv_dtype)
    }

    /// Rows that decode: [rows, heads, 1, head dim] over [rows, kv heads, keys, head dim] → [rows, heads · head dim].
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
        // Heads that share keys are the rows of one product.
        let grouped = queries.reshape(&[num_rows, kv_heads, heads / kv_heads, head_dim])?;
        let keys = kv[0].transpose_axes(&[0, 1, 3, 2])?;
        let weights = self.weights(spec, &matmul(&grouped, keys)?, visible)?;
        matmul(weights, &kv[1])?.reshape(&[num_rows, flat])
    }

    /// A piece of a prompt: [rows, heads, 1, head dim] over [1, kv heads, keys, head dim] → [rows, heads · head dim].
    pub(super) fn piece(self, spec: &AttentionSpec, queries: &Array, kv: &[Array; 2], visible: &Visible) -> Mlx<Array> {
        let AttentionSpec { heads, kv_heads, head_dim, .. } = *spec;
        let num_rows = queries.dim(0);
        let queries = queries.transpose_axes(&[2, 1, 0, 3])?;
        let attended = if self.is_fused {
            fused(spec, &queries, kv, visible)?
        } else {
            let grouped = queries.reshape(&[1, kv_heads, heads / kv_heads, num_rows, head_dim])?;
            let keys = kv[0].expand_dims(2)?.transpose_axes(&[0, 1, 2, 4, 3])?;
            let weights = self.weights(spec, &matmul(&grouped, keys)?, visible)?;
            matmul(weights, kv[1].expand_dims(2)?)?.reshape(&[1, heads, num_rows, head_dim])?
        };
        attended.transpose_axes(&[0, 2, 1, 3])?.reshape(&[num_rows, heads * head_dim])
    }

    /// The softmax of scores, capped where the model asks for that, over the keys that are seen. Scores and weights are rounded
    /// as MLX's own operations on the model's type round them.
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

/// The same numbers in another type; nothing is done where they have it.
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
