//! How the rows of a step lie in one pool: in which order they attend, where they are written, and which of them attend
//! together. Rows that decode in neighbouring slots are one group, whatever their number; a piece of a prompt is one alone.

use mlx_ops::{KvPlace, KvRead};

use super::Span;
use super::kinds::KvKind;

/// A span and its slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) span: Span,
    /// Index of the slab among those of the step.
    pub(super) slab: i32,
    pub(super) slot: i32,
}

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Layout {
    /// The packed row that is at each place; all arrays below are in this order.
    pub(super) order: Vec<u32>,
    /// The position of each row in its sequence.
    pub(super) positions: Vec<i32>,
    /// Where each row is written; nowhere if it leaves the window within the step.
    pub(super) places: Vec<Option<KvPlace>>,
    /// What each group reads.
    pub(super) reads: Vec<KvRead>,
    pub(super) groups: Vec<Group>,
}

/// Which rows that decode attend in one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Grouping {
    /// Those in neighbouring slots.
    Neighbours,
    /// Each row by itself, over no more keys than it sees: its result has the same bits whatever else is in the step.
    Single,
}

/// Rows that attend in one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Group {
    /// Rows of as many sequences, from row `first`; each sees that many keys, counted from the first.
    Decode { first: i32, num_visible: Vec<i32> },
    /// `len` rows of one sequence, from row `first`. Row i sees the keys up to `num_before + i`, the last `window` of them where
    /// that matters.
    Piece { first: i32, len: i32, num_before: i32, window: Option<i32> },
}

impl Layout {
    pub(super) fn new(kind: &dyn KvKind, grouping: Grouping, mut placed: Vec<Placed>) -> Self {
        // Sorted: rows that decode come first, and neighbours in a slab are neighbours here.
        placed.sort_by_key(|placed| (placed.span.len > 1, placed.slab, placed.slot));
        let mut layout = Self::default();
        let mut last: Option<Placed> = None;
        for placed in placed {
            let is_neighbour = |last: &Placed| {
                let is_next = last.slab == placed.slab && last.slot + 1 == placed.slot;
                grouping == Grouping::Neighbours && last.span.len == 1 && is_next
            };
            if placed.span.len > 1 {
                layout.add_piece(kind, placed);
            } else {
                layout.add_decoding(kind, placed, last.as_ref().is_some_and(is_neighbour));
            }
            last = Some(placed);
        }
        layout
    }

    /// Whether rows attend in the order in which they are packed.
    pub(super) fn is_in_order(&self) -> bool {
        self.order.iter().copied().eq(0..)
    }

    fn num_rows(&self) -> i32 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // steps are bounded
        let num_rows = self.order.len() as i32;
        num_rows
    }

    fn add_decoding(&mut self, kind: &dyn KvKind, placed: Placed, is_neighbour: bool) {
        let Placed { span, slab, slot } = placed;
        let (first, visible) = (self.num_rows(), kind.num_kept(span.start + 1));
        if is_neighbour
            && let (Some(Group::Decode { num_visible, .. }), Some(read)) =
                (self.groups.last_mut(), self.reads.last_mut())
        {
            num_visible.push(visible);
            read.num_slots += 1;
            read.first_count = read.first_count.max(visible);
        } else {
            self.groups.push(Group::Decode { first, num_visible: vec![visible] });
            self.reads.push(KvRead { slab, slot, num_slots: 1, first_count: visible, ..KvRead::default() });
        }
        self.add_rows(kind, placed, 1);
    }

    fn add_piece(&mut self, kind: &dyn KvKind, placed: Placed) {
        let Placed { span, slab, slot } = placed;
        let (first, end) = (self.num_rows(), span.start + span.len);
        let num_before = span.start - kind.first_visible(span.start);
        let read = KvRead { slab, slot, num_slots: 1, ..KvRead::default() };
        if kind.num_kept(end) == end {
            self.groups.push(Group::Piece { first, len: span.len, num_before, window: None });
            self.reads.push(KvRead { first_count: end, ..read });
        } else {
            // Rows of the piece take the places of positions that its first rows see: those are read before.
            let (window, at) = (kind.num_kept(end), kind.place(span.start - num_before));
            let first_count = num_before.min(window - at);
            self.groups.push(Group::Piece { first, len: span.len, num_before, window: Some(window) });
            let second_count = num_before - first_count;
            let parts = KvRead { first: at, first_count, second: 0, second_count, ..read };
            self.reads.push(KvRead { row: first, num_rows: span.len, ..parts });
        }
        self.add_rows(kind, placed, kind.num_kept(end).min(span.len));
    }

    /// The last `num_written` rows of a span are written.
    fn add_rows(&mut self, kind: &dyn KvKind, Placed { span, slab, slot }: Placed, num_written: i32) {
        for row in 0..span.len {
            let position = span.start + row;
            self.order.push((span.offset + row).unsigned_abs());
            self.positions.push(position);
            let place = KvPlace { slab, slot, position: kind.place(position) };
            self.places.push((row >= span.len - num_written).then_some(place));
        }
    }
}
