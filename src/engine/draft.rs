//! A request as the caller wrote it. `model_rules` turns it into requests that can run.

use std::sync::Arc;
use std::time::Instant;

use crate::error::Code;
use crate::request::{PinId, PrefixScope, Priority, Sharing, TokenId};
use crate::text::{Chat, Load, PromptTemplate, StructuredOutput};

use super::scripted::Candidates;

/// A prompt in one of its forms.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Plain text.
    Text(String),
    /// Token ids.
    Tokens(Vec<TokenId>),
    /// A template that is rendered to text.
    Template(PromptTemplate),
    /// A conversation, rendered by the model's chat template.
    Chat(Chat),
}

impl Prompt {
    /// Whether the answer continues the text of the prompt. A chat is answered with a new message instead.
    pub(super) fn is_to_be_continued(&self) -> bool {
        !matches!(self, Self::Chat(chat) if !chat.continues_final)
    }
}

/// A request as the caller wrote it. Each field is valid by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The prompt to continue or to answer.
    pub prompt: Prompt,
    /// Most tokens to generate.
    pub max_tokens: Option<usize>,
    /// 0 is greedy decoding. The default is the model's, from `generation_config.json`.
    pub temperature: Option<f32>,
    /// The default is the model's.
    pub top_p: Option<f32>,
    /// The default is the model's.
    pub top_k: Option<u32>,
    /// The default is the model's.
    pub min_p: Option<f32>,
    /// The default is the model's.
    pub repetition_penalty: Option<f32>,
    /// How many of the last tokens `repetition_penalty` considers.
    pub repetition_context: Option<u32>,
    /// Subtracted from the logit of each token that the answer contains.
    pub presence_penalty: Option<f32>,
    /// Subtracted from the logit of a token once per occurrence in the answer.
    pub frequency_penalty: Option<f32>,
    /// Added to the logits of tokens; each token appears once.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Reports the log-probability of each token, and of this many most probable tokens at its place.
    pub logprobs: Option<u8>,
    /// Tokens that end the answer, in addition to the model's end tokens.
    pub stop_tokens: Vec<TokenId>,
    /// The model's end tokens do not end the answer.
    pub ignore_eos: bool,
    /// Tokens that would end the answer are not sampled before it has this many tokens.
    pub min_tokens: usize,
    /// Random if absent.
    pub seed: Option<u64>,
    /// How many answers; each is sampled with the seed of the previous one plus 1.
    pub num_choices: usize,
    /// Texts that end the answer.
    pub stop_sequences: Vec<String>,
    /// Whether the answer includes the stop sequence that ended it.
    pub include_stop: bool,
    /// A constraint on the answer.
    pub structured: Option<StructuredOutput>,
    /// When the request ends with `Timeout`.
    pub deadline: Option<Instant>,
    /// Requests of a higher priority run first.
    pub priority: Priority,
    /// The tenant that the request is charged to.
    pub tenant: Option<Arc<str>>,
    /// Whether the request may get the answer of another one.
    pub sharing: Sharing,
    /// Only requests with equal salts share answers. The default is the tenant.
    pub cache_salt: Option<Arc<str>>,
    /// The caller's name for the request.
    pub id: Option<String>,
    /// Whether progress of reading the prompt is reported.
    pub wants_progress: bool,
    /// Set if the request pins its prompt. It shares no answer.
    pub pin: Option<PinId>,
    /// On a simulated device with scripted answers: those that it may get.
    pub scripted: Option<Candidates>,
}

impl Draft {
    /// A request for one answer with the defaults of the model.
    pub fn of(prompt: Prompt) -> Self {
        Self {
            prompt,
            max_tokens: None,
            temperature: None,
            top_p: None,
            top_k: None,
            min_p: None,
            repetition_penalty: None,
            repetition_context: None,
            presence_penalty: None,
            frequency_penalty: None,
            logit_bias: Vec::new(),
            logprobs: None,
            stop_tokens: Vec::new(),
            ignore_eos: false,
            min_tokens: 0,
            seed: None,
            num_choices: 1,
            stop_sequences: Vec::new(),
            include_stop: false,
            structured: None,
            deadline: None,
            priority: Priority::Default,
            tenant: None,
            sharing: Sharing::Auto,
            cache_salt: None,
            id: None,
            wants_progress: false,
            pin: None,
            scripted: None,
        }
    }

    /// Only requests with equal salts share answers and KV.
    pub(super) fn salt(&self) -> Option<Arc<str>> {
        self.cache_salt.clone().or_else(|| self.tenant.clone())
    }

    /// The requests with which it shares KV, if any.
    pub(super) fn prefix_scope(&self) -> Option<PrefixScope> {
        (self.sharing != Sharing::Off).then(|| PrefixScope(self.salt()))
    }

    /// The work that preparing the draft means for the text pool.
    pub(super) fn load(&self) -> Load {
        let has_template = matches!(self.prompt, Prompt::Template(_));
        let must_call = matches!(&self.prompt, Prompt::Chat(chat) if chat.must_call());
        let is_constrained = self.structured.is_some() || must_call;
        Load {
            tenant: self.tenant.clone(),
            num_bytes: self.prompt.num_bytes(),
            is_program: has_template || is_constrained,
            late: match (has_template, is_constrained) {
                (true, _) => Code::InvalidParams,
                (false, true) => Code::GuidanceError,
                (false, false) => Code::TokenizerError,
            },
        }
    }
}

impl Prompt {
    /// Bytes of its texts.
    fn num_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Tokens(_) => 0,
            Self::Template(template) => template.num_bytes(),
            Self::Chat(chat) => chat.num_bytes(),
        }
    }
}

/// Sampling computes in single precision.
#[expect(clippy::cast_possible_truncation, reason = "rounding is intended")]
pub(crate) fn single(value: f64) -> f32 {
    value as f32
}
