//! The rows of a model runner, found by sequence, by reader, or by the key of a request. A row is dropped with its last
//! reader. Owns the readers' deadlines: a deadline ends one reader, and the row if it was the last. `row` has what belongs to
//! one row.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::answers::{Claim, Key, ReaderId};
use crate::request::SequenceId;

use super::row::{Follower, Row};

#[derive(Default)]
pub(super) struct Rows {
    by_id: FxHashMap<SequenceId, Row>,
    places: FxHashMap<ReaderId, Place>,
    /// The newest row of each key.
    joinable: HashMap<Key, SequenceId>,
    deadlines: BTreeSet<(Instant, ReaderId)>,
    /// Rows whose urgency still includes readers that left.
    stale: BTreeSet<SequenceId>,
}

/// The row of a reader, and the reader's index in it.
#[derive(Debug, Clone, Copy)]
struct Place {
    sequence: SequenceId,
    index: usize,
}

/// The row that a reader leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// The reader was the only one, and is still in the row: the caller ends the row.
    Alone(SequenceId),
    /// Other readers continue to read the row.
    Others(SequenceId),
}

impl Rows {
    /// Adds a row with its first reader.
    pub(super) fn insert(&mut self, id: SequenceId, row: Row) {
        if let Some((claim, _)) = &row.claim {
            self.joinable.insert(claim.key, id);
        }
        row.readers.iter().enumerate().for_each(|(index, &follower)| self.index(id, index, follower));
        self.by_id.insert(id, row);
    }

    /// The row with the key of `claim`, if it was started in this epoch of the cache and may have another reader.
    pub(super) fn joinable(&self, claim: &Claim, epoch: u64, max_readers: usize) -> Option<SequenceId> {
        let id = *self.joinable.get(&claim.key)?;
        let row = self.by_id.get(&id)?;
        let is_current = row.claim.is_some_and(|(_, started)| started == epoch);
        (is_current && row.readers.len() < max_readers).then_some(id)
    }

    /// Adds a reader to a row, and returns the row.
    pub(super) fn join(&mut self, id: SequenceId, follower: Follower) -> Option<&mut Row> {
        let index = self.by_id.get(&id)?.readers.len();
        self.index(id, index, follower);
        let row = self.by_id.get_mut(&id)?;
        row.join(follower);
        Some(row)
    }

    /// Removes a reader from its row, unless it is the only one.
    pub(super) fn leave(&mut self, reader: ReaderId) -> Option<Left> {
        let Place { sequence: id, index } = *self.places.get(&reader)?;
        let row = self.by_id.get_mut(&id)?;
        if row.readers.len() == 1 {
            return Some(Left::Alone(id));
        }
        let follower = row.leave(index);
        if let Some(place) = row.readers.get(index).and_then(|moved| self.places.get_mut(&moved.reader())) {
            place.index = index;
        }
        self.unindex(follower);
        self.stale.insert(id);
        Some(Left::Others(id))
    }

    /// A row that readers left since the last call, with its new urgency. Returns each such row once.
    pub(super) fn reconsider(&mut self) -> Option<(SequenceId, &Row)> {
        let id = self.stale.pop_first()?;
        let row = self.by_id.get_mut(&id)?;
        row.reconsider();
        Some((id, row))
    }

    /// Removes a row and its entries in all indexes.
    pub(super) fn remove(&mut self, id: SequenceId) -> Option<Row> {
        let row = self.by_id.remove(&id)?;
        row.readers.iter().for_each(|&follower| self.unindex(follower));
        self.stale.remove(&id);
        if let Some((claim, _)) = &row.claim
            && self.joinable.get(&claim.key) == Some(&id)
        {
            self.joinable.remove(&claim.key);
        }
        Some(row)
    }

    pub(super) fn get(&self, id: SequenceId) -> Option<&Row> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: SequenceId) -> Option<&mut Row> {
        self.by_id.get_mut(&id)
    }

    /// The sequences of all rows, in order of submission.
    pub(super) fn ids(&self) -> Vec<SequenceId> {
        let mut ids: Vec<_> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// The row of a reader.
    pub(super) fn of_reader(&self, reader: ReaderId) -> Option<SequenceId> {
        self.places.get(&reader).map(|place| place.sequence)
    }

    /// A reader whose deadline has passed.
    pub(super) fn expired(&self, now: Instant) -> Option<ReaderId> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|&(_, reader)| reader)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// Readers that joined a row of another request.
    pub(super) fn num_joined(&self) -> usize {
        self.places.len().saturating_sub(self.by_id.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn index(&mut self, sequence: SequenceId, index: usize, follower: Follower) {
        self.places.insert(follower.reader(), Place { sequence, index });
        self.deadlines.extend(follower.urgency.deadline.map(|at| (at, follower.reader())));
    }

    fn unindex(&mut self, follower: Follower) {
        let (reader, urgency) = (follower.reader(), follower.urgency);
        self.places.remove(&reader);
        if let Some(at) = urgency.deadline {
            self.deadlines.remove(&(at, reader));
        }
    }
}
