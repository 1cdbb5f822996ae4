//! Turns a panic into an error of the work that panicked. The caller knows which state is still consistent.

use crate::error::{Code, Error, Result};
use crate::panics;

/// Runs work that may panic; a panic becomes an error with `code`.
pub(super) fn guarded<T>(code: Code, work: impl FnOnce() -> Result<T>) -> Result<T> {
    panics::catch(work).unwrap_or_else(|panic| Err(Error::new(code, format!("the engine panicked: {panic}"))))
}
