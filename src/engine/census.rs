//! Where every request is. A request is counted in one place at a time, and moves under one lock; so at every moment those that
//! came are those that ended, were refused, are with a model, or are on their way to one.

use std::collections::BTreeMap;

use crate::answers::Close;
use crate::error::Code;
use crate::request::FinishReason;

use super::command::ModelKey;
use super::stats::Snapshot;

/// Why a request was refused before it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// As many requests are pending as may be.
    Queue,
    /// As many prompts wait for the tokenizer as may.
    Prompts,
}

/// Refusals by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals {
    /// As many requests were pending as may be, or had a place kept.
    pub queue: u64,
    /// As many prompt tokens were pending as may be.
    pub tokens: u64,
    /// As many prompts waited for the tokenizer as may.
    pub prompts: u64,
}

impl Refusals {
    /// All of them.
    pub fn sum(self) -> u64 {
        self.queue + self.tokens + self.prompts
    }
}

/// Requests that ended, by how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ends {
    completed: u64,
    cancelled: u64,
    failed: u64,
    refused: u64,
}

/// Requests that are with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Present {
    pub(super) queued: usize,
    pub(super) running: usize,
    pub(super) joined: usize,
}

#[derive(Debug, Default)]
pub(super) struct Census {
    submitted: u64,
    rejected: Refusals,
    ends: Ends,
    present: BTreeMap<ModelKey, Present>,
}

impl Ends {
    pub(super) fn one(end: &Close) -> Self {
        let mut ends = Self::default();
        ends.add(end, 1);
        ends
    }

    /// So many requests ended so. The pending tokens of a prompt are known only once it has been accepted.
    pub(super) fn add(&mut self, end: &Close, num_requests: usize) {
        let counter = match end {
            Ok(finished) if finished.finish_reason == FinishReason::Cancelled => &mut self.cancelled,
            Ok(_) => &mut self.completed,
            Err(error) if error.code() == Code::Cancelled => &mut self.cancelled,
            Err(error) if error.code() == Code::Overloaded => &mut self.refused,
            Err(_) => &mut self.failed,
        };
        *counter += num_requests as u64;
    }
}

impl Census {
    pub(super) fn submitted(&mut self, num_requests: usize) {
        self.submitted += num_requests as u64;
    }

    pub(super) fn refused(&mut self, why: Refusal, num_requests: usize) {
        let counter = match why {
            Refusal::Queue => &mut self.rejected.queue,
            Refusal::Prompts => &mut self.rejected.prompts,
        };
        *counter += num_requests as u64;
    }

    pub(super) fn ended(&mut self, ends: &Ends) {
        let Ends { completed, cancelled, failed, refused } = *ends;
        self.ends.completed += completed;
        self.ends.cancelled += cancelled;
        self.ends.failed += failed;
        self.rejected.tokens += refused;
    }

    /// Takes over what ended at a model, and what is with it now.
    pub(super) fn count(&mut self, model: ModelKey, ends: &mut Ends, present: Present) {
        self.ended(&std::mem::take(ends));
        self.present.insert(model, present);
    }

    /// A model is gone, with all that was with it.
    pub(super) fn forget(&mut self, model: ModelKey) {
        self.present.remove(&model);
    }

    /// What became of the requests, in a snapshot of nothing else.
    pub(super) fn snapshot(&self) -> Snapshot {
        let present = |of: fn(&Present) -> usize| self.present.values().map(of).sum::<usize>() as u64;
        let [queued, running, joined] = [present(|it| it.queued), present(|it| it.running), present(|it| it.joined)];
        let Self { submitted, rejected, ends: Ends { completed, cancelled, failed, .. }, .. } = *self;
        let requests = submitted - rejected.sum();
        let preparing = requests.saturating_sub(completed + cancelled + failed + queued + running + joined);
        let ended = Snapshot { completed, cancelled, failed, ..Snapshot::default() };
        Snapshot { submitted, requests, rejected, preparing, queued, running, joined, ..ended }
    }
}
