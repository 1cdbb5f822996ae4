//! What a step took, as far as it can be told from when its host came to look, and what the host itself took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::answers::Settings;
use crate::clock::{Clock, ManualClock};
use crate::engine::step_timing::StepTiming;
use crate::scheduler::plan::Overlap;

use super::stage::{Stage, ask};

/// A device whose steps take 10 ms, and a host that is kept for 6 ms where it submits a step behind another one and the
/// device does not take it at once.
struct Bench {
    clock: Arc<Worked>,
    timing: StepTiming,
    kept: Duration,
    /// When the device will have done everything.
    ready_at: Duration,
    origin: Instant,
    /// Rows of the steps that are submitted.
    num_rows: usize,
}

/// A clock by which the thread has worked for as long as it was told.
#[derive(Default)]
struct Worked {
    time: ManualClock,
    worked_ms: AtomicU64,
}

impl Worked {
    fn work(&self, ms: u64) {
        self.worked_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Worked {
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
        let clock = Arc::new(Worked::default());
        let origin = clock.now();
        let timing = StepTiming::new(Arc::clone(&clock) as Arc<dyn Clock>, overlap);
        let kept = if overlap == Overlap::Bounded { ms(6) } else { ms(0) };
        Self { timing, clock, kept, ready_at: Duration::ZERO, origin, num_rows: 1 }
    }

    fn now(&self) -> Duration {
        self.clock.now() - self.origin
    }

    fn pass(&self, time: Duration) {
        self.clock.time.advance(time);
    }

    fn submit(&mut self) {
        let (clock, now, begins_at) = (Arc::clone(&self.clock), self.now(), self.ready_at.max(self.now()));
        let kept_until = if begins_at > now && !self.kept.is_zero() { begins_at + self.kept } else { now };
        let kept_until = self.origin + kept_until;
        self.timing.submit(self.num_rows, || clock.sleep_until(kept_until));
        self.ready_at = begins_at + ms(10);
    }

    /// Collects the oldest of so many steps in flight.
    fn collect(&mut self, num_in_flight: u32) -> Option<Duration> {
        let (clock, behind) = (Arc::clone(&self.clock), ms(10) * (num_in_flight - 1));
        let ready_at = self.origin + self.ready_at.saturating_sub(behind);
        self.timing.collect(|| clock.sleep_until(ready_at)).1
    }

    /// Five steps in a row, each submitted ahead of the one before.
    fn five(&mut self) -> Vec<Option<Duration>> {
        self.submit();
        let mut took = Vec::new();
        for _ in 0..4 {
            self.submit();
            took.push(self.collect(2));
        }
        took.push(self.collect(1));
        assert_eq!(self.now(), ms(50), "the device never stood still");
        assert_eq!(self.timing.totals.idle, ms(0));
        took
    }
}

#[test]
fn a_step_that_is_alone_took_the_time_since_it_was_submitted() {
    let mut bench = Bench::new(Overlap::Bounded);
    for pause in [0, 5] {
        bench.pass(ms(pause));
        bench.submit();
        assert_eq!(bench.collect(1), Some(ms(10)));
    }
    assert_eq!((bench.timing.totals.idle, bench.timing.totals.longest_idle), (ms(5), ms(5)));
}

#[test]
fn where_the_host_is_kept_the_first_and_the_last_of_a_row_of_steps_cannot_be_told_and_the_others_are_right() {
    let took = Bench::new(Overlap::Bounded).five();
    assert_eq!(took, [None, Some(ms(10)), Some(ms(10)), Some(ms(10)), None]);
}

#[test]
fn where_the_host_is_kept_only_a_step_between_two_of_its_own_batch_size_is_known() {
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
    assert_eq!(known, [false, true, false, false, false, true], "3 rows ran once, and taught nothing");
}

#[test]
fn where_it_is_not_each_of_a_row_of_steps_is_right() {
    assert_eq!(Bench::new(Overlap::Whole).five(), [Some(ms(10)); 5]);
}

#[test]
fn a_device_with_nothing_to_compute_does_not_stand_still() {
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
fn it_does_not_stand_still_while_nobody_wants_anything() {
    let mut stage = Stage::new(Settings::OFF);
    let idle = |stage: &Stage| stage.shared.stats.models()[0].1.totals.idle;
    let first = stage.submit(ask(1));
    while stage.given.get(&first).is_none_or(|given| given.end.is_none()) {
        stage.turn();
    }
    // The thread is kept from its core, and meanwhile somebody comes.
    stage.clock.advance(ms(7));
    let second = stage.submit(ask(2));
    stage.turns(2);
    assert_eq!(idle(&stage), ms(0));
    stage.clock.advance(ms(5));
    stage.answer(second);
    assert_eq!(idle(&stage), ms(5), "here there was work");
}

#[test]
fn what_the_executor_takes_of_the_thread_is_not_the_engines() {
    let mut bench = Bench::new(Overlap::Whole);
    let clock = Arc::clone(&bench.clock);
    let engine = |ms| clock.work(ms);
    let executor = |ms: u64| clock.work(100 * ms);
    for turn in 1..=3 {
        engine(1_000); // Between turns there are commands.
        bench.timing.begin();
        engine(1);
        bench.timing.submit(1, || executor(1));
        bench.timing.resume();
        engine(2);
        bench.timing.submit(1, || executor(2));
        bench.timing.collect(|| executor(4));
        engine(4);
        bench.timing.end(true);
        assert_eq!((bench.timing.totals.engine, bench.timing.totals.steps), (ms(7 * turn), turn));
    }
}
