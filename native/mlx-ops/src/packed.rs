//! Weights of linear layers, in the order in which a product reads them.
//!
//! This file has their lifetime. A stage of a chain uses them.

use std::ptr::NonNull;

use mlx_rs::error::{Exception, Result};
use mlx_rs::{Array, Stream};

use crate::ffi::{self, Opaque, PackedKind};

/// A weight in panels of 16 outputs each, which a product reads from front to back.
///
/// A BLAS copies the weight into such an order for every product. With few rows, as when tokens are decoded, that takes longer
/// than the multiplication; with hundreds of rows there is no difference. The bits of a row do not depend on other rows.
#[derive(Debug)]
pub struct PackedWeight {
    raw: NonNull<Opaque<PackedKind>>,
    version: u32,
}

// SAFETY: a packed weight does not change after it is made.
unsafe impl Send for PackedWeight {}
// SAFETY: as above.
unsafe impl Sync for PackedWeight {}

impl PackedWeight {
    /// Computes `weight`, `[outputs, inputs]` of `f32`, and copies it.
    ///
    /// An error if it has another type or shape, or cannot be computed.
    #[track_caller]
    pub fn pack(weight: &Array) -> Result<Self> {
        let stream = Stream::thread_local_or_default();
        let mut raw = std::ptr::null_mut();
        // SAFETY: the handle is alive through the borrow.
        ffi::check(unsafe { ffi::mlx_ops_pack(&raw mut raw, weight.as_ptr(), stream.as_ptr()) })?;
        NonNull::new(raw).map(|raw| Self { raw, version: 0 }).ok_or_else(|| Exception::custom("nothing was packed"))
    }

    /// The same weight with a version of the product for an older processor; version 0 is the one for this processor. A chain
    /// refuses a version that does not exist.
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
        // SAFETY: made by `pack` and freed once; chains share ownership.
        unsafe { ffi::mlx_ops_packed_free(self.raw.as_ptr()) }
    }
}
