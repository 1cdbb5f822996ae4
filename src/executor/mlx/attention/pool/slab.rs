//! A slab: slots of one capacity, the sequences in them, and what former sequences left behind.

use crate::request::SequenceId;

/// Sequences of one class are in slabs of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class {
    /// Positions of a slot.
    pub(super) capacity: i32,
    /// Whether the sequences get no further rows. In a slab with other sequences they would separate rows that attend together.
    pub(super) is_retained: bool,
}

#[derive(Debug)]
pub(super) struct Slab<M> {
    pub(super) class: Class,
    num_used: usize,
    slots: Vec<Option<SequenceId>>,
    /// Positions that a former sequence wrote in each slot. They are cleared when another sequence gets the slot: rows attend
    /// together up to the longest of them, and masked values must be finite.
    left_behind: Vec<i32>,
    pub(super) memory: M,
}

impl<M> Slab<M> {
    pub(super) fn new(class: Class, num_slots: i32, memory: M) -> Self {
        let num_slots = num_slots.unsigned_abs() as usize;
        Self { class, num_used: 0, slots: vec![None; num_slots], left_behind: vec![0; num_slots], memory }
    }

    /// Puts a sequence into a slot. Returns how many positions of the slot must be cleared; `None` without such a slot.
    pub(super) fn put(&mut self, slot: usize, sequence: SequenceId) -> Option<i32> {
        self.num_used += usize::from(self.slots.get_mut(slot)?.replace(sequence).is_none());
        self.left_behind.get_mut(slot).map(std::mem::take)
    }

    /// Frees a slot in which `count` positions are written.
    pub(super) fn leave(&mut self, slot: usize, count: i32) {
        self.num_used -= usize::from(self.slots[slot].take().is_some());
        self.left_behind[slot] = count;
    }

    pub(super) fn sequences(&self) -> impl Iterator<Item = SequenceId> {
        self.slots.iter().flatten().copied()
    }

    /// The last used slot and its sequence.
    pub(super) fn last(&self) -> Option<(usize, SequenceId)> {
        self.slots.iter().enumerate().rev().find_map(|(slot, sequence)| Some((slot, (*sequence)?)))
    }

    pub(super) fn num_slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn num_used(&self) -> usize {
        self.num_used
    }

    pub(super) fn num_free(&self) -> usize {
        self.num_slots() - self.num_used()
    }

    /// Gives the slot of a slab with a single one to another sequence, with the KV in it.
    pub(super) fn hand_over(&mut self, sequence: SequenceId) {
        self.slots.fill(Some(sequence));
        self.class.is_retained = false;
    }

    /// Positions of all slots.
    pub(super) fn num_positions(&self) -> u64 {
        self.num_slots() as u64 * u64::from(self.class.capacity.unsigned_abs())
    }

    pub(super) fn free_slots(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| slot.is_none().then_some(at))
    }

    pub(super) fn free_slot(&self) -> Option<usize> {
        self.free_slots().next()
    }

    /// Number of runs of used slots.
    pub(super) fn num_runs(&self) -> usize {
        let begins =
            |(at, slot): &(usize, &Option<SequenceId>)| slot.is_some() && (*at == 0 || self.slots[at - 1].is_none());
        self.slots.iter().enumerate().filter(begins).count()
    }
}
