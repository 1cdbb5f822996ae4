//! The KV of layers of one kind: its slots (`pool`), the moves that are due, and the part of a step that the layers share.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use mlx_ops::{KvMove, KvUpdate};
use mlx_rs::ops::zeros_dtype;
use mlx_rs::{Array, Dtype};

use super::super::failure::Mlx;
use super::super::spec::AttentionSpec;
use super::host::{self, HostShape};
use super::kinds::{Full, KvKind, Window};
use super::layout::{Group, Grouping, Layout, Placed};
use super::pool::{Growth, Move, Pool, Slot};
use super::scores::{Scores, Visible};
use super::{KV_BLOCK, Span};
use crate::host_kv::KvBlock;
use crate::request::SequenceId;

/// Keys and values of a slab for every layer of its pool, [slots, kv heads, positions, head dim] each.
pub(super) type Memory = Rc<Vec<[Array; 2]>>;

/// Layers with the same kind of attention, which keep the same positions.
pub(super) struct LayerPool {
    pub(super) shape: PoolShape,
    pub(super) num_layers: i32,
    pub(super) pool: Pool<Memory>,
    /// Moves that run before the rows of the next step.
    pub(super) moves: Vec<Move<Memory>>,
    pub(super) step: Option<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PoolShape {
    pub(super) window: Option<i32>,
    pub(super) heads: i32,
    pub(super) kv_heads: i32,
    pub(super) head_dim: i32,
    pub(super) scores: Scores,
    pub(super) grouping: Grouping,
}

/// The part of a step that all layers of a pool share.
pub(super) struct Step {
    pub(super) slabs: Vec<Memory>,
    pub(super) update: KvUpdate,
    pub(super) groups: Vec<(Group, Visible)>,
    /// The position of each row in its sequence, in the order of `order`, [n] i32.
    pub(super) positions: Array,
    /// The packed rows in the order in which they attend, [n].
    pub(super) order: Option<Array>,
    /// The row of each query of the groups, as an index into `order`, [q]. `None` if every row is a query, in order.
    pub(super) queries: Option<Array>,
    /// The index into `queries` of each packed row, [n]. `None` as for `queries`.
    pub(super) back: Option<Array>,
}

impl LayerPool {
    pub(super) fn new(shape: PoolShape) -> Self {
        let pool = Pool::new(shape.kind(), 0);
        Self { shape, num_layers: 0, pool, moves: Vec::new(), step: None }
    }

    /// Bytes of the keys and values of one position in all layers of the pool.
    pub(super) fn bytes_per_position(&self) -> u64 {
        let PoolShape { kv_heads, head_dim, .. } = self.shape;
        let numbers = [2, self.num_layers, kv_heads, head_dim].into_iter().map(|size| u64::from(size.unsigned_abs()));
        numbers.product::<u64>() * if self.shape.scores.kv_dtype == Dtype::Float32 { 4 } else { 2 }
    }

    pub(super) fn copy(&mut self, from: SequenceId, num_positions: i32, to: SequenceId) -> Mlx<()> {
        let make = make_slab(self.shape, self.num_layers);
        self.moves.extend(self.pool.copy(from, num_positions, to, make)?);
        Ok(())
    }

    pub(super) fn take_over(&mut self, from: SequenceId, num_positions: i32, to: SequenceId) -> Mlx<()> {
        let make = make_slab(self.shape, self.num_layers);
        self.moves.extend(self.pool.take_over(from, num_positions, to, make)?);
        Ok(())
    }

    pub(super) fn retain(&mut self, sequence: SequenceId) -> Mlx<()> {
        let make = make_slab(self.shape, self.num_layers);
        self.moves.extend(self.pool.retain(sequence, make)?);
        Ok(())
    }

    /// Adds a retained sequence with the KV of some blocks. `parts` are the bytes of keys and values of each layer in a block.
    pub(super) fn import(
        &mut self,
        sequence: SequenceId,
        blocks: &[KvBlock],
        parts: impl Iterator<Item = [Range<usize>; 2]>,
    ) -> Mlx<()> {
        let num_positions = i32::try_from(blocks.len() * KV_BLOCK).map_err(|_| "too many positions")?;
        if self.pool.kind().num_kept(num_positions) != num_positions {
            return Err("imported KV is longer than the attention window".into());
        }
        let PoolShape { kv_heads: heads, head_dim, scores: Scores { kv_dtype: dtype, .. }, .. } = self.shape;
        let shape = HostShape { heads, capacity: self.pool.kind().capacity(num_positions), head_dim, dtype };
        let array = |range: &Range<usize>| host::import(blocks, range, shape);
        let memory = parts.map(|[keys, values]| Ok([array(&keys)?, array(&values)?])).collect::<Mlx<Vec<_>>>()?;
        self.pool.adopt(sequence, num_positions, Rc::new(memory));
        Ok(())
    }

    /// The slot that holds the KV of a sequence on the device. Until a move of the sequence has run, it is the move's source.
    pub(super) fn written_slot(&self, sequence: SequenceId) -> Mlx<Slot<Memory>> {
        let mut slot = self.pool.slot(sequence).ok_or("KV of a sequence without a slot")?;
        for moved in self.moves.iter().rev() {
            if (moved.to.slab, moved.to.index) == (slot.slab, slot.index) {
                slot = moved.from.clone().ok_or("the KV of this sequence is not written yet")?;
            }
        }
        Ok(slot)
    }

    /// Gives every sequence a slot for its positions after the step.
    pub(super) fn make_room(&mut self, spans: &[Span]) -> Mlx<()> {
        let growth = |span: &Span| Growth { sequence: span.sequence, start: span.start, end: span.start + span.len };
        let growths: Vec<_> = spans.iter().map(growth).collect();
        let make = make_slab(self.shape, self.num_layers);
        self.moves.extend(self.pool.grow(&growths, &make)?);
        self.moves.extend(self.pool.compact(&make)?);
        Ok(())
    }

    pub(super) fn placed(&self, spans: &[Span], slabs: &mut Slabs) -> Mlx<Vec<Placed>> {
        let mut placed = |span: &Span| {
            let slot = self.pool.slot(span.sequence).ok_or("a row without a slot")?;
            Ok(Placed { span: *span, slab: slabs.number(&slot), slot: slot.index })
        };
        spans.iter().map(&mut placed).collect()
    }

    pub(super) fn begin(&mut self, spans: &[Span]) -> Mlx<()> {
        let mut slabs = Slabs::default();
        let moves: Vec<_> = self.moves.drain(..).map(|moved| slabs.number_move(&moved)).collect();
        let placed = self.placed(spans, &mut slabs)?;
        let sharing = match self.shape.grouping {
            Grouping::Shared => Some(self.shape.scores.sharing(self.shape.heads)),
            Grouping::Single => None,
        };
        let layout = Layout::new(self.pool.kind(), sharing, placed);
        self.step = Some(Step::new(layout, &moves, slabs, &self.shape)?);
        Ok(())
    }
}

impl PoolShape {
    pub(super) fn of(spec: &AttentionSpec, scores: Scores, grouping: Grouping) -> Self {
        let AttentionSpec { window, heads, kv_heads, head_dim, .. } = *spec;
        Self { window, heads, kv_heads, head_dim, scores, grouping }
    }

    pub(super) fn kind(self) -> Box<dyn KvKind> {
        match self.window {
            Some(window) => Box::new(Window(window)),
            None => Box::new(Full),
        }
    }
}

/// Slabs are zeros at first, because masked values must be finite. Slots that a sequence left are cleared for the same reason.
fn make_slab(shape: PoolShape, num_layers: i32) -> impl Fn(i32, i32) -> Mlx<Memory> {
    move |num_slots, num_positions| {
        let array = || zeros_dtype(&[num_slots, shape.kv_heads, num_positions, shape.head_dim], shape.scores.kv_dtype);
        (0..num_layers).map(|_| Ok([array()?, array()?])).collect::<Mlx<Vec<_>>>().map(Rc::new)
    }
}

/// The slabs of a step, numbered in order of first use.
#[derive(Default)]
pub(super) struct Slabs {
    numbers: BTreeMap<u32, i32>,
    memory: Vec<Memory>,
}

impl Slabs {
    fn number(&mut self, slot: &Slot<Memory>) -> i32 {
        let next = i32::try_from(self.memory.len()).unwrap_or(i32::MAX);
        *self.numbers.entry(slot.slab).or_insert_with(|| {
            self.memory.push(Rc::clone(&slot.memory));
            next
        })
    }

    fn number_move(&mut self, Move { from, to, count }: &Move<Memory>) -> KvMove {
        let from = from.as_ref().map(|from| (self.number(from), from.index));
        KvMove { from, to_slab: self.number(to), to_slot: to.index, count: *count }
    }
}

impl Step {
    pub(super) fn new(layout: Layout, moves: &[KvMove], slabs: Slabs, shape: &PoolShape) -> Mlx<Self> {
        let num_rows = layout.order.len();
        let update = KvUpdate::new(moves, &layout.places, &layout.reads)?;
        let visible = |group: Group| shape.scores.visible(&group, shape.heads).map(|visible| (group, visible));
        Ok(Self {
            slabs: slabs.memory,
            update,
            positions: Array::from_slice(&layout.positions, &[i32::try_from(num_rows).map_err(|_| "too many tokens")?]),
            groups: layout.groups.into_iter().map(visible).collect::<Mlx<_>>()?,
            order: selection(&layout.order, num_rows)?,
            queries: selection(&layout.queries, num_rows)?,
            back: selection(&layout.back, layout.queries.len())?,
        })
    }
}

/// The rows to take of `num_rows`; `None` if these are all rows in order.
fn selection(rows: &[u32], num_rows: usize) -> Mlx<Option<Array>> {
    let count = i32::try_from(rows.len()).map_err(|_| "a step of more than 2^31 tokens")?;
    let is_all = rows.len() == num_rows && rows.iter().copied().eq(0..count.unsigned_abs());
    Ok((!is_all).then(|| Array::from_slice(rows, &[count])))
}
