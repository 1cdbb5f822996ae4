//! The nonlinearity of an MLP on the device. Its constants are loaded once, in the element type of activations. `mlp` and
//! `moe` apply it; `spec` says which one a model has.

use std::f32::consts::FRAC_2_PI;

use mlx_rs::ops::{add, multiply, power, sigmoid, split_equal, tanh};
use mlx_rs::{Array, Dtype};

use super::failure::Mlx;
use super::spec::Activation;
use super::streams::settle;

/// A loaded [`Activation`].
pub(super) enum Nonlinearity {
    Silu,
    GeluTanh(Box<Constants>),
}

/// The constants of `half · x · (one + tanh(root · (x + cubic · x ^ three)))`.
pub(super) struct Constants {
    half: Array,
    one: Array,
    root: Array,
    cubic: Array,
    three: Array,
}

impl Nonlinearity {
    /// `dtype` is the element type of activations.
    pub(super) fn load(activation: Activation, dtype: Dtype) -> Mlx<Self> {
        match activation {
            Activation::Silu => Ok(Self::Silu),
            Activation::GeluTanh => Constants::load(dtype).map(Box::new).map(Self::GeluTanh),
        }
    }

    /// [.., 2 · width], gate then up → `activation(gate) · up`, [.., width].
    pub(super) fn gated(&self, gate_up: &Array) -> Mlx<Array> {
        let halves = split_equal(gate_up, 2, -1)?;
        multiply(self.apply(&halves[0])?, &halves[1])
    }

    /// The operations and their order are those of mlx-lm, because in half precision each operation rounds.
    fn apply(&self, x: &Array) -> Mlx<Array> {
        match self {
            Self::Silu => multiply(x, sigmoid(x)?),
            Self::GeluTanh(constants) => {
                let Constants { half, one, root, cubic, three } = constants.as_ref();
                let cubed = multiply(cubic, power(x, three)?)?;
                let inner = tanh(multiply(root, add(x, cubed)?)?)?;
                multiply(multiply(half, x)?, add(one, inner)?)
            }
        }
    }
}

impl Constants {
    fn load(dtype: Dtype) -> Mlx<Self> {
        let number = |value: f32| Array::from_f32(value).as_dtype(dtype);
        let constants = Self {
            half: number(0.5)?,
            one: number(1.0)?,
            root: number(FRAC_2_PI.sqrt())?,
            cubic: number(0.044_715)?,
            three: number(3.0)?,
        };
        let Self { half, one, root, cubic, three } = &constants;
        settle([half, one, root, cubic, three])?;
        Ok(constants)
    }
}
