//! Loads tensors that `inventory` has checked onto the device: reads the files, casts to one element type, fuses projections
//! with the same input, stacks experts. `precision` decides the element type and whether weights are dequantized. Runs on a
//! load thread, in the scope of its stream; the arrays of a loaded layer are evaluated.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use mlx_ops::PackedWeight;
use mlx_rs::ops::{add, dequantize, stack};
use mlx_rs::{Array, Dtype, with_stream};

use super::activation::Nonlinearity;
use super::attention::QkNorm;
use super::batch_invariant::InvariantBlocks;
use super::dense_mlp::Dense;
use super::failure::{Mlx, bad_model, device_error};
use super::layer::{Layer, NormPair};
use super::linear::{KernelShape, Linear, Projection, Quantized};
use super::mlp::Mlp;
use super::moe::{Experts, Moe, Shared};
use super::norm::Norm;
use super::packed::{Packed, not_dense};
use super::precision::Compute;
use super::quantization::Affine;
use super::spec::{Activation, LayerSpec, MlpSpec, ModelSpec, MoeSpec, Norms};
use super::streams::{of_device, settle};
use super::tensors::LinearShape;
use crate::error::Result;
use crate::executor::LoadControl;
use crate::hub::{ModelFolder, WeightFile};

/// The tensors of a folder that are not yet in a layer. They are lazy: bytes are read when a layer is evaluated.
pub(super) struct Weights<'a> {
    model: &'a ModelSpec,
    folder: &'a ModelFolder,
    control: &'a LoadControl,
    arrays: HashMap<String, Array>,
    /// Bytes of the tensors that were taken out of `arrays` and are not loaded yet.
    taken_bytes: u64,
    /// Element type of activations, to which float tensors are cast.
    dtype: Dtype,
    /// Whether quantized weights are dequantized while they are loaded.
    dequantizes: bool,
    /// Set on a CPU, where MLX has no gathered product of half precision.
    gathers_in_float32: bool,
    /// Whether products are made batch-invariant.
    batch_invariant: bool,
    /// Measured block sizes of batch-invariant products.
    blocks: HashMap<KernelShape, InvariantBlocks>,
}

impl<'a> Weights<'a> {
    /// Opens the weight files. The model's element type is that of its embedding.
    pub(super) fn open(
        model: &'a ModelSpec,
        folder: &'a ModelFolder,
        compute: Compute,
        control: &'a LoadControl,
    ) -> Result<Self> {
        let mut arrays = HashMap::new();
        for WeightFile { path, .. } in &folder.weight_files {
            control.check()?;
            let loaded = Array::load_safetensors(path).map_err(|error| {
                bad_model(format!("weight file {} cannot be read: {error}", path.display())).with_source(error)
            })?;
            arrays.extend(loaded);
        }
        let embedding = model.names.embedding;
        let suffix = if model.quantization_of(folder, embedding).is_some() { "scales" } else { "weight" };
        let mut weights = Self {
            model,
            folder,
            control,
            arrays,
            taken_bytes: 0,
            dtype: Dtype::Float32,
            dequantizes: compute == Compute::Dense,
            gathers_in_float32: false,
            batch_invariant: false,
            blocks: HashMap::new(),
        };
        weights.check_shapes()?;
        if compute == Compute::AsStored {
            weights.dtype = weights.peek(&format!("{embedding}.{suffix}"))?.dtype();
        }
        Ok(weights)
    }

    /// Makes the products of all layers batch-invariant.
    pub(super) fn batch_invariant(self, batch_invariant: bool) -> Self {
        Self { batch_invariant, ..self }
    }

    /// Loads weights in the form that operations on a CPU need.
    pub(super) fn for_cpu(self, on_cpu: bool) -> Self {
        Self { gathers_in_float32: on_cpu, ..self }
    }

    /// The element type of activations.
    pub(super) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Decoder layer `index`.
    pub(super) fn layer(&mut self, index: usize) -> Result<Layer> {
        let model = self.model;
        let (spec, names) = (&model.layers[index], &model.names);
        Ok(Layer {
            attention_norms: self.norm_pair(index, spec, names.attention_norms)?,
            qkv: self.projection(index, &model.qkv(spec))?,
            qk_norm: spec.attention.qk_norm.map(|_| self.qk_norm(index)).transpose()?,
            output: self.layer_linear(index, model.attention_output(spec))?,
            mlp_norms: self.norm_pair(index, spec, names.mlp_norms)?,
            mlp: self.mlp(index, &spec.mlp)?,
            residual: spec.residual,
        })
    }

    fn norm_pair(&mut self, index: usize, spec: &LayerSpec, names: [&str; 2]) -> Result<NormPair> {
        let [before, after] = names.map(|name| self.model.names.layer(index, name));
        let has_after = spec.norms == Norms::Sandwich;
        Ok(NormPair { before: self.norm(&before)?, after: has_after.then(|| self.norm(&after)).transpose()? })
    }

    fn qk_norm(&mut self, index: usize) -> Result<QkNorm> {
        let [queries, keys] = self.model.names.qk_norm.map(|name| self.model.names.layer(index, name));
        Ok(QkNorm { queries: self.norm(&queries)?.weight, keys: self.norm(&keys)?.weight })
    }

    fn mlp(&mut self, index: usize, spec: &MlpSpec) -> Result<Mlp> {
        match spec {
            MlpSpec::Moe(spec) => Ok(Mlp::Moe(Box::new(self.moe(index, *spec)?))),
            MlpSpec::Dense(spec) => Ok(Mlp::Dense(self.dense(index, self.model.dense(*spec), spec.activation)?)),
        }
    }

    fn dense(&mut self, index: usize, [gate, up, down]: [LinearShape; 3], activation: Activation) -> Result<Dense> {
        let gate_up = self.projection(index, &[gate, up])?;
        Ok(Dense { gate_up, down: self.layer_linear(index, down)?, activation: self.nonlinearity(activation)? })
    }

    fn nonlinearity(&self, activation: Activation) -> Result<Nonlinearity> {
        Nonlinearity::load(activation, self.dtype).map_err(|error| device_error("loading weights", error))
    }

    fn layer_linear(&mut self, index: usize, shape: LinearShape) -> Result<Linear> {
        self.linear(&self.model.names.layer(index, shape.name), shape.bias)
    }

    fn shared_expert(&mut self, index: usize, width: i32, activation: Activation) -> Result<Shared> {
        let (mlp, gate) = self.model.shared_expert(width);
        Ok(Shared { mlp: self.dense(index, mlp, activation)?, gate: self.layer_linear(index, gate)? })
    }

    fn moe(&mut self, index: usize, spec: MoeSpec) -> Result<Moe> {
        let router = self.layer_linear(index, self.model.router(&spec))?;
        let shared = spec.shared.map(|width| self.shared_expert(index, width, spec.activation)).transpose()?;
        let [gate, up, down] = self.model.expert(&spec);
        let [gate, up] = [self.experts(index, &spec, gate.name)?, self.experts(index, &spec, up.name)?];
        let gate_up = Experts::side_by_side(gate, up).map_err(|error| device_error("fusing projections", error))?;
        self.evaluated(gate_up.arrays())?;
        let down = self.experts(index, &spec, down.name)?;
        self.evaluated(down.arrays())?;
        let activation = self.nonlinearity(spec.activation)?;
        Ok(Moe { spec, router, activation, gate_up, down, shared, is_never_sorted: self.batch_invariant })
    }

    /// One linear layer of all experts of layer `index`. Lazy.
    fn experts(&mut self, index: usize, spec: &MoeSpec, name: &str) -> Result<Experts> {
        let names = &self.model.names;
        let paths = if self.model.has_single_experts(self.folder, index) {
            (0..spec.experts).map(|expert| format!("{}.{name}", self.model.single_expert(index, expert))).collect()
        } else {
            vec![names.layer(index, &format!("{}.{name}", names.stacked_experts))]
        };
        let [codes, scales, offsets] = ["weight", "scales", "biases"];
        let Some(Affine { bits, group_size }) = self.model.quantization_of(self.folder, &paths[0]) else {
            let matrices = self.stacked(&paths, codes, Self::floats)?;
            let dtype = if self.gathers_in_float32 { Dtype::Float32 } else { self.dtype };
            let experts = matrices.as_dtype(dtype).and_then(|matrices| Experts::dense(&matrices));
            return experts.map_err(|error| device_error("loading weights", error));
        };
        let codes = self.stacked(&paths, codes, Self::take)?;
        let scales = self.stacked(&paths, scales, Self::floats)?;
        let offsets = self.stacked(&paths, offsets, Self::floats)?;
        if self.dequantizes {
            return dequantize(&codes, &scales, &offsets, group_size, bits)
                .and_then(|matrices| Experts::dense(&matrices))
                .map_err(|error| device_error("dequantizing weights", error));
        }
        Ok(Experts::Quantized(Quantized { codes, scales, offsets, bits, group_size }))
    }

    /// One stacked tensor, or several tensors stacked.
    fn stacked(
        &mut self,
        paths: &[String],
        suffix: &str,
        load: impl Fn(&mut Self, &str) -> Result<Array>,
    ) -> Result<Array> {
        let mut arrays =
            paths.iter().map(|path| load(self, &format!("{path}.{suffix}"))).collect::<Result<Vec<_>>>()?;
        match arrays.len() {
            1 if arrays[0].ndim() == 3 => Ok(arrays.remove(0)),
            _ => stack(&arrays, 0).map_err(|error| device_error("loading weights", error)),
        }
    }

    /// A norm.
    pub(super) fn norm(&mut self, path: &str) -> Result<Norm> {
        let mut weight = self.floats(&format!("{path}.weight"))?;
        if self.model.norm.adds_one {
            let one = Array::from_f32(1.0).as_dtype(weight.dtype());
            let factors = one.and_then(|one| add(one, &weight));
            weight = factors.map_err(|error| device_error("loading weights", error))?;
        }
        self.evaluated([&weight])?;
        Ok(Norm { weight, eps: self.model.norm.eps })
    }

    /// A linear layer, evaluated.
    pub(super) fn linear(&mut self, path: &str, bias: bool) -> Result<Linear> {
        let linear = self.lazy_linear(path, bias)?;
        self.finish(linear)
    }

    /// The embedding, and the head unless it is tied to the embedding. A stored head that equals the embedding is dropped, and
    /// takes no memory.
    pub(super) fn ends(&mut self) -> Result<(Linear, Option<Linear>)> {
        if self.model.head.is_tied {
            return Ok((self.linear(self.model.names.embedding, false)?, None));
        }
        let embedding = self.lazy_linear(self.model.names.embedding, false)?;
        self.evaluated(embedding.arrays())?;
        let head = self.lazy_linear(self.model.names.head, false)?;
        if head.equals(&embedding).map_err(|error| device_error("comparing the head with the embedding", error))? {
            return Ok((self.finish(embedding)?, None));
        }
        Ok((embedding, Some(self.finish(head)?)))
    }

    /// The embedding and the head of a dense model.
    pub(super) fn packed_ends(&mut self) -> Result<(Linear, Packed)> {
        let embedding = self.lazy_linear(self.model.names.embedding, false)?;
        self.evaluated(embedding.arrays())?;
        let head = match embedding.as_dense() {
            Some(weight) if self.model.head.is_tied => self.pack(weight, None)?,
            _ => self.packed(self.model.names.head, false)?,
        };
        Ok((embedding, head))
    }

    /// A linear layer of a dense model, for a chain.
    pub(super) fn packed(&mut self, path: &str, bias: bool) -> Result<Packed> {
        let linear = self.lazy_linear(path, bias)?;
        self.pack_linear(linear)
    }

    /// Fused linear layers of decoder layer `index` of a dense model, for a chain.
    pub(super) fn packed_projection(&mut self, index: usize, parts: &[LinearShape]) -> Result<Packed> {
        match self.lazy_projection(index, parts)? {
            Projection::One(linear) => self.pack_linear(linear),
            Projection::Apart(_) => Err(not_dense()),
        }
    }

    /// Linear layers of decoder layer `index` with the same input, fused if their formats allow it.
    pub(super) fn projection(&mut self, index: usize, parts: &[LinearShape]) -> Result<Projection> {
        self.lazy_projection(index, parts)?.map(|linear| self.finish(linear))
    }

    fn lazy_projection(&mut self, index: usize, parts: &[LinearShape]) -> Result<Projection> {
        let linears = parts.iter().map(|part| self.lazy_linear(&self.model.names.layer(index, part.name), part.bias));
        let linears = linears.collect::<Result<Vec<_>>>()?;
        Projection::fused(linears).map_err(|error| device_error("fusing projections", error))
    }

    fn pack_linear(&mut self, linear: Linear) -> Result<Packed> {
        let (weight, bias) = linear.into_dense().ok_or_else(not_dense)?;
        self.pack(&weight, bias)
    }

    fn pack(&mut self, weight: &Array, bias: Option<Array>) -> Result<Packed> {
        let packed = PackedWeight::pack(weight).map_err(|error| device_error("loading weights", error))?;
        self.evaluated(&bias)?;
        Ok(Packed { weight: packed, bias })
    }

    /// Makes a layer batch-invariant if that is wanted, and evaluates it.
    fn finish(&mut self, linear: Linear) -> Result<Linear> {
        let shaped = self.shape(linear).map_err(|error| device_error("shaping weights", error))?;
        self.evaluated(shaped.arrays())?;
        Ok(shaped)
    }

    fn shape(&mut self, linear: Linear) -> Mlx<Linear> {
        if !self.batch_invariant {
            return Ok(linear);
        }
        let shape = linear.kernel_shape();
        let blocks = match self.blocks.entry(shape) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                // The device selects the kernel, so the product is measured on the device that runs steps.
                let measured = with_stream(&of_device()?, || linear.measure_blocks(shape, self.dtype));
                unknown.insert(measured?)
            }
        };
        let blocks = blocks.clone();
        Ok(linear.batch_invariant(blocks))
    }

    fn lazy_linear(&mut self, path: &str, bias: bool) -> Result<Linear> {
        let bias = if bias { Some(self.floats(&format!("{path}.bias"))?) } else { None };
        match self.model.quantization_of(self.folder, path) {
            None => Linear::dense(self.floats(&format!("{path}.weight"))?, bias)
                .map_err(|error| device_error("loading weights", error)),
            Some(Affine { bits, group_size }) => {
                let codes = self.take(&format!("{path}.weight"))?;
                let scales = self.floats(&format!("{path}.scales"))?;
                let offsets = self.floats(&format!("{path}.biases"))?;
                if self.dequantizes {
                    return dequantize(&codes, &scales, &offsets, group_size, bits)
                        .and_then(|weight| Linear::dense(weight, bias))
                        .map_err(|error| device_error("dequantizing weights", error));
                }
                Ok(Linear::quantized(Quantized { codes, scales, offsets, bits, group_size }, bias))
            }
        }
    }

    fn floats(&mut self, name: &str) -> Result<Array> {
        let dtype = self.dtype;
        let array = self.take(name)?;
        if array.dtype() == dtype {
            return Ok(array);
        }
        array.as_dtype(dtype).map_err(|error| device_error("casting weights", error))
    }

    /// Takes a tensor. Every tensor of a load is taken here, so an abort is checked here too.
    fn take(&mut self, name: &str) -> Result<Array> {
        self.control.check()?;
        let array = self.arrays.remove(name).ok_or_else(|| missing(name))?;
        self.taken_bytes += array.nbytes() as u64;
        Ok(array)
    }

    /// Computes arrays. The tensors that were taken since the last call are loaded then.
    fn evaluated<'b>(&mut self, arrays: impl IntoIterator<Item = &'b Array>) -> Result<()> {
        settle(arrays).map_err(|error| device_error("loading weights", error))?;
        self.control.add_loaded(std::mem::take(&mut self.taken_bytes));
        Ok(())
    }

    fn peek(&self, name: &str) -> Result<&Array> {
        self.arrays.get(name).ok_or_else(|| missing(name))
    }

    /// Compares shapes with the checked headers: MLX reads the files again, and they may have changed since.
    fn check_shapes(&self) -> Result<()> {
        for (name, header) in &self.folder.tensors {
            let found = self.peek(name)?.shape();
            let same = found.len() == header.shape.len()
                && found.iter().zip(&header.shape).all(|(found, wanted)| usize::try_from(*found) == Ok(*wanted));
            if !same {
                return Err(bad_model(format!("tensor `{name}` changed while the model was loaded")));
            }
        }
        Ok(())
    }
}

fn missing(name: &str) -> crate::error::Error {
    bad_model(format!("tensor `{name}` disappeared while the model was loaded"))
}
