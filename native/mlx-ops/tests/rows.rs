//! The row primitives give what their definitions say, in any batch and from any memory layout.

#![allow(clippy::cast_precision_loss)] // sizes in tests are small

mod support;

use mlx_ops::{add_rms_norm, rms_norm, swiglu};
use mlx_rs::error::Result;
use mlx_rs::{Array, ops};
use support::{bits, distance, noise};

const EPS: f32 = 1e-5;

fn matrix(values: &[f32], rows: i32) -> Array {
    let columns = i32::try_from(values.len()).expect("few numbers") / rows;
    Array::from_slice(values, &[rows, columns])
}

fn read(array: &Array) -> Result<Vec<f32>> {
    array.eval()?;
    Ok(array.as_slice::<f32>().to_vec())
}

fn norm_reference(x: &[f32], weight: &[f32]) -> Vec<f64> {
    x.chunks(weight.len())
        .flat_map(|row| {
            let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            let scale = 1.0 / (squares / row.len() as f64 + f64::from(EPS)).sqrt();
            row.iter().zip(weight).map(move |(&x, &w)| f64::from(x) * scale * f64::from(w)).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn rms_norm_agrees_with_its_definition_at_any_width() -> Result<()> {
    for width in [1, 7, 8, 64, 515] {
        let (x, weight) = (noise(1, 3 * width), noise(2, width));
        let out = read(&rms_norm(&matrix(&x, 3), &matrix(&weight, 1).reshape(&[-1])?, EPS)?)?;
        assert!(distance(&out, &norm_reference(&x, &weight)) < 1e-5, "width {width}");
    }
    Ok(())
}

#[test]
fn the_fused_residual_gives_the_bits_of_an_addition_and_a_norm() -> Result<()> {
    let (x, y) = (matrix(&noise(1, 5 * 96), 5), matrix(&noise(2, 5 * 96), 5));
    let weight = Array::from_slice(&noise(3, 96), &[96]);
    let (sum, norm) = add_rms_norm(&x, &y, &weight, EPS)?;
    let composed = ops::add(&x, &y)?;
    assert_eq!(bits(&read(&sum)?), bits(&read(&composed)?));
    assert_eq!(bits(&read(&norm)?), bits(&read(&rms_norm(&composed, &weight, EPS)?)?));
    Ok(())
}

#[test]
fn swiglu_agrees_with_its_definition_at_any_width_and_far_from_zero() -> Result<()> {
    for half in [1, 8, 13, 256] {
        let mut x = noise(4, 2 * 2 * half);
        x[0] = -200.0;
        x[2 * half] = 200.0;
        let expected: Vec<f64> = x
            .chunks(2 * half)
            .flat_map(|row| (0..half).map(|i| (f64::from(row[i]), f64::from(row[half + i]))).collect::<Vec<_>>())
            .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
            .collect();
        let out = read(&swiglu(&matrix(&x, 2))?)?;
        assert!(distance(&out, &expected) < 1e-4, "half {half}");
    }
    Ok(())
}

#[test]
fn a_row_has_the_same_bits_alone_and_in_a_batch() -> Result<()> {
    let x = noise(5, 9 * 52);
    let weight = Array::from_slice(&noise(6, 52), &[52]);
    let norms = read(&rms_norm(&matrix(&x, 9), &weight, EPS)?)?;
    let gated = read(&swiglu(&matrix(&x, 9))?)?;
    for (i, row) in x.chunks(52).enumerate() {
        let row = matrix(row, 1);
        assert_eq!(bits(&read(&rms_norm(&row, &weight, EPS)?)?), bits(&norms[i * 52..][..52]));
        assert_eq!(bits(&read(&swiglu(&row)?)?), bits(&gated[i * 26..][..26]));
    }
    Ok(())
}

#[test]
fn a_transposed_view_is_read_as_what_it_shows() -> Result<()> {
    let x = noise(7, 6 * 10);
    let turned: Vec<f32> = (0..60).map(|i| x[i % 6 * 10 + i / 6]).collect();
    let view = matrix(&x, 6);
    assert_eq!(bits(&read(&swiglu(&view.t())?)?), bits(&read(&swiglu(&matrix(&turned, 10))?)?));
    Ok(())
}

#[test]
fn numbers_that_are_none_stay_none() -> Result<()> {
    let out = read(&swiglu(&matrix(&[f32::NAN; 32], 1))?)?;
    assert!(out.iter().all(|x| x.is_nan()));
    Ok(())
}

#[test]
fn inputs_that_do_not_fit_are_refused() -> Result<()> {
    let weight = ops::zeros::<f32>(&[8])?;
    let x = ops::zeros::<f32>(&[2, 8])?;
    assert!(rms_norm(&x, &ops::zeros::<f32>(&[7])?, EPS).is_err());
    assert!(rms_norm(&x, &ops::zeros::<f32>(&[1, 8])?, EPS).is_err());
    assert!(rms_norm(&ops::zeros::<i32>(&[2, 8])?, &weight, EPS).is_err());
    assert!(rms_norm(&Array::from_f32(1.0), &weight, EPS).is_err());
    assert!(rms_norm(&ops::zeros::<f32>(&[0, 8])?, &weight, EPS).is_err());
    assert!(add_rms_norm(&x, &ops::zeros::<f32>(&[1, 8])?, &weight, EPS).is_err());
    assert!(swiglu(&ops::zeros::<f32>(&[2, 7])?).is_err());
    Ok(())
}
