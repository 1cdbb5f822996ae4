//! The rows of a step, and what a step that was run teaches.

use std::time::Duration;

use crate::constraint::ConstraintEnd;
use crate::request::TokenId;

use super::plan::{Feed, Plan};
use super::prefill::Beside;
use super::{InFlight, SampledToken, Scheduler};

impl Scheduler {
    /// Everyone who decodes goes on; prompts share a budget of tokens. Rows come in order of admission.
    pub(super) fn plan_rows(&mut self, plan: &mut Plan) {
        let ceiling = self.config.batch_limit.ceiling();
        self.share_budget(ceiling);
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

    /// Gives each prompt its share of the step. The one that came first is sure of a quarter, so that it comes to its
    /// end; the rest goes to the most urgent, and of these to those that are nearest to their end, since that brings
    /// most first tokens soonest.
    fn share_budget(&mut self, ceiling: usize) {
        let num_decoding = self.running.iter().filter(|sequence| sequence.decodes_next()).count();
        self.prefilling.clear();
        for (index, sequence) in self.running.iter_mut().enumerate() {
            sequence.share = 0;
            if sequence.wants_step() && sequence.is_prefilling() && !sequence.awaits_prompt() {
                self.prefilling.push((sequence.rank(), sequence.num_unfed(), index));
            }
        }
        let Some(&(_, first_unfed, first)) = self.prefilling.first() else { return };
        let beside = match (num_decoding, self.prefilling.len(), self.streams_beside) {
            (0, _, Some(step)) => Beside::Decoding(Some(step)),
            (0, 1, None) => Beside::Nobody,
            (0, _, None) => Beside::Prompts,
            (rows, ..) => Beside::Decoding(self.batch_limit.step_time(rows.min(ceiling))),
        };
        let num_unfed = self.prefilling.iter().map(|&(_, unfed, _)| unfed).sum();
        let mut budget = self.prefill.budget(beside, num_unfed);
        // Larger chunks are not tried out at the cost of streams that cannot share the step.
        if self.streams_beside.is_some() {
            budget = budget.min(self.prefill.largest_known_within(self.config.batch_limit.step_target));
        }
        let sure = first_unfed.min(budget.div_ceil(4));
        self.running[first].share = sure;
        budget -= sure;
        self.prefilling.sort_unstable();
        for &(_, unfed, index) in &self.prefilling {
            let more = (unfed - self.running[index].share).min(budget);
            self.running[index].share += more;
            budget -= more;
        }
    }

    pub(super) fn note_in_flight(&mut self, plan: &Plan) {
        let num_decoding = plan.rows.iter().filter(|row| row.feed == Feed::Sampled).count();
        let mut rows = self.spare.pop().unwrap_or_default();
        rows.extend(plan.rows.iter().map(|row| row.sequence));
        let num_prompt_tokens = plan.num_tokens() - num_decoding;
        let (num_holders, num_positions) = (self.holders().count(), self.positions_held());
        self.in_flight.push_back(InFlight { num_decoding, num_prompt_tokens, rows, num_holders, num_positions });
    }

    pub(super) fn recycle(&mut self, mut step: InFlight) {
        step.rows.clear();
        self.spare.push(step.rows);
    }

    /// Takes what a step cost. What the decoding part of a step with prompts took is known only by steps without.
    pub(super) fn learn(&mut self, step: &InFlight, took: Duration) {
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
        self.batch_limit.reconsider(self.active().count(), is_wanted);
    }

    /// Takes a token of a step for one of those who run, unless it has begun anew since that was planned.
    pub(super) fn take(
        &mut self,
        index: usize,
        token: TokenId,
        constraint_end: Option<ConstraintEnd>,
        step: u64,
    ) -> Option<SampledToken> {
        let sequence = &mut self.running[index];
        if !sequence.is_on_device() || sequence.since_step > step {
            return None;
        }
        let (id, finish) = (sequence.id, sequence.take(token, constraint_end));
        if finish.is_some() {
            self.end(id);
        }
        Some(SampledToken { sequence: id, token, finish, constraint_end })
    }
}
