//! What a model runner has to deliver: the notified readers (their answers grew or ended), and the counts of ended
//! requests. Deliveries are collected during a turn, so that a turn takes the locks of readers and statistics once.
//! `answers` has the answers themselves.

use crate::answers::{Close, ReaderId};

use super::census::{Ends, Present};
use super::ids::Replica;
use super::labels::ModelLabel;
use super::shared::SharedState;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    notified: Vec<ReaderId>,
    /// Those of them whose requests ended.
    ended: Vec<ReaderId>,
    ends: Ends,
}

impl Outbox {
    /// The answers of these readers have something new.
    pub(super) fn notify(&mut self, readers: impl IntoIterator<Item = ReaderId>) {
        self.notified.extend(readers);
    }

    /// The requests of these readers ended.
    pub(super) fn end(&mut self, end: &Close, readers: impl IntoIterator<Item = ReaderId>) {
        let num_before = self.ended.len();
        self.ended.extend(readers);
        self.notified.extend(&self.ended[num_before..]);
        self.ends.add(end, self.ended.len() - num_before);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notified.is_empty()
    }

    /// Counts the requests of a model and returns the permits of ended requests. Then notifies the readers, with at most one wake
    /// of the JavaScript thread. So, when an end is delivered, statistics include it and its permit is free.
    pub(super) fn deliver(&mut self, shared: &SharedState, model: (Replica, ModelLabel), present: Present) {
        shared.stats.count(model, &mut self.ends, present);
        if !self.ended.is_empty() {
            shared.router.ended(self.ended.drain(..));
        }
        if !self.notified.is_empty() {
            shared.readers.notify(self.notified.drain(..));
            shared.readers.wake();
        }
    }
}
