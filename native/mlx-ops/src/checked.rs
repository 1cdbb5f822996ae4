//! Sampled tokens, checked for the host.

use mlx_rs::Array;
use mlx_rs::error::Result;

use crate::ffi;

/// Replaces the token of a row with invalid logits. It is in no vocabulary.
pub const NO_TOKEN: u32 = u32::MAX;

/// The tokens `[N]` sampled from logits `[N, vocab]`, with [`NO_TOKEN`] if a logit of the row is NaN or positive infinity, or
/// if all are negative infinity. A single logit of negative infinity is valid.
///
/// An error unless there is one token, `u32`, for each row of logits, `f32`. Evaluation fails on a GPU.
#[track_caller]
pub fn checked(logits: &Array, tokens: &Array) -> Result<Array> {
    let make = |out, stream| {
        // SAFETY: the borrows keep the handles alive; `out` has room for the one array that is made.
        unsafe { ffi::mlx_ops_checked(out, logits.as_ptr(), tokens.as_ptr(), stream) }
    };
    ffi::make_array(make)
}
