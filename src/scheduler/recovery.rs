//! What is left when the device failed, or when nothing is to be left.

use crate::request::SequenceId;

use super::queue::Queue;
use super::{Scheduler, Sequence};

impl Scheduler {
    /// The device lost everything. The sequences of the steps in flight are taken out and returned; the others start
    /// again from the tokens read so far.
    pub fn recover(&mut self) -> Vec<SequenceId> {
        let touched: Vec<_> = self.in_flight.drain(..).flat_map(|step| step.rows).collect();
        let lost: Vec<_> = self.running.iter().map(|sequence| sequence.id).filter(|id| touched.contains(id)).collect();
        for &id in &lost {
            self.remove(id);
        }
        self.release.clear();
        self.running.iter_mut().for_each(Sequence::restart);
        lost
    }

    /// The device ran out of memory and lost everything. Everyone starts again, and fewer hold KV at a time; returned is
    /// a sequence that had all the memory for itself, and needs more. What was held counts, also by who has gone since.
    pub fn recover_memory(&mut self) -> Option<SequenceId> {
        let held = self.in_flight.drain(..).max_by_key(|step| step.num_positions);
        if let Some(step) = &held {
            self.kv.shrink_below(step.num_positions);
        }
        let was_alone = held.is_some_and(|step| step.num_holders <= 1);
        let resident = || self.running.iter().filter(|sequence| sequence.is_on_device());
        let alone = resident().next().map(|sequence| sequence.id).filter(|_| was_alone);
        if let Some(id) = alone {
            self.remove(id);
        }
        self.release.clear();
        self.running.iter_mut().for_each(Sequence::restart);
        alone
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.release.extend(self.running.drain(..).map(|sequence| sequence.id));
        self.queue = Queue::new(self.config.ageing);
    }
}
