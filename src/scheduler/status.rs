//! Figures of a scheduler: its load, its admissions, its counters.

use std::time::Duration;

use crate::request::SequenceId;

use super::window::{Reason, Tier};

/// Numbers of sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Sequences that wait for a row.
    pub num_queued: usize,
    /// Sequences that were admitted, parked ones included.
    pub num_running: usize,
    /// Admitted sequences that are parked or set aside.
    pub num_parked: usize,
}

/// Why and when one request was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionRecord {
    /// The sequence.
    pub sequence: SequenceId,
    /// Why it was admitted then.
    pub reason: Reason,
    /// How long the request had waited.
    pub waited: Duration,
    /// Number of requests that waited at that time, itself included.
    pub depth: usize,
    /// The window's tier.
    pub tier: Tier,
}

/// Counters since a scheduler was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Admissions by reason, in the order of [`Reason::ALL`].
    pub admissions: [u64; Reason::ALL.len()],
    /// Number of changes of the window's tier.
    pub tier_switches: u64,
    /// Number of samples of the queue depth.
    pub tier_samples: u64,
    /// Number of changes of the batch limit.
    pub limit_changes: u64,
    /// Number of sequences whose KV was dropped and recomputed.
    pub preemptions: u64,
    /// Number of times a more urgent request took the row of a sequence.
    pub set_aside: u64,
}

/// All figures of a scheduler.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// Its load.
    pub load: Load,
    /// Counters since it was created.
    pub counters: Counters,
    /// Sequences that may run together now.
    pub batch_limit: usize,
    /// How long an idle engine would wait for concurrent arrivals now.
    pub window: Duration,
    /// The tier of that window.
    pub tier: Tier,
    /// Measured time of decode steps by rows.
    pub step_times: Vec<(f64, Duration)>,
    /// Time that prompts add to a step: a fixed part, and a part for each token.
    pub prefill_cost: Option<(Duration, Duration)>,
}
