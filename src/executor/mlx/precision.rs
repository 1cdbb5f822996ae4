//! Decides the element type in which a model is computed, and how many bytes its weights take in it. CPUs have no fast
//! arithmetic for half precision or quantized weights: a quantized model with half-precision scales runs hundreds of times
//! slower there than the same model in float32. So on a CPU models are computed in float32, and quantized weights are
//! dequantized if there is memory for them. `weights` loads what is decided here.

use mlx_rs::Dtype;
use safetensors::Dtype as Stored;

use super::spec::ModelSpec;
use crate::config::Precision;
use crate::hub::ModelFolder;

/// The form in which the weights of a model are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compute {
    /// In the model's own element type; quantized weights stay quantized.
    AsStored,
    /// In float32; quantized weights stay quantized, their scales become float32.
    Float32,
    /// In float32, with every quantized weight dequantized.
    Dense,
}

impl Compute {
    /// Chooses the form for the option `precision`. `free_bytes` is the memory that other models leave; dequantized weights
    /// may take half of it.
    pub(super) fn choose(precision: Precision, on_cpu: bool, dense_bytes: u64, free_bytes: Option<u64>) -> Self {
        match precision {
            Precision::Model => Self::AsStored,
            Precision::Auto if !on_cpu => Self::AsStored,
            Precision::Auto if free_bytes.is_none_or(|free| dense_bytes <= free / 2) => Self::Dense,
            Precision::Auto => Self::Float32,
        }
    }

    /// Whether activations are float32: unless they are as stored, which the embedding decides.
    pub(super) fn is_float32(self, model: &ModelSpec, folder: &ModelFolder) -> bool {
        let embedding = model.names.embedding;
        let suffix = if model.quantization_of(folder, embedding).is_some() { "scales" } else { "weight" };
        let stored = folder.tensors.get(&format!("{embedding}.{suffix}")).map(|tensor| tensor.dtype);
        self != Self::AsStored || stored == Some(Stored::F32)
    }

    /// Whether no weight stays quantized.
    pub(super) fn is_dense(self, model: &ModelSpec) -> bool {
        self == Self::Dense || model.quantization.is_none()
    }

    /// Bytes of the weights on the device.
    pub(super) fn weight_bytes(self, model: &ModelSpec, folder: &ModelFolder) -> u64 {
        match self {
            Self::AsStored => folder.weight_bytes,
            Self::Dense => dense_bytes(model, folder),
            Self::Float32 => folder.tensors.values().map(|tensor| size(tensor.dtype) * count(&tensor.shape)).sum(),
        }
    }
}

/// Bytes of all weights in float32, with quantized weights dequantized.
pub(super) fn dense_bytes(model: &ModelSpec, folder: &ModelFolder) -> u64 {
    let numbers = folder.tensors.iter().map(|(name, tensor)| match name.rsplit_once('.') {
        Some((path, "weight")) => match model.quantization_of(folder, path) {
            Some(affine) => count(&tensor.shape) * 32 / u64::from(affine.bits.unsigned_abs()),
            None => count(&tensor.shape),
        },
        Some((path, "scales" | "biases")) if model.quantization_of(folder, path).is_some() => 0,
        _ => count(&tensor.shape),
    });
    numbers.fold(0, |sum, numbers| sum.saturating_add(numbers.saturating_mul(4)))
}

/// Bytes of an element with floats as float32. Packed codes of quantized weights are u32 words, also 4 bytes.
fn size(stored: Stored) -> u64 {
    if stored == Stored::F64 { 8 } else { 4 }
}

fn count(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |product, len| product.saturating_mul(*len as u64))
}

/// The name of an element type of activations.
pub(super) fn name_of(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Float16 => "float16",
        Dtype::Bfloat16 => "bfloat16",
        _ => "float32",
    }
}
