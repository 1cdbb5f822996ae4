//! The circuit breaker of a model: when its device keeps failing, new requests are refused for a while instead of failing one
//! by one (Nygard, *Release It!*). A failure is a failed step that ended requests with an error; failures that were retried
//! successfully do not count, and a complete answer resets the count. An open breaker lets no step run. When it has been open
//! long enough, the next step closes it or opens it again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config;

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum CircuitState {
    /// Requests run.
    #[default]
    Closed,
    /// The next step decides.
    HalfOpen,
    /// Requests are refused.
    Open,
}

#[derive(Debug)]
pub(super) struct Breaker {
    config: config::CircuitBreaker,
    state: CircuitState,
    /// The times of the last failures, oldest first; at most as many as open the breaker.
    failures: VecDeque<Instant>,
    /// When an open breaker lets the next step run.
    until: Instant,
    circuit: Arc<Circuit>,
}

impl Breaker {
    pub(super) fn new(config: config::CircuitBreaker, circuit: Arc<Circuit>) -> Self {
        Self { config, state: CircuitState::Closed, failures: VecDeque::new(), until: circuit.origin, circuit }
    }

    pub(super) fn state(&self) -> CircuitState {
        self.state
    }

    /// The time before which no step may run, if the breaker is open. Once that time has passed, it is half-open.
    pub(super) fn blocks_until(&mut self, now: Instant) -> Option<Instant> {
        if self.state != CircuitState::Open {
            return None;
        }
        if now < self.until {
            return Some(self.until);
        }
        self.state = CircuitState::HalfOpen;
        None
    }

    /// A step failed; `has_ended` if requests ended with its error. Returns whether the breaker opened.
    pub(super) fn failed(&mut self, has_ended: bool, now: Instant) -> bool {
        if !self.config.enabled {
            return false;
        }
        if has_ended {
            let window = self.config.window;
            self.failures.retain(|&at| now.saturating_duration_since(at) < window);
            self.failures.push_back(now);
        }
        let is_open = self.state == CircuitState::HalfOpen || self.failures.len() >= self.config.failures;
        if is_open {
            self.failures.clear();
            self.state = CircuitState::Open;
            self.until = now.checked_add(self.config.open).unwrap_or(now);
            self.circuit.open_until(self.until);
        }
        is_open
    }

    /// A step ran. Returns whether the breaker closed.
    pub(super) fn ran(&mut self) -> bool {
        let closes = self.state == CircuitState::HalfOpen;
        if closes {
            self.state = CircuitState::Closed;
        }
        closes
    }

    /// A request ended with a complete answer.
    pub(super) fn completed(&mut self) {
        self.failures.clear();
    }
}

/// The state that a model's breakers on all workers share. Threads that submit requests read it.
#[derive(Debug)]
pub(super) struct Circuit {
    origin: Instant,
    /// Nanoseconds after `origin` until which requests are refused.
    open_until: AtomicU64,
}

impl Circuit {
    /// A circuit that refuses nothing.
    pub(super) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { origin: now, open_until: AtomicU64::new(0) })
    }

    /// For how long requests are still refused.
    pub(super) fn refuses_for(&self, now: Instant) -> Option<Duration> {
        let until = Duration::from_nanos(self.open_until.load(Ordering::Relaxed));
        until.checked_sub(now.saturating_duration_since(self.origin)).filter(|left| !left.is_zero())
    }

    fn open_until(&self, until: Instant) {
        let nanos = until.saturating_duration_since(self.origin).as_nanos();
        self.open_until.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker(now: Instant) -> Breaker {
        Breaker::new(config::Settings::default().circuit_breaker, Circuit::new(now))
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = breaker(now);
        assert_eq!([1, 2, 3, 4, 5].map(|_| breaker.failed(true, now)), [false, false, false, false, true]);
        breaker
    }

    #[test]
    fn five_failures_open_the_breaker_and_a_step_that_runs_after_ten_seconds_closes_it() {
        let start = Instant::now();
        let mut breaker = opened(start);
        assert_eq!((breaker.state(), breaker.blocks_until(start)), (CircuitState::Open, Some(start + 10 * SECOND)));
        assert_eq!(breaker.circuit.refuses_for(start + 4 * SECOND), Some(6 * SECOND));
        assert_eq!(breaker.circuit.refuses_for(start + 10 * SECOND), None);
        assert_eq!(breaker.blocks_until(start + 10 * SECOND), None);
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
        assert!(breaker.ran(), "it closes");
        assert_eq!(breaker.state(), CircuitState::Closed);
        assert!(!breaker.ran(), "it is closed already");
        let again = [1, 2, 3, 4, 5].map(|_| breaker.failed(true, start + 11 * SECOND));
        assert_eq!(again, [false, false, false, false, true], "earlier failures are forgotten");
    }

    #[test]
    fn a_failed_step_opens_a_half_open_breaker_again() {
        let start = Instant::now();
        let mut breaker = opened(start);
        for round in 1..4 {
            let now = start + round * 10 * SECOND;
            assert_eq!(breaker.blocks_until(now), None);
            assert!(breaker.failed(false, now), "even if every request of the step may run again");
            assert_eq!(breaker.blocks_until(now), Some(now + 10 * SECOND));
            assert_eq!(breaker.circuit.refuses_for(now), Some(10 * SECOND));
        }
    }

    #[test]
    fn failures_that_are_old_or_retried_or_followed_by_an_answer_do_not_count() {
        let start = Instant::now();
        let mut slow = breaker(start);
        assert!((0..20).all(|n| !slow.failed(true, start + n * 15 * SECOND)), "at most 4 in 60 s");
        let mut retried = breaker(start);
        assert!((0..20).all(|_| !retried.failed(false, start)));
        let mut answering = breaker(start);
        assert!((0..20).all(|n| {
            if n % 4 == 3 {
                answering.completed();
            }
            !answering.failed(true, start)
        }));
    }

    #[test]
    fn a_disabled_breaker_does_not_open() {
        let start = Instant::now();
        let config = config::CircuitBreaker { enabled: false, ..config::Settings::default().circuit_breaker };
        let mut breaker = Breaker::new(config, Circuit::new(start));
        assert!((0..20).all(|_| !breaker.failed(true, start)));
        assert_eq!((breaker.blocks_until(start), breaker.circuit.refuses_for(start)), (None, None));
    }
}
