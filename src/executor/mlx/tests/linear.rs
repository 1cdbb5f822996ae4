//! Comparison of linear layers.

use mlx_rs::Array;
use mlx_rs::ops::quantize;

use super::super::failure::Mlx;
use super::super::linear::{Linear, Quantized};

const SHAPE: [i32; 2] = [32, 64];

fn matrix(first: f32) -> Array {
    let values: Vec<f32> = (0..2048_u16).map(|value| if value == 0 { first } else { f32::from(value % 7) }).collect();
    Array::from_slice(&values, &SHAPE)
}

fn dense(first: f32) -> Mlx<Linear> {
    Linear::dense(matrix(first), None)
}

fn quantized(first: f32, bits: i32) -> Mlx<Linear> {
    let (codes, scales, offsets) = quantize(matrix(first), 32, bits)?;
    Ok(Linear::quantized(Quantized { codes, scales, offsets, bits, group_size: 32 }, None))
}

#[test]
fn layers_are_equal_if_values_and_formats_are_equal() -> Mlx<()> {
    assert!(dense(0.5)?.equals(&dense(0.5)?)?);
    assert!(!dense(0.5)?.equals(&dense(0.25)?)?);
    assert!(quantized(0.0, 8)?.equals(&quantized(0.0, 8)?)?);
    assert!(!quantized(0.0, 8)?.equals(&quantized(30.0, 8)?)?);
    assert!(!quantized(0.0, 8)?.equals(&quantized(0.0, 4)?)?);
    assert!(!quantized(0.0, 8)?.equals(&dense(0.0)?)?);
    Ok(())
}
