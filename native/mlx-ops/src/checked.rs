//! Tokens that were drawn, as the host reads them.

use mlx_rs::Array;
use mlx_rs::error::Result;

use crate::ffi;

/// Stands for the token of a row whose logits are not sound. No vocabulary has it.
pub const NO_TOKEN: u32 = u32::MAX;

/// The tokens `[N]` drawn from logits `[N, vocab]`, with [`NO_TOKEN`] where a logit is NaN or positive infinity, or where
/// the token has no probability because all are negative infinity. A single logit of negative infinity is sound.
///
/// An error if there is not a token, `u32`, for each row of logits, `f32`. Evaluation fails on a GPU.
#[track_caller]
pub fn checked(logits: &Array, tokens: &Array) -> Result<Array> {
    let make = |out, stream| {
        // SAFETY: the handles are alive through the borrows; `out` has room for the one array that is made.
        unsafe { ffi::mlx_ops_checked(out, logits.as_ptr(), tokens.as_ptr(), stream) }
    };
    ffi::make_array(make)
}
