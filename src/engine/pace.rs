//! Where the time of an engine thread goes: how long the device had for each step, what the engine itself took, and how
//! long the device stood still although there was work.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Stop-watch of a lane.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the steps in flight were submitted, oldest first.
    submitted: VecDeque<Instant>,
    collected: Option<Instant>,
    /// When the device ran out of steps with work left.
    idle_since: Option<Instant>,
    turn: Option<Instant>,
    /// Time of this turn spent in the executor.
    in_executor: Duration,
    /// Whether this turn ran a step.
    has_stepped: bool,
    pub(super) totals: Totals,
}

/// Sums since the lane began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Turns that collected a step.
    pub steps: u64,
    /// What the engine thread took for them, the executor's part excluded.
    pub engine: Duration,
    /// How long the device had nothing to do although there was work for it.
    pub idle: Duration,
    /// The longest such time.
    pub longest_idle: Duration,
}

impl Pace {
    pub(super) fn begin(&mut self, now: Instant) {
        self.turn = Some(now);
        self.in_executor = Duration::ZERO;
        self.has_stepped = false;
    }

    /// A step was submitted; the executor had the thread from `before` to `now`.
    pub(super) fn submitted(&mut self, before: Instant, now: Instant) {
        self.in_executor += now.saturating_duration_since(before);
        self.submitted.push_back(before);
        if let Some(since) = self.idle_since.take() {
            let idle = before.saturating_duration_since(since);
            self.totals.idle += idle;
            self.totals.longest_idle = self.totals.longest_idle.max(idle);
        }
    }

    /// The oldest step was collected; the executor had the thread from `before` to `now`. Returns the time that the
    /// device had for the step alone: since it was submitted, or since the step before it was ready.
    pub(super) fn collected(&mut self, before: Instant, now: Instant) -> Duration {
        self.in_executor += now.saturating_duration_since(before);
        self.has_stepped = true;
        let began = self.submitted.pop_front().max(self.collected.replace(now));
        self.idle_since = self.submitted.is_empty().then_some(now);
        began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began))
    }

    /// Whether the lane goes on at once; else the device stands still because there is nothing for it.
    pub(super) fn rest(&mut self, goes_on: bool) {
        if !goes_on {
            self.idle_since = None;
        }
    }

    /// Everything of the turn is done.
    pub(super) fn end(&mut self, now: Instant) {
        let Some(begun) = self.turn.take() else { return };
        if self.has_stepped {
            self.totals.steps += 1;
            self.totals.engine += now.saturating_duration_since(begun).saturating_sub(self.in_executor);
        }
    }

    /// The steps in flight are lost.
    pub(super) fn reset(&mut self) {
        self.submitted.clear();
        self.idle_since = None;
    }
}
