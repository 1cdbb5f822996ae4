//! The memory that an engine uses, for its statistics. `budget` decides how much it may use.

use crate::executor::DeviceMemory;

use super::Engine;

/// Memory in use, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Weights that are loaded or being loaded.
    pub weights: u64,
    /// What is left for the weights of further models, if limited.
    pub left: Option<u64>,
    /// The memory that the device reports for all engines of this process; absent if it reports none.
    pub device: Option<DeviceMemory>,
}

impl Engine {
    /// The memory of all models, and of the device.
    pub fn memory(&self) -> MemoryUse {
        let (weights, left) = self.ledger.weights();
        MemoryUse { weights, left, device: self.backend.memory() }
    }
}
