//! A model's texts: opens its tokenizer and chat template once, and is then shared by all who turn text into tokens or
//! back. The tokenizers crate can panic on what a model brings (a regex that runs too long, say); nothing of that passes
//! this file. It can also be slow: callers use the text pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::assemble::Assembler;
use super::chat::{Chat, Content, PromptTemplate};
use super::control::ControlTokens;
use super::date;
use super::encoder::{Encoder, Frame};
use super::growth;
use super::guide::{Guides, Structured};
use super::jinja::Rendered;
use super::nesting;
use super::pieces::Pieces;
use super::special::{add_stated, end_tokens, named_tokens};
use super::speech::{CALL_ENDS, Manner, Speech};
use super::stream::{Mark, TextStream};
use super::template::{Owner, Sources, Template, sources_of};
use crate::error::{Code, Error, Result};
use crate::guide::Guide;
use crate::hub::{self, ModelFolder};
use crate::request::{Markup, TokenId};

const MAX_TOKENIZER_BYTES: u64 = 64 << 20;
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;

/// Everything needed to turn text into a model's tokens and back.
#[derive(Debug)]
pub struct ModelText {
    encoder: Encoder,
    pieces: Pieces,
    /// A model with a broken template can still complete plain prompts: the error waits for the first chat.
    templates: Result<Option<ChatTemplates>>,
    special_tokens: Vec<(String, String)>,
    end_tokens: Arc<[TokenId]>,
    /// What the files say of end tokens that was ignored.
    warnings: Vec<String>,
    manner: Manner,
    guides: Guides,
}

impl ModelText {
    /// Reads the tokenizer, the chat template and the end tokens of a model. Takes up to some seconds for a large
    /// vocabulary.
    ///
    /// `ModelLoadError` where a file is missing or states impossible tokens, `TokenizerError` where `tokenizer.json` is
    /// broken, `UnsupportedModel` where its text cannot be streamed. Each names the file.
    pub fn open(folder: &ModelFolder) -> Result<Self> {
        let path = folder.path.join("tokenizer.json");
        let bytes = hub::read_file(&path, MAX_TOKENIZER_BYTES)?;
        let (tokenizer, pieces) = guarded(|| load_tokenizer(&bytes, folder)).map_err(|error| named(&path, &error))?;
        let find = |token: &str| tokenizer.token_to_id(token);
        let special_tokens = named_tokens(folder, find);
        let templates = load_templates(folder, &special_tokens);
        let (default, with_tools) = sources(&templates);
        let named: Vec<_> = CALL_ENDS.into_iter().filter(|token| with_tools.contains(token)).collect();
        let (end_tokens, warnings) = end_tokens(folder, pieces.len(), &named, find)?;
        let manner = Manner::of(default, with_tools, |text| Mark::special(text, find(text)?, &pieces));
        let guides = Guides::new(manner.marks(Markup { calls: true, reasoning: true, thought: None }));
        let control = ControlTokens::of(&tokenizer, [default, with_tools]);
        let encoder = Encoder::new(tokenizer, path, pieces.len(), control);
        Ok(Self { encoder, pieces, templates, special_tokens, end_tokens, warnings, manner, guides })
    }

    /// The tokens of a plain prompt, with what the tokenizer puts around a text, such as a beginning-of-sequence token.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        self.encoder.encode(text, Frame::Tokenizer, usize::MAX)
    }

    /// The tokens of a text that has all special tokens, so that none is added.
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<TokenId>> {
        self.encoder.encode(text, Frame::Nothing, usize::MAX)
    }

    /// Like [`Self::encode`]; a long text ends with `ContextLengthExceeded` as soon as it has more than `most` tokens.
    pub fn encode_at_most(&self, text: &str, most: usize) -> Result<Vec<TokenId>> {
        self.encoder.encode(text, Frame::Tokenizer, most)
    }

    /// Like [`Self::encode_rendered`], likewise.
    pub fn encode_rendered_at_most(&self, text: &str, most: usize) -> Result<Vec<TokenId>> {
        self.encoder.encode(text, Frame::Nothing, most)
    }

    /// The tokens of what a chat was rendered to, as [`Self::encode_rendered`]. What came from outside of the template is
    /// text, whatever it spells.
    pub fn encode_chat(&self, rendered: &Rendered) -> Result<Vec<TokenId>> {
        self.encode_chat_at_most(rendered, usize::MAX)
    }

    /// Like [`Self::encode_chat`]; a long one ends with `ContextLengthExceeded` as soon as it has more than `most` tokens.
    pub fn encode_chat_at_most(&self, rendered: &Rendered, most: usize) -> Result<Vec<TokenId>> {
        self.encoder.encode_marked(rendered, Frame::Nothing, most)
    }

    /// The tokens of what a caller's own template was rendered to, likewise, with what the tokenizer puts around a text.
    pub fn encode_prompt_at_most(&self, rendered: &Rendered, most: usize) -> Result<Vec<TokenId>> {
        self.encoder.encode_marked(rendered, Frame::Tokenizer, most)
    }

    /// The text of tokens, special ones left out. Ids that are not in the vocabulary give no text.
    pub fn decode(&self, tokens: &[TokenId]) -> Result<String> {
        let mut out = String::new();
        let mut assembler = Assembler::new(&self.pieces);
        for token in tokens {
            assembler.push(&self.pieces, *token, &mut out);
        }
        assembler.finish(&self.pieces, &mut out);
        Ok(out)
    }

    /// The string a chat becomes, ending where the model's answer begins. Call it on a [`super::TextPool`]: a hostile
    /// template can need more stack than other threads have.
    ///
    /// `InvalidParams` where the model has no template, or its template refuses the messages, knows nothing of a variable
    /// or of tools, or does not show the message to be continued; `TokenizerError` where the template fails or exceeds
    /// its budget; `ModelLoadError` where it cannot be compiled.
    pub fn render(&self, chat: &Chat) -> Result<Rendered> {
        match &self.templates {
            Err(error) => Err(error.clone()),
            Ok(None) => Err(Error::invalid("messages", "need a chat template, and this model has none: use `prompt`")),
            Ok(Some(templates)) => guarded(|| templates.choose(chat).render_chat(chat)),
        }
    }

    /// The text a caller's own template becomes. Call it on a [`super::TextPool`], as [`Self::render`].
    ///
    /// `InvalidParams` where the template cannot be compiled, fails, exceeds its budget or does not read a variable.
    pub fn render_prompt(&self, prompt: &PromptTemplate) -> Result<Rendered> {
        guarded(|| {
            let template = Template::compile(&prompt.source, Owner::Caller, &self.special_tokens, date::now)?;
            template.render(&prompt.variables, prompt.special_tokens)
        })
    }

    /// Compiles what an answer must be. Call it on a [`super::TextPool`]: a large grammar takes its time, and the first
    /// one of a model some tenths of a second more.
    ///
    /// `GuidanceError` where it is too large, broken, or says something that cannot be enforced.
    pub fn guide(&self, structured: &Structured) -> Result<Guide> {
        self.guides.guide(structured, &self.pieces)
    }

    /// Compiles the calls that an answer to a chat must make, if it must; `speech` is how the answer is read. Call it on a
    /// [`super::TextPool`], as [`Self::guide`].
    ///
    /// `InvalidParams` where this model's calls cannot be enforced, `GuidanceError` where the schema of a tool cannot.
    pub fn call_guide(&self, chat: &Chat, speech: Option<&Speech>) -> Result<Option<Guide>> {
        let Some((tools, is_single)) = chat.required_tools() else { return Ok(None) };
        let grammar = self.manner.grammar(speech, &tools, is_single)?;
        self.guide(&Structured::Calls(grammar)).map(Some)
    }

    /// The tokens that end an answer; may be empty.
    pub fn end_tokens(&self) -> &Arc<[TokenId]> {
        &self.end_tokens
    }

    /// Statements of the model's files that were ignored; each names its file.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Bytes of a text that one token can stand for, if there is a limit.
    pub fn max_bytes_per_token(&self) -> Option<usize> {
        self.encoder.max_bytes_per_token
    }

    /// Ids the tokenizer can produce are below this.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// How the answer to a chat is read, where there is more than text in it; `prompt` is what the chat was rendered to.
    pub fn speech(&self, chat: &Chat, prompt: &str) -> Option<Speech> {
        let name = |tool: &Value| tool["function"]["name"].as_str().map(str::to_owned);
        let tools = chat.tools.iter().flatten().filter_map(name).collect();
        let last = chat.messages.last().filter(|_| chat.continues_final);
        let begun = last.and_then(|message| message.content.as_ref()).map(Content::text);
        self.manner.speech(tools, prompt, begun.as_deref())
    }

    /// What of a model's markup an answer must hold for it to be read.
    pub fn markup(&self, speech: Option<&Speech>) -> Markup {
        self.manner.markup(speech)
    }

    /// Begins the text of an answer. The sequences have passed [`super::validate_stop_sequences`].
    pub fn stream(self: &Arc<Self>, stop_sequences: &[String], markup: Markup) -> TextStream {
        let stream = TextStream::new(Arc::clone(self), stop_sequences, self.manner.marks(markup));
        stream.pass_over(markup.thought)
    }

    pub(super) fn pieces(&self) -> &Pieces {
        &self.pieces
    }
}

fn load_tokenizer(bytes: &[u8], folder: &ModelFolder) -> Result<(Tokenizer, Pieces)> {
    nesting::check_tokenizer(bytes)?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| broken(error.as_ref()))?;
    // These are settings of some training run; here a prompt is neither cut nor filled up.
    tokenizer.with_truncation(None).map_err(|error| broken(error.as_ref()))?;
    tokenizer.with_padding(None);
    add_stated(&mut tokenizer, folder);
    growth::check(tokenizer.get_normalizer())?;
    let pieces = Pieces::build(&tokenizer)?;
    Ok((tokenizer, pieces))
}

/// What a model has for chats.
#[derive(Debug)]
struct ChatTemplates {
    default: Template,
    with_tools: Option<Template>,
}

impl ChatTemplates {
    fn choose(&self, chat: &Chat) -> &Template {
        self.with_tools.as_ref().filter(|_| chat.tools.is_some()).unwrap_or(&self.default)
    }
}

fn load_templates(folder: &ModelFolder, special_tokens: &[(String, String)]) -> Result<Option<ChatTemplates>> {
    let Some(Sources { default, with_tools }) = template_sources(folder)? else { return Ok(None) };
    let compile = |source: String| guarded(|| Template::compile(&source, Owner::Model, special_tokens, date::now));
    Ok(Some(ChatTemplates { default: compile(default)?, with_tools: with_tools.map(compile).transpose()? }))
}

/// The texts of a model's templates: for chats, and for chats with tools. Of one that cannot be had there is nothing.
fn sources(templates: &Result<Option<ChatTemplates>>) -> (&str, &str) {
    let Ok(Some(ChatTemplates { default, with_tools })) = templates else { return ("", "") };
    (default.source(), with_tools.as_ref().unwrap_or(default).source())
}

/// Files of their own take precedence over the configuration: `chat_template.jinja`, and for named templates a folder.
fn template_sources(folder: &ModelFolder) -> Result<Option<Sources>> {
    let named_files = folder.path.join("additional_chat_templates");
    let file = |path: PathBuf| if path.exists() { read_template(&path).map(Some) } else { Ok(None) };
    let default = match file(folder.path.join("chat_template.jinja"))? {
        Some(default) => Some(default),
        None => file(named_files.join("default.jinja"))?,
    };
    let with_tools = file(named_files.join("tool_use.jinja"))?;
    if let Some(default) = default {
        return Ok(Some(Sources { default, with_tools }));
    }
    let sources = configured_sources(folder)?;
    Ok(sources.map(|sources| Sources { with_tools: with_tools.or(sources.with_tools), ..sources }))
}

fn read_template(path: &Path) -> Result<String> {
    let bytes = hub::read_file(path, MAX_TEMPLATE_BYTES)?;
    String::from_utf8(bytes).map_err(|error| load_error(path, "is not UTF-8").with_source(error))
}

fn configured_sources(folder: &ModelFolder) -> Result<Option<Sources>> {
    let path = folder.path.join("tokenizer_config.json");
    if let Some(sources) =
        sources_of(&folder.tokenizer_config["chat_template"]).map_err(|error| named(&path, &error))?
    {
        return Ok(Some(sources));
    }
    let path = folder.path.join("chat_template.json");
    if !path.exists() {
        return Ok(None);
    }
    let file: Value = hub::read_json(&path, MAX_TEMPLATE_BYTES)?;
    sources_of(&file["chat_template"]).map_err(|error| named(&path, &error))
}

/// Runs code that works on what a model brought; a panic in it is an error of the model.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let reason = super::worker::panic_message(panic.as_ref());
        Err(Error::new(Code::TokenizerError, format!("it made the tokenizer panic: {reason}")))
    })
}

pub(super) fn broken(error: &(dyn std::error::Error + Send + Sync)) -> Error {
    let reason: String = error.to_string().chars().take(500).collect();
    Error::new(Code::TokenizerError, reason)
}

pub(super) fn named(path: &Path, error: &Error) -> Error {
    Error::new(error.code(), format!("{}: {}", path.display(), error.message()))
}

fn load_error(path: &Path, problem: &str) -> Error {
    Error::new(Code::ModelLoadError, format!("{} {problem}", path.display()))
}
