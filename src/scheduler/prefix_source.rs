//! The prefix source: where a sequence gets the KV of its prompt.

use super::plan::Prefix;

/// Where a sequence that is not on the device gets the KV of its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum PrefixSource {
    /// The sequence computes it.
    #[default]
    Computed,
    /// Another sequence is computing it.
    Awaited,
    /// Another sequence has computed it.
    Copied(Prefix),
}
