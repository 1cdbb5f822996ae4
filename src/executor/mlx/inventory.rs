//! Checks that a model folder has exactly the tensors that a spec needs, in the right shapes and types. Reads only headers,
//! so that nothing is loaded for a model that does not fit its `config.json`. `weights` loads the tensors afterwards.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::Dtype;

use super::failure::bad_model;
use super::quantization::Affine;
use super::spec::{LayerSpec, MlpSpec, ModelSpec, MoeSpec, Norms};
use super::tensors::LinearShape;
use crate::error::Result;
use crate::hub::{ModelFolder, TensorHeader};

/// Unties the head if the folder stores one, whatever `config.json` says. A missing `tie_word_embeddings` means `true` for
/// mlx-lm and `false` for transformers; a stored head is the one that was trained.
pub(super) fn untie_stored_head(model: &mut ModelSpec, folder: &ModelFolder) {
    model.head.is_tied &= !folder.tensors.contains_key(&format!("{}.weight", model.names.head));
}

/// Checks that the folder has the tensors of the spec, and no other tensor that would be ignored although it may matter.
pub(super) fn check(model: &ModelSpec, folder: &ModelFolder) -> Result<()> {
    let mut inventory = Inventory { model, folder, tensors: &folder.tensors, claimed: BTreeSet::new() };
    inventory.linear(model.names.embedding, model.embedding(), &[])?;
    for (index, layer) in model.layers.iter().enumerate() {
        inventory.attention(index, layer)?;
        inventory.norms(index, layer)?;
        match &layer.mlp {
            MlpSpec::Dense(mlp) => inventory.layer_linears(index, &model.dense(*mlp))?,
            MlpSpec::Moe(moe) => inventory.experts(index, moe)?,
        }
    }
    inventory.vector(&format!("{}.weight", model.names.final_norm), model.hidden)?;
    if !model.head.is_tied {
        inventory.linear(model.names.head, model.embedding(), &[])?;
    }
    inventory.nothing_left()
}

struct Inventory<'a> {
    model: &'a ModelSpec,
    folder: &'a ModelFolder,
    tensors: &'a BTreeMap<String, TensorHeader>,
    claimed: BTreeSet<String>,
}

impl Inventory<'_> {
    fn attention(&mut self, index: usize, layer: &LayerSpec) -> Result<()> {
        self.layer_linears(index, &self.model.qkv(layer))?;
        self.layer_linears(index, &[self.model.attention_output(layer)])?;
        if layer.attention.qk_norm.is_some() {
            for name in self.model.names.qk_norm {
                self.vector(&format!("{}.weight", self.model.names.layer(index, name)), layer.attention.head_dim)?;
            }
        }
        Ok(())
    }

    fn norms(&mut self, index: usize, layer: &LayerSpec) -> Result<()> {
        let names = &self.model.names;
        let num_each = match layer.norms {
            Norms::Pre => 1,
            Norms::Sandwich => 2,
        };
        for name in names.attention_norms[..num_each].iter().chain(&names.mlp_norms[..num_each]) {
            self.vector(&format!("{}.weight", names.layer(index, name)), self.model.hidden)?;
        }
        Ok(())
    }

    fn layer_linears(&mut self, index: usize, shapes: &[LinearShape]) -> Result<()> {
        let mut shapes = shapes.iter();
        shapes.try_for_each(|shape| self.linear(&self.model.names.layer(index, shape.name), *shape, &[]))
    }

    fn experts(&mut self, index: usize, moe: &MoeSpec) -> Result<()> {
        let model = self.model;
        self.layer_linears(index, &[model.router(moe)])?;
        if let Some(width) = moe.shared {
            let (mlp, gate) = model.shared_expert(width);
            self.layer_linears(index, &mlp)?;
            self.layer_linears(index, &[gate])?;
        }
        for shape in model.expert(moe) {
            if !model.has_single_experts(self.folder, index) {
                let path = model.names.layer(index, &format!("{}.{}", model.names.stacked_experts, shape.name));
                self.linear(&path, shape, &[moe.experts])?;
                continue;
            }
            let path = |expert| format!("{}.{}", model.single_expert(index, expert), shape.name);
            let first = model.quantization_of(self.folder, &path(0));
            for expert in 0..moe.experts {
                if model.quantization_of(self.folder, &path(expert)) != first {
                    let message = format!("`{}` and `{}` are quantized differently", path(0), path(expert));
                    return Err(bad_model(message));
                }
                self.linear(&path(expert), shape, &[])?;
            }
        }
        Ok(())
    }

    /// A linear layer, or several stacked along the axes `stacked`.
    fn linear(&mut self, path: &str, shape: LinearShape, stacked: &[i32]) -> Result<()> {
        let LinearShape { outputs, inputs, bias, .. } = shape;
        let full = |inputs| [stacked, &[outputs, inputs]].concat();
        if bias {
            self.floats(format!("{path}.bias"), &[stacked, &[outputs]].concat())?;
        }
        let Some(Affine { bits, group_size }) = self.model.quantization_of(self.folder, path) else {
            return self.floats(format!("{path}.weight"), &full(inputs));
        };
        if inputs % group_size != 0 {
            return Err(bad_model(format!(
                "`{path}` has {inputs} inputs, not a multiple of its group size {group_size}"
            )));
        }
        // Group sizes are multiples of 32, so `inputs / 32` is exact.
        self.claim(format!("{path}.weight"), &full(inputs / 32 * bits), &[Dtype::U32])?;
        self.floats(format!("{path}.scales"), &full(inputs / group_size))?;
        self.floats(format!("{path}.biases"), &full(inputs / group_size))
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

    /// Refuses unused tensors: they mean that the spec lacks a part of the model. Rotary frequencies are allowed, because they
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
