//! Primitives that treat each row by itself.
//!
//! Owns their safe form. Shapes are checked in C++, where the arrays are.

use mlx_rs::Array;
use mlx_rs::error::Result;

use crate::ffi;

/// Divides each row by its root mean square and multiplies by `weight`, in one operation.
///
/// `x` is `[.., D]`, `weight` is `[D]`, the result is `[.., D]`; all `f32`. `eps` is added to the mean square.
/// An error if the shapes or types differ from that.
#[track_caller]
pub fn rms_norm(x: &Array, weight: &Array, eps: f32) -> Result<Array> {
    let inputs = [x.as_ptr(), weight.as_ptr()];
    // SAFETY: the handles are alive through the borrows; `out` has room for the one array that is made.
    let [norm] = ffi::make_arrays(|out, stream| unsafe { ffi::mlx_ops_rms_norm(out, inputs.as_ptr(), eps, stream) })?;
    Ok(norm)
}

/// Adds `y` to `x` and normalises the sum: the residual connection and the norm that follows it, in one operation.
///
/// `x` and `y` are `[.., D]`, `weight` is `[D]`; all `f32`. Returns `x + y` and what [`rms_norm`] makes of it, to the bit.
#[track_caller]
pub fn add_rms_norm(x: &Array, y: &Array, weight: &Array, eps: f32) -> Result<(Array, Array)> {
    let inputs = [x.as_ptr(), y.as_ptr(), weight.as_ptr()];
    let make = |out, stream| {
        // SAFETY: the handles are alive through the borrows; `out` has room for the two arrays that are made.
        unsafe { ffi::mlx_ops_add_rms_norm(out, inputs.as_ptr(), eps, stream) }
    };
    let [sum, norm] = ffi::make_arrays(make)?;
    Ok((sum, norm))
}

/// The gated activation of a decoder's feed-forward layer: `silu(gate) * up`, in one operation.
///
/// `gate_up` is `[.., 2 * I]`, the gate in the first half of the columns and `up` in the second; the result is
/// `[.., I]`. All `f32`. An error if the number of columns is odd.
#[track_caller]
pub fn swiglu(gate_up: &Array) -> Result<Array> {
    // SAFETY: the handle is alive through the borrow; `out` has room for the one array that is made.
    let make = |out, stream| unsafe { ffi::mlx_ops_swiglu(out, gate_up.as_ptr(), stream) };
    let [gated] = ffi::make_arrays(make)?;
    Ok(gated)
}
