//! Root-mean-square norms on the device.

use mlx_rs::Array;
use mlx_rs::fast::rms_norm;

use super::failure::Mlx;

/// A norm over the last axis.
pub(super) struct Norm {
    /// The stored weight, plus 1 if the spec says so (`NormSpec::adds_one`).
    pub(super) weight: Array,
    pub(super) eps: f32,
}

impl Norm {
    pub(super) fn apply(&self, x: &Array) -> Mlx<Array> {
        rms_norm(x, Some(&self.weight), self.eps)
    }
}
