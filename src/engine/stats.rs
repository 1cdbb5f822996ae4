//! The counters of an engine, readable from any thread. Independent counters are relaxed atomics. Counts of requests are a
//! census under one lock, so that they add up (`census`). Each model has an account, which its runner writes once a turn.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::answers::{AnswerCache, Close};
use crate::lock::lock;
use crate::scheduler::{AdmissionRecord, Scheduler, Status};

use super::census::{Census, Ends, Present};
use super::command::ModelKey;
use super::snapshot::{Refusal, Snapshot};
use super::step_timing::{StepCount, Totals};

/// Admissions that are kept for each model.
const NUM_RECENT: usize = 32;

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
}

/// The figures of one model, shared by its runner and the readers of statistics.
#[derive(Debug, Default)]
pub(super) struct Account(Mutex<ModelStats>);

impl Account {
    pub(super) fn update(&self, scheduler: &mut Scheduler, kv_bytes: u64, totals: &Totals) {
        let mut stats = lock(&self.0);
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
    }

    fn read(&self) -> ModelStats {
        lock(&self.0).clone()
    }
}

/// Counts since the engine started.
#[derive(Debug, Default)]
pub struct Stats {
    census: Mutex<Census>,
    prompt_tokens: AtomicU64,
    generated_tokens: AtomicU64,
    parks: AtomicU64,
    recoveries: AtomicU64,
    accounts: Mutex<Accounts>,
}

#[derive(Debug, Default)]
struct Accounts {
    /// Those of loaded models.
    open: BTreeMap<ModelKey, Arc<Account>>,
    /// Steps and rows of models that were unloaded.
    closed: StepCount,
}

impl Stats {
    /// Counts requests that were received.
    pub(super) fn submitted(&self, num_requests: usize) {
        lock(&self.census).submitted(num_requests);
    }

    /// Counts requests that were refused before they reached the engine thread.
    pub(super) fn refused(&self, why: Refusal, num_requests: usize) {
        lock(&self.census).refused(why, num_requests);
    }

    /// Counts the end of a request that no model runner has.
    pub(super) fn ended(&self, end: &Close) {
        lock(&self.census).ended(&Ends::one(end));
    }

    /// Counts what ended at a model since the last call, and what the model has, under one lock.
    pub(super) fn count(&self, model: ModelKey, ends: &mut Ends, present: Present) {
        lock(&self.census).count(model, ends, present);
    }

    pub(super) fn prompt_tokens(&self, num_tokens: usize) {
        self.prompt_tokens.fetch_add(num_tokens as u64, Ordering::Relaxed);
    }

    pub(super) fn token(&self) {
        self.generated_tokens.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn park(&self) {
        self.parks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn recovery(&self) {
        self.recoveries.fetch_add(1, Ordering::Relaxed);
    }

    /// The account of a model, made on the first call.
    pub(super) fn open(&self, model: ModelKey) -> Arc<Account> {
        Arc::clone(lock(&self.accounts).open.entry(model).or_default())
    }

    /// Removes the account of a model. Its steps stay counted.
    pub(super) fn close(&self, model: ModelKey) {
        let mut accounts = lock(&self.accounts);
        if let Some(account) = accounts.open.remove(&model) {
            accounts.closed += account.read().totals.steps;
        }
        drop(accounts);
        lock(&self.census).forget(model);
    }

    /// The counters, and the figures of each loaded model, at this moment.
    pub(super) fn sample(&self, answers: &AnswerCache) -> (Snapshot, Vec<(ModelKey, ModelStats)>) {
        let (mut steps, models) = lock(&self.accounts).read();
        let (mut parked, mut kv_bytes) = (0, 0);
        for (_, stats) in &models {
            steps += stats.totals.steps;
            parked += stats.scheduler.load.num_parked as u64;
            kv_bytes += stats.kv_bytes;
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let snapshot = Snapshot {
            prompt_tokens: read(&self.prompt_tokens),
            generated_tokens: read(&self.generated_tokens),
            steps: steps.steps,
            rows: steps.rows,
            parks: read(&self.parks),
            recoveries: read(&self.recoveries),
            parked,
            kv_bytes,
            answers: answers.counts(),
            ..lock(&self.census).snapshot()
        };
        (snapshot, models)
    }

    /// The counters at this moment.
    pub(super) fn snapshot(&self, answers: &AnswerCache) -> Snapshot {
        self.sample(answers).0
    }
}

impl Accounts {
    fn read(&self) -> (StepCount, Vec<(ModelKey, ModelStats)>) {
        (self.closed, self.open.iter().map(|(key, account)| (*key, account.read())).collect())
    }
}

/// Emits an admission as a tracing event, which is skipped without a subscriber.
fn trace(record: &AdmissionRecord) {
    let AdmissionRecord { sequence, reason, waited, depth, tier } = *record;
    let waited_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(target: "mlx_serving::scheduler", %sequence, ?reason, waited_us, depth, ?tier, "admitted");
}
