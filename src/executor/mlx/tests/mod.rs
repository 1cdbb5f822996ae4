//! Tests of parts that cannot be seen from outside. Whole models are tested in `tests/conformance.rs`.

mod adjust;
mod blocks;
mod composed;
mod families;
mod linear;
mod logprobs;
mod pool;
mod sampler;
