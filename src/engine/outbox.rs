//! What a model runner has to deliver: the notified readers (their answers grew or ended), and the counts of ended
//! requests. Deliveries are collected during a turn, so that a turn takes the locks of readers and statistics once.
//! `answers` has the answers themselves.

use crate::answers::{Close, ReaderId};

use super::census::{Ends, Present};
use super::command::ModelKey;
use super::shared::SharedState;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    notified: Vec<ReaderId>,
    ends: Ends,
}

impl Outbox {
    /// The answers of these readers have something new.
    pub(super) fn notify(&mut self, readers: impl IntoIterator<Item = ReaderId>) {
        self.notified.extend(readers);
    }

    /// The requests of these readers ended.
    pub(super) fn end(&mut self, end: &Close, readers: impl IntoIterator<Item = ReaderId>) {
        let num_before = self.notified.len();
        self.notify(readers);
        self.ends.add(end, self.notified.len() - num_before);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notified.is_empty()
    }

    /// Counts the ended requests of a model and what it has now, then notifies the readers with at most one wake of the
    /// JavaScript thread. Counting comes first, so that statistics include every delivered end.
    pub(super) fn deliver(&mut self, shared: &SharedState, model: ModelKey, present: Present) {
        shared.stats.count(model, &mut self.ends, present);
        if !self.notified.is_empty() {
            shared.readers.notify(self.notified.drain(..));
            shared.readers.wake();
        }
    }
}
