//! Answers and their readers; identical requests share one answer. A generation appends to one [`AnswerLog`], which any
//! number of readers follow, each at its own speed. Identical requests join a running generation, or get its cached answer
//! after the end.
//!
//! Two requests are identical if they have the same [`Key`]. The engine thread knows the running generations and their
//! readers; any thread may look up cached answers. Only the engine thread writes to the log of a running generation.
//! Readers are drained on another thread.

mod cache;
mod file;
mod key;
mod log;
mod reader;
mod readers;
mod saving;
mod store;
mod summary;
#[cfg(test)]
mod tests;

/// Synchronization between the engine thread and the draining thread.
#[cfg(not(feature = "loom"))]
mod sync {
    pub(super) use std::sync::atomic::AtomicBool;
    pub(super) use std::sync::{Mutex, MutexGuard};
}

/// The same, modelled by loom, which runs every interleaving.
#[cfg(feature = "loom")]
mod sync {
    pub(super) use loom::sync::atomic::AtomicBool;
    pub(super) use loom::sync::{Mutex, MutexGuard};
}

pub use crate::config::{Cache as Settings, Coalescing, Dedup, PromptCache};
pub use cache::{AnswerCache, CacheOutcome, CachedAnswer, Counts, LayerCounts};
pub use key::{Claim, Fingerprint, Key, Terms};
pub use log::{AnswerLog, Begun, Close, Finished, Logprobs, Stamps};
pub use reader::{Delivery, End, PromptReady, ReaderId, Restart, Spent, Stage, Wanted};
pub use readers::{Backlog, Readers, Wake};
pub use saving::Saving;
