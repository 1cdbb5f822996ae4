//! What a generation says, and who reads it. A generation appends to one [`AnswerLog`]; any number of readers follow it,
//! each at its own pace. The engine thread is the only writer; readers drain on another thread.

mod log;
mod readers;
#[cfg(test)]
mod tests;

pub use log::{AnswerLog, End};
pub use readers::{Backlog, Delivery, ReaderId, Readers, Wake};
