//! CPU primitives for MLX that do in one step what its own operations compose.
//!
//! On MLX's CPU backend an operation costs about the same whatever its size, so a small model's speed is decided by how
//! many there are. A [`Chain`] is one node of the graph that does what all of a decoder's layers do, where MLX would have
//! hundreds. Owns the kernels of its [`Stage`]s: norms, gates, linear layers, whose weights are kept as [`PackedWeight`],
//! and attention over requests of different lengths, whose keys and values live in a [`KvStore`] and whose rows a [`Step`]
//! describes. [`checked`] says of tokens that were drawn whether their logits were numbers. Does not own sampling, or any
//! decision about which request runs. All arrays but tokens are `f32`; on a GPU stream evaluation is an error.
//!
//! A row's result depends on that row and its sequence's cache alone: it is the same to the bit alone, in a batch,
//! prefilled in one piece or in many.

mod chain;
mod checked;
mod ffi;
mod kv_store;
mod kv_update;
mod packed;
mod step;

pub use chain::{Chain, Stage};
pub use checked::{NO_TOKEN, checked};
pub use ffi::count_operations;
pub use kv_store::{KvShape, KvStore};
pub use kv_update::{KvMove, KvPlace, KvRead, KvUpdate};
pub use packed::PackedWeight;
pub use step::{Segment, Step};
