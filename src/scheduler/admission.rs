//! Who is let in when, and who must give memory back.

use std::time::Instant;

use crate::request::SequenceId;

use super::status::AdmissionRecord;
use super::window::{Reason, Waiting};
use super::{PARKED_PER_ROW, Scheduler, Sequence};

impl Scheduler {
    /// Admits whom it can. An error is the end of the window for which an idle engine waits.
    pub(super) fn admit(&mut self, now: Instant, num_coming: usize) -> Result<(), Instant> {
        let num_free = self.num_free();
        let Some(since) = self.queue.since().filter(|_| num_free > 0) else { return Ok(()) };
        let is_idle = self.active().next().is_none() && self.in_flight.is_empty();
        let reason = if is_idle {
            let waiting = Waiting {
                depth: self.queue.len(),
                since,
                has_urgent: self.queue.has_urgent(),
                is_full: self.queue.len() >= num_free,
                num_coming,
                first_step: self.queue.peek().and_then(|next| self.prefill.cost(next.num_known())),
            };
            self.window.judge(now, waiting)?
        } else if self.holds_joins(num_free) {
            self.num_held += 1;
            return Ok(());
        } else {
            Reason::Joined
        };
        self.let_in(now, num_free, reason, is_idle);
        Ok(())
    }

    /// Whether the next step may read a prompt: of somebody who runs, or of somebody who is let in.
    pub(super) fn may_read(&self) -> bool {
        let num_free = self.num_free();
        let may_join = || num_free > 0 && self.next_fits() && !self.holds_joins(num_free);
        self.active().any(Sequence::is_prefilling) || may_join()
    }

    /// Sequences that may be let in.
    fn num_free(&self) -> usize {
        self.width.limit().saturating_sub(self.active().count())
    }

    fn let_in(&mut self, now: Instant, num_free: usize, reason: Reason, is_idle: bool) {
        let depth = self.queue.len();
        let mut num_admitted = 0;
        while num_admitted < num_free && self.next_fits() {
            let Some(sequence) = self.queue.pop() else { break };
            self.admitted.push(AdmissionRecord {
                sequence: sequence.id,
                reason,
                waited: now.saturating_duration_since(sequence.arrived),
                depth,
                tier: self.window.tier(),
            });
            self.counters.admissions[reason as usize] += 1;
            self.running.push(sequence);
            num_admitted += 1;
        }
        if num_admitted > 0 {
            self.num_held = 0;
            if is_idle {
                self.window.sample_depth(depth);
                self.window.start(now, depth);
            }
        }
    }

    /// Whether prompts wait for more places to become free, so that they can be read together: only where more wait than
    /// places are free, so that somebody has to wait anyway, and for no longer than that many ends take.
    fn holds_joins(&self, num_free: usize) -> bool {
        if self.active().any(Sequence::is_prefilling) || self.queue.has_urgent() || self.queue.len() <= num_free {
            return false;
        }
        let limit = self.width.limit();
        let wanted = self.prefill.joining(limit, self.ends_per_step, self.width.step_time(limit));
        num_free < wanted && f64::from(self.num_held) * self.ends_per_step < wanted as f64
    }

    /// Whether the memory holds who is next, and for everybody who runs another block.
    fn next_fits(&self) -> bool {
        let Some(next) = self.queue.peek() else { return false };
        let (num_active, block) = (self.active().count(), self.kv.whole_blocks(1));
        num_active == 0 || self.kv.fits(self.kv.held(next) + self.positions_held() + num_active * block)
    }

    /// Who holds KV, or will with the next step: parked ones only as long as it was not taken from them.
    pub(super) fn holders(&self) -> impl Iterator<Item = &Sequence> {
        self.running.iter().filter(|sequence| !sequence.is_parked() || sequence.is_on_device())
    }

    /// Positions that all of them hold.
    pub(super) fn positions_held(&self) -> usize {
        self.holders().map(|sequence| self.kv.held(sequence)).sum()
    }

    /// Takes KV back until what runs fits: first from the parked, then from the least urgent, of these from the one that
    /// came last. They are computed again later; of the most urgent the one that came first always goes on.
    pub(super) fn make_room(&mut self, now: Instant) {
        while let Some(victim) = self.victim() {
            self.preempt(victim, now);
        }
    }

    /// Who gives memory back next; nobody while everything fits, or when only one holds any. The parked give some back also
    /// where there are too many of them: others run meanwhile.
    fn victim(&self) -> Option<SequenceId> {
        let num_parked = self.holders().filter(|sequence| sequence.is_parked()).count();
        let is_crowded = num_parked > self.config.width.ceiling() * PARKED_PER_ROW;
        if !is_crowded && (self.kv.fits(self.positions_held()) || self.holders().count() <= 1) {
            return None;
        }
        self.holders()
            .max_by_key(|sequence| (sequence.is_parked(), sequence.priority, sequence.arrived, sequence.id))
            .map(|sequence| sequence.id)
    }

    fn preempt(&mut self, id: SequenceId, now: Instant) {
        let Some(index) = self.running.iter().position(|sequence| sequence.id == id) else { return };
        self.counters.preemptions += 1;
        self.running[index].restart();
        self.release.push(id);
        if !self.running[index].is_parked() {
            let sequence = self.running.remove(index);
            self.queue.push(sequence, now);
        }
    }
}
