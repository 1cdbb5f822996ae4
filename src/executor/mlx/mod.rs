//! Runs models with MLX: Metal on Apple silicon, the CPU elsewhere. This is the only module that uses `mlx_rs`. A model runs on
//! the thread that makes its executor: MLX's default streams belong to threads. A load thread reads its weights (`loading`).
//!
//! In reading order: `streams` (MLX's streams), `spec` (the description of a model), `families` (reads it from `config.json`),
//! `tensors` and `inventory` (the tensors of a model), `precision` (the element type), `loading`, `weights`, `linear` and `moe`
//! (tensors on the device), `batch_invariant` (products whose bits do not depend on the batch), `decoder` and `layer` (the
//! transformer), `chained` (the transformer as two operations), `attention` (KV), `sampler`, `sequences` (checks plans), `feed`
//! (the tokens that a step feeds), `sampling` (those that it samples), `executor`.

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
mod loading;
mod logits_processors;
mod logprobs;
mod mask;
mod mlp;
mod moe;
mod norm;
mod packed;
mod precision;
#[cfg(target_os = "linux")]
mod priority;
mod quantization;
mod rows;
mod sampler;
mod sampling;
mod sequences;
mod spec;
mod streams;
mod tensor_names;
mod tensors;
#[cfg(test)]
mod tests;
mod weights;

use mlx_rs::{DeviceType, memory};

pub use self::executor::MlxExecutor;

use self::failure::device_error;
use self::precision::Compute;
use self::spec::ModelSpec;
use super::{Backend, DeviceMemory, LoadControl, Prepared};
use crate::config::Precision;
use crate::error::Result;
use crate::hub::ModelFolder;

/// Selects the implementation of attention.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttentionKind {
    /// Fused if it supports the model (float32 on the CPU), composed otherwise.
    #[default]
    Auto,
    /// Composed of MLX's operations, as on Metal.
    Composed,
}

/// The part of the memory that MLX may keep in buffers for reuse, as a divisor.
const CACHE_SHARE: u64 = 32;

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
    /// MLX's allocator for the CPU is torn down at exit, if it was used. It is used here for the first time, so that exit
    /// handlers that are registered later, such as the one that stops the engine, run before that. On Metal the allocator is
    /// never torn down.
    pub fn new() -> Result<Self> {
        #[cfg(not(target_os = "macos"))]
        mlx_rs::memory::active_memory().map_err(|error| device_error("preparing memory", error))?;
        // Metal keeps this much resident, so that weights and KV need not be made resident for each step. macOS before 15
        // cannot, and everything works without.
        if let Some(bytes) = Self::working_set().and_then(|bytes| usize::try_from(bytes).ok()) {
            memory::set_wired_limit(bytes).ok();
        }
        Ok(Self::default().precision(Precision::Model, None))
    }

    /// The bytes that the GPU can use at a time without a loss of speed; `None` without a GPU, or if it does not say.
    pub fn working_set() -> Option<u64> {
        mlx_ops::gpu_working_set()
    }

    /// Makes every product with weights batch-invariant, so that a row's result does not depend on the other rows of a step.
    /// The block sizes are measured while a model is loaded. It costs most in steps with few rows.
    #[must_use]
    pub fn deterministic(self, is_deterministic: bool) -> Self {
        Self { is_deterministic, ..self }
    }

    /// Sets the precision of models. `free_bytes` is the free memory until [`Backend::open`] gives it: on a CPU, weights are
    /// dequantized only if they take at most half of it.
    #[must_use]
    pub fn precision(self, precision: Precision, free_bytes: Option<u64>) -> Self {
        Self { precision, free_bytes, ..self }
    }

    /// Limits the buffers that MLX keeps for reuse to a thirty-second of `memory_bytes`, and to MLX's own limit. On a CPU MLX's
    /// limit is 32 MB; on Metal MLX would keep more than fits the GPU. The limit applies to the process: the last engine sets it.
    pub fn bound_buffer_cache(self, memory_bytes: Option<u64>) -> Result<Self> {
        let share = memory_bytes.and_then(|bytes| usize::try_from(bytes / CACHE_SHARE).ok());
        let bound = |bytes: usize| {
            let own = memory::set_cache_limit(bytes)?;
            if own < bytes { memory::set_cache_limit(own).map(drop) } else { Ok(()) }
        };
        share.map_or(Ok(()), bound).map_err(|error| device_error("preparing memory", error))?;
        Ok(self)
    }

    /// Selects the attention, so that tests on one device can run the attention of another.
    #[doc(hidden)]
    #[must_use]
    pub fn with_attention(self, attention: AttentionKind) -> Self {
        Self { attention, ..self }
    }

    /// Opens a model as [`MlxExecutor`], for tests.
    #[doc(hidden)]
    pub fn open_mlx(&self, folder: &ModelFolder) -> Result<MlxExecutor> {
        self.prepare_model(folder, &LoadControl::default())?.into_executor()
    }

    fn compute(&self, model: &ModelSpec, folder: &ModelFolder, on_cpu: bool) -> Compute {
        Compute::choose(self.precision, on_cpu, precision::dense_bytes(model, folder), self.free_bytes)
    }

    /// Whether attention is one operation per layer.
    fn is_fused(&self, model: &ModelSpec, is_float32_on_cpu: bool) -> bool {
        self.attention == AttentionKind::Auto && is_float32_on_cpu && attention::can_fuse(&model.attention())
    }

    /// Bytes of the weights on the device.
    fn resident_bytes(&self, model: &ModelSpec, folder: &ModelFolder, on_cpu: bool) -> u64 {
        let compute = self.compute(model, folder, on_cpu);
        let is_fused = self.is_fused(model, on_cpu && compute.is_float32(model, folder));
        let is_chained = is_fused && compute.is_dense(model) && chained::can_chain(model);
        compute.weight_bytes(model, folder) + if is_chained { chained::second_head_bytes(model) } else { 0 }
    }
}

/// The name of the device and method of computation. Answers may differ between two names, because results may differ in the
/// last bit.
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

/// The checked spec of a folder's model.
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
        Ok(free.resident_bytes(&model, folder, on_cpu))
    }

    fn memory(&self) -> Option<DeviceMemory> {
        let (active, cached) = (memory::active_memory().ok()?, memory::cache_memory().ok()?);
        Some(DeviceMemory { active: active as u64, cached: cached as u64 })
    }

    #[cfg(target_os = "linux")]
    fn enter_load_thread(&self) {
        // Without the permission for this, the load runs at the priority of steps.
        priority::lower().ok();
    }

    fn prepare(
        &self,
        model: &ModelFolder,
        free_bytes: Option<u64>,
        control: &LoadControl,
    ) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(Self { free_bytes, ..*self }.prepare_model(model, control)?))
    }
}
