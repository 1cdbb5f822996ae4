//! Aborting a load: the caller sets an error, and the threads that load the model check for it between two parts of their work.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};

/// Aborts one load. Clones abort the same load.
#[derive(Debug, Clone, Default)]
pub struct LoadControl(Arc<OnceLock<Error>>);

impl LoadControl {
    /// Ends the load with `error` after the current part. Further calls, and calls after the load has ended, have no effect.
    pub fn abort(&self, error: Error) {
        self.0.set(error).ok();
    }

    /// Whether the load was aborted.
    pub fn is_aborted(&self) -> bool {
        self.0.get().is_some()
    }

    /// An error once the load was aborted.
    pub fn check(&self) -> Result<()> {
        self.0.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}
