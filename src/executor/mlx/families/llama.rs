//! Llama, and other models that are exported with its `model_type`.

use super::super::config::Fields;
use super::super::spec::ModelSpec;
use super::dims::{Dims, plain_layer, with_biases};
use super::{rope, window};
use crate::error::Result;

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelSpec> {
    let dims = Dims::read(fields)?;
    let attention = dims.attention(rope::read(fields, 10_000.0)?);
    let layer = with_biases(fields, plain_layer(fields, attention)?)?;
    dims.model(fields, &layer, window::read(fields, &dims, |_| false)?)
}
