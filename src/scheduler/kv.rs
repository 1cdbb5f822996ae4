//! The KV budget: how many positions the running sequences may hold together. The executor owns the KV itself. After the device
//! ran out of memory the budget is smaller, and it grows back step by step, because the lack of memory may be short.

use std::time::{Duration, Instant};

use super::config::KvLimit;
use super::sequence::Sequence;

#[derive(Debug, Clone, Copy)]
pub(super) struct KvBudget {
    limit: Option<KvLimit>,
    /// Positions that fit.
    capacity: usize,
    /// How the capacity grows back, while it is smaller than the limit.
    growth: Option<Growth>,
    /// Time between two steps of growth, as it will be after the next failure.
    pause: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Growth {
    /// Time of the next step of growth. The first decision after the failure sets it.
    next: Option<Instant>,
    pause: Duration,
    /// Number of positions for which the device had too little memory.
    failed_at: usize,
}

/// Time between two steps of growth after the first failure. It doubles with each failure, because after a failure every
/// sequence is recomputed.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

impl KvBudget {
    pub(super) fn new(limit: Option<KvLimit>) -> Self {
        let mut budget = Self { limit, capacity: 0, growth: None, pause: FIRST_PAUSE };
        budget.capacity = budget.whole();
        budget
    }

    /// Sets the limit in bytes, which depends on the memory of other models. A capacity that shrank because the device ran out of
    /// memory does not rise with the limit.
    pub(super) fn set_bytes(&mut self, bytes: u64) {
        let Some(limit) = &mut self.limit else { return };
        if limit.bytes == bytes {
            return;
        }
        limit.bytes = bytes;
        self.capacity = if self.growth.is_some() { self.capacity.min(self.whole()) } else { self.whole() };
    }

    /// Bytes of `num_positions` positions; 0 without a limit.
    pub(super) fn bytes(&self, num_positions: usize) -> u64 {
        self.limit.map_or(0, |limit| limit.bytes_per_position.saturating_mul(num_positions as u64))
    }

    /// Positions that fit into the configured limit.
    fn whole(&self) -> usize {
        self.limit.map_or(usize::MAX, |limit| limit.capacity())
    }

    /// Positions of whole blocks that a sequence holds after its next step.
    pub(super) fn held(&self, sequence: &Sequence) -> usize {
        self.whole_blocks(sequence.num_positions())
    }

    /// `num_positions` rounded up to whole blocks.
    pub(super) fn whole_blocks(&self, num_positions: usize) -> usize {
        self.limit.map_or(num_positions, |limit| limit.whole_blocks(num_positions))
    }

    /// Whether a sequence with `num_reached` positions still has the first `num_positions`.
    pub(super) fn can_copy(&self, num_positions: usize, num_reached: usize) -> bool {
        self.limit.is_none_or(|limit| limit.growth.can_copy(num_positions, num_reached))
    }

    /// Whether `num_positions` positions fit.
    pub(super) fn fits(&self, num_positions: usize) -> bool {
        num_positions <= self.capacity
    }

    /// Shrinks the capacity after the device ran out of memory with `num_positions` held: to nine tenths of these.
    pub(super) fn shrink_below(&mut self, num_positions: usize) {
        self.capacity = self.capacity.min(num_positions - num_positions / 10);
        self.growth = Some(Growth { next: None, pause: self.pause, failed_at: num_positions });
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Grows the capacity by a tenth for each pause that has passed since the last failure. At twice the positions of the
    /// failure, the whole budget is back.
    pub(super) fn grow(&mut self, now: Instant) {
        while let Some(growth) = &mut self.growth {
            let next = *growth.next.get_or_insert(now + growth.pause);
            if now < next {
                return;
            }
            growth.next = Some(next + growth.pause);
            let enough = growth.failed_at.saturating_mul(2);
            self.capacity = self.capacity.saturating_add((self.capacity / 10).max(1));
            if self.capacity >= enough.min(self.whole()) {
                self.capacity = self.whole();
                (self.growth, self.pause) = (None, FIRST_PAUSE);
            }
        }
    }
}
