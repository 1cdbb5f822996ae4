//! Counts requests by model and state: refused, preparing, queued, running, joined, ended. Each request is counted in exactly
//! one state and moves between states under one lock (of `stats`), so the states add up to `submitted` in every snapshot.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::answers::Close;
use crate::error::Code;
use crate::request::FinishReason;

use super::ids::Replica;
use super::labels::ModelLabel;
use super::meter::Latency;
use super::snapshot::{Errors, Refusal, Refusals, Snapshot};

/// Ended requests by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ends {
    completed: u64,
    cancelled: u64,
    /// Requests that failed or were refused, by error code. `Overloaded` and `CircuitOpen` are refusals.
    errors: Errors,
}

/// Requests of one model that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Present {
    pub(super) queued: usize,
    pub(super) running: usize,
    pub(super) joined: usize,
}

/// All requests of an engine.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// By the index of their label.
    labels: Vec<OfLabel>,
    present: BTreeMap<Replica, (ModelLabel, Present)>,
}

/// Requests of the models with one label, except queued, running and joined requests, which are in [`Present`].
#[derive(Debug, Clone, Copy, Default)]
struct OfLabel {
    submitted: u64,
    rejected: Refusals,
    ends: Ends,
    /// Latencies of requests that were answered from the cache.
    served: Latency,
}

impl Ends {
    pub(super) fn one(end: &Close) -> Self {
        let mut ends = Self::default();
        ends.add(end, 1);
        ends
    }

    /// Counts requests that ended with `end`. An accepted request can end with `Overloaded`, because its prompt tokens are
    /// counted after it was accepted.
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
    pub(super) fn submitted(&mut self, label: ModelLabel, num_requests: usize) {
        self.of(label).submitted += num_requests as u64;
    }

    pub(super) fn refused(&mut self, label: ModelLabel, why: Refusal, num_requests: usize) {
        let OfLabel { rejected, ends, .. } = self.of(label);
        let counter = match why {
            Refusal::Pending => &mut rejected.pending,
            Refusal::Wait => &mut rejected.wait,
            Refusal::Prompts => &mut rejected.prompts,
            Refusal::Circuit => &mut rejected.circuit,
        };
        *counter += num_requests as u64;
        let code = if why == Refusal::Circuit { Code::CircuitOpen } else { Code::Overloaded };
        *ends.errors.of(code) += num_requests as u64;
    }

    pub(super) fn ended(&mut self, label: ModelLabel, ended: &Ends) {
        let OfLabel { rejected, ends, .. } = self.of(label);
        let Ends { completed, cancelled, errors } = *ended;
        ends.completed += completed;
        ends.cancelled += cancelled;
        ends.errors.add(&errors);
        rejected.tokens += errors.get(Code::Overloaded);
    }

    /// Counts a request that was answered from the cache, `took` after its submission.
    pub(super) fn served(&mut self, label: ModelLabel, end: &Close, took: Duration) {
        self.ended(label, &Ends::one(end));
        self.of(label).served.at_once(took);
    }

    /// Adds the requests of a model that ended since the last call, and replaces the counts of those that have not ended.
    pub(super) fn count(&mut self, (model, label): (Replica, ModelLabel), ends: &mut Ends, present: Present) {
        self.ended(label, &std::mem::take(ends));
        self.present.insert(model, (label, present));
    }

    /// Removes the counts of queued, running and joined requests of a dropped model. Its ended requests stay counted.
    pub(super) fn forget(&mut self, model: Replica) {
        self.present.remove(&model);
    }

    /// The counts of requests of the label at an index, as a snapshot whose other fields are zero, and the latencies of requests
    /// that were answered from the cache.
    pub(super) fn snapshot(&self, index: usize) -> (Snapshot, Latency) {
        let OfLabel { submitted, rejected, ends, served } = self.labels.get(index).copied().unwrap_or_default();
        let Ends { completed, cancelled, errors } = ends;
        let own = || self.present.values().filter(|(label, _)| label.index() == index).map(|(_, present)| present);
        let sum = |of: fn(&Present) -> usize| own().map(of).sum::<usize>() as u64;
        let [queued, running, joined] = [sum(|it| it.queued), sum(|it| it.running), sum(|it| it.joined)];
        let failed = errors.sum() - rejected.sum();
        let requests = submitted - rejected.sum();
        let preparing = requests.saturating_sub(completed + cancelled + failed + queued + running + joined);
        let ended = Snapshot { completed, cancelled, failed, errors, ..Snapshot::default() };
        (Snapshot { submitted, requests, rejected, preparing, queued, running, joined, ..ended }, served)
    }

    fn of(&mut self, label: ModelLabel) -> &mut OfLabel {
        let index = label.index();
        if index >= self.labels.len() {
            self.labels.resize(index + 1, OfLabel::default());
        }
        &mut self.labels[index]
    }
}
