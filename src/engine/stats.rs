//! Counters of an engine. Counted in one place, the lane that commits a step, and read by anyone: relaxed atomics, since
//! each stands for itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::answers::End;
use crate::error::Code;
use crate::request::FinishReason;

/// What the engine has done since it started.
#[derive(Debug, Default)]
pub struct Stats {
    requests: AtomicU64,
    completed: AtomicU64,
    cancelled: AtomicU64,
    failed: AtomicU64,
    prompt_tokens: AtomicU64,
    generated_tokens: AtomicU64,
    steps: AtomicU64,
    rows: AtomicU64,
    parks: AtomicU64,
    recoveries: AtomicU64,
    queued: AtomicU64,
    running: AtomicU64,
    parked: AtomicU64,
    kv_bytes: AtomicU64,
    end_interval_us: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Requests accepted.
    pub requests: u64,
    /// Of these, those that finished by themselves.
    pub completed: u64,
    /// Cancelled or abandoned.
    pub cancelled: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Prompt tokens fed to the device.
    pub prompt_tokens: u64,
    /// Tokens generated and kept.
    pub generated_tokens: u64,
    /// Steps run.
    pub steps: u64,
    /// Rows of all steps; divided by `steps` it is the mean batch.
    pub rows: u64,
    /// Times a row was parked because its reader was behind.
    pub parks: u64,
    /// Times the device failed and was reset.
    pub recoveries: u64,
    /// Requests that wait for a row.
    pub queued: u64,
    /// Requests on the device.
    pub running: u64,
    /// Of these, parked ones.
    pub parked: u64,
    /// Bytes of KV held.
    pub kv_bytes: u64,
}

impl Stats {
    pub(super) fn accepted(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn step(&self, num_rows: usize, num_prompt_tokens: usize) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(num_rows as u64, Ordering::Relaxed);
        self.prompt_tokens.fetch_add(num_prompt_tokens as u64, Ordering::Relaxed);
    }

    pub(super) fn token(&self) {
        self.generated_tokens.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn park(&self) {
        self.parks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn recovery(&self) {
        self.recoveries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, end: &End) {
        let counter = match end {
            Ok(summary) if summary.finish_reason == FinishReason::Cancelled => &self.cancelled,
            Ok(_) => &self.completed,
            Err(error) if error.code() == Code::Cancelled => &self.cancelled,
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn load(&self, load: crate::scheduler::Load, kv_bytes: u64) {
        self.queued.store(load.num_queued as u64, Ordering::Relaxed);
        self.running.store(load.num_running as u64, Ordering::Relaxed);
        self.parked.store(load.num_parked as u64, Ordering::Relaxed);
        self.kv_bytes.store(kv_bytes, Ordering::Relaxed);
    }

    /// Notes the time between two ends; its moving average says when a place becomes free.
    pub(super) fn end_interval(&self, interval: Duration) {
        let sample = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        let before = self.end_interval_us.load(Ordering::Relaxed);
        let mean = if before == 0 { sample } else { before - before / 8 + sample / 8 };
        self.end_interval_us.store(mean, Ordering::Relaxed);
    }

    /// When a refused caller has a chance: after the next end, as far as the last ones tell.
    pub(super) fn retry_after(&self) -> Duration {
        let mean = Duration::from_micros(self.end_interval_us.load(Ordering::Relaxed));
        mean.clamp(Duration::from_millis(10), Duration::from_mins(1))
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            requests: read(&self.requests),
            completed: read(&self.completed),
            cancelled: read(&self.cancelled),
            failed: read(&self.failed),
            prompt_tokens: read(&self.prompt_tokens),
            generated_tokens: read(&self.generated_tokens),
            steps: read(&self.steps),
            rows: read(&self.rows),
            parks: read(&self.parks),
            recoveries: read(&self.recoveries),
            queued: read(&self.queued),
            running: read(&self.running),
            parked: read(&self.parked),
            kv_bytes: read(&self.kv_bytes),
        }
    }
}
