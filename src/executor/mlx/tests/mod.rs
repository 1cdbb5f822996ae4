//! Tests of parts that cannot be seen from outside. Whole models are tested in `tests/conformance.rs`.

mod panels;
mod sampler;
