//! The statistics of an engine at one time.

use std::ops::AddAssign;

use crate::answers::Counts;
use crate::error::Code;
use crate::prefix_store::DiskCounts;
use crate::scheduler::PrefixCounters;

/// Why a request was refused before it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The limit of pending requests is reached.
    Pending,
    /// The request would wait too long.
    Wait,
    /// The limit of prompts that wait for the tokenizer is reached.
    Prompts,
    /// The circuit breaker of the model is open.
    Circuit,
}

/// Refusals by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals {
    /// The limit of pending requests was reached, counting places reserved for refused callers.
    pub pending: u64,
    /// The request would have waited too long.
    pub wait: u64,
    /// The limit of pending prompt tokens was reached.
    pub tokens: u64,
    /// The limit of prompts that wait for the tokenizer was reached.
    pub prompts: u64,
    /// The circuit breaker of the model was open.
    pub circuit: u64,
}

impl Refusals {
    /// Refusals of every reason.
    pub fn sum(self) -> u64 {
        self.pending + self.wait + self.tokens + self.prompts + self.circuit
    }
}

impl AddAssign for Refusals {
    fn add_assign(&mut self, other: Self) {
        let Self { pending, wait, tokens, prompts, circuit } = other;
        self.pending += pending;
        self.wait += wait;
        self.tokens += tokens;
        self.prompts += prompts;
        self.circuit += circuit;
    }
}

/// Requests that ended with an error, by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Errors([u64; Code::ALL.len()]);

impl Errors {
    /// Requests that ended with this code.
    pub fn get(&self, code: Code) -> u64 {
        self.0[code as usize]
    }

    /// The codes that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Code, u64)> {
        Code::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// Requests that ended with any error.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn of(&mut self, code: Code) -> &mut u64 {
        &mut self.0[code as usize]
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own += other;
        }
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Requests received: the sum of those that were rejected or have ended, and those that are being prepared, queued,
    /// running or joined.
    pub submitted: u64,
    /// Requests accepted: received and not rejected.
    pub requests: u64,
    /// Requests refused because too much was pending.
    pub rejected: Refusals,
    /// Ended with a complete answer.
    pub completed: u64,
    /// Cancelled or abandoned.
    pub cancelled: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Requests that failed or were rejected, by the code of their error: `Overloaded` and `CircuitOpen` are `rejected`, the
    /// others are `failed`.
    pub errors: Errors,
    /// Being tokenized, or on the way to the engine thread.
    pub preparing: u64,
    /// Requests that wait for a row.
    pub queued: u64,
    /// Requests that have a row, parked ones included.
    pub running: u64,
    /// Requests that read the answer of another request, which is queued or running.
    pub joined: u64,
    /// Prompt tokens fed to the device.
    pub prompt_tokens: u64,
    /// Tokens added to answers. A token that a finished row computed ahead is not counted.
    pub generated_tokens: u64,
    /// Steps run by all models, also by those that were unloaded.
    pub steps: u64,
    /// Rows of all steps; divided by `steps` it is the mean batch size.
    pub rows: u64,
    /// Times a row was parked because all its readers were behind.
    pub parks: u64,
    /// Times the device failed and was reset.
    pub recoveries: u64,
    /// Attempts of requests after failed steps.
    pub retries: u64,
    /// Times a circuit breaker opened.
    pub circuit_opened: u64,
    /// Generations that are parked.
    pub parked: u64,
    /// Bytes of KV held.
    pub kv_bytes: u64,
    /// Reuse of KV between requests.
    pub prefix: PrefixCounters,
    /// Its disk tier, if there is one.
    pub disk: Option<DiskCounts>,
    /// Counts of shared and cached answers.
    pub answers: Counts,
}

impl Snapshot {
    /// Adds the counts of requests.
    pub(super) fn add_requests(&mut self, other: &Self) {
        let Self { submitted, requests, rejected, completed, cancelled, failed, .. } = *other;
        let Self { preparing, queued, running, joined, ref errors, .. } = *other;
        self.submitted += submitted;
        self.requests += requests;
        self.rejected += rejected;
        self.completed += completed;
        self.cancelled += cancelled;
        self.failed += failed;
        self.errors.add(errors);
        self.preparing += preparing;
        self.queued += queued;
        self.running += running;
        self.joined += joined;
    }
}
