//! Where the time of an engine thread goes: how long the device had for each step, what the engine itself took, and how
//! long the device stood still although there was work.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::scheduler::plan::Overlap;

/// Stop-watch of a runner.
pub(super) struct StepTiming {
    clock: Arc<dyn Clock>,
    overlap: Overlap,
    /// The steps in flight, oldest first.
    submitted: VecDeque<Submitted>,
    collected: Option<Instant>,
    /// Rows of the step that was collected last.
    collected_rows: usize,
    /// When the device ran out of steps with work left.
    idle_since: Option<Instant>,
    /// Processor time of the thread when the engine went on; nothing while the executor has it.
    resumed: Option<Duration>,
    /// Processor time of this turn that was the engine's own.
    own: Duration,
    /// Whether this turn ran a step.
    has_stepped: bool,
    pub(super) totals: Totals,
}

/// A step in flight.
struct Submitted {
    at: Instant,
    /// Behind another one.
    is_ahead: bool,
    num_rows: usize,
}

/// Sums since the runner began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Turns that collected a step.
    pub steps: u64,
    /// Processor time that the engine thread used for them, the executor's part excluded.
    pub engine: Duration,
    /// How long the device had nothing to do although there was work for it.
    pub idle: Duration,
    /// The longest such time.
    pub longest_idle: Duration,
}

impl StepTiming {
    pub(super) fn new(clock: Arc<dyn Clock>, overlap: Overlap) -> Self {
        Self {
            clock,
            overlap,
            submitted: VecDeque::new(),
            collected: None,
            collected_rows: 0,
            idle_since: None,
            resumed: None,
            own: Duration::ZERO,
            has_stepped: false,
            totals: Totals::default(),
        }
    }

    /// A turn begins.
    pub(super) fn begin(&mut self) {
        self.own = Duration::ZERO;
        self.has_stepped = false;
        self.resumed = None;
        self.resume();
    }

    /// The engine goes on, after the executor. Looking at the clock costs something: it is done once in between.
    pub(super) fn resume(&mut self) {
        self.resumed.get_or_insert_with(|| self.clock.thread_time());
    }

    /// Lets the executor submit a step. One that computes nothing, without rows, is not what a device stood still for.
    pub(super) fn submit<T>(&mut self, num_rows: usize, submit: impl FnOnce() -> T) -> T {
        let before = self.clock.now();
        self.submitted.push_back(Submitted { at: before, is_ahead: !self.submitted.is_empty(), num_rows });
        if let Some(since) = self.idle_since.take_if(|_| num_rows > 0) {
            let idle = before.saturating_duration_since(since);
            self.totals.idle += idle;
            self.totals.longest_idle = self.totals.longest_idle.max(idle);
        }
        self.lend(submit)
    }

    /// Lets the executor collect the oldest step. Returns what it gave, and the time that the device had for the step
    /// alone, where that can be told: since it was submitted, or since the step before was collected.
    ///
    /// Where submitting a step ahead may wait for the device, the step before is collected that much later than it was
    /// ready. Between two steps that were both followed by one this cancels out, if the host is kept as long behind both: so
    /// the step, the one before it and the one behind it must have as many rows.
    pub(super) fn collect<T>(&mut self, collect: impl FnOnce() -> T) -> (T, Option<Duration>) {
        let output = self.lend(collect);
        self.resume();
        let now = self.clock.now();
        self.has_stepped = true;
        let before = self.collected.replace(now);
        let step = self.submitted.pop_front();
        let (next, is_followed) = (self.submitted.front().map(|next| next.num_rows), !self.submitted.is_empty());
        let num_rows = step.as_ref().map_or(0, |step| step.num_rows);
        let previous = std::mem::replace(&mut self.collected_rows, num_rows);
        let is_among_equals = || previous == num_rows && next == Some(num_rows);
        self.idle_since = (!is_followed).then_some(now);
        let is_known = |step: &Submitted| match self.overlap {
            Overlap::None | Overlap::Whole => true,
            Overlap::Bounded => step.is_ahead == is_followed && (!is_followed || is_among_equals()),
        };
        let began = step.filter(is_known).map(|step| Some(step.at).max(before));
        (output, began.flatten().map(|began| now.saturating_duration_since(began)))
    }

    /// Everything of the turn is done. Without work that the runner goes on with at once, the device stands still because there
    /// is nothing for it.
    pub(super) fn end(&mut self, has_work: bool) {
        if !has_work {
            self.idle_since = None;
        }
        if self.has_stepped {
            self.totals.steps += 1;
            self.pause();
            self.totals.engine += self.own;
        }
    }

    /// Another model had the device since the last turn: that time was not this one's.
    pub(super) fn others_ran(&mut self) {
        self.idle_since = None;
        self.collected = None;
    }

    /// The steps in flight are lost.
    pub(super) fn reset(&mut self) {
        self.submitted.clear();
        self.idle_since = None;
    }

    /// Lets the executor have the thread; what it takes is not the engine's.
    fn lend<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.pause();
        work()
    }

    fn pause(&mut self) {
        if let Some(resumed) = self.resumed.take() {
            self.own += self.clock.thread_time().saturating_sub(resumed);
        }
    }
}
