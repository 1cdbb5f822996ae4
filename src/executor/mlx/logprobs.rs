//! Log-probabilities of the tokens that a step draws and of the most probable ones: of the model's own distribution, taken
//! before anything is changed about the logits. They are computed in the step that draws, on the device and for the rows
//! that asked alone, and are read with its tokens.

use mlx_rs::Array;
use mlx_rs::ops::indexing::take_axis;
use mlx_rs::ops::{argpartition_axis, concatenate, subtract};

use super::failure::{Mlx, bad_plan};
use super::sampler::indices;
use crate::error::Result;
use crate::request::{MAX_LOGPROBS, SequenceId, TokenId, TokenLogprob};
use crate::scheduler::plan::StepLogprobs;

/// Rows of a step that ask for log-probabilities.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Where they are among the rows that draw.
    places: Vec<usize>,
    /// Sequences that asked, and how many of the most probable tokens each wants.
    rows: Vec<(SequenceId, usize)>,
}

impl Asking {
    /// One more of them.
    pub(super) fn push(&mut self, place: usize, sequence: SequenceId, num_top: usize) {
        self.places.push(place);
        self.rows.push((sequence, num_top));
    }

    /// Their log-probabilities, given [s, vocab] f32, as the model gives them, and the [s] u32 that were drawn.
    pub(super) fn answer(self, logits: &Array, drawn: &Array) -> Mlx<Option<Unread>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let is_all = drawn.size() == self.places.len();
        let pick = |x: &Array| if is_all { Ok(x.clone()) } else { take_axis(x, indices(&self.places), 0) };
        let (logits, drawn) = (pick(logits)?, pick(drawn)?.reshape(&[-1, 1])?);
        let has_top = self.rows.iter().any(|(_, num_top)| *num_top > 0);
        let named = if has_top { concatenate(&[drawn, most_probable(&logits)?], 1)? } else { drawn };
        let values = subtract(logits.take_along_axis(&named, 1)?, logits.logsumexp_axis(-1, true)?)?;
        Ok(Some(Unread { rows: self.rows, named, values }))
    }
}

/// The most probable tokens of each row in no order, [r, n] u32; of equals those with smaller ids. They are as many for every
/// row, so that the values of a row do not depend on what its neighbours ask for.
fn most_probable(logits: &Array) -> Mlx<Array> {
    let most = logits.dim(1).min(MAX_LOGPROBS.into());
    let ascending = argpartition_axis(logits.negative()?, most - 1, -1)?;
    let first: Vec<usize> = (0..most.unsigned_abs() as usize).collect();
    take_axis(ascending, indices(&first), 1)
}

/// Log-probabilities of a step that nobody has read.
pub(super) struct Unread {
    rows: Vec<(SequenceId, usize)>,
    /// [r, n] u32: the token drawn, then most probable ones.
    named: Array,
    /// [r, n] f32: theirs.
    values: Array,
}

impl Unread {
    /// What has to be computed.
    pub(super) fn arrays(&self) -> [&Array; 2] {
        [&self.named, &self.values]
    }

    /// Reads them once the step is done.
    pub(super) fn read(self) -> Result<StepLogprobs> {
        let unreadable = |error| bad_plan(format!("log-probabilities cannot be read: {error}"));
        let named: Vec<TokenId> = self.named.to_vec_exact().map_err(unreadable)?;
        let values: Vec<f32> = self.values.to_vec_exact().map_err(unreadable)?;
        let width = named.len() / self.rows.len().max(1);
        let rows = named.chunks(width).zip(values.chunks(width)).zip(self.rows);
        Ok(rows.map(|((named, values), (sequence, num_top))| (sequence, reported(named, values, num_top))).collect())
    }
}

/// The first as it is, then the most probable of the others.
fn reported(named: &[TokenId], values: &[f32], num_top: usize) -> Vec<TokenLogprob> {
    let mut all: Vec<_> = named.iter().zip(values).map(|(&token, &logprob)| TokenLogprob { token, logprob }).collect();
    all[1..].sort_unstable_by(|a, b| b.logprob.total_cmp(&a.logprob).then(a.token.cmp(&b.token)));
    all.truncate(1 + num_top);
    all
}
