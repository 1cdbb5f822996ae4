//! Divides the prompt tokens of a step between the rows that read prompts.

use crate::request::Priority;

use super::running::Running;
use super::sequence::Sequence;

/// The rows that read prompts, in order of admission. Reused, so that a step does not allocate.
#[derive(Debug, Default)]
pub(super) struct Prompts(Vec<Prompt>);

/// Ordered as prompts are served: the most urgent first, among these the one with the fewest tokens left. If other sequences
/// wait for the KV of a prompt, only the tokens that they need count as left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Prompt {
    rank: Priority,
    num_wanted: usize,
    index: usize,
}

impl Prompts {
    /// Finds the rows that read prompts. Sets the share of every sequence to 0 until [`divide`](Self::divide).
    pub(super) fn find(&mut self, running: &mut Running) {
        self.0.clear();
        for (index, sequence) in running.iter_mut().enumerate() {
            sequence.share = 0;
            if sequence.wants_step() && sequence.is_prefilling() && !sequence.awaits_prompt() {
                self.0.push(Prompt { rank: sequence.rank(), num_wanted: num_wanted(sequence), index });
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Number of unread tokens of all these prompts.
    pub(super) fn num_unfed(&self, running: &Running) -> usize {
        self.0.iter().map(|prompt| running.as_slice()[prompt.index].num_unfed()).sum()
    }

    /// Gives each prompt its share of the step. The oldest prompt gets at least a quarter, so that it does not starve. The rest
    /// goes to the most urgent prompts, and among these to the ones with the fewest tokens left, which gives the shortest mean
    /// time to first token.
    pub(super) fn divide(&mut self, mut budget: usize, running: &mut Running) {
        let Some(&oldest) = self.0.first() else { return };
        let first = running.at_mut(oldest.index);
        let sure = first.num_unfed().min(budget.div_ceil(4));
        first.share = sure;
        budget -= sure;
        self.0.sort_unstable();
        for prompt in &self.0 {
            let sequence = running.at_mut(prompt.index);
            let more = (sequence.num_unfed() - sequence.share).min(budget);
            sequence.share += more;
            budget -= more;
        }
    }
}

/// Number of tokens until the prompt is complete, or until a sequence that waits for its KV can start.
fn num_wanted(sequence: &Sequence) -> usize {
    let awaited = sequence.awaited.map(|awaited| awaited.saturating_sub(sequence.num_fed()));
    awaited.unwrap_or(usize::MAX).min(sequence.num_unfed())
}
