//! The MLP of a layer on the device: dense (`dense_mlp`) or a mixture of experts (`moe`).

use mlx_rs::Array;

use super::dense_mlp::Dense;
use super::failure::Mlx;
use super::moe::Moe;

/// A loaded MLP.
pub(super) enum Mlp {
    Dense(Dense),
    Moe(Box<Moe>),
}

impl Mlp {
    /// [n, hidden] → [n, hidden]
    pub(super) fn apply(&self, x: &Array) -> Mlx<Array> {
        match self {
            Self::Dense(dense) => dense.apply(x),
            Self::Moe(moe) => moe.apply(x),
        }
    }
}
