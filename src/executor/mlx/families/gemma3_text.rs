//! The text model of Gemma 3: Gemma 2 with norms of queries and keys, and another rope in layers with a window.

use super::super::config::Fields;
use super::super::spec::{AttentionSpec, LayerSpec, ModelSpec, Residual, Rope};
use super::dims::Dims;
use super::{gemma2, rope, window};
use crate::error::Result;

pub(super) fn read(fields: &Fields<'_>) -> Result<ModelSpec> {
    let dims = Dims::read(fields)?;
    let [global, local] = ropes(fields)?;
    let attention = AttentionSpec { qk_norm: Some(dims.eps), ..gemma2::attention(fields, dims.attention(global))? };
    // The family's sums overflow float16.
    let residual = Residual { is_clipped: true, ..Residual::default() };
    let layer = LayerSpec { residual, ..gemma2::layer(fields, attention)? };
    #[allow(clippy::cast_sign_loss)] // at least 1
    let pattern = pattern(fields)? as usize;
    let windows = window::read(fields, &dims, |layer| (layer + 1) % pattern != 0)?;
    let mut model = dims.model(fields, &layer, windows)?;
    for layer in model.layers.iter_mut().filter(|layer| layer.attention.window.is_some()) {
        layer.attention.rope = local.clone();
    }
    // The model was trained with a factor rounded to bfloat16.
    gemma2::finish(fields, ModelSpec { embedding_scale: Some(to_bfloat16(dims.sqrt_hidden())), ..model })
}

/// The number of layers from one without a window to the next. Newer exporters list the layers instead.
fn pattern(fields: &Fields<'_>) -> Result<i32> {
    let newer = fields.optional_int("_sliding_window_pattern", 1..=1 << 10)?;
    Ok(fields.optional_int("sliding_window_pattern", 1..=1 << 10)?.or(newer).unwrap_or(6))
}

/// The ropes of layers without and with a window.
fn ropes(fields: &Fields<'_>) -> Result<[Rope; 2]> {
    let [global, local] = [rope::theta(fields, "rope_theta")?, rope::theta(fields, "rope_local_base_freq")?];
    let described = fields.object("rope_parameters")?;
    let of = |kind: &str| described.as_ref().map(|described| described.object(kind)).transpose().map(Option::flatten);
    let [of_global, of_local] = [of("full_attention")?, of("sliding_attention")?];
    if of_global.is_some() || of_local.is_some() {
        described.iter().try_for_each(|described| described.refuse_unread(|_| true))?;
        let global = rope::described_by(of_global.as_ref(), global, 1_000_000.0)?;
        return Ok([global, rope::described_by(of_local.as_ref(), local, 10_000.0)?]);
    }
    let global = rope::of_all(fields, global, 1_000_000.0)?;
    Ok([global, rope::described_by(None, local, 10_000.0)?])
}

/// The nearest number with 8 significant bits, ties to even. `number` must be finite.
fn to_bfloat16(number: f32) -> f32 {
    let bits = number.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}
