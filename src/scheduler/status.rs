//! Figures of a scheduler: its load, its admissions, its counters.

use std::ops::AddAssign;
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
    /// Number of attempts after failed steps.
    pub retries: u64,
}

/// Why a request found no KV of another request to start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// Its prompt is shorter than the shortest prefix that is reused.
    Short,
    /// No prompt began with the same token.
    New,
    /// Its prompt differs from all others before the shortest prefix that is reused.
    Diverged,
    /// Only requests with another salt have the same first tokens.
    Salt,
    /// What began with the same tokens was evicted.
    Evicted,
    /// Layers with a sliding window no longer have the positions.
    Window,
    /// The prefix cache is off, for the request or for all.
    Disabled,
}

impl Miss {
    /// All reasons, in order.
    pub const ALL: [Self; 7] =
        [Self::Short, Self::New, Self::Diverged, Self::Salt, Self::Evicted, Self::Window, Self::Disabled];

    /// Its public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::New => "new",
            Self::Diverged => "diverged",
            Self::Salt => "salt",
            Self::Evicted => "evicted",
            Self::Window => "window",
            Self::Disabled => "disabled",
        }
    }
}

/// A request that found no KV of another request to start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissRecord {
    /// The sequence.
    pub sequence: SequenceId,
    /// Why it found none.
    pub reason: Miss,
    /// Tokens of the longest common beginning with a retained or running sequence.
    pub num_matched: usize,
    /// Tokens of its prompt.
    pub num_prompt: usize,
}

/// The reuse of KV between requests since a scheduler was created, and what is retained now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefixCounters {
    /// Requests that started with KV of another request.
    pub num_hits: u64,
    /// Requests that did not, by reason, in the order of [`Miss::ALL`].
    pub misses: [u64; Miss::ALL.len()],
    /// Prompt tokens whose KV was reused.
    pub num_tokens_reused: u64,
    /// Computed prompt tokens of requests that use the prefix cache or reused KV.
    pub num_tokens_computed: u64,
    /// Retained sequences that were dropped for lack of memory.
    pub num_evictions: u64,
    /// Sequences that are retained.
    pub num_entries: u64,
    /// Their tokens.
    pub num_tokens: u64,
    /// Bytes of their KV.
    pub num_bytes: u64,
    /// Pinned prompts.
    pub num_pins: u64,
    /// Tokens of retained sequences that are pinned.
    pub num_pinned_tokens: u64,
    /// Bytes of their KV.
    pub num_pinned_bytes: u64,
}

impl PrefixCounters {
    /// The sum of the counters of two schedulers.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let mut misses = self.misses;
        misses.iter_mut().zip(other.misses).for_each(|(own, other)| *own += other);
        Self {
            num_hits: self.num_hits + other.num_hits,
            misses,
            num_tokens_reused: self.num_tokens_reused + other.num_tokens_reused,
            num_tokens_computed: self.num_tokens_computed + other.num_tokens_computed,
            num_evictions: self.num_evictions + other.num_evictions,
            num_entries: self.num_entries + other.num_entries,
            num_tokens: self.num_tokens + other.num_tokens,
            num_bytes: self.num_bytes + other.num_bytes,
            num_pins: self.num_pins + other.num_pins,
            num_pinned_tokens: self.num_pinned_tokens + other.num_pinned_tokens,
            num_pinned_bytes: self.num_pinned_bytes + other.num_pinned_bytes,
        }
    }

    /// Requests that did not start with KV of another one although the prefix cache was on.
    pub fn num_misses(&self) -> u64 {
        self.misses.iter().sum::<u64>() - self.misses[Miss::Disabled as usize]
    }

    /// The counters of a scheduler that was dropped: nothing is retained.
    #[must_use]
    pub fn without_entries(self) -> Self {
        let (num_entries, num_tokens, num_bytes) = (0, 0, 0);
        let (num_pins, num_pinned_tokens, num_pinned_bytes) = (0, 0, 0);
        Self { num_entries, num_tokens, num_bytes, num_pins, num_pinned_tokens, num_pinned_bytes, ..self }
    }
}

impl Status {
    /// Adds the figures of a scheduler that runs the same model. Of figures that cannot be added, the larger value is kept. Times
    /// of steps are those of the first scheduler that has measured them.
    pub fn merge(&mut self, other: Self) {
        let Self { load, counters, prefix, batch_limit, window, tier, step_times, prefill_cost } = other;
        self.load.num_queued += load.num_queued;
        self.load.num_running += load.num_running;
        self.load.num_parked += load.num_parked;
        self.counters += counters;
        self.prefix = self.prefix.and(prefix);
        self.batch_limit += batch_limit;
        self.window = self.window.max(window);
        self.tier = self.tier.max(tier);
        if self.step_times.is_empty() {
            self.step_times = step_times;
        }
        self.prefill_cost = self.prefill_cost.or(prefill_cost);
    }
}

impl Counters {
    /// Requests that found an idle engine and started at once.
    pub fn num_fast_path(&self) -> u64 {
        self.admissions[Reason::FastPath as usize]
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        let Self { admissions, tier_switches, tier_samples, limit_changes, preemptions, set_aside, retries } = other;
        self.admissions.iter_mut().zip(admissions).for_each(|(own, other)| *own += other);
        self.tier_switches += tier_switches;
        self.tier_samples += tier_samples;
        self.limit_changes += limit_changes;
        self.preemptions += preemptions;
        self.set_aside += set_aside;
        self.retries += retries;
    }
}

/// All figures of a scheduler.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// Its load.
    pub load: Load,
    /// Counters since it was created.
    pub counters: Counters,
    /// Reuse of KV between requests.
    pub prefix: PrefixCounters,
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
