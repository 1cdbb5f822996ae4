//! A row's result does not depend on other rows of the batch, on how its prompt was cut, or on earlier steps.
//!
//! The tests use MLX's reference BLAS, whose results do not depend on the number of rows. So every difference is a defect of
//! the engine, and they demand equal bits. There is one exception: in attention made of MLX's operations, the softmax of a
//! chunk sums fewer masked zeros than that of a whole prompt, and its SIMD lanes depend on the length. There the tokens must be
//! equal, and the logits to six digits.

use mlx_serving::executor::Executor;
use mlx_serving::executor::mlx::{AttentionKind, MlxExecutor};
use mlx_serving::request::{SamplingParams, TokenId};

use super::driver::{ANSWER, Driver, generate};
use super::folders::open;

const KINDS: [AttentionKind; 2] = [AttentionKind::Auto, AttentionKind::Composed];
pub(super) const LENGTHS: [usize; 5] = [1, 300, 7, 33, 260];

pub(super) fn prompt(len: usize) -> Vec<TokenId> {
    (0..len).map(|at| TokenId::try_from((at * 37 + len * 11) % 90).expect("a small number")).collect()
}

/// The tokens, and the bits of the logits after the last one.
pub(super) type Outcome = (Vec<TokenId>, Vec<u32>);

pub(super) fn outcome(driver: &mut Driver<'_>, id: u64) -> Outcome {
    let bits = driver.logits()[&id].iter().map(|value| value.to_bits()).collect();
    (driver.remove(id), bits)
}

pub(super) fn alone(executor: &mut MlxExecutor, prompt: &[TokenId], chunk: usize) -> Outcome {
    let mut driver = Driver::new(executor).with_chunk(chunk);
    driver.add(0, prompt, SamplingParams::GREEDY);
    driver.run(ANSWER);
    outcome(&mut driver, 0)
}

#[test]
fn a_row_is_the_same_alone_and_in_a_ragged_batch() {
    for kind in KINDS {
        let mut executor = open("base", kind);
        let expected = LENGTHS.map(|len| alone(&mut executor, &prompt(len), usize::MAX));
        let mut driver = Driver::new(&mut executor);
        for (id, len) in (0..).zip(LENGTHS) {
            driver.add(id, &prompt(len), SamplingParams::GREEDY);
        }
        driver.run(ANSWER);
        for (id, expected) in (0..).zip(expected) {
            assert_eq!(outcome(&mut driver, id), expected, "{kind:?}, row {id}");
        }
    }
}

#[test]
fn a_row_is_the_same_when_it_joins_late_and_others_leave() {
    for kind in KINDS {
        let mut executor = open("base", kind);
        let expected = LENGTHS.map(|len| alone(&mut executor, &prompt(len), usize::MAX));
        let mut driver = Driver::new(&mut executor);
        for (id, len) in (0..).zip(LENGTHS) {
            driver.add(id, &prompt(len), SamplingParams::GREEDY);
            driver.run(5 * usize::try_from(id).expect("a small number") + 5);
        }
        driver.run(ANSWER);
        // Each row leaves before the next one is compared.
        for (id, expected) in (0..).zip(expected) {
            assert_eq!(outcome(&mut driver, id), expected, "{kind:?}, row {id}");
        }
    }
}

#[test]
fn a_prompt_cut_into_chunks_gives_the_same_bits_where_attention_is_fused() {
    let mut executor = open("base", AttentionKind::Auto);
    let expected = alone(&mut executor, &prompt(300), usize::MAX);
    for chunk in [1, 5, 64, 256, 299] {
        assert_eq!(alone(&mut executor, &prompt(300), chunk), expected, "chunks of {chunk}");
    }
}

#[test]
fn a_prompt_cut_into_chunks_gives_the_same_tokens_where_attention_is_composed() {
    let mut executor = open("base", AttentionKind::Composed);
    let expected = alone(&mut executor, &prompt(300), usize::MAX);
    for chunk in [1, 5, 64, 256, 299] {
        let found = alone(&mut executor, &prompt(300), chunk);
        assert_eq!(found.0, expected.0, "chunks of {chunk}");
        for (found, expected) in found.1.iter().zip(&expected.1) {
            let (found, expected) = (f32::from_bits(*found), f32::from_bits(*expected));
            assert!((found - expected).abs() < 1e-5, "chunks of {chunk}: {found}, {expected}");
        }
    }
}

/// All rows of a ragged batch sample the same tokens as alone, with prompts cut into chunks, and steps launched ahead or not.
fn assert_same_tokens(chunk: usize, is_ahead: bool) {
    for kind in KINDS {
        let mut executor = open("base", kind);
        let expected = LENGTHS.map(|len| alone(&mut executor, &prompt(len), usize::MAX).0);
        let mut driver = Driver::new(&mut executor).with_chunk(chunk);
        for (id, len) in (0..).zip(LENGTHS) {
            driver.add(id, &prompt(len), SamplingParams::GREEDY);
        }
        if is_ahead {
            driver.run_ahead(ANSWER);
        } else {
            driver.run(ANSWER);
        }
        for (id, expected) in (0..).zip(expected) {
            assert_eq!(driver.remove(id), expected, "{kind:?}, row {id}");
        }
    }
}

#[test]
fn chunks_and_single_tokens_share_steps() {
    assert_same_tokens(16, false);
}

#[test]
fn steps_launched_ahead_of_reading_give_the_same_tokens() {
    assert_same_tokens(50, true);
}

#[test]
fn choices_that_copy_a_prompt_equal_the_same_request_alone() {
    let sampled = |seed| SamplingParams { temperature: 1.0, seed, ..SamplingParams::GREEDY };
    for (kind, is_ahead) in [(KINDS[0], false), (KINDS[1], false), (KINDS[1], true)] {
        let mut executor = open("base", kind);
        for len in [2, 40, 300] {
            let expected = [0, 1, 2].map(|seed| generate(&mut executor, &prompt(len), sampled(seed)));
            let mut driver = Driver::new(&mut executor).with_chunk(64);
            let run = if is_ahead { Driver::run_ahead } else { Driver::run };
            driver.add(0, &prompt(len), sampled(0));
            run(&mut driver, 1);
            driver.add_choice(1, 0, sampled(1));
            run(&mut driver, 9);
            // The source of the copy continues, or has been removed.
            driver.add_choice(2, 1, sampled(2));
            run(&mut driver, 20);
            driver.run(ANSWER);
            for (id, expected) in (0..).zip(expected) {
                assert_eq!(driver.remove(id), expected, "{kind:?}, {len} tokens, choice {id}");
            }
        }
    }
}

#[test]
fn a_step_that_samples_nothing_is_done_when_it_was_collected() {
    let held = |executor: &mut MlxExecutor, len, chunk| {
        let mut driver = Driver::new(executor).with_chunk(chunk);
        driver.add(0, &prompt(len), SamplingParams::GREEDY);
        driver.submit(ANSWER);
        driver.collect();
        executor.kv_bytes()
    };
    // The device allocates memory when it runs a step: both have read 299 positions.
    let whole = held(&mut open("base", AttentionKind::Auto), 299, usize::MAX);
    assert_eq!(held(&mut open("base", AttentionKind::Auto), 300, 299), whole);
}

#[test]
fn a_prompt_can_be_copied_while_its_last_chunk_is_being_read() {
    for kind in KINDS {
        let mut executor = open("base", kind);
        let expected = generate(&mut executor, &prompt(300), SamplingParams::GREEDY);
        // A step that samples nothing reads all but the last token of the prompt.
        let mut driver = Driver::new(&mut executor).with_chunk(299);
        driver.add(0, &prompt(300), SamplingParams::GREEDY);
        driver.submit(ANSWER);
        driver.add_choice(1, 0, SamplingParams::GREEDY);
        driver.submit(ANSWER);
        driver.collect();
        driver.collect();
        driver.run(ANSWER);
        assert_eq!([driver.remove(0), driver.remove(1)], [expected.clone(), expected], "{kind:?}");
    }
}

#[test]
fn a_copy_outlives_its_source() {
    for kind in KINDS {
        let mut executor = open("base", kind);
        let expected = generate(&mut executor, &prompt(40), SamplingParams::GREEDY);
        let mut driver = Driver::new(&mut executor);
        driver.add(0, &prompt(40), SamplingParams::GREEDY);
        driver.run(1);
        driver.add_choice(1, 0, SamplingParams::GREEDY);
        driver.run(3);
        driver.remove(0);
        driver.run(ANSWER);
        assert_eq!(driver.remove(1), expected, "{kind:?}");
    }
}

#[test]
fn a_reset_drops_all_sequences_and_keeps_the_model() {
    for kind in KINDS {
        let mut executor = open("base", kind);
        let expected = generate(&mut executor, &prompt(33), SamplingParams::GREEDY);
        let mut driver = Driver::new(&mut executor);
        driver.add(1, &prompt(300), SamplingParams::GREEDY);
        driver.run(3);
        assert!(executor.kv_bytes() > 0, "{kind:?}");
        executor.reset().expect("a reset");
        assert_eq!(executor.kv_bytes(), 0, "{kind:?}");
        assert_eq!(generate(&mut executor, &prompt(33), SamplingParams::GREEDY), expected, "{kind:?}");
    }
}

#[test]
fn kv_is_returned_when_a_sequence_is_released() {
    for kind in KINDS {
        let mut executor = open("base", kind);
        let mut driver = Driver::new(&mut executor);
        driver.add(0, &prompt(33), SamplingParams::GREEDY);
        driver.add(1, &prompt(300), SamplingParams::GREEDY);
        driver.run(2);
        driver.remove(1);
        driver.run(4);
        let one_left = executor.kv_bytes();
        let mut driver = Driver::new(&mut executor);
        driver.add(0, &prompt(33), SamplingParams::GREEDY);
        driver.run(4);
        assert_eq!(executor.kv_bytes(), one_left, "{kind:?}");
    }
}
