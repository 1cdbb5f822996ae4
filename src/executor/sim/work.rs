//! What a step computes, in the numbers that its time depends on.

use crate::scheduler::plan::{Feed, Plan};

/// What a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Rows that decode.
    pub num_rows: usize,
    /// Positions whose keys and values are read, summed over all rows.
    pub num_positions: usize,
    /// Prompt tokens.
    pub num_prompt_tokens: usize,
    /// Pairs of a prompt token and a position that it attends to.
    pub num_pairs: usize,
    /// Positions whose keys and values are copied for new sequences, or from the host. KV that a sequence takes over is not moved.
    pub num_copied: usize,
}

impl Work {
    /// One row decodes and reads `num_positions` positions, its own included.
    pub fn decode(num_positions: usize) -> Self {
        Self { num_rows: 1, num_positions, ..Self::default() }
    }

    /// One row reads `len` prompt tokens that follow `start` positions.
    pub fn prefill(start: usize, len: usize) -> Self {
        let num_pairs = len * start + len * (len + 1) / 2;
        Self { num_rows: 0, num_positions: start, num_prompt_tokens: len, num_pairs, num_copied: 0 }
    }

    /// The work of a plan.
    pub fn of(plan: &Plan) -> Self {
        let rows = plan.rows.iter().map(|row| match row.feed {
            Feed::Sampled => Self::decode(row.start + 1),
            Feed::Prompt { len } => Self::prefill(row.start, len),
        });
        let prefixes = plan.admit.iter().filter_map(|admission| admission.prefix);
        let num_imported: usize = plan.import.iter().map(|imported| imported.tokens.len()).sum();
        let copied = prefixes.filter(|prefix| !prefix.takes_over).map(|prefix| prefix.num_positions);
        let num_copied = copied.sum::<usize>() + num_imported;
        rows.fold(Self { num_copied, ..Self::default() }, Self::plus)
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            num_rows: self.num_rows + other.num_rows,
            num_positions: self.num_positions + other.num_positions,
            num_prompt_tokens: self.num_prompt_tokens + other.num_prompt_tokens,
            num_pairs: self.num_pairs + other.num_pairs,
            num_copied: self.num_copied + other.num_copied,
        }
    }
}
