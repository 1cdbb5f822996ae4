//! The MLP of a layer on the device: dense (here) or a mixture of experts (`moe`).

use mlx_rs::Array;

use super::activation::Nonlinearity;
use super::failure::Mlx;
use super::linear::{Linear, Projection};
use super::moe::Moe;

/// A loaded MLP.
pub(super) enum Mlp {
    Dense(Dense),
    Moe(Box<Moe>),
}

/// `down(activation(gate(x)) · up(x))`.
pub(super) struct Dense {
    pub(super) gate_up: Projection,
    pub(super) down: Linear,
    pub(super) activation: Nonlinearity,
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

impl Dense {
    pub(super) fn apply(&self, x: &Array) -> Mlx<Array> {
        self.down.apply(&self.activation.gated(&self.gate_up.apply(x)?)?)
    }
}
