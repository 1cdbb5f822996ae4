//! Which sequence has which slot of which slab. A slab is an array of slots of one capacity; capacities double, and a sequence
//! that outgrows its slot moves to a larger one, so a long sequence does not make short ones pay for its length. Slabs do
//! not grow: a sequence that joins or leaves does not touch the others. What a slab consists of is `M`, and not known here.
//!
//! Rows in neighbouring slots attend in one operation. So sequences are brought together again, one a step: a slot that is
//! moved costs about what attention reads of it in one step.
//!
//! Slots without a sequence take memory that the scheduler does not count. They are bounded: where they take more, sequences
//! move out of a slab, or into a smaller one, and the slab is dropped.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::super::failure::Mlx;
use super::kinds::KvKind;
use crate::request::SequenceId;

/// The most slots of a slab, unless more are wanted at once: as many as a batch comes to have.
const MOST_SLOTS: usize = 32;
/// What slots without a sequence take at most, where nothing else is said.
const SPARE_BYTES: u64 = 512 << 20;

/// Slabs of layers that keep the same positions.
#[derive(Debug)]
pub(in super::super) struct Pool<M> {
    kind: Box<dyn KvKind>,
    bytes_per_position: u64,
    /// What slots without a sequence may take; no slab of several slots takes more.
    spare_bytes: u64,
    slabs: BTreeMap<u32, Slab<M>>,
    num_made: u32,
    places: FxHashMap<SequenceId, Place>,
}

#[derive(Debug)]
struct Slab<M> {
    capacity: i32,
    slots: Vec<Option<SequenceId>>,
    /// Positions of each slot that a sequence has left behind. They are wiped when another one takes the slot: rows attend
    /// together up to the longest of them, and what is masked must be a number.
    left_behind: Vec<i32>,
    memory: M,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    slab: u32,
    slot: usize,
    /// Positions it has come to.
    num_positions: i32,
}

/// A slot of a slab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Slot<M> {
    /// Names the slab; no other one ever has this name.
    pub(in super::super) slab: u32,
    /// Its number in the slab.
    pub(in super::super) index: i32,
    pub(in super::super) memory: M,
}

/// The first `count` positions of a slot, to be copied into another one, or to become zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Move<M> {
    /// Absent where they become zeros.
    pub(in super::super) from: Option<Slot<M>>,
    pub(in super::super) to: Slot<M>,
    pub(in super::super) count: i32,
}

/// What a sequence comes to in a step.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Growth {
    pub(in super::super) sequence: SequenceId,
    /// Positions that are there before.
    pub(in super::super) start: i32,
    /// Positions that are there after.
    pub(in super::super) end: i32,
}

impl<M: Clone> Pool<M> {
    pub(in super::super) fn new(kind: Box<dyn KvKind>, bytes_per_position: u64) -> Self {
        let (slabs, places) = (BTreeMap::new(), FxHashMap::default());
        Self { kind, bytes_per_position, spare_bytes: SPARE_BYTES, slabs, num_made: 0, places }
    }

    /// Sets what slots without a sequence may take, from the next step on.
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
        self.slabs.values().map(|slab| self.slot_bytes(slab.capacity) * slab.num_free() as u64).sum()
    }

    fn slot_bytes(&self, capacity: i32) -> u64 {
        self.bytes_per_position * u64::from(capacity.unsigned_abs())
    }

    /// The slot of a sequence that has one.
    pub(in super::super) fn slot(&self, sequence: SequenceId) -> Option<Slot<M>> {
        self.places.get(&sequence).map(|place| self.slot_at(*place))
    }

    /// Gives every sequence a slot that holds what it comes to. `make` makes the memory of a slab of so many slots of so many
    /// positions. What is returned has to be copied, in order, before anything else is done to the slots.
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
                Some(place) if self.slabs.get(&place.slab).is_some_and(|slab| slab.capacity == capacity) => {
                    place.num_positions = growth.end;
                }
                _ => wanted.entry(capacity).or_default().push(*growth),
            }
        }
        let mut moves = Vec::new();
        for (capacity, growths) in wanted {
            self.make_room(capacity, growths.len(), &mut moves, &mut make)?;
            for growth in growths {
                let old = self.leave(growth.sequence);
                let new = self.enter(capacity, growth, &mut moves)?;
                let count = self.kind.num_kept(growth.start);
                moves.extend(old.filter(|_| count > 0).map(|from| Move { from: Some(from), to: new, count }));
            }
        }
        Ok(moves)
    }

    /// A sequence without a slot begins with the first `num_positions` of another one.
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

    /// Gives the slot of a sequence back, if it has one.
    pub(in super::super) fn release(&mut self, sequence: SequenceId) {
        self.leave(sequence);
    }

    pub(in super::super) fn clear(&mut self) {
        self.slabs.clear();
        self.places.clear();
    }

    /// Drops a slab where slots without a sequence take too much. Else brings one sequence nearer to others of its capacity, if
    /// any is far: out of a slab that others have room for, or out of a slot behind holes.
    pub(in super::super) fn compact(&mut self, mut make: impl FnMut(i32, i32) -> Mlx<M>) -> Mlx<Vec<Move<M>>> {
        let mut moves = Vec::new();
        if self.free_bytes() > self.spare_bytes {
            self.shrink(&mut moves, &mut make)?;
        } else {
            self.compact_into(&mut moves);
        }
        Ok(moves)
    }

    /// Moves the sequences of the slab with the most free memory to free slots of others, or to a slab of as many slots.
    fn shrink(&mut self, moves: &mut Vec<Move<M>>, make: &mut impl FnMut(i32, i32) -> Mlx<M>) -> Mlx<()> {
        let free_bytes = |slab: &Slab<M>| self.slot_bytes(slab.capacity) * slab.num_free() as u64;
        let Some((id, slab)) = self.slabs.iter().max_by_key(|(_, slab)| free_bytes(slab)) else { return Ok(()) };
        let (id, capacity, sequences) = (*id, slab.capacity, slab.slots.iter().flatten().copied().collect::<Vec<_>>());
        let elsewhere = |pool: &Self| -> Vec<(u32, usize)> {
            let others = pool.slabs.iter().filter(|(other, of)| **other != id && of.capacity == capacity);
            let free = others.flat_map(|(other, of)| of.free_slots().map(|slot| (*other, slot)));
            free.take(sequences.len()).collect()
        };
        let mut targets = elsewhere(self);
        if targets.len() < sequences.len() {
            let num_slots = i32::try_from(sequences.len()).map_err(|_| "too many sequences")?;
            let made = self.add_slab(capacity, num_slots, make)?;
            targets = (0..sequences.len()).map(|slot| (made, slot)).collect();
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

    /// The last sequence of the emptiest slab, of a capacity or of any, whose sequences fit into another one of its capacity, and
    /// where to.
    fn to_merge(&self, capacity: Option<i32>) -> Option<(SequenceId, (u32, usize))> {
        let is_asked = |slab: &Slab<M>| capacity.is_none_or(|capacity| slab.capacity == capacity);
        let mut by_use: Vec<_> = self.slabs.iter().filter(|(_, slab)| is_asked(slab)).collect();
        by_use.sort_by_key(|(_, slab)| (slab.num_used(), slab.slots.len()));
        let target = |id: u32, slab: &Slab<M>| {
            let others = by_use.iter().rev().filter(|(other, of)| **other != id && of.capacity == slab.capacity);
            others
                .filter(|(_, of)| of.num_free() >= slab.num_used())
                .find_map(|(other, of)| of.free_slot().map(|slot| (**other, slot)))
        };
        by_use.iter().find_map(|(id, slab)| {
            let last = slab.slots.iter().rev().flatten().next()?;
            target(**id, slab).map(|to| (*last, to))
        })
    }

    /// The last sequence of a slab in which sequences lie in more than two places, and the first hole there.
    fn to_close_up(&self) -> Option<(SequenceId, (u32, usize))> {
        self.slabs.iter().find_map(|(id, slab)| {
            let last = slab.slots.iter().rposition(Option::is_some)?;
            let hole = slab.free_slot().filter(|hole| *hole < last && slab.num_stretches() > 2)?;
            slab.slots[last].map(|sequence| (sequence, (*id, hole)))
        })
    }

    /// Makes slabs if there are not `count` free slots of a capacity.
    fn make_room(
        &mut self,
        capacity: i32,
        count: usize,
        moves: &mut Vec<Move<M>>,
        make: &mut impl FnMut(i32, i32) -> Mlx<M>,
    ) -> Mlx<()> {
        let num_free = |pool: &Self| pool.of_capacity(capacity).map(Slab::num_free).sum::<usize>();
        if num_free(self) >= count {
            return Ok(());
        }
        while self.free_bytes() > self.spare_bytes {
            self.shrink(moves, make)?;
        }
        let slots_of = |bytes: u64| usize::try_from(bytes / self.slot_bytes(capacity).max(1)).unwrap_or(usize::MAX);
        let most = slots_of(self.spare_bytes).max(1);
        let free_elsewhere = self.free_bytes() - self.slot_bytes(capacity) * num_free(self) as u64;
        // Half of it: what sequences leave behind takes the rest before a slab has to shrink.
        let most_spare = slots_of((self.spare_bytes / 2).saturating_sub(free_elsewhere));
        let num_used: usize = self.of_capacity(capacity).map(Slab::num_used).sum();
        let doubled = (num_used + count).next_power_of_two().min(MOST_SLOTS);
        let mut missing = count.saturating_sub(num_free(self));
        while missing > 0 {
            let num_taken = missing.min(most);
            missing -= num_taken;
            let num_spare = if missing == 0 { doubled.saturating_sub(num_taken).min(most_spare) } else { 0 };
            let num_slots = i32::try_from((num_taken + num_spare).min(most)).map_err(|_| "too many sequences")?;
            self.add_slab(capacity, num_slots, make)?;
        }
        Ok(())
    }

    fn of_capacity(&self, capacity: i32) -> impl Iterator<Item = &Slab<M>> {
        self.slabs.values().filter(move |slab| slab.capacity == capacity)
    }

    fn add_slab(&mut self, capacity: i32, num_slots: i32, make: &mut impl FnMut(i32, i32) -> Mlx<M>) -> Mlx<u32> {
        let slots = vec![None; num_slots.unsigned_abs() as usize];
        let left_behind = vec![0; slots.len()];
        let id = self.num_made;
        self.slabs.insert(id, Slab { capacity, slots, left_behind, memory: make(num_slots, capacity)? });
        self.num_made += 1;
        Ok(id)
    }

    /// The slab that others are moving to takes it, or else the fullest one that has a free slot.
    fn enter(&mut self, capacity: i32, growth: Growth, moves: &mut Vec<Move<M>>) -> Mlx<Slot<M>> {
        let of_capacity = self.slabs.iter().filter(|(_, slab)| slab.capacity == capacity);
        let free = of_capacity.filter_map(|(id, slab)| slab.free_slot().map(|slot| (slab.num_used(), *id, slot)));
        let fullest = || free.max_by_key(|(used, id, _)| (*used, *id)).map(|(_, slab, slot)| (slab, slot));
        let merging = self.to_merge(Some(capacity)).map(|(_, to)| to);
        let (slab, slot) = merging.or_else(fullest).ok_or("no slot is free")?;
        let place = Place { slab, slot, num_positions: growth.end };
        self.put(place, growth.sequence, moves).ok_or_else(|| "no slab has this slot".into())
    }

    fn put(&mut self, place: Place, sequence: SequenceId, moves: &mut Vec<Move<M>>) -> Option<Slot<M>> {
        let slab = self.slabs.get_mut(&place.slab)?;
        *slab.slots.get_mut(place.slot)? = Some(sequence);
        let count = std::mem::take(slab.left_behind.get_mut(place.slot)?);
        self.places.insert(sequence, place);
        let to = self.slot_at(place);
        moves.extend((count > 0).then(|| Move { from: None, to: to.clone(), count }));
        Some(to)
    }

    /// An empty slab is dropped.
    fn leave(&mut self, sequence: SequenceId) -> Option<Slot<M>> {
        let place = self.places.remove(&sequence)?;
        let left = self.slot_at(place);
        let count = self.kind.num_kept(place.num_positions);
        let slab = self.slabs.get_mut(&place.slab)?;
        slab.slots[place.slot] = None;
        slab.left_behind[place.slot] = count;
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

impl<M> Slab<M> {
    fn num_used(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn num_positions(&self) -> u64 {
        self.slots.len() as u64 * u64::from(self.capacity.unsigned_abs())
    }

    fn num_free(&self) -> usize {
        self.slots.len() - self.num_used()
    }

    fn free_slots(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| slot.is_none().then_some(at))
    }

    fn free_slot(&self) -> Option<usize> {
        self.free_slots().next()
    }

    /// Uninterrupted stretches of used slots.
    fn num_stretches(&self) -> usize {
        let begins =
            |(at, slot): &(usize, &Option<SequenceId>)| slot.is_some() && (*at == 0 || self.slots[at - 1].is_none());
        self.slots.iter().enumerate().filter(begins).count()
    }
}
