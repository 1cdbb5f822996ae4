//! Measures what it costs to record a token, a step and a request, and to publish the figures of a turn. Prints a table in
//! nanoseconds; the last line is one JSON object. Run by `npm run bench:batching`.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mlx_serving::engine::{Figures, Meter};
use mlx_serving::scheduler::StepSize;

const NUM_ROUNDS: usize = 201;
const NUM_RECORDS: u32 = 10_000;

/// A time for each record, from microseconds to minutes, so that all buckets of the histograms occur.
fn times() -> Vec<Duration> {
    let mut state = 1_u64;
    let mut next = || {
        state = state * 48_271 % 2_147_483_647;
        Duration::from_nanos(1_000 << (state % 26))
    };
    (0..NUM_RECORDS).map(|_| next()).collect()
}

/// Nanoseconds of a record: the median of the rounds.
fn measure(mut record: impl FnMut(Duration)) -> f64 {
    let times = times();
    let mut rounds: Vec<_> = (0..NUM_ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            for time in &times {
                record(black_box(*time));
            }
            begin.elapsed().as_secs_f64() * 1e9 / f64::from(NUM_RECORDS)
        })
        .collect();
    rounds.sort_unstable_by(f64::total_cmp);
    rounds[NUM_ROUNDS / 2]
}

fn main() {
    let origin = Instant::now();
    let mut meter = Meter::new(origin);
    let size = StepSize { num_rows: 16, num_decoding: 15, num_prompt_tokens: 256 };
    let mut now = origin;
    let token = measure(|time| {
        now += Duration::from_micros(100);
        meter.token(Some(time), now);
    });
    let step = measure(|time| meter.step(size, Some(time)));
    let request = measure(|time| {
        meter.started(time);
        meter.first_token(time);
        meter.completed(time);
    });
    let published = Mutex::new(Figures::default());
    let publish = measure(|_| {
        if let Ok(mut published) = published.lock() {
            *published = *black_box(meter.figures());
        }
    });
    let event = measure(|time| tracing::debug!(target: "mlx_serving::bench", ?time, "an event without a logger"));
    black_box(meter.figures());
    println!("recording, in ns");
    println!(
        "  token {token:.1}   step {step:.1}   request {request:.1}   publishing a turn {publish:.1}   event {event:.2}"
    );
    println!(
        "{{\"token\":{token:.1},\"step\":{step:.1},\"request\":{request:.1},\"publish\":{publish:.1},\"event\":{event:.2}}}"
    );
}
