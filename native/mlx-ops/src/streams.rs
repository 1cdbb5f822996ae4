//! The streams of a thread.
//!
//! Owns their end, which mlx-rs does not expose. MLX makes a default stream for each thread that computes, and behind it
//! a thread of its own, and keeps both for the life of the process unless told otherwise.

use mlx_rs::error::{Exception, Result};

/// Waits for what the streams made on this thread still compute, and ends them with the threads behind them.
///
/// For a thread that has finished with MLX: arrays of these streams that were not evaluated can never be.
#[track_caller]
pub fn clear_streams() -> Result<()> {
    // SAFETY: takes nothing and returns a status; what it ends belongs to the calling thread alone.
    match unsafe { mlx_sys::mlx_clear_streams() } {
        0 => Ok(()),
        status => Err(Exception::custom(format!("the streams of this thread could not be ended ({status})"))),
    }
}
