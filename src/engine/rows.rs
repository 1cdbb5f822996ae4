//! The rows of a runner, and who reads which: a row belongs to its readers, and goes when the last of them does. Finds a row
//! by its sequence, by any of its readers, and, for those who ask for the same, by its key. Owns the readers' deadlines: a
//! row ends only when nobody wants it any more.

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
    /// Rows whose urgency is still that of readers who left, too.
    left: BTreeSet<SequenceId>,
}

/// Which row a reader reads, and where it stands among its readers.
#[derive(Debug, Clone, Copy)]
struct Place {
    sequence: SequenceId,
    index: usize,
}

/// What a reader leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// A row that nobody else reads. It is still there.
    Alone(SequenceId),
    /// A row that others read.
    Others(SequenceId),
}

impl Rows {
    /// Adds a row with its first reader.
    pub(super) fn insert(&mut self, id: SequenceId, row: Row) {
        if let Some((claim, _)) = &row.claim {
            self.joinable.insert(claim.key, id);
        }
        row.readers.iter().enumerate().for_each(|(index, &follower)| self.note(id, index, follower));
        self.by_id.insert(id, row);
    }

    /// The row that gives what is asked for, if it was begun in this epoch and has room for one more reader.
    pub(super) fn joinable(&self, claim: &Claim, epoch: u64, max_readers: usize) -> Option<SequenceId> {
        let id = *self.joinable.get(&claim.key)?;
        let row = self.by_id.get(&id)?;
        let is_current = row.claim.is_some_and(|(_, begun)| begun == epoch);
        (is_current && row.readers.len() < max_readers).then_some(id)
    }

    /// Adds a reader to a row; gives the row.
    pub(super) fn join(&mut self, id: SequenceId, follower: Follower) -> Option<&mut Row> {
        let index = self.by_id.get(&id)?.readers.len();
        self.note(id, index, follower);
        let row = self.by_id.get_mut(&id)?;
        row.join(follower);
        Some(row)
    }

    /// Takes a reader out of the row it reads, unless it is the only one there.
    pub(super) fn leave(&mut self, reader: ReaderId) -> Option<Left> {
        let Place { sequence: id, index } = *self.places.get(&reader)?;
        let row = self.by_id.get_mut(&id)?;
        if row.readers.len() == 1 {
            return Some(Left::Alone(id));
        }
        let follower = row.leave(index);
        if let Some(place) = row.readers.get(index).and_then(|moved| self.places.get_mut(&moved.reader)) {
            place.index = index;
        }
        self.forget(follower);
        self.left.insert(id);
        Some(Left::Others(id))
    }

    /// A row that somebody has left to others, with the urgency of those. Gives each such row once.
    pub(super) fn reconsider(&mut self) -> Option<(SequenceId, &Row)> {
        let id = self.left.pop_first()?;
        let row = self.by_id.get_mut(&id)?;
        row.reconsider();
        Some((id, row))
    }

    /// Takes a row out, with all that leads to it.
    pub(super) fn remove(&mut self, id: SequenceId) -> Option<Row> {
        let row = self.by_id.remove(&id)?;
        row.readers.iter().for_each(|&follower| self.forget(follower));
        self.left.remove(&id);
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

    /// Of all rows, the first one first.
    pub(super) fn ids(&self) -> Vec<SequenceId> {
        let mut ids: Vec<_> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// The row a reader reads.
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

    fn note(&mut self, sequence: SequenceId, index: usize, follower: Follower) {
        self.places.insert(follower.reader, Place { sequence, index });
        self.deadlines.extend(follower.urgency.deadline.map(|at| (at, follower.reader)));
    }

    fn forget(&mut self, Follower { reader, urgency }: Follower) {
        self.places.remove(&reader);
        if let Some(at) = urgency.deadline {
            self.deadlines.remove(&(at, reader));
        }
    }
}
