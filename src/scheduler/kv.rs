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
        let positions = |limit: KvLimit| {
            let block = limit.block.max(1) as u64;
            limit.bytes / limit.bytes_per_position.max(1) / block * block
        };
        let capacity = limit.map_or(usize::MAX, |limit| usize::try_from(positions(limit)).unwrap_or(usize::MAX));
        Self { limit, capacity }
    }

    /// What a sequence holds after its next step, in positions of whole blocks.
    pub(super) fn held(&self, sequence: &Sequence) -> usize {
        self.whole_blocks(sequence.num_positions())
    }

    /// So many positions in whole blocks.
    pub(super) fn whole_blocks(&self, num_positions: usize) -> usize {
        num_positions.next_multiple_of(self.limit.map_or(1, |limit| limit.block.max(1)))
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
