//! Executors run the steps that a plan describes, and decide nothing. `sim/` is a simulated device with the timing of a real
//! one; `mlx/` runs a model with MLX. The engine thread makes, drives and drops them.

mod constraint_state;
mod load;
pub mod sim;

#[cfg(feature = "mlx")]
pub mod mlx;
#[cfg(test)]
mod tests;

pub use constraint_state::ConstraintState;
pub use load::{LoadControl, LoadProgress};

use crate::error::Result;
use crate::hub::ModelFolder;
use crate::scheduler::plan::{KvGrowth, Overlap, Plan, StepOutput};

/// Limits of a loaded model and its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most positions of a sequence, prompt and answer together.
    pub context_length: usize,
    /// Token ids are below this; it is the number of embedding rows.
    pub vocab_size: usize,
    /// Which further steps the device accepts while it runs one.
    pub overlap: Overlap,
    /// Bytes of weights that stay resident.
    pub weight_bytes: u64,
    /// Memory of the KV of sequences.
    pub kv: KvUnit,
    /// Names the device and its method of computation. Cached answers are valid only for the same name.
    pub device: &'static str,
    /// Element type of activations and KV: `float32`, `float16` or `bfloat16`; `simulated` for the simulated device.
    pub compute_type: &'static str,
}

/// Positions by which the KV of a sequence grows: seldom enough to be free, small enough not to waste memory. The simulated
/// device grows it alike.
const KV_BLOCK: usize = 256;

/// Memory of the KV of a sequence.
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
/// Not `Send`: the engine thread makes and drops an executor. A load thread computes its weights; all other arrays belong to
/// streams of the engine thread.
pub trait Executor {
    /// Limits of the model and the device.
    fn limits(&self) -> Limits;

    /// Builds and launches a step. Steps run in the order in which they are submitted.
    ///
    /// After an error the step has not run, and the engine calls [`reset`](Self::reset).
    fn submit(&mut self, plan: &Plan) -> Result<()>;

    /// Waits for the oldest launched step and reads its tokens. Called once per submitted step.
    fn collect(&mut self) -> Result<StepOutput>;

    /// Drops every sequence and every launched step, after a failure. The model stays loaded.
    fn reset(&mut self) -> Result<()>;

    /// Sets what KV may take, with all that is allocated ahead of need: the part that [`KvUnit`] names.
    fn set_kv_bytes(&mut self, _bytes: u64) {}

    /// Bytes of KV held for all sequences, with all that is allocated ahead.
    fn kv_bytes(&self) -> u64;
}

/// Makes an executor for each loaded model. Load threads share it.
pub trait Backend: Send + Sync {
    /// Bytes of weights that a model would keep in memory. Loads nothing. `free_bytes` is the memory that other models leave,
    /// if known.
    fn weight_bytes(&self, model: &ModelFolder, free_bytes: Option<u64>) -> Result<u64>;

    /// Prepares a thread that only loads models. It calls this before it prepares a model.
    fn enter_load_thread(&self) {}

    /// Reads and converts the weights of a model whose folder was validated, in the form in which they take
    /// [`weight_bytes`](Self::weight_bytes). Runs on a load thread beside steps of other models, and ends soon with an error
    /// once `control` is aborted.
    fn prepare(&self, model: &ModelFolder, free_bytes: Option<u64>, control: &LoadControl)
    -> Result<Box<dyn Prepared>>;

    /// Loads a model on this thread, where no other model waits for its next step.
    fn open(&self, model: &ModelFolder, free_bytes: Option<u64>) -> Result<Box<dyn Executor>> {
        let mut prepared = self.prepare(model, free_bytes, &LoadControl::default())?;
        loop {
            if let Some(executor) = prepared.advance()? {
                return Ok(executor);
            }
        }
    }
}

/// A model whose weights were read, before the engine thread opens it. Dropping it releases what it holds, on any thread.
pub trait Prepared: Send {
    /// Does the next part of the work that only the engine thread can do, in a few milliseconds at most. The last part returns
    /// the executor. It is not called again after that or after an error.
    fn advance(&mut self) -> Result<Option<Box<dyn Executor>>>;
}
