//! The state of the engine thread: the runners of all loaded models. Runs commands, gives turns to runners and loads, and says
//! how long the thread may wait. It has no thread and no channel, so that tests and simulations can drive it with a manual
//! clock. `thread` drives it in an engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::answers::{Fingerprint, ReaderId};
use crate::error::{Code, Error, Result};
use crate::executor::{Executor, Limits};
use crate::scheduler;

use super::budget::{self, Holding, Ledger};
use super::command::{Command, Loading, ModelKey, Opened, Reply, Submission, closed};
use super::config::Config;
use super::device::DeviceShares;
use super::opening::Opening;
use super::runner::{Model, ModelRunner, Need};
use super::shared::SharedState;

pub(super) struct Core {
    config: Config,
    /// Memory of weights, and the rest for the KV of all models.
    ledger: Arc<Ledger>,
    /// The KV of each runner, in order; reused, so that a step does not allocate.
    holdings: Vec<Holding>,
    runners: BTreeMap<ModelKey, ModelRunner>,
    /// Models that are being loaded, which become runners.
    openings: BTreeMap<ModelKey, Opening>,
    shares: DeviceShares,
    shared: SharedState,
    ending: Option<Ending>,
}

/// Set by a shutdown command.
struct Ending {
    /// Requests that still run at this time fail.
    at: Instant,
    replies: Vec<Reply<()>>,
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
    pub(super) fn new(config: &Config, ledger: Arc<Ledger>, shared: SharedState) -> Self {
        Self {
            config: *config,
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
            Command::Load(loading) => self.load(*loading),
            Command::Unload(key, reply) => self.unload(key, reply),
            Command::Shutdown(at, reply) => self.shut_down(at, reply),
            Command::Stop => self.leave(),
        }
    }

    /// Gives the next turn on the device to a runner or a load.
    pub(super) fn turn(&mut self) -> Next {
        self.share_kv();
        let need = self.shares.serve(&mut self.runners, &mut self.openings, &*self.shared.clock);
        self.take_opened();
        self.drop_unloaded();
        if let Some(ending) = &self.ending
            && (self.shared.clock.now() >= ending.at || self.runners.values().all(ModelRunner::is_empty))
        {
            self.leave();
        }
        self.next(need)
    }

    fn next(&self, need: Need) -> Next {
        let end = self.ending.as_ref().map(|ending| ending.at);
        match need {
            _ if self.runners.is_empty() && end.is_some() => Next::Leave,
            Need::Turn => Next::Turn,
            Need::Until(at) => Next::Wait(end.into_iter().chain([at]).min()),
            Need::Command => Next::Wait(end),
        }
    }

    fn submit(&mut self, submission: Submission) {
        match self.runners.get_mut(&submission.model) {
            _ if self.ending.is_some() => self.refuse(&submission, closed()),
            Some(runner) => runner.add(submission),
            None => self.refuse(&submission, Error::new(Code::ModelNotLoaded, "the model was unloaded")),
        }
    }

    fn refuse(&self, submission: &Submission, error: Error) {
        self.shared.end(submission.reader, &submission.log, Err(error));
    }

    fn load(&mut self, loading: Loading) {
        if self.ending.is_some() {
            return loading.fail(closed());
        }
        self.openings.insert(loading.key, Opening::new(loading));
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
        let Loading { prepared, reservation, active, key, text, files, coming, reply, .. } = loading;
        drop(prepared);
        reservation.settle(limits.weight_bytes);
        let kv = budget::limit_of(limits.kv, self.ledger.kv());
        let scheduler = scheduler::Config { kv, ..self.config.scheduler };
        let account = self.shared.stats.open(key);
        let fingerprint = Fingerprint::new(&files, limits.device);
        let model = Model { key, executor, reservation, text, fingerprint, coming, account };
        self.runners.insert(key, ModelRunner::new(model, &scheduler, self.shared.clone()));
        drop(active);
        reply.send(Ok(Opened { limits, fingerprint, ledger: Arc::clone(&self.ledger) }));
    }

    /// Divides the KV of the engine between its models, according to what each holds.
    fn share_kv(&mut self) {
        let Some(total) = self.ledger.kv() else { return };
        if self.runners.len() == 1 {
            // A single model gets everything, without counting what it holds in every step.
            return self.runners.values_mut().for_each(|runner| runner.set_kv_bytes(total));
        }
        self.holdings.clear();
        self.holdings.extend(self.runners.values().map(ModelRunner::holding));
        for (index, runner) in self.runners.values_mut().enumerate() {
            runner.set_kv_bytes(budget::share(total, &self.holdings, index));
        }
    }

    /// Bytes of KV that sequences of all models hold.
    #[cfg(test)]
    pub(super) fn kv_held(&self) -> u64 {
        self.runners.values().map(|runner| runner.holding().bytes).sum()
    }

    fn unload(&mut self, key: ModelKey, reply: Reply<()>) {
        match self.runners.get_mut(&key) {
            Some(runner) => runner.unload(reply),
            None => reply.send(Ok(())),
        }
    }

    fn drop_unloaded(&mut self) {
        for (key, runner) in self.runners.extract_if(.., |_, runner| runner.may_be_dropped()) {
            self.shared.stats.close(key);
            self.shared.answers.remove_model(runner.fingerprint());
            runner.drop_model();
        }
    }

    fn shut_down(&mut self, at: Instant, reply: Reply<()>) {
        let ending = self.ending.get_or_insert_with(|| Ending { at, replies: Vec::new() });
        ending.at = ending.at.min(at);
        ending.replies.push(reply);
        self.drop_openings();
    }

    fn drop_openings(&mut self) {
        for opening in std::mem::take(&mut self.openings).into_values() {
            opening.fail(closed());
        }
    }

    /// Ends all requests and drops every model, then replies: memory on the device is free by then.
    fn leave(&mut self) {
        self.drop_openings();
        for (key, mut runner) in std::mem::take(&mut self.runners) {
            runner.fail_all(&closed());
            runner.deliver();
            self.shared.stats.close(key);
            runner.drop_model();
        }
        let at = self.shared.clock.now();
        let ending = self.ending.get_or_insert_with(|| Ending { at, replies: Vec::new() });
        ending.replies.drain(..).for_each(|reply| reply.send(Ok(())));
    }

    fn with_runner_of(&mut self, reader: ReaderId, act: impl FnOnce(&mut ModelRunner)) {
        if let Some(runner) = self.runners.values_mut().find(|runner| runner.has(reader)) {
            act(runner);
        }
    }
}

/// Refuses a model that can run no request.
fn check_limits(limits: Limits) -> Result<Limits> {
    if limits.context_length == 0 || limits.vocab_size == 0 {
        return Err(Error::new(Code::ModelLoadError, "the model has no context or no vocabulary"));
    }
    Ok(limits)
}
