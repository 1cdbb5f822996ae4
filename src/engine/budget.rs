//! The memory of an engine: the weights of all its models, and what is left for their KV. Which sequences hold KV is decided
//! by each model's scheduler; how much they may hold together is decided here.

use crate::error::{Code, Error, Result};
use crate::executor::{KvUnit, Limits};
use crate::scheduler::KvLimit;

use super::config::Config;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Bytes that the process may use; unknown where absent, and then nothing is limited but what `kv` limits.
    memory: Option<u64>,
    /// Bytes of KV, where the user set them.
    kv: Option<u64>,
}

/// The KV of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holding {
    /// Bytes that its sequences hold.
    pub(super) bytes: u64,
    /// Whether it has sequences: an idle model keeps nothing back from the others.
    pub(super) is_busy: bool,
}

impl Budget {
    pub(super) fn new(config: &Config) -> Self {
        Self { memory: config.memory_bytes, kv: config.kv_bytes }
    }

    /// Memory beside weights of so many bytes.
    pub(super) fn beside(&self, weights: u64) -> Option<u64> {
        self.memory.map(|memory| memory.saturating_sub(weights))
    }

    /// Refuses `needed` bytes of weights beside those that are `loaded` if less than an eighth of the memory would remain.
    pub(super) fn admit(&self, needed: u64, loaded: u64) -> Result<()> {
        let Some(memory) = self.memory else { return Ok(()) };
        let left = (memory - memory / 8).saturating_sub(loaded);
        if needed <= left {
            return Ok(());
        }
        let message = format!(
            "the weights of this model take {needed} bytes; {left} bytes are left for weights, of {memory} that this \
             process may use and {loaded} that loaded models take"
        );
        Err(Error::new(Code::InsufficientMemory, message).with_limit(left as f64, needed as f64))
    }

    /// KV of all models together, beside their weights. A quarter of the memory is left to the process and the system; where
    /// weights take nearly all of the rest, an eighth remains for KV.
    pub(super) fn kv(&self, weights: u64) -> Option<u64> {
        let derived = |memory: u64| (memory / 4 * 3).saturating_sub(weights).max(memory / 8);
        self.kv.or(self.memory.map(derived))
    }
}

/// The KV that the sequences of a model may hold, at most `bytes` where a limit is known; absent where its positions take no
/// memory. The scheduler needs to know without a limit, too, how KV grows: which positions have left a window.
pub(super) fn limit_of(limits: Limits, bytes: Option<u64>) -> Option<KvLimit> {
    let KvUnit { bytes_per_position, block, growth } = limits.kv;
    let bytes = bytes.unwrap_or(u64::MAX);
    (bytes_per_position > 0).then_some(KvLimit { bytes, bytes_per_position, block, growth })
}

/// Bytes of KV that model `index` may hold, so that all together hold at most `total`: what the others leave, and at least
/// half of an equal share. A model above its limit gives KV back with its next step.
pub(super) fn share(total: u64, holdings: &[Holding], index: usize) -> u64 {
    let least = total / (2 * holdings.len().max(1) as u64);
    let kept_back = |holding: &Holding| holding.bytes.max(if holding.is_busy { least } else { 0 });
    let others =
        holdings.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, holding)| kept_back(holding));
    total.saturating_sub(others.fold(0, u64::saturating_add)).max(least)
}
