//! Turns a caller's [`Draft`] into a [`Request`] for each answer on a thread of the text pool: tokenizes the prompt, fills in
//! defaults, and checks against the model every number that could become an index on the device. The binding checks each field
//! by itself before; `ModelText` renders and tokenizes.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crate::answers::{Claim, Fingerprint, Terms};
use crate::error::{Code, Error, Result};
use crate::executor::{KvUnit, Limits};
use crate::numbers::MAX_SAFE_INTEGER;
use crate::request::{Request, SamplingParams, StopRules, TokenId};
use crate::text::{ExpectedAnswer, ModelText, OutputParser};

use super::answer_parser::Reading;
use super::breaker::Circuit;
use super::budget::{self, Ledger};
use super::command::Opened;
use super::draft::{Draft, Prompt};
use super::labels::ModelLabel;
use super::limits::PromptLimits;
use super::scripted::Writer;

/// Limit of generated tokens if the caller sets none; lower if the context has less room.
const DEFAULT_MAX_TOKENS: usize = 512;

/// A request that is ready to run.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) request: Request,
    /// Set if the request may share an answer.
    pub(super) claim: Option<Claim>,
    /// How its answer is read, if that takes more than its text.
    pub(super) reading: Option<Reading>,
    /// Writes its scripted answer.
    pub(super) writer: Option<Writer>,
    /// Spells its tokens, if the request has log-probabilities.
    pub(super) token_text: Option<Arc<ModelText>>,
}

/// What a request needs to know of its model.
#[derive(Debug)]
pub(super) struct ModelRules {
    /// The label of its metrics.
    pub(super) label: ModelLabel,
    pub(super) text: Arc<ModelText>,
    pub(super) fingerprint: Fingerprint,
    pub(super) limits: PromptLimits,
    /// Token ids are below this.
    pub(super) vocab_size: usize,
    /// End-of-sequence tokens of the model.
    end_tokens: Arc<[TokenId]>,
    /// Memory of the engine: KV that all sequences may hold together. It changes when models are loaded and unloaded.
    ledger: Arc<Ledger>,
    pub(super) kv: KvUnit,
    /// Number of accepted requests whose prompt is not ready.
    pub(super) coming: Arc<AtomicUsize>,
    pub(super) circuit: Arc<Circuit>,
    defaults: SamplingParams,
}

impl ModelRules {
    pub(super) fn new(
        text: Arc<ModelText>,
        defaults: SamplingParams,
        opened: Opened,
        coming: Arc<AtomicUsize>,
    ) -> Self {
        let Opened { label, limits, fingerprint, ledger, circuit } = opened;
        let Limits { context_length, vocab_size, kv, .. } = limits;
        // A tokenizer may have more ids than the model has embedding rows; those ids are never sampled.
        let end_tokens = text.end_tokens().iter().copied().filter(|token| (*token as usize) < vocab_size).collect();
        let limits = PromptLimits { context_length, max_bytes_per_token: text.max_bytes_per_token() };
        Self { label, text, fingerprint, limits, vocab_size, end_tokens, ledger, kv, coming, circuit, defaults }
    }

    /// The number of log-probabilities per token: as asked for, at most the whole vocabulary.
    pub(super) fn num_logprobs(&self, asked: u8) -> u8 {
        asked.min(u8::try_from(self.vocab_size).unwrap_or(u8::MAX))
    }

    /// Turns a draft into one request for each wanted answer. The error names what is wrong with the draft.
    pub(super) fn apply(&self, mut draft: Draft) -> Result<Vec<Prepared>> {
        let (prompt, output_parser) = self.prompt(&draft.prompt)?;
        self.check_named("logitBias", draft.logit_bias.iter().map(|(token, _)| *token))?;
        let max_tokens = self.max_tokens(prompt.len(), draft.max_tokens)?;
        let sampling = self.sampling(&draft);
        let expected = self.expected_answer(&draft, output_parser)?;
        let stop = self.stop_rules(&mut draft, max_tokens, &expected)?;
        let ExpectedAnswer { constraint, parser: output_parser } = expected;
        let continues_text = constraint.is_none() && draft.prompt.is_to_be_continued();
        let (salt, prefix_scope, pin) = (draft.salt(), draft.prefix_scope(), draft.pin);
        let Draft { deadline, priority, tenant, sharing, logit_bias, logprobs, scripted, .. } = draft;
        let terms = Terms { sharing, salt, is_seeded: draft.seed.is_some(), choice: 0 };
        let logit_bias = logit_bias.into();
        let (prompt, markup) = (prompt.into(), self.text.markup(output_parser.as_ref()));
        let parser = output_parser.clone();
        let reading = output_parser.map(Reading::Output).or_else(|| self.reading_of(&draft.prompt));
        let request = Request {
            prompt,
            sampling,
            logit_bias,
            logprobs,
            stop,
            continues_text,
            markup,
            constraint,
            scripted: None,
            deadline,
            priority,
            tenant,
            prefix_scope,
            pin,
        };
        self.check_memory(&request)?;
        let choice = |choice: u32| {
            let mut request = request.clone();
            request.sampling.seed = (request.sampling.seed + u64::from(choice)) & MAX_SAFE_INTEGER;
            let terms = Terms { choice, ..terms.clone() };
            let claim = if pin.is_some() { None } else { Claim::new(self.fingerprint, &request, &terms) };
            let token_text = logprobs.map(|_| Arc::clone(&self.text));
            let writer = scripted.clone().map(|candidates| Writer::new(candidates, parser.clone()));
            Prepared { request, claim, reading: reading.clone(), writer, token_text }
        };
        Ok((0..).take(draft.num_choices).map(choice).collect())
    }

    /// The tokens of a prompt that fits the context and the vocabulary, and the output format that its answer is parsed with.
    pub(super) fn prompt(&self, prompt: &Prompt) -> Result<(Vec<TokenId>, Option<OutputParser>)> {
        let (tokens, output_parser) = self.read(prompt)?;
        if tokens.is_empty() {
            return Err(Error::new(Code::InvalidParams, "the prompt has no tokens").with_param("prompt"));
        }
        self.check_tokens(&tokens)?;
        self.limits.check_tokens(tokens.len(), None)?;
        Ok((tokens, output_parser))
    }

    fn read(&self, prompt: &Prompt) -> Result<(Vec<TokenId>, Option<OutputParser>)> {
        let tokens = match prompt {
            Prompt::Text(text) => self.encode(text)?,
            Prompt::Tokens(tokens) => tokens.clone(),
            Prompt::Template(template) => {
                let rendered = self.text.render_prompt(template)?;
                self.limits.check_bytes(rendered.len())?;
                self.text.encode_prompt_at_most(&rendered, self.limits.context_length)?
            }
            Prompt::Chat(chat) => {
                let rendered = self.text.render(chat)?;
                self.limits.check_bytes(rendered.len())?;
                let tokens = self.text.encode_chat_at_most(&rendered, self.limits.context_length)?;
                return Ok((tokens, self.text.output_parser(chat, &rendered)));
            }
        };
        Ok((tokens, None))
    }

    fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        self.limits.check_bytes(text.len())?;
        self.text.encode_at_most(text, self.limits.context_length)
    }

    /// What the answer may be, by `structured` and the tools.
    fn expected_answer(&self, draft: &Draft, parser: Option<OutputParser>) -> Result<ExpectedAnswer> {
        if draft.pin.is_some() {
            // Nothing reads its answer.
            return Ok(ExpectedAnswer { constraint: None, parser: None });
        }
        let structured = draft.structured.as_ref();
        let Prompt::Chat(chat) = &draft.prompt else {
            let constraint = structured.map(|structured| self.text.constraint(structured)).transpose()?;
            return Ok(ExpectedAnswer { constraint, parser });
        };
        if chat.must_call() && !draft.stop_sequences.is_empty() {
            return Err(Error::invalid("stopSequences", "cannot end an answer that must call a function"));
        }
        self.text.expected_answer(chat, parser, structured)
    }

    /// How the answer to a plain text is read.
    fn reading_of(&self, prompt: &Prompt) -> Option<Reading> {
        let Prompt::Text(text) = prompt else { return None };
        self.text.lacks_chat_template(text).then(|| Reading::WithoutTemplate(Arc::clone(&self.end_tokens)))
    }

    fn sampling(&self, draft: &Draft) -> SamplingParams {
        let defaults = &self.defaults;
        SamplingParams {
            temperature: draft.temperature.unwrap_or(defaults.temperature),
            top_p: draft.top_p.unwrap_or(defaults.top_p),
            top_k: draft.top_k.unwrap_or(defaults.top_k),
            min_p: draft.min_p.unwrap_or(defaults.min_p),
            repetition_penalty: draft.repetition_penalty.unwrap_or(defaults.repetition_penalty),
            repetition_context: draft.repetition_context.unwrap_or(defaults.repetition_context),
            presence_penalty: draft.presence_penalty.unwrap_or(defaults.presence_penalty),
            frequency_penalty: draft.frequency_penalty.unwrap_or(defaults.frequency_penalty),
            seed: draft.seed.unwrap_or_else(random_seed),
        }
    }

    fn stop_rules(
        &self,
        draft: &mut Draft,
        max_tokens: usize,
        ExpectedAnswer { constraint, parser }: &ExpectedAnswer,
    ) -> Result<StopRules> {
        let end_tokens = self.end_tokens(draft)?;
        // A constraint overrules `minTokens`, and ends the answer without an end token.
        if draft.min_tokens > 0 && end_tokens.is_empty() && constraint.is_none() {
            let reason = if draft.ignore_eos { "`ignoreEos` is true" } else { "this model has no end-of-turn token" };
            let message = format!(
                "is {}, but no token ends the answer before `maxTokens`: {reason}, and there are no `stopTokenIds`",
                draft.min_tokens
            );
            return Err(Error::invalid("minTokens", message));
        }
        Ok(StopRules {
            max_tokens,
            end_tokens,
            min_tokens: min_tokens(draft, max_tokens)?,
            stop_sequences: std::mem::take(&mut draft.stop_sequences),
            include_stop: draft.include_stop,
            calls: parser.as_ref().and_then(OutputParser::call_stop),
        })
    }

    /// The tokens that end the answer.
    fn end_tokens(&self, draft: &Draft) -> Result<Arc<[TokenId]>> {
        self.check_named("stopTokenIds", draft.stop_tokens.iter().copied())?;
        if draft.stop_tokens.is_empty() && !draft.ignore_eos {
            return Ok(Arc::clone(&self.end_tokens));
        }
        let own = if draft.ignore_eos { &[][..] } else { &self.end_tokens[..] };
        Ok(own.iter().chain(&draft.stop_tokens).copied().collect())
    }

    /// Refuses tokens outside the vocabulary. MLX does not check indices: such a scatter would corrupt memory.
    fn check_named(&self, param: &str, mut tokens: impl Iterator<Item = TokenId>) -> Result<()> {
        let limit = self.vocab_size;
        let Some(token) = tokens.find(|token| *token as usize >= limit) else { return Ok(()) };
        let message = format!("names token {token}, which is outside the vocabulary of {limit}");
        Err(Error::invalid(param, message).with_limit(limit as f64, f64::from(token)))
    }

    /// Refuses a prompt with tokens outside the vocabulary. MLX does not check indices: such a gather would kill the process.
    fn check_tokens(&self, prompt: &[TokenId]) -> Result<()> {
        let Some((index, token)) = prompt.iter().enumerate().find(|&(_, &token)| token as usize >= self.vocab_size)
        else {
            return Ok(());
        };
        let limit = self.vocab_size;
        let message = format!("token {token} at position {index} of the prompt is outside the vocabulary of {limit}");
        Err(Error::new(Code::InvalidParams, message).with_param("prompt").with_limit(limit as f64, f64::from(*token)))
    }

    /// Refuses a request that would not fit the KV memory even if it ran alone. A load takes some of that memory, an unload
    /// gives it back.
    fn check_memory(&self, request: &Request) -> Result<()> {
        let Some(kv) = budget::limit_of(self.kv, self.ledger.kv()) else { return Ok(()) };
        let positions = kv.whole_blocks(request.max_positions()) as u64;
        let needed = positions.saturating_mul(kv.bytes_per_position);
        if needed <= kv.bytes {
            return Ok(());
        }
        let message = format!(
            "prompt and answer may take {needed} bytes of KV, but all generations of this model together have {}: lower \
             `maxTokens`, or raise `memory.kvBytes`",
            kv.bytes
        );
        Err(Error::new(Code::InsufficientMemory, message).with_limit(kv.bytes as f64, needed as f64))
    }

    /// The limit of generated tokens. A `maxTokens` that does not fit the context is an error, and is never lowered.
    fn max_tokens(&self, prompt_len: usize, asked: Option<usize>) -> Result<usize> {
        self.limits.check_tokens(prompt_len, asked)?;
        let room = self.limits.context_length.saturating_sub(prompt_len);
        Ok(asked.unwrap_or(DEFAULT_MAX_TOKENS).min(room))
    }
}

/// The standard library seeds its hashers randomly, which is enough for sampling and spares a generator.
fn random_seed() -> u64 {
    RandomState::new().hash_one(Instant::now()) & MAX_SAFE_INTEGER
}

/// Refuses `minTokens` above the limit of generated tokens.
fn min_tokens(draft: &Draft, max_tokens: usize) -> Result<usize> {
    if draft.min_tokens <= max_tokens {
        return Ok(draft.min_tokens);
    }
    let message = format!("is {}, but at most {max_tokens} tokens may be generated", draft.min_tokens);
    Err(Error::invalid("minTokens", message).with_limit(max_tokens as f64, draft.min_tokens as f64))
}
