//! Counts as JavaScript has them.

/// The length in UTF-16 code units, in which JavaScript counts. For ASCII it is the number of bytes.
pub(super) fn num_utf16(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

/// Counts of a drain are far below 2³², because credit bounds it.
pub(super) fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
