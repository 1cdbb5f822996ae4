//! The memory of an engine as a plain object. `lib/native.ts` declares its type.

use napi_derive::napi;

use crate::engine::MemoryUse;

/// Memory in use, in bytes.
#[allow(clippy::struct_field_names, reason = "JavaScript has the same names")]
#[napi(object)]
pub struct NativeMemoryStats {
    /// Weights that are loaded or being loaded.
    pub weight_bytes: f64,
    /// What is left for further weights, if limited.
    pub free_weight_bytes: Option<f64>,
    /// Arrays on the device, if it counts them.
    pub device_bytes: Option<f64>,
    /// Freed buffers that the device keeps, if it counts them.
    pub device_cached_bytes: Option<f64>,
}

impl From<MemoryUse> for NativeMemoryStats {
    fn from(MemoryUse { weights, left, device }: MemoryUse) -> Self {
        Self {
            weight_bytes: weights as f64,
            free_weight_bytes: left.map(|bytes| bytes as f64),
            device_bytes: device.map(|device| device.active as f64),
            device_cached_bytes: device.map(|device| device.cached as f64),
        }
    }
}
