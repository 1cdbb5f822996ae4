//! The KV budget: how many positions the running sequences may hold together. The executor owns the KV itself. When the device
//! runs out of memory, the budget shrinks. It grows back step by step, because the lack of memory may be short.

use std::time::{Duration, Instant};

use super::config::KvLimit;
use super::sequence::Sequence;

#[derive(Debug, Clone, Copy)]
pub(super) struct KvBudget {
    limit: Option<KvLimit>,
    /// Positions of running sequences that fit.
    capacity: usize,
    /// Bytes of all models together, of which this one may get the most while the others are idle.
    total: u64,
    /// Positions of pinned prompts, which sequences cannot have.
    num_pinned: usize,
    /// Bytes for running and retained sequences together, if other models leave less than the limit.
    bytes_with_retained: u64,
    /// How the capacity grows back, while it is smaller than the limit.
    growth: Option<Growth>,
    /// Time between two steps of growth after the next failure.
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

/// How much memory there is for KV that is retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Enough.
    Enough,
    /// Too little for a copy beside the original.
    NoCopy,
    /// None: only the KV of pinned prompts is used.
    Nothing,
}

impl Room {
    /// The next less.
    pub(super) fn less(self) -> Option<Self> {
        match self {
            Self::Enough => Some(Self::NoCopy),
            Self::NoCopy => Some(Self::Nothing),
            Self::Nothing => None,
        }
    }
}

/// Time between two steps of growth after the first failure. It doubles with each failure, because after a failure every
/// sequence is recomputed.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

impl KvBudget {
    pub(super) fn new(limit: Option<KvLimit>) -> Self {
        let total = limit.map_or(u64::MAX, |limit| limit.bytes);
        let (num_pinned, bytes_with_retained) = (0, u64::MAX);
        let mut budget =
            Self { limit, capacity: 0, total, num_pinned, bytes_with_retained, growth: None, pause: FIRST_PAUSE };
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

    /// Sets the limit in bytes of running and retained sequences together.
    pub(super) fn set_bytes_with_retained(&mut self, bytes: u64) {
        self.bytes_with_retained = bytes;
    }

    /// Sets the bytes of all models together.
    pub(super) fn set_total(&mut self, bytes: u64) {
        self.total = bytes;
    }

    /// Sets the positions of pinned prompts.
    pub(super) fn set_pinned(&mut self, num_positions: usize) {
        self.num_pinned = num_positions;
    }

    /// Positions of pinned prompts.
    pub(super) fn num_pinned(&self) -> usize {
        self.num_pinned
    }

    /// Bytes of all models together, if sequences are limited.
    pub(super) fn total(&self) -> Option<u64> {
        self.limit.and(Some(self.total)).filter(|total| *total < u64::MAX)
    }

    /// Whether `num_positions` positions of running and retained sequences fit.
    pub(super) fn fits_with_retained(&self, num_positions: usize) -> bool {
        self.fits(num_positions) && self.bytes(num_positions + self.num_pinned) <= self.bytes_with_retained
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

    /// Whether a sequence that has computed `num_reached` positions still has the first `num_positions`.
    pub(super) fn can_copy(&self, num_positions: usize, num_reached: usize) -> bool {
        self.limit.is_none_or(|limit| limit.growth.can_copy(num_positions, num_reached))
    }

    /// Whether `num_positions` positions fit beside pinned prompts.
    pub(super) fn fits(&self, num_positions: usize) -> bool {
        num_positions.saturating_add(self.num_pinned) <= self.capacity
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
