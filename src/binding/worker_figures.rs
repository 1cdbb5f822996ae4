//! The engine threads as plain objects. `lib/native.ts` declares their type.

use napi_derive::napi;

use crate::engine::WorkerStats;

/// One engine thread.
#[napi(object)]
pub struct NativeWorkerStats {
    /// Whether it runs.
    pub running: bool,
    /// Its requests that have not ended.
    pub pending: f64,
    /// Requests that it got.
    pub requests: f64,
    /// How often it was replaced.
    pub restarts: f64,
}

impl From<&WorkerStats> for NativeWorkerStats {
    fn from(WorkerStats { load, is_running, num_restarts }: &WorkerStats) -> Self {
        Self {
            running: *is_running,
            pending: load.num_pending as f64,
            requests: load.num_requests as f64,
            restarts: *num_restarts as f64,
        }
    }
}
