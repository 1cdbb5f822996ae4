//! The statistics of an engine, readable from any thread. Counts of requests are a census under one lock, so that they add up
//! (`census`). Everything else is measured by model runners (`meter`, `step_timing`, the scheduler): each loaded model has an
//! account, which its runner writes once a turn. `sample` adds up what is read; nothing is computed before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::answers::{AnswerCache, Close};
use crate::lock::lock;
use crate::request::RequestId;
use crate::scheduler::{AdmissionRecord, MissRecord, Scheduler};

use super::asked::Asked;
use super::breaker::CircuitState;
use super::census::{Census, Ends, Present};
use super::ids::Replica;
use super::ids::WorkerId;
use super::labels::{Labels, ModelLabel};
use super::meter::Figures;
use super::sample::{LabelStats, LoadedStats, ModelStats, PrefixMiss, Sample, Tally};
use super::snapshot::Refusal;
#[cfg(test)]
use super::snapshot::Snapshot;
use super::step_timing::Totals;
use super::watch::Watch;

/// Admissions that are kept for each model, and misses of the prefix cache that are kept for all.
const NUM_RECENT: usize = 32;

/// The figures of one model, shared by its runner and the readers of statistics.
#[derive(Debug)]
pub(super) struct Account {
    label: ModelLabel,
    weight_bytes: u64,
    pub(super) watch: Watch,
    stats: Mutex<ModelStats>,
}

/// What a runner has measured.
pub(super) struct Measured<'a> {
    pub(super) totals: &'a Totals,
    pub(super) figures: &'a Figures,
}

impl Account {
    pub(super) fn update(
        &self,
        scheduler: &mut Scheduler,
        kv_bytes: u64,
        Measured { totals, figures }: Measured<'_>,
        circuit: CircuitState,
    ) {
        let mut stats = lock(&self.stats);
        for record in scheduler.admissions() {
            if stats.recent.len() == NUM_RECENT {
                stats.recent.pop_front();
            }
            trace(&record);
            stats.recent.push_back(record);
        }
        scheduler.write_status(&mut stats.scheduler);
        stats.kv_bytes = kv_bytes;
        stats.totals = *totals;
        stats.circuit = circuit;
        stats.figures = *figures;
    }

    fn read(&self) -> ModelStats {
        lock(&self.stats).clone()
    }
}

/// Statistics since the engine started.
#[derive(Debug)]
pub struct Stats {
    began: Instant,
    /// No step is stuck sooner.
    stuck_after: Duration,
    labels: Mutex<Labels>,
    census: Mutex<Census>,
    accounts: Mutex<Accounts>,
    /// The last misses of the prefix cache, oldest first.
    misses: Mutex<VecDeque<(ModelLabel, RequestId, MissRecord)>>,
}

#[derive(Debug, Default)]
struct Accounts {
    /// Those of loaded models.
    open: BTreeMap<Replica, Arc<Account>>,
    /// Sums over unloaded models, and the times of all loads, by the index of the label.
    closed: Vec<Tally>,
}

impl Stats {
    /// No requests yet, at the start of an engine.
    pub(super) fn new(began: Instant, stuck_after: Duration) -> Self {
        let (labels, census, accounts) = Default::default();
        Self { began, stuck_after, labels, census, accounts, misses: Mutex::default() }
    }

    /// When the engine started.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The label of a model with this id.
    pub(super) fn label(&self, id: &str) -> ModelLabel {
        lock(&self.labels).of(id)
    }

    /// The id that a label stands for.
    pub(super) fn id(&self, label: ModelLabel) -> Arc<str> {
        lock(&self.labels).text(label)
    }

    /// Counts requests that were received.
    pub(super) fn submitted(&self, label: ModelLabel, num_requests: usize) {
        lock(&self.census).submitted(label, num_requests);
    }

    /// Counts requests that were refused before they reached the engine thread.
    pub(super) fn refused(&self, label: ModelLabel, why: Refusal, num_requests: usize) {
        lock(&self.census).refused(label, why, num_requests);
    }

    /// Counts the end of a request that no model runner has.
    pub(super) fn ended(&self, label: ModelLabel, end: &Close) {
        lock(&self.census).ended(label, &Ends::one(end));
    }

    /// Counts a request that was answered from the cache.
    pub(super) fn served(&self, asked: Asked, end: &Close, now: Instant) {
        lock(&self.census).served(asked.label, end, now.saturating_duration_since(asked.at));
    }

    /// Counts what ended at a model since the last call, and what the model has, under one lock.
    pub(super) fn count(&self, model: (Replica, ModelLabel), ends: &mut Ends, present: Present) {
        lock(&self.census).count(model, ends, present);
    }

    /// The account of a new model.
    pub(super) fn open(&self, model: Replica, label: ModelLabel, weight_bytes: u64) -> Arc<Account> {
        let watch = Watch::new(self.began, self.stuck_after);
        let account = Arc::new(Account { label, weight_bytes, watch, stats: Mutex::default() });
        lock(&self.accounts).open.insert(model, Arc::clone(&account));
        account
    }

    /// Records how long the load of a model took.
    pub(super) fn loaded(&self, label: ModelLabel, took: Duration) {
        lock(&self.accounts).closed(label.index()).loads.time(took);
    }

    /// Records that a request found no prefix.
    pub(super) fn missed(&self, label: ModelLabel, request: RequestId, miss: MissRecord) {
        let mut misses = lock(&self.misses);
        if misses.len() == NUM_RECENT {
            misses.pop_front();
        }
        misses.push_back((label, request, miss));
    }

    /// Counts a model that was unloaded.
    pub(super) fn unloaded(&self, label: ModelLabel) {
        lock(&self.accounts).closed(label.index()).unloads += 1;
    }

    /// Removes the account of a model. What it counted stays in the sums of its label.
    pub(super) fn close(&self, model: Replica) {
        lock(&self.accounts).close(model);
        lock(&self.census).forget(model);
    }

    /// Removes the accounts of a worker that was lost. Its requests are counted as being prepared until they end or run again.
    pub(super) fn lost(&self, worker: WorkerId) {
        let open: Vec<_> = lock(&self.accounts).open.keys().copied().collect();
        open.into_iter().filter(|model| model.worker == worker).for_each(|model| self.close(model));
    }

    /// Whether a step of a worker is stuck.
    pub(super) fn is_stuck(&self, worker: WorkerId, now: Instant) -> bool {
        let accounts = lock(&self.accounts);
        let mut own = accounts.open.iter().filter(|(model, _)| model.worker == worker);
        own.any(|(_, account)| account.watch.read(now).is_some_and(|step| step.is_stuck()))
    }

    /// All statistics at this moment. Requests are read first: what is measured of an answer is published before its end is
    /// counted, so a sample has the tokens of every answer that it counts.
    pub(super) fn sample(&self, answers: &AnswerCache, now: Instant) -> Sample {
        let texts: Vec<_> = lock(&self.labels).texts().cloned().collect();
        let requests: Vec<_> = {
            let census = lock(&self.census);
            (0..texts.len()).map(|index| census.snapshot(index)).collect()
        };
        let named = |(label, request, record): &(ModelLabel, RequestId, MissRecord)| PrefixMiss {
            model: Arc::clone(&texts[label.index()]),
            request: request.clone(),
            record: *record,
        };
        let misses = lock(&self.misses).iter().map(named).collect();
        let accounts = lock(&self.accounts);
        let replicas: Vec<_> = accounts.open.iter().map(|(replica, account)| (replica.model, account.read())).collect();
        let mut labels = Vec::new();
        for (index, (label, (requests, served))) in texts.into_iter().zip(requests).enumerate() {
            let mut tally: Tally = accounts.closed.get(index).copied().unwrap_or_default();
            tally.figures.latency.merge(&served);
            let mut loaded = None;
            let of_label = |(account, _): &(&Arc<Account>, _)| account.label.index() == index;
            let mut last = None;
            for (account, (model, stats)) in accounts.open.values().zip(&replicas).filter(of_label) {
                tally.add(stats);
                // The replicas of a model share its weights.
                let weight_bytes = if last.replace(*model) == Some(*model) { 0 } else { account.weight_bytes };
                let step = account.watch.read(now);
                loaded.get_or_insert_with(LoadedStats::default).add(stats, weight_bytes, step);
            }
            labels.push(LabelStats { label, requests, tally, loaded });
        }
        let uptime = now.saturating_duration_since(self.began);
        Sample {
            workers: Vec::new(),
            uptime,
            answers: answers.counts(),
            disk: None,
            labels,
            models: ModelStats::by_model(replicas),
            misses,
        }
    }

    /// The counters at this moment.
    #[cfg(test)]
    pub(super) fn snapshot(&self, answers: &AnswerCache) -> Snapshot {
        self.sample(answers, self.began).snapshot()
    }
}

impl Accounts {
    fn close(&mut self, model: Replica) {
        if let Some(account) = self.open.remove(&model) {
            let tally = self.closed(account.label.index());
            tally.add(&account.read());
            tally.prefix = tally.prefix.without_entries();
        }
    }

    fn closed(&mut self, index: usize) -> &mut Tally {
        if index >= self.closed.len() {
            self.closed.resize(index + 1, Tally::default());
        }
        &mut self.closed[index]
    }
}

/// Emits an admission as a tracing event, which is skipped without a subscriber.
fn trace(record: &AdmissionRecord) {
    let AdmissionRecord { sequence, reason, waited, depth, tier } = *record;
    let waited_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(target: "mlx_serving::scheduler", %sequence, ?reason, waited_us, depth, ?tier, "admitted");
}
