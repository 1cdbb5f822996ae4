//! The KV budget: how many blocks of positions the running sequences may hold together. Physical KV is the executor's;
//! this is the account.

use super::config::KvLimit;
use super::sequence::Sequence;

#[derive(Debug, Clone, Copy)]
pub(super) struct KvBudget {
    limit: Option<KvLimit>,
    /// Positions that fit.
    capacity: usize,
}

impl KvBudget {
    pub(super) fn new(limit: Option<KvLimit>) -> Self {
        Self { limit, capacity: limit.map_or(usize::MAX, |limit| limit.capacity()) }
    }

    /// What a sequence holds after its next step, in positions of whole blocks.
    pub(super) fn held(&self, sequence: &Sequence) -> usize {
        self.whole_blocks(sequence.num_positions())
    }

    /// So many positions in whole blocks.
    pub(super) fn whole_blocks(&self, num_positions: usize) -> usize {
        self.limit.map_or(num_positions, |limit| limit.whole_blocks(num_positions))
    }

    /// Whether so many positions fit.
    pub(super) fn fits(&self, num_positions: usize) -> bool {
        num_positions <= self.capacity
    }

    /// The device had less than was thought: a tenth less than what was held then.
    pub(super) fn shrink_below(&mut self, num_positions: usize) {
        self.capacity = self.capacity.min(num_positions - num_positions / 10);
    }
}
