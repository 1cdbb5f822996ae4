//! The prefix source: where a sequence gets the KV with which it starts.

use crate::request::SequenceId;

use super::plan::Prefix;

/// Where a sequence that is not on the device gets the KV of its first positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum PrefixSource {
    /// The sequence computes it.
    #[default]
    Computed,
    /// The sequence waits until another one has read this many positions.
    Awaited { of: SequenceId, num_positions: usize },
    /// Another sequence has computed it.
    Given(Prefix),
}

impl PrefixSource {
    /// The KV that is there already.
    pub(super) fn given(self) -> Option<Prefix> {
        match self {
            Self::Given(prefix) => Some(prefix),
            Self::Computed | Self::Awaited { .. } => None,
        }
    }
}
