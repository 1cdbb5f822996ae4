//! The scheduler of v1.4.2, from its documents: an idle device waits a window for a batch of up to four, which then runs
//! one request after another, and nobody joins. A request that finds everything idle runs at once. The window counts
//! from the arrival of who has waited longest, so that one that passes while a batch runs costs nothing.
//!
//! This is the gate only; what it lets through runs one at a time on the scheduler that the others use.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const BATCH: usize = 4;
const EMA_ALPHA: f64 = 0.5;
const HYSTERESIS: u32 = 3;
/// Windows in microseconds, and the depth up to which each is used.
const TIERS: [(u64, f64); 3] = [(750, 1.0), (1_000, 5.0), (2_000, f64::INFINITY)];

/// Requests before the gate, by their place in the ledger.
#[derive(Debug)]
pub(crate) struct Original {
    waiting: VecDeque<(Instant, usize)>,
    tier: usize,
    depth: Option<f64>,
    asked: (usize, u32),
}

impl Default for Original {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), tier: 1, depth: None, asked: (1, 0) }
    }
}

impl Original {
    pub(crate) fn add(&mut self, request: usize, now: Instant) {
        self.waiting.push_back((now, request));
    }

    /// The next batch, for a device that has nothing to do; none before the window has passed.
    pub(crate) fn open(&mut self, now: Instant, was_idle: bool) -> Vec<usize> {
        let is_due = self.next_opening().is_some_and(|at| at <= now);
        let is_alone = was_idle && self.waiting.len() == 1;
        if !is_due && !is_alone && self.waiting.len() < BATCH {
            return Vec::new();
        }
        self.sample(self.waiting.len());
        self.waiting.drain(..self.waiting.len().min(BATCH)).map(|(_, request)| request).collect()
    }

    /// When the window of those who wait has passed.
    pub(crate) fn next_opening(&self) -> Option<Instant> {
        self.waiting.front().map(|&(since, _)| since + Duration::from_micros(TIERS[self.tier].0))
    }

    fn sample(&mut self, depth: usize) {
        let depth = depth as f64;
        let mean = self.depth.map_or(depth, |mean| mean + EMA_ALPHA * (depth - mean));
        self.depth = Some(mean);
        let tier = TIERS.iter().position(|&(_, most)| mean <= most).unwrap_or(TIERS.len() - 1);
        let times = if self.asked.0 == tier { self.asked.1 + 1 } else { 1 };
        self.asked = (tier, times);
        if times >= HYSTERESIS {
            self.tier = tier;
        }
    }
}
