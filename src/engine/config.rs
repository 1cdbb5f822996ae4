//! What an engine is started with, validated. The options as users write them are the binding's business.

use std::time::Duration;

use crate::executor::Limits;
use crate::scheduler::{self, KvLimit};

/// Limits of an engine. Every one bounds something that would otherwise grow with the callers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// How each model's scheduler decides. What it says of KV is filled in for each model.
    pub scheduler: scheduler::Config,
    /// Bytes of KV that the sequences of a model may hold; derived from `memory_bytes` where it is absent.
    pub kv_bytes: Option<u64>,
    /// Bytes of memory that the process may use; absent means that nobody knows, and then nothing limits KV.
    pub memory_bytes: Option<u64>,
    /// Requests accepted and not ended; one more is `Overloaded`.
    pub max_pending: usize,
    /// Prompt tokens of accepted requests; a request beyond them is `Overloaded`, unless it is the only one.
    pub max_pending_tokens: usize,
    /// Tokens a stream may run ahead of its consumer before its row is parked.
    pub buffer_tokens: usize,
    /// How long the text of one request may keep the text thread.
    pub text_budget: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler: scheduler::Config::default(),
            kv_bytes: None,
            memory_bytes: None,
            max_pending: 1_024,
            max_pending_tokens: 4_194_304,
            buffer_tokens: 256,
            text_budget: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// What a model's sequences may hold. A quarter of the memory is left to the process and the system; a model that
    /// takes nearly all of the rest still gets an eighth.
    pub(super) fn kv_limit(&self, limits: Limits) -> Option<KvLimit> {
        let derived = |memory: u64| (memory / 4 * 3).saturating_sub(limits.weight_bytes).max(memory / 8);
        let bytes = self.kv_bytes.or(self.memory_bytes.map(derived))?;
        let bytes_per_position = limits.kv.bytes_per_position;
        (bytes_per_position > 0).then_some(KvLimit { bytes, bytes_per_position, block: limits.kv.block })
    }
}
