//! What a step took, as far as it can be told from when its host came to look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{Clock, ManualClock};
use crate::engine::pace::Pace;

/// A device whose steps take 10 ms, and a host that is kept for 6 ms where it submits a step behind another one.
struct Bench {
    clock: Arc<ManualClock>,
    pace: Pace,
    /// When the device will have done everything.
    ready_at: Duration,
    origin: Instant,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let origin = clock.now();
        Self { pace: Pace::new(Arc::clone(&clock) as Arc<dyn Clock>), clock, ready_at: Duration::ZERO, origin }
    }

    fn now(&self) -> Duration {
        self.clock.now() - self.origin
    }

    fn submit(&mut self) {
        let (clock, begins_at) = (Arc::clone(&self.clock), self.ready_at.max(self.now()));
        let kept_until = self.origin + begins_at + if begins_at > self.now() { ms(6) } else { ms(0) };
        self.pace.submit(|| clock.sleep_until(kept_until));
        self.ready_at = begins_at + ms(10);
    }

    /// Collects the oldest of so many steps in flight.
    fn collect(&mut self, num_in_flight: u32) -> Option<Duration> {
        let (clock, behind) = (Arc::clone(&self.clock), ms(10) * (num_in_flight - 1));
        let ready_at = self.origin + self.ready_at.saturating_sub(behind);
        self.pace.collect(|| clock.sleep_until(ready_at)).1
    }
}

#[test]
fn a_step_that_is_alone_took_the_time_since_it_was_submitted() {
    let mut bench = Bench::new();
    for pause in [0, 5] {
        bench.clock.advance(ms(pause));
        bench.submit();
        assert_eq!(bench.collect(1), Some(ms(10)));
    }
    assert_eq!((bench.pace.totals.idle, bench.pace.totals.longest_idle), (ms(5), ms(5)));
}

#[test]
fn in_a_row_of_steps_the_first_and_the_last_cannot_be_told_and_the_others_are_right() {
    let mut bench = Bench::new();
    bench.submit();
    let mut took = Vec::new();
    for _ in 0..4 {
        bench.submit();
        took.push(bench.collect(2));
    }
    took.push(bench.collect(1));
    assert_eq!(took, [None, Some(ms(10)), Some(ms(10)), Some(ms(10)), None]);
    assert_eq!(bench.now(), ms(50), "the device never stood still");
    assert_eq!(bench.pace.totals.idle, ms(0));
}
