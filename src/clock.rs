//! The source of time. Only the engine reads it. With a manual clock, tests and simulations pass an hour in a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A source of time.
pub trait Clock: Send + Sync {
    /// The current time. It never goes back.
    fn now(&self) -> Instant;

    /// Sleeps until `now()` has reached `until`.
    fn sleep_until(&self, until: Instant);

    /// Processor time of the calling thread since its start. Unlike the difference of two `now()`, it does not include the
    /// time of other threads on the same core.
    fn thread_time(&self) -> Duration;
}

/// The operating system's monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, until: Instant) {
        let wait = until.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }

    fn thread_time(&self) -> Duration {
        Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
    }
}

/// A clock that moves only by [`advance`](Self::advance) and by sleeping. Work takes no time on it.
#[derive(Debug)]
pub struct ManualClock {
    origin: Instant,
    elapsed_ns: AtomicU64,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { origin: Instant::now(), elapsed_ns: AtomicU64::new(0) }
    }
}

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.elapsed_ns.fetch_add(nanos(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.origin + Duration::from_nanos(self.elapsed_ns.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, until: Instant) {
        self.elapsed_ns.fetch_max(nanos(until.saturating_duration_since(self.origin)), Ordering::SeqCst);
    }

    fn thread_time(&self) -> Duration {
        Duration::ZERO
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn thread_time_counts_work_and_not_sleep() {
        let begin = RealClock.thread_time();
        RealClock.sleep_until(RealClock.now() + Duration::from_millis(100));
        let slept = RealClock.thread_time();
        assert!(slept < begin + Duration::from_millis(50));
        (0..10_000_000_u64).for_each(|number| {
            black_box(number);
        });
        assert!(RealClock.thread_time() > slept);
    }
}
