//! Errors of a model's tokenizer and templates, panics of the tokenizers crate included.

use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::panics;

/// Runs code on data of a model: a panic becomes a `TokenizerError`.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    panics::catch(work)
        .unwrap_or_else(|panic| Err(Error::new(Code::TokenizerError, format!("it made the tokenizer panic: {panic}"))))
}

/// An error of the tokenizers crate.
pub(super) fn broken(error: &(dyn std::error::Error + Send + Sync)) -> Error {
    let reason: String = error.to_string().chars().take(500).collect();
    Error::new(Code::TokenizerError, reason)
}

/// The same error, naming the file that caused it.
pub(super) fn named(path: &Path, error: &Error) -> Error {
    Error::new(error.code(), format!("{}: {}", path.display(), error.message()))
}
