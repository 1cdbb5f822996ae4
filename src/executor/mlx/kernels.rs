//! The element-wise blocks of a decoder layer, in two versions: MLX's own operations, which every device runs, and
//! fused CPU primitives. On the CPU an operation costs more than a small tensor's arithmetic, so fewer is faster.

use mlx_rs::Array;
use mlx_rs::fast::rms_norm;
use mlx_rs::ops::{add, multiply, sigmoid, split_equal};

use super::failure::Mlx;
use super::linear::Linear;

/// Which version of the blocks runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernels {
    /// MLX's own operations.
    Composed,
    /// `mlx-ops`: CPU, f32.
    Fused,
}

impl Kernels {
    /// `x / rms(x) · weight` over the last axis; [n, hidden].
    pub(super) fn rms_norm(self, x: &Array, weight: &Array, eps: f32) -> Mlx<Array> {
        match self {
            Self::Composed => rms_norm(x, Some(weight), eps),
            Self::Fused => mlx_ops::rms_norm(x, weight, eps),
        }
    }

    /// `silu(gate) · up` of [n, 2 · width] whose left half is the gate.
    pub(super) fn swiglu(self, gate_up: &Array) -> Mlx<Array> {
        match self {
            Self::Composed => {
                let halves = split_equal(gate_up, 2, -1)?;
                let (gate, up) = (&halves[0], &halves[1]);
                multiply(multiply(gate, sigmoid(gate)?)?, up)
            }
            Self::Fused => mlx_ops::swiglu(gate_up),
        }
    }

    /// `residual + linear(x)`.
    pub(super) fn add_linear(self, residual: &Array, linear: &Linear, x: &Array) -> Mlx<Array> {
        match self {
            Self::Composed => add(residual, linear.apply(x)?),
            Self::Fused => linear.apply_onto(x, residual),
        }
    }
}
