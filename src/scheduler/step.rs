//! One step: plans its rows, learns from its time, and recovers when it failed.

use std::time::Duration;

use crate::constraint::ConstraintEnd;
use crate::request::{SequenceId, TokenId};

use super::in_flight::{Held, Step};
use super::plan::Plan;
use super::prefill::Beside;
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
            plan.admit.extend(sequence.admit(self.next_step));
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
        let budget = self.prefill.budget(beside, self.prompts.num_unfed());
        if self.streams_beside.is_none() {
            return budget;
        }
        // Streams of other models wait for the whole step, so chunks that take too long by the measured costs are not tried.
        budget.min(self.prefill.largest_known_within(self.config.batch_limit.step_target))
    }

    pub(super) fn note_in_flight(&mut self, plan: &Plan) {
        let num_positions = self.running.positions_held(&self.kv);
        self.in_flight.push(plan, Held { num_positions, num_sequences: self.running.holders().count() });
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

    /// Recovers after the device failed and lost all KV. Sequences of the steps in flight are removed and returned. The others
    /// are recomputed from the tokens that were read.
    pub fn recover(&mut self) -> Vec<SequenceId> {
        let touched: Vec<_> = self.in_flight.take_all().flat_map(|step| step.rows).collect();
        let lost: Vec<_> = self.running.iter().map(|sequence| sequence.id).filter(|id| touched.contains(id)).collect();
        for &id in &lost {
            self.remove(id);
        }
        self.release.clear();
        self.running.restart();
        lost
    }

    /// Recovers after the device ran out of memory and lost all KV. All sequences are recomputed, and may hold less KV together
    /// than the largest step in flight. A sequence that held all of the memory alone is removed and returned.
    pub fn recover_memory(&mut self) -> Option<SequenceId> {
        let held = self.in_flight.take_all().map(|step| step.held).max_by_key(|held| held.num_positions);
        if let Some(held) = held {
            self.kv.shrink_below(held.num_positions);
        }
        let was_alone = held.is_some_and(|held| held.num_sequences <= 1);
        let on_device = self.running.iter().find(|sequence| sequence.is_on_device()).map(|sequence| sequence.id);
        let alone = on_device.filter(|_| was_alone);
        if let Some(id) = alone {
            self.remove(id);
        }
        self.release.clear();
        self.running.restart();
        alone
    }
}
