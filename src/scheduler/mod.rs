//! Pure decisions: who runs in the next step and what it feeds. No threads, no channels, no clock: `now` is an argument
//! and the next deadline a return value, so that every decision is tested on the plan it makes.
//!
//! Policy: first come, first served. Rows that decode always go on; prompts share a budget of tokens a step. A sequence
//! is in exactly one of two places: `queue` (holds no KV) or `running` (admitted to the device, or about to be).

pub mod plan;
mod sequence;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::request::{FinishReason, Request, SequenceId, TokenId};

use plan::{Plan, Row, StepOutput};
use sequence::Sequence;

/// What bounds a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Rows of one step.
    pub max_rows: usize,
    /// Prompt tokens of one step, over all rows.
    pub prefill_chunk: usize,
    /// How long a parked sequence keeps its KV.
    pub park_timeout: Duration,
}

/// Sequences that may hold KV at a time, in multiples of `max_rows`: parked ones give their row away but keep their KV.
const RESIDENT_PER_ROW: usize = 4;

/// What to do now.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Submit this plan.
    Run(Plan),
    /// Nothing can run; at this moment [`Scheduler::expire`] has something to say.
    WaitUntil(Instant),
    /// Nothing can run until a sequence is added or unparked, or a step is committed.
    Idle,
}

/// A token that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// Whose.
    pub sequence: SequenceId,
    /// Which.
    pub token: TokenId,
    /// Set when it was the last; the sequence is gone then.
    pub finish: Option<FinishReason>,
}

/// Why a sequence was taken out without having finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Its deadline passed.
    Deadline,
    /// Its reader was behind for longer than the park timeout.
    Parked,
}

/// How full the scheduler is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Sequences that wait for a row.
    pub num_queued: usize,
    /// Sequences on the device, parked ones included.
    pub num_running: usize,
    /// Of these, parked ones.
    pub num_parked: usize,
}

/// Decides what each step does for the sequences of one model.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    queue: VecDeque<Sequence>,
    running: Vec<Sequence>,
    release: Vec<SequenceId>,
    next_step: u64,
}

impl Scheduler {
    /// An empty scheduler.
    pub fn new(config: Config) -> Self {
        Self { config, queue: VecDeque::new(), running: Vec::new(), release: Vec::new(), next_step: 0 }
    }

    /// Adds a request at the end of the queue. `id` must be new.
    pub fn add(&mut self, id: SequenceId, request: Request) {
        self.queue.push_back(Sequence::new(id, request));
    }

    /// Decides what to do now. A plan without rows only drops KV.
    pub fn next(&mut self, _now: Instant) -> Decision {
        self.admit_from_queue();
        let mut plan = self.plan_rows();
        if plan.rows.is_empty() && self.release.is_empty() {
            return self.next_deadline().map_or(Decision::Idle, Decision::WaitUntil);
        }
        plan.step = self.next_step;
        plan.release = std::mem::take(&mut self.release);
        self.next_step += 1;
        Decision::Run(plan)
    }

    /// Accounts for a step's tokens. Tokens of sequences that ended while the step was in flight are dropped.
    pub fn commit(&mut self, output: &StepOutput) -> Vec<Drawn> {
        output.tokens.iter().filter_map(|&(sequence, token)| self.take(sequence, token)).collect()
    }

    /// Takes a sequence out: it was cancelled, or a stop sequence ended it. Says whether it was there.
    pub fn remove(&mut self, id: SequenceId) -> bool {
        if let Some(index) = self.running.iter().position(|sequence| sequence.id == id) {
            self.running.remove(index);
            self.release.push(id);
            return true;
        }
        let before = self.queue.len();
        self.queue.retain(|sequence| sequence.id != id);
        self.queue.len() < before
    }

    /// Leaves a sequence out of plans until [`unpark`](Self::unpark); its KV stays.
    pub fn park(&mut self, id: SequenceId, now: Instant) {
        if let Some(sequence) = self.running_mut(id) {
            sequence.parked_at.get_or_insert(now);
        }
    }

    /// Lets a parked sequence run again.
    pub fn unpark(&mut self, id: SequenceId) {
        if let Some(sequence) = self.running_mut(id) {
            sequence.parked_at = None;
        }
    }

    /// Takes out what is past its time, wherever it is.
    pub fn expire(&mut self, now: Instant) -> Vec<(SequenceId, Expiry)> {
        let expired: Vec<_> = self
            .sequences()
            .filter_map(|sequence| {
                self.expiry_of(sequence).filter(|&(at, _)| at <= now).map(|(_, why)| (sequence.id, why))
            })
            .collect();
        for &(id, _) in &expired {
            self.remove(id);
        }
        expired
    }

    /// The device lost everything. Sequences for which `failed` is true are taken out and returned; the others start
    /// again from the tokens read so far.
    pub fn recover(&mut self, failed: impl Fn(SequenceId) -> bool) -> Vec<SequenceId> {
        self.release.clear();
        let lost: Vec<_> = self.running.iter().map(|sequence| sequence.id).filter(|&id| failed(id)).collect();
        self.running.retain(|sequence| !lost.contains(&sequence.id));
        self.running.iter_mut().for_each(Sequence::restart);
        lost
    }

    /// Takes everything out, at the end of a model's or the engine's life.
    pub fn clear(&mut self) -> Vec<SequenceId> {
        let ids = self.sequences().map(|sequence| sequence.id).collect();
        self.release.extend(self.running.drain(..).map(|sequence| sequence.id));
        self.queue.clear();
        ids
    }

    /// How full the scheduler is.
    pub fn load(&self) -> Load {
        let num_parked = self.running.iter().filter(|sequence| sequence.parked_at.is_some()).count();
        Load { num_queued: self.queue.len(), num_running: self.running.len(), num_parked }
    }

    /// Whether no sequence is left.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    fn admit_from_queue(&mut self) {
        let num_parked = self.running.iter().filter(|sequence| sequence.parked_at.is_some()).count();
        let mut num_active = self.running.len() - num_parked;
        while num_active < self.config.max_rows && self.running.len() < self.config.max_rows * RESIDENT_PER_ROW {
            let Some(sequence) = self.queue.pop_front() else { return };
            self.running.push(sequence);
            num_active += 1;
        }
    }

    /// Rows in order of arrival; prompts are cut so that they fit the step's budget.
    fn plan_rows(&mut self) -> Plan {
        let mut plan = Plan::default();
        let mut budget = self.config.prefill_chunk;
        for sequence in self.running.iter_mut().filter(|sequence| sequence.wants_step()) {
            if plan.rows.len() == self.config.max_rows {
                break;
            }
            if sequence.is_prefilling() && budget == 0 {
                continue;
            }
            let is_prefill = sequence.is_prefilling();
            plan.admit.extend(sequence.admit());
            let row: Row = sequence.advance(budget);
            budget -= if is_prefill { row.len() } else { 0 };
            plan.rows.push(row);
        }
        plan
    }

    fn take(&mut self, id: SequenceId, token: TokenId) -> Option<Drawn> {
        let finish = self.running_mut(id)?.take(token);
        if finish.is_some() {
            self.remove(id);
        }
        Some(Drawn { sequence: id, token, finish })
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.sequences().filter_map(|sequence| self.expiry_of(sequence)).map(|(at, _)| at).min()
    }

    fn expiry_of(&self, sequence: &Sequence) -> Option<(Instant, Expiry)> {
        let parked = sequence.parked_at.and_then(|since| since.checked_add(self.config.park_timeout));
        let deadline = sequence.deadline.map(|at| (at, Expiry::Deadline));
        [deadline, parked.map(|at| (at, Expiry::Parked))].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    fn sequences(&self) -> impl Iterator<Item = &Sequence> {
        self.running.iter().chain(&self.queue)
    }

    fn running_mut(&mut self, id: SequenceId) -> Option<&mut Sequence> {
        self.running.iter_mut().find(|sequence| sequence.id == id)
    }
}
