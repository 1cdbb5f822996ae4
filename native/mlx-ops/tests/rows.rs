//! Norms and gates match their definitions, in any batch and with any memory layout.

#![allow(clippy::cast_precision_loss)] // sizes in tests are small

mod support;

use mlx_ops::Stage;
use mlx_rs::error::Result;
use mlx_rs::{Array, ops};
use support::{bits, distance, matrix, noise, one, read};

const EPS: f32 = 1e-5;

fn rms_norm(x: &Array, weight: &Array) -> Result<Array> {
    one(Stage::RmsNorm { weight, eps: EPS }, x)
}

fn swiglu(x: &Array) -> Result<Array> {
    one(Stage::Swiglu, x)
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
        let out = read(&rms_norm(&matrix(&x, 3), &matrix(&weight, 1).flatten(None, None)?)?)?;
        assert!(distance(&out, &norm_reference(&x, &weight)) < 1e-5, "width {width}");
    }
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
    let norms = read(&rms_norm(&matrix(&x, 9), &weight)?)?;
    let gated = read(&swiglu(&matrix(&x, 9))?)?;
    for (i, row) in x.chunks(52).enumerate() {
        let row = matrix(row, 1);
        assert_eq!(bits(&read(&rms_norm(&row, &weight)?)?), bits(&norms[i * 52..][..52]));
        assert_eq!(bits(&read(&swiglu(&row)?)?), bits(&gated[i * 26..][..26]));
    }
    Ok(())
}

#[test]
fn a_transposed_view_gives_the_result_of_its_copy() -> Result<()> {
    let x = noise(7, 6 * 10);
    let turned: Vec<f32> = (0..60).map(|i| x[i % 6 * 10 + i / 6]).collect();
    let view = matrix(&x, 6);
    assert_eq!(bits(&read(&swiglu(&view.t())?)?), bits(&read(&swiglu(&matrix(&turned, 10))?)?));
    Ok(())
}

#[test]
fn nan_stays_nan() -> Result<()> {
    let out = read(&swiglu(&matrix(&[f32::NAN; 32], 1))?)?;
    assert!(out.iter().all(|x| x.is_nan()));
    Ok(())
}

#[test]
fn inputs_that_do_not_fit_are_refused() -> Result<()> {
    let weight = ops::zeros::<f32>(&[8])?;
    let x = ops::zeros::<f32>(&[2, 8])?;
    assert!(rms_norm(&x, &ops::zeros::<f32>(&[7])?).is_err());
    assert!(rms_norm(&x, &ops::zeros::<f32>(&[1, 8])?).is_err());
    assert!(rms_norm(&ops::zeros::<i32>(&[2, 8])?, &weight).is_err());
    assert!(rms_norm(&x, &ops::zeros::<i32>(&[8])?).is_err());
    assert!(rms_norm(&ops::zeros::<f32>(&[8])?, &weight).is_err());
    assert!(rms_norm(&ops::zeros::<f32>(&[0, 8])?, &weight).is_err());
    assert!(swiglu(&ops::zeros::<f32>(&[2, 7])?).is_err());
    Ok(())
}
