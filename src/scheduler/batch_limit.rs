//! How many sequences run together: the batch size at which the device gives most tokens a second, as far as its step times
//! are known. A step's cost never falls with its rows, which bounds what a batch size between two measured ones can be worth:
//! where that is enough, it is tried. So the limit finds its way over a staircase, where the next larger batch is worse and
//! a much larger one is better. What was not run for long is forgotten and tried again, since devices change.

use std::time::Duration;

use super::config::BatchLimitConfig;
use super::curve::Curve;

/// A measured batch size must be better than the present one by so much.
const LEAST_GAIN: f64 = 1.03;
/// A batch size that was never run must promise so much more than the best that was.
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

    /// How often the limit has moved.
    pub(super) fn num_changes(&self) -> u64 {
        self.num_changes
    }

    /// What a step that only decodes so many rows takes, once anything like it was measured.
    pub(super) fn step_time(&self, num_rows: usize) -> Option<Duration> {
        self.curve.cost(num_rows)
    }

    /// Measured step times by rows.
    pub(super) fn measured(&self) -> impl Iterator<Item = (f64, Duration)> {
        self.curve.measured()
    }

    /// Takes the time of a step that only decoded. `is_wanted` says whether more sequences wait than the limit lets run:
    /// only then does the limit matter.
    pub(super) fn observe(&mut self, num_rows: usize, took: Duration, is_wanted: bool) {
        self.curve.observe(num_rows, took);
        self.reconsider(num_rows, is_wanted);
    }

    /// Reconsiders the limit after a step in which so many sequences had a place, whether they decoded or read prompts. A step
    /// that reads says nothing of a batch size, but larger ones may be known to be worth a try.
    pub(super) fn reconsider(&mut self, num_taken: usize, is_wanted: bool) {
        let Some(tune) = self.config.tune else { return };
        if !is_wanted || num_taken < self.limit {
            return;
        }
        self.num_full += 1;
        // The first look comes at once: a burst that finds a new engine should not wait for it to settle. Prompts that take one
        // step are followed by one that decodes, and then there is something to go by.
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

    /// The batch size to go on with.
    fn better(&self, min: usize, max: usize) -> usize {
        // Prompts were read and nothing has decoded: any batch size may be the best, and the largest teaches most.
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

    /// Nothing that was run keeps the target: half-way to the smallest from the smallest that was.
    fn smaller(&self, min: usize) -> usize {
        let smallest = self.known().map(|known| known.batch_size).find(|&size| size >= min).unwrap_or(min);
        usize::midpoint(min, smallest)
    }

    /// Whether the best batch size is the smallest known and all others are clearly worse: then smaller ones may be better.
    /// Otherwise they are not looked for, since the limit gets there only once most of what runs has ended.
    fn gets_worse_from(&self, best: &Known) -> bool {
        let target = self.config.step_target.as_secs_f64();
        let is_worse = |other: Known| other.seconds > target || other.rate() * LEAST_PROMISE < best.rate();
        let mut others = self.known().filter(|known| known.batch_size != best.batch_size).peekable();
        others.peek().is_some() && others.all(|other| other.batch_size > best.batch_size && is_worse(other))
    }

    /// A batch size that never ran, with the best rate that it can have. Between two measured sizes, a step takes at least as
    /// long as at the smaller one, so the largest size between them promises most. The search halves the range.
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
    /// Tokens a second. A device that takes no time serves more the more rows the step has.
    fn rate(self) -> f64 {
        self.batch_size as f64 / self.seconds.max(1e-9)
    }
}
