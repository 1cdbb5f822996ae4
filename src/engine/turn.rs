//! One turn of a runner: expire, decide, do, account, deliver. A panic of what drives the device is a failure of the device.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::{Code, Result};
use crate::scheduler::Decision;
use crate::scheduler::plan::Feed;

use super::guarded::guarded;
use super::runner::{ModelRunner, Need};

/// What a runner must know of the others before its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Others {
    /// Whether the runner may have a step in flight when its turn is over: it has the next one as well.
    pub(super) may_plan_ahead: bool,
    /// What a step of their streams takes, if they have any.
    pub(super) stream_step: Option<Duration>,
}

impl ModelRunner {
    /// Submits what the device can take, collects the oldest step once enough are in flight, and delivers what came of it.
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

    /// What does not wait for the runner's turn: deadlines that passed, and ends that commands brought.
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
            // A request that is sent at this moment may be missed; it joins at the next step.
            let num_coming = self.model.coming.load(Ordering::Relaxed);
            match self.scheduler.next(now, num_coming, &mut self.plan) {
                Decision::Run => self.submit(now)?,
                Decision::WaitUntil(at) => return Ok(self.wait(Some(at))),
                Decision::Idle => return Ok(self.wait(None)),
            }
        }
        Ok(Need::Turn)
    }

    /// There is nothing to do until then, or until a reader loses interest.
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
        // Who goes on from a token was there before.
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
