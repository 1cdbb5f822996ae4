#[cfg(not(feature = "loom"))]
mod keys;
#[cfg(not(feature = "loom"))]
mod readers;
#[cfg(not(feature = "loom"))]
mod saving;
#[cfg(not(feature = "loom"))]
mod sharing;
#[cfg(not(feature = "loom"))]
mod store;
#[cfg(feature = "loom")]
mod threads;

use super::{AnswerLog, Finished, Stamps};
use crate::request::{FinishReason, RequestId};

fn finished() -> Finished {
    let (finish_reason, stamps) = (FinishReason::Stop, Stamps::default());
    Finished { finish_reason, num_input_tokens: 3, num_cached_tokens: 0, seed: 0, stamps }
}

fn log(origin: &str) -> AnswerLog {
    AnswerLog::new(RequestId(origin.into()))
}
