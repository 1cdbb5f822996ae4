//! Runs one loaded model on the engine thread: owns its scheduler, its executor and its rows. The scheduler decides and the
//! executor computes. `turn` has the order of one turn and accounts steps, `join` adds requests; this file ends rows and
//! delivers. No other part of the engine sees the fields.

mod disk;
mod join;
mod kv;
mod pins;
mod turn;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use crate::answers::{Close, Fingerprint, ReaderId};
use crate::error::{Code, Error};
use crate::executor::Executor;
use crate::request::{FinishReason, SequenceId};
use crate::scheduler::plan::Plan;
use crate::scheduler::{self, Expiry, SampledToken, Scheduler};
use crate::text::ModelText;

use super::breaker::Breaker;
use super::budget::Reservation;
use super::census::Present;
use super::command::{UnloadedAnswers, Unloading};
use super::guarded::guarded;
use super::ids::Replica;
use super::labels::ModelLabel;
use super::lease::Lease;
use super::meter::Meter;
use super::outbox::Outbox;
use super::progress::PromptProgress;
use super::row::{Follower, Row};
use super::rows::{Left, Rows};
use super::shared::SharedState;
use super::slots::Places;
use super::stats::{Account, Measured};
use super::step_timing::StepTiming;

pub(super) use turn::Others;

use disk::DiskTier;

/// A loaded model.
pub(super) struct Model {
    pub(super) replica: Replica,
    pub(super) label: ModelLabel,
    pub(super) executor: Box<dyn Executor>,
    /// The memory of its weights; given back after they are gone.
    pub(super) reservation: Arc<Reservation>,
    pub(super) text: Arc<ModelText>,
    /// Part of the key of its cached answers.
    pub(super) fingerprint: Fingerprint,
    /// Number of accepted requests whose prompt is not ready.
    pub(super) coming: Arc<AtomicUsize>,
    pub(super) account: Arc<Account>,
    /// The thread's right to act.
    pub(super) lease: Arc<Lease>,
}

/// What a runner needs before it can continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Another turn at once.
    Turn,
    /// A turn at that time, or after the next command.
    Until(Instant),
    /// A turn after the next command.
    Command,
}

impl Need {
    /// The earlier of two.
    pub(super) fn sooner(self, other: Self) -> Self {
        self.min(other)
    }
}

pub(super) struct ModelRunner {
    scheduler: Scheduler,
    model: Model,
    rows: Rows,
    shared: SharedState,
    timing: StepTiming,
    breaker: Breaker,
    meter: Meter,
    /// The disk tier of its prefix cache, if there is one.
    disk: Option<DiskTier>,
    progress: PromptProgress,
    outbox: Outbox,
    /// The rows that were reported last.
    reported: Places,
    /// Whether a request waited for a row after the last turn.
    was_queued: bool,
    /// Set by the unload commands.
    drain: Option<Unloading>,
    /// This and the two below are reused, so that a step does not allocate.
    plan: Plan,
    sampled: Vec<SampledToken>,
    expired: Vec<(SequenceId, Expiry)>,
}

impl ModelRunner {
    pub(super) fn new(
        model: Model,
        files: &[u8; 32],
        config: &scheduler::Config,
        breaker: Breaker,
        shared: SharedState,
    ) -> Self {
        let mut scheduler = Scheduler::new(*config);
        let disk = shared.disk.get().and_then(|store| DiskTier::new(store, &model, files, &mut scheduler));
        Self {
            scheduler,
            timing: StepTiming::new(Arc::clone(&shared.clock), model.executor.limits().overlap),
            meter: Meter::new(shared.stats.began()),
            model,
            rows: Rows::default(),
            breaker,
            disk,
            shared,
            progress: PromptProgress::default(),
            outbox: Outbox::default(),
            reported: Places::default(),
            was_queued: false,
            drain: None,
            plan: Plan::default(),
            sampled: Vec::new(),
            expired: Vec::new(),
        }
    }

    /// Ends the answer of a reader with the tokens so far.
    pub(super) fn cancel(&mut self, reader: ReaderId) {
        match self.rows.leave(reader) {
            Some(Left::Alone(id)) => {
                self.scheduler.remove(id);
                self.finish(id, FinishReason::Cancelled);
            }
            Some(Left::Others(id)) => {
                let now = self.shared.clock.now();
                if let Some(finished) = self.rows.get(id).map(|row| row.finished(FinishReason::Cancelled, now)) {
                    self.part(id, reader, Ok(finished));
                }
            }
            None => {}
        }
    }

    /// Removes a reader that left. A row without readers is dropped.
    pub(super) fn abandon(&mut self, reader: ReaderId) {
        self.dismiss(reader, Error::new(Code::Cancelled, "the reader left"));
    }

    /// Ends the answer of one reader with an error. A row without readers is dropped.
    fn dismiss(&mut self, reader: ReaderId, error: Error) {
        match self.rows.leave(reader) {
            Some(Left::Alone(id)) => {
                let pin = self.rows.get(id).and_then(|row| row.pin);
                self.scheduler.remove(id);
                // Its KV may be retained with the pin, which no caller knows.
                if let Some(pin) = pin {
                    self.unpin(pin);
                }
                self.fail(id, error);
            }
            Some(Left::Others(id)) => self.part(id, reader, Err(error)),
            None => {}
        }
    }

    /// Gives a reader its own end, after it left a row that other readers continue to read.
    fn part(&mut self, id: SequenceId, reader: ReaderId, end: Close) {
        let Some(row) = self.rows.get_mut(id) else { return };
        self.outbox.end(&end, [reader]);
        self.shared.readers.cut(reader, row.so_far(), end);
    }

    pub(super) fn unpark(&mut self, reader: ReaderId) {
        if let Some(id) = self.rows.of_reader(reader) {
            self.scheduler.unpark(id, self.shared.clock.now());
        }
    }

    /// Part of the key of this model's cached answers.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.model.fingerprint
    }

    /// Marks the model to be dropped after its last row has ended. Of several calls the earliest time counts, and one is enough
    /// to remove the cached answers.
    pub(super) fn unload(&mut self, how: Unloading) {
        let drain = self.drain.get_or_insert(how);
        drain.at = drain.at.min(how.at);
        if how.answers == UnloadedAnswers::Remove {
            drain.answers = UnloadedAnswers::Remove;
        }
    }

    /// Until when the rows of a model that is being unloaded may run.
    pub(super) fn drains_until(&self) -> Option<Instant> {
        self.drain.map(|drain| drain.at)
    }

    /// Whether the cached answers outlive the model.
    pub(super) fn keeps_answers(&self) -> bool {
        self.drain.is_some_and(|drain| drain.answers == UnloadedAnswers::Keep)
    }

    /// Whether a model that is being unloaded has nothing left to do. A step in flight is collected in a turn, which is watched.
    pub(super) fn may_be_dropped(&self) -> bool {
        self.drain.is_some() && self.rows.is_empty() && !self.is_in_flight()
    }

    /// Drops the model: memory on the device is free then.
    pub(super) fn drop_model(self) {
        let Self { model: Model { executor, reservation, .. }, .. } = self;
        drop(executor);
        drop(reservation);
    }

    /// The id of the model, for messages.
    fn id(&self) -> Arc<str> {
        self.shared.stats.id(self.model.label)
    }

    pub(super) fn has(&self, reader: ReaderId) -> bool {
        self.rows.of_reader(reader).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The step time of the model's streams, if it has streams.
    pub(super) fn stream_step(&self) -> Option<Duration> {
        self.scheduler.stream_step()
    }

    /// The model's share of the device relative to other models.
    pub(super) fn weight(&self) -> u32 {
        self.scheduler.weight()
    }

    /// Steps that ran.
    pub(super) fn num_steps(&self) -> u64 {
        self.timing.totals.steps.steps
    }

    /// Another model used the device since this runner's last turn.
    pub(super) fn others_ran(&mut self) {
        self.timing.others_ran();
    }

    /// Whether the runner has generations, so that a turn may use the device.
    pub(super) fn has_work(&self) -> bool {
        !self.scheduler.is_empty() || self.is_in_flight()
    }

    /// Whether a step was submitted and not collected.
    pub(super) fn is_in_flight(&self) -> bool {
        self.scheduler.num_in_flight() > 0
    }

    /// Ends readers whose deadline has passed, and rows that the scheduler gives up. A deadline ends only its own reader; the
    /// row ends with its last reader.
    fn expire(&mut self) {
        let now = self.shared.clock.now();
        while let Some(reader) = self.rows.expired(now) {
            self.dismiss(reader, expiry_error(Expiry::Deadline));
        }
        // Urgency is computed once for all readers that left since the last turn, before the scheduler decides.
        while let Some((id, row)) = self.rows.reconsider() {
            self.scheduler.revise(id, row.urgency(), now);
        }
        let mut expired = std::mem::take(&mut self.expired);
        self.scheduler.expire(now, &mut expired);
        for (id, why) in expired.drain(..) {
            self.fail(id, expiry_error(why));
        }
        self.expired = expired;
    }

    fn finish(&mut self, id: SequenceId, reason: FinishReason) {
        if let Some(pin) = self.rows.get(id).and_then(|row| row.pin)
            && !self.scheduler.has_pin(pin)
        {
            return self.fail(id, pins::dropped());
        }
        let now = self.shared.clock.now();
        // The row is removed after its end is written: if that panics, `fail_all` still finds the row.
        if let Some(end) = self.rows.get_mut(id).map(|row| row.finish(reason, now))
            && let Some(row) = self.rows.remove(id)
        {
            self.ended(id, &row, &end, now);
            let is_complete = end.as_ref().is_ok_and(|finished| finished.finish_reason != FinishReason::Cancelled);
            if is_complete {
                self.breaker.completed();
            }
            if let Some((claim, epoch)) = row.claim.as_ref().filter(|_| is_complete) {
                self.shared.answers.insert(claim, *epoch, row.log, now);
            }
        }
    }

    fn fail(&mut self, id: SequenceId, error: Error) {
        let now = self.shared.clock.now();
        if let Some(mut row) = self.rows.remove(id) {
            let end = row.fail(error);
            self.ended(id, &row, &end, now);
        }
    }

    fn ended(&mut self, id: SequenceId, row: &Row, end: &Close, now: Instant) {
        self.progress.forget(id);
        let is_wanted = self.scheduler.load().num_queued > 0;
        let stay = Row::stay(end).map(|took| self.stay_in_crowd(row, took));
        self.shared.slots.ended(now, is_wanted, stay);
        if end.as_ref().is_ok_and(|finished| finished.finish_reason != FinishReason::Cancelled) {
            let took = |follower: &Follower| now.saturating_duration_since(follower.asked.at);
            row.readers.iter().map(took).for_each(|took| self.meter.completed(took));
        }
        self.outbox.end(end, row.readers.iter().map(Follower::reader));
    }

    /// Recovers from a failure of the device. After a lack of memory every sequence is recomputed, fewer at a time. After
    /// another failure the rows of the steps in flight run again later, or end with the error; the other sequences are
    /// recomputed.
    pub(super) fn recover(&mut self, error: &Error) {
        let now = self.shared.clock.now();
        let lacks_memory = error.code() == Code::InsufficientMemory;
        let lost = if lacks_memory {
            self.scheduler.recover_memory(now).into_iter().collect()
        } else {
            self.scheduler.recover(now)
        };
        if !lacks_memory && self.breaker.failed(!lost.is_empty(), now) {
            self.meter.figures.circuit_opened += 1;
            tracing::warn!(target: "mlx_serving::engine", model = %self.id(), "circuit breaker opened");
        }
        tracing::error!(target: "mlx_serving::engine", model = %self.id(), lost = lost.len(), %error, "step failed");
        for id in lost {
            self.fail(id, error.clone());
        }
        self.timing.reset();
        self.meter.figures.recoveries += 1;
        let Model { lease, executor, .. } = &mut self.model;
        let reset = lease.lend(|| guarded(Code::BackendError, || executor.reset()));
        // A device that hangs may hang here as well.
        self.model.account.watch.end();
        if let Err(broken) = reset {
            tracing::error!(target: "mlx_serving::engine", model = %self.id(), %broken, "reset failed");
            self.fail_all(&broken);
        }
    }

    /// Ends every row with an error, including rows that the scheduler no longer has.
    pub(super) fn fail_all(&mut self, error: &Error) {
        self.scheduler.clear();
        self.drop_waiting();
        for id in self.rows.ids() {
            self.fail(id, error.clone());
        }
    }

    /// Updates statistics and slots, then delivers everything new since the last call.
    pub(super) fn deliver(&mut self) {
        let load = self.scheduler.load();
        let is_queued = load.num_queued > 0;
        if is_queued && !self.was_queued {
            self.shared.slots.wanted(self.shared.clock.now());
        }
        self.was_queued = is_queued;
        // The rows of an idle model say nothing about the device.
        let num_rows = if load.num_running > 0 { self.scheduler.batch_limit() } else { self.reported.num_rows };
        let places = Places { num_rows, num_behind: self.scheduler.num_behind() };
        if places != std::mem::replace(&mut self.reported, places) {
            self.shared.slots.report(self.model.replica, places);
        }
        let queued = load.num_queued + self.num_waiting_for_disk();
        let present = Present { queued, running: load.num_running, joined: self.rows.num_joined() };
        let (kv_bytes, circuit) = (self.model.executor.kv_bytes(), self.breaker.state());
        let measured = Measured { totals: &self.timing.totals, figures: &self.meter.figures };
        self.model.account.update(&mut self.scheduler, kv_bytes, measured, circuit);
        self.outbox.deliver(&self.shared, (self.model.replica, self.model.label), present);
    }
}

fn expiry_error(why: Expiry) -> Error {
    match why {
        Expiry::Deadline => Error::new(Code::Timeout, "the deadline passed before the answer was complete"),
        Expiry::Hopeless => Error::new(Code::Timeout, "the deadline is nearer than reading the prompt takes"),
        Expiry::Parked => Error::new(Code::SlowConsumer, "the stream was not read for too long"),
    }
}
