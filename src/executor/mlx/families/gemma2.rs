//! Gemma 2: norms before and after attention and MLP with the factor `1 + weight`, soft caps of scores and logits, a window
//! in every other layer.

use super::super::config::Fields;
use super::super::spec::{Activation, AttentionSpec, LayerSpec, MlpSpec, ModelSpec, NormSpec, Norms};
use super::super::tensor_names::Names;
use super::dims::{Dims, activation, narrow, plain_layer, softcap};
use super::{rope, window};
use crate::error::Result;

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelSpec> {
    let dims = Dims::read(fields)?;
    let attention = attention(fields, dims.attention(rope::read(fields, 10_000.0)?))?;
    let layer = layer(fields, attention)?;
    fields.ignore(&["sliding_window_size"]);
    let windows = window::read(fields, &dims, |layer| layer % 2 == 0)?;
    let model = dims.model(fields, &layer, windows)?;
    finish(fields, ModelSpec { embedding_scale: Some(dims.sqrt_hidden()), ..model })
}

/// Attention with the scale and the soft cap of the Gemma families.
pub(super) fn attention(fields: &Fields<'_>, plain: AttentionSpec) -> Result<AttentionSpec> {
    let scale = narrow(fields.float("query_pre_attn_scalar", 1e-3..=1e6)?.powf(-0.5));
    Ok(AttentionSpec { scale, softcap: softcap(fields, "attn_logit_softcapping")?, ..plain })
}

/// A layer of the Gemma families.
pub(super) fn layer(fields: &Fields<'_>, attention: AttentionSpec) -> Result<LayerSpec> {
    let bias = fields.flag("attention_bias", false)?;
    let mut layer =
        LayerSpec { qkv_bias: bias, output_bias: bias, norms: Norms::Sandwich, ..plain_layer(fields, attention)? };
    if let MlpSpec::Dense(mlp) = &mut layer.mlp {
        // Both names are in use. A file that has both gives the same value for each.
        let older = activation(fields, "hidden_act", Activation::GeluTanh)?;
        mlp.activation = activation(fields, "hidden_activation", older)?;
    }
    Ok(layer)
}

/// Adds the norms, the soft cap of logits and the tensor names of the Gemma families.
pub(super) fn finish(fields: &Fields<'_>, mut model: ModelSpec) -> Result<ModelSpec> {
    model.norm = NormSpec { adds_one: true, ..model.norm };
    model.head.softcap = softcap(fields, "final_logit_softcapping")?;
    model.names = Names {
        attention_norms: ["input_layernorm", "post_attention_layernorm"],
        mlp_norms: ["pre_feedforward_layernorm", "post_feedforward_layernorm"],
        ..Names::LLAMA
    };
    Ok(model)
}
