//! What attention in a decoder layer computes, as plain data: the words in which a model's description speaks to `attention/`.

/// Causal self-attention of one decoder layer. Dimensions are `i32` because shapes are, on the device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AttentionSpec {
    /// Query heads; a multiple of `kv_heads`.
    pub(super) heads: i32,
    pub(super) kv_heads: i32,
    /// Even.
    pub(super) head_dim: i32,
    /// Factor of the products of queries and keys.
    pub(super) scale: f32,
    /// Scores become `softcap · tanh(score / softcap)`, before the mask.
    pub(super) softcap: Option<f32>,
    /// Positions that a query sees, its own included; all before it where absent.
    pub(super) window: Option<i32>,
    pub(super) rope: Rope,
    /// Epsilon of the RMS norms over each head of queries and keys, before they are rotated.
    pub(super) qk_norm: Option<f32>,
}

impl AttentionSpec {
    /// Queries, keys and values of a token, side by side.
    pub(super) fn packed_width(&self) -> i32 {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    pub(super) base: f64,
    pub(super) scaling: RopeScaling,
    /// Rotates neighbouring pairs; otherwise first half with second half.
    pub(super) traditional: bool,
}

/// How positions beyond the trained ones are reached.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RopeScaling {
    None,
    /// Positions are divided by the factor.
    Linear {
        factor: f64,
    },
    /// Llama 3's: low frequencies are divided by the factor, high ones kept, those between blended.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
}
