//! One step: plans its rows, learns from its time, and recovers when it failed.

use std::time::{Duration, Instant};

use crate::constraint::ConstraintEnd;
use crate::request::{SequenceId, TokenId};

use super::in_flight::{Held, Step};
use super::plan::Plan;
use super::prefill::Beside;
use super::sequence::Sequence;
use super::{SampledToken, Scheduler};

impl Scheduler {
    /// Writes the rows of the next step: every sequence that decodes, and prompts that share a budget of tokens. Rows are in
    /// order of admission.
    pub(super) fn plan_rows(&mut self, plan: &mut Plan) {
        let ceiling = self.config.batch_limit.ceiling();
        self.share_prompt_tokens();
        for sequence in self.running.iter_mut().filter(|sequence| sequence.wants_step()) {
            if plan.rows.len() == ceiling {
                break;
            }
            if sequence.is_prefilling() && sequence.share == 0 {
                continue;
            }
            if let Some(admission) = sequence.admit(self.next_step) {
                if !sequence.has_restarted {
                    self.misses.extend(self.retained.count(sequence, &self.kv));
                }
                admission.prefix.iter().for_each(|prefix| self.retained.used(prefix.of, prefix.takes_over));
                plan.admit.push(admission);
            }
            plan.rows.push(sequence.advance());
        }
    }

    fn share_prompt_tokens(&mut self) {
        self.prompts.find(&mut self.running);
        if self.prompts.len() > 0 {
            let budget = self.prompt_budget();
            self.prompts.divide(budget, &mut self.running);
        }
    }

    /// Prompt tokens of the next step.
    fn prompt_budget(&self) -> usize {
        let ceiling = self.config.batch_limit.ceiling();
        let beside = match (self.running.num_decoding(), self.prompts.len(), self.streams_beside) {
            (0, _, Some(step)) => Beside::Decoding(Some(step)),
            (0, 1, None) => Beside::Nothing,
            (0, _, None) => Beside::Prompts,
            (rows, ..) => Beside::Decoding(self.batch_limit.step_time(rows.min(ceiling))),
        };
        let budget = self.prefill.budget(beside, self.prompts.num_unfed(&self.running));
        if self.streams_beside.is_none() {
            return budget;
        }
        // Streams of other models wait for the whole step, so chunks that take too long by the measured costs are not tried.
        budget.min(self.prefill.largest_known_within(self.config.batch_limit.step_target))
    }

    pub(super) fn note_in_flight(&mut self, plan: &Plan) {
        let num_retained = self.retained.num_held() + self.kv.num_pinned();
        let num_positions = self.running.positions_held(&self.kv) + num_retained;
        let num_sequences = self.running.holders().count() + usize::from(!self.retained.is_empty());
        self.in_flight.push(plan, Held { num_positions, num_sequences });
    }

    /// Learns from the time of a step. For a step that also reads prompts, the time of its decoding part is that of steps
    /// that only decode.
    pub(super) fn learn(&mut self, step: &Step, took: Duration) {
        let is_wanted = !self.queue.is_empty();
        match (step.num_decoding, step.num_prompt_tokens) {
            (0, 0) => return,
            (rows, 0) => return self.batch_limit.observe(rows, took, is_wanted),
            (0, tokens) => self.prefill.observe(tokens, took, Duration::ZERO),
            (rows, tokens) => {
                if let Some(decoding) = self.batch_limit.step_time(rows) {
                    self.prefill.observe(tokens, took, decoding);
                }
            }
        }
        self.batch_limit.reconsider(self.running.active().count(), is_wanted);
    }

    /// Takes a token that step number `step` sampled for the sequence at an index. The token is dropped if the sequence was
    /// restarted after the step was planned, because the sequence samples it again.
    pub(super) fn take(
        &mut self,
        index: usize,
        token: TokenId,
        constraint_end: Option<ConstraintEnd>,
        step: u64,
    ) -> Option<SampledToken> {
        let sequence = self.running.at_mut(index);
        if !sequence.is_on_device() || sequence.since_step > step {
            return None;
        }
        let (id, finish) = (sequence.id, sequence.take(token, constraint_end));
        if finish.is_some() {
            self.end(id);
        }
        Some(SampledToken { sequence: id, token, finish, constraint_end })
    }

    /// Recovers after the device failed and lost all KV. Sequences of the steps in flight run again later if they have no token
    /// yet and attempts left; the others of these steps are removed and returned. All other sequences are recomputed from the
    /// tokens that were read.
    pub fn recover(&mut self, now: Instant) -> Vec<SequenceId> {
        let touched: Vec<_> = self.in_flight.take_all().flat_map(|step| step.rows).collect();
        let failed = self.running.iter().filter(|sequence| touched.contains(&sequence.id));
        let (again, lost): (Vec<_>, Vec<_>) = failed.partition(|sequence| self.retries.may_retry(sequence));
        let ids = |sequences: Vec<&Sequence>| sequences.into_iter().map(|sequence| sequence.id).collect::<Vec<_>>();
        let (again, lost) = (ids(again), ids(lost));
        for &id in &lost {
            self.discard(id);
        }
        for id in again {
            self.retry(id, now);
        }
        self.restart(now);
        lost
    }

    fn retry(&mut self, id: SequenceId, now: Instant) {
        let Some(mut sequence) = self.running.take(id) else { return };
        self.queue.forget_aside(&mut sequence);
        self.counters.retries += 1;
        self.retries.hold(sequence, now);
    }

    /// Recovers after the device ran out of memory and lost all KV. All sequences are recomputed, and may hold less KV together
    /// than the largest step in flight. A sequence that held all of the memory alone is removed and returned.
    pub fn recover_memory(&mut self, now: Instant) -> Option<SequenceId> {
        let held = self.in_flight.take_all().map(|step| step.held).max_by_key(|held| held.num_positions);
        if let Some(held) = held {
            self.kv.shrink_below(held.num_positions);
        }
        let was_alone = held.is_some_and(|held| held.num_sequences <= 1);
        let on_device = self.running.iter().find(|sequence| sequence.is_on_device()).map(|sequence| sequence.id);
        let alone = on_device.filter(|_| was_alone);
        if let Some(id) = alone {
            self.discard(id);
        }
        self.restart(now);
        alone
    }

    /// All sequences start again, and pinned prompts are read again, because the device lost all KV.
    fn restart(&mut self, now: Instant) {
        let lost = self.retained.lose();
        self.kv.set_pinned(0);
        self.retain.clear();
        self.release.clear();
        self.import.clear();
        self.running.restart();
        self.read_again(lost, now);
    }
}
