//! The C API of MLX, linked from MLX's own released binaries.
//!
//! It replaces the published crate of the same name under `mlx-rs`. It has the declarations, and the symbols that some targets
//! lack; `build/` provides the libraries. All functions are unsafe; `mlx-rs` has the safe interface.

#[rustfmt::skip] // stays as its generator wrote it
mod bindings;
#[cfg(not(target_vendor = "apple"))]
mod clock;
mod half;

pub use bindings::*;
pub use half::*;

/// The C library's stream type, used through pointers only.
#[derive(Debug)]
#[repr(C)]
pub struct FILE {
    opaque: [u8; 0],
}
