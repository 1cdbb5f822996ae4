//! Mistral: Llama with a window in all layers if `sliding_window` is set.

use super::super::config::Fields;
use super::super::spec::ModelSpec;
use super::dims::{Dims, plain_layer, with_biases};
use super::{rope, window};
use crate::error::Result;

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelSpec> {
    let dims = Dims::read(fields)?;
    let attention = dims.attention(rope::read(fields, 10_000.0)?);
    let layer = with_biases(fields, plain_layer(fields, attention)?)?;
    let has_window = fields.get("sliding_window").is_some();
    dims.model(fields, &layer, window::read(fields, &dims, |_| has_window)?)
}
