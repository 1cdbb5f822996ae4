//! The KV of a runner's sequences: how much it may take, and how much it takes.

use super::super::budget::Holding;
use super::ModelRunner;

impl ModelRunner {
    /// Sets what the KV of its sequences may take, with what the executor allocates ahead of need, and what it may take together
    /// with retained KV.
    pub(in super::super) fn set_kv_bytes(&mut self, bytes: u64, with_retained: u64) {
        self.scheduler.set_kv_bytes(bytes, with_retained);
        self.model.executor.set_kv_bytes(bytes);
    }

    /// The KV that the model's sequences hold, and what is retained.
    pub(in super::super) fn holding(&self) -> Holding {
        let (bytes, retained) = (self.scheduler.kv_bytes(), self.scheduler.retained_bytes());
        Holding { bytes, retained, is_busy: !self.rows.is_empty() }
    }
}
