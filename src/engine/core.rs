//! The state of an engine thread: the runners of all loaded models. Runs commands, gives turns to runners and loads, and says
//! how long the thread may wait. It has no thread and no channel, so that tests and simulations can drive it with a manual
//! clock. `worker` drives it in an engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::answers::{Fingerprint, ReaderId};
use crate::error::{Code, Error, Result};
use crate::executor::{Executor, Limits};
use crate::scheduler::{self, PrefixConfig};

use super::breaker::Breaker;
use super::budget::{self, Holding, Ledger};
use super::command::{Command, Loading, Opened, Reply, Submission, Unloading, closed};
use super::config::Config;
use super::device::DeviceShares;
use super::ids::{ModelKey, Replica, WorkerId};
use super::lease::{Ended, Lease, LoadEnd};
use super::opening::Opening;
use super::runner::{Model, ModelRunner, Need};
use super::shared::SharedState;

/// The time limit for copying KV for the disk when a model is unloaded. Steps of other models wait meanwhile.
const UNLOAD_SAVES: Duration = Duration::from_millis(100);
/// The time limit for copying KV of all models for the disk at a shutdown, including waits for the disk.
const SHUTDOWN_SAVES: Duration = Duration::from_secs(2);

pub(super) struct Core {
    config: Config,
    worker: WorkerId,
    lease: Arc<Lease>,
    /// The memory that weights take, and the KV limit that follows from it. Shared by all workers.
    ledger: Arc<Ledger>,
    /// The KV of each runner, in order; reused, so that a step does not allocate.
    holdings: Vec<Holding>,
    runners: BTreeMap<ModelKey, ModelRunner>,
    /// Models that are being loaded, which become runners.
    openings: BTreeMap<ModelKey, Opening>,
    shares: DeviceShares,
    shared: SharedState,
    /// Set when the engine ends: requests that still run at this time fail.
    ending: Option<Instant>,
}

/// What the engine thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Call [`Core::turn`] again at once.
    Turn,
    /// Wait for a command, at most until this time.
    Wait(Option<Instant>),
    /// End the thread: everything has ended.
    Leave,
}

impl Core {
    pub(super) fn new(
        config: &Config,
        worker: WorkerId,
        lease: Arc<Lease>,
        ledger: Arc<Ledger>,
        shared: SharedState,
    ) -> Self {
        Self {
            config: *config,
            worker,
            lease,
            ledger,
            holdings: Vec::new(),
            runners: BTreeMap::new(),
            openings: BTreeMap::new(),
            shares: DeviceShares::default(),
            shared,
            ending: None,
        }
    }

    pub(super) fn take(&mut self, command: Command) {
        match command {
            Command::Submit(submission) => self.submit(*submission),
            Command::Cancel(reader) => self.with_runner_of(reader, |runner| runner.cancel(reader)),
            Command::Abandon(reader) => self.with_runner_of(reader, |runner| runner.abandon(reader)),
            Command::Unpark(reader) => self.with_runner_of(reader, |runner| runner.unpark(reader)),
            Command::ForgetPrefixes => self.forget_prefixes(),
            Command::Unpin(pin) => self.runners.values_mut().for_each(|runner| runner.unpin(pin)),
            // Runners check the disk tier in their next turns, which follow at once.
            Command::DiskReady => {}
            Command::ConfigurePrefixes(config) => self.configure_prefixes(config),
            Command::Load(loading) => self.load(*loading),
            Command::Unload(key, how, reply) => self.unload(key, how, reply),
            Command::Shutdown(at, reply) => self.shut_down(at, reply),
            Command::Stop => self.leave(),
        }
    }

    /// Gives the next turn on the device to a runner or a load.
    pub(super) fn turn(&mut self) -> Next {
        self.share_kv();
        let need = self.shares.serve(&mut self.runners, &mut self.openings, &*self.shared.clock);
        self.take_opened();
        self.end_drained();
        self.drop_unloaded();
        if let Some(at) = self.ending
            && (self.shared.clock.now() >= at || self.runners.values().all(ModelRunner::is_empty))
        {
            self.leave();
        }
        self.next(need)
    }

    fn next(&self, need: Need) -> Next {
        let drains = self.runners.values().filter_map(ModelRunner::drains_until);
        let end = self.ending.into_iter().chain(drains).min();
        match need {
            _ if self.runners.is_empty() && self.ending.is_some() => Next::Leave,
            Need::Turn => Next::Turn,
            Need::Until(at) => Next::Wait(end.into_iter().chain([at]).min()),
            Need::Command => Next::Wait(end),
        }
    }

    fn submit(&mut self, submission: Submission) {
        match self.runners.get_mut(&submission.model) {
            _ if self.ending.is_some() => self.refuse(&submission, closed()),
            Some(runner) => runner.add(submission),
            None => self.refuse(&submission, unloaded("the model was unloaded")),
        }
    }

    fn refuse(&self, submission: &Submission, error: Error) {
        self.shared.end(submission.asked, &submission.log, Err(error));
    }

    fn load(&mut self, loading: Loading) {
        if self.ending.is_some() {
            return loading.fail(closed());
        }
        let Loading { active, reply, .. } = loading;
        let end = LoadEnd::new(active, reply);
        self.lease.keep_load(end.clone());
        let reply = Reply::new(move |opened| end.give(opened));
        self.openings.insert(loading.key, Opening::new(Loading { active: None, reply, ..loading }));
    }

    /// Makes runners of models whose loads succeeded, and drops those whose loads failed.
    fn take_opened(&mut self) {
        let ended = self.openings.extract_if(.., |_, opening| opening.has_ended());
        for (loading, end) in ended.filter_map(|(_, opening)| opening.into_end()).collect::<Vec<_>>() {
            let checked = end.and_then(|executor| check_limits(executor.limits()).map(|limits| (executor, limits)));
            match checked {
                Ok((executor, limits)) => self.add(loading, executor, limits),
                Err(error) => loading.fail(error),
            }
        }
    }

    fn add(&mut self, loading: Loading, executor: Box<dyn Executor>, limits: Limits) {
        let Loading { prepared, reservation, active, key, label, text, files, coming, circuit, reply, .. } = loading;
        drop(prepared);
        reservation.settle(limits.weight_bytes);
        self.shared.slots.opened(limits.weight_bytes);
        let kv = budget::limit_of(limits.kv, self.ledger.kv());
        let scheduler = scheduler::Config { kv, ..self.config.scheduler };
        let replica = Replica { model: key, worker: self.worker };
        let account = self.shared.stats.open(replica, label, limits.weight_bytes);
        let fingerprint = Fingerprint::new(&files, limits.device);
        let lease = Arc::clone(&self.lease);
        let model = Model { replica, label, executor, reservation, text, fingerprint, coming, account, lease };
        let breaker = Breaker::new(self.config.breaker, Arc::clone(&circuit));
        self.runners.insert(key, ModelRunner::new(model, &files, &scheduler, breaker, self.shared.clone()));
        drop(active);
        reply.send(Ok(Opened { label, limits, fingerprint, ledger: Arc::clone(&self.ledger), circuit }));
    }

    /// Divides this worker's part of the KV between its models, according to what each holds.
    fn share_kv(&mut self) {
        let Some(total) = self.ledger.kv() else { return };
        self.runners.values_mut().for_each(|runner| runner.set_kv_total(total));
        if self.runners.len() == 1 {
            // A single model gets everything, without counting what it holds in every step.
            return self.runners.values_mut().for_each(|runner| runner.set_kv_bytes(total, total));
        }
        self.holdings.clear();
        self.holdings.extend(self.runners.values().map(ModelRunner::holding));
        for (index, runner) in self.runners.values_mut().enumerate() {
            let with_retained = budget::share_with_retained(total, &self.holdings, index);
            runner.set_kv_bytes(budget::share(total, &self.holdings, index), with_retained);
        }
    }

    /// Bytes of KV that sequences of all models hold.
    #[cfg(test)]
    pub(super) fn kv_held(&self) -> u64 {
        self.runners.values().map(|runner| runner.holding().bytes).sum()
    }

    /// Bytes of KV that all models retain.
    #[cfg(test)]
    pub(super) fn kv_retained(&self) -> u64 {
        self.runners.values().map(|runner| runner.holding().retained).sum()
    }

    /// Drops KV that is retained for later requests, in memory and on the disk.
    fn forget_prefixes(&mut self) {
        self.runners.values_mut().for_each(ModelRunner::forget_prefixes);
        self.shared.disk.get().inspect(|disk| disk.clear());
    }

    /// Changes which KV is reused, also of models that are loaded later.
    fn configure_prefixes(&mut self, config: PrefixConfig) {
        self.config.scheduler.prefix = config;
        self.runners.values_mut().for_each(|runner| runner.configure_prefixes(config));
    }

    fn unload(&mut self, key: ModelKey, how: Unloading, reply: Reply<()>) {
        match self.runners.get_mut(&key) {
            Some(runner) => {
                self.lease.keep(Ended::Model(key), reply);
                runner.unload(how);
            }
            None => reply.send(Ok(())),
        }
    }

    /// Ends the requests of models whose time to drain is over.
    fn end_drained(&mut self) {
        let clock = &self.shared.clock;
        let is_over = |runner: &ModelRunner| runner.drains_until().is_some_and(|at| at <= clock.now());
        for runner in self.runners.values_mut().filter(|runner| is_over(runner)) {
            runner.fail_all(&unloaded("the model was unloaded before the answer was complete"));
            runner.deliver();
        }
    }

    fn drop_unloaded(&mut self) {
        for (key, mut runner) in self.runners.extract_if(.., |_, runner| runner.may_be_dropped()) {
            let replica = Replica { model: key, worker: self.worker };
            runner.save_all(self.shared.clock.now() + UNLOAD_SAVES, false);
            self.shared.stats.close(replica);
            if !runner.keeps_answers() {
                self.shared.answers.remove_model(runner.fingerprint());
            }
            runner.drop_model();
            self.shared.slots.forget(|other| other == replica);
            self.lease.reply(Ended::Model(key));
        }
    }

    fn shut_down(&mut self, at: Instant, reply: Reply<()>) {
        self.lease.keep(Ended::All, reply);
        self.ending = Some(self.ending.map_or(at, |earlier| earlier.min(at)));
        self.drop_openings(&closed());
    }

    fn drop_openings(&mut self, error: &Error) {
        for opening in std::mem::take(&mut self.openings).into_values() {
            opening.fail(error.clone());
        }
    }

    /// Opens models on a new engine thread, before the thread runs commands. Returns whether all of them opened.
    pub(super) fn open_all(&mut self, models: Vec<Loading>) -> bool {
        let keys: Vec<_> = models.iter().map(|loading| loading.key).collect();
        for loading in models {
            self.load(loading);
        }
        while !self.openings.is_empty() {
            self.turn();
        }
        keys.iter().all(|key| self.runners.contains_key(key))
    }

    /// Drops every model without ending its requests: the supervisor handles them. Loads fail with the error.
    pub(super) fn abandon(&mut self, error: &Error) {
        std::mem::take(&mut self.runners).into_values().for_each(ModelRunner::drop_model);
        self.drop_openings(error);
    }

    /// Ends all requests and drops every model, then replies: memory on the device is free by then.
    fn leave(&mut self) {
        self.drop_openings(&closed());
        let saves_until = self.ending.as_ref().map(|_| self.shared.clock.now() + SHUTDOWN_SAVES);
        for (key, mut runner) in std::mem::take(&mut self.runners) {
            if let Some(until) = saves_until {
                runner.save_all(until, true);
            }
            runner.fail_all(&closed());
            runner.deliver();
            self.shared.stats.close(Replica { model: key, worker: self.worker });
            runner.drop_model();
        }
        self.ending.get_or_insert_with(|| self.shared.clock.now());
        self.shared.slots.forget(|replica| replica.worker == self.worker);
        self.lease.end();
        self.lease.reply(Ended::All);
    }

    fn with_runner_of(&mut self, reader: ReaderId, act: impl FnOnce(&mut ModelRunner)) {
        if let Some(runner) = self.runners.values_mut().find(|runner| runner.has(reader)) {
            act(runner);
        }
    }
}

fn unloaded(message: &str) -> Error {
    Error::new(Code::ModelNotLoaded, message).with_param("model")
}

/// Refuses a model that can run no request.
fn check_limits(limits: Limits) -> Result<Limits> {
    if limits.context_length == 0 || limits.vocab_size == 0 {
        return Err(Error::new(Code::ModelLoadError, "the context length or the vocabulary size of the model is 0"));
    }
    Ok(limits)
}
