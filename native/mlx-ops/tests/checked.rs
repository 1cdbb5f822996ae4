//! A token is valid only if all logits of its row are numbers.

mod support;

use mlx_ops::{NO_TOKEN, checked};
use mlx_rs::error::Result;
use mlx_rs::ops::transpose;
use mlx_rs::{Array, ops};
use support::{matrix, noise};

/// The checked token of the largest logit of each row.
fn read(rows: &[Vec<f32>]) -> Result<Vec<u32>> {
    let logits = matrix(&rows.concat(), rows.len());
    let tokens = ops::indexing::argmax_axis(&logits, -1, false)?;
    let read = values(&checked(&logits, &tokens)?);
    // The same with rows that are not contiguous in memory.
    let columns: Vec<f32> = (0..rows[0].len()).flat_map(|at| rows.iter().map(move |row| row[at])).collect();
    assert_eq!(read, values(&checked(&transpose(matrix(&columns, rows[0].len()))?, &tokens)?));
    Ok(read)
}

fn values(tokens: &Array) -> Vec<u32> {
    tokens.to_vec_exact().expect("tokens")
}

#[test]
fn one_invalid_logit_is_found_at_any_index() -> Result<()> {
    let bad = [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff), f32::INFINITY];
    for width in [1, 3, 16, 67, 512] {
        let sound = noise(7, width);
        let with = |at: usize, value: f32| {
            let mut row = sound.clone();
            row[at] = value;
            row
        };
        let rows: Vec<_> = (0..width).step_by(1 + width / 50).flat_map(|at| bad.map(|value| with(at, value))).collect();
        assert!(read(&rows)?.iter().all(|token| *token == NO_TOKEN), "width {width}");
        let large = [f32::MAX, f32::MIN, 0.0, -0.0, f32::MIN_POSITIVE, 1e-45];
        let rows: Vec<_> = large.map(|value| with(width / 2, value)).into_iter().chain([sound.clone()]).collect();
        assert!(read(&rows)?.iter().all(|token| (*token as usize) < width), "width {width}");
    }
    Ok(())
}

#[test]
fn minus_infinity_excludes_a_token_and_is_invalid_only_if_it_excludes_all() -> Result<()> {
    const NEVER: f32 = f32::NEG_INFINITY;
    let rows = [
        vec![NEVER, 2.0, NEVER, 1.0],
        vec![NEVER; 4],
        vec![1.0, NEVER, f32::NAN, 0.0],
        vec![NEVER, NEVER, NEVER, -9.0],
    ];
    assert_eq!(read(&rows)?, [1, NO_TOKEN, NO_TOKEN, 3]);
    Ok(())
}

#[test]
fn inputs_that_do_not_fit_are_refused() -> Result<()> {
    let logits = matrix(&noise(1, 8), 2);
    let tokens = |count: i32| Array::from_slice(&vec![0_u32; count.unsigned_abs() as usize], &[count]);
    assert!(checked(&logits, &tokens(3)).is_err());
    assert!(checked(&logits, &tokens(2).reshape(&[2, 1])?).is_err());
    assert!(checked(&logits, &Array::from_slice(&[0_i32, 0], &[2])).is_err());
    assert!(checked(&logits.flatten(None, None)?, &tokens(8)).is_err());
    // An index that sampling never gives.
    let outside = Array::from_slice(&[4_u32, u32::MAX], &[2]);
    assert_eq!(values(&checked(&logits, &outside)?), [NO_TOKEN, NO_TOKEN]);
    Ok(())
}
