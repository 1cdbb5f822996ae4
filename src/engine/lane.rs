//! One loaded model: its scheduler, its executor and the rows that run on it. Decides nothing itself: asks the scheduler,
//! tells the executor, does the account, and delivers. Lives on the engine thread.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::answers::{ReaderId, Readers};
use crate::clock::Clock;
use crate::error::{Code, Error, Result};
use crate::executor::Executor;
use crate::request::{FinishReason, SequenceId};
use crate::scheduler::plan::{Feed, Plan, StepOutput};
use crate::scheduler::{self, Decision, Drawn, Expiry, Scheduler};
use crate::text::{ModelText, StreamState};

use super::command::{Reply, Submission};
use super::row::Row;
use super::stats::Stats;

/// What the lanes of an engine share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) readers: Arc<Readers>,
    pub(super) stats: Arc<Stats>,
}

/// What a lane needs before it can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Another turn.
    Turn,
    /// Nothing before that moment, unless a command comes.
    Until(Instant),
    /// A command.
    Command,
}

pub(super) struct Lane {
    scheduler: Scheduler,
    executor: Box<dyn Executor>,
    text: Arc<ModelText>,
    rows: HashMap<SequenceId, Row>,
    /// Rows of the steps that were submitted and not collected, oldest first.
    in_flight: VecDeque<Vec<SequenceId>>,
    around: Surroundings,
    /// Readers whose answers grew or ended since the last delivery.
    marked: Vec<ReaderId>,
    last_end: Option<Instant>,
    /// Set when the model is being unloaded: replies are given once the last row has ended.
    unloading: Vec<Reply<()>>,
}

impl Lane {
    pub(super) fn new(
        executor: Box<dyn Executor>,
        text: Arc<ModelText>,
        config: scheduler::Config,
        around: Surroundings,
    ) -> Self {
        Self {
            scheduler: Scheduler::new(config),
            executor,
            text,
            rows: HashMap::new(),
            in_flight: VecDeque::new(),
            around,
            marked: Vec::new(),
            last_end: None,
            unloading: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, submission: Submission) {
        let (id, request) = (submission.sequence, submission.request.clone());
        let text = self.text.stream(&request.stop.stop_sequences);
        self.rows.insert(id, Row::new(submission, text));
        self.scheduler.add(id, request);
    }

    /// Ends a row with what it has so far.
    pub(super) fn cancel(&mut self, id: SequenceId) {
        self.scheduler.remove(id);
        self.finish(id, FinishReason::Cancelled);
    }

    /// Drops a row nobody reads.
    pub(super) fn abandon(&mut self, id: SequenceId) {
        self.scheduler.remove(id);
        self.fail(id, Error::new(Code::Cancelled, "the last reader left"));
    }

    pub(super) fn unpark(&mut self, id: SequenceId) {
        self.scheduler.unpark(id);
    }

    /// Notes that the model is to be dropped once nothing runs on it.
    pub(super) fn unload(&mut self, reply: Reply<()>) {
        self.unloading.push(reply);
    }

    pub(super) fn may_be_dropped(&self) -> bool {
        !self.unloading.is_empty() && self.rows.is_empty()
    }

    /// Gives the replies that waited for the lane's end, after everything it held on the device is gone.
    pub(super) fn drop_model(self) {
        let Self { executor, unloading, .. } = self;
        drop(executor);
        for reply in unloading {
            reply.send(Ok(()));
        }
    }

    pub(super) fn has(&self, id: SequenceId) -> bool {
        self.rows.contains_key(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn load(&self) -> (scheduler::Load, u64) {
        (self.scheduler.load(), self.executor.kv_bytes())
    }

    /// One turn: expire, decide, do, account. Collects the oldest step once enough are submitted.
    pub(super) fn turn(&mut self) -> Need {
        self.try_turn().unwrap_or_else(|error| {
            self.recover(&error);
            Need::Turn
        })
    }

    fn try_turn(&mut self) -> Result<Need> {
        self.expire();
        let need = self.fill_pipeline()?;
        if self.in_flight.is_empty() {
            return Ok(need);
        }
        let output = self.executor.collect()?;
        self.in_flight.pop_front();
        self.account(&output);
        Ok(Need::Turn)
    }

    /// Submits steps until as many are in flight as the device can overlap with the host, and one more.
    fn fill_pipeline(&mut self) -> Result<Need> {
        while self.in_flight.len() <= self.executor.limits().lookahead {
            let now = self.around.clock.now();
            match self.scheduler.next(now) {
                Decision::Run(plan) => self.submit(&plan, now)?,
                Decision::WaitUntil(at) => return Ok(Need::Until(at)),
                Decision::Idle => return Ok(Need::Command),
            }
        }
        Ok(Need::Turn)
    }

    fn submit(&mut self, plan: &Plan, now: Instant) -> Result<()> {
        for row in &plan.rows {
            if let Some(row) = self.rows.get_mut(&row.sequence) {
                row.start(now);
            }
        }
        // Noted before the launch: a launch that fails or panics has touched these rows.
        self.in_flight.push_back(plan.rows.iter().map(|row| row.sequence).collect());
        self.executor.submit(plan)?;
        if !plan.rows.is_empty() {
            let num_decoded = plan.rows.iter().filter(|row| row.feed == Feed::Sampled).count();
            self.around.stats.step(plan.rows.len(), plan.num_tokens() - num_decoded);
        }
        Ok(())
    }

    fn account(&mut self, output: &StepOutput) {
        let now = self.around.clock.now();
        for drawn in self.scheduler.commit(output) {
            self.take(drawn, now);
        }
    }

    fn take(&mut self, drawn: Drawn, now: Instant) {
        let Some(row) = self.rows.get_mut(&drawn.sequence) else { return };
        let is_end = drawn.finish == Some(FinishReason::Stop);
        let state = row.push(drawn.token, is_end, now);
        self.around.stats.token();
        if state == StreamState::Stopped {
            self.scheduler.remove(drawn.sequence);
            self.finish(drawn.sequence, FinishReason::Stop);
        } else if let Some(reason) = drawn.finish {
            self.finish(drawn.sequence, reason);
        } else {
            self.grown(drawn.sequence, now);
        }
    }

    /// A row whose readers are all behind gives its place to others until one has caught up.
    fn grown(&mut self, id: SequenceId, now: Instant) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        self.marked.extend(&row.readers);
        if row.is_out_of_credit(&self.around.readers) {
            self.scheduler.park(id, now);
            self.around.stats.park();
        }
    }

    fn expire(&mut self) {
        for (id, why) in self.scheduler.expire(self.around.clock.now()) {
            self.fail(
                id,
                match why {
                    Expiry::Deadline => Error::new(Code::Timeout, "the deadline passed before the answer was complete"),
                    Expiry::Parked => Error::new(Code::SlowConsumer, "the stream was not read for too long"),
                },
            );
        }
    }

    fn finish(&mut self, id: SequenceId, reason: FinishReason) {
        let now = self.around.clock.now();
        if let Some(mut row) = self.rows.remove(&id) {
            self.around.stats.ended(&row.finish(reason, now));
            self.marked.append(&mut row.readers);
            if let Some(before) = self.last_end.replace(now) {
                self.around.stats.end_interval(now.saturating_duration_since(before));
            }
        }
    }

    fn fail(&mut self, id: SequenceId, error: Error) {
        if let Some(mut row) = self.rows.remove(&id) {
            self.around.stats.ended(&row.fail(error));
            self.marked.append(&mut row.readers);
        }
    }

    /// The device failed: the rows of the steps in flight end with the error, everything else starts again.
    pub(super) fn recover(&mut self, error: &Error) {
        let touched: Vec<_> = self.in_flight.drain(..).flatten().collect();
        for id in self.scheduler.recover(|id| touched.contains(&id)) {
            self.fail(id, error.clone());
        }
        self.around.stats.recovery();
        if let Err(broken) = self.executor.reset() {
            self.fail_all(&broken);
        }
    }

    /// Ends every row with an error.
    pub(super) fn fail_all(&mut self, error: &Error) {
        for id in self.scheduler.clear() {
            self.fail(id, error.clone());
        }
    }

    /// One lock and at most one wake for everything that grew since the last time.
    pub(super) fn deliver(&mut self) {
        if !self.marked.is_empty() {
            self.around.readers.mark(self.marked.drain(..));
            self.around.readers.wake();
        }
    }
}
