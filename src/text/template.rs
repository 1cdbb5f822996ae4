//! Templates: renders a chat as the string that a model was trained on, or a caller's template as a prompt, with
//! Hugging Face's dialect of Jinja. Limits the cost of a run by the size of its input, and attributes failures to the
//! model or the caller.

use std::time::Duration;

use serde_json::{Map, Value};

use super::chat::{self, Chat, SpecialTokens, Variable};
use super::date::Clock;
use super::jinja::{Fault, Limits, Program, Rendered, Value as JinjaValue};
use super::prefill;
use crate::error::{Code, Error, Result};

/// Bytes that a template may add to its input.
const MAX_OVERHEAD_BYTES: usize = 1 << 20;
const MAX_SOURCE_BYTES: usize = 1 << 20;
const MAX_ERROR_CHARS: usize = 500;
/// Steps of a run. Published templates need about 100 a message; some look back over all messages for each one.
const STEPS: u64 = 2_000_000;
const STEPS_PER_BYTE: u64 = 16;
const STEPS_PER_PAIR: u64 = 400;
/// Bytes of all values that a run creates.
const BYTES: u64 = 256 << 20;
const BYTES_PER_BYTE: u64 = 64;
const BYTES_PER_PAIR: u64 = 256;
/// Time limit of a run, on top of the other limits.
const TIME: Duration = Duration::from_secs(4);

/// The owner of a template, at fault if the template fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The template is the model's chat template.
    Model,
    /// The template was given for the model when it was loaded.
    Loader,
    /// The template is the prompt of a request.
    Caller,
}

/// A compiled template and the model's special tokens, which are variables of it, such as `bos_token`.
#[derive(Debug)]
pub(super) struct Template {
    source: String,
    program: Program,
    special_tokens: Vec<(String, String)>,
    clock: Clock,
    owner: Owner,
    /// It supports content that is a list of texts.
    has_parts: bool,
}

impl Template {
    pub(super) fn compile(
        source: &str,
        owner: Owner,
        special_tokens: &[(String, String)],
        clock: Clock,
    ) -> Result<Self> {
        if source.len() > MAX_SOURCE_BYTES {
            let problem = format!("has {} bytes; at most {MAX_SOURCE_BYTES} are allowed", source.len());
            return Err(owner.broken(&problem));
        }
        let compiled = Program::compile(source).map_err(|fault| owner.failed(fault))?;
        let has_parts = reads_parts(source);
        let special_tokens = special_tokens.to_vec();
        Ok(Self { source: source.to_owned(), program: compiled, special_tokens, clock, owner, has_parts })
    }

    /// Renders a chat up to the start of the model's answer.
    pub(super) fn render_chat(&self, chat: &Chat) -> Result<Rendered> {
        self.check_read("templateVariables", chat.variables.keys())?;
        if chat.tools.as_ref().is_some_and(|tools| !tools.is_empty()) && !self.has_tools() {
            let message = "are not supported by this model's chat template; loadModel({ path, toolPrompt: 'hermes' }) \
                           describes them in a message instead";
            return Err(Error::invalid("tools", message));
        }
        let rendered = if chat.continues_final {
            let (tagged, plain) = prefill::tagged(chat)?;
            prefill::cut(self.write_chat(&tagged)?, &plain)?
        } else {
            self.write_chat(chat)?
        };
        Ok(trusted(rendered, chat.special_tokens))
    }

    /// A message with tool calls may have no content. If the template fails on it, the content becomes an empty text.
    fn write_chat(&self, chat: &Chat) -> Result<Rendered> {
        let size = Size { bytes: chat.num_bytes(), items: chat.num_items() };
        let first = self.write(chat.variables(self.has_parts), size);
        match first {
            Err(Fault::Failed { .. }) if chat.messages.iter().any(|message| message.content.is_none()) => {
                self.write(chat.with_empty_contents().variables(self.has_parts), size).or(first)
            }
            result => result,
        }
        .map_err(|fault| self.owner.failed(fault))
    }

    /// Renders a caller's variables.
    pub(super) fn render(&self, variables: &Map<String, Value>, special_tokens: SpecialTokens) -> Result<Rendered> {
        self.check_read("prompt.variables", variables.keys())?;
        let size = Size { bytes: chat::len_of_all(variables), items: chat::num_items_of(variables) };
        let rendered = self.write(chat::given(variables).collect(), size);
        rendered.map(|rendered| trusted(rendered, special_tokens)).map_err(|fault| self.owner.failed(fault))
    }

    /// Renders variables that were made of a chat, within the limits for that chat.
    pub(super) fn render_for(&self, chat: &Chat, variables: Vec<Variable>) -> Result<Rendered> {
        let size = Size { bytes: chat.num_bytes(), items: chat.num_items() };
        self.write(variables, size).map_err(|fault| self.owner.failed(fault))
    }

    fn write(&self, variables: Vec<Variable>, size: Size) -> std::result::Result<Rendered, Fault> {
        let tokens = self.special_tokens.iter();
        let mut all: Vec<_> = tokens.map(|(name, token)| (name.as_str().into(), JinjaValue::own(token))).collect();
        for (name, value) in variables {
            all.retain(|(other, _)| *other != name);
            all.push((name, value));
        }
        self.program.run(all, size.limits(), self.clock)
    }

    /// Rejects variables that the template never reads: they are mistakes of the caller.
    fn check_read<'a>(&self, param: &str, mut names: impl Iterator<Item = &'a String>) -> Result<()> {
        match names.find(|name| !self.reads(name)) {
            Some(name) => Err(Error::invalid(&format!("{param}.{name}"), "is not a variable that the template reads")),
            None => Ok(()),
        }
    }

    /// The source of the template.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template has a place for tools.
    pub(super) fn has_tools(&self) -> bool {
        self.reads("tools")
    }

    fn reads(&self, name: &str) -> bool {
        let is_name = |c: char| c == '_' || c.is_alphanumeric();
        self.source.split(|c| !is_name(c)).any(|word| word == name)
    }
}

impl Owner {
    fn broken(self, problem: &str) -> Error {
        match self {
            Self::Model => Error::new(Code::ModelLoadError, format!("the chat template {problem}")),
            Self::Loader => Error::invalid("chatTemplate", problem),
            Self::Caller => Error::invalid("prompt.template", problem),
        }
    }

    /// The error of a failed run. A template that raises an error blames its input.
    fn failed(self, fault: Fault) -> Error {
        let problem = match fault {
            Fault::Broken(problem) => return self.broken(&format!("is broken: {}", shortened(&problem))),
            Fault::Raised(message) => {
                let message = shortened(&message);
                return match self {
                    Self::Model | Self::Loader => {
                        Error::invalid("messages", format!("were refused by the chat template: {message}"))
                    }
                    Self::Caller => Error::invalid("prompt.template", format!("refused its variables: {message}")),
                };
            }
            Fault::Spent(problem) => problem,
            Fault::Failed { message, line } => {
                let place = line.map_or_else(String::new, |line| format!(" in line {line}"));
                format!("failed{place}: {}", shortened(&message))
            }
        };
        match self {
            Self::Model | Self::Loader => Error::new(Code::TokenizerError, format!("the chat template {problem}")),
            Self::Caller => Error::invalid("prompt.template", problem),
        }
    }
}

/// The size of a template's input.
#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: usize,
    /// Messages and tools, or values inside variables.
    items: usize,
}

impl Size {
    fn limits(self) -> Limits {
        let (bytes, items) = (self.bytes as u64, self.items as u64);
        let pairs = items.saturating_mul(items);
        let sum = |base: u64, bytes_part: u64, pairs_part: u64| {
            base.saturating_add(bytes.saturating_mul(bytes_part)).saturating_add(pairs.saturating_mul(pairs_part))
        };
        Limits {
            steps: sum(STEPS, STEPS_PER_BYTE, STEPS_PER_PAIR),
            bytes: sum(BYTES, BYTES_PER_BYTE, BYTES_PER_PAIR),
            // Escaping can turn one byte into six.
            text_bytes: self.bytes.saturating_mul(6).saturating_add(MAX_OVERHEAD_BYTES),
            time: TIME,
        }
    }
}

/// Treats the whole prompt as trusted if the request allows special tokens everywhere.
fn trusted(rendered: Rendered, special_tokens: SpecialTokens) -> Rendered {
    match special_tokens {
        SpecialTokens::Template => rendered,
        SpecialTokens::All => Rendered { outside: Vec::new(), ..rendered },
    }
}

/// Whether a template reads the texts of a content list. Another template would print the list itself. It must also have a loop
/// over a content: many templates read the texts of documents.
fn reads_parts(source: &str) -> bool {
    let is_loop = |block: &str| block.trim_start_matches(['-', '+', ' ', '\n', '\t']).starts_with("for ");
    let mut blocks = source.split("{%").skip(1).filter_map(|rest| rest.split("%}").next());
    if !blocks.any(|block| is_loop(block) && block.contains("content")) {
        return false;
    }
    let after =
        |mark: &str| source.match_indices(mark).map(|(at, mark)| &source[at + mark.len()..]).collect::<Vec<_>>();
    let ends_word = |rest: &&str| !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric());
    source.contains("['text']") || source.contains("[\"text\"]") || after(".text").iter().any(ends_word)
}

/// The sources of a model's templates: one for chats, and optionally one for chats with tools.
pub(super) struct Sources {
    pub(super) default: String,
    pub(super) with_tools: Option<String>,
}

/// The sources from `chat_template`: a string, or a list of named templates.
pub(super) fn sources_of(chat_template: &Value) -> Result<Option<Sources>> {
    match chat_template {
        Value::Null => Ok(None),
        Value::String(source) => Ok(Some(Sources { default: source.clone(), with_tools: None })),
        Value::Array(named) => {
            let source = |entry: &Value| entry["template"].as_str().map(str::to_owned);
            let find = |name: &str| named.iter().find(|entry| entry["name"] == name).and_then(source);
            let Some(default) = find("default").or_else(|| only(named).and_then(source)) else {
                return Err(Error::new(Code::ModelLoadError, "`chat_template` lists no template named `default`"));
            };
            Ok(Some(Sources { default, with_tools: find("tool_use") }))
        }
        _ => Err(Error::new(Code::ModelLoadError, "`chat_template` is neither a string nor a list of templates")),
    }
}

fn only(named: &[Value]) -> Option<&Value> {
    if let [one] = named { Some(one) } else { None }
}

fn shortened(message: &str) -> String {
    message.chars().take(MAX_ERROR_CHARS).collect()
}
