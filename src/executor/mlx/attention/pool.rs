//! Assigns slots of slabs to sequences. A slab is an array of slots of one capacity. Capacities are doublings, and a sequence
//! that outgrows its slot moves to a larger one, so a long sequence does not enlarge the slots of short ones. Slabs do not
//! grow, so a sequence that joins or leaves does not move the others. The memory of a slab is `M`, which `layer_pool` makes.
//!
//! Rows in neighbouring slots attend in one operation, so sequences are moved together, at most one per step. Moving a slot
//! costs about as much as attention reads of it in one step.
//!
//! The scheduler does not count the memory of slots without a sequence, so this memory is limited. Above the limit, the
//! sequences of a slab move to other slabs or to a smaller one, and the slab is dropped.

mod slab;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::super::failure::Mlx;
use super::kinds::KvKind;
use crate::request::SequenceId;

use slab::{Class, Slab};

/// Most slots of a slab, unless more are needed at once: a usual batch size.
const MOST_SLOTS: usize = 32;
/// Default limit of the memory of slots without a sequence.
const SPARE_BYTES: u64 = 512 << 20;

/// The slabs of layers that keep the same positions.
#[derive(Debug)]
pub(in super::super) struct Pool<M> {
    kind: Box<dyn KvKind>,
    bytes_per_position: u64,
    /// Limit of the memory of slots without a sequence. A slab of several slots takes no more than this.
    spare_bytes: u64,
    slabs: BTreeMap<u32, Slab<M>>,
    num_made: u32,
    places: FxHashMap<SequenceId, Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    slab: u32,
    slot: usize,
    /// Positions of the sequence.
    num_positions: i32,
}

/// A slot of a slab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Slot<M> {
    /// Id of the slab, never reused.
    pub(in super::super) slab: u32,
    /// Index in the slab.
    pub(in super::super) index: i32,
    pub(in super::super) memory: M,
}

/// Copies the first `count` positions of a slot to another one, or sets them to zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Move<M> {
    /// Absent if the positions become zeros.
    pub(in super::super) from: Option<Slot<M>>,
    pub(in super::super) to: Slot<M>,
    pub(in super::super) count: i32,
}

/// The growth of a sequence in a step.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Growth {
    pub(in super::super) sequence: SequenceId,
    /// Positions before the step.
    pub(in super::super) start: i32,
    /// Positions after the step.
    pub(in super::super) end: i32,
}

impl<M: Clone> Pool<M> {
    pub(in super::super) fn new(kind: Box<dyn KvKind>, bytes_per_position: u64) -> Self {
        let (slabs, places) = (BTreeMap::new(), FxHashMap::default());
        Self { kind, bytes_per_position, spare_bytes: SPARE_BYTES, slabs, num_made: 0, places }
    }

    /// Sets the limit of the memory of slots without a sequence, from the next step on.
    pub(in super::super) fn set_spare_bytes(&mut self, bytes: u64) {
        self.spare_bytes = bytes;
    }

    pub(in super::super) fn kind(&self) -> &dyn KvKind {
        &*self.kind
    }

    /// Bytes of all slabs.
    pub(in super::super) fn bytes(&self) -> u64 {
        self.slabs.values().map(|slab| self.bytes_per_position * slab.num_positions()).sum()
    }

    /// Bytes of slots without a sequence.
    fn free_bytes(&self) -> u64 {
        self.slabs.values().map(|slab| self.free_bytes_of(slab)).sum()
    }

    fn free_bytes_of(&self, slab: &Slab<M>) -> u64 {
        self.slot_bytes(slab.class.capacity) * slab.num_free() as u64
    }

    fn slot_bytes(&self, capacity: i32) -> u64 {
        self.bytes_per_position * u64::from(capacity.unsigned_abs())
    }

    /// The slot of a sequence, if it has one.
    pub(in super::super) fn slot(&self, sequence: SequenceId) -> Option<Slot<M>> {
        self.places.get(&sequence).map(|place| self.slot_at(*place))
    }

    /// Gives every sequence a slot for its growth. `make(slots, positions)` makes the memory of a slab. The returned moves must
    /// run in order, before anything else uses the slots.
    pub(in super::super) fn grow(
        &mut self,
        growths: &[Growth],
        mut make: impl FnMut(i32, i32) -> Mlx<M>,
    ) -> Mlx<Vec<Move<M>>> {
        // Sequences of one length become neighbours.
        let mut growths = growths.to_vec();
        growths.sort_by_key(|growth| growth.end);
        let mut wanted: BTreeMap<i32, Vec<Growth>> = BTreeMap::new();
        for growth in &growths {
            let capacity = self.kind.capacity(growth.end);
            match self.places.get_mut(&growth.sequence) {
                Some(place) if self.slabs.get(&place.slab).is_some_and(|slab| slab.class.capacity == capacity) => {
                    place.num_positions = growth.end;
                }
                _ => wanted.entry(capacity).or_default().push(*growth),
            }
        }
        let mut moves = Vec::new();
        for (capacity, growths) in wanted {
            let class = Class { capacity, is_retained: false };
            self.make_room(class, growths.len(), &mut moves, &mut make)?;
            for growth in growths {
                self.resettle(class, growth, growth.start, &mut moves)?;
            }
        }
        Ok(moves)
    }

    /// Gives a sequence without a slot the first `num_positions` of another one.
    pub(in super::super) fn copy(
        &mut self,
        from: SequenceId,
        num_positions: i32,
        to: SequenceId,
        make: impl FnMut(i32, i32) -> Mlx<M>,
    ) -> Mlx<Vec<Move<M>>> {
        let source = *self.places.get(&from).ok_or("a copy of a sequence without KV")?;
        if !self.kind.can_copy(num_positions, source.num_positions) {
            return Err("a copy of positions that have left the window".into());
        }
        let mut moves = self.grow(&[Growth { sequence: to, start: 0, end: num_positions }], make)?;
        let to = self.slot(to).ok_or("a copy for a sequence without KV")?;
        // Making room may have moved it.
        let from = self.slot(from);
        moves.push(Move { from, to, count: self.kind.num_kept(num_positions) });
        Ok(moves)
    }

    /// Moves a sequence that gets no further rows to a slab of such sequences. A slab with a single slot becomes such a slab.
    pub(in super::super) fn retain(
        &mut self,
        sequence: SequenceId,
        mut make: impl FnMut(i32, i32) -> Mlx<M>,
    ) -> Mlx<Vec<Move<M>>> {
        let mut moves = Vec::new();
        let Some(place) = self.places.get(&sequence).copied() else { return Ok(moves) };
        let Some(slab) = self.slabs.get_mut(&place.slab) else { return Ok(moves) };
        if slab.num_slots() == 1 {
            slab.class.is_retained = true;
            return Ok(moves);
        }
        let class = Class { is_retained: true, ..slab.class };
        self.make_room(class, 1, &mut moves, &mut make)?;
        let num_positions = place.num_positions;
        self.resettle(class, Growth { sequence, start: 0, end: num_positions }, num_positions, &mut moves)?;
        Ok(moves)
    }

    /// Gives a sequence without a slot the first `num_positions` of a retained one, which loses its slot. A slab with a single
    /// slot changes its sequence, so that a long sequence is not copied.
    pub(in super::super) fn take_over(
        &mut self,
        from: SequenceId,
        num_positions: i32,
        to: SequenceId,
        make: impl FnMut(i32, i32) -> Mlx<M>,
    ) -> Mlx<Vec<Move<M>>> {
        let place = *self.places.get(&from).ok_or("KV is taken over from a sequence without KV")?;
        let is_whole = self.kind.can_copy(num_positions, place.num_positions);
        if let Some(slab) = self.slabs.get_mut(&place.slab).filter(|slab| is_whole && slab.num_slots() == 1) {
            slab.hand_over(to);
            self.places.remove(&from);
            self.places.insert(to, Place { num_positions, ..place });
            return Ok(Vec::new());
        }
        let moves = self.copy(from, num_positions, to, make)?;
        self.release(from);
        Ok(moves)
    }

    /// Adds a retained sequence with a slab of its own, whose memory has its first `num_positions`.
    pub(in super::super) fn adopt(&mut self, sequence: SequenceId, num_positions: i32, memory: M) {
        let class = Class { capacity: self.kind.capacity(num_positions), is_retained: true };
        let (id, mut slab) = (self.num_made, Slab::new(class, 1, memory));
        self.num_made += 1;
        slab.put(0, sequence);
        self.slabs.insert(id, slab);
        self.places.insert(sequence, Place { slab: id, slot: 0, num_positions });
    }

    /// Frees the slot of a sequence, if it has one.
    pub(in super::super) fn release(&mut self, sequence: SequenceId) {
        self.leave(sequence);
    }

    pub(in super::super) fn clear(&mut self) {
        self.slabs.clear();
        self.places.clear();
    }

    /// Drops a slab if slots without a sequence take too much memory. Otherwise moves one sequence nearer to others of its
    /// capacity, if possible: out of a slab whose sequences fit into another one, or out of a slot behind free ones.
    pub(in super::super) fn compact(&mut self, mut make: impl FnMut(i32, i32) -> Mlx<M>) -> Mlx<Vec<Move<M>>> {
        let mut moves = Vec::new();
        if self.free_bytes() > self.spare_bytes {
            self.shrink(&mut moves, &mut make)?;
        } else {
            self.compact_into(&mut moves);
        }
        Ok(moves)
    }

    /// Moves the sequences of the slab with the most free memory to free slots of other slabs, or to a new slab without free
    /// slots.
    fn shrink(&mut self, moves: &mut Vec<Move<M>>, make: &mut impl FnMut(i32, i32) -> Mlx<M>) -> Mlx<()> {
        let Some((id, slab)) = self.slabs.iter().max_by_key(|(_, slab)| self.free_bytes_of(slab)) else {
            return Ok(());
        };
        let (id, class, sequences) = (*id, slab.class, slab.sequences().collect::<Vec<_>>());
        let elsewhere = |pool: &Self| -> Vec<(u32, usize)> {
            let others = pool.slabs.iter().filter(|(other, of)| **other != id && of.class == class);
            let free = others.flat_map(|(other, of)| of.free_slots().map(|slot| (*other, slot)));
            free.take(sequences.len()).collect()
        };
        let mut targets = elsewhere(self);
        if targets.len() < sequences.len() {
            let num_slots = i32::try_from(sequences.len()).map_err(|_| "too many sequences")?;
            let new_slab = self.add_slab(class, num_slots, make)?;
            targets = (0..sequences.len()).map(|slot| (new_slab, slot)).collect();
        }
        for (sequence, to) in sequences.into_iter().zip(targets) {
            self.relocate(sequence, to, moves);
        }
        Ok(())
    }

    fn compact_into(&mut self, moves: &mut Vec<Move<M>>) -> Option<()> {
        let (sequence, to) = self.to_merge(None).or_else(|| self.to_close_up())?;
        self.relocate(sequence, to, moves)
    }

    fn relocate(&mut self, sequence: SequenceId, to: (u32, usize), moves: &mut Vec<Move<M>>) -> Option<()> {
        let place = *self.places.get(&sequence)?;
        let from = self.leave(sequence);
        let to = self.put(Place { slab: to.0, slot: to.1, ..place }, sequence, moves)?;
        moves.push(Move { from, to, count: self.kind.num_kept(place.num_positions) });
        Some(())
    }

    /// The last sequence of the emptiest slab whose sequences fit into another slab of its capacity, and its new slot. With
    /// `class`, only slabs of that class count.
    fn to_merge(&self, class: Option<Class>) -> Option<(SequenceId, (u32, usize))> {
        let is_asked = |slab: &Slab<M>| class.is_none_or(|class| slab.class == class);
        let mut by_use: Vec<_> = self.slabs.iter().filter(|(_, slab)| is_asked(slab)).collect();
        by_use.sort_by_key(|(_, slab)| (slab.num_used(), slab.num_slots()));
        let target = |id: u32, slab: &Slab<M>| {
            let others = by_use.iter().rev().filter(|(other, of)| **other != id && of.class == slab.class);
            others
                .filter(|(_, of)| of.num_free() >= slab.num_used())
                .find_map(|(other, of)| of.free_slot().map(|slot| (**other, slot)))
        };
        by_use.iter().find_map(|(id, slab)| {
            let (_, last) = slab.last()?;
            target(**id, slab).map(|to| (last, to))
        })
    }

    /// The last sequence of a slab with more than two runs of used slots, and the first free slot of that slab.
    fn to_close_up(&self) -> Option<(SequenceId, (u32, usize))> {
        self.slabs.iter().filter(|(_, slab)| !slab.class.is_retained).find_map(|(id, slab)| {
            let (last, sequence) = slab.last()?;
            let hole = slab.free_slot().filter(|hole| *hole < last && slab.num_runs() > 2)?;
            Some((sequence, (*id, hole)))
        })
    }

    /// Makes slabs if fewer than `count` slots of a class are free.
    fn make_room(
        &mut self,
        class: Class,
        count: usize,
        moves: &mut Vec<Move<M>>,
        make: &mut impl FnMut(i32, i32) -> Mlx<M>,
    ) -> Mlx<()> {
        let num_free = |pool: &Self| pool.of_class(class).map(Slab::num_free).sum::<usize>();
        if num_free(self) >= count {
            return Ok(());
        }
        while self.free_bytes() > self.spare_bytes {
            self.shrink(moves, make)?;
        }
        let slots_of =
            |bytes: u64| usize::try_from(bytes / self.slot_bytes(class.capacity).max(1)).unwrap_or(usize::MAX);
        let most = slots_of(self.spare_bytes).max(1);
        let free_elsewhere = self.free_bytes() - self.slot_bytes(class.capacity) * num_free(self) as u64;
        // Half of the limit: slots that sequences leave may use the rest before a slab must shrink.
        let most_spare = slots_of((self.spare_bytes / 2).saturating_sub(free_elsewhere));
        let num_used: usize = self.of_class(class).map(Slab::num_used).sum();
        let doubled = (num_used + count).next_power_of_two().min(MOST_SLOTS);
        let mut missing = count.saturating_sub(num_free(self));
        while missing > 0 {
            let num_taken = missing.min(most);
            missing -= num_taken;
            let num_spare = if missing == 0 { doubled.saturating_sub(num_taken).min(most_spare) } else { 0 };
            let num_slots = i32::try_from((num_taken + num_spare).min(most)).map_err(|_| "too many sequences")?;
            self.add_slab(class, num_slots, make)?;
        }
        Ok(())
    }

    fn of_class(&self, class: Class) -> impl Iterator<Item = &Slab<M>> {
        self.slabs.values().filter(move |slab| slab.class == class)
    }

    fn add_slab(&mut self, class: Class, num_slots: i32, make: &mut impl FnMut(i32, i32) -> Mlx<M>) -> Mlx<u32> {
        let id = self.num_made;
        self.slabs.insert(id, Slab::new(class, num_slots, make(num_slots, class.capacity)?));
        self.num_made += 1;
        Ok(id)
    }

    /// Gives a sequence another slot, to which the first `num_positions` of its KV move.
    fn resettle(&mut self, class: Class, growth: Growth, num_positions: i32, moves: &mut Vec<Move<M>>) -> Mlx<()> {
        let from = self.leave(growth.sequence);
        let to = self.enter(class, growth, moves)?;
        let count = self.kind.num_kept(num_positions);
        moves.extend(from.filter(|_| count > 0).map(|from| Move { from: Some(from), to, count }));
        Ok(())
    }

    /// Puts a sequence into the slab to which others are moving, or else into the fullest slab with a free slot.
    fn enter(&mut self, class: Class, growth: Growth, moves: &mut Vec<Move<M>>) -> Mlx<Slot<M>> {
        let of_class = self.slabs.iter().filter(|(_, slab)| slab.class == class);
        let free = of_class.filter_map(|(id, slab)| slab.free_slot().map(|slot| (slab.num_used(), *id, slot)));
        let fullest = || free.max_by_key(|(used, id, _)| (*used, *id)).map(|(_, slab, slot)| (slab, slot));
        let merging = self.to_merge(Some(class)).map(|(_, to)| to);
        let (slab, slot) = merging.or_else(fullest).ok_or("no slot is free")?;
        let place = Place { slab, slot, num_positions: growth.end };
        self.put(place, growth.sequence, moves).ok_or_else(|| "no slab has this slot".into())
    }

    fn put(&mut self, place: Place, sequence: SequenceId, moves: &mut Vec<Move<M>>) -> Option<Slot<M>> {
        let slab = self.slabs.get_mut(&place.slab)?;
        let count = slab.put(place.slot, sequence)?;
        self.places.insert(sequence, place);
        let to = self.slot_at(place);
        moves.extend((count > 0).then(|| Move { from: None, to: to.clone(), count }));
        Some(to)
    }

    /// Takes a sequence out of its slot. An empty slab is dropped.
    fn leave(&mut self, sequence: SequenceId) -> Option<Slot<M>> {
        let place = self.places.remove(&sequence)?;
        let left = self.slot_at(place);
        let count = self.kind.num_kept(place.num_positions);
        let slab = self.slabs.get_mut(&place.slab)?;
        slab.leave(place.slot, count);
        if slab.num_used() == 0 {
            self.slabs.remove(&place.slab);
        }
        Some(left)
    }

    fn slot_at(&self, place: Place) -> Slot<M> {
        let memory = self.slabs[&place.slab].memory.clone();
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // slabs have few slots
        let index = place.slot as i32;
        Slot { slab: place.slab, index, memory }
    }
}
