//! The sequences that have started and not ended, in order of admission. Some of them take no part in steps: they are parked
//! because their readers are behind, or set aside because a more urgent sequence has their row.

use crate::request::{Priority, SequenceId};

use super::kv::KvBudget;
use super::sequence::Sequence;

/// The weight of a priority, relative to the next lower one.
const WEIGHT_OF_PRIORITY: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Running(Vec<Sequence>);

impl Running {
    pub(super) fn push(&mut self, sequence: Sequence) {
        self.0.push(sequence);
    }

    /// Removes and returns a sequence.
    pub(super) fn take(&mut self, id: SequenceId) -> Option<Sequence> {
        let index = self.0.iter().position(|sequence| sequence.id == id)?;
        Some(self.0.remove(index))
    }

    /// Removes and returns all sequences.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Sequence> {
        self.0.drain(..)
    }

    pub(super) fn get(&self, id: SequenceId) -> Option<&Sequence> {
        self.iter().find(|sequence| sequence.id == id)
    }

    pub(super) fn get_mut(&mut self, id: SequenceId) -> Option<&mut Sequence> {
        self.iter_mut().find(|sequence| sequence.id == id)
    }

    /// The sequence at an index. Indexes are valid until a sequence is removed.
    pub(super) fn at_mut(&mut self, index: usize) -> &mut Sequence {
        &mut self.0[index]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Sequence> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Sequence> {
        self.0.iter_mut()
    }

    pub(super) fn as_slice(&self) -> &[Sequence] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The index of a sequence. The search starts at `start` and wraps around.
    pub(super) fn position_from(&self, start: usize, id: SequenceId) -> Option<usize> {
        let (before, after) = self.0.split_at(start.min(self.0.len()));
        let position_in = |part: &[Sequence]| part.iter().position(|sequence| sequence.id == id);
        position_in(after).map(|index| before.len() + index).or_else(|| position_in(before))
    }

    /// Sequences that take part in steps.
    pub(super) fn active(&self) -> impl Iterator<Item = &Sequence> {
        self.iter().filter(|sequence| !sequence.is_parked())
    }

    /// Sequences that hold KV, or will with the next step.
    pub(super) fn holders(&self) -> impl Iterator<Item = &Sequence> {
        self.iter().filter(|sequence| !sequence.is_parked() || sequence.is_on_device())
    }

    /// Positions that all sequences hold together.
    pub(super) fn positions_held(&self, kv: &KvBudget) -> usize {
        self.holders().map(|sequence| kv.held(sequence)).sum()
    }

    /// Sequences whose readers are behind.
    pub(super) fn num_behind(&self) -> usize {
        self.iter().filter(|sequence| sequence.parked_at.is_some()).count()
    }

    /// Rows of the next step that decode.
    pub(super) fn num_decoding(&self) -> usize {
        self.iter().filter(|sequence| sequence.decodes_next()).count()
    }

    /// The sequence that gives its row to a more urgent request: the least urgent, and among these the newest.
    pub(super) fn yielding(&self, rank: Priority) -> Option<SequenceId> {
        let less_urgent = self.active().filter(|sequence| sequence.rank() > rank);
        less_urgent.max_by_key(|sequence| (sequence.rank(), sequence.place())).map(|sequence| sequence.id)
    }

    /// The next sequence that loses its KV, if the KV does not fit or more than `max_parked` parked sequences hold KV. Parked
    /// sequences lose theirs first, then the least urgent, among these the newest. A single sequence keeps its KV.
    pub(super) fn victim(&self, kv: &KvBudget, max_parked: usize) -> Option<SequenceId> {
        let num_parked = self.holders().filter(|sequence| sequence.is_parked()).count();
        let fits = || kv.fits(self.positions_held(kv)) || self.holders().count() <= 1;
        if num_parked <= max_parked && fits() {
            return None;
        }
        self.holders()
            .max_by_key(|sequence| (sequence.is_parked(), sequence.rank(), sequence.place()))
            .map(|sequence| sequence.id)
    }

    /// Restarts all sequences, because the device lost their KV.
    pub(super) fn restart(&mut self) {
        self.iter_mut().for_each(Sequence::restart);
    }

    /// The model's share of the device, relative to other models: tenants with rows of the most urgent priority, times the
    /// weight of that priority. `next` is the rank of the next request.
    pub(super) fn weight(&self, next: Option<Priority>) -> u32 {
        let Some(most_urgent) = self.active().map(Sequence::rank).chain(next).min() else { return 1 };
        let rows = || self.active().filter(|sequence| sequence.rank() == most_urgent);
        let is_first = |(index, row): &(usize, &Sequence)| !rows().take(*index).any(|other| other.tenant == row.tenant);
        let num_tenants = u32::try_from(rows().enumerate().filter(is_first).count()).unwrap_or(u32::MAX);
        let num_lower = Priority::Background as u32 - most_urgent as u32;
        num_tenants.max(1).saturating_mul(WEIGHT_OF_PRIORITY.pow(num_lower))
    }
}
