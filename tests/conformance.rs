//! Models give the right tokens: the MLX executor runs hand-made plans, and is compared with fixtures recorded from
//! mlx-lm and with itself. The scheduler is not tested here.

#![cfg(feature = "mlx")]

mod conformance {
    mod driver;
    mod folders;
    mod seeded;

    mod against_itself;
    mod against_mlx_lm;
    mod bad_families;
    mod bad_models;
    mod bad_plans;
    mod constraints;
    mod deterministic;
    mod families;
    mod heads;
    mod kv_memory;
    mod logprobs;
    mod not_finite;
    mod operations;
    mod precision;
    mod prefixes;
    mod sampling;
}
