//! Limits how much longer a tokenizer's normalizer can make a text. Replacements in a row multiply: without a limit, a
//! short prompt could fill the memory before its time budget ends.

use tokenizers::normalizers::NormalizerWrapper;

use crate::error::{Code, Error, Result};

/// Published normalizers write three bytes for a space, with a few such steps in a row.
const MAX_GROWTH: usize = 1024;

/// Rejects a normalizer that can make a text more than [`MAX_GROWTH`] times as long.
pub(super) fn check(normalizer: Option<&NormalizerWrapper>) -> Result<()> {
    let growth = normalizer.map_or(1, growth);
    if growth > MAX_GROWTH {
        let message = format!("its normalizer can make a text {growth} times as long; at most {MAX_GROWTH} is allowed");
        return Err(Error::new(Code::TokenizerError, message));
    }
    Ok(())
}

fn growth(normalizer: &NormalizerWrapper) -> usize {
    match normalizer {
        NormalizerWrapper::Sequence(stages) => stages.as_ref().iter().map(growth).fold(1, usize::saturating_mul),
        NormalizerWrapper::Replace(replace) => replace.content.len().max(1),
        NormalizerWrapper::Prepend(prepend) => prepend.prepend.len().max(1),
        _ => 1,
    }
}
