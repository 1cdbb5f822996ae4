//! Runs one loaded model on the engine thread: owns its scheduler, its executor and its rows. The scheduler decides and the
//! executor computes. `turn` has the order of one turn and accounts steps, `join` adds requests; this file ends rows and
//! delivers. No other part of the engine sees the fields.

mod join;
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

use super::budget::{Holding, Reservation};
use super::census::Present;
use super::command::{ModelKey, Reply};
use super::guarded::guarded;
use super::outbox::Outbox;
use super::progress::PromptProgress;
use super::row::Row;
use super::rows::{Left, Rows};
use super::shared::SharedState;
use super::stats::Account;
use super::step_timing::StepTiming;

pub(super) use turn::Others;

/// A loaded model.
pub(super) struct Model {
    pub(super) key: ModelKey,
    pub(super) executor: Box<dyn Executor>,
    /// The memory of its weights; given back after they are gone.
    pub(super) reservation: Reservation,
    pub(super) text: Arc<ModelText>,
    /// Part of the key of its cached answers.
    pub(super) fingerprint: Fingerprint,
    /// Number of accepted requests whose prompt is not ready.
    pub(super) coming: Arc<AtomicUsize>,
    pub(super) account: Arc<Account>,
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
    progress: PromptProgress,
    outbox: Outbox,
    /// The batch limit that was reported last.
    reported_limit: usize,
    /// The number of sequences that was reported last whose readers are behind.
    reported_behind: usize,
    /// Whether a request waited for a row after the last turn.
    was_queued: bool,
    /// Replies to unload commands, given after the last row has ended.
    unloading: Vec<Reply<()>>,
    /// This and the two below are reused, so that a step does not allocate.
    plan: Plan,
    sampled: Vec<SampledToken>,
    expired: Vec<(SequenceId, Expiry)>,
}

impl ModelRunner {
    pub(super) fn new(model: Model, config: &scheduler::Config, shared: SharedState) -> Self {
        Self {
            scheduler: Scheduler::new(*config),
            timing: StepTiming::new(Arc::clone(&shared.clock), model.executor.limits().overlap),
            model,
            rows: Rows::default(),
            shared,
            progress: PromptProgress::default(),
            outbox: Outbox::default(),
            reported_limit: 0,
            reported_behind: 0,
            was_queued: false,
            unloading: Vec::new(),
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
                self.scheduler.remove(id);
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

    /// Marks the model to be dropped after its last row has ended.
    pub(super) fn unload(&mut self, reply: Reply<()>) {
        self.unloading.push(reply);
    }

    pub(super) fn may_be_dropped(&self) -> bool {
        !self.unloading.is_empty() && self.rows.is_empty()
    }

    /// Drops the model, then replies to the unload commands: memory on the device is free by then.
    pub(super) fn drop_model(self) {
        let Self { model: Model { executor, reservation, .. }, unloading, .. } = self;
        drop(executor);
        drop(reservation);
        for reply in unloading {
            reply.send(Ok(()));
        }
    }

    pub(super) fn has(&self, reader: ReaderId) -> bool {
        self.rows.of_reader(reader).is_some()
    }

    /// Sets what the KV of its sequences may take, with what the executor allocates ahead of need.
    pub(super) fn set_kv_bytes(&mut self, bytes: u64) {
        self.scheduler.set_kv_bytes(bytes);
        self.model.executor.set_kv_bytes(bytes);
    }

    /// The KV that the model's sequences hold.
    pub(super) fn holding(&self) -> Holding {
        Holding { bytes: self.scheduler.kv_bytes(), is_busy: !self.rows.is_empty() }
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
        let now = self.shared.clock.now();
        // The row is removed after its end is written: if that panics, `fail_all` still finds the row.
        if let Some(end) = self.rows.get_mut(id).map(|row| row.finish(reason, now))
            && let Some(row) = self.rows.remove(id)
        {
            self.ended(id, &row, &end, now);
            if let (Some((claim, epoch)), Ok(finished)) = (&row.claim, &end)
                && finished.finish_reason != FinishReason::Cancelled
            {
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
        self.shared.slots.ended(now, is_wanted, Row::stay(end));
        self.outbox.end(end, row.readers.iter().map(|follower| follower.reader));
    }

    /// Recovers from a failure of the device. After a lack of memory every sequence is recomputed, fewer at a time. After
    /// another failure the rows of the steps in flight end with the error, and the other sequences are recomputed.
    pub(super) fn recover(&mut self, error: &Error) {
        let lost = match error.code() {
            Code::InsufficientMemory => self.scheduler.recover_memory().into_iter().collect(),
            _ => self.scheduler.recover(),
        };
        for id in lost {
            self.fail(id, error.clone());
        }
        self.timing.reset();
        self.shared.stats.recovery();
        if let Err(broken) = guarded(Code::BackendError, || self.model.executor.reset()) {
            self.fail_all(&broken);
        }
    }

    /// Ends every row with an error, including rows that the scheduler no longer has.
    pub(super) fn fail_all(&mut self, error: &Error) {
        self.scheduler.clear();
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
        let batch_limit = self.scheduler.batch_limit();
        if load.num_running > 0 && batch_limit != std::mem::replace(&mut self.reported_limit, batch_limit) {
            self.shared.slots.has_rows(batch_limit);
        }
        let num_behind = self.scheduler.num_behind();
        let num_before = std::mem::replace(&mut self.reported_behind, num_behind);
        if num_behind != num_before {
            self.shared.slots.change_behind(num_before, num_behind);
        }
        let present = Present { queued: load.num_queued, running: load.num_running, joined: self.rows.num_joined() };
        self.model.account.update(&mut self.scheduler, self.model.executor.kv_bytes(), &self.timing.totals);
        self.outbox.deliver(&self.shared, self.model.key, present);
    }
}

fn expiry_error(why: Expiry) -> Error {
    match why {
        Expiry::Deadline => Error::new(Code::Timeout, "the deadline passed before the answer was complete"),
        Expiry::Hopeless => Error::new(Code::Timeout, "the deadline is nearer than reading the prompt takes"),
        Expiry::Parked => Error::new(Code::SlowConsumer, "the stream was not read for too long"),
    }
}
