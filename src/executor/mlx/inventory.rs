//! Which tensors a description needs, under which names and in which shapes, and whether a model folder has exactly
//! them. Looks at headers only: nothing is loaded before everything is known to fit.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::Dtype;

use super::description::{Affine, Description};
use super::failure::bad_model;
use crate::error::Result;
use crate::hub::{ModelFolder, TensorHeader};

/// A linear layer, before it is loaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinearShape {
    /// Its name inside a decoder layer.
    pub(super) name: &'static str,
    pub(super) outputs: i32,
    pub(super) inputs: i32,
    pub(super) bias: bool,
}

/// Path of the token embedding.
pub(super) const EMBEDDING: &str = "model.embed_tokens";
/// Path of the head, where it is not the embedding.
pub(super) const HEAD: &str = "lm_head";
/// Path of the last norm.
pub(super) const FINAL_NORM: &str = "model.norm";

/// The path of something inside decoder layer `index`.
pub(super) fn layer_path(index: usize, name: &str) -> String {
    format!("model.layers.{index}.{name}")
}

/// The linear layers of decoder layer `index`: q, k, v, o, gate, up, down.
pub(super) fn layer_linears(model: &Description, index: usize) -> [LinearShape; 7] {
    let spec = &model.attention[index];
    let (queries, values) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let attention = |name, outputs, inputs| LinearShape { name, outputs, inputs, bias: model.attention_bias };
    let mlp = |name, outputs, inputs| LinearShape { name, outputs, inputs, bias: model.mlp_bias };
    [
        attention("self_attn.q_proj", queries, model.hidden),
        attention("self_attn.k_proj", values, model.hidden),
        attention("self_attn.v_proj", values, model.hidden),
        attention("self_attn.o_proj", model.hidden, queries),
        mlp("mlp.gate_proj", model.intermediate, model.hidden),
        mlp("mlp.up_proj", model.intermediate, model.hidden),
        mlp("mlp.down_proj", model.hidden, model.intermediate),
    ]
}

/// How the linear layer or embedding at `path` is quantized in this folder.
///
/// The scales decide where `config.json` does not speak of the layer: exporters leave layers out that do not fit.
pub(super) fn quantization_of(model: &Description, folder: &ModelFolder, path: &str) -> Option<Affine> {
    let quantization = model.quantization.as_ref()?;
    quantization.of(path).filter(|_| folder.tensors.contains_key(&format!("{path}.scales")))
}

/// Gives the model a head of its own where the folder stores one, whatever `config.json` says: a missing
/// `tie_word_embeddings` means `true` to mlx-lm and `false` to transformers, and a stored head is the one that was trained.
pub(super) fn untie_stored_head(model: &mut Description, folder: &ModelFolder) {
    model.tied &= !folder.tensors.contains_key(&format!("{HEAD}.weight"));
}

/// Checks that the folder holds what the description needs, in the right shapes, and nothing that would be ignored
/// although it might matter.
pub(super) fn check(model: &Description, folder: &ModelFolder) -> Result<()> {
    let mut inventory = Inventory { tensors: &folder.tensors, claimed: BTreeSet::new() };
    let linear = |inventory: &mut Inventory<'_>, path: String, shape: LinearShape| {
        let quantization = quantization_of(model, folder, &path);
        inventory.linear(&path, shape, quantization)
    };
    let embedding = LinearShape { name: "", outputs: model.vocab, inputs: model.hidden, bias: false };
    linear(&mut inventory, EMBEDDING.to_owned(), embedding)?;
    for index in 0..model.attention.len() {
        for shape in layer_linears(model, index) {
            linear(&mut inventory, layer_path(index, shape.name), shape)?;
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            inventory.vector(&format!("{}.weight", layer_path(index, name)), model.hidden)?;
        }
    }
    inventory.vector(&format!("{FINAL_NORM}.weight"), model.hidden)?;
    if !model.tied {
        linear(&mut inventory, HEAD.to_owned(), embedding)?;
    }
    inventory.nothing_left()
}

struct Inventory<'a> {
    tensors: &'a BTreeMap<String, TensorHeader>,
    claimed: BTreeSet<String>,
}

impl Inventory<'_> {
    fn linear(&mut self, path: &str, shape: LinearShape, quantization: Option<Affine>) -> Result<()> {
        let LinearShape { outputs, inputs, bias, .. } = shape;
        if bias {
            self.vector(&format!("{path}.bias"), outputs)?;
        }
        let Some(Affine { bits, group_size }) = quantization else {
            return self.floats(format!("{path}.weight"), &[outputs, inputs]);
        };
        if inputs % group_size != 0 {
            return Err(bad_model(format!(
                "`{path}` has {inputs} inputs, not a multiple of its group size {group_size}"
            )));
        }
        // Whole groups of 32 values: `inputs * bits` is a multiple of 32.
        self.claim(format!("{path}.weight"), &[outputs, inputs / 32 * bits], &[Dtype::U32])?;
        self.floats(format!("{path}.scales"), &[outputs, inputs / group_size])?;
        self.floats(format!("{path}.biases"), &[outputs, inputs / group_size])
    }

    fn vector(&mut self, name: &str, len: i32) -> Result<()> {
        self.floats(name.to_owned(), &[len])
    }

    fn floats(&mut self, name: String, shape: &[i32]) -> Result<()> {
        self.claim(name, shape, &[Dtype::F32, Dtype::F16, Dtype::BF16])
    }

    fn claim(&mut self, name: String, shape: &[i32], dtypes: &[Dtype]) -> Result<()> {
        let Some(found) = self.tensors.get(&name) else {
            return Err(bad_model(format!("tensor `{name}` of shape {shape:?} is missing")));
        };
        let fits = found.shape.len() == shape.len()
            && found.shape.iter().zip(shape).all(|(found, wanted)| i32::try_from(*found) == Ok(*wanted));
        if !fits {
            return Err(bad_model(format!("tensor `{name}` has shape {:?}, expected {shape:?}", found.shape)));
        }
        if !dtypes.contains(&found.dtype) {
            return Err(bad_model(format!("tensor `{name}` is {:?}, expected one of {dtypes:?}", found.dtype)));
        }
        self.claimed.insert(name);
        Ok(())
    }

    /// An unused tensor means that the description misses a part of the model. Rotary frequencies are the exception: they
    /// are computed from `config.json`.
    fn nothing_left(&self) -> Result<()> {
        let harmless = |name: &str| name.contains("rotary_emb.inv_freq");
        let mut left = self.tensors.keys().filter(|name| !self.claimed.contains(*name) && !harmless(name));
        match left.next() {
            None => Ok(()),
            Some(first) => Err(bad_model(format!(
                "tensor `{first}` and {} more are not part of the model that config.json describes",
                left.count()
            ))),
        }
    }
}
