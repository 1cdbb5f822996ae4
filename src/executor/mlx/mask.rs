//! Masks the logits of constrained rows: tokens that the constraint forbids get minus infinity. It runs after the logits
//! processors, so that no bias or penalty makes a forbidden token possible.

use mlx_rs::Array;
use mlx_rs::ops::select;

use super::failure::Mlx;
use super::rows::{dim, replace_rows};

/// The tokens that the constrained rows of a step may sample.
#[derive(Default)]
pub(super) struct Masks<'a> {
    /// The indices of these rows among the rows that sample.
    places: Vec<usize>,
    /// Token `t` is bit `t % 32` of word `t / 32`.
    words: Vec<&'a [u32]>,
}

impl<'a> Masks<'a> {
    pub(super) fn push(&mut self, place: usize, words: &'a [u32]) {
        self.places.push(place);
        self.words.push(words);
    }

    /// [s, vocab] with the forbidden tokens of these rows at minus infinity. Other rows are unchanged.
    pub(super) fn apply_to(&self, logits: Array) -> Mlx<Array> {
        if self.places.is_empty() {
            return Ok(logits);
        }
        let vocab = logits.dim(1);
        let shape = [dim(self.places.len()), vocab];
        let allowed = Array::from_slice(&self.spread(vocab.unsigned_abs() as usize), &shape);
        replace_rows(&logits, &self.places, |rows| select(&allowed, rows, Array::from_f32(f32::NEG_INFINITY)))
    }

    /// One flag per logit. A model can have more logits than the tokenizer has tokens; those are never allowed.
    fn spread(&self, vocab: usize) -> Vec<bool> {
        let mut flags = Vec::with_capacity(self.words.len() * vocab);
        for words in &self.words {
            let end = flags.len() + vocab;
            let bits = words.iter().flat_map(|word| (0..32).map(move |bit| word >> bit & 1 == 1));
            flags.extend(bits.take(vocab));
            flags.resize(end, false);
        }
        flags
    }
}
