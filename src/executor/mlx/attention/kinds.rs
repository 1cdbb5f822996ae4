//! Which positions a layer keeps of a sequence, and where in the sequence's slot they lie.

/// Positions of the smallest slot; also what larger ones double from.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // a small constant
pub(super) const SMALLEST_SLOT: i32 = super::KV_BLOCK as i32;

/// What kind of KV a layer has.
pub(in super::super) trait KvKind: std::fmt::Debug {
    /// Positions that are kept of the first `num_positions`.
    fn num_kept(&self, num_positions: i32) -> i32;

    /// Where a position lies in its slot.
    fn place(&self, position: i32) -> i32;

    /// The first position that a query at `position` sees.
    fn first_visible(&self, position: i32) -> i32;

    /// Positions of a slot that holds what is kept of the first `num_positions`.
    fn capacity(&self, num_positions: i32) -> i32 {
        let doubled = SMALLEST_SLOT.max(num_positions).unsigned_abs().next_power_of_two();
        self.num_kept(i32::try_from(doubled).unwrap_or(i32::MAX))
    }

    /// Whether the first `num_positions` are still there in a sequence that has come to `num_reached`.
    fn can_copy(&self, num_positions: i32, num_reached: i32) -> bool {
        num_positions == num_reached || self.num_kept(num_reached) == num_reached
    }
}

/// Every position is kept.
#[derive(Debug)]
pub(in super::super) struct Full;

/// The last so many positions are kept, each in the place of the one that leaves the window.
#[derive(Debug)]
pub(in super::super) struct Window(pub(in super::super) i32);

impl KvKind for Full {
    fn num_kept(&self, num_positions: i32) -> i32 {
        num_positions
    }

    fn place(&self, position: i32) -> i32 {
        position
    }

    fn first_visible(&self, _position: i32) -> i32 {
        0
    }
}

impl KvKind for Window {
    fn num_kept(&self, num_positions: i32) -> i32 {
        num_positions.min(self.0)
    }

    fn place(&self, position: i32) -> i32 {
        position % self.0
    }

    fn first_visible(&self, position: i32) -> i32 {
        (position - self.0 + 1).max(0)
    }
}
