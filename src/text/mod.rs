//! Tokens and text of a model: tokenizer, chat template, incremental detokenizer, stop sequences, the parsers of
//! reasoning and tool calls, the compiler of structured output, and the threads on which slow text work runs. Knows no
//! requests, rows or devices. A model's tokenizer and template are not trusted: their cost is limited, and a panic in
//! them is an error.

mod capabilities;
mod chat;
mod chat_templates;
mod constraint;
mod control;
mod date;
mod detokenizer;
mod encoder;
mod failure;
mod growth;
mod jinja;
mod jobs;
mod model;
mod nesting;
mod output;
mod pool;
mod pool_state;
mod prefill;
mod reasoning;
mod size;
mod slices;
mod special;
mod stops;
mod stream;
mod template;
mod token_table;
mod tool_calls;
mod tool_prompt;
mod writing;

#[cfg(test)]
mod tests;

pub use capabilities::TextCapabilities;
pub use chat::{Chat, Content, Message, PromptTemplate, SpecialTokens, ToolChoice};
pub use chat_templates::TextOptions;
pub use constraint::StructuredOutput;
pub use jinja::Rendered;
pub use jobs::Load;
pub use model::{ExpectedAnswer, ModelText};
pub use nesting::LOAD_STACK_BYTES;
pub use output::{
    AnswerParts, OutputParser, ParsedDelta, ParsedOutput, ParsedPart, StreamingParser, ToolCall, ToolCallDelta,
    Unwritable,
};
pub use pool::{Refused, TextPool};
pub use pool_state::{MAX_STUCK_JOBS, PoolLimits};
pub use stops::{MAX_STOP_SEQUENCE_BYTES, MAX_STOP_SEQUENCES, validate_stop_sequences};
pub use stream::{StreamState, TextStream};
pub use token_table::TokenSpelling;
pub use tool_prompt::ToolPrompt;
