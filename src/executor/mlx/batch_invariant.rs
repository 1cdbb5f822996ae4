//! Products in shapes that agree. A BLAS chooses its kernel, and with it the order of its sums, by the shape of a product;
//! where every product has one of a few shapes that give each row the same bits, a row's result does not depend on how
//! many others there are, or on its place among them.
//!
//! Nobody says which shapes agree, so that is measured: for each size of a weight, when it is loaded. Products of packed
//! weights need none of this.

use std::iter::successors;

use mlx_rs::ops::indexing::{TryIndexOp, take_axis};
use mlx_rs::ops::{concatenate, zeros_dtype};
use mlx_rs::random::{key, normal};
use mlx_rs::{Array, Dtype};

use super::failure::Mlx;
use super::sampler::indices;

/// Rows of the product with which others have to agree: as many as a batch comes to have, or half as many and so on where
/// such a product does not agree with itself, as those of `OpenBLAS` for AVX2, whose kernel takes the last rows by themselves.
const ROWS: i32 = 32;
/// The smallest and the largest ones that are tried.
const FEWEST_ROWS: i32 = 4;
const MOST_ROWS: i32 = 1024;
/// Results of the largest one, which take memory while it is tried.
const MOST_RESULTS: i32 = 1 << 25;
/// Rows that are computed in vain rather than in a product of their own: a call costs about as much.
const ROWS_OF_A_CALL: i32 = 8;

/// Numbers of rows whose products agree, ascending; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InvariantBlocks(pub(super) Vec<i32>);

impl InvariantBlocks {
    /// Finds out in which shapes `product`, of [n, inputs] with the result [n, outputs], agrees with itself.
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
            // Back to front, so that each row has another place.
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

    /// `product` of [n, inputs] out of products that agree; the last one is filled up with zeros.
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

    /// The rows of the products that together have at least `rows`.
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

/// The first of these, as long as it is true of them.
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
