//! The tokens that the whole executor samples depend only on prompt, parameters and seed. Tests beside the sampler check
//! their distribution.

use mlx_serving::executor::mlx::AttentionKind;
use mlx_serving::request::{SamplingParams, TokenId};

use super::driver::{ANSWER, Driver, generate};
use super::folders::{expected, open};

const PROMPT: [TokenId; 5] = [9, 8, 7, 6, 5];

fn warm(seed: u64) -> SamplingParams {
    SamplingParams { temperature: 0.9, seed, ..SamplingParams::GREEDY }
}

#[test]
fn a_seeded_draw_is_the_same_alone_and_among_others() {
    let mut executor = open("base", AttentionKind::Auto);
    let nucleus = SamplingParams { top_p: 0.7, ..warm(3) };
    let rows = [warm(1), SamplingParams::GREEDY, warm(2), nucleus, warm(1)];
    let expected = rows.map(|sampling| generate(&mut executor, &PROMPT, sampling));
    let mut driver = Driver::new(&mut executor);
    for (id, sampling) in (0..).zip(rows) {
        driver.add(id, &PROMPT, sampling);
        driver.run(3);
    }
    driver.run(ANSWER);
    for (id, expected) in (0..).zip(expected) {
        assert_eq!(driver.remove(id), expected, "row {id}");
    }
}

#[test]
fn another_seed_is_another_answer() {
    let mut executor = open("base", AttentionKind::Auto);
    let answers: Vec<_> = (0..4).map(|seed| generate(&mut executor, &PROMPT, warm(seed))).collect();
    for (at, answer) in answers.iter().enumerate() {
        assert!(!answers[..at].contains(answer), "seed {at}");
    }
}

#[test]
fn a_temperature_close_to_zero_is_greedy() {
    let mut executor = open("base", AttentionKind::Auto);
    for expected in expected("base") {
        for temperature in [1e-6, f32::MIN_POSITIVE, 1e-44] {
            let cold = SamplingParams { temperature, seed: 5, ..SamplingParams::GREEDY };
            assert_eq!(generate(&mut executor, &expected.prompt, cold), expected.tokens, "at {temperature:e}");
        }
    }
}

#[test]
fn a_nucleus_of_one_token_is_greedy() {
    let mut executor = open("base", AttentionKind::Auto);
    for expected in expected("base") {
        for top_p in [f32::MIN_POSITIVE, 1e-9] {
            let narrow = SamplingParams { temperature: 50.0, top_p, seed: 5, ..SamplingParams::GREEDY };
            assert_eq!(generate(&mut executor, &expected.prompt, narrow), expected.tokens, "top-p {top_p:e}");
        }
    }
}
