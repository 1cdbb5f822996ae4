//! Tests of parts that have no public interface. `tests/conformance.rs` tests whole models.

mod batch_invariant;
mod composed;
mod families;
mod footprints;
mod host;
mod linear;
mod logits_processors;
mod logprobs;
mod pool;
mod sampler;
