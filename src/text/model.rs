//! The tokenizer and chat template of a model: opened once, then shared by all requests. The tokenizers crate can panic
//! on a model's data, such as a regular expression that runs too long; here a panic becomes an error. It can also be
//! slow, so callers use the text pool.

use std::sync::Arc;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::capabilities::TextCapabilities;
use super::chat::{Chat, Content, PromptTemplate};
use super::chat_templates::{ChatTemplates, TextOptions};
use super::constraint::{ConstraintCompiler, StructuredOutput};
use super::control::ControlTokens;
use super::date;
use super::detokenizer::Detokenizer;
use super::encoder::{Encoder, Frame};
use super::failure::{broken, guarded, named};
use super::growth;
use super::jinja::Rendered;
use super::nesting;
use super::output::{OutputFormat, OutputParser};
use super::special::{add_stated, end_tokens, named_tokens};
use super::stream::TextStream;
use super::template::{Owner, Template};
use super::token_table::{TokenSpelling, TokenTable, TokenText};
use super::tool_calls::{CALL_END_TOKENS, EnforcedCalls};
use super::tool_prompt;
use crate::constraint::Constraint;
use crate::error::{Error, Result};
use crate::hub::{self, ModelFolder};
use crate::request::{CallEnd, CallRules, Markup, StopRules, TokenId};

const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// The constraint of the answer to a chat, and its parser.
#[derive(Debug)]
pub struct ExpectedAnswer {
    /// The constraint on its tokens.
    pub constraint: Option<Constraint>,
    /// The parser of its output; `None` if it is only text.
    pub parser: Option<OutputParser>,
}

/// Converts between text and a model's tokens.
#[derive(Debug)]
pub struct ModelText {
    encoder: Encoder,
    token_table: Arc<TokenTable>,
    /// With a broken template the model still completes plain prompts: only chats fail, with this error.
    templates: Result<Option<ChatTemplates>>,
    special_tokens: Vec<(String, String)>,
    end_tokens: Arc<[TokenId]>,
    /// End tokens in the model's files that were ignored.
    warnings: Vec<String>,
    output_format: OutputFormat,
    constraints: ConstraintCompiler,
}

impl ModelText {
    /// Reads the tokenizer, the chat template and the end tokens of a model. Takes a few seconds for a large
    /// vocabulary.
    ///
    /// `ModelLoadError` if a file is missing or names impossible tokens, `TokenizerError` if `tokenizer.json` is
    /// broken, `UnsupportedModel` if its text cannot be streamed. Each error names the file.
    pub fn open(folder: &ModelFolder) -> Result<Self> {
        Self::open_with(folder, &TextOptions::default())
    }

    /// Like [`Self::open`], with options that override the prompts of the folder.
    ///
    /// `InvalidParams` if the template of the options does not compile.
    pub fn open_with(folder: &ModelFolder, options: &TextOptions) -> Result<Self> {
        let path = folder.path.join("tokenizer.json");
        let bytes = hub::read_file(&path, MAX_TOKENIZER_BYTES)?;
        let (tokenizer, token_table) =
            guarded(|| load_tokenizer(&bytes, folder)).map_err(|error| named(&path, &error))?;
        let find = |token: &str| tokenizer.token_to_id(token);
        let special_tokens = named_tokens(folder, find);
        let templates = ChatTemplates::open(folder, options, &special_tokens);
        if let (Err(error), Some(_)) = (&templates, &options.chat_template) {
            return Err(error.clone());
        }
        let (default, with_tools) =
            templates.as_ref().ok().and_then(Option::as_ref).map_or(("", ""), ChatTemplates::sources);
        let named: Vec<_> = CALL_END_TOKENS.into_iter().filter(|token| with_tools.contains(token)).collect();
        let (end_tokens, warnings) = end_tokens(folder, token_table.len(), &named, find)?;
        let output_format = OutputFormat::of(default, with_tools, |text| token_table.special_token(find(text)?, text));
        let all = Markup { calls: true, reasoning: true, reasoning_tags: None };
        let constraints = ConstraintCompiler::new(output_format.special_tokens(all));
        let control = ControlTokens::of(&tokenizer, [default, with_tools]);
        let encoder = Encoder::new(tokenizer, path, token_table.len(), control);
        let token_table = Arc::new(token_table);
        Ok(Self { encoder, token_table, templates, special_tokens, end_tokens, warnings, output_format, constraints })
    }

    /// The tokens of a plain prompt, with the tokens that the tokenizer adds, such as a beginning-of-sequence token.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        self.encoder.encode(text, Frame::Tokenizer, usize::MAX)
    }

    /// The tokens of a text that already contains its special tokens: none is added.
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<TokenId>> {
        self.encoder.encode(text, Frame::Nothing, usize::MAX)
    }

    /// Like [`Self::encode`]. A long text fails with `ContextLengthExceeded` as soon as it has more than `most` tokens.
    pub fn encode_at_most(&self, text: &str, most: usize) -> Result<Vec<TokenId>> {
        self.encoder.encode(text, Frame::Tokenizer, most)
    }

    /// Like [`Self::encode_rendered`], with the limit of [`Self::encode_at_most`].
    pub fn encode_rendered_at_most(&self, text: &str, most: usize) -> Result<Vec<TokenId>> {
        self.encoder.encode(text, Frame::Nothing, most)
    }

    /// The tokens of a rendered chat. Strings from outside of the template become text, even if they spell special
    /// tokens.
    pub fn encode_chat(&self, rendered: &Rendered) -> Result<Vec<TokenId>> {
        self.encode_chat_at_most(rendered, usize::MAX)
    }

    /// Like [`Self::encode_chat`], with the limit of [`Self::encode_at_most`].
    pub fn encode_chat_at_most(&self, rendered: &Rendered, most: usize) -> Result<Vec<TokenId>> {
        self.encoder.encode_marked(rendered, Frame::Nothing, most)
    }

    /// The tokens of a rendered prompt template, with the tokens that the tokenizer adds and the limit of
    /// [`Self::encode_at_most`].
    pub fn encode_prompt_at_most(&self, rendered: &Rendered, most: usize) -> Result<Vec<TokenId>> {
        self.encoder.encode_marked(rendered, Frame::Tokenizer, most)
    }

    /// The text of tokens. Special tokens and ids outside of the vocabulary have no text.
    pub fn decode(&self, tokens: &[TokenId]) -> Result<String> {
        let mut out = String::new();
        let mut detokenizer = Detokenizer::new(&self.token_table);
        for token in tokens {
            detokenizer.push(&self.token_table, *token, &mut out);
        }
        detokenizer.finish(&self.token_table, &mut out);
        Ok(out)
    }

    /// The text of a token by itself.
    pub fn spell(&self, token: TokenId) -> TokenSpelling<'_> {
        match self.token_table.get(token, false) {
            TokenText::Text(bytes) => TokenSpelling::Text(bytes.into()),
            TokenText::Byte(byte) => TokenSpelling::Text(vec![byte].into()),
            TokenText::Nothing => TokenSpelling::Special(self.encoder.name_of(token).unwrap_or_default()),
        }
    }

    /// The text of tokens with the names of special tokens, to show a part of a prompt. An incomplete character becomes U+FFFD.
    pub fn show(&self, tokens: &[TokenId]) -> String {
        let mut bytes = Vec::new();
        for token in tokens {
            match self.spell(*token) {
                TokenSpelling::Text(text) => bytes.extend_from_slice(&text),
                TokenSpelling::Special(name) => bytes.extend_from_slice(name.as_bytes()),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Renders a chat up to the start of the model's answer. Run this on a [`super::TextPool`]: a hostile template can
    /// need more stack than other threads have.
    ///
    /// `InvalidParams` if the model has no template, or if its template refuses the messages, ignores a variable or the
    /// tools, or does not print the message to continue. `TokenizerError` if the template fails or exceeds its budget.
    /// `ModelLoadError` if it does not compile.
    pub fn render(&self, chat: &Chat) -> Result<Rendered> {
        match &self.templates {
            Err(error) => Err(error.clone()),
            Ok(None) => Err(Error::invalid("messages", "need a chat template, and this model has none: use `prompt`")),
            Ok(Some(templates)) => templates.render(chat),
        }
    }

    /// Renders a caller's own template. Run this on a [`super::TextPool`], as [`Self::render`].
    ///
    /// `InvalidParams` if the template does not compile, fails, exceeds its budget or does not read a variable.
    pub fn render_prompt(&self, prompt: &PromptTemplate) -> Result<Rendered> {
        guarded(|| {
            let template = Template::compile(&prompt.source, Owner::Caller, &self.special_tokens, date::now)?;
            template.render(&prompt.variables, prompt.special_tokens)
        })
    }

    /// Compiles a constraint. Run this on a [`super::TextPool`]: a large grammar takes long, and the first constraint
    /// of a model takes some 100 ms more.
    ///
    /// `GuidanceError` if it is too large, broken, or cannot be enforced completely.
    pub fn constraint(&self, structured: &StructuredOutput) -> Result<Constraint> {
        self.constraints.compile(structured, &self.token_table)
    }

    /// The constraint of the answer to a chat: tool calls, a text that `structured` allows, or either. `parser` reads the answer.
    /// Run this on a [`super::TextPool`], as [`Self::constraint`].
    ///
    /// `InvalidParams` if calls must be enforced but the model's tool-call format cannot express them. `GuidanceError` if
    /// `structured` or the schema of a tool cannot be enforced.
    pub fn expected_answer(
        &self,
        chat: &Chat,
        parser: Option<OutputParser>,
        structured: Option<&StructuredOutput>,
    ) -> Result<ExpectedAnswer> {
        let (tools, is_single) = (chat.callable_tools(), chat.has_single_call());
        let other = structured.filter(|_| !chat.must_call());
        let are_optional = other.is_some();
        if chat.must_call() || (are_optional && !tools.is_empty()) {
            let calls = EnforcedCalls { tools: &tools, is_single, are_optional };
            let grammar = self.output_format.grammar(parser.as_ref(), &calls)?;
            let constraint = Some(self.call_constraint(grammar, other)?);
            // A grammar of one call ends by itself. One of several calls does not keep a model from repeating a call.
            let end = (!is_single).then_some(CallEnd::RepeatedCall);
            let rules = CallRules { end, is_exclusive: are_optional };
            return Ok(ExpectedAnswer { constraint, parser: parser.map(|parser| parser.with_rules(rules)) });
        }
        if let Some(structured) = structured {
            // The constraint covers the whole answer: it has neither reasoning nor tool calls.
            return Ok(ExpectedAnswer { constraint: Some(self.constraint(structured)?), parser: None });
        }
        let rules = CallRules { end: is_single.then_some(CallEnd::FirstCall), is_exclusive: false };
        Ok(ExpectedAnswer { constraint: None, parser: parser.map(|parser| parser.with_rules(rules)) })
    }

    fn call_constraint(&self, grammar: String, other: Option<&StructuredOutput>) -> Result<Constraint> {
        let calls = StructuredOutput::ToolCalls { grammar, other: other.cloned().map(Box::new) };
        self.constraint(&calls).or_else(|error| {
            // If `structured` cannot be enforced by itself, that error is the better one.
            other.map_or(Ok(()), |other| self.constraint(other).map(|_| ()))?;
            Err(error)
        })
    }

    /// What requests of this model may have. Renders chats, so it needs the stack of a load thread.
    pub fn capabilities(&self) -> TextCapabilities {
        let templates = self.templates.as_ref().ok().and_then(Option::as_ref).filter(|templates| templates.has_chat());
        let is_structured = self.constraints.is_supported(&self.token_table);
        TextCapabilities::of(templates, &self.output_format, is_structured)
    }

    /// The tokens that end an answer; may be empty.
    pub fn end_tokens(&self) -> &Arc<[TokenId]> {
        &self.end_tokens
    }

    /// Entries of the model's files that were ignored. Each sentence names the file.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The longest text of one token, in bytes; `None` without a limit.
    pub fn max_bytes_per_token(&self) -> Option<usize> {
        self.encoder.max_bytes_per_token
    }

    /// The tokenizer's token ids are below this.
    pub fn vocab_size(&self) -> usize {
        self.token_table.len()
    }

    /// The parser of the answer to a chat; `None` if the answer can only be text. `prompt` is the rendered chat.
    pub fn output_parser(&self, chat: &Chat, prompt: &str) -> Option<OutputParser> {
        let name = |tool: &Value| tool["function"]["name"].as_str().map(str::to_owned);
        let tools = chat.tools.iter().flatten().filter_map(name).collect();
        let last = chat.messages.last().filter(|_| chat.continues_final);
        let begun = last.and_then(|message| message.content.as_ref()).map(Content::text);
        let templates = self.templates.as_ref().ok().and_then(Option::as_ref);
        let parser = self.output_format.parser(tools, prompt, begun.as_deref());
        if templates.is_some_and(|templates| templates.uses_tool_prompt(chat)) {
            return Some(parser.unwrap_or_default().with_note(tool_prompt::NOTE));
        }
        parser
    }

    /// The markup that an answer must contain for this parser.
    pub fn markup(&self, parser: Option<&OutputParser>) -> Markup {
        self.output_format.markup(parser)
    }

    /// The text stream of an answer that ends by these rules.
    pub fn answer_stream(&self, stop: &StopRules, markup: Markup) -> TextStream {
        let calls = stop.calls.as_ref().map(|calls| self.output_format.call_finder(calls, markup));
        self.stream(&stop.stop_sequences, markup).include_stop(stop.include_stop).ending_with_calls(calls)
    }

    /// Whether a prompt of a chat model lacks its chat template: the model has a template, and the text contains no control
    /// token. A rendered chat contains control tokens.
    pub fn lacks_chat_template(&self, text: &str) -> bool {
        matches!(self.templates, Ok(Some(_))) && !self.encoder.has_control_token(text)
    }

    /// The text stream of an answer. The stop sequences must have passed [`super::validate_stop_sequences`].
    pub fn stream(&self, stop_sequences: &[String], markup: Markup) -> TextStream {
        let stream =
            TextStream::new(Arc::clone(&self.token_table), stop_sequences, self.output_format.special_tokens(markup));
        stream.skip_reasoning(markup.reasoning_tags)
    }

    #[cfg(test)]
    pub(super) fn token_table(&self) -> &TokenTable {
        &self.token_table
    }
}

fn load_tokenizer(bytes: &[u8], folder: &ModelFolder) -> Result<(Tokenizer, TokenTable)> {
    nesting::check_tokenizer(bytes)?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| broken(error.as_ref()))?;
    // Truncation and padding are settings of a training run; prompts need neither.
    tokenizer.with_truncation(None).map_err(|error| broken(error.as_ref()))?;
    tokenizer.with_padding(None);
    add_stated(&mut tokenizer, folder);
    growth::check(tokenizer.get_normalizer())?;
    let token_table = TokenTable::build(&tokenizer)?;
    Ok((tokenizer, token_table))
}
