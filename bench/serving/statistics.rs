//! Percentiles of values, and Jain's index of fairness.

use serde::Serialize;

/// Percentiles of a set of values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

impl Percentiles {
    /// The percentiles of these values, which it reorders. `None` if there are no values.
    pub(crate) fn of(values: &mut [f64]) -> Option<Self> {
        Some(Self { p50: nearest_rank(values, 50)?, p95: nearest_rank(values, 95)?, p99: nearest_rank(values, 99)? })
    }
}

/// The smallest value that this percentage of all values does not exceed. It is always one of the values, also in the tail.
fn nearest_rank(values: &mut [f64], percent: usize) -> Option<f64> {
    let rank = (values.len() * percent).div_ceil(100).checked_sub(1)?;
    Some(*values.select_nth_unstable_by(rank, f64::total_cmp).1)
}

/// Jain's index of fairness: 1 if all values are equal, 1/n if one of n has everything.
pub(crate) fn jain(shares: impl Iterator<Item = f64>) -> f64 {
    let (num, sum, squares) =
        shares.fold((0.0, 0.0, 0.0), |(num, sum, squares), share| (num + 1.0, sum + share, squares + share * share));
    if squares > 0.0 { sum * sum / (num * squares) } else { 1.0 }
}
