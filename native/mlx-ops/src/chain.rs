//! Kernels that run one after another as one operation of the graph.
//!
//! The safe interface of a chain. C++ checks whether its stages fit, because it has the arrays.

use std::ptr::NonNull;

use mlx_rs::error::{Exception, Result};
use mlx_rs::{Array, Stream};

use crate::ffi::{self, ChainKind, Opaque, RawSlice, RawStage, StageKind};
use crate::{KvShape, PackedWeight, Step};

/// A stage of a chain: one kernel on the rows of the stage before. All arrays are `f32`.
#[derive(Debug, Clone, Copy)]
pub enum Stage<'a> {
    /// Divides each row by its root mean square and multiplies by a weight.
    RmsNorm {
        /// The weight, `[width]`.
        weight: &'a Array,
        /// The epsilon, which is added to the mean square.
        eps: f32,
    },
    /// `x · weightᵀ`.
    Linear {
        /// The weight. Its number of inputs is the width of a row.
        weight: &'a PackedWeight,
        /// The bias, `[outputs]`.
        bias: Option<&'a Array>,
        /// Whether the result is added to the kept rows, which are used up then: a residual connection.
        onto_kept: bool,
    },
    /// Rotates queries and keys by position, appends keys and values to the cache, and attends.
    ///
    /// A row has all query heads, then all key heads, then all value heads, without rotation. A row of the result has the
    /// query heads. Each row sees its own sequence up to its own position. Consecutive query heads share a key head.
    Attention {
        /// Index of the layer, from 0.
        layer: usize,
        /// The factor of every score, usually `1 / sqrt(head_dim)`. Positive.
        scale: f32,
        /// The shape of the store whose steps run through the chain.
        shape: KvShape,
    },
    /// `silu(gate) · up`, for rows with `gate` in their first half and `up` in the second.
    Swiglu,
    /// Keeps a copy of the rows for a later linear layer with `onto_kept`.
    Keep,
}

/// Kernels that run one after another as one operation: a norm, a decoder layer, or all of a decoder's layers.
///
/// On MLX's CPU backend an operation has about the same overhead whatever its size, so the number of operations limits the
/// speed of a small model. The result of a row depends on that row and its sequence only.
#[derive(Debug)]
pub struct Chain {
    raw: NonNull<Opaque<ChainKind>>,
}

// SAFETY: a chain does not change after it is made, and its arrays are computed.
unsafe impl Send for Chain {}
// SAFETY: as above.
unsafe impl Sync for Chain {}

impl Chain {
    /// A chain for rows of `width` numbers. Computes the arrays of all stages.
    ///
    /// An error if there is no stage, if a stage does not fit the one before it, or if an array is not `f32`.
    #[track_caller]
    pub fn new(width: usize, stages: &[Stage<'_>]) -> Result<Self> {
        let width = i32::try_from(width).map_err(|_| Exception::custom(format!("rows of {width} are too wide")))?;
        let stages = stages.iter().map(RawStage::of).collect::<Result<Vec<_>>>()?;
        let stream = Stream::thread_local_or_default();
        let mut raw = std::ptr::null_mut();
        // SAFETY: the slice, and through the borrows all handles in it, are valid for the call.
        ffi::check(unsafe { ffi::mlx_ops_chain_new(&raw mut raw, width, RawSlice::of(&stages), stream.as_ptr()) })?;
        NonNull::new(raw).map(|raw| Self { raw }).ok_or_else(|| Exception::custom("no chain was made"))
    }

    /// Runs rows through all stages: `[N, width]` → `[N, width of the last stage]`.
    ///
    /// A chain with attention needs the step of the rows; steps must be evaluated in the order in which they were made. An
    /// error if the rows do not fit the chain or the step. Evaluation fails if an earlier step of a sequence was not
    /// evaluated, and on a GPU.
    #[track_caller]
    pub fn run(&self, x: &Array, step: Option<&Step>) -> Result<Array> {
        let step = step.map_or(std::ptr::null(), Step::as_ptr);
        let make = |out, stream| {
            // SAFETY: the borrows keep the handles alive; `out` has room for the one array that is made, which shares
            // ownership of the chain and the step.
            unsafe { ffi::mlx_ops_chain_run(out, self.raw.as_ptr(), x.as_ptr(), step, stream) }
        };
        ffi::make_array(make)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: made by `new` and freed once; arrays made from it share ownership.
        unsafe { ffi::mlx_ops_chain_free(self.raw.as_ptr()) }
    }
}

impl RawStage {
    fn of(stage: &Stage<'_>) -> Result<Self> {
        Ok(match *stage {
            Stage::RmsNorm { weight, eps } => {
                Self { weight: weight.as_ptr(), number: eps, ..Self::empty(StageKind::RmsNorm) }
            }
            Stage::Linear { weight, bias, onto_kept } => Self {
                packed: weight.as_ptr(),
                bias: bias.map_or_else(ffi::no_array, Array::as_ptr),
                version: weight.version(),
                onto_kept,
                ..Self::empty(StageKind::Linear)
            },
            Stage::Attention { layer, scale, shape } => Self {
                layer: i32::try_from(layer).map_err(|_| Exception::custom(format!("layer {layer} is out of range")))?,
                number: scale,
                shape: shape.checked()?,
                ..Self::empty(StageKind::Attention)
            },
            Stage::Swiglu => Self::empty(StageKind::Swiglu),
            Stage::Keep => Self::empty(StageKind::Keep),
        })
    }

    fn empty(kind: StageKind) -> Self {
        Self {
            kind,
            weight: ffi::no_array(),
            packed: std::ptr::null(),
            bias: ffi::no_array(),
            version: 0,
            onto_kept: false,
            layer: 0,
            number: 0.0,
            shape: ffi::RawShape::default(),
        }
    }
}
