//! Which positions of a sequence a layer keeps, and their places in the sequence's slot.

/// Positions of the smallest slot. Larger slots are doublings of it.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // a small constant
pub(super) const SMALLEST_SLOT: i32 = super::KV_BLOCK as i32;

/// The kind of KV of a layer.
pub(in super::super) trait KvKind: std::fmt::Debug {
    /// Number of positions that are kept of the first `num_positions`.
    fn num_kept(&self, num_positions: i32) -> i32;

    /// The place of a position in the slot.
    fn place(&self, position: i32) -> i32;

    /// Capacity in positions of a slot for the first `num_positions`.
    fn capacity(&self, num_positions: i32) -> i32 {
        let doubled = SMALLEST_SLOT.max(num_positions).unsigned_abs().next_power_of_two();
        self.num_kept(i32::try_from(doubled).unwrap_or(i32::MAX))
    }

    /// Whether a sequence of `num_reached` positions still has all of the first `num_positions`.
    fn can_copy(&self, num_positions: i32, num_reached: i32) -> bool {
        num_positions == num_reached || self.num_kept(num_reached) == num_reached
    }
}

/// Keeps every position.
#[derive(Debug)]
pub(in super::super) struct Full;

/// Keeps the last positions, at most this many. A new position takes the place of the one that leaves the window.
#[derive(Debug)]
pub(in super::super) struct Window(pub(in super::super) i32);

impl KvKind for Full {
    fn num_kept(&self, num_positions: i32) -> i32 {
        num_positions
    }

    fn place(&self, position: i32) -> i32 {
        position
    }
}

impl KvKind for Window {
    fn num_kept(&self, num_positions: i32) -> i32 {
        num_positions.min(self.0)
    }

    fn place(&self, position: i32) -> i32 {
        position % self.0
    }
}
