//! The table of metrics. `docs/metrics.md` explains each; a test compares the two. A metric is called as Prometheus recommends:
//! base units, and `_total` after a counter, which the encoder adds.

use std::time::Duration;

use crate::answers::LayerCounts;
use crate::engine::{LabelStats, LoadedStats, Sample, StepKind, WorkerStats};
use crate::scheduler::Miss;

use super::series::{Series, Value};

/// Metrics of one name.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// One sentence or two.
    pub(super) help: &'static str,
    pub(super) read: Read,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

type Read = for<'a> fn(&'a Sample, &mut Series<'a>);

/// Seconds over which the throughput is measured, with the label of each.
const WINDOWS: [(u64, &str); 3] = [(5, "5s"), (30, "30s"), (60, "60s")];

/// The names of engine threads.
const WORKERS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

/// Every metric.
#[rustfmt::skip]
pub(super) const FAMILIES: &[Family] = &[
    // Requests.
    counter("mlx_requests_submitted", "Requests received.", |sample, out| {
        each(sample, out, |it| Value::Counter(it.requests.submitted));
    }),
    counter("mlx_requests", "Requests that have ended, by outcome.", outcomes),
    counter("mlx_request_errors", "Requests that failed or were rejected, by the code of their error.", errors),
    gauge("mlx_requests_in_flight", "Requests that have not ended, by state.", states),
    gauge("mlx_queue_depth", "Requests that wait for a row of the batch.", |sample, out| {
        each_loaded(sample, out, |it| it.num_queued as f64);
    }),
    histogram("mlx_queue_seconds", "Time from the submission of a request to its first step.", |sample, out| {
        each(sample, out, |it| Value::Histogram(&it.tally.figures.queue));
    }),
    histogram("mlx_ttft_seconds", "Time from the submission of a request to its first token.", |sample, out| {
        each(sample, out, |it| Value::Histogram(&it.tally.figures.latency.ttft));
    }),
    histogram("mlx_inter_token_seconds", "Time between two tokens of an answer.", |sample, out| {
        each(sample, out, |it| Value::Histogram(&it.tally.figures.inter_token));
    }),
    histogram("mlx_request_seconds", "Time from the submission of a request to the end of its complete answer.", |sample, out| {
        each(sample, out, |it| Value::Histogram(&it.tally.figures.latency.request));
    }),
    counter("mlx_stream_backpressure_events", "How often a generation was parked because its readers were behind.", |sample, out| {
        out.add(&[], Value::Counter(sum(sample, |it| it.tally.figures.parks)));
    }),
    counter("mlx_retry_attempts", "Attempts of requests after a failed step.", |sample, out| {
        out.add(&[], Value::Counter(sum(sample, |it| it.tally.counters.retries)));
    }),
    gauge("mlx_circuit_state", "The circuit breaker of a model: 0 closed, 1 open, 2 half-open.", |sample, out| {
        each_loaded(sample, out, |it| f64::from(it.circuit as u8));
    }),
    counter("mlx_circuit_opened", "How often the circuit breaker opened.", |sample, out| {
        each(sample, out, |it| Value::Counter(it.tally.figures.circuit_opened));
    }),

    // Tokens.
    counter("mlx_tokens_generated", "Tokens added to answers.", |sample, out| {
        each(sample, out, |it| Value::Counter(it.tally.figures.generated_tokens));
    }),
    counter("mlx_prompt_tokens", "Prompt tokens that the device computed.", |sample, out| {
        each(sample, out, |it| Value::Counter(it.tally.figures.prompt_tokens));
    }),
    gauge("mlx_throughput_tokens_per_second", "Tokens generated per second, over the last whole seconds.", throughput),

    // Shared answers.
    counter("mlx_cache_hits", "Requests that found an answer, or the KV of their prompt, in a layer of the cache.", |sample, out| {
        layers(sample, out, |it| it.hits);
    }),
    counter("mlx_cache_misses", "Requests that did not find it there.", |sample, out| layers(sample, out, |it| it.misses)),
    counter("mlx_prefix_misses", "Requests that started without KV of another request, by reason.", prefix_misses),
    counter("mlx_prefix_tokens", "Prompt tokens of requests that may reuse KV: reused or computed.", prefix_tokens),
    counter("mlx_prefix_evictions", "Kept prompts and answers whose KV was dropped for lack of memory.", |sample, out| {
        out.add(&[], Value::Counter(sum(sample, |it| it.tally.prefix.num_evictions)));
    }),
    gauge("mlx_prefix_bytes", "Memory of the KV that is kept for later requests.", |sample, out| {
        out.add(&[], Value::Gauge(sum(sample, |it| it.tally.prefix.num_bytes) as f64));
    }),
    gauge("mlx_prefix_pinned_bytes", "Memory of the KV of pinned prompts.", |sample, out| {
        out.add(&[], Value::Gauge(sum(sample, |it| it.tally.prefix.num_pinned_bytes) as f64));
    }),
    gauge("mlx_dedupe_ratio", "Share of the shareable requests that got the answer of another request, from 0 to 1.", |sample, out| {
        out.add(&[], Value::Gauge(sample.answers.shared_ratio()));
    }),
    gauge("mlx_prompt_cache_size", "Cached answers.", |sample, out| {
        out.add(&[], Value::Gauge(sample.answers.num_entries as f64));
    }),
    counter("mlx_cache_writes", "Writes of the file of the prompt cache, failed ones included.", |sample, out| {
        out.add(&[], Value::Counter(sample.answers.num_writes));
    }),
    counter("mlx_cache_errors", "Writes of the file of the prompt cache that failed.", |sample, out| {
        out.add(&[], Value::Counter(sample.answers.num_write_errors));
    }),
    gauge("mlx_prefix_disk_bytes", "Bytes of the files of the prefix cache.", |sample, out| {
        out.add(&[], Value::Gauge(sample.disk.unwrap_or_default().num_bytes as f64));
    }),
    counter("mlx_prefix_disk_read_bytes", "Bytes of KV that were read from the disk.", |sample, out| {
        out.add(&[], Value::Counter(sample.disk.unwrap_or_default().read_bytes));
    }),
    counter("mlx_prefix_disk_written_bytes", "Bytes of KV that were written to the disk.", |sample, out| {
        out.add(&[], Value::Counter(sample.disk.unwrap_or_default().written_bytes));
    }),
    counter("mlx_prefix_disk_skipped", "Requests whose KV on the disk was not read, because computing it was faster.", |sample, out| {
        out.add(&[], Value::Counter(sample.disk.unwrap_or_default().num_skipped));
    }),
    counter("mlx_prefix_disk_errors", "Damaged files of the prefix cache, and reads and writes of it that failed.", |sample, out| {
        out.add(&[], Value::Counter(sample.disk.unwrap_or_default().num_errors));
    }),

    // Scheduling and steps.
    gauge("mlx_batch_limit", "Sequences that may be decoded together now.", |sample, out| {
        each_loaded(sample, out, |it| it.batch_limit as f64);
    }),
    histogram("mlx_batch_size", "Sequences in a step.", |sample, out| {
        each(sample, out, |it| Value::Histogram(&it.tally.figures.batch));
    }),
    histogram("mlx_step_seconds", "Time of the device for a step, where it can be known.", steps),
    gauge("mlx_step_running_seconds", "How long the step that the device computes now has taken; 0 without a step.", |sample, out| {
        each_loaded(sample, out, |it| it.step.map_or(0.0, |step| step.took.as_secs_f64()));
    }),
    gauge("mlx_step_stuck", "1 while a step takes far longer than steps like it took before, otherwise 0.", |sample, out| {
        each_loaded(sample, out, |it| f64::from(u8::from(it.step.is_some_and(|step| step.is_stuck()))));
    }),
    gauge("mlx_window_seconds", "How long an idle engine would wait for more requests now.", |sample, out| {
        each_loaded(sample, out, |it| it.window.as_secs_f64());
    }),
    counter("mlx_window_transitions", "Changes of the tier of the window.", |sample, out| {
        out.add(&[], Value::Counter(sum(sample, |it| it.tally.counters.tier_switches)));
    }),
    counter("mlx_fast_path", "Requests that found an idle engine and started at once.", |sample, out| {
        out.add(&[], Value::Counter(sum(sample, |it| it.tally.counters.num_fast_path())));
    }),
    counter("mlx_preemptions", "Sequences that lost their KV and were recomputed later.", |sample, out| {
        each(sample, out, |it| Value::Counter(it.tally.counters.preemptions));
    }),
    counter("mlx_engine_seconds", "Processor time of the engine thread in steps, without the device.", |sample, out| {
        each(sample, out, |it| seconds(it.tally.totals.engine));
    }),
    counter("mlx_device_idle_seconds", "Time in which the device was idle while there was work for it.", |sample, out| {
        each(sample, out, |it| seconds(it.tally.totals.idle));
    }),
    counter("mlx_device_resets", "How often the device failed and was reset.", |sample, out| {
        each(sample, out, |it| Value::Counter(it.tally.figures.recoveries));
    }),

    // Models and the engine.
    gauge("mlx_model_resident_bytes", "Memory of the weights of a loaded model.", |sample, out| {
        each_loaded(sample, out, |it| it.weight_bytes as f64);
    }),
    gauge("mlx_kv_bytes", "Memory of the KV of all sequences of a loaded model.", |sample, out| {
        each_loaded(sample, out, |it| it.kv_bytes as f64);
    }),
    histogram("mlx_model_load_seconds", "Time of a load that succeeded.", |sample, out| {
        each(sample, out, |it| Value::Histogram(&it.tally.loads));
    }),
    counter("mlx_model_lifecycle_unloads", "Models that were unloaded.", |sample, out| {
        out.add(&[], Value::Counter(sum(sample, |it| it.tally.unloads)));
    }),
    gauge("mlx_worker_active", "Engine threads that run.", |sample, out| {
        out.add(&[], Value::Gauge(sample.workers.iter().filter(|worker| worker.is_running).count() as f64));
    }),
    counter("mlx_worker_restarts", "Engine threads that were replaced, because they ended or hung.", |sample, out| {
        out.add(&[], Value::Counter(sample.workers.iter().map(|worker| worker.num_restarts).sum()));
    }),
    counter("mlx_worker_requests", "Requests that each engine thread got.", |sample, out| {
        each_worker(sample, out, |worker| Value::Counter(worker.load.num_requests));
    }),
    gauge("mlx_worker_pending", "Requests that each engine thread has.", |sample, out| {
        each_worker(sample, out, |worker| Value::Gauge(worker.load.num_pending as f64));
    }),
    gauge("mlx_uptime_seconds", "Time since the engine started.", |sample, out| {
        out.add(&[], Value::Gauge(sample.uptime.as_secs_f64()));
    }),
    gauge("mlx_metrics_export", "Whether this engine exports its metrics.", |_, out| out.add(&[], Value::Gauge(1.0))),
];

const fn counter(name: &'static str, help: &'static str, read: Read) -> Family {
    Family { name, kind: Kind::Counter, help, read }
}

const fn gauge(name: &'static str, help: &'static str, read: Read) -> Family {
    Family { name, kind: Kind::Gauge, help, read }
}

const fn histogram(name: &'static str, help: &'static str, read: Read) -> Family {
    Family { name, kind: Kind::Histogram, help, read }
}

/// A series for each model that is or was loaded.
fn each<'a>(sample: &'a Sample, out: &mut Series<'a>, value: impl Fn(&'a LabelStats) -> Value<'a>) {
    for it in &sample.labels {
        out.add(&[("model", &it.label)], value(it));
    }
}

/// A gauge for each loaded model.
fn each_loaded<'a>(sample: &'a Sample, out: &mut Series<'a>, value: impl Fn(&LoadedStats) -> f64) {
    for it in &sample.labels {
        if let Some(loaded) = &it.loaded {
            out.add(&[("model", &it.label)], Value::Gauge(value(loaded)));
        }
    }
}

/// A series for each engine thread.
fn each_worker<'a>(sample: &'a Sample, out: &mut Series<'a>, value: impl Fn(&WorkerStats) -> Value<'a>) {
    for (worker, name) in sample.workers.iter().zip(WORKERS) {
        out.add(&[("worker", name)], value(worker));
    }
}

fn sum(sample: &Sample, count: impl Fn(&LabelStats) -> u64) -> u64 {
    sample.labels.iter().map(count).sum()
}

fn seconds(time: Duration) -> Value<'static> {
    Value::Seconds(time.as_secs_f64())
}

fn outcomes<'a>(sample: &'a Sample, out: &mut Series<'a>) {
    for LabelStats { label, requests, .. } in &sample.labels {
        let counts = [
            ("completed", requests.completed),
            ("failed", requests.failed),
            ("cancelled", requests.cancelled),
            ("rejected", requests.rejected.sum()),
        ];
        for (outcome, count) in counts {
            out.add(&[("model", label), ("outcome", outcome)], Value::Counter(count));
        }
    }
}

fn errors<'a>(sample: &'a Sample, out: &mut Series<'a>) {
    for LabelStats { label, requests, .. } in &sample.labels {
        for (code, count) in requests.errors.iter() {
            out.add(&[("model", label), ("code", code.as_str())], Value::Counter(count));
        }
    }
}

fn states<'a>(sample: &'a Sample, out: &mut Series<'a>) {
    for LabelStats { label, requests, .. } in &sample.labels {
        let counts = [
            ("preparing", requests.preparing),
            ("queued", requests.queued),
            ("running", requests.running),
            ("joined", requests.joined),
        ];
        for (state, count) in counts {
            out.add(&[("model", label), ("state", state)], Value::Gauge(count as f64));
        }
    }
}

fn throughput<'a>(sample: &'a Sample, out: &mut Series<'a>) {
    let figures = sample.figures();
    for (seconds, window) in WINDOWS {
        out.add(&[("window", window)], Value::Gauge(sample.tokens_per_second(&figures, seconds)));
    }
}

fn layers<'a>(sample: &'a Sample, out: &mut Series<'a>, count: impl Fn(LayerCounts) -> u64) {
    let prefix = LayerCounts {
        hits: sum(sample, |it| it.tally.prefix.num_hits),
        misses: sum(sample, |it| it.tally.prefix.num_misses()),
    };
    let disk = sample.disk.unwrap_or_default();
    let answers = &sample.answers;
    let layers = [
        ("coalesce", answers.coalescing),
        ("dedup", answers.dedup),
        ("prompt", answers.prompt_cache),
        ("prefix", prefix),
        ("disk", LayerCounts { hits: disk.num_hits, misses: disk.num_misses }),
    ];
    for (layer, counts) in layers {
        out.add(&[("layer", layer)], Value::Counter(count(counts)));
    }
}

fn prefix_misses<'a>(sample: &'a Sample, out: &mut Series<'a>) {
    for reason in Miss::ALL {
        let count = sum(sample, |it| it.tally.prefix.misses[reason as usize]);
        out.add(&[("reason", reason.as_str())], Value::Counter(count));
    }
}

fn prefix_tokens<'a>(sample: &'a Sample, out: &mut Series<'a>) {
    let counts = [
        ("reused", sum(sample, |it| it.tally.prefix.num_tokens_reused)),
        ("computed", sum(sample, |it| it.tally.prefix.num_tokens_computed)),
    ];
    for (kind, count) in counts {
        out.add(&[("kind", kind)], Value::Counter(count));
    }
}

fn steps<'a>(sample: &'a Sample, out: &mut Series<'a>) {
    for LabelStats { label, tally, .. } in &sample.labels {
        for ((_, kind), histogram) in StepKind::ALL.iter().zip(&tally.figures.step) {
            out.add(&[("model", label), ("kind", kind)], Value::Histogram(histogram));
        }
    }
}
