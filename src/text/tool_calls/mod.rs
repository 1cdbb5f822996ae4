//! Tool calls as models write them: `format` lists the formats, `parser` reads calls, `writer` writes them, `grammar`
//! enforces calls that a request demands. `output` applies parser and writer to answers.

mod format;
mod grammar;
mod json_call;
mod notation;
mod parser;
mod string;
mod value;
mod writer;

#[cfg(test)]
pub(super) use format::CallSyntax;
pub(super) use format::{CALL_END_TOKENS, ToolCallFormat};
pub(super) use grammar::{EnforcedCalls, grammar};
pub(super) use json_call::PartialCall;
pub(super) use parser::{CallProgress, ToolCallParser};
