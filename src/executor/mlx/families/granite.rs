//! Granite: Llama with factors at the embedding, the scores, the residuals and the logits.

use super::super::config::Fields;
use super::super::spec::{AttentionSpec, LayerSpec, ModelSpec, Residual};
use super::dims::{Dims, narrow, plain_layer, with_biases};
use super::{rope, window};
use crate::error::Result;

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelSpec> {
    let dims = Dims::read(fields)?;
    let factor = |name| fields.float(name, 1e-6..=1e6).map(narrow);
    let plain = dims.attention(rope::read(fields, 10_000.0)?);
    let attention = AttentionSpec { scale: factor("attention_multiplier")?, ..plain };
    let residual = Residual { scale: Some(factor("residual_multiplier")?), ..Residual::default() };
    let layer = LayerSpec { residual, ..with_biases(fields, plain_layer(fields, attention)?)? };
    let mut model = dims.model(fields, &layer, window::none(&dims))?;
    model.embedding_scale = Some(factor("embedding_multiplier")?);
    model.head.divisor = Some(factor("logits_scaling")?);
    Ok(model)
}
