//! A plan: what one step of the device does, as plain data. The scheduler writes it, an executor carries it out and
//! decides nothing. Prefill chunk, prefix hit and decode are one case: a row whose computed tokens catch up.

use std::collections::HashMap;
use std::sync::Arc;

use crate::constraint::{Constraint, ConstraintEnd};
use crate::request::{SamplingParams, SequenceId, TokenId, TokenLogprob};

/// One step. Executors run plans in the order they were submitted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Counts up by one from 0 over the life of a scheduler.
    pub step: u64,
    /// Sequences whose KV is dropped before anything else happens. Ids the executor never saw are allowed.
    pub release: Vec<SequenceId>,
    /// Sequences that appear for the first time, before `rows` name them.
    pub admit: Vec<Admission>,
    /// What is computed. At most one row a sequence; none where there is only KV to drop.
    pub rows: Vec<Row>,
}

/// What an executor needs to know about a sequence, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// Identifies its KV.
    pub sequence: SequenceId,
    /// KV that it starts with. Its first row follows these positions.
    pub prefix: Option<Prefix>,
    /// Its prompt.
    pub prompt: Arc<[TokenId]>,
    /// The caller's part of it. The rest was generated before a restart.
    pub num_prompt: usize,
    /// How its tokens are drawn. The draw at a position is keyed by (seed, position).
    pub sampling: SamplingParams,
    /// Added to the logits of these tokens, each named once.
    pub logit_bias: Arc<[(TokenId, f32)]>,
    /// How many of the most probable tokens are reported beside each one drawn, with log-probabilities; none of either
    /// where absent.
    pub logprobs: Option<u8>,
    /// These are not drawn before `min_tokens` were.
    pub end_tokens: Arc<[TokenId]>,
    /// See `end_tokens`.
    pub min_tokens: usize,
    /// What the answer must be; only tokens that it allows are drawn.
    pub constraint: Option<Constraint>,
    /// It never occupies more positions than this.
    pub max_positions: usize,
}

impl Admission {
    /// A greedy continuation of a prompt, of any length.
    pub fn of(sequence: SequenceId, prompt: &[TokenId]) -> Self {
        Self {
            sequence,
            prefix: None,
            prompt: prompt.into(),
            num_prompt: prompt.len(),
            sampling: SamplingParams::GREEDY,
            logit_bias: Arc::default(),
            logprobs: None,
            end_tokens: Arc::default(),
            min_tokens: 0,
            constraint: None,
            max_positions: usize::MAX,
        }
    }
}

/// KV that is copied before a step, from a sequence with the same tokens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Whose. It is on the device, and no earlier step than this one drops it.
    pub of: SequenceId,
    /// Of how many positions, from the first.
    pub num_positions: usize,
}

/// Tokens of one sequence that this step feeds to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub sequence: SequenceId,
    /// Position of the first token fed; KV of all positions before it is there.
    pub start: usize,
    /// What is fed.
    pub feed: Feed,
    /// Whether the token after the last fed position is drawn and reported.
    pub sample: bool,
}

/// Where a row's tokens come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// `prompt[start..start + len]`.
    Prompt {
        /// How many.
        len: usize,
    },
    /// The one token the sequence's previous step drew. It may still be on the device and not be read yet.
    Sampled,
}

impl Row {
    /// How many positions the row advances.
    pub fn len(&self) -> usize {
        match self.feed {
            Feed::Prompt { len } => len,
            Feed::Sampled => 1,
        }
    }

    /// Whether nothing is fed; a scheduler never plans such a row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Plan {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        let Self { step, release, admit, rows } = self;
        *step = 0;
        release.clear();
        admit.clear();
        rows.clear();
    }

    /// Tokens fed by all rows.
    pub fn num_tokens(&self) -> usize {
        self.rows.iter().map(Row::len).sum()
    }
}

/// What a device accepts while it runs a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Nothing.
    None,
    /// The next step, of which it queues only a part: `submit` may block for longer than the running step takes.
    Bounded,
    /// The next step. `submit` does not block.
    Whole,
}

/// How the KV of a sequence grows with its positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvGrowth {
    /// The first block is doubled as often as it takes; otherwise blocks are added.
    pub doubles: bool,
    /// Layers that keep the last positions only.
    pub window: Option<KvWindow>,
    /// One part in so many of the memory for KV is allocated ahead of need; no sequence counts it.
    pub spare_share: Option<u64>,
}

/// Layers with a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvWindow {
    /// The most positions that one of them keeps.
    pub positions: usize,
    /// The fewest.
    pub least: usize,
    /// What a position takes in all of them.
    pub bytes_per_position: u64,
}

impl KvGrowth {
    /// Whether the first `num_positions` are still there in a sequence that has come to `num_reached`.
    pub fn can_copy(&self, num_positions: usize, num_reached: usize) -> bool {
        num_positions == num_reached || self.window.is_none_or(|window| num_reached <= window.least)
    }
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepOutput {
    /// The plan's step.
    pub step: u64,
    /// The token drawn for each row with `sample`, in the plan's order.
    pub tokens: Vec<(SequenceId, TokenId)>,
    /// Sequences with such a row for which none was drawn: their logits are NaN or infinite.
    pub not_finite: Vec<SequenceId>,
    /// Sequences among these whose constraint lets nothing follow their token.
    pub closed: Vec<(SequenceId, ConstraintEnd)>,
    /// For each sequence that requested log-probabilities: the drawn token, then the most probable tokens, by falling probability
    /// and then by id. They are of the model's own distribution, before logits processors and sampling.
    pub logprobs: StepLogprobs,
}

/// Log-probabilities of the step, by sequence.
pub type StepLogprobs = HashMap<SequenceId, Vec<TokenLogprob>>;
