//! The part of a layer that looks at each token by itself: dense, or a mixture of experts.

use std::f32::consts::FRAC_2_PI;

use mlx_rs::Array;
use mlx_rs::ops::{add, multiply, power, sigmoid, split_equal, tanh};

use super::failure::Mlx;
use super::linear::{Linear, Projection};
use super::moe::Moe;
use super::spec::Activation;

/// A loaded MLP.
pub(super) enum Mlp {
    Dense(Dense),
    Moe(Box<Moe>),
}

/// `down(activation(gate(x)) · up(x))`.
pub(super) struct Dense {
    pub(super) gate_up: Projection,
    pub(super) down: Linear,
    pub(super) activation: Activation,
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
        self.down.apply(&gated(self.activation, &self.gate_up.apply(x)?)?)
    }
}

/// `activation(gate) · up` of [.., 2 · width] whose left half is the gate.
pub(super) fn gated(activation: Activation, gate_up: &Array) -> Mlx<Array> {
    let halves = split_equal(gate_up, 2, -1)?;
    multiply(activated(activation, &halves[0])?, &halves[1])
}

/// The operations, and their order, are mlx-lm's: in half precision each rounds.
fn activated(activation: Activation, x: &Array) -> Mlx<Array> {
    match activation {
        Activation::Silu => multiply(x, sigmoid(x)?),
        Activation::GeluTanh => {
            let number = |value: f32| Array::from_f32(value).as_dtype(x.dtype());
            let cubed = multiply(number(0.044_715)?, power(x, number(3.0)?)?)?;
            let inner = tanh(multiply(number(FRAC_2_PI.sqrt())?, add(x, cubed)?)?)?;
            multiply(multiply(number(0.5)?, x)?, add(number(1.0)?, inner)?)
        }
    }
}
