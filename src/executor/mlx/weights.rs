//! Brings checked tensors onto the device: loads the files, casts to one element type, fuses projections that share
//! their input. What is loaded here has passed `inventory`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use mlx_ops::PackedWeight;
use mlx_rs::ops::{concatenate, dequantize};
use mlx_rs::transforms::eval;
use mlx_rs::{Array, Dtype, Stream, with_stream};

use super::blocks::Blocks;
use super::chained::Packed;
use super::description::{Affine, Description};
use super::failure::{Mlx, bad_model, device_error};
use super::inventory::{EMBEDDING, HEAD, LinearShape, layer_path, quantization_of};
use super::linear::{KernelShape, Linear, Projection, Quantized};
use super::precision::Compute;
use crate::error::Result;
use crate::hub::ModelFolder;

/// The tensors of a folder, on their way into layers. Lazy: bytes are read when a layer is evaluated.
pub(super) struct Weights<'a> {
    model: &'a Description,
    folder: &'a ModelFolder,
    arrays: HashMap<String, Array>,
    /// The element type of activations; float tensors are cast to it.
    dtype: Dtype,
    /// Quantized weights are dequantized while they are loaded.
    dequantizes: bool,
    /// Whether the products of MLX are carried out so that a row's result is the same in any company.
    in_blocks: bool,
    /// What was measured of them.
    blocks: HashMap<KernelShape, Blocks>,
}

impl<'a> Weights<'a> {
    /// Opens the weight files. The element type of the embedding is the model's own.
    pub(super) fn open(
        model: &'a Description,
        folder: &'a ModelFolder,
        files: &Stream,
        compute: Compute,
    ) -> Result<Self> {
        let mut arrays = HashMap::new();
        for path in &folder.weight_files {
            let loaded = with_stream(files, || Array::load_safetensors(path)).map_err(|error| {
                bad_model(format!("weight file {} cannot be read: {error}", path.display())).with_source(error)
            })?;
            arrays.extend(loaded);
        }
        let suffix = if quantization_of(model, folder, EMBEDDING).is_some() { "scales" } else { "weight" };
        let mut weights = Self {
            model,
            folder,
            arrays,
            dtype: Dtype::Float32,
            dequantizes: compute == Compute::Dense,
            in_blocks: false,
            blocks: HashMap::new(),
        };
        weights.check_shapes()?;
        if compute == Compute::AsStored {
            weights.dtype = weights.peek(&format!("{EMBEDDING}.{suffix}"))?.dtype();
        }
        Ok(weights)
    }

    /// Makes every layer carry out its product so that a row's result is the same in any company.
    pub(super) fn in_blocks(self, in_blocks: bool) -> Self {
        Self { in_blocks, ..self }
    }

    /// The element type of activations.
    pub(super) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// A vector, such as the weight of a norm.
    pub(super) fn vector(&mut self, name: &str) -> Result<Array> {
        let array = self.floats(name)?;
        evaluated("loading weights", [&array])?;
        Ok(array)
    }

    /// A linear layer, evaluated.
    pub(super) fn linear(&mut self, path: &str, bias: bool) -> Result<Linear> {
        let linear = self.lazy_linear(path, bias)?;
        self.finish(linear)
    }

    /// The embedding, and the head unless the embedding serves as the head. A stored head that equals the embedding takes
    /// no memory of its own.
    pub(super) fn ends(&mut self) -> Result<(Linear, Option<Linear>)> {
        if self.model.tied {
            return Ok((self.linear(EMBEDDING, false)?, None));
        }
        let embedding = self.lazy_linear(EMBEDDING, false)?;
        evaluated("loading weights", embedding.arrays())?;
        let head = self.lazy_linear(HEAD, false)?;
        if head.equals(&embedding).map_err(|error| device_error("comparing the head with the embedding", error))? {
            return Ok((self.finish(embedding)?, None));
        }
        Ok((embedding, Some(self.finish(head)?)))
    }

    /// The embedding and the head of a dense model.
    pub(super) fn packed_ends(&mut self) -> Result<(Linear, Packed)> {
        let embedding = self.lazy_linear(EMBEDDING, false)?;
        evaluated("loading weights", embedding.arrays())?;
        let head = match embedding.as_dense() {
            Some(weight) if self.model.tied => pack(weight, None)?,
            _ => self.packed(HEAD, false)?,
        };
        Ok((embedding, head))
    }

    /// A linear layer of a dense model, for a chain.
    pub(super) fn packed(&mut self, path: &str, bias: bool) -> Result<Packed> {
        let linear = self.lazy_linear(path, bias)?;
        packed(linear)
    }

    /// Linear layers of decoder layer `index` of a dense model that share their input, for a chain.
    pub(super) fn packed_projection(&mut self, index: usize, parts: &[LinearShape]) -> Result<Packed> {
        match self.lazy_projection(index, parts)? {
            Projection::One(linear) => packed(linear),
            Projection::Apart(_) => Err(not_dense()),
        }
    }

    /// Linear layers of decoder layer `index` that share their input, as one where their formats allow it.
    pub(super) fn projection(&mut self, index: usize, parts: &[LinearShape]) -> Result<Projection> {
        self.lazy_projection(index, parts)?.map(|linear| self.finish(linear))
    }

    fn lazy_projection(&mut self, index: usize, parts: &[LinearShape]) -> Result<Projection> {
        let linears = parts.iter().map(|part| self.lazy_linear(&layer_path(index, part.name), part.bias));
        let linears = linears.collect::<Result<Vec<_>>>()?;
        fuse(linears).map_err(|error| device_error("fusing projections", error))
    }

    /// Gives a layer the form in which it is used, and evaluates it.
    fn finish(&mut self, linear: Linear) -> Result<Linear> {
        let shaped = self.shape(linear).map_err(|error| device_error("shaping weights", error))?;
        evaluated("loading weights", shaped.arrays())?;
        Ok(shaped)
    }

    fn shape(&mut self, linear: Linear) -> Mlx<Linear> {
        if !self.in_blocks {
            return Ok(linear);
        }
        let shape = linear.kernel_shape();
        let blocks = match self.blocks.entry(shape) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(linear.measure_blocks(shape, self.dtype)?),
        };
        let blocks = blocks.clone();
        Ok(linear.in_blocks(blocks))
    }

    fn lazy_linear(&mut self, path: &str, bias: bool) -> Result<Linear> {
        let bias = if bias { Some(self.floats(&format!("{path}.bias"))?) } else { None };
        match quantization_of(self.model, self.folder, path) {
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

    fn take(&mut self, name: &str) -> Result<Array> {
        self.arrays.remove(name).ok_or_else(|| missing(name))
    }

    fn peek(&self, name: &str) -> Result<&Array> {
        self.arrays.get(name).ok_or_else(|| missing(name))
    }

    /// MLX parses the files itself: a file that changed since it was validated must not slip through.
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

fn evaluated<'a>(what: &str, arrays: impl IntoIterator<Item = &'a Array>) -> Result<()> {
    eval(arrays).map_err(|error| device_error(what, error))
}

fn packed(linear: Linear) -> Result<Packed> {
    let (weight, bias) = linear.into_dense().ok_or_else(not_dense)?;
    pack(&weight, bias)
}

fn pack(weight: &Array, bias: Option<Array>) -> Result<Packed> {
    let weight = PackedWeight::pack(weight).map_err(|error| device_error("loading weights", error))?;
    Ok(Packed { weight, bias })
}

/// Only dense models are brought into chains.
fn not_dense() -> crate::error::Error {
    bad_model("a weight is quantized that was to be dense".to_owned())
}

/// One projection out of several: rows of outputs one below the other. Layers of different formats stay apart.
fn fuse(linears: Vec<Linear>) -> Mlx<Projection> {
    let biases: Option<Vec<_>> = linears.iter().map(Linear::bias).collect();
    let bias = biases.map(stack).transpose()?;
    let dense: Option<Vec<_>> = linears.iter().map(Linear::as_dense).collect();
    if let Some(parts) = dense {
        return Ok(Projection::One(Linear::dense(stack(parts)?, bias)?));
    }
    let quantized: Option<Vec<_>> = linears.iter().map(Linear::as_quantized).collect();
    match quantized {
        Some(parts) if parts.windows(2).all(|pair| pair[0].format() == pair[1].format()) => {
            let Quantized { bits, group_size, .. } = *parts[0];
            let codes = stack(parts.iter().map(|part| &part.codes))?;
            let scales = stack(parts.iter().map(|part| &part.scales))?;
            let offsets = stack(parts.iter().map(|part| &part.offsets))?;
            Ok(Projection::One(Linear::quantized(Quantized { codes, scales, offsets, bits, group_size }, bias)))
        }
        _ => Ok(Projection::Apart(linears)),
    }
}

fn stack<'a>(parts: impl IntoIterator<Item = &'a Array>) -> Mlx<Array> {
    concatenate(&parts.into_iter().collect::<Vec<_>>(), 0)
}
