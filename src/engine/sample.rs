//! The statistics of an engine at one moment, as `stats` reads them: the source of `engine.stats()` and of the metrics.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::answers::Counts;
use crate::metrics::{Histogram, Scale};
use crate::prefix_store::DiskCounts;
use crate::request::RequestId;
use crate::scheduler::{AdmissionRecord, Counters, MissRecord, PrefixCounters, Status};

use super::breaker::CircuitState;
use super::ids::ModelKey;
use super::meter::Figures;
use super::snapshot::Snapshot;
use super::step_timing::Totals;
use super::watch::RunningStep;

/// All statistics.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Time since the engine started.
    pub uptime: Duration,
    /// Each worker.
    pub workers: Vec<WorkerStats>,
    /// Shared and cached answers.
    pub answers: Counts,
    /// The disk tier of the prefix cache, if there is one.
    pub disk: Option<DiskCounts>,
    /// Sums by label, also those of models that were unloaded.
    pub labels: Vec<LabelStats>,
    /// Each loaded model, on all workers together.
    pub models: Vec<(ModelKey, ModelStats)>,
    /// The last requests that found no prefix, oldest first.
    pub misses: Vec<PrefixMiss>,
}

/// A request that found no KV of another request to start with.
#[derive(Debug, Clone, PartialEq)]
pub struct PrefixMiss {
    /// The id of its model.
    pub model: Arc<str>,
    /// Its name.
    pub request: RequestId,
    /// What its prompt had in common with others.
    pub record: MissRecord,
}

/// The figures of one model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelStats {
    /// The state of the scheduler.
    pub scheduler: Status,
    /// Bytes of KV held.
    pub kv_bytes: u64,
    /// Times of the device and of the engine thread.
    pub totals: Totals,
    /// The last admissions, oldest first.
    pub recent: VecDeque<AdmissionRecord>,
    /// Tokens, latencies and steps.
    pub figures: Figures,
    /// The state of the circuit breaker.
    pub circuit: CircuitState,
}

impl ModelStats {
    /// Adds up the replicas of each model. Those of a model follow each other.
    pub(super) fn by_model(replicas: Vec<(ModelKey, Self)>) -> Vec<(ModelKey, Self)> {
        let mut models: Vec<(ModelKey, Self)> = Vec::new();
        for (key, stats) in replicas {
            match models.last_mut().filter(|(last, _)| *last == key) {
                Some((_, sum)) => sum.merge(stats),
                None => models.push((key, stats)),
            }
        }
        models
    }

    /// Adds another replica of the model. Of figures that cannot be added, the larger value is kept. Times of steps are those of
    /// the first replica that has measured them.
    fn merge(&mut self, other: Self) {
        let Self { scheduler, kv_bytes, totals, recent, figures, circuit } = other;
        self.scheduler.merge(scheduler);
        self.kv_bytes += kv_bytes;
        self.totals += totals;
        self.recent.extend(recent);
        self.figures.merge(&figures);
        self.circuit = self.circuit.max(circuit);
    }
}

/// Sums over the models that have or had one label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tally {
    /// Reuse of KV between requests.
    pub prefix: PrefixCounters,
    /// Counters of their schedulers.
    pub counters: Counters,
    /// Times of the device and of the engine thread.
    pub totals: Totals,
    /// Tokens, latencies and steps.
    pub figures: Figures,
    /// Times of their loads.
    pub loads: Histogram,
    /// How often one was unloaded.
    pub unloads: u64,
}

impl Default for Tally {
    fn default() -> Self {
        let loads = Histogram::new(Scale::Times);
        Self {
            prefix: PrefixCounters::default(),
            counters: Counters::default(),
            totals: Totals::default(),
            figures: Figures::default(),
            loads,
            unloads: 0,
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, stats: &ModelStats) {
        self.prefix = self.prefix.and(stats.scheduler.prefix);
        self.counters += stats.scheduler.counters;
        self.totals += stats.totals;
        self.figures.merge(&stats.figures);
    }
}

/// The statistics of the models that have or had one label.
#[derive(Debug, Clone)]
pub struct LabelStats {
    /// The id of the models.
    pub label: Arc<str>,
    /// Counts of requests; the other fields are zero.
    pub requests: Snapshot,
    /// What was counted and measured.
    pub tally: Tally,
    /// What loaded models have now; `None` if none is loaded.
    pub loaded: Option<LoadedStats>,
}

/// Sums over the loaded models of one label, on all workers: one model, except while it is unloaded and loaded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadedStats {
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Bytes of KV held.
    pub kv_bytes: u64,
    /// Requests that wait for a row.
    pub num_queued: u64,
    /// Sequences that may run together now.
    pub batch_limit: u64,
    /// How long an idle engine would wait for concurrent arrivals now.
    pub window: Duration,
    /// The step that is running.
    pub step: Option<RunningStep>,
    /// The state of the circuit breaker.
    pub circuit: CircuitState,
}

impl LoadedStats {
    pub(super) fn add(&mut self, stats: &ModelStats, weight_bytes: u64, step: Option<RunningStep>) {
        self.weight_bytes += weight_bytes;
        self.kv_bytes += stats.kv_bytes;
        self.num_queued += stats.scheduler.load.num_queued as u64;
        self.batch_limit += stats.scheduler.batch_limit as u64;
        self.window = self.window.max(stats.scheduler.window);
        // A stuck step of one replica is not hidden by a step of another.
        if self.step.is_none() || step.is_some_and(|step| step.is_stuck()) {
            self.step = step;
        }
        self.circuit = self.circuit.max(stats.circuit);
    }
}

impl Sample {
    /// The figures of all models, also of those that were unloaded.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        self.labels.iter().for_each(|label| figures.merge(&label.tally.figures));
        figures
    }

    /// Tokens per second over the last `seconds` complete seconds.
    pub fn tokens_per_second(&self, figures: &Figures, seconds: u64) -> f64 {
        figures.tokens.in_last(seconds, self.uptime) as f64 / seconds as f64
    }

    /// The counters of the engine: sums over all models.
    pub fn snapshot(&self) -> Snapshot {
        let mut sum = Snapshot { answers: self.answers, disk: self.disk, ..Snapshot::default() };
        for LabelStats { requests, tally, .. } in &self.labels {
            sum.add_requests(requests);
            sum.prompt_tokens += tally.figures.prompt_tokens;
            sum.generated_tokens += tally.figures.generated_tokens;
            sum.parks += tally.figures.parks;
            sum.recoveries += tally.figures.recoveries;
            sum.circuit_opened += tally.figures.circuit_opened;
            sum.retries += tally.counters.retries;
            sum.prefix = sum.prefix.and(tally.prefix);
            sum.steps += tally.totals.steps.steps;
            sum.rows += tally.totals.steps.rows;
        }
        for (_, stats) in &self.models {
            sum.parked += stats.scheduler.load.num_parked as u64;
            sum.kv_bytes += stats.kv_bytes;
        }
        sum
    }
}

/// What one worker has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerLoad {
    /// Requests that it got and that have not ended.
    pub num_pending: usize,
    /// Requests that it got since the engine started.
    pub num_requests: u64,
    /// Whether it was given up, so that it gets no requests.
    pub is_closed: bool,
}

/// The state of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerStats {
    /// Its requests.
    pub load: WorkerLoad,
    /// Whether its thread runs.
    pub is_running: bool,
    /// How often its thread was replaced.
    pub num_restarts: u64,
}
