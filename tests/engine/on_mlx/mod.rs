//! The engine with its own scheduler on MLX: the guarantees of requests, on every path on which a model is computed. Answers
//! must be equal where each token leads by more than rounding changes; `paths` says by how much.

mod failing;
mod folders;
mod paths;
#[path = "../../conformance/seeded.rs"]
#[expect(dead_code, reason = "logits are compared by the conformance tests")]
mod seeded;

mod faults;
mod prefixes;
mod serving;
mod windows;
mod workers;
