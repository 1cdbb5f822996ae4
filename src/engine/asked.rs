//! What statistics need to know of a request, wherever it ends.

use std::time::Instant;

use crate::answers::ReaderId;

use super::labels::ModelLabel;

/// A request as statistics see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) reader: ReaderId,
    /// The model that it asks.
    pub(super) label: ModelLabel,
    /// When it was submitted.
    pub(super) at: Instant,
}
