//! What an engine is started with, validated. The options as users write them are the binding's business.

use std::time::Duration;

/// Limits of an engine. Every one bounds something that would otherwise grow with the callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Rows of one step.
    pub max_rows: usize,
    /// Requests accepted and not ended; one more is `Overloaded`.
    pub max_pending: usize,
    /// Prompt tokens of one step, over all rows.
    pub prefill_chunk: usize,
    /// Tokens a stream may run ahead of its consumer before its row is parked.
    pub buffer_tokens: usize,
    /// How long a row stays parked before its reader gets `SlowConsumer`.
    pub park_timeout: Duration,
    /// How long the text of one request may keep the text thread.
    pub text_budget: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_rows: 16,
            max_pending: 1_024,
            prefill_chunk: 512,
            buffer_tokens: 256,
            park_timeout: Duration::from_mins(1),
            text_budget: Duration::from_secs(5),
        }
    }
}
