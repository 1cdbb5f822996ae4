//! Measures what the prefix cache costs the scheduler: the decision about a step in which one prompt of 8,000 tokens starts, with
//! and without the cache. 256 prompts of 8,000 tokens are kept, which have 7,000 tokens in common. Prints a table; the last line is
//! one JSON object. Run by `npm run bench:prefix`.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::time::{Duration, Instant};

use mlx_serving::request::{Request, SequenceId, TokenId};
use mlx_serving::scheduler::plan::{Plan, StepOutput};
use mlx_serving::scheduler::{Config, PrefixConfig, Scheduler};

const NUM_TOKENS: u32 = 8_000;
const NUM_SHARED: u32 = 7_000;
const NUM_KEPT: u32 = 256;
const NUM_ROUNDS: u32 = 400;

/// A prompt that begins as all do, and has an end of its own.
fn prompt(own: u32) -> Vec<TokenId> {
    (0..NUM_SHARED).chain((NUM_SHARED..NUM_TOKENS).map(|at| at + 10_000 * (own + 1))).collect()
}

/// Adds a prompt and runs it to its end. Returns the time of the first decision.
fn run(scheduler: &mut Scheduler, id: u64, prompt: Vec<TokenId>) -> Duration {
    let (mut plan, mut sampled, now) = (Plan::default(), Vec::new(), Instant::now());
    scheduler.add(SequenceId(id), Request::of(prompt, 1), now);
    let begin = Instant::now();
    scheduler.next(now, 0, &mut plan);
    let took = begin.elapsed();
    loop {
        let tokens = plan.rows.iter().filter(|row| row.sample).map(|row| (row.sequence, 7)).collect();
        scheduler.commit(&StepOutput { step: plan.step, tokens, ..StepOutput::default() }, None, &mut sampled);
        if scheduler.is_empty() {
            break;
        }
        scheduler.next(now, 0, &mut plan);
    }
    scheduler.admissions().for_each(drop);
    scheduler.misses().for_each(drop);
    took
}

/// The median time of a decision in microseconds: of prompts that find 7,999 tokens, of prompts that find 7,000, and of prompts that
/// find nothing.
fn measure(enabled: bool) -> [f64; 3] {
    let prefix = PrefixConfig { enabled, max_tokens: usize::MAX, ..Config::default().prefix };
    let mut scheduler = Scheduler::new(Config { prefix, prefill_chunk: 10_000, ..Config::default() });
    let mut next = 0;
    let mut ask = |scheduler: &mut Scheduler, prompt| {
        next += 1;
        run(scheduler, next, prompt).as_secs_f64() * 1e6
    };
    for own in 0..NUM_KEPT {
        ask(&mut scheduler, prompt(own));
    }
    let whole = (0..NUM_ROUNDS).map(|round| ask(&mut scheduler, prompt(round % NUM_KEPT))).collect();
    let part = (0..NUM_ROUNDS).map(|round| ask(&mut scheduler, prompt(NUM_KEPT + round))).collect();
    let other = |round| prompt(round).into_iter().map(|token| token + 100_000_000 + 20_000 * round).collect();
    let nothing = (0..NUM_ROUNDS).map(|round| ask(&mut scheduler, other(round))).collect();
    [whole, part, nothing].map(median)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let ([whole, part, nothing], without) = (measure(true), measure(false));
    let added = [whole, part, nothing].iter().zip(without).map(|(with, without)| with - without).collect::<Vec<_>>();
    println!(
        "the decision about a step in which a prompt of {NUM_TOKENS} tokens starts, in µs (median; without the cache)"
    );
    println!(
        "  all reused {whole:.1} ({:.1})   {NUM_SHARED} reused {part:.1} ({:.1})   nothing reused {nothing:.1} ({:.1})",
        without[0], without[1], without[2]
    );
    println!(
        "{{\"tokens\":{NUM_TOKENS},\"kept\":{NUM_KEPT},\"wholeMicros\":{whole:.2},\"partMicros\":{part:.2},\"nothingMicros\":{nothing:.2},\"addedMicros\":[{:.2},{:.2},{:.2}]}}",
        added[0], added[1], added[2]
    );
}
