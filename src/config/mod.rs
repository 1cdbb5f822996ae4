//! What the user wrote, all of it optional, becomes what it means, all of it checked. One table, [`KNOBS`], says which
//! options there are, their environment variables, ranges, defaults and values under presets; the binding, the
//! reference in docs/ and `engine.config()` are made from it. A new knob is a line there and a field in [`Settings`].
//!
//! Nothing here reads the process: environment variables and options are passed in.

mod environment;
mod knob;
mod knobs;
mod preset;
mod resolve;
mod settings;
#[cfg(test)]
mod tests;

pub use knob::{Kind, Knob, Range, Value};
pub use knobs::{KNOBS, Member, find, names_in};
pub use preset::Preset;
pub use resolve::{Effective, Resolved, Source};
pub use settings::{
    AdaptiveWindow, AutoTune, Cache, Coalescing, Dedup, Memory, Precision, PromptCache, Scheduler, Settings, Streaming,
};
