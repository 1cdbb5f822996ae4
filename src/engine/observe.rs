//! What an engine says about itself, to any thread: statistics and health.

use std::sync::atomic::Ordering;

use crate::lock::lock;

use super::Engine;
use super::health::{self, Health, HealthReason};
use super::sample::Sample;
use super::snapshot::Snapshot;

impl Engine {
    /// Counters since the start.
    pub fn stats(&self) -> Snapshot {
        self.sample().snapshot()
    }

    /// All statistics: those of the engine, of each loaded model, and of each label of metrics.
    pub fn sample(&self) -> Sample {
        let sample = self.shared.stats.sample(&self.shared.answers, self.shared.clock.now());
        let disk = self.shared.disk.get().map(|disk| disk.counts());
        Sample { workers: self.workers.stats(), disk, ..sample }
    }

    /// Whether it can serve requests.
    pub fn health(&self) -> Health {
        let mut reasons = Vec::new();
        if self.is_closed.load(Ordering::Acquire) {
            reasons.push(HealthReason::Closed);
        } else if !self.workers.has_any() {
            reasons.push(HealthReason::EngineStopped);
        }
        let limit = self.permits.limit();
        if self.permits.num_taken() >= limit {
            reasons.push(HealthReason::QueueFull { limit });
        }
        let has_model = !lock(&self.models).is_empty();
        reasons.extend(health::of_models(&self.sample(), has_model));
        Health::of(reasons)
    }

    /// Whether metrics are exported.
    pub fn exports_metrics(&self) -> bool {
        self.exports_metrics
    }

    /// Bytes of KV that the sequences of all models may hold together now, if limited.
    pub fn kv_limit(&self) -> Option<u64> {
        self.ledger.kv_of_all()
    }
}
