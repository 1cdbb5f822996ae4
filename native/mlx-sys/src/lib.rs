//! The C API of MLX, linked from MLX's own released binaries.
//!
//! Stands in for the published crate of the same name, under `mlx-rs`. Owns declarations and the symbols that some
//! targets lack; `build/` owns how the libraries get here. Nothing here is safe to call: that is `mlx-rs`'s work.

#[rustfmt::skip] // stays as its generator wrote it
mod bindings;
#[cfg(not(target_vendor = "apple"))]
mod clock;
mod half;

pub use bindings::*;
pub use half::*;

/// The C library's stream type, which crosses by pointer only.
#[derive(Debug)]
#[repr(C)]
pub struct FILE {
    opaque: [u8; 0],
}
