//! The description of a model as plain data. `families/` makes it from `config.json`, `tensors` derives the model's tensors
//! from it, and one decoder runs every model. Dimensions are `i32`, as MLX's shapes are.

use super::quantization::Quantization;
use super::tensor_names::Names;

/// A decoder-only transformer. Every number is range-checked, so that nothing computed from it can overflow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelSpec {
    pub(super) hidden: i32,
    /// Rows of the embedding and of the head.
    pub(super) vocab: i32,
    /// Factor of the embeddings.
    pub(super) embedding_scale: Option<f32>,
    pub(super) layers: Vec<LayerSpec>,
    /// All norms, including the final one.
    pub(super) norm: NormSpec,
    pub(super) head: HeadSpec,
    /// Positions that the model supports.
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

/// The head, which computes logits from the last hidden state.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct HeadSpec {
    /// Whether the head's weight is the embedding.
    pub(super) is_tied: bool,
    /// Divisor of the logits.
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

/// How the results of attention and MLP are added to the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Residual {
    /// Factor of these results.
    pub(super) scale: Option<f32>,
    /// Whether float16 sums are clipped to the largest finite value.
    pub(super) is_clipped: bool,
}

/// The MLP of a layer.
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

/// A mixture of experts, each a dense MLP without biases. A token's result is the sum of the `top_k` most probable experts'
/// results, weighted by their probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MoeSpec {
    pub(super) experts: i32,
    /// At most `experts`.
    pub(super) top_k: i32,
    /// Whether the probabilities of the chosen experts are divided by their sum.
    pub(super) norm_topk_prob: bool,
    /// Width of an expert.
    pub(super) width: i32,
    pub(super) activation: Activation,
    /// Width of the shared expert, which every token goes through, weighted by its own gate.
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

/// Causal self-attention of one decoder layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AttentionSpec {
    /// Query heads; a multiple of `kv_heads`.
    pub(super) heads: i32,
    pub(super) kv_heads: i32,
    /// Values per head; even.
    pub(super) head_dim: i32,
    /// Factor of the products of queries and keys.
    pub(super) scale: f32,
    /// Scores become `softcap · tanh(score / softcap)`, before the mask.
    pub(super) softcap: Option<f32>,
    /// Positions that a query attends to, including its own; all earlier ones if absent.
    pub(super) window: Option<i32>,
    pub(super) rope: Rope,
    /// Epsilon of the RMS norms over each head of queries and keys, applied before rotation.
    pub(super) qk_norm: Option<f32>,
}

impl AttentionSpec {
    /// Number of values of a token's queries, keys and values, concatenated.
    pub(super) fn packed_width(&self) -> i32 {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    pub(super) base: f64,
    pub(super) scaling: RopeScaling,
    /// Rotates pairs of neighbouring values; otherwise each value of the first half with one of the second.
    pub(super) traditional: bool,
}

/// How rope is scaled to longer contexts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RopeScaling {
    None,
    /// Positions are divided by the factor.
    Linear {
        factor: f64,
    },
    /// Llama 3: low frequencies are divided by the factor, high frequencies kept, those between interpolated.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
}

impl ModelSpec {
    /// The attention of each layer.
    pub(super) fn attention(&self) -> Vec<AttentionSpec> {
        self.layers.iter().map(|layer| layer.attention.clone()).collect()
    }
}
