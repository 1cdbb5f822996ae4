//! One decoder layer on the device: norms, projections, MLP and residual sums. Attention, which owns KV, is passed in.

use mlx_rs::ops::{add, clip, multiply};
use mlx_rs::{Array, Dtype};

use super::attention::{Attention, QkNorm};
use super::failure::Mlx;
use super::linear::{Linear, Projection};
use super::mlp::Mlp;
use super::norm::Norm;
use super::spec::Residual;

/// The largest finite float16.
const LARGEST_FLOAT16: f32 = 65504.0;

/// A loaded layer.
pub(super) struct Layer {
    pub(super) attention_norms: NormPair,
    pub(super) qkv: Projection,
    pub(super) qk_norm: Option<QkNorm>,
    pub(super) output: Linear,
    pub(super) mlp_norms: NormPair,
    pub(super) mlp: Mlp,
    pub(super) residual: Residual,
}

/// The norms before and after attention or the MLP.
pub(super) struct NormPair {
    pub(super) before: Norm,
    pub(super) after: Option<Norm>,
}

impl Layer {
    /// Layer `index`: [n, hidden] → [n, hidden].
    pub(super) fn apply(&self, index: usize, x: &Array, attention: &mut dyn Attention) -> Mlx<Array> {
        let normed = self.attention_norms.before.apply(x)?;
        let attended = attention.attend(index, &self.qkv.apply(&normed)?, self.qk_norm.as_ref())?;
        let attended = self.attention_norms.after(&self.output.apply(&attended)?)?;
        let x = self.residual.add(x, &attended)?;
        let transformed = self.mlp_norms.after(&self.mlp.apply(&self.mlp_norms.before.apply(&x)?)?)?;
        self.residual.add(&x, &transformed)
    }
}

impl NormPair {
    fn after(&self, x: &Array) -> Mlx<Array> {
        self.after.as_ref().map_or_else(|| Ok(x.clone()), |norm| norm.apply(x))
    }
}

impl Residual {
    fn add(&self, x: &Array, result: &Array) -> Mlx<Array> {
        let scaled =
            self.scale.map(|scale| multiply(result, Array::from_f32(scale).as_dtype(x.dtype())?)).transpose()?;
        let result = scaled.as_ref().unwrap_or(result);
        if !self.is_clipped || x.dtype() != Dtype::Float16 {
            return add(x, result);
        }
        let sum = add(x.as_dtype(Dtype::Float32)?, result.as_dtype(Dtype::Float32)?)?;
        clip(&sum, (-LARGEST_FLOAT16, LARGEST_FLOAT16))?.as_dtype(Dtype::Float16)
    }
}
