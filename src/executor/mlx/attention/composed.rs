//! Attention out of MLX's operations. KV of a sequence is two arrays a layer, [1, kv heads, capacity, head dim], grown
//! in steps and written in place; each row attends over its own, so there is no padding and no mask but the causal.

use mlx_rs::fast::{ScaledDotProductAttentionMask, rms_norm, rope_dynamic, scaled_dot_product_attention};
use mlx_rs::ops::indexing::{TryIndexMutOp, TryIndexOp};
use mlx_rs::ops::{concatenate, divide, ge, matmul, multiply, select, softmax_axis, tanh, zeros_dtype};
use mlx_rs::{Array, Dtype};
use rustc_hash::FxHashMap;

use super::super::failure::Mlx;
use super::super::spec::{AttentionSpec, RopeScaling};
use super::rope::periods;
use super::{Attention, QkNorm, Span};
use crate::request::SequenceId;

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // a small constant
const GROWTH: i32 = super::KV_BLOCK as i32;

/// See the module.
pub(in super::super) struct Composed {
    layers: Vec<Layer>,
    dtype: Dtype,
    sequences: FxHashMap<SequenceId, Kv>,
    step: Step,
}

/// What a layer computes.
#[derive(Clone)]
struct Layer {
    spec: AttentionSpec,
    rotation: Rotation,
}

/// Exactly one of `base` and `periods` is there.
#[derive(Clone)]
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
    /// For layers whose KV has element type `dtype`.
    pub(in super::super) fn new(specs: &[AttentionSpec], dtype: Dtype) -> Self {
        let layer = |spec: &AttentionSpec| Layer { spec: spec.clone(), rotation: Rotation::new(spec) };
        Self {
            layers: specs.iter().map(layer).collect(),
            dtype,
            sequences: FxHashMap::default(),
            step: Step::default(),
        }
    }

    fn attend_span(&mut self, layer: usize, span: Span, [queries, keys, values]: &[Array; 3]) -> Mlx<Array> {
        let spec = &self.layers.get(layer).ok_or("attention over an unknown layer")?.spec;
        let of_span = |packed: &Array| take_span(packed, span);
        let end = span.start + span.len;
        let kv = self.sequences.get_mut(&span.sequence).ok_or("attention over an unknown sequence")?;
        let kv = kv.layers.get_mut(layer).ok_or("attention over an unknown layer")?;
        debug_assert_eq!(kv.keys.dim(1), spec.kv_heads);
        kv.keys.try_index_mut((.., .., span.start..end), &of_span(keys)?)?;
        kv.values.try_index_mut((.., .., span.start..end), &of_span(values)?)?;
        let past = |all: &Array| all.try_index((.., .., ..end));
        let (queries, keys, values) = (of_span(queries)?, past(&kv.keys)?, past(&kv.values)?);
        let attended = match spec.softcap {
            Some(softcap) => attend_capped(spec, softcap, &queries, [&keys, &values])?,
            None => {
                let mask = (span.len > 1).then_some(ScaledDotProductAttentionMask::Causal);
                scaled_dot_product_attention(queries, keys, values, spec.scale, mask, None)?
            }
        };
        attended.transpose_axes(&[0, 2, 1, 3])?.reshape(&[span.len, spec.heads * spec.head_dim])
    }

    fn make_room(&mut self, span: Span) -> Mlx<()> {
        let (layers, dtype) = (&self.layers, self.dtype);
        let empty =
            |layer: &Layer, positions| zeros_dtype(&[1, layer.spec.kv_heads, positions, layer.spec.head_dim], dtype);
        let kv = self.sequences.get_mut(&span.sequence).ok_or("room for an unknown sequence")?;
        let needed = span.start + span.len;
        if needed <= kv.capacity {
            return Ok(());
        }
        // Both are far below i32::MAX: positions are limited by the description.
        let capacity = ((needed + GROWTH - 1) / GROWTH * GROWTH).min(kv.max_positions.max(needed));
        let extra = capacity - kv.capacity;
        if kv.layers.is_empty() {
            let layer = |layer: &Layer| Ok(KvLayer { keys: empty(layer, extra)?, values: empty(layer, extra)? });
            kv.layers = layers.iter().map(layer).collect::<Mlx<_>>()?;
        } else {
            for (kv, layer) in kv.layers.iter_mut().zip(layers) {
                kv.keys = concatenate(&[&kv.keys, &empty(layer, extra)?], 2)?;
                kv.values = concatenate(&[&kv.values, &empty(layer, extra)?], 2)?;
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

    fn attend(&mut self, layer: usize, qkv: &Array, norms: Option<&QkNorm>) -> Mlx<Array> {
        let packed = self.layers.get(layer).ok_or("attention over an unknown layer")?.split(qkv, norms, &self.step)?;
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

impl Layer {
    /// Queries and keys of all rows, normalized and rotated, and values: [n, heads, 1, head dim] each. Every token is a
    /// batch row of its own with its own position, so one operation rotates chunks and single tokens of all rows.
    fn split(&self, qkv: &Array, norms: Option<&QkNorm>, step: &Step) -> Mlx<[Array; 3]> {
        let AttentionSpec { heads, kv_heads, head_dim, qk_norm, .. } = self.spec;
        let (num_tokens, rotated) = (qkv.dim(0), heads + kv_heads);
        let qkv = qkv.reshape(&[num_tokens, rotated + kv_heads, 1, head_dim])?;
        let values = qkv.try_index((.., rotated..))?;
        let normed = match (qk_norm, norms) {
            (Some(eps), Some(norms)) => {
                let queries = rms_norm(&qkv.try_index((.., ..heads))?, Some(&norms.queries), eps)?;
                let keys = rms_norm(&qkv.try_index((.., heads..rotated))?, Some(&norms.keys), eps)?;
                concatenate(&[queries, keys], 1)?
            }
            _ => qkv.try_index((.., ..rotated))?,
        };
        let queries_keys = self.rotation.apply(&normed, step)?;
        Ok([queries_keys.try_index((.., ..heads))?, queries_keys.try_index((.., heads..))?, values])
    }
}

/// Attention whose scores are capped, out of its parts: [1, heads, len, head dim] over all positions up to the last query's.
fn attend_capped(spec: &AttentionSpec, softcap: f32, queries: &Array, [keys, values]: [&Array; 2]) -> Mlx<Array> {
    let AttentionSpec { heads, kv_heads, head_dim, scale, .. } = *spec;
    let (len, end, dtype) = (queries.dim(2), keys.dim(2), queries.dtype());
    let number = |value: f32| Array::from_f32(value).as_dtype(dtype);
    let grouped = multiply(queries, number(scale)?)?.reshape(&[1, kv_heads, heads / kv_heads, len, head_dim])?;
    let keys = keys.expand_dims(2)?.transpose_axes(&[0, 1, 2, 4, 3])?;
    let softcap = number(softcap)?;
    let scores = multiply(tanh(divide(matmul(&grouped, keys)?, &softcap)?)?, &softcap)?;
    let query = Array::from_slice(&(end - len..end).collect::<Vec<_>>(), &[len, 1]);
    let key = Array::from_slice(&(0..end).collect::<Vec<_>>(), &[1, end]);
    let masked = select(ge(query, key)?, scores, number(f32::NEG_INFINITY)?)?;
    let weights = softmax_axis(masked, -1, true)?;
    matmul(weights, values.expand_dims(2)?)?.reshape(&[1, heads, len, head_dim])
}

impl Rotation {
    #[allow(clippy::cast_possible_truncation)] // the device computes in f32
    fn new(spec: &AttentionSpec) -> Self {
        let (rope, head_dim) = (&spec.rope, spec.head_dim);
        let plain = |scale: f64| (Some(rope.base as f32), None, scale as f32);
        let (base, periods, scale) = match rope.scaling {
            RopeScaling::None => plain(1.0),
            RopeScaling::Linear { factor } => plain(1.0 / factor),
            RopeScaling::Llama3 { .. } => {
                let periods: Vec<f32> = periods(rope, head_dim).into_iter().map(|period| period as f32).collect();
                (None, Some(Array::from_slice(&periods, &[head_dim / 2])), 1.0)
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
