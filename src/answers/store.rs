//! Answers that have ended and may be given again. One cache holds both lifetimes after the end; whether an answer may
//! still be given is decided when it is asked for, by its age, so the cache's own clock only gives memory back.
//!
//! Three budgets (entries, tokens, bytes) are kept by one weight: an entry weighs its largest share of any budget, so
//! entries that fit the capacity together fit every budget.

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

/// The finest share that weights tell apart is one in so many.
const WEIGHT_STEPS: usize = 1 << 30;

/// One answer that may be given again.
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

/// Which lifetime an answer was in when it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// It had just ended.
    Dedup,
    /// It is kept.
    PromptCache,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    pub(super) entries: u64,
    pub(super) tokens: u64,
    pub(super) bytes: u64,
}

/// The answers kept under one set of settings.
pub(super) struct Store {
    pub(super) settings: Settings,
    cache: Cache<Key, Arc<Entry>>,
    /// The answers that are kept for the dedup window alone, oldest first. One that was replaced is not among them; one
    /// that has expired or was driven out may be.
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
            .expire_after(Lifetimes(settings))
            .eviction_listener(move |_, entry: Arc<Entry>, _| gone.subtract(&entry))
            .build();
        Self { settings, cache, recent: Mutex::default(), totals }
    }

    /// The answer of that key, if it is in one of its lifetimes.
    pub(super) fn find(&self, key: &Key, now: Instant) -> Option<(Arc<Entry>, Lifetime)> {
        let entry = self.cache.get(key)?;
        let lifetime = lifetime(&self.settings, &entry, now)?;
        Some((entry, lifetime))
    }

    /// Keeps an answer for as long as the settings let it live.
    pub(super) fn keep(&self, key: Key, entry: Arc<Entry>) {
        let settings = &self.settings;
        let is_kept_long = settings.prompt_cache.enabled && entry.is_reproducible;
        if !is_kept_long && !settings.dedup.enabled {
            return;
        }
        self.totals.add(&entry);
        if is_kept_long {
            self.cache.insert(key, entry);
        } else {
            self.keep_recent(key, entry);
        }
        // Now, not some time later: the budgets hold after every answer.
        self.cache.run_pending_tasks();
    }

    pub(super) fn forget(&self, model: Fingerprint) {
        let keys = self.entries().into_iter().filter(|(_, entry)| entry.model == model);
        keys.for_each(|(key, _)| self.cache.invalidate(&key));
        self.cache.run_pending_tasks();
    }

    /// Everything it holds, oldest first.
    pub(super) fn entries(&self) -> Vec<(Key, Arc<Entry>)> {
        let mut entries: Vec<_> = self.cache.iter().map(|(key, entry)| (*key, entry)).collect();
        entries.sort_by_key(|(_, entry)| entry.ended_at);
        entries
    }

    pub(super) fn size(&self) -> Size {
        self.cache.run_pending_tasks();
        self.totals.read()
    }

    fn keep_recent(&self, key: Key, entry: Arc<Entry>) {
        let mut recent = lock(&self.recent);
        if let Some(replaced) = self.cache.get(&key) {
            // Mostly of a generation that ran beside this one: it is found near the end.
            let place = recent.iter().rposition(|(_, noted)| is_of(noted, &replaced));
            place.and_then(|place| recent.remove(place));
        }
        recent.push_back((key, Arc::downgrade(&entry)));
        self.cache.insert(key, entry);
        if recent.len() > self.settings.dedup.max_entries
            && let Some((oldest, noted)) = recent.pop_front()
            // What came after one that expired has a place of its own.
            && self.cache.get(&oldest).is_some_and(|entry| is_of(&noted, &entry))
        {
            self.cache.invalidate(&oldest);
        }
    }
}

/// Whether that entry was noted, and not another one of its key.
fn is_of(noted: &Weak<Entry>, entry: &Arc<Entry>) -> bool {
    std::ptr::eq(noted.as_ptr(), Arc::as_ptr(entry))
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

/// Which lifetime an answer is in.
pub(super) fn lifetime(settings: &Settings, entry: &Entry, now: Instant) -> Option<Lifetime> {
    let age = now.saturating_duration_since(entry.ended_at);
    let Settings { dedup, prompt_cache, .. } = settings;
    if dedup.enabled && age < dedup.ttl {
        Some(Lifetime::Dedup)
    } else if prompt_cache.enabled && entry.is_reproducible && age < prompt_cache.ttl {
        Some(Lifetime::PromptCache)
    } else {
        None
    }
}

/// When the cache gives an entry's memory back.
struct Lifetimes(Settings);

impl Expiry<Key, Arc<Entry>> for Lifetimes {
    fn expire_after_create(&self, _key: &Key, entry: &Arc<Entry>, _created_at: Instant) -> Option<Duration> {
        let Settings { dedup, prompt_cache, .. } = &self.0;
        let short = if dedup.enabled { dedup.ttl } else { Duration::ZERO };
        let long = if prompt_cache.enabled && entry.is_reproducible { prompt_cache.ttl } else { Duration::ZERO };
        Some(short.max(long).saturating_sub(entry.ended_at.elapsed()))
    }

    /// An answer that was computed again lives as long as any other.
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
