//! The keys of a runtime file, and its entries. `lib/` reads the file. Each option has a key that follows from its path:
//! `scheduler.batchSize` is `scheduler.batch_size`. [`OTHER_NAMES`] lists additional names of some sections and keys.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

use super::option::{EngineOption, Value};
use super::options::OPTIONS;
use super::settings::Settings;

/// Another name of a section or key.
pub(super) struct OtherName {
    /// Its name in the file.
    pub(super) key: &'static str,
    /// The group or option that it stands for. A name of a group stands for each of its options.
    path: &'static str,
    /// Whether it causes a warning.
    is_deprecated: bool,
}

/// Names that established runtime files have.
pub(super) const OTHER_NAMES: [OtherName; 21] = [
    established("request_deduplication", "cache.dedup"),
    established("request_coalescing", "cache.coalescing"),
    established("prompt_cache", "cache.promptCache"),
    established("prompt_cache.max_total_tokens", "cache.promptCache.maxTokens"),
    established("prompt_cache.max_total_bytes", "cache.promptCache.maxBytes"),
    established("generation_retry", "retry"),
    established("generation_retry.base_delay_ms", "retry.initialDelayMs"),
    established("circuit_breaker.failure_threshold", "circuitBreaker.failures"),
    established("circuit_breaker.failure_window_ms", "circuitBreaker.windowMs"),
    established("circuit_breaker.recovery_timeout_ms", "circuitBreaker.openMs"),
    established("generate_batcher.adaptive_sizing", "scheduler.autoTune.enabled"),
    established("generate_batcher.min_batch_size", "scheduler.autoTune.minBatch"),
    established("generate_batcher.max_batch_size", "scheduler.autoTune.maxBatch"),
    established("model.memory_policy", "memory"),
    deprecated("model_lifecycle_manager.idle_timeout_ms", "modelLifecycle.idleUnloadMs"),
    deprecated("model_lifecycle_manager.drain_timeout_ms", "modelLifecycle.drainMs"),
    deprecated("model_lifecycle_manager.prefetch_enabled", "modelLifecycle.prefetch.enabled"),
    deprecated("model_lifecycle_manager.prefetch_min_confidence", "modelLifecycle.prefetch.minConfidence"),
    deprecated("continuous_batching.max_batch_size", "scheduler.batchSize"),
    deprecated("continuous_batching.adaptive_sizing", "scheduler.autoTune.enabled"),
    deprecated("python_runtime.workers", "workers.count"),
];

const fn established(key: &'static str, path: &'static str) -> OtherName {
    OtherName { key, path, is_deprecated: false }
}

const fn deprecated(key: &'static str, path: &'static str) -> OtherName {
    OtherName { key, path, is_deprecated: true }
}

/// A key that sets an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileKey {
    /// Its name, with dots between the sections.
    pub name: String,
    /// Whether it causes a warning.
    pub is_deprecated: bool,
}

/// Where the file sets an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    /// The key as written, below `environments` with the name of the environment.
    pub key: String,
    /// The path of the file.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: u32,
}

/// A value of the file.
#[derive(Debug, Clone)]
pub struct FileEntry {
    /// The option that it sets.
    pub option: &'static EngineOption,
    /// The value.
    pub value: Value,
    /// Where it is written.
    pub place: FilePlace,
    /// The environment that it is for; `None` for all of them.
    pub environment: Option<String>,
}

/// A runtime file. The default is an empty one.
#[derive(Debug, Clone, Default)]
pub struct RuntimeFile {
    /// Its values, in their order.
    pub entries: Vec<FileEntry>,
    /// The environment that this process runs in. Its values override those for all environments.
    pub environment: Option<String>,
}

/// The keys of an option, the one that follows from its path first.
pub fn keys_of(path: &str) -> Vec<FileKey> {
    let exact: Vec<_> = OTHER_NAMES.iter().filter(|other| other.path == path).collect();
    // An exact name replaces the one that follows from the name of its section.
    let is_replaced = |section: &str| exact.iter().any(|other| within(other.key, section).is_some());
    let of_sections = OTHER_NAMES.iter().filter(|other| !is_replaced(other.key)).filter_map(|other| {
        let rest = within(path, other.path)?;
        Some(FileKey { name: format!("{}.{}", other.key, snake_case(rest)), is_deprecated: other.is_deprecated })
    });
    let own = FileKey { name: snake_case(path), is_deprecated: false };
    let exact = exact.iter().map(|other| FileKey { name: other.key.into(), is_deprecated: other.is_deprecated });
    [own].into_iter().chain(exact).chain(of_sections).collect()
}

/// The rest of a path below a group.
fn within<'a>(path: &'a str, group: &str) -> Option<&'a str> {
    path.strip_prefix(group)?.strip_prefix('.')
}

fn snake_case(path: &str) -> String {
    let mut name = String::new();
    for c in path.chars() {
        name.extend(c.is_ascii_uppercase().then_some('_'));
        name.push(c.to_ascii_lowercase());
    }
    name
}

impl RuntimeFile {
    /// The values that take effect, the strongest last. Every value is checked, also those of other environments.
    pub(super) fn values(&self) -> Result<Vec<&FileEntry>> {
        let mut set: HashMap<_, &FilePlace> = HashMap::new();
        for FileEntry { option, value, place, environment } in &self.entries {
            if !option.store(*value, &mut Settings::default()) {
                return Err(place.locate(option.refuse(&place.key, *value)));
            }
            if let Some(first) = set.insert((environment, option.path), place) {
                let message = format!("sets the same option as `{}` in line {}", first.key, first.line);
                return Err(place.locate(Error::config(&place.key, message)));
            }
        }
        let of_all = self.entries.iter().filter(|entry| entry.environment.is_none());
        let is_own = |entry: &&FileEntry| entry.environment.is_some() && entry.environment == self.environment;
        Ok(of_all.chain(self.entries.iter().filter(is_own)).collect())
    }
}

impl FilePlace {
    /// Adds the place to an error about a value that stands there.
    pub fn locate(&self, error: Error) -> Error {
        error.with_place(self)
    }
}

impl fmt::Display for FilePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// All keys of the options of the table, in its order.
pub fn keys() -> impl Iterator<Item = (FileKey, &'static EngineOption)> {
    OPTIONS.iter().flat_map(|option| keys_of(option.path).into_iter().map(move |key| (key, option)))
}
