//! What a scheduler can tell of itself.

use std::time::Duration;

use crate::request::SequenceId;

use super::Scheduler;
use super::window::{Reason, Tier};

/// How full the scheduler is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Sequences that wait for a row.
    pub num_queued: usize,
    /// Sequences that were admitted, parked ones included.
    pub num_running: usize,
    /// Of these, parked ones.
    pub num_parked: usize,
}

/// Why and when one request was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionRecord {
    /// Which.
    pub sequence: SequenceId,
    /// Why it was admitted then.
    pub reason: Reason,
    /// How long it had waited.
    pub waited: Duration,
    /// How many waited, itself included.
    pub depth: usize,
    /// The window's tier.
    pub tier: Tier,
}

/// Counters over the life of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Admissions by reason, in the order of [`Reason::ALL`].
    pub admissions: [u64; Reason::ALL.len()],
    /// Times the window changed its tier.
    pub tier_switches: u64,
    /// Samples of the queue depth.
    pub tier_samples: u64,
    /// Times the batch limit moved.
    pub limit_changes: u64,
    /// Sequences that gave their KV back and were computed again.
    pub preemptions: u64,
    /// Times a row was given to a more urgent request, and its sequence set aside.
    pub set_aside: u64,
}

/// Where a scheduler stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// How full it is.
    pub load: Load,
    /// What it has done.
    pub counters: Counters,
    /// Sequences it lets run together now.
    pub batch_limit: usize,
    /// How long an idle engine would wait for company now.
    pub window: Duration,
    /// Which tier that is.
    pub tier: Tier,
    /// Measured time of decode steps by rows.
    pub step_times: Vec<(f64, Duration)>,
    /// What prompts add to a step: a fixed part, and a part for each token.
    pub prefill_cost: Option<(Duration, Duration)>,
}

impl Scheduler {
    /// Sequences it lets run together now.
    pub fn batch_limit(&self) -> usize {
        self.batch_limit.limit()
    }

    /// Counters over its life.
    pub fn counters(&self) -> Counters {
        let (tier_switches, tier_samples) = (self.window.num_switches, self.window.num_samples);
        Counters { tier_switches, tier_samples, limit_changes: self.batch_limit.num_changes(), ..self.counters }
    }

    /// Writes where it stands; allocates only where there is more to say than before.
    pub fn write_status(&self, status: &mut Status) {
        let Status { load, counters, batch_limit, window, tier, step_times, prefill_cost } = status;
        *load = self.load();
        *counters = self.counters();
        *batch_limit = self.batch_limit.limit();
        *window = self.window.length();
        *tier = self.window.tier();
        step_times.clear();
        step_times.extend(self.batch_limit.measured());
        *prefill_cost = self.prefill.line();
    }
}
