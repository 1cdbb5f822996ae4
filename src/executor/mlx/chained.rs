//! A dense decoder as two operations of the graph, all layers and the head: CPU, f32. An operation costs there what a
//! small model's arithmetic does, and MLX queues only so many before whoever submits more has to wait.

use mlx_ops::{Chain, PackedWeight, Stage};
use mlx_rs::Array;

use super::attention::{Attention, Fused};
use super::decoder::Layer;
use super::description::Description;
use super::failure::{Mlx, device_error};
use super::inventory::FINAL_NORM;
use super::linear::Linear;
use super::weights::Weights;
use crate::error::Result;

/// The layers and the head of a loaded model.
pub(super) struct Chained {
    layers: Chain,
    head: Chain,
}

/// A linear layer in the form in which a chain takes it.
pub(super) struct Packed {
    pub(super) weight: PackedWeight,
    pub(super) bias: Option<Array>,
}

impl Packed {
    fn stage(&self, onto_kept: bool) -> Stage<'_> {
        Stage::Linear { weight: &self.weight, bias: self.bias.as_ref(), onto_kept }
    }
}

impl Chained {
    /// Loads every layer, and the embedding, whose rows are what the layers begin with.
    pub(super) fn load(model: &Description, weights: &mut Weights<'_>, attention: &Fused) -> Result<(Linear, Self)> {
        let (embedding, head) = weights.packed_ends()?;
        let layers = Layer::load_all(model, weights, Weights::packed, Weights::packed_projection)?;
        let norm = weights.vector(&format!("{FINAL_NORM}.weight"))?;
        let eps = model.norm_eps;
        let stages: Vec<_> =
            layers.iter().enumerate().flat_map(|(index, layer)| layer.stages(eps, attention.stage(index))).collect();
        let chain = |stages: &[Stage<'_>]| {
            let chain = Chain::new(model.hidden.unsigned_abs() as usize, stages);
            chain.map_err(|error| device_error("loading weights", error))
        };
        let layers = chain(&stages)?;
        let head = chain(&[Stage::RmsNorm { weight: &norm, eps }, head.stage(false)])?;
        Ok((embedding, Self { layers, head }))
    }

    /// [n, hidden] through all layers, in one operation.
    pub(super) fn hidden(&self, x: &Array, attention: &mut dyn Attention) -> Mlx<Array> {
        attention.run(&self.layers, x)
    }

    /// [s, hidden] → [s, vocab]
    pub(super) fn logits(&self, hidden: &Array) -> Mlx<Array> {
        self.head.run(hidden, None)
    }
}

impl Layer<Packed, Packed> {
    fn stages<'a>(&'a self, eps: f32, attention: Stage<'a>) -> [Stage<'a>; 10] {
        [
            Stage::Keep,
            Stage::RmsNorm { weight: &self.attention_norm, eps },
            self.qkv.stage(false),
            attention,
            self.output.stage(true),
            Stage::Keep,
            Stage::RmsNorm { weight: &self.mlp_norm, eps },
            self.gate_up.stage(false),
            Stage::Swiglu,
            self.down.stage(true),
        ]
    }
}
