//! Linear layers whose weight lies as a product reads it.
//!
//! Owns the safe form, and putting a weight into panels. Shapes are checked in C++, where the arrays are.

use std::ptr;

use mlx_rs::Array;
use mlx_rs::error::{Exception, Result};
use mlx_rs::ops::pad;

use crate::ffi::{self, RawPacked};

/// Outputs that lie side by side in a panel; `kPanel` in C++.
const PANEL: i32 = 16;

/// A weight in panels of 16 outputs each, in which a product reads it from front to back.
///
/// A BLAS copies the weight into such an order at every product. With few rows, as where tokens are decoded, that costs
/// more than the multiplication; with many, both are about as fast. The bits of a row do not depend on the others.
#[derive(Debug, Clone)]
pub struct PackedWeight {
    /// `[outputs / 16, rounded up, inputs, 16]`
    panels: Array,
    outputs: i32,
    version: u32,
}

impl PackedWeight {
    /// Copies `weight`, `[outputs, inputs]` of `f32`; the copy is made when [`Self::panels`] is evaluated.
    ///
    /// An error if it is not a matrix. Its type is looked at when it is used.
    #[track_caller]
    pub fn pack(weight: &Array) -> Result<Self> {
        let &[outputs, inputs] = weight.shape() else {
            return Err(Exception::custom(format!("a weight is a matrix, not of shape {:?}", weight.shape())));
        };
        let missing = (PANEL - outputs % PANEL) % PANEL;
        let filled = if missing == 0 { weight.clone() } else { pad(weight, &[(0, missing), (0, 0)], None, None)? };
        let panels = filled.reshape(&[-1, PANEL, inputs])?.swap_axes(1, 2)?.contiguous()?;
        Ok(Self { panels, outputs, version: 0 })
    }

    /// `x · weightᵀ`, `[N, inputs]` → `[N, outputs]`; added to `onto`, `[N, outputs]` or `[outputs]`, if there is one.
    ///
    /// All `f32`. An error if the shapes or types differ from that.
    #[track_caller]
    pub fn apply(&self, x: &Array, onto: Option<&Array>) -> Result<Array> {
        let weight = RawPacked { panels: self.panels.as_ptr(), outputs: self.outputs, version: self.version };
        let onto = onto.map(Array::as_ptr);
        let onto = onto.as_ref().map_or(ptr::null(), ptr::from_ref);
        let make = |out, stream| {
            // SAFETY: the handles are alive through the borrows; `out` has room for the one array that is made.
            unsafe { ffi::mlx_ops_linear(out, x.as_ptr(), &raw const weight, onto, stream) }
        };
        let [product] = ffi::make_arrays(make)?;
        Ok(product)
    }

    /// What lies on the device.
    #[must_use]
    pub fn panels(&self) -> &Array {
        &self.panels
    }

    /// The same with a version of the product for an older processor: 0 is the one for this processor. [`Self::apply`]
    /// fails where there is none.
    #[doc(hidden)]
    #[must_use]
    pub fn with_version(self, version: u32) -> Self {
        Self { version, ..self }
    }
}
