//! Turns the options of a user, all of them optional, into checked settings. One table, [`OPTIONS`], lists the options with
//! their environment variables, ranges, defaults and values under presets. The binding, the reference in docs/ and
//! `engine.config()` are made from it. A new option is a line there and a field in [`Settings`].
//!
//! This room does not read the process: environment variables and options are passed in.

mod environment;
mod file;
mod option;
mod options;
mod paths;
mod preset;
mod resolve;
mod settings;
#[cfg(test)]
mod tests;

pub use environment::TOOL_VARIABLES;
pub use file::{FileEntry, FileKey, FilePlace, RuntimeFile, keys, keys_of};
pub use option::{EngineOption, Kind, PREFIX, Range, Value};
pub use options::{Member, OPTIONS, find, names_in};
pub use paths::{ANSWERS_FILE, PATHS, PREFIX_FOLDER, PathOption};
pub use preset::Preset;
pub use resolve::{Effective, Resolved, Source};
pub use settings::{
    AdaptiveWindow, AutoTune, Cache, CircuitBreaker, Coalescing, Dedup, Health, Memory, Metrics, ModelLifecycle,
    Precision, Prefetch, PrefixCache, PromptCache, Retry, Routing, Scheduler, Settings, Streaming, Workers,
};
