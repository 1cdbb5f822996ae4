//! One turn of a model runner: expire, plan and submit, collect, account, deliver. `device` decides which runner has a turn. A
//! panic in the executor counts as a failure of the device.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::constraint::{ConstraintEnd, ConstraintError};
use crate::error::{Code, Error, Result};
use crate::request::{FinishReason, TokenLogprob};
use crate::scheduler::plan::{Feed, StepOutput};
use crate::scheduler::{Decision, SampledToken};
use crate::text::StreamState;

use super::super::guarded::guarded;
use super::super::progress::Report;
use super::super::row::{Follower, Row};
use super::disk::DiskTier;
use super::{Model, ModelRunner, Need};

/// What the other models mean for a runner's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Others {
    /// Whether the runner may have a step in flight when its turn ends, because it will have the next turn as well.
    pub(in super::super) may_plan_ahead: bool,
    /// The shortest step time of another model that has streams, if there is one.
    pub(in super::super) stream_step: Option<Duration>,
}

impl ModelRunner {
    /// Submits as many steps as may be in flight, collects the oldest one, and delivers the results.
    pub(in super::super) fn turn(&mut self, others: Others) -> Need {
        self.timing.begin();
        self.scheduler.set_streams_beside(others.stream_step);
        self.take_reads(self.shared.clock.now());
        let may_plan_ahead = others.may_plan_ahead && !self.wants_gap(self.shared.clock.now());
        let need = self.try_turn(may_plan_ahead).unwrap_or_else(|error| {
            self.recover(&error);
            Need::Turn
        });
        self.deliver();
        self.timing.end(need == Need::Turn && !self.scheduler.is_empty());
        need.sooner(self.save_blocks())
    }

    /// Does what must not wait for the runner's next turn: ends requests whose deadline passed, and delivers the ends that
    /// commands caused.
    pub(in super::super) fn tend(&mut self) {
        self.expire();
        if !self.outbox.is_empty() {
            self.deliver();
        }
    }

    pub(super) fn try_turn(&mut self, may_plan_ahead: bool) -> Result<Need> {
        // An end that waited for the device would be delivered, but not counted, as soon as its reader drains.
        self.tend();
        let need = self.fill_pipeline(may_plan_ahead)?;
        if self.scheduler.num_in_flight() == 0 {
            return Ok(need);
        }
        let Model { lease, executor, .. } = &mut self.model;
        let collect = || lease.lend(|| guarded(Code::BackendError, || executor.collect()));
        let (output, took) = self.timing.collect(collect);
        let now = self.shared.clock.now();
        self.account(&output?, took, now);
        self.watch_step(now);
        Ok(Need::Turn)
    }

    fn fill_pipeline(&mut self, may_plan_ahead: bool) -> Result<Need> {
        let may_plan = |it: &Self| it.scheduler.num_in_flight() == 0 || may_plan_ahead;
        while may_plan(self) && self.scheduler.may_plan(self.model.executor.limits().overlap) {
            self.timing.resume();
            let now = self.shared.clock.now();
            if let Some(at) = self.breaker.blocks_until(now) {
                return Ok(self.wait(Some(at)));
            }
            // A relaxed read may miss a request that is being sent; that request joins at the next step.
            let num_coming = self.model.coming.load(Ordering::Relaxed);
            match self.scheduler.next(now, num_coming, &mut self.plan) {
                Decision::Run => self.submit(now)?,
                Decision::WaitUntil(at) => return Ok(self.wait(Some(at))),
                Decision::Idle => return Ok(self.wait(None)),
            }
        }
        Ok(Need::Turn)
    }

    /// Shows other threads which step is the next one to end.
    fn watch_step(&self, now: Instant) {
        let watch = &self.model.account.watch;
        if self.scheduler.num_in_flight() > 0 {
            watch.begin(now, self.scheduler.expected_step());
        } else {
            watch.end();
        }
    }

    /// How long an answer is on the device while all rows are in use: `took` if they were in use, otherwise the longer of `took`
    /// and an estimate. With the shorter time, callers that are refused under full load would come back too early.
    /// Also returns the tokens of the answer.
    pub(super) fn stay_in_crowd(&self, row: &Row, took: Duration) -> (Duration, usize) {
        let num_rows = self.scheduler.batch_limit().min(self.shared.slots.most_rows());
        let (num_prompt_tokens, num_tokens) = row.num_computed();
        let in_crowd = || self.scheduler.time_in_crowd(num_prompt_tokens, num_tokens, num_rows).unwrap_or_default();
        let was_crowded = self.scheduler.load().num_running + 1 >= num_rows;
        (if was_crowded { took } else { in_crowd().max(took) }, num_tokens)
    }

    /// What the runner needs if the scheduler has nothing to run before `until`: a turn at that time, at the next deadline of a
    /// reader, or when a request stops waiting for the disk, whichever is first.
    fn wait(&self, until: Option<Instant>) -> Need {
        let reads = self.disk.as_ref().and_then(DiskTier::deadline);
        until.into_iter().chain(self.rows.next_deadline()).chain(reads).min().map_or(Need::Command, Need::Until)
    }

    fn submit(&mut self, now: Instant) -> Result<()> {
        self.count_disk_hits(&self.plan);
        let plan = &self.plan;
        for admission in &plan.admit {
            if let Some(row) = self.rows.get_mut(admission.sequence) {
                row.copies(admission.prefix);
            }
        }
        for miss in self.scheduler.misses() {
            if let Some(row) = self.rows.get(miss.sequence) {
                self.shared.stats.missed(self.model.label, row.log.origin().clone(), miss);
            }
        }
        // Rows that feed a sampled token started in an earlier step.
        for row in plan.rows.iter().filter(|row| row.feed != Feed::Sampled) {
            if let Some(row) = self.rows.get_mut(row.sequence) {
                row.start(now).into_iter().for_each(|waited| self.meter.started(waited));
            }
        }
        // A step behind another one is watched when that has ended.
        if self.scheduler.num_in_flight() == 1 {
            self.model.account.watch.begin(now, self.scheduler.expected_step());
        }
        let Model { lease, executor, .. } = &mut self.model;
        let submit = || lease.lend(|| guarded(Code::BackendError, || executor.submit(plan)));
        self.timing.submit(plan.rows.len(), submit)?;
        self.progress.submitted(plan);
        Ok(())
    }

    /// Accounts the output of a step. `took` is the time of the device for this step, if known.
    fn account(&mut self, output: &StepOutput, took: Option<Duration>, now: Instant) {
        for id in &output.not_finite {
            self.scheduler.discard(*id);
            self.fail(*id, not_finite());
        }
        for id in &output.faulted {
            self.scheduler.discard(*id);
            self.fail(*id, scripted_fault());
        }
        let mut sampled = std::mem::take(&mut self.sampled);
        let ran = self.scheduler.commit(output, took, &mut sampled);
        self.timing.ran(ran.num_rows);
        if self.breaker.ran() {
            tracing::info!(target: "mlx_serving::engine", model = %self.id(), "circuit breaker closed");
        }
        self.meter.step(ran, took);
        tracing::trace!(
            target: "mlx_serving::engine",
            model = %self.id(),
            rows = ran.num_rows,
            prompt_tokens = ran.num_prompt_tokens,
            took_us = took.and_then(|took| u64::try_from(took.as_micros()).ok()),
            "step",
        );
        self.report_progress(output.step, &sampled, now);
        for token in sampled.drain(..) {
            let logprobs = output.logprobs.get(&token.sequence).map_or(&[][..], Vec::as_slice);
            self.take(token, logprobs, now);
        }
        self.sampled = sampled;
    }

    fn take(&mut self, sampled: SampledToken, logprobs: &[TokenLogprob], now: Instant) {
        let Some(row) = self.rows.get_mut(sampled.sequence) else { return };
        if let Some(ConstraintEnd::Failed(error)) = sampled.constraint_end {
            self.scheduler.remove(sampled.sequence);
            return self.fail(sampled.sequence, guidance_error(error));
        }
        let before = row.last_token();
        let state = row.push(sampled, logprobs, now);
        self.meter.token(before.map(|at| now.saturating_duration_since(at)), now);
        if before.is_none() {
            for follower in &row.readers {
                self.meter.first_token(now.saturating_duration_since(follower.asked.at));
            }
        }
        if state == StreamState::Stopped {
            self.scheduler.end(sampled.sequence);
            self.finish(sampled.sequence, FinishReason::Stop);
        } else if let Some(reason) = sampled.finish {
            self.finish(sampled.sequence, reason);
        } else {
            self.outbox.notify(row.readers.iter().map(Follower::reader));
            // A row whose readers are all behind gives its place to others until one has caught up.
            let num_under_way = || self.scheduler.num_under_way(sampled.sequence);
            if row.is_out_of_credit(&self.shared.readers, num_under_way) && self.scheduler.park(sampled.sequence, now) {
                self.meter.figures.parks += 1;
            }
        }
    }

    /// Reports how far prompts were read by step `step` and the steps before it.
    fn report_progress(&mut self, step: u64, sampled: &[SampledToken], now: Instant) {
        for Report { sequence, position, readers } in self.progress.collected(step, sampled, now) {
            let Some(row) = self.rows.get(sequence) else { continue };
            let progress = position.map_or_else(|| row.prompt_read(), |position| row.prompt_read_to(position));
            for &reader in &readers {
                self.shared.readers.progress(reader, progress);
            }
            self.outbox.notify(readers);
        }
    }
}

fn not_finite() -> Error {
    let message = "the model's logits are NaN or infinite here, so no token can be sampled: its weights contain such \
                   values, or its arithmetic overflows in this precision";
    Error::new(Code::BackendError, message)
}

fn scripted_fault() -> Error {
    Error::new(
        Code::BackendError,
        "the simulated device failed here, as `errorAfterTokens` of the scripted answer says",
    )
}

fn guidance_error(error: ConstraintError) -> Error {
    Error::new(Code::GuidanceError, format!("`structured` cannot be followed here: {error}")).with_param("structured")
}
