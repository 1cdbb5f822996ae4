//! Tests of the engine thread's state. `harness` drives it without threads: the test moves the clock and chooses the order
//! of commands, and a simulated device computes in virtual time. `tests/engine` covers the handle and the real thread.

mod budget;
mod callers;
mod crowd;
mod defaults;
mod disk;
mod harness;
mod health;
mod interleavings;
mod loader;
mod loads;
mod mailbox;
mod meter;
mod models;
mod overload;
mod panicking_clock;
mod panics;
mod parking;
mod progress;
mod retry;
mod router;
mod sharing;
mod slots;
mod stats;
mod step_timing;
mod waits;
