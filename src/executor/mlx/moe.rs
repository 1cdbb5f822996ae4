//! A mixture of experts on the device. The matrices of all experts of a layer are stacked, and one operation multiplies
//! each token by the matrices of its experts. `weights` stacks and loads them.

use mlx_rs::Array;
use mlx_rs::ops::indexing::{TryIndexOp, take_along_axis, take_axis};
use mlx_rs::ops::{
    add, argpartition_axis, argsort_axis, concatenate, divide, gather_mm, gather_qmm, multiply, sigmoid, softmax_axis,
};

use super::activation::Nonlinearity;
use super::dense_mlp::Dense;
use super::failure::Mlx;
use super::linear::{Linear, Quantized};
use super::spec::MoeSpec;

/// With this many choices (tokens times experts per token) or more, rows are sorted by expert, so that each matrix is read
/// once for all its tokens.
const SORTED_FROM: i32 = 64;

/// A loaded mixture of experts.
pub(super) struct Moe {
    pub(super) spec: MoeSpec,
    pub(super) router: Linear,
    pub(super) activation: Nonlinearity,
    pub(super) gate_up: ExpertProjection,
    pub(super) down: Experts,
    pub(super) shared: Option<Shared>,
    /// Set if a token's result must not depend on the number of tokens: sorted products use other kernels.
    pub(super) is_never_sorted: bool,
}

/// The shared expert, which every token goes through.
pub(super) struct Shared {
    pub(super) mlp: Dense,
    /// Has one output: the logit of the shared expert's weight.
    pub(super) gate: Linear,
}

/// A linear layer of all experts, without biases.
pub(super) enum Experts {
    /// [experts, inputs, outputs]: a view of the stored matrices, in the type in which the product is computed.
    Dense(Array),
    /// Each part is [experts, outputs, ..].
    Quantized(Quantized),
}

/// Gate and up projections of all experts; the outputs are concatenated.
pub(super) enum ExpertProjection {
    One(Experts),
    /// Projections whose formats cannot be fused.
    Apart([Experts; 2]),
}

/// The expert of each row of a product.
struct Choice {
    /// u32, in the shape of the rows.
    experts: Array,
    is_sorted: bool,
}

impl Moe {
    /// [n, hidden] → [n, hidden]
    pub(super) fn apply(&self, x: &Array) -> Mlx<Array> {
        let (experts, weights) = self.choose(x)?;
        let y = if experts.size() >= SORTED_FROM as usize && !self.is_never_sorted {
            self.sorted(x, &experts)?
        } else {
            // [n, 1, 1, hidden] → [n, top k, 1, hidden]
            let x = x.expand_dims_axes(&[-2, -3])?;
            self.through(&x, &Choice { experts, is_sorted: false })?.squeeze_axes(&[-2])?
        };
        let dtype = y.dtype();
        let mixed = multiply(&y, weights.expand_dims(-1)?)?.sum_axis(-2, false)?.as_dtype(dtype)?;
        self.shared.as_ref().map_or(Ok(mixed.clone()), |shared| add(mixed, shared.apply(x)?))
    }

    /// The experts of each token and their weights, [n, top k] each.
    fn choose(&self, x: &Array) -> Mlx<(Array, Array)> {
        let probabilities = softmax_axis(self.router.apply(x)?, -1, true)?;
        let top_k = self.spec.top_k;
        let experts = argpartition_axis(&probabilities, -top_k, -1)?.try_index((.., -top_k..))?;
        let weights = take_along_axis(&probabilities, &experts, -1)?;
        if !self.spec.norm_topk_prob {
            return Ok((experts, weights));
        }
        let sum = weights.sum_axis(-1, true)?;
        Ok((experts, divide(&weights, sum)?))
    }

    /// Computes the experts with rows sorted by expert: [n, hidden] → [n, top k, hidden].
    fn sorted(&self, x: &Array, experts: &Array) -> Mlx<Array> {
        let (n, top_k) = (experts.dim(0), experts.dim(1));
        let experts = experts.reshape(&[-1])?;
        let order = argsort_axis(&experts, 0)?;
        let tokens: Vec<i32> =
            (0..n).flat_map(|token| std::iter::repeat_n(token, top_k.unsigned_abs() as usize)).collect();
        let tokens = take_axis(Array::from_slice(&tokens, &[n * top_k]), &order, 0)?;
        let x = take_axis(x, &tokens, 0)?.expand_dims(1)?;
        let choice = Choice { experts: take_axis(&experts, &order, 0)?, is_sorted: true };
        let y = take_axis(self.through(&x, &choice)?, argsort_axis(&order, 0)?, 0)?;
        y.reshape(&[n, top_k, -1])
    }

    fn through(&self, x: &Array, choice: &Choice) -> Mlx<Array> {
        let gate_up = match &self.gate_up {
            ExpertProjection::One(experts) => experts.apply(x, choice)?,
            ExpertProjection::Apart([gate, up]) => concatenate(&[gate.apply(x, choice)?, up.apply(x, choice)?], -1)?,
        };
        self.down.apply(&self.activation.gated(&gate_up)?, choice)
    }
}

impl Shared {
    fn apply(&self, x: &Array) -> Mlx<Array> {
        multiply(sigmoid(self.gate.apply(x)?)?, self.mlp.apply(x)?)
    }
}

impl Experts {
    /// `matrices` are [experts, outputs, inputs].
    pub(super) fn dense(matrices: &Array) -> Mlx<Self> {
        matrices.swap_axes(-1, -2).map(Self::Dense)
    }

    fn apply(&self, x: &Array, choice: &Choice) -> Mlx<Array> {
        let Choice { experts, is_sorted } = choice;
        match self {
            Self::Dense(matrices) => {
                let product = gather_mm(x.as_dtype(matrices.dtype())?, matrices, None, experts, *is_sorted)?;
                product.as_dtype(x.dtype())
            }
            Self::Quantized(Quantized { codes, scales, offsets, bits, group_size }) => {
                gather_qmm(x, codes, scales, offsets, None, experts, true, *group_size, *bits, *is_sorted)
            }
        }
    }

    /// Fuses the gate and up projections if their formats are equal.
    pub(super) fn side_by_side(gate: Self, up: Self) -> Mlx<ExpertProjection> {
        let one = match (&gate, &up) {
            (Self::Dense(gate), Self::Dense(up)) => Self::Dense(concatenate(&[gate, up], 2)?),
            (Self::Quantized(gate), Self::Quantized(up)) if gate.format() == up.format() => {
                let join = |gate: &Array, up: &Array| concatenate(&[gate, up], 1);
                Self::Quantized(Quantized {
                    codes: join(&gate.codes, &up.codes)?,
                    scales: join(&gate.scales, &up.scales)?,
                    offsets: join(&gate.offsets, &up.offsets)?,
                    ..*gate
                })
            }
            _ => return Ok(ExpertProjection::Apart([gate, up])),
        };
        Ok(ExpertProjection::One(one))
    }

    /// All arrays on the device.
    pub(super) fn arrays(&self) -> Vec<&Array> {
        match self {
            Self::Dense(matrices) => vec![matrices],
            Self::Quantized(weight) => vec![&weight.codes, &weight.scales, &weight.offsets],
        }
    }
}

impl ExpertProjection {
    /// All arrays on the device.
    pub(super) fn arrays(&self) -> Vec<&Array> {
        match self {
            Self::One(experts) => experts.arrays(),
            Self::Apart(parts) => parts.iter().flat_map(Experts::arrays).collect(),
        }
    }
}
