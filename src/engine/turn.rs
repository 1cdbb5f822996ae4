//! One turn of a model runner: expire, plan and submit, collect, account, deliver. `runner` has the steps of accounting and
//! delivery; `device` decides which runner has a turn. A panic in the executor counts as a failure of the device.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::{Code, Result};
use crate::scheduler::Decision;
use crate::scheduler::plan::Feed;

use super::guarded::guarded;
use super::runner::{ModelRunner, Need};

/// What the other models mean for a runner's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Others {
    /// Whether the runner may have a step in flight when its turn ends, because it will have the next turn as well.
    pub(super) may_plan_ahead: bool,
    /// The shortest step time of another model that has streams, if there is one.
    pub(super) stream_step: Option<Duration>,
}

impl ModelRunner {
    /// Submits as many steps as may be in flight, collects the oldest one, and delivers the results.
    pub(super) fn turn(&mut self, others: Others) -> Need {
        self.timing.begin();
        self.scheduler.set_streams_beside(others.stream_step);
        let need = self.try_turn(others.may_plan_ahead).unwrap_or_else(|error| {
            self.recover(&error);
            Need::Turn
        });
        self.deliver();
        self.timing.end(need == Need::Turn && !self.scheduler.is_empty());
        need
    }

    /// Does what must not wait for the runner's next turn: ends requests whose deadline passed, and delivers the ends that
    /// commands caused.
    pub(super) fn tend(&mut self) {
        self.expire();
        if !self.notified.is_empty() {
            self.deliver();
        }
    }

    fn try_turn(&mut self, may_plan_ahead: bool) -> Result<Need> {
        self.expire();
        let need = self.fill_pipeline(may_plan_ahead)?;
        if self.scheduler.num_in_flight() == 0 {
            return Ok(need);
        }
        let (output, took) = self.timing.collect(|| guarded(Code::BackendError, || self.model.executor.collect()));
        let now = self.shared.clock.now();
        self.account(&output?, took, now);
        Ok(Need::Turn)
    }

    fn fill_pipeline(&mut self, may_plan_ahead: bool) -> Result<Need> {
        let may_plan = |it: &Self| it.scheduler.num_in_flight() == 0 || may_plan_ahead;
        while may_plan(self) && self.scheduler.may_plan(self.model.executor.limits().overlap) {
            self.timing.resume();
            let now = self.shared.clock.now();
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

    /// What the runner needs if the scheduler has nothing to run before `until`: the earlier of that and the next deadline
    /// of a reader.
    fn wait(&self, until: Option<Instant>) -> Need {
        until.into_iter().chain(self.rows.next_deadline()).min().map_or(Need::Command, Need::Until)
    }

    fn submit(&mut self, now: Instant) -> Result<()> {
        let plan = &self.plan;
        for admission in &plan.admit {
            if let (Some(row), Some(prefix)) = (self.rows.get_mut(admission.sequence), admission.prefix) {
                row.copies(prefix);
            }
        }
        // Rows that feed a sampled token started in an earlier step.
        for row in plan.rows.iter().filter(|row| row.feed != Feed::Sampled) {
            if let Some(row) = self.rows.get_mut(row.sequence) {
                row.start(now);
            }
        }
        let submit = || guarded(Code::BackendError, || self.model.executor.submit(plan));
        self.timing.submit(plan.rows.len(), submit)?;
        self.watched.iter_mut().for_each(|watch| watch.planned(plan));
        Ok(())
    }
}
