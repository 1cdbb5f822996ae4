//! Fused CPU primitives for MLX.
//!
//! On MLX's CPU backend an operation has about the same overhead whatever its size, so the number of operations limits the
//! speed of a small model. A [`Chain`] is one node of the graph for all layers of a decoder, where MLX would have hundreds.
//! Its [`Stage`]s are norms, gates, linear layers with a [`PackedWeight`], and attention over sequences of different lengths,
//! whose keys and values are in a [`KvStore`] and whose rows a [`Step`] describes. [`checked`] checks the logits of sampled
//! tokens. All arrays but tokens are `f32`. On a GPU stream evaluation is an error.
//!
//! The result of a row depends on that row and the cache of its sequence only. It is the same to the last bit alone, in a
//! batch, and with any split of its prompt.

mod chain;
mod checked;
mod device;
mod ffi;
mod kv_store;
mod kv_update;
mod packed;
mod step;

pub use chain::{Chain, Stage};
pub use checked::{NO_TOKEN, checked};
pub use device::gpu_working_set;
pub use ffi::count_operations;
pub use kv_store::{KvShape, KvStore};
pub use kv_update::{KvMove, KvPlace, KvRead, KvSlot, KvUpdate};
pub use packed::PackedWeight;
pub use step::{Segment, Step};
