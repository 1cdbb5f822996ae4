//! Measures the scheduler's decisions: 256 sequences run, 10,000 wait, and in every step one ends and one arrives.
//! Prints a table; the last line is one JSON object. Run by `npm run bench:batching`.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::time::{Duration, Instant};

use mlx_serving::request::{Priority, Request, SequenceId};
use mlx_serving::scheduler::plan::{Plan, StepOutput};
use mlx_serving::scheduler::{BatchLimitConfig, Config, Scheduler};

const NUM_RUNNING: usize = 256;
const NUM_QUEUED: u64 = 10_000;
const NUM_STEPS: usize = 20_000;
const STEP: Duration = Duration::from_millis(10);

fn request(id: u64) -> Request {
    Request {
        deadline: Some(Instant::now() + Duration::from_secs(36_000 + id % 1_000)),
        priority: [Priority::Default, Priority::Background, Priority::Urgent][usize::try_from(id % 3).unwrap_or(0)],
        tenant: Some(format!("tenant {}", id % 17).into()),
        ..Request::of(vec![1; 100], NUM_RUNNING)
    }
}

fn main() {
    let batch_limit = BatchLimitConfig { start: NUM_RUNNING, tune: None, ..BatchLimitConfig::default() };
    let mut scheduler = Scheduler::new(Config { batch_limit, ..Config::default() });
    let mut now = Instant::now();
    (0..NUM_QUEUED).for_each(|id| scheduler.add(SequenceId(id), request(id), now));
    let (mut plan, mut sampled, mut expired) = (Plan::default(), Vec::new(), Vec::new());
    let (mut times, mut next_id) = (Vec::with_capacity(NUM_STEPS), NUM_QUEUED);
    for _ in 0..NUM_STEPS {
        now += STEP;
        while scheduler.load().num_queued < usize::try_from(NUM_QUEUED).unwrap_or(usize::MAX) {
            scheduler.add(SequenceId(next_id), request(next_id), now);
            next_id += 1;
        }
        let begin = Instant::now();
        scheduler.expire(now, &mut expired);
        scheduler.next(now, 0, &mut plan);
        let tokens = plan.rows.iter().filter(|row| row.sample).map(|row| (row.sequence, 7)).collect();
        let output = StepOutput { step: plan.step, tokens, ..StepOutput::default() };
        sampled.clear();
        scheduler.commit(&output, Some(STEP), &mut sampled);
        times.push(begin.elapsed());
        scheduler.admissions().for_each(drop);
    }
    times.sort_unstable();
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = (times.len() as f64 * share) as usize;
        times[index.min(times.len() - 1)].as_secs_f64() * 1e6
    };
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    println!("deciding and accounting for a step of {NUM_RUNNING} rows with {NUM_QUEUED} waiting, in µs");
    println!("  p50 {p50:.1}   p99 {p99:.1}   p99.9 {p999:.1}");
    println!(
        "{{\"running\":{NUM_RUNNING},\"queued\":{NUM_QUEUED},\"p50\":{p50:.2},\"p99\":{p99:.2},\"p999\":{p999:.2}}}"
    );
}
