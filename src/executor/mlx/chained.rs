//! Runs a dense decoder as two operations of MLX's graph, one for all layers and one for the head, on the CPU in float32.
//! There an operation costs as much as a small model's arithmetic, and `submit` blocks once MLX's queue of operations is
//! full. `mlx-ops` implements the operations; `decoder` runs every other model layer by layer.

use mlx_ops::{Chain, Stage};
use mlx_rs::Array;

use super::attention::{Attention, FusedLayers};
use super::failure::{Mlx, device_error};
use super::linear::Linear;
use super::norm::Norm;
use super::packed::{Packed, not_dense};
use super::spec::{Activation, HeadSpec, LayerSpec, MlpSpec, ModelSpec, Norms, Residual};
use super::weights::Weights;
use crate::error::Result;

/// The layers and the head of a loaded model.
pub(super) struct Chained {
    layers: Chain,
    head: Chain,
}

/// A decoder layer, packed for a chain.
struct Layer {
    attention_norm: Norm,
    qkv: Packed,
    output: Packed,
    mlp_norm: Norm,
    gate_up: Packed,
    down: Packed,
}

/// Whether a chain has a stage for everything in this model except attention. The form of weights is checked elsewhere.
pub(super) fn can_chain(model: &ModelSpec) -> bool {
    let has_stages = |layer: &LayerSpec| {
        let is_swiglu = matches!(&layer.mlp, MlpSpec::Dense(mlp) if mlp.activation == Activation::Silu);
        is_swiglu && layer.norms == Norms::Pre && layer.residual == Residual::default()
    };
    let HeadSpec { is_tied: _, divisor, softcap } = model.head;
    divisor.is_none() && softcap.is_none() && model.layers.iter().all(has_stages)
}

/// Bytes of the packed copy of the embedding that a tied head needs: rows are taken from the embedding; products read the copy.
pub(super) fn second_head_bytes(model: &ModelSpec) -> u64 {
    let numbers = u64::from(model.vocab.unsigned_abs()) * u64::from(model.hidden.unsigned_abs());
    if model.head.is_tied { numbers * 4 } else { 0 }
}

impl Chained {
    /// Loads the embedding, all layers and the head of a model that [`can_chain`].
    pub(super) fn load(model: &ModelSpec, weights: &mut Weights<'_>, attention: FusedLayers) -> Result<(Linear, Self)> {
        let (embedding, head) = weights.packed_ends()?;
        let layers = (0..model.layers.len()).map(|index| Layer::load(model, index, weights));
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let norm = weights.norm(model.names.final_norm)?;
        let stages: Vec<_> =
            layers.iter().enumerate().flat_map(|(index, layer)| layer.stages(attention.stage(index))).collect();
        let chain = |stages: &[Stage<'_>]| {
            let chain = Chain::new(model.hidden.unsigned_abs() as usize, stages);
            chain.map_err(|error| device_error("loading weights", error))
        };
        let layers = chain(&stages)?;
        let head = chain(&[norm.stage(), head.stage(false)])?;
        Ok((embedding, Self { layers, head }))
    }

    /// Runs all layers as one operation: [n, hidden] → [n, hidden].
    pub(super) fn hidden(&self, x: &Array, attention: &mut dyn Attention) -> Mlx<Array> {
        attention.run(&self.layers, x)
    }

    /// [s, hidden] → [s, vocab]
    pub(super) fn logits(&self, hidden: &Array) -> Mlx<Array> {
        self.head.run(hidden, None)
    }
}

impl Layer {
    fn load(model: &ModelSpec, index: usize, weights: &mut Weights<'_>) -> Result<Self> {
        let (layer, names) = (&model.layers[index], &model.names);
        let MlpSpec::Dense(mlp) = &layer.mlp else { return Err(not_dense()) };
        let [gate, up, down] = model.dense(*mlp);
        let output = model.attention_output(layer);
        Ok(Self {
            attention_norm: weights.norm(&names.layer(index, names.attention_norms[0]))?,
            qkv: weights.packed_projection(index, &model.qkv(layer))?,
            output: weights.packed(&names.layer(index, output.name), output.bias)?,
            mlp_norm: weights.norm(&names.layer(index, names.mlp_norms[0]))?,
            gate_up: weights.packed_projection(index, &[gate, up])?,
            down: weights.packed(&names.layer(index, down.name), down.bias)?,
        })
    }

    fn stages<'a>(&'a self, attention: Stage<'a>) -> [Stage<'a>; 10] {
        [
            Stage::Keep,
            self.attention_norm.stage(),
            self.qkv.stage(false),
            attention,
            self.output.stage(true),
            Stage::Keep,
            self.mlp_norm.stage(),
            self.gate_up.stage(false),
            Stage::Swiglu,
            self.down.stage(true),
        ]
    }
}

impl Norm {
    fn stage(&self) -> Stage<'_> {
        Stage::RmsNorm { weight: &self.weight, eps: self.eps }
    }
}
