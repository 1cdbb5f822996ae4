//! A weight cut into panels, for steps of few rows on the CPU. `OpenBLAS` multiplies small matrices where they lie, but
//! copies large ones into an order of its own first, which for one row costs three times the multiplication. Panels
//! are small enough to be spared the copy. They are views: no memory of their own, and the same sums in the same order.

use mlx_rs::Array;
use mlx_rs::ops::matmul;

use super::failure::Mlx;

/// More rows than this are worth the copy.
const MAX_ROWS: i32 = 8;
/// Results of one multiplication, and multiplications in it, up to which `OpenBLAS` 0.3 was seen not to copy.
const MAX_RESULTS: i32 = 1024;
const MAX_PRODUCTS: i32 = 900_000;
/// Narrower panels are not worth a call each.
const MIN_OUTPUTS: i32 = 32;

/// Views of a weight, one for each number of rows that has a use for it.
pub(super) struct Panels {
    /// Entry `rows - 1`: [panels, inputs, outputs / panels]; `None` where the whole weight is small enough or no cut
    /// fits.
    by_rows: Vec<Option<Array>>,
}

impl Panels {
    /// Of a weight [outputs, inputs].
    pub(super) fn cut(weight: &Array) -> Mlx<Self> {
        let (outputs, inputs) = (weight.dim(0), weight.dim(1));
        let view = |rows| {
            let cut = count(rows, outputs, inputs);
            cut.map(|count| weight.reshape(&[count, outputs / count, inputs])?.swap_axes(1, 2)).transpose()
        };
        Ok(Self { by_rows: (1..=MAX_ROWS).map(view).collect::<Mlx<_>>()? })
    }

    /// [n, inputs] → [n, outputs]; `None` if so many rows are better off with the whole weight.
    pub(super) fn apply(&self, x: &Array) -> Option<Mlx<Array>> {
        let rows = x.dim(0);
        let panels = self.by_rows.get(usize::try_from(rows - 1).ok()?)?.as_ref()?;
        Some(matmul(x, panels).and_then(|parts| {
            let shape = [rows, panels.dim(0) * panels.dim(2)];
            if rows == 1 { parts.reshape(&shape) } else { parts.swap_axes(0, 1)?.reshape(&shape) }
        }))
    }

    /// The views, to be evaluated once.
    pub(super) fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.by_rows.iter().flatten()
    }
}

/// Into how many panels a weight is cut for so many rows.
fn count(rows: i32, outputs: i32, inputs: i32) -> Option<i32> {
    let most = (MAX_RESULTS / rows).min(MAX_PRODUCTS / rows / inputs);
    let fits = |count: &i32| outputs % count == 0 && outputs / count <= most;
    // Whole where it is small; otherwise the widest panels that are.
    let count = (1..=outputs / MIN_OUTPUTS).find(fits)?;
    (count > 1).then_some(count)
}
