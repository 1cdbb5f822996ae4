//! When steps of a simulated device begin and end, and how long submitting one takes. A device runs steps one after another.
//! Like MLX, it accepts a bounded number of command buffers: `submit` waits until no more than that are left to be run.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Command buffers that may be left to be run when `submit` returns: `MAX_ACTIVE_TASKS` in MLX's `transforms.cpp`.
const MAX_ACTIVE: u32 = 10;

/// The steps that were launched and not collected.
#[derive(Debug, Default)]
pub(super) struct Timeline(VecDeque<Step>);

/// A step takes its command buffers one after another, each for the same time.
#[derive(Debug, Clone, Copy)]
struct Step {
    begins: Instant,
    takes: Duration,
    num_buffers: u32,
}

impl Step {
    fn ends(&self) -> Instant {
        self.begins + self.takes
    }

    /// When at most `num_left` of its buffers are left.
    fn has_left(&self, num_left: u32) -> Instant {
        let num_run = self.num_buffers.saturating_sub(num_left);
        self.begins + self.takes.mul_f64(f64::from(num_run) / f64::from(self.num_buffers.max(1)))
    }
}

impl Timeline {
    /// Launches a step. Returns the time at which `submit` may return.
    pub(super) fn launch(&mut self, now: Instant, takes: Duration, num_buffers: u32) -> Instant {
        let begins = self.0.back().map_or(now, Step::ends).max(now);
        let step = Step { begins, takes, num_buffers };
        let before = self.0.back().filter(|_| num_buffers < MAX_ACTIVE);
        let returns =
            before.map_or_else(|| step.has_left(MAX_ACTIVE), |before| before.has_left(MAX_ACTIVE - num_buffers));
        self.0.push_back(step);
        returns.max(now)
    }

    /// Takes the oldest step out. Returns the time at which it ends.
    pub(super) fn collect(&mut self) -> Option<Instant> {
        self.0.pop_front().map(|step| step.ends())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
