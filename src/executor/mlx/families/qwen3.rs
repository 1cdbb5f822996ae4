//! Qwen 3: norms of queries and keys.

use super::super::config::Fields;
use super::super::spec::{AttentionSpec, LayerSpec, ModelSpec};
use super::dims::{Dims, plain_layer};
use super::{qwen2, rope};
use crate::error::Result;

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelSpec> {
    let dims = Dims::read(fields)?;
    dims.model(fields, &layer(fields, &dims)?, qwen2::windows(fields, &dims)?)
}

/// A layer with a dense MLP.
pub(super) fn layer(fields: &Fields<'_>, dims: &Dims) -> Result<LayerSpec> {
    let plain = dims.attention(rope::read(fields, 1_000_000.0)?);
    let attention = AttentionSpec { qk_norm: Some(dims.eps), ..plain };
    let bias = fields.flag("attention_bias", false)?;
    Ok(LayerSpec { qkv_bias: bias, output_bias: bias, ..plain_layer(fields, attention)? })
}
