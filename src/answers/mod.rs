//! The same work is not done twice. A generation appends to one [`AnswerLog`] that any number of readers follow, each at
//! its own pace. While it runs, identical requests join its readers; after it ended well they are given its log again.
//!
//! What is identical is decided by a [`Key`]. Who runs, and who reads what runs, is the engine thread's to know; ended
//! answers are kept here and may be asked for on any thread. The engine thread is a log's only writer; readers drain on
//! another thread.

mod file;
mod kept;
mod key;
mod log;
mod readers;
mod saving;
mod store;
mod summary;
#[cfg(test)]
mod tests;

/// What the engine thread and the draining thread meet at.
#[cfg(not(feature = "loom"))]
mod sync {
    pub(super) use std::sync::atomic::AtomicBool;
    pub(super) use std::sync::{Mutex, MutexGuard};
}

/// The same, in every order in which they can meet.
#[cfg(feature = "loom")]
mod sync {
    pub(super) use loom::sync::atomic::AtomicBool;
    pub(super) use loom::sync::{Mutex, MutexGuard};
}

pub use crate::config::{Cache as Settings, Coalescing, Dedup, PromptCache};
pub use kept::{Answers, Counts, Found, LayerCounts, Way};
pub use key::{Claim, Fingerprint, Key, Terms};
pub use log::{AnswerLog, Close, Finished, Logprobs, Stamps};
pub use readers::{Backlog, Delivery, End, ReaderId, Readers, Wake};
pub use saving::Saving;
