//! Log-probabilities of the tokens that a step samples and of the most probable tokens. They are those of the model's own
//! distribution, before logits processors, masks and temperature. The device computes them in the step that samples, only
//! for the rows that asked, and the host reads them with the tokens of the step.

use mlx_rs::Array;
use mlx_rs::ops::indexing::take_axis;
use mlx_rs::ops::{argpartition_axis, concatenate, subtract};

use super::failure::{Mlx, bad_plan};
use super::rows::indices;
use crate::error::Result;
use crate::request::{MAX_LOGPROBS, SequenceId, TokenId, TokenLogprob};
use crate::scheduler::plan::StepLogprobs;

/// The rows of a step that ask for log-probabilities.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Their indices among the rows that sample.
    places: Vec<usize>,
    /// The sequence of each row, and how many of the most probable tokens to report.
    rows: Vec<(SequenceId, usize)>,
}

impl Asking {
    /// Adds the row at index `place`.
    pub(super) fn push(&mut self, place: usize, sequence: SequenceId, num_top: usize) {
        self.places.push(place);
        self.rows.push((sequence, num_top));
    }

    /// Computes the log-probabilities from the model's logits, [s, vocab] f32, and the sampled tokens, [s] u32.
    pub(super) fn answer(self, logits: &Array, sampled: &Array) -> Mlx<Option<Unread>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let is_all = sampled.size() == self.places.len();
        let pick = |x: &Array| if is_all { Ok(x.clone()) } else { take_axis(x, indices(&self.places), 0) };
        let (logits, sampled) = (pick(logits)?, pick(sampled)?.reshape(&[-1, 1])?);
        let has_top = self.rows.iter().any(|(_, num_top)| *num_top > 0);
        let named = if has_top { concatenate(&[sampled, most_probable(&logits)?], 1)? } else { sampled };
        let values = subtract(logits.take_along_axis(&named, 1)?, logits.logsumexp_axis(-1, true)?)?;
        Ok(Some(Unread { rows: self.rows, named, values }))
    }
}

/// The most probable tokens of each row, unordered, [r, n] u32; of equally probable tokens those with smaller ids. The
/// number is the same for every row and step, so that a row's values do not depend on what other rows ask for.
fn most_probable(logits: &Array) -> Mlx<Array> {
    let most = logits.dim(1).min(MAX_LOGPROBS.into());
    let ascending = argpartition_axis(logits.negative()?, most - 1, -1)?;
    let first: Vec<usize> = (0..most.unsigned_abs() as usize).collect();
    take_axis(ascending, indices(&first), 1)
}

/// Log-probabilities of a step that is not collected yet.
pub(super) struct Unread {
    rows: Vec<(SequenceId, usize)>,
    /// [r, n] u32: the sampled token, then the most probable ones.
    named: Array,
    /// [r, n] f32: the log-probability of each.
    values: Array,
}

impl Unread {
    /// The arrays that the step must compute.
    pub(super) fn arrays(&self) -> [&Array; 2] {
        [&self.named, &self.values]
    }

    /// Reads the values after the step has ended.
    pub(super) fn read(self) -> Result<StepLogprobs> {
        let unreadable = |error| bad_plan(format!("log-probabilities cannot be read: {error}"));
        let named: Vec<TokenId> = self.named.to_vec_exact().map_err(unreadable)?;
        let values: Vec<f32> = self.values.to_vec_exact().map_err(unreadable)?;
        let width = named.len() / self.rows.len().max(1);
        let rows = named.chunks(width).zip(values.chunks(width)).zip(self.rows);
        Ok(rows.map(|((named, values), (sequence, num_top))| (sequence, reported(named, values, num_top))).collect())
    }
}

/// The sampled token first, then the `num_top` most probable tokens in order.
fn reported(named: &[TokenId], values: &[f32], num_top: usize) -> Vec<TokenLogprob> {
    let mut all: Vec<_> = named.iter().zip(values).map(|(&token, &logprob)| TokenLogprob { token, logprob }).collect();
    all[1..].sort_unstable_by(|a, b| b.logprob.total_cmp(&a.logprob).then(a.token.cmp(&b.token)));
    all.truncate(1 + num_top);
    all
}
