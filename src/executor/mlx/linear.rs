//! Linear layers and the embedding, dense or quantized, as they lie on the device. Where they come from is `weights`.

use mlx_rs::ops::indexing::take_axis;
use mlx_rs::ops::{add, addmm, concatenate, dequantize, matmul, quantized_matmul};
use mlx_rs::{Array, Dtype};

use super::blocks::Blocks;
use super::failure::Mlx;
use super::panels::Panels;

/// `x · weightᵀ + bias`.
pub(super) enum Linear {
    Dense {
        /// [outputs, inputs]
        weight: Array,
        /// The same memory seen as [inputs, outputs]: a view made once, not once a step.
        transposed: Array,
        /// [outputs]
        bias: Option<Array>,
        cut: Cut,
    },
    Quantized(Quantized),
}

/// How a product is cut into smaller ones.
pub(super) enum Cut {
    /// It is not.
    Whole,
    /// Few rows: along its outputs, where the device is better off so.
    Panels(Panels),
    /// Along its rows, so that a row's result is the same in any company.
    Blocks(Blocks),
}

/// MLX's affine format: a value is `scale · code + offset` of its group.
pub(super) struct Quantized {
    /// [outputs, inputs · bits / 32], codes packed into u32.
    pub(super) weight: Array,
    /// [outputs, inputs / group]
    pub(super) scales: Array,
    /// [outputs, inputs / group]
    pub(super) offsets: Array,
    /// [outputs]
    pub(super) bias: Option<Array>,
    pub(super) bits: i32,
    pub(super) group_size: i32,
    /// As in [`Cut::Blocks`].
    pub(super) blocks: Option<Blocks>,
}

/// Linear layers that share their input; their outputs stand side by side.
pub(super) enum Projection {
    One(Linear),
    /// Formats that cannot be fused, as in mixed-precision recipes.
    Apart(Vec<Linear>),
}

impl Linear {
    /// A layer without quantization; `weight` is [outputs, inputs].
    pub(super) fn dense(weight: Array, bias: Option<Array>) -> Mlx<Self> {
        Ok(Self::Dense { transposed: weight.transpose()?, weight, bias, cut: Cut::Whole })
    }

    /// Makes the layer fast for few rows on the CPU.
    pub(super) fn in_panels(self) -> Mlx<Self> {
        match self {
            Self::Dense { weight, transposed, bias: None, .. } => {
                let cut = Cut::Panels(Panels::cut(&weight)?);
                Ok(Self::Dense { weight, transposed, bias: None, cut })
            }
            other => Ok(other),
        }
    }

    /// Makes a row's result the same in any company.
    pub(super) fn in_blocks(self, blocks: Blocks) -> Self {
        match self {
            Self::Dense { weight, transposed, bias, .. } => {
                Self::Dense { weight, transposed, bias, cut: Cut::Blocks(blocks) }
            }
            Self::Quantized(layer) => Self::Quantized(Quantized { blocks: Some(blocks), ..layer }),
        }
    }

    /// In which shapes its product may be carried out so that they agree, for activations of this type.
    pub(super) fn measure_blocks(&self, dtype: Dtype) -> Mlx<Blocks> {
        let [inputs, outputs, ..] = self.shape();
        match self {
            Self::Dense { transposed, .. } => Blocks::measure([inputs, outputs], dtype, |x| matmul(x, transposed)),
            Self::Quantized(layer) => Blocks::measure([inputs, outputs], dtype, |x| layer.apply(x)),
        }
    }

    /// What its kernels are chosen by, besides the number of rows: inputs, outputs, bits and group size.
    pub(super) fn shape(&self) -> [i32; 4] {
        match self {
            Self::Dense { weight, .. } => [weight.dim(1), weight.dim(0), 0, 0],
            Self::Quantized(Quantized { scales, bits, group_size, .. }) => {
                [scales.dim(1) * group_size, scales.dim(0), *bits, *group_size]
            }
        }
    }

    /// [n, inputs] → [n, outputs]
    pub(super) fn apply(&self, x: &Array) -> Mlx<Array> {
        if let Some(product) = self.cut_product(x) {
            return product;
        }
        match self {
            Self::Dense { transposed, bias: None, .. } => matmul(x, transposed),
            Self::Dense { transposed, bias: Some(bias), .. } => addmm(bias, x, transposed, 1.0, 1.0),
            Self::Quantized(layer) => layer.apply(x),
        }
    }

    /// `residual + apply(x)` as one operation where there is one. It rounds once where the two steps round twice, so
    /// it is for element types whose rounding does not show.
    pub(super) fn apply_onto(&self, x: &Array, residual: &Array) -> Mlx<Array> {
        if let Some(product) = self.cut_product(x) {
            return add(residual, product?);
        }
        match self {
            Self::Dense { transposed, bias: None, .. } => addmm(residual, x, transposed, 1.0, 1.0),
            _ => add(residual, self.apply(x)?),
        }
    }

    /// Rows of the matrix, as an embedding: [n] → [n, inputs]. Every index must be below `outputs`: MLX does not look.
    pub(super) fn rows(&self, indices: &Array) -> Mlx<Array> {
        match self {
            Self::Dense { weight, .. } => take_axis(weight, indices, 0),
            Self::Quantized(layer) => layer.rows(indices),
        }
    }

    /// Everything that lies on the device.
    pub(super) fn arrays(&self) -> Vec<&Array> {
        match self {
            Self::Dense { weight, transposed, bias, cut } => {
                let views = if let Cut::Panels(panels) = cut { Some(panels) } else { None };
                let views = views.into_iter().flat_map(Panels::arrays);
                [weight, transposed].into_iter().chain(bias).chain(views).collect()
            }
            Self::Quantized(layer) => {
                [&layer.weight, &layer.scales, &layer.offsets].into_iter().chain(&layer.bias).collect()
            }
        }
    }

    /// The product out of smaller ones, where it is cut for so many rows.
    fn cut_product(&self, x: &Array) -> Option<Mlx<Array>> {
        match self {
            Self::Dense { cut: Cut::Panels(panels), .. } => panels.apply(x),
            Self::Dense { cut: Cut::Blocks(blocks), transposed, bias, .. } => {
                let product = blocks.apply(x, |x| matmul(x, transposed));
                Some(match bias {
                    None => product,
                    Some(bias) => product.and_then(|product| add(product, bias)),
                })
            }
            Self::Quantized(layer) => layer.blocks.as_ref().map(|blocks| blocks.apply(x, |x| layer.apply(x))),
            Self::Dense { .. } => None,
        }
    }

    pub(super) fn as_dense(&self) -> Option<(&Array, Option<&Array>)> {
        match self {
            Self::Dense { weight, bias, .. } => Some((weight, bias.as_ref())),
            Self::Quantized(_) => None,
        }
    }

    pub(super) fn as_quantized(&self) -> Option<&Quantized> {
        match self {
            Self::Dense { .. } => None,
            Self::Quantized(layer) => Some(layer),
        }
    }
}

impl Quantized {
    pub(super) fn format(&self) -> (i32, i32) {
        (self.bits, self.group_size)
    }

    fn apply(&self, x: &Array) -> Mlx<Array> {
        let y = quantized_matmul(x, &self.weight, &self.scales, &self.offsets, true, self.group_size, self.bits)?;
        match &self.bias {
            None => Ok(y),
            Some(bias) => add(y, bias),
        }
    }

    fn rows(&self, indices: &Array) -> Mlx<Array> {
        let weight = take_axis(&self.weight, indices, 0)?;
        let scales = take_axis(&self.scales, indices, 0)?;
        let offsets = take_axis(&self.offsets, indices, 0)?;
        dequantize(weight, scales, &offsets, self.group_size, self.bits)
    }
}

impl Projection {
    /// The same with every layer changed.
    pub(super) fn map(self, mut change: impl FnMut(Linear) -> Mlx<Linear>) -> Mlx<Self> {
        match self {
            Self::One(linear) => change(linear).map(Self::One),
            Self::Apart(linears) => linears.into_iter().map(change).collect::<Mlx<_>>().map(Self::Apart),
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

    pub(super) fn arrays(&self) -> Vec<&Array> {
        match self {
            Self::One(linear) => linear.arrays(),
            Self::Apart(linears) => linears.iter().flat_map(Linear::arrays).collect(),
        }
    }
}
