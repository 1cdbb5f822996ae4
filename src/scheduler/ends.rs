//! How often sequences end, and how long answers are: moving averages.

/// Weight of a new sample.
const ALPHA: f64 = 0.05;
/// Tokens that an answer is expected to have before any has ended.
const FIRST_ESTIMATE: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Mean number of sequences that end in a step.
    pub(super) per_step: f64,
    /// Mean number of tokens of an answer; zero before any has ended.
    pub(super) answer_tokens: f64,
}

impl Ends {
    /// Records a step that sampled tokens.
    pub(super) fn step(&mut self) {
        self.per_step -= ALPHA * self.per_step;
    }

    /// Records a sequence that ended after `num_tokens` tokens.
    pub(super) fn ended(&mut self, num_tokens: usize) {
        let (num_tokens, is_first) = (num_tokens as f64, self.answer_tokens == 0.0);
        self.answer_tokens += if is_first { num_tokens } else { ALPHA * (num_tokens - self.answer_tokens) };
        self.per_step += ALPHA;
    }

    /// The expected number of tokens of an answer. `mean` is the mean of its tenant, if known.
    pub(super) fn estimate(&self, mean: Option<f64>) -> usize {
        let mean = mean.unwrap_or(self.answer_tokens);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of counts")]
        let estimate = if mean > 0.0 { mean.ceil() as usize } else { FIRST_ESTIMATE };
        estimate
    }
}
