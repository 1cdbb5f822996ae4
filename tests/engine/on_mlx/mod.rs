//! The engine with its own scheduler over MLX: what requests rely on, on every path that a model is computed on. Equality is
//! asked for where a token leads by more than arithmetic moves it; `paths` says by how much that is.

mod failing;
mod folders;
mod paths;
#[path = "../../conformance/seeded.rs"]
#[expect(dead_code, reason = "logits are compared by the conformance tests")]
mod seeded;

mod faults;
mod serving;
mod windows;
