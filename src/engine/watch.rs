//! Shows other threads how long a model runner has waited for its current step. A thread that blocks in the device cannot say so
//! itself: the runner notes when a step became the next one to end, and a reader compares that with its own time. Nothing polls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A step is stuck when it takes more than this many times as long as steps like it took before, and more than the least limit.
const TIMES_EXPECTED: u32 = 10;
/// A step whose time is unknown, such as the first one, is stuck when it takes more than this many times the least limit.
const TIMES_LEAST: u32 = 3;

/// No step is running.
const NONE: u64 = u64::MAX;

/// The step of one runner.
#[derive(Debug)]
pub(super) struct Watch {
    /// Nanoseconds are counted from here.
    origin: Instant,
    /// The least time after which a step counts as stuck.
    least: Duration,
    /// When the step became the next one to end, or [`NONE`].
    since: AtomicU64,
    limit: AtomicU64,
}

/// A step that is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningStep {
    /// How long it has run.
    pub took: Duration,
    /// It is stuck when it runs for longer.
    pub limit: Duration,
}

impl RunningStep {
    /// Whether it runs for longer than it may.
    pub fn is_stuck(&self) -> bool {
        self.took > self.limit
    }
}

impl Watch {
    pub(super) fn new(origin: Instant, least: Duration) -> Self {
        Self { origin, least, since: AtomicU64::new(NONE), limit: AtomicU64::new(0) }
    }

    /// A step is the next one to end. `expected` is the time that it should take, if known.
    pub(super) fn begin(&self, now: Instant, expected: Option<Duration>) {
        let times = |expected: Duration| self.least.max(expected * TIMES_EXPECTED);
        let limit = expected.map_or(self.least * TIMES_LEAST, times);
        self.limit.store(nanos(limit), Ordering::Relaxed);
        self.since.store(nanos(now.saturating_duration_since(self.origin)), Ordering::Release);
    }

    /// No step is running.
    pub(super) fn end(&self) {
        self.since.store(NONE, Ordering::Release);
    }

    /// The step that is running.
    pub(super) fn read(&self, now: Instant) -> Option<RunningStep> {
        let since = self.since.load(Ordering::Acquire);
        let limit = Duration::from_nanos(self.limit.load(Ordering::Relaxed));
        let now = now.saturating_duration_since(self.origin);
        (since != NONE).then(|| RunningStep { took: now.saturating_sub(Duration::from_nanos(since)), limit })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NONE - 1)
}
