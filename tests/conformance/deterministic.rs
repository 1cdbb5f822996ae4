//! A row's bits do not depend on other rows of the batch, with any BLAS: in full precision on the CPU by default, and elsewhere
//! with deterministic products. `npm test` runs these tests with `OpenBLAS` as well, whose results depend on the shape of a
//! product.

use mlx_serving::executor::mlx::{AttentionKind, MlxBackend, MlxExecutor};
use mlx_serving::request::SamplingParams;

use super::against_itself::{LENGTHS, alone, outcome, prompt};
use super::driver::{ANSWER, Driver};
use super::folders::folder;
use super::logprobs::{assert_same_alone_and_together, assert_same_when_computed_again};
use super::seeded::case;

/// Full precision with fused attention; full precision, half precision and quantized with composed attention.
const MODELS: [(&str, AttentionKind); 4] = [
    ("base", AttentionKind::Auto),
    ("base", AttentionKind::Composed),
    ("f16", AttentionKind::Auto),
    ("q4-g64", AttentionKind::Auto),
];

fn open(model @ (case, attention): (&str, AttentionKind)) -> MlxExecutor {
    let backend = MlxBackend::new().expect("a backend").deterministic(model != MODELS[0]);
    backend.with_attention(attention).open_mlx(&folder(case)).expect("a model")
}

#[test]
fn a_row_is_the_same_alone_and_at_every_load() {
    for model in MODELS {
        let mut executor = open(model);
        let expected = LENGTHS.map(|len| alone(&mut executor, &prompt(len), usize::MAX));
        for num_others in [1, 20] {
            let mut driver = Driver::new(&mut executor);
            for (id, len) in (0..).zip(LENGTHS) {
                driver.add(id, &prompt(len), SamplingParams::GREEDY);
                driver.run(3);
            }
            (100..100 + num_others).for_each(|id| driver.add(id, &prompt(9), SamplingParams::GREEDY));
            driver.run(ANSWER);
            for (id, expected) in (0..).zip(&expected) {
                assert_eq!(outcome(&mut driver, id), *expected, "{model:?}, row {id} beside {num_others}");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_however_its_prompt_is_cut_where_attention_is_fused() {
    let mut executor = open(MODELS[0]);
    let expected = alone(&mut executor, &prompt(300), usize::MAX);
    for chunk in [1, 5, 16, 100, 299] {
        assert_eq!(alone(&mut executor, &prompt(300), chunk), expected, "chunks of {chunk}");
    }
}

#[test]
fn a_recomputed_row_continues_with_the_same_bits_where_attention_is_fused() {
    let mut executor = open(MODELS[0]);
    let whole = alone(&mut executor, &prompt(33), usize::MAX);
    for num_known in [1, 20, ANSWER - 1] {
        let known: Vec<_> = prompt(33).into_iter().chain(whole.0[..num_known].iter().copied()).collect();
        let mut driver = Driver::new(&mut executor);
        driver.add(0, &known, SamplingParams::GREEDY);
        driver.add(1, &prompt(300), SamplingParams::GREEDY);
        driver.run(ANSWER - num_known);
        let (tokens, bits) = outcome(&mut driver, 0);
        assert_eq!((&tokens[..], bits), (&whole.0[num_known..], whole.1.clone()), "after {num_known} tokens");
    }
}

#[test]
fn log_probabilities_are_the_same_alone_and_at_every_load() {
    for model in MODELS {
        assert_same_alone_and_together(&mut open(model));
    }
}

#[test]
fn log_probabilities_of_a_recomputed_row_are_the_same_where_attention_is_fused() {
    assert_same_when_computed_again(&mut open(MODELS[0]));
}

#[test]
fn a_row_of_a_mixture_is_the_same_whether_few_or_many_tokens_choose_experts() {
    for name in ["qwen3_moe-f32", "qwen3_moe-f16", "qwen3_moe-q4"] {
        let seeded = case(name);
        let backend = MlxBackend::new().expect("a backend").deterministic(true);
        let mut executor =
            backend.with_attention(AttentionKind::Composed).open_mlx(&seeded.folder().folder).expect("a model");
        let short = |token: u32| (0..5).map(|at| (at * 11 + token) % 60).collect::<Vec<_>>();
        // In one step two dozen tokens choose three experts each.
        let [alone, together] = [3..4, 0..24].map(|ids: std::ops::Range<u32>| {
            let mut driver = Driver::new(&mut executor);
            ids.for_each(|id| driver.add(u64::from(id), &short(id), SamplingParams::GREEDY));
            driver.run(6);
            outcome(&mut driver, 3)
        });
        assert_eq!(alone, together, "{name}");
    }
}
