//! A packed weight gives the product of the weight in every version, and a row has the same bits in any batch.

#![allow(clippy::cast_precision_loss)] // sizes in tests are small

mod support;

use mlx_ops::{Chain, PackedWeight, Stage};
use mlx_rs::error::Result;
use mlx_rs::{Array, ops};
use support::{bits, distance, matrix, noise, one, read};

/// Rows, inputs and outputs: smaller than a tile, whole tiles, larger than tiles, and a weight larger than a huge page.
const SIZES: [[usize; 3]; 8] =
    [[1, 1, 1], [1, 64, 192], [3, 7, 15], [6, 96, 17], [8, 512, 48], [33, 515, 101], [300, 1030, 50], [2, 515, 1100]];

fn apply(weight: &PackedWeight, x: &Array) -> Result<Array> {
    one(Stage::Linear { weight, bias: None, onto_kept: false }, x)
}

fn reference(x: &[f32], weight: &[f32], inputs: usize) -> Vec<f64> {
    let dot = |row: &[f32], column: &[f32]| row.iter().zip(column).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    x.chunks(inputs).flat_map(|row| weight.chunks(inputs).map(|column| dot(row, column)).collect::<Vec<_>>()).collect()
}

/// The product of a weight in every version for this processor.
fn versions(weight: &Array) -> Result<Vec<PackedWeight>> {
    let probe = Array::from_slice(&[0.0_f32], &[1, 1]);
    let known = (0..).map_while(|version| {
        let packed = PackedWeight::pack(&probe).map(|packed| packed.with_version(version)).ok()?;
        apply(&packed, &probe).is_ok().then_some(version)
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
            let product = apply(packed, &matrix(&x, rows))?;
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
    let x = noise(3, 160 * inputs);
    for packed in versions(&matrix(&noise(5, outputs * inputs), outputs))? {
        let alone = |row: &[f32]| Ok(bits(&read(&apply(&packed, &matrix(row, 1))?)?));
        let expected = x.chunks(inputs).map(alone).collect::<Result<Vec<_>>>()?;
        for rows in (1..20).chain([32, 127, 129, 160]) {
            // The last rows, so that a row has another position each time.
            let together = read(&apply(&packed, &matrix(&x[(160 - rows) * inputs..], rows))?)?;
            for (row, expected) in together.chunks(outputs).zip(&expected[160 - rows..]) {
                assert_eq!(&bits(row), expected, "{rows} rows");
            }
        }
    }
    Ok(())
}

#[test]
fn bias_and_kept_rows_are_added() -> Result<()> {
    let (x, weight) = (matrix(&noise(6, 5 * 40), 5), PackedWeight::pack(&matrix(&noise(7, 40 * 40), 40))?);
    let bias = matrix(&noise(8, 40), 1).flatten(None, None)?;
    let product = apply(&weight, &x)?;
    let with_bias = one(Stage::Linear { weight: &weight, bias: Some(&bias), onto_kept: false }, &x)?;
    assert!(with_bias.all_close(ops::add(&product, &bias)?, 1e-5, 1e-5, false)?);
    let inner = Stage::Linear { weight: &weight, bias: None, onto_kept: false };
    for bias in [None, Some(&bias)] {
        let onto = Stage::Linear { weight: &weight, bias, onto_kept: true };
        let found = Chain::new(40, &[Stage::Keep, inner, onto])?.run(&x, None)?;
        let expected = ops::add(&x, one(Stage::Linear { weight: &weight, bias, onto_kept: false }, &product)?)?;
        assert!(found.all_close(&expected, 1e-4, 1e-4, false)?);
    }
    Ok(())
}

#[test]
fn views_give_the_result_of_their_copies() -> Result<()> {
    let (x, weight) = (matrix(&noise(10, 40 * 6), 40), matrix(&noise(11, 40 * 20), 40));
    let bias = matrix(&noise(12, 40), 20).take_axis(Array::from_int(1), 1)?;
    let product = |x: &Array, weight: &Array, bias: &Array| -> Result<_> {
        let weight = PackedWeight::pack(weight)?;
        read(&one(Stage::Linear { weight: &weight, bias: Some(bias), onto_kept: false }, x)?)
    };
    let copied = |view: &Array| view.contiguous();
    let expected = product(&copied(&x.t())?, &copied(&weight.t())?, &copied(&bias)?)?;
    assert_eq!(bits(&product(&x.t(), &weight.t(), &bias)?), bits(&expected));
    Ok(())
}

#[test]
fn a_nan_affects_only_its_row() -> Result<()> {
    let mut x = noise(13, 3 * 24);
    x[30] = f32::NAN;
    let weight = PackedWeight::pack(&matrix(&noise(14, 10 * 24), 10))?;
    let product = read(&apply(&weight, &matrix(&x, 3))?)?;
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
    assert!(PackedWeight::pack(&zeros(&[0, 8])?).is_err());
    assert!(PackedWeight::pack(&ops::zeros::<i32>(&[20, 8])?).is_err());
    assert!(apply(&weight, &x).is_ok());
    for misfit in [zeros(&[3, 7])?, zeros(&[8])?, zeros(&[0, 8])?, ops::zeros::<i32>(&[3, 8])?] {
        assert!(apply(&weight, &misfit).is_err());
    }
    let with = |bias: &Array| one(Stage::Linear { weight: &weight, bias: Some(bias), onto_kept: false }, &x);
    assert!(with(&zeros(&[20])?).is_ok());
    for misfit in [zeros(&[19])?, zeros(&[1, 20])?, ops::zeros::<i32>(&[20])?] {
        assert!(with(&misfit).is_err());
    }
    Ok(())
}
