//! Latencies and throughput as plain objects. `lib/native.ts` declares their types.

use napi_derive::napi;

use crate::engine::{Figures, Sample};
use crate::metrics::Histogram;

/// Percentiles of latencies. One without a measurement is absent.
#[napi(object)]
pub struct NativeLatency {
    /// From the submission of a request to its first step.
    pub queue: Option<NativePercentiles>,
    /// From the submission to the first token.
    pub ttft: Option<NativePercentiles>,
    /// Between two tokens.
    pub inter_token: Option<NativePercentiles>,
    /// From the submission to the end of a complete answer.
    pub request: Option<NativePercentiles>,
}

/// Percentiles in milliseconds.
#[allow(clippy::struct_field_names, reason = "JavaScript has the same names")]
#[napi(object)]
pub struct NativePercentiles {
    /// The median.
    pub p50_ms: f64,
    /// 95 % are not longer.
    pub p95_ms: f64,
    /// 99 % are not longer.
    pub p99_ms: f64,
}

/// Tokens per second over the last whole seconds.
#[napi(object)]
pub struct NativeRates {
    /// Over 5 s.
    #[napi(js_name = "last5s")]
    pub last5s: f64,
    /// Over 30 s.
    #[napi(js_name = "last30s")]
    pub last30s: f64,
    /// Over 60 s.
    #[napi(js_name = "last60s")]
    pub last60s: f64,
}

impl From<&Figures> for NativeLatency {
    fn from(figures: &Figures) -> Self {
        let percentiles = |histogram: &Histogram| {
            let ms = |q| histogram.quantile(q).map(|seconds| seconds * 1e3);
            Some(NativePercentiles { p50_ms: ms(0.5)?, p95_ms: ms(0.95)?, p99_ms: ms(0.99)? })
        };
        Self {
            queue: percentiles(&figures.queue),
            ttft: percentiles(&figures.latency.ttft),
            inter_token: percentiles(&figures.inter_token),
            request: percentiles(&figures.latency.request),
        }
    }
}

impl NativeRates {
    pub(super) fn new(sample: &Sample, figures: &Figures) -> Self {
        let rate = |seconds| sample.tokens_per_second(figures, seconds);
        Self { last5s: rate(5), last30s: rate(30), last60s: rate(60) }
    }
}
