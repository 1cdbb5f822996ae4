//! The tensors of a model: names, which a family chooses, and shapes, which follow from its spec. `inventory` compares them
//! with a folder's tensors; `weights` loads them.

use super::quantization::Affine;
use super::spec::{DenseSpec, LayerSpec, ModelSpec, MoeSpec};
use crate::hub::ModelFolder;

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

/// The shape of a linear layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinearShape {
    /// Name inside a decoder layer, or inside an expert.
    pub(super) name: &'static str,
    pub(super) outputs: i32,
    pub(super) inputs: i32,
    pub(super) bias: bool,
}

impl ModelSpec {
    /// The embedding. The head has the same shape.
    pub(super) fn embedding(&self) -> LinearShape {
        LinearShape { name: self.names.embedding, outputs: self.vocab, inputs: self.hidden, bias: false }
    }

    /// The q, k and v projections of a layer.
    pub(super) fn qkv(&self, layer: &LayerSpec) -> [LinearShape; 3] {
        let spec = &layer.attention;
        let outputs = [spec.heads, spec.kv_heads, spec.kv_heads].map(|heads| heads * spec.head_dim);
        let shape = |part: usize| LinearShape {
            name: self.names.qkv[part],
            outputs: outputs[part],
            inputs: self.hidden,
            bias: layer.qkv_bias,
        };
        [0, 1, 2].map(shape)
    }

    /// The o projection of a layer.
    pub(super) fn attention_output(&self, layer: &LayerSpec) -> LinearShape {
        let inputs = layer.attention.heads * layer.attention.head_dim;
        let name = self.names.attention_output;
        LinearShape { name, outputs: self.hidden, inputs, bias: layer.output_bias }
    }

    /// The gate, up and down projections of a dense MLP.
    pub(super) fn dense(&self, mlp: DenseSpec) -> [LinearShape; 3] {
        self.gated(self.names.mlp, mlp.width, mlp.bias)
    }

    /// The router of a mixture.
    pub(super) fn router(&self, moe: &MoeSpec) -> LinearShape {
        LinearShape { name: self.names.router, outputs: moe.experts, inputs: self.hidden, bias: false }
    }

    /// The gate, up and down projections of one expert.
    pub(super) fn expert(&self, moe: &MoeSpec) -> [LinearShape; 3] {
        self.gated(self.names.mlp, moe.width, false).map(|shape| {
            let name = shape.name.rsplit('.').next().unwrap_or(shape.name);
            LinearShape { name, ..shape }
        })
    }

    /// The gate, up and down projections of the shared expert, and its gate.
    pub(super) fn shared_expert(&self, width: i32) -> ([LinearShape; 3], LinearShape) {
        let gate = LinearShape { name: self.names.shared_gate, outputs: 1, inputs: self.hidden, bias: false };
        (self.gated(self.names.shared_expert, width, false), gate)
    }

    fn gated(&self, [gate, up, down]: [&'static str; 3], width: i32, bias: bool) -> [LinearShape; 3] {
        let inner = |name| LinearShape { name, outputs: width, inputs: self.hidden, bias };
        [inner(gate), inner(up), LinearShape { name: down, outputs: self.hidden, inputs: width, bias }]
    }

    /// Whether the experts of layer `index` are stored one by one in this folder.
    pub(super) fn has_single_experts(&self, folder: &ModelFolder, index: usize) -> bool {
        let first = format!("{}.0.", self.names.layer(index, self.names.single_experts));
        folder.tensors.range(first.clone()..).next().is_some_and(|(name, _)| name.starts_with(&first))
    }

    /// The path of expert `expert` of layer `index` if experts are stored one by one.
    pub(super) fn single_expert(&self, index: usize, expert: i32) -> String {
        self.names.layer(index, &format!("{}.{expert}", self.names.single_experts))
    }

    /// The quantization of the linear layer or embedding at `path` in this folder.
    ///
    /// A layer without scales is not quantized: exporters leave out layers whose shape does not fit, and `config.json`
    /// does not always say so.
    pub(super) fn quantization_of(&self, folder: &ModelFolder, path: &str) -> Option<Affine> {
        let quantization = self.quantization.as_ref()?;
        quantization.of(path).filter(|_| folder.tensors.contains_key(&format!("{path}.scales")))
    }
}
