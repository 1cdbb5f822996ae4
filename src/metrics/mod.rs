//! Instruments: plain values that count what happens, and are read later. Recording is a few nanoseconds of arithmetic, without
//! a lock or an allocation; percentiles and rates are computed when they are read. An instrument has one owner, which publishes
//! copies. What is measured is decided in `engine`; how it is exported, in `exposition`.

mod histogram;
mod rate;

pub use histogram::{Histogram, Scale};
pub use rate::Rate;
