//! Numbers that JavaScript can represent.

/// The greatest whole number up to which JavaScript represents every whole number exactly: `Number.MAX_SAFE_INTEGER`.
pub(crate) const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;
