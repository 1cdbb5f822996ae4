//! How many sequences run together: the batch size with the most tokens per second according to measured step times. A step
//! with more rows never takes less time. This bounds the rate of a batch size between two measured ones, and a size with a
//! promising bound is tried. So the limit also finds a much larger batch that is better when the next larger batch is worse, as
//! on devices whose step time rises in stairs. Old measurements are forgotten and sizes tried again, since devices change.

use std::time::Duration;

use super::config::BatchLimitConfig;
use super::curve::Curve;

/// The limit moves to another measured batch size only if its rate is more than this many times the current rate.
const LEAST_GAIN: f64 = 1.03;
/// A batch size that never ran is tried only if its bound is more than this many times the best measured rate.
const LEAST_PROMISE: f64 = 1.05;
/// Decode steps after which a batch size that was not run is forgotten.
const FORGET_AFTER: u64 = 4_096;

#[derive(Debug)]
pub(super) struct BatchLimit {
    config: BatchLimitConfig,
    limit: usize,
    curve: Curve,
    /// Full steps since the limit was last reconsidered.
    num_full: u32,
    num_changes: u64,
}

/// A batch size with its measured step time.
#[derive(Debug, Clone, Copy)]
struct Known {
    batch_size: usize,
    seconds: f64,
}

impl BatchLimit {
    pub(super) fn new(config: BatchLimitConfig) -> Self {
        let alpha = config.tune.map_or(0.3, |tune| tune.ema_alpha);
        let limit = config.tune.map_or(config.start, |tune| config.start.max(tune.min));
        Self { config, limit, curve: Curve::by_size(alpha), num_full: 0, num_changes: 0 }
    }

    /// Sequences that may run together now.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Number of times the limit has changed.
    pub(super) fn num_changes(&self) -> u64 {
        self.num_changes
    }

    /// The time of a step that only decodes `num_rows` rows; `None` before any measurement.
    pub(super) fn step_time(&self, num_rows: usize) -> Option<Duration> {
        self.curve.cost(num_rows)
    }

    /// Measured step times by rows.
    pub(super) fn measured(&self) -> impl Iterator<Item = (f64, Duration)> {
        self.curve.measured()
    }

    /// Takes the time of a step that only decoded. `is_wanted` says whether sequences wait for a row: only then does the limit
    /// matter.
    pub(super) fn observe(&mut self, num_rows: usize, took: Duration, is_wanted: bool) {
        self.curve.observe(num_rows, took);
        self.reconsider(num_rows, is_wanted);
    }

    /// Reconsiders the limit after a step in which `num_taken` sequences had a row, whether they decoded or read prompts. A step
    /// with prompts is no measurement of a batch size, but a larger size may still be worth a try.
    pub(super) fn reconsider(&mut self, num_taken: usize, is_wanted: bool) {
        let Some(tune) = self.config.tune else { return };
        if !is_wanted || num_taken < self.limit {
            return;
        }
        self.num_full += 1;
        // A new engine reconsiders at once, so that a first burst does not wait for `interval` steps. After one step of prompts
        // it waits for the next step: if that one decodes, its time is a measurement.
        let is_first = self.num_changes == 0 && (self.num_full > 1 || !self.curve.is_empty());
        if self.num_full >= tune.interval || is_first {
            self.num_full = 0;
            self.curve.forget(FORGET_AFTER);
            self.move_to(self.better(tune.min, self.config.ceiling()));
        }
    }

    fn move_to(&mut self, limit: usize) {
        self.num_changes += u64::from(limit != self.limit);
        self.limit = limit;
    }

    /// The next limit.
    fn better(&self, min: usize, max: usize) -> usize {
        // No decode step was measured: any batch size may be the best, and the largest one gives most information.
        if self.curve.is_empty() {
            return max;
        }
        let target = self.config.step_target.as_secs_f64();
        let allowed = |known: &Known| known.seconds <= target;
        let best = self.known().filter(|known| (min..=max).contains(&known.batch_size)).filter(allowed);
        let Some(best) = best.max_by(|a, b| a.rate().total_cmp(&b.rate())) else {
            return self.smaller(min);
        };
        if best.batch_size > min && self.gets_worse_from(&best) {
            return usize::midpoint(min, best.batch_size);
        }
        if let Some(untried) = self.promising(min, max).filter(|(_, promise)| *promise > best.rate() * LEAST_PROMISE) {
            return untried.0;
        }
        let present = self.known().find(|known| known.batch_size == self.limit).filter(allowed);
        match present {
            Some(present) if best.rate() <= present.rate() * LEAST_GAIN => self.limit,
            _ => best.batch_size,
        }
    }

    /// For the case that no measured size meets the target: half-way between the smallest measured size and `min`.
    fn smaller(&self, min: usize) -> usize {
        let smallest = self.known().map(|known| known.batch_size).find(|&size| size >= min).unwrap_or(min);
        usize::midpoint(min, smallest)
    }

    /// Whether the best batch size is the smallest known and all others are clearly worse: then smaller sizes may be better.
    /// Otherwise smaller sizes are not tried, because the batch shrinks only after many sequences have ended.
    fn gets_worse_from(&self, best: &Known) -> bool {
        let target = self.config.step_target.as_secs_f64();
        let is_worse = |other: Known| other.seconds > target || other.rate() * LEAST_PROMISE < best.rate();
        let mut others = self.known().filter(|known| known.batch_size != best.batch_size).peekable();
        others.peek().is_some() && others.all(|other| other.batch_size > best.batch_size && is_worse(other))
    }

    /// A batch size that never ran, and the bound of its rate. Between two measured sizes, a step takes at least as long as at
    /// the smaller one, so the largest size between them has the largest bound. The search halves the range.
    fn promising(&self, min: usize, max: usize) -> Option<(usize, f64)> {
        let target = self.config.step_target.as_secs_f64();
        let ends = self.known().map(|known| known.batch_size).chain([max + 1]).skip(1);
        let untried = self.known().zip(ends).filter(|(below, _)| below.seconds <= target).filter_map(|(below, end)| {
            let half = if end > max { max } else { usize::midpoint(below.batch_size, end) };
            let promise = Known { batch_size: end.min(max + 1) - 1, ..below }.rate();
            (half > below.batch_size && (min..=max).contains(&half)).then_some((half, promise))
        });
        untried.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "every bucket is one whole batch size")]
    fn known(&self) -> impl Iterator<Item = Known> {
        self.curve.measured().map(|(size, cost)| Known { batch_size: size as usize, seconds: cost.as_secs_f64() })
    }
}

impl Known {
    /// Tokens per second. The lower bound of the time keeps the rates of immeasurably short steps finite and in order of size.
    fn rate(self) -> f64 {
        self.batch_size as f64 / self.seconds.max(1e-9)
    }
}
