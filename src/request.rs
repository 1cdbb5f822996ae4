//! The types that all rooms share: a request, and what its caller gets back. Plain data, with no behaviour beyond the
//! arithmetic of a single type.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use crate::token::TokenId;

use crate::constraint::Constraint;

/// The name of a request: the caller's, or one that the engine made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(pub Arc<str>);

/// The id of a sequence, from admission to its end. The executor finds the physical KV of the sequence by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seq-{}", self.0)
    }
}

/// The default context of the repetition penalty, in tokens; the same as in mlx-lm.
pub const DEFAULT_REPETITION_CONTEXT: u32 = 20;

/// How the next token is sampled from the model's distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy: the most probable token, whatever the cuts and the seed are.
    pub temperature: f32,
    /// Sample from the smallest set of tokens whose probabilities add up to this; 1 keeps all tokens.
    pub top_p: f32,
    /// Sample from this many of the most probable tokens; 0 keeps all tokens.
    pub top_k: u32,
    /// Sample from tokens whose probability is at least this fraction of the highest probability; 0 keeps all tokens.
    pub min_p: f32,
    /// Positive logits of recent tokens are divided by this, and negative ones multiplied; 1 changes nothing.
    pub repetition_penalty: f32,
    /// The number of recent tokens, prompt included.
    pub repetition_context: u32,
    /// Subtracted from the logit of every token that the answer has so far; 0 changes nothing.
    pub presence_penalty: f32,
    /// Subtracted from the logit of a token for each of its occurrences in the answer so far; 0 changes nothing.
    pub frequency_penalty: f32,
    /// The token at a position depends on prompt, parameters and seed only, never on the batch.
    pub seed: u64,
}

impl SamplingParams {
    /// Always the most probable token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        repetition_context: DEFAULT_REPETITION_CONTEXT,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed: 0,
    };

    /// Whether a device can sample with these values.
    pub fn is_valid(&self) -> bool {
        self.temperature.is_finite()
            && self.temperature >= 0.0
            && self.top_p > 0.0
            && self.top_p <= 1.0
            && (0.0..=1.0).contains(&self.min_p)
            && self.repetition_penalty.is_finite()
            && self.repetition_penalty > 0.0
            && self.presence_penalty.is_finite()
            && self.frequency_penalty.is_finite()
    }

    /// Whether the most probable token is taken without sampling.
    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }

    /// Whether any penalty is on, so that logits depend on earlier tokens.
    pub fn penalizes(&self) -> bool {
        self.penalizes_repetition() || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// Whether the repetition penalty is on.
    #[expect(clippy::float_cmp, reason = "exactly 1 is off")]
    pub fn penalizes_repetition(&self) -> bool {
        self.repetition_penalty != 1.0
    }
}

/// The largest number of most probable tokens whose log-probabilities a request may get, besides the sampled token.
pub const MAX_LOGPROBS: u8 = 20;

/// The log-probability of a token in the model's own distribution: before biases, penalties, temperature and cuts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token.
    pub token: TokenId,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

/// When a generation ends.
#[derive(Debug, Clone, PartialEq)]
pub struct StopRules {
    /// At most this many tokens are generated.
    pub max_tokens: usize,
    /// Any of these tokens ends the answer. The token counts, and has no text.
    pub end_tokens: Arc<[TokenId]>,
    /// No end token is sampled before the answer has this many tokens.
    pub min_tokens: usize,
    /// Any of these texts ends the answer. Text after it is not delivered.
    pub stop_sequences: Vec<String>,
    /// Whether the stop sequence that ended the answer is part of its text.
    pub include_stop: bool,
    /// Where tool calls end the answer, if they do.
    pub calls: Option<CallStop>,
}

/// Where tool calls end an answer. Only calls of the request's tools count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallStop {
    /// The rules.
    pub rules: CallRules,
    /// The names of the tools.
    pub tools: Arc<[String]>,
}

/// How the tool calls of an answer are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallRules {
    /// Where calls end the answer; absent: nowhere.
    pub end: Option<CallEnd>,
    /// The answer is either calls or text: marks of calls in the text are text.
    pub is_exclusive: bool,
}

/// Where calls end an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// After the first complete call.
    FirstCall,
    /// At a call of the same tool with the same arguments as an earlier one. The repeated call does not count.
    RepeatedCall,
}

/// The markup of an answer that its readers parse. `calls` and `reasoning` select special tokens of the model that have
/// text in the answer; all other special tokens have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Markup {
    /// The tags around tool calls.
    pub calls: bool,
    /// The tags around reasoning.
    pub reasoning: bool,
    /// The reasoning that readers get separately from the text. Stop sequences are ignored in it.
    pub reasoning_tags: Option<ReasoningTags>,
}

/// How the reasoning of an answer is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReasoningTags {
    /// The tag before the reasoning.
    pub open: &'static str,
    /// The tag after the reasoning.
    pub close: &'static str,
    /// Whether the prompt has the opening tag already, so that the answer starts inside the reasoning.
    pub has_begun: bool,
}

/// The tokens that a simulated device answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptedTokens {
    /// The tokens, without an end token.
    pub tokens: Arc<[TokenId]>,
    /// The number of tokens after which the device fails.
    pub fails_after: Option<usize>,
}

/// The priority of a request. Ordered: urgent before default before background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Runs before all others, without an admission window.
    Urgent,
    /// The priority of a request that sets none.
    #[default]
    Default,
    /// Runs when no other request waits, or after a long wait. Preempted first when memory is full.
    Background,
}

/// A prompt whose KV stays in the prefix cache until it is released. Unique in an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PinId(pub u32);

/// A validated request whose prompt is already tokens.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt; never empty, every id inside the vocabulary.
    pub prompt: Arc<[TokenId]>,
    /// How tokens are sampled.
    pub sampling: SamplingParams,
    /// Biases that are added to the logits of tokens. Each token appears once.
    pub logit_bias: Arc<[(TokenId, f32)]>,
    /// The number of most probable tokens whose log-probabilities are reported with each token, besides its own. Absent:
    /// no log-probabilities.
    pub logprobs: Option<u8>,
    /// When the generation ends.
    pub stop: StopRules,
    /// Whether the answer continues the text of the prompt. Otherwise it is a text of its own, as in a chat: a tokenizer may
    /// encode the start of a text differently.
    pub continues_text: bool,
    /// The markup of the answer.
    pub markup: Markup,
    /// The constraint on the answer's tokens.
    pub constraint: Option<Constraint>,
    /// What a simulated device answers, instead of its own text. Other devices have no scripted answers.
    pub scripted: Option<ScriptedTokens>,
    /// The request fails with `Timeout` at this time.
    pub deadline: Option<Instant>,
    /// The priority.
    pub priority: Priority,
    /// The tenant. Tenants get equal shares of the device when requests wait.
    pub tenant: Option<Arc<str>>,
    /// The requests with which this request shares the KV of prompts. If absent, it neither reuses KV of the prefix cache nor
    /// leaves KV there. The choices of one request always share the KV of their prompt.
    pub prefix_scope: Option<PrefixScope>,
    /// If set, the KV of the prompt is pinned once it is read. Such a request generates one token, which nothing reads.
    pub pin: Option<PinId>,
}

/// Requests of one scope may reuse each other's KV for a common beginning of their prompts. Holds the salt of the requests; all
/// requests without a salt are one scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PrefixScope(pub Option<Arc<str>>);

impl Request {
    /// A greedy request for exactly `max_tokens` tokens.
    pub fn of(prompt: impl Into<Arc<[TokenId]>>, max_tokens: usize) -> Self {
        let (end_tokens, stop_sequences) = (Arc::default(), Vec::new());
        Self {
            prompt: prompt.into(),
            sampling: SamplingParams::GREEDY,
            logit_bias: Arc::default(),
            logprobs: None,
            stop: StopRules { max_tokens, end_tokens, min_tokens: 0, stop_sequences, include_stop: false, calls: None },
            continues_text: true,
            markup: Markup::default(),
            constraint: None,
            scripted: None,
            deadline: None,
            priority: Priority::Default,
            tenant: None,
            prefix_scope: Some(PrefixScope::default()),
            pin: None,
        }
    }

    /// The most positions that the request can occupy in the KV cache.
    pub fn max_positions(&self) -> usize {
        self.prompt.len() + self.stop.max_tokens
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// An end-of-sequence token or a stop sequence.
    Stop,
    /// As `Stop`, in an answer with tool calls. Only parsed answers have it; a generation ends with `Stop`.
    ToolCalls,
    /// `max_tokens` were generated.
    Length,
    /// The caller ended the generation, and keeps the tokens so far.
    Cancelled,
}

impl FinishReason {
    /// Its public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::ToolCalls => "tool-calls",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Which answers requests may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// Only reproducible answers: greedy ones, and sampled ones with a seed that the caller chose.
    #[default]
    Auto,
    /// No answer.
    Off,
    /// Every answer, also one that would be sampled differently the next time.
    Force,
}

/// How a request got its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Served {
    /// The answer was generated for this request.
    Computed,
    /// The request joined a running generation.
    Coalesced,
    /// The answer was in the cache.
    Cached,
}

impl Served {
    /// Its public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Computed => "computed",
            Self::Coalesced => "coalesced",
            Self::Cached => "cached",
        }
    }
}

/// How far a prompt has been read, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Tokens whose KV is computed.
    pub processed: usize,
    /// Tokens of the prompt.
    pub total: usize,
    /// Tokens that were not computed for this request.
    pub cached: usize,
}

/// Token counts of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: usize,
    /// Tokens of the prompt that were not computed for this request.
    pub cached_input_tokens: usize,
    /// Tokens of the answer, including a final end-of-sequence token.
    pub output_tokens: usize,
    /// Tokens of the answer that were generated for another request.
    pub cached_output_tokens: usize,
    /// Tokens of the answer up to the end of its reasoning, tags included; 0 for readers that do not parse reasoning.
    pub reasoning_tokens: usize,
}

/// How long the phases of a request took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// From `generate` to the first step with the sequence, including tokenization.
    pub queue: Duration,
    /// From that step to the first token.
    pub prefill: Duration,
    /// From `generate` to the first token.
    pub ttft: Duration,
    /// From the first token to the last.
    pub decode: Duration,
    /// From `generate` to the end.
    pub total: Duration,
}

/// The end of a complete answer, for one reader.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Why the generation ended.
    pub finish_reason: FinishReason,
    /// Token counts.
    pub usage: Usage,
    /// How long it took.
    pub timings: Timings,
    /// How the request got its answer.
    pub served: Served,
    /// The reader's request.
    pub id: RequestId,
    /// The request that the answer was generated for, if it is another one.
    pub shared_from: Option<RequestId>,
    /// The seed. It reproduces the answer.
    pub seed: u64,
}
