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

use crate::error::{Code, Error, Result};
use crate::host_kv::{KvBlock, KvLayout};
use crate::hub::ModelFolder;
use crate::request::SequenceId;
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

/// Positions by which the KV of a sequence grows. Larger blocks are allocated less often; smaller blocks waste less memory. The
/// simulated device uses the same number.
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

/// Memory of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceMemory {
    /// Arrays that are in use.
    pub active: u64,
    /// Freed buffers that are kept for reuse.
    pub cached: u64,
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

    /// Sets the limit of KV in bytes, including memory that is allocated ahead of need (see [`KvGrowth::spare_share`]).
    fn set_kv_bytes(&mut self, _bytes: u64) {}

    /// Bytes of KV held for all sequences, with all that is allocated ahead.
    fn kv_bytes(&self) -> u64;

    /// The layout of the blocks of [`export_kv`](Self::export_kv) and of [`Plan::import`]; `None` if the device has neither.
    fn kv_layout(&self) -> Option<KvLayout> {
        None
    }

    /// Copies a whole block of a sequence to the host, counted from 0. Called while no step is launched, and only for positions
    /// that were computed and that no layer has dropped. An error changes nothing.
    fn export_kv(&mut self, _sequence: SequenceId, _block: usize) -> Result<KvBlock> {
        Err(Error::new(Code::BackendError, "the device cannot copy KV to the host"))
    }
}

/// Makes an executor for each loaded model. Load threads share it.
pub trait Backend: Send + Sync {
    /// Bytes of weights that a model would keep in memory. Loads nothing. `free_bytes` is the memory that other models leave,
    /// if known.
    fn weight_bytes(&self, model: &ModelFolder, free_bytes: Option<u64>) -> Result<u64>;

    /// The memory of the device that is in use, by all engines of this process; `None` if the device does not count it. Any
    /// thread may call this.
    fn memory(&self) -> Option<DeviceMemory> {
        None
    }

    /// Prepares a thread that only loads models. It calls this before it prepares a model.
    fn enter_load_thread(&self) {}

    /// Reads and converts the weights of a model whose folder was validated. They take [`weight_bytes`](Self::weight_bytes) of
    /// memory. Runs on a load thread beside steps of other models, and ends soon with an error once `control` is aborted.
    fn prepare(&self, model: &ModelFolder, free_bytes: Option<u64>, control: &LoadControl)
    -> Result<Box<dyn Prepared>>;

    /// Loads a model completely on this thread. Only for a thread without other models: the load would delay their steps.
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

    /// The same model for another engine thread. Both have the same weights in memory. Called before
    /// [`advance`](Self::advance), on any thread.
    fn replica(&self) -> Result<Box<dyn Prepared>>;
}
