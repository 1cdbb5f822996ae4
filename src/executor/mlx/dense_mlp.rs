//! A dense MLP on the device; also the shared expert of a mixture.

use mlx_rs::Array;

use super::activation::Nonlinearity;
use super::failure::Mlx;
use super::linear::{Linear, Projection};

/// `down(activation(gate(x)) · up(x))`.
pub(super) struct Dense {
    pub(super) gate_up: Projection,
    pub(super) down: Linear,
    pub(super) activation: Nonlinearity,
}

impl Dense {
    pub(super) fn apply(&self, x: &Array) -> Mlx<Array> {
        self.down.apply(&self.activation.gated(&self.gate_up.apply(x)?)?)
    }
}
