//! What an engine is started with: the settings as far as they concern it.

use std::time::Duration;

use crate::config::Settings;

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

impl From<&Settings> for Config {
    fn from(settings: &Settings) -> Self {
        let Settings { scheduler, streaming, .. } = settings;
        Self {
            max_rows: if scheduler.enabled { scheduler.batch_size } else { 1 },
            max_pending: scheduler.max_queue,
            prefill_chunk: scheduler.prefill_chunk_tokens,
            buffer_tokens: streaming.buffer_tokens,
            park_timeout: streaming.park_timeout,
            text_budget: Duration::from_secs(5),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::from(&Settings::default())
    }
}
