//! The scheduler of v1.4.2, from its documents: an idle device waits for a window until a batch of up to four has arrived. The
//! batch then runs one request after another, and no request joins it. A request that finds everything idle runs at once. The
//! window counts from the arrival of the oldest waiting request, so a window that passes while a batch runs costs nothing.
//!
//! This is only the gate: the requests that it admits run one at a time on the same scheduler as the other policies.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const BATCH: usize = 4;
const EMA_ALPHA: f64 = 0.5;
const HYSTERESIS: u32 = 3;
/// Windows in microseconds, each with the largest queue depth for which it is used.
const TIERS: [(u64, f64); 3] = [(750, 1.0), (1_000, 5.0), (2_000, f64::INFINITY)];

/// Requests before the gate, by their index in the ledger.
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

    /// The next batch for an idle device. It is empty while the window runs, unless the batch is full, or a single request finds
    /// the device idle.
    pub(crate) fn open(&mut self, now: Instant, was_idle: bool) -> Vec<usize> {
        let is_due = self.next_opening().is_some_and(|at| at <= now);
        let is_alone = was_idle && self.waiting.len() == 1;
        if !is_due && !is_alone && self.waiting.len() < BATCH {
            return Vec::new();
        }
        self.sample(self.waiting.len());
        self.waiting.drain(..self.waiting.len().min(BATCH)).map(|(_, request)| request).collect()
    }

    /// When the window of the waiting requests ends.
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
