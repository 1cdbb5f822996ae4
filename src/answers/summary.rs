//! The summary of an answer for one reader. All readers of a generation get the same facts about it. Timings and usage are
//! the reader's own: work that was done for another request does not count.

use std::time::Instant;

use crate::request::{RequestId, Served, Summary, Timings, Usage};

use super::log::{AnswerLog, Begun, Finished, Stamps};

/// The request of a reader, and how it got its answer.
#[derive(Debug)]
pub(super) struct ReaderContext {
    id: RequestId,
    submitted_at: Instant,
    /// The time from which the generation counts for the reader.
    since: Instant,
    served: Served,
    seed: Option<u64>,
}

impl ReaderContext {
    /// A reader whose answer is computed for it.
    pub(super) fn computed(id: RequestId, submitted_at: Instant) -> Self {
        Self { id, submitted_at, since: submitted_at, served: Served::Computed, seed: None }
    }

    /// The reader gets the answer of another request.
    pub(super) fn share(&mut self, served: Served, since: Instant, seed: Option<u64>) {
        self.served = served;
        self.since = since;
        self.seed = seed;
    }

    /// The answer is computed for the reader after all.
    pub(super) fn compute_again(&mut self) {
        self.share(Served::Computed, self.submitted_at, None);
    }

    /// What the reader's request has used, once its generation has started.
    pub(super) fn usage_so_far(&self, log: &AnswerLog) -> Option<Usage> {
        log.begun().map(|begun| self.usage(begun, log))
    }

    fn usage(&self, Begun { num_input_tokens, num_cached_tokens }: Begun, log: &AnswerLog) -> Usage {
        let (is_shared, num_output) = (self.is_shared(), log.num_tokens());
        Usage {
            input_tokens: num_input_tokens,
            cached_input_tokens: if is_shared { num_input_tokens } else { num_cached_tokens },
            output_tokens: num_output,
            cached_output_tokens: if is_shared { num_output } else { 0 },
            reasoning_tokens: 0,
        }
    }

    fn is_shared(&self) -> bool {
        self.served != Served::Computed
    }

    /// Timings of the reader. A span that did not start is zero.
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

/// The summary of an answer for a reader. Reasoning is counted by the reader's parser.
pub(super) fn summarize(finished: &Finished, log: &AnswerLog, context: ReaderContext) -> Summary {
    let Finished { num_input_tokens, num_cached_tokens, .. } = *finished;
    Summary {
        finish_reason: finished.finish_reason,
        usage: context.usage(Begun { num_input_tokens, num_cached_tokens }, log),
        timings: context.timings(finished.stamps),
        served: context.served,
        shared_from: context.is_shared().then(|| log.origin().clone()),
        id: context.id,
        seed: context.seed.unwrap_or(finished.seed),
    }
}
