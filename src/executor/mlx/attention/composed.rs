//! Attention out of MLX's operations. KV of a sequence is two arrays a layer, [1, kv heads, capacity, head dim], grown
//! in steps and written in place; each row attends over its own, so there is no padding and no mask but the causal.

use mlx_rs::fast::{ScaledDotProductAttentionMask, rope_dynamic, scaled_dot_product_attention};
use mlx_rs::ops::indexing::{TryIndexMutOp, TryIndexOp};
use mlx_rs::ops::{concatenate, zeros_dtype};
use mlx_rs::{Array, Dtype};
use rustc_hash::FxHashMap;

use super::super::description::{Description, RopeScaling};
use super::super::failure::Mlx;
use super::rope::periods;
use super::{Attention, Span};
use crate::request::SequenceId;

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // a small constant
const GROWTH: i32 = super::KV_BLOCK as i32;

/// See the module.
pub(in super::super) struct Composed {
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    layers: usize,
    dtype: Dtype,
    rotation: Rotation,
    sequences: FxHashMap<SequenceId, Kv>,
    step: Step,
}

/// Exactly one of `base` and `periods` is there.
struct Rotation {
    traditional: bool,
    base: Option<f32>,
    periods: Option<Array>,
    scale: f32,
}

/// KV of one sequence.
struct Kv {
    max_positions: i32,
    /// Positions all layers have room for.
    capacity: i32,
    layers: Vec<KvLayer>,
}

/// Keys and values of one layer: [1, kv heads, capacity, head dim].
#[derive(Clone)]
struct KvLayer {
    keys: Array,
    values: Array,
}

#[derive(Default)]
struct Step {
    spans: Vec<Span>,
    /// [n] i32: the position of each packed token.
    positions: Option<Array>,
}

impl Composed {
    /// For a model whose KV has element type `dtype`.
    pub(in super::super) fn new(model: &Description, dtype: Dtype) -> Self {
        Self {
            heads: model.heads,
            kv_heads: model.kv_heads,
            head_dim: model.head_dim,
            #[allow(clippy::cast_sign_loss)] // range-checked when the description was read
            layers: model.layers as usize,
            dtype,
            rotation: Rotation::new(model),
            sequences: FxHashMap::default(),
            step: Step::default(),
        }
    }

    /// Queries and keys of all rows, rotated, and values: [n, heads, 1, head dim] each. Every token is a batch row of
    /// its own with its own position, so one operation rotates chunks and single tokens of all rows.
    fn split(&self, qkv: &Array) -> Mlx<[Array; 3]> {
        let (num_tokens, rotated) = (qkv.dim(0), self.heads + self.kv_heads);
        let qkv = qkv.reshape(&[num_tokens, rotated + self.kv_heads, 1, self.head_dim])?;
        let queries_keys = self.rotation.apply(&qkv.try_index((.., ..rotated))?, &self.step)?;
        let queries = queries_keys.try_index((.., ..self.heads))?;
        let keys = queries_keys.try_index((.., self.heads..))?;
        let values = qkv.try_index((.., rotated..))?;
        Ok([queries, keys, values])
    }

    fn attend_span(&mut self, layer: usize, span: Span, [queries, keys, values]: &[Array; 3]) -> Mlx<Array> {
        let (heads, head_dim) = (self.heads, self.head_dim);
        let of_span = |packed: &Array| take_span(packed, span);
        let end = span.start + span.len;
        let shape = [1, self.kv_heads, GROWTH, head_dim];
        let kv = self.sequences.get_mut(&span.sequence).ok_or("attention over an unknown sequence")?;
        let kv = kv.layers.get_mut(layer).ok_or("attention over an unknown layer")?;
        debug_assert_eq!(kv.keys.dim(1), shape[1]);
        kv.keys.try_index_mut((.., .., span.start..end), &of_span(keys)?)?;
        kv.values.try_index_mut((.., .., span.start..end), &of_span(values)?)?;
        let past = |all: &Array| all.try_index((.., .., ..end));
        let scale = 1.0 / (f64::from(head_dim)).sqrt();
        let mask = (span.len > 1).then_some(ScaledDotProductAttentionMask::Causal);
        #[allow(clippy::cast_possible_truncation)] // the device computes in f32
        let attended = scaled_dot_product_attention(
            of_span(queries)?,
            past(&kv.keys)?,
            past(&kv.values)?,
            scale as f32,
            mask,
            None,
        )?;
        attended.transpose_axes(&[0, 2, 1, 3])?.reshape(&[span.len, heads * head_dim])
    }

    fn make_room(&mut self, span: Span) -> Mlx<()> {
        let (layers, dtype) = (self.layers, self.dtype);
        let shape = |positions| [1, self.kv_heads, positions, self.head_dim];
        let kv = self.sequences.get_mut(&span.sequence).ok_or("room for an unknown sequence")?;
        let needed = span.start + span.len;
        if needed <= kv.capacity {
            return Ok(());
        }
        // Both are far below i32::MAX: positions are limited by the description.
        let capacity = ((needed + GROWTH - 1) / GROWTH * GROWTH).min(kv.max_positions.max(needed));
        let extra = shape(capacity - kv.capacity);
        if kv.layers.is_empty() {
            let empty = || zeros_dtype(&extra, dtype);
            let layer = |_| Ok(KvLayer { keys: empty()?, values: empty()? });
            kv.layers = (0..layers).map(layer).collect::<Mlx<_>>()?;
        } else {
            for layer in &mut kv.layers {
                layer.keys = concatenate(&[&layer.keys, &zeros_dtype(&extra, dtype)?], 2)?;
                layer.values = concatenate(&[&layer.values, &zeros_dtype(&extra, dtype)?], 2)?;
            }
        }
        kv.capacity = capacity;
        Ok(())
    }
}

impl Attention for Composed {
    fn admit(&mut self, sequence: SequenceId, max_positions: i32) -> Mlx<()> {
        self.sequences.insert(sequence, Kv { max_positions, capacity: 0, layers: Vec::new() });
        Ok(())
    }

    /// The arrays are shared until one of the two writes, which MLX then does to a copy.
    fn copy(&mut self, from: SequenceId, _num_positions: i32, to: SequenceId) -> Mlx<()> {
        let source = self.sequences.get(&from).ok_or("a copy of an unknown sequence")?;
        let (capacity, layers) = (source.capacity, source.layers.clone());
        let kv = self.sequences.get_mut(&to).ok_or("a copy for an unknown sequence")?;
        *kv = Kv { max_positions: kv.max_positions, capacity, layers };
        Ok(())
    }

    fn release(&mut self, sequence: SequenceId) -> Mlx<()> {
        self.sequences.remove(&sequence);
        Ok(())
    }

    fn reset(&mut self) -> Mlx<()> {
        self.sequences.clear();
        self.step = Step::default();
        Ok(())
    }

    fn bytes(&self) -> u64 {
        let layers = self.sequences.values().flat_map(|kv| &kv.layers);
        layers.map(|layer| (layer.keys.nbytes() + layer.values.nbytes()) as u64).sum()
    }

    fn begin(&mut self, spans: &[Span]) -> Mlx<()> {
        for span in spans {
            self.make_room(*span)?;
        }
        let positions: Vec<i32> = spans.iter().flat_map(|span| span.start..span.start + span.len).collect();
        let num_tokens = i32::try_from(positions.len()).map_err(|_| "a step of more than 2^31 tokens")?;
        self.step = Step { spans: spans.to_vec(), positions: Some(Array::from_slice(&positions, &[num_tokens])) };
        Ok(())
    }

    fn attend(&mut self, layer: usize, qkv: &Array) -> Mlx<Array> {
        let packed = self.split(qkv)?;
        let spans = std::mem::take(&mut self.step.spans);
        let rows = spans.iter().map(|span| self.attend_span(layer, *span, &packed)).collect::<Mlx<Vec<_>>>();
        self.step.spans = spans;
        let mut rows = rows?;
        if rows.len() == 1 { Ok(rows.remove(0)) } else { concatenate(&rows, 0) }
    }

    fn finish(&mut self) -> Vec<Array> {
        let step = std::mem::take(&mut self.step);
        let unsampled = step.spans.iter().filter(|span| !span.sampled);
        let layers = unsampled.filter_map(|span| self.sequences.get(&span.sequence)).flat_map(|kv| &kv.layers);
        layers.flat_map(|layer| [layer.keys.clone(), layer.values.clone()]).collect()
    }
}

impl Rotation {
    #[allow(clippy::cast_possible_truncation)] // the device computes in f32
    fn new(model: &Description) -> Self {
        let rope = &model.rope;
        let plain = |scale: f64| (Some(rope.base as f32), None, scale as f32);
        let (base, periods, scale) = match rope.scaling {
            RopeScaling::None => plain(1.0),
            RopeScaling::Linear { factor } => plain(1.0 / factor),
            RopeScaling::Llama3 { .. } => {
                let periods: Vec<f32> = periods(rope, model.head_dim).into_iter().map(|period| period as f32).collect();
                (None, Some(Array::from_slice(&periods, &[model.head_dim / 2])), 1.0)
            }
        };
        Self { traditional: rope.traditional, base, periods, scale }
    }

    /// [n, heads, 1, head dim], each n at its own position.
    fn apply(&self, x: &Array, step: &Step) -> Mlx<Array> {
        let positions = step.positions.as_ref().ok_or("attention outside a step")?;
        rope_dynamic(x, x.dim(-1), self.traditional, self.base, self.scale, positions, self.periods.as_ref())
    }
}

/// The rows of a span: [n, heads, 1, head dim] → [1, heads, len, head dim].
fn take_span(packed: &Array, span: Span) -> Mlx<Array> {
    let rows = packed.try_index(span.offset..span.offset + span.len)?;
    if span.len == 1 { Ok(rows) } else { rows.transpose_axes(&[2, 1, 0, 3]) }
}
