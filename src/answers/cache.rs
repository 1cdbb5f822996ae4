//! The answer cache of an engine, and its hits and misses. Settings may change while the engine runs: then a new store
//! with the new settings takes over the answers of the old one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Settings;
use super::key::{Claim, Fingerprint, Key};
use super::log::AnswerLog;
use super::store::{Entry, Layer, Store, layer};

/// The answers that an engine can reuse.
pub struct AnswerCache {
    /// The read lock is held during one look-up. The write lock is taken only to replace the store.
    store: RwLock<Store>,
    /// Each `clear` increments it. A generation of an earlier epoch is neither cached nor joined.
    epoch: AtomicU64,
    layers: [LayerCounters; 3],
    /// Requests that could share.
    num_sharing: AtomicU64,
    num_writes: AtomicU64,
    num_write_errors: AtomicU64,
    /// Receives a message after every change, if there is a watcher.
    watcher: OnceLock<Sender<()>>,
}

/// A cached answer.
#[derive(Debug, Clone)]
pub struct CachedAnswer {
    /// The log of the answer, which has ended.
    pub log: Arc<AnswerLog>,
    /// The layer that had it.
    pub outcome: CacheOutcome,
}

/// How a request that may share got its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheOutcome {
    /// It joined a running generation.
    Coalesced,
    /// The answer had just ended.
    Dedup,
    /// The answer was in the prompt cache.
    PromptCache,
    /// No answer could be reused.
    Computed,
}

#[derive(Debug, Default)]
struct LayerCounters {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Look-ups in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerCounts {
    /// Look-ups that found an answer.
    pub hits: u64,
    /// Look-ups that found none while the layer was enabled.
    pub misses: u64,
}

/// Statistics of the answer cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Joins of running generations.
    pub coalescing: LayerCounts,
    /// Answers that had just ended.
    pub dedup: LayerCounts,
    /// Answers in the prompt cache.
    pub prompt_cache: LayerCounts,
    /// Requests that could share, whether they did or not.
    pub num_sharing: u64,
    /// Cached answers.
    pub num_entries: u64,
    /// Tokens of the cached answers.
    pub num_tokens: u64,
    /// Bytes of the cached answers.
    pub num_bytes: u64,
    /// Writes of the cache file, failed ones included.
    pub num_writes: u64,
    /// Writes of the cache file that failed.
    pub num_write_errors: u64,
}

impl Counts {
    /// Requests that got the answer of another request.
    pub fn num_shared(&self) -> u64 {
        self.coalescing.hits + self.dedup.hits + self.prompt_cache.hits
    }

    /// Of the requests that could share an answer, the fraction that got the answer of another request.
    pub fn shared_ratio(&self) -> f64 {
        self.num_shared() as f64 / self.num_sharing.max(1) as f64
    }
}

impl AnswerCache {
    /// An empty cache.
    pub fn new(settings: Settings) -> Self {
        Self {
            store: RwLock::new(Store::new(settings)),
            epoch: AtomicU64::new(0),
            layers: Default::default(),
            num_sharing: AtomicU64::new(0),
            num_writes: AtomicU64::new(0),
            num_write_errors: AtomicU64::new(0),
            watcher: OnceLock::new(),
        }
    }

    /// The cached answer to a request. The look-up is not counted: [`count`](Self::count) is called once it is known how the
    /// request gets its answer.
    pub fn find(&self, claim: &Claim, now: Instant) -> Option<CachedAnswer> {
        let (entry, layer) = self.read().find(&claim.key, now)?;
        let outcome = match layer {
            Layer::Dedup => CacheOutcome::Dedup,
            Layer::PromptCache => CacheOutcome::PromptCache,
        };
        Some(CachedAnswer { log: Arc::clone(&entry.log), outcome })
    }

    /// Caches a complete answer, unless the cache was cleared since `epoch`.
    pub fn insert(&self, claim: &Claim, epoch: u64, log: Arc<AnswerLog>, now: Instant) {
        let entry = Entry::new(log, claim.model, claim.is_reproducible, now);
        // Compared while the store is locked: `clear` either ran before, and the epochs differ, or runs later and removes
        // this entry too.
        let store = self.read();
        if epoch == self.epoch() {
            store.insert(claim.key, Arc::new(entry));
            self.changed();
        }
    }

    /// The epoch of generations that start now.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The most readers of one generation; 1 if coalescing is off.
    pub fn max_readers(&self) -> usize {
        let coalescing = self.read().settings.coalescing;
        if coalescing.enabled { coalescing.max_subscribers } else { 1 }
    }

    /// Counts how a request that may share got its answer. A layer is asked only if the layers before it had no answer.
    pub fn count(&self, outcome: CacheOutcome) {
        self.num_sharing.fetch_add(1, Ordering::Relaxed);
        let Settings { coalescing, dedup, prompt_cache, prefix_cache: _ } = self.settings();
        let on = [coalescing.enabled, dedup.enabled, prompt_cache.enabled];
        let hit = match outcome {
            CacheOutcome::Coalesced => 0,
            CacheOutcome::Dedup => 1,
            CacheOutcome::PromptCache => 2,
            CacheOutcome::Computed => self.layers.len(),
        };
        for (layer, _) in self.layers.iter().zip(on).take(hit).filter(|(_, is_on)| *is_on) {
            layer.misses.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(layer) = self.layers.get(hit) {
            layer.hits.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The current settings.
    pub fn settings(&self) -> Settings {
        self.read().settings
    }

    /// Changes the settings. Answers stay cached as far as the new settings allow. An answer that ends during the change may
    /// not be cached; it is computed again then.
    pub fn configure(&self, settings: Settings) {
        let epoch = self.epoch();
        let store = Store::new(settings);
        self.read().entries().into_iter().for_each(|(key, entry)| store.insert(key, entry));
        self.replace(|| if epoch == self.epoch() { store } else { Store::new(settings) });
    }

    /// Removes every answer. Running generations are neither joined nor cached afterwards.
    pub fn clear(&self) {
        let store = Store::new(self.settings());
        self.replace(|| {
            self.epoch.fetch_add(1, Ordering::AcqRel);
            store
        });
    }

    /// Removes the answers of a model that is unloaded.
    pub fn remove_model(&self, model: Fingerprint) {
        self.read().remove_model(model);
        self.changed();
    }

    /// The current statistics.
    pub fn counts(&self) -> Counts {
        let [coalescing, dedup, prompt_cache] = self.layers.each_ref().map(LayerCounters::read);
        let size = self.read().size();
        Counts {
            coalescing,
            dedup,
            prompt_cache,
            num_sharing: self.num_sharing.load(Ordering::Relaxed),
            num_entries: size.entries,
            num_tokens: size.tokens,
            num_bytes: size.bytes,
            num_writes: self.num_writes.load(Ordering::Relaxed),
            num_write_errors: self.num_write_errors.load(Ordering::Relaxed),
        }
    }

    /// Counts a write of the cache file.
    pub(super) fn written(&self, is_ok: bool) {
        self.num_writes.fetch_add(1, Ordering::Relaxed);
        self.num_write_errors.fetch_add(u64::from(!is_ok), Ordering::Relaxed);
    }

    /// Caches answers of an earlier process, oldest first. Expired ones are left out.
    pub(super) fn restore(&self, answers: Vec<(Key, Entry)>) {
        let (store, now) = (self.read(), Instant::now());
        let answers = answers.into_iter().filter(|(_, entry)| layer(&store.settings, entry, now).is_some());
        answers.for_each(|(key, entry)| store.insert(key, Arc::new(entry)));
    }

    /// The answers that another process may reuse, oldest first.
    pub(super) fn reproducible(&self) -> Vec<(Key, Arc<Entry>)> {
        let settings = self.settings();
        let (now, mut entries) = (Instant::now(), self.read().entries());
        let may_be = |entry: &Entry| entry.is_reproducible && layer(&settings, entry, now).is_some();
        entries.retain(|(_, entry)| settings.prompt_cache.enabled && may_be(entry));
        entries
    }

    /// Returns a channel that receives a message after changes. Several changes may cause one message.
    pub(super) fn watch(&self) -> Receiver<()> {
        let (sender, receiver) = bounded(1);
        self.watcher.set(sender).ok();
        receiver
    }

    fn changed(&self) {
        if let Some(watcher) = self.watcher.get() {
            // A full channel has a message already.
            watcher.try_send(()).ok();
        }
    }

    /// Replaces the store by the one that `choose` returns. The old one is dropped after the lock, as that takes time.
    fn replace(&self, choose: impl FnOnce() -> Store) {
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *store, choose());
        drop(store);
        drop(before);
        self.changed();
    }

    fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LayerCounters {
    fn read(&self) -> LayerCounts {
        LayerCounts { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }
}
