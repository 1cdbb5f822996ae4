//! The transformer: embedding, layers, head, over one packed [n, hidden] matrix that holds the tokens of all rows of a
//! step. Linear layers, norms and the MLP know nothing of rows or positions; only attention, passed in, does. Here it is
//! made of MLX's operations, which every device runs; `chained` is the other version.

use mlx_rs::ops::indexing::take_axis;
use mlx_rs::ops::{divide, multiply, tanh};
use mlx_rs::{Array, Dtype};

use super::attention::{Attention, Fused};
use super::chained::Chained;
use super::failure::Mlx;
use super::layer::Layer;
use super::linear::Linear;
use super::norm::Norm;
use super::spec::{HeadSpec, ModelSpec};
use super::weights::Weights;
use crate::error::Result;

/// A loaded model. KV is not part of it: that is [`Attention`]'s.
pub(super) struct Decoder {
    embedding: Linear,
    embedding_scale: Option<f32>,
    body: Body,
}

enum Body {
    Plain(Plain),
    Chained(Chained),
}

/// Made of MLX's operations.
struct Plain {
    layers: Vec<Layer>,
    norm: Norm,
    /// `None`: the embedding.
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
    pub(super) fn load_chained(model: &ModelSpec, weights: &mut Weights<'_>, attention: &Fused) -> Result<Self> {
        let (embedding, chained) = Chained::load(model, weights, attention)?;
        Ok(Self { embedding, embedding_scale: model.embedding_scale, body: Body::Chained(chained) })
    }

    /// Whether a step is few operations, so that MLX queues it whole while another one runs.
    pub(super) fn is_chained(&self) -> bool {
        matches!(self.body, Body::Chained(_))
    }

    /// Runs the layers over a step's tokens, [n] → [n, hidden], writing KV through `attention`. Every token must be
    /// below the vocabulary.
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
        // Argmax and sampling compare values: the cast is exact and keeps one path for all types.
        if logits.dtype() == Dtype::Float32 { Ok(logits) } else { logits.as_dtype(Dtype::Float32) }
    }
}

/// A number of the type of `like`: one of another type would change that of the result.
fn number(value: f32, like: &Array) -> Mlx<Array> {
    Array::from_f32(value).as_dtype(like.dtype())
}
