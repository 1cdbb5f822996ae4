//! The series of one family: labels and a value each.

use crate::metrics::Histogram;

/// The value of one series.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Counter(u64),
    /// A counter of seconds.
    Seconds(f64),
    Gauge(f64),
    Histogram(&'a Histogram),
}

/// Collects the series of one family.
#[derive(Debug, Default)]
pub(super) struct Series<'a>(Vec<(Vec<Label<'a>>, Value<'a>)>);

/// The name and the value of a label.
pub(super) type Label<'a> = (&'static str, &'a str);

impl<'a> Series<'a> {
    pub(super) fn add(&mut self, labels: &[Label<'a>], value: Value<'a>) {
        self.0.push((labels.to_vec(), value));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Vec<Label<'a>>, Value<'a>)> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
