//! Token ids: named by requests and by constraints alike.

/// A token of a model's vocabulary.
pub type TokenId = u32;
