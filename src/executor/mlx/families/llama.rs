//! Llama, and other models that are exported with its `model_type`.

use super::super::config::Fields;
use super::super::failure::unsupported;
use super::super::spec::ModelSpec;
use super::dims::{Dims, plain_layer, with_biases};
use super::{rope, window};
use crate::error::Result;

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelSpec> {
    // Some exports repeat `hidden_act` by another name, or the context length before an extension of it.
    if let Some(other) = fields.text("activation")?.filter(|name| !matches!(*name, "silu" | "swiglu")) {
        return Err(unsupported("activation", format!("is {other}, which is not supported")));
    }
    fields.ignore(&["original_max_position_embeddings"]);
    let dims = Dims::read(fields)?;
    let attention = dims.attention(rope::read(fields, 10_000.0)?);
    let layer = with_biases(fields, plain_layer(fields, attention)?)?;
    dims.model(fields, &layer, window::read(fields, &dims, |_| false)?)
}
