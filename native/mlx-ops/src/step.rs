//! The rows of one step.
//!
//! The safe interface of a step. A `KvStore` makes and checks it; it does not change afterwards.

use std::ptr::NonNull;

use mlx_rs::error::{Exception, Result};

use crate::ffi::{self, Opaque, RawSegment, StepKind};

/// Consecutive rows of a step with consecutive positions of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The name of the sequence.
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

/// The rows of one step: the sequence and position of each.
///
/// Keeps its sequences alive, even if they are removed from the store.
#[derive(Debug)]
pub struct Step {
    raw: NonNull<Opaque<StepKind>>,
}

impl Step {
    /// Takes ownership of a step that C++ made.
    pub(crate) fn own(raw: NonNull<Opaque<StepKind>>) -> Self {
        Self { raw }
    }

    pub(crate) fn as_ptr(&self) -> *const Opaque<StepKind> {
        self.raw.as_ptr()
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // SAFETY: owned since `own` and freed once; arrays made from it share ownership.
        unsafe { ffi::mlx_ops_step_free(self.raw.as_ptr()) }
    }
}
