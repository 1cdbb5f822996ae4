//! Arrays with one entry for each row of a step.

use mlx_rs::Array;
use mlx_rs::ops::concatenate;
use mlx_rs::ops::indexing::take_axis;

use super::failure::Mlx;

/// A value of each row, [r, 1].
pub(super) fn column<T>(rows: &[T], value: impl Fn(&T) -> f32) -> Array {
    let values: Vec<f32> = rows.iter().map(value).collect();
    Array::from_slice(&values, &[dim(values.len()), 1])
}

/// `x` with its rows at `places` replaced by the result of `change` on those rows.
pub(super) fn replace_rows(x: &Array, places: &[usize], change: impl FnOnce(&Array) -> Mlx<Array>) -> Mlx<Array> {
    let num_rows = usize::try_from(x.dim(0)).unwrap_or_default();
    if places.len() == num_rows {
        return change(x);
    }
    let changed = change(&take_axis(x, indices(places), 0)?)?;
    let mut order: Vec<usize> = (0..num_rows).collect();
    for (at, place) in places.iter().enumerate() {
        order[*place] = num_rows + at;
    }
    take_axis(concatenate(&[x, &changed], 0)?, indices(&order), 0)
}

/// Row numbers as an index array.
pub(super) fn indices(rows_of: &[usize]) -> Array {
    #[allow(clippy::cast_possible_truncation)] // a step has far fewer than 2^32 rows: `executor` checks
    let values: Vec<u32> = rows_of.iter().map(|row| *row as u32).collect();
    Array::from_slice(&values, &[dim(values.len())])
}

/// A number of rows or tokens as a dimension. Both are far below the range of `i32`.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
pub(super) fn dim(len: usize) -> i32 {
    len as i32
}
