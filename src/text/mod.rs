//! Everything about tokens and text of a model: tokenizer, chat template, incremental detokenizer, stop sequences, what
//! answers say besides text, and the guarded threads on which the slow parts run. Does not know what a request, a row or a
//! device is. A tokenizer and a template are programs from a stranger: here they meet limits, and a panic of theirs
//! becomes an error.

mod assemble;
mod chat;
mod control;
mod crew;
mod date;
mod encoder;
mod growth;
mod guide;
mod jinja;
mod model;
mod nesting;
mod pieces;
mod prefill;
mod size;
mod slices;
mod special;
mod speech;
mod stops;
mod stream;
mod template;
mod turns;
mod worker;

#[cfg(test)]
mod tests;

pub use chat::{Chat, Content, Message, PromptTemplate, SpecialTokens, ToolChoice};
pub use crew::{MAX_STUCK_JOBS, PoolLimits};
pub use guide::Structured;
pub use jinja::Rendered;
pub use model::ModelText;
pub use nesting::LOAD_STACK_BYTES;
pub use speech::{Call, CallDelta, Said, Speech, Splitter, Spoken};
pub use stops::{MAX_STOP_SEQUENCE_BYTES, MAX_STOP_SEQUENCES, validate_stop_sequences};
pub use stream::{StreamState, TextStream};
pub use turns::Load;
pub use worker::{Refused, TextPool};
