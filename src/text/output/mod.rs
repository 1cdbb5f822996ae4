//! Parses the output of a model into text, reasoning and tool calls. `format` says what a model writes, by its chat
//! template; `streaming` parses an answer while it arrives; `parsed` holds the results. Answers are stored as they were
//! generated, and each reader parses them for itself.

mod format;
mod parsed;
mod streaming;

#[cfg(test)]
mod tests;

pub(super) use format::OutputFormat;
pub use parsed::{ParsedDelta, ParsedOutput, ToolCall, ToolCallDelta};
pub use streaming::{OutputParser, StreamingParser};
