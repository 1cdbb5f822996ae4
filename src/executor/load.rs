//! How a load is stopped: its requester sets a reason, and the threads that load look for one between two parts of their
//! work.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};

/// The end of one load that was asked for before its own. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LoadControl(Arc<OnceLock<Error>>);

impl LoadControl {
    /// Lets the load end with `error` after the part that is under way. The first reason counts; after the load has ended
    /// there is no effect.
    pub fn abort(&self, error: Error) {
        self.0.set(error).ok();
    }

    /// Whether the load was aborted.
    pub fn is_aborted(&self) -> bool {
        self.0.get().is_some()
    }

    /// The reason, as an error, once the load was aborted.
    pub fn check(&self) -> Result<()> {
        self.0.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}
