//! Admission: decides which requests get a row, which sequences give their row to more urgent requests, and which give memory
//! back.

use std::time::Instant;

use crate::request::SequenceId;

use super::kv::Room;
use super::queue::{Next, Turn};
use super::sequence::Promotion;
use super::status::AdmissionRecord;
use super::window::{Reason, Waiting};
use super::{Scheduler, Sequence};

/// Parked sequences that may hold KV at a time, for each row of the largest batch.
const PARKED_PER_ROW: usize = 3;

impl Scheduler {
    /// Gives rows to the next requests. An error is the end of the window for which an idle engine waits.
    pub(super) fn admit(&mut self, now: Instant, num_coming: usize) -> Result<(), Instant> {
        let Some(next) = self.queue.next().filter(|next| self.has_place(next)) else { return Ok(()) };
        let num_free = self.num_free();
        let is_idle = self.running.active().next().is_none() && self.in_flight.is_empty() && !self.queue.has_begun();
        let reason = if let Some(since) = self.queue.since().filter(|_| is_idle) {
            let waiting = Waiting {
                depth: self.queue.len(),
                since,
                has_urgent: self.queue.has_urgent(),
                is_full: self.queue.len() >= num_free,
                num_coming,
                first_step: self.queue.peek().and_then(|next| self.prefill.cost(next.num_known())),
            };
            self.window.judge(now, waiting)?
        } else if self.holds_joins(&next) {
            self.num_held += 1;
            return Ok(());
        } else {
            Reason::Joined
        };
        self.let_in(now, reason, is_idle);
        Ok(())
    }

    /// Whether the next step may read a prompt: of a running sequence, or of a request that would get a row.
    pub(super) fn may_read(&self) -> bool {
        let may_join = |next: Next| self.has_place(&next) && self.fits(&next) && !self.holds_joins(&next);
        self.running.active().any(Sequence::is_prefilling) || self.queue.next().is_some_and(may_join)
    }

    /// Number of free rows.
    pub(super) fn num_free(&self) -> usize {
        self.batch_limit.limit().saturating_sub(self.running.active().count())
    }

    /// Whether a request can get a row: a free one, or one of a less urgent sequence.
    fn has_place(&self, next: &Next) -> bool {
        self.num_free() > 0 || self.running.yielding(next.rank).is_some()
    }

    fn let_in(&mut self, now: Instant, reason: Reason, is_idle: bool) {
        let (depth, mut num_admitted) = (self.queue.len(), 0);
        while let Some(next) = self.queue.next().filter(|next| self.has_place(next) && self.fits(next)) {
            if self.num_free() == 0 {
                self.running.yielding(next.rank).inspect(|&id| self.set_aside(id, now));
            }
            match self.queue.pop() {
                Some(Turn::Begin(sequence)) => self.begin(*sequence, reason, depth, now),
                Some(Turn::GoOn(id, promotion)) => self.go_on(id, promotion),
                None => break,
            }
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

    fn begin(&mut self, sequence: Sequence, reason: Reason, depth: usize, now: Instant) {
        self.admitted.push(AdmissionRecord {
            sequence: sequence.id,
            reason,
            waited: now.saturating_duration_since(sequence.arrived),
            depth,
            tier: self.window.tier(),
        });
        self.counters.admissions[reason as usize] += 1;
        self.running.push(sequence);
    }

    /// Gives a row to a sequence that was set aside.
    fn go_on(&mut self, id: SequenceId, promotion: Option<Promotion>) {
        if let Some(sequence) = self.running.get_mut(id) {
            sequence.is_aside = false;
            sequence.promote(promotion);
        }
    }

    /// Takes the row of a sequence for a more urgent one. The sequence keeps its KV as long as memory allows.
    fn set_aside(&mut self, id: SequenceId, now: Instant) {
        let Some(sequence) = self.running.get_mut(id) else { return };
        self.counters.set_aside += 1;
        if sequence.is_on_device() {
            self.queue.set_aside(sequence);
        } else if let Some(sequence) = self.running.take(id) {
            self.queue.push(sequence, now);
        }
    }

    /// Whether waiting prompts are held until more rows are free, so that a step reads several of them. Prompts are held only if
    /// more requests wait than rows are free, and no longer than the wanted number of rows should take to become free. A
    /// request that takes the row of another sequence, or that still has its KV, is not held.
    fn holds_joins(&self, next: &Next) -> bool {
        let num_free = self.num_free();
        let is_at_once = || num_free == 0 || self.queue.has_urgent() || self.running.get(next.id).is_some();
        if self.running.active().any(Sequence::is_prefilling) || self.queue.len() <= num_free || is_at_once() {
            return false;
        }
        let limit = self.batch_limit.limit();
        let wanted = self.prefill.joining(limit, self.ends.per_step, self.batch_limit.step_time(limit));
        num_free < wanted && f64::from(self.num_held) * self.ends.per_step < wanted as f64
    }

    /// Whether KV memory has space for a request and one more block for each row. Less urgent sequences do not count, because
    /// they give their memory back.
    fn fits(&self, next: &Next) -> bool {
        let num_active = self.running.active().filter(|other| other.rank() <= next.rank).count();
        let waiting = self.queue.peek().filter(|sequence| sequence.id == next.id);
        let Some(sequence) = waiting.or_else(|| self.running.get(next.id)) else { return false };
        let others = self.running.holders().filter(|other| other.id != next.id && other.rank() <= next.rank);
        let held: usize = others.map(|other| self.kv.held(other)).sum();
        num_active == 0 || self.kv.fits(self.kv.held(sequence) + held + num_active * self.kv.whole_blocks(1))
    }

    /// Drops KV until the rest fits into memory, and decides with which KV sequences start. Retained KV is dropped first, and of
    /// it last the KV that sequences start with. Then sequences lose their KV, which is recomputed later. Of the most urgent
    /// sequences, the oldest always continues.
    pub(super) fn make_room(&mut self, now: Instant) {
        let max_parked = self.config.batch_limit.ceiling() * PARKED_PER_ROW;
        let mut room = Room::Enough;
        loop {
            // A sequence that lost its KV or its row may have been what another one starts with, or have used retained KV itself.
            self.share_prefixes(room);
            if let (false, Some(less)) = (self.evict_retained(), room.less()) {
                room = less;
            } else if let Some(victim) = self.running.victim(&self.kv, max_parked) {
                self.preempt(victim, now);
            } else {
                return;
            }
        }
    }

    /// Drops retained KV that no sequence starts with, until the rest fits into memory. Returns false if it does not fit although
    /// retained KV is left: sequences start with that KV.
    fn evict_retained(&mut self) -> bool {
        let num_running = self.running.positions_held(&self.kv);
        loop {
            let num_retained = self.retained.num_held();
            if num_retained == 0 || self.kv.fits_with_retained(num_running + num_retained) {
                return true;
            }
            let Some(id) = self.retained.evict() else { return false };
            self.release.push(id);
        }
    }

    fn preempt(&mut self, id: SequenceId, now: Instant) {
        let Some(sequence) = self.running.get_mut(id) else { return };
        self.counters.preemptions += 1;
        tracing::debug!(target: "mlx_serving::scheduler", sequence = %id, "preempted");
        self.queue.forget_aside(sequence);
        sequence.restart();
        self.release.push(id);
        if !sequence.is_parked()
            && let Some(sequence) = self.running.take(id)
        {
            self.queue.push(sequence, now);
        }
    }
}
