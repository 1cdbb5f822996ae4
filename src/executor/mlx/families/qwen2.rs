//! Qwen 2 and 2.5: biases of queries, keys and values.

use super::super::config::Fields;
use super::super::spec::{LayerSpec, ModelSpec};
use super::dims::{Dims, plain_layer};
use super::{rope, window};
use crate::error::Result;

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelSpec> {
    let dims = Dims::read(fields)?;
    let attention = dims.attention(rope::read(fields, 1_000_000.0)?);
    let layer = LayerSpec { qkv_bias: true, ..plain_layer(fields, attention)? };
    dims.model(fields, &layer, windows(fields, &dims)?)
}

/// The windows of the Qwen families: in layers from `max_window_layers` on, if `use_sliding_window` is set.
pub(super) fn windows(fields: &Fields<'_>, dims: &Dims) -> Result<Vec<Option<i32>>> {
    if !fields.flag("use_sliding_window", false)? {
        fields.ignore(&["sliding_window", "max_window_layers", "layer_types"]);
        return Ok(window::none(dims));
    }
    #[allow(clippy::cast_sign_loss)] // at least 0
    let first = fields.optional_int("max_window_layers", 0..=1 << 10)?.unwrap_or(28) as usize;
    window::read(fields, dims, |layer| layer >= first)
}
