//! The number of operations in a step does not depend on the number of rows. On a device on which each operation costs about
//! the same, this decides the cost of a row that joins.

use mlx_serving::config::Precision;
use mlx_serving::executor::Executor;
use mlx_serving::executor::mlx::{AttentionKind, MlxBackend, MlxExecutor};
use mlx_serving::request::SamplingParams;

use super::against_itself::prompt;
use super::driver::{ANSWER, Driver};
use super::folders::open;
use super::seeded::cases;

/// Operations of a step that decodes rows of these lengths, after a few tokens. Rows join one after another, or together.
fn operations(executor: &mut MlxExecutor, lengths: &[usize], is_together: bool) -> f64 {
    let vocab_size = u32::try_from(executor.limits().vocab_size).expect("a small vocabulary");
    let mut driver = Driver::new(executor);
    for (id, len) in (0..).zip(lengths) {
        let tokens: Vec<_> = prompt(*len).into_iter().map(|token| token % vocab_size).collect();
        driver.add(id, &tokens, SamplingParams::GREEDY);
        if !is_together {
            driver.run(1);
        }
    }
    // One row a step moves to a neighbouring slot.
    driver.run(if is_together { 2 } else { 12 });
    f64::from(u32::try_from(driver.count_operations()).expect("few"))
}

/// Rows of these lengths need at most `times` the operations of one row.
fn assert_bounded(executor: &mut MlxExecutor, name: &str, (lengths, is_together): (&[usize], bool), times: f64) {
    let one = operations(executor, &[20], true);
    let many = operations(executor, lengths, is_together);
    assert!(many <= times * one, "{name}: {one} operations of one row, {many} of {}", lengths.len());
}

#[test]
fn rows_of_each_family_share_the_operations_of_one() {
    let similar: Vec<usize> = (0..32).map(|row| 20 + 5 * row % 17).collect();
    for case in cases().iter().filter(|case| case.name.ends_with("f16")) {
        let backend = MlxBackend::new().expect("a backend").with_attention(AttentionKind::Composed);
        let mut executor = backend.precision(Precision::Model, None).open_mlx(&case.folder().folder).expect("a model");
        assert_bounded(&mut executor, &case.name, (&similar, true), 1.25);
    }
}

#[test]
fn rows_that_join_one_after_another_end_up_sharing_the_operations_of_one() {
    let mut executor = open("base", AttentionKind::Composed);
    let similar: Vec<usize> = (0..32).map(|row| 20 + 5 * row % 17).collect();
    assert_bounded(&mut executor, "base", (&similar, false), 1.25);
}

#[test]
fn rows_whose_lengths_differ_a_hundredfold_cost_at_most_twice_the_operations_of_one() {
    let mut executor = open("base", AttentionKind::Composed);
    let ragged: Vec<usize> = (0..32).map(|row| [8, 20, 45, 100, 220, 350, 600, 800][row % 8]).collect();
    assert_bounded(&mut executor, "base", (&ragged, true), 2.0);
}

/// Operations of the step that reads these prompts.
fn operations_of_prompts(executor: &mut MlxExecutor, lengths: &[usize], num_decoding: u64) -> f64 {
    let vocab_size = u32::try_from(executor.limits().vocab_size).expect("a small vocabulary");
    let of = |len: usize| prompt(len).into_iter().map(|token| token % vocab_size).collect::<Vec<_>>();
    let mut driver = Driver::new(executor);
    (0..num_decoding).for_each(|id| driver.add(id, &of(20), SamplingParams::GREEDY));
    if num_decoding > 0 {
        driver.run(2);
        // Prompts take the places of rows in between.
        (0..num_decoding).step_by(3).for_each(|id| drop(driver.remove(id)));
    }
    (100..).zip(lengths).for_each(|(id, len)| driver.add(id, &of(*len), SamplingParams::GREEDY));
    f64::from(u32::try_from(driver.count_operations()).expect("few"))
}

const SIMILAR: [usize; 8] = [33, 24, 40, 29, 31, 25, 38, 30];

#[test]
fn prompts_of_each_family_share_the_operations_of_one() {
    for case in cases().iter().filter(|case| case.name.ends_with("f16")) {
        let backend = MlxBackend::new().expect("a backend").with_attention(AttentionKind::Composed);
        let mut executor = backend.precision(Precision::Model, None).open_mlx(&case.folder().folder).expect("a model");
        let [one, eight] = [&SIMILAR[..1], &SIMILAR].map(|lengths| operations_of_prompts(&mut executor, lengths, 0));
        assert!(eight <= 1.5 * one, "{}: {one} operations of one prompt, {eight} of eight", case.name);
    }
}

#[test]
fn prompts_share_operations_beside_rows_that_decode() {
    let mut executor = open("base", AttentionKind::Composed);
    let [one, eight] = [&SIMILAR[..1], &SIMILAR].map(|lengths| operations_of_prompts(&mut executor, lengths, 24));
    assert!(eight <= 1.25 * one, "{one} operations beside one prompt, {eight} beside eight");
}

/// Every layer brought rows into the order of their slots and back, also where they lay in it.
#[test]
fn rows_cost_the_same_operations_in_any_order_of_the_plan() {
    for name in ["llama-f16", "gemma3_text-f16"] {
        let case = cases().into_iter().find(|case| case.name == name).expect("a case");
        let backend = MlxBackend::new().expect("a backend").with_attention(AttentionKind::Composed);
        let mut executor = backend.precision(Precision::Model, None).open_mlx(&case.folder().folder).expect("a model");
        let mut count = |ids: [u64; 4], pause: usize| {
            let mut driver = Driver::new(&mut executor);
            // Slots come together one a step. All rows come to the same length, so that none needs a mask.
            for step in 0..16 {
                for (place, id) in ids.into_iter().enumerate().filter(|(place, _)| place * pause == step) {
                    let tokens: Vec<_> = prompt(20 + place * pause).into_iter().map(|token| token % 60).collect();
                    driver.add(id, &tokens, SamplingParams::GREEDY);
                }
                driver.submit(ANSWER);
                driver.collect();
            }
            driver.count_operations()
        };
        let together = count([0, 1, 2, 3], 0);
        assert_eq!([count([0, 1, 2, 3], 1), count([3, 1, 0, 2], 1)], [together; 2], "{name}");
    }
    let mut executor = open("base", AttentionKind::Composed);
    assert!(operations(&mut executor, &[20], true) <= 162.0, "two gathers in each of two layers are 166");
}
