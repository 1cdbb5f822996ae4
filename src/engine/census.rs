//! Counts requests by state: refused, preparing, queued, running, joined, ended. Each request is counted in exactly one
//! state and moves between states under one lock (of `stats`), so the states add up to `submitted` in every snapshot.

use std::collections::BTreeMap;

use crate::answers::Close;
use crate::error::Code;
use crate::request::FinishReason;

use super::command::ModelKey;
use super::snapshot::{Errors, Refusal, Refusals, Snapshot};

/// Ended requests by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ends {
    completed: u64,
    cancelled: u64,
    /// Those that ended with an error. `Overloaded` is a refusal.
    errors: Errors,
}

/// Requests of one model that have not ended.
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

    /// Counts requests that ended with `end`. `Overloaded` is an end here, because the tokens of a prompt are counted only
    /// after the request was accepted.
    pub(super) fn add(&mut self, end: &Close, num_requests: usize) {
        let counter = match end {
            Ok(finished) if finished.finish_reason == FinishReason::Cancelled => &mut self.cancelled,
            Ok(_) => &mut self.completed,
            Err(error) if error.code() == Code::Cancelled => &mut self.cancelled,
            Err(error) => self.errors.of(error.code()),
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
            Refusal::Pending => &mut self.rejected.pending,
            Refusal::Wait => &mut self.rejected.wait,
            Refusal::Prompts => &mut self.rejected.prompts,
        };
        *counter += num_requests as u64;
        *self.ends.errors.of(Code::Overloaded) += num_requests as u64;
    }

    pub(super) fn ended(&mut self, ends: &Ends) {
        let Ends { completed, cancelled, errors } = *ends;
        self.ends.completed += completed;
        self.ends.cancelled += cancelled;
        self.ends.errors.add(&errors);
        self.rejected.tokens += errors.get(Code::Overloaded);
    }

    /// Adds what ended at a model since the last call, and replaces the counts of what the model has.
    pub(super) fn count(&mut self, model: ModelKey, ends: &mut Ends, present: Present) {
        self.ended(&std::mem::take(ends));
        self.present.insert(model, present);
    }

    /// Forgets a model that was dropped.
    pub(super) fn forget(&mut self, model: ModelKey) {
        self.present.remove(&model);
    }

    /// A snapshot with the counts of requests; every other field is zero.
    pub(super) fn snapshot(&self) -> Snapshot {
        let present = |of: fn(&Present) -> usize| self.present.values().map(of).sum::<usize>() as u64;
        let [queued, running, joined] = [present(|it| it.queued), present(|it| it.running), present(|it| it.joined)];
        let Self { submitted, rejected, ends: Ends { completed, cancelled, errors }, .. } = *self;
        let failed = errors.sum() - errors.get(Code::Overloaded);
        let requests = submitted - rejected.sum();
        let preparing = requests.saturating_sub(completed + cancelled + failed + queued + running + joined);
        let ended = Snapshot { completed, cancelled, failed, errors, ..Snapshot::default() };
        Snapshot { submitted, requests, rejected, preparing, queued, running, joined, ..ended }
    }
}
