//! Brings checked tensors onto the device: loads the files, casts to one element type, fuses projections that share
//! their input. What is loaded here has passed `inventory`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use mlx_rs::ops::concatenate;
use mlx_rs::transforms::eval;
use mlx_rs::{Array, Dtype, Stream, with_stream};

use super::blocks::Blocks;
use super::description::{Affine, Description};
use super::failure::{Mlx, bad_model, device_error};
use super::inventory::{EMBEDDING, LinearShape, layer_path, quantization_of};
use super::linear::{Linear, Projection, Quantized};
use crate::error::Result;
use crate::hub::ModelFolder;

/// The tensors of a folder, on their way into layers. Lazy: bytes are read when a layer is evaluated.
pub(super) struct Weights<'a> {
    model: &'a Description,
    folder: &'a ModelFolder,
    arrays: HashMap<String, Array>,
    dtype: Dtype,
    products: Products,
    /// What was measured of layers with such a [`Linear::shape`].
    blocks: HashMap<[i32; 4], Blocks>,
}

/// How the products of linear layers are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Products {
    /// As they come.
    Whole,
    /// Fast for few rows on the CPU.
    Panels,
    /// The same for a row in any company.
    Blocks,
}

impl<'a> Weights<'a> {
    /// Opens the weight files. The element type of the embedding is the model's; other float tensors are cast to it.
    pub(super) fn open(model: &'a Description, folder: &'a ModelFolder) -> Result<Self> {
        let mut arrays = HashMap::new();
        for path in &folder.weight_files {
            // MLX reads files with the CPU only.
            let loaded = with_stream(&Stream::cpu(), || Array::load_safetensors(path)).map_err(|error| {
                bad_model(format!("weight file {} cannot be read: {error}", path.display())).with_source(error)
            })?;
            arrays.extend(loaded);
        }
        let suffix = if quantization_of(model, folder, EMBEDDING).is_some() { "scales" } else { "weight" };
        let mut weights =
            Self { model, folder, arrays, dtype: Dtype::Float32, products: Products::Whole, blocks: HashMap::new() };
        weights.check_shapes()?;
        weights.dtype = weights.peek(&format!("{EMBEDDING}.{suffix}"))?.dtype();
        Ok(weights)
    }

    /// Makes every layer carry out its product so.
    pub(super) fn with_products(self, products: Products) -> Self {
        Self { products, ..self }
    }

    /// The element type of the model.
    pub(super) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// A vector, such as the weight of a norm.
    pub(super) fn vector(&mut self, name: &str) -> Result<Array> {
        let array = self.floats(name)?;
        evaluated("loading weights", [&array])?;
        Ok(array)
    }

    /// A linear layer or embedding, evaluated.
    pub(super) fn linear(&mut self, path: &str, bias: bool) -> Result<Linear> {
        let linear = self.lazy_linear(path, bias)?;
        let linear = self.cut(linear).map_err(|error| device_error("cutting weights", error))?;
        evaluated("loading weights", linear.arrays())?;
        Ok(linear)
    }

    /// Linear layers of decoder layer `index` that share their input, as one where their formats allow it.
    pub(super) fn projection(&mut self, index: i32, parts: &[LinearShape]) -> Result<Projection> {
        let linears = parts.iter().map(|part| self.lazy_linear(&layer_path(index, part.name), part.bias));
        let linears = linears.collect::<Result<Vec<_>>>()?;
        let fused = fuse(linears).map_err(|error| device_error("fusing projections", error))?;
        let projection = fused.map(|linear| self.cut(linear));
        let projection = projection.map_err(|error| device_error("cutting weights", error))?;
        evaluated("loading weights", projection.arrays())?;
        Ok(projection)
    }

    fn cut(&mut self, linear: Linear) -> Mlx<Linear> {
        match self.products {
            Products::Whole => Ok(linear),
            Products::Panels => linear.in_panels(),
            Products::Blocks => {
                let blocks = match self.blocks.entry(linear.shape()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(unknown) => unknown.insert(linear.measure_blocks(self.dtype)?),
                };
                Ok(linear.in_blocks(blocks.clone()))
            }
        }
    }

    fn lazy_linear(&mut self, path: &str, bias: bool) -> Result<Linear> {
        let bias = if bias { Some(self.floats(&format!("{path}.bias"))?) } else { None };
        match quantization_of(self.model, self.folder, path) {
            None => Linear::dense(self.floats(&format!("{path}.weight"))?, bias)
                .map_err(|error| device_error("loading weights", error)),
            Some(Affine { bits, group_size }) => Ok(Linear::Quantized(Quantized {
                weight: self.take(&format!("{path}.weight"))?,
                scales: self.floats(&format!("{path}.scales"))?,
                offsets: self.floats(&format!("{path}.biases"))?,
                bits,
                group_size,
                bias,
                blocks: None,
            })),
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

/// One projection out of several: rows of outputs one below the other. Layers of different formats stay apart.
fn fuse(linears: Vec<Linear>) -> Mlx<Projection> {
    let dense: Option<Vec<_>> = linears.iter().map(Linear::as_dense).collect();
    if let Some(parts) = dense {
        let weight = stack(parts.iter().map(|(weight, _)| *weight))?;
        let biases: Option<Vec<_>> = parts.iter().map(|(_, bias)| *bias).collect();
        let bias = biases.map(stack).transpose()?;
        return Ok(Projection::One(Linear::dense(weight, bias)?));
    }
    let quantized: Option<Vec<_>> = linears.iter().map(Linear::as_quantized).collect();
    match quantized {
        Some(parts) if parts.windows(2).all(|pair| pair[0].format() == pair[1].format()) => {
            let biases: Option<Vec<_>> = parts.iter().map(|part| part.bias.as_ref()).collect();
            Ok(Projection::One(Linear::Quantized(Quantized {
                weight: stack(parts.iter().map(|part| &part.weight))?,
                scales: stack(parts.iter().map(|part| &part.scales))?,
                offsets: stack(parts.iter().map(|part| &part.offsets))?,
                bias: biases.map(stack).transpose()?,
                bits: parts[0].bits,
                group_size: parts[0].group_size,
                blocks: None,
            })))
        }
        _ => Ok(Projection::Apart(linears)),
    }
}

fn stack<'a>(parts: impl IntoIterator<Item = &'a Array>) -> Mlx<Array> {
    concatenate(&parts.into_iter().collect::<Vec<_>>(), 0)
}
