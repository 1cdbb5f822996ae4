//! The transformer: embedding, layers, head, over one packed [n, hidden] matrix that holds the tokens of all rows of a
//! step. Linear layers, norms and the MLP know nothing of rows or positions; only attention, passed in, does.

use mlx_rs::ops::indexing::take_axis;
use mlx_rs::{Array, Dtype};

use super::attention::Attention;
use super::description::Description;
use super::failure::Mlx;
use super::inventory::{FINAL_NORM, layer_linears, layer_path};
use super::kernels::Kernels;
use super::linear::{Linear, Projection};
use super::weights::Weights;
use crate::error::Result;

/// A loaded model. KV is not part of it: that is [`Attention`]'s.
pub(super) struct Decoder {
    embedding: Linear,
    layers: Vec<Layer>,
    norm: Array,
    /// `None`: the embedding.
    head: Option<Linear>,
    norm_eps: f32,
    kernels: Kernels,
}

struct Layer {
    attention_norm: Array,
    qkv: Projection,
    output: Linear,
    mlp_norm: Array,
    gate_up: Projection,
    down: Linear,
}

impl Decoder {
    /// Loads every layer.
    pub(super) fn load(model: &Description, weights: &mut Weights<'_>, kernels: Kernels) -> Result<Self> {
        let (embedding, head) = weights.ends()?;
        let layers = (0..model.layers).map(|index| Layer::load(model, weights, index)).collect::<Result<_>>()?;
        Ok(Self {
            embedding,
            layers,
            norm: weights.vector(&format!("{FINAL_NORM}.weight"))?,
            head,
            norm_eps: model.norm_eps,
            kernels,
        })
    }

    /// Runs the layers over a step's tokens, [n] → [n, hidden], writing KV through `attention`. Every token must be
    /// below the vocabulary.
    pub(super) fn hidden(&self, tokens: &Array, attention: &mut dyn Attention) -> Mlx<Array> {
        let mut x = self.embedding.rows(tokens)?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = self.layer(index, layer, &x, attention)?;
        }
        Ok(x)
    }

    /// Logits of the tokens at `picked` ([s] indices into the packed tokens; `None` is all of them), [s, vocab], f32.
    pub(super) fn logits(&self, hidden: &Array, picked: Option<&Array>) -> Mlx<Array> {
        let taken = picked.map(|picked| take_axis(hidden, picked, 0)).transpose()?;
        let x = self.kernels.rms_norm(taken.as_ref().unwrap_or(hidden), &self.norm, self.norm_eps)?;
        let logits = self.head.as_ref().unwrap_or(&self.embedding).apply(&x)?;
        // Argmax and sampling compare values: the cast is exact and keeps one path for all types.
        if logits.dtype() == Dtype::Float32 { Ok(logits) } else { logits.as_dtype(Dtype::Float32) }
    }

    fn layer(&self, index: usize, layer: &Layer, x: &Array, attention: &mut dyn Attention) -> Mlx<Array> {
        let kernels = self.kernels;
        let normed = kernels.rms_norm(x, &layer.attention_norm, self.norm_eps)?;
        let attended = attention.attend(index, &layer.qkv.apply(&normed)?)?;
        let x = kernels.add_linear(x, &layer.output, &attended)?;
        let normed = kernels.rms_norm(&x, &layer.mlp_norm, self.norm_eps)?;
        let gated = kernels.swiglu(&layer.gate_up.apply(&normed)?)?;
        kernels.add_linear(&x, &layer.down, &gated)
    }
}

impl Layer {
    fn load(model: &Description, weights: &mut Weights<'_>, index: i32) -> Result<Self> {
        let [q, k, v, output, gate, up, down] = layer_linears(model);
        let path = |name| layer_path(index, name);
        Ok(Self {
            attention_norm: weights.vector(&path("input_layernorm.weight"))?,
            qkv: weights.projection(index, &[q, k, v])?,
            output: weights.linear(&path(output.name), output.bias)?,
            mlp_norm: weights.vector(&path("post_attention_layernorm.weight"))?,
            gate_up: weights.projection(index, &[gate, up])?,
            down: weights.linear(&path(down.name), down.bias)?,
        })
    }
}
