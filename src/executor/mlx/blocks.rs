//! Products in blocks of a fixed number of rows. A BLAS chooses its kernel, and with it the order of its sums, by the shape
//! of a product; with one shape for all, a row's result does not depend on how many others there are.

use mlx_rs::Array;
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::{concatenate, zeros_dtype};

use super::failure::Mlx;

/// Rows of a block: as many as a batch comes to have, so that a full one is one product and prompts are read at a good
/// part of the speed of larger ones. Fewer rows pay for all of them.
const ROWS: i32 = 32;

/// `product` of [n, inputs], each block of rows by itself; the last one is filled up with zeros.
pub(super) fn in_blocks(x: &Array, product: impl Fn(&Array) -> Mlx<Array>) -> Mlx<Array> {
    let rows = x.dim(0);
    let missing = (ROWS - rows % ROWS) % ROWS;
    if missing == 0 && rows == ROWS {
        return product(x);
    }
    let filling = zeros_dtype(&[missing, x.dim(1)], x.dtype())?;
    let filled = if missing == 0 { x.clone() } else { concatenate(&[x, &filling], 0)? };
    #[allow(clippy::cast_sign_loss)] // a small constant
    let starts = (0..rows).step_by(ROWS as usize);
    let blocks = starts.map(|start| product(&filled.try_index(start..start + ROWS)?)).collect::<Mlx<Vec<_>>>()?;
    let all = if blocks.len() == 1 { blocks[0].clone() } else { concatenate(&blocks, 0)? };
    if missing == 0 { Ok(all) } else { all.try_index(..rows) }
}
