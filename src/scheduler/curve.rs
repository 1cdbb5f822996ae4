//! The measured cost of a step as a function of its size: a moving average for each size, and straight lines between sizes. The
//! size is the number of rows of a decode step, or of prompt tokens of a prefill step.

use std::time::Duration;

/// A measured cost curve.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    alpha: f64,
    /// Ordered by size; sizes of different buckets never overlap.
    points: Vec<Point>,
    bucket: fn(usize) -> usize,
    num_observed: u64,
}

/// The measurements of one bucket of sizes.
#[derive(Debug, Clone, Copy)]
struct Point {
    bucket: usize,
    /// Mean size.
    size: f64,
    /// Mean cost in seconds.
    cost: f64,
    /// When it was last observed, counted in observations of the whole curve.
    seen: u64,
}

/// A straight line through a curve: `fixed + per_unit × size`, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    pub(super) fixed: f64,
    pub(super) per_unit: f64,
}

impl Curve {
    /// A curve with one bucket for each size.
    pub(super) fn by_size(alpha: f64) -> Self {
        Self { alpha, points: Vec::with_capacity(64), bucket: |size| size, num_observed: 0 }
    }

    /// A curve with one bucket for the sizes between two powers of two.
    pub(super) fn by_magnitude(alpha: f64) -> Self {
        let bucket = |size: usize| size.max(1).ilog2() as usize;
        Self { alpha, points: Vec::with_capacity(64), bucket, num_observed: 0 }
    }

    pub(super) fn observe(&mut self, size: usize, cost: Duration) {
        let (bucket, cost, new_size) = ((self.bucket)(size), cost.as_secs_f64(), size as f64);
        self.num_observed += 1;
        let seen = self.num_observed;
        match self.points.binary_search_by_key(&bucket, |point| point.bucket) {
            Ok(index) => {
                let point = &mut self.points[index];
                point.size += self.alpha * (new_size - point.size);
                point.cost += self.alpha * (cost - point.cost);
                point.seen = seen;
            }
            Err(index) => self.points.insert(index, Point { bucket, size: new_size, cost, seen }),
        }
    }

    /// Drops points without an observation among the last `age` observations, since their costs may have changed.
    pub(super) fn forget(&mut self, age: u64) {
        let num_observed = self.num_observed;
        self.points.retain(|point| num_observed - point.seen < age);
    }

    /// The cost of a size: measured, or on the line between two measured sizes. A size below the smallest or above the largest
    /// measured size has the cost of that size. `None` without measurements.
    pub(super) fn cost(&self, size: usize) -> Option<Duration> {
        let size = size as f64;
        let above = self.points.partition_point(|point| point.size < size);
        let seconds = match (above.checked_sub(1).map(|below| &self.points[below]), self.points.get(above)) {
            (Some(below), Some(above)) => {
                below.cost + (above.cost - below.cost) * (size - below.size) / (above.size - below.size)
            }
            (Some(only), None) | (None, Some(only)) => only.cost,
            (None, None) => return None,
        };
        Some(Duration::from_secs_f64(seconds.max(0.0)))
    }

    /// An optimistic cost of a size. Between measured sizes it is [`cost`](Self::cost). Below the smallest it is proportional to
    /// the size, as without a fixed part. Above the largest it is constant up to twice that size, and then proportional. So an
    /// unmeasured size looks cheap, is soon chosen, and is then measured.
    pub(super) fn hopeful_cost(&self, size: usize) -> Option<Duration> {
        let (size_, first, last) = (size as f64, self.points.first()?, self.points.last()?);
        let cost = if size_ < first.size {
            first.cost * size_ / first.size
        } else if size_ > last.size {
            last.cost * (size_ / (2.0 * last.size).max(1.0)).max(1.0)
        } else {
            return self.cost(size);
        };
        Some(Duration::from_secs_f64(cost.max(0.0)))
    }

    /// The least-squares line through all points, without negative parts. `None` without measurements.
    pub(super) fn line(&self) -> Option<Line> {
        let (n, points) = (self.points.len() as f64, self.points.iter());
        let mean = |of: fn(&Point) -> f64| points.clone().map(of).sum::<f64>() / n;
        let (size, cost) = (mean(|point| point.size), mean(|point| point.cost));
        let spread: f64 = points.clone().map(|point| (point.size - size).powi(2)).sum();
        let common: f64 = points.clone().map(|point| (point.size - size) * (point.cost - cost)).sum();
        if self.points.is_empty() {
            return None;
        }
        // One point does not show the fixed part: the whole cost is taken as proportional to the size.
        let slope = if spread > 0.0 { common / spread } else { cost / size.max(1.0) };
        let per_unit = slope.clamp(0.0, cost / size.max(1.0));
        Some(Line { fixed: (cost - per_unit * size).max(0.0), per_unit })
    }

    /// Whether nothing was measured.
    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Every measured size with its cost, in order.
    pub(super) fn measured(&self) -> impl Iterator<Item = (f64, Duration)> {
        self.points.iter().map(|point| (point.size, Duration::from_secs_f64(point.cost.max(0.0))))
    }
}
