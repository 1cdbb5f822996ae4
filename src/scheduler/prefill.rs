//! How many prompt tokens a step takes, and how many prompts join at a time, from what prefill was measured to cost:
//! a fixed part of every step that holds prompts, and a part for each token.

use std::time::Duration;

use super::curve::{Curve, Line};

/// The fewest prompt tokens of a step: smaller ones would mostly pay for the step itself.
const LEAST_CHUNK: usize = 16;
/// Weight of a new sample of what a prefill costs.
const ALPHA: f64 = 0.3;

/// Chunks are chosen by how fast their tokens are read, as shares of what the fastest chunk does: of a step that reads
/// several prompts and nothing else,
const SPEED_OF_SEVERAL: f64 = 0.9;
/// and of one that disturbs others more than they should be.
const SPEED_OF_RARE: f64 = 0.5;
/// More tokens are free where they make a step longer by no more than this.
const FREE: f64 = 1.1;

/// What else is in a step that reads prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing: the step reads one prompt.
    Nothing,
    /// Other prompts, whose first tokens should not wait for the end of a long step.
    Prompts,
    /// Rows that decode; what their step would take alone, if that is known.
    Decoding(Option<Duration>),
}

#[derive(Debug)]
pub(super) struct Prefill {
    /// The most tokens of a step.
    chunk: usize,
    /// A step that also reads prompts may take so many times one that only decodes.
    stretch: f64,
    /// What prompt tokens add to a step.
    added: Curve,
}

impl Prefill {
    pub(super) fn new(chunk: usize, stretch: f64) -> Self {
        Self { chunk, stretch, added: Curve::by_magnitude(ALPHA) }
    }

    /// Takes the time of a step with prompt tokens; `decoding` is what it would have taken without them.
    pub(super) fn observe(&mut self, num_tokens: usize, took: Duration, decoding: Duration) {
        self.added.observe(num_tokens, took.saturating_sub(decoding));
    }

    /// What so many prompt tokens add to a step, once anything was measured.
    pub(super) fn cost(&self, num_tokens: usize) -> Option<Duration> {
        let Line { fixed, per_unit } = self.added.line()?;
        Some(Duration::from_secs_f64(fixed + per_unit * num_tokens as f64))
    }

    /// Prompt tokens of the next step, while `num_unfed` are not read.
    ///
    /// If no chunk that is read at half the best speed is short enough for the rows that decode, they are disturbed rarely: by
    /// that chunk and the tokens that cost almost nothing more. A small remainder is added if a separate step would cost more.
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

    /// The most prompt tokens that take no longer, by what was measured: a larger chunk is not thought cheaper. All of a
    /// chunk where nothing was measured.
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

    /// The smallest chunk that is read at such a share of the speed of the fastest, as far as was measured.
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

    /// The number of places that should be free before waiting prompts join, when more prompts wait than places are free.
    ///
    /// Joining one by one delays all rows by the fixed cost of a prefill each time. Waiting leaves places empty. With `e` ends
    /// in a step and a fixed cost of `f` steps, the loss per request is smallest at `√(2·e·rows·f)` places: the economic order
    /// quantity (Harris, 1913).
    pub(super) fn joining(&self, num_rows: usize, ends_per_step: f64, decoding: Option<Duration>) -> usize {
        let (Some(line), Some(decoding)) = (self.added.line(), decoding) else { return 1 };
        let fixed_in_steps = line.fixed / decoding.as_secs_f64().max(1e-9);
        let places = (2.0 * ends_per_step * num_rows as f64 * fixed_in_steps).sqrt();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a count")]
        let places = places.clamp(1.0, (num_rows as f64 / 2.0).max(1.0)) as usize;
        places
    }

    /// The fixed part of a step with prompts, and the part of each token, once measured.
    pub(super) fn line(&self) -> Option<(Duration, Duration)> {
        self.added.line().map(|line| (Duration::from_secs_f64(line.fixed), Duration::from_secs_f64(line.per_unit)))
    }
}
