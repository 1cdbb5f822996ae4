//! An LLM serving engine that lives inside a Node.js process.
//!
//! # The rooms, in reading order
//! * [`request`], [`token`]: the types that all rooms share. [`constraint`]: the tokens that an answer may have. [`error`]: one
//!   error type with a code.
//! * [`config`]: options, environment variables and presets become checked settings; one table of all options.
//! * [`engine`]: the handle and the engine thread: take commands, decide, do, account, deliver. The only reader of the clock.
//! * [`metrics`]: histograms and rates. [`exposition`]: statistics as `OpenMetrics` text.
//! * [`scheduler`]: pure decisions. `now` is an argument; no threads, channels or clock.
//! * [`answers`]: identical requests share one answer: keys, the log of a generation, its readers, the answer cache.
//!   [`clock`]: the source of time. `lock`: locks a mutex. `panics`: catches a panic. `numbers`: what JavaScript can represent.
//! * [`text`]: tokens to text and back: tokenizer, chat template, incremental detokenizer, stop sequences,
//!   parsers of reasoning and tool calls, structured output.
//! * [`executor`]: runs plans. `sim` is a simulated device; `mlx` is the only room that names `mlx_rs`.
//! * [`prefix_store`]: the disk tier of the prefix cache. [`host_kv`]: KV as bytes in host memory.
//! * [`hub`]: finds and validates model folders.
//! * `binding`: the only room that names napi.
//!
//! # The life of a request
//! 1. `binding` turns JavaScript options into a draft; anything unknown or out of range is an error with a code.
//! 2. [`engine::Engine::submit`] takes a permit (none left: `Overloaded`) and hands the draft to the text pool.
//! 3. A text thread renders the chat template and tokenizes, within a time budget, and passes a [`request::Request`] on.
//! 4. A request with a cached answer gets it at once; a request that is identical to a running one joins it. The engine
//!    thread adds all others to the model's scheduler: at once on an idle engine, at a step border of a running one.
//! 5. `scheduler.next(now)` plans a step from measured step times: rows to decode, prompt chunks, sequences to drop.
//! 6. The executor launches the step (`submit`) and hands over its tokens (`collect`).
//! 7. `scheduler.commit` applies the finish rules and learns what the step cost; the text room turns tokens into text at
//!    character borders.
//! 8. The answer log grows; readers with something to read are notified, and JavaScript is woken once a step.
//! 9. JavaScript drains. Tokens that its iterators consume come back as credit. A row without credit is parked.
//! 10. At the end each reader gets a summary or an error, the KV is dropped, and the permit is returned.
//!
//! # What is absent
//! * No unbounded queue or channel. No timer decides a batch. No polling: an idle engine uses no CPU.
//! * No device array leaves the engine thread. No integer reaches a device index unchecked.
//! * No `unsafe`, except for exit hooks and C interfaces of libraries. Each place says why it is sound.
//! * No panic crosses into Node. No error ends requests that were not part of the failure.

#![deny(unsafe_code)]

pub mod answers;
pub mod clock;
pub mod config;
pub mod constraint;
pub mod engine;
pub mod error;
pub mod executor;
pub mod exposition;
pub mod host_kv;
pub mod hub;
mod lock;
pub mod metrics;
mod numbers;
mod panics;
pub mod prefix_store;
pub mod request;
pub mod scheduler;
pub mod text;
pub mod token;

#[cfg(feature = "node")]
mod binding;
