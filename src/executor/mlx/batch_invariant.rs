//! Batch-invariant matmul (matrix products). A BLAS selects its kernel, and with it the order of sums, by the shape of a
//! product. This module cuts products into blocks, and uses only numbers of rows for which a row gets the same bits. So a
//! row's result depends neither on the number of other rows nor on its place among them.
//!
//! No BLAS documents which numbers of rows agree, so they are measured for each size of a weight when it is loaded. Products
//! of packed weights (`mlx-ops`) are batch-invariant by themselves.

use std::iter::successors;

use mlx_rs::ops::indexing::{TryIndexOp, take_axis};
use mlx_rs::ops::{concatenate, zeros_dtype};
use mlx_rs::random::{key, normal};
use mlx_rs::{Array, Dtype};

use super::failure::Mlx;
use super::rows::indices;

/// Rows of the product that others are compared with: a usual batch size. It is halved while rows at different places of such a
/// product differ, as with `OpenBLAS` for AVX2, whose kernel computes the last rows separately.
const ROWS: i32 = 32;
/// The smallest and the largest number of rows that is tried.
const FEWEST_ROWS: i32 = 4;
const MOST_ROWS: i32 = 1024;
/// Most values in the result of a product that is tried, which bounds the memory of measuring.
const MOST_RESULTS: i32 = 1 << 25;
/// At most this many rows of zeros are added to avoid another product: a call costs about as much as 8 rows.
const ROWS_OF_A_CALL: i32 = 8;

/// Numbers of rows whose products give equal bits, ascending; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InvariantBlocks(pub(super) Vec<i32>);

impl InvariantBlocks {
    /// Measures for which numbers of rows `product`, [n, inputs] → [n, outputs], gives equal bits.
    pub(super) fn measure(
        [inputs, outputs]: [i32; 2],
        dtype: Dtype,
        product: impl Fn(&Array) -> Mlx<Array>,
    ) -> Mlx<Self> {
        let most = MOST_ROWS.min(MOST_RESULTS / outputs).max(ROWS);
        let x = normal::<f32>(&[most, inputs], None, None, &key(0)?)?.as_dtype(dtype)?;
        let agree = |rows: i32, others: i32| {
            let tried = rows.max(others);
            let x = x.try_index(..tried)?;
            // In reverse order, so that each row has another place.
            let turned: Vec<_> = (0..tried.unsigned_abs() as usize).rev().collect();
            let turn = |x: &Array| take_axis(x, indices(&turned), 0);
            let found = turn(&Self(vec![others]).apply(&turn(&x)?, &product)?)?;
            found.eq_values(Self(vec![rows]).apply(&x, &product)?)
        };
        let mut first = ROWS;
        while first > 1 && !agree(first, first)? {
            first /= 2;
        }
        let larger = successors(Some(2 * first), |rows| Some(2 * rows)).take_while(|rows| *rows <= most);
        let smaller = successors(Some(first / 2), |rows| Some(rows / 2)).take_while(|rows| *rows >= FEWEST_ROWS);
        let mut sizes = vec![first];
        sizes.extend(while_true(larger, |rows| agree(first, rows))?);
        sizes.extend(while_true(smaller, |rows| agree(first, rows))?);
        sizes.sort_unstable();
        Ok(Self(sizes))
    }

    /// `product` of [n, inputs], computed in blocks. The last block is padded with rows of zeros.
    pub(super) fn apply(&self, x: &Array, product: impl Fn(&Array) -> Mlx<Array>) -> Mlx<Array> {
        let rows = x.dim(0);
        let sizes = self.cut(rows);
        let missing = sizes.iter().sum::<i32>() - rows;
        let filled = match missing {
            0 => x.clone(),
            _ => concatenate(&[x, &zeros_dtype(&[missing, x.dim(1)], x.dtype())?], 0)?,
        };
        if let [_] = sizes[..] {
            return product(&filled)?.try_index(..rows);
        }
        let mut start = 0;
        let mut next = |size| {
            start += size;
            product(&filled.try_index(start - size..start)?)
        };
        let blocks = sizes.into_iter().map(&mut next).collect::<Mlx<Vec<_>>>()?;
        concatenate(&blocks, 0)?.try_index(..rows)
    }

    /// The numbers of rows of the blocks, together at least `rows`.
    pub(super) fn cut(&self, rows: i32) -> Vec<i32> {
        let mut sizes = Vec::new();
        let mut left = rows;
        while left > 0 {
            let fitting = self.0.iter().rev().find(|size| **size <= left);
            let covering = self.0.iter().find(|size| **size >= left && **size - left <= ROWS_OF_A_CALL);
            let size = covering.or(fitting).copied().unwrap_or(self.0[0]);
            sizes.push(size);
            left -= size;
        }
        sizes
    }
}

/// The first values for which `is_true` holds.
fn while_true(values: impl Iterator<Item = i32>, is_true: impl Fn(i32) -> Mlx<bool>) -> Mlx<Vec<i32>> {
    let mut taken = Vec::new();
    for value in values {
        if !is_true(value)? {
            break;
        }
        taken.push(value);
    }
    Ok(taken)
}
