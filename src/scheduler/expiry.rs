//! Expiry: removes sequences whose deadlines have passed or cannot be met, and sequences whose readers stay behind. The engine
//! answers their requests.

use std::time::Instant;

use crate::request::SequenceId;

use super::Scheduler;
use super::sequence::Sequence;

/// Why a sequence was removed before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Its deadline passed.
    Deadline,
    /// Its deadline is too near to read its prompt.
    Hopeless,
    /// Its reader was behind for longer than the park timeout.
    Parked,
}

impl Scheduler {
    /// Removes sequences whose deadline has passed or cannot be met any more, and sequences that were parked for too long.
    pub fn expire(&mut self, now: Instant, expired: &mut Vec<(SequenceId, Expiry)>) {
        let from = expired.len();
        let due = |sequence: &Sequence| self.expiry_of(sequence).filter(|&(at, _)| at <= now);
        expired.extend(self.running.iter().filter_map(|sequence| due(sequence).map(|(_, why)| (sequence.id, why))));
        for &(id, _) in &expired[from..] {
            self.remove(id);
        }
        while let Some((_, id)) = self.queue.first_deadline().filter(|&(at, _)| at <= now) {
            self.remove(id);
            expired.push((id, Expiry::Deadline));
        }
        while let Some(id) = self.retries.past_deadline(now) {
            self.remove(id);
            expired.push((id, Expiry::Deadline));
        }
        // While no sequence runs, a hopeless sequence is tried: it delays no other one, and its prompt is measured.
        let is_busy = self.running.active().next().is_some();
        let next_hopeless = |it: &Self| it.queue.peek().filter(|next| it.is_hopeless(next, now)).map(|next| next.id);
        while is_busy && let Some(id) = next_hopeless(self) {
            self.remove(id);
            expired.push((id, Expiry::Hopeless));
        }
    }

    /// When the next sequence expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let running = self.running.iter().filter_map(|sequence| self.expiry_of(sequence)).map(|(at, _)| at);
        let queued = self.queue.first_deadline().map(|(at, _)| at);
        running.chain(queued).chain(self.retries.first_deadline()).min()
    }

    fn expiry_of(&self, sequence: &Sequence) -> Option<(Instant, Expiry)> {
        let parked = sequence.parked_at.and_then(|since| since.checked_add(self.config.park_timeout));
        let deadline = sequence.deadline.map(|at| (at, Expiry::Deadline));
        [deadline, parked.map(|at| (at, Expiry::Parked))].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// Whether less than half of the measured time for its prompt is left until its deadline. False before a measurement.
    fn is_hopeless(&self, sequence: &Sequence, now: Instant) -> bool {
        let is_too_late = |num_tokens| {
            let prompt = self.prefill.cost(num_tokens);
            sequence.deadline.zip(prompt).is_some_and(|(at, cost)| at.saturating_duration_since(now) < cost / 2)
        };
        let num_unread = || sequence.num_known() - self.retained.num_reusable(sequence, &self.kv);
        is_too_late(sequence.num_known()) && is_too_late(num_unread())
    }
}
