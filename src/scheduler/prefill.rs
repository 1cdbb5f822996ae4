//! How many prompt tokens a step takes, and how many prompts join at a time, from what prefill was measured to cost:
//! a fixed part of every step that holds prompts, and a part for each token.

use std::time::Duration;

use super::curve::{Curve, Line};

/// The fewest prompt tokens of a step: smaller ones would mostly pay for the step itself.
const LEAST_CHUNK: usize = 16;
/// Weight of a new sample of what a prefill costs.
const ALPHA: f64 = 0.3;

/// What else is in a step that reads prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing.
    Nobody,
    /// Rows that decode; what their step would take alone, if that is known.
    Decoding(Option<Duration>),
}

#[derive(Debug)]
pub(super) struct Prefill {
    /// Tokens of a step while nobody decodes.
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

    /// Prompt tokens for the next step.
    ///
    /// Where the fixed part alone takes more than others can spare, no chunk helps them: then the chunk is the one whose
    /// tokens cost as much as its fixed part, so that they are disturbed as rarely as is reasonable.
    pub(super) fn budget(&self, beside: Beside) -> usize {
        let Beside::Decoding(decoding) = beside else { return self.chunk };
        let least = LEAST_CHUNK.min(self.chunk);
        let (Some(decoding), Some(Line { fixed, per_unit })) = (decoding, self.added.line()) else {
            return (self.chunk / 8).max(least);
        };
        if per_unit <= 0.0 {
            return self.chunk;
        }
        let spare = decoding.as_secs_f64() * (self.stretch - 1.0) - fixed;
        let tokens = spare.max(fixed) / per_unit;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a count")]
        let tokens = tokens.clamp(0.0, self.chunk as f64) as usize;
        tokens.max(least)
    }

    /// How many places should be free before waiting prompts join a batch that has more waiting than it can hold.
    ///
    /// Joining one by one stops everybody for the fixed part of a prefill each time; waiting leaves places empty. With
    /// `e` ends a step and a fixed part of `f` steps, the loss a request is least at `√(2·e·rows·f)` places: the economic
    /// order quantity (Harris, 1913).
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
