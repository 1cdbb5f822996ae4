//! Runs models with MLX: Metal on Apple silicon, the CPU elsewhere. The only room that names `mlx_rs`. Everything in it
//! lives on the thread that calls [`Backend::open`]: MLX's default streams belong to threads.
//!
//! In reading order: `streams` (where work runs, and the wait for its end), `spec` (what a model is), `families` (how it is
//! read from `config.json`), `tensors` and `inventory` (which tensors that takes), `precision` (what is computed in),
//! `weights`, `linear` and `moe` (tensors on the device), `batch_invariant` (products whose bits do not depend on the batch), `decoder` and `layer` (the
//! transformer), `chained` (the same as two operations), `attention` (KV), `sampler`, `sequences` (checking plans), `feed` (a
//! step's tokens), `executor`.

mod activation;
mod attention;
mod batch_invariant;
mod blas;
mod chained;
mod config;
mod decoder;
mod dense_mlp;
mod executor;
mod failure;
mod families;
mod feed;
mod inventory;
mod layer;
mod linear;
mod logits_processors;
mod logprobs;
mod mask;
mod mlp;
mod moe;
mod norm;
mod packed;
mod precision;
mod quantization;
mod rows;
mod sampler;
mod sequences;
mod spec;
mod streams;
mod tensor_names;
mod tensors;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::VecDeque;

use mlx_rs::{DeviceType, Dtype, with_stream};

pub use self::executor::MlxExecutor;

use self::attention::Grouping;
use self::decoder::Decoder;
use self::failure::{device_error, unreadable_weights};
use self::precision::Compute;
use self::sampler::Sampler;
use self::sequences::Sequences;
use self::spec::ModelSpec;
use self::streams::Streams;
use self::weights::Weights;
use super::{Backend, Executor, Limits};
use crate::config::Precision;
use crate::error::Result;
use crate::hub::ModelFolder;
use crate::scheduler::plan::Overlap;

/// Which of the two implementations of attention runs.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttentionKind {
    /// Fused where it exists, which is f32 on the CPU; composed otherwise.
    #[default]
    Auto,
    /// Out of MLX's own operations, as on Metal.
    Composed,
}

/// Opens models on MLX's default device.
#[derive(Debug, Default)]
pub struct MlxBackend {
    attention: AttentionKind,
    is_deterministic: bool,
    precision: Precision,
    free_bytes: Option<u64>,
}

impl MlxBackend {
    /// A backend that computes in each model's own precision. Touches no device before a model is opened.
    ///
    /// What MLX sets up at its first use is torn down at exit. On the CPU that includes its allocator, which is therefore used
    /// here: whoever registers from now on to stop the engine at exit comes before. On Metal it stays.
    pub fn new() -> Result<Self> {
        #[cfg(not(target_os = "macos"))]
        mlx_rs::memory::active_memory().map_err(|error| device_error("preparing memory", error))?;
        Ok(Self::default().precision(Precision::Model, None))
    }

    /// Carries out every product of weights in shapes that give a row the same bits, so that its result does not depend
    /// on who else is in a step. Which these are is measured while a model is loaded. Costs most where few rows run.
    #[must_use]
    pub fn deterministic(self, is_deterministic: bool) -> Self {
        Self { is_deterministic, ..self }
    }

    /// What models are computed in. `free_bytes` is memory that no model takes, until [`Backend::open`] says it: a CPU
    /// dequantizes weights only if they take at most half of it then.
    #[must_use]
    pub fn precision(self, precision: Precision, free_bytes: Option<u64>) -> Self {
        Self { precision, free_bytes, ..self }
    }

    /// Chooses the attention, so that tests can run on one device what another one runs.
    #[doc(hidden)]
    #[must_use]
    pub fn with_attention(self, attention: AttentionKind) -> Self {
        Self { attention, ..self }
    }

    /// Opens a model as the type it is, for tests that look inside.
    #[doc(hidden)]
    pub fn open_mlx(&mut self, folder: &ModelFolder) -> Result<MlxExecutor> {
        let model = described(folder)?;
        let (streams, kind) = Streams::open()?;
        blas::use_one_thread();
        let opened = with_stream(&streams.steps.clone(), || self.load(&model, folder, streams, kind));
        // Bytes were read until now. A file that changed in the meantime also explains an error better than the error does.
        folder.check_unchanged()?;
        opened.map_err(|error| unreadable_weights(folder, error))
    }

    fn compute(&self, model: &ModelSpec, folder: &ModelFolder, on_cpu: bool) -> Compute {
        Compute::choose(self.precision, on_cpu, precision::dense_bytes(model, folder), self.free_bytes)
    }

    fn load(&self, model: &ModelSpec, folder: &ModelFolder, streams: Streams, kind: DeviceType) -> Result<MlxExecutor> {
        let on_cpu = matches!(kind, DeviceType::Cpu);
        let compute = self.compute(model, folder, on_cpu);
        let weights = Weights::open(model, folder, &streams.files, compute)?;
        let dtype = weights.dtype();
        let specs = model.attention();
        let is_f32_on_cpu = on_cpu && dtype == Dtype::Float32;
        let is_fused = self.attention == AttentionKind::Auto && is_f32_on_cpu && attention::can_fuse(&specs);
        let mut weights = weights.batch_invariant(self.is_deterministic).for_cpu(on_cpu);
        let (decoder, attention): (_, Box<dyn attention::Attention>) = if is_fused {
            let attention = attention::Fused::new(&specs, model.context_length)
                .map_err(|error| device_error("preparing attention", error))?;
            let is_dense = model.quantization.is_none() || compute == Compute::Dense;
            let decoder = if is_dense && chained::can_chain(model) {
                Decoder::load_chained(model, &mut weights, &attention)?
            } else {
                Decoder::load(model, &mut weights)?
            };
            (decoder, Box::new(attention))
        } else {
            let grouping = if self.is_deterministic { Grouping::Single } else { Grouping::Neighbours };
            let attention = attention::Composed::new(&specs, dtype, grouping)
                .map_err(|error| device_error("preparing attention", error))?;
            (Decoder::load(model, &mut weights)?, Box::new(attention))
        };
        let kv = attention.unit();
        #[allow(clippy::cast_sign_loss)] // range-checked when the description was read
        let limits = Limits {
            context_length: model.context_length as usize,
            vocab_size: model.vocab as usize,
            overlap: if decoder.is_chained() { Overlap::Whole } else { Overlap::Bounded },
            weight_bytes: compute.weight_bytes(model, folder),
            device: name_of(on_cpu, self.is_deterministic, compute),
            compute_type: precision::name_of(dtype),
            kv,
        };
        Ok(MlxExecutor {
            decoder,
            attention,
            sampler: Sampler::new(model.vocab).on_cpu(on_cpu && self.attention == AttentionKind::Auto),
            sequences: Sequences::default(),
            launched: VecDeque::new(),
            limits,
            streams,
            steps: 0,
        })
    }
}

/// Results may differ in the last bit between these, and with them answers.
fn name_of(on_cpu: bool, is_deterministic: bool, compute: Compute) -> &'static str {
    match (on_cpu, is_deterministic, compute) {
        (true, false, Compute::AsStored) => "mlx, CPU, as stored",
        (true, false, Compute::Float32) => "mlx, CPU, float32, quantized",
        (true, false, Compute::Dense) => "mlx, CPU",
        (true, true, Compute::AsStored) => "mlx, CPU, as stored, deterministic",
        (true, true, Compute::Float32) => "mlx, CPU, float32, quantized, deterministic",
        (true, true, Compute::Dense) => "mlx, CPU, deterministic",
        (false, false, _) => "mlx, GPU",
        (false, true, _) => "mlx, GPU, deterministic",
    }
}

/// What a folder holds, checked.
fn described(folder: &ModelFolder) -> Result<ModelSpec> {
    let mut model = families::read(&folder.config)?;
    inventory::untie_stored_head(&mut model, folder);
    inventory::check(&model, folder)?;
    Ok(model)
}

impl Backend for MlxBackend {
    fn weight_bytes(&self, folder: &ModelFolder, free_bytes: Option<u64>) -> Result<u64> {
        let model = described(folder)?;
        let on_cpu = matches!(streams::device()?, DeviceType::Cpu);
        let free = Self { free_bytes, ..*self };
        Ok(free.compute(&model, folder, on_cpu).weight_bytes(&model, folder))
    }

    fn open(&mut self, model: &ModelFolder, free_bytes: Option<u64>) -> Result<Box<dyn Executor>> {
        self.free_bytes = free_bytes;
        Ok(Box::new(self.open_mlx(model)?))
    }
}
