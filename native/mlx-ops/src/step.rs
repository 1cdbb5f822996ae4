//! One step's rows, and attention over them.
//!
//! Owns the safe form of a step. A step is made by a `KvStore`, which checks it; nothing about it can change after.

use std::ptr::NonNull;

use mlx_rs::Array;
use mlx_rs::error::{Exception, Result};

use crate::ffi::{self, Opaque, RawLayer, RawSegment, StepKind};

/// Consecutive rows of a step that are consecutive positions of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The sequence, by the name it was created with.
    pub sequence: u64,
    /// Position of the first row.
    pub start: usize,
    /// Number of rows; at least one.
    pub count: usize,
}

impl Segment {
    pub(crate) fn checked(&self) -> Result<RawSegment> {
        match (i32::try_from(self.start), i32::try_from(self.count)) {
            (Ok(start), Ok(count)) => Ok(RawSegment { sequence: self.sequence, start, count }),
            _ => Err(Exception::custom(format!("{self:?} is out of range"))),
        }
    }
}

/// Which layer attends, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionLayer {
    /// Index of the layer, from 0.
    pub index: usize,
    /// Multiplies every score; usually `1 / sqrt(head_dim)`. Positive.
    pub scale: f32,
}

/// The rows of one step: which sequence and position each belongs to.
///
/// Keeps the sequences it names alive, dropped from the store or not.
#[derive(Debug)]
pub struct Step {
    raw: NonNull<Opaque<StepKind>>,
}

impl Step {
    /// Takes over what C++ made.
    pub(crate) fn own(raw: NonNull<Opaque<StepKind>>) -> Self {
        Self { raw }
    }

    /// Rotates queries and keys by position, appends keys and values to the cache, and attends: in one operation.
    ///
    /// `qkv` is `[rows, (H + 2 * Hkv) * D]`, `f32`: all query heads, then all key heads, then all value heads, not yet
    /// rotated. The result is `[rows, H * D]`. Each row sees its own sequence up to its own position. Query heads share
    /// key heads in consecutive groups. Call it once for each layer; evaluate steps in the order they were made.
    /// An error if the shape does not fit the step; evaluation fails if an earlier step was never evaluated.
    #[track_caller]
    pub fn attention(&self, qkv: &Array, layer: AttentionLayer) -> Result<Array> {
        let index = i32::try_from(layer.index)
            .map_err(|_| Exception::custom(format!("layer {} is out of range", layer.index)))?;
        let layer = RawLayer { step: self.raw.as_ptr(), index, scale: layer.scale };
        let make = |out, stream| {
            // SAFETY: the handles are alive through the borrows; `out` has room for the one array that is made, which
            // takes a share of the step.
            unsafe { ffi::mlx_ops_ragged_attention(out, qkv.as_ptr(), &raw const layer, stream) }
        };
        let [attended] = ffi::make_arrays(make)?;
        Ok(attended)
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // SAFETY: owned since `own` and freed once; arrays made from it have shares of their own.
        unsafe { ffi::mlx_ops_step_free(self.raw.as_ptr()) }
    }
}
