//! A clock that panics at a chosen reading, to interrupt the engine at every place where it reads the time.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock::{Clock, ManualClock};

/// The clock of the engine, which panics at a chosen reading. The device reads the inner clock directly, so only the
/// engine's own code panics.
pub(super) struct PanickingClock {
    clock: Arc<ManualClock>,
    num_left: AtomicU64,
}

impl PanickingClock {
    const OFF: u64 = u64::MAX;

    pub(super) fn new(clock: Arc<ManualClock>) -> Self {
        Self { clock, num_left: AtomicU64::new(Self::OFF) }
    }

    /// Makes the clock panic once, after `num_left` more readings.
    pub(super) fn panic_after(&self, num_left: u64) {
        self.num_left.store(num_left, Ordering::SeqCst);
    }

    /// Cancels a panic that is due. Returns whether the clock has panicked.
    pub(super) fn disarm(&self) -> bool {
        self.num_left.swap(Self::OFF, Ordering::SeqCst) == Self::OFF
    }

    /// Counts a reading. `resume_unwind` does not call the panic hook, which would print each of thousands of panics.
    fn count(&self) {
        let left = |left: u64| if left == Self::OFF { None } else { Some(left.wrapping_sub(1)) };
        if self.num_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) == Ok(0) {
            resume_unwind(Box::new("the clock panicked"));
        }
    }
}

impl Clock for PanickingClock {
    fn now(&self) -> Instant {
        self.count();
        self.clock.now()
    }

    fn sleep_until(&self, until: Instant) {
        self.clock.sleep_until(until);
    }

    fn thread_time(&self) -> Duration {
        self.count();
        self.clock.thread_time()
    }
}
