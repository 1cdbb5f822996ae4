//! The words used everywhere: what a caller asks for and what it gets back. Plain data; no behaviour beyond arithmetic
//! that belongs to a single word.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::guide::Guide;

/// A request as its caller names it, or as the engine named it for a caller who did not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(pub Arc<str>);

/// A token of a model's vocabulary.
pub type TokenId = u32;

/// One generation, from admission to its end. Also the address of its physical KV in the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seq-{}", self.0)
    }
}

/// Recent tokens, where a penalty on repetition does not say how many: as many as in mlx-lm.
pub const DEFAULT_REPETITION_CONTEXT: u32 = 20;

/// How the next token is drawn from the model's distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy: the most probable token, whatever the other fields say.
    pub temperature: f32,
    /// Draw from the smallest set of tokens whose probabilities add up to this; 1 keeps all.
    pub top_p: f32,
    /// Draw from this many of the most probable tokens; 0 keeps all.
    pub top_k: u32,
    /// Draw from tokens at least this times as probable as the most probable one; 0 keeps all.
    pub min_p: f32,
    /// Logits of recent tokens are divided by this where positive and multiplied where negative; 1 leaves them.
    pub repetition_penalty: f32,
    /// How many of the last tokens, prompt included, are recent.
    pub repetition_context: u32,
    /// Taken from the logit of every token of the answer so far; 0 leaves it.
    pub presence_penalty: f32,
    /// The same, for each time the token was said.
    pub frequency_penalty: f32,
    /// The draw at a position depends on (prompt, parameters, seed) alone, never on the batch.
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

    /// Whether the most probable token is taken without a draw.
    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }

    /// Whether the draw depends on the tokens before it.
    pub fn penalizes(&self) -> bool {
        self.penalizes_repetition() || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// Whether recent tokens are penalized.
    #[expect(clippy::float_cmp, reason = "exactly 1 is off")]
    pub fn penalizes_repetition(&self) -> bool {
        self.repetition_penalty != 1.0
    }
}

/// The most tokens of which a request may ask the log-probabilities, beside the one that was chosen.
pub const MAX_LOGPROBS: u8 = 20;

/// How probable a token was to the model, before anything was changed about that.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// Which.
    pub token: TokenId,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

/// When a generation ends.
#[derive(Debug, Clone, PartialEq)]
pub struct StopRules {
    /// At most this many tokens are generated.
    pub max_tokens: usize,
    /// Any of these ends the answer; the token itself is counted but its text is not delivered.
    pub end_tokens: Arc<[TokenId]>,
    /// None of them is drawn before the answer has this many tokens.
    pub min_tokens: usize,
    /// Any of these texts ends the answer; nothing after it is delivered.
    pub stop_sequences: Vec<String>,
    /// Whether the one that ended it is delivered.
    pub include_stop: bool,
}

/// How an answer is marked up for its readers. The first two say which special tokens of the model are text in it; all
/// others have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Markup {
    /// The marks around calls of functions.
    pub calls: bool,
    /// The marks around reasoning.
    pub reasoning: bool,
    /// The reasoning that readers get apart from the text. Stop sequences are not looked for in it.
    pub thought: Option<Thought>,
}

/// Where the reasoning of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thought {
    /// The tag before it.
    pub open: &'static str,
    /// The tag behind it.
    pub close: &'static str,
    /// The answer begins inside.
    pub has_begun: bool,
}

/// Who goes first where not all can. Ordered: urgent before default before background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Before all others, and without waiting for company.
    Urgent,
    /// What is not said to be otherwise.
    #[default]
    Default,
    /// When nobody else waits, or after having waited long; first to give its memory back.
    Background,
}

/// A validated request whose prompt is already tokens.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt; never empty, every id inside the vocabulary.
    pub prompt: Arc<[TokenId]>,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// Added to the logits of these tokens, each named once.
    pub logit_bias: Arc<[(TokenId, f32)]>,
    /// With each token its log-probability is told, and those of so many of the most probable ones; nothing where absent.
    pub logprobs: Option<u8>,
    /// When it ends.
    pub stop: StopRules,
    /// The answer continues the text of the prompt. Otherwise it is a text of its own, as the answer to a chat is: a
    /// tokenizer may write the beginning of a text in another way.
    pub continues_text: bool,
    /// What of its markup is in the answer.
    pub markup: Markup,
    /// What the answer must be, where the caller has said so.
    pub guide: Option<Guide>,
    /// The moment after which the caller has no use for the answer.
    pub deadline: Option<Instant>,
    /// Who goes first.
    pub priority: Priority,
    /// On whose behalf: tenants get equal shares where not all can be served at once.
    pub tenant: Option<Arc<str>>,
}

impl Request {
    /// The greedy continuation of a prompt, which nothing ends before so many tokens.
    pub fn of(prompt: impl Into<Arc<[TokenId]>>, max_tokens: usize) -> Self {
        let (end_tokens, stop_sequences) = (Arc::default(), Vec::new());
        Self {
            prompt: prompt.into(),
            sampling: SamplingParams::GREEDY,
            logit_bias: Arc::default(),
            logprobs: None,
            stop: StopRules { max_tokens, end_tokens, min_tokens: 0, stop_sequences, include_stop: false },
            continues_text: true,
            markup: Markup::default(),
            guide: None,
            deadline: None,
            priority: Priority::Default,
            tenant: None,
        }
    }

    /// The most positions this request can come to occupy in the KV cache.
    pub fn max_positions(&self) -> usize {
        self.prompt.len() + self.stop.max_tokens
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// An end-of-sequence token or a stop sequence.
    Stop,
    /// The same, after calls of functions. Said by those who read calls; a generation just stops.
    ToolCalls,
    /// `max_tokens` were generated.
    Length,
    /// The caller asked for the end and for what there was.
    Cancelled,
}

impl FinishReason {
    /// The name users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::ToolCalls => "tool-calls",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Whether a request may have the answer of another one, and others its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// Where computing it again would give the same: greedy answers, and drawn ones whose seed the caller chose.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Also where computing it again would draw another answer.
    Force,
}

/// How an answer came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Served {
    /// This request ran on the device.
    Computed,
    /// It joined a request that was running.
    Coalesced,
    /// It was there already.
    Cached,
}

impl Served {
    /// The name users see.
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
    /// Those whose KV is there.
    pub processed: usize,
    /// All of the prompt.
    pub total: usize,
    /// Those that did not have to be read for this request.
    pub cached: usize,
}

/// Tokens in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: usize,
    /// Of these, tokens whose KV was already there.
    pub cached_input_tokens: usize,
    /// Tokens of the answer, a final end-of-sequence token included.
    pub output_tokens: usize,
    /// Of these, tokens that were generated for another request.
    pub cached_output_tokens: usize,
}

/// Where the time of a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// From `generate` until the first step that held the request, tokenization included.
    pub queue: Duration,
    /// From that step until the first token.
    pub prefill: Duration,
    /// From `generate` until the first token.
    pub ttft: Duration,
    /// From the first token until the last.
    pub decode: Duration,
    /// From `generate` until the end.
    pub total: Duration,
}

/// How an answer ended, for a reader that has read it all.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Why.
    pub finish_reason: FinishReason,
    /// Tokens in and out.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// How the answer came to be.
    pub served: Served,
    /// The request this is the summary of.
    pub id: RequestId,
    /// The request for which the answer was computed, if it is another one.
    pub shared_from: Option<RequestId>,
    /// The seed used; reproduces the answer.
    pub seed: u64,
}
