//! Samples the tokens of a step. Gathers what sampling depends on from the sequences of its rows: parameters, logits processors,
//! masks, and whether log-probabilities are reported. `sampler` samples; `executor` decides when.

use std::rc::Rc;

use mlx_rs::Array;

use super::failure::{Mlx, bad_plan, device_error};
use super::feed;
use super::logits_processors::{LogitsProcessor, process_logits};
use super::logprobs::{Asking, Unread};
use super::mask::Masks;
use super::rows::replace_rows;
use super::sampler::{SampledRow, Sampler};
use super::sequences::{LastToken, Sequences};
use crate::error::Result;
use crate::request::TokenId;
use crate::scheduler::plan::{Row, StepLogprobs};

/// The sampled tokens of a step.
pub(super) struct Outcome {
    /// [s] u32: the tokens that the next step feeds. Each is in the vocabulary, even if the logits are invalid.
    pub(super) tokens: Rc<Array>,
    /// [s] u32: the tokens that the host reads, with [`NO_TOKEN`](mlx_ops::NO_TOKEN) for rows with invalid logits.
    checked: Array,
    logprobs: Option<Unread>,
}

impl Outcome {
    /// The arrays that the step must compute.
    pub(super) fn arrays(&self) -> impl Iterator<Item = &Array> {
        [&self.checked, &*self.tokens].into_iter().chain(self.logprobs.iter().flat_map(Unread::arrays))
    }

    /// Reads tokens and log-probabilities.
    pub(super) fn read(self) -> Result<(Vec<TokenId>, StepLogprobs)> {
        let tokens = read_tokens(&self.checked)?;
        let logprobs = self.logprobs.map(Unread::read).transpose()?;
        Ok((tokens, logprobs.unwrap_or_default()))
    }
}

/// Samples a token for each row from logits [s, vocab].
pub(super) fn sample(sampler: &Sampler, sequences: &Sequences, rows: &[Row], logits: &Array) -> Result<Outcome> {
    let (to_sample, processed) = (sampled_rows(rows, sequences)?, processed_rows(rows, sequences)?);
    let (masks, asking) = (masks(rows, sequences)?, asking(rows, sequences)?);
    let outcome = || {
        let changed = masks.apply_to(processed.apply_to(logits.clone())?)?;
        let tokens = sampler.sample(&changed, &to_sample)?;
        let checked = sampler.checked(logits, &tokens)?;
        let logprobs = asking.answer(logits, &tokens)?;
        Ok(Outcome { tokens: Rc::new(tokens), checked, logprobs })
    };
    outcome().map_err(|error| device_error("sampling tokens", error))
}

fn sampled_rows(rows: &[Row], sequences: &Sequences) -> Result<Vec<SampledRow>> {
    let sampled = |row: &Row| {
        let params = sequences.get(row.sequence)?.sampling;
        Ok(SampledRow { params, position: (row.start + row.len()) as u64 })
    };
    rows.iter().map(sampled).collect()
}

/// The rows with logits processors.
fn processed_rows(rows: &[Row], sequences: &Sequences) -> Result<ProcessedRows> {
    let mut processed = ProcessedRows::default();
    for (place, row) in rows.iter().enumerate() {
        let sequence = sequences.get(row.sequence)?;
        if let Some(processor) = sequence.processor(row.start + row.len()) {
            processed.places.push(place);
            processed.last.push(sequence.last());
            processed.rows.push(processor);
        }
    }
    Ok(processed)
}

/// The masks of constrained rows. A row whose constraint has ended needs none: its token is discarded.
fn masks<'a>(rows: &[Row], sequences: &'a Sequences) -> Result<Masks<'a>> {
    let mut masks = Masks::default();
    for (place, row) in rows.iter().enumerate() {
        let constraint = sequences.get(row.sequence)?.constraint.as_ref();
        if let Some(constraint) = constraint.filter(|constraint| constraint.end().is_none()) {
            masks.push(place, constraint.bitmask());
        }
    }
    Ok(masks)
}

/// The rows that ask for log-probabilities.
fn asking(rows: &[Row], sequences: &Sequences) -> Result<Asking> {
    let mut asking = Asking::default();
    for (place, row) in rows.iter().enumerate() {
        if let Some(num_top) = sequences.get(row.sequence)?.logprobs {
            asking.push(place, row.sequence, num_top.into());
        }
    }
    Ok(asking)
}

/// The rows of a step with logits processors.
#[derive(Default)]
struct ProcessedRows {
    /// Their indices among the rows that sample.
    places: Vec<usize>,
    rows: Vec<LogitsProcessor>,
    last: Vec<LastToken>,
}

impl ProcessedRows {
    /// [s, vocab] with these rows processed.
    fn apply_to(&self, logits: Array) -> Mlx<Array> {
        if self.places.is_empty() {
            return Ok(logits);
        }
        let last = feed::last_tokens(&self.last)?.map(|last| last.reshape(&[-1, 1])).transpose()?;
        replace_rows(&logits, &self.places, |rows| process_logits(rows, &self.rows, last.as_ref()))
    }
}

fn read_tokens(tokens: &Array) -> Result<Vec<TokenId>> {
    tokens.to_vec_exact::<u32>().map_err(|error| bad_plan(format!("sampled tokens cannot be read: {error}")))
}
