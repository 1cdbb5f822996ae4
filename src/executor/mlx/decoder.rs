//! The transformer: embedding, layers, head, over one packed [n, hidden] matrix that holds the tokens of all rows of a
//! step. Linear layers, norms and the MLP know nothing of rows or positions; only attention, passed in, does. Here it is
//! made of MLX's operations, which every device runs; `chained` is the other version.

use mlx_rs::fast::rms_norm;
use mlx_rs::ops::indexing::take_axis;
use mlx_rs::ops::{add, multiply, sigmoid, split_equal};
use mlx_rs::{Array, Dtype};

use super::attention::{Attention, Fused};
use super::chained::Chained;
use super::description::Description;
use super::failure::Mlx;
use super::inventory::{FINAL_NORM, LinearShape, layer_linears, layer_path};
use super::linear::{Linear, Projection};
use super::weights::Weights;
use crate::error::Result;

/// A loaded model. KV is not part of it: that is [`Attention`]'s.
pub(super) struct Decoder {
    embedding: Linear,
    body: Body,
}

enum Body {
    Plain(Plain),
    Chained(Chained),
}

/// Made of MLX's operations.
struct Plain {
    layers: Vec<Layer<Linear, Projection>>,
    norm: Array,
    /// `None`: the embedding.
    head: Option<Linear>,
    norm_eps: f32,
}

/// What a layer is made of: `L` is a linear layer, `P` several that share their input.
pub(super) struct Layer<L, P> {
    pub(super) attention_norm: Array,
    pub(super) qkv: P,
    pub(super) output: L,
    pub(super) mlp_norm: Array,
    pub(super) gate_up: P,
    pub(super) down: L,
}

impl Decoder {
    /// Loads every layer.
    pub(super) fn load(model: &Description, weights: &mut Weights<'_>) -> Result<Self> {
        let (embedding, head) = weights.ends()?;
        let layers = Layer::load_all(model, weights, Weights::linear, Weights::projection)?;
        let norm = weights.vector(&format!("{FINAL_NORM}.weight"))?;
        Ok(Self { embedding, body: Body::Plain(Plain { layers, norm, head, norm_eps: model.norm_eps }) })
    }

    /// Loads every layer of a dense f32 model for the CPU.
    pub(super) fn load_chained(model: &Description, weights: &mut Weights<'_>, attention: &Fused) -> Result<Self> {
        let (embedding, chained) = Chained::load(model, weights, attention)?;
        Ok(Self { embedding, body: Body::Chained(chained) })
    }

    /// Whether a step is few operations, so that MLX queues it whole while another one runs.
    pub(super) fn is_chained(&self) -> bool {
        matches!(self.body, Body::Chained(_))
    }

    /// Runs the layers over a step's tokens, [n] → [n, hidden], writing KV through `attention`. Every token must be
    /// below the vocabulary.
    pub(super) fn hidden(&self, tokens: &Array, attention: &mut dyn Attention) -> Mlx<Array> {
        let x = self.embedding.rows(tokens)?;
        match &self.body {
            Body::Plain(plain) => plain.hidden(x, attention),
            Body::Chained(chained) => chained.hidden(&x, attention),
        }
    }

    /// Logits of the tokens at `picked` ([s] indices into the packed tokens; `None` is all of them), [s, vocab], f32.
    pub(super) fn logits(&self, hidden: &Array, picked: Option<&Array>) -> Mlx<Array> {
        let taken = picked.map(|picked| take_axis(hidden, picked, 0)).transpose()?;
        let hidden = taken.as_ref().unwrap_or(hidden);
        match &self.body {
            Body::Plain(plain) => plain.logits(hidden, &self.embedding),
            Body::Chained(chained) => chained.logits(hidden),
        }
    }
}

impl Plain {
    fn hidden(&self, mut x: Array, attention: &mut dyn Attention) -> Mlx<Array> {
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = rms_norm(&x, Some(&layer.attention_norm), self.norm_eps)?;
            let attended = attention.attend(index, &layer.qkv.apply(&normed)?, None)?;
            x = add(&x, layer.output.apply(&attended)?)?;
            let normed = rms_norm(&x, Some(&layer.mlp_norm), self.norm_eps)?;
            let gated = swiglu(&layer.gate_up.apply(&normed)?)?;
            x = add(&x, layer.down.apply(&gated)?)?;
        }
        Ok(x)
    }

    fn logits(&self, hidden: &Array, embedding: &Linear) -> Mlx<Array> {
        let x = rms_norm(hidden, Some(&self.norm), self.norm_eps)?;
        let logits = self.head.as_ref().unwrap_or(embedding).apply(&x)?;
        // Argmax and sampling compare values: the cast is exact and keeps one path for all types.
        if logits.dtype() == Dtype::Float32 { Ok(logits) } else { logits.as_dtype(Dtype::Float32) }
    }
}

/// `silu(gate) · up` of [n, 2 · width] whose left half is the gate.
fn swiglu(gate_up: &Array) -> Mlx<Array> {
    let halves = split_equal(gate_up, 2, -1)?;
    let (gate, up) = (&halves[0], &halves[1]);
    multiply(multiply(gate, sigmoid(gate)?)?, up)
}

impl<L, P> Layer<L, P> {
    /// Every layer of a model, in order; the two functions load what is told by its path, or by its layer and parts.
    pub(super) fn load_all<'a>(
        model: &Description,
        weights: &mut Weights<'a>,
        linear: impl Fn(&mut Weights<'a>, &str, bool) -> Result<L>,
        projection: impl Fn(&mut Weights<'a>, usize, &[LinearShape]) -> Result<P>,
    ) -> Result<Vec<Self>> {
        let load = |index| {
            let [q, k, v, output, gate, up, down] = layer_linears(model, index);
            let path = |name| layer_path(index, name);
            Ok(Self {
                attention_norm: weights.vector(&path("input_layernorm.weight"))?,
                qkv: projection(weights, index, &[q, k, v])?,
                output: linear(weights, &path(output.name), output.bias)?,
                mlp_norm: weights.vector(&path("post_attention_layernorm.weight"))?,
                gate_up: projection(weights, index, &[gate, up])?,
                down: linear(weights, &path(down.name), down.bias)?,
            })
        };
        (0..model.attention.len()).map(load).collect()
    }
}
