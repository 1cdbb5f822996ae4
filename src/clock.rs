//! Where the time comes from. The engine is its only reader; a hand-moved clock lets tests and simulations pass an hour
//! in a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A source of time.
pub trait Clock: Send + Sync {
    /// The present moment; never goes back.
    fn now(&self) -> Instant;

    /// Returns once `now()` has reached `until`.
    fn sleep_until(&self, until: Instant);
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
}

/// A clock that moves when told to, or when somebody sleeps.
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
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
