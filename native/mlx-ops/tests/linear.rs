//! A packed weight gives the product of the weight, in every version of it, and a row the same bits in any company.

#![allow(clippy::cast_precision_loss)] // sizes in tests are small

mod support;

use mlx_ops::PackedWeight;
use mlx_rs::error::Result;
use mlx_rs::{Array, ops};
use support::{bits, distance, noise};

/// Smaller than a tile, whole tiles, and more of everything: rows, inputs and outputs.
const SIZES: [[usize; 3]; 7] =
    [[1, 1, 1], [1, 64, 192], [3, 7, 15], [6, 96, 17], [8, 512, 48], [33, 515, 101], [300, 1030, 50]];

fn matrix(values: &[f32], rows: usize) -> Array {
    let size = |n: usize| i32::try_from(n).expect("few numbers");
    Array::from_slice(values, &[size(rows), size(values.len() / rows)])
}

fn read(array: &Array) -> Result<Vec<f32>> {
    array.eval()?;
    Ok(array.as_slice::<f32>().to_vec())
}

fn reference(x: &[f32], weight: &[f32], inputs: usize) -> Vec<f64> {
    let dot = |row: &[f32], column: &[f32]| row.iter().zip(column).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    x.chunks(inputs).flat_map(|row| weight.chunks(inputs).map(|column| dot(row, column)).collect::<Vec<_>>()).collect()
}

/// What every version for this processor makes of a weight.
fn versions(weight: &Array) -> Result<Vec<PackedWeight>> {
    let probe = Array::from_slice(&[0.0_f32], &[1, 1]);
    let known = (0..).map_while(|version| {
        let packed = PackedWeight::pack(&probe).map(|packed| packed.with_version(version)).ok()?;
        packed.apply(&probe, None).is_ok().then_some(version)
    });
    known.map(|version| Ok(PackedWeight::pack(weight)?.with_version(version))).collect()
}

#[test]
fn every_version_agrees_with_the_definition_at_any_size() -> Result<()> {
    for [rows, inputs, outputs] in SIZES {
        let (x, weight) = (noise(1, rows * inputs), noise(2, outputs * inputs));
        let expected = reference(&x, &weight, inputs);
        let versions = versions(&matrix(&weight, outputs))?;
        assert!(!versions.is_empty());
        for (version, packed) in versions.iter().enumerate() {
            let product = packed.apply(&matrix(&x, rows), None)?;
            assert_eq!(product.shape(), matrix(&vec![0.0; rows * outputs], rows).shape());
            let bound = 1e-6 * inputs as f64;
            assert!(distance(&read(&product)?, &expected) < bound, "{rows} x {inputs} x {outputs}, version {version}");
        }
    }
    Ok(())
}

#[test]
fn a_row_has_the_same_bits_alone_and_in_any_batch() -> Result<()> {
    let (inputs, outputs) = (700, 83);
    let (x, onto) = (noise(3, 160 * inputs), noise(4, 160 * outputs));
    for packed in versions(&matrix(&noise(5, outputs * inputs), outputs))? {
        let alone = |row: usize| -> Result<Vec<u32>> {
            let (x, onto) = (&x[row * inputs..][..inputs], &onto[row * outputs..][..outputs]);
            Ok(bits(&read(&packed.apply(&matrix(x, 1), Some(&matrix(onto, 1)))?)?))
        };
        let expected = (0..160).map(alone).collect::<Result<Vec<_>>>()?;
        for rows in (1..20).chain([32, 127, 129, 160]) {
            // The last ones, so that a row has another place each time.
            let (x, onto) = (&x[(160 - rows) * inputs..], &onto[(160 - rows) * outputs..]);
            let together = read(&packed.apply(&matrix(x, rows), Some(&matrix(onto, rows)))?)?;
            for (row, expected) in together.chunks(outputs).zip(&expected[160 - rows..]) {
                assert_eq!(&bits(row), expected, "{rows} rows");
            }
        }
    }
    Ok(())
}

#[test]
fn a_row_or_a_matrix_is_added_to() -> Result<()> {
    let (x, weight) = (matrix(&noise(6, 5 * 40), 5), matrix(&noise(7, 21 * 40), 21));
    let packed = PackedWeight::pack(&weight)?;
    let (bias, residual) = (matrix(&noise(8, 21), 1).reshape(&[-1])?, matrix(&noise(9, 5 * 21), 5));
    for onto in [&bias, &residual] {
        let expected = ops::add(packed.apply(&x, None)?, onto)?;
        assert!(packed.apply(&x, Some(onto))?.all_close(&expected, 1e-5, 1e-5, false)?);
    }
    Ok(())
}

#[test]
fn views_are_read_as_what_they_show() -> Result<()> {
    let (x, weight) = (matrix(&noise(10, 40 * 6), 40), matrix(&noise(11, 40 * 20), 40));
    let onto = matrix(&noise(12, 20 * 6), 20);
    let copied = |view: &Array| view.t().contiguous();
    let expected = PackedWeight::pack(&copied(&weight)?)?.apply(&copied(&x)?, Some(&copied(&onto)?))?;
    let found = PackedWeight::pack(&weight.t())?.apply(&x.t(), Some(&onto.t()))?;
    assert_eq!(bits(&read(&found)?), bits(&read(&expected)?));
    Ok(())
}

#[test]
fn numbers_that_are_none_stay_in_their_row() -> Result<()> {
    let mut x = noise(13, 3 * 24);
    x[30] = f32::NAN;
    let weight = PackedWeight::pack(&matrix(&noise(14, 10 * 24), 10))?;
    let product = read(&weight.apply(&matrix(&x, 3), None)?)?;
    assert_eq!(
        product.iter().map(|x| x.is_nan()).collect::<Vec<_>>(),
        (0..30).map(|i| i / 10 == 1).collect::<Vec<_>>()
    );
    Ok(())
}

#[test]
fn inputs_that_do_not_fit_are_refused() -> Result<()> {
    let zeros = |shape: &[i32]| ops::zeros::<f32>(shape);
    let weight = PackedWeight::pack(&zeros(&[20, 8])?)?;
    let x = zeros(&[3, 8])?;
    assert!(PackedWeight::pack(&zeros(&[8])?).is_err());
    assert!(PackedWeight::pack(&ops::zeros::<i32>(&[20, 8])?)?.apply(&x, None).is_err());
    assert!(weight.apply(&x, None).is_ok());
    assert!(weight.apply(&zeros(&[3, 7])?, None).is_err());
    assert!(weight.apply(&zeros(&[8])?, None).is_err());
    assert!(weight.apply(&zeros(&[0, 8])?, None).is_err());
    assert!(weight.apply(&ops::zeros::<i32>(&[3, 8])?, None).is_err());
    for onto in [zeros(&[20])?, zeros(&[3, 20])?] {
        assert!(weight.apply(&x, Some(&onto)).is_ok());
    }
    for onto in [zeros(&[19])?, zeros(&[1, 20])?, zeros(&[3, 19])?, ops::zeros::<i32>(&[20])?] {
        assert!(weight.apply(&x, Some(&onto)).is_err());
    }
    Ok(())
}
