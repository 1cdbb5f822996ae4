//! Answers and KV that the requests of an engine share: their settings, and how they are dropped.

use crate::answers::Settings;
use crate::request::PinId;

use super::Engine;
use super::budget;
use super::command::Command;
use super::ids::ModelKey;

impl Engine {
    /// Which answers are shared.
    pub fn sharing(&self) -> Settings {
        self.shared.answers.settings()
    }

    /// Changes what is shared, from the next request on.
    pub fn configure_sharing(&self, settings: Settings) {
        self.shared.answers.configure(settings);
        self.shared.disk.get().inspect(|disk| disk.limit(settings.prefix_cache.max_disk_bytes as u64));
        self.workers.configure_prefixes(settings.prefix_cache);
    }

    /// Releases a pinned prompt. Without effect if there is none of this id.
    pub fn unpin(&self, pin: PinId) {
        self.send(|| Command::Unpin(pin));
    }

    /// Bytes that the KV of a pinned prompt takes; 0 if the model is not loaded, or its KV takes no memory.
    pub fn pinned_bytes(&self, model: ModelKey, num_tokens: usize) -> u64 {
        let limit = self.rules(model).ok().and_then(|rules| budget::limit_of(rules.kv, self.kv_limit()));
        limit.map_or(0, |kv| (kv.whole_blocks(num_tokens) as u64).saturating_mul(kv.bytes_per_position))
    }

    /// Empties the answer cache, and drops retained KV. Requests from now on neither join a running generation that started
    /// before nor use its KV.
    pub fn forget_answers(&self) {
        self.shared.answers.clear();
        self.send(|| Command::ForgetPrefixes);
    }
}
