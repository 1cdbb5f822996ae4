//! Weights of linear layers that lie as a product reads them.
//!
//! Owns their lifetime. What is done with them is a stage of a chain.

use std::ptr::NonNull;

use mlx_rs::error::{Exception, Result};
use mlx_rs::{Array, Stream};

use crate::ffi::{self, Opaque, PackedKind};

/// A weight in panels of 16 outputs each, in which a product reads it from front to back.
///
/// A BLAS copies the weight into such an order at every product. With few rows, as where tokens are decoded, that costs
/// more than the multiplication; with hundreds of rows there is no difference. The bits of a row do not depend on the
/// others.
#[derive(Debug)]
pub struct PackedWeight {
    raw: NonNull<Opaque<PackedKind>>,
    version: u32,
}

// SAFETY: nothing changes a packed weight once it is made.
unsafe impl Send for PackedWeight {}
// SAFETY: as above.
unsafe impl Sync for PackedWeight {}

impl PackedWeight {
    /// Computes `weight`, `[outputs, inputs]` of `f32`, and copies it.
    ///
    /// An error if it is something else, or cannot be computed.
    #[track_caller]
    pub fn pack(weight: &Array) -> Result<Self> {
        let stream = Stream::thread_local_or_default();
        let mut raw = std::ptr::null_mut();
        // SAFETY: the handle is alive through the borrow.
        ffi::check(unsafe { ffi::mlx_ops_pack(&raw mut raw, weight.as_ptr(), stream.as_ptr()) })?;
        NonNull::new(raw).map(|raw| Self { raw, version: 0 }).ok_or_else(|| Exception::custom("nothing was packed"))
    }

    /// The same with a version of the product for an older processor: 0 is the one for this processor. A chain refuses
    /// one that there is not.
    #[doc(hidden)]
    #[must_use]
    pub fn with_version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn as_ptr(&self) -> *const Opaque<PackedKind> {
        self.raw.as_ptr()
    }

    pub(crate) fn version(&self) -> u32 {
        self.version
    }
}

impl Drop for PackedWeight {
    fn drop(&mut self) {
        // SAFETY: made by `pack` and freed once; chains have shares of their own.
        unsafe { ffi::mlx_ops_packed_free(self.raw.as_ptr()) }
    }
}
