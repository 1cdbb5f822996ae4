//! Statistics as `OpenMetrics` text, for Prometheus and programs that read its format. `families` is the table of all metrics:
//! what each is called, what it says, and how it is read from a sample. A sample is taken when metrics are read, not before.

mod families;
mod series;
#[cfg(test)]
mod tests;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::engine::Sample;

use families::{FAMILIES, Family, Kind};
use series::{Series, Value};

/// The text of an engine that does not export metrics: valid, and it says why it has nothing else.
const OFF: &str = "# HELP mlx_metrics_export Whether this engine exports its metrics. The option metrics.export is off \
                   (MLX_METRICS_EXPORT, or the preset latency).\n\
                   # TYPE mlx_metrics_export gauge\nmlx_metrics_export 0\n# EOF\n";

/// All metrics as `OpenMetrics` text.
pub fn text(sample: Sample) -> String {
    let (mut registry, mut text) = (Registry::default(), String::new());
    registry.register_collector(Box::new(Exposition(sample)));
    // Writing into a string does not fail.
    encode(&mut text, &registry).ok();
    text
}

/// The text if metrics are not exported.
pub fn off() -> String {
    OFF.into()
}

#[derive(Debug)]
struct Exposition(Sample);

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        FAMILIES.iter().try_for_each(|family| family.write(&self.0, &mut encoder))
    }
}

impl Family {
    fn write(&self, sample: &Sample, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut series = Series::default();
        (self.read)(sample, &mut series);
        if series.is_empty() {
            return Ok(());
        }
        let metric_type = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let mut family = encoder.encode_descriptor(self.name, self.help, None, metric_type)?;
        for (labels, value) in series.iter() {
            let labels = labels.as_slice();
            let mut metric = family.encode_family(&labels)?;
            match value {
                Value::Counter(count) => metric.encode_counter::<NoLabelSet, _, u64>(count, None)?,
                Value::Seconds(seconds) => metric.encode_counter::<NoLabelSet, _, u64>(seconds, None)?,
                Value::Gauge(gauge) => metric.encode_gauge(gauge)?,
                Value::Histogram(histogram) => {
                    let buckets: Vec<_> = histogram.buckets().collect();
                    metric.encode_histogram::<NoLabelSet>(histogram.sum(), histogram.count(), &buckets, None)?;
                }
            }
        }
        Ok(())
    }
}
