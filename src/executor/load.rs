//! Control of a load: its caller can abort it and see its progress. The threads that load the model check for an abort between
//! two parts of their work, and count the bytes that they have read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};

/// Controls one load. Clones control the same load.
#[derive(Debug, Clone, Default)]
pub struct LoadControl(Arc<State>);

#[derive(Debug, Default)]
struct State {
    aborted: OnceLock<Error>,
    loaded_bytes: AtomicU64,
    /// 0 until it is known.
    total_bytes: AtomicU64,
}

/// How much of the weights has been loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of the tensors that are on the device. It never decreases, and is at most `total_bytes`.
    pub loaded_bytes: u64,
    /// Bytes of all tensors of the folder; 0 until its headers were read.
    pub total_bytes: u64,
}

impl LoadControl {
    /// Ends the load with `error` after the current part. Further calls, and calls after the load has ended, have no effect.
    pub fn abort(&self, error: Error) {
        self.0.aborted.set(error).ok();
    }

    /// Whether the load was aborted.
    pub fn is_aborted(&self) -> bool {
        self.0.aborted.get().is_some()
    }

    /// An error once the load was aborted.
    pub fn check(&self) -> Result<()> {
        self.0.aborted.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Sets the number of bytes to load.
    pub fn expect_bytes(&self, total: u64) {
        self.0.total_bytes.store(total, Ordering::Relaxed);
    }

    /// Counts bytes that were loaded.
    pub fn add_loaded(&self, bytes: u64) {
        self.0.loaded_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The progress so far.
    pub fn progress(&self) -> LoadProgress {
        let total_bytes = self.0.total_bytes.load(Ordering::Relaxed);
        LoadProgress { loaded_bytes: self.0.loaded_bytes.load(Ordering::Relaxed).min(total_bytes), total_bytes }
    }
}
