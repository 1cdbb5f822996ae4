//! Measures a step of a bare thread without an engine: it waits for a second thread that reads as much memory as a model has,
//! wakes a third thread that sleeps, and reads its own processor time. Prints a line; the last line is one JSON object. Run by
//! `npm run bench:batching`.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{park, scope};
use std::time::Duration;

use mlx_serving::clock::{Clock, RealClock};

const NUM_STEPS: usize = 300;
/// Floats that a step reads: the weights of the larger model of the benchmarks.
const NUM_FLOATS: usize = 26 << 20;
/// How often the engine reads its own processor time in a step.
const NUM_LOOKS: u32 = 4;

fn main() {
    let weights = vec![1.0_f32; NUM_FLOATS];
    let (step, steps) = sync_channel(0);
    let is_done = AtomicBool::new(false);
    let mut wakes = Vec::with_capacity(NUM_STEPS);
    let mut looks = Vec::with_capacity(NUM_STEPS);
    scope(|scope| {
        let sleeper = scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                park();
            }
        });
        scope.spawn(move || {
            for _ in 0..NUM_STEPS {
                black_box(weights.iter().sum::<f32>());
                step.send(()).ok();
            }
        });
        for () in steps {
            let begin = RealClock.thread_time();
            sleeper.thread().unpark();
            let woken = RealClock.thread_time();
            let end = (0..NUM_LOOKS).map(|_| RealClock.thread_time()).fold(woken, Duration::max);
            wakes.push(woken.saturating_sub(begin));
            looks.push(end.saturating_sub(woken) / NUM_LOOKS);
        }
        is_done.store(true, Ordering::Release);
        sleeper.thread().unpark();
    });
    let (wake, look) = (median_micros(wakes), median_micros(looks));
    let step = wake + f64::from(NUM_LOOKS) * look;
    println!(
        "waking a thread {wake:.1} µs, looking at one's processor time {look:.2} µs: {step:.1} µs a step at least"
    );
    println!("{{\"wake\":{wake:.2},\"look\":{look:.2},\"step\":{step:.2}}}");
}

fn median_micros(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}
