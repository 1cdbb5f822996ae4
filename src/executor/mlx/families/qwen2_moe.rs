//! Qwen 1.5 and 2 with experts: Qwen 2 whose MLPs are mixtures with a shared expert.

use super::super::config::Fields;
use super::super::spec::{LayerSpec, ModelSpec};
use super::dims::{Dims, plain_layer};
use super::{qwen2, qwen3_moe, rope};
use crate::error::Result;

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelSpec> {
    let dims = Dims::read(fields)?;
    let attention = dims.attention(rope::read(fields, 1_000_000.0)?);
    let dense = LayerSpec { qkv_bias: true, ..plain_layer(fields, attention)? };
    let model = dims.model(fields, &dense, qwen2::windows(fields, &dims)?)?;
    let shared = fields.int("shared_expert_intermediate_size", 1..=1 << 20)?;
    qwen3_moe::with_experts(fields, model, Some(shared))
}
