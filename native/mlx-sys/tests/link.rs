//! Basic tests of the linked MLX: it computes, and it reports errors.

#![allow(clippy::cast_possible_truncation)] // small numbers

use mlx_rs::{Array, Dtype, error::Result, ops, random};

/// A matrix of small, different entries.
fn matrix(rows: i32, columns: i32) -> Array {
    let entries: Vec<f32> = (0..rows * columns).map(|i| f64::from((i * 7) % 11) as f32 * 0.25 - 1.0).collect();
    Array::from_slice(&entries, &[rows, columns])
}

fn largest_difference(a: &Array, b: &Array) -> Result<f32> {
    let largest = ops::max(ops::abs(ops::subtract(a, b)?)?, None)?;
    largest.eval()?;
    Ok(largest.item_exact::<f32>())
}

#[test]
fn arrays_add() -> Result<()> {
    let a = Array::from_slice(&[1.0f32, 2.0, 3.0], &[3]);
    let sum = ops::add(&a, &a)?;
    sum.eval()?;
    assert_eq!(sum.as_slice::<f32>(), [2.0, 4.0, 6.0]);
    Ok(())
}

#[test]
fn matmul_agrees_with_the_sum_it_stands_for() -> Result<()> {
    let (a, b) = (matrix(3, 64), matrix(64, 5));
    let product = ops::matmul(&a, &b)?;
    let terms = ops::multiply(a.reshape(&[3, 64, 1])?, b.reshape(&[1, 64, 5])?)?;
    let expected = ops::sum_axis(&terms, 1, None)?;
    assert!(largest_difference(&product, &expected)? < 1e-4);
    Ok(())
}

#[test]
fn quantized_matmul_agrees_with_its_dequantized_weights() -> Result<()> {
    let (x, w) = (matrix(2, 64), matrix(32, 64));
    let (packed, scales, biases) = ops::quantize(&w, 32, 4)?;
    let product = ops::quantized_matmul(&x, &packed, &scales, &biases, true, 32, 4)?;
    let weights = ops::dequantize(&packed, &scales, &biases, 32, 4)?;
    let expected = ops::matmul(&x, weights.t())?;
    assert!(largest_difference(&product, &expected)? < 1e-3);
    Ok(())
}

#[test]
fn half_precision_values_cross_the_border() -> Result<()> {
    let one_and_a_half = Array::from_slice(&[1.5f32], &[1]);
    let half = one_and_a_half.as_dtype(Dtype::Float16)?;
    let brain = one_and_a_half.as_dtype(Dtype::Bfloat16)?;
    half.eval()?;
    brain.eval()?;
    assert_eq!(half.item_exact::<half::f16>(), half::f16::from_f32_const(1.5));
    assert_eq!(half.as_slice::<half::f16>(), [half::f16::from_f32_const(1.5)]);
    assert_eq!(brain.item_exact::<half::bf16>(), half::bf16::from_f32_const(1.5));
    assert_eq!(brain.as_slice::<half::bf16>(), [half::bf16::from_f32_const(1.5)]);
    Ok(())
}

#[test]
fn an_unseeded_random_state_finds_its_clock() -> Result<()> {
    let state = random::RandomState::new()?;
    drop(state);
    Ok(())
}

/// By default mlx-c prints an error and exits: mlx-rs must have installed its handler on the first thread that uses it.
#[test]
fn an_error_on_a_fresh_thread_is_an_error_not_the_end_of_the_process() {
    let outcome = std::thread::spawn(|| {
        let (a, b) = (matrix(2, 3), matrix(5, 7));
        ops::matmul(&a, &b).map(drop)
    });
    let error = outcome.join().expect("the thread does not panic").expect_err("2x3 by 5x7 has no product");
    assert!(error.what().contains("matmul"), "{}", error.what());
}
