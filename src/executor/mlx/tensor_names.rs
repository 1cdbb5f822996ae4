//! The names of a model's tensors, which its family chooses.

/// Names of tensors. Names inside a layer are appended to the layer's path. A linear layer has `NAME.weight` and
/// `NAME.bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) embedding: &'static str,
    /// The head, if it is not tied to the embedding.
    pub(super) head: &'static str,
    pub(super) final_norm: &'static str,
    /// The prefix of layers: `NAME.INDEX`.
    pub(super) layers: &'static str,
    pub(super) qkv: [&'static str; 3],
    pub(super) attention_output: &'static str,
    /// Norms of queries and of keys.
    pub(super) qk_norm: [&'static str; 2],
    /// Norms before and after attention; the latter only with `Norms::Sandwich`.
    pub(super) attention_norms: [&'static str; 2],
    /// Norms before and after the MLP; the latter only with `Norms::Sandwich`.
    pub(super) mlp_norms: [&'static str; 2],
    /// Gate, up and down projection of a dense MLP. The part after the last dot is the name in an expert.
    pub(super) mlp: [&'static str; 3],
    /// The router, which computes the probabilities of experts.
    pub(super) router: &'static str,
    /// All experts, stacked: `NAME.gate_proj` and so on.
    pub(super) stacked_experts: &'static str,
    /// Experts stored one by one: `NAME.INDEX.gate_proj` and so on.
    pub(super) single_experts: &'static str,
    /// Gate, up and down projection of the shared expert.
    pub(super) shared_expert: [&'static str; 3],
    /// The gate that weights the shared expert.
    pub(super) shared_gate: &'static str,
}

impl Names {
    /// The names of Llama, which most families use.
    pub(super) const LLAMA: Self = Self {
        embedding: "model.embed_tokens",
        head: "lm_head",
        final_norm: "model.norm",
        layers: "model.layers",
        qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        attention_output: "self_attn.o_proj",
        qk_norm: ["self_attn.q_norm", "self_attn.k_norm"],
        attention_norms: ["input_layernorm", "no norm"],
        mlp_norms: ["post_attention_layernorm", "no norm"],
        mlp: ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
        router: "mlp.gate",
        stacked_experts: "mlp.switch_mlp",
        single_experts: "mlp.experts",
        shared_expert: ["mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj", "mlp.shared_expert.down_proj"],
        shared_gate: "mlp.shared_expert_gate",
    };

    /// The full path of `name` in decoder layer `index`.
    pub(super) fn layer(&self, index: usize, name: &str) -> String {
        format!("{}.{index}.{name}", self.layers)
    }
}
