//! CPU primitives for MLX that do in one step what its own operations compose.
//!
//! On MLX's CPU backend an operation costs about the same whatever its size, so a small model's speed is decided by how
//! many there are. Each function here is one node of the graph where MLX would have from three to a few hundred.
//! Owns: [`rms_norm`], [`add_rms_norm`], [`swiglu`]; linear layers, whose weights are kept as [`PackedWeight`]; and
//! attention over requests of different lengths, whose keys and values live in a [`KvStore`] and whose rows a [`Step`]
//! describes. Does not own sampling, or any decision about which request runs. All arrays are `f32`; on a GPU stream
//! evaluation is an error.
//!
//! A row's result depends on that row and its sequence's cache alone: it is the same to the bit alone, in a batch,
//! prefilled in one piece or in many.

mod ffi;
mod kv_store;
mod linear;
mod rows;
mod step;

pub use kv_store::{KvShape, KvStore};
pub use linear::PackedWeight;
pub use rows::{add_rms_norm, rms_norm, swiglu};
pub use step::{AttentionLayer, Segment, Step};
