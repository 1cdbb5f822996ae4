//! How the rows of a step lie in one pool: in which order they attend, where they are written, and which of them attend
//! together.
//!
//! Rows that decode in neighbouring slots are one group, whatever their number: keys are read where they lie. Pieces of
//! prompts are one group wherever they lie: their keys are copied side by side unless they are neighbours, which is little
//! beside their many queries. A group is a rectangle, [slots, queries, keys]; what its rows do not fill is computed in vain,
//! and [`Sharing`] says how much of that is cheaper than a group more.

use mlx_ops::{KvPlace, KvRead, KvSlot};

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
    /// The packed row that is at each place. Positions, places and rows of reads are in this order.
    pub(super) order: Vec<u32>,
    /// The position of each row in its sequence.
    pub(super) positions: Vec<i32>,
    /// Where each row is written; nowhere if it leaves the window within the step.
    pub(super) places: Vec<Option<KvPlace>>,
    /// What each group reads.
    pub(super) reads: Vec<KvRead>,
    pub(super) groups: Vec<Group>,
    /// For each query of the groups, one after another, the row that it is of; any row where the group has none.
    pub(super) queries: Vec<u32>,
    /// For each packed row, its place among `queries`.
    pub(super) back: Vec<u32>,
}

/// Which rows attend in one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Grouping {
    /// Those that [`Sharing`] brings together.
    Shared,
    /// Each row by itself, over no more keys than it sees: its result has the same bits whatever else is in the step.
    Single,
}

/// How large groups may be, in scores of one head. A score is a query beside a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sharing {
    /// A group may compute so many scores in vain, or as many as its rows want if these are more.
    pub(super) few: i64,
    /// Pieces whose scores are more do not come together: all scores of a group are in memory at once.
    pub(super) most: i64,
}

/// Rows that attend in one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Group {
    /// One query of each of some neighbouring slots, from query `first`. Each sees that many keys, counted from the first; a slot
    /// that no row of the step is in sees one.
    Decode {
        first: i32,
        num_visible: Vec<i32>,
    },
    Pieces(Pieces),
}

/// Pieces of prompts. Each has `len` queries, of which those behind its own rows are of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    pub(super) first: i32,
    pub(super) len: i32,
    pub(super) pieces: Vec<Piece>,
    pub(super) keys: Keys,
}

/// `len` rows of a sequence, from position `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: i32,
    pub(super) len: i32,
}

/// The keys of a group of pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// So many, from position 0 on.
    Full(i32),
    /// Rows take the places of positions that the first of them see. So these are read before: as they lie in the first `kept`
    /// places of a window, and then the rows.
    Window { window: i32, kept: i32 },
}

/// Brings rows into an order in which those that may attend together are neighbours: first those that decode, by slot; then
/// pieces, those of similar length side by side.
pub(super) fn arrange(kind: &dyn KvKind, placed: &mut [Placed]) {
    placed.sort_by_key(|Placed { span, slab, slot }| match span.len {
        1 => (false, 0, 0, *slab, *slot),
        len => (true, len.ilog2(), kind.capacity(span.start + len), *slab, *slot),
    });
}

impl Layout {
    /// `placed` in the order in which rows are packed: those that decode come first. Without `sharing` each row is alone.
    pub(super) fn new(kind: &dyn KvKind, sharing: Option<Sharing>, mut placed: Vec<Placed>) -> Self {
        let num_decoding = placed.iter().take_while(|placed| placed.span.len == 1).count();
        let (decoding, pieces) = placed.split_at_mut(num_decoding);
        decoding.sort_by_key(|placed| (placed.slab, placed.slot));
        let mut layout = Self::default();
        let mut rest = &*decoding;
        while let Some((first, others)) = rest.split_first() {
            let count = 1 + sharing.map_or(0, |sharing| sharing.num_decoding(kind, first, others));
            layout.add_decoding(kind, &rest[..count]);
            rest = &rest[count..];
        }
        let mut rest = &*pieces;
        while let Some((first, others)) = rest.split_first() {
            let count = 1 + sharing.map_or(0, |sharing| sharing.num_pieces(kind, first, others));
            layout.add_pieces(kind, &rest[..count]);
            rest = &rest[count..];
        }
        layout
    }

    /// Adds rows of neighbouring slots, or of slots between which few are missing.
    fn add_decoding(&mut self, kind: &dyn KvKind, placed: &[Placed]) {
        let [Placed { slab, slot, .. }, ..] = placed[..] else { return };
        let mut num_visible = Vec::new();
        let first = index(self.queries.len());
        for next in placed {
            let num_missing = next.slot - slot - index(num_visible.len());
            for _ in 0..num_missing {
                num_visible.push(1);
                self.queries.push(row(self.order.len()));
            }
            num_visible.push(kind.num_kept(next.span.start + 1));
            self.add_rows(kind, next, 1);
        }
        let count = num_visible.iter().copied().max().unwrap_or_default();
        let slots = (slot..).take(num_visible.len()).map(|slot| KvSlot { slab, slot, ..KvSlot::default() });
        self.reads.push(KvRead { slots: slots.collect(), count });
        self.groups.push(Group::Decode { first, num_visible });
    }

    fn add_pieces(&mut self, kind: &dyn KvKind, placed: &[Placed]) {
        let spans = || placed.iter().map(|placed| placed.span);
        let (first, len) = (index(self.queries.len()), spans().map(|span| span.len).max().unwrap_or_default());
        let keys = match placed {
            [first, ..] if !keeps_all(kind, first) => {
                let window = kind.num_kept(i32::MAX);
                Keys::Window { window, kept: spans().map(|span| kind.num_kept(span.start)).max().unwrap_or_default() }
            }
            _ => Keys::Full(spans().map(|span| span.start + span.len).max().unwrap_or_default()),
        };
        let mut slots = Vec::new();
        for next in placed {
            let Placed { span, slab, slot } = *next;
            let of_rows = matches!(keys, Keys::Window { .. }).then_some((index(self.order.len()), span.len));
            let (row, num_rows) = of_rows.unwrap_or_default();
            slots.push(KvSlot { slab, slot, row, num_rows });
            self.add_rows(kind, next, len);
        }
        let (Keys::Full(count) | Keys::Window { kept: count, .. }) = keys;
        self.reads.push(KvRead { slots, count });
        let pieces = spans().map(|Span { start, len, .. }| Piece { start, len }).collect();
        self.groups.push(Group::Pieces(Pieces { first, len, pieces, keys }));
    }

    /// Adds the rows of a span, and queries up to `num_queries`. The last rows are written, as many as are kept.
    fn add_rows(&mut self, kind: &dyn KvKind, Placed { span, slab, slot }: &Placed, num_queries: i32) {
        let num_written = kind.num_kept(span.start + span.len).min(span.len);
        for at in 0..span.len {
            let (packed, position) = ((span.offset + at).unsigned_abs(), span.start + at);
            let back = packed as usize;
            self.back.resize(self.back.len().max(back + 1), 0);
            self.back[back] = row(self.queries.len());
            self.queries.push(row(self.order.len()));
            self.order.push(packed);
            self.positions.push(position);
            let place = KvPlace { slab: *slab, slot: *slot, position: kind.place(position) };
            self.places.push((at >= span.len - num_written).then_some(place));
        }
        let last = row(self.order.len().saturating_sub(1));
        self.queries.extend((span.len..num_queries).map(|_| last));
    }
}

impl Sharing {
    /// Of `others`, in the order of their slots, how many come into the group of `first`.
    fn num_decoding(self, kind: &dyn KvKind, first: &Placed, others: &[Placed]) -> usize {
        let mut last = first.slot;
        let mut num_missing = 0;
        let mut most = kind.num_kept(first.span.start + 1);
        let mut wanted = i64::from(most);
        let joins = |next: &&Placed| {
            let visible = kind.num_kept(next.span.start + 1);
            num_missing += i64::from(next.slot - last - 1);
            most = most.max(visible);
            wanted += i64::from(visible);
            last = next.slot;
            next.slab == first.slab && (num_missing == 0 || self.allows(num_missing * i64::from(most), wanted))
        };
        others.iter().take_while(joins).count()
    }

    /// Of `others` how many come into the group of `first`.
    fn num_pieces(self, kind: &dyn KvKind, first: &Placed, others: &[Placed]) -> usize {
        let num_keys = |span: &Span| {
            if keeps_all(kind, first) { span.start + span.len } else { kind.num_kept(span.start) + span.len }
        };
        let size = |span: &Span| [i64::from(span.len), i64::from(num_keys(span))];
        let [mut len, mut keys] = size(&first.span);
        let (mut count, mut wanted) = (1, len * keys);
        let mut capacity = kind.capacity(first.span.start + first.span.len);
        let joins = |next: &&Placed| {
            let [its_len, its_keys] = size(&next.span);
            (len, keys, count, wanted) = (len.max(its_len), keys.max(its_keys), count + 1, wanted + its_len * its_keys);
            capacity = capacity.min(kind.capacity(next.span.start + next.span.len));
            let (scores, has_room) = (count * len * keys, !keeps_all(kind, next) || keys <= i64::from(capacity));
            let is_alike = keeps_all(kind, next) == keeps_all(kind, first);
            is_alike && has_room && scores <= self.most && self.allows(scores - wanted, wanted)
        };
        others.iter().take_while(joins).count()
    }

    fn allows(self, in_vain: i64, wanted: i64) -> bool {
        in_vain <= self.few.max(wanted)
    }
}

/// Whether no position leaves the window up to the end of a piece.
fn keeps_all(kind: &dyn KvKind, Placed { span, .. }: &Placed) -> bool {
    kind.num_kept(span.start + span.len) == span.start + span.len
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // steps are bounded
fn index(count: usize) -> i32 {
    count as i32
}

#[allow(clippy::cast_possible_truncation)] // steps are bounded
fn row(count: usize) -> u32 {
    count as u32
}
