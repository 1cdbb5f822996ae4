//! Executors do what a plan says and decide nothing. `sim/` is a simulated device with the timing of a real one; `mlx/`
//! runs a model with MLX. Both are driven only by the engine thread, which is also where they are made and dropped.

mod guided;
pub mod sim;

#[cfg(feature = "mlx")]
pub mod mlx;
#[cfg(test)]
mod tests;

pub use guided::Guided;

use crate::error::Result;
use crate::hub::ModelFolder;
use crate::scheduler::plan::{KvGrowth, Overlap, Plan, StepOutput};

/// What the scheduler must know of a loaded model and its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Positions a sequence may occupy, prompt and answer together.
    pub context_length: usize,
    /// Token ids are below this; it is the number of embedding rows.
    pub vocab_size: usize,
    /// What it takes while it runs a step.
    pub overlap: Overlap,
    /// Bytes of weights that stay resident.
    pub weight_bytes: u64,
    /// What sequences take of its memory.
    pub kv: KvUnit,
    /// What computes, and how. Cached answers are given only to requests of the same device.
    pub device: &'static str,
    /// Element type of activations and KV: `float32`, `float16` or `bfloat16`; `simulated` where nothing is computed.
    pub compute_type: &'static str,
}

/// What the KV of a sequence takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvUnit {
    /// Bytes of one position in all layers.
    pub bytes_per_position: u64,
    /// Positions of a block.
    pub block: usize,
    /// How blocks are added, and which layers stop growing.
    pub growth: KvGrowth,
}

/// A loaded model on a device.
///
/// Not `Send`: an executor lives and dies on the engine thread, and so does every device array it holds.
pub trait Executor {
    /// What the scheduler must know.
    fn limits(&self) -> Limits;

    /// Builds and launches a step. Steps run in the order submitted.
    ///
    /// An error means that the step did not happen; the engine then calls [`reset`](Self::reset).
    fn submit(&mut self, plan: &Plan) -> Result<()>;

    /// Waits for the oldest launched step and reads its tokens. Called once a submitted step.
    fn collect(&mut self) -> Result<StepOutput>;

    /// Drops every sequence and every launched step, after a failure. The model stays loaded.
    fn reset(&mut self) -> Result<()>;

    /// Bytes of KV held for all sequences.
    fn kv_bytes(&self) -> u64;
}

/// Makes executors: one a loaded model. Called on the engine thread.
pub trait Backend: Send {
    /// Bytes of weights that a model would keep resident. Nothing is loaded. `free_bytes` is what other models leave of the
    /// memory, where that is known.
    fn weight_bytes(&self, model: &ModelFolder, free_bytes: Option<u64>) -> Result<u64>;

    /// Loads a model whose folder has been read and validated, in the form in which it takes [`weight_bytes`](Self::weight_bytes).
    fn open(&mut self, model: &ModelFolder, free_bytes: Option<u64>) -> Result<Box<dyn Executor>>;
}
