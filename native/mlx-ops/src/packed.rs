//! Weights of linear layers that lie as a product reads them.
//!
//! Owns putting a weight into panels. What is done with it is a stage of a chain.

use mlx_rs::Array;
use mlx_rs::error::{Exception, Result};
use mlx_rs::ops::pad;

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

    /// What lies on the device.
    #[must_use]
    pub fn panels(&self) -> &Array {
        &self.panels
    }

    /// The same with a version of the product for an older processor: 0 is the one for this processor. A chain refuses
    /// one that there is not.
    #[doc(hidden)]
    #[must_use]
    pub fn with_version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    pub(crate) fn num_outputs(&self) -> i32 {
        self.outputs
    }

    pub(crate) fn version(&self) -> u32 {
        self.version
    }
}
