//! Linear layers and the embedding on the device, dense or quantized. `weights` loads them; `batch_invariant` cuts their
//! products where a row's result must not depend on the batch.

use mlx_rs::ops::indexing::take_axis;
use mlx_rs::ops::{add, addmm, concatenate, dequantize, matmul, quantized_matmul};
use mlx_rs::{Array, Dtype};

use super::batch_invariant::InvariantBlocks;
use super::failure::Mlx;

/// `x · weightᵀ + bias`.
pub(super) struct Linear {
    weight: Weight,
    /// [outputs]
    bias: Option<Array>,
    /// The numbers of rows that products are cut into, if a row's result must not depend on the other rows.
    blocks: Option<InvariantBlocks>,
}

/// [outputs, inputs], in one of two forms.
enum Weight {
    Dense {
        weight: Array,
        /// A view of `weight` as [inputs, outputs], made once instead of once per step.
        transposed: Array,
    },
    Quantized(Quantized),
}

/// A weight in MLX's affine format: a value is `scale · code + offset`, with the scale and offset of its group.
pub(super) struct Quantized {
    /// [outputs, inputs · bits / 32], codes packed into u32.
    pub(super) codes: Array,
    /// [outputs, inputs / group]
    pub(super) scales: Array,
    /// [outputs, inputs / group]
    pub(super) offsets: Array,
    pub(super) bits: i32,
    pub(super) group_size: i32,
}

/// Linear layers with the same input; the outputs are concatenated.
pub(super) enum Projection {
    One(Linear),
    /// Layers whose formats cannot be fused, as in mixed-precision recipes.
    Apart(Vec<Linear>),
}

impl Linear {
    /// `weight` is [outputs, inputs].
    pub(super) fn dense(weight: Array, bias: Option<Array>) -> Mlx<Self> {
        Ok(Self { weight: Weight::Dense { transposed: weight.transpose()?, weight }, bias, blocks: None })
    }

    pub(super) fn quantized(weight: Quantized, bias: Option<Array>) -> Self {
        Self { weight: Weight::Quantized(weight), bias, blocks: None }
    }

    /// Makes a row's result independent of the other rows.
    pub(super) fn batch_invariant(self, blocks: InvariantBlocks) -> Self {
        Self { blocks: Some(blocks), ..self }
    }

    /// Measures which numbers of rows give equal results in this layer's product, for activations of type `dtype`.
    pub(super) fn measure_blocks(&self, shape: KernelShape, dtype: Dtype) -> Mlx<InvariantBlocks> {
        InvariantBlocks::measure([shape.inputs, shape.outputs], dtype, |x| self.weight.product(x))
    }

    /// What MLX selects a kernel by, in addition to the number of rows.
    pub(super) fn kernel_shape(&self) -> KernelShape {
        match &self.weight {
            Weight::Dense { weight, .. } => KernelShape { inputs: weight.dim(1), outputs: weight.dim(0), format: None },
            Weight::Quantized(weight) => KernelShape {
                inputs: weight.scales.dim(1) * weight.group_size,
                outputs: weight.scales.dim(0),
                format: Some(weight.format()),
            },
        }
    }

    /// [n, inputs] → [n, outputs]
    pub(super) fn apply(&self, x: &Array) -> Mlx<Array> {
        match (&self.weight, &self.blocks, &self.bias) {
            (Weight::Dense { transposed, .. }, None, Some(bias)) => addmm(bias, x, transposed, 1.0, 1.0),
            (_, _, Some(bias)) => add(self.product(x)?, bias),
            (_, _, None) => self.product(x),
        }
    }

    fn product(&self, x: &Array) -> Mlx<Array> {
        match &self.blocks {
            None => self.weight.product(x),
            Some(blocks) => blocks.apply(x, |x| self.weight.product(x)),
        }
    }

    /// Rows of the matrix, as an embedding: [n] → [n, inputs]. Every index must be below `outputs`: MLX does not check.
    pub(super) fn rows(&self, indices: &Array) -> Mlx<Array> {
        match &self.weight {
            Weight::Dense { weight, .. } => take_axis(weight, indices, 0),
            Weight::Quantized(weight) => weight.rows(indices),
        }
    }

    /// Weight and bias of a dense layer.
    pub(super) fn into_dense(self) -> Option<(Array, Option<Array>)> {
        match self.weight {
            Weight::Dense { weight, .. } => Some((weight, self.bias)),
            Weight::Quantized(_) => None,
        }
    }

    /// All arrays on the device.
    pub(super) fn arrays(&self) -> Vec<&Array> {
        let mut arrays = match &self.weight {
            Weight::Dense { weight, transposed } => vec![weight, transposed],
            Weight::Quantized(weight) => vec![&weight.codes, &weight.scales, &weight.offsets],
        };
        arrays.extend(&self.bias);
        arrays
    }

    pub(super) fn as_dense(&self) -> Option<&Array> {
        match &self.weight {
            Weight::Dense { weight, .. } => Some(weight),
            Weight::Quantized(_) => None,
        }
    }

    fn as_quantized(&self) -> Option<&Quantized> {
        match &self.weight {
            Weight::Quantized(weight) => Some(weight),
            Weight::Dense { .. } => None,
        }
    }

    /// Whether both layers have the same values in the same format.
    pub(super) fn equals(&self, other: &Self) -> Mlx<bool> {
        let (ours, others) = (self.arrays(), other.arrays());
        let formats = [self, other].map(|linear| linear.as_quantized().map(Quantized::format));
        let mut is_same = ours.len() == others.len() && formats[0] == formats[1];
        for (array, other) in ours.iter().zip(others) {
            is_same = is_same && array.eq_exact(other)?;
        }
        Ok(is_same)
    }

    fn bias(&self) -> Option<&Array> {
        self.bias.as_ref()
    }
}

/// See [`Linear::kernel_shape`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KernelShape {
    inputs: i32,
    outputs: i32,
    /// Bits and group size.
    format: Option<(i32, i32)>,
}

impl Weight {
    /// `x · weightᵀ`.
    fn product(&self, x: &Array) -> Mlx<Array> {
        match self {
            Self::Dense { transposed, .. } => matmul(x, transposed),
            Self::Quantized(Quantized { codes, scales, offsets, bits, group_size }) => {
                quantized_matmul(x, codes, scales, offsets, true, *group_size, *bits)
            }
        }
    }
}

impl Quantized {
    /// Bits and group size.
    pub(super) fn format(&self) -> (i32, i32) {
        (self.bits, self.group_size)
    }

    fn rows(&self, indices: &Array) -> Mlx<Array> {
        let codes = take_axis(&self.codes, indices, 0)?;
        let scales = take_axis(&self.scales, indices, 0)?;
        let offsets = take_axis(&self.offsets, indices, 0)?;
        dequantize(codes, scales, &offsets, self.group_size, self.bits)
    }
}

impl Projection {
    /// Fuses layers by concatenating their outputs. Layers of different formats are not fused.
    pub(super) fn fused(linears: Vec<Linear>) -> Mlx<Self> {
        let biases: Option<Vec<_>> = linears.iter().map(Linear::bias).collect();
        let bias = biases.map(joined).transpose()?;
        let dense: Option<Vec<_>> = linears.iter().map(Linear::as_dense).collect();
        if let Some(parts) = dense {
            return Ok(Self::One(Linear::dense(joined(parts)?, bias)?));
        }
        let quantized: Option<Vec<_>> = linears.iter().map(Linear::as_quantized).collect();
        match quantized {
            Some(parts) if parts.windows(2).all(|pair| pair[0].format() == pair[1].format()) => {
                let Quantized { bits, group_size, .. } = *parts[0];
                let codes = joined(parts.iter().map(|part| &part.codes))?;
                let scales = joined(parts.iter().map(|part| &part.scales))?;
                let offsets = joined(parts.iter().map(|part| &part.offsets))?;
                Ok(Self::One(Linear::quantized(Quantized { codes, scales, offsets, bits, group_size }, bias)))
            }
            _ => Ok(Self::Apart(linears)),
        }
    }

    /// Applies `change` to every layer.
    pub(super) fn map<E>(self, mut change: impl FnMut(Linear) -> Result<Linear, E>) -> Result<Self, E> {
        match self {
            Self::One(linear) => change(linear).map(Self::One),
            Self::Apart(linears) => linears.into_iter().map(change).collect::<Result<_, _>>().map(Self::Apart),
        }
    }

    /// [n, inputs] → [n, sum of outputs]
    pub(super) fn apply(&self, x: &Array) -> Mlx<Array> {
        match self {
            Self::One(linear) => linear.apply(x),
            Self::Apart(linears) => {
                let outputs = linears.iter().map(|linear| linear.apply(x)).collect::<Mlx<Vec<_>>>()?;
                concatenate(&outputs, -1)
            }
        }
    }
}

fn joined<'a>(parts: impl IntoIterator<Item = &'a Array>) -> Mlx<Array> {
    concatenate(&parts.into_iter().collect::<Vec<_>>(), 0)
}
