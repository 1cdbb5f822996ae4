//! Linear layers in the form that the chained decoder runs.

use mlx_ops::{PackedWeight, Stage};
use mlx_rs::Array;

use super::failure::bad_model;

/// A linear layer, packed for a chain.
pub(super) struct Packed {
    pub(super) weight: PackedWeight,
    pub(super) bias: Option<Array>,
}

impl Packed {
    pub(super) fn stage(&self, onto_kept: bool) -> Stage<'_> {
        Stage::Linear { weight: &self.weight, bias: self.bias.as_ref(), onto_kept }
    }
}

/// The error for weights that a chain cannot run.
pub(super) fn not_dense() -> crate::error::Error {
    bad_model("a weight that must be dense is quantized or a mixture of experts")
}
