//! Stores ended answers for two layers, dedup and the prompt cache. A look-up decides by the age of an answer whether it can be
//! reused; the expiry of the `moka` cache only frees memory.
//!
//! One weight enforces three budgets (entries, tokens, bytes): an entry weighs its largest share of any budget. So entries that
//! fit the capacity together fit every budget.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::lock::lock;

use super::Settings;
use super::key::{Fingerprint, Key};
use super::log::AnswerLog;

/// The resolution of weights: the smallest share is one in 2³⁰.
const WEIGHT_STEPS: usize = 1 << 30;

/// One cached answer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) log: Arc<AnswerLog>,
    pub(super) model: Fingerprint,
    pub(super) is_reproducible: bool,
    pub(super) ended_at: Instant,
    num_tokens: usize,
    num_bytes: usize,
}

impl Entry {
    pub(super) fn new(log: Arc<AnswerLog>, model: Fingerprint, is_reproducible: bool, ended_at: Instant) -> Self {
        let (num_tokens, num_bytes) = (log.num_tokens(), size_of::<(Key, Self)>() + log.shrink());
        Self { log, model, is_reproducible, ended_at, num_tokens, num_bytes }
    }
}

/// The layer that an ended answer is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// The answer has just ended.
    Dedup,
    /// The answer is reproducible and ended longer ago.
    PromptCache,
}

/// The size of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    pub(super) entries: u64,
    pub(super) tokens: u64,
    pub(super) bytes: u64,
}

/// The cached answers, under one set of settings.
pub(super) struct Store {
    pub(super) settings: Settings,
    cache: Cache<Key, Arc<Entry>>,
    /// The answers that are cached for dedup alone, oldest first. Replaced answers are not in the list. Expired and evicted ones
    /// may be.
    recent: Mutex<VecDeque<(Key, Weak<Entry>)>>,
    totals: Arc<Totals>,
}

#[derive(Debug, Default)]
struct Totals {
    entries: AtomicU64,
    tokens: AtomicU64,
    bytes: AtomicU64,
}

impl Store {
    pub(super) fn new(settings: Settings) -> Self {
        let totals = Arc::new(Totals::default());
        let gone = Arc::clone(&totals);
        let cache = Cache::builder()
            .max_capacity(capacity(&settings))
            .weigher(move |_, entry: &Arc<Entry>| weight(&settings, entry))
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(TimeToLive(settings))
            .eviction_listener(move |_, entry: Arc<Entry>, _| gone.subtract(&entry))
            .build();
        Self { settings, cache, recent: Mutex::default(), totals }
    }

    /// The answer with this key, and its layer, unless it has expired.
    pub(super) fn find(&self, key: &Key, now: Instant) -> Option<(Arc<Entry>, Layer)> {
        let entry = self.cache.get(key)?;
        let layer = layer(&self.settings, &entry, now)?;
        Some((entry, layer))
    }

    /// Caches an answer, if the settings have an enabled layer for it.
    pub(super) fn insert(&self, key: Key, entry: Arc<Entry>) {
        let settings = &self.settings;
        let is_long_lived = settings.prompt_cache.enabled && entry.is_reproducible;
        if !is_long_lived && !settings.dedup.enabled {
            return;
        }
        self.totals.add(&entry);
        if is_long_lived {
            self.cache.insert(key, entry);
        } else {
            self.insert_recent(key, entry);
        }
        // Evicts at once, so that the budgets hold after every answer.
        self.cache.run_pending_tasks();
    }

    pub(super) fn remove_model(&self, model: Fingerprint) {
        let keys = self.entries().into_iter().filter(|(_, entry)| entry.model == model);
        keys.for_each(|(key, _)| self.cache.invalidate(&key));
        self.cache.run_pending_tasks();
    }

    /// All entries, oldest first.
    pub(super) fn entries(&self) -> Vec<(Key, Arc<Entry>)> {
        let mut entries: Vec<_> = self.cache.iter().map(|(key, entry)| (*key, entry)).collect();
        entries.sort_by_key(|(_, entry)| entry.ended_at);
        entries
    }

    pub(super) fn size(&self) -> Size {
        self.cache.run_pending_tasks();
        self.totals.read()
    }

    fn insert_recent(&self, key: Key, entry: Arc<Entry>) {
        let mut recent = lock(&self.recent);
        if let Some(replaced) = self.cache.get(&key) {
            // Searched from the end: the replaced answer is usually of a generation that ran at the same time.
            let index = recent.iter().rposition(|(_, listed)| is_same(listed, &replaced));
            index.and_then(|index| recent.remove(index));
        }
        recent.push_back((key, Arc::downgrade(&entry)));
        self.cache.insert(key, entry);
        if recent.len() > self.settings.dedup.max_entries
            && let Some((oldest, listed)) = recent.pop_front()
            // A later entry of the same key has its own place in the list.
            && self.cache.get(&oldest).is_some_and(|entry| is_same(&listed, &entry))
        {
            self.cache.invalidate(&oldest);
        }
    }
}

/// Whether the listed entry is this one, and not another one of the same key.
fn is_same(listed: &Weak<Entry>, entry: &Arc<Entry>) -> bool {
    std::ptr::eq(listed.as_ptr(), Arc::as_ptr(entry))
}

impl Totals {
    fn add(&self, entry: &Entry) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.tokens.fetch_add(entry.num_tokens as u64, Ordering::Relaxed);
        self.bytes.fetch_add(entry.num_bytes as u64, Ordering::Relaxed);
    }

    fn subtract(&self, entry: &Entry) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.tokens.fetch_sub(entry.num_tokens as u64, Ordering::Relaxed);
        self.bytes.fetch_sub(entry.num_bytes as u64, Ordering::Relaxed);
    }

    fn read(&self) -> Size {
        Size {
            entries: self.entries.load(Ordering::Relaxed),
            tokens: self.tokens.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// The layer that an answer is in; `None` once it has expired.
pub(super) fn layer(settings: &Settings, entry: &Entry, now: Instant) -> Option<Layer> {
    let age = now.saturating_duration_since(entry.ended_at);
    let Settings { dedup, prompt_cache, .. } = settings;
    if dedup.enabled && age < dedup.ttl {
        Some(Layer::Dedup)
    } else if prompt_cache.enabled && entry.is_reproducible && age < prompt_cache.ttl {
        Some(Layer::PromptCache)
    } else {
        None
    }
}

/// When the memory of an entry is freed.
struct TimeToLive(Settings);

impl Expiry<Key, Arc<Entry>> for TimeToLive {
    fn expire_after_create(&self, _key: &Key, entry: &Arc<Entry>, _created_at: Instant) -> Option<Duration> {
        let Settings { dedup, prompt_cache, .. } = &self.0;
        let short = if dedup.enabled { dedup.ttl } else { Duration::ZERO };
        let long = if prompt_cache.enabled && entry.is_reproducible { prompt_cache.ttl } else { Duration::ZERO };
        Some(short.max(long).saturating_sub(entry.ended_at.elapsed()))
    }

    /// An answer that was computed again has a full lifetime.
    fn expire_after_update(
        &self,
        key: &Key,
        entry: &Arc<Entry>,
        updated_at: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, entry, updated_at)
    }
}

fn capacity(settings: &Settings) -> u64 {
    (weight_of_one(settings) * settings.prompt_cache.max_entries) as u64
}

fn weight_of_one(settings: &Settings) -> usize {
    (WEIGHT_STEPS / settings.prompt_cache.max_entries.max(1)).max(1)
}

fn weight(settings: &Settings, entry: &Entry) -> u32 {
    let share = |part: usize, whole: usize| {
        let weight = u128::from(capacity(settings)) * part as u128;
        u32::try_from(weight.div_ceil(whole.max(1) as u128)).unwrap_or(u32::MAX)
    };
    let budgets = &settings.prompt_cache;
    let of_entries = u32::try_from(weight_of_one(settings)).unwrap_or(u32::MAX);
    of_entries.max(share(entry.num_tokens, budgets.max_tokens)).max(share(entry.num_bytes, budgets.max_bytes))
}
