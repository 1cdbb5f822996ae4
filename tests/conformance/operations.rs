//! How many operations a step is does not depend on how many rows it has: on a device where each costs about the same, that
//! decides what a row costs that joins.

use mlx_serving::executor::mlx::{AttentionKind, MlxExecutor};
use mlx_serving::request::SamplingParams;

use super::against_itself::prompt;
use super::driver::Driver;
use super::folders::open;

/// Of a step that decodes rows of these lengths, a few tokens after they joined one after another.
fn operations(executor: &mut MlxExecutor, lengths: &[usize]) -> f64 {
    let mut driver = Driver::new(executor);
    for (id, len) in (0..).zip(lengths) {
        driver.add(id, &prompt(*len), SamplingParams::GREEDY);
        driver.run(1);
    }
    driver.run(40);
    f64::from(u32::try_from(driver.count_operations()).expect("few"))
}

#[test]
fn rows_of_similar_length_share_the_operations_of_one() {
    for case in ["base", "f16", "q4-g64"] {
        let mut executor = open(case, AttentionKind::Composed);
        let one = operations(&mut executor, &[60]);
        let similar: Vec<usize> = (0..32).map(|row| 60 + 5 * row % 40).collect();
        let many = operations(&mut executor, &similar);
        assert!(many <= 1.25 * one, "{case}: {one} operations of one row, {many} of 32");
    }
}

#[test]
fn rows_whose_lengths_differ_a_hundredfold_cost_less_than_twice_the_operations_of_one() {
    for case in ["base", "f16", "q4-g64"] {
        let mut executor = open(case, AttentionKind::Composed);
        let one = operations(&mut executor, &[60]);
        let ragged: Vec<usize> = (0..32).map(|row| [9, 20, 45, 100, 220, 350, 480, 900][row % 8]).collect();
        let many = operations(&mut executor, &ragged);
        assert!(many <= 2.0 * one, "{case}: {one} operations of one row, {many} of 32");
    }
}
