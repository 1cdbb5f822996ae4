//! Qwen 3 with experts: Qwen 3 whose MLPs are mixtures in most or all layers.

use super::super::config::Fields;
use super::super::failure::bad_model;
use super::super::spec::{Activation, MlpSpec, ModelSpec, MoeSpec};
use super::dims::{Dims, activation};
use super::{qwen2, qwen3};
use crate::error::Result;

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelSpec> {
    let dims = Dims::read(fields)?;
    let dense = qwen3::layer(fields, &dims)?;
    let model = dims.model(fields, &dense, qwen2::windows(fields, &dims)?)?;
    with_experts(fields, model, None)
}

/// Replaces dense MLPs by mixtures, except in the layers that `mlp_only_layers` and `decoder_sparse_step` leave dense.
/// `shared` is the width of the shared expert.
pub(super) fn with_experts(fields: &Fields<'_>, mut model: ModelSpec, shared: Option<i32>) -> Result<ModelSpec> {
    let moe = MoeSpec { shared, ..experts(fields)? };
    let dense_layers = fields.ints("mlp_only_layers", 0..=1 << 10)?;
    let step = fields.optional_int("decoder_sparse_step", 1..=1 << 10)?.unwrap_or(1);
    for (index, layer) in (0..).zip(&mut model.layers) {
        if !dense_layers.contains(&index) && (index + 1) % step == 0 {
            layer.mlp = MlpSpec::Moe(moe);
        }
    }
    Ok(model)
}

fn experts(fields: &Fields<'_>) -> Result<MoeSpec> {
    let experts = fields.int("num_experts", 1..=1 << 12)?;
    let top_k = fields.int("num_experts_per_tok", 1..=1 << 12)?;
    if top_k > experts {
        let message =
            format!("config.json: `num_experts_per_tok` is {top_k}, expected at most `num_experts` ({experts})");
        return Err(bad_model(message).with_param("num_experts_per_tok"));
    }
    Ok(MoeSpec {
        experts,
        top_k,
        norm_topk_prob: fields.flag("norm_topk_prob", false)?,
        width: fields.int("moe_intermediate_size", 1..=1 << 20)?,
        activation: activation(fields, "hidden_act", Activation::Silu)?,
        shared: None,
    })
}
