//! The memory of an engine: the weights of all its models, and the rest, which their KV may use. This module decides how much KV
//! the sequences of each model may hold together; each model's scheduler decides which sequences hold it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::{Code, Error, Result};
use crate::executor::{KvUnit, LoadControl};
use crate::lock::lock;
use crate::scheduler::KvLimit;

use super::config::Config;

/// The limits on memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Bytes that the process may use. If absent, they are unknown, and only `kv` limits anything.
    memory: Option<u64>,
    /// Bytes that the device can use without a loss of speed. On a Mac they are a part of the memory.
    device: Option<u64>,
    /// Bytes of KV, if the user set them.
    kv: Option<u64>,
    /// Workers, each of which may use an equal part of the KV.
    workers: u64,
}

/// The KV of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holding {
    /// Bytes that its sequences hold.
    pub(super) bytes: u64,
    /// Bytes that it retains for later requests.
    pub(super) retained: u64,
    /// Whether the model has sequences. Nothing is reserved for an idle model.
    pub(super) is_busy: bool,
}

impl Budget {
    pub(super) fn new(config: &Config) -> Self {
        let Config { memory_bytes: memory, device_bytes: device, kv_bytes: kv, .. } = *config;
        Self { memory, device, kv, workers: config.workers.count.max(1) as u64 }
    }

    /// At most what the device can use.
    fn on_device(&self, bytes: u64) -> u64 {
        self.device.map_or(bytes, |device| bytes.min(device))
    }

    /// Memory that `weights` bytes of weights leave.
    pub(super) fn beside(&self, weights: u64) -> Option<u64> {
        self.memory.map(|memory| memory.saturating_sub(weights))
    }

    /// Refuses `needed` bytes of weights beside those that are `loaded` if less than an eighth of the memory would remain.
    pub(super) fn admit(&self, needed: u64, loaded: u64) -> Result<()> {
        let (Some(memory), Some(left)) = (self.memory, self.left(loaded)) else { return Ok(()) };
        if needed <= left {
            return Ok(());
        }
        let message = format!(
            "the weights of this model take {needed} bytes; {left} bytes are left for weights, of {memory} that this \
             process may use and {loaded} that loaded models take"
        );
        Err(Error::new(Code::InsufficientMemory, message).with_limit(left as f64, needed as f64))
    }

    /// Bytes that are left for weights beside those that are `loaded`; `None` if the memory is unknown.
    pub(super) fn left(&self, loaded: u64) -> Option<u64> {
        self.memory.map(|memory| self.on_device(memory - memory / 8).saturating_sub(loaded))
    }

    /// Bytes of KV of all models together. A quarter of the memory is left to the process and the system; KV may use what the
    /// weights leave of the rest, as far as the device can use it, and at least an eighth of the memory.
    pub(super) fn kv(&self, weights: u64) -> Option<u64> {
        let derived = |memory: u64| self.on_device(memory / 4 * 3).saturating_sub(weights).max(memory / 8);
        self.kv.or(self.memory.map(derived))
    }
}

/// The memory of weights that are loaded or being loaded, within a budget. Load threads and the engine thread share it.
#[derive(Debug)]
pub(super) struct Ledger {
    budget: Budget,
    entries: Mutex<Entries>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    all: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    bytes: u64,
    control: LoadControl,
}

/// Reserved memory for the weights of one model, released on drop.
#[derive(Debug)]
pub(super) struct Reservation {
    number: u64,
    ledger: Arc<Ledger>,
}

impl Ledger {
    pub(super) fn new(budget: Budget) -> Arc<Self> {
        Arc::new(Self { budget, entries: Mutex::default(), released: Condvar::new() })
    }

    /// Reserves memory for the weights of a model before anything is allocated. `needed` returns their bytes, given the memory
    /// that other models leave. Waits while aborted loads still hold memory that would be enough.
    pub(super) fn reserve(
        self: &Arc<Self>,
        control: &LoadControl,
        needed: impl Fn(Option<u64>) -> Result<u64>,
    ) -> Result<(Reservation, Option<u64>)> {
        loop {
            control.check()?;
            let loaded = lock(&self.entries).bytes();
            let free = self.budget.beside(loaded);
            // `needed` looks at all tensors of the model, so it runs without the lock, which every step takes in `kv`.
            let bytes = needed(free)?;
            let mut entries = lock(&self.entries);
            if entries.bytes() != loaded {
                continue;
            }
            match self.budget.admit(bytes, loaded) {
                Ok(()) => {
                    let number = entries.next;
                    entries.next += 1;
                    entries.all.push(Entry { number, bytes, control: control.clone() });
                    return Ok((Reservation { number, ledger: Arc::clone(self) }, free));
                }
                Err(_) if entries.all.iter().any(|entry| entry.control.is_aborted()) => {
                    drop(self.released.wait(entries).unwrap_or_else(PoisonError::into_inner));
                }
                Err(refused) => return Err(refused),
            }
        }
    }

    /// Bytes of weights that are loaded or being loaded, and bytes that are left for more, if limited.
    pub(super) fn weights(&self) -> (u64, Option<u64>) {
        let loaded = lock(&self.entries).bytes();
        (loaded, self.budget.left(loaded))
    }

    /// Bytes of KV that the sequences of all models may hold together on one worker, if limited.
    pub(super) fn kv(&self) -> Option<u64> {
        self.kv_of_all().map(|bytes| bytes / self.budget.workers)
    }

    /// Bytes of KV that the sequences of all models may hold together on all workers, if limited.
    pub(super) fn kv_of_all(&self) -> Option<u64> {
        self.budget.kv(lock(&self.entries).bytes())
    }
}

impl Entries {
    fn bytes(&self) -> u64 {
        self.all.iter().fold(0, |sum, entry| sum.saturating_add(entry.bytes))
    }
}

impl Reservation {
    /// The weights are loaded and take `bytes`. From now on an abort has no effect.
    pub(super) fn settle(&self, bytes: u64) {
        let mut entries = lock(&self.ledger.entries);
        if let Some(entry) = entries.all.iter_mut().find(|entry| entry.number == self.number) {
            (entry.bytes, entry.control) = (bytes, LoadControl::default());
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.ledger.entries).all.retain(|entry| entry.number != self.number);
        self.ledger.released.notify_all();
    }
}

/// The KV that the sequences of a model may hold, at most `bytes` if a limit is known; `None` if positions take no memory.
/// Without a limit, the scheduler still needs to know how KV grows: which positions have left a window.
pub(super) fn limit_of(unit: KvUnit, bytes: Option<u64>) -> Option<KvLimit> {
    let KvUnit { bytes_per_position, block, growth } = unit;
    let bytes = bytes.unwrap_or(u64::MAX);
    (bytes_per_position > 0).then_some(KvLimit { bytes, bytes_per_position, block, growth })
}

/// Bytes of KV that model `index` may hold, so that all models together hold at most `total`: what the others leave, and at
/// least half of an equal share. A model above its limit releases KV in its next step.
pub(super) fn share(total: u64, holdings: &[Holding], index: usize) -> u64 {
    let least = total / (2 * holdings.len().max(1) as u64);
    let reserved = |holding: &Holding| holding.bytes.max(if holding.is_busy { least } else { 0 });
    let others = holdings.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, holding)| reserved(holding));
    total.saturating_sub(others.fold(0, u64::saturating_add)).max(least)
}

/// Bytes of KV that model `index` may hold together with its retained KV: `total` less all KV of the other models. [`share`]
/// reserves nothing for retained KV. So a model with requests may use that memory, and the other model drops its retained KV in
/// its next turn.
pub(super) fn share_with_retained(total: u64, holdings: &[Holding], index: usize) -> u64 {
    let others = holdings.iter().enumerate().filter(|(other, _)| *other != index);
    others.fold(total, |left, (_, holding)| left.saturating_sub(holding.bytes.saturating_add(holding.retained)))
}
