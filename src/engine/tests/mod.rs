//! The engine thread's state on a stage: no threads, a clock that is moved by hand, a device that takes virtual time.

mod budget;
mod crowd;
mod defaults;
mod interleavings;
mod models;
mod overload;
mod panics;
mod parking;
mod progress;
mod sharing;
mod slots;
mod stage;
mod step_timing;
