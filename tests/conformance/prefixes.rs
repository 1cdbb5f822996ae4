//! KV of a sequence that has ended gives the same results as computing it again, whether it is copied or taken over, as a whole
//! or in part.
//!
//! Bits are equal where attention is fused. Elsewhere a row's bits depend on how its prompt is cut (`against_itself`), and KV of
//! an answer was computed token by token: tokens are equal, and logits as far as rounding allows.

use mlx_serving::executor::Executor;
use mlx_serving::executor::mlx::{AttentionKind, MlxBackend, MlxExecutor};
use mlx_serving::request::{SamplingParams, SequenceId, TokenId};
use mlx_serving::scheduler::plan::Prefix;

use super::against_itself::{LENGTHS, Outcome, alone, outcome, prompt};
use super::driver::{ANSWER, Driver};
use super::folders::open;
use super::seeded::cases;

const KINDS: [AttentionKind; 2] = [AttentionKind::Auto, AttentionKind::Composed];

fn prefix(of: u64, num_positions: usize, takes_over: bool) -> Prefix {
    Prefix { of: SequenceId(of), num_positions, takes_over }
}

/// A prompt with the given tokens and some more.
fn next_turn(tokens: &[TokenId]) -> Vec<TokenId> {
    tokens.iter().copied().chain((0..9).map(|at| (at * 17 + 3) % 90)).collect()
}

/// The answers to two prompts that begin with what sequence 0 computed, prompt and answer: with all of it, and with all but the
/// last `num_lost` positions. The first prompt copies, the second one takes over.
fn reuse(driver: &mut Driver<'_>, num_lost: usize) -> [(Vec<TokenId>, Outcome); 2] {
    let tokens = driver.retain(0);
    let part = &tokens[..tokens.len() - num_lost];
    let prompts = [next_turn(&tokens), next_turn(part)];
    driver.add_after(50, &prompts[0], prefix(0, tokens.len(), false));
    driver.run(1);
    driver.add_after(51, &prompts[1], prefix(0, part.len(), true));
    driver.run(ANSWER);
    let [whole, part] = [50, 51].map(|id| outcome(driver, id));
    let [first, second] = prompts;
    [(first, whole), (second, part)]
}

fn assert_equal(kind: AttentionKind, found: &Outcome, expected: &Outcome, what: &str) {
    if kind == AttentionKind::Auto {
        return assert_eq!(found, expected, "{what}");
    }
    assert_eq!(found.0, expected.0, "{kind:?}: {what}");
    for (found, expected) in found.1.iter().zip(&expected.1) {
        let (found, expected) = (f32::from_bits(*found), f32::from_bits(*expected));
        assert!((found - expected).abs() < 1e-4, "{kind:?}: {what}: {found}, {expected}");
    }
}

#[test]
fn reused_kv_gives_the_same_answers_as_computing_it_again() {
    for kind in KINDS {
        let mut executor = open("base", kind);
        for (len, num_lost, chunk) in [(40, 0, 64), (300, 7, 64), (260, 30, 5), (7, 3, usize::MAX)] {
            let mut driver = Driver::new(&mut executor).with_chunk(chunk);
            driver.add(0, &prompt(len), SamplingParams::GREEDY);
            driver.run(ANSWER);
            let answers = reuse(&mut driver, num_lost);
            for (prompt, found) in answers {
                let expected = alone(&mut executor, &prompt, usize::MAX);
                assert_equal(kind, &found, &expected, &format!("{len} tokens in chunks of {chunk}, {num_lost} lost"));
            }
        }
    }
}

#[test]
fn reused_kv_gives_the_same_answers_beside_other_rows() {
    for kind in KINDS {
        let mut executor = open("base", kind);
        let mut driver = Driver::new(&mut executor).with_chunk(50);
        driver.add(0, &prompt(200), SamplingParams::GREEDY);
        for (id, len) in (1..).zip(LENGTHS) {
            driver.add(id, &prompt(len), SamplingParams::GREEDY);
            driver.run(3);
        }
        let answers = reuse(&mut driver, 11);
        let others: Vec<_> = (1..).zip(LENGTHS).map(|(id, len)| (len, driver.remove(id))).collect();
        for (prompt, found) in answers {
            assert_equal(kind, &found, &alone(&mut executor, &prompt, usize::MAX), "beside others");
        }
        for (len, tokens) in others {
            assert_eq!(tokens, alone(&mut executor, &prompt(len), usize::MAX).0, "{kind:?}: a row beside it");
        }
    }
}

#[test]
fn kv_is_reused_while_the_last_step_of_its_sequence_runs() {
    for kind in KINDS {
        let mut executor = open("base", kind);
        let mut driver = Driver::new(&mut executor);
        driver.add(0, &prompt(33), SamplingParams::GREEDY);
        driver.run(5);
        driver.submit(6);
        let tokens = driver.retain(0);
        let next = next_turn(&tokens);
        driver.add_after(1, &next, prefix(0, tokens.len(), false));
        driver.submit(1);
        driver.collect();
        driver.collect();
        driver.run(ANSWER);
        let found = outcome(&mut driver, 1);
        assert_equal(kind, &found, &alone(&mut executor, &next, usize::MAX), "in flight");
    }
}

#[test]
fn many_turns_of_a_chat_take_over_the_same_kv() {
    for kind in KINDS {
        let mut executor = open("base", kind);
        let mut driver = Driver::new(&mut executor).with_chunk(32);
        let mut history = prompt(20);
        driver.add(0, &history, SamplingParams::GREEDY);
        for turn in 1..=10 {
            driver.run(13);
            let tokens = driver.retain(turn - 1);
            history = next_turn(&tokens);
            driver.add_after(turn, &history, prefix(turn - 1, tokens.len(), true));
        }
        driver.run(ANSWER);
        let found = outcome(&mut driver, 10);
        assert_equal(kind, &found, &alone(&mut executor, &history, usize::MAX), "the tenth turn");
    }
}

#[test]
fn released_kv_is_returned() {
    for kind in KINDS {
        let mut executor = open("base", kind);
        let mut driver = Driver::new(&mut executor);
        driver.add(0, &prompt(33), SamplingParams::GREEDY);
        driver.add(1, &prompt(300), SamplingParams::GREEDY);
        driver.run(3);
        let tokens = driver.retain(0);
        driver.retain(1);
        driver.add_after(2, &next_turn(&tokens), prefix(0, tokens.len(), true));
        driver.run(3);
        driver.release(1);
        driver.remove(2);
        driver.submit(0);
        driver.collect();
        assert_eq!(executor.kv_bytes(), 0, "{kind:?}");
    }
}

/// The logits after a prompt of which a retained sequence has a part.
fn logits(executor: &mut MlxExecutor, first: &[TokenId], next: &[TokenId], takes_over: bool) -> Vec<f32> {
    let mut driver = Driver::new(executor).with_chunk(5);
    driver.add(0, first, SamplingParams::GREEDY);
    driver.run(1);
    let tokens = driver.retain(0);
    assert!(next.starts_with(&tokens));
    let mut driver = driver.with_chunk(usize::MAX);
    driver.add_after(1, next, prefix(0, tokens.len(), takes_over));
    driver.logits().remove(&1).expect("a row")
}

#[test]
fn every_family_continues_from_reused_kv() {
    for case in cases() {
        let seeded = case.folder();
        let mut executor = MlxBackend::new().expect("a backend").open_mlx(&seeded.folder).expect("a model");
        for expected in case.prompts.iter().filter(|expected| expected.prompt.len() > 2) {
            let len = expected.prompt.len();
            for (num_first, takes_over) in [(len / 2, false), (len - 1, true)] {
                let found = logits(&mut executor, &expected.prompt[..num_first], &expected.prompt, takes_over);
                let largest = expected.logits.iter().fold(0_f32, |most, logit| most.max(logit.abs()));
                let worst = found.iter().zip(&expected.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                let what = format!("{}: {num_first} of {len} tokens", case.name);
                assert!(worst <= expected.tolerance * largest, "{what}: {worst} of {largest}");
            }
        }
    }
}
