//! Tokens and logits equal mlx-lm's, case by case, with both implementations of attention.

use mlx_serving::executor::mlx::AttentionKind;
use mlx_serving::request::SamplingParams;

use super::driver::{ANSWER, Driver, generate};
use super::folders::{CASES, adjusted, expected_on, open};

const KINDS: [AttentionKind; 2] = [AttentionKind::Auto, AttentionKind::Composed];

#[test]
fn greedy_tokens_are_those_of_mlx_lm() {
    for case in CASES {
        let mut executor = open(case, AttentionKind::Auto);
        for expected in expected_on(&executor, case) {
            let tokens = generate(&mut executor, &expected.prompt, SamplingParams::GREEDY);
            assert_eq!(tokens, expected.tokens, "{case}, prompt of {}", expected.prompt.len());
        }
    }
}

#[test]
fn greedy_tokens_of_a_ragged_batch_are_those_of_mlx_lm() {
    for (case, kind) in CASES.iter().flat_map(|case| KINDS.map(|kind| (case, kind))) {
        let mut executor = open(case, kind);
        let expected = expected_on(&executor, case);
        let mut driver = Driver::new(&mut executor);
        for (id, expected) in (0..).zip(&expected) {
            driver.add(id, &expected.prompt, SamplingParams::GREEDY);
        }
        driver.run(ANSWER);
        for (id, expected) in (0..).zip(&expected) {
            assert_eq!(driver.remove(id), expected.tokens, "{case}, {kind:?}, prompt of {}", expected.prompt.len());
        }
    }
}

#[test]
fn logits_after_the_prompt_are_those_of_mlx_lm() {
    for (case, kind) in CASES.iter().flat_map(|case| KINDS.map(|kind| (case, kind))) {
        let mut executor = open(case, kind);
        for expected in expected_on(&executor, case) {
            let mut driver = Driver::new(&mut executor);
            driver.add(0, &expected.prompt, SamplingParams::GREEDY);
            let logits = &driver.logits()[&0];
            let off = distance(logits, &expected.logits);
            let allowed = expected.tolerance;
            assert!(off <= allowed, "{case}, {kind:?}, prompt of {}: {off} > {allowed}", expected.prompt.len());
        }
    }
}

/// The largest difference, relative to the largest magnitude.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().map(|value| value.abs()).fold(0.0, f32::max);
    let off = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    // `max` would ignore a NaN.
    off.fold(0.0, |worst: f32, off| if off <= worst { worst } else { off }) / largest
}

#[test]
fn logits_processors_give_the_tokens_of_mlx_lm_alone_and_together_collected_or_not() {
    let expected = adjusted();
    let sampling = |penalty: f32, context: u32| SamplingParams {
        repetition_penalty: penalty,
        repetition_context: context,
        ..SamplingParams::GREEDY
    };
    for kind in KINDS {
        let mut executor = open("base", kind);
        for together in [1, expected.len()] {
            for group in expected.chunks(together) {
                let mut driver = Driver::new(&mut executor);
                for (id, it) in (0..).zip(group) {
                    let sampling = sampling(it.repetition_penalty, it.repetition_context);
                    driver.add_biased(id, &it.prompt_tokens, sampling, &it.logit_bias);
                }
                // Launched ahead, so that the last token is only on the device when the next one is sampled.
                driver.run_ahead(ANSWER);
                for (id, it) in (0..).zip(group) {
                    assert_eq!(driver.remove(id), it.greedy_tokens, "{kind:?}, {together} together: {it:?}");
                }
            }
        }
    }
}
