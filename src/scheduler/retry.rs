//! Retry: sequences of a failed step that have no token yet wait here for their next attempt. The wait doubles with each attempt
//! (exponential backoff) and is spread by up to a quarter, so that sequences that failed together do not come back together.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::request::SequenceId;

use super::sequence::Sequence;

/// How often and when the sequences of a failed step run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConfig {
    /// Attempts of a sequence, the first one included.
    pub max_attempts: usize,
    /// The wait before the second attempt.
    pub initial_delay: Duration,
    /// The longest wait, before it is spread.
    pub max_delay: Duration,
}

/// The part of a wait by which it is spread, in both directions.
const SPREAD: f64 = 0.25;

/// Sequences that wait for their next attempt. They hold no KV.
#[derive(Debug)]
pub(super) struct Retries {
    config: RetryConfig,
    /// By the time of the attempt.
    waiting: BTreeMap<(Instant, SequenceId), Sequence>,
}

impl Retries {
    pub(super) fn new(config: RetryConfig) -> Self {
        Self { config, waiting: BTreeMap::new() }
    }

    /// Whether a sequence of a failed step may run again: it has attempts left, and nothing of its answer was read, so no caller
    /// has got a part of it.
    pub(super) fn may_retry(&self, sequence: &Sequence) -> bool {
        sequence.num_read() == 0 && sequence.num_failures + 1 < self.config.max_attempts
    }

    /// Keeps a sequence until its next attempt.
    pub(super) fn hold(&mut self, mut sequence: Sequence, now: Instant) {
        sequence.num_failures += 1;
        sequence.restart();
        let delay = self.delay(sequence.id, sequence.num_failures);
        self.waiting.insert((now.checked_add(delay).unwrap_or(now), sequence.id), sequence);
    }

    /// Removes and returns a sequence whose wait is over.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Sequence> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub(super) fn remove(&mut self, id: SequenceId) -> Option<Sequence> {
        let key = self.waiting.keys().find(|(_, waiting)| *waiting == id).copied()?;
        self.waiting.remove(&key)
    }

    pub(super) fn get_mut(&mut self, id: SequenceId) -> Option<&mut Sequence> {
        self.waiting.values_mut().find(|sequence| sequence.id == id)
    }

    /// When the next attempt begins.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(&(at, _), _)| at)
    }

    /// The earliest deadline of a sequence that waits.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.waiting.values().filter_map(|sequence| sequence.deadline).min()
    }

    /// A sequence whose deadline has passed.
    pub(super) fn past_deadline(&self, now: Instant) -> Option<SequenceId> {
        let is_past = |sequence: &&Sequence| sequence.deadline.is_some_and(|at| at <= now);
        self.waiting.values().find(is_past).map(|sequence| sequence.id)
    }

    pub(super) fn get(&self, id: SequenceId) -> Option<&Sequence> {
        self.iter().find(|sequence| sequence.id == id)
    }

    /// The sequences that wait.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Sequence> {
        self.waiting.values()
    }

    /// The same, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Sequence> {
        self.waiting.values_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The wait before the attempt that follows so many failures. The spread depends on the sequence and the attempt alone, so a
    /// scheduler makes the same decisions again for the same input.
    fn delay(&self, id: SequenceId, num_failures: usize) -> Duration {
        let doublings = u32::try_from(num_failures - 1).unwrap_or(u32::MAX).min(31);
        let delay = self.config.initial_delay.saturating_mul(1 << doublings).min(self.config.max_delay);
        let mut hasher = DefaultHasher::new();
        (id, num_failures).hash(&mut hasher);
        let part = f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        delay.mul_f64(1.0 + SPREAD * (2.0 * part - 1.0))
    }
}
