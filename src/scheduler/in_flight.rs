//! Steps that were planned and are not yet committed.

use std::collections::VecDeque;

use crate::request::SequenceId;

use super::plan::{Feed, Plan};

#[derive(Debug, Default)]
pub(super) struct InFlight {
    steps: VecDeque<Step>,
    /// Row lists of committed steps, reused so that a step does not allocate.
    spare: Vec<Vec<SequenceId>>,
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) number: u64,
    pub(super) num_decoding: usize,
    pub(super) num_prompt_tokens: usize,
    pub(super) rows: Vec<SequenceId>,
    pub(super) held: Held,
}

/// KV that sequences hold while a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    /// Positions, in whole blocks.
    pub(super) num_positions: usize,
    pub(super) num_sequences: usize,
}

impl InFlight {
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The oldest step.
    pub(super) fn front(&self) -> Option<&Step> {
        self.steps.front()
    }

    /// The number of the oldest step.
    pub(super) fn first_step(&self) -> Option<u64> {
        self.front().map(|step| step.number)
    }

    pub(super) fn push(&mut self, plan: &Plan, held: Held) {
        let num_decoding = plan.rows.iter().filter(|row| row.feed == Feed::Sampled).count();
        let mut rows = self.spare.pop().unwrap_or_default();
        rows.extend(plan.rows.iter().map(|row| row.sequence));
        let num_prompt_tokens = plan.num_tokens() - num_decoding;
        self.steps.push_back(Step { number: plan.step, num_decoding, num_prompt_tokens, rows, held });
    }

    /// Removes and returns the oldest step.
    pub(super) fn pop(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Removes and returns all steps, which the device lost.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Step> {
        self.steps.drain(..)
    }

    /// Keeps the row list of a committed step.
    pub(super) fn recycle(&mut self, mut step: Step) {
        step.rows.clear();
        self.spare.push(step.rows);
    }
}
