//! An LLM serving engine that lives inside a Node.js process.
//!
//! # The rooms, in reading order
//! * [`request`]: the words used everywhere. [`guide`]: what an answer must be. [`error`]: one error type with a code.
//! * [`config`]: what the user wrote becomes what it means; one table of everything that can be set.
//! * [`engine`]: the handle, and the engine thread: take commands, decide, do, account, deliver. Only reader of the clock.
//! * [`scheduler`]: pure decisions. `now` is an argument; no threads, channels or clock.
//! * [`answers`]: the same work is not done twice: keys, the log a generation appends to, its readers, kept answers.
//!   [`clock`]: where the time comes from. `lock`: how a mutex is taken.
//! * [`text`]: tokens to text and back: tokenizer, chat template, incremental detokenizer, stop sequences,
//!   calls of functions and reasoning in answers.
//! * [`executor`]: does what a plan says. `sim` is a simulated device, `mlx` the only room that names `mlx_rs`.
//! * [`hub`]: finds and validates model folders.
//! * `binding`: the only room that names napi.
//!
//! # The life of a request
//! 1. `binding` turns JavaScript options into a draft; anything unknown or out of range is an error with a code.
//! 2. [`engine::Engine::submit`] takes a permit (none left: `Overloaded`) and hands the draft to the text pool.
//! 3. A text thread renders the chat template and tokenizes, within a time budget, and passes a [`request::Request`] on.
//! 4. An answer that is kept is given at once; a request for what is running joins it. The engine thread adds
//!    others to the model's scheduler: at once on an idle engine, at a step border of a running one.
//! 5. `scheduler.next(now)` plans a step from measured step times: rows to decode, prompt chunks, sequences to drop.
//! 6. The executor launches the step (`submit`) and hands over its tokens (`collect`).
//! 7. `scheduler.commit` applies the finish rules and learns what the step cost; the text room turns tokens into text at
//!    character borders.
//! 8. The answer log grows; readers with something to read are marked, and JavaScript is woken once a step.
//! 9. JavaScript drains; what its iterators consume comes back as credit. A row without credit is parked.
//! 10. At the end each reader gets a summary or an error, the KV is dropped and the permit returned.
//!
//! # What is absent
//! * No unbounded queue or channel. No timer decides a batch. No polling: an idle engine uses no CPU.
//! * No device array leaves the engine thread. No integer reaches a device index unchecked.
//! * No `unsafe` but where an exit hook, or what a library has in C alone, leaves no other way; each place says why it is
//!   sound.
//! * No panic crosses into Node; no error ends requests that were not part of what failed.

#![deny(unsafe_code)]

pub mod answers;
pub mod clock;
pub mod config;
pub mod engine;
pub mod error;
pub mod executor;
pub mod guide;
pub mod hub;
mod lock;
pub mod request;
pub mod scheduler;
pub mod text;

#[cfg(feature = "node")]
mod binding;
