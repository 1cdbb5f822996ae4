//! How many prompt tokens a step takes, and how many prompts join at a time. Both follow the measured cost of prefill: a fixed
//! part of every step with prompts, and a part for each token.

use std::time::Duration;

use super::curve::{Curve, Line};

/// The fewest prompt tokens of a step: the fixed cost of a step would be most of the cost of a smaller chunk.
const LEAST_CHUNK: usize = 16;
/// Weight of a new sample of the cost of prefill.
const ALPHA: f64 = 0.3;

/// A step that only reads several prompts has the smallest chunk with at least this share of the fastest chunk's tokens per
/// second.
const SPEED_OF_SEVERAL: f64 = 0.9;
/// The same share for a step that delays decoding rows by more than `stretch` allows.
const SPEED_OF_RARE: f64 = 0.5;
/// More tokens are added if the step then takes at most this many times as long.
const FREE: f64 = 1.1;

/// The other work of a step that reads prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing: the step reads one prompt.
    Nothing,
    /// Other prompts, whose first tokens should not wait for the end of a long step.
    Prompts,
    /// Rows that decode, and the time of a step that only decodes them, if known.
    Decoding(Option<Duration>),
}

#[derive(Debug)]
pub(super) struct Prefill {
    /// The most tokens of a step.
    chunk: usize,
    /// The longest time of a step that decodes and reads prompts, relative to a step that only decodes.
    stretch: f64,
    /// Time that prompt tokens add to a step, by their number.
    added: Curve,
}

impl Prefill {
    pub(super) fn new(chunk: usize, stretch: f64) -> Self {
        Self { chunk, stretch, added: Curve::by_magnitude(ALPHA) }
    }

    /// Takes the time of a step with prompt tokens; `decoding` is the time of the same step without them.
    pub(super) fn observe(&mut self, num_tokens: usize, took: Duration, decoding: Duration) {
        self.added.observe(num_tokens, took.saturating_sub(decoding));
    }

    /// Time that `num_tokens` prompt tokens add to a step; `None` before a measurement.
    pub(super) fn cost(&self, num_tokens: usize) -> Option<Duration> {
        let Line { fixed, per_unit } = self.added.line()?;
        Some(Duration::from_secs_f64(fixed + per_unit * num_tokens as f64))
    }

    /// Number of prompt tokens of the next step, while `num_unfed` are not read.
    ///
    /// A chunk should delay the rows that decode by no more than `stretch` allows. If even the smallest chunk with half of the
    /// best speed delays them by more, they are delayed less often instead: the step reads that chunk and the tokens that add
    /// almost no time to it. A small rest of the prompts is added if a step of its own would cost more.
    pub(super) fn budget(&self, beside: Beside, num_unfed: usize) -> usize {
        let decoding = match beside {
            Beside::Nothing => return self.chunk,
            Beside::Prompts => return self.size_at(SPEED_OF_SEVERAL).unwrap_or(self.chunk),
            Beside::Decoding(decoding) => decoding,
        };
        let (Some(decoding), Some(rare)) = (decoding, self.size_at(SPEED_OF_RARE)) else {
            return (self.chunk / 8).max(LEAST_CHUNK.min(self.chunk));
        };
        let (spare, rare) = (decoding.mul_f64(self.stretch - 1.0), self.hopeful_cost(rare).mul_f64(FREE));
        if rare <= spare {
            return self.largest_within(spare);
        }
        let size = self.largest_within(rare);
        let rest = num_unfed.min(self.chunk).saturating_sub(size);
        let is_cheap = rest < size && self.hopeful_cost(size + rest) <= rare + self.hopeful_cost(rest);
        if is_cheap { size + rest } else { size }
    }

    /// The most prompt tokens that take at most `most` by the line through the measurements. A whole chunk before a
    /// measurement.
    pub(super) fn largest_known_within(&self, most: Duration) -> usize {
        let fits = |&size: &usize| self.cost(size).is_none_or(|cost| cost <= most);
        self.sizes().take_while(fits).last().unwrap_or(LEAST_CHUNK.min(self.chunk))
    }

    fn largest_within(&self, most: Duration) -> usize {
        let fits = |&size: &usize| self.hopeful_cost(size) <= most;
        self.sizes().take_while(fits).last().unwrap_or(LEAST_CHUNK.min(self.chunk))
    }

    fn hopeful_cost(&self, num_tokens: usize) -> Duration {
        self.added.hopeful_cost(num_tokens).unwrap_or_default()
    }

    /// The smallest chunk whose speed is at least `share` of the fastest one; `None` before a measurement.
    fn size_at(&self, share: f64) -> Option<usize> {
        let speed = |size: usize| size as f64 / self.hopeful_cost(size).as_secs_f64().max(1e-9);
        let fastest = self.sizes().map(speed).max_by(f64::total_cmp).filter(|_| !self.added.is_empty())?;
        self.sizes().find(|&size| speed(size) >= share * fastest)
    }

    /// Chunks to choose from, each about an eighth larger than the one before.
    fn sizes(&self) -> impl Iterator<Item = usize> {
        let larger = |&size: &usize| (size < self.chunk).then(|| (size + size.div_ceil(8)).min(self.chunk));
        std::iter::successors(Some(LEAST_CHUNK.min(self.chunk)), larger)
    }

    /// The number of rows that should be free before waiting prompts join, when more prompts wait than rows are free.
    ///
    /// Joining one by one delays all rows by the fixed cost of a prefill each time. Waiting leaves rows empty. With `e` ends
    /// in a step and a fixed cost of `f` steps, the loss per request is smallest at `√(2·e·rows·f)` free rows: the economic order
    /// quantity (Harris, 1913).
    pub(super) fn joining(&self, num_rows: usize, ends_per_step: f64, decoding: Option<Duration>) -> usize {
        let (Some(line), Some(decoding)) = (self.added.line(), decoding) else { return 1 };
        let fixed_in_steps = line.fixed / decoding.as_secs_f64().max(1e-9);
        let places = (2.0 * ends_per_step * num_rows as f64 * fixed_in_steps).sqrt();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a count")]
        let places = places.clamp(1.0, (num_rows as f64 / 2.0).max(1.0)) as usize;
        places
    }

    /// The fixed part of a step with prompts, and the part of each token; `None` before a measurement.
    pub(super) fn line(&self) -> Option<(Duration, Duration)> {
        self.added.line().map(|line| (Duration::from_secs_f64(line.fixed), Duration::from_secs_f64(line.per_unit)))
    }
}
