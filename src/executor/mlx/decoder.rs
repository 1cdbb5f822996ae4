//! The transformer: embedding, layers and head over one packed [n, hidden] matrix with the tokens of all rows of a step. Only
//! attention, which is passed in, depends on sequences and positions. This version uses MLX's operations, which run on every
//! device; `chained` runs all layers as one operation.

use mlx_rs::ops::indexing::take_axis;
use mlx_rs::ops::{divide, multiply, tanh};
use mlx_rs::{Array, Dtype};

use super::attention::{Attention, FusedLayers};
use super::chained::Chained;
use super::failure::Mlx;
use super::layer::Layer;
use super::linear::Linear;
use super::norm::Norm;
use super::spec::{HeadSpec, ModelSpec};
use super::weights::Weights;
use crate::error::Result;

/// A loaded model, which several threads can run at the same time. [`Attention`] has the KV.
pub(super) struct Decoder {
    embedding: Linear,
    embedding_scale: Option<f32>,
    body: Body,
}

#[expect(unsafe_code, reason = "mlx-rs does not know that a computed array can be shared")]
// SAFETY: `Weights` has computed every array in it and waited for it. MLX only reads such an array, and counts its handles
// atomically. No method changes a decoder.
unsafe impl Sync for Decoder {}

enum Body {
    Plain(Plain),
    Chained(Chained),
}

/// Layers and head of MLX's operations.
struct Plain {
    layers: Vec<Layer>,
    norm: Norm,
    /// `None` if the head is the embedding.
    head: Option<Linear>,
    head_spec: HeadSpec,
}

impl Decoder {
    /// Loads every layer.
    pub(super) fn load(model: &ModelSpec, weights: &mut Weights<'_>) -> Result<Self> {
        let (embedding, head) = weights.ends()?;
        let layers = (0..model.layers.len()).map(|index| weights.layer(index)).collect::<Result<_>>()?;
        let norm = weights.norm(model.names.final_norm)?;
        let body = Body::Plain(Plain { layers, norm, head, head_spec: model.head });
        Ok(Self { embedding, embedding_scale: model.embedding_scale, body })
    }

    /// Loads every layer of a dense f32 model for the CPU that [`Chained`] can run.
    pub(super) fn load_chained(model: &ModelSpec, weights: &mut Weights<'_>, attention: FusedLayers) -> Result<Self> {
        let (embedding, chained) = Chained::load(model, weights, attention)?;
        Ok(Self { embedding, embedding_scale: model.embedding_scale, body: Body::Chained(chained) })
    }

    /// Whether a step has so few operations that MLX queues all of them while another step runs.
    pub(super) fn is_chained(&self) -> bool {
        matches!(self.body, Body::Chained(_))
    }

    /// Runs the layers on a step's tokens, [n] → [n, hidden], and writes KV through `attention`. Every token must be in the
    /// vocabulary.
    pub(super) fn hidden(&self, tokens: &Array, attention: &mut dyn Attention) -> Mlx<Array> {
        let mut x = self.embedding.rows(tokens)?;
        if let Some(scale) = self.embedding_scale {
            x = multiply(&x, number(scale, &x)?)?;
        }
        match &self.body {
            Body::Plain(plain) => plain.hidden(x, attention),
            Body::Chained(chained) => chained.hidden(&x, attention),
        }
    }

    /// Logits of the tokens at `picked`, [s, vocab] f32. `picked` is [s] indices of packed tokens; `None` means all tokens.
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
    fn hidden(&self, x: Array, attention: &mut dyn Attention) -> Mlx<Array> {
        self.layers.iter().enumerate().try_fold(x, |x, (index, layer)| layer.apply(index, &x, attention))
    }

    fn logits(&self, hidden: &Array, embedding: &Linear) -> Mlx<Array> {
        let x = self.norm.apply(hidden)?;
        let mut logits = self.head.as_ref().unwrap_or(embedding).apply(&x)?;
        if let Some(divisor) = self.head_spec.divisor {
            logits = divide(&logits, number(divisor, &logits)?)?;
        }
        if let Some(softcap) = self.head_spec.softcap {
            let softcap = number(softcap, &logits)?;
            logits = multiply(tanh(divide(&logits, &softcap)?)?, &softcap)?;
        }
        // The cast is exact, and the sampler then needs only one type.
        if logits.dtype() == Dtype::Float32 { Ok(logits) } else { logits.as_dtype(Dtype::Float32) }
    }
}

/// A scalar of the type of `like`. Another type would change the type of the result.
fn number(value: f32, like: &Array) -> Mlx<Array> {
    Array::from_f32(value).as_dtype(like.dtype())
}
