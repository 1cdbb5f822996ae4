//! What one reader is told of the end of an answer. The generation's facts are the same for everybody; times and usage
//! are the reader's own: nobody is told of work that was not done for it.

use std::time::Instant;

use crate::request::{RequestId, Served, Summary, Timings, Usage};

use super::log::{AnswerLog, Finished, Stamps};

/// Who reads, and how it came to read this answer.
#[derive(Debug)]
pub(super) struct Sharer {
    id: RequestId,
    submitted_at: Instant,
    /// Nothing that happened to the generation before this happened to the reader.
    since: Instant,
    served: Served,
    seed: Option<u64>,
}

impl Sharer {
    /// A reader of the answer that is computed for it.
    pub(super) fn alone(id: RequestId, submitted_at: Instant) -> Self {
        Self { id, submitted_at, since: submitted_at, served: Served::Computed, seed: None }
    }

    /// From now on, a reader of another one's answer.
    pub(super) fn share(&mut self, served: Served, since: Instant, seed: Option<u64>) {
        self.served = served;
        self.since = since;
        self.seed = seed;
    }

    /// Spans that never began are zero.
    fn timings(&self, stamps: Stamps) -> Timings {
        let ended = stamps.ended.unwrap_or(self.since).max(self.since);
        let within = |stamp: Option<Instant>| stamp.map(|at| at.max(self.since));
        let started = within(stamps.started).unwrap_or(ended);
        let first = within(stamps.first_token).unwrap_or(ended);
        let last = within(stamps.last_token).unwrap_or(first);
        Timings {
            queue: started.saturating_duration_since(self.submitted_at),
            prefill: first.saturating_duration_since(started),
            ttft: first.saturating_duration_since(self.submitted_at),
            decode: last.saturating_duration_since(first),
            total: ended.saturating_duration_since(self.submitted_at),
        }
    }
}

/// The end of an answer as this reader is told it.
pub(super) fn summarize(finished: &Finished, log: &AnswerLog, sharer: Sharer) -> Summary {
    let is_shared = sharer.served != Served::Computed;
    let (num_input, num_output) = (finished.num_input_tokens, log.num_tokens());
    Summary {
        finish_reason: finished.finish_reason,
        usage: Usage {
            input_tokens: num_input,
            cached_input_tokens: if is_shared { num_input } else { finished.num_cached_tokens },
            output_tokens: num_output,
            cached_output_tokens: if is_shared { num_output } else { 0 },
        },
        timings: sharer.timings(finished.stamps),
        served: sharer.served,
        shared_from: is_shared.then(|| log.origin().clone()),
        id: sharer.id,
        seed: sharer.seed.unwrap_or(finished.seed),
    }
}
