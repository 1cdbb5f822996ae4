//! Kernels that run one after another as one operation of the graph.
//!
//! Owns the safe form of a chain. Whether its stages fit is checked in C++, where the arrays are.

use std::ptr::NonNull;

use mlx_rs::error::{Exception, Result};
use mlx_rs::{Array, Stream};

use crate::ffi::{self, ChainKind, Opaque, RawSlice, RawStage, StageKind};
use crate::{KvShape, PackedWeight, Step};

/// What a chain does with the rows that the stage before gave. All arrays are `f32`.
#[derive(Debug, Clone, Copy)]
pub enum Stage<'a> {
    /// Divides each row by its root mean square and multiplies by a weight.
    RmsNorm {
        /// As long as a row.
        weight: &'a Array,
        /// Added to the mean square.
        eps: f32,
    },
    /// `x · weightᵀ`.
    Linear {
        /// Its inputs are as many as a row has numbers.
        weight: &'a PackedWeight,
        /// Added to the result: `[outputs]`.
        bias: Option<&'a Array>,
        /// Adds the result to the rows that were kept, which are gone then: a residual connection.
        onto_kept: bool,
    },
    /// Rotates queries and keys by position, appends keys and values to the cache, and attends.
    ///
    /// A row holds all query heads, then all key heads, then all value heads, not yet rotated; the result has the query
    /// heads. Each row sees its own sequence up to its own position. Query heads share key heads in consecutive groups.
    Attention {
        /// Index of the layer, from 0.
        layer: usize,
        /// Multiplies every score; usually `1 / sqrt(head_dim)`. Positive.
        scale: f32,
        /// Of the store whose steps run through the chain.
        shape: KvShape,
    },
    /// `silu(gate) · up`, of rows that hold the gate in their first half and `up` in the second.
    Swiglu,
    /// Remembers the rows as they are, for a linear layer with `onto_kept`.
    Keep,
}

/// Kernels that run one after another as one operation: a norm, a decoder layer, or all of a decoder's layers.
///
/// On MLX's CPU backend an operation costs about the same whatever its size, so a small model's speed is decided by how
/// many there are. A row's result depends on that row and its sequence alone, whatever it shares a run with.
#[derive(Debug)]
pub struct Chain {
    raw: NonNull<Opaque<ChainKind>>,
}

// SAFETY: nothing changes a chain once it is made, and its arrays are computed.
unsafe impl Send for Chain {}
// SAFETY: as above.
unsafe impl Sync for Chain {}

impl Chain {
    /// For rows of `width` numbers. Computes the arrays of all stages.
    ///
    /// An error if there is no stage, if one does not fit the one before it, or if an array is not `f32`.
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
    /// A chain with attention needs the step that the rows are of; steps must be evaluated in the order they were made.
    /// An error if the rows fit neither the chain nor the step. Evaluation fails if an earlier step of a sequence was never
    /// evaluated, and on a GPU.
    #[track_caller]
    pub fn run(&self, x: &Array, step: Option<&Step>) -> Result<Array> {
        let step = step.map_or(std::ptr::null(), Step::as_ptr);
        let make = |out, stream| {
            // SAFETY: the handles are alive through the borrows; `out` has room for the one array that is made, which
            // takes shares of the chain and the step.
            unsafe { ffi::mlx_ops_chain_run(out, self.raw.as_ptr(), x.as_ptr(), step, stream) }
        };
        ffi::make_array(make)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: made by `new` and freed once; arrays made from it have shares of their own.
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
