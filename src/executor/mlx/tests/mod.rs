//! Tests of parts that cannot be seen from outside. Whole models are tested in `tests/conformance.rs`.

mod batch_invariant;
mod composed;
mod families;
mod linear;
mod logits_processors;
mod logprobs;
mod pool;
mod sampler;
