//! Parses the output of a model into text, reasoning and tool calls. `format` finds the formats of reasoning and calls in
//! the chat template; `streaming` parses an answer while it arrives; `parsed` holds the results; `writer` writes an
//! answer in the same format. Answers are stored as they were generated, and each reader parses them for itself.

mod format;
mod parsed;
mod streaming;
mod writer;

#[cfg(test)]
mod tests;

pub(super) use format::OutputFormat;
pub use parsed::{ParsedDelta, ParsedOutput, ParsedPart, ToolCall, ToolCallDelta};
pub use streaming::{OutputParser, StreamingParser};
pub(super) use writer::write;
pub use writer::{AnswerParts, Unwritable};
