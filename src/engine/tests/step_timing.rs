//! Measured times: of a step, as far as the host can know it, and of the engine's own work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::answers::Settings;
use crate::clock::{Clock, ManualClock};
use crate::engine::step_timing::StepTiming;
use crate::scheduler::plan::Overlap;

use super::harness::{Harness, spec};

/// A device whose steps take 10 ms. With `Overlap::Bounded`, `submit` behind another step blocks until 6 ms after that step
/// ended.
struct Bench {
    clock: Arc<WorkClock>,
    timing: StepTiming,
    /// How long `submit` blocks after the step before has ended.
    blocked: Duration,
    /// When the device will have computed all submitted steps.
    ready_at: Duration,
    origin: Instant,
    /// Rows of the steps that are submitted.
    num_rows: usize,
}

/// A manual clock whose processor time the test advances with [`work`](Self::work).
#[derive(Default)]
struct WorkClock {
    time: ManualClock,
    worked_ms: AtomicU64,
}

impl WorkClock {
    fn work(&self, ms: u64) {
        self.worked_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for WorkClock {
    fn now(&self) -> Instant {
        self.time.now()
    }

    fn sleep_until(&self, until: Instant) {
        self.time.sleep_until(until);
    }

    fn thread_time(&self) -> Duration {
        ms(self.worked_ms.load(Ordering::Relaxed))
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Bench {
    fn new(overlap: Overlap) -> Self {
        let clock = Arc::new(WorkClock::default());
        let origin = clock.now();
        let timing = StepTiming::new(Arc::clone(&clock) as Arc<dyn Clock>, overlap);
        let blocked = if overlap == Overlap::Bounded { ms(6) } else { ms(0) };
        Self { timing, clock, blocked, ready_at: Duration::ZERO, origin, num_rows: 1 }
    }

    fn now(&self) -> Duration {
        self.clock.now() - self.origin
    }

    fn pass(&self, time: Duration) {
        self.clock.time.advance(time);
    }

    fn submit(&mut self) {
        let (clock, now, begins_at) = (Arc::clone(&self.clock), self.now(), self.ready_at.max(self.now()));
        let returns_at = if begins_at > now && !self.blocked.is_zero() { begins_at + self.blocked } else { now };
        let returns_at = self.origin + returns_at;
        self.timing.submit(self.num_rows, || clock.sleep_until(returns_at));
        self.ready_at = begins_at + ms(10);
    }

    /// Collects the oldest of `num_in_flight` steps.
    fn collect(&mut self, num_in_flight: u32) -> Option<Duration> {
        let (clock, behind) = (Arc::clone(&self.clock), ms(10) * (num_in_flight - 1));
        let ready_at = self.origin + self.ready_at.saturating_sub(behind);
        self.timing.collect(|| clock.sleep_until(ready_at)).1
    }

    /// Runs five steps, each submitted before the previous one is collected, and returns their measured times.
    fn five(&mut self) -> Vec<Option<Duration>> {
        self.submit();
        let mut took = Vec::new();
        for _ in 0..4 {
            self.submit();
            took.push(self.collect(2));
        }
        took.push(self.collect(1));
        assert_eq!(self.now(), ms(50), "the device was never idle");
        assert_eq!(self.timing.totals.idle, ms(0));
        took
    }
}

#[test]
fn a_lone_step_is_measured_from_its_submission() {
    let mut bench = Bench::new(Overlap::Bounded);
    for pause in [0, 5] {
        bench.pass(ms(pause));
        bench.submit();
        assert_eq!(bench.collect(1), Some(ms(10)));
    }
    assert_eq!((bench.timing.totals.idle, bench.timing.totals.longest_idle), (ms(5), ms(5)));
}

#[test]
fn if_submit_blocks_the_first_and_last_of_consecutive_steps_are_unknown_and_the_others_exact() {
    let took = Bench::new(Overlap::Bounded).five();
    assert_eq!(took, [None, Some(ms(10)), Some(ms(10)), Some(ms(10)), None]);
}

#[test]
fn if_submit_blocks_only_a_step_between_two_steps_of_its_batch_size_is_known() {
    let mut bench = Bench::new(Overlap::Bounded);
    let batch_sizes = [2, 2, 2, 3, 4, 4, 4];
    bench.num_rows = batch_sizes[0];
    bench.submit();
    let mut known = Vec::new();
    for batch_size in &batch_sizes[1..] {
        bench.num_rows = *batch_size;
        bench.submit();
        known.push(bench.collect(2).is_some());
    }
    assert_eq!(known, [false, true, false, false, false, true], "the only step of 3 rows is unknown");
}

#[test]
fn if_submit_does_not_block_every_step_is_exact() {
    assert_eq!(Bench::new(Overlap::Whole).five(), [Some(ms(10)); 5]);
}

#[test]
fn a_step_without_rows_does_not_count_as_idle_time() {
    let mut bench = Bench::new(Overlap::Whole);
    bench.submit();
    bench.collect(1);
    bench.pass(ms(3));
    bench.timing.submit(0, || ());
    bench.collect(1);
    bench.timing.end(false);
    bench.pass(ms(50));
    bench.submit();
    assert_eq!(bench.timing.totals.idle, ms(0));
}

#[test]
fn time_without_requests_does_not_count_as_idle_time() {
    let mut harness = Harness::new(Settings::OFF);
    let idle = |harness: &Harness| harness.models()[0].1.totals.idle;
    let first = harness.submit(spec(1));
    while harness.received.get(&first).is_none_or(|received| received.end.is_none()) {
        harness.turn();
    }
    // A request arrives while the engine thread is not scheduled by the system.
    harness.clock.advance(ms(7));
    let second = harness.submit(spec(2));
    harness.turns(2);
    assert_eq!(idle(&harness), ms(0));
    harness.clock.advance(ms(5));
    harness.answer(second);
    assert_eq!(idle(&harness), ms(5), "idle with work");
}

#[test]
fn processor_time_of_the_executor_does_not_count_as_the_engines() {
    let mut bench = Bench::new(Overlap::Whole);
    let clock = Arc::clone(&bench.clock);
    let engine = |ms| clock.work(ms);
    let executor = |ms: u64| clock.work(100 * ms);
    for turn in 1..=3 {
        engine(1_000); // Commands between turns are not counted.
        bench.timing.begin();
        engine(1);
        bench.timing.submit(1, || executor(1));
        bench.timing.resume();
        engine(2);
        bench.timing.submit(1, || executor(2));
        bench.timing.collect(|| executor(4));
        engine(4);
        bench.timing.end(true);
        assert_eq!(bench.timing.totals.engine, ms(7 * turn));
    }
}
