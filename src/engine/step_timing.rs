//! Step timing of one model runner: how long the device computed each step, how much processor time the engine used, and
//! how long the device was idle while there was work. Reads the clock; decides nothing. The scheduler gets the step times
//! with `commit`, and `stats` publishes the totals.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::scheduler::plan::Overlap;

/// The timers of one runner.
pub(super) struct StepTiming {
    clock: Arc<dyn Clock>,
    overlap: Overlap,
    /// The steps in flight, oldest first.
    submitted: VecDeque<Submitted>,
    /// When the last step was collected.
    collected: Option<Instant>,
    /// Rows of the step that was collected last.
    collected_rows: usize,
    /// Since when the device has had no step, while there was work.
    idle_since: Option<Instant>,
    /// Processor time of the thread when the engine's own work resumed; absent while the executor runs.
    resumed: Option<Duration>,
    /// Processor time that the engine's own work used in this turn.
    own: Duration,
    /// Whether this turn collected a step.
    has_stepped: bool,
    pub(super) totals: Totals,
}

/// A step in flight.
struct Submitted {
    at: Instant,
    /// Whether another step was in flight when this one was submitted.
    is_ahead: bool,
    num_rows: usize,
}

/// Sums since the runner began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Steps that ran.
    pub steps: StepCount,
    /// Processor time that the engine thread used in turns that collected a step, without the executor's part.
    pub engine: Duration,
    /// How long the device was idle while there was work.
    pub idle: Duration,
    /// The longest single idle time.
    pub longest_idle: Duration,
}

/// Steps whose results were collected. A step without rows only drops sequences, and a step that failed has no results: neither
/// is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepCount {
    /// Steps.
    pub steps: u64,
    /// Rows of all steps.
    pub rows: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        let Self { steps, engine, idle, longest_idle } = other;
        self.steps += steps;
        self.engine += engine;
        self.idle += idle;
        self.longest_idle = self.longest_idle.max(longest_idle);
    }
}

impl AddAssign for StepCount {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.rows += other.rows;
    }
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

    /// Starts a turn.
    pub(super) fn begin(&mut self) {
        self.own = Duration::ZERO;
        self.has_stepped = false;
        self.resumed = None;
        self.resume();
    }

    /// The engine's own work starts or resumes. Further calls before the executor runs again do nothing, because reading
    /// the thread's processor time is a system call.
    pub(super) fn resume(&mut self) {
        self.resumed.get_or_insert_with(|| self.clock.thread_time());
    }

    /// Lets the executor submit a step. A step without rows computes nothing, so it does not end an idle time.
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

    /// Lets the executor collect the oldest step. Returns the output and, where it can be known, the time that the device
    /// spent on this step alone: since its submission or since the previous step was collected, whichever is later.
    ///
    /// With [`Overlap::Bounded`], `submit` may block until the device takes the next step, so a step is collected later
    /// than it was ready. The delay cancels out between two steps that were both followed by another one and blocked
    /// equally long. That is assumed if the previous, this and the next step have equally many rows; otherwise the time is
    /// unknown.
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

    /// Counts a step with results.
    pub(super) fn ran(&mut self, num_rows: usize) {
        if num_rows > 0 {
            self.totals.steps += StepCount { steps: 1, rows: num_rows as u64 };
        }
    }

    /// Ends a turn. Without work that can continue at once, the idle time of the device is not counted.
    pub(super) fn end(&mut self, has_work: bool) {
        if !has_work {
            self.idle_since = None;
        }
        if self.has_stepped {
            self.pause();
            self.totals.engine += self.own;
        }
    }

    /// Another model used the device since this runner's last turn, so no time is measured across that gap.
    pub(super) fn others_ran(&mut self) {
        self.idle_since = None;
        self.collected = None;
    }

    /// Forgets the steps in flight, which a failure of the device lost.
    pub(super) fn reset(&mut self) {
        self.submitted.clear();
        self.idle_since = None;
    }

    /// Runs work of the executor, whose processor time does not count as the engine's.
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
