//! What a model is, as plain data: one decoder runs whatever these words describe. `families/` reads `config.json` into
//! them, `tensors` says which tensors that takes. Dimensions are `i32` because shapes are, on the device.

use super::quantization::Quantization;
use super::tensors::Names;

/// One decoder-only transformer. Every number is range-checked, so that nothing computed from it can overflow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelSpec {
    pub(super) hidden: i32,
    /// Rows of the embedding and of the head.
    pub(super) vocab: i32,
    /// Embeddings are multiplied by it.
    pub(super) embedding_scale: Option<f32>,
    pub(super) layers: Vec<LayerSpec>,
    /// All norms, the last one included.
    pub(super) norm: NormSpec,
    pub(super) head: HeadSpec,
    /// Positions for which this description is exact.
    pub(super) context_length: i32,
    pub(super) quantization: Option<Quantization>,
    pub(super) names: Names,
}

/// A root-mean-square norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct NormSpec {
    pub(super) eps: f32,
    /// The factor is `1 + weight` instead of `weight`.
    pub(super) adds_one: bool,
}

/// From the last hidden state to logits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct HeadSpec {
    /// The head is the embedding.
    pub(super) is_tied: bool,
    /// Logits are divided by it.
    pub(super) divisor: Option<f32>,
    /// Logits become `softcap · tanh(logit / softcap)`.
    pub(super) softcap: Option<f32>,
}

/// One decoder layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LayerSpec {
    pub(super) attention: AttentionSpec,
    /// Biases of the q, k and v projections.
    pub(super) qkv_bias: bool,
    /// Bias of the o projection.
    pub(super) output_bias: bool,
    pub(super) mlp: MlpSpec,
    pub(super) norms: Norms,
    pub(super) residual: Residual,
}

/// Where a layer has norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Norms {
    /// Before attention and before the MLP.
    Pre,
    /// Before and after each of them.
    Sandwich,
}

/// How what attention and the MLP give is added to what goes past them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Residual {
    /// Their results are multiplied by it.
    pub(super) scale: Option<f32>,
    /// In float16, sums are limited to what the type holds.
    pub(super) is_clipped: bool,
}

/// The part of a layer that looks at each token by itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum MlpSpec {
    Dense(DenseSpec),
    Moe(MoeSpec),
}

/// `down(activation(gate(x)) · up(x))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DenseSpec {
    pub(super) width: i32,
    pub(super) activation: Activation,
    /// Biases of the gate, up and down projections.
    pub(super) bias: bool,
}

/// A mixture of experts, each a dense MLP without biases: a token's result is that of the `top_k` with the largest
/// probabilities, weighted by these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MoeSpec {
    pub(super) experts: i32,
    /// At most `experts`.
    pub(super) top_k: i32,
    /// The probabilities of the chosen are divided by their sum.
    pub(super) norm_topk_prob: bool,
    /// Width of an expert.
    pub(super) width: i32,
    pub(super) activation: Activation,
    /// Width of one more expert that every token goes through, weighted by a gate of its own.
    pub(super) shared: Option<i32>,
}

/// The nonlinearity of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// The approximation of GELU by the hyperbolic tangent.
    GeluTanh,
}

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

impl ModelSpec {
    /// What each layer's attention is.
    pub(super) fn attention(&self) -> Vec<AttentionSpec> {
        self.layers.iter().map(|layer| layer.attention.clone()).collect()
    }
}
