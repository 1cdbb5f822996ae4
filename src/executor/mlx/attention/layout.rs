//! The layout of a step's rows in one pool: the order in which they attend, where their KV is written, and which rows attend
//! together.
//!
//! Decoding rows in neighbouring slots form one group of any size, which reads the keys in place. Pieces of prompts form a group
//! in any slots: keys of slots that are not neighbours are copied next to each other, which costs little compared with the many
//! queries. A group is a rectangle, [slots, queries, keys]. Scores outside its rows are computed in vain, and [`Sharing`] limits
//! their number to what costs less than another group.

use mlx_ops::{KvPlace, KvRead, KvSlot};

use super::Span;
use super::kinds::KvKind;

/// A span and its slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) span: Span,
    /// Index among the slabs of the step.
    pub(super) slab: i32,
    pub(super) slot: i32,
}

/// The layout of one step in one pool.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Layout {
    /// The packed row at each place. Positions, places and rows of reads have the same order.
    pub(super) order: Vec<u32>,
    /// The position of each row in its sequence.
    pub(super) positions: Vec<i32>,
    /// Where each row's KV is written; `None` if the row leaves the window within the step.
    pub(super) places: Vec<Option<KvPlace>>,
    /// The KV that each group reads.
    pub(super) reads: Vec<KvRead>,
    pub(super) groups: Vec<Group>,
    /// The row of each query as an index into `order`, group by group. Queries that only pad a group have an arbitrary row.
    pub(super) queries: Vec<u32>,
    /// The index into `queries` of each packed row.
    pub(super) back: Vec<u32>,
}

/// Which rows attend in one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Grouping {
    /// Rows of several sequences, as far as [`Sharing`] allows.
    Shared,
    /// Rows of one sequence, over exactly the keys that they attend to. Their bits do not depend on other rows of the step.
    Single,
}

/// Limits of a group, in scores of one head. A group has one score for each pair of a query and a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sharing {
    /// A group may compute this many scores in vain, or as many as its rows need, whichever is more.
    pub(super) few: i64,
    /// Pieces share a group only up to this many scores, because all scores of a group are in memory at once.
    pub(super) most: i64,
}

/// Rows that attend in one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Group {
    /// One query for each of consecutive slots, from query `first`. A query attends to the first `num_visible` keys of its slot.
    /// A slot without a row in this step has one visible key.
    Decode {
        first: i32,
        num_visible: Vec<i32>,
    },
    Pieces(Pieces),
}

/// Pieces of prompts. Each piece has `len` queries; those after its own rows are padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    pub(super) first: i32,
    pub(super) len: i32,
    pub(super) rows: Vec<Piece>,
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
    /// This many keys, from position 0 on.
    Full(i32),
    /// Rows overwrite positions that the first rows attend to, so keys are read before: the first `kept` places of the window,
    /// then the keys of the rows.
    Window { window: i32, kept: i32 },
}

/// Sorts rows so that rows that may attend together are neighbours: first decoding rows by slot, then pieces by similar length.
pub(super) fn arrange(kind: &dyn KvKind, placed: &mut [Placed]) {
    placed.sort_by_key(|Placed { span, slab, slot }| match span.len {
        1 => (false, 0, 0, *slab, *slot),
        len => (true, len.ilog2(), kind.capacity(span.start + len), *slab, *slot),
    });
}

impl Layout {
    /// `placed` is in the order in which rows are packed, decoding rows first. Without `sharing` each sequence attends alone.
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

    /// Adds decoding rows of neighbouring slots. A few slots between them may have no row.
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
        let rows = spans().map(|Span { start, len, .. }| Piece { start, len }).collect();
        self.groups.push(Group::Pieces(Pieces { first, len, rows, keys }));
    }

    /// Adds the rows of a span, and padding up to `num_queries` queries. KV is written only for the last rows, which are kept.
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
    /// How many of `others`, in the order of their slots, join the group of `first`.
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

    /// How many of `others` join the group of `first`.
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

/// Whether all positions up to the end of a piece are kept.
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
