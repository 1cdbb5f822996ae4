//! Counts of values in fixed buckets.

use std::time::Duration;

/// Buckets of a histogram, with the one that has no upper bound.
const NUM_BUCKETS: usize = 24;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Upper bounds of times in nanoseconds, from 0.5 ms to 5 min: at least four for each power of ten up to 10 s, where latencies of
/// answers are.
const TIMES: [u64; NUM_BUCKETS - 1] = [
    500 * MICRO,
    MILLI,
    2 * MILLI,
    3 * MILLI,
    5 * MILLI,
    10 * MILLI,
    20 * MILLI,
    30 * MILLI,
    50 * MILLI,
    100 * MILLI,
    200 * MILLI,
    300 * MILLI,
    500 * MILLI,
    SECOND,
    2 * SECOND,
    3 * SECOND,
    5 * SECOND,
    10 * SECOND,
    20 * SECOND,
    30 * SECOND,
    60 * SECOND,
    120 * SECOND,
    300 * SECOND,
];

/// Upper bounds of batch sizes in rows: powers of two. The largest batch limit is 64.
const ROWS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// What a histogram measures: its buckets and its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Times, recorded in nanoseconds and read in seconds.
    Times,
    /// Rows of a step.
    Rows,
}

impl Scale {
    const fn bounds(self) -> &'static [u64] {
        match self {
            Self::Times => &TIMES,
            Self::Rows => &ROWS,
        }
    }

    /// A recorded value in the unit in which it is read.
    fn read(self, value: f64) -> f64 {
        match self {
            Self::Times => value / SECOND as f64,
            Self::Rows => value,
        }
    }
}

/// A histogram with fixed buckets. A value is in the first bucket whose upper bound it does not exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Histogram {
    scale: Scale,
    counts: [u64; NUM_BUCKETS],
    /// A float, because nanoseconds of many concurrent requests exceed 64 bits within a year.
    sum: f64,
    min: u64,
    max: u64,
}

impl Histogram {
    /// An empty histogram.
    pub const fn new(scale: Scale) -> Self {
        Self { scale, counts: [0; NUM_BUCKETS], sum: 0.0, min: u64::MAX, max: 0 }
    }

    /// Records a time.
    pub fn time(&mut self, time: Duration) {
        self.record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Records a value.
    pub fn record(&mut self, value: u64) {
        let bucket = self.scale.bounds().partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value as f64;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds the values of another histogram of the same scale.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.scale, other.scale, "seconds are not rows");
        for (own, other) in self.counts.iter_mut().zip(other.counts) {
            *own += other;
        }
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of the values, in seconds or rows.
    pub fn sum(&self) -> f64 {
        self.scale.read(self.sum)
    }

    /// The smallest value; `None` without values.
    pub fn min(&self) -> Option<f64> {
        (self.max >= self.min).then(|| self.scale.read(self.min as f64))
    }

    /// The largest value; `None` without values.
    pub fn max(&self) -> Option<f64> {
        (self.max >= self.min).then(|| self.scale.read(self.max as f64))
    }

    /// For each bucket, its upper bound and the number of values in it alone. The last bound is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.scale.bounds().iter().map(|bound| self.scale.read(*bound as f64));
        bounds.chain([f64::INFINITY]).zip(self.counts)
    }

    /// The value that the share `q` of the values does not exceed; `None` without values. Values are taken as evenly spread over
    /// their bucket, or over the part of it between the smallest and the largest value.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let (min, max) = (self.min()?, self.max()?);
        let rank = q * self.count() as f64;
        let (mut before, mut lower) = (0.0, min);
        for (upper, count) in self.buckets() {
            let (count, upper) = (count as f64, upper.clamp(min, max));
            if count > 0.0 && before + count >= rank {
                return Some(lower + (upper - lower) * (rank - before) / count);
            }
            (before, lower) = (before + count, upper);
        }
        Some(max)
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is a small number above 0")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(values: &[Duration]) -> Histogram {
        let mut histogram = Histogram::new(Scale::Times);
        for value in values {
            histogram.time(*value);
        }
        histogram
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_value_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let histogram = times(&[Duration::ZERO, ms(1), Duration::from_nanos(1_000_001), ms(300_000), ms(300_001)]);
        let filled: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.0005, 1), (0.001, 1), (0.002, 1), (300.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, 600.003_000_001));
    }

    #[test]
    fn batch_sizes_have_buckets_of_powers_of_two() {
        let mut histogram = Histogram::new(Scale::Rows);
        for rows in [1, 3, 4, 65] {
            histogram.record(rows);
        }
        let filled: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(1.0, 1), (4.0, 2), (f64::INFINITY, 1)]);
        assert_eq!(histogram.buckets().count(), 8, "no bucket is listed twice");
        assert_eq!((histogram.min(), histogram.max(), histogram.sum()), (Some(1.0), Some(65.0), 73.0));
    }

    #[test]
    fn without_values_there_is_no_percentile() {
        let empty = Histogram::new(Scale::Times);
        assert_eq!((empty.quantile(0.5), empty.min(), empty.max(), empty.count()), (None, None, None, 0));
    }

    #[test]
    fn equal_values_are_their_own_percentiles() {
        let same = times(&[ms(37); 100]);
        assert_eq!([0.0, 0.5, 0.95, 0.99, 1.0].map(|q| same.quantile(q)), [Some(0.037); 5]);
    }

    #[test]
    fn percentiles_of_spread_values_are_interpolated() {
        let spread = times(&(1..=1_000).map(ms).collect::<Vec<_>>());
        for (q, expected) in [(0.25, 0.25), (0.5, 0.5), (0.95, 0.95), (0.99, 0.99), (1.0, 1.0)] {
            let found = spread.quantile(q).expect("values");
            assert!((found - expected).abs() < 0.002, "{q}: {found}");
        }
    }

    proptest! {
        #[test]
        fn a_percentile_is_in_the_bucket_of_the_exact_one(mut nanos in prop::collection::vec(0_u64..400 * SECOND, 1..200)) {
            let histogram = times(&nanos.iter().copied().map(Duration::from_nanos).collect::<Vec<_>>());
            nanos.sort_unstable();
            for q in [0.5, 0.95, 0.99] {
                let rank = ((q * nanos.len() as f64).ceil().max(1.0)) as usize - 1;
                let exact = nanos[rank];
                let bucket = TIMES.partition_point(|bound| *bound < exact);
                let lower = if bucket == 0 { 0 } else { TIMES[bucket - 1] };
                let upper = TIMES.get(bucket).copied().unwrap_or(u64::MAX);
                let found = histogram.quantile(q).expect("values") * SECOND as f64;
                prop_assert!(found >= lower as f64 * 0.999_999 && found <= upper as f64 * 1.000_001, "{q}: {found} for {exact}");
            }
        }

        #[test]
        fn merged_histograms_are_one_histogram_of_all_values(
            one in prop::collection::vec(0_u64..10 * SECOND, 0..50),
            other in prop::collection::vec(0_u64..10 * SECOND, 0..50),
        ) {
            let of = |nanos: &[u64]| times(&nanos.iter().copied().map(Duration::from_nanos).collect::<Vec<_>>());
            let mut merged = of(&one);
            merged.merge(&of(&other));
            let all = of(&[one, other].concat());
            prop_assert_eq!(merged.counts, all.counts);
            prop_assert_eq!((merged.min, merged.max), (all.min, all.max));
            prop_assert!((merged.sum - all.sum).abs() <= all.sum * 1e-9);
        }
    }
}
