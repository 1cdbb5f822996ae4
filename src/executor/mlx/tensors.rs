//! The shapes of a model's tensors, which follow from its spec; `tensor_names` has their names. `inventory` compares them
//! with a folder's tensors; `weights` loads them.

use super::quantization::Affine;
use super::spec::{DenseSpec, LayerSpec, ModelSpec, MoeSpec};
use crate::hub::ModelFolder;

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
