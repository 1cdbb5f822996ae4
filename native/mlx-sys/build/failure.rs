//! What went wrong, in words for the person who ran cargo.
//!
//! Owns the shape of a message: what was wanted, what happened, what to do. Does not decide what is worth failing for.

use std::fmt;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// A message of one or more lines, the last of which says what to do about it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Says what was being done when something outside failed.
pub(crate) trait While<T> {
    fn when(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> While<T> for std::result::Result<T, E> {
    fn when(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure(format!("could not {}: {error}", doing())))
    }
}
