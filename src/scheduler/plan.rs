//! A plan describes one step of the device as plain data. The scheduler writes plans; an executor runs them and decides
//! nothing. Chunked prefill, a copied prefix and decode use the same `Row`: a range of new positions of one sequence.

use std::collections::HashMap;
use std::sync::Arc;

use crate::constraint::{Constraint, ConstraintEnd};
use crate::host_kv::HostKv;
use crate::request::{SamplingParams, ScriptedTokens, SequenceId, TokenId, TokenLogprob};

/// One step. Executors run plans in the order they were submitted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Number of the step. A scheduler counts its steps from 0.
    pub step: u64,
    /// Sequences that get no further row, and whose KV other sequences may copy or take over. Ids that the executor does not
    /// know are allowed.
    pub retain: Vec<RetainedPrefix>,
    /// Sequences whose KV is dropped after `retain` is applied. Ids that the executor does not know are allowed.
    pub release: Vec<SequenceId>,
    /// Retained sequences whose KV comes from the host. They are there before other sequences are admitted.
    pub import: Vec<ImportedPrefix>,
    /// Sequences that are new to the executor. Each has a row in `rows`.
    pub admit: Vec<Admission>,
    /// The rows to compute, at most one for each sequence. Empty if the step only drops KV.
    pub rows: Vec<Row>,
}

/// Parameters of a sequence that the executor gets once, before its first row.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// The sequence. Its KV is stored under this id.
    pub sequence: SequenceId,
    /// KV of another sequence. The first row starts after these positions.
    pub prefix: Option<Prefix>,
    /// The tokens to feed before the first sampled token.
    pub prompt: Arc<[TokenId]>,
    /// Number of leading tokens of `prompt` from the caller. The other tokens were generated before a restart.
    pub num_prompt: usize,
    /// How tokens are sampled. The random numbers for a position depend on seed and position only.
    pub sampling: SamplingParams,
    /// Biases that are added to the logits of these tokens. Each token occurs once.
    pub logit_bias: Arc<[(TokenId, f32)]>,
    /// Number of most probable tokens to report with their log-probabilities, beside each sampled token. `None` reports no
    /// log-probabilities.
    pub logprobs: Option<u8>,
    /// Tokens that are not sampled before the answer has `min_tokens` tokens.
    pub end_tokens: Arc<[TokenId]>,
    /// The fewest tokens of the answer before an end token.
    pub min_tokens: usize,
    /// Only tokens that the constraint allows are sampled.
    pub constraint: Option<Constraint>,
    /// What a simulated device answers; other executors ignore it.
    pub scripted: Option<ScriptedTokens>,
    /// The most positions that the sequence can have.
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
            scripted: None,
            max_positions: usize::MAX,
        }
    }
}

/// KV that a sequence gets before its first step from a sequence that starts with the same tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The sequence that has the KV. It is on the device, and no step before this one drops it.
    pub of: SequenceId,
    /// The number of positions, from the first one.
    pub num_positions: usize,
    /// Whether the KV is moved instead of copied: the other sequence is retained, and ends here.
    pub takes_over: bool,
}

/// A sequence that has ended and keeps its KV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedPrefix {
    /// The sequence.
    pub sequence: SequenceId,
    /// The tokens of its positions, from the first one. Positions behind these are not used.
    pub tokens: Arc<[TokenId]>,
}

/// A retained sequence whose KV is copied from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedPrefix {
    /// The sequence, which is new to the executor.
    pub sequence: SequenceId,
    /// The tokens of its positions: whole blocks.
    pub tokens: Arc<[TokenId]>,
    /// Their KV, in the layout of the executor.
    pub kv: HostKv,
}

/// Tokens of one sequence that this step feeds to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The sequence.
    pub sequence: SequenceId,
    /// Position of the first token of the row. KV of all earlier positions exists.
    pub start: usize,
    /// The tokens to feed.
    pub feed: Feed,
    /// Whether the token after the last fed position is sampled and reported.
    pub sample: bool,
}

/// Where a row's tokens come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// `prompt[start..start + len]`.
    Prompt {
        /// Number of tokens.
        len: usize,
    },
    /// The token that the previous step sampled for the sequence. The host may not have read it yet.
    Sampled,
}

impl Row {
    /// Number of tokens of the row.
    pub fn len(&self) -> usize {
        match self.feed {
            Feed::Prompt { len } => len,
            Feed::Sampled => 1,
        }
    }

    /// Whether the row feeds no token. A scheduler never plans such a row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Plan {
    /// Empties the plan and keeps its allocations.
    pub fn clear(&mut self) {
        let Self { step, retain, release, import, admit, rows } = self;
        *step = 0;
        retain.clear();
        release.clear();
        import.clear();
        admit.clear();
        rows.clear();
    }

    /// Number of tokens of all rows.
    pub fn num_tokens(&self) -> usize {
        self.rows.iter().map(Row::len).sum()
    }
}

/// Whether a device accepts another step while it runs one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// The device accepts no other step.
    None,
    /// The device accepts the next step but queues only a part of it: `submit` may block longer than the running step takes.
    Bounded,
    /// The device accepts the next step, and `submit` does not block.
    Whole,
}

/// How the KV of a sequence grows with its positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvGrowth {
    /// Whether the number of blocks is doubled when more are needed. Otherwise blocks are added one by one.
    pub doubles: bool,
    /// Layers that keep only the last positions.
    pub window: Option<KvWindow>,
    /// The memory for KV divided by this is allocated ahead of need. It is not counted for any sequence.
    pub spare_share: Option<u64>,
}

/// Layers with a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvWindow {
    /// The largest window of these layers, in positions.
    pub positions: usize,
    /// The smallest window of these layers, in positions.
    pub least: usize,
    /// Bytes of one position in all of these layers.
    pub bytes_per_position: u64,
}

impl KvGrowth {
    /// Whether a sequence with `num_reached` positions still has the first `num_positions`.
    pub fn can_copy(&self, num_positions: usize, num_reached: usize) -> bool {
        num_positions == num_reached || self.window.is_none_or(|window| num_reached <= window.least)
    }
}

/// The results of a step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepOutput {
    /// Number of the plan's step.
    pub step: u64,
    /// The token of each row with `sample`, in the order of the plan's rows.
    pub tokens: Vec<(SequenceId, TokenId)>,
    /// Sequences without a token because their logits are NaN or infinite.
    pub not_finite: Vec<SequenceId>,
    /// Sequences without a token because their scripted answers fail here. Only a simulated device has them.
    pub faulted: Vec<SequenceId>,
    /// Sequences whose constraint allows no token after the one in `tokens`.
    pub closed: Vec<(SequenceId, ConstraintEnd)>,
    /// For each sequence that requested log-probabilities: the sampled token, then the most probable tokens, by falling
    /// probability and then by id. The distribution is that of the model, before logits processors and sampling.
    pub logprobs: StepLogprobs,
}

/// Log-probabilities of the step, by sequence.
pub type StepLogprobs = HashMap<SequenceId, Vec<TokenLogprob>>;
