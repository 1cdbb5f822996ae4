//! What an engine keeps of its answers, and how often that helped. Settings may change while it runs: then the store is
//! replaced by one with the new settings and the old one's answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Settings;
use super::key::{Claim, Fingerprint, Key};
use super::log::AnswerLog;
use super::store::{Entry, Lifetime, Store, lifetime};

/// The answers an engine may give again.
pub struct Answers {
    /// Read for as long as one look takes; written only to put another store in its place.
    store: RwLock<Store>,
    /// Raised by every clearing: what was begun before is not kept, and not joined.
    epoch: AtomicU64,
    layers: [Layer; 3],
    /// Requests that could share.
    num_sharing: AtomicU64,
    /// Told of every change, if anybody wants to know.
    watcher: OnceLock<Sender<()>>,
}

/// An answer that can be given at once.
#[derive(Debug, Clone)]
pub struct Found {
    /// The answer, ended.
    pub log: Arc<AnswerLog>,
    /// The lifetime it is in.
    pub way: Way,
}

/// How a request that may share came to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It joined a running generation.
    Coalesced,
    /// Of one that had just ended.
    Dedup,
    /// Of one that is kept.
    PromptCache,
    /// There was nothing to share.
    Computed,
}

#[derive(Debug, Default)]
struct Layer {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How often a lifetime was asked and had the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerCounts {
    /// It had.
    pub hits: u64,
    /// It had not, and was on.
    pub misses: u64,
}

/// What sharing has brought so far, and what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Joining what runs.
    pub coalescing: LayerCounts,
    /// Repeating what has just ended.
    pub dedup: LayerCounts,
    /// Repeating what is kept.
    pub prompt_cache: LayerCounts,
    /// Requests that could share, whether they did or not.
    pub num_sharing: u64,
    /// Answers kept.
    pub num_entries: u64,
    /// Their tokens.
    pub num_tokens: u64,
    /// Their bytes.
    pub num_bytes: u64,
}

impl Counts {
    /// Requests that had another one's answer.
    pub fn num_shared(&self) -> u64 {
        self.coalescing.hits + self.dedup.hits + self.prompt_cache.hits
    }
}

impl Answers {
    /// Nothing kept yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            store: RwLock::new(Store::new(settings)),
            epoch: AtomicU64::new(0),
            layers: Default::default(),
            num_sharing: AtomicU64::new(0),
            watcher: OnceLock::new(),
        }
    }

    /// The answer a request asks for, if it is there and may still be given. Not counted: it is not known yet how the
    /// request will come to its answer.
    pub fn find(&self, claim: &Claim, now: Instant) -> Option<Found> {
        let (entry, lifetime) = self.read().find(&claim.key, now)?;
        let way = match lifetime {
            Lifetime::Dedup => Way::Dedup,
            Lifetime::PromptCache => Way::PromptCache,
        };
        Some(Found { log: Arc::clone(&entry.log), way })
    }

    /// Keeps an answer that has ended well, for those who ask for it next; unless there was a clearing since `epoch`.
    pub fn keep(&self, claim: &Claim, epoch: u64, log: Arc<AnswerLog>, now: Instant) {
        let entry = Entry::new(log, claim.model, claim.is_reproducible, now);
        // Compared while the store is held: a clearing comes before, and is seen, or after, and takes this one along.
        let store = self.read();
        if epoch == self.epoch() {
            store.keep(claim.key, Arc::new(entry));
            self.changed();
        }
    }

    /// What generations that begin now belong to.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// How many may read one generation; 1 where nobody may join.
    pub fn max_readers(&self) -> usize {
        let coalescing = self.read().settings.coalescing;
        if coalescing.enabled { coalescing.max_subscribers } else { 1 }
    }

    /// Counts how a request that may share came to its answer. Lifetimes are asked in their order, each only where those
    /// before it had nothing.
    pub fn count(&self, way: Way) {
        self.num_sharing.fetch_add(1, Ordering::Relaxed);
        let Settings { coalescing, dedup, prompt_cache } = self.settings();
        let on = [coalescing.enabled, dedup.enabled, prompt_cache.enabled];
        let hit = match way {
            Way::Coalesced => 0,
            Way::Dedup => 1,
            Way::PromptCache => 2,
            Way::Computed => self.layers.len(),
        };
        for (layer, _) in self.layers.iter().zip(on).take(hit).filter(|(_, is_on)| *is_on) {
            layer.misses.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(layer) = self.layers.get(hit) {
            layer.hits.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.read().settings
    }

    /// Changes the settings. Answers are kept as far as they still may live; one that ends meanwhile may be lost, which
    /// costs a computation.
    pub fn configure(&self, settings: Settings) {
        let epoch = self.epoch();
        let store = Store::new(settings);
        self.read().entries().into_iter().for_each(|(key, entry)| store.keep(key, entry));
        self.replace(|| if epoch == self.epoch() { store } else { Store::new(settings) });
    }

    /// Forgets every answer; those that are being computed are neither joined nor kept.
    pub fn clear(&self) {
        let store = Store::new(self.settings());
        self.replace(|| {
            self.epoch.fetch_add(1, Ordering::AcqRel);
            store
        });
    }

    /// Forgets the answers of a model that is unloaded.
    pub fn forget(&self, model: Fingerprint) {
        self.read().forget(model);
        self.changed();
    }

    /// The counters now.
    pub fn counts(&self) -> Counts {
        let [coalescing, dedup, prompt_cache] = self.layers.each_ref().map(Layer::read);
        let size = self.read().size();
        Counts {
            coalescing,
            dedup,
            prompt_cache,
            num_sharing: self.num_sharing.load(Ordering::Relaxed),
            num_entries: size.entries,
            num_tokens: size.tokens,
            num_bytes: size.bytes,
        }
    }

    /// Keeps answers of an earlier process, oldest first; those whose time is over are left out.
    pub(super) fn restore(&self, answers: Vec<(Key, Entry)>) {
        let (store, now) = (self.read(), Instant::now());
        let answers = answers.into_iter().filter(|(_, entry)| lifetime(&store.settings, entry, now).is_some());
        answers.for_each(|(key, entry)| store.keep(key, Arc::new(entry)));
    }

    /// The answers that may be given in another process, oldest first.
    pub(super) fn reproducible(&self) -> Vec<(Key, Arc<Entry>)> {
        let settings = self.settings();
        let (now, mut entries) = (Instant::now(), self.read().entries());
        let may_be = |entry: &Entry| entry.is_reproducible && lifetime(&settings, entry, now).is_some();
        entries.retain(|(_, entry)| settings.prompt_cache.enabled && may_be(entry));
        entries
    }

    /// Says from now on when there is something new to be saved; several changes may be told as one.
    pub(super) fn watch(&self) -> Receiver<()> {
        let (sender, receiver) = bounded(1);
        self.watcher.set(sender).ok();
        receiver
    }

    fn changed(&self) {
        if let Some(watcher) = self.watcher.get() {
            // A full channel has told it already.
            watcher.try_send(()).ok();
        }
    }

    /// Puts the store that `choose` gives in the place of the present one, which is dropped when nobody waits for it.
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

impl Layer {
    fn read(&self) -> LayerCounts {
        LayerCounts { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }
}
